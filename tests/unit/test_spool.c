/*
 * Batches that wait: in the spool, or without one in a queue in memory.
 * Nothing overtakes, nothing is lost that is not counted, and what a killed
 * process had is there in the next life.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "shipper/ledger.h"
#include "shipper/spool.h"
#include "shipper/store.h"
#include "tests/unit/folder.h"
#include "tests/unit/shipper_parts.h"

enum { ROWS = 10, PATH = 256 };

struct fixture {
	char			 folder[FOLDER_MAX];
	char			 dir[PATH];
	struct event_base	*base;
	struct books		 books;
	struct spool_options	 spooling;
	struct delivery_options	 options;
	struct delivery		*delivery;
	struct spool		*spool;
	struct fake_sink	*sink;
	struct parts_read	*read;
	unsigned int		 released, rooms, settled;
	uint64_t		 next;		/* the next record's sequence, from 1 on */
	char			 error[512];
};

static void
count_released(void *context, const struct batch *batch)
{
	struct fixture *f = context;

	assert_true(batch->rows > 0);
	f->released++;
}

static void
count_room(void *context)
{
	((struct fixture *)context)->rooms++;
}

static void
count_settled(void *context)
{
	((struct fixture *)context)->settled++;
}

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	folder_make(f->folder, "test_spool");
	snprintf(f->dir, sizeof(f->dir), "%s/spool", f->folder);
	f->next = 1;
	f->read = malloc(sizeof(*f->read));
	f->spooling = (struct spool_options){ .size = SPOOL_SIZE_MIN, .rejects = 1 << 20, .machine = "m" };
	f->options = (struct delivery_options){
		.limits = { .rows = ROWS, .bytes = 1 << 20 }, .age = HOUR, .queue_size = 1 << 20, .spool_put = 1 << 18,
		.ack_hold = 20 * MILLISECOND, .backoff = 2 * MILLISECOND, .sink = &fake_late_sink,
	};
	*state = f;
	return 0;
}

static bool
start_spool(struct fixture *f)
{
	f->spooling.dir = f->dir;
	f->spooling.books = &f->books;
	f->spool = spool_open(&f->spooling, f->error, sizeof(f->error));
	return f->spool != NULL;
}

static void
start(struct fixture *f)
{
	const struct delivery_events events = {
		.released = count_released, .room = count_room, .settled = count_settled, .context = f
	};

	f->books = (struct books){ 0 };
	f->base = event_base_new();
	f->options.base = f->base;
	f->options.books = &f->books;
	if (!start_spool(f))
		fail_msg("%s", f->error);
	f->delivery = parts_delivery(&f->options);
	f->sink = fake_last;
	delivery_use_spool(f->delivery, f->spool);
	delivery_listen(f->delivery, &events);
}

static void
start_without_spool(struct fixture *f)
{
	const struct delivery_events events = { .released = count_released, .room = count_room, .context = f };

	f->base = event_base_new();
	f->options.base = f->base;
	f->options.books = &f->books;
	f->delivery = parts_delivery(&f->options);
	f->sink = fake_last;
	delivery_listen(f->delivery, &events);
}

static void
stop(struct fixture *f)
{
	if (f->delivery == NULL)
		return;
	assert_true(books_balance(&f->books));
	delivery_end(f->delivery);
	assert_true(books_balance(&f->books));
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
	folder_remove(f->folder);
	free(f->read);
	free(f);
	return 0;
}

/* As the drain does. */
static void
put_records(struct fixture *f, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		f->books.drained++;
		if (!parts_put(f->delivery, f->next)) {
			unsigned int rooms = f->rooms;

			loop_until(f->base, f->rooms > rooms);
			assert_true(parts_put(f->delivery, f->next));
		}
		f->next++;
	}
}

static void
put_batches(struct fixture *f, unsigned int count)
{
	put_records(f, ROWS * count);
}

/* Everything from a record on has arrived, once and in order. */
static void
assert_arrived(struct fixture *f, uint64_t first, uint64_t last)
{
	parts_read(f->read, &f->sink->delivered);
	assert_int_equal(f->read->count, last - first + 1);
	for (size_t i = 0; i < f->read->count; i++)
		assert_int_equal(f->read->sequences[i], first + i);
}

/* Files in a folder of the spool; the last one's name is kept. */
static unsigned int
files(const struct fixture *f, const char *name, char last[PATH])
{
	char path[2 * PATH];
	struct dirent *entry;
	unsigned int count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	if ((dir = opendir(path)) == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		if (last != NULL)
			snprintf(last, PATH, "%s", entry->d_name);
	}
	closedir(dir);
	return count;
}

/* --- what waits ---------------------------------------------------------------------- */

static void
test_what_is_answered_soon_touches_no_disk(void **state)
{
	struct fixture *f = *state;
	uint64_t until;

	f->options.ack_hold = 200 * MILLISECOND;
	start(f);
	put_batches(f, 20);
	loop_until(f->base, f->books.delivered == 200);
	until = clock_monotonic() + 300 * MILLISECOND;
	loop_until(f->base, clock_monotonic() > until);
	assert_int_equal(f->books.spool_put, 0);
	assert_int_equal(f->released, 20);
	assert_arrived(f, 1, 200);
}

