/*
 * The shipper's books: what it took in and what became of it.  metrics.def
 * says what each number is called outside.  At every moment, in records,
 *	drained + requeued = delivered + filtered + dropped (for all reasons)
 *	    + in doubt + spooled + held
 * With a spool they go on where the last life's ended; without one they are of
 * this life.
 */
#ifndef SHIPPER_BOOKS_H
#define SHIPPER_BOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "shipper/sink.h"

/* Why a record will never be delivered. */
enum books_drop {
	BOOKS_DROP_HOSTILE,	/* no record of ours: whoever wrote it owns a collector */
	BOOKS_DROP_REFUSED,	/* the sink will never take it */
	BOOKS_DROP_CRASH,	/* three shippers in a row died while they sent its batch */
	BOOKS_DROP_FULL,	/* the oldest of a full spool or queue */
	BOOKS_DROP_AGE,		/* older than spool-age */
	BOOKS_DROP_CORRUPT,	/* not what was put into the spool */
	BOOKS_DROP_LOST,	/* in a queue in memory when its shipper died */
	BOOKS_DROPS
};

struct books {
	/* records */
	uint64_t	drained;	/* copied out of rings */
	uint64_t	delivered;	/* acknowledged by the sink */
	uint64_t	filtered;	/* snapshot ends that are not asked for */
	uint64_t	dropped[BOOKS_DROPS];
	/* taken out of a ring by a life that then died, and in no spool: drained once more since, or held in its memory only */
	uint64_t	in_doubt;
	uint64_t	requeued;	/* that had been dropped as refused, and were given back by hand */
	/* these two go up and down */
	uint64_t	spooled;	/* in the spool */
	uint64_t	held;		/* in memory only */
	/* what the sink acknowledged */
	uint64_t	batches;	/* parts of refused ones too */
	uint64_t	bytes;		/* as it was given them */
	/* and what it did not */
	uint64_t	retries;	/* batches that it did not take for the moment */
	uint64_t	failures[SINK_CLASS_COUNT];	/* why: answers, and what it said of its target */
	/* objects: what batches become in a folder or a bucket */
	uint64_t	objects;	/* put */
	uint64_t	object_bytes;	/* of them */
	uint64_t	object_failures[SINK_CLASS_COUNT];	/* tries that failed, and why */
	uint64_t	parted;		/* batches that were refused and given in parts */
	/* the spool */
	uint64_t	spool_batches;	/* in it; goes up and down */
	uint64_t	spool_bytes;	/* of their records; goes up and down */
	uint64_t	spool_put;	/* batches that were put into it */
	uint64_t	spool_failures;	/* times that it did not do what it should */
	uint64_t	queue_bytes;	/* of batches in memory; goes up and down */
	/* rings */
	uint64_t	rings;		/* taken over from the namespacer */
	uint64_t	hostile;	/* closed for what their collector wrote */
	uint64_t	refused;	/* registrations that could not be */
	uint64_t	muted;		/* times a doorbell rang for nothing too often */
};

const char	*books_drop_name(enum books_drop);
/* Records dropped, for whatever reason. */
uint64_t	books_dropped(const struct books *);
/* True if the sum above holds. */
bool		books_balance(const struct books *);

#endif
