/*
 * What a collector counts, in its own page of the ring.  It is the collector's
 * word: the shipper shows it, and believes only what it counted itself.
 *
 *	read = encoded + filtered + dropped (all reasons)
 */
#ifndef COMMON_COUNTERS_H
#define COMMON_COUNTERS_H

#include <stdint.h>

#include "common/record.h"

enum counters_drop {
	COUNTERS_DROP_DEADLINE,		/* no room in the ring in time */
	COUNTERS_DROP_ABANDONED,	/* answers to a walk that had failed */
	COUNTERS_DROP_MALFORMED,	/* a message that is none */
	COUNTERS_DROP_UNPROVED,		/* targeted reads that were not all; a walk followed */
	COUNTERS_DROPS
};

enum { COUNTERS_KINDS = 32 };
/* Why a snapshot was taken by a walk. */
enum counters_walk {
	COUNTERS_WALK_FORCED,		/* by configuration */
	COUNTERS_WALK_STATES,		/* not all that is counted is asked for */
	COUNTERS_WALK_COUNTS,		/* sockstat could not be read */
	COUNTERS_WALK_HALF_OPEN,	/* the last one found SYN_RECV */
	COUNTERS_WALK_UNKNOWN,		/* the first one, or one after which not all was known */
	COUNTERS_WALK_NEW,		/* more sockets than are known */
	COUNTERS_WALK_MEASURED,		/* to know again what it costs, and what is half open */
	COUNTERS_WALK_CHEAPER,
	/* after targeted reads: */
	COUNTERS_WALK_UNPROVED,		/* fewer sockets answered than were counted */
	COUNTERS_WALK_FAILED,		/* the kernel did not answer as it should */
	COUNTERS_WALKS
};

struct counters {
	/*
	 * Socket messages from the kernel, counted with what becomes of them:
	 * a collector may be killed while one waits for room.
	 */
	uint64_t	read;
	uint64_t	encoded;	/* records of sockets */
	uint64_t	filtered;	/* left out by configuration */
	uint64_t	dropped[COUNTERS_DROPS];
	uint64_t	snapshots;	/* snapshot_end records */
	uint64_t	incomplete;	/* of these, not complete */
	uint64_t	ways[RECORD_WAYS];	/* snapshots, by the way of the last attempt */
	uint64_t	walks[COUNTERS_WALKS];	/* snapshots that took a walk, by the reason */
	uint64_t	attempts;	/* repeated walks and failed targeted reads too */
	uint64_t	targeted_sent;	/* sockets that were asked for by targeted reads, */
	uint64_t	targeted_answered;	/* that answered, */
	uint64_t	targeted_gone;	/* and that were no more */
	uint64_t	repeated;	/* a cookie twice in one walk */
	uint64_t	waits;		/* for room in the ring */
	uint64_t	short_attributes;	/* shorter than any kernel's, or a nest that is cut */
	uint64_t	md5_keys;	/* TCP-MD5 keys overwritten */
	/* by nest (the message itself first) and number; the last: that and higher */
	uint64_t	unknown_attributes[RECORD_NESTS][COUNTERS_KINDS];
	uint64_t	long_attributes;	/* with bytes that we do not know, which are left out */
	uint64_t	tail_bytes;		/* of tcp_info, behind what we know: they are kept ... */
	uint64_t	cut_bytes;		/* ... but for so many of them */
};

#endif