/* What the sink is slow to answer is in the spool, and its ring is free, while the sink goes on with it. */
static void
test_what_is_answered_late_is_in_the_spool(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->sink->hold = true;
	put_batches(f, 6);
	loop_until(f->base, f->released == 6);
	assert_int_equal(f->books.spooled, 60);
	assert_int_equal(f->books.held, 0);
	assert_int_equal(f->books.spool_put, 6);
	assert_int_equal(f->books.delivered, 0);
	assert_int_equal(f->sink->count, 4);
	assert_int_equal(f->sink->with[0]->attempt, 1);
	fake_let_go(f->sink);
	loop_until(f->base, f->books.delivered == 60);
	assert_int_equal(f->books.spooled, 0);
	assert_arrived(f, 1, 60);
	/* Once more directly. */
	put_batches(f, 1);
	loop_until(f->base, f->books.delivered == 70);
	assert_int_equal(f->books.spool_put, 6);
}

/* More than the memory holds: the rest waits on disk only, and nothing overtakes when it comes back. */
static void
test_nothing_overtakes_the_spool(void **state)
{
	struct fixture *f = *state;

	f->options.queue_size = 2000;
	f->options.spool_put = 1500;
	start(f);
	f->sink->hold = true;
	put_batches(f, 100);
	loop_until(f->base, f->books.spooled == 1000);
	assert_true(f->books.queue_bytes <= 2000);
	fake_answer(f->sink, SINK_DELIVERED);
	put_batches(f, 50);
	fake_let_go(f->sink);
	put_batches(f, 50);
	loop_until(f->base, f->books.delivered == 2000);
	assert_arrived(f, 1, 2000);
	assert_int_equal(f->books.dropped[BOOKS_DROP_FULL], 0);
}

/* Refusals of the moment, again and again, in and out of the spool. */
static void
test_a_sink_that_comes_and_goes(void **state)
{
	struct fixture *f = *state;

	f->options.queue_size = 1500;
	start(f);
	srandom(3);
	for (int i = 0; i < 60; i++) {
		put_batches(f, (unsigned int)(random() % 5));
		if (random() % 3 == 0)
			f->sink->refuse = (unsigned int)(random() % 4);
		for (long turns = random() % 20; turns > 0; turns--)
			event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	loop_until(f->base, f->books.delivered == f->next - 1);
	assert_int_equal(f->books.spooled + f->books.held, 0);
	assert_arrived(f, 1, f->next - 1);
}

static void
test_some_sinks_get_only_what_is_on_disk(void **state)
{
	static struct sink collecting;
	struct fixture *f = *state;

	collecting = fake_late_sink;
	collecting.pace = SINK_SPOOLED;
	f->options.sink = &collecting;
	start(f);
	f->sink->hold = true;
	put_batches(f, 3);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->sink->deliveries, 0);
	loop_until(f->base, f->sink->deliveries == 3);
	assert_int_equal(f->books.spool_put, 3);
	assert_int_equal(f->released, 3);
	fake_let_go(f->sink);
	loop_until(f->base, f->books.delivered == 30);
}

/* A target that has just come back is spared; what comes in meanwhile is no reason to stop. */
static void
test_a_cap_on_replay(void **state)
{
	struct fixture *f = *state;
	uint64_t begun;

	start(f);
	f->sink->hold = true;
	put_batches(f, 100);
	loop_until(f->base, f->books.held == 0);
	stop(f);
	f->options.replay = 20000;	/* for 11000 bytes */
	f->options.queue_size = 2000;
	begun = clock_monotonic();
	start(f);
	put_batches(f, 5);
	loop_until(f->base, f->books.delivered == 1050);
	assert_true(clock_monotonic() - begun > 400 * MILLISECOND);
	assert_arrived(f, 1, 1050);
}

/* --- sinks of objects ------------------------------------------------------------------------- */

static const struct sink *
collecting_sink(void)
{
	static struct sink sink;

	sink = fake_late_sink;
	sink.pace = SINK_SPOOLED;
	sink.window = 16;
	return &sink;
}

/* It takes what it needs of six batches, and they take no memory any more. */
static void
collect_six(struct fixture *f)
{
	f->options.sink = collecting_sink();
	start(f);
	f->sink->hold = true;
	put_batches(f, 6);
	loop_until(f->base, f->sink->count == 6);
	for (size_t i = 0; i < 6; i++)
		f->sink->options.copied(f->sink->options.context, &f->sink->with[i]->id);
	loop_until(f->base, f->books.queue_bytes == 0);
}

/* What it had copied is read again when it is given again, whole or in parts. */
static void
test_what_was_copied_can_come_again(void **state)
{
	struct fixture *f = *state;

	collect_six(f);
	f->sink->copied = true;
	fake_answer_nth(f->sink, 0, SINK_DELIVERED);
	fake_answer_nth(f->sink, 0, SINK_REFUSED);
	while (f->sink->count > 0)
		fake_answer_nth(f->sink, f->sink->count - 1, SINK_RETRY);
	f->sink->copied = false;
	f->sink->poison = 13;
	f->sink->hold = false;
	loop_until(f->base, f->books.spooled == 0);
	assert_int_equal(f->books.delivered, 59);
	assert_int_equal(f->books.dropped[BOOKS_DROP_REFUSED], 1);
	parts_read(f->read, &f->sink->delivered);
	assert_int_equal(f->read->count, 49);
	for (size_t i = 0; i < 49; i++)
		assert_int_equal(f->read->sequences[i], i < 2 ? 11 + i : 12 + i);
}

