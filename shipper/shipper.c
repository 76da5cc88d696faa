/* The shipper's one state, its start, its signals and its end: see shipper.h. */
#include <sys/socket.h>

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/confine.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/protocol.h"
#include "common/title.h"
#include "common/user.h"
#include "common/version.h"
#include "shipper/confine.h"
#include "shipper/delivery.h"
#include "shipper/drain.h"
#include "shipper/ledger.h"
#include "shipper/link.h"
#include "shipper/monitor.h"
#include "shipper/settings.h"
#include "shipper/shipper.h"
#include "shipper/spool.h"

enum {
	SHIPPER_FILE_TIME = 10 * 1000,	/* ms that tcpdiag run may take to open the file */
	SHIPPER_STATUS_TIME = 10,	/* s between two status lines for systemd */
	SHIPPER_SIGNALS = 3,
	SHIPPER_SPOOL_PUT = 16 * 1024 * 1024,	/* bytes that go into the spool at once, while rings wait */
};

struct shipper {
	struct config		 config;
	struct settings		 settings;
	char			 hostname[HOST_NAME_MAX + 1];
	bool			 once;
	int			 parent;	/* channel to tcpdiag run, or -1 */
	struct event_base	*base;
	struct books		 books;
	uint64_t		 before;	/* records that earlier lives delivered */
	struct delivery		*delivery;
	struct drain		*drain;
	struct link		*link;
	struct monitor		*monitor;	/* NULL: nothing is shown */
	struct event		*signals[SHIPPER_SIGNALS];
	struct event		*from_parent;
	struct event		*watchdog;
	struct event		*status;
	struct event		*deadline;
	bool			 stopping;
	bool			 finishing;	/* the namespacer has said that nothing more comes */
	int			 code;		/* to exit with */
};

static const struct channel_type shipper_parent_types[] = {
	{ PROTOCOL_FILE, 0, 1 },
	{ 0, 0, 0 }
};

/* --- the end --------------------------------------------------------------------------- */

static void
shipper_end(struct shipper *s, int code)
{
	if (s->code == EXIT_CODE_OK)
		s->code = code;
	event_base_loopbreak(s->base);
}

static void
shipper_late(evutil_socket_t fd, short what, void *context)
{
	struct shipper *s = context;

	(void)fd;
	(void)what;
	log_warning("%s did not take everything in %.1f s", s->config.sink, (double)s->config.drain_deadline / (double)SECOND);
	shipper_end(s, EXIT_CODE_OK);
}

/* Delivers what is in the rings now; the next shipper finds the rest there. */
static void
shipper_stop(struct shipper *s, const char *why)
{
	const struct timeval limit = clock_timeval(s->config.drain_deadline);

	if (s->stopping)
		return;
	s->stopping = true;
	log_info("%s: ending", why);
	notify_stopping();
	monitor_ending(s->monitor);
	link_stop(s->link);
	delivery_hurry(s->delivery);
	drain_finish(s->drain);
	(void)event_add(s->deadline, &limit);
}

static void
shipper_failed(void *context)
{
	shipper_end(context, EXIT_CODE_SINK);
}

static void
shipper_finished(void *context)
{
	shipper_end(context, EXIT_CODE_OK);
}

/* --- what the others say ---------------------------------------------------------------- */

static void
shipper_drained(void *context, uint64_t epoch)
{
	struct shipper *s = context;

	link_send_drained(s->link, epoch);
}

static void
shipper_hostile(void *context, uint64_t epoch)
{
	struct shipper *s = context;

	link_send_hostile(s->link, epoch);
}

static void
shipper_finish(void *context)
{
	struct shipper *s = context;

	log_debug("the namespacer has finished");
	s->finishing = true;
	if (s->once)
		drain_finish(s->drain);
}

