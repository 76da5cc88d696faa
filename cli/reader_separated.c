/*
 * Reads csv and tsv: a line of names, then a line a record.  By hand, since to
 * us a cell with nothing in it (the record does not have the field) is another
 * one than an empty string, and tsv's escapes are ClickHouse's: of libraries
 * for csv only the scanner of quotes would be left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/reader.h"
#include "common/exit.h"
#include "common/log.h"

/* A cell of a row: where it ends, and its text in state->text. */
struct separated_cell {
	size_t	end;		/* of the separator or newline behind it */
	bool	absent;		/* nothing stands there, not even quotes */
};

typedef struct separated_cell (*separated_cell_fn)(struct buffer *text, const uint8_t *bytes, size_t length, size_t at);

static void
separated_put(struct buffer *text, uint8_t byte)
{
	*buffer_reserve(text, 1) = byte;
	text->length++;
}

/* Quotes double within quotes.  end is length if the line is cut short. */
static struct separated_cell
separated_csv_cell(struct buffer *text, const uint8_t *bytes, size_t length, size_t at)
{
	bool quoted = at < length && bytes[at] == '"', inside = quoted;
	size_t start = at;

	for (at += quoted; at < length; at++) {
		if (inside && bytes[at] == '"') {
			inside = at + 1 < length && bytes[at + 1] == '"';
			at += inside;
			if (!inside)
				continue;
		} else if (!inside && (bytes[at] == ',' || bytes[at] == '\n'))
			break;
		separated_put(text, bytes[at]);
	}
	return (struct separated_cell){ at, at == start };
}

static struct separated_cell
separated_tsv_cell(struct buffer *text, const uint8_t *bytes, size_t length, size_t at)
{
	static const char escaped[] = { ['t'] = '\t', ['n'] = '\n', ['r'] = '\r', ['b'] = '\b', ['f'] = '\f', ['\\'] = '\\', ['\''] = '\'' };
	size_t start = at;

	for (; at < length && bytes[at] != '\t' && bytes[at] != '\n'; at++) {
		uint8_t byte = bytes[at], next = at + 1 < length ? bytes[at + 1] : 0;

		if (byte == '\\' && (next == '0' || (next < sizeof(escaped) && escaped[next] != 0))) {
			byte = next == '0' ? 0 : (uint8_t)escaped[next];
			at++;
		}
		separated_put(text, byte);
	}
	return (struct separated_cell){ at, at == start };
}

/* --- rows ----------------------------------------------------------------------- */

static void
separated_name(struct reader_state *state)
{
	state->columns = reallocarray(state->columns, state->ncolumns + 1, sizeof(*state->columns));
	if (state->columns == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: %zu columns", state->ncolumns);
	state->columns[state->ncolumns++] = values_row((const char *)state->text.bytes);
}

static int
separated_value(struct reader_state *state, size_t column, char *why)
{
	/* A column that this version does not know is skipped, as protobuf's fields are. */
	if (state->columns[column] == -1)
		return 0;
	return values_set_or_say(&state->values, state->columns[column], (const char *)state->text.bytes, state->text.length, VALUES_PLAIN, why);
}

static int
separated_cut(char *why)
{
	snprintf(why, READER_WHY, "cut short: there is no newline at its end");
	return -1;
}

/* Takes the cells of a row, and counts them; -1 with a sentence. */
static int
separated_cells(struct reader_state *state, const uint8_t *bytes, size_t length, separated_cell_fn next, size_t *count, char *why)
{
	bool names = state->count == 1;
	struct separated_cell cell = { 0, false };

	for (size_t at = 0; at < length; at = cell.end + 1, ++*count) {
		state->text.length = 0;
		cell = next(&state->text, bytes, length, at);
		*buffer_reserve(&state->text, 1) = '\0';
		if (cell.end == length)
			return separated_cut(why);
		if (names)
			separated_name(state);
		else if (*count < state->ncolumns && !cell.absent && separated_value(state, *count, why) == -1)
			return -1;
		if (bytes[cell.end] == '\n' && cell.end + 1 < length) {
			snprintf(why, READER_WHY, "a newline without quotes");
			return -1;
		}
	}
	return 0;
}

static bool
separated_any_known(const struct reader_state *state)
{
	for (size_t i = 0; i < state->ncolumns; i++)
		if (state->columns[i] != -1)
			return true;
	return false;
}

static int
separated_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why, separated_cell_fn next)
{
	bool names = state->count == 1;
	size_t count = 0;

	values_clear(&state->values);
	if (bytes[length - 1] != '\n')
		return separated_cut(why);
	if (separated_cells(state, bytes, length, next, &count, why) == -1)
		return -1;
	if (names && !separated_any_known(state)) {
		snprintf(why, READER_WHY, "it names no field of a record");
		return -1;
	}
	if (count != state->ncolumns) {
		snprintf(why, READER_WHY, "%zu cells, where the first line names %zu", count, state->ncolumns);
		return -1;
	}
	return names ? 0 : values_write_or_say(&state->values, records, why);
}

/* A newline within quotes ends nothing. */
static size_t
separated_csv_unit(const uint8_t *bytes, size_t length)
{
	bool inside = false;

	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '"')
			inside = !inside;
		else if (bytes[i] == '\n' && !inside)
			return i + 1;
	}
	return 0;
}

static int
separated_csv_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	return separated_read(state, bytes, length, records, why, separated_csv_cell);
}

static int
separated_tsv_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	return separated_read(state, bytes, length, records, why, separated_tsv_cell);
}

/* A field's name, then the separator. */
static bool
separated_mine(const uint8_t *bytes, size_t length, char separator, bool alone)
{
	char name[READER_LOOK + 1];
	size_t n = 0;

	while (n < length && n < READER_LOOK && bytes[n] != (uint8_t)separator && bytes[n] != '\n')
		n++;
	if (n == length || n == READER_LOOK || (bytes[n] == '\n' && !alone))
		return false;
	memcpy(name, bytes, n);
	name[n] = '\0';
	return strlen(name) == n && values_row(name) != -1;
}

static bool
separated_csv_mine(const uint8_t *bytes, size_t length)
{
	return separated_mine(bytes, length, ',', true);
}

static bool
separated_tsv_mine(const uint8_t *bytes, size_t length)
{
	return separated_mine(bytes, length, '\t', false);
}

const struct reader reader_csv = {
	.name = "csv",
	.what = "line",
	.unit = separated_csv_unit,
	.read = separated_csv_read,
	.mine = separated_csv_mine,
};

const struct reader reader_tsv = {
	.name = "tsv",
	.what = "line",
	.unit = reader_line,
	.read = separated_tsv_read,
	.mine = separated_tsv_mine,
};