/* What the batches become is known to the next life, until they are answered. */
static void
test_a_note_outlives_who_made_it(void **state)
{
	struct fixture *f = *state;
	const struct sink_note note = { .first = 2, .last = 4, .text = "hour=07/a.parquet" };
	char path[2 * PATH], text[SINK_NOTE_MAX];
	enum store_result result;
	struct store *store;
	uint64_t first, last;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		collect_six(f);
		assert_true(f->sink->options.note(f->sink->options.context, &note));
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	f->options.sink = collecting_sink();
	start(f);
	f->sink->hold = true;
	/* What was copied is not to blame for the death: all go at once. */
	loop_until(f->base, f->sink->count == 6);
	assert_null(f->sink->with[0]->note);
	fake_answer(f->sink, SINK_DELIVERED);
	assert_int_equal(f->sink->with[0]->id.batch_sequence, 2);
	assert_string_equal(f->sink->with[0]->note->text, note.text);
	/* Given again, it comes with it again. */
	while (f->sink->count > 0)
		fake_answer_nth(f->sink, f->sink->count - 1, SINK_RETRY);
	for (uint64_t sequence = 2; sequence <= 6; sequence++) {
		loop_until(f->base, f->sink->count > 0);
		assert_int_equal(f->sink->with[0]->id.batch_sequence, sequence);
		if (sequence <= 4) {
			assert_int_equal(f->sink->with[0]->note->first, 2);
			assert_int_equal(f->sink->with[0]->note->last, 4);
			assert_string_equal(f->sink->with[0]->note->text, note.text);
		} else
			assert_null(f->sink->with[0]->note);
		fake_answer(f->sink, SINK_DELIVERED);
	}
	loop_until(f->base, f->books.spooled == 0);
	stop(f);
	/* And then nothing is left of it. */
	snprintf(path, sizeof(path), "%s/spool.db", f->dir);
	store = store_open_to_read(path, &result, f->error, sizeof(f->error));
	assert_non_null(store);
	assert_int_equal(store_find_note(store, 3, &first, &last, text, sizeof(text)), STORE_NONE);
	store_close(store);
}

/* --- one life after the other -------------------------------------------------------------- */

static void
test_the_next_life_goes_on(void **state)
{
	struct fixture *f = *state;
	uint64_t epoch;

	start(f);
	epoch = spool_epoch(f->spool);
	f->sink->hold = true;
	put_batches(f, 7);
	put_records(f, 3);
	loop_some(f->base);
	fake_answer(f->sink, SINK_DELIVERED);
	/* What is in memory only goes into the spool at the end, also the batch that is not full. */
	stop(f);
	assert_int_equal(f->books.spooled + f->books.delivered, 73);
	start(f);
	assert_true(spool_epoch(f->spool) == epoch);
	assert_int_equal(f->books.drained, 73);
	assert_int_equal(f->books.delivered, 10);
	assert_int_equal(f->books.spooled, 63);
	assert_int_equal(f->books.in_doubt, 0);
	f->sink->hold = true;
	put_batches(f, 1);
	loop_until(f->base, f->sink->count == 4);
	assert_int_equal(f->sink->with[0]->id.batch_sequence, 2);
	assert_true(f->sink->with[0]->id.spool_epoch == epoch);
	assert_string_equal(f->sink->with[0]->netns, "ns");
	fake_let_go(f->sink);
	loop_until(f->base, f->books.delivered == 83);
	assert_arrived(f, 11, 83);
}

static void
test_one_shipper_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct spool *second;
	char expected[2 * PATH];

	start(f);
	second = spool_open(&f->spooling, f->error, sizeof(f->error));
	assert_null(second);
	snprintf(expected, sizeof(expected), "%s: another shipper has this spool (it is locked); give each its own", f->dir);
	assert_string_equal(f->error, expected);
}

