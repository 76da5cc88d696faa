/* The table of fields against protobuf-c's descriptor of the schema, and the reader against any bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buffer.h"
#include "common/record.h"
#include "common/record_reader.h"
#include "common/varint.h"
#include "proto/xtcp_flat_record.pb-c.h"

static const ProtobufCMessageDescriptor *const schema = &xtcp_flat_record__v1__xtcp_flat_record__descriptor;

/* --- the table --- */

static ProtobufCType
expected_type(const struct record_field *field)
{
	static const ProtobufCType types[] = {
		[RECORD_U32] = PROTOBUF_C_TYPE_UINT32,
		[RECORD_U64] = PROTOBUF_C_TYPE_UINT64,
		[RECORD_I64] = PROTOBUF_C_TYPE_INT64,
		[RECORD_STRING] = PROTOBUF_C_TYPE_STRING,
		[RECORD_ADDRESS] = PROTOBUF_C_TYPE_BYTES,
		[RECORD_BYTES] = PROTOBUF_C_TYPE_BYTES,
		[RECORD_STATE] = PROTOBUF_C_TYPE_UINT32,
		[RECORD_CONGESTION] = PROTOBUF_C_TYPE_ENUM,
		[RECORD_KIND] = PROTOBUF_C_TYPE_ENUM,
		[RECORD_WAY] = PROTOBUF_C_TYPE_ENUM,
		[RECORD_OUTCOME] = PROTOBUF_C_TYPE_ENUM,
	};

	return types[field->type];
}

static void
test_table_is_the_schema(void **state)
{
	unsigned int i;

	assert_int_equal(RECORD_FIELDS, schema->n_fields);
	for (i = 0; i < schema->n_fields; i++) {
		const ProtobufCFieldDescriptor *theirs = &schema->fields[i];
		int row = record_field_by_number(theirs->id);

		/* Both lists ascend, so that the rows have to agree too. */
		assert_int_equal(row, i);
		assert_string_equal(record_fields[row].name, theirs->name);
		assert_int_equal(record_fields[row].number, theirs->id);
		assert_int_equal(expected_type(&record_fields[row]), theirs->type);
		assert_int_equal(record_field_by_name(theirs->name), row);
		assert_int_equal(record_wire_type(record_fields[row].type),
		    theirs->type == PROTOBUF_C_TYPE_STRING || theirs->type == PROTOBUF_C_TYPE_BYTES ? 2 : 0);
	}
}

static void
test_numbers_both_ways(void **state)
{
	uint32_t number;

	for (number = 0; number < 70000; number++) {
		int row = record_field_by_number(number);
		const ProtobufCFieldDescriptor *theirs =
		    protobuf_c_message_descriptor_get_field(schema, number);

		assert_int_equal(row == -1, theirs == NULL);
		if (row != -1)
			assert_int_equal(record_fields[row].number, number);
	}
	assert_int_equal(record_field_by_number(UINT32_MAX), -1);
	assert_int_equal(record_field_by_name("no_such_field"), -1);
	assert_int_equal(record_field_by_name(""), -1);
}

/* "SNAPSHOT_WAY_WALK" is "walk": ours are the schema's without the prefix. */
static void
assert_enum(enum record_type type, const ProtobufCEnumDescriptor *theirs, const char *prefix)
{
	char whole[RECORD_ENUM_NAME_MAX + 1];
	unsigned int i, known = 0;
	uint64_t value;

	for (i = 0; i < theirs->n_values; i++) {
		const char *name = theirs->values[i].name + strlen(prefix);
		const char *text = record_enum_text(type, (uint64_t)theirs->values[i].value);
		size_t length = record_enum_name(whole, type, (uint64_t)theirs->values[i].value);

		assert_memory_equal(theirs->values[i].name, prefix, strlen(prefix));
		if (strcmp(name, "UNSPECIFIED") == 0) {
			assert_null(text);
			assert_int_equal(length, 0);
			continue;
		}
		assert_in_range(length, 1, RECORD_ENUM_NAME_MAX);
		whole[length] = '\0';
		assert_string_equal(whole, theirs->values[i].name);
		assert_non_null(text);
		assert_int_equal(strcasecmp(text, name), 0);
		known++;
	}
	for (value = 0; value < 1000; value++)
		known -= record_enum_text(type, value) != NULL;
	assert_int_equal(known, 0);
	assert_null(record_enum_text(type, UINT64_MAX));
	assert_int_equal(record_enum_name(whole, type, 1000), 0);
}

