/*
 * tcpdiag-namespacer: finds network namespaces, keeps one confined collector
 * in each, and tells them when to take a snapshot.
 *
 * SECURITY: it is root, so it talks to no network, parses no configuration but
 * its own, and never leaves its own namespaces: a child does.  What it reads of
 * others is names (made valid first), and fixed messages of its children and
 * of the shipper.
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/confine.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/title.h"
#include "common/user.h"
#include "namespacer/counts.h"
#include "namespacer/discovery.h"
#include "namespacer/empty.h"
#include "namespacer/fleet.h"
#include "namespacer/life.h"
#include "namespacer/link.h"
#include "namespacer/netns.h"
#include "namespacer/privilege.h"
#include "namespacer/schedule.h"
#include "namespacer/settings.h"
#include "seccomp/sandbox.h"

#define ONCE_DEADLINE	(10 * MINUTE)	/* whoever reads a one-shot run's output may take their time */

static struct {
	struct config		config;
	struct event_base	*base;
	struct event		*signals[2], *parent, *watchdog;
	int			 parent_fd;
	bool			 once, finished;
	int			 code;		/* to exit with */
	void			*heap;		/* where it begins */
	struct namespacer_settings settings;
	uid_t			 collector_uid, shipper_uid;
	gid_t			 collector_gid, shipper_gid;
} namespacer = { .parent_fd = -1 };

static int
namespacer_set_once(void *context, const char *value)
{
	(void)context;
	(void)value;
	namespacer.once = true;
	return 0;
}

static int
namespacer_set_parent(void *context, const char *value)
{
	char *end;

	(void)context;
	namespacer.parent_fd = (int)strtol(value, &end, 10);
	if (*end == '\0' && end != value && fcntl(namespacer.parent_fd, F_GETFD) != -1)
		return 0;
	log_error("--parent-fd: '%s' is no open descriptor; the option is for tcpdiag run", value);
	return EXIT_CODE_USAGE;
}

static const struct config_option namespacer_options[] = {
	{ "once", 0, NULL, "take one snapshot of every namespace, then exit", namespacer_set_once },
	{ "parent-fd", 0, "N", "end when this descriptor is closed (tcpdiag run)", namespacer_set_parent },
	{ NULL, 0, NULL, NULL, NULL }
};

static const char *
namespacer_check(void *context, const struct config *config, char *error, size_t size)
{
	(void)context;
	return namespacer_settings_resolve(&namespacer.settings, config, error, size);
}

static const struct config_program namespacer_program = {
	.name = "tcpdiag-namespacer",
	.usage = "[options]",
	.about = "keeps a confined collector in every network namespace",
	.letter = 'N',
	.options = namespacer_options,
	.check = namespacer_check,
};

static void
namespacer_find_users(void)
{
	char error[CONFIG_ERROR_MAX];

	if (user_find(namespacer.config.collector_user, USER_COLLECTOR_FALLBACK,
	    &namespacer.collector_uid, &namespacer.collector_gid, error, sizeof(error)) == -1 ||
	    user_find(namespacer.config.shipper_user, USER_SHIPPER_FALLBACK,
	    &namespacer.shipper_uid, &namespacer.shipper_gid, error, sizeof(error)) == -1)
		fatal(EXIT_CODE_CONFIG, "%s", error);
}

static void
namespacer_end(int code)
{
	if (namespacer.code == EXIT_CODE_OK)
		namespacer.code = code;
	event_base_loopbreak(namespacer.base);
}

static void
namespacer_stop(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	namespacer_end(EXIT_CODE_OK);
}

static void
namespacer_alive(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	notify_watchdog();
}

/* once: everything has been taken; the shipper closes when it has delivered. */
static void
namespacer_finished(bool complete)
{
	if (schedule_counts()->taken == 0 && complete && namespacer.config.netns.count > 0)
		log_warning("no namespace has a name that --netns asks for; tcpdiag ns lists them");
	namespacer.finished = true;
	namespacer.code = complete ? EXIT_CODE_OK : EXIT_CODE_INCOMPLETE;
	fleet_stop();
	counts_send();
	link_send_finish();
}

