/* A snapshot. */
#include <string.h>

#include <libmnl/libmnl.h>

#include "collector/choice.h"
#include "collector/collector.h"
#include "collector/known.h"
#include "collector/publish.h"
#include "collector/snapshot.h"
#include "collector/sockstat.h"
#include "collector/targeted.h"
#include "collector/walk.h"
#include "common/clock.h"

enum {
	SNAPSHOT_WALKS = 3,	/* of one snapshot */
	/* SYN_RECV is none of them, but needs a listener, which is; BOUND_INACTIVE is none. */
	SNAPSHOT_COUNTED_STATES = 0xfff,
	SNAPSHOT_NEIGHBOURS = 32,	/* sockets on either side of a datagram's end */
};

/*
 * A socket comes twice when others were put before it into its hash bucket
 * between two receives: then it stands among the last of one datagram and the
 * first of the next.
 */
struct snapshot_seen {
	uint64_t	last[SNAPSHOT_NEIGHBOURS];	/* of the datagram before, in any order */
	uint64_t	now[SNAPSHOT_NEIGHBOURS];	/* of this one, round and round */
	unsigned int	count;				/* of this one */
};

static struct {
	struct counters		*counters;
	struct attributes	 found;
	bool			 skips;		/* nothing counted means that nothing is asked for */
	bool			 learns;	/* what a walk finds is worth knowing */

	/* of the snapshot that is being taken */
	struct encode_metadata	 metadata;
	struct encode_end	 end;
	uint64_t		 deadline;
	struct snapshot_seen	 seen;
} snapshot;

void
snapshot_init(const struct collector_start *start)
{
	/* Counts prove nothing if there may be what they leave out, or if not all in them is asked for. */
	bool counted = (start->states & ~SNAPSHOT_COUNTED_STATES) == 0;
	bool provable = start->states == SNAPSHOT_COUNTED_STATES;

	snapshot.counters = publish_init(start->ring);
	snapshot.skips = counted && start->way != RECORD_WAY_WALK;
	snapshot.learns = provable && start->way != RECORD_WAY_WALK;
	choice_init(start->way, provable, start->inode);
}

static uint64_t
snapshot_clock(void)
{
	return clock_read(CLOCK_THREAD_CPUTIME_ID);
}

/* --- what comes from the kernel ---------------------------------------- */

/* Remembers the socket; counts it if the datagram before had it already. */
static void
snapshot_remember(const struct inet_diag_msg *socket)
{
	struct snapshot_seen *seen = &snapshot.seen;
	uint64_t cookie = known_cookie(&socket->id), twice = 0;

	if (seen->count < SNAPSHOT_NEIGHBOURS)
		for (size_t i = 0; i < SNAPSHOT_NEIGHBOURS; i++)
			twice |= seen->last[i] == cookie;
	seen->now[seen->count++ % SNAPSHOT_NEIGHBOURS] = cookie;
	snapshot.end.repeated += twice;
	snapshot.counters->repeated += twice;
	known_add(socket);
}

static void
snapshot_drop(enum counters_drop reason, uint64_t count)
{
	snapshot.counters->read += count;
	snapshot.counters->dropped[reason] += count;
	snapshot.end.dropped += count;
}

static bool
snapshot_socket(void *context, struct nlmsghdr *message)
{
	(void)context;
	if (!attributes_find(&snapshot.found, message, snapshot.counters)) {
		snapshot_drop(COUNTERS_DROP_MALFORMED, 1);
		return false;
	}
	snapshot.metadata.counter++;
	if (publish_socket(&snapshot.metadata, &snapshot.found)) {
		snapshot.end.published++;
		return true;
	}
	snapshot.metadata.counter--;
	snapshot_drop(COUNTERS_DROP_DEADLINE, 1);
	return true;
}

static bool
snapshot_walked_socket(void *context, struct nlmsghdr *message)
{
	if (!snapshot_socket(context, message))
		return false;
	snapshot_remember(mnl_nlmsg_get_payload(message));
	return true;
}

static void
snapshot_datagram(void *context, void *bytes, size_t length)
{
	(void)context;
	(void)bytes;
	(void)length;
	publish_show();
	memcpy(snapshot.seen.last, snapshot.seen.now, sizeof(snapshot.seen.last));
	snapshot.seen.count = 0;
}

static void
snapshot_abandoned(void *context)
{
	(void)context;
	snapshot_drop(COUNTERS_DROP_ABANDONED, 1);
}

/* --- the ways ---------------------------------------------------------- */

static void
snapshot_begin_attempt(enum record_way way)
{
	snapshot.end.way = way;
	snapshot.end.published = snapshot.end.dropped = snapshot.end.repeated = 0;
	snapshot.metadata.counter = 0;
	snapshot.metadata.attempt++;
	snapshot.counters->attempts++;
}

/* learns: what it finds shall be known afterwards. */
static enum record_outcome
snapshot_walk(bool learns)
{
	static const struct walk_handler handler = {
		.socket = snapshot_walked_socket,
		.datagram = snapshot_datagram,
		.abandoned = snapshot_abandoned,
	};
	uint64_t start = snapshot_clock();
	enum record_outcome outcome;

	snapshot_begin_attempt(RECORD_WAY_WALK);
	snapshot.seen = (struct snapshot_seen){ 0 };
	known_begin(learns);
	outcome = walk_once(REQUEST_WALK, &handler, snapshot.deadline);
	known_end(outcome == RECORD_OUTCOME_COMPLETE && snapshot.end.repeated == 0);
	if (outcome == RECORD_OUTCOME_COMPLETE)
		choice_walked(snapshot_clock() - start);
	return outcome;
}

