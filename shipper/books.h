/*
 * The shipper's books.  At every moment
 *	drained = delivered + filtered + dropped + held
 * where held is what stands in batches (delivery_held).
 */
#ifndef SHIPPER_BOOKS_H
#define SHIPPER_BOOKS_H

#include <stdint.h>

struct books {
	/* records */
	uint64_t	drained;	/* copied out of rings */
	uint64_t	delivered;	/* acknowledged by the sink */
	uint64_t	filtered;	/* snapshot ends that are not asked for */
	uint64_t	dropped;	/* hostile: no record of ours */
	/* what the sink acknowledged */
	uint64_t	batches;
	uint64_t	bytes;		/* as it was given them */
	uint64_t	retries;	/* deliveries that it refused for the moment */
	/* rings */
	uint64_t	rings;		/* taken over from the namespacer */
	uint64_t	hostile;	/* closed for what their collector wrote */
	uint64_t	refused;	/* registrations that could not be */
	uint64_t	muted;		/* times a doorbell rang for nothing too often */
};

#endif
