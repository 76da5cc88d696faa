/* What goes to the sink, and what it says: see delivery.h and delivery_parts.h. */
#include <inttypes.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/delivery_parts.h"

/* --- giving ------------------------------------------------------------------------ */

/* What of the batch is given next: all of it, or a part. */
static struct split_range
delivery_range(const struct batch *batch)
{
	if (batch->split != NULL)
		return *split_next(batch->split);
	return (struct split_range){ 0, batch->rows, 0, batch->records.length };
}

/*
 * A batch is formed once and kept for the retries; except when the target has
 * been opened anew meanwhile, since the header belongs to an empty file only.
 */
static void
delivery_form(struct delivery *d, struct batch *batch, const uint8_t *records, size_t length)
{
	const struct format *format = d->options.format;
	bool fresh = d->options.sink->fresh(d->sink_state);

	if (batch->is_formed && batch->formed_fresh == fresh)
		return;
	d->memory -= batch->formed.length;
	batch->formed.length = 0;
	batch->is_formed = true;
	batch->formed_fresh = fresh;
	if (fresh && format->header != NULL)
		format->header(d->options.format_state, &batch->formed);
	if (format->batch != NULL)
		format->batch(d->options.format_state, records, length, &batch->formed);
	else if (batch->formed.length > 0)
		buffer_append(&batch->formed, records, length);
	d->memory += batch->formed.length;
}

/* The records' own where the format is the batch's; none for a sink that makes files of records. */
static void
delivery_bytes(struct delivery *d, struct batch *batch)
{
	struct sink_batch *given = &batch->given;

	given->bytes = NULL;
	given->length = 0;
	if (d->options.sink->files)
		return;
	delivery_form(d, batch, given->records, given->records_length);
	if (d->options.format->batch != NULL || batch->formed.length > 0) {
		given->bytes = batch->formed.bytes;
		given->length = batch->formed.length;
	} else {
		given->bytes = given->records;
		given->length = given->records_length;
	}
}

/* False: its bytes cannot be read now, or any more; then it has been dealt with. */
static bool
delivery_give(struct delivery *d, struct batch *batch)
{
	struct sink_batch *given = &batch->given;
	struct split_range range;

	if (!delivery_reload(d, batch))
		return false;
	range = delivery_range(batch);
	delivery_number(d, batch);
	given->id.spool_epoch = d->spool != NULL ? spool_epoch(d->spool) : d->epoch;
	given->id.part = batch->split != NULL ? batch->split->part : 0;
	given->rows = range.rows;
	given->records = batch->records.bytes + range.begin;
	given->records_length = range.end - range.begin;
	delivery_bytes(d, batch);
	given->attempt++;
	batch->state = BATCH_SENT;
	d->sent++;
	d->sent_bytes += batch->records.length;
	if (d->spool != NULL)
		spool_given(d->spool, given->id.batch_sequence);
	d->options.sink->deliver(d->sink_state, given);
	return true;
}

/* The oldest that may go; or NULL if there is none, or it has to wait for the rest of an older one. */
static struct batch *
delivery_oldest(const struct delivery *d)
{
	bool spools_first = delivery_spools_first(d);
	struct batch *batch;

	TAILQ_FOREACH(batch, &d->queue, link) {
		if (batch->state == BATCH_WAITING)
			return !spools_first || batch->spooled || batch->withdrawn ? batch : NULL;
		if (batch->state == BATCH_BEHIND || (batch->state == BATCH_SENT && batch->split != NULL))
			return NULL;
	}
	return NULL;
}

/* Half of the memory is for what the sink has, so that the rest can be given up when need be. */
static bool
delivery_has_much(const struct delivery *d)
{
	return d->queueing && d->sent > 0 && d->sent_bytes >= d->options.queue_size / 2;
}

static bool
delivery_may_send(const struct delivery *d)
{
	if (d->sent - d->copied >= d->window || d->refused || d->failed || (d->spool != NULL && spool_held(d->spool)))
		return false;
	return !delivery_has_much(d);
}

