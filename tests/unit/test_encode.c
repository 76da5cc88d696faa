/* The encoder's bytes, taken apart by protobuf-c, an independent reader. */
#include <sys/socket.h>

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libmnl/libmnl.h>

#include "collector/encode.h"
#include "common/ring.h"
#include "common/varint.h"
#include "proto/xtcp_flat_record.pb-c.h"
#include "shipper/check.h"

enum { SIZE = 8192 };

static const struct encode_metadata metadata = {
	.timestamp = 1700000000000000000, .snapshot = 7, .sequence = 300, .counter = 3, .attempt = 2,
};

static struct nlmsghdr *
message_new(char *buffer)
{
	struct nlmsghdr *message;
	struct inet_diag_msg *socket;

	memset(buffer, 0, SIZE);
	message = mnl_nlmsg_put_header(buffer);
	socket = mnl_nlmsg_put_extra_header(message, sizeof(*socket));
	socket->idiag_family = AF_INET6;
	socket->idiag_state = 1;
	socket->id.idiag_sport = htons(443);
	socket->id.idiag_dport = htons(50000);
	memset(socket->id.idiag_src, 0xab, sizeof(socket->id.idiag_src));
	socket->id.idiag_cookie[0] = 5;
	socket->id.idiag_cookie[1] = 1;
	socket->idiag_uid = 1000;
	return message;
}

/* Encodes, checks the frame and the shipper's check, and unpacks. */
static XtcpFlatRecord__V1__XtcpFlatRecord *
encode(struct nlmsghdr *message)
{
	static uint8_t out[RING_PREFIX_MAX + ENCODE_SOCKET_MAX];
	struct counters counters = { 0 };
	struct attributes found;
	uint64_t length = 0;
	size_t size, prefix;

	assert_true(attributes_find(&found, message, &counters));
	size = encode_socket(out, &metadata, &found);
	prefix = varint_read(out, size, &length);
	assert_int_not_equal(prefix, 0);
	assert_int_equal(prefix + length, size);
	assert_null(check_record(out + prefix, length));
	return xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, length, out + prefix);
}

#define FREE(record)	xtcp_flat_record__v1__xtcp_flat_record__free_unpacked(record, NULL)

static void
test_metadata_and_message(void **state)
{
	_Alignas(8) char buffer[SIZE];
	XtcpFlatRecord__V1__XtcpFlatRecord *record = encode(message_new(buffer));

	(void)state;
	assert_non_null(record);
	assert_int_equal(record->timestamp_ns, metadata.timestamp);
	assert_int_equal(record->snapshot_sequence, 7);
	assert_int_equal(record->record_sequence, 300);
	assert_int_equal(record->record_counter, 3);
	assert_int_equal(record->snapshot_attempt, 2);
	assert_int_equal(record->attributes_present, 1);
	assert_int_equal(record->inet_diag_msg_family, AF_INET6);
	assert_int_equal(record->inet_diag_msg_socket_source_port, 443);
	assert_int_equal(record->inet_diag_msg_socket_destination_port, 50000);
	assert_int_equal(record->inet_diag_msg_socket_source.len, 16);
	assert_int_equal(record->inet_diag_msg_socket_source.data[15], 0xab);
	assert_int_equal(record->inet_diag_msg_socket_cookie, (UINT64_C(1) << 32) + 5);
	assert_int_equal(record->inet_diag_msg_uid, 1000);
	FREE(record);
}

/* Each field of tcp_info is there exactly when the kernel's struct reaches it. */
static void
test_tcp_info_of_every_length(void **state)
{
	(void)state;
	for (size_t length = 0; length <= 320; length += 4) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);
		XtcpFlatRecord__V1__XtcpFlatRecord *record;
		uint8_t info[320], behind[255];

		memset(info, 0x11, sizeof(info));
		memset(behind, 0x22, sizeof(behind));
		mnl_attr_put(message, INET_DIAG_INFO, length, info);
		mnl_attr_put(message, INET_DIAG_SKMEMINFO, sizeof(behind), behind);
		mnl_attr_put(message, INET_DIAG_BBRINFO, sizeof(behind), behind);
		record = encode(message);
		assert_non_null(record);
		assert_int_equal(record->tcp_info_length, length);
		assert_int_equal(record->tcp_info_rtt, length >= 72 ? 0x11111111 : 0);
		assert_int_equal(record->tcp_info_rehash, length >= 240 ? 0x11111111 : 0);
		assert_int_equal(record->tcp_info_total_rto, length >= 244 ? 0x1111 : 0);
		assert_int_equal(record->tcp_info_accecn, length >= 280 ? 0x11111111 : 0);
		FREE(record);
	}
}

