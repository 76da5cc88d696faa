/* The connection to the namespacer: see link.h. */
#include <sys/socket.h>

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/protocol.h"
#include "shipper/drain.h"
#include "shipper/link.h"
#include "shipper/local_socket.h"

enum {
	LINK_BACKLOG = 128,
	LINK_MESSAGES = 64,	/* read before the rest of the event loop has its turn */
	LINK_HELLO_TIME = 10,	/* s that a connection may take to say HELLO */
	LINK_SOCKET_MODE = 0666,/* root without CAP_DAC_OVERRIDE connects too; uids are checked */
	LINK_RETRY_TIME = 1,	/* s, when a connection cannot be accepted */
	LINK_COUNTS = sizeof(struct protocol_grown) / sizeof(uint64_t),
};

struct link_news {
	uint32_t	type;
	uint64_t	epoch;
};

struct link {
	struct link_options	 options;
	struct drain		*drain;
	struct local_socket	 local;
	struct event		*accept;
	struct event		*resume;	/* accepts again after a failure */
	/* the connection */
	int			 fd;
	bool			 greeted;	/* its HELLO has come */
	bool			 finished;	/* a FINISH has, here or before */
	struct protocol_counts	 last;		/* as the last namespacer said it */
	struct protocol_counts	 counts;	/* of all of them */
	pid_t			 pid;
	struct event		*readable;
	struct event		*writable;
	struct event		*silent;	/* no HELLO in time */
	/* what is not sent yet; the first of them from start on */
	struct link_news	*news;
	size_t			 start;
	size_t			 count;
	size_t			 capacity;
};

static const struct channel_type link_hello[] = {
	{ PROTOCOL_HELLO, sizeof(struct protocol_hello), 0 },
	{ 0, 0, 0 }
};

static const struct channel_type link_types[] = {
	{ PROTOCOL_RING, sizeof(struct protocol_ring), DRAIN_RING_FDS },
	{ PROTOCOL_ENDED, sizeof(struct protocol_epoch), 0 },
	{ PROTOCOL_FINISH, 0, 0 },
	{ PROTOCOL_COUNTS, sizeof(struct protocol_counts), 0 },
	{ 0, 0, 0 }
};

/* --- the end of a connection ---------------------------------------------------- */

static void
link_event_free(struct event **event)
{
	if (*event != NULL)
		event_free(*event);
	*event = NULL;
}

/* Only from the event loop's own calls: the drain must not be busy with a ring. */
static void
link_close(struct link *link)
{
	bool greeted = link->greeted;

	link_event_free(&link->readable);
	link_event_free(&link->writable);
	link_event_free(&link->silent);
	fd_close(&link->fd);
	link->greeted = false;
	link->counts.level = (struct protocol_level){ 0 };
	link->start = link->count = 0;
	if (!greeted)
		return;
	drain_orphan(link->drain);
	link->options.lost(link->options.context);
}

static void
link_break(struct link *link, const char *why)
{
	log_limited(LOG_LEVEL_ERROR, "the namespacer (pid %d) broke the protocol: it sent %s; its connection is closed",
	    (int)link->pid, why);
	link_close(link);
}

/* --- sending ---------------------------------------------------------------------- */

/* False: not now. */
static bool
link_send_news(const struct link *link, const struct link_news *news)
{
	const struct channel_type type = { news->type, sizeof(struct protocol_epoch), 0 };
	const struct protocol_epoch payload = { .epoch = news->epoch };

	/* A connection that is over is noticed by whoever reads from it. */
	return channel_send(link->fd, &type, &payload, NULL) != CHANNEL_AGAIN;
}

static void
link_write(struct link *link)
{
	while (link->start < link->count && link_send_news(link, &link->news[link->start]))
		link->start++;
	if (link->start == link->count)
		link->start = link->count = 0;
	else if (event_add(link->writable, NULL) == -1)
		fatal(EXIT_CODE_SYSTEM, "cannot wait for the namespacer's socket");
}

static void
link_writable(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	link_write(context);
}

static void
link_queue(struct link *link, uint32_t type, uint64_t epoch)
{
	struct link_news *news;

	if (!link->greeted)
		return;
	if (link->count == link->capacity) {
		link->capacity = link->capacity > 0 ? link->capacity * 2 : 64;
		news = reallocarray(link->news, link->capacity, sizeof(*news));
		if (news == NULL)
			fatal(EXIT_CODE_SYSTEM, "out of memory: %zu messages for the namespacer", link->capacity);
		link->news = news;
	}
	link->news[link->count++] = (struct link_news){ type, epoch };
	if (event_add(link->writable, NULL) == -1)
		fatal(EXIT_CODE_SYSTEM, "cannot wait for the namespacer's socket");
}

void
link_send_drained(struct link *link, uint64_t epoch)
{
	link_queue(link, PROTOCOL_DRAINED, epoch);
}