/* A failed walk is repeated: as the next attempt, a bounded number of times. */
static enum record_outcome
snapshot_walks(enum counters_walk why, uint64_t counted)
{
	bool learns = snapshot.learns && counted <= KNOWN_SOCKETS;
	enum record_outcome outcome;
	unsigned int walks = 0;

	snapshot.counters->walks[why]++;
	do
		outcome = snapshot_walk(learns);
	while (outcome != RECORD_OUTCOME_COMPLETE && !publish_late() &&
	    ++walks < SNAPSHOT_WALKS && clock_monotonic() < snapshot.deadline);
	return outcome;
}

/*
 * Nothing is shown before it is proved, as far as the ring has room.  What
 * fails is taken back.  True if the snapshot is complete by it; else the reason
 * to walk.
 */
static bool
snapshot_targeted(uint64_t counted, enum counters_walk *why)
{
	static const struct walk_handler handler = {
		.socket = snapshot_socket,
		.datagram = snapshot_datagram,
		.abandoned = snapshot_abandoned,
	};
	struct counters *counters = snapshot.counters;
	bool measures = choice_measures_reads();
	uint64_t start = measures ? snapshot_clock() : 0, withdrawn;
	struct targeted_figures figures;
	enum targeted_result result;

	snapshot_begin_attempt(RECORD_WAY_TARGETED);
	result = targeted_read(&handler, counted, snapshot.deadline, &figures);
	choice_read(measures ? snapshot_clock() - start : 0, figures.answered + figures.gone, result == TARGETED_COMPLETE);
	counters->targeted_sent += figures.sent;
	counters->targeted_answered += figures.answered;
	counters->targeted_gone += figures.gone;
	if (result == TARGETED_COMPLETE)
		return true;
	*why = result == TARGETED_UNPROVED ? COUNTERS_WALK_UNPROVED : COUNTERS_WALK_FAILED;
	withdrawn = publish_withdraw();
	counters->read += withdrawn;
	counters->dropped[COUNTERS_DROP_UNPROVED] += withdrawn;
	return false;
}

/* sockstat that cannot be read is no reason not to walk. */
static enum record_outcome
snapshot_read(const struct sockstat *counts, bool counted)
{
	uint64_t total = counts->inuse + counts->tw;
	enum counters_walk why = COUNTERS_WALK_COUNTS;

	if (counted && total == 0 && snapshot.skips) {
		snapshot.end.way = RECORD_WAY_SKIP;
		snapshot.metadata.attempt = 1;
		return RECORD_OUTCOME_COMPLETE;
	}
	if (counted && choice_make(total, &why) == RECORD_WAY_TARGETED && snapshot_targeted(total, &why))
		return RECORD_OUTCOME_COMPLETE;
	return snapshot_walks(why, total);
}

/* --- the whole --------------------------------------------------------- */

static void
snapshot_begin(const struct protocol_snapshot *order)
{
	snapshot.metadata = (struct encode_metadata){
		.timestamp = clock_real(),
		.snapshot = order->sequence,
	};
	snapshot.end = (struct encode_end){ 0 };
	snapshot.deadline = order->deadline;
	publish_begin(order->deadline);
}

static void
snapshot_take_all(struct encode_end *end)
{
	struct sockstat before = { 0 }, after = { 0 };
	bool counted = sockstat_read(COLLECTOR_FD_SOCKSTAT, COLLECTOR_FD_SOCKSTAT6, &before) == 0;

	end->outcome = snapshot_read(&before, counted);
	if (end->outcome == RECORD_OUTCOME_COMPLETE && publish_late())
		end->outcome = RECORD_OUTCOME_DEADLINE;
	if (end->way != RECORD_WAY_SKIP)
		sockstat_read(COLLECTOR_FD_SOCKSTAT, COLLECTOR_FD_SOCKSTAT6, &after);
	end->inuse_before = before.inuse;
	end->inuse_after = after.inuse;
	end->tw_before = before.tw;
	end->tw_after = after.tw;
}

/* If there is no room for it, the namespacer is told all the same. */
static void
snapshot_write_end(void)
{
	snapshot.counters->ways[snapshot.end.way]++;
	if (snapshot.end.outcome != RECORD_OUTCOME_COMPLETE)
		snapshot.counters->incomplete++;
	snapshot.metadata.counter = 0;
	publish_end(&snapshot.metadata, &snapshot.end);
}

void
snapshot_take(const struct protocol_snapshot *order, struct protocol_taken *taken)
{
	uint64_t start = clock_monotonic();

	snapshot_begin(order);
	snapshot_take_all(&snapshot.end);
	snapshot.end.duration = clock_monotonic() - start;
	snapshot_write_end();
	*taken = (struct protocol_taken){
		.sequence = order->sequence,
		.records = snapshot.end.published,
		.bytes = publish_bytes(),
		.dropped = snapshot.end.dropped,
		.duration = snapshot.end.duration,
		.outcome = snapshot.end.outcome,
		.attempts = snapshot.metadata.attempt,
		.longer = attributes_longer(),
		.way = snapshot.end.way,
	};
	for (unsigned int nest = 0; nest < RECORD_NESTS; nest++)
		taken->unknown[nest] = attributes_unknown(snapshot.counters, nest);
}