/* Bytes of tcp_info that nobody has a name for yet are kept, as many as have room. */
static void
test_the_tail_of_tcp_info(void **state)
{
	static const size_t lengths[] = { 280, 281, 284, 400, 280 + 127, 280 + 128, 280 + 1024, 280 + 1025, 3000 };

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);
		XtcpFlatRecord__V1__XtcpFlatRecord *record;
		size_t tail = lengths[i] - 280 < RECORD_BYTES_MAX ? lengths[i] - 280 : RECORD_BYTES_MAX;
		uint8_t info[3000];

		for (size_t at = 0; at < sizeof(info); at++)
			info[at] = (uint8_t)(at * 7 + 1);
		mnl_attr_put(message, INET_DIAG_INFO, lengths[i], info);
		mnl_attr_put_u32(message, INET_DIAG_MARK, 42);
		record = encode(message);
		assert_non_null(record);
		assert_int_equal(record->tcp_info_length, lengths[i]);
		assert_int_equal(record->tcp_info_tail.len, tail);
		assert_memory_equal(record->tcp_info_tail.data, info + 280, tail);
		assert_int_equal(record->mark, 42);
		FREE(record);
	}
}

static void
test_tls_and_mptcp(void **state)
{
	static const uint8_t bytes[] = { 0x81, 0x92, 0xa3, 0xb4, 0xc5, 0xd6, 0xe7, 0xf8 };
	static const uint8_t sizes[] = { 4, 4, 4, 8, 4, 4, 2, 4, 1, 1 };
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	struct nlattr *ulp = mnl_attr_nest_start(message, INET_DIAG_ULP_INFO), *nest;
	XtcpFlatRecord__V1__XtcpFlatRecord *record;

	(void)state;
	mnl_attr_put_strz(message, 1, "tls");
	nest = mnl_attr_nest_start(message, 2);
	mnl_attr_put_u16(message, 1, 0x0304);
	mnl_attr_put_u16(message, 2, 52);
	mnl_attr_put_u16(message, 3, 2);
	mnl_attr_put_u16(message, 4, 3);
	mnl_attr_put(message, 5, 0, NULL);
	mnl_attr_put_u16(message, 7, 16384);
	mnl_attr_nest_end(message, nest);
	nest = mnl_attr_nest_start(message, 3);
	for (uint16_t i = 0; i < sizeof(sizes); i++)
		mnl_attr_put(message, i + 1, sizes[i], bytes);
	mnl_attr_nest_end(message, nest);
	mnl_attr_nest_end(message, ulp);
	record = encode(message);
	assert_non_null(record);
	assert_string_equal(record->ulp_name, "tls");
	assert_int_equal(record->tls_version, 772);
	assert_int_equal(record->tls_cipher, 52);
	assert_int_equal(record->tls_tx_conf, 2);
	assert_int_equal(record->tls_rx_conf, 3);
	assert_int_equal(record->tls_zc_ro_tx, 1);
	assert_int_equal(record->tls_rx_no_pad, 0);
	assert_int_equal(record->tls_tx_max_payload_len, 16384);
	assert_memory_equal(&record->mptcp_token_rem, bytes, 4);
	assert_memory_equal(&record->mptcp_token_loc, bytes, 4);
	assert_memory_equal(&record->mptcp_relwrite_seq, bytes, 4);
	assert_memory_equal(&record->mptcp_map_seq, bytes, 8);
	assert_memory_equal(&record->mptcp_map_sfseq, bytes, 4);
	assert_memory_equal(&record->mptcp_ssn_offset, bytes, 4);
	assert_memory_equal(&(uint16_t){ (uint16_t)record->mptcp_map_datalen }, bytes, 2);
	assert_memory_equal(&record->mptcp_flags, bytes, 4);
	assert_int_equal(record->mptcp_id_rem, 0x81);
	assert_int_equal(record->mptcp_id_loc, 0x81);
	FREE(record);
}

