/*
 * Whole snapshots: what comes out of the ring, when the shipper is woken, and
 * that every socket which the kernel told of is in the books.  The test is the
 * kernel (it answers within sendmsg, as that does), sockstat, and the shipper.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "collector/attributes.h"
#include "collector/collector.h"
#include "collector/known.h"
#include "collector/report.h"
#include "collector/request.h"
#include "collector/snapshot.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/record_reader.h"
#include "common/ring.h"

enum { RING = 256 * 1024, STATES = 0xfff, DATAGRAM = 60 };

static struct {
	int			 kernel, sockstat;
	/* the sockets that there are, by their cookies; and what goes wrong with the next dump */
	uint32_t		 first, count, gone, repeats, silent;
	int			 error;
	struct ring_memory	 memory;
	struct ring_producer	 producer;
	struct ring_consumer	 consumer;
	struct collector_start	 start;
	_Alignas(8) char	 answer[32 * 1024];
	size_t			 length;
	uint64_t		 snapshots;
	unsigned int		 bells, waits;
	struct protocol_taken	 taken;

	/* what the last snapshot left in the ring */
	size_t			 sockets;
	uint32_t		 attempts[4];	/* sockets by attempt */
	uint64_t		 sequence;	/* of the last record */
	struct record		 end;
} fake;

/* --- what a collector says to others ------------------------------------- */

void
report_ring_doorbell(void)
{
	fake.bells++;
}

void
report_waiting(void)
{
}

/* There is room when the shipper has read. */
bool
report_wait_doorbell(uint64_t deadline)
{
	(void)deadline;
	return fake.waits++ == 0;
}

/* --- the shipper ---------------------------------------------------------- */

static void
take_record(const uint8_t *bytes, size_t length)
{
	struct record record;

	assert_int_equal(record_read(&record, bytes, length), 0);
	assert_int_equal(record.values[RECORD_F_record_sequence].number, ++fake.sequence);
	if (record.values[RECORD_F_record_kind].number == RECORD_KIND_SNAPSHOT_END) {
		fake.end = record;
		return;
	}
	fake.sockets++;
	assert_in_range(record.values[RECORD_F_snapshot_attempt].number, 1, 3);
	fake.attempts[record.values[RECORD_F_snapshot_attempt].number]++;
}

static void
drain(void)
{
	static uint8_t bytes[RECORD_MAX];
	size_t length;

	if (ring_look(&fake.consumer) == RING_OK)
		while (ring_next(&fake.consumer, RECORD_MAX, &length) == RING_OK) {
			ring_copy(&fake.consumer, length, bytes);
			take_record(bytes, length);
		}
	ring_release(&fake.consumer, fake.consumer.position);
}

/* --- the kernel ------------------------------------------------------------ */

static void
add(uint16_t type, uint32_t sequence, const void *payload, size_t size)
{
	struct nlmsghdr *message = (struct nlmsghdr *)(fake.answer + fake.length);

	memset(message, 0, NLMSG_SPACE(size));
	message->nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
	message->nlmsg_type = type;
	message->nlmsg_seq = sequence;
	memcpy(NLMSG_DATA(message), payload, size);
	fake.length += NLMSG_SPACE(size);
}

static void
answer(void)
{
	assert_int_equal(send(fake.kernel, fake.answer, fake.length, 0), fake.length);
	fake.length = 0;
}

static void
add_socket(uint16_t type, uint32_t sequence, uint32_t cookie, uint8_t state)
{
	struct inet_diag_msg socket = {
		.idiag_family = AF_INET6, .idiag_state = state,
		.id = { .idiag_sport = 80, .idiag_src = { 1, 2, 3, cookie }, .idiag_cookie = { cookie } },
	};

	add(type, sequence, &socket, sizeof(socket));
}

/* All sockets, so many a datagram; the last ones of each come again in the next. */
static void
kernel_dump(uint32_t sequence)
{
	uint32_t next = fake.first, last = fake.first + fake.count;

	for (uint32_t in = 0; next < last; next++) {
		if (next == fake.gone)
			continue;
		add_socket(TCPDIAG_GETSOCK, sequence, next, TCP_ESTABLISHED);
		if (++in < DATAGRAM)
			continue;
		answer();
		in = 0;
		next -= next + 1 < last ? fake.repeats : 0;
	}
	if (fake.length > 0)
		answer();
	if (fake.silent-- > 0)
		return;
	fake.silent = 0;
	add(NLMSG_DONE, sequence, &fake.error, sizeof(fake.error));
	answer();
	fake.error = 0;
}