static void
namespacer_link_up(void)
{
	counts_send();
	schedule_soon();
}

static void
namespacer_link_down(void)
{
	if (namespacer.finished)
		event_base_loopbreak(namespacer.base);
}

static uint64_t
namespacer_deadline(void)
{
	if (namespacer.config.deadline != 0)
		return namespacer.config.deadline;
	return namespacer.once ? ONCE_DEADLINE : namespacer.config.interval;
}

static void
namespacer_start_lives(const struct empty *empty)
{
	const struct life_setting setting = {
		.base = namespacer.base,
		.uid = namespacer.collector_uid,
		.gid = namespacer.collector_gid,
		.net_admin = namespacer.settings.net_admin,
		.states = namespacer.settings.states,
		.attributes = namespacer.settings.attributes,
		.way = namespacer.settings.way,
		.heap = namespacer.heap,
		.sandbox = namespacer.settings.collector_sandbox,
		.ring_size = ring_size_for(namespacer.config.ring_size),
		/* Rounded down to a size that a ring may have. */
		.ring_limit = namespacer.once ? 0 : ring_size_for(namespacer.config.ring_limit / 2 + 1),
		.empty_net = empty->net,
		.empty_mount = empty->mount,
		.empty_ipc = empty->ipc,
		.changed = schedule_life_changed,
		.forgotten = schedule_life_forgotten,
		.taken = schedule_life_taken,
	};

	handover_init(namespacer.config.orphan_rings);
	if (life_init(&setting) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "the collectors' filter cannot be compiled");
}

static void
namespacer_start_schedule(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const struct schedule_setting setting = {
		.base = namespacer.base,
		.interval = namespacer.config.interval,
		.deadline = namespacer_deadline(),
		.parallel = namespacer.config.parallel != 0 ? namespacer.config.parallel : cpus > 0 ? (uint64_t)cpus : 1,
		.once = namespacer.once,
		.finished = namespacer_finished,
	};

	if (schedule_init(&setting) == -1 || counts_start(namespacer.base) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "timers");
}

static void
namespacer_start_link(void)
{
	static const struct link_callbacks callbacks = {
		.up = namespacer_link_up,
		.down = namespacer_link_down,
		.hostile = life_hostile,
	};

	if (link_start(namespacer.base, namespacer.config.socket, namespacer.shipper_uid, &callbacks) == -1)
		fatal_errno(EXIT_CODE_CONFIG, "%s", namespacer.config.socket);
}

static void
namespacer_start_events(void)
{
	static const int signals[] = { SIGTERM, SIGINT };
	uint64_t watchdog = notify_watchdog_interval();
	struct timeval period = clock_timeval(watchdog);

	for (size_t i = 0; i < 2; i++) {
		namespacer.signals[i] = evsignal_new(namespacer.base, signals[i], namespacer_stop, NULL);
		event_add(namespacer.signals[i], NULL);
	}
	signal(SIGCHLD, SIG_DFL);	/* whoever started it may have ignored it */
	signal(SIGHUP, SIG_IGN);	/* nothing to reopen; the shipper has the files */
	signal(SIGPIPE, SIG_IGN);
	if (namespacer.parent_fd != -1) {
		namespacer.parent = event_new(namespacer.base, namespacer.parent_fd, EV_READ, namespacer_stop, NULL);
		event_add(namespacer.parent, NULL);
	}
	if (watchdog != 0) {
		namespacer.watchdog = event_new(namespacer.base, -1, EV_PERSIST, namespacer_alive, NULL);
		event_add(namespacer.watchdog, &period);
	}
}

/* Collectors have its own filter as well, beneath theirs. */
static void
namespacer_say_levels(void)
{
	enum sandbox_level own = namespacer.settings.sandbox, collectors = namespacer.settings.collector_sandbox;

	log_info("seccomp: namespacer %s, collectors %s", sandbox_level_name(own), sandbox_level_name(collectors));
	if (own < SANDBOX_ROBUST)
		log_warning("sandbox = %s: the namespacer may make any system call", sandbox_level_name(own));
	if (collectors < SANDBOX_ROBUST)
		log_warning("collector-sandbox = %s: collectors may make any system call that the namespacer may",
		    sandbox_level_name(collectors));
}

