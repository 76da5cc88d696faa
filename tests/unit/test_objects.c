/*
 * Batches as objects: each record is in an object when its batch is answered,
 * under a name that stays the same whatever happens in between.
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include <zstd.h>

#include "common/config.h"
#include "common/log.h"
#include "shipper/objects.h"
#include "shipper/spool.h"
#include "tests/unit/folder.h"
#include "tests/unit/shipper_parts.h"

enum { ROWS = 10, PATH = 256, MOST = 64 };

/* --- a target that keeps what it is given ------------------------------------------- */

struct target {
	struct sink_options	 options;
	struct objects		*objects;
	const struct object	*with[MOST];	/* not answered */
	size_t			 nwith;
	bool			 hold;
	unsigned int		 refuse;	/* so many more puts */
	unsigned int		 puts, again;
	struct {
		char		 key[OBJECT_KEY_MAX];
		struct buffer	 bytes;
		uint64_t	 rows;
	} kept[MOST];
	size_t			 nkept;
};

/* One bucket for all lives of a test. */
static struct target bucket;

static void
target_keep(const struct object *object)
{
	size_t i;

	for (i = 0; i < bucket.nkept && strcmp(bucket.kept[i].key, object->key) != 0; i++)
		continue;
	assert_true(i < MOST);
	if (i == bucket.nkept)
		bucket.nkept++;
	else {
		/* It is ours; and made of the same batches it is the same. */
		assert_true(object->again);
		assert_int_equal(bucket.kept[i].bytes.length, object->length);
		assert_memory_equal(bucket.kept[i].bytes.bytes, object->bytes, object->length);
	}
	strcpy(bucket.kept[i].key, object->key);
	bucket.kept[i].bytes.length = 0;
	buffer_append(&bucket.kept[i].bytes, object->bytes, object->length);
	bucket.kept[i].rows = object->rows;
}

static void
target_answer(size_t n, enum sink_result result)
{
	const struct object *object = bucket.with[n];

	bucket.nwith--;
	memmove(&bucket.with[n], &bucket.with[n + 1], (bucket.nwith - n) * sizeof(bucket.with[0]));
	if (result == SINK_DELIVERED) {
		target_keep(object);
		objects_done(bucket.objects, object, result, SINK_CLASS_NONE, NULL);
	} else
		objects_done(bucket.objects, object, result, SINK_CLASS_BUSY, "target: slow down");
}

static void
target_put(void *context, const struct object *object)
{
	(void)context;
	bucket.with[bucket.nwith++] = object;
	bucket.puts++;
	bucket.again += object->again;
	if (bucket.refuse > 0) {
		bucket.refuse--;
		target_answer(bucket.nwith - 1, SINK_RETRY);
	} else if (!bucket.hold)
		target_answer(bucket.nwith - 1, SINK_DELIVERED);
}

static unsigned int target_puts;

static void *
target_open(const struct sink_options *options, char *error, size_t size)
{
	const struct objects_options objects = {
		.sink = &bucket.options, .prefix = "p/q", .puts = target_puts, .put = target_put,
	};

	(void)error;
	(void)size;
	bucket.options = *options;
	bucket.nwith = 0;
	bucket.objects = objects_new(&objects);
	return &bucket;
}

static bool
target_fresh(void *state)
{
	(void)state;
	return false;
}

static void
target_deliver(void *state, const struct sink_batch *batch)
{
	assert_null(batch->bytes);
	objects_deliver(((struct target *)state)->objects, batch);
}

static void
target_flush(void *state)
{
	objects_flush(((struct target *)state)->objects);
}

static void
target_close(void *state)
{
	objects_free(((struct target *)state)->objects);
}

static const struct sink target_sink = {
	.name = "target", .files = true, .pace = SINK_COLLECTED, .window = OBJECTS_WINDOW, .open = target_open, .fresh = target_fresh,
	.deliver = target_deliver, .flush = target_flush, .close = target_close,
};

/* --- lives ----------------------------------------------------------------------------- */

struct fixture {
	char			 folder[FOLDER_MAX];
	char			 dir[PATH];
	struct config		 config;
	struct event_base	*base;
	struct books		 books;
	struct delivery		*delivery;
	struct spool		*spool;
	uint64_t		 queue_size, next;
	const char		*format;
	bool			 spooling;
	char			 error[512];
};

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	folder_make(f->folder, "test_objects");
	snprintf(f->dir, sizeof(f->dir), "%s/spool", f->folder);
	config_init(&f->config);
	f->config.object_rows = 3 * ROWS;
	f->format = "protobuf";
	f->spooling = true;
	f->queue_size = 1 << 20;
	f->next = 1;
	target_puts = 1;
	memset(&bucket, 0, sizeof(bucket));
	*state = f;
	return 0;
}