static void
test_enums_are_the_schema(void **state)
{
	assert_enum(RECORD_CONGESTION, &xtcp_flat_record__v1__congestion_algorithm__descriptor, "CONGESTION_ALGORITHM_");
	assert_enum(RECORD_KIND, &xtcp_flat_record__v1__record_kind__descriptor, "RECORD_KIND_");
	assert_enum(RECORD_WAY, &xtcp_flat_record__v1__snapshot_way__descriptor, "SNAPSHOT_WAY_");
	assert_enum(RECORD_OUTCOME, &xtcp_flat_record__v1__snapshot_outcome__descriptor, "SNAPSHOT_OUTCOME_");
}

static void
test_states(void **state)
{
	static const char *const names[] = {
		"ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
		"CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV", "BOUND_INACTIVE",
	};
	unsigned int i;

	/* A state is no enum in the schema. */
	assert_int_equal(record_enum_name(NULL, RECORD_STATE, 1), 0);
	assert_null(record_enum_text(RECORD_STATE, 0));
	for (i = 0; i < 13; i++)
		assert_string_equal(record_enum_text(RECORD_STATE, i + 1), names[i]);
	assert_null(record_enum_text(RECORD_STATE, 14));
	assert_null(record_enum_text(RECORD_U32, 1));
	assert_null(record_enum_text(RECORD_STRING, 1));
}

