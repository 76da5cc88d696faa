/* Which way a snapshot takes: by what each costs, how often reads succeed, and what cannot be proved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <netinet/tcp.h>

#include "collector/choice.h"
#include "collector/known.h"
#include "common/clock.h"

enum { MANY = 1000 };

static void
know(uint32_t count)
{
	known_begin(true);
	for (uint32_t i = 0; i < count; i++) {
		struct inet_diag_msg socket = { .idiag_state = TCP_ESTABLISHED, .id = { .idiag_cookie = { i } } };

		known_add(&socket);
	}
	known_end(true);
}

/* A namespace of that many sockets that has had its first walk. */
static void
begin(enum record_way forced, uint32_t count, uint64_t walk)
{
	choice_init(forced, true, 0);
	know(count);
	choice_walked(walk);
}

static enum counters_walk
choose(uint64_t counted)
{
	enum counters_walk why;
	enum record_way way = choice_make(counted, &why);

	assert_int_equal(way, why == COUNTERS_WALKS ? RECORD_WAY_TARGETED : RECORD_WAY_WALK);
	return why;
}

static void
test_nothing_is_known_at_first(void **state)
{
	(void)state;
	choice_init(RECORD_WAY_UNSPECIFIED, true, 0);
	known_end(false);
	assert_int_equal(choose(5), COUNTERS_WALK_UNKNOWN);
}

static void
test_what_cannot_be_proved_is_not_tried(void **state)
{
	struct inet_diag_msg half_open = { .idiag_state = TCP_SYN_RECV };

	(void)state;
	begin(RECORD_WAY_UNSPECIFIED, 500, 20 * MILLISECOND);
	assert_int_equal(choose(500), COUNTERS_WALKS);
	assert_int_equal(choose(499), COUNTERS_WALKS);
	assert_int_equal(choose(501), COUNTERS_WALK_NEW);
	known_add(&half_open);
	assert_int_equal(choose(500), COUNTERS_WALK_HALF_OPEN);
	choice_init(RECORD_WAY_UNSPECIFIED, false, 0);
	know(500);
	assert_int_equal(choose(500), COUNTERS_WALK_STATES);
}

static void
test_the_cheaper_one_by_what_it_cost(void **state)
{
	(void)state;
	/* Before the first read a socket's is taken for some microseconds. */
	begin(RECORD_WAY_UNSPECIFIED, MANY, 1 * MILLISECOND);
	assert_int_equal(choose(MANY), COUNTERS_WALK_CHEAPER);
	begin(RECORD_WAY_UNSPECIFIED, MANY, 20 * MILLISECOND);
	assert_int_equal(choose(MANY), COUNTERS_WALKS);
	/* It turns out dearer than the walk is. */
	choice_read(30 * MILLISECOND, MANY, true);
	assert_int_equal(choose(MANY), COUNTERS_WALK_CHEAPER);
	/* The host's table grows, and every walk with it. */
	for (int i = 0; i < 10; i++)
		choice_walked(100 * MILLISECOND);
	assert_int_equal(choose(MANY), COUNTERS_WALKS);
	/* The namespace grows. */
	know(10 * MANY);
	assert_int_equal(choose(10 * MANY), COUNTERS_WALK_CHEAPER);
}

/* Reads at a tenth of a walk's cost are worth it if one of ten succeeds. */
static void
test_reads_that_rarely_succeed(void **state)
{
	unsigned int tried = 0, snapshots = 200;

	(void)state;
	begin(RECORD_WAY_UNSPECIFIED, MANY, 20 * MILLISECOND);
	for (unsigned int i = 0; i < snapshots; i++) {
		if (choose(MANY) == COUNTERS_WALKS) {
			tried++;
			choice_read(2 * MILLISECOND, MANY, false);
		}
		choice_walked(20 * MILLISECOND);
	}
	/* First some, then one in so many, so that it is seen when that changes. */
	assert_in_range(tried, 10, snapshots / 3);
	while (choose(MANY) != COUNTERS_WALKS)
		choice_walked(20 * MILLISECOND);
	for (unsigned int i = 0; i < 10; i++) {
		choice_read(2 * MILLISECOND, MANY, true);
		assert_int_equal(choose(MANY), COUNTERS_WALKS);
	}
}

