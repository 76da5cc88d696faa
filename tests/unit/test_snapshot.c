/*
 * Whole snapshots of a kernel that the test plays: what it sends becomes a
 * record or is counted, and what nobody knows of it is told.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libmnl/libmnl.h>

#include "collector/collector.h"
#include "collector/request.h"
#include "collector/snapshot.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/record_reader.h"
#include "common/ring.h"

enum { SIZE = 8192, WALKS = 3 };

static struct {
	int			 kernel;	/* our end of the netlink socket */
	pthread_t		 thread;	/* who plays it */
	const void		*datagram;	/* its answer */
	size_t			 length;
	bool			 done;		/* which is whole */
	struct ring_memory	 memory;
	struct ring_producer	 producer;
	struct ring_consumer	 consumer;
	struct counters		*counters;
} fake;

/* Answers each request with the datagram, under the request's sequence, and with DONE if it is whole. */
static void *
answer_requests(void *context)
{
	struct {
		struct nlmsghdr	header;
		int		error;
	} end = { { sizeof(end), NLMSG_DONE, NLM_F_MULTI, 0, 0 }, 0 };
	char request[512], copy[SIZE];

	(void)context;
	while (recv(fake.kernel, request, sizeof(request), 0) > 0) {
		memcpy(copy, fake.datagram, fake.length);
		end.header.nlmsg_seq = ((struct nlmsghdr *)request)->nlmsg_seq;
		if (fake.length >= NLMSG_HDRLEN)
			((struct nlmsghdr *)copy)->nlmsg_seq = end.header.nlmsg_seq;
		send(fake.kernel, copy, fake.length, 0);
		if (fake.done)
			send(fake.kernel, &end, sizeof(end), 0);
	}
	return NULL;
}

static int
start(void **state)
{
	struct collector_start begin = { .ring = &fake.producer, .states = 0xfff, .way = RECORD_WAY_WALK };
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ends[2];

	(void)state;
	if (page == MAP_FAILED || request_pin(page, 0xfff, 0xff) == -1 || socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == -1)
		return -1;
	fake.kernel = fcntl(ends[1], F_DUPFD, 64);
	if (dup2(ends[0], COLLECTOR_FD_NETLINK) == -1)
		return -1;
	/* No sockstat: then a snapshot is a walk. */
	for (int fd = COLLECTOR_FD_SOCKSTAT; fd < COLLECTOR_FDS; fd++)
		if (dup2(fake.kernel, fd) == -1)
			return -1;
	if (ring_create(&fake.memory, &fake.producer, RING_SIZE_MIN) == -1 ||
	    ring_consumer_map(&fake.consumer, fake.memory.data_fd, fake.memory.control_fd, RING_SIZE_MIN) == -1)
		return -1;
	fake.counters = ring_counters(&fake.producer);
	snapshot_init(&begin);
	return pthread_create(&fake.thread, NULL, answer_requests, NULL) == 0 ? 0 : -1;
}

static int
stop(void **state)
{
	(void)state;
	shutdown(fake.kernel, SHUT_RDWR);
	return pthread_join(fake.thread, NULL);
}


static struct nlmsghdr *
message_new(char *buffer)
{
	struct nlmsghdr *message;

	memset(buffer, 0, SIZE);
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = TCPDIAG_GETSOCK;
	((struct inet_diag_msg *)mnl_nlmsg_put_extra_header(message, sizeof(struct inet_diag_msg)))->idiag_family = AF_INET;
	return message;
}

/* A socket with known, unknown and longer attributes, at every depth. */
static struct nlmsghdr *
message_of_a_new_kernel(char *buffer)
{
	struct nlmsghdr *message = message_new(buffer);
	struct nlattr *ulp, *tls;
	static const uint8_t info[300];

	mnl_attr_put(message, INET_DIAG_INFO, sizeof(info), info);
	mnl_attr_put_strz(message, INET_DIAG_CONG, "cubic");
	mnl_attr_put_u32(message, 23, 1);
	ulp = mnl_attr_nest_start(message, INET_DIAG_ULP_INFO);
	tls = mnl_attr_nest_start(message, 2);
	mnl_attr_put_u16(message, 1, 0x304);
	mnl_attr_put_u16(message, 9, 1);
	mnl_attr_nest_end(message, tls);
	mnl_attr_nest_end(message, ulp);
	mnl_attr_put_u32(message, INET_DIAG_MARK, 42);
	return message;
}

/* Takes a snapshot of a kernel that has these bytes to say. */
static void
take(const void *datagram, size_t length, bool done, struct protocol_taken *taken)
{
	const struct protocol_snapshot order = { .sequence = 5, .deadline = clock_monotonic() + 20 * SECOND };

	fake.datagram = datagram;
	fake.length = length;
	fake.done = done;
	snapshot_take(&order, taken);
}