static void
test_folders_that_cannot_be(void **state)
{
	struct fixture *f = *state;

	snprintf(f->dir, sizeof(f->dir), "%s/no/spool", f->folder);
	assert_false(start_spool(f));
	assert_non_null(strstr(f->error, "/no/spool: cannot be made: No such file or directory"));
	snprintf(f->dir, sizeof(f->dir), "%s/file", f->folder);
	close(open(f->dir, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_false(start_spool(f));
	assert_non_null(strstr(f->error, "/file: cannot be opened: Not a directory"));
}

/* A copy, or another machine: what it has goes under a new epoch, whose numbers are nobody else's. */
static void
test_a_copy_has_an_epoch_of_its_own(void **state)
{
	struct fixture *f = *state;
	char command[512];
	uint64_t first, second;

	start(f);
	first = spool_epoch(f->spool);
	f->sink->hold = true;
	put_batches(f, 3);
	loop_until(f->base, f->books.spooled == 30);
	stop(f);
	snprintf(command, sizeof(command), "cp -a %s %s.copy", f->dir, f->dir);
	assert_int_equal(system(command), 0);
	start(f);
	assert_true(spool_epoch(f->spool) == first);
	stop(f);
	snprintf(f->dir, sizeof(f->dir), "%s/spool.copy", f->folder);
	start(f);
	second = spool_epoch(f->spool);
	assert_true(second != first);
	assert_int_equal(f->books.spooled, 30);
	loop_until(f->base, f->books.delivered == 30);
	assert_arrived(f, 1, 30);
	stop(f);
	f->spooling.machine = "another";
	start(f);
	assert_true(spool_epoch(f->spool) != second);
}

/* --- what has to go --------------------------------------------------------------------------- */

/* A full spool gives up its oldest; exactly what is missing is counted, and draining goes on. */
static void
test_a_full_spool_loses_its_oldest(void **state)
{
	struct fixture *f = *state;
	uint64_t lost;

	f->options.limits.rows = 1000;
	f->options.queue_size = 40000;
	f->options.sink = &fake_sink;	/* one at a time */
	start(f);
	f->sink->refuse = UINT32_MAX;
	f->options.backoff = HOUR;
	/* 10 to 12 bytes each: half of its size. */
	put_records(f, 45000);
	loop_until(f->base, f->books.held == 0);
	assert_int_equal(f->books.spooled, 45000);
	put_records(f, 135000);
	loop_until(f->base, f->books.held == 0);
	lost = f->books.dropped[BOOKS_DROP_FULL];
	assert_in_range(lost, 100000, 135000);
	assert_int_equal(f->books.spooled, 180000 - lost);
	f->sink->refuse = 0;
	delivery_hurry(f->delivery);
	loop_until(f->base, f->books.spooled == 0);
	assert_int_equal(f->books.delivered, 180000 - lost);
	/* It is the oldest that are missing; the one batch that was with the sink is no exception. */
	parts_read(f->read, &f->sink->delivered);
	assert_int_equal(f->read->sequences[0], lost + 1);
}

/*
 * What the sink has cannot be taken back from it: it leaves the spool and stays in memory,
 * and what becomes of it is what the sink says.
 */
static void
test_a_full_spool_and_a_slow_sink(void **state)
{
	struct fixture *f = *state;

	f->options.limits.rows = 1000;
	f->options.queue_size = 200000;
	f->options.backoff = HOUR;
	start(f);
	f->sink->hold = true;
	put_records(f, 150000);
	loop_until(f->base, f->books.spooled + f->books.dropped[BOOKS_DROP_FULL] + 4000 == 150000);
	assert_int_equal(f->sink->count, 4);
	assert_int_equal(f->books.held, 4000);
	fake_answer(f->sink, SINK_DELIVERED);
	loop_until(f->base, f->books.delivered == 1000);
	fake_answer_nth(f->sink, 1, SINK_RETRY);
	fake_answer_nth(f->sink, 0, SINK_DELIVERED);
	loop_until(f->base, f->books.delivered == 2000);
	assert_int_equal(f->books.spooled + f->books.dropped[BOOKS_DROP_FULL] + f->books.held, 148000);
	assert_int_equal(f->books.held, 1000);
}

static void
test_what_is_too_old_goes(void **state)
{
	struct fixture *f = *state;

	f->spooling.age = 50 * MILLISECOND;
	f->options.sink = &fake_sink;
	f->options.queue_size = 200;
	start(f);
	f->sink->refuse = UINT32_MAX;
	put_batches(f, 20);
	loop_until(f->base, f->books.dropped[BOOKS_DROP_AGE] > 150 && f->books.spooled == 0);
	assert_true(f->books.dropped[BOOKS_DROP_AGE] + f->books.dropped[BOOKS_DROP_FULL] + f->books.held == 200);
	f->sink->refuse = 0;
	put_batches(f, 1);
	loop_until(f->base, f->books.held + f->books.spooled == 0);
	assert_true(books_balance(&f->books));
}

/* Without a spool: a queue in memory, whose oldest goes. */
static void
test_a_full_queue_loses_its_oldest(void **state)
{
	struct fixture *f = *state;
	uint64_t lost, last;

	f->options.queue_size = 3000;
	start_without_spool(f);
	f->sink->hold = true;
	put_batches(f, 100);
	loop_until(f->base, f->released >= 97);
	lost = f->books.dropped[BOOKS_DROP_FULL];
	assert_in_range(lost, 600, 800);
	assert_true(f->books.queue_bytes <= 3300);
	fake_let_go(f->sink);
	loop_until(f->base, f->books.held == 0);
	assert_int_equal(f->books.delivered, 1000 - lost);
	/* Those that the sink had, then a gap, then the newest. */
	parts_read(f->read, &f->sink->delivered);
	assert_int_equal(f->read->count, 1000 - lost);
	last = f->read->sequences[f->read->count - 1];
	assert_int_equal(last, 1000);
	for (size_t i = 1, gaps = 0; i < f->read->count; i++) {
		gaps += f->read->sequences[i] != f->read->sequences[i - 1] + 1;
		assert_true(gaps <= 1);
	}
}

/* A burst is no reason to lose anything: for as long as ack-hold the rings keep it. */
static void
test_a_burst_waits_for_the_sink(void **state)
{
	struct fixture *f = *state;

	f->options.queue_size = 3000;
	f->options.ack_hold = HOUR;
	start_without_spool(f);
	f->sink->hold = true;
	while (parts_put(f->delivery, f->next))
		f->next++, f->books.drained++;
	assert_in_range(f->next, 250, 320);
	loop_some(f->base);
	assert_int_equal(f->rooms, 0);
	fake_let_go(f->sink);
	loop_until(f->base, f->rooms == 1);
	put_batches(f, 5);
	delivery_flush(f->delivery);
	loop_until(f->base, f->books.held == 0);
	assert_int_equal(books_dropped(&f->books), 0);
	assert_arrived(f, 1, f->next - 1);
}

/* What a queue in memory still has at the end is lost, and said to be. */
static void
test_the_end_of_a_queue_is_counted(void **state)
{
	struct fixture *f = *state;

	start_without_spool(f);
	f->sink->hold = true;
	put_batches(f, 6);
	loop_until(f->base, f->released == 6);
	delivery_end(f->delivery);
	assert_int_equal(f->books.dropped[BOOKS_DROP_LOST], 60);
	assert_int_equal(f->books.held, 0);
}

/* What was in memory when it died is counted by the next life, and only then. */
static void
test_what_a_death_costs_is_known(void **state)
{
	struct fixture *f = *state;
	char path[PATH];
	pid_t pid = fork();

	snprintf(path, sizeof(path), "%s/ledger", f->folder);
	if (pid == 0) {
		start_without_spool(f);
		delivery_use_ledger(f->delivery, ledger_open(path));
		f->sink->hold = true;
		put_batches(f, 6);
		loop_until(f->base, f->released == 6);
		fake_answer_nth(f->sink, 1, SINK_DELIVERED);
		f->options.ack_hold = HOUR;
		put_batches(f, 2);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (int i = 0; i < 2; i++) {
		start_without_spool(f);
		delivery_use_ledger(f->delivery, ledger_open(path));
		assert_int_equal(f->books.dropped[BOOKS_DROP_LOST], i == 0 ? 50 : 0);
		assert_true(books_balance(&f->books));
		f->next = 1;
		put_batches(f, 3);
		loop_until(f->base, f->books.delivered == 30);
		stop(f);
		f->books = (struct books){ 0 };
	}
}

/* --- damage ------------------------------------------------------------------------------------------- */

/* Overwrites the first place in a file where these bytes stand. */
static bool
spoil(const char *path, const void *bytes, size_t length, const void *with)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	uint8_t *all, *found;

	assert_int_equal(fstat(fd, &st), 0);
	all = malloc((size_t)st.st_size);
	assert_int_equal(pread(fd, all, (size_t)st.st_size, 0), st.st_size);
	found = memmem(all, (size_t)st.st_size, bytes, length);
	if (found != NULL)
		assert_int_equal(pwrite(fd, with, length, found - all), length);
	free(all);
	close(fd);
	return found != NULL;
}

/* One bit of one batch: it is set aside, the others arrive. */
static void
test_a_damaged_batch(void **state)
{
	struct fixture *f = *state;
	uint8_t record[64], changed[64];
	size_t length = parts_record(record, 25, 0);
	char path[2 * PATH], name[PATH];

	start(f);
	f->sink->hold = true;
	put_batches(f, 5);
	loop_until(f->base, f->books.spooled == 50);
	stop(f);
	memcpy(changed, record, length);
	changed[length - 1] ^= 1;
	snprintf(path, sizeof(path), "%s/spool.db", f->dir);
	assert_true(spoil(path, record, length, changed));
	start(f);
	loop_until(f->base, f->books.spooled == 0);
	assert_int_equal(f->books.delivered, 40);
	assert_int_equal(f->books.dropped[BOOKS_DROP_CORRUPT], 10);
	assert_int_equal(files(f, "corrupt", name), 1);
	assert_non_null(strstr(name, "-3.damaged"));
}

/* Not a database any more: set aside whole, counted, and a new one is begun. */
static void
test_a_damaged_spool(void **state)
{
	struct fixture *f = *state;
	char path[2 * PATH], name[PATH];
	uint64_t epoch;
	int fd;

	start(f);
	epoch = spool_epoch(f->spool);
	f->sink->hold = true;
	put_batches(f, 5);
	loop_until(f->base, f->books.spooled == 50);
	stop(f);
	snprintf(path, sizeof(path), "%s/spool.db", f->dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "no such thing as a database", 27, 0), 27);
	close(fd);
	start(f);
	assert_true(spool_epoch(f->spool) != epoch);
	assert_int_equal(f->books.drained, 50);
	assert_int_equal(f->books.dropped[BOOKS_DROP_CORRUPT], 50);
	assert_true(books_balance(&f->books));
	assert_true(files(f, "corrupt", name) >= 1);
	put_batches(f, 3);
	loop_until(f->base, f->books.delivered == 30);
	/* The loss is counted once. */
	stop(f);
	start(f);
	assert_int_equal(f->books.dropped[BOOKS_DROP_CORRUPT], 50);
}

/* The same while it is in use: what is in memory is not lost. */
static void
test_a_spool_that_is_damaged_in_use(void **state)
{
	struct fixture *f = *state;
	char path[2 * PATH];

	f->options.queue_size = 1500;
	start(f);
	f->sink->hold = true;
	put_batches(f, 60);
	loop_until(f->base, f->books.spooled == 600);
	snprintf(path, sizeof(path), "%s/spool.db", f->dir);
	assert_int_equal(truncate(path, 20000), 0);
	fake_let_go(f->sink);
	loop_until(f->base, f->books.spooled == 0 && f->books.held == 0);
	assert_true(f->books.dropped[BOOKS_DROP_CORRUPT] >= 300);
	assert_true(f->books.delivered >= 40);
	assert_true(books_balance(&f->books));
	put_batches(f, 3);
	loop_until(f->base, f->books.held == 0);
	assert_true(books_balance(&f->books));
}

/* Cut or overwritten anywhere between two lives: it starts, the books balance, what arrives is what was sent. */
static void
test_damage_anywhere(void **state)
{
	static const char *const names[] = { "spool.db", "spool.db-journal", "ledger" };
	struct fixture *f = *state;
	uint64_t arrived = 0;

	srandom(5);
	for (int i = 0; i < 18; i++) {
		char path[2 * PATH], noise[100];
		struct stat st;
		int fd;

		start(f);
		f->sink->hold = true;
		put_batches(f, 5);
		loop_until(f->base, f->books.held == 0);
		stop(f);
		snprintf(path, sizeof(path), "%s/%s", f->dir, names[i % 3]);
		assert_int_equal(stat(path, &st), 0);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (char)random();
		if (i % 2 == 0)
			assert_int_equal(pwrite(fd, noise, sizeof(noise), random() % (st.st_size < 60000 ? st.st_size + 1 : 60000)), 100);
		else
			assert_int_equal(ftruncate(fd, random() % (st.st_size + 1)), 0);
		close(fd);
		start(f);
		assert_true(books_balance(&f->books));
		loop_until(f->base, f->books.spooled == 0);
		parts_read(f->read, &f->sink->delivered);
		for (size_t k = 0; k < f->read->count; k++)
			assert_in_range(f->read->sequences[k], 1, f->next - 1);
		arrived += f->read->count;
		stop(f);
	}
	/* Most of the damage hits nothing that is in use. */
	assert_true(arrived > 200);
}

/* A disk that takes no more (here: a limit): memory holds what it can, and it is said. */
static void
test_a_disk_that_takes_nothing(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit, small;

	signal(SIGXFSZ, SIG_IGN);
	f->options.queue_size = 3000;
	start(f);
	f->sink->hold = true;
	getrlimit(RLIMIT_FSIZE, &limit);
	small = (struct rlimit){ 100, limit.rlim_max };
	setrlimit(RLIMIT_FSIZE, &small);
	put_batches(f, 100);
	loop_until(f->base, f->books.spool_failures > 0);
	loop_until(f->base, f->books.dropped[BOOKS_DROP_FULL] >= 600);
	setrlimit(RLIMIT_FSIZE, &limit);
	/* It is tried again. */
	loop_until(f->base, f->books.held == 0 && f->books.spooled > 0);
	fake_let_go(f->sink);
	loop_until(f->base, f->books.spooled == 0);
	assert_int_equal(f->books.delivered + f->books.dropped[BOOKS_DROP_FULL], 1000);
}

/* --- refused --------------------------------------------------------------------------------------------- */

static void
test_a_refused_record_is_kept(void **state)
{
	struct fixture *f = *state;
	char name[PATH], from[2 * PATH], to[2 * PATH];
	struct buffer kept = { 0 };
	int fd;

	start(f);
	f->sink->poison = 17;
	put_batches(f, 3);
	loop_until(f->base, f->books.delivered == 29);
	assert_int_equal(f->books.dropped[BOOKS_DROP_REFUSED], 1);
	assert_int_equal(f->books.parted, 1);
	assert_int_equal(files(f, "rejects", name), 1);
	assert_non_null(strstr(name, "-2-6.invalid"));
	snprintf(from, sizeof(from), "%s/rejects/%s", f->dir, name);
	fd = open(from, O_RDONLY | O_CLOEXEC);
	kept.length = (size_t)read(fd, buffer_reserve(&kept, 100), 100);
	close(fd);
	parts_read(f->read, &kept);
	buffer_free(&kept);
	assert_int_equal(f->read->count, 1);
	assert_int_equal(f->read->sequences[0], 17);
	/* And again, when the sink takes it. */
	f->sink->poison = 0;
	snprintf(to, sizeof(to), "%s/requeue", f->dir);
	assert_int_equal(mkdir(to, 0700), 0);
	snprintf(to, sizeof(to), "%s/requeue/%s", f->dir, name);
	assert_int_equal(rename(from, to), 0);
	snprintf(to, sizeof(to), "%s/requeue/other", f->dir);
	fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "no record", 9), 9);
	close(fd);
	loop_until(f->base, f->books.delivered == 30 && files(f, "requeue", NULL) == 0);
	assert_int_equal(f->books.requeued, 1);
	assert_int_equal(files(f, "rejects", NULL), 0);
	assert_int_equal(files(f, "corrupt", name), 1);
	assert_string_equal(name, "other");
}

