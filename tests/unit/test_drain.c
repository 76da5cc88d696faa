/*
 * The drain, with real rings: everything comes out once and under the right
 * name; a slow sink, a dead shipper and a hostile collector cost only what
 * they must.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/ring.h"
#include "shipper/drain.h"
#include "tests/unit/shipper_parts.h"

enum { LOG_MAX = 128, RECORD_LENGTH = 64 };

/* What the drain said, in order. */
struct said {
	uint64_t	epochs[LOG_MAX];
	size_t		count;
};

struct fixture {
	struct event_base	*base;
	struct books		 books;
	struct delivery_options	 with;
	bool			 no_ends;
	struct delivery		*delivery;
	struct drain		*drain;
	struct fake_sink	*sink;
	struct said		 drained, hostile;
	unsigned int		 finished, failed;
};

/* The namespacer's and the collector's halves of a ring. */
struct collector {
	struct ring_memory	memory;
	struct ring_producer	producer;
	int			bells[2];	/* the collector's, the shipper's */
	uint64_t		epoch;
	uint64_t		sequence;
};

static void
said_add(struct said *said, uint64_t epoch)
{
	assert_true(said->count < LOG_MAX);
	said->epochs[said->count++] = epoch;
}

static void
on_drained(void *context, uint64_t epoch)
{
	said_add(&((struct fixture *)context)->drained, epoch);
}

static void
on_hostile(void *context, uint64_t epoch)
{
	said_add(&((struct fixture *)context)->hostile, epoch);
}

static void
on_finished(void *context)
{
	((struct fixture *)context)->finished++;
}

static void
on_failed(void *context)
{
	((struct fixture *)context)->failed++;
}

static void
begin(struct fixture *f)
{
	struct drain_options options = {
		.books = &f->books,
		.snapshot_ends = !f->no_ends,
		.identity = { .version = "1", .hostname = "host" },
		.events = { on_drained, on_hostile, on_finished, on_failed, f },
	};

	f->base = event_base_new();
	f->with.base = f->base;
	f->with.books = &f->books;
	if (f->with.limits.rows == 0)
		f->with.limits = (struct batch_limits){ .rows = 10000, .bytes = 1 << 20 };
	if (f->with.age == 0)
		f->with.age = MILLISECOND;
	f->delivery = parts_delivery(&f->with);
	f->sink = fake_last;
	options.base = f->base;
	options.delivery = f->delivery;
	f->drain = drain_new(&options);
}

static void
end(struct fixture *f)
{
	const struct books *books = &f->books;

	assert_int_equal(books->drained,
	    books->delivered + books->filtered + books_dropped(books) + delivery_held(f->delivery));
	drain_free(f->drain);
	delivery_free(f->delivery);
	event_base_free(f->base);
}

static void
collector_make(struct collector *c, uint64_t epoch)
{
	*c = (struct collector){ .epoch = epoch };
	assert_int_equal(ring_create(&c->memory, &c->producer, RING_SIZE_MIN), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->bells), 0);
}

static void
collector_free(struct collector *c)
{
	ring_memory_close(&c->memory);
	ring_producer_unmap(&c->producer);
	fd_close(&c->bells[0]);
	fd_close(&c->bells[1]);
}

static struct protocol_ring
message_of(const struct collector *c)
{
	struct protocol_ring message = { .epoch = c->epoch, .cookie = c->epoch + 1, .inode = c->epoch + 2, .size = c->memory.size };

	snprintf(message.name, sizeof(message.name), "ns%llu", (unsigned long long)c->epoch);
	return message;
}

/* Hands copies over, as a message does. */
static const char *
hand_over(struct fixture *f, const struct collector *c, const struct protocol_ring *message)
{
	const int fds[DRAIN_RING_FDS] = {
		fcntl(c->memory.data_fd, F_DUPFD_CLOEXEC, 0), fcntl(c->memory.control_fd, F_DUPFD_CLOEXEC, 0),
		fcntl(c->bells[1], F_DUPFD_CLOEXEC, 0)
	};

	return drain_add(f->drain, message, fds);
}

static void
collector_start(struct fixture *f, struct collector *c, uint64_t epoch)
{
	struct protocol_ring message;

	collector_make(c, epoch);
	message = message_of(c);
	assert_null(hand_over(f, c, &message));
}