static void
shipper_lost(void *context)
{
	struct shipper *s = context;

	if (!s->once || s->stopping)
		return;
	/* It ends after its FINISH; before that, something is missing. */
	if (s->finishing)
		return;
	log_error("the namespacer has gone before it had finished");
	s->code = EXIT_CODE_INCOMPLETE;
	drain_finish(s->drain);
}

/* --- tcpdiag run -------------------------------------------------------------------------- */

static void
shipper_reopen(struct shipper *s, int fd)
{
	char error[CONFIG_ERROR_MAX];

	if (s->settings.sink->reopen == NULL) {
		log_info("%s: is nothing that can be opened anew", s->config.sink);
		return;
	}
	notify_reloading();
	if (delivery_reopen(s->delivery, fd, error, sizeof(error)) == -1)
		log_error("%s; what was open before stays open", error);
	else
		log_info("%s: opened anew", s->config.sink);
	notify_ready();
}

static void
shipper_from_parent(evutil_socket_t fd, short what, void *context)
{
	struct shipper *s = context;
	struct channel_message message;
	enum channel_result result = channel_receive(fd, shipper_parent_types, &message);

	(void)what;
	if (result == CHANNEL_AGAIN)
		return;
	if (result == CHANNEL_OK && s->settings.sink->reopen != NULL) {
		shipper_reopen(s, message.fds[0]);
		return;
	}
	if (result == CHANNEL_OK) {
		channel_message_close(&message);
		return;
	}
	event_del(s->from_parent);
	shipper_stop(s, "the program that started this one has gone");
}

/* The first file, before anything else is read.  -1: the message is written. */
static int
shipper_await_file(const struct shipper *s)
{
	struct pollfd pollfd = { .fd = s->parent, .events = POLLIN };
	struct channel_message message;
	enum channel_result result;
	int n;

	do
		n = poll(&pollfd, 1, SHIPPER_FILE_TIME);
	while (n == -1 && errno == EINTR);
	result = n == 1 ? channel_receive(s->parent, shipper_parent_types, &message) : CHANNEL_AGAIN;
	if (result == CHANNEL_OK)
		return message.fds[0];
	log_error("%s: the program that started this one %s", s->config.sink,
	    result == CHANNEL_CLOSED ? "has gone" : "did not pass the open file");
	return -1;
}

/* --- signals and timers ---------------------------------------------------------------------- */

static void
shipper_signalled(evutil_socket_t number, short what, void *context)
{
	struct shipper *s = context;

	(void)what;
	if (number != SIGHUP)
		shipper_stop(s, number == SIGTERM ? "SIGTERM" : "SIGINT");
	else if (s->parent == -1)
		shipper_reopen(s, -1);
	/* Else tcpdiag run opens the file, with the rights of who called it. */
}

static void
shipper_watchdog(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	notify_watchdog();
}

static void
shipper_status(evutil_socket_t fd, short what, void *context)
{
	struct shipper *s = context;

	(void)fd;
	(void)what;
	notify_status("%" PRIu64 " records delivered in %" PRIu64 " batches, %" PRIu64 " held, %" PRIu64 " in the spool, %zu rings%s",
	    s->books.delivered - s->before, s->books.batches, delivery_held(s->delivery), s->books.spooled, drain_rings(s->drain),
	    delivery_refused(s->delivery) ? "; the sink refuses them at the moment" : "");
}

static struct event *
shipper_event(struct shipper *s, int fd, short what, event_callback_fn function, uint64_t interval)
{
	struct event *event = event_new(s->base, fd, what, function, s);
	const struct timeval time = clock_timeval(interval);

	if (event == NULL || event_add(event, interval > 0 ? &time : NULL) == -1)
		fatal(EXIT_CODE_SYSTEM, "cannot set up an event");
	return event;
}