/* In parts out of the spool, too; counted when the last of them is answered. */
static void
test_a_refused_batch_of_the_spool(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->sink->hold = true;
	put_batches(f, 3);
	loop_until(f->base, f->books.spooled == 30);
	stop(f);
	start(f);
	f->sink->poison = 11;
	loop_until(f->base, f->books.spooled == 0);
	assert_int_equal(f->books.delivered, 29);
	assert_int_equal(f->books.dropped[BOOKS_DROP_REFUSED], 1);
}

static void
test_hold(void **state)
{
	struct fixture *f = *state;
	char path[2 * PATH];

	start(f);
	snprintf(path, sizeof(path), "%s/hold", f->dir);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	loop_until(f->base, spool_held(f->spool));
	put_batches(f, 3);
	loop_until(f->base, f->books.spooled == 30);
	assert_int_equal(f->sink->deliveries, 0);
	assert_int_equal(unlink(path), 0);
	loop_until(f->base, f->books.delivered == 30);
	assert_arrived(f, 1, 30);
}

/* --- the end ------------------------------------------------------------------------------------------------- */

/* It is over when all is delivered; or put away, when the sink takes nothing. */
static void
test_the_end_comes_when_nothing_can_be_done(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->sink->hold = true;
	put_batches(f, 3);
	delivery_finish(f->delivery);
	loop_until(f->base, f->books.spooled == 30);
	assert_int_equal(f->settled, 0);	/* the sink may answer yet */
	fake_let_go(f->sink);
	loop_until(f->base, f->settled > 0);
	assert_int_equal(f->books.delivered + f->books.spooled, 30);
	stop(f);
	assert_int_equal(f->books.delivered, 30);
	f->settled = 0;
	f->options.backoff = HOUR;
	start(f);
	f->sink->refuse = UINT32_MAX;
	put_batches(f, 3);
	delivery_finish(f->delivery);
	loop_until(f->base, f->settled > 0);
	assert_int_equal(f->books.spooled, 30);
}

