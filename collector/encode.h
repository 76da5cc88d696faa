/*
 * Records as protobuf, straight into the ring's memory: fields in ascending
 * order, zeros left out, driven by record.def.
 */
#ifndef COLLECTOR_ENCODE_H
#define COLLECTOR_ENCODE_H

#include <stddef.h>
#include <stdint.h>

#include "collector/attributes.h"

enum {
	ENCODE_SOCKET_MAX = RECORD_MAX,	/* bytes of a socket's record at most */
	ENCODE_END_MAX = 256,		/* bytes of a snapshot_end at most */
};

/* What a record says about itself. */
struct encode_metadata {
	uint64_t	timestamp;	/* ns since 1970, of the snapshot's start */
	uint64_t	snapshot;	/* sequence of the snapshot */
	uint64_t	sequence;	/* of the record, in the collector's life */
	uint64_t	counter;	/* of the record, in the attempt, from 1 */
	uint32_t	attempt;	/* from 1 */
};

/* The end of a snapshot. */
struct encode_end {
	enum record_way		way;
	enum record_outcome	outcome;
	uint64_t		published, dropped, repeated;
	uint64_t		inuse_before, inuse_after, tw_before, tw_after;
	uint64_t		duration;	/* ns */
};

/*
 * Both write a whole record, its length in front, and return its bytes.
 * to has room for ENCODE_SOCKET_MAX (ENCODE_END_MAX) and the prefix.
 */
size_t	encode_socket(uint8_t *to, const struct encode_metadata *, const struct attributes *);
size_t	encode_end(uint8_t *to, const struct encode_metadata *, const struct encode_end *);

#endif
