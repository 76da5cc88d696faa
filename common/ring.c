/* The ring between a collector and the shipper: see ring.h. */
#include <sys/mman.h>
#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/fd.h"
#include "common/ring.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL	0x0008U		/* Linux 6.3 */
#endif

/*
 * Each side maps both files into one reservation, with pages around them that
 * nobody can touch, so that a slip of ours faults instead of reading what
 * happens to be there:
 *
 *	guard | C | guard | D: page, data | data again | guard
 */
enum { RING_GUARDS = 3, RING_CONTROL_PAGE = 1, RING_DATA_PAGE = 3 };

enum {
	RING_CONTROL_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
	/*
	 * FUTURE_WRITE and not WRITE: the producer's mapping, made before,
	 * stays writable.  C has neither, since each consumer maps it anew.
	 */
	RING_DATA_SEALS = RING_CONTROL_SEALS | F_SEAL_FUTURE_WRITE,
};

/* Two programs, built apart, share these. */
static_assert(offsetof(struct ring_producer_page, position) == 0, "layout");
static_assert(offsetof(struct ring_producer_page, waiting) == 64, "a cache line each");
static_assert(offsetof(struct ring_consumer_page, position) == 0, "layout");
static_assert(offsetof(struct ring_consumer_page, sleeping) == 64, "a cache line each");
static_assert(sizeof(struct ring_producer_page) <= RING_COUNTERS_OFFSET, "counters stand behind");
static_assert(RING_COUNTERS_OFFSET % 64 == 0, "counters are aligned");
static_assert(RING_COUNTERS_OFFSET + RING_COUNTERS_SIZE <= 4096, "fits in any page");
static_assert(RING_SIZE_MIN % (64 * 1024) == 0, "whole pages, however large they are");
static_assert((RING_SIZE_MIN & (RING_SIZE_MIN - 1)) == 0, "a power of two");
static_assert((RING_SIZE_MAX & (RING_SIZE_MAX - 1)) == 0, "a power of two");
/* A lock in memory that a hostile peer can write would be its to hold. */
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(long long) == sizeof(uint64_t), "lock-free");
static_assert(ATOMIC_INT_LOCK_FREE == 2 && sizeof(int) == sizeof(uint32_t), "lock-free");
static_assert(sizeof(_Atomic uint64_t) == sizeof(uint64_t), "no lock inside");

/* What was copied stays as it was copied: nothing is fetched a second time. */
#define ring_compiler_barrier()	__asm__ __volatile__("" ::: "memory")

static size_t
ring_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t
ring_reservation(size_t size)
{
	return (RING_GUARDS + 2) * ring_page() + 2 * size;
}

static bool
ring_size_valid(size_t size)
{
	return size >= RING_SIZE_MIN && size <= RING_SIZE_MAX && (size & (size - 1)) == 0;
}

size_t
ring_size_for(uint64_t bytes)
{
	size_t size = RING_SIZE_MIN;

	while (size < bytes && size < RING_SIZE_MAX)
		size *= 2;
	return size;
}

/* --- the memory -------------------------------------------------------- */

/* A file of allocated zeros, so that no later access can fail for want of memory. */
static int
ring_file(const char *name, size_t size)
{
	cleanup_fd int fd = -1;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
		return -1;
	if (fallocate(fd, 0, 0, (off_t)size) != 0)
		return -1;
	/* Whoever is passed a read-only descriptor shall not reopen it for writing. */
	if (fchmod(fd, 0400) != 0)
		return -1;
	return fd_steal(&fd);
}