/* --- killed ----------------------------------------------------------------------------------------------------- */

/* What outlives the shipper: the ring, and what has arrived at the target. */
struct world {
	uint64_t	released;	/* records of the ring that were given back */
	uint64_t	arrived[200000];	/* how often each did */
	uint64_t	deaths;
};

struct life {
	struct fixture	*f;
	struct world	*world;
};

static void
life_released(void *context, const struct batch *batch)
{
	struct life *life = context;

	for (size_t i = 0; i < batch->nmarks; i++)
		life->world->released = batch->marks[i].position;
}

static void
life_room(void *context)
{
	(void)context;
}

static void
life_arrived(void *context, const struct record *record)
{
	((struct world *)context)->arrived[parts_number(record, RECORD_F_record_sequence)]++;
}

/* Answers some, fails some, and is slow with some. */
static void
life_answer(struct life *life)
{
	struct fake_sink *sink = life->f->sink;

	while (sink->count > 0 && random() % 4 != 0) {
		size_t n = (size_t)random() % sink->count;

		if (random() % 10 == 0) {
			/* An order is promised: those behind fail as well. */
			while (sink->count > n)
				fake_answer_nth(sink, sink->count - 1, SINK_RETRY);
			continue;
		}
		n = 0;
		assert_true(format_each(sink->with[n]->records, sink->with[n]->records_length, life_arrived, life->world) > 0);
		fake_answer_nth(sink, n, SINK_DELIVERED);
		sink->delivered.length = 0;
	}
}