void
link_send_hostile(struct link *link, uint64_t epoch)
{
	link_queue(link, PROTOCOL_HOSTILE, epoch);
}

bool
link_is_connected(const struct link *link)
{
	return link->greeted;
}

bool
link_is_served(const struct link *link)
{
	return link->greeted || link->finished;
}

const struct protocol_counts *
link_counts(const struct link *link)
{
	return &link->counts;
}

static bool
link_greet(const struct link *link)
{
	const struct protocol_hello hello = { .name = PROTOCOL_NAME, .version = PROTOCOL_VERSION };

	return channel_send(link->fd, &link_hello[0], &hello, NULL) == CHANNEL_OK;
}

/* --- receiving -------------------------------------------------------------------- */

/* What the peer does wrong, or NULL. */
typedef const char *(*link_handle_fn)(struct link *, struct channel_message *);

static const char *
link_take_ring(struct link *link, struct channel_message *message)
{
	const struct protocol_ring *ring = (const struct protocol_ring *)message->payload;

	/* The drain's from here on. */
	message->nfds = 0;
	return drain_add(link->drain, ring, message->fds);
}

static const char *
link_take_ended(struct link *link, struct channel_message *message)
{
	const struct protocol_epoch *ended = (const struct protocol_epoch *)message->payload;

	/* One that could not be taken over was reported as hostile, and is gone. */
	if (!drain_ended(link->drain, ended->epoch))
		link_send_drained(link, ended->epoch);
	return NULL;
}

static const char *
link_take_finish(struct link *link, struct channel_message *message)
{
	(void)message;
	link->finished = true;
	link->options.finish(link->options.context);
	return NULL;
}

/* What was said before, in the same life, is in the sums already. */
static const char *
link_take_counts(struct link *link, struct channel_message *message)
{
	const struct protocol_counts *counts = (const struct protocol_counts *)message->payload;
	const uint64_t *now = (const uint64_t *)&counts->grown, *before = (const uint64_t *)&link->last.grown;
	uint64_t *sums = (uint64_t *)&link->counts.grown;
	bool same = counts->started == link->last.started;

	for (size_t i = 0; i < LINK_COUNTS; i++)
		if (same && now[i] < before[i])
			return "counts that run backwards";
	for (size_t i = 0; i < LINK_COUNTS; i++)
		sums[i] += now[i] - (same ? before[i] : 0);
	link->counts.started = counts->started;
	link->counts.level = counts->level;
	link->last = *counts;
	return NULL;
}

static const struct {
	uint32_t	type;
	link_handle_fn	handle;
} link_handlers[] = {
	{ PROTOCOL_RING, link_take_ring },
	{ PROTOCOL_ENDED, link_take_ended },
	{ PROTOCOL_FINISH, link_take_finish },
	{ PROTOCOL_COUNTS, link_take_counts },
};

static const char *
link_handle(struct link *link, struct channel_message *message)
{
	for (size_t i = 0; i < sizeof(link_handlers) / sizeof(link_handlers[0]); i++)
		if (link_handlers[i].type == message->type)
			return link_handlers[i].handle(link, message);
	return "a message that nobody expects";
}

/* False: the connection is closed. */
static bool
link_take_hello(struct link *link, const struct channel_message *message)
{
	const struct protocol_hello *hello = (const struct protocol_hello *)message->payload;

	link_event_free(&link->silent);
	if (memcmp(hello->name, PROTOCOL_NAME, sizeof(PROTOCOL_NAME)) != 0) {
		link_break(link, "no greeting");
		return false;
	}
	/* Two units that are restarted at an upgrade; it comes back by itself. */
	if (hello->version != PROTOCOL_VERSION) {
		log_limited(LOG_LEVEL_WARNING, "the namespacer (pid %d) speaks version %u and this shipper %u: closed",
		    (int)link->pid, hello->version, PROTOCOL_VERSION);
		link_close(link);
		return false;
	}
	link->greeted = true;
	log_info("the namespacer (pid %d) is connected", (int)link->pid);
	return true;
}

static bool
link_failed(struct link *link, enum channel_result result)
{
	/* A peer that dies with messages of ours unread resets the connection. */
	if (result == CHANNEL_CLOSED) {
		if (link->greeted)
			log_notice("the namespacer (pid %d) has gone; %zu rings are drained", (int)link->pid,
			    drain_rings(link->drain));
		link_close(link);
	} else if (errno == EMFILE) {
		log_limited(LOG_LEVEL_ERROR, "too many open descriptors for another ring: raise LimitNOFILE");
		link_close(link);
	} else
		link_break(link, link->greeted ? "a message that cannot be" : "something else than a greeting");
	return false;
}