static void
test_congestion(void **state)
{
	static const struct {
		const char	*name;
		unsigned int	 value;
	} cases[] = {
		{ "cubic", 1 }, { "dctcp", 2 }, { "vegas", 3 }, { "prague", 4 }, { "bbr", 5 }, { "bbr1", 5 },
		{ "bbr2", 6 }, { "bbr3", 7 }, { "reno", 0 }, { "cubi", 0 }, { "cubics", 0 }, { "bbr4", 0 },
		{ "CUBIC", 0 }, { "", 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(record_congestion(cases[i].name, strlen(cases[i].name)), cases[i].value);
	assert_int_equal(record_congestion("cubic+rest", 5), 1);
}

static void
test_maxima(void **state)
{
	static const struct {
		enum record_index	row;
		uint64_t		max;
	} cases[] = {
		{ RECORD_F_schema_version, UINT32_MAX }, { RECORD_F_timestamp_ns, INT64_MAX },
		{ RECORD_F_netns_cookie, UINT64_MAX }, { RECORD_F_inet_diag_msg_family, 255 },
		{ RECORD_F_inet_diag_msg_state, 255 }, { RECORD_F_inet_diag_msg_socket_source_port, 65535 },
		{ RECORD_F_inet_diag_msg_socket_source, 16 }, { RECORD_F_inet_diag_msg_socket_cookie, UINT64_MAX },
		{ RECORD_F_tcp_info_send_scale, 15 }, { RECORD_F_tcp_info_rcv_scale, 15 },
		{ RECORD_F_tcp_info_delivery_rate_app_limited, 1 }, { RECORD_F_tcp_info_fast_open_client_failed, 3 },
		{ RECORD_F_tcp_info_total_rto, 65535 }, { RECORD_F_tcp_info_pacing_rate, UINT64_MAX },
		{ RECORD_F_congestion_algorithm_enum, 7 }, { RECORD_F_record_kind, 2 },
		{ RECORD_F_snapshot_way, 3 }, { RECORD_F_snapshot_outcome, 7 }, { RECORD_F_netns, 255 },
		{ RECORD_F_tls_zc_ro_tx, 1 }, { RECORD_F_tls_tx_max_payload_len, 65535 }, { RECORD_F_mptcp_id_loc, 255 },
		{ RECORD_F_tcp_info_tail, RECORD_BYTES_MAX }, { RECORD_F_md5_peer_address, 16 },
		{ RECORD_F_md5_key_count, 65535 }, { RECORD_F_mptcp_map_seq, UINT64_MAX },
		{ RECORD_F_dctcp_info_enabled, 65535 }, { RECORD_F_sock_opt, 65535 }, { RECORD_F_ipv6_only, 255 },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(record_field_max(&record_fields[cases[i].row]), cases[i].max);
	assert_int_equal(record_load_width(RECORD_LOAD_ADDRESS), 16);
	assert_int_equal(record_load_width(RECORD_LOAD_COOKIE), 8);
	assert_int_equal(record_load_width(RECORD_LOAD_BE16), 2);
	assert_int_equal(record_load_width(RECORD_LOAD_STRING), 0);
	assert_int_equal(record_load_width(RECORD_LOAD_OWN), 0);
	assert_int_equal(record_load_width(RECORD_LOAD_TAIL), 1);
}

/* Rows that are read from one struct do not overlap but in the bit fields of one byte. */
static void
test_offsets_ascend(void **state)
{
	unsigned int row, end = 0;

	for (row = 0; row < RECORD_FIELDS; row++) {
		const struct record_field *field = &record_fields[row];

		if (field->source != RECORD_INFO)
			continue;
		if (field->load != RECORD_LOAD_HIGH4 && field->load != RECORD_LOAD_BITS12)
			assert_int_equal(field->offset, end);
		if (field->load != RECORD_LOAD_TAIL)
			end = field->offset + (unsigned int)record_load_width(field->load);
	}
	assert_int_equal(end, 280);
}

/* --- the reader --- */

enum { KEPT = 300 };	/* of a field that is bytes, at most */

/* Every field has a value of its own, as many bytes long as chance wants. */
static void
fill(XtcpFlatRecord__V1__XtcpFlatRecord *message, char (*strings)[32], uint8_t (*bytes)[KEPT])
{
	unsigned int i;

	for (i = 0; i < schema->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &schema->fields[i];
		void *member = (uint8_t *)message + field->offset;
		uint64_t value = ((uint64_t)random() << 32 | (uint64_t)random()) >> (random() % 63) | 1;

		switch (field->type) {
		case PROTOBUF_C_TYPE_UINT32:
			*(uint32_t *)member = (uint32_t)value | 1;
			break;
		case PROTOBUF_C_TYPE_ENUM:
			*(int *)member = 1 + (int)(random() % 2);
			break;
		case PROTOBUF_C_TYPE_STRING:
			snprintf(strings[i], sizeof(strings[i]), "s%u-%lx", i, random());
			*(char **)member = strings[i];
			break;
		case PROTOBUF_C_TYPE_BYTES:
			memset(bytes[i], (int)i, KEPT);
			*(ProtobufCBinaryData *)member = (ProtobufCBinaryData){
				record_fields[i].type == RECORD_ADDRESS ? 16 : (size_t)(1 + random() % KEPT), bytes[i] };
			break;
		default:
			*(uint64_t *)member = value;
		}
	}
}

static void
assert_field(const struct record *record, const XtcpFlatRecord__V1__XtcpFlatRecord *message, unsigned int i)
{
	const ProtobufCFieldDescriptor *field = &schema->fields[i];
	const void *member = (const uint8_t *)message + field->offset;
	const struct record_value *value = &record->values[i];

	assert_true(record_field_written(record, i));
	assert_true(record_field_present(record, i));
	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
		assert_int_equal(value->number, *(const uint32_t *)member);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		assert_int_equal(value->number, *(const int *)member);
		break;
	case PROTOBUF_C_TYPE_STRING:
		assert_int_equal(value->number, strlen(*(char *const *)member));
		assert_memory_equal(value->bytes, *(char *const *)member, value->number);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		assert_int_equal(value->number, ((const ProtobufCBinaryData *)member)->len);
		assert_memory_equal(value->bytes, ((const ProtobufCBinaryData *)member)->data, value->number);
		break;
	default:
		assert_int_equal(value->number, *(const uint64_t *)member);
	}
}

/* Packs a message that has every field; the bytes are the caller's. */
static uint8_t *
packed(XtcpFlatRecord__V1__XtcpFlatRecord *message, size_t *length)
{
	static char strings[RECORD_FIELDS][32];
	static uint8_t kept[RECORD_FIELDS][KEPT];
	uint8_t *bytes;

	xtcp_flat_record__v1__xtcp_flat_record__init(message);
	fill(message, strings, kept);
	*length = xtcp_flat_record__v1__xtcp_flat_record__get_packed_size(message);
	bytes = malloc(*length);
	assert_non_null(bytes);
	xtcp_flat_record__v1__xtcp_flat_record__pack(message, bytes);
	return bytes;
}

static void
test_reads_what_protobuf_packs(void **state)
{
	XtcpFlatRecord__V1__XtcpFlatRecord message;
	struct record record;
	unsigned int i, round;
	size_t length;

	srandom(1);
	for (round = 0; round < 200; round++) {
		uint8_t *bytes = packed(&message, &length);

		assert_int_equal(record_read(&record, bytes, length), 0);
		for (i = 0; i < RECORD_FIELDS; i++)
			assert_field(&record, &message, i);
		free(bytes);
	}
}

/*
 * A record that is cut between two fields is a shorter record; protobuf-c says
 * where that is.  Each length has an allocation of its own, so that a sanitizer
 * sees a read behind its end.
 */
static void
test_truncation_at_every_byte(void **state)
{
	XtcpFlatRecord__V1__XtcpFlatRecord message, *theirs;
	struct record record;
	size_t length, cut, whole = 0;
	uint8_t *bytes;

	srandom(2);
	bytes = packed(&message, &length);
	for (cut = 0; cut <= length; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);

		assert_non_null(copy);
		memcpy(copy, bytes, cut);
		theirs = xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, cut, copy);
		assert_int_equal(record_read(&record, copy, cut) == 0, theirs != NULL);
		whole += theirs != NULL;
		if (theirs != NULL)
			xtcp_flat_record__v1__xtcp_flat_record__free_unpacked(theirs, NULL);
		free(copy);
	}
	assert_int_equal(whole, RECORD_FIELDS + 1);
	free(bytes);
}

