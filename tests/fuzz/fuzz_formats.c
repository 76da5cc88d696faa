/*
 * The input is records as they stand in a file or a batch, behind two bytes of
 * options.  Every record that the reader takes goes, with a stamp or without,
 * through every format, and each writes what its readers can read: as many
 * rows as there are, each whole, and nothing that commands a terminal.
 */
#include <ctype.h>

#include "common/fd.h"
#include "common/utf8.h"
#include "common/varint.h"
#include "proto/xtcp_flat_record.pb-c.h"
#include "shipper/batch.h"
#include "shipper/formats.h"
#include "shipper/stamp.h"
#include "shipper/text.h"
#include "tests/fuzz/fuzz.h"

enum { OPTION_STAMP = 1, OPTION_COLUMNS = 2, OPTION_WINDOW = 4, OPTION_BITS = 3 };

/* Of the table; narrower than this, one column may not fit. */
enum { WIDTH_LEAST = 60 };

/* More take time and show nothing new. */
enum { RECORDS_MAX = 24, WINDOW = 20 };

struct input {
	struct batch		batch;
	struct format_options	options;
	size_t			records;
	size_t			sockets;
};

/* --- taking the input apart ------------------------------------------------ */

static void
add_record(struct input *input, const uint8_t *stamp, size_t stamp_length, const uint8_t *bytes, size_t length)
{
	struct record record;
	uint8_t *place;

	if (record_read(&record, bytes, length) == -1)
		return;
	place = batch_place(&input->batch, stamp, stamp_length, length);
	if (length > 0)
		memcpy(place, bytes, length);
	batch_commit(&input->batch, stamp_length, length);
	input->records++;
	input->sockets += text_is_socket(&record);
}

static void
add_records(struct input *input, bool stamped, const uint8_t *bytes, size_t size)
{
	static const struct stamp_identity identity = {
		.version = "0.1.0", .hostname = "host", .location = "\xc3\xa9\"\\,", .netns = "web", .inode = 4026531840,
		.container = "c0ffee", .runtime = "docker", .label = "l", .tag = "t", .cookie = 7, .epoch = UINT64_MAX,
	};
	uint8_t stamp[RECORD_STAMP_MAX];
	size_t stamp_length = stamped ? stamp_write(stamp, &identity) : 0, prefix, frame;

	for (; size > 0 && input->records < RECORDS_MAX; bytes += frame, size -= frame) {
		frame = format_frame(bytes, size, &prefix);
		/* A mutation that makes a record shorter or longer shall not lose it. */
		if (frame == 0) {
			frame = size;
			prefix = prefix < size ? prefix : 0;
		}
		add_record(input, stamp, stamp_length, bytes + prefix, frame - prefix);
	}
}

/* A few columns of mixed kinds, or some neighbours of the table. */
static void
set_columns(struct input *input, uint8_t options)
{
	static char *few[] = { (char *)"netns", (char *)"inet_diag_msg_socket_source", (char *)"congestion_algorithm_string",
		(char *)"snapshot_way", (char *)"tcp_info_rtt" };
	static char *window[WINDOW];
	size_t first = (size_t)(options >> OPTION_BITS) * (RECORD_FIELDS - WINDOW) / (UINT8_MAX >> OPTION_BITS);

	if (!(options & OPTION_COLUMNS))
		return;
	for (size_t i = 0; i < WINDOW; i++)
		window[i] = (char *)(uintptr_t)record_fields[first + i].name;
	input->options.columns = options & OPTION_WINDOW ? window : few;
	input->options.ncolumns = options & OPTION_WINDOW ? WINDOW : sizeof(few) / sizeof(few[0]);
}

/* --- what readers want ------------------------------------------------------- */

/* JSON lets U+007F to U+009F be; what else is a control character it does not. */
static void
require_text(const uint8_t *text, size_t length)
{
	for (size_t at = 0, n; at < length; at += n) {
		n = utf8_sequence(text + at, length - at);
		FUZZ_REQUIRE(n > 0 && (text[at] >= 0x20 || text[at] == '\n'));
	}
}

/* The next line, and *text behind it. */
static size_t
next_line(const char **text, const char *end)
{
	const char *newline = memchr(*text, '\n', (size_t)(end - *text));
	size_t length;

	FUZZ_REQUIRE(newline != NULL);
	length = (size_t)(newline - *text);
	*text = newline + 1;
	return length;
}

static const char *
json_string(const char *at)
{
	FUZZ_REQUIRE(*at == '"');
	for (at++; *at != '"'; at++) {
		FUZZ_REQUIRE((uint8_t)*at >= 0x20);
		if (*at != '\\')
			continue;
		at++;
		if (*at != 'u') {
			FUZZ_REQUIRE(*at != '\0' && strchr("\"\\bfnrt", *at) != NULL);
			continue;
		}
		for (int i = 0; i < 4; i++)
			FUZZ_REQUIRE(isxdigit((uint8_t)*++at));
	}
	return at + 1;
}

static const char *
json_number(const char *at)
{
	if (*at == '-')
		at++;
	FUZZ_REQUIRE(isdigit((uint8_t)*at));
	FUZZ_REQUIRE(*at != '0' || !isdigit((uint8_t)at[1]));
	while (isdigit((uint8_t)*at))
		at++;
	return at;
}

