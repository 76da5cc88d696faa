/*
 * The parts that the spool is made of: checksums, the ledger, the store, the
 * folders of what is set aside.  A file is never larger than it may be, and one
 * that is damaged is said to be so, whatever the damage.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "shipper/aside.h"
#include "shipper/crc32c.h"
#include "shipper/ledger.h"
#include "shipper/losses.h"
#include "shipper/store.h"
#include "tests/unit/folder.h"
#include "tests/unit/shipper_parts.h"

#define STORE_SIZE	UINT64_C(4194304)

struct fixture {
	char		 folder[FOLDER_MAX];
	char		 path[96];
	char		 error[256];
	enum store_result result;
};

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	folder_make(f->folder, "test_store");
	snprintf(f->path, sizeof(f->path), "%s/spool.db", f->folder);
	*state = f;
	return 0;
}

static int
end(void **state)
{
	struct fixture *f = *state;

	folder_remove(f->folder);
	free(f);
	return 0;
}

static uint64_t
size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* --- checksums ------------------------------------------------------------------------ */

/* RFC 3720, B.4. */
static void
test_crc32c(void **state)
{
	uint8_t bytes[32];

	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c_by_table(0, "123456789", 9), 0xe3069283);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
	assert_int_equal(crc32c_by_table(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
	for (size_t i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
	for (size_t cut = 0; cut <= 32; cut++) {
		assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, 32 - cut), 0x46dd794e);
		assert_int_equal(crc32c_by_table(crc32c_by_table(0, bytes, cut), bytes + cut, 32 - cut), 0x46dd794e);
	}
}

/* --- the ledger --------------------------------------------------------------------------- */

static void
test_a_ledger_outlives_its_writer(void **state)
{
	struct fixture *f = *state;
	struct ledger_numbers numbers = { 0 };
	struct ledger *ledger;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		ledger = ledger_open(f->path);
		for (uint64_t i = 1; i <= 1001; i++) {
			numbers.sequence = i;
			numbers.spool_dropped[3] = 2 * i;
			ledger_write(ledger, &numbers);
		}
		ledger_sent(ledger)[7].sequence = 9;
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	ledger = ledger_open(f->path);
	assert_true(ledger_read(ledger, &numbers));
	assert_int_equal(numbers.sequence, 1001);
	assert_int_equal(numbers.spool_dropped[3], 2002);
	assert_int_equal(ledger_sent(ledger)[7].sequence, 9);
	ledger_close(ledger);
}

/* Killed in mid-write: the numbers are those of one write, whole. */
static void
test_a_ledger_is_always_whole(void **state)
{
	struct fixture *f = *state;
	struct ledger_numbers numbers = { 0 };
	struct ledger *ledger;
	uint64_t last = 0;

	for (int i = 0; i < 50; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			ledger = ledger_open(f->path);
			(void)ledger_read(ledger, &numbers);
			for (uint64_t n = numbers.drained + 1;; n++) {
				numbers.drained = numbers.delivered = numbers.spool_in = n;
				for (size_t k = 0; k < LEDGER_DROPS; k++)
					numbers.dropped[k] = n;
				ledger_write(ledger, &numbers);
			}
		}
		usleep((useconds_t)(500 + i * 37));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		ledger = ledger_open(f->path);
		if (ledger_read(ledger, &numbers)) {
			assert_int_equal(numbers.drained, numbers.spool_in);
			assert_int_equal(numbers.drained, numbers.dropped[LEDGER_DROPS - 1]);
			assert_true(numbers.drained >= last);
			last = numbers.drained;
		}
		ledger_close(ledger);
	}
	assert_true(last > 50);
}