static void
shipper_listen_to_signals(struct shipper *s)
{
	static const int numbers[SHIPPER_SIGNALS] = { SIGTERM, SIGINT, SIGHUP };

	for (size_t i = 0; i < SHIPPER_SIGNALS; i++)
		s->signals[i] = shipper_event(s, numbers[i], EV_SIGNAL | EV_PERSIST, shipper_signalled, 0);
	/* A write says it, and can be reported. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static void
shipper_set_timers(struct shipper *s)
{
	if (notify_watchdog_interval() > 0)
		s->watchdog = shipper_event(s, -1, EV_PERSIST, shipper_watchdog, notify_watchdog_interval());
	s->status = shipper_event(s, -1, EV_PERSIST, shipper_status, SHIPPER_STATUS_TIME * SECOND);
	s->deadline = event_new(s->base, -1, 0, shipper_late, s);
	if (s->deadline == NULL)
		fatal(EXIT_CODE_SYSTEM, "cannot set up a timer");
	if (s->parent != -1)
		s->from_parent = shipper_event(s, s->parent, EV_READ | EV_PERSIST, shipper_from_parent, 0);
}

/* --- the command line --------------------------------------------------------------------------- */

static int
shipper_set_once(void *context, const char *value)
{
	struct shipper *s = context;

	(void)value;
	s->once = true;
	return 0;
}

static int
shipper_set_parent(void *context, const char *value)
{
	struct shipper *s = context;
	char *end;
	unsigned long fd = strtoul(value, &end, 10);
	int type;
	socklen_t length = sizeof(type);

	if (value[0] < '0' || value[0] > '9' || *end != '\0' || fd > INT_MAX ||
	    getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &length) == -1 || type != SOCK_SEQPACKET) {
		log_error("--parent-fd: '%s' is not a SOCK_SEQPACKET socket; the option is for tcpdiag run", value);
		return EXIT_CODE_USAGE;
	}
	s->parent = (int)fd;
	return 0;
}

static const char *
shipper_check(void *context, const struct config *config, char *error, size_t size)
{
	struct shipper *s = context;

	return settings_resolve(&s->settings, config, error, size);
}

static int
shipper_parse(struct shipper *s, int argc, char **argv)
{
	static const struct config_option options[] = {
		{ "once", 0, NULL, "end when the namespacer has finished; a refused delivery is final", shipper_set_once },
		{ "parent-fd", 0, "FD", "the channel to tcpdiag run", shipper_set_parent },
		{ NULL, 0, NULL, NULL, NULL }
	};
	const struct config_program program = {
		.name = "tcpdiag-shipper",
		.usage = "[options]",
		.about = "Drains the collectors' rings and delivers their records; see tcpdiag-shipper(8).",
		.letter = 'S',
		.options = options,
		.context = s,
		.check = shipper_check,
	};

	config_init(&s->config);
	return config_parse(&s->config, &program, argc, argv, NULL);
}

/* --- the start -------------------------------------------------------------------------------------- */

static void
shipper_event_message(int severity, const char *message)
{
	/* Also about a stranger's HTTP, who could go on and on. */
	log_limited(severity >= EVENT_LOG_WARN ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "libevent: %s", message);
}

/* What whoever started it forgot to close is not for a process that reads what others wrote. */
static void
shipper_close_inherited(const struct shipper *s)
{
	unsigned int first = STDERR_FILENO + 1;

	if (s->parent >= (int)first) {
		if (s->parent > (int)first)
			(void)close_range(first, (unsigned int)s->parent - 1, 0);
		first = (unsigned int)s->parent + 1;
	}
	(void)close_range(first, UINT_MAX, 0);
}

static int
shipper_find_hostname(struct shipper *s, char *error, size_t size)
{
	const char *fault;

	if (s->config.hostname[0] == '\0' && gethostname(s->hostname, sizeof(s->hostname) - 1) == -1) {
		snprintf(error, size, "the host's name: %s", strerror(errno));
		return -1;
	}
	fault = stamp_string_fault(s->hostname, strlen(s->hostname));
	if (fault == NULL)
		return 0;
	snprintf(error, size, "the host's name %s; set hostname", fault);
	return -1;
}

