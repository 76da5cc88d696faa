/*
 * jsonl: a JSON object a line, with the fields' names of the .proto in their
 * order there.  What a record does not have is left out; zeros are printed.
 */
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/text.h"

struct jsonl_field {
	struct text_label	label;		/* ,"name": */
	uint8_t			type;		/* enum record_type */
};

struct jsonl {
	struct jsonl_field	fields[RECORD_FIELDS];
	struct text_presence	presence;
	struct buffer		*out;		/* of the batch at work */
};

/* Room for every field of a record but what is in its strings and bytes. */
enum { JSONL_FIXED = RECORD_FIELDS * (TEXT_LABEL_MAX + TEXT_PLAIN_MAX + 2) + 2 };

static void *
jsonl_open(const struct format_options *options, char *error, size_t size)
{
	struct jsonl *jsonl = calloc(1, sizeof(*jsonl));
	unsigned int row;

	(void)options;
	(void)error;
	(void)size;
	if (jsonl == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: format jsonl");
	for (row = 0; row < RECORD_FIELDS; row++) {
		text_label(&jsonl->fields[row].label, ",\"", record_fields[row].name, "\":");
		jsonl->fields[row].type = record_fields[row].type;
	}
	return jsonl;
}

static char *
jsonl_string(struct buffer *out, char *at, const struct record_value *value)
{
	at = text_room(out, at, JSONL_FIXED + 2 + TEXT_ESCAPED * value->number);
	*at++ = '"';
	at += text_string(at, value->bytes, value->number, TEXT_JSON);
	*at++ = '"';
	return at;
}

static char *
jsonl_bytes(struct buffer *out, char *at, const struct record_value *value)
{
	at = text_room(out, at, JSONL_FIXED + 2 + TEXT_BYTES * value->number);
	*at++ = '"';
	at += text_bytes(at, value->bytes, value->number);
	*at++ = '"';
	return at;
}

static char *
jsonl_plain(char *at, const struct record *record, unsigned int row)
{
	size_t length;
	bool bare;

	length = text_plain(at + 1, record, row, &bare);
	if (bare) {
		memmove(at, at + 1, length);
		return at + length;
	}
	at[0] = at[1 + length] = '"';
	return at + 2 + length;
}

static inline char *
jsonl_field(struct jsonl *jsonl, char *at, const struct record *record, unsigned int row)
{
	const struct jsonl_field *field = &jsonl->fields[row];

	at = text_label_copy(at, &field->label);
	if (field->type <= RECORD_U64)
		return at + text_number(at, record->values[row].number);
	if (field->type == RECORD_STRING)
		return jsonl_string(jsonl->out, at, &record->values[row]);
	if (field->type == RECORD_BYTES)
		return jsonl_bytes(jsonl->out, at, &record->values[row]);
	return jsonl_plain(at, record, row);
}

static void
jsonl_record(void *state, const struct record *record)
{
	struct jsonl *jsonl = state;
	struct buffer *out = jsonl->out;
	uint64_t present[RECORD_WORDS], bits;
	char *at = (char *)buffer_reserve(out, JSONL_FIXED);
	size_t start = out->length;
	unsigned int word;

	text_present(&jsonl->presence, record, present);
	/* The first field's comma is where the brace has to be. */
	*at = ',';
	for (word = 0; word < RECORD_WORDS; word++) {
		for (bits = present[word]; bits != 0; bits &= bits - 1)
			at = jsonl_field(jsonl, at, record, 64 * word + (unsigned int)__builtin_ctzll(bits));
	}
	if ((uint8_t *)at == out->bytes + start)
		at++;
	out->bytes[start] = '{';
	memcpy(at, "}\n", 2);
	out->length = (size_t)((uint8_t *)at + 2 - out->bytes);
}

static void
jsonl_batch(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	struct jsonl *jsonl = state;

	jsonl->out = out;
	format_each(bytes, length, jsonl_record, jsonl);
	jsonl->out = NULL;
}

const struct format format_jsonl = {
	.name = "jsonl",
	.help = "a JSON object a line",
	.snapshot_ends = true,
	.text = true,
	.open = jsonl_open,
	.batch = jsonl_batch,
};