static void
test_a_damaged_ledger_is_none(void **state)
{
	struct fixture *f = *state;
	struct ledger_numbers numbers = { .sequence = 5 };
	struct ledger *ledger = ledger_open(f->path);
	uint8_t bytes[4096];
	int fd;

	assert_false(ledger_read(ledger, &numbers));
	ledger_write(ledger, &numbers);
	ledger_close(ledger);
	fd = open(f->path, O_RDWR | O_CLOEXEC);
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, 1000, 20), 1000);
	close(fd);
	ledger = ledger_open(f->path);
	assert_false(ledger_read(ledger, &numbers));
	/* It is used again. */
	ledger_write(ledger, &numbers);
	assert_true(ledger_read(ledger, &numbers));
	assert_int_equal(ledger_sent(ledger)[0].sequence, 0);
	ledger_close(ledger);
	assert_true(ledger_same_boot(ledger_boot(), ledger_boot()));
	assert_false(ledger_same_boot(ledger_boot(), ledger_boot() - 11 * SECOND));
}

/* --- the store -------------------------------------------------------------------------------- */

static struct store *
open_store(struct fixture *f)
{
	return store_open(f->path, STORE_SIZE, true, false, &f->result, f->error, sizeof(f->error));
}

static uint8_t *
make_bytes(uint64_t sequence, size_t length)
{
	uint8_t *bytes = malloc(length);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(sequence * 31 + i * 7 + i / 251);
	return bytes;
}

static enum store_result
put(struct store *store, uint64_t sequence, size_t length)
{
	uint8_t *bytes = make_bytes(sequence, length);
	const struct store_batch batch = {
		.sequence = sequence, .closed = 1000 + sequence, .rows = 10 * sequence, .length = length, .netns = "blue",
		.crc = crc32c(0, bytes, length),
	};
	enum store_result result = store_put(store, &batch, bytes);

	free(bytes);
	return result;
}

static void
assert_batch(struct store *store, uint64_t after, uint64_t sequence, size_t length)
{
	uint8_t *bytes = make_bytes(sequence, length);
	struct store_batch batch;
	struct buffer got = { 0 };

	assert_int_equal(store_next(store, after, &batch), STORE_OK);
	assert_int_equal(batch.sequence, sequence);
	assert_int_equal(batch.closed, 1000 + sequence);
	assert_int_equal(batch.rows, 10 * sequence);
	assert_int_equal(batch.length, length);
	assert_string_equal(batch.netns, "blue");
	assert_int_equal(batch.crc, crc32c(0, bytes, length));
	assert_int_equal(store_get(store, &batch, &got), STORE_OK);
	assert_int_equal(got.length, length);
	assert_memory_equal(got.bytes, bytes, length);
	buffer_free(&got);
	free(bytes);
}

static void
test_what_is_put_in_comes_out(void **state)
{
	struct fixture *f = *state;
	struct store *store = open_store(f);
	struct store_totals totals;
	struct store_batch batch;
	uint64_t number;
	char text[16];

	assert_non_null(store);
	assert_int_equal(put(store, 5, 300000), STORE_OK);
	assert_int_equal(put(store, 7, 100), STORE_OK);
	assert_int_equal(put(store, 6, 20000), STORE_OK);
	assert_batch(store, 0, 5, 300000);
	assert_batch(store, 5, 6, 20000);
	assert_batch(store, 6, 7, 100);
	assert_int_equal(store_next(store, 7, &batch), STORE_NONE);
	assert_int_equal(store_totals(store, &totals), STORE_OK);
	assert_int_equal(totals.batches, 3);
	assert_int_equal(totals.rows, 180);
	assert_int_equal(totals.bytes, 320100);
	assert_int_equal(totals.last, 7);
	assert_int_equal(store_number(store, "epoch", &number), STORE_NONE);
	assert_int_equal(store_set_number(store, "epoch", UINT64_MAX), STORE_OK);
	assert_int_equal(store_number(store, "epoch", &number), STORE_OK);
	assert_true(number == UINT64_MAX);
	assert_int_equal(store_set_text(store, "place", "here"), STORE_OK);
	assert_int_equal(store_set_deaths(store, 6, 2), STORE_OK);
	store_close(store);
	store = open_store(f);
	assert_int_equal(store_text(store, "place", text, sizeof(text)), STORE_OK);
	assert_string_equal(text, "here");
	assert_int_equal(store_remove(store, 5), STORE_OK);
	assert_batch(store, 0, 6, 20000);
	assert_int_equal(store_next(store, 0, &batch), STORE_OK);
	assert_int_equal(batch.deaths, 2);
	/* Somebody else may read meanwhile. */
	{
		struct store *other = store_open_to_read(f->path, &f->result, f->error, sizeof(f->error));

		assert_non_null(other);
		assert_batch(other, 0, 6, 20000);
		assert_int_equal(store_remove(other, 6), STORE_FAILED);
		store_close(other);
	}
	assert_int_equal(put(store, 8, 100), STORE_OK);
	store_close(store);
}