/* An object without objects in it; ends with the newline that no string has. */
static const char *
json_object(const char *at)
{
	FUZZ_REQUIRE(*at++ == '{');
	while (*at != '}') {
		at = json_string(at);
		FUZZ_REQUIRE(*at++ == ':');
		at = *at == '"' ? json_string(at) : json_number(at);
		if (*at == ',')
			FUZZ_REQUIRE(*++at == '"');
		else
			FUZZ_REQUIRE(*at == '}');
	}
	FUZZ_REQUIRE(at[1] == '\n');
	return at + 2;
}

static void
require_jsonl(const struct input *input, const struct buffer *out)
{
	const char *at = (const char *)out->bytes, *end = at + out->length;
	size_t rows = 0;

	require_text(out->bytes, out->length);
	for (; at < end; rows++)
		at = json_object(at);
	FUZZ_REQUIRE(at == end && rows == input->records);
}

/* RFC 4180.  The fields of the row at *at, and *at behind it. */
static size_t
csv_row(const char **at)
{
	const char *c = *at;
	size_t fields = 1;

	for (; *c != '\n'; c++) {
		FUZZ_REQUIRE(*c != '\0');
		if (*c == ',')
			fields++;
		if (*c != '"')
			continue;
		for (c++; c[0] != '"' || c[1] == '"'; c += c[0] == '"' ? 2 : 1)
			FUZZ_REQUIRE(*c != '\0');
		FUZZ_REQUIRE(c[1] == ',' || c[1] == '\n');
	}
	*at = c + 1;
	return fields;
}

static void
require_csv(const struct input *input, const struct buffer *out)
{
	const char *at = (const char *)out->bytes, *end = at + out->length;
	size_t columns = csv_row(&at), rows = 0;

	for (; at < end; rows++)
		FUZZ_REQUIRE(csv_row(&at) == columns);
	FUZZ_REQUIRE(rows == input->sockets);
}

static size_t
tsv_row(const char **at, const char *end)
{
	const char *line = *at;
	size_t length = next_line(at, end), fields = 1;

	for (size_t i = 0; i < length; i++)
		fields += line[i] == '\t';
	return fields;
}

static void
require_tsv(const struct input *input, const struct buffer *out)
{
	const char *at = (const char *)out->bytes, *end = at + out->length;
	size_t columns = tsv_row(&at, end), rows = 0;

	for (; at < end; rows++)
		FUZZ_REQUIRE(tsv_row(&at, end) == columns);
	FUZZ_REQUIRE(rows == input->sockets);
}

static void
require_table(const struct input *input, const struct buffer *out)
{
	const char *at = (const char *)out->bytes, *end = at + out->length, *line;
	size_t rows = 0, length, n;

	for (line = at; line < end; line = at, rows++) {
		length = next_line(&at, end);
		for (size_t i = 0; i < length; i += n) {
			n = utf8_character((const uint8_t *)line + i, length - i);
			FUZZ_REQUIRE(n > 0);
			FUZZ_REQUIRE(n != 2 || (uint8_t)line[i] != 0xc2 || (uint8_t)line[i + 1] >= 0xa0);
		}
		if (input->options.width >= WIDTH_LEAST)
			FUZZ_REQUIRE(text_columns(line, length) <= input->options.width);
	}
	/* And one with the names. */
	FUZZ_REQUIRE(rows == (input->sockets > 0 ? input->sockets + 1 : 0));
}

static void
require_list(const struct input *input, const struct buffer *out)
{
	XtcpFlatRecord__V1__Envelope *envelope;
	uint64_t length;
	size_t prefix;

	if (input->sockets == 0) {
		FUZZ_REQUIRE(out->length == 0);
		return;
	}
	prefix = varint_read(out->bytes, out->length, &length);
	FUZZ_REQUIRE(prefix > 0 && prefix + length == out->length);
	envelope = xtcp_flat_record__v1__envelope__unpack(NULL, (size_t)length, out->bytes + prefix);
	FUZZ_REQUIRE(envelope != NULL && envelope->n_row == input->sockets);
	xtcp_flat_record__v1__envelope__free_unpacked(envelope, NULL);
}

/* --- */

static const struct {
	const struct format	*format;
	void			(*require)(const struct input *, const struct buffer *);
} readers[] = {
	{ &format_jsonl, require_jsonl },
	{ &format_csv, require_csv },
	{ &format_tsv, require_tsv },
	{ &format_table, require_table },
	{ &format_protobuf_list, require_list },
};

static void
require_readable(const struct input *input, const struct format *format, struct buffer *out)
{
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
		if (readers[i].format == format)
			readers[i].require(input, out);
	}
}

static void
try_format(const struct input *input, const struct format *format)
{
	cleanup_free uint8_t *batch = fuzz_copy(input->batch.records.bytes, input->batch.records.length);
	struct buffer out = { 0 };
	char error[256] = "";
	void *state = format->open(&input->options, error, sizeof(error));

	FUZZ_REQUIRE(state != NULL && error[0] == '\0');
	if (format->header != NULL)
		format->header(state, &out);
	if (format->batch != NULL)
		format->batch(state, batch, input->batch.records.length, &out);
	if (format->finish != NULL)
		format->finish(state, &out);
	*buffer_reserve(&out, 1) = '\0';
	require_readable(input, format, &out);
	buffer_free(&out);
	format_close(format, state);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_script script = { data, size };
	uint8_t options = (uint8_t)fuzz_number(&script, 1);
	struct input input = { .options.width = (unsigned int)fuzz_number(&script, 1) };

	set_columns(&input, options);
	add_records(&input, options & OPTION_STAMP, script.at, script.left);
	for (size_t i = 0; formats[i] != NULL; i++)
		try_format(&input, formats[i]);
	batch_free(&input.batch);
	return 0;
}