/* Reads every byte that a record says it has. */
static uint64_t
touch(const struct record *record)
{
	uint64_t sum = 0;
	unsigned int row;
	size_t i;

	for (row = 0; row < RECORD_FIELDS; row++) {
		sum += record->values[row].number + record_field_present(record, row);
		for (i = 0; record->values[row].bytes != NULL && i < record->values[row].number; i++)
			sum += record->values[row].bytes[i];
	}
	return sum;
}

static void
test_mutations(void **state)
{
	XtcpFlatRecord__V1__XtcpFlatRecord message;
	unsigned int round, accepted = 0;
	volatile uint64_t sum = 0;
	struct record record;
	size_t length, n;
	uint8_t *bytes = NULL;

	srandom(3);
	for (round = 0; round < 20000; round++) {
		if (round % 100 == 0) {
			free(bytes);
			bytes = packed(&message, &length);
		}
		for (n = 1 + (size_t)random() % 4; n > 0; n--)
			bytes[(size_t)random() % length] = (uint8_t)random();
		if (record_read(&record, bytes, length) == 0) {
			sum += touch(&record);
			accepted++;
		}
	}
	free(bytes);
	/* Both ends of it were tried. */
	assert_in_range(accepted, 1, 19999);
}

struct bytes {
	const char	*bytes;
	size_t		 length;
	int		 result;
};
#define BYTES(text, result)	{ text, sizeof(text) - 1, result }

