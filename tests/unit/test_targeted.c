/*
 * Targeted reads: what is asked, what is taken for a proof, and what is not.
 * As in test_walk.c, the test is the kernel; its answers are there beforehand.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "collector/collector.h"
#include "collector/known.h"
#include "collector/targeted.h"
#include "common/clock.h"

enum { EXTENSIONS = 0x5b };

/* Requests as they come to the kernel. */
struct dump {
	struct nlmsghdr			header;
	struct inet_diag_req		body;
};

struct by_id {
	struct nlmsghdr			header;
	struct inet_diag_req_v2		body;
};

static struct {
	int			kernel;		/* our end */
	uint32_t		dumps;		/* sequence of the last dump */
	size_t			sockets, abandoned;
	bool			refuses;	/* the handler does */
	_Alignas(8) char	answer[4096];
	size_t			length;
	struct targeted_figures	figures;
} fake;

static bool
take_socket(void *context, struct nlmsghdr *message)
{
	(void)context;
	(void)message;
	fake.sockets++;
	return !fake.refuses;
}

static void
take_datagram(void *context, void *bytes, size_t length)
{
	(void)context;
	(void)bytes;
	(void)length;
	fail_msg("records of an unproved snapshot are shown");
}

static void
take_abandoned(void *context)
{
	(void)context;
	fake.abandoned++;
}

static const struct walk_handler handler = { take_socket, take_datagram, take_abandoned, NULL };

/* A socket of the namespace; its cookie tells it from the others. */
static struct inet_diag_msg
socket_of(uint32_t cookie, uint8_t state)
{
	struct inet_diag_msg socket = { .idiag_family = AF_INET, .idiag_state = state };

	socket.id.idiag_sport = htons((uint16_t)(1000 + cookie));
	socket.id.idiag_dport = htons(443);
	socket.id.idiag_src[0] = htonl(0x7f000001);
	socket.id.idiag_dst[0] = htonl(0x7f000002);
	socket.id.idiag_cookie[0] = cookie;
	return socket;
}

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
answer_socket(uint32_t cookie, uint8_t state)
{
	struct inet_diag_msg socket = socket_of(cookie, state);

	add(SOCK_DIAG_BY_FAMILY, 0, &socket, sizeof(socket));
	answer();
}

static void
answer_error(int error)
{
	struct nlmsgerr message = { .error = error };

	add(NLMSG_ERROR, 0, &message, sizeof(message));
	answer();
}

static void
answer_listeners(const uint32_t *cookies, size_t count)
{
	fake.dumps++;
	for (size_t i = 0; i < count; i++) {
		struct inet_diag_msg socket = socket_of(cookies[i], TCP_LISTEN);

		add(TCPDIAG_GETSOCK, fake.dumps, &socket, sizeof(socket));
	}
	add(NLMSG_DONE, fake.dumps, &(int){ 0 }, sizeof(int));
	answer();
}

/* The last walk found these, cookies from 1. */
static void
know(uint32_t count, uint32_t listeners)
{
	known_begin(true);
	for (uint32_t cookie = 1; cookie <= count + listeners; cookie++) {
		struct inet_diag_msg socket = socket_of(cookie, cookie <= count ? TCP_ESTABLISHED : TCP_LISTEN);

		known_add(&socket);
	}
	known_end(true);
}

/* Ids have been seen not to find the listeners. */
static void
know_by_dump(uint32_t count, uint32_t listeners)
{
	known.deaf = true;
	know(count, listeners);
}

static enum targeted_result
read_all(uint64_t counted)
{
	return targeted_read(&handler, counted, clock_monotonic() + 50 * MILLISECOND, &fake.figures);
}