/* How many keys and the first one's peer; of the keys themselves nothing. */
static void
test_md5_keys(void **state)
{
	(void)state;
	for (size_t count = 1; count <= 3; count++) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);
		struct tcp_diag_md5sig keys[4] = {
			{ .tcpm_family = AF_INET6, .tcpm_prefixlen = 64, .tcpm_keylen = 6, .tcpm_key = "secret" },
			{ .tcpm_family = AF_INET, .tcpm_prefixlen = 32, .tcpm_keylen = 6, .tcpm_key = "secret" },
		};
		XtcpFlatRecord__V1__XtcpFlatRecord *record;
		struct attributes found;
		struct counters counters = { 0 };
		uint8_t out[RING_PREFIX_MAX + ENCODE_SOCKET_MAX];

		memset(keys[0].tcpm_addr, 0xfd, sizeof(keys[0].tcpm_addr));
		/* And the start of one more. */
		mnl_attr_put(message, INET_DIAG_MD5SIG, count * sizeof(keys[0]) + 30, keys);
		record = encode(message);
		assert_non_null(record);
		assert_int_equal(record->md5_key_count, count);
		assert_int_equal(record->md5_peer_family, AF_INET6);
		assert_int_equal(record->md5_peer_prefix_length, 64);
		assert_int_equal(record->md5_peer_address.len, 16);
		assert_memory_equal(record->md5_peer_address.data, keys[0].tcpm_addr, 16);
		FREE(record);
		assert_true(attributes_find(&found, message, &counters));
		assert_null(memmem(out, encode_socket(out, &metadata, &found), "secret", 6));
	}
}

static void
test_bit_fields_of_tcp_info(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	XtcpFlatRecord__V1__XtcpFlatRecord *record;
	struct tcp_info info = { .tcpi_snd_wscale = 7, .tcpi_rcv_wscale = 9,
	    .tcpi_delivery_rate_app_limited = 1, .tcpi_fastopen_client_fail = 2 };

	(void)state;
	mnl_attr_put(message, INET_DIAG_INFO, sizeof(info), &info);
	record = encode(message);
	assert_int_equal(record->tcp_info_send_scale, 7);
	assert_int_equal(record->tcp_info_rcv_scale, 9);
	assert_int_equal(record->tcp_info_delivery_rate_app_limited, 1);
	assert_int_equal(record->tcp_info_fast_open_client_failed, 2);
	FREE(record);
}

static void
test_congestion_control_by_name_and_enum(void **state)
{
	static const struct {
		const char	*name;
		int		value;
	} known[] = { { "cubic", 1 }, { "dctcp", 2 }, { "bbr", 5 }, { "reno", 0 }, { "bpf_cubic", 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);
		XtcpFlatRecord__V1__XtcpFlatRecord *record;

		mnl_attr_put_strz(message, INET_DIAG_CONG, known[i].name);
		record = encode(message);
		assert_string_equal(record->congestion_algorithm_string, known[i].name);
		assert_int_equal(record->congestion_algorithm_enum, known[i].value);
		FREE(record);
	}
}

/* A name of a module may be anything; one bad string would spoil a batch. */
static void
test_names_are_made_valid(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	XtcpFlatRecord__V1__XtcpFlatRecord *record;

	(void)state;
	mnl_attr_put(message, INET_DIAG_CONG, 6, "a\xff\n\x80 z");
	record = encode(message);
	assert_string_equal(record->congestion_algorithm_string, "a____z");
	FREE(record);
}

/* The largest record that a kernel could make us write fits. */
static void
test_largest_record(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *message = message_new(buffer);
	XtcpFlatRecord__V1__XtcpFlatRecord *record;
	uint8_t ones[600];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	for (uint16_t type = 1; type <= INET_DIAG_SOCKOPT; type++)
		if (type != INET_DIAG_ULP_INFO && type != INET_DIAG_MD5SIG)
			mnl_attr_put(message, type, type == INET_DIAG_INFO ? 600 : 255, ones);
	record = encode(message);
	assert_non_null(record);
	FREE(record);
}

/* --- cut short ------------------------------------------------------------------- */