static void
collector_ring(struct collector *c)
{
	(void)send(c->bells[0], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* False: no room. */
static bool
collector_put(struct collector *c, enum record_kind kind)
{
	uint8_t record[RECORD_LENGTH], *place;
	size_t length = parts_record(record, c->sequence + 1, kind), prefix;

	if (ring_reserve(&c->producer, RECORD_LENGTH, &place) != RING_OK)
		return false;
	prefix = varint_write(place, length);
	memcpy(place + prefix, record, length);
	ring_commit(&c->producer, prefix + length);
	c->sequence++;
	return true;
}

static void
collector_publish(struct collector *c)
{
	if (ring_publish(&c->producer))
		collector_ring(c);
}

static void
collector_write(struct collector *c, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		assert_true(collector_put(c, RECORD_KIND_SOCKET));
	collector_publish(c);
}

/* Bytes that are no record, behind a length that is right. */
static void
collector_write_bytes(struct collector *c, const void *bytes, size_t length)
{
	uint8_t *place;

	assert_int_equal(ring_reserve(&c->producer, length + 2, &place), RING_OK);
	place += varint_write(place, length);
	memcpy(place, bytes, length);
	ring_commit(&c->producer, length + (length < 128 ? 1 : 2));
	collector_publish(c);
}

/* How many records of an epoch were delivered; they are consecutive from first. */
static size_t
delivered_of(const struct fixture *f, uint64_t epoch, uint64_t first)
{
	struct parts_read *read = malloc(sizeof(*read));
	size_t count = 0;

	parts_read(read, &f->sink->delivered);
	for (size_t i = 0; i < read->count; i++)
		if (read->epochs[i] == epoch)
			assert_int_equal(read->sequences[i], first + count++);
	free(read);
	return count;
}

static size_t
descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

/* --- what is drained ------------------------------------------------------------------- */

static void
check_identity(void *context, const struct record *record)
{
	const uint64_t epoch = parts_number(record, RECORD_F_collector_epoch);
	char name[32];

	(void)context;
	snprintf(name, sizeof(name), "ns%llu", (unsigned long long)epoch);
	assert_int_equal(record->values[RECORD_F_netns].number, strlen(name));
	assert_memory_equal(record->values[RECORD_F_netns].bytes, name, strlen(name));
	assert_int_equal(parts_number(record, RECORD_F_netns_cookie), epoch + 1);
	assert_int_equal(parts_number(record, RECORD_F_netns_inode), epoch + 2);
	assert_memory_equal(record->values[RECORD_F_hostname].bytes, "host", 4);
}

static void
test_records_come_out_in_order_under_their_own_name(void **state)
{
	struct fixture f = { 0 };
	struct collector a, b;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 100);
	collector_start(&f, &b, 200);
	for (int i = 0; i < 20; i++) {
		collector_write(&a, 50);
		collector_write(&b, 7);
		loop_until(f.base, f.books.delivered == (unsigned int)(i + 1) * 57);
	}
	assert_int_equal(delivered_of(&f, 100, 1), 1000);
	assert_int_equal(delivered_of(&f, 200, 1), 140);
	assert_int_equal(format_each(f.sink->delivered.bytes, f.sink->delivered.length, check_identity, NULL), 1140);
	end(&f);
	collector_free(&a);
	collector_free(&b);
}

/* Nobody rings: the second one is found by the slow timer. */
static void
test_a_lost_wake_up_is_no_lost_record(void **state)
{
	struct fixture f = { 0 };
	struct collector a;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 1);
	collector_write(&a, 1);
	loop_until(f.base, f.books.delivered == 1);
	assert_true(collector_put(&a, RECORD_KIND_SOCKET));
	assert_true(ring_publish(&a.producer));
	loop_until(f.base, f.books.delivered == 2);
	end(&f);
	collector_free(&a);
}

static void
test_snapshot_ends_are_filtered_and_given_back(void **state)
{
	struct fixture f = { .no_ends = true };
	struct collector a;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 1);
	/* Alone, behind a record, and before one. */
	assert_true(collector_put(&a, RECORD_KIND_SNAPSHOT_END));
	collector_publish(&a);
	loop_until(f.base, f.books.filtered == 1);
	assert_int_equal(atomic_load(&a.producer.peer->position), a.producer.position);
	assert_true(collector_put(&a, RECORD_KIND_SOCKET));
	assert_true(collector_put(&a, RECORD_KIND_CLOSED));
	assert_true(collector_put(&a, RECORD_KIND_SNAPSHOT_END));
	collector_publish(&a);
	loop_until(f.base, f.books.delivered == 2);
	assert_int_equal(f.books.filtered, 2);
	assert_int_equal(atomic_load(&a.producer.peer->position), a.producer.position);
	end(&f);
	collector_free(&a);
}

static void
test_snapshot_ends_are_delivered(void **state)
{
	struct fixture f = { 0 };
	struct collector a;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 1);
	assert_true(collector_put(&a, RECORD_KIND_SNAPSHOT_END));
	collector_publish(&a);
	loop_until(f.base, f.books.delivered == 1);
	assert_int_equal(f.books.filtered, 0);
	end(&f);
	collector_free(&a);
}

/* --- fairness ----------------------------------------------------------------------------- */