static void
test_what_is_not_committed_is_not_there(void **state)
{
	struct fixture *f = *state;
	struct store *store = open_store(f);
	struct store_batch batch;

	assert_int_equal(store_begin(store), STORE_OK);
	assert_int_equal(put(store, 1, 100000), STORE_OK);
	store_rollback(store);
	assert_int_equal(store_next(store, 0, &batch), STORE_NONE);
	assert_int_equal(store_begin(store), STORE_OK);
	assert_int_equal(put(store, 2, 100000), STORE_OK);
	assert_int_equal(store_commit(store), STORE_OK);
	assert_int_equal(store_begin(store), STORE_OK);
	assert_int_equal(store_remove(store, 2), STORE_OK);
	store_close(store);
	store = open_store(f);
	assert_batch(store, 0, 2, 100000);
	store_close(store);
}

/* A disk that others have filled does not keep an object's batches from being removed, all at once. */
static void
test_the_journal_has_its_size(void **state)
{
	struct fixture *f = *state;
	struct store *store = open_store(f);
	const uint64_t count = STORE_SIZE / 10 / 16384;
	char journal[128];
	size_t size;

	snprintf(journal, sizeof(journal), "%s-journal", f->path);
	size = size_of(journal);
	assert_true(size >= STORE_SIZE / 8);
	for (uint64_t i = 1; i <= count; i++)
		assert_int_equal(put(store, i, 12000), STORE_OK);
	assert_int_equal(store_begin(store), STORE_OK);
	for (uint64_t i = 1; i <= count; i++)
		assert_int_equal(store_remove(store, i), STORE_OK);
	assert_int_equal(store_commit(store), STORE_OK);
	assert_int_equal(size_of(journal), size);
	store_close(store);
}

