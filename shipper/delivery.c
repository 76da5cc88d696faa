/* Queues batches and brings them to the sink: see delivery.h. */
#include <event2/event.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/backoff.h"
#include "shipper/delivery.h"
#include "shipper/split.h"

TAILQ_HEAD(delivery_batches, batch);

struct delivery {
	struct delivery_options	 options;
	struct delivery_events	 events;
	void			*sink_state;
	uint64_t		 epoch;
	uint64_t		 sequence;	/* of the last batch that was closed */
	struct batch		*filling;	/* or NULL */
	struct delivery_batches	 queue;		/* closed, in order; until all up to it are done */
	struct delivery_batches	 unused;
	size_t			 room;		/* batches that may still be made */
	unsigned int		 most;		/* the sink's window */
	unsigned int		 window;	/* how much of it is open now */
	unsigned int		 sent;		/* batches with the sink */
	struct backoff		 backoff;
	bool			 refused;	/* until the retry's time has come */
	bool			 failed;	/* for good */
	bool			 starved;	/* somebody waits for room() */
	bool			 finishing;	/* nothing more is filled */
	bool			 proven;	/* the sink has shown that it takes records */
	enum sink_class		 trouble;	/* what the sink said of its target last */
	bool			 told[SINK_CLASS_COUNT];	/* refusals of that class are logged */
	struct event		*age;
	struct event		*kick;
	struct event		*retry;
};

static void
delivery_arm(struct event *event, uint64_t ns)
{
	struct timeval time = clock_timeval(ns);

	if (event_add(event, &time) == -1)
		fatal(EXIT_CODE_SYSTEM, "cannot set a timer");
}

/* --- giving to the sink ------------------------------------------------------ */

/* What of the batch is given next: all of it, or a part. */
static struct split_range
delivery_range(const struct batch *batch)
{
	if (batch->split != NULL)
		return *split_next(batch->split);
	return (struct split_range){ batch->rows, 0, batch->records.length };
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
	batch->formed.length = 0;
	batch->is_formed = true;
	batch->formed_fresh = fresh;
	if (fresh && format->header != NULL)
		format->header(d->options.format_state, &batch->formed);
	if (format->batch != NULL)
		format->batch(d->options.format_state, records, length, &batch->formed);
	else if (batch->formed.length > 0)
		buffer_append(&batch->formed, records, length);
}

static void
delivery_give(struct delivery *d, struct batch *batch)
{
	struct split_range range = delivery_range(batch);
	struct sink_batch *given = &batch->given;

	given->id.part = batch->split != NULL ? batch->split->part : 0;
	given->rows = range.rows;
	given->records = batch->records.bytes + range.begin;
	given->records_length = range.end - range.begin;
	delivery_form(d, batch, given->records, given->records_length);
	/* The records' own bytes where the format is the batch's. */
	given->bytes = given->records;
	given->length = given->records_length;
	if (d->options.format->batch != NULL || batch->formed.length > 0) {
		given->bytes = batch->formed.bytes;
		given->length = batch->formed.length;
	}
	given->attempt++;
	batch->state = BATCH_SENT;
	d->sent++;
	d->options.sink->deliver(d->sink_state, given);
}

/* The oldest that waits; or NULL if there is none, or it has to wait for the rest of an older one. */
static struct batch *
delivery_oldest(const struct delivery *d)
{
	struct batch *batch;

	TAILQ_FOREACH(batch, &d->queue, link) {
		if (batch->state == BATCH_WAITING)
			return batch;
		if (batch->state == BATCH_SENT && batch->split != NULL)
			return NULL;
	}
	return NULL;
}

static void
delivery_next(struct delivery *d)
{
	struct batch *batch;

	/* A loop, since a sink may answer before deliver() returns. */
	while (d->sent < d->window && !d->refused && !d->failed && (batch = delivery_oldest(d)) != NULL)
		delivery_give(d, batch);
	if (d->finishing && d->sent > 0 && d->options.sink->flush != NULL && delivery_oldest(d) == NULL)
		d->options.sink->flush(d->sink_state);
}

/* --- what is answered for ------------------------------------------------------- */

/*
 * Where the delivery's answer for records begins: what is released here is
 * delivered or dropped, and counted as that.
 */
static void
delivery_release(struct delivery *d)
{
	struct batch *batch;

	while ((batch = TAILQ_FIRST(&d->queue)) != NULL && batch->state == BATCH_DONE) {
		TAILQ_REMOVE(&d->queue, batch, link);
		if (d->events.released != NULL)
			d->events.released(d->events.context, batch);
		batch_clear(batch);
		TAILQ_INSERT_HEAD(&d->unused, batch, link);
		if (d->starved) {
			d->starved = false;
			d->events.room(d->events.context);
		}
	}
}

