/*
 * msgpack: a map for each record, one behind the other, with the keys and
 * values of jsonl.  What a record does not have is left out; zeros are there.
 */
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/text.h"

/* The first bytes, by the specification's names. */
enum {
	MSGPACK_FIXMAP = 0x80, MSGPACK_MAP_16 = 0xde,
	MSGPACK_FIXSTR = 0xa0, MSGPACK_STR_8 = 0xd9, MSGPACK_STR_16 = 0xda, MSGPACK_STR_32 = 0xdb,
	MSGPACK_UINT_8 = 0xcc,		/* 16, 32 and 64 bits follow */
	MSGPACK_INT_8 = 0xd0,
};
enum { MSGPACK_HEAD_MAX = 5 };

struct msgpack {
	struct text_label	labels[RECORD_FIELDS];	/* the key */
	struct text_presence	presence;
	struct buffer		*out;			/* of the batch at work */
};

/* Room for every field of a record but what is in its strings and bytes. */
enum { MSGPACK_FIXED = RECORD_FIELDS * (TEXT_LABEL_MAX + TEXT_PLAIN_MAX + MSGPACK_HEAD_MAX) + MSGPACK_HEAD_MAX };

/* --- values: each returns where it has ended ------------------------------------ */

/* A first byte and a number of so many bytes, the highest first. */
static char *
msgpack_head(char *at, unsigned int first, uint64_t value, unsigned int width)
{
	*at++ = (char)first;
	while (width-- > 0)
		*at++ = (char)(value >> 8 * width);
	return at;
}

static char *
msgpack_unsigned(char *at, uint64_t value)
{
	unsigned int size = 0;		/* of 8 << size bits */

	if (value < 0x80)
		return msgpack_head(at, (unsigned int)value, 0, 0);
	while (size < 3 && value >> (8 << size) != 0)
		size++;
	return msgpack_head(at, MSGPACK_UINT_8 + size, value, 1u << size);
}

static char *
msgpack_signed(char *at, int64_t value)
{
	unsigned int size = 0;

	if (value >= 0)
		return msgpack_unsigned(at, (uint64_t)value);
	if (value >= -32)
		return msgpack_head(at, (unsigned int)value & 0xff, 0, 0);
	while (size < 3 && value < -(INT64_C(1) << ((8 << size) - 1)))
		size++;
	return msgpack_head(at, MSGPACK_INT_8 + size, (uint64_t)value, 1u << size);
}

static char *
msgpack_string_head(char *at, size_t length)
{
	if (length < 32)
		return msgpack_head(at, MSGPACK_FIXSTR | (unsigned int)length, 0, 0);
	if (length <= UINT8_MAX)
		return msgpack_head(at, MSGPACK_STR_8, length, 1);
	if (length <= UINT16_MAX)
		return msgpack_head(at, MSGPACK_STR_16, length, 2);
	return msgpack_head(at, MSGPACK_STR_32, length, 4);
}

/* Puts the head before a text that stands MSGPACK_HEAD_MAX behind where it belongs. */
static char *
msgpack_text(char *at, size_t length)
{
	char *to = msgpack_string_head(at, length);

	memmove(to, at + MSGPACK_HEAD_MAX, length);
	return to + length;
}

static char *
msgpack_string(struct buffer *out, char *at, const struct record_value *value)
{
	at = text_room(out, at, MSGPACK_FIXED + MSGPACK_HEAD_MAX + TEXT_UTF8_ESCAPED * value->number);
	return msgpack_text(at, text_string(at + MSGPACK_HEAD_MAX, value->bytes, value->number, TEXT_UTF8));
}

static char *
msgpack_bytes(struct buffer *out, char *at, const struct record_value *value)
{
	at = text_room(out, at, MSGPACK_FIXED + MSGPACK_HEAD_MAX + TEXT_BYTES * value->number);
	return msgpack_text(at, text_bytes(at + MSGPACK_HEAD_MAX, value->bytes, value->number));
}

static char *
msgpack_plain(char *at, const struct record *record, unsigned int row)
{
	size_t length;
	bool bare;

	length = text_plain(at + MSGPACK_HEAD_MAX, record, row, &bare);
	if (bare)
		return msgpack_signed(at, (int64_t)record->values[row].number);
	return msgpack_text(at, length);
}

/* --- maps ---------------------------------------------------------------------- */

static void *
msgpack_open(const struct format_options *options, char *error, size_t size)
{
	struct msgpack *msgpack = calloc(1, sizeof(*msgpack));
	char head[MSGPACK_HEAD_MAX + 1];
	unsigned int row;

	(void)options;
	(void)error;
	(void)size;
	if (msgpack == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: format msgpack");
	for (row = 0; row < RECORD_FIELDS; row++) {
		*msgpack_string_head(head, strlen(record_fields[row].name)) = '\0';
		text_label(&msgpack->labels[row], head, record_fields[row].name, "");
	}
	return msgpack;
}

static char *
msgpack_field(struct msgpack *msgpack, char *at, const struct record *record, unsigned int row)
{
	const struct record_value *value = &record->values[row];
	enum record_type type = record_fields[row].type;

	at = text_label_copy(at, &msgpack->labels[row]);
	if (type <= RECORD_U64)
		return msgpack_unsigned(at, value->number);
	if (type == RECORD_STRING)
		return msgpack_string(msgpack->out, at, value);
	if (type == RECORD_BYTES)
		return msgpack_bytes(msgpack->out, at, value);
	return msgpack_plain(at, record, row);
}

static char *
msgpack_map_head(char *at, const uint64_t present[RECORD_WORDS])
{
	unsigned int fields = 0, word;

	for (word = 0; word < RECORD_WORDS; word++)
		fields += (unsigned int)__builtin_popcountll(present[word]);
	if (fields < 16)
		return msgpack_head(at, MSGPACK_FIXMAP | fields, 0, 0);
	return msgpack_head(at, MSGPACK_MAP_16, fields, 2);
}

static void
msgpack_record(void *state, const struct record *record)
{
	struct msgpack *msgpack = state;
	struct buffer *out = msgpack->out;
	uint64_t present[RECORD_WORDS], bits;
	unsigned int word;
	char *at;

	text_present(&msgpack->presence, record, present);
	at = msgpack_map_head((char *)buffer_reserve(out, MSGPACK_FIXED), present);
	for (word = 0; word < RECORD_WORDS; word++) {
		for (bits = present[word]; bits != 0; bits &= bits - 1)
			at = msgpack_field(msgpack, at, record, 64 * word + (unsigned int)__builtin_ctzll(bits));
	}
	out->length = (size_t)((uint8_t *)at - out->bytes);
}

static void
msgpack_batch(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	struct msgpack *msgpack = state;

	msgpack->out = out;
	format_each(bytes, length, msgpack_record, msgpack);
	msgpack->out = NULL;
}

const struct format format_msgpack = {
	.name = "msgpack",
	.help = "a map a record, one behind the other",
	.snapshot_ends = true,
	.framing = SINK_MAPS,
	.open = msgpack_open,
	.batch = msgpack_batch,
};
