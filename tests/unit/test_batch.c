/* Batches, and their way to the sink: what goes in comes out once, in order, however the sink behaves. */
#include "shipper/batch.h"
#include "tests/unit/shipper_parts.h"

/* --- batches ------------------------------------------------------------------------- */

static void
put(struct batch *batch, const char *stamp, size_t length)
{
	uint8_t *place = batch_place(batch, (const uint8_t *)stamp, strlen(stamp), length);

	memset(place, 'r', length);
	batch_commit(batch, strlen(stamp), length);
}

static void
test_a_record_stands_behind_its_stamp(void **state)
{
	struct batch batch = { 0 };

	(void)state;
	put(&batch, "id", 3);
	put(&batch, "x", 1);
	assert_int_equal(batch.rows, 2);
	assert_int_equal(batch.records.length, 6 + 3);
	assert_memory_equal(batch.records.bytes, "\5idrrr\2xr", 9);
	batch_free(&batch);
}

/* Where one record ends, the next one begins; also where the length takes one more byte. */
static void
test_need_is_what_is_taken(void **state)
{
	static const size_t lengths[] = { 1, 125, 126, 127, 128, 300, RECORD_MAX };
	struct batch batch = { 0 };
	size_t at = 0, before;
	uint64_t length;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		before = batch.records.length;
		put(&batch, "id", lengths[i]);
		assert_int_equal(batch.records.length - before, batch_need(2, lengths[i]));
		at += varint_read(batch.records.bytes + at, batch.records.length - at, &length);
		assert_int_equal(length, 2 + lengths[i]);
		assert_memory_equal(batch.records.bytes + at, "idr", 3);
		at += length;
		assert_int_equal(at, batch.records.length);
	}
	batch_free(&batch);
}

static void
test_a_place_that_is_not_committed_is_nothing(void **state)
{
	struct batch batch = { 0 };

	(void)state;
	put(&batch, "id", 3);
	memset(batch_place(&batch, (const uint8_t *)"bad", 3, 100), 'b', 100);
	put(&batch, "id", 1);
	assert_int_equal(batch.rows, 2);
	assert_memory_equal(batch.records.bytes, "\5idrrr\3idr", 10);
	assert_int_equal(batch.records.length, 10);
	batch_free(&batch);
}

static void
test_limits(void **state)
{
	const struct batch_limits limits = { .rows = 3, .bytes = 20 };
	struct batch batch = { 0 };

	(void)state;
	assert_true(batch_fits(&batch, &limits, 1000)); /* else it would never go */
	put(&batch, "id", 7);
	assert_true(batch_fits(&batch, &limits, 10));
	assert_false(batch_fits(&batch, &limits, 11));
	assert_false(batch_fits(&batch, &limits, SIZE_MAX));
	put(&batch, "id", 1);
	put(&batch, "id", 1);
	assert_true(batch_full(&batch, &limits));
	assert_false(batch_fits(&batch, &limits, 1));
	batch_free(&batch);
}

static void
test_many_marks(void **state)
{
	struct batch batch = { 0 };
	int owners[1000];

	(void)state;
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(batch_mark(&batch, &owners[i], i), i);
	for (size_t i = 0; i < 1000; i++) {
		assert_ptr_equal(batch.marks[i].owner, &owners[i]);
		assert_int_equal(batch.marks[i].position, i);
	}
	batch_clear(&batch);
	assert_int_equal(batch.nmarks, 0);
	batch_free(&batch);
}

/* --- their delivery -------------------------------------------------------------------- */

struct fixture {
	struct event_base	*base;
	struct books		 books;
	struct delivery_options	 options;
	struct delivery		*delivery;
	struct fake_sink	*sink;
	unsigned int		 acknowledged, rooms, failures;
};

static void
count_acknowledged(void *context, const struct batch *batch)
{
	struct fixture *f = context;

	assert_true(batch->rows > 0);
	f->acknowledged++;
}

static void
count_room(void *context)
{
	((struct fixture *)context)->rooms++;
}

static void
count_failure(void *context)
{
	((struct fixture *)context)->failures++;
}