/* The rows that were given are dealt with; the rest of the batch, if any, is next. */
static void
delivery_settle(struct delivery *d, struct batch *batch)
{
	d->options.books->held -= batch->given.rows;
	batch->is_formed = false;
	batch->state = batch->split == NULL || split_advance(batch->split) ? BATCH_DONE : BATCH_WAITING;
	delivery_release(d);
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
	d->options.books->delivered += batch->given.rows;
	d->options.books->bytes += batch->given.length;
	d->options.books->batches++;
	delivery_alive(d);
	delivery_settle(d, batch);
}

static void
delivery_fail(struct delivery *d, const char *why)
{
	log_error("%s", why);
	d->failed = true;
	if (d->events.failed != NULL)
		d->events.failed(d->events.context);
}

static void
delivery_retry(struct delivery *d, struct batch *batch, const char *why)
{
	bool first = d->backoff.wait == 0;
	uint64_t wait;

	d->options.books->retries++;
	batch->state = BATCH_WAITING;
	d->window = 1;
	/* Those that were with the sink at the same time fail with it, and say nothing new. */
	if (d->refused)
		return;
	d->refused = true;
	wait = backoff_failed(&d->backoff);
	delivery_arm(d->retry, wait);
	/* The first of a row has a limit of its own, so that a long one does not hide the next. */
	if (first)
		log_limited(LOG_LEVEL_WARNING, "%s; %" PRIu64 " records are held, next try in %.1f s", why, d->options.books->held,
		    (double)wait / (double)SECOND);
	else
		log_limited(LOG_LEVEL_WARNING, "%s; still %" PRIu64 " records are held, next try in %.1f s", why,
		    d->options.books->held, (double)wait / (double)SECOND);
}

/* One record that the sink will never take. */
static void
delivery_drop(struct delivery *d, struct batch *batch, enum sink_class class, const char *why)
{
	if (!d->told[class])
		log_error("%s; a record of batch %016" PRIx64 "/%" PRIu64 " is dropped, and others will be without a line for each "
		    "that are refused as %s", why, batch->given.id.spool_epoch, batch->given.id.batch_sequence, sink_class_name(class));
	d->told[class] = true;
	d->options.books->dropped[BOOKS_DROP_REFUSED]++;
	delivery_settle(d, batch);
}

static void
delivery_refuse(struct delivery *d, struct batch *batch, enum sink_class class, const char *why)
{
	delivery_alive(d);
	if (batch->given.rows == 1) {
		delivery_drop(d, batch, class, why);
		return;
	}
	if (batch->split == NULL)
		batch->split = split_new(batch->rows, batch->records.length);
	split_halve(batch->split, batch->records.bytes);
	batch->is_formed = false;
	batch->state = BATCH_WAITING;
}

/* --- what the sink says ----------------------------------------------------------- */

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

static void
delivery_done(void *context, const struct sink_id *id, enum sink_result result, enum sink_class class, const char *why)
{
	struct delivery *d = context;
	struct batch *batch = delivery_find(d, id);

	d->sent--;
	if (why == NULL)
		why = d->options.target;
	if (result != SINK_DELIVERED)
		d->options.books->failures[class]++;
	if (result == SINK_DELIVERED)
		delivery_delivered(d, batch);
	else if (result == SINK_CLOSED || d->options.once)
		delivery_fail(d, why);
	else if (result == SINK_RETRY || d->options.refusals_retry)
		delivery_retry(d, batch, why);
	else
		delivery_refuse(d, batch, class, why);
	if (!TAILQ_EMPTY(&d->queue))
		event_active(d->kick, 0, 0);
}

static void
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
			log_limited(LOG_LEVEL_WARNING, "%s; %" PRIu64 " records are held", why, d->options.books->held);
	}
	d->trouble = class;
}

/* --- events -------------------------------------------------------------- */

static void
delivery_kicked(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	delivery_next(context);
}

static void
delivery_aged(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	delivery_flush(context);
}

static void
delivery_retried(evutil_socket_t fd, short what, void *context)
{
	struct delivery *d = context;

	(void)fd;
	(void)what;
	d->refused = false;
	delivery_next(d);
}

/* --- filling --------------------------------------------------------------- */

static void
delivery_close(struct delivery *d, struct batch *batch)
{
	batch->given = (struct sink_batch){
		.id = { d->epoch, ++d->sequence, 0 },
		.closed = clock_real(),
		.format = d->options.format->name,
		.host = d->options.host,
		.netns = batch->source != NULL ? batch->netns : NULL,
	};
	batch->state = BATCH_WAITING;
}

void
delivery_flush(struct delivery *d)
{
	if (d->filling == NULL || d->filling->rows == 0)
		return;
	delivery_close(d, d->filling);
	TAILQ_INSERT_TAIL(&d->queue, d->filling, link);
	d->filling = NULL;
	event_del(d->age);
	/* Not here and now: whoever fills must not find his batch acknowledged meanwhile. */
	event_active(d->kick, 0, 0);
}