/* Ten times its size goes through it; the file has its size from the start and keeps it. */
static void
test_a_store_has_its_size(void **state)
{
	struct fixture *f = *state;
	struct store *store = open_store(f);
	char journal[128];
	struct stat st;
	uint64_t oldest = 1, bytes, unused;

	snprintf(journal, sizeof(journal), "%s-journal", f->path);
	assert_int_equal(size_of(f->path), STORE_SIZE);
	assert_int_equal(stat(f->path, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= STORE_SIZE);
	for (uint64_t i = 1; i <= 400; i++) {
		size_t length = 1 + i * 7919 % 200000;

		while (!store_has_room(store, length))
			assert_int_equal(store_remove(store, oldest++), STORE_OK);
		assert_int_equal(put(store, i, length), STORE_OK);
		assert_int_equal(size_of(f->path), STORE_SIZE);
		assert_true(size_of(journal) < STORE_SIZE / 4);
	}
	assert_true(oldest > 300 && oldest < 395);
	store_size(store, &bytes, &unused);
	assert_true(bytes <= STORE_SIZE && unused < bytes);
	/* What it takes although there is no room by the estimate is refused whole. */
	while (put(store, 1000 + oldest, 100000) == STORE_OK)
		oldest++;
	assert_int_equal(put(store, 1000 + oldest, 100000), STORE_FULL);
	assert_non_null(strstr(store_why(store), "full"));
	assert_int_equal(size_of(f->path), STORE_SIZE);
	store_close(store);
}

static uint64_t
writes_so_far(void)
{
	FILE *io = fopen("/proc/self/io", "r");
	char line[128];
	uint64_t writes = 0;

	assert_non_null(io);
	while (fgets(line, sizeof(line), io) != NULL)
		(void)sscanf(line, "syscw: %" SCNu64, &writes);
	fclose(io);
	return writes;
}

/* Gigabytes are reserved by asking for them, not by writing them. */
static void
test_a_large_file_is_there_at_once(void **state)
{
	struct fixture *f = *state;
	const uint64_t size = 2ULL << 30;
	uint64_t before = writes_so_far();
	struct store *store = store_open(f->path, size, true, false, &f->result, f->error, sizeof(f->error));
	struct stat st;

	assert_non_null(store);
	assert_int_equal(stat(f->path, &st), 0);
	assert_true((uint64_t)st.st_blocks * 512 >= size);
	/* Those of the tables and of the journal's blocks; a block of the file is 4 KiB. */
	assert_true(writes_so_far() - before < 10000);
	store_close(store);
}

static void
test_files_that_are_no_store(void **state)
{
	struct fixture *f = *state;
	char command[256];
	int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "#!/bin/sh\n exit 0, and a few more bytes so that it is not too short\n", 66), 66);
	close(fd);
	assert_null(open_store(f));
	assert_int_equal(f->result, STORE_BAD);
	unlink(f->path);
	snprintf(command, sizeof(command), "%s/x", f->path);
	assert_null(store_open(command, STORE_SIZE, true, false, &f->result, f->error, sizeof(f->error)));
	assert_int_equal(f->result, STORE_FAILED);
	assert_null(store_open_to_read(f->path, &f->result, f->error, sizeof(f->error)));
}

/* Takes all out and puts new ones in, as far as it goes.  Whatever comes out is as it went in. */
static enum store_result
use(struct store *store)
{
	struct store_batch batch;
	struct buffer got = { 0 };
	enum store_result result;
	uint64_t after = 0;

	while ((result = store_next(store, after, &batch)) == STORE_OK) {
		after = batch.sequence;
		got.length = 0;
		if ((result = store_get(store, &batch, &got)) != STORE_OK)
			break;
		if (crc32c(0, got.bytes, got.length) != batch.crc)
			continue;
		{
			uint8_t *bytes = make_bytes(batch.sequence, batch.length);
			bool same = memcmp(bytes, got.bytes, batch.length) == 0;

			free(bytes);
			assert_true(same || batch.sequence > 60);
		}
	}
	for (uint64_t i = 0; i < 10 && (result == STORE_NONE || result == STORE_OK); i++)
		result = put(store, 100 + i, 30000);
	buffer_free(&got);
	return result;
}

/* Damage of any kind at any place: never a crash, never bytes that are not what they say. */
static void
test_damage(void **state)
{
	struct fixture *f = *state;
	struct store *store = open_store(f);
	char command[256];
	size_t found = 0;
	uint64_t size;

	for (uint64_t i = 1; i <= 60; i++)
		assert_int_equal(put(store, i, 500 + i * 800), STORE_OK);
	for (uint64_t i = 1; i <= 20; i++)
		assert_int_equal(store_remove(store, i), STORE_OK);
	store_close(store);
	size = size_of(f->path);
	snprintf(command, sizeof(command), "cp --sparse=always %s %s.good", f->path, f->path);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "cp --sparse=always %s.good %s && rm -f %s-journal", f->path, f->path, f->path);
	srandom(7);
	for (int i = 0; i < 60; i++) {
		enum store_result result = STORE_BAD;
		char noise[64];
		int fd;

		assert_int_equal(system(command), 0);
		fd = open(f->path, O_RDWR | O_CLOEXEC);
		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (char)random();
		if (i % 3 == 0)
			assert_int_equal(ftruncate(fd, random() % (off_t)(size / 2)), 0);
		else
			assert_int_equal(pwrite(fd, noise, sizeof(noise), random() % (i % 3 == 1 ? 40000 : (off_t)(size / 2))), 64);
		close(fd);
		store = open_store(f);
		if (store != NULL) {
			result = use(store);
			store_close(store);
		}
		found += result == STORE_BAD;
	}
	assert_true(found > 10);
}

