/*
 * A batch that the sink refuses for what is in it is given in halves, and
 * those that are refused again in halves of them, down to the one record that
 * cannot be delivered.  The others are; in order.
 */
#ifndef SHIPPER_SPLIT_H
#define SHIPPER_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of a batch, and where they stand in its records. */
struct split_range {
	uint64_t	first;	/* the first of them, counted from 0 */
	uint64_t	rows;
	size_t		begin;
	size_t		end;
};

enum { SPLIT_DEPTH = 64 };	/* each refusal halves a number of 64 bits and adds one */

struct split {
	struct split_range	ranges[SPLIT_DEPTH];	/* the last one is the next to be given */
	unsigned int		count;
	uint32_t		part;			/* the number of that one */
};

/* For a batch of rows whose frames are in so many bytes.  Ends the process when memory is out. */
struct split		*split_new(uint64_t rows, size_t length);
/* The next range, as long as it is not over. */
const struct split_range *split_next(const struct split *);
/* The next range is dealt with.  True if it was the last. */
bool			 split_advance(struct split *);
/* The next range, of more than one row, becomes two of half its rows. */
void			 split_halve(struct split *, const uint8_t *records);

#endif
