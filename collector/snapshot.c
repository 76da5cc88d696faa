/* A snapshot. */
#include <sys/socket.h>

#include <errno.h>
#include <linux/inet_diag.h>
#include <poll.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "collector/collector.h"
#include "collector/encode.h"
#include "collector/report.h"
#include "collector/snapshot.h"
#include "collector/sockstat.h"
#include "collector/walk.h"
#include "common/clock.h"
#include "common/exit.h"
#include "common/ring.h"

enum {
	SNAPSHOT_ATTEMPTS = 3,
	/* SYN_RECV is none of them, but needs a listener, which is; BOUND_INACTIVE is none. */
	SNAPSHOT_COUNTED_STATES = 0xfff,
	SNAPSHOT_WINDOW = 128,	/* cookies of a datagram that are remembered */
	SNAPSHOT_ROOM = RING_PREFIX_MAX + ENCODE_SOCKET_MAX,
	SNAPSHOT_END_ROOM = RING_PREFIX_MAX + ENCODE_END_MAX,
};

/*
 * The cookies of the last datagram and of this one.  A socket comes twice only
 * when its hash bucket changed between two receives, so the first copy stands
 * in the datagram before.
 */
struct snapshot_seen {
	uint64_t	cookies[SNAPSHOT_WINDOW];
	size_t		count;
};

static struct {
	struct ring_producer	*ring;
	struct counters		*counters;
	struct attributes	 found;
	uint64_t		 sequence;	/* of the last record */
	bool			 uncounted;	/* states are asked for that sockstat does not count */

	/* of the snapshot that is being taken */
	struct encode_metadata	 metadata;
	struct encode_end	 end;
	uint64_t		 deadline;
	uint64_t		 bytes;
	bool			 late;		/* the deadline passed while it waited */
	bool			 waited;	/* the namespacer knows */
	struct snapshot_seen	 seen[2];
	unsigned int		 now;		/* which of them is this datagram's */
} snapshot;

void
snapshot_init(struct ring_producer *ring, uint32_t states)
{
	_Static_assert(sizeof(struct counters) <= RING_COUNTERS_SIZE, "the counters fit in their page");

	snapshot.ring = ring;
	snapshot.uncounted = (states & ~SNAPSHOT_COUNTED_STATES) != 0;
	snapshot.counters = ring_counters(ring);
}

static void
snapshot_publish(void)
{
	if (ring_publish(snapshot.ring))
		report_ring_doorbell();
}

/* Waits until the shipper made room, or the deadline has passed. */
static void
snapshot_wait(size_t need)
{
	snapshot_publish();
	snapshot.counters->waits++;
	if (!snapshot.waited)
		report_waiting();
	snapshot.waited = true;
	while (ring_start_waiting(snapshot.ring, need) && !snapshot.late)
		snapshot.late = !report_wait_doorbell(snapshot.deadline);
	ring_stop_waiting(snapshot.ring);
}

/*
 * A place for need bytes, or NULL when the snapshot had to give up.  Sockets
 * ask for room for a snapshot_end besides, so that it can still say so then.
 */
static uint8_t *
snapshot_reserve(size_t need)
{
	uint8_t *place;

	for (;;) {
		switch (ring_reserve(snapshot.ring, need, &place)) {
		case RING_OK:
			return place;
		case RING_FULL:
			if (snapshot.late)
				return NULL;
			snapshot_wait(need);
			break;
		default:
			_exit(EXIT_CODE_PEER);
		}
	}
}

static void
snapshot_commit(size_t length)
{
	ring_commit(snapshot.ring, length);
	snapshot.bytes += length;
}

/* Remembers the socket; counts it if the datagram before had it already. */
static void
snapshot_remember(uint64_t cookie)
{
	const struct snapshot_seen *before = &snapshot.seen[!snapshot.now];
	struct snapshot_seen *now = &snapshot.seen[snapshot.now];
	uint64_t twice = 0;

	for (size_t i = 0; i < before->count; i++)
		twice |= before->cookies[i] == cookie;
	snapshot.end.repeated += twice;
	snapshot.counters->repeated += twice;
	if (now->count < SNAPSHOT_WINDOW)
		now->cookies[now->count++] = cookie;
}

static void
snapshot_drop(enum counters_drop reason)
{
	snapshot.counters->dropped[reason]++;
	snapshot.end.dropped++;
}

static bool
snapshot_socket(void *context, struct nlmsghdr *message)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	uint8_t *place;

	(void)context;
	snapshot.counters->read++;
	if (!attributes_find(&snapshot.found, message, snapshot.counters)) {
		snapshot_drop(COUNTERS_DROP_MALFORMED);
		return false;
	}
	if ((place = snapshot_reserve(SNAPSHOT_ROOM + SNAPSHOT_END_ROOM)) == NULL) {
		snapshot_drop(COUNTERS_DROP_DEADLINE);
		return true;
	}
	snapshot_remember(socket->id.idiag_cookie[0] | (uint64_t)socket->id.idiag_cookie[1] << 32);
	snapshot.metadata.sequence = ++snapshot.sequence;
	snapshot.metadata.counter++;
	snapshot_commit(encode_socket(place, &snapshot.metadata, &snapshot.found));
	snapshot.counters->encoded++;
	snapshot.end.published++;
	return true;
}