/* Two rings are full, a third has one record: it waits for their first portions only. */
static void
test_a_full_ring_does_not_keep_others_waiting(void **state)
{
	struct fixture f = { 0 };
	struct parts_read *read = malloc(sizeof(*read));
	struct collector c[3];
	size_t i;

	(void)state;
	begin(&f);
	for (i = 0; i < 3; i++)
		collector_start(&f, &c[i], i + 1);
	loop_some(f.base);
	for (i = 0; i < 2; i++)
		while (collector_put(&c[i], RECORD_KIND_SOCKET))
			continue;
	collector_put(&c[2], RECORD_KIND_SOCKET);
	for (i = 0; i < 3; i++)
		collector_publish(&c[i]);
	assert_true(c[0].sequence > 4 * DRAIN_TURN_RECORDS);
	loop_until(f.base, f.books.delivered == c[0].sequence + c[1].sequence + 1);
	parts_read(read, &f.sink->delivered);
	for (i = 0; read->epochs[i] != 3; i++)
		continue;
	assert_int_equal(i, 2 * DRAIN_TURN_RECORDS);
	/* And the two take turns. */
	assert_int_equal(read->epochs[0], 1);
	assert_int_equal(read->epochs[DRAIN_TURN_RECORDS], 2);
	assert_int_equal(read->epochs[2 * DRAIN_TURN_RECORDS + 1], 1);
	free(read);
	end(&f);
	for (i = 0; i < 3; i++)
		collector_free(&c[i]);
}

static void
count_call(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	++*(unsigned int *)context;
}

/* While collectors write without end, the rest of the loop has its turns. */
static void
test_draining_yields_to_the_loop(void **state)
{
	struct fixture f = { 0 };
	struct collector c[4];
	unsigned int calls = 0;
	struct event *other;
	int pipes[2];
	size_t i;

	(void)state;
	begin(&f);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(write(pipes[1], "x", 1), 1);
	other = event_new(f.base, pipes[0], EV_READ | EV_PERSIST, count_call, &calls);
	event_add(other, NULL);
	for (i = 0; i < 4; i++) {
		collector_start(&f, &c[i], i + 1);
		while (collector_put(&c[i], RECORD_KIND_SOCKET))
			continue;
		collector_publish(&c[i]);
	}
	loop_until(f.base, f.books.drained == c[0].sequence * 4);
	/* Each pass of the loop drains DRAIN_TURNS portions at most. */
	assert_true(calls >= f.books.drained / (DRAIN_TURNS * DRAIN_TURN_RECORDS));
	assert_true(calls >= 1);
	event_free(other);
	close(pipes[0]);
	close(pipes[1]);
	end(&f);
	for (i = 0; i < 4; i++)
		collector_free(&c[i]);
}

static void
test_one_pass_is_bounded(void **state)
{
	struct fixture f = { 0 };
	struct collector c[8];
	size_t i;

	(void)state;
	begin(&f);
	for (i = 0; i < 8; i++) {
		collector_start(&f, &c[i], i + 1);
		while (collector_put(&c[i], RECORD_KIND_SOCKET))
			continue;
		collector_publish(&c[i]);
	}
	assert_true(8 * c[0].sequence > 2 * DRAIN_TURNS * DRAIN_TURN_RECORDS);
	while (f.books.drained == 0)
		event_base_loop(f.base, EVLOOP_ONCE);
	assert_true(f.books.drained <= DRAIN_TURNS * DRAIN_TURN_RECORDS);
	loop_until(f.base, f.books.delivered == 8 * c[0].sequence);
	end(&f);
	for (i = 0; i < 8; i++)
		collector_free(&c[i]);
}

/* --- giving back ------------------------------------------------------------------------------ */

static void
test_bytes_are_given_back_when_acknowledged_and_not_before(void **state)
{
	struct fixture f = { 0 };
	struct collector a;
	uint64_t first;

	(void)state;
	begin(&f);
	f.sink->hold = true;
	collector_start(&f, &a, 1);
	collector_write(&a, 10);
	first = a.producer.position;
	loop_until(f.base, f.sink->bytes != NULL);
	collector_write(&a, 5);
	loop_until(f.base, f.books.drained == 15);
	loop_some(f.base);
	assert_int_equal(atomic_load(&a.producer.peer->position), 0);
	fake_answer(f.sink, SINK_DELIVERED);
	assert_int_equal(atomic_load(&a.producer.peer->position), first);
	loop_until(f.base, f.sink->bytes != NULL);
	fake_answer(f.sink, SINK_DELIVERED);
	assert_int_equal(atomic_load(&a.producer.peer->position), a.producer.position);
	end(&f);
	collector_free(&a);
}

/* The batch would wait for an hour, and the collector with it. */
static void
test_a_waiting_collector_flushes_and_is_rung(void **state)
{
	struct fixture f = { .with = { .age = HOUR } };
	struct collector a;
	char byte;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 1);
	loop_some(f.base);
	while (collector_put(&a, RECORD_KIND_SOCKET))
		continue;
	collector_publish(&a);
	assert_true(ring_start_waiting(&a.producer, RECORD_LENGTH));
	loop_until(f.base, recv(a.bells[0], &byte, 1, MSG_DONTWAIT) == 1);
	assert_false(ring_start_waiting(&a.producer, RECORD_LENGTH));
	assert_true(f.books.delivered > a.sequence / 2);
	end(&f);
	collector_free(&a);
}

static void
test_little_in_a_ring_waits_for_its_batch(void **state)
{
	struct fixture f = { .with = { .age = HOUR } };
	struct collector a;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 1);
	collector_write(&a, 100);
	loop_until(f.base, f.books.drained == 100);
	loop_some(f.base);
	assert_int_equal(f.sink->deliveries, 0);
	end(&f);
	collector_free(&a);
}

