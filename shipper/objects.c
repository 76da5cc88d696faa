/* Batches as objects: see objects.h. */
#include <sys/queue.h>

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/objects.h"

enum { OBJECTS_SENTENCE = 512, OBJECTS_PREFIX_MAX = 256 };

/* What a range's note says: the keys, a line each, in the order of enum object_set. */
_Static_assert(OBJECT_SETS * OBJECT_KEY_MAX <= SINK_NOTE_MAX, "the keys of a range in its note");

struct objects_range {
	TAILQ_ENTRY(objects_range) link;
	uint64_t		 epoch, first, last;	/* last: that it is to have; of one that is open, that it has */
	uint64_t		 newest;		/* batch that it has */
	bool			 again;			/* its note came with its batches */
	bool			 fixed;			/* nothing more is added */
	char			 keys[OBJECT_SETS][OBJECT_KEY_MAX];
	const struct object_form *form;
	const char		*host;			/* its batches' */
	struct object_writer	*writer;
	struct sink_id		*ids;
	size_t			 nids, capacity;
	uint64_t		 rows;
	uint64_t		 held;			/* bytes of its batches */
	enum object_set		 set;			/* that is put, or next */
	struct object		 object;		/* that is with the target */
	bool			 with_target;
};

TAILQ_HEAD(objects_ranges, objects_range);

struct objects {
	struct sink_options	 sink;
	struct objects_options	 options;
	struct format_options	 format;
	char			 prefix[OBJECTS_PREFIX_MAX];
	/* given, and not looked at, since there is no room for another range */
	const struct sink_batch	*pending[OBJECTS_WINDOW];
	size_t			 npending;
	struct objects_range	*open;		/* or NULL */
	struct objects_ranges	 putting;
	unsigned int		 nputting;
	bool			 flushing;	/* what is open is not to wait for more */
	struct event		*age;
	struct event		*kick;
};

/* --- ranges ---------------------------------------------------------------------- */

/* The keys of a note; false if it is none of ours. */
static bool
range_read_note(struct objects_range *range, const struct sink_note *note)
{
	const char *text = note->text;

	for (enum object_set set = 0; set < OBJECT_SETS; set++) {
		size_t length = strcspn(text, "\n");

		if (length == 0 || length >= OBJECT_KEY_MAX || text[length] != '\n')
			return false;
		memcpy(range->keys[set], text, length);
		range->keys[set][length] = '\0';
		text += length + 1;
	}
	range->form = object_form_of_key(range->keys[OBJECT_SOCKETS]);
	return *text == '\0' && range->form != NULL;
}

