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
		cmocka_unit_test(test_unknown_and_short_ones_are_counted),
		cmocka_unit_test(test_md5_keys_are_wiped_and_counted),
		cmocka_unit_test(test_half_a_key_is_wiped_too),
		cmocka_unit_test(test_truncation_at_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