static int
shipper_open_sink(struct shipper *s, uid_t uid, gid_t gid, char *error, size_t size)
{
	const struct delivery_options options = {
		.base = s->base,
		.books = &s->books,
		.limits = { .rows = s->config.batch_rows, .bytes = settings_batch(&s->settings, &s->config) },
		.age = s->config.batch_age,
		.queue_size = settings_queue(&s->settings, &s->config),
		.ack_hold = s->config.ack_hold,
		.replay = s->config.replay_rate,
		.spool_put = s->config.spool_size / 4 < SHIPPER_SPOOL_PUT ? s->config.spool_size / 4 : SHIPPER_SPOOL_PUT,
		.once = s->once,
		.refusals_retry = s->settings.refusals_retry,
		.per_netns = s->settings.sink->per_netns != NULL && s->settings.sink->per_netns(&s->config),
		.target = s->config.sink,
		.host = s->config.hostname[0] != '\0' ? s->config.hostname : s->hostname,
		.format = s->settings.format,
		.format_state = settings_open_format(&s->settings, &s->config, error, size),
		.sink = s->settings.sink,
	};
	struct sink_options sink = {
		.config = &s->config,
		.target = s->settings.target,
		.fd = -1,
		.fsync = s->config.file_fsync,
		.minfree = s->config.minfree,
		.uid = uid,
		.gid = gid,
		.framing = s->settings.format->framing,
	};

	if (options.format_state == NULL) {
		log_error("%s", error);
		return EXIT_CODE_CONFIG;
	}
	s->delivery = delivery_new(&options);
	if (s->parent != -1 && s->settings.sink->reopen != NULL && (sink.fd = shipper_await_file(s)) == -1)
		return EXIT_CODE_PEER;
	if (delivery_open(s->delivery, &sink, error, size) == 0)
		return 0;
	log_error("%s", error);
	return EXIT_CODE_SINK;
}

static void
shipper_make_drain(struct shipper *s)
{
	const struct stamp_identity identity = {
		.version = VERSION,
		.hostname = s->config.hostname[0] != '\0' ? s->config.hostname : s->hostname,
		.location = s->config.location,
		.label = s->config.label,
		.tag = s->config.tag,
	};
	const struct drain_events events = {
		.drained = shipper_drained,
		.hostile = shipper_hostile,
		.finished = shipper_finished,
		.failed = shipper_failed,
		.context = s,
	};
	const struct drain_options options = {
		.base = s->base,
		.books = &s->books,
		.delivery = s->delivery,
		.snapshot_ends = s->settings.snapshot_ends,
		.per_netns = s->config.metrics_per_namespace,
		.identity = identity,
		.events = events,
	};

	s->drain = drain_new(&options);
}

/* Without the spool it is the sink's word, or memory, that everything rests on: who runs it shall know. */
static void
shipper_say_without_spool(const struct shipper *s)
{
	if (s->settings.sink->pace != SINK_PROMPT && !s->once)
		log_notice("spool = off: what %s has not acknowledged waits in memory, %" PRIu64 " bytes of it at most; what is beyond that, "
		    "or there when this process dies, is lost and counted", s->config.sink, s->config.queue_size);
}

/* Before the rights go: whose folder the socket is in depends on who made it. */
static void
shipper_open_ledger(struct shipper *s)
{
	char path[SETTINGS_PATH_MAX];
	struct ledger *ledger;

	if (s->once || s->settings.spool[0] != '\0' || settings_queue(&s->settings, &s->config) == 0)
		return;
	settings_ledger(path, sizeof(path), &s->config);
	if ((ledger = ledger_open(path)) != NULL)
		delivery_use_ledger(s->delivery, ledger);
	else
		log_errno(LOG_LEVEL_WARNING, "%s: cannot be opened: what is lost with this process will not be known", path);
}

