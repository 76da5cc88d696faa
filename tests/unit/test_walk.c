/*
 * The walk's checks, against a kernel that answers strangely: the descriptor
 * of the netlink socket is one end of a socketpair, and the test is the kernel.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "collector/collector.h"
#include "collector/request.h"
#include "collector/walk.h"
#include "common/clock.h"

enum { DATAGRAM = 40 * 1024, DUMP = 256 * 1024 };

static struct {
	int		kernel;		/* our end */
	uint32_t	sequence;	/* of the walk to come */
	size_t		sockets, datagrams, abandoned;
	char		answer[DATAGRAM];
	size_t		length;
	char		sent[DUMP], given[DUMP];	/* to the walk, and by it to its handler */
	size_t		nsent, ngiven;
} fake;

static bool
take_socket(void *context, struct nlmsghdr *message)
{
	(void)context;
	fake.sockets++;
	return message->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg));
}

static void
take_datagram(void *context, void *bytes, size_t length)
{
	(void)context;
	assert_true(length <= sizeof(fake.given) - fake.ngiven);
	memcpy(fake.given + fake.ngiven, bytes, length);
	fake.ngiven += length;
	fake.datagrams++;
}

static void
take_abandoned(void *context)
{
	(void)context;
	fake.abandoned++;
}

static const struct walk_handler handler = { take_socket, take_datagram, take_abandoned, NULL };

/* Adds a message to the datagram that is being made. */
static void
add(uint16_t type, uint32_t sequence, const void *payload, size_t size)
{
	struct nlmsghdr *message = (struct nlmsghdr *)(fake.answer + fake.length);

	memset(message, 0, NLMSG_SPACE(size));
	message->nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
	message->nlmsg_type = type;
	message->nlmsg_seq = sequence;
	if (size > 0)
		memcpy(NLMSG_DATA(message), payload, size);
	fake.length += NLMSG_SPACE(size);
}

static void
add_socket(void)
{
	struct inet_diag_msg socket = { .idiag_family = AF_INET };

	add(TCPDIAG_GETSOCK, fake.sequence, &socket, sizeof(socket));
}

static void
add_done(int error)
{
	add(NLMSG_DONE, fake.sequence, &error, sizeof(error));
}

static void
answer(void)
{
	assert_int_equal(send(fake.kernel, fake.answer, fake.length, 0), fake.length);
	assert_true(fake.length <= sizeof(fake.sent) - fake.nsent);
	memcpy(fake.sent + fake.nsent, fake.answer, fake.length);
	fake.nsent += fake.length;
	fake.length = 0;
}

static enum record_outcome
walk(void)
{
	enum record_outcome outcome = walk_once(REQUEST_WALK, &handler, clock_monotonic() + 50 * MILLISECOND);
	char request[512], last[512];

	/* What was asked, and that nothing else was. */
	assert_int_equal(recv(fake.kernel, request, sizeof(request), MSG_DONTWAIT),
	    sizeof(struct nlmsghdr) + sizeof(struct inet_diag_req));
	assert_int_equal(((struct nlmsghdr *)request)->nlmsg_seq, fake.sequence);
	assert_int_equal(((struct nlmsghdr *)request)->nlmsg_type, TCPDIAG_GETSOCK);
	assert_int_equal(((struct inet_diag_req *)NLMSG_DATA(request))->idiag_ext, 0x52);
	assert_int_equal(((struct inet_diag_req *)NLMSG_DATA(request))->idiag_states, 0xfff);
	assert_int_equal(request_last(last, sizeof(last)), sizeof(struct nlmsghdr) + sizeof(struct inet_diag_req));
	assert_memory_equal(last, request, sizeof(struct nlmsghdr) + sizeof(struct inet_diag_req));
	assert_int_equal(recv(fake.kernel, request, sizeof(request), MSG_DONTWAIT), -1);
	fake.sequence++;
	return outcome;
}

