/*
 * csv and tsv: a line of names, then a line a socket.  What a record does not
 * have is empty; a string that is empty is "" in csv.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/text.h"

struct separated {
	char			separator;
	enum text_style		style;
	struct text_presence	presence;
	struct buffer		*out;		/* of the batch at work */
	size_t			count;
	uint16_t		rows[];		/* of record_fields */
};

static bool
separated_default(const struct record_field *field)
{
	return field->owner != RECORD_NOBODY && field->source != RECORD_SNAPSHOT;
}

static int
separated_columns(struct separated *separated, const struct format_options *options, char *error, size_t size)
{
	size_t i;

	for (i = 0; i < options->ncolumns; i++) {
		int row = record_field_by_name(options->columns[i]);

		if (row == -1) {
			snprintf(error, size, "unknown column \"%s\": the fields are listed in tcpdiag-record(7)",
			    options->columns[i]);
			return -1;
		}
		separated->rows[separated->count++] = (uint16_t)row;
	}
	for (i = 0; options->ncolumns == 0 && i < RECORD_FIELDS; i++) {
		if (separated_default(&record_fields[i]))
			separated->rows[separated->count++] = (uint16_t)i;
	}
	return 0;
}

static void *
separated_open(const struct format_options *options, char separator, enum text_style style, char *error, size_t size)
{
	size_t most = options->ncolumns ? options->ncolumns : RECORD_FIELDS;
	struct separated *separated = calloc(1, sizeof(*separated) + most * sizeof(separated->rows[0]));

	if (separated == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: %zu columns", most);
	separated->separator = separator;
	separated->style = style;
	if (separated_columns(separated, options, error, size) == -1) {
		free(separated);
		return NULL;
	}
	return separated;
}

static void *
separated_open_csv(const struct format_options *options, char *error, size_t size)
{
	return separated_open(options, ',', TEXT_CSV, error, size);
}

static void *
separated_open_tsv(const struct format_options *options, char *error, size_t size)
{
	return separated_open(options, '\t', TEXT_TSV, error, size);
}

static void
separated_header(void *state, struct buffer *out)
{
	const struct separated *separated = state;
	size_t i;

	for (i = 0; i < separated->count; i++) {
		if (i > 0)
			buffer_append(out, &separated->separator, 1);
		buffer_append_string(out, record_fields[separated->rows[i]].name);
	}
	buffer_append_string(out, "\n");
}

static size_t
separated_value(const struct separated *separated, const struct record *record, unsigned int row)
{
	const struct record_value *value = &record->values[row];
	bool bare;

	if (record_fields[row].type == RECORD_BYTES)
		return text_bytes((char *)buffer_reserve(separated->out, TEXT_BYTES * value->number),
		    value->bytes, value->number);
	if (record_fields[row].type != RECORD_STRING)
		return text_plain((char *)buffer_reserve(separated->out, TEXT_PLAIN_MAX), record, row, &bare);
	if (value->number == 0 && separated->style == TEXT_CSV) {
		memcpy(buffer_reserve(separated->out, 2), "\"\"", 2);
		return 2;
	}
	return text_string((char *)buffer_reserve(separated->out, TEXT_ESCAPED * value->number),
	    value->bytes, value->number, separated->style);
}

static void
separated_record(void *state, const struct record *record)
{
	struct separated *separated = state;
	struct buffer *out = separated->out;
	uint64_t present[RECORD_WORDS];
	size_t i, start = out->length;

	if (!text_is_socket(record))
		return;
	text_present(&separated->presence, record, present);
	for (i = 0; i < separated->count; i++) {
		if (text_has(present, separated->rows[i]))
			out->length += separated_value(separated, record, separated->rows[i]);
		*buffer_reserve(out, 1) = (uint8_t)separated->separator;
		out->length++;
	}
	out->length--;
	/* Most readers take an empty line for no row at all. */
	if (separated->style == TEXT_CSV && out->length == start)
		buffer_append_string(out, "\"\"");
	buffer_append_string(out, "\n");
}

static void
separated_batch(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	struct separated *separated = state;

	separated->out = out;
	format_each(bytes, length, separated_record, separated);
	separated->out = NULL;
}

const struct format format_csv = {
	.name = "csv",
	.help = "commas between, as RFC 4180 says, under a line of names",
	.columns = true,
	.text = true,
	.open = separated_open_csv,
	.header = separated_header,
	.batch = separated_batch,
};

const struct format format_tsv = {
	.name = "tsv",
	.help = "tabs between, under a line of names",
	.columns = true,
	.text = true,
	.open = separated_open_tsv,
	.header = separated_header,
	.batch = separated_batch,
};