static void
kernel_read(const struct inet_diag_sockid *id)
{
	struct nlmsgerr error = { .error = -ENOENT };

	if (id->idiag_cookie[0] - fake.first < fake.count && id->idiag_cookie[0] != fake.gone)
		add_socket(SOCK_DIAG_BY_FAMILY, 0, id->idiag_cookie[0], TCP_ESTABLISHED);
	else
		add(NLMSG_ERROR, 0, &error, sizeof(error));
	answer();
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	static _Alignas(8) uint8_t request[REQUEST_BATCH * 128];
	const struct nlmsghdr *header = (const struct nlmsghdr *)request;
	size_t length = 0;

	assert_int_equal(fd, COLLECTOR_FD_NETLINK);
	assert_int_equal(flags, 0);
	for (size_t i = 0; i < message->msg_iovlen; i++) {
		memcpy(request + length, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
		length += message->msg_iov[i].iov_len;
	}
	if (header->nlmsg_type == TCPDIAG_GETSOCK)
		kernel_dump(header->nlmsg_seq);
	else
		for (; (const uint8_t *)header < request + length; header = (const struct nlmsghdr *)((const uint8_t *)header + header->nlmsg_len))
			kernel_read(&((const struct inet_diag_req_v2 *)NLMSG_DATA(header))->id);
	return (ssize_t)length;
}

/* --- a snapshot ------------------------------------------------------------- */

/* Of so many sockets, whose cookies begin with the first. */
static void
take(uint32_t inuse, uint32_t tw, uint32_t first)
{
	const struct protocol_snapshot order = { ++fake.snapshots, clock_monotonic() + 50 * MILLISECOND };
	char text[256];
	int length = snprintf(text, sizeof(text), "sockets: used 1\nTCP: inuse %u orphan 0 tw %u alloc 9 mem 1\nUDP: inuse 5 mem 1\n",
	    inuse, tw);

	assert_int_equal(ftruncate(fake.sockstat, 0), 0);
	assert_int_equal(pwrite(fake.sockstat, text, (size_t)length, 0), length);
	fake.first = first;
	fake.count = inuse + tw + (fake.gone != 0);
	fake.sockets = fake.bells = fake.waits = 0;
	memset(fake.attempts, 0, sizeof(fake.attempts));
	memset(&fake.end, 0, sizeof(fake.end));
	assert_true(ring_start_sleeping(&fake.consumer));
	snapshot_take(&order, &fake.taken);
	drain();
	assert_int_equal(fake.taken.sequence, fake.snapshots);
}

static uint64_t
end_of(enum record_index row)
{
	return fake.end.values[row].number;
}

static void
assert_end(enum record_way way, enum record_outcome outcome, uint64_t attempt, uint64_t published)
{
	assert_int_equal(end_of(RECORD_F_snapshot_way), way);
	assert_int_equal(end_of(RECORD_F_snapshot_outcome), outcome);
	assert_int_equal(end_of(RECORD_F_snapshot_attempt), attempt);
	assert_int_equal(end_of(RECORD_F_snapshot_published), published);
	assert_int_equal(fake.taken.way, way);
	assert_int_equal(fake.taken.outcome, outcome);
	assert_int_equal(fake.taken.records, published);
}

/* Every socket that was told is a record, or was given up for a reason. */
static void
assert_books(void)
{
	const struct counters *counters = ring_counters(&fake.producer);
	uint64_t dropped = 0;

	for (size_t i = 0; i < COUNTERS_DROPS; i++)
		dropped += counters->dropped[i];
	assert_int_equal(counters->read, counters->encoded + counters->filtered + dropped);
}

static int
start(void **state)
{
	int ends[2], size = 8 * 1024 * 1024;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (page == MAP_FAILED || request_pin(page, STATES, 0xff) == -1 || socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == -1)
		return -1;
	fake.kernel = fcntl(ends[1], F_DUPFD, 64);
	setsockopt(fake.kernel, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fake.sockstat = fcntl(memfd_create("sockstat", 0), F_DUPFD, 64);
	if (dup2(ends[0], COLLECTOR_FD_NETLINK) == -1 || dup2(fake.sockstat, COLLECTOR_FD_SOCKSTAT) == -1)
		return -1;
	close(COLLECTOR_FD_SOCKSTAT6);
	attributes_choose(ATTRIBUTES_EVERY);
	return 0;
}

/* A collector's life of its own for each test. */
static int
begin(void **state)
{
	(void)state;
	if (ring_create(&fake.memory, &fake.producer, RING) == -1 ||
	    ring_consumer_map(&fake.consumer, fake.memory.data_fd, fake.memory.control_fd, RING) == -1)
		return -1;
	/* This kernel's walks cost nothing, so that no read would be cheaper. */
	fake.start = (struct collector_start){ .ring = &fake.producer, .states = STATES, .way = RECORD_WAY_TARGETED };
	snapshot_init(&fake.start);
	known_begin(false);
	fake.snapshots = 0;
	return 0;
}

static int
end(void **state)
{
	(void)state;
	assert_books();
	ring_consumer_unmap(&fake.consumer);
	ring_producer_unmap(&fake.producer);
	ring_memory_close(&fake.memory);
	return 0;
}

/* --- the tests --------------------------------------------------------------- */

static void
test_skip_walk_and_reads(void **state)
{
	uint64_t bytes;

	(void)state;
	take(0, 0, 1);
	assert_end(RECORD_WAY_SKIP, RECORD_OUTCOME_COMPLETE, 1, 0);
	take(77, 3, 1);
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, 1, 80);
	assert_int_equal(end_of(RECORD_F_snapshot_inuse_before), 77);
	assert_int_equal(end_of(RECORD_F_snapshot_tw_after), 3);
	/* One has gone from inuse to TIME_WAIT. */
	take(76, 4, 1);
	assert_end(RECORD_WAY_TARGETED, RECORD_OUTCOME_COMPLETE, 1, 80);
	assert_int_equal(fake.attempts[1], 80);
	bytes = fake.taken.bytes;
	/* One for one: what was read before the dead one is taken back. */
	fake.gone = 40;
	take(80, 0, 1);
	fake.gone = 0;
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, 2, 80);
	assert_int_equal(fake.attempts[1], 0);
	assert_int_equal(fake.attempts[2], 80);
	assert_in_range(fake.taken.bytes, bytes - 200, bytes + 200);
	take(35, 0, 41);
	assert_end(RECORD_WAY_TARGETED, RECORD_OUTCOME_COMPLETE, 1, 35);
	take(36, 0, 41);
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, 1, 36);
	take(0, 0, 1);
	assert_end(RECORD_WAY_SKIP, RECORD_OUTCOME_COMPLETE, 1, 0);
}

