/*
 * The input is what a hostile producer leaves in the ring, and a script of what
 * it writes between the consumer's steps.  The consumer does what its rules say
 * (a model of them is kept here), or finds the peer hostile for good.
 *
 * The input: where both positions start (8 bytes), how much of the data is
 * written there (2) and that data, then steps: a byte each, and its arguments.
 */
#include "common/counters.h"
#include "common/fd.h"
#include "common/record.h"
#include "common/ring.h"
#include "common/varint.h"
#include "tests/fuzz/fuzz.h"

enum { RING_TARGET_SIZE = RING_SIZE_MIN };

static struct {
	struct ring_memory	 memory;
	struct ring_producer	 producer;	/* its mapping; its functions are not used */
	struct ring_consumer	 first;		/* mapped once, since that is what takes time */
} ring;

/* One input's. */
struct run {
	struct fuzz_script	 script;
	struct ring_consumer	 consumer;
	/* The model: what the consumer must hold to be true. */
	uint64_t		 position, released, available;
	bool			 dead;
};

static void
make_ring(void)
{
	FUZZ_REQUIRE(ring_create(&ring.memory, &ring.producer, RING_TARGET_SIZE) == 0);
	FUZZ_REQUIRE(ring_consumer_map(&ring.first, ring.memory.data_fd, ring.memory.control_fd, RING_TARGET_SIZE) == 0);
}

/* --- the peer ----------------------------------------------------------- */

static uint64_t
published(void)
{
	return atomic_load(&ring.producer.own->position);
}

static void
publish(uint64_t position)
{
	atomic_store(&ring.producer.own->position, position);
}

static void
peer_writes(uint64_t position, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		ring.producer.data[(position + i) & (RING_TARGET_SIZE - 1)] = bytes[i];
}

static void
peer_scribbles(struct run *run)
{
	uint64_t where = run->consumer.position + fuzz_number(&run->script, 2);
	size_t length = fuzz_number(&run->script, 1);
	const uint8_t *bytes = fuzz_bytes(&run->script, &length);

	peer_writes(where, bytes, length);
}

static void
peer_jumps(struct run *run)
{
	publish(fuzz_number(&run->script, 8));
}

static void
peer_moves(struct run *run)
{
	publish(published() + fuzz_number(&run->script, 3));
}

static void
peer_goes_back(struct run *run)
{
	publish(published() - fuzz_number(&run->script, 3));
}

/* As a good one does: a record behind the last. */
static void
peer_appends(struct run *run)
{
	uint8_t prefix[VARINT_MAX];
	size_t length = fuzz_number(&run->script, 2), n = varint_write(prefix, length), written = length % 64;
	const uint8_t *bytes = fuzz_bytes(&run->script, &written);

	peer_writes(published(), prefix, n);
	peer_writes(published() + n, bytes, written);
	publish(published() + n + length);
}

static void
peer_waits(struct run *run)
{
	atomic_store(&ring.producer.own->waiting, (uint32_t)fuzz_number(&run->script, 1));
}

static void
peer_counts(struct run *run)
{
	size_t at = fuzz_number(&run->script, 2) % (RING_COUNTERS_SIZE - UINT8_MAX), length = fuzz_number(&run->script, 1);
	const uint8_t *bytes = fuzz_bytes(&run->script, &length);

	memcpy((uint8_t *)ring_counters(&ring.producer) + at, bytes, length);
}

/* --- the consumer, and what is expected of it ----------------------------- */

/* True if the model takes the peer's position over. */
static bool
model_takes(struct run *run)
{
	uint64_t seen = published();

	if (!run->dead && seen - run->released <= RING_TARGET_SIZE && seen - run->released >= run->available - run->released)
		run->available = seen;
	else
		run->dead = true;
	return !run->dead;
}

static void
step_look(struct run *run)
{
	enum ring_result expected = RING_HOSTILE;

	if (model_takes(run))
		expected = run->available == run->position ? RING_EMPTY : RING_OK;
	FUZZ_REQUIRE(ring_look(&run->consumer) == expected);
}

/* The length that stands at the model's position, or 0; and its prefix. */
static size_t
model_length(const struct run *run, size_t maximum, size_t *prefix)
{
	uint64_t left = run->available - run->position, length = 0;
	uint8_t bytes[RING_PREFIX_MAX];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = ring.producer.data[(run->position + i) & (RING_TARGET_SIZE - 1)];
	*prefix = varint_read(bytes, left < sizeof(bytes) ? left : sizeof(bytes), &length);
	if (*prefix == 0 || length > maximum || *prefix + length > left)
		return 0;
	return (size_t)length;
}