/* Nothing is lost while the sink takes nothing, and it goes on by itself. */
static void
test_a_sink_that_stands_still_stops_the_draining(void **state)
{
	struct fixture f = { .with = { .limits = { .rows = 20, .bytes = 1 << 20 } } };
	struct collector a, b;

	(void)state;
	begin(&f);
	f.sink->hold = true;
	collector_start(&f, &a, 1);
	collector_start(&f, &b, 2);
	collector_write(&a, 300);
	collector_write(&b, 300);
	loop_until(f.base, f.books.drained == 20 * DELIVERY_BATCHES);
	loop_some(f.base);
	assert_int_equal(f.books.drained, 20 * DELIVERY_BATCHES);
	assert_int_equal(f.sink->deliveries, 1);
	fake_let_go(f.sink);
	loop_until(f.base, f.books.delivered == 600);
	assert_int_equal(delivered_of(&f, 1, 1), 300);
	assert_int_equal(delivered_of(&f, 2, 1), 300);
	end(&f);
	collector_free(&a);
	collector_free(&b);
}

/* --- restarts -------------------------------------------------------------------------------- */

/* The next shipper begins behind what was acknowledged: nothing is lost, and nothing acknowledged comes again. */
static void
test_the_next_shipper_goes_on_where_the_last_one_was(void **state)
{
	struct fixture f = { 0 }, g = { 0 };
	struct protocol_ring message;
	struct collector a;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 1);
	collector_write(&a, 40);
	loop_until(f.base, f.books.delivered == 40);
	f.sink->hold = true;
	collector_write(&a, 60);
	loop_until(f.base, f.sink->bytes != NULL);
	end(&f); /* dies with 60 drained and not acknowledged */

	begin(&g);
	message = message_of(&a);
	assert_null(hand_over(&g, &a, &message));
	collector_write(&a, 1);
	loop_until(g.base, g.books.delivered == 61);
	assert_int_equal(delivered_of(&g, 1, 41), 61);
	end(&g);
	collector_free(&a);
}

static void
test_an_orphan_of_another_shipper_is_drained(void **state)
{
	struct fixture f = { 0 };
	struct protocol_ring message;
	struct collector a;

	(void)state;
	collector_make(&a, 7);
	collector_write(&a, 10);
	begin(&f);
	message = message_of(&a);
	message.ended = 1;
	assert_null(hand_over(&f, &a, &message));
	loop_until(f.base, f.drained.count == 1);
	assert_int_equal(f.drained.epochs[0], 7);
	assert_int_equal(f.books.delivered, 10);
	assert_int_equal(drain_rings(f.drain), 0);
	end(&f);
	collector_free(&a);
}

static void
test_an_ended_ring_is_reported_when_it_is_delivered(void **state)
{
	struct fixture f = { 0 };
	struct collector a;
	size_t before;

	(void)state;
	begin(&f);
	before = descriptors();
	f.sink->hold = true;
	collector_start(&f, &a, 7);
	collector_write(&a, 10);
	assert_true(drain_ended(f.drain, 7));
	loop_until(f.base, f.sink->bytes != NULL);
	loop_some(f.base);
	assert_int_equal(f.drained.count, 0);
	fake_answer(f.sink, SINK_DELIVERED);
	assert_int_equal(f.drained.count, 1);
	assert_int_equal(drain_rings(f.drain), 0);
	assert_false(drain_ended(f.drain, 7));
	collector_free(&a);
	assert_int_equal(descriptors(), before);
	end(&f);
}

/* A hijacked collector's child could write on; its ring ends where it ended. */
static void
test_an_ended_ring_ends(void **state)
{
	struct fixture f = { 0 };
	struct collector a;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 7);
	collector_write(&a, 10);
	assert_true(drain_ended(f.drain, 7));
	collector_write(&a, 10);
	loop_until(f.base, f.drained.count == 1);
	assert_int_equal(f.books.delivered, 10);
	end(&f);
	collector_free(&a);
}

static void
test_rings_of_a_namespacer_that_has_gone(void **state)
{
	struct fixture f = { 0 };
	struct collector a, b;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 7);
	collector_start(&f, &b, 8);
	collector_write(&a, 10);
	drain_orphan(f.drain);
	/* A collector writes until the signal has reached it. */
	collector_write(&b, 5);
	fd_close(&a.bells[0]);
	fd_close(&b.bells[0]);
	loop_until(f.base, drain_rings(f.drain) == 0);
	assert_int_equal(f.books.delivered, 15);
	assert_int_equal(f.drained.count, 0); /* there is nobody to tell */
	end(&f);
	collector_free(&a);
	collector_free(&b);
}

static void
test_an_orphan_whose_bell_stays_open_is_freed_too(void **state)
{
	struct fixture f = { 0 };
	struct collector a;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 7);
	drain_orphan(f.drain);
	loop_until(f.base, drain_rings(f.drain) == 0);
	end(&f);
	collector_free(&a);
}