static int
shipper_open_spool(struct shipper *s, char *error, size_t size)
{
	char machine[SPOOL_MACHINE_MAX];
	const struct spool_options options = {
		.dir = s->settings.spool,
		.size = s->config.spool_size,
		.age = s->config.spool_age,
		.sync = s->config.spool_fsync,
		.rejects = s->config.rejects_size,
		.minfree = s->config.minfree,
		.machine = spool_machine(machine, sizeof(machine)),
		.books = &s->books,
	};
	struct spool *spool;

	if (s->settings.spool[0] == '\0' || s->once) {
		shipper_say_without_spool(s);
		return 0;
	}
	if ((spool = spool_open(&options, error, size)) == NULL)
		return -1;
	s->before = s->books.delivered;
	delivery_use_spool(s->delivery, spool);
	return 0;
}

/* Who takes one snapshot and goes has no use for metrics, unless it asks for them. */
static int
shipper_open_monitor(struct shipper *s, uid_t uid, gid_t gid, char *error, size_t size)
{
	const struct monitor_options options = { .base = s->base, .address = s->settings.metrics };

	if (options.address.off || (s->once && strcmp(s->config.metrics, "auto") == 0))
		return 0;
	s->monitor = monitor_new(&options, uid, gid, error, size);
	return s->monitor == NULL ? -1 : 0;
}

static int
shipper_listen(struct shipper *s, char *error, size_t size)
{
	const struct monitor_sources from = {
		.books = &s->books,
		.delivery = s->delivery,
		.drain = s->drain,
		.link = s->link,
		.format = s->settings.format->name,
		.sink = s->settings.sink->name,
	};

	if (link_listen(s->link, s->drain, error, size) == -1)
		return -1;
	if (s->monitor == NULL)
		return 0;
	if (s->settings.metrics.remote)
		log_warning("metrics = %s: other hosts can read them there, without a password", s->config.metrics);
	return monitor_listen(s->monitor, &from, error, size);
}

static int
shipper_find_user(const struct shipper *s, uid_t *uid, gid_t *gid)
{
	char error[CONFIG_ERROR_MAX];

	*uid = geteuid();
	*gid = getegid();
	if (*uid != 0 ||
	    user_find(s->config.shipper_user, USER_SHIPPER_FALLBACK, uid, gid, error, sizeof(error)) == 0)
		return 0;
	log_error("%s", error);
	return EXIT_CODE_CONFIG;
}

/*
 * In this order: what takes rights is opened, then the rights are given up,
 * and only then is anybody listened to.
 */
static int
shipper_start(struct shipper *s)
{
	const struct link_options options = {
		.base = s->base,
		.path = s->config.socket,
		.finish = shipper_finish,
		.lost = shipper_lost,
		.context = s,
	};
	char error[CONFIG_ERROR_MAX];
	uid_t uid;
	gid_t gid;
	int code;

	if ((code = shipper_find_user(s, &uid, &gid)) != 0 || (code = shipper_open_sink(s, uid, gid, error, sizeof(error))) != 0)
		return code;
	if (shipper_find_hostname(s, error, sizeof(error)) == -1 ||
	    (s->link = link_new(&options, uid, gid, error, sizeof(error))) == NULL ||
	    shipper_open_monitor(s, uid, gid, error, sizeof(error)) == -1) {
		log_error("%s", error);
		return EXIT_CODE_SYSTEM;
	}
	shipper_make_drain(s);
	notify_init();
	shipper_open_ledger(s);
	if (s->settings.spool[0] != '\0' && !s->once)
		spool_prepare(s->settings.spool, uid, gid);
	if ((code = shipper_confine(uid, gid, &s->settings, &s->config, s->parent != -1)) != 0)
		return code;
	shipper_set_timers(s);
	/* Its lock comes before anything is taken over. */
	if (shipper_open_spool(s, error, sizeof(error)) == 0 && shipper_listen(s, error, sizeof(error)) == 0)
		return 0;
	log_error("%s", error);
	return EXIT_CODE_SYSTEM;
}

