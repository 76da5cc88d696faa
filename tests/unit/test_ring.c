/* The ring, with an honest peer, with a lying one, and with one that writes at random. */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fd.h"
#include "common/record.h"
#include "common/ring.h"
#include "common/varint.h"

enum { SIZE = RING_SIZE_MIN };

struct rig {
	struct ring_memory	memory;
	struct ring_producer	producer;
	struct ring_consumer	consumer;
};

static int
setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	*state = rig;
	if (rig == NULL || ring_create(&rig->memory, &rig->producer, SIZE) != 0)
		return -1;
	return ring_consumer_map(&rig->consumer, rig->memory.data_fd, rig->memory.control_fd, SIZE);
}

static int
teardown(void **state)
{
	struct rig *rig = *state;

	ring_consumer_unmap(&rig->consumer);
	ring_producer_unmap(&rig->producer);
	ring_memory_close(&rig->memory);
	free(rig);
	return 0;
}

/* How many pages of a memory are mapped, so that no access is a page fault: Documentation/admin-guide/mm/pagemap.rst. */
static size_t
mapped_pages(const void *memory, size_t length)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	assert_int_not_equal(fd, -1);
	for (size_t at = 0; at < length; at += page) {
		off_t place = (off_t)(((uintptr_t)memory + at) / page * sizeof(entry));

		assert_int_equal(pread(fd, &entry, sizeof(entry), place), sizeof(entry));
		count += entry >> 63;
	}
	close(fd);
	return count;
}

/* xorshift64: the same numbers in every run. */
static uint64_t
random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static unsigned int
open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(folder);
	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

/* Record number n: different from its neighbours, and from itself at another offset. */
static const uint8_t *
pattern(uint64_t n)
{
	static uint8_t bytes[251 + RECORD_MAX];
	size_t i;

	if (bytes[1] == 0)
		for (i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(i * 7 + (i >> 8) * 3);
	return bytes + n % 251;
}

/* Commits a record of a length; false if the ring is full. */
static bool
put(struct ring_producer *producer, uint64_t n, size_t length)
{
	uint8_t *place;
	size_t prefix;
	enum ring_result result = ring_reserve(producer, RING_PREFIX_MAX + length, &place);

	if (result == RING_FULL)
		return false;
	assert_int_equal(result, RING_OK);
	prefix = varint_write(place, length);
	memcpy(place + prefix, pattern(n), length);
	ring_commit(producer, prefix + length);
	return true;
}

/* Takes the next record, which is number n and has this length. */
static void
take(struct ring_consumer *consumer, uint64_t n, size_t length)
{
	uint8_t bytes[RECORD_MAX];
	size_t found;

	assert_int_equal(ring_next(consumer, RECORD_MAX, &found), RING_OK);
	assert_int_equal(found, length);
	ring_copy(consumer, found, bytes);
	assert_memory_equal(bytes, pattern(n), found);
}

/* --- the creator ------------------------------------------------------- */

static void
test_sizes(void **state)
{
	static const size_t wrong[] = { 0, 1, 4096, RING_SIZE_MIN / 2, RING_SIZE_MIN + 4096, 3 * RING_SIZE_MIN,
	    2UL * RING_SIZE_MAX, SIZE_MAX };
	struct ring_memory memory;
	struct ring_producer producer;
	unsigned int before = open_descriptors();
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		errno = 0;
		assert_int_equal(ring_create(&memory, &producer, wrong[i]), -1);
		assert_int_equal(errno, EINVAL);
		assert_int_equal(memory.data_fd, -1);
		assert_int_equal(memory.control_fd, -1);
	}
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(ring_size_for(0), RING_SIZE_MIN);
	assert_int_equal(ring_size_for(RING_SIZE_MIN), RING_SIZE_MIN);
	assert_int_equal(ring_size_for(RING_SIZE_MIN + 1), 2 * RING_SIZE_MIN);
	assert_int_equal(ring_size_for(UINT64_MAX), RING_SIZE_MAX);
	(void)state;
}

