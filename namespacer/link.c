/* The connection to the shipper. */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "namespacer/handover.h"
#include "namespacer/link.h"

#define LINK_STEADY	(10 * SECOND)	/* up for so long, it was a good connection */

enum { LINK_RETRY_FIRST_MS = 20, LINK_RETRY_MAX_MS = 1000, LINK_REPORTS = 64 };

static const struct channel_type link_hello = { PROTOCOL_HELLO, sizeof(struct protocol_hello), 0 };
static const struct channel_type link_ring = { PROTOCOL_RING, sizeof(struct protocol_ring), 3 };
static const struct channel_type link_ended = { PROTOCOL_ENDED, sizeof(struct protocol_epoch), 0 };
static const struct channel_type link_counts = { PROTOCOL_COUNTS, sizeof(struct protocol_counts), 0 };
static const struct channel_type link_finish = { PROTOCOL_FINISH, 0, 0 };

/* What a shipper may say before and after it has said HELLO. */
static const struct channel_type link_greeting[] = {
	{ PROTOCOL_HELLO, sizeof(struct protocol_hello), 0 },
	{ 0, 0, 0 }
};
static const struct channel_type link_reports[] = {
	{ PROTOCOL_DRAINED, sizeof(struct protocol_epoch), 0 },
	{ PROTOCOL_HOSTILE, sizeof(struct protocol_epoch), 0 },
	{ 0, 0, 0 }
};

static struct {
	struct event_base		*base;
	struct event			*retry, *readable, *writable;
	struct link_callbacks		 callbacks;
	struct sockaddr_un		 address;
	uid_t				 uid;
	int				 fd;
	int				 last;		/* pidfd of the last shipper that got rings */
	pid_t				 last_pid;
	bool				 untried;	/* the last one has not said HELLO yet */
	bool				 up;
	bool				 finish;	/* FINISH is to be sent */
	bool				 finished;	/* it was: the shipper will go */
	unsigned int			 delay;		/* ms, of the next try */
	uint64_t			 since;		/* when it came up */
	int				 complained;	/* errno that was logged last */
} the_link = { .fd = -1, .last = -1 };

static void	link_down(const char *why);
static void	link_flush(void);

static void
link_retry_later(void)
{
	struct timeval pause = { the_link.delay / 1000, the_link.delay % 1000 * 1000 };

	event_add(the_link.retry, &pause);
	the_link.delay = the_link.delay * 2 < LINK_RETRY_MAX_MS ? the_link.delay * 2 : LINK_RETRY_MAX_MS;
}

/* One line for each new reason, not for each try. */
static void
link_complain(int error, const char *what)
{
	if (the_link.complained == error)
		return;
	the_link.complained = error;
	errno = error;
	log_errno(LOG_LEVEL_NOTICE, "waiting for the shipper at %s: %s", the_link.address.sun_path, what);
}

/*
 * Sends; a full socket is told by false and tried again when it is writable.
 * Messages are few and small, so that this is rare.
 */
static bool
link_send(const struct channel_type *type, const void *payload, const int *fds)
{
	switch (channel_send(the_link.fd, type, payload, fds)) {
	case CHANNEL_OK:
		return true;
	case CHANNEL_AGAIN:
		event_add(the_link.writable, NULL);
		return false;
	default:
		link_down("it has gone");
		return false;
	}
}

void
link_send_ring(struct handover *ring)
{
	const int fds[] = { ring->memory.data_fd, ring->memory.control_fd, ring->doorbell };

	if (the_link.up && ring->known && !ring->sent)
		ring->sent = link_send(&link_ring, &ring->identity, fds);
}

void
link_send_ended(struct handover *ring)
{
	const struct protocol_epoch ended = { ring->identity.epoch };

	/* One that this shipper does not have is sent as an ended one. */
	if (!ring->sent)
		link_send_ring(ring);
	else if (the_link.up && !link_send(&link_ended, &ended, NULL) && the_link.up)
		link_down("it does not read");
}

void
link_send_counts(const struct protocol_counts *counts)
{
	if (the_link.up)
		(void)link_send(&link_counts, counts, NULL);
}

void
link_send_finish(void)
{
	the_link.finish = true;
	if (the_link.up)
		link_flush();
}

/* Everything that this shipper has not got yet. */
static void
link_flush(void)
{
	struct handover *ring;

	TAILQ_FOREACH(ring, &handover_all, all) {
		link_send_ring(ring);
		if (!the_link.up || (ring->known && !ring->sent))
			return;
	}
	if (the_link.finish && link_send(&link_finish, NULL, NULL)) {
		the_link.finish = false;
		the_link.finished = true;
	}
}

static void
link_writable(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	if (the_link.up)
		link_flush();
}

static void
link_greeted(const struct protocol_hello *hello)
{
	if (memcmp(hello->name, PROTOCOL_NAME, sizeof(PROTOCOL_NAME)) != 0 || hello->version != PROTOCOL_VERSION) {
		link_complain(EPROTONOSUPPORT, "it speaks another version; is an upgrade under way?");
		link_down(NULL);
		return;
	}
	the_link.up = true;
	the_link.untried = false;
	the_link.since = clock_monotonic();
	the_link.complained = 0;
	log_info("connected to the shipper at %s", the_link.address.sun_path);
	link_flush();
	if (the_link.up)
		the_link.callbacks.up();
}