/* The only moment at which it may still mount, compile and open at will. */
static void
namespacer_confine(struct empty *empty)
{
	const char *failed = empty_make(empty);
	struct stat st;

	if (failed != NULL)
		fatal_errno(EXIT_CODE_SYSTEM, "could not %s", failed);
	if (fstat(empty->net, &st) == 0)
		discovery_ignore(st.st_ino);
	discovery_ignore_self();
	namespacer_start_lives(empty);
	privilege_drop();
	if (sandbox_enter(&sandbox_namespacer, namespacer.settings.sandbox) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "the filter cannot be loaded");
	namespacer_say_levels();
}

static void
namespacer_summarize(void)
{
	const struct schedule_counts *snapshots = schedule_counts();
	const struct life_counts *processes = life_counts();
	const struct fleet_counts *namespaces = fleet_counts();
	const struct discovery_counts *looks = discovery_counts();

	log_info("snapshots: %" PRIu64 " taken, %" PRIu64 " incomplete, %" PRIu64 " late",
	    snapshots->taken, snapshots->incomplete, snapshots->late);
	log_info("collectors: %" PRIu64 " started, %" PRIu64 " crashed (%" PRIu64 " by a refused call), %" PRIu64
	    " could not be set up, %" PRIu64 " hostile, %" PRIu64 " replaced by one with a larger ring; %" PRIu64 " rings lost",
	    processes->started, processes->crashed, processes->trapped, processes->setup_faults, processes->hostile,
	    processes->outgrown, handover_counts()->lost_rings);
	log_info("namespaces: %" PRIu64 " appeared, %" PRIu64 " gone, %" PRIu64 " renamed; %" PRIu64 " scans, %" PRIu64
	    " ms of CPU to find them, %" PRIu64 " entries that are none, %" PRIu64 " vanished, %" PRIu64 " refused",
	    namespaces->appeared, namespaces->gone, namespaces->renamed, looks->scans, namespaces->nanoseconds / MILLISECOND,
	    looks->strangers, looks->vanished, looks->refused);
}

/* Nobody is left behind: the children are killed, and waited for. */
static void
namespacer_finish(void)
{
	uint64_t unread;

	notify_stopping();
	/* What was counted since the last tick; a shipper goes on showing it. */
	counts_send();
	if (!namespacer.finished)
		fleet_stop();
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (!namespacer.finished && !link_is_up() && (unread = handover_unread()) > 0)
		log_warning("%" PRIu64 " bytes of records are lost: no shipper was there to take their rings", unread);
	link_stop();
	namespacer_summarize();
}

int
main(int argc, char **argv)
{
	struct empty empty;
	int code;

	namespacer.heap = sbrk(0);
	title_init(argc, argv);
	(void)confine_unblock_signals();
	log_init("tcpdiag-namespacer", LOG_LEVEL_INFO);
	config_init(&namespacer.config);
	if ((code = config_parse(&namespacer.config, &namespacer_program, argc, argv, NULL)) != -1)
		return code;
	privilege_check();
	namespacer_find_users();
	notify_init();
	netns_init();
	discovery_init(&namespacer.config.netns_folder);
	if ((namespacer.base = event_base_new()) == NULL)
		fatal_errno(EXIT_CODE_SYSTEM, "event loop");
	namespacer_confine(&empty);
	namespacer_start_schedule();
	namespacer_start_events();
	namespacer_start_link();
	if (fleet_start(namespacer.base, &namespacer.config.netns, namespacer.config.interval) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "namespaces cannot be watched");
	fleet_scan();
	schedule_known();
	notify_ready();
	title_set("tcpdiag: namespacer");
	event_base_dispatch(namespacer.base);
	namespacer_finish();
	return namespacer.code;
}