void
delivery_send(struct delivery *d)
{
	struct batch *batch;

	/* A loop, since a sink may answer before deliver() returns. */
	while (delivery_may_send(d)) {
		delivery_fetch(d);
		/* What could not be read is tried again with the next tick. */
		if ((batch = delivery_oldest(d)) == NULL || !delivery_give(d, batch))
			break;
	}
	if (d->sent > 0 && d->options.sink->flush != NULL &&
	    ((d->finishing && delivery_oldest(d) == NULL) || delivery_has_much(d)))
		d->options.sink->flush(d->sink_state);
	delivery_eased(d);
}

/* --- answers ------------------------------------------------------------------------- */

/* The rows that were given are dealt with; the rest of the batch, if any, is next. */
static void
delivery_settle(struct delivery *d, struct batch *batch)
{
	d->memory -= batch->formed.length;
	batch->formed.length = 0;
	batch->is_formed = false;
	batch->state = BATCH_WAITING;
	if (batch->split == NULL || split_advance(batch->split))
		delivery_account(d, batch);
}

/* The target has judged a batch, so it is there. */
static void
delivery_alive(struct delivery *d)
{
	d->proven = true;
	if (d->refused)
		return;
	if (backoff_mended(&d->backoff))
		log_limited(LOG_LEVEL_NOTICE, "%s takes records again", d->options.target);
	if (d->window < d->most)
		d->window++;
}

static void
delivery_delivered(struct delivery *d, struct batch *batch)
{
	batch->delivered += batch->given.rows;
	d->options.books->bytes += batch->given.length;
	d->options.books->batches++;
	d->careful = false;
	delivery_alive(d);
	delivery_settle(d, batch);
}

static void
delivery_fail(struct delivery *d, struct batch *batch, const char *why)
{
	batch->state = BATCH_WAITING;
	/* Those that were with the sink at the same time fail with it, and say nothing new. */
	if (d->failed)
		return;
	log_error("%s", why);
	d->failed = true;
	if (d->events.failed != NULL)
		d->events.failed(d->events.context);
}

static uint64_t
delivery_pending(const struct delivery *d)
{
	return d->options.books->held + d->options.books->spooled;
}

static void
delivery_retry(struct delivery *d, struct batch *batch, const char *why)
{
	bool first = d->backoff.wait == 0;
	uint64_t wait;

	d->options.books->retries++;
	batch->state = BATCH_WAITING;
	d->window = 1;
	if (batch->withdrawn || (batch->unloaded && !batch->spooled))
		delivery_lose(d, batch);
	/* Those that were with the sink at the same time fail with it, and say nothing new. */
	if (d->refused)
		return;
	d->refused = true;
	wait = backoff_failed(&d->backoff);
	delivery_arm(d->retry, wait);
	/* The first of a row has a limit of its own, so that a long one does not hide the next. */
	if (first)
		log_limited(LOG_LEVEL_WARNING, "%s; %" PRIu64 " records are held, next try in %.1f s", why, delivery_pending(d),
		    (double)wait / (double)SECOND);
	else
		log_limited(LOG_LEVEL_WARNING, "%s; still %" PRIu64 " records are held, next try in %.1f s", why,
		    delivery_pending(d), (double)wait / (double)SECOND);
}

/* One record that the sink will never take. */
static void
delivery_drop(struct delivery *d, struct batch *batch, enum sink_class class, const char *why)
{
	const struct sink_id *id = &batch->given.id;
	const char *name = sink_class_name(class);

	if (!d->told[class])
		log_error("%s; a record of batch %016" PRIx64 "/%" PRIu64 " is dropped, and others will be without a line for each "
		    "that are refused as %s", why, id->spool_epoch, id->batch_sequence, name);
	d->told[class] = true;
	if (d->spool != NULL)
		spool_reject(d->spool, id, delivery_range(batch).first, name, batch->given.records, batch->given.records_length);
	batch->refused++;
	delivery_settle(d, batch);
}