static void
link_take(const struct channel_message *message)
{
	struct protocol_epoch report;
	struct handover *ring;

	if (message->type == PROTOCOL_HELLO) {
		link_greeted((const struct protocol_hello *)message->payload);
		return;
	}
	memcpy(&report, message->payload, sizeof(report));
	if (message->type == PROTOCOL_HOSTILE)
		the_link.callbacks.hostile(report.epoch);
	else if ((ring = handover_find(report.epoch)) != NULL && ring->identity.ended)
		handover_free(ring);
}

static void
link_readable(evutil_socket_t fd, short what, void *context)
{
	struct channel_message message;
	enum channel_result result = CHANNEL_OK;

	(void)fd;
	(void)what;
	(void)context;
	for (unsigned int i = 0; i < LINK_REPORTS && the_link.fd != -1 && result == CHANNEL_OK; i++) {
		result = channel_receive(the_link.fd, the_link.up ? link_reports : link_greeting, &message);
		if (result == CHANNEL_OK)
			link_take(&message);
	}
	if (result == CHANNEL_CLOSED)
		link_down("it has gone");
	else if (result == CHANNEL_BROKEN)
		link_down("it does not keep to the protocol");
}

static bool
link_last_has_ended(void)
{
	struct pollfd last = { .fd = the_link.last, .events = POLLIN };

	return the_link.last == -1 || poll(&last, 1, 0) == 1;
}

/*
 * The listener's user decides, not who connected last.  A shipper that still
 * lives keeps the rings that it got; another one must wait for its end.
 */
static int
link_check_peer(int fd)
{
	uid_t uid;
	pid_t pid;

	if (channel_peer(fd, &uid, &pid) == -1)
		return -1;
	if (uid != the_link.uid) {
		errno = EPERM;
		return -1;
	}
	if (!link_last_has_ended() && pid == the_link.last_pid)
		return 0;
	if (!link_last_has_ended()) {
		errno = EBUSY;
		return -1;
	}
	fd_close(&the_link.last);
	the_link.untried = true;
	the_link.last = (int)syscall(SYS_pidfd_open, pid, 0);
	the_link.last_pid = pid;
	return the_link.last == -1 ? -1 : 0;
}

static int
link_connect(void)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct protocol_hello hello = { .name = PROTOCOL_NAME, .version = PROTOCOL_VERSION };

	if (fd == -1 || connect(fd, (struct sockaddr *)&the_link.address, sizeof(the_link.address)) == -1 ||
	    link_check_peer(fd) == -1)
		return -1;
	if (channel_send(fd, &link_hello, &hello, NULL) != CHANNEL_OK) {
		errno = ECONNRESET;
		return -1;
	}
	the_link.fd = fd_steal(&fd);
	the_link.readable = event_new(the_link.base, the_link.fd, EV_READ | EV_PERSIST, link_readable, NULL);
	the_link.writable = event_new(the_link.base, the_link.fd, EV_WRITE, link_writable, NULL);
	event_add(the_link.readable, NULL);
	return 0;
}

static void
link_try(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	if (link_connect() == 0)
		return;
	link_complain(errno, errno == EPERM ? "who listens there is not the shipper's user" :
	    errno == EBUSY ? "the last one has not ended yet" : "not there");
	link_retry_later();
}

static void
link_close(void)
{
	if (the_link.readable != NULL)
		event_free(the_link.readable);
	if (the_link.writable != NULL)
		event_free(the_link.writable);
	the_link.readable = the_link.writable = NULL;
	fd_close(&the_link.fd);
}

static void
link_down(const char *why)
{
	bool was_up = the_link.up;
	struct handover *ring;

	if (the_link.untried)
		fd_close(&the_link.last);	/* it got nothing */
	TAILQ_FOREACH(ring, &handover_all, all)
		ring->sent = false;
	/* One that greets and goes, again and again, is not asked more often for it. */
	if (was_up && clock_monotonic() - the_link.since > LINK_STEADY)
		the_link.delay = LINK_RETRY_FIRST_MS;
	the_link.up = the_link.untried = false;
	link_close();
	if (why != NULL && !the_link.finished)
		log_limited(LOG_LEVEL_NOTICE, "lost the shipper: %s", why);
	link_retry_later();
	if (was_up)
		the_link.callbacks.down();
}

bool
link_is_up(void)
{
	return the_link.up;
}

int
link_start(struct event_base *base, const char *path, uid_t uid, const struct link_callbacks *callbacks)
{
	size_t length = strlen(path);

	if (length >= sizeof(the_link.address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	the_link.base = base;
	the_link.uid = uid;
	the_link.callbacks = *callbacks;
	the_link.address.sun_family = AF_UNIX;
	memcpy(the_link.address.sun_path, path, length + 1);
	the_link.delay = LINK_RETRY_FIRST_MS;
	if ((the_link.retry = evtimer_new(base, link_try, NULL)) == NULL)
		return -1;
	link_try(-1, 0, NULL);
	return 0;
}

void
link_stop(void)
{
	the_link.up = false;
	link_close();
	if (the_link.retry != NULL)
		event_free(the_link.retry);
	the_link.retry = NULL;
	fd_close(&the_link.last);
}