static void
require_copy(struct run *run, size_t prefix, size_t length)
{
	cleanup_free uint8_t *to = malloc(length);

	FUZZ_REQUIRE(to != NULL);
	ring_copy(&run->consumer, length, to);
	run->position += prefix;
	for (size_t i = 0; i < length; i++)
		FUZZ_REQUIRE(to[i] == ring.producer.data[(run->position + i) & (RING_TARGET_SIZE - 1)]);
	run->position += length;
}

static void
step_next(struct run *run)
{
	size_t maximum = RECORD_MAX, length, prefix = 0, expected = 0;
	enum ring_result result = ring_next(&run->consumer, maximum, &length);

	if (run->dead || run->available != run->position)
		expected = run->dead ? 0 : model_length(run, maximum, &prefix);
	FUZZ_REQUIRE(length == expected);
	if (!run->dead && run->available == run->position)
		FUZZ_REQUIRE(result == RING_EMPTY);
	else if (expected == 0) {
		FUZZ_REQUIRE(result == RING_HOSTILE);
		run->dead = true;
	} else {
		FUZZ_REQUIRE(result == RING_OK);
		require_copy(run, prefix, length);
	}
}

static void
step_drain(struct run *run)
{
	uint64_t before;

	do {
		before = run->position;
		step_next(run);
	} while (run->position != before);
}

static void
step_release(struct run *run)
{
	uint64_t read = run->position - run->released;
	uint64_t position = run->released + (read == 0 ? 0 : fuzz_number(&run->script, 2) % (read + 1));

	FUZZ_REQUIRE(ring_release(&run->consumer, position) == (atomic_load(&ring.producer.own->waiting) != 0));
	run->released = position;
}

static void
step_release_all(struct run *run)
{
	ring_release(&run->consumer, run->position);
	run->released = run->position;
}

static void
step_sleep(struct run *run)
{
	bool expected = model_takes(run) && run->available == run->position;

	FUZZ_REQUIRE(ring_start_sleeping(&run->consumer) == expected);
	FUZZ_REQUIRE((atomic_load(&run->consumer.own->sleeping) == 1) == expected);
	ring_stop_sleeping(&run->consumer);
}

static void
step_count(struct run *run)
{
	struct counters counters;

	ring_copy_counters(&run->consumer, &counters, sizeof(counters));
	FUZZ_REQUIRE(memcmp(&counters, ring_counters(&ring.producer), sizeof(counters)) == 0);
}

static void
let_go(struct run *run)
{
	if (run->consumer.own != ring.first.own)
		ring_consumer_unmap(&run->consumer);
}

/* Another shipper takes over, where this one left C. */
static void
step_hand_over(struct run *run)
{
	let_go(run);
	FUZZ_REQUIRE(ring_consumer_map(&run->consumer, ring.memory.data_fd, ring.memory.control_fd, RING_TARGET_SIZE) == 0);
	run->position = run->available = run->released;
	run->dead = false;
}

static void
require_model(const struct run *run)
{
	FUZZ_REQUIRE(run->consumer.position == run->position);
	FUZZ_REQUIRE(run->consumer.released == run->released);
	FUZZ_REQUIRE(run->consumer.available == run->available);
	FUZZ_REQUIRE(run->consumer.dead == run->dead);
	FUZZ_REQUIRE(ring_held(&run->consumer) <= RING_TARGET_SIZE);
	FUZZ_REQUIRE(run->position - run->released <= run->available - run->released);
	FUZZ_REQUIRE(atomic_load(&ring.first.own->position) == run->released);
}

static void
start(struct run *run)
{
	uint64_t position = fuzz_number(&run->script, 8);
	size_t length = fuzz_number(&run->script, 2);
	const uint8_t *image = fuzz_bytes(&run->script, &length);

	memset(ring.producer.own, 0, sizeof(*ring.producer.own));
	memset(ring_counters(&ring.producer), 0, RING_COUNTERS_SIZE);
	memset(ring.producer.data, 0, RING_TARGET_SIZE);
	peer_writes(position, image, length);
	publish(position + length);
	atomic_store(&ring.first.own->position, position);
	atomic_store(&ring.first.own->sleeping, 0);
	run->position = run->released = run->available = position;
	run->consumer = ring.first;
	run->consumer.position = run->consumer.released = run->consumer.available = position;
	run->consumer.dead = false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(struct run *) = {
		step_look, step_next, step_drain, step_release, step_release_all, step_sleep, step_count, step_hand_over,
		peer_appends, peer_scribbles, peer_jumps, peer_moves, peer_goes_back, peer_waits, peer_counts, peer_appends,
	};
	struct run run = { .script = { data, size } };

	if (ring.producer.own == NULL)
		make_ring();
	start(&run);
	require_model(&run);
	while (run.script.left > 0) {
		steps[fuzz_number(&run.script, 1) % (sizeof(steps) / sizeof(steps[0]))](&run);
		require_model(&run);
	}
	let_go(&run);
	return 0;
}