/* The sockets that the next request asks for, or 0 if there is none; it is a dump if it is one. */
static size_t
asked(uint32_t first, bool *dump)
{
	_Alignas(8) char request[REQUEST_BATCH * sizeof(struct by_id)];
	ssize_t n = recv(fake.kernel, request, sizeof(request), MSG_DONTWAIT);
	const struct nlmsghdr *header = (const struct nlmsghdr *)request;

	*dump = n > 0 && header->nlmsg_type == TCPDIAG_GETSOCK;
	if (n <= 0 || *dump)
		return 0;
	assert_int_equal((size_t)n % sizeof(struct by_id), 0);
	for (size_t i = 0; i < (size_t)n / sizeof(struct by_id); i++) {
		const struct by_id *one = (const struct by_id *)request + i;
		struct inet_diag_msg socket = socket_of(first + (uint32_t)i, 0);

		assert_int_equal(one->header.nlmsg_len, sizeof(*one));
		assert_int_equal(one->header.nlmsg_type, SOCK_DIAG_BY_FAMILY);
		assert_int_equal(one->header.nlmsg_flags, NLM_F_REQUEST);
		assert_int_equal(one->body.sdiag_family, AF_INET6);
		assert_int_equal(one->body.sdiag_protocol, IPPROTO_TCP);
		assert_int_equal(one->body.idiag_ext, EXTENSIONS);
		assert_int_equal(one->body.id.idiag_cookie[0], first + i);
		assert_int_equal(one->body.id.idiag_sport, socket.id.idiag_sport);
		/* 127.0.0.1 is ::ffff:127.0.0.1 here */
		assert_int_equal(one->body.id.idiag_src[0] | one->body.id.idiag_src[1], 0);
		assert_int_equal(one->body.id.idiag_src[2], htonl(0xffff));
		assert_int_equal(one->body.id.idiag_src[3], htonl(0x7f000001));
		assert_int_equal(one->body.id.idiag_dst[3], htonl(0x7f000002));
	}
	return (size_t)n / sizeof(struct by_id);
}

static void
assert_asked(const size_t *sizes, size_t count)
{
	uint32_t first = 1;
	bool dump;

	for (size_t i = 0; i < count; i++) {
		assert_int_equal(asked(first, &dump), sizes[i]);
		first += (uint32_t)sizes[i];
	}
	assert_int_equal(asked(first, &dump), 0);
	assert_false(dump);
}

