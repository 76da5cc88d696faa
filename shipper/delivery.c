/* Queues batches and brings them to the sink: see delivery.h. */
#include <event2/event.h>

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/delivery.h"

#define DELIVERY_BACKOFF_FIRST	SECOND
#define DELIVERY_BACKOFF_MOST	(5 * MINUTE)
#define DELIVERY_HURRY		(250 * MILLISECOND)

TAILQ_HEAD(delivery_batches, batch);

struct delivery {
	struct delivery_options	 options;
	struct delivery_events	 events;
	void			*sink_state;
	struct batch		 batches[DELIVERY_BATCHES];
	struct batch		*filling;	/* or NULL */
	struct delivery_batches	 queue;		/* closed; the first is with the sink */
	struct delivery_batches	 unused;
	struct buffer		 formed;	/* the first in the queue, as the format writes it */
	bool			 is_formed;
	bool			 formed_fresh;	/* with the header */
	bool			 busy;		/* the sink has not answered */
	bool			 refused;	/* until the retry's time has come */
	bool			 failed;	/* for good */
	bool			 hurry;
	bool			 starved;	/* somebody waits for room() */
	uint64_t		 held;
	uint64_t		 backoff;	/* 0: the last delivery went well */
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

/*
 * A batch is formed once and kept for the retries; except when the target has
 * been opened anew meanwhile, since the header belongs to an empty file only.
 */
static void
delivery_form(struct delivery *d, const struct batch *batch)
{
	const struct format *format = d->options.format;
	bool fresh = d->options.sink->fresh(d->sink_state);

	if (d->is_formed && d->formed_fresh == fresh)
		return;
	d->formed.length = 0;
	d->is_formed = true;
	d->formed_fresh = fresh;
	if (fresh && format->header != NULL)
		format->header(d->options.format_state, &d->formed);
	if (format->batch != NULL)
		format->batch(d->options.format_state, batch->records.bytes, batch->records.length, &d->formed);
	else if (d->formed.length > 0)
		buffer_append(&d->formed, batch->records.bytes, batch->records.length);
}

/* The formed bytes; the batch's own where the format is the batch's. */
static const struct buffer *
delivery_bytes(const struct delivery *d, const struct batch *batch)
{
	if (d->options.format->batch == NULL && d->formed.length == 0)
		return &batch->records;
	return &d->formed;
}

static void
delivery_next(struct delivery *d)
{
	const struct buffer *bytes;
	struct batch *batch;

	/* A loop, since a sink may answer before deliver() returns. */
	while (!d->busy && !d->refused && !d->failed && (batch = TAILQ_FIRST(&d->queue)) != NULL) {
		delivery_form(d, batch);
		bytes = delivery_bytes(d, batch);
		d->busy = true;
		d->options.sink->deliver(d->sink_state, bytes->bytes, bytes->length);
	}
}

static void
delivery_delivered(struct delivery *d)
{
	struct batch *batch = TAILQ_FIRST(&d->queue);

	d->options.books->delivered += batch->rows;
	d->options.books->bytes += delivery_bytes(d, batch)->length;
	d->options.books->batches++;
	if (d->backoff > 0)
		log_limited(LOG_LEVEL_NOTICE, "%s takes records again", d->options.target);
	d->backoff = 0;
	d->held -= batch->rows;
	d->is_formed = false;
	TAILQ_REMOVE(&d->queue, batch, link);
	if (d->events.acknowledged != NULL)
		d->events.acknowledged(d->events.context, batch);
	batch_clear(batch);
	TAILQ_INSERT_HEAD(&d->unused, batch, link);
	if (d->starved) {
		d->starved = false;
		d->events.room(d->events.context);
	}
}

static uint64_t
delivery_wait(struct delivery *d)
{
	uint64_t first = d->options.backoff > 0 ? d->options.backoff : DELIVERY_BACKOFF_FIRST;
	uint64_t wait;

	if (d->hurry)
		return DELIVERY_HURRY;
	wait = d->backoff == 0 ? first : d->backoff * 2;
	if (wait > DELIVERY_BACKOFF_MOST)
		wait = DELIVERY_BACKOFF_MOST;
	d->backoff = wait;
	/* From three quarters to all of it, so that many hosts do not come back at once. */
	return wait - (uint64_t)arc4random_uniform((uint32_t)(wait / 4 / MICROSECOND) + 1) * MICROSECOND;
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
delivery_retry(struct delivery *d, const char *why)
{
	bool first = d->backoff == 0;
	uint64_t wait = delivery_wait(d);

	d->options.books->retries++;
	/* Hurried at the first refusal. */
	if (d->backoff == 0)
		d->backoff = wait;
	d->refused = true;
	delivery_arm(d->retry, wait);
	/* The first of a row has a limit of its own, so that a long one does not hide the next. */
	if (first)
		log_limited(LOG_LEVEL_WARNING, "%s; %" PRIu64 " records are held, next try in %.1f s", why, d->held,
		    (double)wait / (double)SECOND);
	else
		log_limited(LOG_LEVEL_WARNING, "%s; still %" PRIu64 " records are held, next try in %.1f s", why, d->held,
		    (double)wait / (double)SECOND);
}

static void
delivery_done(void *context, enum sink_result result, const char *why)
{
	struct delivery *d = context;

	assert(d->busy);
	d->busy = false;
	if (why == NULL)
		why = d->options.target;
	if (result == SINK_DELIVERED)
		delivery_delivered(d);
	else if (result == SINK_RETRY && !d->options.once)
		delivery_retry(d, why);
	else
		delivery_fail(d, why);
	if (!TAILQ_EMPTY(&d->queue))
		event_active(d->kick, 0, 0);
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

void
delivery_flush(struct delivery *d)
{
	if (d->filling == NULL || d->filling->rows == 0)
		return;
	TAILQ_INSERT_TAIL(&d->queue, d->filling, link);
	d->filling = NULL;
	event_del(d->age);
	/* Not here and now: whoever fills must not find his batch acknowledged meanwhile. */
	event_active(d->kick, 0, 0);
}

struct batch *
delivery_batch(struct delivery *d, size_t need)
{
	if (d->filling != NULL && !batch_fits(d->filling, &d->options.limits, need))
		delivery_flush(d);
	if (d->filling == NULL && (d->filling = TAILQ_FIRST(&d->unused)) != NULL)
		TAILQ_REMOVE(&d->unused, d->filling, link);
	if (d->filling == NULL)
		d->starved = true;
	return d->filling;
}

void
delivery_committed(struct delivery *d)
{
	d->held++;
	if (d->filling->rows == 1)
		delivery_arm(d->age, d->options.age);
	if (batch_full(d->filling, &d->options.limits))
		delivery_flush(d);
}

uint64_t
delivery_held(const struct delivery *d)
{
	return d->held;
}

bool
delivery_refused(const struct delivery *d)
{
	return d->refused || d->failed;
}

void
delivery_hurry(struct delivery *d)
{
	d->hurry = true;
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
	TAILQ_INIT(&d->queue);
	TAILQ_INIT(&d->unused);
	for (size_t i = 0; i < DELIVERY_BATCHES; i++)
		TAILQ_INSERT_TAIL(&d->unused, &d->batches[i], link);
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
	sink.done = delivery_done;
	sink.context = d;
	d->sink_state = d->options.sink->open(&sink, error, size);
	return d->sink_state != NULL ? 0 : -1;
}

void
delivery_listen(struct delivery *d, const struct delivery_events *events)
{
	d->events = *events;
}

void
delivery_free(struct delivery *d)
{
	if (d->sink_state != NULL)
		d->options.sink->close(d->sink_state);
	event_free(d->age);
	event_free(d->kick);
	event_free(d->retry);
	for (size_t i = 0; i < DELIVERY_BATCHES; i++)
		batch_free(&d->batches[i]);
	buffer_free(&d->formed);
	free(d->options.format_state);
	free(d);
}