static int
start(void **state)
{
	int ends[2], size = 1024 * 1024;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (page == MAP_FAILED || request_pin(page, 0xfff, 0x52) == -1 ||
	    socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == -1)
		return -1;
	fake.kernel = fcntl(ends[1], F_DUPFD, 64);
	fake.sequence = 1;
	setsockopt(fake.kernel, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return dup2(ends[0], COLLECTOR_FD_NETLINK) == -1 ? -1 : 0;
}

static int
before(void **state)
{
	(void)state;
	fake.sockets = fake.datagrams = fake.abandoned = fake.length = fake.nsent = fake.ngiven = 0;
	return 0;
}

static void
test_a_whole_dump(void **state)
{
	(void)state;
	for (int datagram = 0; datagram < 3; datagram++) {
		for (int i = 0; i < 50; i++)
			add_socket();
		answer();
	}
	add_done(0);
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_COMPLETE);
	assert_int_equal(fake.sockets, 150);
	assert_int_equal(fake.datagrams, 4);
	assert_int_equal(fake.ngiven, fake.nsent);
	assert_memory_equal(fake.given, fake.sent, fake.nsent);
}

/* libmnl's own callback takes this for the end of a good dump. */
static void
test_an_errno_in_done_is_a_failure(void **state)
{
	(void)state;
	add_socket();
	add_done(-ENOMEM);
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_KERNEL);
}

static void
test_an_error_is_a_failure(void **state)
{
	struct nlmsgerr error = { .error = -EBUSY };

	(void)state;
	add(NLMSG_ERROR, fake.sequence, &error, sizeof(error));
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_KERNEL);
}

static void
test_answers_to_another_walk_are_not_taken(void **state)
{
	struct inet_diag_msg socket = { .idiag_family = AF_INET };

	(void)state;
	add(TCPDIAG_GETSOCK, fake.sequence - 1, &socket, sizeof(socket));
	add(NLMSG_DONE, fake.sequence - 1, &(int){ 0 }, sizeof(int));
	answer();
	add_socket();
	add_done(0);
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_COMPLETE);
	assert_int_equal(fake.sockets, 1);
}

static void
test_a_datagram_that_was_cut(void **state)
{
	(void)state;
	while (fake.length < 33 * 1024)
		add_socket();
	answer();
	add_socket();
	add_done(0);
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_TRUNCATED);
	assert_int_equal(fake.sockets, 0);
	assert_int_equal(fake.abandoned, 1);
}

static void
test_silence_is_told(void **state)
{
	(void)state;
	add_socket();
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_SILENT);
	assert_int_equal(fake.sockets, 1);
}

static void
test_garbage_is_malformed(void **state)
{
	(void)state;
	memset(fake.answer, 0x5a, 64);
	fake.length = 64;
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_MALFORMED);
	add(TCPDIAG_GETSOCK, fake.sequence, "short", 5);
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_MALFORMED);
	add(NLMSG_DONE, fake.sequence, NULL, 0);
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_MALFORMED);
}

/* A length that is a negative number to whoever keeps it in an int. */
static void
test_a_huge_message_is_malformed(void **state)
{
	(void)state;
	add_socket();
	((struct nlmsghdr *)fake.answer)->nlmsg_len = UINT32_C(0x80000040);
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_MALFORMED);
	assert_int_equal(fake.sockets, 0);
}

/* After a failure nothing of it is left to be taken for the next walk's. */
static void
test_the_rest_of_a_failed_walk_is_counted(void **state)
{
	(void)state;
	add_done(-EIO);
	answer();
	for (int i = 0; i < 7; i++)
		add_socket();
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_KERNEL);
	assert_int_equal(fake.abandoned, 7);
	add_done(0);
	answer();
	assert_int_equal(walk(), RECORD_OUTCOME_COMPLETE);
	assert_int_equal(fake.sockets, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_whole_dump, before),
		cmocka_unit_test_setup(test_an_errno_in_done_is_a_failure, before),
		cmocka_unit_test_setup(test_an_error_is_a_failure, before),
		cmocka_unit_test_setup(test_answers_to_another_walk_are_not_taken, before),
		cmocka_unit_test_setup(test_a_datagram_that_was_cut, before),
		cmocka_unit_test_setup(test_silence_is_told, before),
		cmocka_unit_test_setup(test_garbage_is_malformed, before),
		cmocka_unit_test_setup(test_a_huge_message_is_malformed, before),
		cmocka_unit_test_setup(test_the_rest_of_a_failed_walk_is_counted, before),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
