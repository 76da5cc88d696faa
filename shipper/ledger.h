/*
 * The ledger: one page of a file, mapped, in which the shipper keeps what the
 * next life has to know although no transaction was worth it.  What is written
 * here outlives this process however it ends, but not the machine: after a
 * loss of power it may be old, and then a new spool_epoch says so.
 *
 * The numbers are written twice, in turn, each time with a checksum; so there
 * is always a whole set of them.
 */
#ifndef SHIPPER_LEDGER_H
#define SHIPPER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

enum {
	LEDGER_DROPS = 16,	/* reasons for which there is place */
	LEDGER_SENT = 128,	/* batches with the sink that are noted */
};

/* New numbers go to the end, and unused ones keep their place: an older file is read as it is. */
struct ledger_numbers {
	uint64_t	epoch;		/* of the spool */
	uint64_t	store;		/* the id of its file */
	uint64_t	sequence;	/* of the last batch */
	uint64_t	boot;		/* when this machine was started, ns since 1970 */
	uint64_t	clean;		/* 1: that life ended as it should */
	uint64_t	drained;
	uint64_t	delivered;	/* from memory and from the spool */
	uint64_t	filtered;
	uint64_t	in_doubt;
	uint64_t	requeued;
	uint64_t	dropped[LEDGER_DROPS];
	/* The spool's own books (spool.h) when this was written. */
	uint64_t	spool_in;
	uint64_t	spool_delivered;
	uint64_t	spool_withdrawn;
	uint64_t	spool_dropped[LEDGER_DROPS];
	uint64_t	queued;		/* without a spool: given back by their rings, and not answered for */
	uint64_t	reserved[15];
};

/* A batch that the sink has, or had and did not take. */
struct ledger_sent {
	uint64_t	sequence;	/* 0: an empty place */
	uint64_t	attempts;
	uint64_t	suspect;	/* 1: if we die now, it may be the reason */
};

struct ledger;

/* Maps the file, which is made if need be.  NULL with errno. */
struct ledger	*ledger_open(const char *path);
void		 ledger_close(struct ledger *);
/* The last numbers that were written.  False if there are none, or the file holds something else. */
bool		 ledger_read(const struct ledger *, struct ledger_numbers *);
void		 ledger_write(struct ledger *, const struct ledger_numbers *);
/* LEDGER_SENT of them, in the file. */
struct ledger_sent *ledger_sent(struct ledger *);
/* The same of somebody else's file, for reading.  False if there are none. */
bool		 ledger_peek(const char *path, struct ledger_numbers *, struct ledger_sent sent[LEDGER_SENT]);
/* When this machine was started, by its clock; and whether two such times are of the same start. */
uint64_t	 ledger_boot(void);
bool		 ledger_same_boot(uint64_t a, uint64_t b);

#endif
