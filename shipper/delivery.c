/* Filling, timers, the start and the end of the delivery: see delivery.h and delivery_parts.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/delivery_parts.h"

void
delivery_arm(struct event *event, uint64_t ns)
{
	struct timeval time = clock_timeval(ns);

	if (event_add(event, &time) == -1)
		fatal(EXIT_CODE_SYSTEM, "cannot set a timer");
}

/* --- events -------------------------------------------------------------- */

static void
delivery_kicked(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	delivery_send(context);
}

static void
delivery_aged(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	delivery_flush(context);
}

static bool
delivery_is_tight(const struct delivery *d)
{
	return d->queueing && d->memory >= d->options.queue_size;
}

void
delivery_eased(struct delivery *d)
{
	d->options.books->queue_bytes = d->memory;
	if (d->starved && !delivery_is_tight(d) && (d->room > 0 || !TAILQ_EMPTY(&d->unused))) {
		d->starved = false;
		d->events.room(d->events.context);
	}
	if (d->finishing && d->events.settled != NULL && delivery_is_settled(d))
		d->events.settled(d->events.context);
}

/* --- filling --------------------------------------------------------------- */

void
delivery_flush(struct delivery *d)
{
	struct batch *batch = d->filling;

	if (batch == NULL || batch->rows == 0)
		return;
	batch->given = (struct sink_batch){
		.closed = clock_real(),
		.format = d->options.format->name,
		.host = d->options.host,
		.netns = batch->source != NULL ? batch->netns : NULL,
	};
	d->filling = NULL;
	event_del(d->age);
	delivery_append(d, batch);
	/* Not here and now: whoever fills must not find his batch acknowledged meanwhile. */
	event_active(d->kick, 0, 0);
}

struct batch *
delivery_make(struct delivery *d)
{
	struct batch *batch = TAILQ_FIRST(&d->unused);

	if (batch != NULL) {
		TAILQ_REMOVE(&d->unused, batch, link);
		d->nunused--;
		return batch;
	}
	if (d->room == 0 || (batch = calloc(1, sizeof(*batch))) == NULL)
		return NULL;
	if (!d->queueing)
		d->room--;
	return batch;
}

/* An empty batch, or NULL: there is no memory for another one. */
static struct batch *
delivery_begin(struct delivery *d)
{
	struct batch *batch = delivery_is_tight(d) ? NULL : delivery_make(d);

	if (batch == NULL) {
		d->starved = true;
		if (d->queueing)
			delivery_keep_within(d, 0);
	}
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
	if (d->filling == NULL && (d->filling = delivery_begin(d)) != NULL)
		(void)delivery_mix(d, source, netns);
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
delivery_is_settled(const struct delivery *d)
{
	if (d->options.books->held > 0)
		return false;
	if (d->spool == NULL || (TAILQ_EMPTY(&d->queue) && !delivery_has_backlog(d)))
		return true;
	/* The rest is in the spool, and stays there. */
	return delivery_refused(d) || d->trouble != SINK_CLASS_NONE || spool_held(d->spool);
}

void
delivery_sync(struct delivery *d)
{
	if (d->spool != NULL)
		spool_sync(d->spool);
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
delivery_event(struct delivery *d, short what, event_callback_fn function)
{
	struct event *event = event_new(d->options.base, -1, what, function, d);

	if (event == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: an event");
	return event;
}

static void
delivery_make_events(struct delivery *d)
{
	d->age = delivery_event(d, 0, delivery_aged);
	d->kick = delivery_event(d, 0, delivery_kicked);
	d->retry = delivery_event(d, 0, delivery_retried);
	d->keep = delivery_event(d, 0, delivery_kept);
	d->tick = delivery_event(d, EV_PERSIST, delivery_ticked);
	if (d->queueing)
		delivery_arm(d->tick, SECOND);
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
	/* Once, what a target refuses is an error, and rings may wait for it; but not for objects to fill. */
	d->queueing = options->queue_size > 0 && (!options->once || options->sink->pace >= SINK_COLLECTED);
	d->room = d->queueing ? 1 : DELIVERY_BATCHES + d->most - 1;
	TAILQ_INIT(&d->queue);
	TAILQ_INIT(&d->unused);
	delivery_make_events(d);
	return d;
}

void
delivery_use_spool(struct delivery *d, struct spool *spool)
{
	const struct spool_events events = delivery_spool_events(d);

	d->spool = spool;
	d->allowed = clock_monotonic();
	spool_listen(spool, &events);
	if (spool_suspects(spool)) {
		d->careful = true;
		d->window = 1;
	}
	event_active(d->kick, 0, 0);
}

void
delivery_use_ledger(struct delivery *d, struct ledger *ledger)
{
	struct ledger_numbers before;
	struct books *books = d->options.books;

	d->ledger = ledger;
	if (ledger_read(ledger, &before) && !before.clean && before.queued > 0 && ledger_same_boot(before.boot, ledger_boot())) {
		books->drained += before.queued;
		books->dropped[BOOKS_DROP_LOST] += before.queued;
		log_error("%" PRIu64 " records are lost: they waited in the memory of the last shipper, which died", before.queued);
	}
	delivery_note_queued(d, false);
}

int
delivery_open(struct delivery *d, const struct sink_options *options, char *error, size_t size)
{
	struct sink_options sink = *options;

	sink.base = d->options.base;
	sink.format = d->options.format;
	sink.once = d->options.once;
	sink.done = delivery_done;
	sink.state = delivery_state;
	sink.note = delivery_note;
	sink.copied = delivery_copied;
	sink.counted = delivery_counted;
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
delivery_end(struct delivery *d)
{
	delivery_flush(d);
	if (d->queueing)
		delivery_save(d);
	losses_tell(&d->losses);
	delivery_note_queued(d, true);
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
	if (d->spool != NULL)
		spool_close(d->spool);
	if (d->ledger != NULL)
		ledger_close(d->ledger);
	event_free(d->age);
	event_free(d->kick);
	event_free(d->retry);
	event_free(d->keep);
	event_free(d->tick);
	delivery_free_list(&d->queue);
	delivery_free_list(&d->unused);
	delivery_free_batch(d->filling);
	format_close(d->options.format, d->options.format_state);
	free(d);
}