/* The same namespacer comes back at once: its rings are the ones that are here, and nothing comes twice. */
static void
test_an_orphan_that_is_handed_over_again_is_kept(void **state)
{
	struct fixture f = { 0 };
	struct protocol_ring message;
	struct collector a;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 7);
	f.sink->hold = true;
	collector_write(&a, 10);
	loop_until(f.base, f.sink->bytes != NULL);
	drain_orphan(f.drain);
	message = message_of(&a);
	assert_null(hand_over(&f, &a, &message));
	assert_int_equal(drain_rings(f.drain), 1);
	collector_write(&a, 10);
	fake_let_go(f.sink);
	loop_until(f.base, f.books.delivered == 20);
	assert_int_equal(delivered_of(&f, 7, 1), 20);
	assert_true(drain_ended(f.drain, 7));
	loop_until(f.base, f.drained.count == 1);
	end(&f);
	collector_free(&a);
}

/* --- the end ------------------------------------------------------------------------------------- */

static void
test_finish_takes_what_is_there(void **state)
{
	struct fixture f = { .with = { .age = HOUR } };
	struct collector a, b;

	(void)state;
	begin(&f);
	collector_start(&f, &a, 1);
	collector_start(&f, &b, 2);
	loop_some(f.base);
	f.sink->hold = true;
	/* Without a wake-up, too. */
	for (int i = 0; i < 10; i++)
		assert_true(collector_put(&a, RECORD_KIND_SOCKET));
	ring_publish(&a.producer);
	drain_finish(f.drain);
	collector_write(&b, 10);
	loop_until(f.base, f.sink->bytes != NULL);
	loop_some(f.base);
	assert_int_equal(f.finished, 0);
	fake_answer(f.sink, SINK_DELIVERED);
	loop_until(f.base, f.finished == 1);
	assert_int_equal(f.books.delivered, 10);
	assert_int_equal(atomic_load(&b.producer.peer->position), 0); /* for the next shipper */
	loop_some(f.base);
	assert_int_equal(f.finished, 1);
	end(&f);
	collector_free(&a);
	collector_free(&b);
}

static void
test_finish_with_nothing(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	begin(&f);
	drain_finish(f.drain);
	assert_int_equal(f.finished, 0);
	loop_some(f.base); /* at once, not at the next tick */
	assert_int_equal(f.finished, 1);
	end(&f);
}

static void
test_a_sink_that_fails_is_said(void **state)
{
	struct fixture f = { .with = { .once = true } };
	struct collector a;

	(void)state;
	begin(&f);
	f.sink->refuse = 1;
	collector_start(&f, &a, 1);
	collector_write(&a, 10);
	loop_until(f.base, f.failed == 1);
	assert_int_equal(atomic_load(&a.producer.peer->position), 0);
	end(&f);
	collector_free(&a);
}

/* --- hostile collectors ------------------------------------------------------------------------------ */

/* The good one goes on; the bad one is named, once, and read no more. */
static void
assert_only_the_bad_one_is_closed(struct fixture *f, struct collector *good, struct collector *bad)
{
	loop_until(f->base, f->hostile.count == 1);
	assert_int_equal(f->hostile.epochs[0], bad->epoch);
	collector_ring(bad);
	collector_write(good, 10);
	loop_until(f->base, f->books.delivered >= good->sequence + bad->sequence);
	assert_int_equal(delivered_of(f, good->epoch, 1), good->sequence);
	assert_int_equal(delivered_of(f, bad->epoch, 1), bad->sequence);
	assert_int_equal(f->hostile.count, 1);
	assert_int_equal(f->books.hostile, 1);
	/* Its end is reported like any other's. */
	assert_true(drain_ended(f->drain, bad->epoch));
	loop_until(f->base, f->drained.count == 1);
	assert_int_equal(drain_rings(f->drain), 1);
}

static const struct {
	const char	*bytes;
	size_t		 length;
} bad_records[] = {
	{ "\xf2\x01\x05\x6fther", 8 },		/* field 30: another namespace's name */
	{ "\xb0\x38\x07", 3 },			/* field 902: another's epoch */
	{ "\x50\x01\x50\x02", 4 },		/* the same field twice */
	{ "\xff\xff\xff\xff", 4 },
	{ "\x50", 1 },				/* a field without a value */
	{ "\xa2\x51\xff\x7f\x63ubic", 9 },	/* a string that is longer than the record */
};

static void
test_a_record_that_is_none(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_records) / sizeof(bad_records[0]); i++) {
		struct fixture f = { 0 };
		struct collector good, evil;

		begin(&f);
		collector_start(&f, &good, 1);
		collector_start(&f, &evil, 2);
		collector_write(&good, 3);
		collector_write(&evil, 3); /* these were well-formed, and are delivered */
		collector_write_bytes(&evil, bad_records[i].bytes, bad_records[i].length);
		assert_only_the_bad_one_is_closed(&f, &good, &evil);
		assert_int_equal(f.books.dropped[BOOKS_DROP_HOSTILE], 1);
		end(&f);
		collector_free(&good);
		collector_free(&evil);
	}
}

