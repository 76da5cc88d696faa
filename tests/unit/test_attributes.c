/* Messages of a dump: what is found, what is counted, what is wiped. */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libmnl/libmnl.h>

#include "collector/attributes.h"

enum { SIZE = 4096 };

static const char secret[] = "not-for-anybody-else";

static struct nlmsghdr *
message_new(char *buffer)
{
	struct nlmsghdr *message;

	memset(buffer, 0, SIZE);
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = TCPDIAG_GETSOCK;
	mnl_nlmsg_put_extra_header(message, sizeof(struct inet_diag_msg));
	return message;
}

static void
put_key(struct nlmsghdr *message, size_t cut)
{
	struct tcp_diag_md5sig keys[2] = { { .tcpm_family = 2, .tcpm_keylen = sizeof(secret) } };

	memcpy(keys[0].tcpm_key, secret, sizeof(secret));
	memcpy(keys[1].tcpm_key, secret, sizeof(secret));
	mnl_attr_put(message, INET_DIAG_MD5SIG, sizeof(keys) - cut, keys);
}

static bool
has_secret(const char *buffer)
{
	return memmem(buffer, SIZE, secret, 8) != NULL;
}

static bool
present(const struct attributes *found, enum record_source source)
{
	return (found->present >> source & 1) != 0;
}

static void
test_known_attributes_are_found(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	mnl_attr_put_strz(message, INET_DIAG_CONG, "bbr");
	mnl_attr_put_u8(message, INET_DIAG_TOS, 0x10);
	mnl_attr_put_u32(message, INET_DIAG_MARK, 42);
	assert_true(attributes_find(&found, message, &counters));
	assert_true(present(&found, RECORD_MSG) && present(&found, RECORD_CONG));
	assert_true(present(&found, RECORD_TOS) && present(&found, RECORD_MARK));
	assert_false(present(&found, RECORD_INFO));
	assert_memory_equal(found.payload[RECORD_CONG], "bbr", 4);
	assert_int_equal(found.payload[RECORD_TOS][0], 0x10);
	assert_int_equal(found.length[RECORD_MARK], 4);
}

static void
test_parts_of_ulp_info_are_found(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct nlattr *ulp, *tls;
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	ulp = mnl_attr_nest_start(message, INET_DIAG_ULP_INFO);
	mnl_attr_put_strz(message, 1, "tls");
	tls = mnl_attr_nest_start(message, 2);
	mnl_attr_put_u16(message, 1, 0x0304);
	mnl_attr_put_u16(message, 4, 7);
	mnl_attr_nest_end(message, tls);
	mnl_attr_nest_end(message, ulp);
	assert_true(attributes_find(&found, message, &counters));
	assert_true(present(&found, RECORD_ULP_INFO) && present(&found, RECORD_ULP_NAME));
	assert_true(present(&found, RECORD_TLS_VERSION) && present(&found, RECORD_TLS_RXCONF));
	assert_false(present(&found, RECORD_TLS_CIPHER));
	assert_int_equal(found.payload[RECORD_TLS_RXCONF][0], 7);
}

/* Every part of the two nests: attribute.def's numbers and the kernel's sizes. */
static void
test_every_part_of_tls_and_mptcp_is_found(void **state)
{
	static const uint8_t tls_sizes[] = { 2, 2, 2, 2, 0, 0, 2 }, mptcp_sizes[] = { 4, 4, 4, 8, 4, 4, 2, 4, 1, 1 };
	static const uint8_t bytes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct nlattr *ulp = mnl_attr_nest_start(message, INET_DIAG_ULP_INFO), *nest;
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	nest = mnl_attr_nest_start(message, 2);
	for (uint16_t i = 0; i < sizeof(tls_sizes); i++)
		mnl_attr_put(message, i + 1, tls_sizes[i], bytes);
	mnl_attr_nest_end(message, nest);
	nest = mnl_attr_nest_start(message, 3);
	for (uint16_t i = 0; i < sizeof(mptcp_sizes); i++)
		mnl_attr_put(message, i + 1, mptcp_sizes[i], bytes);
	mnl_attr_put(message, 11, 0, NULL);	/* padding */
	mnl_attr_nest_end(message, nest);
	mnl_attr_nest_end(message, ulp);
	assert_true(attributes_find(&found, message, &counters));
	for (unsigned int i = 0; i < sizeof(tls_sizes); i++) {
		assert_true(present(&found, RECORD_TLS_VERSION + i));
		assert_int_equal(found.length[RECORD_TLS_VERSION + i], tls_sizes[i]);
	}
	for (unsigned int i = 0; i < sizeof(mptcp_sizes); i++) {
		assert_true(present(&found, RECORD_MPTCP_TOKEN_REM + i));
		assert_int_equal(found.length[RECORD_MPTCP_TOKEN_REM + i], mptcp_sizes[i]);
	}
	assert_true(present(&found, RECORD_ULP_TLS) && present(&found, RECORD_ULP_MPTCP));
	assert_int_equal(counters.short_attributes + counters.long_attributes, 0);
	for (unsigned int nest_number = 0; nest_number < RECORD_NESTS; nest_number++)
		assert_int_equal(attributes_unknown(&counters, nest_number), 0);
}

