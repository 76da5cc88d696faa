/*
 * When to try again something that failed as a whole: after 1 s, doubling to
 * 5 min, each time less by a random part of up to a quarter, so that many
 * hosts do not come back at once.
 */
#ifndef SHIPPER_BACKOFF_H
#define SHIPPER_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

struct backoff {
	uint64_t	first;	/* ns before the second try; 0: 1 s */
	uint64_t	wait;	/* the last one, without its random part; 0: all is well */
	bool		hurry;	/* the end is near: four tries a second */
};

/* It failed: ns until the next try. */
uint64_t	backoff_failed(struct backoff *);
/* It went well.  True if it had failed before. */
bool		backoff_mended(struct backoff *);

#endif
