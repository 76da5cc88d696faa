/* One dump. */
#include <sys/socket.h>

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include "collector/collector.h"
#include "collector/walk.h"
#include "common/clock.h"
#include "common/fd.h"

#ifndef SO_NETNS_COOKIE		/* Linux 5.14 */
#define SO_NETNS_COOKIE	71
#endif

enum { WALK_RECEIVE_BUFFER = 1024 * 1024 };

/* What a datagram or a message that does not end the walk means for it. */
#define WALK_GOES_ON	RECORD_OUTCOME_UNSPECIFIED

static struct {
	uint32_t			sequence;
	_Alignas(NLMSG_ALIGNTO) char	buffer[WALK_BUFFER];
} walk;

int
walk_open(uint64_t *cookie)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	int size = WALK_RECEIVE_BUFFER;
	socklen_t length = sizeof(*cookie);

	/* Else any user, in a namespace of his own, could fill its queue. */
	if (fd == -1 || connect(fd, (const struct sockaddr *)&kernel, sizeof(kernel)) == -1)
		return -1;
	/* Only memory that is used counts; a dump needs one datagram at a time. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) == -1)
		return -1;
	*cookie = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &length) == -1 && errno != ENOPROTOOPT)
		return -1;
	return fd_steal(&fd);
}

/* Waits for an answer; false at the deadline. */
static bool
walk_wait(uint64_t deadline)
{
	struct pollfd answer = { .fd = COLLECTOR_FD_NETLINK, .events = POLLIN };
	uint64_t now = clock_monotonic();
	struct timespec left;
	int ready;

	if (now >= deadline)
		return false;
	left = clock_timespec(deadline - now);
	ready = ppoll(&answer, 1, &left, NULL);
	return ready > 0 || (ready == -1 && errno == EINTR);
}

/*
 * The next datagram's length, or -1 with the outcome.  Answers of a dump are
 * there at once, so that waiting is the exception.  The socket is connected to
 * the kernel, and nobody else is heard.
 */
static ssize_t
walk_receive(uint64_t deadline, enum record_outcome *outcome)
{
	for (;;) {
		ssize_t n = recv(COLLECTOR_FD_NETLINK, walk.buffer, sizeof(walk.buffer), MSG_DONTWAIT | MSG_TRUNC);
		int error;

		if (n > (ssize_t)sizeof(walk.buffer)) {
			*outcome = RECORD_OUTCOME_TRUNCATED;
			return -1;
		}
		if (n >= 0)
			return n;
		error = errno;
		if (error == EINTR || (error == EAGAIN && walk_wait(deadline)))
			continue;
		*outcome = error == EAGAIN ? RECORD_OUTCOME_SILENT :
		    error == ENOBUFS ? RECORD_OUTCOME_OVERRUN : RECORD_OUTCOME_KERNEL;
		return -1;
	}
}

/* NLMSG_DONE and NLMSG_ERROR both carry an errno first; libmnl ignores DONE's. */
static enum record_outcome
walk_end(const struct nlmsghdr *message)
{
	const int *error = mnl_nlmsg_get_payload(message);

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*error))
		return RECORD_OUTCOME_MALFORMED;
	if (message->nlmsg_type == NLMSG_DONE && *error == 0)
		return RECORD_OUTCOME_COMPLETE;
	return RECORD_OUTCOME_KERNEL;
}

static enum record_outcome
walk_message(const struct walk_handler *handler, struct nlmsghdr *message)
{
	if (message->nlmsg_seq != walk.sequence)
		return WALK_GOES_ON;	/* of an older walk */
	switch (message->nlmsg_type) {
	case NLMSG_NOOP:
		return WALK_GOES_ON;
	case NLMSG_DONE:
	case NLMSG_ERROR:
		return walk_end(message);
	case SOCK_DIAG_BY_FAMILY:
	case TCPDIAG_GETSOCK:
		if (handler->socket(handler->context, message))
			return WALK_GOES_ON;
		return RECORD_OUTCOME_MALFORMED;
	default:
		return RECORD_OUTCOME_MALFORMED;
	}
}

bool
walk_message_whole(const struct nlmsghdr *message, int left)
{
	return mnl_nlmsg_ok(message, left) && message->nlmsg_len <= (uint32_t)left;
}

static enum record_outcome
walk_datagram(const struct walk_handler *handler, size_t length)
{
	struct nlmsghdr *message = (struct nlmsghdr *)walk.buffer;
	enum record_outcome outcome = WALK_GOES_ON;
	int left = (int)length;

	while (outcome == WALK_GOES_ON && walk_message_whole(message, left)) {
		outcome = walk_message(handler, message);
		message = mnl_nlmsg_next(message, &left);
	}
	if (outcome == WALK_GOES_ON && left != 0)
		outcome = RECORD_OUTCOME_MALFORMED;
	handler->datagram(handler->context, walk.buffer, length);
	return outcome;
}

void *
walk_buffer(void)
{
	return walk.buffer;
}

/* Reads the rest of a failed walk, so that the next request is not refused. */
static void
walk_drain(const struct walk_handler *handler)
{
	for (;;) {
		ssize_t n = recv(COLLECTOR_FD_NETLINK, walk.buffer, sizeof(walk.buffer), MSG_DONTWAIT);
		struct nlmsghdr *message = (struct nlmsghdr *)walk.buffer;
		int left = (int)n;

		if (n < 0 && (errno == EINTR || errno == ENOBUFS))
			continue;
		if (n <= 0)
			return;
		for (; walk_message_whole(message, left); message = mnl_nlmsg_next(message, &left))
			if (message->nlmsg_type >= NLMSG_MIN_TYPE)
				handler->abandoned(handler->context);
	}
}

void
walk_abandon(const struct walk_handler *handler)
{
	walk_drain(handler);
	explicit_bzero(walk.buffer, sizeof(walk.buffer));
}

enum record_outcome
walk_once(enum request_dump what, const struct walk_handler *handler, uint64_t deadline)
{
	enum record_outcome outcome = WALK_GOES_ON;

	if (request_dump(what, ++walk.sequence) == -1)
		return RECORD_OUTCOME_KERNEL;
	while (outcome == WALK_GOES_ON) {
		ssize_t n = walk_receive(deadline, &outcome);

		if (n >= 0)
			outcome = walk_datagram(handler, (size_t)n);
	}
	if (outcome != RECORD_OUTCOME_COMPLETE)
		walk_abandon(handler);
	return outcome;
}
