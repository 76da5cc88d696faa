/*
 * protoText: Envelopes in protobuf's text format, a block "row { ... }" a
 * record, zeros left out.  Envelopes have no end in it: all of a file together
 * is one with all of their rows.
 */
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/text.h"

struct proto_text {
	struct text_label	labels[RECORD_FIELDS];	/* "  name: " */
	struct buffer		*out;			/* of the batch at work */
};

enum {
	PROTO_TEXT_ESCAPED = 4,		/* bytes that one byte may become: \377 */
	PROTO_TEXT_ADDRESS = 16 * PROTO_TEXT_ESCAPED + 2,
	/* Room for every field of a row but what is in its strings and bytes. */
	PROTO_TEXT_FIXED = RECORD_FIELDS * (TEXT_LABEL_MAX + PROTO_TEXT_ADDRESS + 1) + 16,
};

static void *
proto_text_open(const struct format_options *options, char *error, size_t size)
{
	struct proto_text *text = calloc(1, sizeof(*text));
	unsigned int row;

	(void)options;
	(void)error;
	(void)size;
	if (text == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: format protoText");
	for (row = 0; row < RECORD_FIELDS; row++)
		text_label(&text->labels[row], "  ", record_fields[row].name, ": ");
	return text;
}

/* As protobuf writes it: all that is not ASCII in octal, so it is safe on any terminal. */
static char *
proto_text_escape(char *at, uint8_t byte)
{
	static const char letters[] = {
		['\t'] = 't', ['\n'] = 'n', ['\r'] = 'r', ['"'] = '"', ['\''] = '\'', ['\\'] = '\\',
	};

	if (byte < sizeof(letters) && letters[byte] != 0) {
		*at++ = '\\';
		*at++ = letters[byte];
	} else if (byte >= ' ' && byte < 0x7f)
		*at++ = (char)byte;
	else {
		*at++ = '\\';
		*at++ = (char)('0' + (byte >> 6));
		*at++ = (char)('0' + (byte >> 3 & 7));
		*at++ = (char)('0' + (byte & 7));
	}
	return at;
}

static char *
proto_text_bytes(char *at, const uint8_t *bytes, size_t length)
{
	size_t i;

	*at++ = '"';
	for (i = 0; i < length; i++)
		at = proto_text_escape(at, bytes[i]);
	*at++ = '"';
	return at;
}

/* A parser refuses a string that is not UTF-8, so it is made so first, behind where it will stand. */
static char *
proto_text_string(struct buffer *out, char *at, const struct record_value *value)
{
	size_t most = TEXT_UTF8_ESCAPED * value->number, length;
	char *clean;

	at = text_room(out, at, PROTO_TEXT_FIXED + (PROTO_TEXT_ESCAPED + 1) * most);
	clean = at + PROTO_TEXT_ESCAPED * most + 2;
	length = text_string(clean, value->bytes, value->number, TEXT_UTF8);
	return proto_text_bytes(at, (const uint8_t *)clean, length);
}

static char *
proto_text_value(struct buffer *out, char *at, enum record_type type, const struct record_value *value)
{
	size_t length;

	if (type == RECORD_STRING)
		return proto_text_string(out, at, value);
	if (type == RECORD_BYTES)
		at = text_room(out, at, PROTO_TEXT_FIXED + PROTO_TEXT_ESCAPED * value->number);
	if (type == RECORD_ADDRESS || type == RECORD_BYTES)
		return proto_text_bytes(at, value->bytes, value->number);
	length = record_enum_name(at, type, value->number);
	if (length > 0)
		return at + length;
	/* U64 is the only type whose top bit is no sign. */
	if (type == RECORD_U64)
		return at + text_number(at, value->number);
	return at + text_signed(at, (int64_t)value->number);
}

static char *
proto_text_field(struct proto_text *text, char *at, const struct record *record, unsigned int row)
{
	const struct record_value *value = &record->values[row];

	if (value->number == 0)
		return at;
	at = text_label_copy(at, &text->labels[row]);
	at = proto_text_value(text->out, at, record_fields[row].type, value);
	*at++ = '\n';
	return at;
}

static void
proto_text_row(void *state, const struct record *record)
{
	static const char head[] = "row {\n", tail[] = "}\n";
	struct proto_text *text = state;
	struct buffer *out = text->out;
	unsigned int word;
	uint64_t bits;
	char *at;

	if (!text_is_socket(record))
		return;
	at = mempcpy(buffer_reserve(out, PROTO_TEXT_FIXED), head, sizeof(head) - 1);
	for (word = 0; word < RECORD_WORDS; word++) {
		for (bits = record->written[word]; bits != 0; bits &= bits - 1)
			at = proto_text_field(text, at, record, 64 * word + (unsigned int)__builtin_ctzll(bits));
	}
	at = mempcpy(at, tail, sizeof(tail) - 1);
	out->length = (size_t)((uint8_t *)at - out->bytes);
}

static void
proto_text_batch(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	struct proto_text *text = state;

	text->out = out;
	format_each(bytes, length, proto_text_row, text);
	text->out = NULL;
}

const struct format format_proto_text = {
	.name = "protoText",
	.help = "Envelopes in protobuf's text format",
	.text = true,
	.framing = SINK_BLOCKS,
	.open = proto_text_open,
	.batch = proto_text_batch,
};
