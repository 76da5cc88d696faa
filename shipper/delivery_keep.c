/* What becomes of batches that wait: see delivery.h and delivery_parts.h. */
#include <stdlib.h>

#include "common/log.h"
#include "shipper/delivery_parts.h"

enum { KEEP_UNUSED = DELIVERY_BATCHES };	/* emptied batches whose memory is kept for the next */

/* --- one batch ----------------------------------------------------------------------- */

void
delivery_number(struct delivery *d, struct batch *batch)
{
	uint64_t *sequence = &batch->given.id.batch_sequence;

	if (*sequence != 0)
		return;
	*sequence = d->spool != NULL ? spool_number(d->spool) : ++d->sequence;
	if (batch->state != BATCH_BEHIND)
		d->after = *sequence;
}

/* Out of memory, wherever else it is. */
static void
delivery_forget(struct delivery *d, struct batch *batch)
{
	if (d->behind == batch)
		d->behind = TAILQ_NEXT(batch, link);
	if (d->unreleased == batch)
		d->unreleased = TAILQ_NEXT(batch, link);
	TAILQ_REMOVE(&d->queue, batch, link);
	d->memory -= batch->records.length + batch->formed.length;
	if (batch->spooled)
		d->copies--;
	if (d->queueing && d->nunused >= KEEP_UNUSED) {
		batch_free(batch);
		free(batch);
		return;
	}
	batch_clear(batch);
	TAILQ_INSERT_HEAD(&d->unused, batch, link);
	d->nunused++;
}

/* The sink is late with older ones: there is no use in holding newer ones for it. */
static bool
delivery_is_late(const struct delivery *d)
{
	return d->copies > 0 || d->queued > 0;
}

static bool
delivery_is_due(const struct delivery *d, const struct batch *batch, uint64_t now)
{
	return batch->state == BATCH_BEHIND || delivery_spools_first(d) || delivery_is_late(d) ||
	    now - batch->since >= d->options.ack_hold;
}

void
delivery_append(struct delivery *d, struct batch *batch)
{
	TAILQ_INSERT_TAIL(&d->queue, batch, link);
	d->memory += batch->records.length;
	d->closed_bytes += batch->records.length;
	batch->state = BATCH_WAITING;
	if (d->unreleased == NULL)
		d->unreleased = batch;
	if (!d->queueing)
		return;
	batch->since = clock_monotonic();
	if (d->behind == NULL && delivery_has_backlog(d))
		d->behind = batch;
	if (d->behind != NULL)
		batch->state = BATCH_BEHIND;
	if (d->behind != NULL || delivery_spools_first(d) || delivery_is_late(d))
		delivery_keep_within(d, DELIVERY_GROUP_TIME);
	else
		delivery_keep_within(d, d->options.ack_hold);
}

void
delivery_note_queued(struct delivery *d, bool clean)
{
	const struct ledger_numbers numbers = { .boot = ledger_boot(), .clean = clean, .queued = d->queued };

	if (d->ledger != NULL)
		ledger_write(d->ledger, &numbers);
}

/* --- releasing --------------------------------------------------------------------------- */

/* The spool, if there is one, does not take anything at the moment. */
static bool
delivery_is_without_spool(const struct delivery *d)
{
	return d->spool == NULL || spool_in_trouble(d->spool);
}

/*
 * Where the delivery answers for records, so that their rings need them no more:
 * they are delivered, dropped and counted, in the spool, or, where there is none
 * that takes them, in the memory that is meant for it.
 */
static bool
delivery_answers_for(const struct delivery *d, const struct batch *batch, uint64_t now)
{
	if (batch->released || batch->spooled || batch->state == BATCH_DONE)
		return true;
	return d->queueing && delivery_is_without_spool(d) && delivery_is_due(d, batch, now);
}

static void
delivery_count(struct delivery *d, const struct batch *batch)
{
	struct books *books = d->options.books;

	books->held -= batch->rows;
	books->delivered += batch->delivered;
	books->dropped[BOOKS_DROP_REFUSED] += batch->refused;
	if (!batch->released || d->spool != NULL)
		return;
	d->queued -= batch->rows;
	delivery_note_queued(d, false);
}

/*
 * What was delivered is counted when its rings' bytes are given back, not before: a
 * ring that still has it when we die gives it to the next life, to be counted there.
 */
static void
delivery_count_released(struct delivery *d, uint64_t now)
{
	struct batch *batch;

	for (batch = d->unreleased; batch != NULL && delivery_answers_for(d, batch, now); batch = TAILQ_NEXT(batch, link)) {
		if (batch->released || batch->counted)
			continue;
		if (batch->state == BATCH_DONE)
			delivery_count(d, batch);
		else if (d->spool == NULL)
			d->queued += batch->rows;
	}
	if (d->spool != NULL)
		spool_sync(d->spool);
	delivery_note_queued(d, false);
}