static void
test_what_is_a_record(void **state)
{
	static const struct bytes cases[] = {
		BYTES("", 0),
		BYTES("\x08\x01", 0),			/* schema_version */
		BYTES("\x08\x81\x00", 0),		/* longer than it needs to be: valid protobuf */
		BYTES("\x08", -1),			/* no value */
		BYTES("\x08\x80", -1),			/* half a value */
		BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0),
		BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", -1),	/* 65 bits */
		BYTES("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", -1),	/* 11 bytes */
		BYTES("\x00\x01", -1),			/* number 0 */
		BYTES("\x0a\x01x", -1),			/* schema_version as bytes */
		BYTES("\x0d" "1234", -1),		/* as fixed32 */
		BYTES("\x10\x01", -1),			/* daemon_version as a varint */
		BYTES("\x12\x02x", -1),			/* a string beyond the end */
		BYTES("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", -1),
		BYTES("\x1d" "1234", 0),		/* an unknown field 3 of each type */
		BYTES("\x19" "12345678", 0),
		BYTES("\x1a\x02xy", 0),
		BYTES("\x18\x05", 0),
		BYTES("\x1b\x1c", -1),			/* a group */
		BYTES("\x1f", -1),			/* wire type 7 */
		BYTES("\x1d" "123", -1),
		BYTES("\xba\xfc\x01\x04" "1234", 0),	/* field 4039, beyond the table */
		BYTES("\xba\xfc\x01\x05" "1234", -1),
		BYTES("\xfa\x3e\x04" "1234", -1),	/* an address of 4 bytes */
		BYTES("\xfa\x3e\x00", 0),		/* an empty one */
		BYTES("\xfa\x3e\x10" "0123456789abcdef", 0),
		BYTES("\xf8\xff\xff\xff\x1f\x01", -1),	/* a number beyond 2^29 */
	};
	struct record record;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *copy = malloc(cases[i].length + 1);

		memcpy(copy, cases[i].bytes, cases[i].length);
		if (record_read(&record, copy, cases[i].length) != cases[i].result)
			fail_msg("case %zu", i);
		free(copy);
	}
}

static void
test_last_wins_and_widths(void **state)
{
	/* schema_version 1, then 2^32 + 5; inet_diag_msg_family before it. */
	static const uint8_t bytes[] = "\xc8\x3e\x02\x08\x01\x08\x85\x80\x80\x80\x10";
	/* record_kind -1, as protobuf writes an enum. */
	static const uint8_t kind[] = "\xa0\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
	struct record record;

	assert_int_equal(record_read(&record, bytes, sizeof(bytes) - 1), 0);
	assert_int_equal(record.values[RECORD_F_schema_version].number, 5);
	assert_int_equal(record.values[RECORD_F_inet_diag_msg_family].number, 2);
	assert_int_equal(record_read(&record, kind, sizeof(kind) - 1), 0);
	assert_int_equal((int64_t)record.values[RECORD_F_record_kind].number, -1);
}

/* --- presence --- */

static void
read_message(struct record *record, const XtcpFlatRecord__V1__XtcpFlatRecord *message)
{
	static uint8_t bytes[RECORD_MAX];

	assert_int_equal(record_read(record, bytes, xtcp_flat_record__v1__xtcp_flat_record__pack(message, bytes)), 0);
}

static void
test_presence_by_attributes(void **state)
{
	XtcpFlatRecord__V1__XtcpFlatRecord message = XTCP_FLAT_RECORD__V1__XTCP_FLAT_RECORD__INIT;
	struct record record;
	unsigned int bit, row;

	for (bit = 0; bit < RECORD_SOURCES; bit++) {
		message.attributes_present = UINT64_C(1) << bit;
		message.tcp_info_length = 281;
		read_message(&record, &message);
		for (row = 0; row < RECORD_FIELDS; row++) {
			unsigned int source = record_fields[row].source;
			bool expected = source == bit || source == RECORD_ALWAYS;

			if (record_field_present(&record, row) != expected)
				fail_msg("bit %u, %s", bit, record_fields[row].name);
		}
	}
}

