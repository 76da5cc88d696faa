/*
 * A ring whose one end was taken over: a process of its own writes random
 * bytes over everything that it can map, while the honest end goes on.
 *
 *	ring_peer producer SEED ROUNDS	the collector is hostile
 *	ring_peer consumer SEED ROUNDS	the shipper is hostile
 *
 * A ring is made for each round.  Prints how the rounds ended and exits with 0
 * if the honest end only ever saw what ring.h promises; 1 says what else.
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/record.h"
#include "common/ring.h"
#include "common/user.h"
#include "common/varint.h"

enum { SIZE = RING_SIZE_MIN };

/* A true position kills no ring, so such a round has a length; others end. */
#define GENTLE_ROUND	(10 * MILLISECOND)
#define ROUND_LIMIT	(10 * SECOND)

struct tally {
	unsigned int	rounds, hostile, alive;
	uint64_t	records;
};

static uint64_t seed;

static uint64_t
random_next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* --- the attacker's process -------------------------------------------- */

/* Neither a survivor of this test nor a root that the memory's mode does not bind. */
static void
become_attacker(pid_t parent)
{
	if (geteuid() == 0 &&
	    (setresgid(USER_COLLECTOR_FALLBACK, USER_COLLECTOR_FALLBACK, USER_COLLECTOR_FALLBACK) != 0 ||
	    setresuid(USER_COLLECTOR_FALLBACK, USER_COLLECTOR_FALLBACK, USER_COLLECTOR_FALLBACK) != 0))
		_exit(1);
	/* Behind the change of uid, which takes it back. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(1);
}

/* The attacker got what it must not: its exit status says so to the honest end. */
static _Noreturn void
broke_out(const char *how)
{
	fprintf(stderr, "ring_peer: the hostile end could %s\n", how);
	_exit(2);
}

static void
scribble(volatile uint8_t *bytes, size_t length, unsigned int count)
{
	for (; count > 0; count--)
		bytes[random_next() % length] = (uint8_t)random_next();
}

/* Lengths in a chain, so that the consumer gets on for a while. */
static void
plausible(volatile uint8_t *data, uint64_t start)
{
	unsigned int i, length;

	for (i = 0; i < 200; i++) {
		length = 1 + (unsigned int)(random_next() % 127);
		data[start % SIZE] = (uint8_t)length;
		start += 1 + length;
	}
}

static uint64_t
lie(uint64_t truth)
{
	switch (random_next() % 16) {
	case 0:
		return random_next();
	case 1:
		return truth - 1 - random_next() % 100;
	case 2:
		return truth + SIZE + 1 + random_next() % 100;
	default:
		return truth + random_next() % 4096;
	}
}

/* Rounds that shall live long get noise in the data alone, and true positions. */
static _Noreturn void
attack_consumer(struct ring_producer *producer, pid_t parent, bool gentle)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	become_attacker(parent);
	if (mprotect((void *)(uintptr_t)producer->peer, page, PROT_READ | PROT_WRITE) == 0)
		broke_out("write the consumer's page");
	for (;;) {
		uint64_t truth = atomic_load(&producer->peer->position);

		atomic_store(&producer->own->waiting, (uint32_t)random_next());
		plausible(producer->data, truth);
		if (gentle) {
			scribble(producer->data, SIZE, 3);
			atomic_store(&producer->own->position, truth + random_next() % SIZE);
			continue;
		}
		scribble(producer->data, 2 * SIZE, 200);
		atomic_store(&producer->own->position, lie(truth));
		scribble((volatile uint8_t *)producer->own, page, 50);
	}
}

static int
reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* Everything that might make the producer's memory writable, or take it away. */
static void
try_data(int fd, void *mapping, size_t length)
{
	int again = reopen(fd, O_RDWR);

	if (again >= 0)
		broke_out("open the data for writing");
	if (mprotect(mapping, length, PROT_READ | PROT_WRITE) == 0)
		broke_out("make its mapping of the data writable");
	if (mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		broke_out("map the data writable");
	if (ftruncate(fd, 0) == 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)length) == 0)
		broke_out("take the data away");
	if (pwrite(fd, "x", 1, 0) == 1)
		broke_out("write the data");
}

static _Noreturn void
attack_producer(const struct ring_memory *memory, pid_t parent, bool gentle)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	volatile struct ring_consumer_page *control;
	const struct ring_producer_page *data;

	become_attacker(parent);
	control = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, memory->control_fd, 0);
	data = mmap(NULL, page + SIZE, PROT_READ, MAP_SHARED, memory->data_fd, 0);
	if (control == MAP_FAILED || data == MAP_FAILED)
		_exit(1);
	try_data(memory->data_fd, (void *)(uintptr_t)data, page + SIZE);
	if (ftruncate(memory->control_fd, 0) == 0)
		broke_out("take the consumer's page away");
	for (;;) {
		uint64_t truth = atomic_load(&data->position);

		atomic_store(&control->sleeping, (uint32_t)random_next());
		if (gentle) {
			atomic_store(&control->position, truth);
			continue;
		}
		atomic_store(&control->position, random_next() % 2 ? truth : lie(truth));
		scribble((volatile uint8_t *)control, page, 20);
	}
}

