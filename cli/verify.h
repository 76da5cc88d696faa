/*
 * Whether all that was sent has come: batches by the headers of their messages,
 * records by their numbers within each collector's life, snapshots by the
 * record that ends them.
 */
#ifndef CLI_VERIFY_H
#define CLI_VERIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/record_reader.h"

struct verify;

/* What a message's headers say; host is copied. */
struct verify_batch {
	const char	*host;
	uint64_t	 spool_epoch;
	uint64_t	 sequence;	/* 0: it does not say */
	uint32_t	 part;		/* 0: it is whole */
};

struct verify	*verify_new(void);
void		 verify_batch(struct verify *, const struct verify_batch *);
/*
 * ends: its format has the records that end a snapshot.  Without them numbers
 * are missing that were never written, so only order and repeats are told.
 */
void		 verify_record(struct verify *, const struct record *, bool ends);
/*
 * Prints what is missing, then the sums.  whole: what was read begins where
 * everything began, so numbers have to begin with 1.
 * Returns true if batches or records are missing.
 */
bool		 verify_report(struct verify *, bool whole, FILE *);
void		 verify_free(struct verify *);

#endif