static struct fixture *
begin(struct fixture *f)
{
	const struct delivery_events events = { .released = count_acknowledged, .room = count_room, .failed = count_failure, .context = f };

	f->base = event_base_new();
	f->options.base = f->base;
	f->options.books = &f->books;
	if (f->options.limits.rows == 0)
		f->options.limits = (struct batch_limits){ .rows = 10, .bytes = 1 << 20 };
	if (f->options.age == 0)
		f->options.age = HOUR;
	f->delivery = parts_delivery(&f->options);
	delivery_listen(f->delivery, &events);
	f->sink = fake_last;
	return f;
}

static void
end(struct fixture *f)
{
	delivery_free(f->delivery);
	event_base_free(f->base);
}

static void
assert_delivered(const struct fixture *f, size_t count)
{
	struct parts_read *read = malloc(sizeof(*read));

	parts_read(read, &f->sink->delivered);
	assert_int_equal(read->count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(read->sequences[i], i + 1);
	free(read);
}

static void
test_rows_close_a_batch(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	begin(&f);
	for (uint64_t i = 1; i <= 9; i++)
		assert_true(parts_put(f.delivery, i));
	loop_some(f.base);
	assert_int_equal(f.sink->deliveries, 0);
	assert_true(parts_put(f.delivery, 10));
	loop_until(f.base, f.acknowledged == 1);
	assert_delivered(&f, 10);
	assert_int_equal(f.books.delivered, 10);
	assert_int_equal(f.books.batches, 1);
	assert_int_equal(f.books.bytes, f.sink->delivered.length);
	assert_int_equal(delivery_held(f.delivery), 0);
	end(&f);
}

static void
test_bytes_close_a_batch(void **state)
{
	struct fixture f = { .options = { .limits = { .rows = 1000, .bytes = 29 } } };

	(void)state;
	begin(&f);
	for (uint64_t i = 1; i <= 3; i++)
		assert_true(parts_put(f.delivery, i)); /* 10 bytes each */
	loop_until(f.base, f.acknowledged == 1);
	assert_delivered(&f, 2);
	assert_int_equal(delivery_held(f.delivery), 1);
	end(&f);
}

static void
test_age_closes_a_batch(void **state)
{
	struct fixture f = { .options = { .age = 20 * MILLISECOND } };
	uint64_t start = clock_monotonic();

	(void)state;
	begin(&f);
	assert_true(parts_put(f.delivery, 1));
	loop_until(f.base, f.acknowledged == 1);
	/* libevent's clock is a coarse one. */
	assert_true(clock_monotonic() - start >= 10 * MILLISECOND);
	assert_delivered(&f, 1);
	end(&f);
}

static void
test_an_empty_batch_is_never_delivered(void **state)
{
	struct fixture f = { .options = { .age = MILLISECOND } };

	(void)state;
	begin(&f);
	assert_non_null(delivery_batch(f.delivery, 100, NULL, "ns"));
	delivery_flush(f.delivery);
	loop_some(f.base);
	assert_int_equal(f.sink->deliveries, 0);
	end(&f);
}

static void
test_a_slow_sink_stops_the_filling(void **state)
{
	struct fixture f = { 0 };
	uint64_t i = 0;

	(void)state;
	begin(&f);
	f.sink->hold = true;
	while (parts_put(f.delivery, i + 1))
		i++;
	assert_int_equal(i, 10 * DELIVERY_BATCHES);
	loop_some(f.base);
	assert_int_equal(f.sink->deliveries, 1); /* one at a time */
	assert_int_equal(f.rooms, 0);
	fake_let_go(f.sink);
	loop_until(f.base, f.rooms == 1);
	assert_true(parts_put(f.delivery, ++i));
	delivery_flush(f.delivery);
	loop_until(f.base, f.acknowledged == DELIVERY_BATCHES + 1);
	assert_int_equal(f.rooms, 1);
	assert_delivered(&f, i);
	end(&f);
}

static void
test_a_refused_batch_comes_again_and_is_not_overtaken(void **state)
{
	struct fixture f = { .options = { .backoff = 4 * MILLISECOND } };
	uint64_t start = clock_monotonic();

	(void)state;
	begin(&f);
	f.sink->refuse = 4;
	for (uint64_t i = 1; i <= 30; i++)
		assert_true(parts_put(f.delivery, i));
	loop_until(f.base, f.books.retries == 4);
	assert_true(delivery_refused(f.delivery));
	assert_int_equal(delivery_held(f.delivery), 30);
	assert_int_equal(f.acknowledged, 0);
	loop_until(f.base, f.acknowledged == 3);
	/* 4, 8, 16 and 32 ms, of which jitter takes a quarter at most. */
	assert_true(clock_monotonic() - start >= 45 * MILLISECOND);
	assert_false(delivery_refused(f.delivery));
	assert_delivered(&f, 30);
	assert_int_equal(f.books.delivered, 30);
	end(&f);
}

static void
test_once_does_not_try_again(void **state)
{
	struct fixture f = { .options = { .once = true } };

	(void)state;
	begin(&f);
	f.sink->refuse = 1;
	for (uint64_t i = 1; i <= 20; i++)
		assert_true(parts_put(f.delivery, i));
	loop_until(f.base, f.failures == 1);
	loop_some(f.base);
	assert_int_equal(f.sink->deliveries, 1);
	assert_int_equal(f.books.delivered, 0);
	end(&f);
}

static void
test_a_closed_sink_is_the_end(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	begin(&f);
	f.sink->hold = true;
	for (uint64_t i = 1; i <= 20; i++)
		assert_true(parts_put(f.delivery, i));
	loop_until(f.base, f.sink->bytes != NULL);
	fake_answer(f.sink, SINK_CLOSED);
	assert_int_equal(f.failures, 1);
	loop_some(f.base);
	assert_int_equal(f.sink->deliveries, 1);
	end(&f);
}

static void
test_hurry_tries_at_once(void **state)
{
	struct fixture f = { .options = { .backoff = HOUR } };

	(void)state;
	begin(&f);
	f.sink->refuse = 2;
	assert_true(parts_put(f.delivery, 1));
	delivery_flush(f.delivery);
	loop_until(f.base, f.books.retries == 1);
	delivery_hurry(f.delivery);
	loop_until(f.base, f.acknowledged == 1);
	assert_delivered(&f, 1);
	end(&f);
}

/* --- several at a time --------------------------------------------------------------------- */

static void
put_batches(struct fixture *f, unsigned int count)
{
	for (uint64_t i = 1; i <= 10 * count; i++)
		assert_true(parts_put(f->delivery, i));
	loop_some(f->base);
}

static struct fixture *
begin_late(struct fixture *f)
{
	f->options.sink = &fake_late_sink;
	begin(f)->sink->hold = true;
	return f;
}

/* Each is known by its id, which is consecutive from 1 on, and none is given beyond the window. */
static void
test_several_are_with_the_sink(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	put_batches(begin_late(&f), 6);
	assert_int_equal(f.sink->count, 4);
	for (size_t i = 0; i < 4; i++) {
		const struct sink_batch *batch = f.sink->with[i];

		assert_int_equal(batch->id.batch_sequence, i + 1);
		assert_int_equal(batch->id.spool_epoch, f.sink->with[0]->id.spool_epoch);
		assert_int_equal(batch->id.part, 0);
		assert_int_equal(batch->rows, 10);
		assert_int_equal(batch->attempt, 1);
		assert_string_equal(batch->format, "protobuf");
		assert_string_equal(batch->host, "host");
		assert_string_equal(batch->netns, "ns");
		/* nothing is copied */
		assert_ptr_equal(batch->bytes, batch->records);
		assert_true(clock_real() - batch->closed < MINUTE);
	}
	fake_let_go(f.sink);
	loop_until(f.base, f.acknowledged == 6);
	assert_delivered(&f, 60);
	end(&f);
}

/* Answered in another order: a ring's bytes are given back when everything before them is. */
static void
test_any_order_of_answers(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	put_batches(begin_late(&f), 4);
	fake_answer_nth(f.sink, 2, SINK_DELIVERED);
	fake_answer_nth(f.sink, 1, SINK_DELIVERED);
	loop_some(f.base);
	assert_int_equal(f.acknowledged, 0);
	/* A ring has them still: if we died now, the next life would count them. */
	assert_int_equal(f.books.delivered, 0);
	assert_int_equal(delivery_held(f.delivery), 40);
	fake_answer_nth(f.sink, 0, SINK_DELIVERED);
	assert_int_equal(f.acknowledged, 3);
	assert_int_equal(f.books.delivered, 30);
	fake_answer_nth(f.sink, 0, SINK_DELIVERED);
	assert_int_equal(f.acknowledged, 4);
	assert_int_equal(delivery_held(f.delivery), 0);
	end(&f);
}

/* After a failure: the oldest alone, then one more for each that is delivered. */
static void
test_the_oldest_is_the_probe(void **state)
{
	struct fixture f = { .options = { .backoff = 5 * MILLISECOND } };

	(void)state;
	put_batches(begin_late(&f), 7);
	for (int i = 0; i < 4; i++)
		fake_answer(f.sink, SINK_RETRY);
	assert_int_equal(f.books.retries, 4);
	assert_int_equal(f.books.failures[SINK_CLASS_BUSY], 4);
	for (unsigned int open = 1; open <= 4; open++) {
		loop_until(f.base, f.sink->count == open);
		loop_some(f.base);
		assert_int_equal(f.sink->count, open);
		assert_int_equal(f.sink->with[0]->id.batch_sequence, open);
		assert_int_equal(f.sink->with[0]->attempt, 2);
		fake_answer(f.sink, SINK_DELIVERED);
	}
	fake_let_go(f.sink);
	loop_until(f.base, f.acknowledged == 7);
	assert_delivered(&f, 70);
	end(&f);
}

/* The probe waits for those that were with the sink when it failed. */
static void
test_one_of_several_fails(void **state)
{
	struct fixture f = { .options = { .backoff = 5 * MILLISECOND } };
	uint64_t until;

	(void)state;
	put_batches(begin_late(&f), 5);
	fake_answer_nth(f.sink, 1, SINK_RETRY);
	fake_answer_nth(f.sink, 0, SINK_DELIVERED);
	until = clock_monotonic() + 20 * MILLISECOND;
	loop_until(f.base, clock_monotonic() > until);
	assert_int_equal(f.sink->count, 2);
	fake_answer(f.sink, SINK_DELIVERED);
	fake_answer(f.sink, SINK_DELIVERED);
	loop_until(f.base, f.sink->count > 0);
	assert_int_equal(f.sink->with[0]->id.batch_sequence, 2);
	assert_int_equal(f.acknowledged, 1);
	fake_let_go(f.sink);
	loop_until(f.base, f.acknowledged == 5);
	assert_int_equal(f.books.delivered, 50);
	end(&f);
}

static void
test_batches_of_one_namespace(void **state)
{
	static const char a[] = "a", b[] = "b";
	struct fixture f = { .options = { .per_netns = true } };

	(void)state;
	begin_late(&f);
	for (uint64_t i = 1; i <= 9; i++)
		assert_true(parts_put_of(f.delivery, i, i > 3 && i <= 6 ? b : a));
	delivery_flush(f.delivery);
	loop_some(f.base);
	assert_int_equal(f.sink->count, 3);
	assert_string_equal(f.sink->with[0]->netns, "a");
	assert_string_equal(f.sink->with[1]->netns, "b");
	assert_string_equal(f.sink->with[2]->netns, "a");
	fake_let_go(f.sink);
	assert_delivered(&f, 9);
	end(&f);
	/* Where nobody asks for that, they go together, and the name is not said. */
	f = (struct fixture){ 0 };
	begin_late(&f);
	for (uint64_t i = 1; i <= 9; i++)
		assert_true(parts_put_of(f.delivery, i, i > 3 && i <= 6 ? b : a));
	delivery_flush(f.delivery);
	loop_some(f.base);
	assert_int_equal(f.sink->count, 1);
	assert_null(f.sink->with[0]->netns);
	end(&f);
}

/* A sink that collects is told when nothing more comes. */
static void
test_the_end_is_said(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	put_batches(begin_late(&f), 2);
	assert_int_equal(f.sink->flushed, 0);
	assert_true(parts_put(f.delivery, 21));
	delivery_finish(f.delivery);
	loop_until(f.base, f.sink->flushed > 0);
	assert_int_equal(f.sink->count, 3);
	end(&f);
}

/* --- refused for good ------------------------------------------------------------------------- */

/* Whichever record it is: all others arrive, in order and once, and none overtakes. */
static void
test_a_refused_record_costs_only_itself(void **state)
{
	struct parts_read *read = malloc(sizeof(*read));

	(void)state;
	for (uint64_t poison = 1; poison <= 10; poison++) {
		struct fixture f = { .options = { .sink = &fake_late_sink } };

		begin(&f);
		f.sink->poison = 10 + poison;
		put_batches(&f, 3);
		loop_until(f.base, f.acknowledged == 3);
		assert_int_equal(f.books.delivered, 29);
		assert_int_equal(f.books.dropped[BOOKS_DROP_REFUSED], 1);
		assert_int_equal(delivery_held(f.delivery), 0);
		assert_true(f.books.failures[SINK_CLASS_INVALID] >= 4);
		parts_read(read, &f.sink->delivered);
		assert_int_equal(read->count, 29);
		for (size_t i = 0; i < 29; i++)
			assert_int_equal(read->sequences[i], i + (i + 1 < 10 + poison ? 1 : 2));
		end(&f);
	}
	free(read);
}

/* Parts have numbers of their own, and newer batches wait until the last of them is answered. */
static void
test_nothing_overtakes_parts(void **state)
{
	struct fixture f = { 0 };
	uint32_t last = 0;

	(void)state;
	put_batches(begin_late(&f), 1);
	fake_answer(f.sink, SINK_REFUSED);
	for (uint64_t i = 11; i <= 20; i++)
		assert_true(parts_put(f.delivery, i));
	loop_some(f.base);
	while (f.acknowledged < 1) {
		assert_int_equal(f.sink->count, 1);
		assert_int_equal(f.sink->with[0]->id.batch_sequence, 1);
		assert_true(f.sink->with[0]->id.part > last);
		last = f.sink->with[0]->id.part;
		fake_answer(f.sink, SINK_DELIVERED);
		loop_some(f.base);
	}
	assert_int_equal(last, 3);
	assert_int_equal(f.sink->count, 1);
	assert_int_equal(f.sink->with[0]->id.batch_sequence, 2);
	fake_let_go(f.sink);
	assert_delivered(&f, 20);
	end(&f);
}

/* A part that is not taken at the moment comes again, as the same part. */
static void
test_a_part_is_tried_again(void **state)
{
	struct fixture f = { .options = { .backoff = MILLISECOND } };

	(void)state;
	put_batches(begin_late(&f), 1);
	fake_answer(f.sink, SINK_REFUSED);
	loop_until(f.base, f.sink->count == 1);
	assert_int_equal(f.sink->with[0]->rows, 5);
	fake_answer(f.sink, SINK_RETRY);
	loop_until(f.base, f.sink->count == 1);
	assert_int_equal(f.sink->with[0]->rows, 5);
	assert_int_equal(f.sink->with[0]->id.part, 2);
	fake_let_go(f.sink);
	loop_until(f.base, f.acknowledged == 1);
	assert_delivered(&f, 10);
	end(&f);
}

static void
test_refusals_that_are_not_final(void **state)
{
	struct fixture f = { .options = { .backoff = MILLISECOND, .refusals_retry = true } };

	(void)state;
	put_batches(begin_late(&f), 1);
	fake_answer(f.sink, SINK_REFUSED);
	loop_until(f.base, f.sink->count == 1);
	assert_int_equal(f.sink->with[0]->rows, 10);
	assert_int_equal(f.books.retries, 1);
	fake_let_go(f.sink);
	loop_until(f.base, f.acknowledged == 1);
	assert_int_equal(f.books.dropped[BOOKS_DROP_REFUSED], 0);
	assert_delivered(&f, 10);
	end(&f);
}

/* --- what is known of the target ----------------------------------------------------------------- */

static void
test_ready_is_claimed_when_it_is_so(void **state)
{
	struct fixture f = { .options = { .backoff = HOUR } };

	(void)state;
	begin(&f);
	assert_true(delivery_ready(f.delivery));	/* a file that is open takes records */
	end(&f);
	begin_late(&f);
	assert_false(delivery_ready(f.delivery));
	f.sink->options.state(f.sink->options.context, SINK_CLASS_NONE, NULL);
	assert_true(delivery_ready(f.delivery));
	f.sink->options.state(f.sink->options.context, SINK_CLASS_UNREACHABLE, "fake: is away");
	assert_false(delivery_ready(f.delivery));
	assert_int_equal(f.books.failures[SINK_CLASS_UNREACHABLE], 1);
	f.sink->options.state(f.sink->options.context, SINK_CLASS_NONE, NULL);
	put_batches(&f, 1);
	assert_true(delivery_ready(f.delivery));
	fake_answer(f.sink, SINK_RETRY);
	assert_false(delivery_ready(f.delivery));
	end(&f);
}

/* --- headers ----------------------------------------------------------------------------- */

static void
header(void *state, struct buffer *out)
{
	(void)state;
	buffer_append_string(out, "header\n");
}

static void
rows(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	(void)state;
	(void)bytes;
	buffer_printf(out, "%zu\n", length);
}

static void *
open_format(const struct format_options *options, char *error, size_t size)
{
	(void)options;
	(void)error;
	(void)size;
	return malloc(1);
}

static const struct format with_header = { .name = "with", .open = open_format, .header = header, .batch = rows };

static void
deliver_one(struct fixture *f)
{
	unsigned int before = f->acknowledged;

	assert_true(parts_put(f->delivery, 1));
	delivery_flush(f->delivery);
	loop_until(f->base, f->acknowledged == before + 1);
}

static void
test_a_header_stands_at_the_start_only(void **state)
{
	struct fixture f = { .options = { .format = &with_header } };

	(void)state;
	begin(&f);
	deliver_one(&f);
	deliver_one(&f);
	assert_int_equal(f.sink->delivered.length, strlen("header\n10\n10\n"));
	assert_memory_equal(f.sink->delivered.bytes, "header\n10\n10\n", f.sink->delivered.length);
	end(&f);
}

/* A batch that was formed for the old file goes into the new one, which is empty. */
static void
test_a_target_opened_anew_has_a_header(void **state)
{
	struct fixture f = { .options = { .format = &with_header, .backoff = HOUR } };
	char error[64];

	(void)state;
	begin(&f);
	deliver_one(&f);
	f.sink->refuse = 1;
	assert_true(parts_put(f.delivery, 1));
	delivery_flush(f.delivery);
	loop_until(f.base, f.books.retries == 1);
	assert_int_equal(delivery_reopen(f.delivery, -1, error, sizeof(error)), 0);
	loop_until(f.base, f.acknowledged == 2); /* at once, not in an hour */
	assert_memory_equal(f.sink->delivered.bytes, "header\n10\nheader\n10\n", f.sink->delivered.length);
	end(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_record_stands_behind_its_stamp),
		cmocka_unit_test(test_need_is_what_is_taken),
		cmocka_unit_test(test_a_place_that_is_not_committed_is_nothing),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_many_marks),
		cmocka_unit_test(test_rows_close_a_batch),
		cmocka_unit_test(test_bytes_close_a_batch),
		cmocka_unit_test(test_age_closes_a_batch),
		cmocka_unit_test(test_an_empty_batch_is_never_delivered),
		cmocka_unit_test(test_a_slow_sink_stops_the_filling),
		cmocka_unit_test(test_a_refused_batch_comes_again_and_is_not_overtaken),
		cmocka_unit_test(test_once_does_not_try_again),
		cmocka_unit_test(test_a_closed_sink_is_the_end),
		cmocka_unit_test(test_hurry_tries_at_once),
		cmocka_unit_test(test_several_are_with_the_sink),
		cmocka_unit_test(test_any_order_of_answers),
		cmocka_unit_test(test_the_oldest_is_the_probe),
		cmocka_unit_test(test_one_of_several_fails),
		cmocka_unit_test(test_batches_of_one_namespace),
		cmocka_unit_test(test_the_end_is_said),
		cmocka_unit_test(test_a_refused_record_costs_only_itself),
		cmocka_unit_test(test_nothing_overtakes_parts),
		cmocka_unit_test(test_a_part_is_tried_again),
		cmocka_unit_test(test_refusals_that_are_not_final),
		cmocka_unit_test(test_ready_is_claimed_when_it_is_so),
		cmocka_unit_test(test_a_header_stands_at_the_start_only),
		cmocka_unit_test(test_a_target_opened_anew_has_a_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