/* A range that begins with this batch. */
static struct objects_range *
range_new(struct objects *o, const struct sink_batch *batch)
{
	struct objects_range *range = calloc(1, sizeof(*range));

	if (range == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: an object");
	range->epoch = batch->id.spool_epoch;
	range->first = range->last = batch->id.batch_sequence;
	range->form = object_form_of_format(o->sink.format->name);
	range->host = batch->host;
	if (batch->note != NULL && range_read_note(range, batch->note)) {
		range->again = true;
		range->first = batch->note->first;
		range->last = batch->note->last;
	} else if (batch->note != NULL)
		log_limited(LOG_LEVEL_WARNING, "batch %016" PRIx64 "/%" PRIu64 " has a note of another sink; it becomes part of a new object",
		    range->epoch, batch->id.batch_sequence);
	range->writer = object_writer_new(range->form, &o->format);
	return range;
}

static void
range_free(struct objects_range *range)
{
	object_writer_free(range->writer);
	free(range->ids);
	free(range);
}

/* A note that is none of ours is as good as none. */
static bool
range_is_of_note(const struct objects_range *range, const struct sink_note *note)
{
	struct objects_range other = { 0 };

	if (note == NULL || !range_read_note(&other, note))
		return !range->again;
	return range->again && range->first == note->first && range->last == note->last &&
	    strcmp(range->keys[OBJECT_SOCKETS], other.keys[OBJECT_SOCKETS]) == 0;
}

/* True if the batch is part of the open range. */
static bool
range_continues(const struct objects_range *range, const struct sink_batch *batch)
{
	return batch->id.spool_epoch == range->epoch && batch->id.batch_sequence > range->newest && range_is_of_note(range, batch->note);
}

static void
range_add(struct objects_range *range, const struct sink_batch *batch)
{
	if (range->nids == range->capacity) {
		range->capacity = range->capacity > 0 ? 2 * range->capacity : 16;
		range->ids = reallocarray(range->ids, range->capacity, sizeof(*range->ids));
		if (range->ids == NULL)
			fatal(EXIT_CODE_SYSTEM, "out of memory: an object of %zu batches", range->nids);
	}
	range->ids[range->nids++] = batch->id;
	range->newest = batch->id.batch_sequence;
	if (!range->again)
		range->last = range->newest;
	range->rows += batch->rows;
	range->held += batch->records_length;
	if (!object_writer_add(range->writer, batch->records, batch->records_length))
		log_error("batch %016" PRIx64 "/%" PRIu64 " has something in it that is no record: what is behind it is in no object",
		    batch->id.spool_epoch, batch->id.batch_sequence);
}

/* One that is made again has the size that it had. */
static bool
range_is_full(const struct objects *o, const struct objects_range *range)
{
	const struct config *config = o->sink.config;

	if (range->again)
		return range->newest >= range->last;
	return range->rows >= config->object_rows || range->held >= config->spool_size / 4 ||
	    object_writer_size(range->writer) >= config->object_size;
}

/* --- answers ----------------------------------------------------------------------- */

static void
range_answer(struct objects *o, struct objects_range *range, enum sink_result result, enum sink_class class, const char *why)
{
	for (size_t i = 0; i < range->nids; i++)
		o->sink.done(o->sink.context, &range->ids[i], result, class, why);
	range_free(range);
}

static void
objects_close_open(struct objects *o)
{
	o->open = NULL;
	event_del(o->age);
}

/* Nothing newer stays, so that all of it comes again in its order. */
static void
objects_give_back(struct objects *o, struct objects_range *range, enum sink_class class, const char *why)
{
	struct objects_range *open = o->open;

	range_answer(o, range, SINK_RETRY, class, why);
	if (open != NULL && open != range) {
		objects_close_open(o);
		range_answer(o, open, SINK_RETRY, class, why);
	}
	for (size_t i = 0; i < o->npending; i++)
		o->sink.done(o->sink.context, &o->pending[i]->id, SINK_RETRY, class, why);
	o->npending = 0;
	o->flushing = false;
}

/* --- fixing ---------------------------------------------------------------------------- */

static bool
objects_commit(struct objects *o, struct objects_range *range)
{
	char text[SINK_NOTE_MAX];
	const struct sink_note note = { .first = range->first, .last = range->last, .text = text };

	snprintf(text, sizeof(text), "%s\n%s\n", range->keys[OBJECT_SOCKETS], range->keys[OBJECT_SNAPSHOTS]);
	return o->sink.note(o->sink.context, &note);
}

static void
objects_name(const struct objects *o, struct objects_range *range)
{
	const struct object_key key = {
		.time = clock_real(), .host = range->host, .epoch = range->epoch, .sequence = range->first,
	};

	for (enum object_set set = 0; set < OBJECT_SETS; set++)
		object_key_write(range->keys[set], o->prefix, object_set_name(set), o->sink.config->object_key, &key, range->form->ending);
}

static void
range_finish(struct objects_range *range)
{
	char epoch[32], batches[64];
	const struct parquet_note notes[] = {
		{ "tcpdiag.host", range->host }, { "tcpdiag.spool_epoch", epoch }, { "tcpdiag.batches", batches },
	};

	snprintf(epoch, sizeof(epoch), "%016" PRIx64, range->epoch);
	snprintf(batches, sizeof(batches), "%" PRIu64 "-%" PRIu64, range->first, range->last);
	for (enum object_set set = 0; set < OBJECT_SETS; set++)
		if (object_writer_rows(range->writer, set) > 0)
			object_writer_finish(range->writer, set, notes, sizeof(notes) / sizeof(notes[0]));
}

/* The open range takes nothing more; or it is given back. */
static void
objects_fix(struct objects *o)
{
	struct objects_range *range = o->open;
	char why[OBJECTS_SENTENCE];

	event_del(o->age);
	range->fixed = true;
	if (!range->again) {
		objects_name(o, range);
		if (!objects_commit(o, range)) {
			objects_close_open(o);
			snprintf(why, sizeof(why), "the spool does not take what batches %" PRIu64 " to %" PRIu64 " become", range->first,
			    range->last);
			objects_give_back(o, range, SINK_CLASS_SYSTEM, why);
			return;
		}
	}
	range_finish(range);
}

/* --- putting ------------------------------------------------------------------------------ */

static void
objects_put(struct objects *o, struct objects_range *range)
{
	const struct buffer *bytes;

	while (range->set < OBJECT_SETS && object_writer_rows(range->writer, range->set) == 0)
		range->set++;
	if (range->set == OBJECT_SETS) {
		TAILQ_REMOVE(&o->putting, range, link);
		o->nputting--;
		range_answer(o, range, SINK_DELIVERED, SINK_CLASS_NONE, NULL);
		return;
	}
	bytes = object_writer_bytes(range->writer, range->set);
	range->object = (struct object){
		.key = range->keys[range->set],
		.bytes = bytes->bytes,
		.length = bytes->length,
		.rows = object_writer_rows(range->writer, range->set),
		.type = range->form->type,
		.again = range->again,
	};
	range->with_target = true;
	o->options.put(o->options.context, &range->object);
}

void
objects_done(struct objects *o, const struct object *object, enum sink_result result, enum sink_class class, const char *why)
{
	struct objects_range *range;

	TAILQ_FOREACH(range, &o->putting, link)
		if (&range->object == object && range->with_target)
			break;
	if (range == NULL)
		fatal(EXIT_CODE_INTERNAL, "an answer for an object that is not being put");
	range->with_target = false;
	o->sink.counted(o->sink.context, class, object->length);
	if (result == SINK_DELIVERED)
		range->set++;
	else {
		TAILQ_REMOVE(&o->putting, range, link);
		o->nputting--;
		objects_give_back(o, range, class, why);
	}
	/* Not here and now: it may be put() that we are in. */
	event_active(o->kick, 0, 0);
}

/* --- the way of a batch ---------------------------------------------------------------------- */

/* Less by up to a quarter; the same for the same range. */
static uint64_t
objects_age(const struct objects *o, const struct objects_range *range)
{
	uint64_t age = o->sink.config->object_age, mixed = (range->epoch ^ range->first) * UINT64_C(0x9e3779b97f4a7c15);

	return age - age / 4 / 1024 * (mixed >> 54);
}

static void
objects_take(struct objects *o)
{
	const struct sink_batch *batch = o->pending[0];
	const struct sink_id id = batch->id;
	struct timeval age;

	if (o->open == NULL) {
		o->open = range_new(o, batch);
		age = clock_timeval(objects_age(o, o->open));
		if (!o->open->again)
			event_add(o->age, &age);
	}
	range_add(o->open, batch);
	memmove(o->pending, o->pending + 1, --o->npending * sizeof(o->pending[0]));
	/* From here on the batch's bytes are gone. */
	o->sink.copied(o->sink.context, &id);
}

/*
 * True if the open range should be fixed now.  One that is made again waits for
 * what is missing, be it till the next life: if it were put without, what comes
 * later would be put in its place.  A batch that is not of it says that there is no
 * more.
 */
static bool
objects_is_due(const struct objects *o)
{
	if (range_is_full(o, o->open))
		return true;
	return o->npending > 0 ? !range_continues(o->open, o->pending[0]) : o->flushing && !o->open->again;
}

/* One thing that can be done now; false: there is none. */
static bool
objects_step(struct objects *o)
{
	struct objects_range *range;

	TAILQ_FOREACH(range, &o->putting, link)
		if (!range->with_target) {
			objects_put(o, range);
			return true;
		}
	if (o->open != NULL && !o->open->fixed && objects_is_due(o)) {
		objects_fix(o);
		return true;
	}
	if (o->open != NULL && o->open->fixed) {
		if (o->nputting >= o->options.puts)
			return false;
		range = o->open;
		objects_close_open(o);
		TAILQ_INSERT_TAIL(&o->putting, range, link);
		o->nputting++;
		return true;
	}
	if (o->npending == 0) {
		o->flushing = false;
		return false;
	}
	objects_take(o);
	return true;
}

static void
objects_advance(struct objects *o)
{
	while (objects_step(o))
		continue;
}

void
objects_deliver(struct objects *o, const struct sink_batch *batch)
{
	if (o->npending == OBJECTS_WINDOW)
		fatal(EXIT_CODE_INTERNAL, "more batches for objects than there is a window for");
	o->pending[o->npending++] = batch;
	objects_advance(o);
}

void
objects_flush(struct objects *o)
{
	o->flushing = true;
	objects_advance(o);
}

static void
objects_aged(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	objects_flush(context);
}

static void
objects_kicked(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	objects_advance(context);
}

/* --- the whole --------------------------------------------------------------------------------- */

const char *
objects_check(const struct config *config, const struct format *format, char *error, size_t size)
{
	const char *fault = object_key_fault(config->object_key);
	char list[OBJECTS_SENTENCE / 2];

	if (object_form_of_format(format->name) == NULL) {
		snprintf(error, size, "%s is no format of objects; there are: %s", format->name, object_form_list(list, sizeof(list)));
		return "format";
	}
	if (fault == NULL)
		return NULL;
	snprintf(error, size, "'%s' %s", config->object_key, fault);
	return "object-key";
}

struct objects *
objects_new(const struct objects_options *options)
{
	const struct config *config = options->sink->config;
	struct objects *o = calloc(1, sizeof(*o));

	if (o == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: objects");
	o->sink = *options->sink;
	o->options = *options;
	if (o->options.puts == 0)
		o->options.puts = 1;
	snprintf(o->prefix, sizeof(o->prefix), "%s", options->prefix);
	if (config->columns.count > 0)
		o->format = (struct format_options){ .columns = config->columns.items, .ncolumns = config->columns.count };
	TAILQ_INIT(&o->putting);
	o->age = event_new(o->sink.base, -1, 0, objects_aged, o);
	o->kick = event_new(o->sink.base, -1, 0, objects_kicked, o);
	if (o->age == NULL || o->kick == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: objects");
	return o;
}

void
objects_free(struct objects *o)
{
	struct objects_range *range;

	if (o->open != NULL)
		range_free(o->open);
	while ((range = TAILQ_FIRST(&o->putting)) != NULL) {
		TAILQ_REMOVE(&o->putting, range, link);
		range_free(range);
	}
	event_free(o->age);
	event_free(o->kick);
	free(o);
}
