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
		cmocka_unit_test(test_bit_fields_of_tcp_info),
		cmocka_unit_test(test_congestion_control_by_name_and_enum),
		cmocka_unit_test(test_names_are_made_valid),
		cmocka_unit_test(test_largest_record),
		cmocka_unit_test(test_end_of_a_snapshot),
		cmocka_unit_test(test_random_messages_pass_the_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
