/* What each format makes of a batch, and what text makes of numbers, addresses and strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buffer.h"
#include "common/varint.h"
#include "proto/xtcp_flat_record.pb-c.h"
#include "shipper/format.h"
#include "shipper/text.h"
#include "shipper/whole.h"

typedef XtcpFlatRecord__V1__XtcpFlatRecord Record;

static const Record record_init = XTCP_FLAT_RECORD__V1__XTCP_FLAT_RECORD__INIT;

/* --- making batches --- */

static void
add(struct buffer *batch, const Record *record)
{
	size_t size = xtcp_flat_record__v1__xtcp_flat_record__get_packed_size(record);
	uint8_t *to = buffer_reserve(batch, size + VARINT_MAX);
	size_t prefix = varint_write(to, size);

	xtcp_flat_record__v1__xtcp_flat_record__pack(record, to + prefix);
	batch->length += prefix + size;
}

static uint8_t address_v4[16] = { 192, 0, 2, 1 };
static uint8_t address_v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };

/* A connection with tcp_info up to tcpi_total_retrans (104 bytes), and few values. */
static Record
connection(void)
{
	Record record = record_init;

	record.schema_version = 1;
	record.timestamp_ns = 1700000000123456789;
	record.netns = (char *)"web";
	record.netns_cookie = 7;
	record.collector_epoch = UINT64_MAX;
	record.record_sequence = 5;
	record.attributes_present = 1 << RECORD_MSG | 1 << RECORD_CONG | 1 << RECORD_MARK;
	record.inet_diag_msg_family = 2;
	record.inet_diag_msg_state = 1;
	record.inet_diag_msg_socket_source_port = 8080;
	record.inet_diag_msg_socket_destination_port = 443;
	record.inet_diag_msg_socket_source = (ProtobufCBinaryData){ 16, address_v4 };
	record.inet_diag_msg_socket_destination = (ProtobufCBinaryData){ 16, address_v4 };
	record.congestion_algorithm_string = (char *)"cubic";
	record.congestion_algorithm_enum = 1;
	return record;
}

static Record
snapshot_end(void)
{
	Record record = record_init;

	record.timestamp_ns = 5;
	record.netns = (char *)"web";
	record.record_kind = XTCP_FLAT_RECORD__V1__RECORD_KIND__RECORD_KIND_SNAPSHOT_END;
	record.snapshot_way = 3;
	record.snapshot_outcome = 1;
	record.snapshot_published = 2;
	return record;
}

static const char *
text_of(struct buffer *buffer)
{
	*buffer_reserve(buffer, 1) = '\0';
	return (const char *)buffer->bytes;
}

struct run {
	const struct format	*format;
	void			*state;
	struct buffer		 batch;
	struct buffer		 out;
};

static struct run
start(const char *name, const char *columns, unsigned int width)
{
	static char copy[1024];
	char *list[64], *rest = copy, error[1024] = "";
	struct format_options options = { .columns = list, .width = width };
	struct run run = { .format = format_by_name(name) };

	assert_non_null(run.format);
	snprintf(copy, sizeof(copy), "%s", columns ? columns : "");
	while (columns != NULL && (list[options.ncolumns] = strsep(&rest, ",")) != NULL)
		options.ncolumns++;
	if (options.ncolumns == 0)
		options.columns = NULL;
	run.state = run.format->open(&options, error, sizeof(error));
	assert_string_equal(error, "");
	assert_non_null(run.state);
	return run;
}

static const char *
format_batch(struct run *run)
{
	run->out.length = 0;
	run->format->batch(run->state, run->batch.bytes, run->batch.length, &run->out);
	if (run->format->finish != NULL)
		run->format->finish(run->state, &run->out);
	return text_of(&run->out);
}

static void
end(struct run *run)
{
	format_close(run->format, run->state);
	buffer_free(&run->batch);
	buffer_free(&run->out);
}

/* --- numbers, addresses, strings --- */

static void
assert_number(uint64_t value)
{
	char expected[32], text[TEXT_NUMBER_MAX + 1];

	snprintf(expected, sizeof(expected), "%llu", (unsigned long long)value);
	text[text_number(text, value)] = '\0';
	assert_string_equal(text, expected);
}

static void
test_numbers(void **state)
{
	char text[TEXT_NUMBER_MAX + 2];
	uint64_t power;
	int i;

	for (power = 1;; power *= 10) {
		assert_number(power - 1);
		assert_number(power);
		assert_number(power + 1);
		if (power > UINT64_MAX / 10)
			break;
	}
	for (i = 0; i < 64; i++) {
		assert_number(UINT64_C(1) << i);
		assert_number((UINT64_C(1) << i) - 1);
	}
	assert_number(UINT64_MAX);
	srandom(1);
	for (i = 0; i < 10000; i++)
		assert_number(((uint64_t)random() << 33 ^ (uint64_t)random() << 11) >> (random() % 64));
	text[text_signed(text, INT64_MIN)] = '\0';
	assert_string_equal(text, "-9223372036854775808");
	text[text_signed(text, -1)] = '\0';
	assert_string_equal(text, "-1");
}

static void
test_scaled(void **state)
{
	static const struct {
		uint64_t	 value;
		const char	*text;
	} cases[] = {
		{ 0, "0B" }, { 1, "1B" }, { 999, "999B" }, { 1000, "1.00kB" }, { 1004, "1.00kB" },
		{ 1005, "1.01kB" }, { 1050, "1.05kB" }, { 9994, "9.99kB" }, { 9995, "10.0kB" },
		{ 12345, "12.3kB" }, { 99949, "99.9kB" }, { 99950, "100kB" }, { 999499, "999kB" },
		{ 999500, "1.00MB" }, { 12300000, "12.3MB" }, { 1000000000, "1.00GB" },
		{ UINT64_C(5000000000000), "5.00TB" }, { UINT64_C(7654321000000000), "7.65PB" }, { UINT64_MAX, "18.4EB" },
	};
	char text[TEXT_SCALED_MAX + 1];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text[text_scaled(text, cases[i].value, "B")] = '\0';
		assert_string_equal(text, cases[i].text);
	}
}

