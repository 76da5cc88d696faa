/*
 * race: an honest producer, an honest consumer and an attacker, threads over
 * one ring, for ThreadSanitizer.
 *
 *	race SECONDS
 *
 * Both ends use the same view of the memory, so that it sees who reads what
 * whom wrote.  The attacker's own plain writes are hidden from it: they are a
 * race, and that is the attack.  Says how many rounds of each kind there were.
 */
#include <err.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/record.h"
#include "common/ring.h"
#include "common/varint.h"

enum { SIZE = RING_SIZE_MIN, RECORDS = 3000, LONGEST = 3000, LOST_WAKE_UP = 20 /* s */ };

/* What the attacker does: nothing, changes bytes, or says where either end is. */
enum kind { KIND_HONEST, KIND_BYTES, KIND_PRODUCER, KIND_CONSUMER, KINDS };

/* Whoever believes a false position reads what is being written: a true report, of the attack. */
#ifdef __SANITIZE_THREAD__
enum { KINDS_HERE = KIND_PRODUCER };
#else
enum { KINDS_HERE = KINDS };
#endif

struct race {
	struct ring_memory	 memory;
	struct ring_producer	 producer;
	struct ring_consumer	 consumer;
	struct ring_consumer	 mapped;	/* as it was, to be unmapped */
	enum kind		 kind;
	sem_t			 data, room;
	atomic_bool		 over;
	uint64_t		 taken;
};

static size_t
length_of(uint64_t n)
{
	return 1 + n * 2654435761U % LONGEST;
}

/* An attacker's lie may cost any wake-up; a real one is never lost. */
static void
wait_for(struct race *race, sem_t *wake)
{
	struct timespec end;
	int limit = race->kind == KIND_HONEST ? LOST_WAKE_UP : 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += limit;
	if (limit == 0 && (end.tv_nsec += 1000000) >= 1000000000) {
		end.tv_nsec -= 1000000000;
		end.tv_sec++;
	}
	if (sem_timedwait(wake, &end) == -1 && limit != 0)
		errx(1, "a wake-up was lost");
}

/* --- the honest ends --------------------------------------------------------- */

static enum ring_result
put(struct race *race, uint64_t n)
{
	size_t length = length_of(n), need = RING_PREFIX_MAX + length, prefix;
	enum ring_result result;
	uint8_t *place;

	while ((result = ring_reserve(&race->producer, need, &place)) == RING_FULL && !atomic_load(&race->over)) {
		if (!ring_start_waiting(&race->producer, need))
			continue;
		wait_for(race, &race->room);
		ring_stop_waiting(&race->producer);
	}
	if (result != RING_OK)
		return result;
	prefix = varint_write(place, length);
	memset(place + prefix, (int)n, length);
	ring_commit(&race->producer, prefix + length);
	if (ring_publish(&race->producer))
		sem_post(&race->data);
	return RING_OK;
}

static void *
produce(void *context)
{
	struct race *race = context;

	for (uint64_t n = 0; n < RECORDS && !atomic_load(&race->over); n++)
		if (put(race, n) == RING_HOSTILE)
			break;
	/* The consumer waits for nobody who has gone. */
	if (race->kind != KIND_HONEST)
		atomic_store(&race->over, true);
	return NULL;
}

/* Of an honest ring each byte is known. */
static void
check(const struct race *race, const uint8_t *record, size_t length)
{
	if (length == 0 || length > RECORD_MAX)
		errx(1, "a record of %zu bytes", length);
	if (race->kind != KIND_HONEST)
		return;
	if (length != length_of(race->taken))
		errx(1, "record %llu has %zu bytes", (unsigned long long)race->taken, length);
	for (size_t i = 0; i < length; i++)
		if (record[i] != (uint8_t)race->taken)
			errx(1, "record %llu, byte %zu", (unsigned long long)race->taken, i);
}

static enum ring_result
take(struct race *race)
{
	uint8_t record[RECORD_MAX];
	enum ring_result result;
	size_t length;

	while ((result = ring_next(&race->consumer, RECORD_MAX, &length)) == RING_OK) {
		ring_copy(&race->consumer, length, record);
		check(race, record, length);
		race->taken++;
	}
	if (ring_release(&race->consumer, race->consumer.position))
		sem_post(&race->room);
	return result;
}