/* An empty batch, or NULL. */
static struct batch *
delivery_empty(struct delivery *d)
{
	struct batch *batch = TAILQ_FIRST(&d->unused);

	if (batch != NULL) {
		TAILQ_REMOVE(&d->unused, batch, link);
		return batch;
	}
	if (d->room == 0 || (batch = calloc(1, sizeof(*batch))) == NULL)
		return NULL;
	d->room--;
	return batch;
}

/* Notes whose rows the batch has.  True if it must have no row of this one. */
static bool
delivery_mix(struct delivery *d, const void *source, const char *netns)
{
	struct batch *batch = d->filling;

	if (batch->source == source && batch->rows > 0)
		return false;
	if (batch->rows > 0) {
		if (d->options.per_netns)
			return true;
		batch->source = NULL;
		return false;
	}
	batch->source = source;
	strncpy(batch->netns, netns, sizeof(batch->netns) - 1);
	return false;
}

struct batch *
delivery_batch(struct delivery *d, size_t need, const void *source, const char *netns)
{
	if (d->filling != NULL && (!batch_fits(d->filling, &d->options.limits, need) || delivery_mix(d, source, netns)))
		delivery_flush(d);
	if (d->filling == NULL && (d->filling = delivery_empty(d)) != NULL)
		(void)delivery_mix(d, source, netns);
	if (d->filling == NULL)
		d->starved = true;
	return d->filling;
}

void
delivery_committed(struct delivery *d)
{
	d->options.books->held++;
	if (d->filling->rows == 1)
		delivery_arm(d->age, d->options.age);
	if (batch_full(d->filling, &d->options.limits))
		delivery_flush(d);
}

uint64_t
delivery_held(const struct delivery *d)
{
	return d->options.books->held;
}

bool
delivery_refused(const struct delivery *d)
{
	return d->refused || d->failed;
}

bool
delivery_ready(const struct delivery *d)
{
	return !delivery_refused(d) && d->trouble == SINK_CLASS_NONE && (d->proven || d->options.sink->pace == SINK_PROMPT);
}

void
delivery_finish(struct delivery *d)
{
	d->finishing = true;
	delivery_flush(d);
	event_active(d->kick, 0, 0);
}

void
delivery_hurry(struct delivery *d)
{
	d->backoff.hurry = true;
	if (d->refused)
		delivery_arm(d->retry, 0);
}

int
delivery_reopen(struct delivery *d, int fd, char *error, size_t size)
{
	const struct sink *sink = d->options.sink;

	if (sink->reopen == NULL)
		return 0;
	if (sink->reopen(d->sink_state, fd, error, size) == -1)
		return -1;
	if (d->refused)
		delivery_arm(d->retry, 0);
	return 0;
}

/* --- the whole ----------------------------------------------------------------- */

static struct event *
delivery_event(struct delivery *d, event_callback_fn function)
{
	struct event *event = event_new(d->options.base, -1, 0, function, d);

	if (event == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: an event");
	return event;
}

struct delivery *
delivery_new(const struct delivery_options *options)
{
	struct delivery *d = calloc(1, sizeof(*d));

	if (d == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: the delivery");
	d->options = *options;
	arc4random_buf(&d->epoch, sizeof(d->epoch));
	d->backoff.first = options->backoff;
	d->most = d->window = options->sink->window > 0 ? options->sink->window : 1;
	d->room = DELIVERY_BATCHES + d->most - 1;
	TAILQ_INIT(&d->queue);
	TAILQ_INIT(&d->unused);
	d->age = delivery_event(d, delivery_aged);
	d->kick = delivery_event(d, delivery_kicked);
	d->retry = delivery_event(d, delivery_retried);
	return d;
}

int
delivery_open(struct delivery *d, const struct sink_options *options, char *error, size_t size)
{
	struct sink_options sink = *options;

	sink.base = d->options.base;
	sink.format = d->options.format;
	sink.done = delivery_done;
	sink.state = delivery_state;
	sink.context = d;
	d->sink_state = d->options.sink->open(&sink, error, size);
	return d->sink_state != NULL ? 0 : -1;
}

void
delivery_listen(struct delivery *d, const struct delivery_events *events)
{
	d->events = *events;
}

static void
delivery_free_batch(struct batch *batch)
{
	if (batch == NULL)
		return;
	batch_free(batch);
	free(batch);
}

static void
delivery_free_list(struct delivery_batches *list)
{
	struct batch *batch;

	while ((batch = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, batch, link);
		delivery_free_batch(batch);
	}
}

void
delivery_free(struct delivery *d)
{
	if (d->sink_state != NULL)
		d->options.sink->close(d->sink_state);
	event_free(d->age);
	event_free(d->kick);
	event_free(d->retry);
	delivery_free_list(&d->queue);
	delivery_free_list(&d->unused);
	delivery_free_batch(d->filling);
	format_close(d->options.format, d->options.format_state);
	free(d);
}