static void
test_unknown_parts_are_counted_where_they_stand(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct nlattr *ulp = mnl_attr_nest_start(message, INET_DIAG_ULP_INFO), *nest;
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	mnl_attr_put_u32(message, 4, 1);
	for (uint16_t number = 2; number <= 3; number++) {
		nest = mnl_attr_nest_start(message, number);
		mnl_attr_put_u32(message, 8 + number, 1);
		mnl_attr_put_u32(message, 12 + number, 1);
		mnl_attr_put_u32(message, 1000, 1);
		mnl_attr_nest_end(message, nest);
	}
	mnl_attr_nest_end(message, ulp);
	assert_true(attributes_find(&found, message, &counters));
	assert_int_equal(attributes_unknown(&counters, RECORD_NEST_TOP), 0);
	assert_int_equal(attributes_unknown(&counters, RECORD_NEST_ULP), 1U << 4);
	assert_int_equal(attributes_unknown(&counters, RECORD_NEST_TLS), 1U << 10 | 1U << 14 | 1U << 31);
	/* 11 is padding. */
	assert_int_equal(attributes_unknown(&counters, RECORD_NEST_MPTCP), 1U << 15 | 1U << 31);
	assert_int_equal(counters.unknown_attributes[RECORD_NEST_MPTCP][31], 1);
	assert_int_equal(counters.short_attributes, 0);
}

/* Nests of nests of nests: as deep as the table goes, and no deeper. */
static void
test_a_nest_within_itself_opens_nothing(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct nlattr *nests[500];
	struct counters counters = { 0 };
	struct attributes found;
	size_t depth;

	(void)state;
	for (depth = 0; depth < 500; depth++)
		nests[depth] = mnl_attr_nest_start(message, depth == 0 ? INET_DIAG_ULP_INFO : depth == 1 ? 2 : 19);
	while (depth-- > 0)
		mnl_attr_nest_end(message, nests[depth]);
	assert_true(attributes_find(&found, message, &counters));
	assert_int_equal(attributes_unknown(&counters, RECORD_NEST_TLS), 1U << 19);
	assert_int_equal(counters.unknown_attributes[RECORD_NEST_TLS][19], 1);
}

/* A nest that is cut somewhere: what is whole is found, the rest is counted. */
static void
test_a_cut_nest_is_counted(void **state)
{
	static const uint8_t parts[] = { 8, 0, 1, 0, 1, 2, 3, 4, 5, 0, 9, 0, 7, 0, 0, 0, 8, 0, 8, 0, 1, 2, 3, 4 };
	/* Where an attribute ends, its padding may be missing. */
	static const size_t ends[] = { 0, 8, 13, 16, 24 };
	size_t next = 0;

	(void)state;
	for (size_t length = 0; length <= sizeof(parts); length++) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer), *exact;
		struct nlattr *ulp = mnl_attr_nest_start(message, INET_DIAG_ULP_INFO);
		struct counters counters = { 0 };
		struct attributes found;
		bool whole = length == ends[next] || length == 14 || length == 15;

		next += length == ends[next];
		mnl_attr_put(message, 3, length, parts);
		mnl_attr_nest_end(message, ulp);
		exact = malloc(message->nlmsg_len);
		assert_non_null(exact);
		memcpy(exact, message, message->nlmsg_len);
		assert_true(attributes_find(&found, exact, &counters));
		assert_int_equal(counters.short_attributes, whole ? 0 : 1);
		assert_int_equal(present(&found, RECORD_MPTCP_TOKEN_REM), length >= 8);
		assert_int_equal(present(&found, RECORD_MPTCP_ID_REM), length >= 13);
		assert_int_equal(present(&found, RECORD_MPTCP_FLAGS), length == 24);
		free(exact);
	}
}

