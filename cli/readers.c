/* The registry of readers, and what they share. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/reader.h"

const struct reader *const readers[] = {
	&reader_protobuf,
	&reader_protobuf_list,
	&reader_envelope,
	&reader_jsonl,
	&reader_proto_json,
	&reader_proto_text,
	&reader_csv,
	&reader_tsv,
	&reader_msgpack,
	NULL,
};

const struct reader *
reader_by_name(const char *name)
{
	for (size_t i = 0; readers[i] != NULL; i++)
		if (strcmp(readers[i]->name, name) == 0)
			return readers[i];
	return NULL;
}

const struct reader *
reader_by_look(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; readers[i] != NULL; i++)
		if (readers[i]->mine != NULL && readers[i]->mine(bytes, length))
			return readers[i];
	return NULL;
}

const char *
reader_names(char to[128])
{
	size_t used = 0;

	for (size_t i = 0; readers[i] != NULL && used < 128; i++)
		used += (size_t)snprintf(to + used, 128 - used, "%s%s", i > 0 ? ", " : "", readers[i]->name);
	return to;
}

int
reader_unit(const struct reader *reader, struct reader_state *state, uint64_t offset, const uint8_t *bytes, size_t length,
    struct buffer *records, char *error, size_t size)
{
	size_t start = records->length;
	char why[READER_WHY];

	state->count++;
	if (reader->read(state, bytes, length, records, why) == 0)
		return 0;
	records->length = start;
	snprintf(error, size, "%s %" PRIu64 ": %s", reader->what != NULL ? reader->what : "byte",
	    reader->what != NULL ? state->count : offset, why);
	return -1;
}

int
reader_message(const struct reader *reader, const uint8_t *bytes, size_t length, struct buffer *records, char *error, size_t size)
{
	size_t start = records->length, at = 0, unit;
	struct reader_state state = { 0 };
	int result = 0;

	for (; at < length && result == 0; at += unit) {
		unit = reader->unit(bytes + at, length - at);
		if (unit == 0)
			unit = length - at;
		result = reader_unit(reader, &state, at, bytes + at, unit, records, error, size);
	}
	if (result == -1)
		records->length = start;
	reader_state_free(&state);
	return result;
}

void
reader_state_free(struct reader_state *state)
{
	values_free(&state->values);
	buffer_free(&state->text);
	free(state->columns);
	*state = (struct reader_state){ 0 };
}

size_t
reader_line(const uint8_t *bytes, size_t length)
{
	const uint8_t *end = memchr(bytes, '\n', length);

	return end != NULL ? (size_t)(end - bytes) + 1 : 0;
}