static int
ring_reopen_readonly(int fd)
{
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool
ring_place(uint8_t *where, size_t length, int protection, int fd, size_t offset)
{
	return mmap(where, length, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) != MAP_FAILED;
}

/* The reservation's start, or NULL with errno. */
static uint8_t *
ring_map(int data_fd, int data_protection, int control_fd, int control_protection, size_t size)
{
	size_t page = ring_page(), length = ring_reservation(size);
	uint8_t *start, *data;
	int saved;

	start = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return NULL;
	data = start + RING_DATA_PAGE * page;
	if (ring_place(start + RING_CONTROL_PAGE * page, page, control_protection, control_fd, 0) &&
	    ring_place(data, page + size, data_protection, data_fd, 0) &&
	    ring_place(data + page + size, size, data_protection, data_fd, page) &&
	    madvise(start, length, MADV_DONTDUMP) == 0)
		return start;
	saved = errno;
	munmap(start, length);
	errno = saved;
	return NULL;
}

static int
ring_map_producer(struct ring_producer *producer, int data_fd, int control_fd, size_t size)
{
	cleanup_fd int readonly = ring_reopen_readonly(control_fd);
	size_t page = ring_page();
	uint8_t *start;

	if (readonly < 0)
		return -1;
	/* Made from a read-only descriptor, it can never become writable. */
	start = ring_map(data_fd, PROT_READ | PROT_WRITE, readonly, PROT_READ, size);
	if (start == NULL)
		return -1;
	*producer = (struct ring_producer){
		.own = (struct ring_producer_page *)(start + RING_DATA_PAGE * page),
		.peer = (const struct ring_consumer_page *)(start + RING_CONTROL_PAGE * page),
		.data = start + (RING_DATA_PAGE + 1) * page,
		.size = size,
	};
	return 0;
}

static int
ring_seal(int data_fd, int control_fd)
{
	if (fcntl(data_fd, F_ADD_SEALS, RING_DATA_SEALS) != 0)
		return -1;
	return fcntl(control_fd, F_ADD_SEALS, RING_CONTROL_SEALS);
}

int
ring_create(struct ring_memory *memory, struct ring_producer *producer, size_t size)
{
	cleanup_fd int data = -1, readonly = -1, control = -1;
	int saved;

	*memory = (struct ring_memory){ .data_fd = -1, .control_fd = -1 };
	*producer = (struct ring_producer){ .dead = true };
	if (!ring_size_valid(size)) {
		errno = EINVAL;
		return -1;
	}
	if ((data = ring_file("tcpdiag-ring-data", ring_page() + size)) < 0 ||
	    (control = ring_file("tcpdiag-ring-control", ring_page())) < 0 ||
	    (readonly = ring_reopen_readonly(data)) < 0 ||
	    ring_map_producer(producer, data, control, size) != 0)
		return -1;
	if (ring_seal(data, control) != 0) {
		saved = errno;
		ring_producer_unmap(producer);
		errno = saved;
		return -1;
	}
	memory->size = size;
	memory->data_fd = fd_steal(&readonly);
	memory->control_fd = fd_steal(&control);
	return 0;
}

void
ring_producer_touch(const struct ring_producer *producer)
{
	(void)madvise(producer->own, ring_page() + RING_SIZE_MIN, MADV_POPULATE_WRITE);
}

const void *
ring_producer_memory(const struct ring_producer *producer, size_t *length)
{
	*length = ring_reservation(producer->size);
	return (const uint8_t *)producer->own - RING_DATA_PAGE * ring_page();
}

void
ring_memory_close(struct ring_memory *memory)
{
	fd_close(&memory->data_fd);
	fd_close(&memory->control_fd);
}

/* Both pages' distance from the reservation's start is the same on each side. */
static void
ring_unmap(const void *data_page, size_t size)
{
	if (data_page != NULL)
		munmap((uint8_t *)(uintptr_t)data_page - RING_DATA_PAGE * ring_page(), ring_reservation(size));
}

void
ring_producer_unmap(struct ring_producer *producer)
{
	ring_unmap(producer->own, producer->size);
	*producer = (struct ring_producer){ .dead = true };
}

static int
ring_check_file(int fd, size_t size, int wanted)
{
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &status) != 0)
		return -1;
	if ((seals & wanted) != wanted) {
		errno = EPERM;
		return -1;
	}
	/* With the seals on, a size that is right now stays right: no SIGBUS. */
	if (status.st_size != (off_t)size) {
		errno = EINVAL;
		return -1;
	}
	return 0;
}

static void
ring_consumer_start(struct ring_consumer *consumer, uint8_t *start, size_t size)
{
	size_t page = ring_page();

	*consumer = (struct ring_consumer){
		.peer = (const struct ring_producer_page *)(start + RING_DATA_PAGE * page),
		.own = (struct ring_consumer_page *)(start + RING_CONTROL_PAGE * page),
		.data = start + (RING_DATA_PAGE + 1) * page,
		.size = size,
	};
	/*
	 * The one time that the shared position is read back: an earlier
	 * consumer left it.  The first ring_look checks its distance.
	 */
	consumer->position = atomic_load_explicit(&consumer->own->position, memory_order_acquire);
	consumer->released = consumer->available = consumer->position;
	ring_stop_sleeping(consumer);
}