/* What a newer kernel has behind what we know is counted, tcp_info's by the byte. */
static void
test_longer_ones_are_counted(void **state)
{
	static const struct {
		size_t	length, tail, cut;
	} cases[] = { { 232, 0, 0 }, { 280, 0, 0 }, { 281, 1, 0 }, { 280 + 1024, 1024, 0 }, { 280 + 1025, 1025, 1 }, { 3000, 2720, 1696 } };
	static const uint8_t bytes[3000];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);
		struct counters counters = { 0 };
		struct attributes found;

		mnl_attr_put(message, INET_DIAG_INFO, cases[i].length, bytes);
		mnl_attr_put_strz(message, INET_DIAG_CONG, "cubic");
		assert_true(attributes_find(&found, message, &counters));
		assert_int_equal(counters.long_attributes, cases[i].tail > 0 ? 1 : 0);
		assert_int_equal(counters.tail_bytes, cases[i].tail);
		assert_int_equal(counters.cut_bytes, cases[i].cut);
		assert_int_equal(found.length[RECORD_INFO], cases[i].length);
	}
	assert_int_equal(attributes_longer(), UINT64_C(1) << RECORD_INFO);
	{
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);
		struct counters counters = { 0 };
		struct attributes found;

		mnl_attr_put(message, INET_DIAG_BBRINFO, 52, bytes);
		assert_true(attributes_find(&found, message, &counters));
		assert_true(present(&found, RECORD_BBRINFO));
		assert_int_equal(counters.long_attributes, 1);
		assert_int_equal(counters.tail_bytes, 0);
	}
	assert_int_equal(attributes_longer(), UINT64_C(1) << RECORD_INFO | UINT64_C(1) << RECORD_BBRINFO);
}

static void
test_only_what_is_chosen_is_found(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct nlattr *ulp;
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	mnl_attr_put_u8(message, INET_DIAG_TOS, 1);
	mnl_attr_put_u32(message, INET_DIAG_MARK, 2);
	mnl_attr_put_u8(message, INET_DIAG_MARK, 2);	/* short, but nobody wants it */
	mnl_attr_put_u32(message, 23, 3);
	put_key(message, 0);
	ulp = mnl_attr_nest_start(message, INET_DIAG_ULP_INFO);
	mnl_attr_put_strz(message, 1, "tls");
	mnl_attr_put_u32(message, 9, 3);
	mnl_attr_nest_end(message, ulp);
	attributes_choose(UINT64_C(1) << RECORD_MSG | UINT64_C(1) << RECORD_TOS);
	assert_true(attributes_find(&found, message, &counters));
	attributes_choose(ATTRIBUTES_EVERY);
	assert_int_equal(found.present, UINT64_C(1) << RECORD_MSG | UINT64_C(1) << RECORD_TOS);
	assert_int_equal(counters.short_attributes, 0);
	assert_int_equal(attributes_unknown(&counters, RECORD_NEST_TOP), 1U << 23);
	assert_int_equal(attributes_unknown(&counters, RECORD_NEST_ULP), 0);
	/* Keys go whatever is chosen. */
	assert_false(has_secret(buffer));
	assert_int_equal(counters.md5_keys, 2);
}