/* Whatever came of it: no answer is left to be taken for the next one's. */
static void
assert_nothing_left(void)
{
	char byte;

	assert_int_equal(recv(COLLECTOR_FD_NETLINK, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void
assert_failed(enum targeted_result result, enum targeted_result expected)
{
	const char *buffer = walk_buffer();

	assert_int_equal(result, expected);
	assert_false(known.whole);
	assert_nothing_left();
	for (size_t i = 0; i < WALK_BUFFER; i++)
		assert_int_equal(buffer[i], 0);
}

static int
start(void **state)
{
	int ends[2], size = 4 * 1024 * 1024;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (page == MAP_FAILED || request_pin(page, 0xfff, EXTENSIONS) == -1 ||
	    socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == -1)
		return -1;
	fake.kernel = fcntl(ends[1], F_DUPFD, 64);
	setsockopt(fake.kernel, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return dup2(ends[0], COLLECTOR_FD_NETLINK) == -1 ? -1 : 0;
}

static int
before(void **state)
{
	_Alignas(8) char request[REQUEST_BATCH * sizeof(struct by_id)];

	(void)state;
	while (recv(fake.kernel, request, sizeof(request), MSG_DONTWAIT) > 0)
		;
	fake.sockets = fake.abandoned = fake.length = 0;
	fake.refuses = false;
	known.deaf = false;
	known.missed = 0;
	return 0;
}

/* --- what is asked ------------------------------------------------------ */

static void
test_all_are_asked_for_in_batches(void **state)
{
	static const size_t sizes[] = { 64, 64, 16, 4, 2 };

	(void)state;
	know(150, 0);
	for (uint32_t cookie = 1; cookie <= 150; cookie++)
		answer_socket(cookie, TCP_ESTABLISHED);
	assert_int_equal(read_all(150), TARGETED_COMPLETE);
	assert_int_equal(fake.sockets, 150);
	assert_int_equal(fake.figures.sent, 150);
	assert_int_equal(fake.figures.answered, 150);
	assert_int_equal(fake.figures.gone, 0);
	assert_asked(sizes, sizeof(sizes) / sizeof(sizes[0]));
	assert_int_equal(known_total(), 150);
	assert_true(known.whole);
	assert_nothing_left();
}

static void
test_an_ipv6_address_stays_as_it_is(void **state)
{
	struct inet_diag_msg socket = socket_of(1, TCP_ESTABLISHED);

	(void)state;
	socket.idiag_family = AF_INET6;
	for (uint32_t i = 0; i < 4; i++)
		socket.id.idiag_src[i] = 10 + i;
	known_begin(true);
	known_add(&socket);
	known_end(true);
	assert_memory_equal(&known.ids[0], &socket.id, sizeof(socket.id));
}

/* The listeners are dumped, and only they; where there is none, nothing is. */
static void
test_listeners_are_dumped(void **state)
{
	static const uint32_t cookies[] = { 3, 4 };
	struct dump request;
	bool dump;

	(void)state;
	know_by_dump(2, 2);
	answer_listeners(cookies, 2);
	answer_socket(1, TCP_ESTABLISHED);
	answer_socket(2, TCP_TIME_WAIT);
	assert_int_equal(read_all(4), TARGETED_COMPLETE);
	assert_int_equal(fake.sockets, 4);
	assert_int_equal(recv(fake.kernel, &request, sizeof(request), MSG_DONTWAIT), sizeof(request));
	assert_int_equal(request.header.nlmsg_type, TCPDIAG_GETSOCK);
	assert_int_equal(request.header.nlmsg_flags, NLM_F_REQUEST | NLM_F_DUMP);
	assert_int_equal(request.header.nlmsg_seq, fake.dumps);
	assert_int_equal(request.body.idiag_states, 1 << TCP_LISTEN);
	assert_int_equal(request.body.idiag_ext, EXTENSIONS);
	assert_int_equal(asked(1, &dump), 2);
	assert_int_equal(asked(0, &dump), 0);
}

/* A listener has a port of its own here, and is asked for as all others are. */
static void
test_listeners_are_asked_for_by_id(void **state)
{
	static const size_t sizes[] = { 4, 1 };

	(void)state;
	know(3, 2);
	assert_int_equal(known.nlisteners, 0);
	for (uint32_t cookie = 1; cookie <= 5; cookie++)
		answer_socket(cookie, cookie <= 3 ? TCP_ESTABLISHED : TCP_LISTEN);
	assert_int_equal(read_all(5), TARGETED_COMPLETE);
	assert_int_equal(fake.figures.answered, 5);
	assert_asked(sizes, 2);
}

/* Two on a port: by id always the same one would answer. */
static void
test_listeners_that_share_a_port_are_dumped(void **state)
{
	static const uint32_t cookies[] = { 2, 4 };
	struct inet_diag_msg one = socket_of(1, TCP_ESTABLISHED), socket = socket_of(2, TCP_LISTEN);

	(void)state;
	known_begin(true);
	known_add(&one);
	known_add(&socket);
	one.id.idiag_cookie[0] = 3;
	known_add(&one);
	socket.id.idiag_cookie[0] = 4;
	known_add(&socket);
	known_end(true);
	assert_int_equal(known.nlisteners, 2);
	assert_int_equal(known.count, 2);
	assert_int_equal(known.ids[0].idiag_cookie[0], 1);
	assert_int_equal(known.ids[1].idiag_cookie[0], 3);
	answer_listeners(cookies, 2);
	answer_socket(1, TCP_ESTABLISHED);
	answer_socket(3, TCP_ESTABLISHED);
	assert_int_equal(read_all(4), TARGETED_COMPLETE);
	/* The next walk finds them apart, and they are asked for by id again. */
	know(2, 2);
	assert_int_equal(known.nlisteners, 0);
}

/* A listener whose id finds nobody is found by the walk that follows, and by a dump from then on. */
static void
test_a_listener_that_does_not_answer_by_id(void **state)
{
	struct inet_diag_msg listener = socket_of(2, TCP_LISTEN);

	(void)state;
	listener.id.idiag_dport = 0;
	for (int time = 0; time < 2; time++) {
		know(1, 0);
		known_begin(true);
		known_add(&listener);
		known_end(true);
		assert_int_equal(known.nlisteners, time);
		if (time == 0) {
			answer_error(-ENOENT);
			assert_failed(read_all(1), TARGETED_UNPROVED);
		}
	}
	answer_listeners((const uint32_t[]){ 2 }, 1);
	assert_int_equal(read_all(1), TARGETED_COMPLETE);
	/* One that has really gone changes nothing: no walk meets it again. */
	known.deaf = false;
	know(0, 1);
	assert_int_equal(known.nlisteners, 0);
}

/* --- what is a proof ----------------------------------------------------- */

/* Two have gone since, and are not in the counts either. */
static void
test_the_dead_leave_the_table(void **state)
{
	(void)state;
	know(5, 0);
	answer_socket(1, TCP_ESTABLISHED);
	answer_error(-ENOENT);
	answer_socket(3, TCP_TIME_WAIT);
	answer_error(-ESTALE);
	answer_socket(5, TCP_CLOSE_WAIT);
	assert_int_equal(read_all(3), TARGETED_COMPLETE);
	assert_int_equal(fake.sockets, 3);
	assert_int_equal(fake.figures.gone, 2);
	assert_int_equal(known.count, 3);
	assert_int_equal(known_cookie(&known.ids[0]), 1);
	assert_int_equal(known_cookie(&known.ids[1]), 3);
	assert_int_equal(known_cookie(&known.ids[2]), 5);
}

/* The counts have one that nobody knows: it ends with the first that is missing. */
static void
test_one_that_is_unknown_stands_for_a_dead_one(void **state)
{
	static const size_t sizes[] = { 64 };

	(void)state;
	know(128, 0);
	answer_socket(1, TCP_ESTABLISHED);
	answer_error(-ENOENT);
	for (uint32_t cookie = 3; cookie <= 64; cookie++)
		answer_socket(cookie, TCP_ESTABLISHED);
	assert_failed(read_all(128), TARGETED_UNPROVED);
	assert_int_equal(fake.sockets, 1);
	/* Of the first sixteen those behind it are not looked at; the others are left in the socket. */
	assert_int_equal(fake.abandoned, 64 - 16);
	assert_asked(sizes, 1);
}

static void
test_more_than_are_known(void **state)
{
	(void)state;
	know(3, 0);
	assert_int_equal(read_all(4), TARGETED_UNPROVED);
	assert_int_equal(fake.figures.sent, 0);
}

/* More answer than were counted: then the counts are not what we take them for. */
static void
test_more_than_are_counted(void **state)
{
	(void)state;
	know(2, 0);
	answer_socket(1, TCP_ESTABLISHED);
	answer_socket(2, TCP_ESTABLISHED);
	assert_failed(read_all(1), TARGETED_UNPROVED);
}

/* It may be younger than the counts, and a socket that is older be hidden behind it. */
static void
test_a_new_listener_is_told_but_proves_nothing(void **state)
{
	static const uint32_t cookies[] = { 2, 9 };

	(void)state;
	know_by_dump(1, 1);
	answer_listeners(cookies, 2);
	answer_socket(1, TCP_ESTABLISHED);
	assert_int_equal(read_all(2), TARGETED_COMPLETE);
	assert_int_equal(fake.sockets, 3);
	assert_int_equal(fake.figures.answered, 2);

	/* The next time it is known, and counts. */
	answer_listeners(cookies, 2);
	answer_socket(1, TCP_ESTABLISHED);
	assert_int_equal(read_all(3), TARGETED_COMPLETE);
	assert_int_equal(fake.figures.answered, 3);

	/* Another new one, which hides that the connection is gone. */
	answer_listeners((const uint32_t[]){ 2, 9, 10 }, 3);
	answer_error(-ENOENT);
	assert_failed(read_all(3), TARGETED_UNPROVED);
}

static void
test_listeners_that_come_and_go_in_any_order(void **state)
{
	(void)state;
	know_by_dump(0, 5);
	answer_listeners((const uint32_t[]){ 4, 2, 1, 5 }, 4);
	assert_int_equal(read_all(4), TARGETED_COMPLETE);
	assert_int_equal(fake.figures.answered, 4);
	assert_int_equal(fake.figures.gone, 1);
	assert_int_equal(known.nlisteners, 4);
	/* One that comes twice is one. */
	answer_listeners((const uint32_t[]){ 5, 5, 4, 2 }, 4);
	assert_failed(read_all(4), TARGETED_UNPROVED);
	assert_int_equal(fake.figures.answered, 3);
}

/* --- what is none -------------------------------------------------------- */

/* Another socket with the same addresses and ports. */
static void
test_a_cookie_that_was_not_asked_for(void **state)
{
	(void)state;
	know(1, 0);
	answer_socket(7, TCP_ESTABLISHED);
	assert_failed(read_all(1), TARGETED_FAILED);
	assert_int_equal(fake.sockets, 0);
}

static void
test_another_error(void **state)
{
	(void)state;
	know(1, 0);
	answer_error(-EINVAL);
	assert_failed(read_all(1), TARGETED_FAILED);
	know(1, 0);
	add(NLMSG_ERROR, 0, "", 1);
	answer();
	assert_failed(read_all(1), TARGETED_FAILED);
}

static void
test_an_answer_that_is_missing(void **state)
{
	(void)state;
	know(4, 0);
	answer_socket(1, TCP_ESTABLISHED);
	assert_failed(read_all(4), TARGETED_FAILED);
	assert_int_equal(fake.sockets, 1);
}

static void
test_an_answer_that_was_cut(void **state)
{
	char payload[2000] = { 0 };
	struct inet_diag_msg socket = socket_of(1, TCP_ESTABLISHED);

	(void)state;
	know(1, 0);
	memcpy(payload, &socket, sizeof(socket));
	memset(payload + sizeof(socket), 'k', sizeof(payload) - sizeof(socket));
	add(SOCK_DIAG_BY_FAMILY, 0, payload, sizeof(payload));
	answer();
	assert_failed(read_all(1), TARGETED_FAILED);
	assert_int_equal(fake.sockets, 0);
}

static void
test_garbage(void **state)
{
	struct inet_diag_msg socket = socket_of(1, TCP_ESTABLISHED);

	(void)state;
	know(1, 0);
	memset(fake.answer, 0x5a, 64);
	fake.length = 64;
	answer();
	assert_failed(read_all(1), TARGETED_FAILED);
	/* a type that answers nothing, a short message, the answer to something else */
	know(1, 0);
	add(NLMSG_DONE, 0, &socket, sizeof(socket));
	answer();
	assert_failed(read_all(1), TARGETED_FAILED);
	know(1, 0);
	add(SOCK_DIAG_BY_FAMILY, 0, &socket, sizeof(socket) - 1);
	answer();
	assert_failed(read_all(1), TARGETED_FAILED);
	know(1, 0);
	add(SOCK_DIAG_BY_FAMILY, 1, &socket, sizeof(socket));
	answer();
	assert_failed(read_all(1), TARGETED_FAILED);
	assert_int_equal(fake.sockets, 0);
	/* what the next reader refuses */
	know(1, 0);
	fake.refuses = true;
	answer_socket(1, TCP_ESTABLISHED);
	assert_failed(read_all(1), TARGETED_FAILED);
}

static void
test_a_dump_of_listeners_that_fails(void **state)
{
	(void)state;
	know_by_dump(1, 1);
	fake.dumps++;
	add(NLMSG_DONE, fake.dumps, &(int){ -ENOMEM }, sizeof(int));
	answer();
	assert_failed(read_all(2), TARGETED_FAILED);
}

/* --- what is known -------------------------------------------------------- */

static void
test_what_makes_a_walk_no_base(void **state)
{
	struct inet_diag_msg socket = socket_of(1, TCP_ESTABLISHED);

	(void)state;
	known_begin(true);
	known_add(&socket);
	known_add(&socket);
	known_end(true);
	assert_false(known.whole);

	known_begin(true);
	known_add(&socket);
	known_end(false);
	assert_false(known.whole);

	known_begin(true);
	socket.idiag_state = TCP_SYN_RECV;
	known_add(&socket);
	known_end(true);
	assert_true(known.half_open);
	know(1, 0);
	assert_false(known.half_open);
}

static void
test_what_is_too_much_to_know(void **state)
{
	(void)state;
	know(KNOWN_SOCKETS, 0);
	assert_true(known.whole);
	know(KNOWN_SOCKETS + 1, 0);
	assert_false(known.whole);
	know(0, KNOWN_LISTENERS);
	assert_true(known.whole);
	know(0, KNOWN_LISTENERS + 1);
	assert_false(known.whole);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_all_are_asked_for_in_batches, before),
		cmocka_unit_test_setup(test_an_ipv6_address_stays_as_it_is, before),
		cmocka_unit_test_setup(test_listeners_are_dumped, before),
		cmocka_unit_test_setup(test_listeners_are_asked_for_by_id, before),
		cmocka_unit_test_setup(test_listeners_that_share_a_port_are_dumped, before),
		cmocka_unit_test_setup(test_a_listener_that_does_not_answer_by_id, before),
		cmocka_unit_test_setup(test_the_dead_leave_the_table, before),
		cmocka_unit_test_setup(test_one_that_is_unknown_stands_for_a_dead_one, before),
		cmocka_unit_test_setup(test_more_than_are_known, before),
		cmocka_unit_test_setup(test_more_than_are_counted, before),
		cmocka_unit_test_setup(test_a_new_listener_is_told_but_proves_nothing, before),
		cmocka_unit_test_setup(test_listeners_that_come_and_go_in_any_order, before),
		cmocka_unit_test_setup(test_a_cookie_that_was_not_asked_for, before),
		cmocka_unit_test_setup(test_another_error, before),
		cmocka_unit_test_setup(test_an_answer_that_is_missing, before),
		cmocka_unit_test_setup(test_an_answer_that_was_cut, before),
		cmocka_unit_test_setup(test_garbage, before),
		cmocka_unit_test_setup(test_a_dump_of_listeners_that_fails, before),
		cmocka_unit_test_setup(test_what_makes_a_walk_no_base, before),
		cmocka_unit_test_setup(test_what_is_too_much_to_know, before),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