static void
set(struct fixture *f, const char *key, const char *value)
{
	if (config_set(&f->config, key, value, f->error, sizeof(f->error)) == -1)
		fail_msg("%s", f->error);
}

static void
start_delivery(struct fixture *f)
{
	static char error[256];
	const struct format_options none = { 0 };
	const struct delivery_options options = {
		.base = f->base, .books = &f->books, .limits = { .rows = ROWS, .bytes = 1 << 20 }, .age = HOUR,
		.queue_size = f->queue_size, .spool_put = 1 << 18, .ack_hold = 20 * MILLISECOND, .backoff = 2 * MILLISECOND,
		.sink = &target_sink, .format = format_by_name(f->format), .target = "target", .host = "web 1",
		.format_state = format_by_name(f->format)->open(&none, error, sizeof(error)),
	};
	const struct sink_options sink = { .config = &f->config, .target = "", .fd = -1 };

	f->delivery = delivery_new(&options);
	assert_int_equal(delivery_open(f->delivery, &sink, error, sizeof(error)), 0);
}

static void
ignore_room(void *context)
{
	(void)context;
}

static void
start(struct fixture *f)
{
	const struct spool_options spooling = {
		.dir = f->dir, .size = 4 << 20, .rejects = 1 << 20, .machine = "m", .books = &f->books,
	};

	f->books = (struct books){ 0 };
	f->base = event_base_new();
	if (f->spooling && (f->spool = spool_open(&spooling, f->error, sizeof(f->error))) == NULL)
		fail_msg("%s", f->error);
	start_delivery(f);
	if (f->spooling)
		delivery_use_spool(f->delivery, f->spool);
	delivery_listen(f->delivery, &(struct delivery_events){ .room = ignore_room });
}

static void
stop(struct fixture *f)
{
	if (f->delivery == NULL)
		return;
	assert_true(books_balance(&f->books));
	delivery_end(f->delivery);
	delivery_free(f->delivery);
	assert_true(books_balance(&f->books));
	event_base_free(f->base);
	f->delivery = NULL;
}

static int
end(void **state)
{
	struct fixture *f = *state;

	stop(f);
	config_free(&f->config);
	for (size_t i = 0; i < MOST; i++)
		buffer_free(&bucket.kept[i].bytes);
	folder_remove(f->folder);
	free(f);
	return 0;
}

static void
put(struct fixture *f, enum record_kind kind)
{
	uint8_t record[64];
	size_t length = parts_record(record, f->next, kind);
	struct batch *batch;

	loop_until(f->base, (batch = delivery_batch(f->delivery, batch_need(0, length), f, "ns")) != NULL);
	f->next++;
	f->books.drained++;
	memcpy(batch_place(batch, record, 0, length), record, length);
	batch_commit(batch, 0, length);
	delivery_committed(f->delivery);
}

static void
put_batches(struct fixture *f, unsigned int count)
{
	for (unsigned int i = 0; i < count * ROWS; i++)
		put(f, 0);
}

/* --- what is in the bucket ---------------------------------------------------------------- */

struct seen {
	unsigned int	times[1024];
	uint64_t	rows;
};

static void
see(void *context, const struct record *record)
{
	struct seen *seen = context;

	seen->times[parts_number(record, RECORD_F_record_sequence)]++;
	seen->rows++;
}

static struct buffer
unpack(const struct buffer *packed)
{
	struct buffer plain = { 0 };
	unsigned long long size = 1 << 20;
	size_t n = ZSTD_decompress(buffer_reserve(&plain, size), size, packed->bytes, packed->length);

	assert_false(ZSTD_isError(n));
	plain.length = n;
	return plain;
}

/* Every record from first to last is in the bucket's objects of format protobuf, once. */
static void
assert_all(uint64_t first, uint64_t last)
{
	struct seen seen = { 0 };

	for (size_t i = 0; i < bucket.nkept; i++) {
		struct buffer plain = unpack(&bucket.kept[i].bytes);
		uint64_t before = seen.rows;

		assert_int_not_equal(format_each(plain.bytes, plain.length, see, &seen), -1);
		assert_int_equal(seen.rows - before, bucket.kept[i].rows);
		buffer_free(&plain);
	}
	for (uint64_t sequence = first; sequence <= last; sequence++)
		assert_int_equal(seen.times[sequence], 1);
	assert_int_equal(seen.rows, last - first + 1);
}

/* --- names --------------------------------------------------------------------------------- */