/* The bits of idiag_ext, as the kernel's header and net/ipv4/inet_diag.c have them. */
static void
test_extensions_bring_what_is_chosen(void **state)
{
	static const struct {
		uint64_t	chosen;
		uint8_t		extensions;
	} cases[] = {
		{ 0, 0 }, { UINT64_C(1) << RECORD_MSG, 0 }, { UINT64_C(1) << RECORD_MEMINFO, 1 << 0 },
		{ UINT64_C(1) << RECORD_INFO, 1 << 1 }, { UINT64_C(1) << RECORD_VEGASINFO, 1 << 2 },
		{ UINT64_C(1) << RECORD_CONG, 1 << 3 }, { UINT64_C(1) << RECORD_TOS, 1 << 4 },
		{ UINT64_C(1) << RECORD_TCLASS, 1 << 5 }, { UINT64_C(1) << RECORD_SKMEMINFO, 1 << 6 },
		{ UINT64_C(1) << RECORD_SHUTDOWN, 1 << 7 },
		/* One bit for every congestion control's struct; the others by a neighbour's. */
		{ UINT64_C(1) << RECORD_DCTCPINFO, 1 << 2 }, { UINT64_C(1) << RECORD_BBRINFO, 1 << 2 },
		{ UINT64_C(1) << RECORD_CLASS_ID, 1 << 5 }, { UINT64_C(1) << RECORD_MD5SIG, 1 << 1 },
		{ UINT64_C(1) << RECORD_MPTCP_FLAGS, 1 << 1 },
		{ UINT64_C(1) << RECORD_MARK | UINT64_C(1) << RECORD_CGROUP_ID | UINT64_C(1) << RECORD_SOCKOPT, 0 },
		{ UINT64_C(1) << RECORD_TOS | UINT64_C(1) << RECORD_INFO, 1 << 4 | 1 << 1 }, { ATTRIBUTES_EVERY, 0xff },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(attributes_extensions(cases[i].chosen), cases[i].extensions);
}

static void
test_unknown_and_short_ones_are_counted(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	mnl_attr_put_u32(message, 20, 1);
	mnl_attr_put_u32(message, 900, 1);
	mnl_attr_put_u16(message, INET_DIAG_MARK, 1);
	assert_true(attributes_find(&found, message, &counters));
	assert_int_equal(counters.unknown_attributes[RECORD_NEST_TOP][20], 1);
	assert_int_equal(counters.unknown_attributes[RECORD_NEST_TOP][31], 1);
	assert_int_equal(counters.short_attributes, 1);
	assert_false(present(&found, RECORD_MARK));
}

static void
test_md5_keys_are_wiped_and_counted(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	put_key(message, 0);
	mnl_attr_put_u32(message, INET_DIAG_MARK, 42);
	assert_true(has_secret(buffer));
	assert_true(attributes_find(&found, message, &counters));
	assert_false(has_secret(buffer));
	assert_int_equal(counters.md5_keys, 2);
	assert_true(present(&found, RECORD_MARK));
}

static void
test_half_a_key_is_wiped_too(void **state)
{
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	for (size_t cut = 0; cut < sizeof(struct tcp_diag_md5sig); cut++) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);

		put_key(message, cut);
		attributes_find(&found, message, &counters);
		assert_false(has_secret(buffer));
		/* Without one whole struct there is nothing to read an address from. */
		assert_true(present(&found, RECORD_MD5SIG));
	}
	for (size_t cut = sizeof(struct tcp_diag_md5sig) + 1; cut <= 2 * sizeof(struct tcp_diag_md5sig); cut++) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);

		put_key(message, cut);
		counters = (struct counters){ 0 };
		assert_true(attributes_find(&found, message, &counters));
		assert_false(has_secret(buffer));
		assert_false(present(&found, RECORD_MD5SIG));
		assert_int_equal(counters.short_attributes, 1);
	}
}

/* Cut anywhere: a whole message or none, never a byte beyond, never a key. */
static void
test_truncation_at_every_byte(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *whole = message_new(buffer);
	struct counters counters = { 0 };
	struct attributes found;

	(void)state;
	mnl_attr_put_strz(whole, INET_DIAG_CONG, "cubic");
	put_key(whole, 0);
	mnl_attr_put_u32(whole, INET_DIAG_MARK, 42);
	for (uint32_t length = NLMSG_HDRLEN; length < whole->nlmsg_len; length++) {
		/* exactly as large as it says, so that a sanitizer sees a step beyond */
		struct nlmsghdr *message = malloc(length);

		assert_non_null(message);
		memcpy(message, whole, length);
		message->nlmsg_len = length;
		attributes_find(&found, message, &counters);
		assert_null(memmem(message, length, secret, 8));
		free(message);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_attributes_are_found),
		cmocka_unit_test(test_parts_of_ulp_info_are_found),
		cmocka_unit_test(test_every_part_of_tls_and_mptcp_is_found),
		cmocka_unit_test(test_unknown_parts_are_counted_where_they_stand),
		cmocka_unit_test(test_a_nest_within_itself_opens_nothing),
		cmocka_unit_test(test_a_cut_nest_is_counted),
		cmocka_unit_test(test_longer_ones_are_counted),
		cmocka_unit_test(test_only_what_is_chosen_is_found),
		cmocka_unit_test(test_extensions_bring_what_is_chosen),
		cmocka_unit_test(test_unknown_and_short_ones_are_counted),
		cmocka_unit_test(test_md5_keys_are_wiped_and_counted),
		cmocka_unit_test(test_half_a_key_is_wiped_too),
		cmocka_unit_test(test_truncation_at_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