int
ring_consumer_map(struct ring_consumer *consumer, int data_fd, int control_fd, size_t size)
{
	uint8_t *start;

	*consumer = (struct ring_consumer){ .dead = true };
	if (!ring_size_valid(size)) {
		errno = EINVAL;
		return -1;
	}
	if (ring_check_file(data_fd, ring_page() + size, RING_DATA_SEALS) != 0 ||
	    ring_check_file(control_fd, ring_page(), RING_CONTROL_SEALS) != 0)
		return -1;
	/* A C that is sealed against writing is refused here, by the kernel. */
	start = ring_map(data_fd, PROT_READ, control_fd, PROT_READ | PROT_WRITE, size);
	if (start == NULL)
		return -1;
	/* A consumer's children have no business with it. */
	(void)madvise(start, ring_reservation(size), MADV_DONTFORK);
	ring_consumer_start(consumer, start, size);
	return 0;
}

void
ring_consumer_unmap(struct ring_consumer *consumer)
{
	ring_unmap(consumer->peer, consumer->size);
	*consumer = (struct ring_consumer){ .dead = true };
}

/*
 * Waking.  A side that wants to sleep stores its word and then loads the peer's
 * position; a side that moves stores its position and then loads the peer's
 * word.  All four are sequentially consistent, so at least one of the two sees
 * the other's store, and no wake-up is lost between them.  (Accesses instead of
 * fences, because ThreadSanitizer understands the former only.)
 */

/* --- the producer ------------------------------------------------------ */

static uint64_t
ring_room(const struct ring_producer *producer)
{
	return producer->size - (producer->position - producer->released);
}

/*
 * Takes over the consumer's position.  It can only be between what it was and
 * what we published; as unsigned distances, so that one comparison refuses both
 * a step back and a step too far.
 */
static bool
ring_take_released(struct ring_producer *producer)
{
	uint64_t seen = atomic_load_explicit(&producer->peer->position, memory_order_seq_cst);

	if (seen - producer->released > producer->published - producer->released)
		producer->dead = true;
	else
		producer->released = seen;
	return !producer->dead;
}

enum ring_result
ring_reserve(struct ring_producer *producer, size_t need, uint8_t **place)
{
	*place = NULL;
	assert(need <= producer->size / 2 || producer->dead);
	if (producer->dead)
		return RING_HOSTILE;
	/* The consumer's cache line is only fetched when it matters. */
	if (ring_room(producer) < need && !ring_take_released(producer))
		return RING_HOSTILE;
	if (ring_room(producer) < need)
		return RING_FULL;
	*place = producer->data + (producer->position & (producer->size - 1));
	return RING_OK;
}

void
ring_commit(struct ring_producer *producer, size_t length)
{
	assert(length <= ring_room(producer));
	producer->position += length;
}

bool
ring_publish(struct ring_producer *producer)
{
	if (producer->dead)
		return false;
	producer->published = producer->position;
	atomic_store_explicit(&producer->own->position, producer->published, memory_order_seq_cst);
	return atomic_load_explicit(&producer->peer->sleeping, memory_order_seq_cst) != 0;
}

uint64_t
ring_withdraw(struct ring_producer *producer)
{
	uint64_t withdrawn = producer->position - producer->published;

	producer->position = producer->published;
	return withdrawn;
}

bool
ring_start_waiting(struct ring_producer *producer, size_t need)
{
	if (producer->dead)
		return false;
	atomic_store_explicit(&producer->own->waiting, 1, memory_order_seq_cst);
	if (ring_take_released(producer) && ring_room(producer) < need)
		return true;
	ring_stop_waiting(producer);
	return false;
}

void
ring_stop_waiting(struct ring_producer *producer)
{
	atomic_store_explicit(&producer->own->waiting, 0, memory_order_relaxed);
}

void *
ring_counters(struct ring_producer *producer)
{
	return (uint8_t *)producer->own + RING_COUNTERS_OFFSET;
}

/* --- the consumer ------------------------------------------------------ */

/*
 * Takes over the producer's position: not before what it was, and not more
 * than a ring's size beyond what we gave back.
 */