static void
test_milliseconds(void **state)
{
	static const struct {
		uint64_t	 us;
		const char	*text;
	} cases[] = {
		{ 0, "0ms" }, { 1, "0.001ms" }, { 45, "0.045ms" }, { 999, "0.999ms" }, { 1000, "1.00ms" },
		{ 1234, "1.23ms" }, { 9995, "10.0ms" }, { 12345, "12.3ms" }, { 99950, "100ms" }, { 123456, "123ms" },
		{ 999499, "999ms" }, { 999500, "1000ms" }, { 1000000, "1000ms" }, { 1234500, "1235ms" },
		{ UINT32_MAX, "4294967ms" },
	};
	char text[TEXT_SCALED_MAX + 1];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text[text_milliseconds(text, cases[i].us)] = '\0';
		assert_string_equal(text, cases[i].text);
	}
}

/* RFC 5952, its own examples among them; thousands more are in test_decode.py. */
static void
test_addresses(void **state)
{
	static const struct {
		uint16_t	 groups[8];
		const char	*text;
	} cases[] = {
		{ { 0 }, "::" },
		{ { [7] = 1 }, "::1" },
		{ { 1 }, "1::" },
		{ { 0x2001, 0xdb8, [7] = 1 }, "2001:db8::1" },
		{ { 0x2001, 0xdb8, 0, 1, 1, 1, 1, 1 }, "2001:db8:0:1:1:1:1:1" },	/* one zero is no run */
		{ { 0x2001, 0, 0, 1, 0, 0, 0, 1 }, "2001:0:0:1::1" },		/* the longest */
		{ { 0x2001, 0xdb8, 0, 0, 1, 0, 0, 1 }, "2001:db8::1:0:0:1" },	/* the first of equals */
		{ { 0, 0, 1, 1, 1, 1, 0, 0 }, "::1:1:1:1:0:0" },
		{ { 1, 1, 1, 1, 1, 1, 0, 0 }, "1:1:1:1:1:1::" },
		{ { 0, 1, 1, 1, 1, 1, 1, 0 }, "0:1:1:1:1:1:1:0" },
		{ { 0xfe80, 0, 0, 0, 0xABCD, 0xef, 0x10, 0xf }, "fe80::abcd:ef:10:f" },
		{ { 0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201 }, "::ffff:192.0.2.1" },
		{ { 0, 0, 0, 0, 0, 0xffff, 0, 0 }, "::ffff:0.0.0.0" },
		{ { 0, 0, 0, 0, 0, 0, 0xc000, 0x0201 }, "::c000:201" },
		{ { 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff },
		    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
	};
	char text[TEXT_ADDRESS_MAX + 1];
	uint8_t address[16];
	size_t i, group;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (group = 0; group < 8; group++) {
			address[2 * group] = (uint8_t)(cases[i].groups[group] >> 8);
			address[2 * group + 1] = (uint8_t)cases[i].groups[group];
		}
		text[text_address(text, TEXT_IPV6, address)] = '\0';
		assert_string_equal(text, cases[i].text);
	}
	text[text_address(text, TEXT_IPV4, address_v4)] = '\0';
	assert_string_equal(text, "192.0.2.1");
	text[text_address(text, TEXT_IPV4, NULL)] = '\0';
	assert_string_equal(text, "0.0.0.0");
	text[text_address(text, TEXT_IPV6, NULL)] = '\0';
	assert_string_equal(text, "::");
}

#define FFFD	"\xef\xbf\xbd"

static void
test_strings(void **state)
{
	static const struct {
		enum text_style	 style;
		const char	*in, *out;
	} cases[] = {
		{ TEXT_JSON, "plain", "plain" },
		{ TEXT_JSON, "a\"b\\c/d", "a\\\"b\\\\c/d" },
		{ TEXT_JSON, "\b\t\n\f\r\x01\x1f\x7f", "\\b\\t\\n\\f\\r\\u0001\\u001f\x7f" },
		{ TEXT_JSON, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ TEXT_JSON, "a\xff" "b", "a" FFFD "b" },
		{ TEXT_JSON, "\xc3", FFFD },					/* cut short */
		{ TEXT_JSON, "\xc0\x80", FFFD FFFD },				/* longer than it needs to be */
		{ TEXT_JSON, "\xed\xa0\x80", FFFD FFFD FFFD },			/* a surrogate */
		{ TEXT_JSON, "\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD },		/* beyond U+10FFFF */
		{ TEXT_JSON, "\xe2\x82\"", FFFD FFFD "\\\"" },			/* the quote is not eaten */
		{ TEXT_CSV, "plain", "plain" },
		{ TEXT_CSV, "a b;c\\d", "a b;c\\d" },
		{ TEXT_CSV, "a,b", "\"a,b\"" },
		{ TEXT_CSV, "say \"so\"", "\"say \"\"so\"\"\"" },
		{ TEXT_CSV, "two\r\nlines", "\"two\r\nlines\"" },
		{ TEXT_CSV, "\xff", "\"" FFFD "\"" },
		{ TEXT_TSV, "a,\"b\"", "a,\"b\"" },
		{ TEXT_TSV, "a\tb\nc\\d\re\bf\fg", "a\\tb\\nc\\\\d\\re\\bf\\fg" },
		{ TEXT_TSV, "\xff\t", FFFD "\\t" },
		{ TEXT_TERMINAL, "a\"b\\c,d", "a\"b\\c,d" },
		{ TEXT_TERMINAL, "\x1b[31mred\x07\x7f\n", FFFD "[31mred" FFFD FFFD FFFD },
		{ TEXT_TERMINAL, "\xc2\x9b" "31m", FFFD "31m" },		/* CSI as one character */
		{ TEXT_TERMINAL, "a\xe2\x80\xae" "b", "a" FFFD "b" },		/* right-to-left override */
		{ TEXT_TERMINAL, "\xc3\xbc", "\xc3\xbc" },
		{ TEXT_UTF8, "a\"b\\c,d\t\n\x01\x7f\xc2\x9b", "a\"b\\c,d\t\n\x01\x7f\xc2\x9b" },
		{ TEXT_UTF8, "\xff\n\xe2\x82", FFFD "\n" FFFD FFFD },
	};
	char text[256];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text[text_string(text, (const uint8_t *)cases[i].in, strlen(cases[i].in), cases[i].style)] = '\0';
		assert_string_equal(text, cases[i].out);
	}
	text[text_string(text, (const uint8_t *)"\0x", 2, TEXT_JSON)] = '\0';
	assert_string_equal(text, "\\u0000x");
	text[text_string(text, (const uint8_t *)"\0x", 2, TEXT_CSV)] = '\0';
	assert_string_equal(text, "\"" FFFD "x\"");
	text[text_string(text, (const uint8_t *)"\0x", 2, TEXT_TSV)] = '\0';
	assert_string_equal(text, "\\0x");
	assert_int_equal(text_string(text, (const uint8_t *)"\0x", 2, TEXT_UTF8), 2);
	assert_memory_equal(text, "\0x", 2);
}