/* --- the honest end ---------------------------------------------------- */

/* Reads as the shipper does, in bounded turns. */
static enum ring_result
consume(struct ring_consumer *consumer, struct tally *tally)
{
	enum ring_result result = ring_look(consumer);
	uint8_t record[RECORD_MAX];
	unsigned int turn;
	size_t length;

	for (turn = 0; turn < 1000 && result == RING_OK; turn++) {
		result = ring_next(consumer, RECORD_MAX, &length);
		if (result != RING_OK)
			break;
		if (length == 0 || length > RECORD_MAX)
			errx(1, "a record of %zu bytes", length);
		ring_copy(consumer, length, record);
		tally->records++;
	}
	ring_release(consumer, consumer->position);
	if (ring_held(consumer) > SIZE)
		errx(1, "%llu bytes in a ring of %u", (unsigned long long)ring_held(consumer), SIZE);
	if (ring_start_sleeping(consumer))
		ring_stop_sleeping(consumer);
	return result;
}

static enum ring_result
produce(struct ring_producer *producer, struct tally *tally)
{
	size_t length = 1 + random_next() % RECORD_MAX, prefix;
	uint8_t *place;
	enum ring_result result = ring_reserve(producer, RING_PREFIX_MAX + length, &place);

	if (result == RING_FULL && ring_start_waiting(producer, RING_PREFIX_MAX + length))
		ring_stop_waiting(producer);
	if (result != RING_OK)
		return result;
	if (place < producer->data || place + RING_PREFIX_MAX + length > producer->data + 2 * SIZE)
		errx(1, "a place outside of the data");
	prefix = varint_write(place, length);
	memset(place + prefix, 0x5a, length);
	ring_commit(producer, prefix + length);
	ring_publish(producer);
	tally->records++;
	if (producer->position - producer->released > SIZE)
		errx(1, "more than a ring's size is written");
	return result;
}

/* A producer that keeps within its data changes nothing else on its first page. */
static void
check_page(const struct ring_producer *producer)
{
	const uint8_t *bytes = (const uint8_t *)producer->own;
	size_t i;

	if (atomic_load(&producer->own->position) != producer->published)
		errx(1, "the published position was overwritten");
	for (i = sizeof(*producer->own); i < (size_t)sysconf(_SC_PAGESIZE); i++)
		if (bytes[i] != 0)
			errx(1, "byte %zu of the first page was overwritten", i);
}

static void
end_attacker(pid_t attacker)
{
	int status;

	kill(attacker, SIGKILL);
	if (waitpid(attacker, &status, 0) != attacker)
		err(1, "waitpid");
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		errx(1, "the hostile end ended by itself, status %#x", (unsigned int)status);
}

/* One ring, attacked until it is dead or the round is over. */
static void
run_round(bool hostile_producer, struct tally *tally)
{
	bool gentle = tally->rounds % 4 == 0;
	uint64_t end = clock_monotonic() + (gentle ? GENTLE_ROUND : ROUND_LIMIT);
	enum ring_result result = RING_OK;
	struct ring_consumer consumer;
	struct ring_producer producer;
	struct ring_memory memory;
	pid_t attacker, self = getpid();

	if (ring_create(&memory, &producer, SIZE) != 0)
		err(1, "ring_create");
	if (hostile_producer && ring_consumer_map(&consumer, memory.data_fd, memory.control_fd, SIZE) != 0)
		err(1, "ring_consumer_map");
	random_next();
	if ((attacker = fork()) < 0)
		err(1, "fork");
	if (attacker == 0 && hostile_producer) {
		ring_memory_close(&memory);
		attack_consumer(&producer, self, gentle);
	}
	if (attacker == 0)
		attack_producer(&memory, self, gentle);
	while (result != RING_HOSTILE && clock_monotonic() < end)
		result = hostile_producer ? consume(&consumer, tally) : produce(&producer, tally);
	end_attacker(attacker);
	if (!hostile_producer)
		check_page(&producer);
	else
		ring_consumer_unmap(&consumer);
	ring_producer_unmap(&producer);
	ring_memory_close(&memory);
	tally->rounds++;
	*(result == RING_HOSTILE ? &tally->hostile : &tally->alive) += 1;
}

int
main(int argc, char **argv)
{
	struct tally tally = { 0 };
	unsigned long rounds;
	bool hostile_producer;

	if (argc != 4 || (strcmp(argv[1], "producer") != 0 && strcmp(argv[1], "consumer") != 0)) {
		fprintf(stderr, "usage: ring_peer producer|consumer SEED ROUNDS\n");
		return 64;
	}
	hostile_producer = strcmp(argv[1], "producer") == 0;
	seed = strtoull(argv[2], NULL, 10) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	rounds = strtoul(argv[3], NULL, 10);
	while (tally.rounds < rounds)
		run_round(hostile_producer, &tally);
	printf("rounds %u hostile %u alive %u records %llu\n", tally.rounds, tally.hostile, tally.alive,
	    (unsigned long long)tally.records);
	return 0;
}