/* Reads all records; the last one is the snapshot's end. */
static size_t
drain(struct record *first)
{
	static uint8_t bytes[RECORD_MAX];
	size_t length, count = 0;
	struct record record;

	while (ring_look(&fake.consumer) == RING_OK)
		while (ring_next(&fake.consumer, RECORD_MAX, &length) == RING_OK) {
			ring_copy(&fake.consumer, length, bytes);
			assert_int_equal(record_read(count == 0 ? first : &record, bytes, length), 0);
			count++;
		}
	ring_release(&fake.consumer, fake.consumer.position);
	return count;
}

static void
assert_balanced(void)
{
	uint64_t sum = fake.counters->encoded + fake.counters->filtered;

	for (size_t i = 0; i < COUNTERS_DROPS; i++)
		sum += fake.counters->dropped[i];
	assert_int_equal(fake.counters->read, sum);
}

static void
test_what_is_new_is_counted_and_told(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_of_a_new_kernel(buffer);
	struct protocol_taken taken;
	struct record record;

	(void)state;
	take(message, message->nlmsg_len, true, &taken);
	assert_int_equal(taken.outcome, RECORD_OUTCOME_COMPLETE);
	assert_int_equal(taken.records, 1);
	assert_int_equal(taken.unknown[RECORD_NEST_TOP], 1U << 23);
	assert_int_equal(taken.unknown[RECORD_NEST_ULP], 0);
	assert_int_equal(taken.unknown[RECORD_NEST_TLS], 1U << 9);
	assert_int_equal(taken.longer, UINT64_C(1) << RECORD_INFO);
	assert_int_equal(fake.counters->unknown_attributes[RECORD_NEST_TOP][23], 1);
	assert_int_equal(fake.counters->tail_bytes, 20);
	assert_balanced();
	assert_int_equal(drain(&record), 2);
	assert_int_equal(record.values[RECORD_F_mark].number, 42);
	assert_int_equal(record.values[RECORD_F_tcp_info_tail].number, 20);
	/* It is told of the collector's whole life. */
	message = message_new(buffer);
	take(message, message->nlmsg_len, true, &taken);
	assert_int_equal(taken.unknown[RECORD_NEST_TOP], 1U << 23);
	assert_int_equal(drain(&record), 2);
}

/* The datagram ends amid the message: the snapshot is incomplete, and says why. */
static void
test_a_datagram_cut_at_every_byte(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_of_a_new_kernel(buffer);
	uint64_t incomplete = fake.counters->incomplete;
	struct protocol_taken taken;
	struct record record;

	(void)state;
	for (uint32_t length = 1; length < message->nlmsg_len; length++) {
		take(message, length, false, &taken);
		assert_int_equal(taken.outcome, RECORD_OUTCOME_MALFORMED);
		assert_int_equal(taken.attempts, WALKS);
		assert_int_equal(fake.counters->incomplete, ++incomplete);
		assert_int_equal(drain(&record), 1);
		assert_int_equal(record.values[RECORD_F_snapshot_outcome].number, RECORD_OUTCOME_MALFORMED);
		assert_balanced();
	}
}

/* The message itself is shorter: a record with what is whole in it, or a counted drop. */
static void
test_a_message_cut_at_every_byte(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_of_a_new_kernel(buffer);
	uint32_t whole = message->nlmsg_len;
	size_t records = 0;

	(void)state;
	for (uint32_t length = NLMSG_HDRLEN; length <= whole; length++) {
		uint64_t dropped = fake.counters->dropped[COUNTERS_DROP_MALFORMED], encoded = fake.counters->encoded;
		struct protocol_taken taken;
		struct record record;
		bool taken_as_whole;

		message->nlmsg_len = length;
		take(message, NLMSG_ALIGN(length), true, &taken);
		taken_as_whole = taken.outcome == RECORD_OUTCOME_COMPLETE;
		assert_int_equal(fake.counters->encoded, encoded + (taken_as_whole ? 1 : 0));
		assert_int_equal(fake.counters->dropped[COUNTERS_DROP_MALFORMED] > dropped, !taken_as_whole);
		assert_int_equal(drain(&record), taken_as_whole ? 2 : 1);
		assert_balanced();
		records += taken_as_whole;
	}
	/* The bare socket, and each attribute's end with its padding. */
	assert_in_range(records, 7, 25);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_new_is_counted_and_told),
		cmocka_unit_test(test_a_datagram_cut_at_every_byte),
		cmocka_unit_test(test_a_message_cut_at_every_byte),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