/* Any bytes fit where text.h says they do; a sanitizer sees it if they do not. */
static void
test_strings_of_any_bytes(void **state)
{
	size_t round, length, i, written;
	enum text_style style;

	srandom(4);
	for (round = 0; round < 4000; round++) {
		length = (size_t)random() % 40 + 1;
		style = (enum text_style)(round % 5);
		size_t most = (style == TEXT_UTF8 ? TEXT_UTF8_ESCAPED : TEXT_ESCAPED) * length;
		uint8_t *bytes = malloc(length);
		char *text = malloc(most);

		for (i = 0; i < length; i++)
			bytes[i] = (uint8_t)(random() % 3 ? random() : random() % 0x30);
		written = text_string(text, bytes, length, style);
		assert_in_range(written, length, most);
		for (i = 0; style == TEXT_TERMINAL && i < written; i++)
			assert_true((uint8_t)text[i] >= 0x20 && text[i] != 0x7f);
		assert_true(text_columns(text, written) <= written);
		assert_int_equal(text_fit(text, written, written), written);
		free(bytes);
		free(text);
	}
}

static void
test_columns_of_text(void **state)
{
	assert_int_equal(text_columns("abc", 3), 3);
	assert_int_equal(text_columns("\xc3\xbc", 2), 1);
	assert_int_equal(text_columns("e\xcc\x81", 3), 1);			/* an accent of its own */
	assert_int_equal(text_columns("\xe6\xbc\xa2\xe5\xad\x97", 6), 4);	/* two wide letters */
	assert_int_equal(text_fit("\xe6\xbc\xa2\xe5\xad\x97", 6, 3), 3);
	assert_int_equal(text_fit("abc", 3, 2), 2);
}

/* --- the registry --- */

static void
test_registry(void **state)
{
	static const struct {
		const char		*name;
		bool			 ends, text;
		enum sink_framing	 framing;
	} rows[] = {
		{ "table", false, true, SINK_LINES }, { "jsonl", true, true, SINK_LINES },
		{ "csv", false, true, SINK_LINES }, { "tsv", false, true, SINK_LINES },
		{ "protobuf", true, false, SINK_DELIMITED }, { "protobufList", false, false, SINK_DELIMITED },
		{ "protoJson", false, true, SINK_ENVELOPES }, { "protoText", false, true, SINK_BLOCKS },
		{ "msgpack", true, false, SINK_MAPS }, { "parquet", false, false, SINK_LINES },
	};
	size_t i, count = 0;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct format *format = format_by_name(rows[i].name);

		assert_non_null(format);
		assert_string_equal(format->name, rows[i].name);
		assert_true(strlen(format->help) > 0);
		assert_int_equal(format->snapshot_ends, rows[i].ends);
		assert_int_equal(format->text, rows[i].text);
		assert_int_equal(format->framing, rows[i].framing);
	}
	while (formats[count] != NULL)
		count++;
	assert_int_equal(count, i);
	assert_null(format_by_name("yaml"));
	assert_null(format_by_name(""));
	assert_null(format_by_name("protobuf")->batch);
}

static void
count_each(void *context, const struct record *record)
{
	(void)record;
	++*(int *)context;
}

static void
test_each(void **state)
{
	struct buffer batch = { 0 };
	Record record = connection();
	size_t one;
	int count = 0;

	add(&batch, &record);
	one = batch.length;
	add(&batch, &record);
	assert_int_equal(format_each(batch.bytes, batch.length, count_each, &count), 2);
	assert_int_equal(count, 2);
	assert_int_equal(format_each(batch.bytes, 0, count_each, &count), 0);
	/* One whole record, then one that is cut. */
	assert_int_equal(format_each(batch.bytes, batch.length - 1, count_each, &count), -1);
	assert_int_equal(count, 3);
	assert_int_equal(format_each(batch.bytes, one + 1, count_each, &count), -1);
	buffer_free(&batch);
}

/* --- jsonl --- */

#define MSG(state, family, address)								\
	"\"inet_diag_msg_family\":" family ",\"inet_diag_msg_state\":" state			\
	",\"inet_diag_msg_timer\":0,\"inet_diag_msg_retrans\":0"				\
	",\"inet_diag_msg_socket_source_port\":8080,\"inet_diag_msg_socket_destination_port\":443" \
	",\"inet_diag_msg_socket_source\":\"" address "\""					\
	",\"inet_diag_msg_socket_destination\":\"" address "\""					\
	",\"inet_diag_msg_socket_interface\":0,\"inet_diag_msg_socket_cookie\":0"		\
	",\"inet_diag_msg_expires\":0,\"inet_diag_msg_rqueue\":0,\"inet_diag_msg_wqueue\":0"	\
	",\"inet_diag_msg_uid\":0,\"inet_diag_msg_inode\":0"