static void
consume(struct race *race)
{
	enum ring_result result = RING_EMPTY;

	while (result != RING_HOSTILE && race->taken < RECORDS && !atomic_load(&race->over)) {
		result = ring_look(&race->consumer);
		if (result == RING_EMPTY && ring_start_sleeping(&race->consumer)) {
			wait_for(race, &race->data);
			ring_stop_sleeping(&race->consumer);
		}
		if (result == RING_OK)
			result = take(race);
	}
	if (race->kind == KIND_HONEST && race->taken != RECORDS)
		errx(1, "an honest ring ended after %llu records", (unsigned long long)race->taken);
	atomic_store(&race->over, true);
	sem_post(&race->room);
}

/* --- the attacker ---------------------------------------------------------------- */

__attribute__((noinline, no_sanitize("thread"))) static void
flip(volatile uint8_t *bytes, uint64_t dice)
{
	bytes[dice % SIZE] ^= (uint8_t)(1U << (dice >> 32) % 8);
}

static void *
attack(void *context)
{
	struct race *race = context;
	uint64_t dice = 0x2545f4914f6cdd1d ^ (uintptr_t)&dice;

	while (!atomic_load(&race->over)) {
		dice ^= dice << 13;
		dice ^= dice >> 7;
		dice ^= dice << 17;
		if (race->kind == KIND_BYTES)
			flip(race->producer.data, dice);
		else if (race->kind == KIND_PRODUCER)
			atomic_store(&race->producer.own->position, dice % 8 == 0 ? dice : dice % (2 * SIZE));
		else if (race->kind == KIND_CONSUMER)
			atomic_store(&race->mapped.own->position, dice % 8 == 0 ? dice : dice % (2 * SIZE));
		/* So that the honest ends get turns between two changes, also on one processor. */
		usleep(dice % 50);
	}
	return NULL;
}

/* --- a round ---------------------------------------------------------------------- */

static void
set_up(struct race *race, enum kind kind)
{
	memset(race, 0, sizeof(*race));
	race->kind = kind;
	if (ring_create(&race->memory, &race->producer, SIZE) == -1 ||
	    ring_consumer_map(&race->mapped, race->memory.data_fd, race->memory.control_fd, SIZE) == -1)
		err(1, "a ring");
	race->consumer = race->mapped;
	race->consumer.peer = race->producer.own;
	race->consumer.data = race->producer.data;
	if (sem_init(&race->data, 0, 0) == -1 || sem_init(&race->room, 0, 0) == -1)
		err(1, "sem_init");
}

static void
run_round(struct race *race, enum kind kind)
{
	const struct ring_consumer_page *peer;
	pthread_t producer, attacker;

	set_up(race, kind);
	peer = race->producer.peer;
	race->producer.peer = race->mapped.own;
	if (pthread_create(&producer, NULL, produce, race) != 0 || pthread_create(&attacker, NULL, attack, race) != 0)
		errx(1, "no threads");
	consume(race);
	pthread_join(producer, NULL);
	pthread_join(attacker, NULL);
	race->producer.peer = peer;
	ring_consumer_unmap(&race->mapped);
	ring_producer_unmap(&race->producer);
	ring_memory_close(&race->memory);
	sem_destroy(&race->data);
	sem_destroy(&race->room);
}

int
main(int argc, char **argv)
{
	static struct race race;
	unsigned int rounds[KINDS] = { 0 };
	uint64_t end;

	if (argc != 2) {
		fprintf(stderr, "usage: race SECONDS\n");
		return 64;
	}
	end = clock_monotonic() + strtoull(argv[1], NULL, 10) * SECOND;
	for (unsigned int kind = 0; kind < KINDS_HERE || clock_monotonic() < end; kind++) {
		run_round(&race, kind % KINDS_HERE);
		rounds[kind % KINDS_HERE]++;
	}
	printf("honest %u bytes %u producer %u consumer %u\n", rounds[KIND_HONEST], rounds[KIND_BYTES], rounds[KIND_PRODUCER],
	    rounds[KIND_CONSUMER]);
	return 0;
}