static void
test_presence_by_length(void **state)
{
	XtcpFlatRecord__V1__XtcpFlatRecord message = XTCP_FLAT_RECORD__V1__XTCP_FLAT_RECORD__INIT;
	struct record record;
	unsigned int length, row;

	message.attributes_present = 1 << RECORD_INFO;
	for (length = 0; length <= 288; length++) {
		message.tcp_info_length = length;
		read_message(&record, &message);
		for (row = 0; row < RECORD_FIELDS; row++) {
			const struct record_field *field = &record_fields[row];

			if (field->source == RECORD_INFO && record_field_present(&record, row) !=
			    (field->offset + record_load_width(field->load) <= length))
				fail_msg("length %u, %s", length, field->name);
		}
	}
}

static void
test_presence_of_others(void **state)
{
	XtcpFlatRecord__V1__XtcpFlatRecord message = XTCP_FLAT_RECORD__V1__XTCP_FLAT_RECORD__INIT;
	struct record record;
	unsigned int row;

	/* Another program's: what it wrote, and nothing else. */
	message.tcp_info_rtt = 7;
	read_message(&record, &message);
	for (row = 0; row < RECORD_FIELDS; row++)
		assert_int_equal(record_field_present(&record, row), row == RECORD_F_tcp_info_rtt);
	/* A snapshot's end has its counts, be they zero, and no socket. */
	message.tcp_info_rtt = 0;
	message.record_kind = XTCP_FLAT_RECORD__V1__RECORD_KIND__RECORD_KIND_SNAPSHOT_END;
	read_message(&record, &message);
	for (row = 0; row < RECORD_FIELDS; row++) {
		unsigned int source = record_fields[row].source;

		assert_int_equal(record_field_present(&record, row),
		    source == RECORD_SNAPSHOT || source == RECORD_ALWAYS);
	}
	/* A socket has none of them. */
	message.record_kind = XTCP_FLAT_RECORD__V1__RECORD_KIND__RECORD_KIND_CLOSED;
	read_message(&record, &message);
	assert_false(record_field_present(&record, RECORD_F_snapshot_dropped));
	assert_true(record_field_present(&record, RECORD_F_snapshot_attempt));
	assert_false(record_field_present(&record, RECORD_F_hostname));
}

/* --- the buffer --- */

static void
test_buffer(void **state)
{
	struct buffer buffer = { 0 };
	char expected[4096] = "";
	int i;

	assert_non_null(buffer_reserve(&buffer, 0));
	for (i = 0; i < 300; i++) {
		buffer_append_string(&buffer, "a");
		buffer_printf(&buffer, "%d,%s", i, "bc");
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "a%d,bc", i);
	}
	assert_int_equal(buffer.length, strlen(expected));
	assert_memory_equal(buffer.bytes, expected, buffer.length);
	memset(buffer_reserve(&buffer, 100000), 1, 100000);
	assert_int_equal(buffer.length, strlen(expected));
	buffer_free(&buffer);
	assert_null(buffer.bytes);
	assert_int_equal(buffer.capacity, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_is_the_schema),
		cmocka_unit_test(test_numbers_both_ways),
		cmocka_unit_test(test_enums_are_the_schema),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_congestion),
		cmocka_unit_test(test_maxima),
		cmocka_unit_test(test_offsets_ascend),
		cmocka_unit_test(test_reads_what_protobuf_packs),
		cmocka_unit_test(test_truncation_at_every_byte),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_what_is_a_record),
		cmocka_unit_test(test_last_wins_and_widths),
		cmocka_unit_test(test_presence_by_attributes),
		cmocka_unit_test(test_presence_by_length),
		cmocka_unit_test(test_presence_of_others),
		cmocka_unit_test(test_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