#define HEAD											\
	"{\"schema_version\":1,\"timestamp_ns\":1700000000123456789,\"netns\":\"web\",\"record_counter\":0" \
	",\"record_kind\":\"socket\",\"netns_cookie\":7,\"collector_epoch\":18446744073709551615" \
	",\"snapshot_sequence\":0,\"record_sequence\":5,\"attributes_present\":32785"		\
	",\"tcp_info_length\":0,\"snapshot_attempt\":0,"

static void
test_jsonl(void **state)
{
	struct run run = start("jsonl", NULL, 0);
	Record record = connection();

	add(&run.batch, &record);
	record.inet_diag_msg_family = 10;
	record.inet_diag_msg_state = 99;
	record.congestion_algorithm_enum = 42;
	record.congestion_algorithm_string = (char *)"so \"new\"";
	record.inet_diag_msg_socket_source.data = record.inet_diag_msg_socket_destination.data = address_v6;
	record.mark = 9;
	add(&run.batch, &record);
	assert_string_equal(format_batch(&run),
	    HEAD MSG("\"ESTABLISHED\"", "2", "192.0.2.1")
	    ",\"congestion_algorithm_string\":\"cubic\",\"congestion_algorithm_enum\":\"cubic\",\"mark\":0}\n"
	    HEAD MSG("99", "10", "2001:db8::1")
	    ",\"congestion_algorithm_string\":\"so \\\"new\\\"\",\"congestion_algorithm_enum\":42,\"mark\":9}\n");
	assert_null(run.format->header);
	end(&run);
}

static void
test_jsonl_of_others(void **state)
{
	struct run run = start("jsonl", NULL, 0);
	Record record = record_init;

	record.timestamp_ns = -1;
	add(&run.batch, &record);
	record = record_init;
	record.label = (char *)"x";
	record.congestion_algorithm_enum = -3;
	add(&run.batch, &record);
	record = record_init;
	add(&run.batch, &record);
	record = snapshot_end();
	add(&run.batch, &record);
	assert_string_equal(format_batch(&run),
	    "{\"timestamp_ns\":-1}\n"
	    "{\"label\":\"x\",\"congestion_algorithm_enum\":-3}\n"
	    "{}\n"
	    "{\"timestamp_ns\":5,\"netns\":\"web\",\"record_counter\":0,\"record_kind\":\"snapshot_end\""
	    ",\"snapshot_sequence\":0,\"record_sequence\":0,\"attributes_present\":0,\"tcp_info_length\":0"
	    ",\"snapshot_attempt\":0,\"snapshot_way\":\"walk\",\"snapshot_outcome\":\"complete\""
	    ",\"snapshot_published\":2,\"snapshot_dropped\":0,\"snapshot_repeated\":0"
	    ",\"snapshot_inuse_before\":0,\"snapshot_inuse_after\":0,\"snapshot_tw_before\":0"
	    ",\"snapshot_tw_after\":0,\"snapshot_duration_ns\":0}\n");
	end(&run);
}

/* More shapes than are remembered, each of them again and again. */
static void
test_jsonl_of_many_shapes(void **state)
{
	struct run run = start("jsonl", NULL, 0);
	Record record = record_init;
	unsigned int i, length;
	const char *text;

	for (i = 0; i < 100; i++) {
		record.attributes_present = UINT64_C(1) << RECORD_INFO | UINT64_C(1) << (RECORD_ULP_NAME + i % 3);
		record.tcp_info_length = i / 3 % 2 ? 100 : i % 37;
		add(&run.batch, &record);
	}
	text = format_batch(&run);
	for (i = 0; i < 100; i++, text = strchr(text, '\n') + 1) {
		const char *line_end = strchr(text, '\n');
		const char *unacked = strstr(text, "\"tcp_info_unacked\":0");
		const char *name = strstr(text, "\"ulp_name\":\"\"");

		length = i / 3 % 2 ? 100 : i % 37;
		assert_non_null(line_end);
		assert_int_equal(unacked != NULL && unacked < line_end, length >= 28);
		assert_int_equal(name != NULL && name < line_end, i % 3 == 0);
	}
	end(&run);
}

/* --- csv and tsv --- */

static void
test_csv(void **state)
{
	struct run run = start("csv", "netns,label,traffic_class,mark,inet_diag_msg_state,inet_diag_msg_socket_source", 0);
	Record record = connection();

	run.format->header(run.state, &run.out);
	assert_string_equal(text_of(&run.out),
	    "netns,label,traffic_class,mark,inet_diag_msg_state,inet_diag_msg_socket_source\n");
	record.label = (char *)"a,\"b\"";
	add(&run.batch, &record);
	record = snapshot_end();
	add(&run.batch, &record);
	assert_string_equal(format_batch(&run), "web,\"a,\"\"b\"\"\",,0,ESTABLISHED,192.0.2.1\n");
	end(&run);
}

static void
test_csv_empty_is_not_absent(void **state)
{
	struct run run = start("csv", "congestion_algorithm_string,ulp_name", 0);
	Record record = connection();

	record.congestion_algorithm_string = (char *)"";
	add(&run.batch, &record);
	assert_string_equal(format_batch(&run), "\"\",\n");
	end(&run);
	/* An empty line would be no row. */
	run = start("csv", "ulp_name", 0);
	add(&run.batch, &record);
	assert_string_equal(format_batch(&run), "\"\"\n");
	end(&run);
}

static void
test_tsv(void **state)
{
	struct run run = start("tsv", "label,netns,traffic_class,mark", 0);
	Record record = connection();

	run.format->header(run.state, &run.out);
	assert_string_equal(text_of(&run.out), "label\tnetns\ttraffic_class\tmark\n");
	record.label = (char *)"a\tb\\\n";
	add(&run.batch, &record);
	record = snapshot_end();
	add(&run.batch, &record);
	assert_string_equal(format_batch(&run), "a\\tb\\\\\\n\tweb\t\t0\n");
	end(&run);
}