static void
put_parts(struct nlmsghdr *message, uint16_t nest_number, const uint8_t *sizes, size_t count, const uint8_t *bytes)
{
	struct nlattr *nest = mnl_attr_nest_start(message, nest_number);

	for (uint16_t i = 0; i < count; i++)
		mnl_attr_put(message, i + 1, sizes[i], bytes);
	mnl_attr_nest_end(message, nest);
}

/* Every attribute that there is, unknown ones, and both nests. */
static void
put_everything(struct nlmsghdr *message)
{
	static const uint8_t tls[] = { 2, 2, 2, 2, 0, 0, 2, 4 }, mptcp[] = { 4, 4, 4, 8, 4, 4, 2, 4, 1, 1, 0, 3 };
	static const uint16_t sizes[INET_DIAG_SOCKOPT + 2] = {
		[INET_DIAG_MEMINFO] = 16, [INET_DIAG_INFO] = 300, [INET_DIAG_VEGASINFO] = 16, [INET_DIAG_CONG] = 16,
		[INET_DIAG_TOS] = 1, [INET_DIAG_TCLASS] = 1, [INET_DIAG_SKMEMINFO] = 36, [INET_DIAG_SHUTDOWN] = 1,
		[INET_DIAG_DCTCPINFO] = 16, [INET_DIAG_PROTOCOL] = 1, [INET_DIAG_SKV6ONLY] = 1, [INET_DIAG_MARK] = 4,
		[INET_DIAG_BBRINFO] = 20, [INET_DIAG_CLASS_ID] = 4, [INET_DIAG_CGROUP_ID] = 8, [INET_DIAG_SOCKOPT] = 2,
		[INET_DIAG_SOCKOPT + 1] = 5,
	};
	struct tcp_diag_md5sig key = { .tcpm_family = AF_INET, .tcpm_prefixlen = 32, .tcpm_key = "very-secret" };
	struct nlattr *ulp;
	uint8_t bytes[300];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)('a' + i % 26);
	for (uint16_t number = 1; number < sizeof(sizes) / sizeof(sizes[0]); number++)
		if (number != INET_DIAG_MD5SIG && number != INET_DIAG_ULP_INFO)
			mnl_attr_put(message, number, sizes[number], bytes);
	mnl_attr_put(message, INET_DIAG_MD5SIG, sizeof(key), &key);
	ulp = mnl_attr_nest_start(message, INET_DIAG_ULP_INFO);
	mnl_attr_put_strz(message, 1, "tls");
	put_parts(message, 2, tls, sizeof(tls), bytes);
	put_parts(message, 3, mptcp, sizeof(mptcp), bytes);
	mnl_attr_nest_end(message, ulp);
}

