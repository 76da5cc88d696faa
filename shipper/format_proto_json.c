/*
 * protoJson: for each batch a line with its Envelope as canonical proto3 JSON.
 * So zeros are left out, 64-bit numbers are strings, since JavaScript's would
 * lose digits, and addresses and bytes are in base64.
 */
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/text.h"

struct proto_json {
	struct text_label	labels[RECORD_FIELDS];	/* ,"lowerCamelCase": */
	struct buffer		*out;			/* of the batch at work */
	size_t			rows;			/* of it, that are written */
};

/* Room for every field of a row but what is in its strings and bytes, and for what stands around rows. */
enum { PROTO_JSON_FIXED = RECORD_FIELDS * (TEXT_LABEL_MAX + TEXT_PLAIN_MAX + 2) + 16 };

/* As protobuf makes its json_name: an underscore goes, and what follows it is a capital. */
static void
proto_json_name(char *to, const char *name)
{
	bool capital = false;

	for (; *name != '\0'; name++) {
		if (*name != '_')
			*to++ = (char)(capital && *name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name);
		capital = *name == '_';
	}
	*to = '\0';
}

static void *
proto_json_open(const struct format_options *options, char *error, size_t size)
{
	struct proto_json *json = calloc(1, sizeof(*json));
	char name[TEXT_LABEL_MAX];
	unsigned int row;

	(void)options;
	(void)error;
	(void)size;
	if (json == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: format protoJson");
	for (row = 0; row < RECORD_FIELDS; row++) {
		proto_json_name(name, record_fields[row].name);
		text_label(&json->labels[row], ",\"", name, "\":");
	}
	return json;
}

/* --- values: each returns where it has ended ------------------------------------ */

static char *
proto_json_number(char *at, enum record_type type, const struct record_value *value)
{
	(void)type;
	return at + text_number(at, value->number);
}

static char *
proto_json_u64(char *at, enum record_type type, const struct record_value *value)
{
	*at++ = '"';
	at = proto_json_number(at, type, value);
	*at++ = '"';
	return at;
}

static char *
proto_json_i64(char *at, enum record_type type, const struct record_value *value)
{
	(void)type;
	*at++ = '"';
	at += text_signed(at, (int64_t)value->number);
	*at++ = '"';
	return at;
}

static char *
proto_json_string(char *at, enum record_type type, const struct record_value *value)
{
	(void)type;
	*at++ = '"';
	at += text_string(at, value->bytes, value->number, TEXT_JSON);
	*at++ = '"';
	return at;
}

/* RFC 4648, section 4. */
static char *
proto_json_base64(char *at, enum record_type type, const struct record_value *value)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t i, j, left;

	(void)type;
	*at++ = '"';
	for (i = 0; i < value->number; i += 3) {
		uint32_t three = 0;

		left = value->number - i;
		for (j = 0; j < 3; j++)
			three = three << 8 | (j < left ? value->bytes[i + j] : 0u);
		for (j = 0; j < 4; j++)
			*at++ = j <= left ? digits[three >> (18 - 6 * j) & 63] : '=';
	}
	*at++ = '"';
	return at;
}

/* A value that the schema has no name for is a number. */
static char *
proto_json_enum(char *at, enum record_type type, const struct record_value *value)
{
	size_t length = record_enum_name(at + 1, type, value->number);

	if (length == 0)
		return at + text_signed(at, (int64_t)value->number);
	at[0] = at[1 + length] = '"';
	return at + 2 + length;
}

static char *(*const proto_json_values[])(char *, enum record_type, const struct record_value *) = {
	[RECORD_U32] = proto_json_number,
	[RECORD_U64] = proto_json_u64,
	[RECORD_I64] = proto_json_i64,
	[RECORD_STRING] = proto_json_string,
	[RECORD_ADDRESS] = proto_json_base64,
	[RECORD_BYTES] = proto_json_base64,
	[RECORD_STATE] = proto_json_number,
	[RECORD_CONGESTION] = proto_json_enum,
	[RECORD_KIND] = proto_json_enum,
	[RECORD_WAY] = proto_json_enum,
	[RECORD_OUTCOME] = proto_json_enum,
};

/* --- rows ---------------------------------------------------------------------- */

static char *
proto_json_field(struct proto_json *json, char *at, const struct record *record, unsigned int row)
{
	const struct record_value *value = &record->values[row];
	enum record_type type = record_fields[row].type;

	if (value->number == 0)
		return at;
	at = text_label_copy(at, &json->labels[row]);
	if (type == RECORD_STRING || type == RECORD_BYTES)
		at = text_room(json->out, at, PROTO_JSON_FIXED + TEXT_ESCAPED * value->number);
	return proto_json_values[type](at, type, value);
}

static void
proto_json_row(void *state, const struct record *record)
{
	struct proto_json *json = state;
	struct buffer *out = json->out;
	unsigned int word;
	uint64_t bits;
	size_t start;
	char *at;

	if (!text_is_socket(record))
		return;
	at = (char *)buffer_reserve(out, PROTO_JSON_FIXED);
	if (json->rows++ > 0)
		*at++ = ',';
	start = (size_t)((uint8_t *)at - out->bytes);
	for (word = 0; word < RECORD_WORDS; word++) {
		for (bits = record->written[word]; bits != 0; bits &= bits - 1)
			at = proto_json_field(json, at, record, 64 * word + (unsigned int)__builtin_ctzll(bits));
	}
	/* The first field's comma is where the brace has to be. */
	if ((uint8_t *)at == out->bytes + start)
		at++;
	out->bytes[start] = '{';
	*at++ = '}';
	out->length = (size_t)((uint8_t *)at - out->bytes);
}

static void
proto_json_batch(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	struct proto_json *json = state;
	size_t start = out->length;

	json->out = out;
	json->rows = 0;
	buffer_append_string(out, "{\"row\":[");
	format_each(bytes, length, proto_json_row, json);
	json->out = NULL;
	if (json->rows > 0)
		buffer_append_string(out, "]}\n");
	else
		out->length = start;
}

const struct format format_proto_json = {
	.name = "protoJson",
	.help = "an Envelope a batch, as a line of proto3 JSON",
	.text = true,
	.framing = SINK_ENVELOPES,
	.open = proto_json_open,
	.batch = proto_json_batch,
};