static void
test_default_columns(void **state)
{
	struct run run = start("csv", NULL, 0);
	unsigned int row, count = 0;
	const char *at;
	bool shown;

	run.format->header(run.state, &run.out);
	for (at = text_of(&run.out); *at != '\0'; at++)
		count += *at == ',' || *at == '\n';
	for (row = 0; row < RECORD_FIELDS; row++) {
		char needle[64];

		shown = record_fields[row].owner != RECORD_NOBODY && record_fields[row].source != RECORD_SNAPSHOT;
		snprintf(needle, sizeof(needle), "%s%s%c", row ? "," : "", record_fields[row].name,
		    row + 1 < RECORD_FIELDS ? ',' : '\n');
		assert_int_equal(strstr((char *)run.out.bytes, needle) != NULL, shown);
		count -= shown;
	}
	assert_int_equal(count, 0);
	end(&run);
}

static void
test_unknown_column(void **state)
{
	static const char *const names[] = { "csv", "tsv", "table" };
	char *columns[] = { (char *)"netns", (char *)"colour" };
	struct format_options options = { .columns = columns, .ncolumns = 2 };
	size_t i;

	for (i = 0; i < 3; i++) {
		char error[1024] = "", small[24] = "";

		assert_null(format_by_name(names[i])->open(&options, error, sizeof(error)));
		assert_non_null(strstr(error, "unknown column \"colour\""));
		assert_non_null(strstr(error, "tcpdiag-record(7)"));
		assert_int_equal(strstr(error, "local, peer") != NULL, i == 2);
		assert_null(format_by_name(names[i])->open(&options, small, sizeof(small)));
		assert_int_equal(strlen(small), sizeof(small) - 1);
	}
}

/* --- protobufList --- */

static void
test_protobuf_list(void **state)
{
	struct run run = start("protobufList", NULL, 0);
	Record record = connection(), last = snapshot_end();
	XtcpFlatRecord__V1__Envelope *envelope;
	uint64_t length = 0;
	size_t prefix;

	buffer_append_string(&run.out, "kept");
	add(&run.batch, &last);
	assert_int_equal(run.out.length, 4);
	run.format->batch(run.state, run.batch.bytes, run.batch.length, &run.out);
	assert_int_equal(run.out.length, 4);
	add(&run.batch, &record);
	record.record_sequence = 6;
	add(&run.batch, &record);
	add(&run.batch, &last);
	run.format->batch(run.state, run.batch.bytes, run.batch.length, &run.out);
	assert_memory_equal(run.out.bytes, "kept", 4);
	prefix = varint_read(run.out.bytes + 4, run.out.length - 4, &length);
	assert_int_not_equal(prefix, 0);
	assert_int_equal(4 + prefix + length, run.out.length);
	envelope = xtcp_flat_record__v1__envelope__unpack(NULL, length, run.out.bytes + 4 + prefix);
	assert_non_null(envelope);
	assert_int_equal(envelope->n_row, 2);
	assert_int_equal(envelope->row[0]->record_sequence, 5);
	assert_int_equal(envelope->row[1]->record_sequence, 6);
	assert_int_equal(envelope->row[1]->mark, 0);
	assert_string_equal(envelope->row[1]->netns, "web");
	xtcp_flat_record__v1__envelope__free_unpacked(envelope, NULL);
	end(&run);
}

/* --- protoJson and protoText --- */

/* One of each type, the edges of the widths among them, and a zero that came. */
static Record
mixture(void)
{
	Record record = connection();

	record.timestamp_ns = INT64_MIN;
	record.record_kind = XTCP_FLAT_RECORD__V1__RECORD_KIND__RECORD_KIND_CLOSED;
	record.label = (char *)"a\"'\\\n\x01\xc3\xbc\xff";
	record.attributes_present = 1;
	record.inet_diag_msg_state = 0;
	record.inet_diag_msg_socket_source_port = UINT32_MAX;
	record.inet_diag_msg_socket_destination = (ProtobufCBinaryData){ 0, NULL };
	record.congestion_algorithm_string = NULL;
	record.congestion_algorithm_enum = XTCP_FLAT_RECORD__V1__CONGESTION_ALGORITHM__CONGESTION_ALGORITHM_BBR1;
	record.snapshot_outcome = (XtcpFlatRecord__V1__SnapshotOutcome)77;
	record.snapshot_way = (XtcpFlatRecord__V1__SnapshotWay)-3;
	record.ipv6_only = 1;
	record.tcp_info_delivered_e1_bytes = 5;
	return record;
}

static void
test_proto_json(void **state)
{
	struct run run = start("protoJson", NULL, 0);
	Record record = mixture(), last = snapshot_end();

	add(&run.batch, &last);
	assert_string_equal(format_batch(&run), "");
	add(&run.batch, &record);
	record = record_init;
	record.inet_diag_msg_state = 1;
	add(&run.batch, &record);
	add(&run.batch, &last);
	record = record_init;
	add(&run.batch, &record);
	buffer_append_string(&run.out, "kept");
	run.format->batch(run.state, run.batch.bytes, run.batch.length, &run.out);
	assert_string_equal(text_of(&run.out), "kept"
	    "{\"row\":[{\"schemaVersion\":1,\"timestampNs\":\"-9223372036854775808\",\"netns\":\"web\""
	    ",\"label\":\"a\\\"'\\\\\\n\\u0001\xc3\xbc" FFFD "\",\"recordKind\":\"RECORD_KIND_CLOSED\",\"netnsCookie\":\"7\""
	    ",\"collectorEpoch\":\"18446744073709551615\",\"recordSequence\":\"5\",\"attributesPresent\":\"1\""
	    ",\"snapshotWay\":-3,\"snapshotOutcome\":77,\"inetDiagMsgFamily\":2"
	    ",\"inetDiagMsgSocketSourcePort\":4294967295,\"inetDiagMsgSocketDestinationPort\":443"
	    ",\"inetDiagMsgSocketSource\":\"wAACAQAAAAAAAAAAAAAAAA==\""
	    ",\"congestionAlgorithmEnum\":\"CONGESTION_ALGORITHM_BBR1\",\"ipv6Only\":1"
	    ",\"tcpInfoDeliveredE1Bytes\":5}"
	    ",{\"inetDiagMsgState\":1},{}]}\n");
	assert_null(run.format->header);
	end(&run);
}