static void
test_a_position_that_cannot_be(void **state)
{
	static const uint64_t ahead[] = { RING_SIZE_MIN + 1, UINT64_MAX, UINT64_MAX / 2, (uint64_t)1 << 63 };

	(void)state;
	for (size_t i = 0; i < sizeof(ahead) / sizeof(ahead[0]); i++) {
		struct fixture f = { 0 };
		struct collector good, evil;

		begin(&f);
		collector_start(&f, &good, 1);
		collector_start(&f, &evil, 2);
		loop_some(f.base);
		atomic_store(&evil.producer.own->position, ahead[i]);
		collector_ring(&evil);
		assert_only_the_bad_one_is_closed(&f, &good, &evil);
		end(&f);
		collector_free(&good);
		collector_free(&evil);
	}
}

static void
test_a_length_that_cannot_be(void **state)
{
	static const char *const lengths[] = { "\x00", "\x80", "\xff\x7f", "\x80\x80\x01", "\x81\x00", "\x7f" };

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t length = i == 0 ? 1 : strlen(lengths[i]);
		struct fixture f = { 0 };
		struct collector good, evil;
		uint8_t *place;

		if (i == 4)
			length = 2;
		begin(&f);
		collector_start(&f, &good, 1);
		collector_start(&f, &evil, 2);
		assert_int_equal(ring_reserve(&evil.producer, 16, &place), RING_OK);
		memcpy(place, lengths[i], length);
		ring_commit(&evil.producer, length);
		collector_publish(&evil);
		assert_only_the_bad_one_is_closed(&f, &good, &evil);
		end(&f);
		collector_free(&good);
		collector_free(&evil);
	}
}

/* It rings and rings; after a while nobody listens, and what it does write is found all the same. */
static void
test_a_doorbell_that_never_stops(void **state)
{
	struct fixture f = { 0 };
	struct collector evil;

	(void)state;
	begin(&f);
	collector_start(&f, &evil, 2);
	loop_some(f.base);
	while (f.books.muted == 0) {
		collector_ring(&evil);
		event_base_loop(f.base, EVLOOP_NONBLOCK);
	}
	collector_write(&evil, 3);
	loop_until(f.base, f.books.delivered == 3);
	/* That was the tick, which gives the doorbell another chance, too. */
	collector_write(&evil, 1);
	loop_some(f.base);
	assert_int_equal(f.books.drained, 4);
	end(&f);
	collector_free(&evil);
}

/* Random bytes over all that it can map, and the doorbell, until it is killed. */
static _Noreturn void
run_amok(struct collector *evil, unsigned int seed)
{
	size_t length = RING_SIZE_MIN;
	uint8_t *page = (uint8_t *)evil->producer.own;

	srandom(seed);
	for (;;) {
		long r = random();

		switch (r % 4) {
		case 0:
			atomic_store(&evil->producer.own->position,
			    atomic_load(&evil->producer.peer->position) + (uint64_t)random() % RING_SIZE_MIN);
			break;
		case 1:
			atomic_store(&evil->producer.own->waiting, (uint32_t)random());
			break;
		case 2:
			for (int i = 0; i < 64; i++)
				evil->producer.data[(size_t)random() % length] = (uint8_t)random();
			break;
		default:
			page[(size_t)random() % (RING_COUNTERS_OFFSET + RING_COUNTERS_SIZE)] = (uint8_t)random();
			break;
		}
		collector_ring(evil);
	}
}

static void
test_a_collector_that_runs_amok(void **state)
{
	(void)state;
	for (unsigned int seed = 1; seed <= 5; seed++) {
		struct fixture f = { 0 };
		struct collector good, evil;
		pid_t pid;

		begin(&f);
		collector_start(&f, &good, 1);
		collector_start(&f, &evil, 2);
		if ((pid = fork()) == 0)
			run_amok(&evil, seed);
		assert_true(pid > 0);
		while (f.hostile.count == 0 || good.sequence < 1000) {
			collector_write(&good, 10);
			loop_until(f.base, f.books.drained >= good.sequence && delivery_held(f.delivery) == 0);
		}
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		loop_until(f.base, delivered_of(&f, 1, 1) == good.sequence);
		assert_int_equal(f.hostile.count, 1);
		assert_int_equal(f.hostile.epochs[0], 2);
		end(&f);
		collector_free(&good);
		collector_free(&evil);
	}
}

/* --- registrations that cannot be ------------------------------------------------------------------------ */

static void
assert_refused(struct fixture *f, const struct collector *c, const struct protocol_ring *message)
{
	size_t before = descriptors(), rings = drain_rings(f->drain);
	uint64_t refused = f->books.refused;

	assert_non_null(hand_over(f, c, message));
	assert_int_equal(descriptors(), before);
	assert_int_equal(drain_rings(f->drain), rings);
	assert_int_equal(f->books.refused, refused + 1);
}

/* Only this ring is not read: names are other people's, and no fault of the namespacer's. */
static void
assert_declined(struct fixture *f, const struct collector *c, const struct protocol_ring *message)
{
	size_t before = descriptors(), rings = drain_rings(f->drain), hostile = f->hostile.count;
	uint64_t refused = f->books.refused;

	assert_null(hand_over(f, c, message));
	assert_int_equal(descriptors(), before);
	assert_int_equal(drain_rings(f->drain), rings);
	assert_int_equal(f->books.refused, refused + 1);
	assert_int_equal(f->hostile.count, hostile + 1);
	assert_int_equal(f->hostile.epochs[hostile], message->epoch);
}

