/* The accounts: they outlive rings, never run backwards, and believe a collector only what can be. */
#include "common/ring.h"
#include "shipper/account.h"
#include "tests/unit/shipper_parts.h"

/* Both ends of a ring, and its account. */
struct ring {
	struct ring_memory	 memory;
	struct ring_producer	 producer;
	struct ring_consumer	 consumer;
	struct account_ring	 account;
	struct counters		*word;
};

static void
ring_make(struct ring *r)
{
	*r = (struct ring){ 0 };
	assert_int_equal(ring_create(&r->memory, &r->producer, RING_SIZE_MIN), 0);
	assert_int_equal(ring_consumer_map(&r->consumer, r->memory.data_fd, r->memory.control_fd, RING_SIZE_MIN), 0);
	r->word = ring_counters(&r->producer);
}

static void
ring_free(struct ring *r)
{
	ring_consumer_unmap(&r->consumer);
	ring_producer_unmap(&r->producer);
	ring_memory_close(&r->memory);
}

/* Publishes a record of length bytes, its prefix among them. */
static void
ring_write(struct ring *r, size_t length)
{
	uint8_t *place;

	assert_int_equal(ring_reserve(&r->producer, length, &place), RING_OK);
	memset(place, 1, length);
	place[0] = (uint8_t)(length - 1);
	ring_commit(&r->producer, length);
	(void)ring_publish(&r->producer);
	assert_int_equal(ring_look(&r->consumer), RING_OK);
}

static void
ring_read(struct ring *r)
{
	uint8_t record[256];
	size_t length;

	assert_int_equal(ring_next(&r->consumer, sizeof(record), &length), RING_OK);
	ring_copy(&r->consumer, length, record);
}

static void
test_a_sum_outlives_its_rings(void **state)
{
	struct accounts a = { 0 };
	struct ring one, two;

	(void)state;
	ring_make(&one);
	ring_make(&two);
	account_open(&a, &one.account, &one.consumer, "one");
	account_open(&a, &two.account, &two.consumer, "two");
	one.word->read = 10;
	two.word->read = 5;
	two.word->dropped[COUNTERS_DROP_DEADLINE] = 2;
	ring_write(&one, 100);
	ring_write(&one, 50);
	ring_read(&one);
	one.account.news.drained++;
	account_add(&a, &one.account, &one.consumer);
	account_add(&a, &two.account, &two.consumer);
	assert_int_equal(a.total.word.read, 15);
	assert_int_equal(a.total.word.dropped[COUNTERS_DROP_DEADLINE], 2);
	assert_int_equal(a.total.published, 150);
	assert_int_equal(a.total.read, 100);
	assert_int_equal(a.total.drained, 1);
	/* Nothing is added twice. */
	account_add(&a, &one.account, &one.consumer);
	assert_int_equal(a.total.word.read, 15);
	assert_int_equal(a.total.published, 150);
	/* What was counted since then is not lost with the ring. */
	one.word->read = 12;
	account_close(&a, &one.account, &one.consumer);
	assert_int_equal(a.total.word.read, 17);
	assert_int_equal(a.total.abandoned, 50);
	assert_int_equal(a.total.published, a.total.read + a.total.abandoned);
	account_close(&a, &two.account, &two.consumer);
	assert_int_equal(a.total.word.read, 17);
	ring_free(&one);
	ring_free(&two);
}

/* Its first part is in the metrics of the shipper that read it. */
static void
test_a_ring_that_was_read_before(void **state)
{
	struct accounts a = { 0 };
	struct ring r;

	(void)state;
	ring_make(&r);
	r.word->encoded = 1000;
	ring_write(&r, 100);
	ring_write(&r, 20);
	ring_read(&r);
	(void)ring_release(&r.consumer, r.consumer.position);
	/* The next shipper's. */
	ring_consumer_unmap(&r.consumer);
	assert_int_equal(ring_consumer_map(&r.consumer, r.memory.data_fd, r.memory.control_fd, RING_SIZE_MIN), 0);
	account_open(&a, &r.account, &r.consumer, "r");
	account_add(&a, &r.account, &r.consumer);
	assert_int_equal(a.total.word.encoded, 0);
	assert_int_equal(ring_look(&r.consumer), RING_OK);
	ring_read(&r);
	r.word->encoded = 1001;
	account_add(&a, &r.account, &r.consumer);
	assert_int_equal(a.total.word.encoded, 1);
	assert_int_equal(a.total.published, 20);
	assert_int_equal(a.total.read, 20);
	account_close(&a, &r.account, &r.consumer);
	ring_free(&r);
}

/* One that nobody has read yet is new, whatever its collector did before. */
static void
test_a_ring_that_was_never_read(void **state)
{
	struct accounts a = { 0 };
	struct ring r;

	(void)state;
	ring_make(&r);
	r.word->encoded = 1000000;
	account_open(&a, &r.account, &r.consumer, "r");
	account_add(&a, &r.account, &r.consumer);
	assert_int_equal(a.total.word.encoded, 1000000);
	account_close(&a, &r.account, &r.consumer);
	ring_free(&r);
}