/* A process that puts and removes is killed at any moment: each transaction is there whole, or not at all. */
static void
test_a_killed_writer(void **state)
{
	struct fixture *f = *state;
	struct store *store = open_store(f);
	uint64_t turns = 0;

	store_close(store);
	/* More often where everything is slow. */
	for (int i = 0; i < 40 || (turns <= 20 && i < 1000); i++) {
		struct store_totals totals;
		uint64_t number = 0;
		pid_t pid = fork();

		if (pid == 0) {
			store = open_store(f);
			(void)store_number(store, "last", &number);
			for (;;) {
				number++;
				if (store_begin(store) != STORE_OK || put(store, number, 100000) != STORE_OK ||
				    (number > 5 && store_remove(store, number - 5) != STORE_OK) ||
				    store_set_number(store, "last", number) != STORE_OK || store_commit(store) != STORE_OK)
					_exit(1);
			}
		}
		usleep((useconds_t)(3000 + i * 531));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		store = open_store(f);
		assert_non_null(store);
		assert_int_equal(store_totals(store, &totals), STORE_OK);
		(void)store_number(store, "last", &number);
		assert_int_equal(totals.last, number);
		assert_int_equal(totals.batches, number > 5 ? 5 : number);
		for (uint64_t n = number > 5 ? number - 4 : 1; n <= number; n++)
			assert_batch(store, n - 1, n, 100000);
		turns = number;
		store_close(store);
	}
	assert_true(turns > 20);
}

/* --- what is set aside --------------------------------------------------------------------------- */

static void
test_a_folder_is_bounded(void **state)
{
	struct fixture *f = *state;
	int parent = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct aside aside;
	char path[160];

	assert_int_equal(aside_open(&aside, parent, "rejects", 10, 0), 0);
	assert_int_equal(aside_write(&aside, "a", "12345", 5), 0);
	/* What is there is what was asked for. */
	assert_int_equal(aside_write(&aside, "a", "6789", 4), 0);
	snprintf(path, sizeof(path), "%s/rejects/a", f->folder);
	assert_int_equal(size_of(path), 5);
	assert_int_equal(aside_write(&aside, "b", "123456", 6), -1);
	assert_int_equal(errno, EDQUOT);
	assert_int_equal(aside_write(&aside, "b", "12345", 5), 0);
	assert_int_equal(aside.files, 2);
	aside_close(&aside);
	/* The bound is of what is there, whoever put it there or took it away. */
	assert_int_equal(aside_open(&aside, parent, "rejects", 10, 0), 0);
	assert_int_equal(aside.bytes, 10);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(aside_write(&aside, "c", "12345", 5), 0);
	aside_close(&aside);
	assert_int_equal(aside_open(&aside, parent, "rejects", UINT64_MAX, UINT64_MAX / 2), 0);
	assert_int_equal(aside_write(&aside, "d", "1", 1), -1);
	assert_int_equal(errno, ENOSPC);
	aside_close(&aside);
	close(parent);
}

#define test(name)	cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_crc32c),
		test(test_a_ledger_outlives_its_writer),
		test(test_a_ledger_is_always_whole),
		test(test_a_damaged_ledger_is_none),
		test(test_what_is_put_in_comes_out),
		test(test_what_is_not_committed_is_not_there),
		test(test_the_journal_has_its_size),
		test(test_a_store_has_its_size),
		test(test_a_large_file_is_there_at_once),
		test(test_files_that_are_no_store),
		test(test_damage),
		test(test_a_killed_writer),
		test(test_a_folder_is_bounded),
	};

	log_init("test_store", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