static void
test_proto_text(void **state)
{
	struct run run = start("protoText", NULL, 0);
	Record record = mixture(), last = snapshot_end();

	add(&run.batch, &last);
	assert_string_equal(format_batch(&run), "");
	add(&run.batch, &record);
	record = record_init;
	add(&run.batch, &record);
	assert_string_equal(format_batch(&run),
	    "row {\n  schema_version: 1\n  timestamp_ns: -9223372036854775808\n  netns: \"web\"\n"
	    "  label: \"a\\\"\\'\\\\\\n\\001\\303\\274\\357\\277\\275\"\n  record_kind: RECORD_KIND_CLOSED\n  netns_cookie: 7\n"
	    "  collector_epoch: 18446744073709551615\n  record_sequence: 5\n  attributes_present: 1\n"
	    "  snapshot_way: -3\n  snapshot_outcome: 77\n  inet_diag_msg_family: 2\n"
	    "  inet_diag_msg_socket_source_port: 4294967295\n  inet_diag_msg_socket_destination_port: 443\n"
	    "  inet_diag_msg_socket_source: \"\\300\\000\\002\\001\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\"\n"
	    "  congestion_algorithm_enum: CONGESTION_ALGORITHM_BBR1\n  ipv6_only: 1\n"
	    "  tcp_info_delivered_e1_bytes: 5\n}\nrow {\n}\n");
	assert_null(run.format->header);
	end(&run);
}

/* --- msgpack --- */

/* A record of another program, so that there is nothing but the number; behind its key and the map's head. */
static void
assert_packed(uint64_t number, bool is_signed, const char *packed, size_t length)
{
	struct run run = start("msgpack", NULL, 0);
	Record record = record_init;

	record.timestamp_ns = is_signed ? (int64_t)number : 0;
	record.netns_cookie = is_signed ? 0 : number;
	add(&run.batch, &record);
	format_batch(&run);
	assert_int_equal(run.out.length, 14 + length);
	assert_memory_equal(run.out.bytes, is_signed ? "\x81\xactimestamp_ns" : "\x81\xacnetns_cookie", 14);
	assert_memory_equal(run.out.bytes + 14, packed, length);
	end(&run);
}