/* Neither is judged by what it cost long ago. */
static void
test_each_is_measured_from_time_to_time(void **state)
{
	unsigned int reads = 0, walks = 0;

	(void)state;
	begin(RECORD_WAY_UNSPECIFIED, MANY, 20 * MILLISECOND);
	for (; choose(MANY) == COUNTERS_WALKS && reads < 1000; reads++)
		choice_read(2 * MILLISECOND, MANY, true);
	/* A walk between reads that cost a tenth of it is worth a small part of their time. */
	assert_in_range(reads, 200, 400);
	assert_int_equal(choose(MANY), COUNTERS_WALK_MEASURED);
	choice_walked(20 * MILLISECOND);
	assert_int_equal(choose(MANY), COUNTERS_WALKS);
	/* The reads were dear once. */
	for (unsigned int i = 0; i < 20; i++)
		choice_read(40 * MILLISECOND, MANY, true);
	for (; choose(MANY) == COUNTERS_WALK_CHEAPER && walks < 1000; walks++)
		choice_walked(20 * MILLISECOND);
	assert_in_range(walks, 32, 128);
	/* But what is far from it is not tried for ever. */
	for (unsigned int i = 0; i < 20; i++)
		choice_read(400 * MILLISECOND, MANY, true);
	for (unsigned int i = 0; i < 1000; i++, choice_walked(20 * MILLISECOND))
		assert_int_equal(choose(MANY), COUNTERS_WALK_CHEAPER);
}

/* How many reads of so long come before a walk of so long is measured again. */
static unsigned int
reads_before_a_walk(uint64_t read, uint64_t walk)
{
	unsigned int reads = 0;

	choice_walked(walk);
	for (; choose(MANY) != COUNTERS_WALK_MEASURED; reads++)
		choice_read(read, MANY, true);
	return reads;
}

/* What no count tells of is found after a bounded number of reads. */
static void
test_a_walk_is_never_far(void **state)
{
	(void)state;
	begin(RECORD_WAY_UNSPECIFIED, MANY, 20 * MILLISECOND);
	assert_in_range(reads_before_a_walk(20 * MILLISECOND, 20 * MILLISECOND), 64, 64);
	begin(RECORD_WAY_UNSPECIFIED, MANY, 20 * MILLISECOND);
	assert_in_range(reads_before_a_walk(1 * MILLISECOND, 5000 * MILLISECOND), 512, 512);
}

/* The clock of CPU time is read for some of the reads, and always for the first after a walk. */
static void
test_some_reads_are_measured(void **state)
{
	unsigned int measured = 0;

	(void)state;
	begin(RECORD_WAY_UNSPECIFIED, MANY, 20 * MILLISECOND);
	assert_true(choice_measures_reads());
	for (unsigned int i = 0; i < 64; i++) {
		bool measures = choice_measures_reads();

		measured += measures;
		choice_read(measures ? 2 * MILLISECOND : 0, MANY, true);
	}
	assert_in_range(measured, 4, 16);
	choice_walked(20 * MILLISECOND);
	assert_true(choice_measures_reads());
	/* They have become dear, and those that are not measured say nothing of that. */
	choice_read(400 * MILLISECOND, MANY, true);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(choose(MANY), COUNTERS_WALK_CHEAPER);
		choice_read(0, MANY, true);
	}
}

/* Namespaces that start together do not walk together, but for the first time, when they must. */
static void
test_the_phase(void **state)
{
	unsigned int first[2], second[2];

	(void)state;
	for (unsigned int phase = 0; phase < 2; phase++) {
		choice_init(RECORD_WAY_UNSPECIFIED, true, 10 * phase);
		know(MANY);
		first[phase] = reads_before_a_walk(2 * MILLISECOND, 20 * MILLISECOND);
		second[phase] = reads_before_a_walk(2 * MILLISECOND, 20 * MILLISECOND);
	}
	assert_int_equal(first[0], first[1] + 10);
	assert_int_equal(second[0], second[1]);
}

static void
test_one_way_is_forced(void **state)
{
	(void)state;
	begin(RECORD_WAY_WALK, MANY, 20 * MILLISECOND);
	assert_int_equal(choose(MANY), COUNTERS_WALK_FORCED);
	begin(RECORD_WAY_TARGETED, MANY, 1);
	for (unsigned int i = 0; i < 300; i++) {
		assert_int_equal(choose(MANY), COUNTERS_WALKS);
		choice_read(SECOND, MANY, true);
	}
	/* But not where it could not be complete. */
	assert_int_equal(choose(MANY + 1), COUNTERS_WALK_NEW);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_known_at_first),
		cmocka_unit_test(test_what_cannot_be_proved_is_not_tried),
		cmocka_unit_test(test_the_cheaper_one_by_what_it_cost),
		cmocka_unit_test(test_reads_that_rarely_succeed),
		cmocka_unit_test(test_each_is_measured_from_time_to_time),
		cmocka_unit_test(test_some_reads_are_measured),
		cmocka_unit_test(test_a_walk_is_never_far),
		cmocka_unit_test(test_the_phase),
		cmocka_unit_test(test_one_way_is_forced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