static void
test_a_key_is_its_template_filled_in(void **state)
{
	/* 2023-11-14 22:13:20 */
	const struct object_key key = { .time = 1700000000 * SECOND, .host = "..h\xc3\xa4/x", .epoch = 0xabc, .sequence = 7 };
	char to[OBJECT_KEY_MAX];

	(void)state;
	object_key_write(to, "", "sockets", "date={date}/hour={hour}/{host}-{epoch}-{sequence}", &key, "parquet");
	assert_string_equal(to, "sockets/date=2023-11-14/hour=22/_.h___x-0000000000000abc-0000000007.parquet");
	object_key_write(to, "a/b", "snapshots", "{year}{month}{day}T{hour}{minute}{second}/{epoch}.{sequence}", &key, "jsonl.zst");
	assert_string_equal(to, "a/b/snapshots/20231114T221320/0000000000000abc.0000000007.jsonl.zst");
}

static void
test_a_template_that_is_none(void **state)
{
	static const struct {
		const char	*template;
		const char	*fault;
	} bad[] = {
		{ "", "{epoch} and {sequence}" },
		{ "{date}/{host}-{sequence}", "{epoch} and {sequence}" },
		{ "{epoch}-{sequence}-{pid}", "no other brace" },
		{ "{epoch}-{sequence}}", "no other brace" },
		{ "{epoch}-{sequence}{", "no other brace" },
		{ "/{epoch}-{sequence}", "empty part" },
		{ "a//{epoch}-{sequence}", "empty part" },
		{ "{epoch}-{sequence}/", "empty part" },
		{ "../{epoch}-{sequence}", "begins with a dot" },
		{ "{epoch} {sequence}", "no blank" },
		{ "{epoch}{sequence}{host}{host}{host}", "too long" },
	};

	(void)state;
	assert_null(object_key_fault("{epoch}{sequence}"));
	assert_null(object_key_prefix_fault(""));
	assert_null(object_key_prefix_fault("a/b"));
	assert_non_null(object_key_prefix_fault("a/"));
	assert_non_null(object_key_prefix_fault("{host}"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *fault = object_key_fault(bad[i].template);

		if (fault == NULL || strstr(fault, bad[i].fault) == NULL)
			fail_msg("%s: %s", bad[i].template, fault != NULL ? fault : "taken");
	}
}

/* --- one life --------------------------------------------------------------------------------- */

static void
test_batches_become_objects(void **state)
{
	struct fixture *f = *state;
	char key[OBJECT_KEY_MAX];

	start(f);
	put_batches(f, 7);
	loop_until(f->base, bucket.nkept == 2);
	loop_some(f->base);
	/* The seventh waits, and takes no memory. */
	assert_int_equal(bucket.nkept, 2);
	loop_until(f->base, f->books.delivered == 60 && f->books.queue_bytes == 0);
	assert_int_equal(f->books.spooled, 10);
	snprintf(key, sizeof(key), "/web_1-%016" PRIx64 "-0000000004.pb.zst", spool_epoch(f->spool));
	assert_non_null(strstr(bucket.kept[1].key, key));
	assert_int_equal(strncmp(bucket.kept[1].key, "p/q/sockets/date=20", 19), 0);
	assert_int_equal(f->books.objects, 2);
	assert_int_equal(f->books.object_bytes, bucket.kept[0].bytes.length + bucket.kept[1].bytes.length);
	assert_int_equal(f->books.bytes, f->books.object_bytes);
	delivery_finish(f->delivery);
	loop_until(f->base, f->books.spooled == 0);
	assert_all(1, 70);
}

static void
test_snapshot_ends_are_a_set_of_their_own(void **state)
{
	struct fixture *f = *state;

	start(f);
	for (int i = 0; i < 3 * ROWS; i++)
		put(f, i % 3 == 2 ? RECORD_KIND_SNAPSHOT_END : 0);
	loop_until(f->base, f->books.delivered == 30);
	assert_int_equal(bucket.nkept, 2);
	assert_int_equal(bucket.kept[0].rows, 20);
	assert_int_equal(bucket.kept[1].rows, 10);
	assert_non_null(strstr(bucket.kept[0].key, "/sockets/"));
	assert_non_null(strstr(bucket.kept[1].key, "/snapshots/"));
	assert_string_equal(strstr(bucket.kept[0].key, "/date="), strstr(bucket.kept[1].key, "/date="));
	assert_all(1, 30);
}

static void
test_an_object_ends_by_size_and_by_age(void **state)
{
	struct fixture *f = *state;

	f->config.object_rows = 1000000;
	f->config.object_age = 200 * MILLISECOND;
	start(f);
	put_batches(f, 2);
	loop_until(f->base, f->books.delivered == 20);
	f->config.object_age = HOUR;
	f->config.object_size = 1;
	put_batches(f, 2);
	loop_until(f->base, f->books.delivered == 40);
	assert_int_equal(bucket.nkept, 3);
	assert_all(1, 40);
}

/* What is refused for the moment comes again under its name, although it is another second. */
static void
test_what_was_refused_keeps_its_name(void **state)
{
	struct fixture *f = *state;

	set(f, "object-key", "{date}/{hour}{minute}{second}-{epoch}-{sequence}");
	f->config.object_age = HOUR;
	start(f);
	bucket.hold = true;
	put_batches(f, 4);
	loop_until(f->base, bucket.nwith == 1);
	target_keep(bucket.with[0]);
	/* It was taken, and its answer lost. */
	for (uint64_t fixed = clock_real(); clock_real() / SECOND <= fixed / SECOND + 1;)
		loop_some(f->base);
	bucket.hold = false;
	bucket.refuse = 2;
	target_answer(0, SINK_RETRY);
	loop_until(f->base, f->books.delivered == 30);
	assert_int_equal(bucket.nkept, 1);
	assert_int_equal(bucket.again, 3);
	assert_int_equal(f->books.object_failures[SINK_CLASS_BUSY], 3);
	delivery_finish(f->delivery);
	loop_until(f->base, f->books.spooled == 0);
	assert_all(1, 40);
}

/* Several on their way: what fails comes again, what does not is done, and nothing is mixed. */
static void
test_one_of_several_fails(void **state)
{
	struct fixture *f = *state;

	target_puts = 3;
	start(f);
	bucket.hold = true;
	put_batches(f, 11);
	loop_until(f->base, bucket.nwith == 3);
	target_answer(0, SINK_RETRY);
	target_answer(0, SINK_DELIVERED);
	loop_some(f->base);
	bucket.hold = false;
	target_answer(0, SINK_RETRY);
	while (bucket.nwith > 0)
		target_answer(0, SINK_DELIVERED);
	loop_until(f->base, f->books.delivered >= 90);
	delivery_finish(f->delivery);
	loop_until(f->base, f->books.spooled == 0);
	assert_all(1, 110);
}

/* Without a spool it is memory that bounds it, and the notes are there too. */
static void
test_memory_is_the_bound_where_there_is_no_spool(void **state)
{
	struct fixture *f = *state;

	f->spooling = false;
	f->config.object_rows = 1000000;
	f->queue_size = 4096;
	start(f);
	bucket.refuse = 1;
	for (int i = 0; i < 90; i++) {
		put_batches(f, 1);
		loop_some(f->base);
		/* What is beyond its bound would be given up meanwhile. */
		loop_until(f->base, !delivery_refused(f->delivery));
	}
	delivery_finish(f->delivery);
	loop_until(f->base, f->books.held == 0);
	assert_true(bucket.nkept > 2 && bucket.again == 1);
	assert_int_equal(f->books.delivered, 900);
	assert_all(1, 900);
}

/* --- the next life -------------------------------------------------------------------------------- */

/* A life that ends with SIGKILL when its object is with the target, which has it if it is said to. */
static void
die_while_putting(struct fixture *f, unsigned int batches)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		start(f);
		bucket.hold = true;
		put_batches(f, batches);
		loop_until(f->base, bucket.nwith == 1);
		loop_some(f->base);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
test_the_next_life_makes_the_same_objects(void **state)
{
	struct fixture *f = *state;

	set(f, "object-key", "{minute}{second}-{epoch}-{sequence}");
	die_while_putting(f, 5);
	/* Whatever the configuration says now: the range, the key and the format are fixed. */
	f->config.object_rows = 1;
	set(f, "object-key", "other-{epoch}-{sequence}");
	f->format = "jsonl";
	start(f);
	loop_until(f->base, f->books.spooled == 0);
	assert_int_equal(bucket.nkept, 3);
	assert_null(strstr(bucket.kept[0].key, "other"));
	assert_non_null(strstr(bucket.kept[0].key, "-0000000001.pb.zst"));
	assert_int_equal(bucket.kept[0].rows, 30);
	assert_non_null(strstr(bucket.kept[1].key, "/other-"));
	assert_non_null(strstr(bucket.kept[1].key, "-0000000004.jsonl.zst"));
	assert_int_equal(bucket.kept[1].rows, 10);
	assert_non_null(strstr(bucket.kept[2].key, "-0000000005.jsonl.zst"));
	assert_int_equal(bucket.again, 1);
	bucket.nkept = 1;
	assert_all(1, 30);
}

/* Death is no batch's fault because it was being collected. */
static void
test_many_deaths_cost_no_batch(void **state)
{
	struct fixture *f = *state;

	f->config.object_rows = 20 * ROWS;
	die_while_putting(f, 21);
	for (int i = 0; i < 4; i++)
		die_while_putting(f, 0);
	f->next = 211;
	start(f);
	loop_until(f->base, f->books.delivered == 200);
	assert_int_equal(f->books.dropped[BOOKS_DROP_CRASH], 0);
	delivery_finish(f->delivery);
	loop_until(f->base, f->books.spooled == 0);
	assert_all(1, 210);
}

/* --- one batch after the other ------------------------------------------------------------------------- */

/* What the objects say of batches that they are given by hand. */
static struct hand {
	unsigned int	delivered, retried, copied;
	struct sink_note noted;
} hand;

static void
hand_done(void *context, const struct sink_id *id, enum sink_result result, enum sink_class class, const char *why)
{
	(void)context;
	(void)id;
	(void)class;
	(void)why;
	hand.delivered += result == SINK_DELIVERED;
	hand.retried += result == SINK_RETRY;
}

static bool
hand_note(void *context, const struct sink_note *note)
{
	(void)context;
	hand.noted = *note;
	return true;
}

static void
hand_copied(void *context, const struct sink_id *id)
{
	(void)context;
	(void)id;
	hand.copied++;
}

static void
hand_counted(void *context, enum sink_class class, uint64_t bytes)
{
	(void)context;
	(void)class;
	(void)bytes;
}

static void
hand_give(uint64_t sequence, const struct sink_note *note)
{
	static uint8_t record[MOST][64];
	static struct sink_batch batches[MOST];
	size_t length = parts_record(record[sequence] + 1, sequence, 0);

	record[sequence][0] = (uint8_t)length;
	batches[sequence] = (struct sink_batch){
		.id = { 1, sequence, 0 }, .rows = 1, .records = record[sequence], .records_length = length + 1, .host = "h", .note = note,
	};
	objects_deliver(bucket.objects, &batches[sequence]);
}

/* A part of a range never takes the place of the whole. */
static void
test_a_range_waits_for_what_it_lacks(void **state)
{
	struct fixture *f = *state;
	const struct sink_note note = { .first = 1, .last = 3, .text = "sockets/x-1.pb.zst\nsnapshots/x-1.pb.zst\n" };
	const struct sink_note foreign = { .first = 4, .last = 4, .text = "what is this" };
	const struct sink_options options = {
		.config = &f->config, .format = format_by_name("protobuf"), .base = event_base_new(), .done = hand_done, .note = hand_note,
		.copied = hand_copied, .counted = hand_counted,
	};

	memset(&hand, 0, sizeof(hand));
	target_open(&options, NULL, 0);
	hand_give(1, &note);
	hand_give(2, &note);
	objects_flush(bucket.objects);
	assert_int_equal(bucket.nkept, 0);
	assert_int_equal(hand.copied, 2);
	/* The third was dropped: one that is not of the range says so. */
	hand_give(4, &foreign);
	assert_int_equal(hand.delivered, 2);
	assert_string_equal(bucket.kept[0].key, "sockets/x-1.pb.zst");
	objects_flush(bucket.objects);
	assert_int_equal(hand.delivered, 3);
	assert_int_equal(hand.noted.first, 4);
	assert_int_equal(hand.noted.last, 4);
	assert_int_equal(bucket.nkept, 2);
	/* All of it, and then it waits for nothing. */
	hand_give(1, &note);
	hand_give(2, &note);
	bucket.nkept = 0;
	hand_give(3, &note);
	assert_int_equal(hand.delivered, 6);
	assert_all(1, 3);
	objects_free(bucket.objects);
	event_base_free(options.base);
}

int
main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		test(test_a_key_is_its_template_filled_in),
		test(test_a_template_that_is_none),
		test(test_batches_become_objects),
		test(test_snapshot_ends_are_a_set_of_their_own),
		test(test_an_object_ends_by_size_and_by_age),
		test(test_what_was_refused_keeps_its_name),
		test(test_one_of_several_fails),
		test(test_memory_is_the_bound_where_there_is_no_spool),
		test(test_the_next_life_makes_the_same_objects),
		test(test_many_deaths_cost_no_batch),
		test(test_a_range_waits_for_what_it_lacks),
	};

	signal(SIGPIPE, SIG_IGN);
	log_init("test_objects", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
