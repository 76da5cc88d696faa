/*
 * Numbers that should come consecutively from 1 on: which came, which came
 * again, which came after a larger one, and which have not come.
 */
#ifndef CLI_SEQUENCES_H
#define CLI_SEQUENCES_H

#include <stddef.h>
#include <stdint.h>

enum sequence_arrival {
	SEQUENCE_NEXT,		/* larger than all before */
	SEQUENCE_LATE,		/* for the first time, but a larger one was before it */
	SEQUENCE_REPEAT,
};

struct sequence_hole {
	uint64_t	first, last;
};

/* Zeroed memory is one to which nothing has come. */
struct sequence {
	uint64_t		 highest;
	uint64_t		 late, repeats;
	struct sequence_hole	*holes;		/* ascending; what has not come below the highest */
	size_t			 nholes, capacity;
};

enum sequence_arrival	sequence_arrive(struct sequence *, uint64_t number);
void			sequence_free(struct sequence *);

#endif
