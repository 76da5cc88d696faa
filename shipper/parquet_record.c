/* Rows of records: see parquet_record.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/parquet_record.h"
#include "shipper/text.h"

enum { RECORDS_NONE = UINT16_MAX, RECORDS_NAME_MAX = 64 };

struct parquet_records {
	struct parquet		*file;
	enum parquet_set	 set;
	struct text_presence	 presence;
	uint64_t		 wanted[RECORD_WORDS];
	uint16_t		 columns[RECORD_FIELDS];	/* of each row of the table; an address's text is the next */
	char			 texts[RECORD_FIELDS][RECORDS_NAME_MAX];
	size_t			 count;
	struct buffer		 text;		/* of the string at hand */
	struct parquet_field	 fields[2 * RECORD_FIELDS];
};

static const enum parquet_type records_types[] = {
	[RECORD_U32] = PARQUET_UINT32, [RECORD_U64] = PARQUET_UINT64, [RECORD_I64] = PARQUET_TIMESTAMP,
	[RECORD_STRING] = PARQUET_STRING, [RECORD_ADDRESS] = PARQUET_FIXED16, [RECORD_BYTES] = PARQUET_BYTES,
	[RECORD_STATE] = PARQUET_STRING, [RECORD_CONGESTION] = PARQUET_STRING, [RECORD_KIND] = PARQUET_STRING,
	[RECORD_WAY] = PARQUET_STRING, [RECORD_OUTCOME] = PARQUET_STRING,
};

/* Identity and bookkeeping are in both sets. */
static bool
records_wants(enum parquet_set set, const struct record_field *field)
{
	if (set == PARQUET_SOCKETS)
		return field->source != RECORD_SNAPSHOT;
	return field->source == RECORD_SNAPSHOT || field->source == RECORD_ALWAYS || field->source == RECORD_STAMP;
}

static void
records_column(struct parquet_records *r, unsigned int row)
{
	const struct record_field *field = &record_fields[row];

	r->wanted[row / 64] |= UINT64_C(1) << row % 64;
	r->columns[row] = (uint16_t)r->count;
	r->fields[r->count++] = (struct parquet_field){ field->name, records_types[field->type] };
	if (field->type != RECORD_ADDRESS)
		return;
	snprintf(r->texts[row], sizeof(r->texts[row]), "%s_text", field->name);
	r->fields[r->count++] = (struct parquet_field){ r->texts[row], PARQUET_STRING };
}

struct parquet_records *
parquet_records_new(enum parquet_set set, int level)
{
	struct parquet_records *r = calloc(1, sizeof(*r));

	if (r == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: rows of Parquet");
	r->set = set;
	for (unsigned int row = 0; row < RECORD_FIELDS; row++)
		if (records_wants(set, &record_fields[row]))
			records_column(r, row);
	r->file = parquet_new(r->fields, r->count, level);
	return r;
}

void
parquet_records_free(struct parquet_records *r)
{
	if (r == NULL)
		return;
	parquet_free(r->file);
	buffer_free(&r->text);
	free(r);
}

static void
records_address(struct parquet_records *r, const struct record *record, unsigned int row)
{
	static const uint8_t unspecified[16];
	const uint8_t *address = record->values[row].bytes;
	char text[TEXT_PLAIN_MAX];
	size_t length;
	bool bare;

	length = text_plain(text, record, row, &bare);
	parquet_bytes(r->file, r->columns[row], address != NULL ? address : unspecified, sizeof(unspecified));
	parquet_bytes(r->file, r->columns[row] + 1U, text, length);
}

static void
records_text(struct parquet_records *r, const struct record *record, unsigned int row)
{
	char text[TEXT_PLAIN_MAX];
	size_t length;
	bool bare;

	length = text_plain(text, record, row, &bare);
	parquet_bytes(r->file, r->columns[row], text, length);
}

static void
records_string(struct parquet_records *r, const struct record_value *value, unsigned int row)
{
	/* Another program's may be longer than ours. */
	char *text = (char *)buffer_reserve(&r->text, TEXT_UTF8_ESCAPED * value->number);

	parquet_bytes(r->file, r->columns[row], text, text_string(text, value->bytes, value->number, TEXT_UTF8));
}

static void
records_value(struct parquet_records *r, const struct record *record, unsigned int row)
{
	const struct record_value *value = &record->values[row];

	switch (record_fields[row].type) {
	case RECORD_U32:
	case RECORD_U64:
	case RECORD_I64:
		parquet_number(r->file, r->columns[row], value->number);
		break;
	case RECORD_STRING:
		records_string(r, value, row);
		break;
	case RECORD_BYTES:
		parquet_bytes(r->file, r->columns[row], value->bytes, value->number);
		break;
	case RECORD_ADDRESS:
		records_address(r, record, row);
		break;
	default:
		records_text(r, record, row);
	}
}

bool
parquet_records_add(struct parquet_records *r, const struct record *record, struct buffer *out)
{
	uint64_t present[RECORD_WORDS];

	if (text_is_socket(record) != (r->set == PARQUET_SOCKETS))
		return false;
	text_present(&r->presence, record, present);
	for (unsigned int word = 0; word < RECORD_WORDS; word++)
		for (uint64_t bits = present[word] & r->wanted[word]; bits != 0; bits &= bits - 1)
			records_value(r, record, 64 * word + (unsigned int)__builtin_ctzll(bits));
	parquet_row(r->file, out);
	return true;
}

uint64_t
parquet_records_rows(const struct parquet_records *r)
{
	return parquet_rows(r->file);
}

uint64_t
parquet_records_size(const struct parquet_records *r)
{
	return parquet_size(r->file);
}

void
parquet_records_finish(struct parquet_records *r, struct buffer *out, const struct parquet_note *notes, size_t count)
{
	parquet_finish(r->file, out, notes, count);
}
