/*
 * The shipper's books: what it took in and what became of it.  metrics.def
 * says what each number is called outside.  At every moment, in records,
 *	drained = delivered + filtered + dropped (for all reasons) + held
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
	BOOKS_DROPS
};

struct books {
	/* records */
	uint64_t	drained;	/* copied out of rings */
	uint64_t	delivered;	/* acknowledged by the sink */
	uint64_t	filtered;	/* snapshot ends that are not asked for */
	uint64_t	dropped[BOOKS_DROPS];
	uint64_t	held;		/* in memory, not answered for: goes up and down */
	/* what the sink acknowledged */
	uint64_t	batches;	/* parts of refused ones too */
	uint64_t	bytes;		/* as it was given them */
	/* and what it did not */
	uint64_t	retries;	/* batches that it did not take for the moment */
	uint64_t	failures[SINK_CLASS_COUNT];	/* why: answers, and what it said of its target */
	/* rings */
	uint64_t	rings;		/* taken over from the namespacer */
	uint64_t	hostile;	/* closed for what their collector wrote */
	uint64_t	refused;	/* registrations that could not be */
	uint64_t	muted;		/* times a doorbell rang for nothing too often */
};

/* Records dropped, for whatever reason. */
uint64_t	books_dropped(const struct books *);
/* True if the sum above holds. */
bool		books_balance(const struct books *);

#endif