static void
test_a_failed_walk_is_repeated(void **state)
{
	const struct counters *counters = ring_counters(&fake.producer);

	(void)state;
	fake.error = -EBUSY;
	take(40, 0, 1);
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, 2, 40);
	assert_int_equal(fake.attempts[1], 40);
	assert_int_equal(fake.attempts[2], 40);
	/* One that no longer answers, until the deadline, is no base for reads. */
	fake.silent = 9;
	take(41, 0, 1);
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_SILENT, 1, 41);
	assert_int_equal(counters->incomplete, 1);
	fake.silent = 0;
	take(41, 0, 1);
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, 1, 41);
}

/* Twenty that came last in one datagram come first in the next one. */
static void
test_a_socket_that_comes_twice(void **state)
{
	const struct counters *counters = ring_counters(&fake.producer);

	(void)state;
	fake.repeats = 20;
	take(100, 0, 1);
	fake.repeats = 0;
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, 1, 120);
	assert_int_equal(end_of(RECORD_F_snapshot_repeated), 20);
	assert_int_equal(counters->repeated, 20);
	/* So not all is known once, and the next one walks again. */
	take(100, 0, 1);
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_COMPLETE, 1, 100);
	assert_int_equal(end_of(RECORD_F_snapshot_repeated), 0);
	take(100, 0, 1);
	assert_end(RECORD_WAY_TARGETED, RECORD_OUTCOME_COMPLETE, 1, 100);
}

/* A shipper that sleeps is woken by portions of the ring, and at the end. */
static void
test_wake_ups(void **state)
{
	(void)state;
	take(1500, 0, 1);
	assert_int_equal(fake.sockets, 1500);
	/* Else it waits for room, which is another test. */
	assert_in_range(fake.taken.bytes, RING / 4, RING * 3 / 4);
	assert_int_equal(fake.bells, fake.taken.bytes / (RING / 4) + 1);
	/* What is shown when it is proved is shown at once. */
	take(1500, 0, 1);
	assert_end(RECORD_WAY_TARGETED, RECORD_OUTCOME_COMPLETE, 1, 1500);
	assert_int_equal(fake.bells, 1);
}

/* The ring is full, and nobody reads until the deadline. */
static void
test_no_room(void **state)
{
	const struct counters *counters = ring_counters(&fake.producer);

	(void)state;
	take(6000, 0, 1);
	assert_int_equal(fake.taken.outcome, RECORD_OUTCOME_DEADLINE);
	assert_end(RECORD_WAY_WALK, RECORD_OUTCOME_DEADLINE, 1, fake.sockets);
	assert_in_range(fake.sockets, 1000, 5999);
	assert_int_equal(end_of(RECORD_F_snapshot_dropped), 6000 - fake.sockets);
	assert_int_equal(counters->dropped[COUNTERS_DROP_DEADLINE], 6000 - fake.sockets);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_skip_walk_and_reads, begin, end),
		cmocka_unit_test_setup_teardown(test_a_failed_walk_is_repeated, begin, end),
		cmocka_unit_test_setup_teardown(test_a_socket_that_comes_twice, begin, end),
		cmocka_unit_test_setup_teardown(test_wake_ups, begin, end),
		cmocka_unit_test_setup_teardown(test_no_room, begin, end),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