static void
delivery_release(struct delivery *d)
{
	uint64_t now = d->queueing ? clock_monotonic() : 0;
	struct batch *batch;

	if (d->unreleased == NULL || !delivery_answers_for(d, d->unreleased, now))
		return;
	delivery_count_released(d, now);
	while ((batch = d->unreleased) != NULL && delivery_answers_for(d, batch, now)) {
		d->unreleased = TAILQ_NEXT(batch, link);
		if (!batch->released && d->events.released != NULL)
			d->events.released(d->events.context, batch);
		batch->released = true;
		batch->nmarks = 0;
		if (batch->state == BATCH_DONE)
			delivery_forget(d, batch);
	}
}

static void
delivery_requeued(struct delivery *d, struct batch *batch)
{
	if (batch->requeued)
		spool_requeued(d->spool);
	batch->requeued = false;
}

void
delivery_account(struct delivery *d, struct batch *batch)
{
	if (batch->spooled) {
		spool_done(d->spool, batch);
		d->copies--;
		batch->spooled = false;
		batch->counted = true;
		delivery_keep_within(d, DELIVERY_COMMIT_TIME);
	} else if (batch->released)
		delivery_count(d, batch);
	delivery_requeued(d, batch);
	batch->state = BATCH_DONE;
	if (batch->released)
		delivery_forget(d, batch);
	delivery_release(d);
}

/* --- giving up ------------------------------------------------------------------------------ */

static void
delivery_give_up(struct delivery *d, struct batch *batch, enum books_drop reason)
{
	struct books *books = d->options.books;

	delivery_number(d, batch);
	delivery_count(d, batch);
	batch->counted = true;
	books->dropped[reason] += batch->rows - batch->delivered - batch->refused;
	losses_add(&d->losses, reason, d->spool != NULL ? spool_epoch(d->spool) : d->epoch, batch->given.id.batch_sequence,
	    batch->rows - batch->delivered - batch->refused);
	batch->state = BATCH_DONE;
	delivery_requeued(d, batch);
	if (batch->released)
		delivery_forget(d, batch);
	delivery_release(d);
}

void
delivery_lose(struct delivery *d, struct batch *batch)
{
	delivery_give_up(d, batch, batch->withdrawn ? batch->withdrawn_for : BOOKS_DROP_CORRUPT);
}

bool
delivery_reload(struct delivery *d, struct batch *batch)
{
	if (!batch->unloaded)
		return true;
	if (!batch->spooled) {
		/* It was in a spool that is not there any more. */
		delivery_lose(d, batch);
		return false;
	}
	if (!spool_reload(d->spool, batch))
		return false;
	d->memory += batch->records.length;
	return true;
}

/* The oldest that is in memory only, is not with the sink, and of which no ring has a copy. */
static struct batch *
delivery_find_victim(const struct delivery *d)
{
	struct batch *batch;

	TAILQ_FOREACH(batch, &d->queue, link) {
		if (!batch->released)
			return NULL;
		if (!batch->spooled && (batch->state == BATCH_WAITING || batch->state == BATCH_BEHIND))
			return batch;
	}
	return NULL;
}

/* --- memory ------------------------------------------------------------------------------------- */

bool
delivery_has_backlog(const struct delivery *d)
{
	return d->spool != NULL && spool_batches(d->spool) > d->copies;
}

/* The newest that can be fetched again. */
static struct batch *
delivery_find_copy(const struct delivery *d)
{
	struct batch *batch = TAILQ_LAST(&d->queue, delivery_batches);

	if (batch == NULL || !batch->spooled || !batch->released || batch->state != BATCH_WAITING || batch->split != NULL)
		return NULL;
	return batch;
}

/* Half of the memory is for what the sink has; what waits takes the other one at most. */
static void
delivery_shrink(struct delivery *d)
{
	struct batch *batch;

	while (d->memory > d->options.queue_size / 2 && (batch = delivery_find_copy(d)) != NULL) {
		d->after = batch->given.id.batch_sequence - 1;
		delivery_forget(d, batch);
	}
	/* Once, rings wait. */
	if (!delivery_is_without_spool(d) || d->options.once)
		return;
	while (d->memory >= d->options.queue_size && (batch = delivery_find_victim(d)) != NULL)
		delivery_give_up(d, batch, BOOKS_DROP_FULL);
}

