/* Stand-ins for addresses: which, and where in a datagram. */
#include <sys/socket.h>

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/anonymize.h"
#include "cli/datagram.h"

enum { SAMPLES = 20000 };

/* The key of Crypto-PAn's own example. */
static const uint8_t sample_key[ANONYMIZE_KEY] = {
	21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16,
	216, 152, 143, 131, 121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2,
};

static struct anonymize *anonymize;

struct address {
	uint8_t bytes[ANONYMIZE_ADDRESS];
};

static struct address
address(const char *text)
{
	struct address a = { { [10] = 0xff, [11] = 0xff } };

	if (strchr(text, ':') != NULL)
		assert_int_equal(inet_pton(AF_INET6, text, a.bytes), 1);
	else
		assert_int_equal(inet_pton(AF_INET, text, a.bytes + 12), 1);
	return a;
}

static struct address
standin(struct address a)
{
	anonymize_address(anonymize, a.bytes);
	return a;
}

static bool
same(struct address a, struct address b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

/* Bits that both begin with. */
static unsigned int
common(struct address a, struct address b)
{
	unsigned int bits = 0;

	while (bits < 128 && ((a.bytes[bits / 8] ^ b.bytes[bits / 8]) & 0x80 >> bits % 8) == 0)
		bits++;
	return bits;
}

static int
start(void **state)
{
	(void)state;
	anonymize = anonymize_new(sample_key);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	anonymize_free(anonymize);
	return 0;
}

/* What its authors' program makes of these addresses (sample_trace_sanitized.dat). */
static void
test_ipv4_is_as_its_inventors_have_it(void **state)
{
	static const char *const pairs[][2] = {
		{ "128.11.68.132", "135.242.180.132" }, { "129.118.74.4", "134.136.186.123" },
		{ "130.132.252.244", "133.68.164.234" }, { "141.223.7.43", "141.167.8.160" },
		{ "141.233.145.108", "141.129.237.235" }, { "152.163.225.39", "151.140.114.167" },
		{ "156.29.3.236", "147.225.12.42" }, { "165.247.96.84", "162.9.99.234" },
		{ "166.107.77.190", "160.132.178.185" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		assert_true(same(standin(address(pairs[i][0])), address(pairs[i][1])));
}

static void
test_what_stays(void **state)
{
	static const char *const stays[] = { "0.0.0.0", "127.0.0.1", "127.1.2.3", "255.255.255.255", "::", "::1" };

	(void)state;
	for (size_t i = 0; i < sizeof(stays) / sizeof(stays[0]); i++)
		assert_true(same(standin(address(stays[i])), address(stays[i])));
}

/* first and last of the kind; bits that all of it have in common, and more that stay. */
static const struct {
	const char	*network;
	unsigned int	 bits, stay;
} kinds[] = {
	{ "0.0.0.0", 104, 104 }, { "10.0.0.0", 104, 104 }, { "100.64.0.0", 106, 106 }, { "169.254.0.0", 112, 112 },
	{ "172.16.0.0", 108, 108 }, { "192.168.0.0", 112, 112 }, { "224.0.0.0", 100, 100 }, { "240.0.0.0", 100, 100 },
	{ "64:ff9b::", 96, 96 }, { "2000::", 3, 3 }, { "fc00::", 8, 8 }, { "fd00::", 8, 8 }, { "fe80::", 10, 64 }, { "ff00::", 8, 16 },
	{ "0.0.0.0", 96, 96 }, { "::", 0, 0 },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static size_t
kind_of(struct address a)
{
	for (size_t i = 0; i < KINDS; i++)
		if (common(a, address(kinds[i].network)) >= kinds[i].bits)
			return i;
	return KINDS;
}

/* One of a kind, with bits from the dice behind the network's. */
static struct address
any_of(size_t kind)
{
	struct address a = address(kinds[kind].network);

	for (unsigned int bit = kinds[kind].bits; bit < 128; bit++)
		if (rand() & 1)
			a.bytes[bit / 8] ^= 0x80 >> bit % 8;
	return a;
}

static void
test_a_kind_stays_a_kind(void **state)
{
	(void)state;
	srand(1);
	for (int i = 0; i < SAMPLES; i++) {
		struct address a = any_of((size_t)i % KINDS), b = standin(a);
		size_t kind = kind_of(a);

		assert_int_equal(kind_of(b), kind);
		assert_true(common(a, b) >= kinds[kind].stay);
	}
}

/* Nothing that is not to stay does, but by chance. */
static void
test_an_address_is_hidden(void **state)
{
	unsigned int turned[KINDS] = { 0 }, of[KINDS] = { 0 };

	(void)state;
	srand(2);
	for (int i = 0; i < SAMPLES; i++) {
		struct address a = any_of((size_t)i % KINDS), b = standin(a);

		of[kind_of(a)]++;
		turned[kind_of(a)] += !same(a, b);
	}
	for (size_t i = 0; i < KINDS; i++)
		assert_true(turned[i] * 100 >= of[i] * 95 && of[i] > 100);
}

static void
test_networks_stay_networks(void **state)
{
	(void)state;
	srand(3);
	for (int i = 0; i < SAMPLES; i++) {
		struct address a = any_of(2 + (size_t)i % 12), b = a;
		unsigned int bit = kinds[2 + i % 12].stay + (unsigned int)rand() % (128 - kinds[2 + i % 12].stay);

		/* The same up to this bit, another one there, whatever behind it. */
		b.bytes[bit / 8] ^= 0x80 >> bit % 8;
		b.bytes[15] ^= bit < 120 ? (uint8_t)rand() : 0;
		assert_int_equal(common(standin(a), standin(b)), common(a, b));
	}
}

static int
compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct address));
}

/* A small kind whole: as many stand-ins as addresses.  Of others: no two of a crowd. */
static void
test_no_two_have_the_same(void **state)
{
	static struct address crowd[65536];

	(void)state;
	for (unsigned int i = 0; i < 65536; i++) {
		crowd[i] = address("192.168.0.0");
		crowd[i].bytes[14] = (uint8_t)(i >> 8);
		crowd[i].bytes[15] = (uint8_t)i;
		crowd[i] = standin(crowd[i]);
	}
	qsort(crowd, 65536, sizeof(crowd[0]), compare);
	for (unsigned int i = 1; i < 65536; i++)
		assert_true(!same(crowd[i - 1], crowd[i]));
	/* Networks of 24 bits anywhere: many of them come to the networks that are special, and go on. */
	for (unsigned int i = 0; i < 65536; i++) {
		crowd[i] = address("0.0.0.1");
		crowd[i].bytes[12] = (uint8_t)(i >> 8);
		crowd[i].bytes[13] = (uint8_t)i;
		crowd[i] = standin(crowd[i]);
	}
	qsort(crowd, 65536, sizeof(crowd[0]), compare);
	for (unsigned int i = 1; i < 65536; i++)
		assert_true(!same(crowd[i - 1], crowd[i]));
}

static void
test_the_key_decides(void **state)
{
	uint8_t key[ANONYMIZE_KEY];
	struct address once = standin(address("192.0.2.77")), other = address("192.0.2.77");
	struct anonymize *second;

	(void)state;
	assert_true(same(once, standin(address("192.0.2.77"))));
	assert_true(same(once, standin(address("::ffff:192.0.2.77"))));
	for (size_t half = 0; half < 2; half++) {
		memcpy(key, sample_key, sizeof(key));
		key[half * 16] ^= 1;
		second = anonymize_new(key);
		other = address("192.0.2.77");
		anonymize_address(second, other.bytes);
		anonymize_free(second);
		assert_false(same(once, other));
	}
}

/* --- where they stand --- */

static _Alignas(8) uint8_t datagram[1024];
static size_t length;

static void *
add(uint16_t type, uint16_t flags, const void *payload, size_t size)
{
	struct nlmsghdr *message = (struct nlmsghdr *)(datagram + length);

	*message = (struct nlmsghdr){ (uint32_t)NLMSG_LENGTH(size), type, flags, 1, 2 };
	memcpy(message + 1, payload, size);
	length += NLMSG_SPACE(size);
	return message + 1;
}

static void
put(void *to, const char *text)
{
	struct address a = address(text);

	if (strchr(text, ':') != NULL)
		memcpy(to, a.bytes, 16);
	else
		memcpy(to, a.bytes + 12, 4);
}

static void
assert_standin(const void *at, const char *text)
{
	struct address a = standin(address(text));

	assert_memory_equal(at, strchr(text, ':') != NULL ? a.bytes : a.bytes + 12, strchr(text, ':') != NULL ? 16 : 4);
}

static void
run(void)
{
	anonymize_datagram(anonymize, datagram, length);
	length = 0;
}

static void
test_a_socket(void **state)
{
	struct {
		struct inet_diag_msg	socket;
		struct nlattr		info;
		uint8_t			info_bytes[8];
		struct nlattr		unknown;
		uint8_t			unknown_bytes[8];
		struct nlattr		ulp, name;
		uint8_t			name_bytes[4];
		struct nlattr		inner;
		uint8_t			inner_bytes[4];
	} m = {
		.socket = { .idiag_family = AF_INET, .idiag_state = 1, .idiag_uid = 1000, .idiag_inode = 77 },
		.info = { 12, INET_DIAG_INFO }, .info_bytes = "notouch",
		.unknown = { 12, 29 }, .unknown_bytes = "secret!",
		.ulp = { 20, INET_DIAG_ULP_INFO }, .name = { 8, 1 }, .name_bytes = "tls", .inner = { 8, 31 }, .inner_bytes = "hid",
	}, *got;

	(void)state;
	put(m.socket.id.idiag_src, "192.0.2.1");
	put(m.socket.id.idiag_dst, "10.1.2.3");
	m.socket.id.idiag_sport = htons(443);
	m.socket.id.idiag_cookie[0] = 5;
	got = add(TCPDIAG_GETSOCK, NLM_F_MULTI, &m, sizeof(m));
	run();
	assert_standin(got->socket.id.idiag_src, "192.0.2.1");
	assert_standin(got->socket.id.idiag_dst, "10.1.2.3");
	/* All else is as it was. */
	memset(m.unknown_bytes, 0, sizeof(m.unknown_bytes));
	memset(m.inner_bytes, 0, sizeof(m.inner_bytes));
	memcpy(m.socket.id.idiag_src, got->socket.id.idiag_src, 32);
	assert_memory_equal(got, &m, sizeof(m));
	m.socket.idiag_family = AF_INET6;
	put(m.socket.id.idiag_src, "2001:db8::1");
	put(m.socket.id.idiag_dst, "::ffff:192.0.2.1");
	got = add(SOCK_DIAG_BY_FAMILY, 0, &m, sizeof(m));
	run();
	assert_standin(got->socket.id.idiag_src, "2001:db8::1");
	assert_standin((uint8_t *)got->socket.id.idiag_dst + 12, "192.0.2.1");
}

static void
test_the_peer_of_a_key(void **state)
{
	struct {
		struct inet_diag_msg	socket;
		struct nlattr		attr;
		struct tcp_diag_md5sig	peers[2];
	} m = {
		.socket = { .idiag_family = AF_INET6 },
		.attr = { sizeof(m.attr) + sizeof(m.peers), INET_DIAG_MD5SIG },
		.peers = { { .tcpm_family = AF_INET, .tcpm_prefixlen = 24 }, { .tcpm_family = AF_INET6, .tcpm_prefixlen = 128 } },
	}, *got;
	struct address network = standin(address("192.0.2.9"));

	(void)state;
	put(m.peers[0].tcpm_addr, "192.0.2.0");
	put(m.peers[1].tcpm_addr, "2001:db8::9");
	got = add(TCPDIAG_GETSOCK, NLM_F_MULTI, &m, sizeof(m));
	run();
	/* The network that the stand-ins of its addresses are in. */
	network.bytes[15] = 0;
	assert_memory_equal(got->peers[0].tcpm_addr, network.bytes + 12, 4);
	assert_standin(got->peers[1].tcpm_addr, "2001:db8::9");
}

static void
test_requests(void **state)
{
	struct {
		struct inet_diag_req_v2	request;
		struct nlattr		attr;
		uint8_t			filter[8];
	} m = { .request = { .sdiag_family = AF_INET, .sdiag_protocol = 6, .idiag_states = 0xfff }, .attr = { 12, 1 }, .filter = "8.8.8.8" }, *got;
	struct inet_diag_req legacy = { .idiag_family = AF_INET6, .idiag_states = 0xfff }, *old;
	uint8_t *unix_, *zero;

	(void)state;
	put(m.request.id.idiag_src, "192.0.2.1");
	got = add(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, &m, sizeof(m));
	put(legacy.id.idiag_dst, "2001:db8::1");
	old = add(TCPDIAG_GETSOCK, NLM_F_REQUEST, &legacy, sizeof(legacy));
	unix_ = add(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, "\1/run/secret", 12);
	run();
	assert_standin(got->request.id.idiag_src, "192.0.2.1");
	assert_int_equal(got->request.idiag_states, 0xfff);
	zero = (uint8_t *)&got->attr;
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(zero[i] | unix_[i], 0);
	assert_standin(old->id.idiag_dst, "2001:db8::1");
	assert_int_equal(old->idiag_states, 0xfff);
}

static void
test_ends_and_errors(void **state)
{
	struct {
		struct nlmsgerr		error;
		struct inet_diag_req_v2	request;
	} m = { .error = { .error = -2, .msg = { .nlmsg_len = 72, .nlmsg_seq = 9 } } }, *got;
	int *done, both[2] = { -5, 0x0a010203 };

	(void)state;
	put(m.request.id.idiag_src, "192.0.2.1");
	got = add(NLMSG_ERROR, 0, &m, sizeof(m));
	done = add(NLMSG_DONE, NLM_F_MULTI, both, sizeof(both));
	run();
	assert_int_equal(got->error.error, -2);
	assert_int_equal(got->error.msg.nlmsg_seq, 9);
	memset(&m.request, 0, sizeof(m.request));
	assert_memory_equal(&got->request, &m.request, sizeof(m.request));
	assert_int_equal(done[0], -5);
	assert_int_equal(done[1], 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4_is_as_its_inventors_have_it),
		cmocka_unit_test(test_what_stays),
		cmocka_unit_test(test_a_kind_stays_a_kind),
		cmocka_unit_test(test_an_address_is_hidden),
		cmocka_unit_test(test_networks_stay_networks),
		cmocka_unit_test(test_no_two_have_the_same),
		cmocka_unit_test(test_the_key_decides),
		cmocka_unit_test(test_a_socket),
		cmocka_unit_test(test_the_peer_of_a_key),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_ends_and_errors),
	};

	return cmocka_run_group_tests(tests, start, end);
}
