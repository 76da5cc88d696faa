/*
 * The rings: made here, one for each collector's life, kept as long as a
 * shipper may still have to read them.  A ring outlives its collector until
 * the shipper says that it is drained, or until the orphans together are
 * larger than configured: then the oldest goes, and what was in it is lost
 * with a dead collector.
 */
#ifndef NAMESPACER_HANDOVER_H
#define NAMESPACER_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/protocol.h"
#include "common/ring.h"

struct handover {
	TAILQ_ENTRY(handover)	 all;
	struct protocol_ring	 identity;
	struct ring_memory	 memory;
	int			 doorbell;	/* the shipper's end */
	bool			 known;		/* its identity is whole: it may be sent */
	bool			 sent;		/* to the present shipper */
};

TAILQ_HEAD(handover_list, handover);

extern struct handover_list handover_all;

struct handover_counts {
	uint64_t	orphan_bytes;	/* of rings whose collector has ended */
	uint64_t	lost_rings;	/* given up before a shipper had them */
	uint64_t	lost_bytes;	/* of records in them */
};

/* limit: bytes of all orphans together. */
void		 handover_init(uint64_t limit);
/*
 * Makes a ring of size bytes, mapped for the child at *producer, and its
 * doorbell, whose other end is *collector_doorbell (the caller's).
 * identity.epoch and .size are filled in; the rest is the caller's.
 * NULL with errno.
 */
struct handover	*handover_new(uint64_t size, struct ring_producer *producer, int *collector_doorbell);
/* Its collector has ended. */
void		 handover_end(struct handover *);
/* Gives the oldest orphans up, as many as there are too many bytes of. */
void		 handover_limit(void);
void		 handover_free(struct handover *);
struct handover	*handover_find(uint64_t epoch);
/* Bytes in all rings that no shipper has released: lost, if there is none. */
uint64_t	 handover_unread(void);
const struct handover_counts *handover_counts(void);

#endif
