/* Sums over rings: see account.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/account.h"

enum {
	ACCOUNT_NUMBERS = sizeof(struct account) / sizeof(uint64_t),
	ACCOUNT_WORDS = sizeof(struct counters) / sizeof(uint64_t),
	/* Counts, and bytes that are counted, come no faster than so many in a nanosecond and so many at once. */
	ACCOUNT_RATE = 64,
	ACCOUNT_BURST = 1 << 20,
};

static void
account_sum(struct account *to, const struct account *from)
{
	uint64_t *sums = (uint64_t *)to;
	const uint64_t *numbers = (const uint64_t *)from;

	for (size_t i = 0; i < ACCOUNT_NUMBERS; i++)
		sums[i] += numbers[i];
}

/* --- a collector's word ------------------------------------------------------------- */

static bool
account_is_possible(const struct counters *before, const struct counters *after, uint64_t most)
{
	const uint64_t *old = (const uint64_t *)before, *new = (const uint64_t *)after;

	for (size_t i = 0; i < ACCOUNT_WORDS; i++)
		if (new[i] < old[i] || new[i] - old[i] > most)
			return false;
	return true;
}

/* One that was taken over could spoil the sums of all: its word counts until it cannot be true. */
static void
account_take_word(struct account_ring *r, const struct ring_consumer *consumer)
{
	const uint64_t *old = (const uint64_t *)&r->seen, *new;
	uint64_t *news = (uint64_t *)&r->news.word, now = clock_monotonic();
	struct counters word;

	if (r->disbelieved)
		return;
	ring_copy_counters(consumer, &word, sizeof(word));
	if (!account_is_possible(&r->seen, &word, (now - r->when) * ACCOUNT_RATE + ACCOUNT_BURST)) {
		log_limited(LOG_LEVEL_WARNING, "namespace %s: its collector's counters cannot be true, and are not shown any more", r->name);
		r->disbelieved = true;
		r->news.disbelieved = 1;
		return;
	}
	new = (const uint64_t *)&word;
	for (size_t i = 0; i < ACCOUNT_WORDS; i++)
		news[i] = new[i] - old[i];
	r->seen = word;
	r->when = now;
}

/* --- namespaces --------------------------------------------------------------------------- */

static void
accounts_forget(struct accounts *a, struct account_netns *netns)
{
	LIST_REMOVE(netns, next);
	a->nnetns--;
	free(netns);
}

static struct account_netns *
accounts_find(struct accounts *a, const char *name)
{
	struct account_netns *netns;

	LIST_FOREACH(netns, &a->netns, next)
		if (strcmp(netns->name, name) == 0)
			return netns;
	return NULL;
}

/* NULL: there are too many. */
static struct account_netns *
accounts_of_netns(struct accounts *a, const char *name)
{
	struct account_netns *netns = accounts_find(a, name);

	if (netns != NULL)
		return netns;
	if (a->nnetns == ACCOUNT_NETNS || (netns = calloc(1, sizeof(*netns))) == NULL)
		return NULL;
	strncpy(netns->name, name, sizeof(netns->name) - 1);
	LIST_INSERT_HEAD(&a->netns, netns, next);
	a->nnetns++;
	return netns;
}

void
accounts_expire(struct accounts *a, uint64_t now)
{
	struct account_netns *netns, *next;

	for (netns = LIST_FIRST(&a->netns); netns != NULL; netns = next) {
		next = LIST_NEXT(netns, next);
		if (netns->shown.rings == 0 && netns->until <= now)
			accounts_forget(a, netns);
	}
}

void
accounts_free(struct accounts *a)
{
	while (!LIST_EMPTY(&a->netns))
		accounts_forget(a, LIST_FIRST(&a->netns));
}

/* --- a ring ------------------------------------------------------------------------------- */

void
account_open(struct accounts *a, struct account_ring *r, const struct ring_consumer *consumer, const char *name)
{
	*r = (struct account_ring){ .name = name, .published = consumer->position, .read = consumer->position };
	/* One that was read before: what its collector counted till now is in an earlier shipper's metrics. */
	if (consumer->position > 0) {
		ring_copy_counters(consumer, &r->seen, sizeof(r->seen));
		r->when = clock_monotonic();
	}
	if (!a->per_netns)
		return;
	if ((r->netns = accounts_of_netns(a, name)) != NULL)
		r->netns->shown.rings++;
	else
		a->unlisted++;
}

void
account_add(struct accounts *a, struct account_ring *r, const struct ring_consumer *consumer)
{
	account_take_word(r, consumer);
	r->news.published += consumer->available - r->published;
	r->news.read += consumer->position - r->read;
	r->published = consumer->available;
	r->read = consumer->position;
	account_sum(&a->total, &r->news);
	if (r->netns != NULL)
		account_sum(&r->netns->shown.sum, &r->news);
	memset(&r->news, 0, sizeof(r->news));
}

void
account_close(struct accounts *a, struct account_ring *r, const struct ring_consumer *consumer)
{
	r->news.abandoned += consumer->available - consumer->position;
	account_add(a, r, consumer);
	if (r->netns == NULL)
		return;
	if (--r->netns->shown.rings == 0)
		r->netns->until = clock_monotonic() + ACCOUNT_NETNS_TIME;
	r->netns = NULL;
}