/* --- the accounts ----------------------------------------------------------------------- */

/* The end of a snapshot, as a collector writes it. */
static size_t
end_record(uint8_t *to, enum record_way way, enum record_outcome outcome, uint64_t duration)
{
	size_t n = 0;
	const uint64_t fields[][2] = {
		{ RECORD_N_timestamp_ns, 1 }, { RECORD_N_record_kind, RECORD_KIND_SNAPSHOT_END }, { RECORD_N_record_sequence, 1 },
		{ RECORD_N_snapshot_way, way }, { RECORD_N_snapshot_outcome, outcome }, { RECORD_N_snapshot_duration_ns, duration },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		n += varint_write(to + n, fields[i][0] << 3);
		n += varint_write(to + n, fields[i][1]);
	}
	return n;
}

static void
test_accounts_of_rings(void **state)
{
	struct fixture f = { 0 };
	struct collector a, bad;
	struct drain_figures figures;
	const struct accounts *accounts;
	uint8_t record[64];
	uint64_t before;

	(void)state;
	begin(&f);
	f.sink->hold = true;
	collector_start(&f, &a, 1);
	before = clock_real();
	collector_write(&a, 40);
	collector_write_bytes(&a, record, end_record(record, RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, 70));
	collector_write_bytes(&a, record, end_record(record, RECORD_WAY_SKIP, RECORD_OUTCOME_DEADLINE, 5));
	((struct counters *)ring_counters(&a.producer))->encoded = 40;
	loop_until(f.base, f.books.drained == 42);
	accounts = drain_accounts(f.drain, &figures);
	assert_int_equal(figures.rings, 1);
	assert_int_equal(figures.bytes, RING_SIZE_MIN);
	assert_int_equal(figures.unread, 0);
	assert_int_equal(figures.held, accounts->total.published);
	assert_int_equal(figures.fullest, figures.held * SECOND / RING_SIZE_MIN);
	assert_true(figures.oldest_snapshot >= before && figures.oldest_snapshot <= clock_real());
	assert_int_equal(accounts->total.published, a.producer.position);
	assert_int_equal(accounts->total.read, a.producer.position);
	assert_int_equal(accounts->total.outcomes[RECORD_OUTCOME_COMPLETE], 1);
	assert_int_equal(accounts->total.outcomes[RECORD_OUTCOME_DEADLINE], 1);
	assert_int_equal(accounts->total.ways[RECORD_WAY_WALK], 1);
	assert_int_equal(accounts->total.ways[RECORD_WAY_SKIP], 1);
	assert_int_equal(accounts->total.duration, 75);
	assert_int_equal(accounts->total.word.encoded, 40);
	/* Longer than it can have been: the sum stays as it is. */
	for (int i = 0; i < 3; i++)
		collector_write_bytes(&a, record, end_record(record, RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, (i + 1) * 10 * HOUR));
	collector_write_bytes(&a, record, end_record(record, RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, UINT64_MAX));
	fake_let_go(f.sink);
	loop_until(f.base, f.books.drained == 46);
	accounts = drain_accounts(f.drain, &figures);
	assert_int_equal(accounts->total.ways[RECORD_WAY_WALK], 5);
	assert_int_equal(accounts->total.duration, 75 + 10 * HOUR);
	/* A hostile one: what stands behind its bad record is never read. */
	collector_start(&f, &bad, 2);
	collector_put(&bad, RECORD_KIND_SOCKET);
	collector_write_bytes(&bad, "\xff\xff\xff\xff", 4);
	collector_write(&bad, 3);
	loop_until(f.base, f.books.hostile == 1);
	accounts = drain_accounts(f.drain, &figures);
	assert_int_equal(figures.rings, 1);
	assert_int_equal(accounts->total.dropped, 1);
	assert_int_equal(accounts->total.published, accounts->total.read + accounts->total.abandoned);
	assert_int_equal(accounts->total.published, a.producer.position + bad.producer.position);
	/* The rings go, the sums stay. */
	drain_ended(f.drain, 1);
	drain_ended(f.drain, 2);
	loop_until(f.base, f.drained.count == 2);
	accounts = drain_accounts(f.drain, &figures);
	assert_int_equal(figures.rings + figures.oldest_snapshot + figures.held, 0);
	assert_int_equal(accounts->total.published, a.producer.position + bad.producer.position);
	assert_int_equal(accounts->total.drained, f.books.drained);
	assert_int_equal(accounts->total.word.encoded, 40);
	collector_free(&a);
	collector_free(&bad);
	end(&f);
}

static void
test_a_collector_that_waits_is_seen(void **state)
{
	struct fixture f = { 0 };
	struct collector c;
	struct drain_figures figures;

	(void)state;
	begin(&f);
	collector_start(&f, &c, 1);
	loop_some(f.base);
	(void)drain_accounts(f.drain, &figures);
	assert_int_equal(figures.waiting, 0);
	atomic_store(&c.producer.own->waiting, 1);
	(void)drain_accounts(f.drain, &figures);
	assert_int_equal(figures.waiting, 1);
	collector_free(&c);
	end(&f);
}

