/* Sockets by id. */
#include <sys/socket.h>

#include <errno.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include <linux/sock_diag.h>

#include "collector/collector.h"
#include "collector/known.h"
#include "collector/targeted.h"

enum {
	TARGETED_ANSWERS = 16,	/* that are received by one call: more would touch more memory for little */
	TARGETED_ANSWER = 1024,	/* bytes of one at most; twice what 6.18 sends */
};

_Static_assert(TARGETED_ANSWERS * TARGETED_ANSWER <= WALK_BUFFER, "they have room in the walk's buffer");

static struct {
	struct mmsghdr			 received[TARGETED_ANSWERS];
	struct iovec			 places[TARGETED_ANSWERS];

	/* of the snapshot that is being taken */
	const struct walk_handler	*handler;
	struct targeted_figures		*figures;
	uint64_t			 spare;		/* so many may be gone, and no more */
	size_t				 listeners;	/* were known before */
	size_t				 cursor;	/* the next one, if they come in the same order */
	bool				 seen[KNOWN_LISTENERS];
} targeted;

static void
targeted_place_buffers(void)
{
	char *buffer = walk_buffer();

	for (size_t i = 0; i < TARGETED_ANSWERS; i++) {
		targeted.places[i] = (struct iovec){ buffer + i * TARGETED_ANSWER, TARGETED_ANSWER };
		targeted.received[i].msg_hdr = (struct msghdr){ .msg_iov = &targeted.places[i], .msg_iovlen = 1 };
	}
}

/* One is gone; false if that is one too many. */
static bool
targeted_miss(void)
{
	targeted.figures->gone++;
	if (targeted.spare == 0)
		return false;
	targeted.spare--;
	return true;
}

/* --- listeners --------------------------------------------------------- */

/*
 * Its place among those that were known, or behind them.  They nearly always
 * come in the order of the last time.
 */
static size_t
targeted_find_listener(uint64_t cookie)
{
	for (size_t i = 0; i < targeted.listeners; i++) {
		size_t at = targeted.cursor + i;

		at -= at < targeted.listeners ? 0 : targeted.listeners;
		if (known.listeners[at] == cookie)
			return at;
	}
	return targeted.listeners;
}

/*
 * A new one is known from now on, but is no proof: it may be younger than the
 * counts.
 */
static bool
targeted_listener(void *context, struct nlmsghdr *message)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	size_t at = targeted.listeners;

	(void)context;
	if (mnl_nlmsg_get_payload_len(message) >= sizeof(*socket)) {
		uint64_t cookie = known_cookie(&socket->id);

		at = targeted_find_listener(cookie);
		if (at == targeted.listeners && known.nlisteners < KNOWN_LISTENERS)
			known.listeners[known.nlisteners++] = cookie;
	}
	if (at < targeted.listeners && !targeted.seen[at]) {
		targeted.seen[at] = true;
		targeted.cursor = at + 1;
		targeted.figures->answered++;
	}
	return targeted.handler->socket(targeted.handler->context, message);
}

static void
targeted_datagram(void *context, void *bytes, size_t length)
{
	(void)context;
	(void)bytes;
	(void)length;
}

static void
targeted_abandoned(void *context)
{
	(void)context;
	targeted.handler->abandoned(targeted.handler->context);
}

/* Those that did not answer leave the table; false if they are too many. */
static bool
targeted_keep_listeners(void)
{
	size_t kept = 0;
	bool enough = true;

	for (size_t i = 0; i < known.nlisteners; i++) {
		if (i >= targeted.listeners || targeted.seen[i])
			known.listeners[kept++] = known.listeners[i];
		else
			enough &= targeted_miss();
	}
	known.nlisteners = kept;
	return enough;
}

static enum targeted_result
targeted_read_listeners(uint64_t deadline)
{
	static const struct walk_handler handler = {
		.socket = targeted_listener,
		.datagram = targeted_datagram,
		.abandoned = targeted_abandoned,
	};

	targeted.listeners = known.nlisteners;
	targeted.cursor = 0;
	if (targeted.listeners == 0)
		return TARGETED_COMPLETE;
	memset(targeted.seen, 0, targeted.listeners);
	targeted.figures->sent += targeted.listeners;
	if (walk_once(REQUEST_LISTENERS, &handler, deadline) != RECORD_OUTCOME_COMPLETE)
		return TARGETED_FAILED;
	return targeted_keep_listeners() ? TARGETED_COMPLETE : TARGETED_UNPROVED;
}

