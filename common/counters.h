/*
 * What a collector counts, in its own page of the ring.  It is the collector's
 * word: the shipper shows it, and believes only what it counted itself.
 *
 *	read = encoded + filtered + dropped (all reasons)
 */
#ifndef COMMON_COUNTERS_H
#define COMMON_COUNTERS_H

#include <stdint.h>

enum counters_drop {
	COUNTERS_DROP_DEADLINE,		/* no room in the ring in time */
	COUNTERS_DROP_ABANDONED,	/* answers to a walk that had failed */
	COUNTERS_DROP_MALFORMED,	/* a message that is none */
	COUNTERS_DROPS
};

struct counters {
	uint64_t	read;		/* socket messages from the kernel */
	uint64_t	encoded;	/* records of sockets */
	uint64_t	filtered;	/* left out by configuration */
	uint64_t	dropped[COUNTERS_DROPS];
	uint64_t	snapshots;	/* snapshot_end records */
	uint64_t	incomplete;	/* of these, not complete */
	uint64_t	attempts;	/* walks, repeated ones too */
	uint64_t	repeated;	/* a cookie twice in one walk */
	uint64_t	waits;		/* for room in the ring */
	uint64_t	short_attributes;	/* shorter than the kernel's struct */
	uint64_t	md5_keys;	/* TCP-MD5 keys overwritten */
	uint64_t	unknown_attributes[32];	/* by number; 31: that and higher */
};

#endif