static void
test_leaves_nothing(void **state)
{
	struct ring_memory memory;
	struct ring_producer producer;
	struct ring_consumer consumer;
	unsigned int before = open_descriptors();
	const uint8_t *data, *control;
	unsigned char resident;

	assert_int_equal(ring_create(&memory, &producer, SIZE), 0);
	assert_int_equal(open_descriptors(), before + 2);
	assert_true(fcntl(memory.data_fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(memory.control_fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(ring_consumer_map(&consumer, memory.data_fd, memory.control_fd, SIZE), 0);
	assert_int_equal(open_descriptors(), before + 2);
	data = producer.data;
	control = (const uint8_t *)consumer.own;
	ring_consumer_unmap(&consumer);
	ring_producer_unmap(&producer);
	ring_memory_close(&memory);
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(mincore((void *)(uintptr_t)data, 1, &resident), -1);
	assert_int_equal(mincore((void *)(uintptr_t)control, 1, &resident), -1);
	/* Nothing happens when it is done twice. */
	ring_consumer_unmap(&consumer);
	ring_producer_unmap(&producer);
	ring_memory_close(&memory);
	(void)state;
}

/* True if the byte can be read: asked of the kernel, which does not die of it. */
static bool
readable(const uint8_t *at)
{
	int ends[2];
	bool could;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	could = write(ends[1], at, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return could;
}

static void
test_guards(void **state)
{
	struct rig *rig = *state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const uint8_t *starts[] = { (const uint8_t *)rig->producer.own, (const uint8_t *)rig->consumer.peer };
	const uint8_t *controls[] = { (const uint8_t *)rig->producer.peer, (const uint8_t *)rig->consumer.own };
	size_t i;

	for (i = 0; i < 2; i++) {
		assert_true(readable(starts[i]));
		assert_false(readable(starts[i] - 1));
		assert_true(readable(starts[i] + page + 2 * SIZE - 1));
		assert_false(readable(starts[i] + page + 2 * SIZE));
		assert_true(readable(controls[i] + page - 1));
		assert_false(readable(controls[i] + page));
		assert_false(readable(controls[i] - 1));
	}
}

static void
test_data_is_sealed(void **state)
{
	struct rig *rig = *state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	cleanup_fd int again = -1;
	struct stat status;
	char path[64];

	assert_int_equal(fstat(rig->memory.data_fd, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0400);
	assert_int_equal(fcntl(rig->memory.data_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	/* Root may open it for writing, and still cannot write. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", rig->memory.data_fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0) {
		assert_int_equal(errno, EACCES);
		assert_int_not_equal(geteuid(), 0);
	} else {
		assert_ptr_equal(mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0), MAP_FAILED);
		assert_int_equal(pwrite(again, "x", 1, (off_t)page), -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(ftruncate(again, 0), -1);
		assert_int_equal(ftruncate(again, 4 * SIZE), -1);
		assert_int_equal(fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page), -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(fcntl(again, F_ADD_SEALS, F_SEAL_WRITE), -1);
		assert_int_equal(errno, EPERM);
	}
	assert_int_equal(mprotect((void *)(uintptr_t)rig->consumer.peer, page, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(mprotect((void *)(uintptr_t)rig->consumer.data, page, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(mprotect((void *)(uintptr_t)(rig->consumer.data + SIZE), page, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
}

static void
test_control_is_sealed(void **state)
{
	struct rig *rig = *state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	assert_int_equal(ftruncate(rig->memory.control_fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(rig->memory.control_fd, (off_t)(2 * page)), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(rig->memory.control_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	assert_int_equal(errno, EPERM);
	/* The producer can never write where the consumer's position is. */
	assert_int_equal(mprotect((void *)(uintptr_t)rig->producer.peer, page, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
}

/* A memory file with a size and seals, as an attacker would offer one. */
static int
offer(size_t size, int seals)
{
	int fd = memfd_create("offer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void
test_map_refuses(void **state)
{
	struct rig *rig = *state;
	enum { FIXED = F_SEAL_SHRINK | F_SEAL_GROW, CONTROL = FIXED | F_SEAL_SEAL, DATA = CONTROL | F_SEAL_FUTURE_WRITE };
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = page + SIZE;
	const struct {
		size_t	data_size;
		int	data_seals;
		size_t	control_size;
		int	control_seals;
		int	error;
	} cases[] = {
		{ whole, 0, page, CONTROL, EPERM },
		{ whole, CONTROL, page, CONTROL, EPERM },
		{ whole, FIXED | F_SEAL_FUTURE_WRITE, page, CONTROL, EPERM },
		{ whole, DATA & ~F_SEAL_SHRINK, page, CONTROL, EPERM },
		{ whole, DATA & ~F_SEAL_GROW, page, CONTROL, EPERM },
		{ whole - page, DATA, page, CONTROL, EINVAL },
		{ whole + page, DATA, page, CONTROL, EINVAL },
		{ whole, DATA, page, 0, EPERM },
		{ whole, DATA, page, FIXED, EPERM },
		{ whole, DATA, page, DATA, EPERM },
		{ whole, DATA, page, CONTROL | F_SEAL_WRITE, EPERM },
		{ whole, DATA, 0, CONTROL, EINVAL },
		{ whole, DATA, 2 * page, CONTROL, EINVAL },
	};
	unsigned int before = open_descriptors();
	struct ring_consumer consumer;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_fd int data = offer(cases[i].data_size, cases[i].data_seals);
		cleanup_fd int control = offer(cases[i].control_size, cases[i].control_seals);

		if (ring_consumer_map(&consumer, data, control, SIZE) == 0)
			fail_msg("case %zu was mapped", i);
		assert_int_equal(errno, cases[i].error);
		assert_int_equal(ring_look(&consumer), RING_HOSTILE);
	}
	assert_int_equal(open_descriptors(), before);
	/* The announced size is checked, too. */
	assert_int_equal(ring_consumer_map(&consumer, rig->memory.data_fd, rig->memory.control_fd, 2 * SIZE), -1);
	assert_int_equal(ring_consumer_map(&consumer, rig->memory.data_fd, rig->memory.control_fd, SIZE - 1), -1);
}

static void
test_map_refuses_other_files(void **state)
{
	struct rig *rig = *state;
	struct ring_consumer consumer;
	cleanup_fd int readonly = -1, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char path[64];
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(ring_consumer_map(&consumer, ends[0], rig->memory.control_fd, SIZE), -1);
	assert_int_equal(ring_consumer_map(&consumer, rig->memory.data_fd, ends[0], SIZE), -1);
	assert_int_equal(ring_consumer_map(&consumer, null, rig->memory.control_fd, SIZE), -1);
	assert_int_equal(ring_consumer_map(&consumer, -1, -1, SIZE), -1);
	/* The other way round. */
	assert_int_equal(ring_consumer_map(&consumer, rig->memory.control_fd, rig->memory.data_fd, SIZE), -1);
	/* C must be writable. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", rig->memory.control_fd);
	readonly = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(readonly >= 0);
	assert_int_equal(ring_consumer_map(&consumer, rig->memory.data_fd, readonly, SIZE), -1);
	assert_int_equal(errno, EACCES);
	close(ends[0]);
	close(ends[1]);
}

/* --- honest peers ------------------------------------------------------ */

static void
test_empty(void **state)
{
	struct rig *rig = *state;
	size_t length;

	assert_int_equal(ring_look(&rig->consumer), RING_EMPTY);
	assert_int_equal(ring_next(&rig->consumer, RECORD_MAX, &length), RING_EMPTY);
	assert_int_equal(length, 0);
	assert_int_equal(ring_held(&rig->consumer), 0);
}

static void
test_publish(void **state)
{
	struct rig *rig = *state;
	size_t length;

	assert_true(put(&rig->producer, 1, 100));
	assert_int_equal(ring_look(&rig->consumer), RING_EMPTY);
	assert_false(ring_publish(&rig->producer));
	/* Nothing is seen before the consumer looks. */
	assert_int_equal(ring_next(&rig->consumer, RECORD_MAX, &length), RING_EMPTY);
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	assert_int_equal(ring_held(&rig->consumer), 101);
	take(&rig->consumer, 1, 100);
	assert_int_equal(ring_next(&rig->consumer, RECORD_MAX, &length), RING_EMPTY);
	assert_int_equal(ring_look(&rig->consumer), RING_EMPTY);
	assert_int_equal(ring_held(&rig->consumer), 101);
	assert_false(ring_release(&rig->consumer, rig->consumer.position));
	assert_int_equal(ring_held(&rig->consumer), 0);
}

static void
test_withdraw(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(ring_withdraw(&rig->producer), 0);
	assert_true(put(&rig->producer, 1, 100));
	ring_publish(&rig->producer);
	assert_true(put(&rig->producer, 2, 200));
	assert_true(put(&rig->producer, 3, 300));
	assert_int_equal(ring_withdraw(&rig->producer), 202 + 302);
	assert_int_equal(ring_withdraw(&rig->producer), 0);
	/* What was shown stays, and what comes next stands behind it. */
	assert_true(put(&rig->producer, 4, 50));
	ring_publish(&rig->producer);
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	take(&rig->consumer, 1, 100);
	take(&rig->consumer, 4, 50);
	assert_int_equal(ring_look(&rig->consumer), RING_EMPTY);
}

/* An odd step visits every offset of a power of two. */
static void
pass_every_offset(struct rig *rig, size_t length)
{
	uint64_t n;

	for (n = 0; n < SIZE; n++) {
		assert_true(put(&rig->producer, n, length));
		ring_publish(&rig->producer);
		assert_int_equal(ring_look(&rig->consumer), RING_OK);
		take(&rig->consumer, n, length);
		ring_release(&rig->consumer, rig->consumer.position);
	}
	assert_int_equal(rig->consumer.position, (uint64_t)SIZE * (length + (length < 0x80 ? 1 : 2)));
}

static void
test_wrap_small(void **state)
{
	pass_every_offset(*state, 2);
}

static void
test_wrap_two_byte_length(void **state)
{
	pass_every_offset(*state, 129);
}

static void
test_wrap_large(void **state)
{
	pass_every_offset(*state, RECORD_MAX - 1);
}

/* Every length there is, many in the ring at a time. */
static void
test_every_length(void **state)
{
	struct rig *rig = *state;
	size_t written = 1, taken = 1, length;

	while (taken <= RECORD_MAX) {
		while (written <= RECORD_MAX && put(&rig->producer, written, written))
			written++;
		ring_publish(&rig->producer);
		assert_int_equal(ring_look(&rig->consumer), RING_OK);
		for (; taken < written; taken++)
			take(&rig->consumer, taken, taken);
		assert_int_equal(ring_next(&rig->consumer, RECORD_MAX, &length), RING_EMPTY);
		ring_release(&rig->consumer, rig->consumer.position);
	}
}

static void
test_full(void **state)
{
	struct rig *rig = *state;
	uint64_t written = 0, i;
	uint8_t *place;

	while (put(&rig->producer, written, 1000))
		written++;
	assert_int_equal(written, SIZE / 1002);
	assert_int_equal(ring_reserve(&rig->producer, RING_PREFIX_MAX + 1000, &place), RING_FULL);
	assert_null(place);
	ring_publish(&rig->producer);
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	for (i = 0; i < written; i++)
		take(&rig->consumer, i, 1000);
	/* Read is not released: these bytes may still be sent again. */
	assert_false(put(&rig->producer, written, 1000));
	ring_release(&rig->consumer, 1002);
	assert_true(put(&rig->producer, written, 1000));
	assert_false(put(&rig->producer, written + 1, 1000));
	ring_publish(&rig->producer);
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	take(&rig->consumer, written, 1000);
}

/* To the last byte: the distance may be the size, and no more. */
static void
test_brimful(void **state)
{
	struct rig *rig = *state;
	uint8_t *place;
	int i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(ring_reserve(&rig->producer, SIZE / 2, &place), RING_OK);
		memset(place, 1, SIZE / 2);
		ring_commit(&rig->producer, SIZE / 2);
	}
	assert_int_equal(ring_reserve(&rig->producer, 1, &place), RING_FULL);
	ring_publish(&rig->producer);
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	assert_int_equal(ring_held(&rig->consumer), SIZE);
}

static void
test_sleeping(void **state)
{
	struct rig *rig = *state;

	assert_true(ring_start_sleeping(&rig->consumer));
	assert_true(put(&rig->producer, 0, 10));
	assert_true(ring_publish(&rig->producer));
	/* Data has come in between: do not sleep. */
	assert_false(ring_start_sleeping(&rig->consumer));
	assert_true(put(&rig->producer, 1, 10));
	assert_false(ring_publish(&rig->producer));
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	take(&rig->consumer, 0, 10);
	assert_false(ring_start_sleeping(&rig->consumer));
	take(&rig->consumer, 1, 10);
	assert_true(ring_start_sleeping(&rig->consumer));
	ring_stop_sleeping(&rig->consumer);
	assert_true(put(&rig->producer, 2, 10));
	assert_false(ring_publish(&rig->producer));
}

static void
test_waiting(void **state)
{
	struct rig *rig = *state;
	uint64_t written = 0;

	assert_false(ring_start_waiting(&rig->producer, 1002));
	while (put(&rig->producer, written, 1000))
		written++;
	ring_publish(&rig->producer);
	assert_true(ring_start_waiting(&rig->producer, 1002));
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	take(&rig->consumer, 0, 1000);
	assert_true(ring_release(&rig->consumer, rig->consumer.position));
	/* Room has come in between: do not wait. */
	assert_false(ring_start_waiting(&rig->producer, 1002));
	take(&rig->consumer, 1, 1000);
	assert_false(ring_release(&rig->consumer, rig->consumer.position));
	assert_true(ring_start_waiting(&rig->producer, 5000));
	ring_stop_waiting(&rig->producer);
	take(&rig->consumer, 2, 1000);
	assert_false(ring_release(&rig->consumer, rig->consumer.position));
}

static void
test_second_consumer(void **state)
{
	struct rig *rig = *state;
	uint64_t n, middle = 0;

	for (n = 0; n < 10; n++)
		assert_true(put(&rig->producer, n, 300));
	ring_publish(&rig->producer);
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	for (n = 0; n < 7; n++) {
		take(&rig->consumer, n, 300);
		if (n == 3)
			middle = rig->consumer.position;
	}
	ring_release(&rig->consumer, middle);
	assert_false(ring_start_sleeping(&rig->consumer));
	/* What was read and not released comes again. */
	ring_consumer_unmap(&rig->consumer);
	assert_int_equal(ring_consumer_map(&rig->consumer, rig->memory.data_fd, rig->memory.control_fd, SIZE), 0);
	assert_int_equal(rig->consumer.position, middle);
	assert_int_equal(ring_held(&rig->consumer), 0);
	assert_int_equal(ring_look(&rig->consumer), RING_OK);
	for (n = 4; n < 10; n++)
		take(&rig->consumer, n, 300);
	assert_int_equal(ring_look(&rig->consumer), RING_EMPTY);
}

/* One that died in its sleep leaves its word; the next one is awake. */
static void
test_second_consumer_is_awake(void **state)
{
	struct rig *rig = *state;

	assert_true(ring_start_sleeping(&rig->consumer));
	ring_consumer_unmap(&rig->consumer);
	assert_int_equal(ring_consumer_map(&rig->consumer, rig->memory.data_fd, rig->memory.control_fd, SIZE), 0);
	assert_true(put(&rig->producer, 0, 10));
	assert_false(ring_publish(&rig->producer));
}

static void
test_counters(void **state)
{
	struct rig *rig = *state;
	uint64_t *counters = ring_counters(&rig->producer), copy[RING_COUNTERS_SIZE / 8];
	uint8_t few[13];
	size_t i;

	for (i = 0; i < RING_COUNTERS_SIZE / 8; i++)
		counters[i] = i * UINT64_C(0x0101010101010101);
	ring_copy_counters(&rig->consumer, copy, sizeof(copy));
	assert_memory_equal(copy, counters, sizeof(copy));
	memset(few, 0xee, sizeof(few));
	ring_copy_counters(&rig->consumer, few, 12);
	assert_memory_equal(few, counters, 12);
	assert_int_equal(few[12], 0xee);
	/* They are beside the positions and the data, not on them. */
	assert_int_equal(ring_look(&rig->consumer), RING_EMPTY);
	assert_int_equal(rig->consumer.data[0], 0);
}

/* --- lying peers ------------------------------------------------------- */

/* What a collector can do to its position, after 1000 bytes of which 500 were released. */
static void
test_impossible_published(void **state)
{
	static const uint64_t wrong[] = { 0, 499, 500, 999, 500 + SIZE + 1, 1000 + SIZE, UINT64_MAX, UINT64_MAX / 2,
	    500 + (UINT64_C(1) << 32) };
	size_t i, length;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		void *fresh;
		struct rig *rig;
		uint64_t n;

		assert_int_equal(setup(&fresh), 0);
		rig = fresh;
		for (n = 0; n < 10; n++)
			assert_true(put(&rig->producer, n, 99));
		ring_publish(&rig->producer);
		assert_int_equal(ring_look(&rig->consumer), RING_OK);
		for (n = 0; n < 5; n++)
			take(&rig->consumer, n, 99);
		ring_release(&rig->consumer, rig->consumer.position);
		atomic_store(&rig->producer.own->position, wrong[i]);
		if (ring_look(&rig->consumer) != RING_HOSTILE)
			fail_msg("%llu was believed", (unsigned long long)wrong[i]);
		/* For good, whatever it says later. */
		atomic_store(&rig->producer.own->position, 1000);
		assert_int_equal(ring_look(&rig->consumer), RING_HOSTILE);
		assert_int_equal(ring_next(&rig->consumer, RECORD_MAX, &length), RING_HOSTILE);
		assert_false(ring_start_sleeping(&rig->consumer));
		/* What was read well can still be given back. */
		ring_release(&rig->consumer, rig->consumer.position);
		teardown(&fresh);
	}
	(void)state;
}

static void
test_impossible_while_going_to_sleep(void **state)
{
	struct rig *rig = *state;

	atomic_store(&rig->producer.own->position, SIZE + 1);
	assert_false(ring_start_sleeping(&rig->consumer));
	assert_int_equal(ring_look(&rig->consumer), RING_HOSTILE);
}

static void
test_impossible_lengths(void **state)
{
	static const struct {
		uint8_t	bytes[4];
		size_t	published;
		size_t	maximum;
	} cases[] = {
		{ { 0x00 }, 1, RECORD_MAX },			/* nothing, which could go on for ever */
		{ { 0x00, 0x01, 0x55 }, 3, RECORD_MAX },
		{ { 0x80, 0x00 }, 2, RECORD_MAX },		/* nothing in two bytes */
		{ { 0x81, 0x00, 0x55 }, 3, RECORD_MAX },	/* 1 in two bytes */
		{ { 0x81, 0x80, 0x01 }, 1000, RECORD_MAX },	/* three bytes */
		{ { 0xff, 0xff, 0xff, 0xff }, 1000, RECORD_MAX },
		{ { 0x81 }, 1, RECORD_MAX },			/* half a length */
		{ { 0x01 }, 1, RECORD_MAX },			/* a length and no record */
		{ { 0x05, 1, 2, 3 }, 5, RECORD_MAX },		/* one byte too few */
		{ { 0x80, 0x01 }, 129, RECORD_MAX },
		{ { 0x81, 0x20 }, 10000, RECORD_MAX },		/* 4097 */
		{ { 0x06 }, 1000, 5 },
	};
	size_t i, length = 1;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		void *fresh;
		struct rig *rig;

		assert_int_equal(setup(&fresh), 0);
		rig = fresh;
		memcpy(rig->producer.data, cases[i].bytes, sizeof(cases[i].bytes));
		atomic_store(&rig->producer.own->position, cases[i].published);
		assert_int_equal(ring_look(&rig->consumer), RING_OK);
		if (ring_next(&rig->consumer, cases[i].maximum, &length) != RING_HOSTILE)
			fail_msg("case %zu was believed", i);
		assert_int_equal(length, 0);
		assert_int_equal(rig->consumer.position, 0);
		assert_int_equal(ring_look(&rig->consumer), RING_HOSTILE);
		teardown(&fresh);
	}
	(void)state;
}

/* What a shipper can do to its position, after 1000 bytes of which 500 were released. */
static void
test_impossible_released(void **state)
{
	static const uint64_t wrong[] = { 0, 499, 1001, 500 + SIZE, UINT64_MAX, UINT64_MAX / 2,
	    500 + (UINT64_C(1) << 32) };
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		void *fresh;
		struct rig *rig;
		uint8_t *place;

		assert_int_equal(setup(&fresh), 0);
		rig = fresh;
		assert_int_equal(ring_reserve(&rig->producer, 1000, &place), RING_OK);
		ring_commit(&rig->producer, 1000);
		ring_publish(&rig->producer);
		atomic_store(&rig->consumer.own->position, 500);
		assert_true(ring_start_waiting(&rig->producer, SIZE));
		/* Written and not published: the consumer cannot have read it. */
		assert_int_equal(ring_reserve(&rig->producer, SIZE / 2, &place), RING_OK);
		ring_commit(&rig->producer, SIZE / 2);
		atomic_store(&rig->consumer.own->position, wrong[i]);
		if (ring_reserve(&rig->producer, SIZE / 2, &place) != RING_HOSTILE)
			fail_msg("%llu was believed", (unsigned long long)wrong[i]);
		assert_null(place);
		atomic_store(&rig->consumer.own->position, 1000);
		assert_int_equal(ring_reserve(&rig->producer, 1, &place), RING_HOSTILE);
		assert_false(ring_start_waiting(&rig->producer, 1));
		assert_false(ring_publish(&rig->producer));
		teardown(&fresh);
	}
	(void)state;
}

/* An earlier consumer's position is checked like any other. */
static void
test_impossible_inheritance(void **state)
{
	struct rig *rig = *state;

	assert_true(put(&rig->producer, 0, 10));
	ring_publish(&rig->producer);
	atomic_store(&rig->consumer.own->position, 12);
	ring_consumer_unmap(&rig->consumer);
	assert_int_equal(ring_consumer_map(&rig->consumer, rig->memory.data_fd, rig->memory.control_fd, SIZE), 0);
	assert_int_equal(ring_look(&rig->consumer), RING_HOSTILE);
}

/* --- peers at random --------------------------------------------------- */

/* Some numbers are nearly right: these get further than noise does. */
static uint64_t
random_position(uint64_t *seed, uint64_t near)
{
	switch (random_next(seed) % 8) {
	case 0:
		return random_next(seed);
	case 1:
		return near - random_next(seed) % 64;
	case 2:
		return near + SIZE - random_next(seed) % 64 + 32;
	default:
		return near + random_next(seed) % (SIZE / 4);
	}
}

static void
scribble(struct rig *rig, uint64_t *seed)
{
	unsigned int i, count = (unsigned int)(random_next(seed) % 64);
	uint8_t *bytes = rig->producer.data;

	for (i = 0; i < count; i++)
		bytes[random_next(seed) % SIZE] = (uint8_t)random_next(seed);
	/* Lengths where one may be expected. */
	if (random_next(seed) % 2 == 0) {
		bytes += rig->consumer.position % SIZE;
		for (i = 0; i < 32; i++, bytes += bytes[0] + 1)
			bytes[0] = (uint8_t)(random_next(seed) % 100);
	}
	atomic_store(&rig->producer.own->position, random_position(seed, rig->consumer.position));
	atomic_store(&rig->producer.own->waiting, (uint32_t)random_next(seed));
}

/* Drains as the shipper does; false when the ring is dead. */
static bool
drain(struct ring_consumer *consumer, uint64_t *taken)
{
	enum ring_result result = ring_look(consumer);
	uint8_t bytes[RECORD_MAX];
	size_t length;

	while (result == RING_OK) {
		result = ring_next(consumer, RECORD_MAX, &length);
		if (result != RING_OK)
			break;
		assert_in_range(length, 1, RECORD_MAX);
		ring_copy(consumer, length, bytes);
		(*taken)++;
	}
	ring_release(consumer, consumer->position);
	assert_in_range(ring_held(consumer), 0, SIZE);
	if (result == RING_HOSTILE)
		return false;
	assert_int_equal(result, RING_EMPTY);
	return true;
}

static void
test_random_producer(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15, taken = 0;
	unsigned int round, deaths = 0;

	for (round = 0; round < 2000; round++) {
		void *fresh;
		struct rig *rig;

		assert_int_equal(setup(&fresh), 0);
		rig = fresh;
		do
			scribble(rig, &seed);
		while (drain(&rig->consumer, &taken));
		assert_int_equal(ring_look(&rig->consumer), RING_HOSTILE);
		deaths++;
		teardown(&fresh);
	}
	/* It was not all refused at the first look. */
	assert_int_equal(deaths, round);
	assert_in_range(taken, 2000, UINT32_MAX);
	(void)state;
}

static void
test_random_consumer(void **state)
{
	uint64_t seed = 0xd1b54a32d192ed03, reserved = 0;
	unsigned int round, step, deaths = 0;

	for (round = 0; round < 500; round++) {
		enum ring_result result = RING_OK;
		void *fresh;
		struct rig *rig;
		uint8_t *place;

		assert_int_equal(setup(&fresh), 0);
		rig = fresh;
		for (step = 0; step < 1000 && result != RING_HOSTILE; step++) {
			size_t need = 1 + random_next(&seed) % (SIZE / 8);

			atomic_store(&rig->consumer.own->sleeping, (uint32_t)random_next(&seed));
			if (random_next(&seed) % 2 == 0)
				atomic_store(&rig->consumer.own->position,
				    rig->producer.released + random_next(&seed) % 20000);
			if (random_next(&seed) % 64 == 0)
				atomic_store(&rig->consumer.own->position, random_position(&seed, rig->producer.position));
			result = ring_reserve(&rig->producer, need, &place);
			if (result == RING_FULL)
				ring_start_waiting(&rig->producer, need);
			if (result != RING_OK)
				continue;
			assert_true(place >= rig->producer.data && place + need <= rig->producer.data + 2 * SIZE);
			memset(place, 0xab, need);
			ring_commit(&rig->producer, need);
			ring_publish(&rig->producer);
			reserved++;
			assert_in_range(rig->producer.position - rig->producer.released, 0, SIZE);
		}
		deaths += result == RING_HOSTILE;
		teardown(&fresh);
	}
	assert_in_range(deaths, 100, round);
	assert_in_range(reserved, 1000, UINT32_MAX);
	(void)state;
}

/* --- at the same time -------------------------------------------------- */

struct mutator {
	struct rig	*rig;
	sem_t		 started;
	atomic_bool	 stop;
};

/* Flips length and data bytes, and never the position, while they are consumed. */
static void *
mutator(void *context)
{
	struct mutator *own = context;
	volatile uint8_t *bytes = own->rig->producer.data;
	uint64_t seed = 0x2545f4914f6cdd1d;
	size_t i;

	for (i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(1 + random_next(&seed) % 100);
	sem_post(&own->started);
	while (!atomic_load(&own->stop)) {
		uint64_t number = random_next(&seed);

		bytes[number % SIZE] = (uint8_t)(number >> 40 & 0x8f);
		bytes[(number >> 20) % 64] = (uint8_t)(number >> 48);
	}
	return NULL;
}

static void
test_concurrent_mutator(void **state)
{
	struct rig *rig = *state;
	struct mutator other = { .rig = rig };
	uint64_t taken = 0;
	unsigned int round;
	pthread_t thread;

	assert_int_equal(sem_init(&other.started, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, mutator, &other), 0);
	sem_wait(&other.started);
	for (round = 0; round < 20000; round++) {
		/* The same memory again, with a position that can be. */
		rig->consumer.dead = false;
		rig->consumer.position = rig->consumer.released = rig->consumer.available = round;
		atomic_store(&rig->producer.own->position, round + SIZE);
		drain(&rig->consumer, &taken);
	}
	atomic_store(&other.stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	sem_destroy(&other.started);
	assert_in_range(taken, 1000, UINT64_MAX);
}

/*
 * Two honest threads over the same view of the memory, so that ThreadSanitizer
 * sees both.  They wait without a time limit: a lost wake-up ends this test by
 * hanging.
 */
struct duet {
	struct rig	*rig;
	sem_t		 data;
	sem_t		 room;
};

enum { DUET_RECORDS = 100000 };

static size_t
duet_length(uint64_t n)
{
	return 1 + n * 2654435761U % 3000;
}

static void *
duet_produce(void *context)
{
	struct duet *duet = context;
	struct ring_producer *producer = &duet->rig->producer;
	uint64_t n;

	for (n = 0; n < DUET_RECORDS; n++) {
		size_t length = duet_length(n);

		while (!put(producer, n, length)) {
			if (!ring_start_waiting(producer, RING_PREFIX_MAX + length))
				continue;
			sem_wait(&duet->room);
			ring_stop_waiting(producer);
		}
		if (ring_publish(producer))
			sem_post(&duet->data);
	}
	return NULL;
}

static void
test_duet(void **state)
{
	struct duet duet = { .rig = *state };
	struct ring_consumer *consumer = &duet.rig->consumer;
	pthread_t thread;
	uint64_t n = 0;
	size_t length;

	consumer->peer = duet.rig->producer.own;
	consumer->data = duet.rig->producer.data;
	duet.rig->producer.peer = consumer->own;
	assert_int_equal(sem_init(&duet.data, 0, 0), 0);
	assert_int_equal(sem_init(&duet.room, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, duet_produce, &duet), 0);
	while (n < DUET_RECORDS) {
		if (ring_look(consumer) == RING_EMPTY && ring_start_sleeping(consumer)) {
			sem_wait(&duet.data);
			ring_stop_sleeping(consumer);
		}
		for (; ring_next(consumer, RECORD_MAX, &length) == RING_OK; n++)
			take(consumer, n, duet_length(n));
		assert_false(consumer->dead);
		if (ring_release(consumer, consumer->position))
			sem_post(&duet.room);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	sem_destroy(&duet.data);
	sem_destroy(&duet.room);
}

/* teardown unmaps by the pages' addresses, which test_duet exchanged. */
static int
teardown_duet(void **state)
{
	struct rig *rig = *state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	rig->consumer.peer = (const struct ring_producer_page *)((const uint8_t *)rig->consumer.own + 2 * page);
	return teardown(state);
}

/* A kernel before 5.14 cannot, nor can an emulator of user processes. */
static bool
can_map_in_one_go(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool can;

	assert_ptr_not_equal(memory, MAP_FAILED);
	can = madvise(memory, page, MADV_POPULATE_WRITE) == 0 && mapped_pages(memory, page) == 1;
	munmap(memory, page);
	return can;
}

static void
test_is_mapped_in_one_go(void **state)
{
	struct rig *rig = *state;
	size_t pages = SIZE / (size_t)sysconf(_SC_PAGESIZE);

	assert_int_equal(mapped_pages(rig->producer.data, SIZE), 0);
	ring_producer_touch(&rig->producer);
	assert_int_equal(mapped_pages(rig->producer.data, SIZE), can_map_in_one_go() ? pages : 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_leaves_nothing),
		cmocka_unit_test_setup_teardown(test_is_mapped_in_one_go, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guards, setup, teardown),
		cmocka_unit_test_setup_teardown(test_data_is_sealed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_control_is_sealed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_refuses_other_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_publish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_withdraw, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrap_small, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrap_two_byte_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrap_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_brimful, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sleeping, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_consumer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_second_consumer_is_awake, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counters, setup, teardown),
		cmocka_unit_test(test_impossible_published),
		cmocka_unit_test_setup_teardown(test_impossible_while_going_to_sleep, setup, teardown),
		cmocka_unit_test(test_impossible_lengths),
		cmocka_unit_test(test_impossible_released),
		cmocka_unit_test_setup_teardown(test_impossible_inheritance, setup, teardown),
		cmocka_unit_test(test_random_producer),
		cmocka_unit_test(test_random_consumer),
		cmocka_unit_test_setup_teardown(test_concurrent_mutator, setup, teardown),
		cmocka_unit_test_setup_teardown(test_duet, setup, teardown_duet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