static bool
ring_take_published(struct ring_consumer *consumer)
{
	uint64_t seen = atomic_load_explicit(&consumer->peer->position, memory_order_seq_cst);
	uint64_t distance = seen - consumer->released;

	if (distance > consumer->size || distance < consumer->available - consumer->released)
		consumer->dead = true;
	else
		consumer->available = seen;
	return !consumer->dead;
}

enum ring_result
ring_look(struct ring_consumer *consumer)
{
	if (consumer->dead || !ring_take_published(consumer))
		return RING_HOSTILE;
	return consumer->available == consumer->position ? RING_EMPTY : RING_OK;
}

static size_t
ring_prefix(size_t length)
{
	return length < 0x80 ? 1 : 2;
}

/*
 * Reads a record's length, each byte once.  0: there is no canonical one in the
 * left bytes; a length of 0 is as impossible as none, or a producer could make
 * us walk through empty records without end.
 */
static size_t
ring_read_length(const volatile uint8_t *from, uint64_t left)
{
	uint8_t low = from[0], high;

	static_assert(RING_PREFIX_MAX == 2, "two bytes are read");
	if (low < 0x80)
		return low;
	if (left < 2)
		return 0;
	high = from[1];
	return high == 0 || high >= 0x80 ? 0 : (size_t)high << 7 | (low & 0x7f);
}

enum ring_result
ring_next(struct ring_consumer *consumer, size_t maximum, size_t *length)
{
	uint64_t left = consumer->available - consumer->position;

	*length = 0;
	if (consumer->dead)
		return RING_HOSTILE;
	if (left == 0)
		return RING_EMPTY;
	*length = ring_read_length(consumer->data + (consumer->position & (consumer->size - 1)), left);
	if (*length == 0 || *length > maximum || ring_prefix(*length) + *length > left) {
		*length = 0;
		consumer->dead = true;
		return RING_HOSTILE;
	}
	return RING_OK;
}

void
ring_copy(struct ring_consumer *consumer, size_t length, uint8_t *to)
{
	uint64_t start = consumer->position + ring_prefix(length);

	assert(ring_prefix(length) + length <= consumer->available - consumer->position);
	memcpy(to, consumer->data + (start & (consumer->size - 1)), length);
	ring_compiler_barrier();
	consumer->position = start + length;
}

bool
ring_release(struct ring_consumer *consumer, uint64_t position)
{
	assert(position - consumer->released <= consumer->position - consumer->released);
	/* Also when the ring is dead: what was read well is not read again. */
	consumer->released = position;
	/* Ordered behind the copies: the bytes may be overwritten from here on. */
	atomic_store_explicit(&consumer->own->position, position, memory_order_seq_cst);
	return atomic_load_explicit(&consumer->peer->waiting, memory_order_seq_cst) != 0;
}

bool
ring_start_sleeping(struct ring_consumer *consumer)
{
	if (consumer->dead)
		return false;
	atomic_store_explicit(&consumer->own->sleeping, 1, memory_order_seq_cst);
	if (ring_take_published(consumer) && consumer->available == consumer->position)
		return true;
	ring_stop_sleeping(consumer);
	return false;
}

void
ring_stop_sleeping(struct ring_consumer *consumer)
{
	atomic_store_explicit(&consumer->own->sleeping, 0, memory_order_relaxed);
}

uint64_t
ring_held(const struct ring_consumer *consumer)
{
	return consumer->available - consumer->released;
}

bool
ring_producer_waits(const struct ring_consumer *consumer)
{
	return atomic_load_explicit(&consumer->peer->waiting, memory_order_relaxed) != 0;
}

void
ring_copy_counters(const struct ring_consumer *consumer, void *to, size_t length)
{
	const volatile uint64_t *from;
	uint64_t word;
	size_t done, now;

	assert(length <= RING_COUNTERS_SIZE);
	from = (const volatile uint64_t *)((const uint8_t *)consumer->peer + RING_COUNTERS_OFFSET);
	/* Word by word: a counter is never seen half written. */
	for (done = 0; done < length; done += now) {
		now = length - done < sizeof(word) ? length - done : sizeof(word);
		word = from[done / sizeof(word)];
		memcpy((uint8_t *)to + done, &word, now);
	}
}