static void
shipper_check_books(const struct books *books)
{
	if (books_balance(books))
		return;
	log_error("the books do not balance: drained %" PRIu64 ", requeued %" PRIu64 ", delivered %" PRIu64 ", filtered %" PRIu64
	    ", dropped %" PRIu64 ", in doubt %" PRIu64 ", spooled %" PRIu64 ", held %" PRIu64, books->drained, books->requeued,
	    books->delivered, books->filtered, books_dropped(books), books->in_doubt, books->spooled, books->held);
}

static void
shipper_report_losses(const struct books *books)
{
	for (enum books_drop i = 0; i < BOOKS_DROPS; i++)
		if (books->dropped[i] > 0 && i != BOOKS_DROP_HOSTILE)
			log_notice("dropped %" PRIu64 " records: %s", books->dropped[i], books_drop_name(i));
}

static void
shipper_report(const struct shipper *s)
{
	const struct books *books = &s->books;
	uint64_t held = delivery_held(s->delivery);

	log_info("delivered %" PRIu64 " records in %" PRIu64 " batches and %" PRIu64 " bytes to %s",
	    books->delivered - s->before, books->batches, books->bytes, s->config.sink);
	if (books->spooled > 0)
		log_notice("left in the spool: %" PRIu64 " records in %" PRIu64 " batches", books->spooled, books->spool_batches);
	if (held + drain_left(s->drain) > 0)
		log_notice("left in the rings: %" PRIu64 " records that were not delivered, and %" PRIu64 " bytes that were not read",
		    held, drain_left(s->drain));
	if (books->hostile + books->refused > 0)
		log_notice("closed %" PRIu64 " rings for what was in them, with %" PRIu64 " records dropped, and refused %" PRIu64,
		    books->hostile, books->dropped[BOOKS_DROP_HOSTILE], books->refused);
	shipper_report_losses(books);
	shipper_check_books(books);
}

static void
shipper_free_event(struct event *event)
{
	if (event != NULL)
		event_free(event);
}

static void
shipper_free(struct shipper *s)
{
	for (size_t i = 0; i < SHIPPER_SIGNALS; i++)
		shipper_free_event(s->signals[i]);
	shipper_free_event(s->from_parent);
	shipper_free_event(s->watchdog);
	shipper_free_event(s->status);
	shipper_free_event(s->deadline);
	monitor_free(s->monitor);
	if (s->link != NULL)
		link_free(s->link);
	if (s->drain != NULL)
		drain_free(s->drain);
	if (s->delivery != NULL)
		delivery_free(s->delivery);
	if (s->base != NULL)
		event_base_free(s->base);
	fd_close(&s->parent);
	config_free(&s->config);
}

static int
shipper_run(struct shipper *s)
{
	int code;

	shipper_close_inherited(s);
	if (confine_limits() == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "the limits of memory and descriptors cannot be set");
	event_set_log_callback(shipper_event_message);
	s->base = event_base_new();
	if (s->base == NULL)
		fatal(EXIT_CODE_SYSTEM, "cannot set up the event loop");
	shipper_listen_to_signals(s);
	if ((code = shipper_start(s)) != 0)
		return code;
	title_set("tcpdiag: shipper, %s to %s", s->settings.format->name, s->config.sink);
	log_info("%s: format %s to %s, listening on %s", version_text, s->settings.format->name, s->config.sink,
	    s->config.socket);
	notify_ready();
	if (event_base_dispatch(s->base) == -1)
		fatal(EXIT_CODE_INTERNAL, "the event loop ended");
	delivery_end(s->delivery);
	shipper_report(s);
	return s->code;
}

int
shipper_main(int argc, char **argv)
{
	struct shipper s = { .parent = -1 };
	int code;

	title_init(argc, argv);
	(void)confine_unblock_signals();
	if ((code = shipper_parse(&s, argc, argv)) == -1)
		code = shipper_run(&s);
	shipper_free(&s);
	return code;
}