static void
delivery_refuse(struct delivery *d, struct batch *batch, enum sink_class class, const char *why)
{
	delivery_alive(d);
	batch->state = BATCH_WAITING;
	if (!delivery_reload(d, batch))
		return;
	batch->given.records = batch->records.bytes + delivery_range(batch).begin;
	if (batch->given.rows == 1) {
		delivery_drop(d, batch, class, why);
		return;
	}
	if (batch->split == NULL) {
		batch->split = split_new(batch->rows, batch->records.length);
		d->options.books->parted++;
	}
	split_halve(batch->split, batch->records.bytes);
	batch->is_formed = false;
}

static struct batch *
delivery_find(const struct delivery *d, const struct sink_id *id)
{
	struct batch *batch;

	TAILQ_FOREACH(batch, &d->queue, link)
		if (batch->state == BATCH_SENT && sink_id_same(&batch->given.id, id))
			return batch;
	fatal(EXIT_CODE_INTERNAL, "sink %s answers for batch %016" PRIx64 "/%" PRIu64 ", which it does not have", d->options.sink->name,
	    id->spool_epoch, id->batch_sequence);
}

void
delivery_done(void *context, const struct sink_id *id, enum sink_result result, enum sink_class class, const char *why)
{
	struct delivery *d = context;
	struct batch *batch = delivery_find(d, id);

	d->sent--;
	d->copied -= batch->copied;
	batch->copied = false;
	d->sent_bytes -= batch->records.length;
	if (why == NULL)
		why = d->options.target;
	if (result != SINK_DELIVERED)
		d->options.books->failures[class]++;
	if (d->spool != NULL)
		spool_answered(d->spool, batch->given.id.batch_sequence, result == SINK_DELIVERED);
	if (result == SINK_DELIVERED)
		delivery_delivered(d, batch);
	else if (result == SINK_CLOSED || d->options.once)
		delivery_fail(d, batch, why);
	else if (result == SINK_RETRY || d->options.refusals_retry)
		delivery_retry(d, batch, why);
	else
		delivery_refuse(d, batch, class, why);
	/* Not here and now: it may be deliver() that we are in. */
	event_active(d->kick, 0, 0);
}

void
delivery_state(void *context, enum sink_class class, const char *why)
{
	struct delivery *d = context;

	if (class == SINK_CLASS_NONE) {
		d->proven = true;
		if (d->trouble != SINK_CLASS_NONE)
			log_limited(LOG_LEVEL_NOTICE, "%s is well again", d->options.target);
	} else {
		d->options.books->failures[class]++;
		if (class != d->trouble)
			log_limited(LOG_LEVEL_WARNING, "%s; %" PRIu64 " records are held", why, delivery_pending(d));
	}
	d->trouble = class;
}

bool
delivery_note(void *context, const struct sink_note *note)
{
	struct delivery *d = context;
	struct batch *batch;

	if (d->spool != NULL && !spool_note(d->spool, note))
		return false;
	TAILQ_FOREACH(batch, &d->queue, link) {
		uint64_t sequence = batch->given.id.batch_sequence;

		if (sequence >= note->first && sequence <= note->last)
			batch_note(batch, note);
	}
	return true;
}

void
delivery_copied(void *context, const struct sink_id *id)
{
	struct delivery *d = context;
	struct batch *batch = delivery_find(d, id);

	d->copied += !batch->copied;
	batch->copied = true;
	/* It has been looked at, and we live. */
	if (d->spool != NULL)
		spool_answered(d->spool, id->batch_sequence, false);
	event_active(d->kick, 0, 0);
	/* Of what is not in the spool this is the only copy; and parts of one are soon over. */
	if (!batch->spooled || batch->split != NULL)
		return;
	d->sent_bytes -= batch->records.length;
	d->memory -= batch->records.length + batch->formed.length;
	batch_unload(batch);
}

void
delivery_counted(void *context, enum sink_class class, uint64_t bytes)
{
	struct delivery *d = context;
	struct books *books = d->options.books;

	if (class != SINK_CLASS_NONE) {
		books->object_failures[class]++;
		return;
	}
	books->objects++;
	books->object_bytes += bytes;
	books->bytes += bytes;
}

void
delivery_retried(evutil_socket_t fd, short what, void *context)
{
	struct delivery *d = context;

	(void)fd;
	(void)what;
	d->refused = false;
	delivery_send(d);
}
