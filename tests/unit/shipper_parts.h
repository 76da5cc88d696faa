/* What the tests of the shipper's parts share: records, a sink that does as it is told, a loop with an end. */
#ifndef TESTS_UNIT_SHIPPER_PARTS_H
#define TESTS_UNIT_SHIPPER_PARTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"
#include "common/clock.h"
#include "common/record.h"
#include "common/record_reader.h"
#include "common/varint.h"
#include "shipper/delivery.h"
#include "shipper/format.h"
#include "shipper/sink.h"

#define PARTS_PATIENCE	(10 * SECOND)

/* Turns the loop until the condition holds; fails the test when it does not in time. */
#define loop_until(base, condition) do {						\
	const struct timeval parts_step = { 0, 10000 };					\
	uint64_t parts_end = clock_monotonic() + PARTS_PATIENCE;			\
	while (!(condition)) {								\
		if (clock_monotonic() > parts_end)					\
			fail_msg("waited in vain for: %s", #condition);			\
		event_base_loopexit(base, &parts_step);					\
		event_base_loop(base, EVLOOP_ONCE);					\
	}										\
} while (0)

/* Turns the loop a few times: for what must not happen. */
static inline void __attribute__((unused))
loop_some(struct event_base *base)
{
	for (int i = 0; i < 50; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* A record as a collector writes it, without its length; kind 2 ends a snapshot. */
static inline size_t __attribute__((unused))
parts_record(uint8_t *to, uint64_t sequence, enum record_kind kind)
{
	size_t n = 0;

	n += varint_write(to + n, RECORD_N_timestamp_ns << 3);
	n += varint_write(to + n, 1700000000);
	if (kind != 0) {
		n += varint_write(to + n, RECORD_N_record_kind << 3);
		n += varint_write(to + n, kind);
	}
	n += varint_write(to + n, RECORD_N_record_sequence << 3);
	n += varint_write(to + n, sequence);
	return n;
}

/* A number in a delivered record; 0 if it is not there. */
static inline uint64_t __attribute__((unused))
parts_number(const struct record *record, enum record_index field)
{
	return record_field_written(record, field) ? record->values[field].number : 0;
}

/* --- a sink ------------------------------------------------------------------------ */

enum { FAKE_MOST = 64 };

struct fake_sink {
	struct sink_options	 options;
	struct buffer		 delivered;	/* what was acknowledged */
	const struct sink_batch	*with[FAKE_MOST];	/* what is not answered, in the order in which it came */
	size_t			 count;
	const uint8_t		*bytes;		/* of the first of them, or NULL */
	unsigned int		 deliveries;
	unsigned int		 acknowledged;
	unsigned int		 refuse;	/* so many more, with SINK_RETRY */
	unsigned int		 reopened;
	unsigned int		 flushed;
	uint64_t		 poison;	/* refuses whatever holds the record of this sequence; 0: none */
	bool			 hold;		/* answers when fake_answer is called */
	bool			 copied;	/* it has said so of what it has: the bytes are gone */
	bool			 fresh;
};

static struct fake_sink *fake_last;

/* Answers one of those that it has, the oldest being 0. */
static inline __attribute__((unused)) void
fake_answer_nth(struct fake_sink *fake, size_t n, enum sink_result result)
{
	const struct sink_batch *batch;
	struct sink_id id;

	assert_true(n < fake->count);
	batch = fake->with[n];
	id = batch->id;
	if (result == SINK_DELIVERED) {
		if (!fake->copied)
			buffer_append(&fake->delivered, batch->bytes, batch->length);
		fake->acknowledged++;
		fake->fresh = false;
	}
	fake->count--;
	memmove(&fake->with[n], &fake->with[n + 1], (fake->count - n) * sizeof(fake->with[0]));
	fake->bytes = fake->count > 0 ? fake->with[0]->bytes : NULL;
	if (result == SINK_DELIVERED)
		fake->options.done(fake->options.context, &id, result, SINK_CLASS_NONE, NULL);
	else
		fake->options.done(fake->options.context, &id, result,
		    result == SINK_REFUSED ? SINK_CLASS_INVALID : SINK_CLASS_BUSY, "fake: refuses");
}

static inline __attribute__((unused)) void
fake_answer(struct fake_sink *fake, enum sink_result result)
{
	fake_answer_nth(fake, 0, result);
}

static inline __attribute__((unused)) void *
fake_open(const struct sink_options *options, char *error, size_t size)
{
	(void)error;
	(void)size;
	fake_last = calloc(1, sizeof(*fake_last));
	fake_last->options = *options;
	fake_last->fresh = true;
	return fake_last;
}

static inline __attribute__((unused)) bool
fake_fresh(void *state)
{
	return ((struct fake_sink *)state)->fresh;
}

struct fake_search {
	uint64_t	sequence;
	bool		found;
};

static inline __attribute__((unused)) void
fake_search(void *context, const struct record *record)
{
	struct fake_search *search = context;

	search->found |= parts_number(record, RECORD_F_record_sequence) == search->sequence;
}

static inline __attribute__((unused)) bool
fake_is_poison(const struct fake_sink *fake, const struct sink_batch *batch)
{
	struct fake_search search = { .sequence = fake->poison };

	if (fake->poison > 0)
		assert_true(format_each(batch->records, batch->records_length, fake_search, &search) > 0);
	return search.found;
}

static inline __attribute__((unused)) void
fake_deliver(void *state, const struct sink_batch *batch)
{
	struct fake_sink *fake = state;

	assert_true(fake->count < FAKE_MOST);
	assert_true(batch->rows > 0);
	fake->with[fake->count++] = batch;
	fake->bytes = fake->with[0]->bytes;
	fake->deliveries++;
	if (fake->refuse > 0) {
		fake->refuse--;
		fake_answer_nth(fake, fake->count - 1, SINK_RETRY);
	} else if (fake_is_poison(fake, batch))
		fake_answer_nth(fake, fake->count - 1, SINK_REFUSED);
	else if (!fake->hold)
		fake_answer_nth(fake, fake->count - 1, SINK_DELIVERED);
}

static inline __attribute__((unused)) void
fake_flush(void *state)
{
	((struct fake_sink *)state)->flushed++;
}

static inline __attribute__((unused)) int
fake_reopen(void *state, int fd, char *error, size_t size)
{
	struct fake_sink *fake = state;

	(void)fd;
	(void)error;
	(void)size;
	fake->reopened++;
	fake->fresh = true;
	return 0;
}

static inline __attribute__((unused)) void
fake_close(void *state)
{
	struct fake_sink *fake = state;

	buffer_free(&fake->delivered);
	free(fake);
}

static const struct sink fake_sink = {
	.name = "fake",
	.open = fake_open,
	.fresh = fake_fresh,
	.deliver = fake_deliver,
	.flush = fake_flush,
	.reopen = fake_reopen,
	.close = fake_close,
};

/* The same somewhere else, with several batches on their way. */
static const struct sink fake_late_sink __attribute__((unused)) = {
	.name = "late",
	.pace = SINK_LATE,
	.window = 4,
	.open = fake_open,
	.fresh = fake_fresh,
	.deliver = fake_deliver,
	.flush = fake_flush,
	.reopen = fake_reopen,
	.close = fake_close,
};

/* Answers all that is held now, and whatever comes behind it. */
static inline void __attribute__((unused))
fake_let_go(struct fake_sink *fake)
{
	fake->hold = false;
	while (fake->count > 0)
		fake_answer(fake, SINK_DELIVERED);
}

/* --- a delivery --------------------------------------------------------------------- */

/* With the bytes of a batch as they are, unless options say otherwise. */
static inline struct delivery * __attribute__((unused))
parts_delivery(const struct delivery_options *options)
{
	struct delivery_options with = *options;
	const struct format_options none = { 0 };
	char error[256];
	struct delivery *delivery;

	if (with.format == NULL)
		with.format = format_by_name("protobuf");
	with.format_state = with.format->open(&none, error, sizeof(error));
	with.target = "fake";
	with.host = "host";
	if (with.sink == NULL)
		with.sink = &fake_sink;
	delivery = delivery_new(&with);
	assert_int_equal(delivery_open(delivery, &(struct sink_options){ .target = "", .fd = -1 }, error, sizeof(error)), 0);
	return delivery;
}

/* Puts one record of a namespace into the batch that is filled; false if there is none. */
static inline bool __attribute__((unused))
parts_put_of(struct delivery *delivery, uint64_t sequence, const char *netns)
{
	uint8_t record[64];
	size_t length = parts_record(record, sequence, 0);
	struct batch *batch = delivery_batch(delivery, batch_need(0, length), netns, netns);

	if (batch == NULL)
		return false;
	memcpy(batch_place(batch, record, 0, length), record, length);
	batch_commit(batch, 0, length);
	delivery_committed(delivery);
	return true;
}

static inline bool __attribute__((unused))
parts_put(struct delivery *delivery, uint64_t sequence)
{
	return parts_put_of(delivery, sequence, "ns");
}

/* What a delivered stream of protobuf has in it. */
struct parts_read {
	uint64_t	sequences[65536];
	uint64_t	epochs[65536];
	size_t		count;
};

static inline __attribute__((unused)) void
parts_each(void *context, const struct record *record)
{
	struct parts_read *read = context;

	assert_true(read->count < 65536);
	read->sequences[read->count] = parts_number(record, RECORD_F_record_sequence);
	read->epochs[read->count++] = parts_number(record, RECORD_F_collector_epoch);
}

static inline void __attribute__((unused))
parts_read(struct parts_read *read, const struct buffer *bytes)
{
	read->count = 0;
	assert_true(format_each(bytes->bytes, bytes->length, parts_each, read) >= 0);
}

#endif
