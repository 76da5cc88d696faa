/*
 * Reads jsonl and protoJson with json-c, which, other than jansson, has integers
 * of 64 bits without a sign: an epoch needs them.
 */
#include <json-c/json.h>

#include <stdio.h>
#include <string.h>

#include "cli/reader.h"

enum { READER_JSON_DEPTH = 8 };

/* A field that this version does not know is skipped, as protobuf's are. */
static int
reader_json_object(json_object *object, enum values_style style, struct values *values, struct buffer *records, char *why)
{
	if (!json_object_is_type(object, json_type_object)) {
		snprintf(why, READER_WHY, "not a JSON object");
		return -1;
	}
	values_clear(values);
	json_object_object_foreach(object, name, value) {
		bool text = json_object_is_type(value, json_type_string);
		const char *string = text ? json_object_get_string(value) : json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN);
		size_t length = text ? (size_t)json_object_get_string_len(value) : strlen(string);
		int row = values_row(name);

		if (row != -1 && value != NULL && values_set_or_say(values, row, string, length, style, why) == -1)
			return -1;
	}
	return values_write_or_say(values, records, why);
}

static int
reader_json_line(json_object *line, struct values *values, struct buffer *records, char *why)
{
	return reader_json_object(line, VALUES_PLAIN, values, records, why);
}

static int
reader_json_envelope(json_object *line, struct values *values, struct buffer *records, char *why)
{
	json_object *rows = NULL;

	if (json_object_object_get_ex(line, "row", &rows) && json_object_is_type(rows, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(rows); i++)
			if (reader_json_object(json_object_array_get_idx(rows, i), VALUES_PROTO, values, records, why) == -1)
				return -1;
		return 0;
	}
	snprintf(why, READER_WHY, "not an Envelope: {\"row\":[...]}");
	return -1;
}

typedef int (*reader_json_fn)(json_object *, struct values *, struct buffer *, char *);

/* Each line is a JSON text by itself. */
static int
reader_json(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why, reader_json_fn take)
{
	json_tokener *tokener = json_tokener_new_ex(READER_JSON_DEPTH);
	json_object *object;
	int result = -1;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, (const char *)bytes, (int)length);
	if (object != NULL)
		result = take(object, &state->values, records, why);
	else
		snprintf(why, READER_WHY, "%s", json_tokener_error_desc(json_tokener_get_error(tokener)));
	json_object_put(object);
	json_tokener_free(tokener);
	return result;
}

static int
reader_jsonl_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	return reader_json(state, bytes, length, records, why, reader_json_line);
}

static int
reader_proto_json_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	return reader_json(state, bytes, length, records, why, reader_json_envelope);
}

static bool
reader_proto_json_mine(const uint8_t *bytes, size_t length)
{
	return length >= 6 && memcmp(bytes, "{\"row\"", 6) == 0;
}

static bool
reader_jsonl_mine(const uint8_t *bytes, size_t length)
{
	return length >= 2 && memcmp(bytes, "{\"", 2) == 0 && !reader_proto_json_mine(bytes, length);
}

const struct reader reader_jsonl = {
	.name = "jsonl",
	.what = "line",
	.unit = reader_line,
	.read = reader_jsonl_read,
	.mine = reader_jsonl_mine,
};

const struct reader reader_proto_json = {
	.name = "protoJson",
	.what = "line",
	.unit = reader_line,
	.read = reader_proto_json_read,
	.mine = reader_proto_json_mine,
};