static void
check_lie(void (*lie)(struct counters *))
{
	struct accounts a = { 0 };
	struct ring honest, liar;

	ring_make(&honest);
	ring_make(&liar);
	account_open(&a, &honest.account, &honest.consumer, "honest");
	account_open(&a, &liar.account, &liar.consumer, "liar");
	honest.word->read = 7;
	liar.word->read = 100;
	account_add(&a, &honest.account, &honest.consumer);
	account_add(&a, &liar.account, &liar.consumer);
	lie(liar.word);
	ring_write(&liar, 30);
	account_add(&a, &liar.account, &liar.consumer);
	assert_int_equal(a.total.word.read, 107);
	assert_int_equal(a.total.word.waits, 0);
	assert_int_equal(a.total.disbelieved, 1);
	/* What the shipper counts goes on. */
	assert_int_equal(a.total.published, 30);
	/* Also when it tells the truth again: nobody knows what that is. */
	liar.word->read = 101;
	liar.word->waits = 0;
	honest.word->read = 8;
	account_add(&a, &honest.account, &honest.consumer);
	account_close(&a, &liar.account, &liar.consumer);
	assert_int_equal(a.total.word.read, 108);
	assert_int_equal(a.total.disbelieved, 1);
	account_close(&a, &honest.account, &honest.consumer);
	ring_free(&honest);
	ring_free(&liar);
}

static void
lie_backwards(struct counters *word)
{
	word->read = 99;
}

static void
lie_too_much(struct counters *word)
{
	word->waits = UINT64_MAX / 2;
}

static void
test_what_cannot_be_is_not_believed(void **state)
{
	(void)state;
	check_lie(lie_backwards);
	check_lie(lie_too_much);
}

static void
test_each_namespace_has_its_own(void **state)
{
	struct accounts a = { .per_netns = true };
	struct ring blue, again, red;
	struct account_netns *netns;

	(void)state;
	ring_make(&blue);
	ring_make(&again);
	ring_make(&red);
	account_open(&a, &blue.account, &blue.consumer, "blue");
	account_open(&a, &red.account, &red.consumer, "red");
	blue.word->read = 3;
	red.word->read = 5;
	account_add(&a, &red.account, &red.consumer);
	/* A collector was replaced: its namespace goes on. */
	account_open(&a, &again.account, &again.consumer, "blue");
	again.word->read = 1;
	account_close(&a, &blue.account, &blue.consumer);
	account_add(&a, &again.account, &again.consumer);
	assert_int_equal(a.nnetns, 2);
	LIST_FOREACH(netns, &a.netns, next) {
		assert_int_equal(netns->shown.rings, 1);
		assert_int_equal(netns->shown.sum.word.read, strcmp(netns->name, "blue") == 0 ? 4 : 5);
	}
	assert_int_equal(a.total.word.read, 9);
	/* Without a ring it is shown for a while, and then no more. */
	account_close(&a, &red.account, &red.consumer);
	accounts_expire(&a, clock_monotonic());
	assert_int_equal(a.nnetns, 2);
	accounts_expire(&a, clock_monotonic() + ACCOUNT_NETNS_TIME);
	assert_int_equal(a.nnetns, 1);
	assert_string_equal(LIST_FIRST(&a.netns)->name, "blue");
	account_close(&a, &again.account, &again.consumer);
	accounts_free(&a);
	assert_int_equal(a.total.word.read, 9);
	ring_free(&blue);
	ring_free(&again);
	ring_free(&red);
}

/* Names are other people's, and may be any number. */
static void
test_namespaces_without_end(void **state)
{
	struct accounts a = { .per_netns = true };
	struct account_ring one;
	struct ring r;
	char name[32];

	(void)state;
	ring_make(&r);
	for (unsigned int i = 0; i < ACCOUNT_NETNS + 10; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		account_open(&a, &one, &r.consumer, name);
		account_close(&a, &one, &r.consumer);
	}
	assert_int_equal(a.nnetns, ACCOUNT_NETNS);
	assert_int_equal(a.unlisted, 10);
	accounts_expire(&a, clock_monotonic() + ACCOUNT_NETNS_TIME);
	assert_int_equal(a.nnetns, 0);
	accounts_free(&a);
	ring_free(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_sum_outlives_its_rings),
		cmocka_unit_test(test_a_ring_that_was_read_before),
		cmocka_unit_test(test_a_ring_that_was_never_read),
		cmocka_unit_test(test_what_cannot_be_is_not_believed),
		cmocka_unit_test(test_each_namespace_has_its_own),
		cmocka_unit_test(test_namespaces_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
