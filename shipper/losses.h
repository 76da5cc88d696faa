/*
 * Says which batches were given up: one line for as many in a row as were
 * given up for one reason, at most one line a second and reason, and none left out.
 */
#ifndef SHIPPER_LOSSES_H
#define SHIPPER_LOSSES_H

#include <stdint.h>

#include "shipper/books.h"

struct losses {
	enum books_drop	reason;
	uint64_t	epoch;
	uint64_t	first;
	uint64_t	last;
	uint64_t	batches;	/* 0: there is nothing to say */
	uint64_t	rows;
};

void	losses_add(struct losses *, enum books_drop, uint64_t epoch, uint64_t sequence, uint64_t rows);
/* Says what there is to say: once a second, and at the end. */
void	losses_tell(struct losses *);

#endif