/* Those that were behind the last one of the spool are next in line. */
static void
delivery_catch_up(struct delivery *d)
{
	struct batch *batch;

	while ((batch = d->behind) != NULL && !delivery_has_backlog(d)) {
		batch->state = BATCH_WAITING;
		if (batch->given.id.batch_sequence != 0)
			d->after = batch->given.id.batch_sequence;
		d->behind = TAILQ_NEXT(batch, link);
	}
}

/* Never less than twice what comes in: else the spool would not empty. */
static bool
delivery_may_fetch(struct delivery *d)
{
	uint64_t rate = d->options.replay > 2 * d->live ? d->options.replay : 2 * d->live;
	uint64_t now = clock_monotonic(), passed = now - d->allowed;

	if (d->options.replay == 0 || d->finishing)
		return true;
	/* In steps that are not rounded to nothing. */
	if (passed >= MILLISECOND) {
		passed = passed < SECOND ? passed : SECOND;
		d->allowance += (int64_t)(passed / MICROSECOND * rate / (SECOND / MICROSECOND));
		if (d->allowance > (int64_t)rate)
			d->allowance = (int64_t)rate;
		d->allowed = now;
	}
	if (d->allowance > 0)
		return true;
	delivery_keep_within(d, DELIVERY_REPLAY_TIME);
	return false;
}

static bool
delivery_wants_more(const struct delivery *d)
{
	const struct batch *last = d->behind != NULL ? TAILQ_PREV(d->behind, delivery_batches, link) :
	    TAILQ_LAST(&d->queue, delivery_batches);

	/* One that waits is enough. */
	return delivery_has_backlog(d) && (last == NULL || last->state != BATCH_WAITING) &&
	    (d->memory < d->options.queue_size / 2 || d->sent == 0);
}

void
delivery_fetch(struct delivery *d)
{
	struct batch *batch;

	while (delivery_wants_more(d) && delivery_may_fetch(d) && (batch = delivery_make(d)) != NULL) {
		if (!spool_load(d->spool, d->after, batch)) {
			TAILQ_INSERT_HEAD(&d->unused, batch, link);
			d->nunused++;
			break;
		}
		batch->state = BATCH_WAITING;
		batch->given.format = d->options.format->name;
		batch->given.host = d->options.host;
		d->after = batch->given.id.batch_sequence;
		d->memory += batch->records.length;
		d->allowance -= (int64_t)batch->records.length;
		d->copies++;
		if (d->behind != NULL)
			TAILQ_INSERT_BEFORE(d->behind, batch, link);
		else
			TAILQ_INSERT_TAIL(&d->queue, batch, link);
	}
	if (d->behind != NULL)
		delivery_catch_up(d);
}

/* --- the spool -------------------------------------------------------------------------------------- */

bool
delivery_spools_first(const struct delivery *d)
{
	return d->spool != NULL && (d->options.sink->pace >= SINK_COLLECTED || (d->careful && !spool_in_trouble(d->spool)));
}

/* Those that are to go into the spool, oldest first; in one transaction. */
static size_t
delivery_collect(struct delivery *d, bool all, struct batch *batches[SPOOL_PUT_MAX])
{
	uint64_t now = clock_monotonic(), bytes = 0;
	struct batch *batch;
	size_t count = 0;

	TAILQ_FOREACH(batch, &d->queue, link) {
		if (batch->state == BATCH_DONE || batch->spooled || batch->withdrawn || batch->unloaded)
			continue;
		bytes += batch->records.length;
		if (count == SPOOL_PUT_MAX || (count > 0 && bytes > d->options.spool_put) ||
		    (!all && !delivery_is_due(d, batch, now)))
			break;
		delivery_number(d, batch);
		batches[count++] = batch;
	}
	return count;
}

/* True if there may be more. */
static bool
delivery_put(struct delivery *d, bool all)
{
	struct batch *batches[SPOOL_PUT_MAX];
	size_t count = delivery_collect(d, all, batches);

	if (count == 0)
		return false;
	if (!spool_put(d->spool, batches, count)) {
		delivery_keep_within(d, DELIVERY_TROUBLE_TIME);
		return false;
	}
	d->copies += count;
	for (size_t i = 0; i < count; i++)
		delivery_requeued(d, batches[i]);
	delivery_release(d);
	/* They are fetched when it is their turn. */
	for (size_t i = 0; i < count; i++)
		if (batches[i]->state == BATCH_BEHIND)
			delivery_forget(d, batches[i]);
	return true;
}