static void
test_bad_names(void **state)
{
	struct fixture f = { 0 };
	struct protocol_ring good, bad;
	struct collector a;

	(void)state;
	begin(&f);
	collector_make(&a, 5);
	good = message_of(&a);
	bad = good;
	bad.name[0] = '\0';
	assert_declined(&f, &a, &bad);
	bad = good;
	memset(bad.name, 'x', sizeof(bad.name));
	assert_declined(&f, &a, &bad);
	bad = good;
	bad.name[1] = '\n';
	assert_declined(&f, &a, &bad);
	bad = good;
	bad.name[1] = (char)0xff;
	assert_declined(&f, &a, &bad);
	bad = good;
	memset(bad.container, 'x', sizeof(bad.container));
	assert_declined(&f, &a, &bad);
	bad = good;
	bad.runtime[0] = 0x1b;
	assert_declined(&f, &a, &bad);
	assert_null(hand_over(&f, &a, &good));
	assert_int_equal(drain_rings(f.drain), 1);
	end(&f);
	collector_free(&a);
}

static void
test_bad_messages(void **state)
{
	struct fixture f = { 0 };
	struct protocol_ring good, bad;
	struct collector a;

	(void)state;
	begin(&f);
	collector_make(&a, 5);
	good = message_of(&a);

	bad = good;
	bad.epoch = 0;
	assert_refused(&f, &a, &bad);
	bad = good;
	bad.ended = 2;
	assert_refused(&f, &a, &bad);
	bad = good;
	bad.size = 1000;
	assert_refused(&f, &a, &bad);
	bad = good;
	bad.size *= 2;
	assert_refused(&f, &a, &bad);
	assert_null(hand_over(&f, &a, &good));
	assert_refused(&f, &a, &good); /* the same epoch again */
	assert_int_equal(f.hostile.count, 0);
	end(&f);
	collector_free(&a);
}

static void
test_bad_descriptors(void **state)
{
	struct fixture f = { 0 };
	struct protocol_ring message;
	struct collector a, b;

	(void)state;
	begin(&f);
	collector_make(&a, 5);
	message = message_of(&a);

	/* Not sealed. */
	b = a;
	b.memory.data_fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(b.memory.data_fd, 4096 + RING_SIZE_MIN), 0);
	assert_refused(&f, &b, &message);
	close(b.memory.data_fd);
	/* No memory at all. */
	b = a;
	b.memory.control_fd = a.bells[1];
	assert_refused(&f, &b, &message);
	/* Not a doorbell. */
	b = a;
	b.bells[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_refused(&f, &b, &message);
	close(b.bells[1]);
	/* The two memories the wrong way round. */
	b = a;
	b.memory.data_fd = a.memory.control_fd;
	b.memory.control_fd = a.memory.data_fd;
	assert_refused(&f, &b, &message);
	end(&f);
	collector_free(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_come_out_in_order_under_their_own_name),
		cmocka_unit_test(test_a_lost_wake_up_is_no_lost_record),
		cmocka_unit_test(test_snapshot_ends_are_filtered_and_given_back),
		cmocka_unit_test(test_snapshot_ends_are_delivered),
		cmocka_unit_test(test_a_full_ring_does_not_keep_others_waiting),
		cmocka_unit_test(test_draining_yields_to_the_loop),
		cmocka_unit_test(test_one_pass_is_bounded),
		cmocka_unit_test(test_bytes_are_given_back_when_acknowledged_and_not_before),
		cmocka_unit_test(test_a_waiting_collector_flushes_and_is_rung),
		cmocka_unit_test(test_little_in_a_ring_waits_for_its_batch),
		cmocka_unit_test(test_a_sink_that_stands_still_stops_the_draining),
		cmocka_unit_test(test_the_next_shipper_goes_on_where_the_last_one_was),
		cmocka_unit_test(test_an_orphan_of_another_shipper_is_drained),
		cmocka_unit_test(test_an_ended_ring_is_reported_when_it_is_delivered),
		cmocka_unit_test(test_an_ended_ring_ends),
		cmocka_unit_test(test_rings_of_a_namespacer_that_has_gone),
		cmocka_unit_test(test_an_orphan_whose_bell_stays_open_is_freed_too),
		cmocka_unit_test(test_an_orphan_that_is_handed_over_again_is_kept),
		cmocka_unit_test(test_finish_takes_what_is_there),
		cmocka_unit_test(test_finish_with_nothing),
		cmocka_unit_test(test_a_sink_that_fails_is_said),
		cmocka_unit_test(test_a_record_that_is_none),
		cmocka_unit_test(test_a_position_that_cannot_be),
		cmocka_unit_test(test_a_length_that_cannot_be),
		cmocka_unit_test(test_a_doorbell_that_never_stops),
		cmocka_unit_test(test_a_collector_that_runs_amok),
		cmocka_unit_test(test_accounts_of_rings),
		cmocka_unit_test(test_a_collector_that_waits_is_seen),
		cmocka_unit_test(test_bad_names),
		cmocka_unit_test(test_bad_messages),
		cmocka_unit_test(test_bad_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