static void
life_put(struct life *life, uint64_t sequence)
{
	uint8_t record[64];
	size_t length = parts_record(record, sequence, 0);
	struct batch *batch = delivery_batch(life->f->delivery, batch_need(0, length), life, "ns");

	if (batch == NULL)
		return;
	memcpy(batch_place(batch, record, 0, length), record, length);
	life->f->books.drained++;
	batch_commit(batch, 0, length);
	if (batch->nmarks == 0)
		(void)batch_mark(batch, life, sequence);
	batch->marks[0].position = sequence;
	delivery_committed(life->f->delivery);
	life->f->next++;
}

/* One life of a shipper, up to where it is killed, or until all up to the end has arrived. */
static void
live(struct fixture *f, struct world *world, uint64_t last, bool forever)
{
	struct life life = { f, world };
	const struct delivery_events events = { .released = life_released, .room = life_room, .context = &life };

	start(f);
	delivery_listen(f->delivery, &events);
	f->sink->hold = true;
	f->next = world->released + 1;
	while (forever || f->next <= last || f->books.held + f->books.spooled > 0) {
		for (long n = random() % 40; n > 0 && f->next <= last && f->books.spooled < 5000; n--)
			life_put(&life, f->next);
		if (f->next > last)
			delivery_flush(f->delivery);
		life_answer(&life);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
}

/*
 * Killed at any moment, again and again: every record has arrived in the end, and the
 * books balance to the record.
 */
static void
test_killed_at_any_moment(void **state)
{
	struct fixture *f = *state;
	struct world *world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t last = 0, repeats = 0;

	f->options.queue_size = 2000;
	f->options.ack_hold = MILLISECOND;
	f->options.backoff = 10 * MICROSECOND;
	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			log_init("test_spool", LOG_LEVEL_ERROR);
			srandom((unsigned int)i);
			live(f, world, 199999, true);
		}
		usleep((useconds_t)(2000 + i * 917 % 40000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	last = world->released + 100;
	live(f, world, last, false);
	assert_true(world->released >= 1000);
	for (uint64_t i = 1; i <= last; i++) {
		if (world->arrived[i] == 0)
			fail_msg("record %llu of %llu is lost", (unsigned long long)i, (unsigned long long)last);
		repeats += world->arrived[i] - 1;
	}
	assert_true(books_balance(&f->books));
	/* Each record is counted as delivered once, but for what a death between two instructions left open. */
	assert_int_equal(f->books.drained - f->books.in_doubt, f->books.delivered + books_dropped(&f->books));
	assert_int_equal(books_dropped(&f->books), 0);
	assert_in_range(f->books.delivered, last, last + 60 * ROWS);
	assert_true(repeats > 0);
	munmap(world, sizeof(*world));
}

/* What never was in the spool is in the books as soon as its ring is free. */
static void
test_what_was_answered_at_once_is_in_the_books(void **state)
{
	struct fixture *f = *state;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		start(f);
		put_batches(f, 1);
		loop_until(f->base, f->released == 1);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	start(f);
	assert_int_equal(f->books.delivered, 10);
	assert_int_equal(f->books.drained, 10);
	assert_int_equal(f->books.in_doubt, 0);
}

/* Gives a batch to the sink, and dies of it. */
static void
die_of_it(struct fixture *f, bool suspect_only)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		start(f);
		f->sink->hold = true;
		loop_until(f->base, f->sink->count > 0);
		if (suspect_only)
			assert_int_equal(f->sink->count, 1);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void
test_a_batch_that_kills(void **state)
{
	struct fixture *f = *state;
	char name[PATH];

	start(f);
	f->sink->hold = true;
	put_batches(f, 5);
	loop_until(f->base, f->books.spooled == 50);
	stop(f);
	for (int i = 0; i < 3; i++)
		die_of_it(f, i > 0);	/* after the first, one at a time */
	start(f);
	loop_until(f->base, f->books.spooled == 0);
	assert_int_equal(f->books.dropped[BOOKS_DROP_CRASH], 10);
	assert_int_equal(f->books.delivered, 40);
	assert_arrived(f, 11, 50);
	assert_int_equal(files(f, "rejects", name), 1);
	assert_non_null(strstr(name, "-1.crash"));
	/* It is not lost: it can be tried again. */
}

/* Twice is not three times in a row: a life that did not die of it acquits it. */
static void
test_a_batch_that_is_acquitted(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->sink->hold = true;
	put_batches(f, 2);
	loop_until(f->base, f->books.spooled == 20);
	stop(f);
	for (int turn = 0; turn < 2; turn++) {
		die_of_it(f, false);
		die_of_it(f, true);
		start(f);
		f->sink->hold = true;
		loop_until(f->base, f->sink->count == 1);
		fake_answer(f->sink, SINK_RETRY);
		stop(f);
	}
	start(f);
	loop_until(f->base, f->books.delivered == 20);
	assert_int_equal(books_dropped(&f->books), 0);
}

/*
 * After such a death nothing goes that is not in the spool first: else what kills
 * and comes out of a ring each time would never be found.
 */
static void
test_care_after_a_death(void **state)
{
	struct fixture *f = *state;
	pid_t pid = fork();

	if (pid == 0) {
		start(f);
		f->sink->hold = true;
		put_batches(f, 1);
		loop_until(f->base, f->sink->count == 1);
		assert_int_equal(f->books.spool_put, 0);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	f->options.ack_hold = HOUR;
	start(f);
	f->sink->hold = true;
	put_batches(f, 3);
	loop_until(f->base, f->sink->count == 1);
	assert_true(f->books.spool_put > 0);
	fake_let_go(f->sink);
	loop_until(f->base, f->books.delivered == 30);
	put_batches(f, 1);
	loop_until(f->base, f->books.delivered == 40);
	assert_int_equal(f->books.spool_put, 3);
	assert_int_equal(f->books.in_doubt, 10);
}

#define test(name)	cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_what_is_answered_soon_touches_no_disk),
		test(test_what_is_answered_late_is_in_the_spool),
		test(test_nothing_overtakes_the_spool),
		test(test_a_sink_that_comes_and_goes),
		test(test_some_sinks_get_only_what_is_on_disk),
		test(test_a_cap_on_replay),
		test(test_what_was_copied_can_come_again),
		test(test_a_note_outlives_who_made_it),
		test(test_the_next_life_goes_on),
		test(test_one_shipper_at_a_time),
		test(test_folders_that_cannot_be),
		test(test_a_copy_has_an_epoch_of_its_own),
		test(test_a_full_spool_loses_its_oldest),
		test(test_a_full_spool_and_a_slow_sink),
		test(test_what_is_too_old_goes),
		test(test_a_full_queue_loses_its_oldest),
		test(test_a_burst_waits_for_the_sink),
		test(test_the_end_of_a_queue_is_counted),
		test(test_what_a_death_costs_is_known),
		test(test_a_damaged_batch),
		test(test_a_damaged_spool),
		test(test_a_spool_that_is_damaged_in_use),
		test(test_damage_anywhere),
		test(test_a_disk_that_takes_nothing),
		test(test_a_refused_record_is_kept),
		test(test_a_refused_batch_of_the_spool),
		test(test_hold),
		test(test_the_end_comes_when_nothing_can_be_done),
		test(test_killed_at_any_moment),
		test(test_what_was_answered_at_once_is_in_the_books),
		test(test_a_batch_that_kills),
		test(test_a_batch_that_is_acquitted),
		test(test_care_after_a_death),
	};

	/* What is lost is said each time, which is a lot here. */
	log_init("test_spool", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