/* --- by id ----------------------------------------------------------- */

static enum targeted_result
targeted_error(const struct nlmsghdr *answer, const struct inet_diag_sockid *id)
{
	const int *error = mnl_nlmsg_get_payload(answer);

	if (mnl_nlmsg_get_payload_len(answer) < sizeof(*error) || (*error != -ENOENT && *error != -ESTALE))
		return TARGETED_FAILED;
	known_missed(id);
	return targeted_miss() ? TARGETED_COMPLETE : TARGETED_UNPROVED;
}

/* The answer to a request; *alive: it is the socket that was meant. */
static enum targeted_result
targeted_answer(struct nlmsghdr *answer, size_t length, const struct inet_diag_sockid *id, bool *alive)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(answer);

	*alive = false;
	if (length > TARGETED_ANSWER || !walk_message_whole(answer, (int)length) || answer->nlmsg_seq != 0)
		return TARGETED_FAILED;
	if (answer->nlmsg_type == NLMSG_ERROR)
		return targeted_error(answer, id);
	if (answer->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(answer) < sizeof(*socket) ||
	    known_cookie(&socket->id) != known_cookie(id))
		return TARGETED_FAILED;
	*alive = true;
	targeted.figures->answered++;
	return targeted.handler->socket(targeted.handler->context, answer) ? TARGETED_COMPLETE : TARGETED_FAILED;
}

/* The answers to the ids, as many as one call receives, or -1. */
static int
targeted_receive(size_t wanted)
{
	unsigned int most = wanted < TARGETED_ANSWERS ? (unsigned int)wanted : TARGETED_ANSWERS;
	int n;

	do
		n = recvmmsg(COLLECTOR_FD_NETLINK, targeted.received, most, MSG_DONTWAIT | MSG_TRUNC, NULL);
	while (n == -1 && errno == EINTR);
	return n;
}

/* Asks for a row of ids and moves those that are left to the table's place kept. */
static enum targeted_result
targeted_read_batch(size_t first, size_t count, size_t *kept)
{
	enum targeted_result result = TARGETED_COMPLETE;
	size_t done = 0;

	while (done < count) {
		int n = targeted_receive(count - done);

		if (n <= 0)
			return TARGETED_FAILED;
		for (int i = 0; i < n && result == TARGETED_COMPLETE; i++, done++) {
			bool alive;

			result = targeted_answer(targeted.places[i].iov_base, targeted.received[i].msg_len,
			    &known.ids[first + done], &alive);
			if (alive)
				known.ids[(*kept)++] = known.ids[first + done];
		}
		if (result != TARGETED_COMPLETE)
			return result;
	}
	return TARGETED_COMPLETE;
}

static enum targeted_result
targeted_read_ids(void)
{
	enum targeted_result result = TARGETED_COMPLETE;
	size_t kept = 0, next = 0;

	while (next < known.count && result == TARGETED_COMPLETE) {
		int asked = request_read(&known.ids[next], known.count - next);

		if (asked == -1)
			return TARGETED_FAILED;
		targeted.figures->sent += (uint64_t)asked;
		result = targeted_read_batch(next, (size_t)asked, &kept);
		next += (size_t)asked;
	}
	if (result == TARGETED_COMPLETE)
		known.count = kept;
	return result;
}

enum targeted_result
targeted_read(const struct walk_handler *handler, uint64_t counted, uint64_t deadline, struct targeted_figures *figures)
{
	enum targeted_result result;

	*figures = (struct targeted_figures){ 0 };
	if (known_total() < counted)
		return TARGETED_UNPROVED;
	targeted.handler = handler;
	targeted.figures = figures;
	targeted.spare = known_total() - counted;
	targeted_place_buffers();
	result = targeted_read_listeners(deadline);
	if (result == TARGETED_COMPLETE)
		result = targeted_read_ids();
	if (result == TARGETED_COMPLETE && figures->answered != counted)
		result = TARGETED_UNPROVED;
	if (result == TARGETED_COMPLETE)
		return result;
	/* What it held is mixed with what is gone. */
	known.whole = false;
	walk_abandon(handler);
	return result;
}
