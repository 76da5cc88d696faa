/* When to try again: see backoff.h. */
#include <stdlib.h>

#include "common/clock.h"
#include "shipper/backoff.h"

#define BACKOFF_FIRST	SECOND
#define BACKOFF_MOST	(5 * MINUTE)
#define BACKOFF_HURRY	(250 * MILLISECOND)

uint64_t
backoff_failed(struct backoff *b)
{
	uint64_t first = b->first > 0 ? b->first : BACKOFF_FIRST;

	if (b->hurry) {
		if (b->wait == 0)
			b->wait = BACKOFF_HURRY;
		return BACKOFF_HURRY;
	}
	b->wait = b->wait == 0 ? first : b->wait * 2;
	if (b->wait > BACKOFF_MOST)
		b->wait = BACKOFF_MOST;
	return b->wait - (uint64_t)arc4random_uniform((uint32_t)(b->wait / 4 / MICROSECOND) + 1) * MICROSECOND;
}

bool
backoff_mended(struct backoff *b)
{
	bool failed = b->wait > 0;

	b->wait = 0;
	return failed;
}