void
delivery_save(struct delivery *d)
{
	struct batch *batch, *next;

	while (d->spool != NULL && delivery_put(d, true))
		continue;
	/* What is left is in no spool; where a ring has it still, it is not lost. */
	for (batch = TAILQ_FIRST(&d->queue); batch != NULL; batch = next) {
		next = TAILQ_NEXT(batch, link);
		if (batch->released && !batch->spooled)
			delivery_give_up(d, batch, batch->withdrawn ? batch->withdrawn_for : BOOKS_DROP_LOST);
	}
	if (d->spool != NULL)
		(void)spool_commit(d->spool);
}

/* Called when the spool has to make room. */
static struct batch *
delivery_find_number(const struct delivery *d, uint64_t sequence)
{
	struct batch *batch;

	TAILQ_FOREACH(batch, &d->queue, link)
		if (batch->spooled && batch->given.id.batch_sequence == sequence)
			return batch;
	return NULL;
}

static enum spool_eviction
delivery_evicted(void *context, uint64_t sequence, enum books_drop reason)
{
	struct delivery *d = context;
	struct batch *batch = delivery_find_number(d, sequence);

	if (batch == NULL)
		return SPOOL_EVICT_DROP;
	/* Also one of which some rows are delivered: they are counted with the rest. */
	if (batch->state == BATCH_SENT || batch->split != NULL) {
		batch->spooled = false;
		batch->withdrawn = true;
		batch->withdrawn_for = reason;
		d->copies--;
		return SPOOL_EVICT_HELD;
	}
	delivery_forget(d, batch);
	return SPOOL_EVICT_DROP;
}

static uint64_t
delivery_reset(void *context)
{
	struct delivery *d = context;
	struct batch *batch;
	uint64_t rows = 0;

	TAILQ_FOREACH(batch, &d->queue, link) {
		if (!batch->spooled)
			continue;
		batch->spooled = false;
		rows += batch->rows;
	}
	d->copies = 0;
	return rows;
}

struct spool_events
delivery_spool_events(struct delivery *d)
{
	return (struct spool_events){ .evict = delivery_evicted, .reset = delivery_reset, .context = d };
}

/* --- timers -------------------------------------------------------------------------------------------- */

void
delivery_keep_within(struct delivery *d, uint64_t ns)
{
	uint64_t time = clock_monotonic() + ns;

	if (d->keep_armed && d->keep_time <= time)
		return;
	d->keep_armed = true;
	d->keep_time = time;
	delivery_arm(d->keep, ns);
}

/* When there is something to do next. */
static void
delivery_keep_on(struct delivery *d)
{
	uint64_t now = clock_monotonic(), age;

	if (d->spool != NULL && spool_in_trouble(d->spool) && (d->unreleased != NULL || spool_uncommitted(d->spool) > 0))
		delivery_keep_within(d, DELIVERY_TROUBLE_TIME);
	else if (d->spool != NULL && spool_uncommitted(d->spool) > 0)
		delivery_keep_within(d, DELIVERY_COMMIT_TIME);
	if (d->unreleased == NULL)
		return;
	age = now - d->unreleased->since;
	/* One that is due and not released is in the spool's trouble. */
	if (age < d->options.ack_hold)
		delivery_keep_within(d, d->options.ack_hold - age);
}

void
delivery_kept(evutil_socket_t fd, short what, void *context)
{
	struct delivery *d = context;
	bool tight;

	(void)fd;
	(void)what;
	d->keep_armed = false;
	do
		tight = d->memory > d->options.queue_size / 2;
	while (d->spool != NULL && delivery_put(d, tight));
	if (d->spool != NULL)
		(void)spool_commit(d->spool);
	delivery_release(d);
	delivery_shrink(d);
	delivery_keep_on(d);
	delivery_send(d);
}

static void
delivery_try_rejects(struct delivery *d)
{
	struct batch *batch;

	if (d->finishing || d->memory > d->options.queue_size / 2 || (batch = delivery_make(d)) == NULL)
		return;
	if (spool_requeue(d->spool, batch)) {
		batch->given.closed = clock_real();
		batch->given.format = d->options.format->name;
		batch->given.host = d->options.host;
		delivery_append(d, batch);
	} else {
		TAILQ_INSERT_HEAD(&d->unused, batch, link);
		d->nunused++;
	}
}

void
delivery_ticked(evutil_socket_t fd, short what, void *context)
{
	struct delivery *d = context;

	(void)fd;
	(void)what;
	losses_tell(&d->losses);
	d->live = (3 * d->live + d->closed_bytes) / 4;
	d->closed_bytes = 0;
	if (d->spool != NULL) {
		spool_tick(d->spool);
		delivery_try_rejects(d);
	}
	delivery_send(d);
}