static void
snapshot_datagram(void *context, void *bytes, size_t length)
{
	(void)context;
	(void)bytes;
	(void)length;
	snapshot_publish();
	snapshot.now = !snapshot.now;
	snapshot.seen[snapshot.now].count = 0;
}

static void
snapshot_abandoned(void *context)
{
	(void)context;
	snapshot.counters->read++;
	snapshot_drop(COUNTERS_DROP_ABANDONED);
}

static enum record_outcome
snapshot_walk(void)
{
	static const struct walk_handler handler = {
		.socket = snapshot_socket,
		.datagram = snapshot_datagram,
		.abandoned = snapshot_abandoned,
	};
	enum record_outcome outcome;

	snapshot.end.published = snapshot.end.dropped = snapshot.end.repeated = 0;
	snapshot.seen[0].count = snapshot.seen[1].count = 0;
	snapshot.metadata.counter = 0;
	snapshot.metadata.attempt++;
	snapshot.counters->attempts++;
	outcome = walk_once(&handler, snapshot.deadline);
	return outcome == RECORD_OUTCOME_COMPLETE && snapshot.late ? RECORD_OUTCOME_DEADLINE : outcome;
}

/* A failed walk is repeated: as the next attempt, a bounded number of times. */
static enum record_outcome
snapshot_attempts(void)
{
	enum record_outcome outcome;

	do
		outcome = snapshot_walk();
	while (outcome != RECORD_OUTCOME_COMPLETE && !snapshot.late &&
	    snapshot.metadata.attempt < SNAPSHOT_ATTEMPTS && clock_monotonic() < snapshot.deadline);
	return outcome;
}

/* Nothing in use and no TIME_WAIT: then there is nothing to ask for. */
static bool
snapshot_nothing(const struct sockstat *counts)
{
	return counts->inuse == 0 && counts->tw == 0 && !snapshot.uncounted;
}

static void
snapshot_write_end(void)
{
	uint8_t *place = snapshot_reserve(SNAPSHOT_END_ROOM);

	if (snapshot.end.outcome != RECORD_OUTCOME_COMPLETE)
		snapshot.counters->incomplete++;
	if (place == NULL)
		return;		/* the namespacer is told all the same */
	snapshot.metadata.sequence = ++snapshot.sequence;
	snapshot.metadata.counter = 0;
	snapshot_commit(encode_end(place, &snapshot.metadata, &snapshot.end));
	snapshot.counters->snapshots++;
	snapshot_publish();
}

static void
snapshot_begin(const struct protocol_snapshot *order)
{
	snapshot.metadata = (struct encode_metadata){
		.timestamp = clock_real(),
		.snapshot = order->sequence,
	};
	snapshot.end = (struct encode_end){ 0 };
	snapshot.deadline = order->deadline;
	snapshot.bytes = 0;
	snapshot.late = snapshot.waited = false;
}

/* sockstat that cannot be read is no reason not to walk. */
static void
snapshot_read(struct encode_end *end)
{
	struct sockstat before = { 0 }, after = { 0 };
	bool counted = sockstat_read(COLLECTOR_FD_SOCKSTAT, COLLECTOR_FD_SOCKSTAT6, &before) == 0;

	if (counted && snapshot_nothing(&before)) {
		end->way = RECORD_WAY_SKIP;
		end->outcome = RECORD_OUTCOME_COMPLETE;
		snapshot.metadata.attempt = 1;
		return;
	}
	end->way = RECORD_WAY_WALK;
	end->outcome = snapshot_attempts();
	sockstat_read(COLLECTOR_FD_SOCKSTAT, COLLECTOR_FD_SOCKSTAT6, &after);
	end->inuse_before = before.inuse;
	end->inuse_after = after.inuse;
	end->tw_before = before.tw;
	end->tw_after = after.tw;
}

void
snapshot_take(const struct protocol_snapshot *order, struct protocol_taken *taken)
{
	uint64_t start = clock_monotonic();

	snapshot_begin(order);
	snapshot_read(&snapshot.end);
	snapshot.end.duration = clock_monotonic() - start;
	snapshot_write_end();
	*taken = (struct protocol_taken){
		.sequence = order->sequence,
		.records = snapshot.end.published,
		.bytes = snapshot.bytes,
		.dropped = snapshot.end.dropped,
		.duration = snapshot.end.duration,
		.outcome = snapshot.end.outcome,
		.attempts = snapshot.metadata.attempt,
		.longer = attributes_longer(),
	};
	for (unsigned int nest = 0; nest < RECORD_NESTS; nest++)
		taken->unknown[nest] = attributes_unknown(snapshot.counters, nest);
}