static void
test_msgpack_numbers(void **state)
{
	static const struct {
		uint64_t	 number;
		bool		 is_signed;
		size_t		 length;
		const char	*packed;
	} cases[] = {
		{ 1, false, 1, "\x01" }, { 127, false, 1, "\x7f" }, { 128, false, 2, "\xcc\x80" },
		{ 255, false, 2, "\xcc\xff" }, { 256, false, 3, "\xcd\x01\0" }, { 65535, false, 3, "\xcd\xff\xff" },
		{ 65536, false, 5, "\xce\0\x01\0\0" }, { UINT32_MAX, false, 5, "\xce\xff\xff\xff\xff" },
		{ UINT64_C(1) << 32, false, 9, "\xcf\0\0\0\x01\0\0\0\0" },
		{ UINT64_MAX, false, 9, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff" },
		{ 5, true, 1, "\x05" }, { (uint64_t)-1, true, 1, "\xff" }, { (uint64_t)-32, true, 1, "\xe0" },
		{ (uint64_t)-33, true, 2, "\xd0\xdf" }, { (uint64_t)-128, true, 2, "\xd0\x80" },
		{ (uint64_t)-129, true, 3, "\xd1\xff\x7f" }, { (uint64_t)-32768, true, 3, "\xd1\x80\0" },
		{ (uint64_t)-32769, true, 5, "\xd2\xff\xff\x7f\xff" },
		{ (uint64_t)INT32_MIN, true, 5, "\xd2\x80\0\0\0" },
		{ (uint64_t)INT32_MIN - 1, true, 9, "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff" },
		{ (uint64_t)INT64_MIN, true, 9, "\xd3\x80\0\0\0\0\0\0\0" },
		{ INT64_MAX, true, 9, "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_packed(cases[i].number, cases[i].is_signed, cases[i].packed, cases[i].length);
}

/* test_decode.py compares whole records with jsonl; here are the lengths of strings. */
static void
test_msgpack_strings(void **state)
{
	static const struct {
		size_t		 length, head;
		const char	*packed;
	} cases[] = {
		{ 1, 1, "\xa1" }, { 31, 1, "\xbf" }, { 32, 2, "\xd9\x20" }, { 255, 2, "\xd9\xff" },
		{ 256, 3, "\xda\x01\0" }, { 65535, 3, "\xda\xff\xff" }, { 65536, 5, "\xdb\0\x01\0\0" },
	};
	char *text = malloc(65537);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run run = start("msgpack", NULL, 0);
		Record record = record_init;

		memset(text, 'x', cases[i].length);
		text[cases[i].length] = '\0';
		record.label = text;
		add(&run.batch, &record);
		format_batch(&run);
		assert_int_equal(run.out.length, 7 + cases[i].head + cases[i].length);
		assert_memory_equal(run.out.bytes, "\x81\xa5label", 7);
		assert_memory_equal(run.out.bytes + 7, cases[i].packed, cases[i].head);
		assert_memory_equal(run.out.bytes + 7 + cases[i].head, text, cases[i].length);
		end(&run);
	}
	free(text);
}

static void
test_msgpack_maps(void **state)
{
	struct run run = start("msgpack", NULL, 0);
	Record record = record_init;

	add(&run.batch, &record);
	record.inet_diag_msg_state = 10;
	record.congestion_algorithm_enum = -3;
	add(&run.batch, &record);
	format_batch(&run);
	assert_int_equal(run.out.length, 56);
	assert_memory_equal(run.out.bytes,
	    "\x80\x82\xb3inet_diag_msg_state\xa6LISTEN\xb9" "congestion_algorithm_enum\xfd", 56);
	end(&run);
	/* More than 15 fields, as those of a connection are, have a head of their own. */
	run = start("msgpack", NULL, 0);
	record = connection();
	add(&run.batch, &record);
	format_batch(&run);
	assert_memory_equal(run.out.bytes, "\xde\0\x1e\xaeschema_version\x01", 19);
	end(&run);
}

/* --- what is left of a file when its writer is killed --- */

enum { WHOLE_PIECES = 400 };

/* A record as large as they come, so that a file has many of the portions in which it is read. */
static void
add_large(struct buffer *batch, unsigned int i)
{
	Record record = mixture();
	char text[256];

	memset(text, '}', sizeof(text) - 1);
	text[i % sizeof(text)] = '\0';
	record.record_sequence = i;
	record.hostname = record.location = record.tag = text;
	add(batch, &record);
}

/* Wherever it is cut: the whole batches before that place stay, and nothing else. */
static void
test_a_file_is_cut_back_to_whole_batches(void **state)
{
	static const char *const names[] = { "jsonl", "protobufList", "protoJson", "protoText", "msgpack" };
	size_t ends[WHOLE_PIECES + 1] = { 0 }, i, n;

	srandom(6);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct run run = start(names[i], NULL, 0);
		int fd = memfd_create("test", 0);
		size_t cut;

		for (n = 1; n <= WHOLE_PIECES; n++) {
			run.batch.length = 0;
			add_large(&run.batch, (unsigned int)n);
			run.format->batch(run.state, run.batch.bytes, run.batch.length, &run.out);
			ends[n] = run.out.length;
		}
		assert_int_equal(write(fd, run.out.bytes, run.out.length), run.out.length);
		cut = run.out.length;
		for (n = WHOLE_PIECES;;) {
			const char *why = "";

			while (ends[n] > cut)
				n--;
			assert_int_equal(ftruncate(fd, (off_t)cut), 0);
			assert_int_equal(whole_end(fd, (off_t)cut, run.format->framing, &why), ends[n]);
			assert_string_equal(why, "");
			if (cut == 0)
				break;
			/* The last batch and the first at every byte. */
			cut -= cut > ends[1] && cut < ends[WHOLE_PIECES - 1] ? 1 + (size_t)random() % (cut - ends[1]) % 1500 : 1;
		}
		close(fd);
		end(&run);
	}
}

/* --- table --- */

static Record
busy(void)
{
	Record record = connection();

	record.attributes_present |= 1 << RECORD_INFO;
	record.tcp_info_length = 248;
	record.tcp_info_rtt = 45;
	record.tcp_info_snd_cwnd = 10;
	record.tcp_info_total_retrans = 3;
	record.tcp_info_delivery_rate = 1537500;
	record.tcp_info_bytes_sent = 12345;
	record.tcp_info_bytes_received = 999;
	return record;
}

static void
test_table(void **state)
{
	struct run run = start("table", NULL, 0);
	Record record = busy();

	add(&run.batch, &record);
	record = connection();
	record.inet_diag_msg_family = 10;
	record.inet_diag_msg_state = 10;
	record.netns = (char *)"a-longer-name";
	record.inet_diag_msg_socket_source.data = address_v6;
	record.inet_diag_msg_socket_destination = (ProtobufCBinaryData){ 0, NULL };
	record.inet_diag_msg_socket_destination_port = 0;
	add(&run.batch, &record);
	record = snapshot_end();
	add(&run.batch, &record);
	assert_string_equal(format_batch(&run),
	    "NETNS          STATE        LOCAL               PEER               RTT   CWND  RETRANS      RATE    SENT  RECEIVED\n"
	    "web            ESTABLISHED  192.0.2.1:8080      192.0.2.1:443  0.045ms     10        3  12.3Mbps  12.3kB      999B\n"
	    "a-longer-name  LISTEN       [2001:db8::1]:8080  [::]:*               -      -        -         -       -         -\n");
	end(&run);
}

static void
test_table_has_other_columns(void **state)
{
	struct run run = start("table", "record_sequence,peer,tcp_info_rtt,rtt,mark,cc", 0);
	Record record = busy();

	add(&run.batch, &record);
	assert_string_equal(format_batch(&run),
	    "record_sequence  PEER           tcp_info_rtt      RTT  mark  CC\n"
	    "              5  192.0.2.1:443            45  0.045ms     0  cubic\n");
	end(&run);
}

static size_t
widest_line(const char *text)
{
	size_t widest = 0;

	while (*text != '\0') {
		size_t length = strcspn(text, "\n"), columns = text_columns(text, length);

		widest = columns > widest ? columns : widest;
		text += length + 1;
	}
	return widest;
}

static const char *
table_line(struct run *run, const Record *record)
{
	run->batch.length = 0;
	add(&run->batch, record);
	return strchr(format_batch(run), '\n') + 1;
}

static void
test_table_fits_any_width(void **state)
{
	Record record = busy(), wide;
	unsigned int width;

	record.netns = (char *)"\xe6\xbc\xa2\xe5\xad\x97-a-very-long-name-of-a-namespace";
	wide = record;
	wide.inet_diag_msg_family = 10;
	memset(address_v6 + 4, 0xab, 11);
	wide.inet_diag_msg_socket_source.data = wide.inet_diag_msg_socket_destination.data = address_v6;
	for (width = 1; width < 220; width++) {
		struct run run = start("table", NULL, width);

		add(&run.batch, &record);
		add(&run.batch, &wide);
		assert_in_range(widest_line(format_batch(&run)), 1, width);
		end(&run);
	}
	memset(address_v6 + 4, 0, 11);
	assert_int_equal(address_v6[15], 1);
}

static void
test_table_shortens_names_before_it_drops(void **state)
{
	struct run run = start("table", NULL, 85);
	Record record = busy();

	record.netns = (char *)"cni-0b5a5e8c-aaaa-bbbb";
	record.inet_diag_msg_socket_source.data = record.inet_diag_msg_socket_destination.data =
	    (uint8_t[16]){ 192, 168, 100, 123 };
	record.inet_diag_msg_socket_source_port = 43210;
	assert_string_equal(table_line(&run, &record),
	    "cni-0b5a5e8\xe2\x80\xa6  ESTABLISHED  192.168.100.123:43210  192.168.100.123:443  0.045ms     10\n");
	end(&run);
	run = start("table", "local,peer,cwnd", 51);
	record.inet_diag_msg_family = 10;
	memset(record.inet_diag_msg_socket_source.data, 0xab, 16);
	assert_string_equal(table_line(&run, &record),
	    "[abab:abab:ab\xe2\x80\xa6]:43210  [abab:abab:abab\xe2\x80\xa6]:443     10\n");
	end(&run);
	/* A port is never what is left out, nor is a bracket. */
	run = start("table", "local", 12);
	assert_string_equal(table_line(&run, &record), "[aba\xe2\x80\xa6]:43210\n");
	end(&run);
	/* A number is shown whole or not at all. */
	run = start("table", "netns,collector_epoch", 33);
	assert_string_equal(table_line(&run, &record), "cni-0b5a5e8c-aaaa-bbbb\n");
	end(&run);
	run = start("table", "netns,collector_epoch", 34);
	assert_string_equal(table_line(&run, &record), "cni-0b5a5e8\xe2\x80\xa6  18446744073709551615\n");
	end(&run);
}

static void
test_table_header_is_seldom(void **state)
{
	static const unsigned int widths[] = { 80, 0 };
	Record record = busy(), last = snapshot_end();
	unsigned int i, round, headers;

	for (i = 0; i < 2; i++) {
		struct run run = start("table", NULL, widths[i]);

		headers = 0;
		/* Nothing but a snapshot's end is nothing at all. */
		add(&run.batch, &last);
		assert_string_equal(format_batch(&run), "");
		for (round = 0; round < 100; round++) {
			run.batch.length = 0;
			add(&run.batch, &record);
			headers += strstr(format_batch(&run), "STATE") != NULL;
			assert_int_equal(strstr((char *)run.out.bytes, "STATE") != NULL,
			    round == 0 || (widths[i] != 0 && round % 40 == 0));
		}
		assert_int_equal(headers, widths[i] ? 3 : 1);
		end(&run);
	}
}

static void
test_table_commands_no_terminal(void **state)
{
	struct run run = start("table", "netns,label", 60);
	Record record = busy();

	record.netns = (char *)"\x1b]0;owned\x07";
	record.label = (char *)"a\r\nb\xff";
	assert_string_equal(table_line(&run, &record), FFFD "]0;owned" FFFD "  a" FFFD FFFD "b" FFFD "\n");
	end(&run);
}

/* Strings of bytes that become most, far longer than the room that there is before they come. */
static void
test_strings_that_grow(void **state)
{
	static char controls[60001], strays[60001];
	unsigned int i;

	memset(controls, 1, sizeof(controls) - 1);
	memset(strays, 0xff, sizeof(strays) - 1);
	for (i = 0; formats[i] != NULL; i++) {
		struct run run = start(formats[i]->name, NULL, 0);
		Record record = connection();

		record.hostname = record.ulp_name = controls;
		record.label = strays;
		add(&run.batch, &record);
		if (formats[i]->batch != NULL) {
			format_batch(&run);
			assert_in_range(run.out.length, 1, run.out.capacity);
		}
		end(&run);
	}
}

/* Another program's record may hold more bytes than ours. */
static void
test_bytes_that_grow(void **state)
{
	static uint8_t bytes[60000];
	unsigned int i;

	memset(bytes, 0xff, sizeof(bytes));
	for (i = 0; formats[i] != NULL; i++) {
		struct run run = start(formats[i]->name, formats[i]->columns ? "tcp_info_tail" : NULL, 0);
		Record record = connection();

		record.tcp_info_tail = (ProtobufCBinaryData){ sizeof(bytes), bytes };
		add(&run.batch, &record);
		if (formats[i]->batch != NULL) {
			format_batch(&run);
			/* All alike, they are nothing to what compresses. */
			assert_in_range(run.out.length, formats[i]->finish != NULL ? 1 : sizeof(bytes), run.out.capacity);
		}
		end(&run);
	}
}

/* No batch of any bytes is more than refused: the sanitizers look on. */
static void
test_formats_of_any_bytes(void **state)
{
	unsigned int round, i;

	srandom(5);
	for (i = 0; formats[i] != NULL; i++) {
		struct run run = start(formats[i]->name, NULL, i % 2 ? 0 : 100);

		for (round = 0; formats[i]->batch != NULL && round < 1500; round++) {
			Record record = busy();
			size_t n;

			run.batch.length = 0;
			add(&run.batch, &record);
			add(&run.batch, &record);
			for (n = 0; n < round % 8; n++)
				run.batch.bytes[(size_t)random() % run.batch.length] = (uint8_t)random();
			format_batch(&run);
		}
		end(&run);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_scaled),
		cmocka_unit_test(test_milliseconds),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_strings_of_any_bytes),
		cmocka_unit_test(test_columns_of_text),
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_jsonl),
		cmocka_unit_test(test_jsonl_of_others),
		cmocka_unit_test(test_jsonl_of_many_shapes),
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_csv_empty_is_not_absent),
		cmocka_unit_test(test_tsv),
		cmocka_unit_test(test_default_columns),
		cmocka_unit_test(test_unknown_column),
		cmocka_unit_test(test_protobuf_list),
		cmocka_unit_test(test_proto_json),
		cmocka_unit_test(test_proto_text),
		cmocka_unit_test(test_msgpack_numbers),
		cmocka_unit_test(test_msgpack_strings),
		cmocka_unit_test(test_msgpack_maps),
		cmocka_unit_test(test_a_file_is_cut_back_to_whole_batches),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_table_has_other_columns),
		cmocka_unit_test(test_table_fits_any_width),
		cmocka_unit_test(test_table_shortens_names_before_it_drops),
		cmocka_unit_test(test_table_header_is_seldom),
		cmocka_unit_test(test_table_commands_no_terminal),
		cmocka_unit_test(test_strings_that_grow),
		cmocka_unit_test(test_bytes_that_grow),
		cmocka_unit_test(test_formats_of_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