/* Ends of attributes in the message itself, the last byte of each and the padding behind it. */
static bool
ends_at(const struct nlmsghdr *whole, uint32_t length)
{
	const char *cut = (const char *)whole + length;
	struct nlattr *attr;

	if (length == NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
		return true;
	mnl_attr_for_each(attr, whole, sizeof(struct inet_diag_msg))
		if (cut >= (const char *)attr + attr->nla_len && cut <= (const char *)attr + NLA_ALIGN(attr->nla_len))
			return true;
	return false;
}

/*
 * Cut at any byte it is a record with what is whole, or it is none: then it is
 * all zeros, and whoever asked counts it.  Each has an allocation of its own,
 * so that a sanitizer sees a read behind its end.
 */
static void
test_truncation_of_everything_at_every_byte(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *whole = message_new(buffer);
	unsigned int records = 0;

	(void)state;
	put_everything(whole);
	for (uint32_t length = NLMSG_HDRLEN; length <= whole->nlmsg_len; length++) {
		struct nlmsghdr *message = malloc(length);
		struct counters counters = { 0 };
		struct attributes found;

		assert_non_null(message);
		memcpy(message, whole, length);
		message->nlmsg_len = length;
		if (ends_at(whole, length)) {
			FREE(encode(message));
			records++;
		} else {
			assert_false(attributes_find(&found, message, &counters));
			for (uint32_t i = NLMSG_HDRLEN; i < length; i++)
				assert_int_equal(((uint8_t *)message)[i], 0);
		}
		assert_null(memmem(message, length, "very-secret", 8));
		free(message);
	}
	assert_in_range(records, 20, 60);
}

/* The same within INET_DIAG_ULP_INFO, where what is cut is counted and the rest is a record. */
static void
test_truncation_of_nests_at_every_byte(void **state)
{
	_Alignas(8) char buffer[SIZE];
	struct nlmsghdr *whole = message_new(buffer);
	struct nlattr *attr, *ulp = NULL;
	unsigned int cut = 0;
	size_t before;

	(void)state;
	put_everything(whole);
	mnl_attr_for_each(attr, whole, sizeof(struct inet_diag_msg))
		ulp = attr;
	before = (size_t)((char *)ulp - (char *)whole);
	for (uint16_t length = NLA_HDRLEN; length <= ulp->nla_len; length++) {
		struct nlmsghdr *message = malloc(before + length);
		struct counters counters = { 0 };
		struct attributes found;

		assert_non_null(message);
		memcpy(message, whole, before + length);
		message->nlmsg_len = (uint32_t)(before + length);
		((struct nlattr *)((char *)message + before))->nla_len = length;
		assert_true(attributes_find(&found, message, &counters));
		assert_in_range(counters.short_attributes, 0, 1);
		cut += (unsigned int)counters.short_attributes;
		FREE(encode(message));
		free(message);
	}
	/* All but those at which a part of it ends: name, TLS, MPTCP. */
	assert_in_range(cut, ulp->nla_len - 12, ulp->nla_len - 4);
}

static void
test_end_of_a_snapshot(void **state)
{
	const struct encode_end end = {
		.way = RECORD_WAY_WALK, .outcome = RECORD_OUTCOME_DEADLINE,
		.published = 10, .dropped = 3, .repeated = 1,
		.inuse_before = 12, .inuse_after = 13, .tw_before = 4, .tw_after = 5, .duration = 99,
	};
	uint8_t out[RING_PREFIX_MAX + ENCODE_END_MAX];
	XtcpFlatRecord__V1__XtcpFlatRecord *record;
	uint64_t length = 0;
	size_t size = encode_end(out, &metadata, &end), prefix = varint_read(out, size, &length);

	(void)state;
	assert_int_equal(prefix + length, size);
	assert_null(check_record(out + prefix, length));
	record = xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, length, out + prefix);
	assert_non_null(record);
	assert_int_equal(record->record_kind, XTCP_FLAT_RECORD__V1__RECORD_KIND__RECORD_KIND_SNAPSHOT_END);
	assert_int_equal(record->snapshot_outcome, XTCP_FLAT_RECORD__V1__SNAPSHOT_OUTCOME__SNAPSHOT_OUTCOME_DEADLINE);
	assert_int_equal(record->snapshot_published, 10);
	assert_int_equal(record->snapshot_dropped, 3);
	assert_int_equal(record->snapshot_tw_after, 5);
	assert_int_equal(record->snapshot_duration_ns, 99);
	FREE(record);
}

/* Nothing that came from the kernel is written so wide that the check refuses it. */
static void
test_random_messages_pass_the_check(void **state)
{
	(void)state;
	srandom(1);
	for (int round = 0; round < 3000; round++) {
		_Alignas(8) char buffer[SIZE];
		struct nlmsghdr *message = message_new(buffer);
		struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
		uint8_t bytes[300];

		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random();
		memcpy(socket, bytes, sizeof(*socket));
		for (int n = (int)(random() % 12); n > 0; n--)
			mnl_attr_put(message, (uint16_t)(1 + random() % 22), (size_t)(random() % 280), bytes);
		FREE(encode(message));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metadata_and_message),
		cmocka_unit_test(test_tcp_info_of_every_length),
		cmocka_unit_test(test_the_tail_of_tcp_info),
		cmocka_unit_test(test_tls_and_mptcp),
		cmocka_unit_test(test_md5_keys),
		cmocka_unit_test(test_bit_fields_of_tcp_info),
		cmocka_unit_test(test_congestion_control_by_name_and_enum),
		cmocka_unit_test(test_names_are_made_valid),
		cmocka_unit_test(test_largest_record),
		cmocka_unit_test(test_truncation_of_everything_at_every_byte),
		cmocka_unit_test(test_truncation_of_nests_at_every_byte),
		cmocka_unit_test(test_end_of_a_snapshot),
		cmocka_unit_test(test_random_messages_pass_the_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