/* True if there may be more to read. */
static bool
link_read(struct link *link)
{
	struct channel_message message;
	enum channel_result result;
	const char *fault;

	result = channel_receive(link->fd, link->greeted ? link_types : link_hello, &message);
	if (result == CHANNEL_AGAIN)
		return false;
	if (result != CHANNEL_OK)
		return link_failed(link, result);
	if (!link->greeted)
		return link_take_hello(link, &message);
	fault = link_handle(link, &message);
	channel_message_close(&message);
	if (fault != NULL)
		link_break(link, fault);
	return fault == NULL;
}

static void
link_readable(evutil_socket_t fd, short what, void *context)
{
	struct link *link = context;

	(void)fd;
	(void)what;
	for (int i = 0; i < LINK_MESSAGES && link_read(link); i++)
		continue;
}

static void
link_timed_out(evutil_socket_t fd, short what, void *context)
{
	struct link *link = context;

	(void)fd;
	(void)what;
	log_limited(LOG_LEVEL_WARNING, "pid %d connected and said nothing: closed", (int)link->pid);
	link_close(link);
}

/* --- a connection -------------------------------------------------------------------- */

static bool
link_add_event(struct link *link, struct event **event, int fd, short what, event_callback_fn function,
    const struct timeval *time)
{
	*event = event_new(link->options.base, fd, what, function, link);
	/* The writable one is added when there is something to write. */
	return *event != NULL && (what == EV_WRITE || event_add(*event, time) == 0);
}

static void
link_connect(struct link *link, int fd, pid_t pid)
{
	const struct timeval limit = { LINK_HELLO_TIME, 0 };

	link->fd = fd;
	link->pid = pid;
	if (link_add_event(link, &link->readable, fd, EV_READ | EV_PERSIST, link_readable, NULL) &&
	    link_add_event(link, &link->writable, fd, EV_WRITE, link_writable, NULL) &&
	    link_add_event(link, &link->silent, -1, 0, link_timed_out, &limit) && link_greet(link))
		return;
	link_close(link);
}

/* Accepts nothing for a while: epoll would call at once and for ever. */
static void
link_rest(struct link *link)
{
	const struct timeval time = { LINK_RETRY_TIME, 0 };

	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	log_limited(LOG_LEVEL_ERROR, "%s: cannot accept a connection: %s", link->options.path, strerror(errno));
	event_del(link->accept);
	(void)event_add(link->resume, &time);
}

static void
link_accept(evutil_socket_t listener, short what, void *context)
{
	struct link *link = context;
	cleanup_fd int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	uid_t uid;
	pid_t pid;

	(void)what;
	if (fd == -1) {
		link_rest(link);
		return;
	}
	if (channel_peer(fd, &uid, &pid) == -1)
		log_limited(LOG_LEVEL_WARNING, "%s: a connection without credentials is closed", link->options.path);
	else if (uid != link->options.peer)
		log_limited(LOG_LEVEL_WARNING, "%s: pid %d of uid %u is not the namespacer: closed", link->options.path, (int)pid, uid);
	else if (link->fd != -1)
		log_limited(LOG_LEVEL_WARNING, "%s: pid %d is closed: the namespacer with pid %d is connected", link->options.path,
		    (int)pid, (int)link->pid);
	else
		link_connect(link, fd_steal(&fd), pid);
}

static void
link_resumed(evutil_socket_t fd, short what, void *context)
{
	struct link *link = context;

	(void)fd;
	(void)what;
	(void)event_add(link->accept, NULL);
}

/* --- the socket -------------------------------------------------------------------------- */

struct link *
link_new(const struct link_options *options, uid_t uid, gid_t gid, char *error, size_t size)
{
	const struct local_socket_options local = {
		.key = "socket",
		.path = options->path,
		.type = SOCK_SEQPACKET,
		.mode = LINK_SOCKET_MODE,
		.uid = uid,
		.gid = gid,
	};
	struct link *link = calloc(1, sizeof(*link));

	if (link == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: the link");
	link->options = *options;
	link->fd = -1;
	if (local_socket_bind(&link->local, &local, error, size) == 0)
		return link;
	link_free(link);
	return NULL;
}

int
link_listen(struct link *link, struct drain *drain, char *error, size_t size)
{
	link->drain = drain;
	if (listen(link->local.fd, LINK_BACKLOG) == -1) {
		snprintf(error, size, "socket %s: %s", link->options.path, strerror(errno));
		return -1;
	}
	link->resume = event_new(link->options.base, -1, 0, link_resumed, link);
	if (link->resume != NULL &&
	    link_add_event(link, &link->accept, link->local.fd, EV_READ | EV_PERSIST, link_accept, NULL))
		return 0;
	snprintf(error, size, "socket %s: out of memory", link->options.path);
	return -1;
}

void
link_stop(struct link *link)
{
	link_event_free(&link->accept);
	link_event_free(&link->resume);
	local_socket_close(&link->local);
}

void
link_free(struct link *link)
{
	link_stop(link);
	link_event_free(&link->readable);
	link_event_free(&link->writable);
	link_event_free(&link->silent);
	fd_close(&link->fd);
	free(link->news);
	free(link);
}
