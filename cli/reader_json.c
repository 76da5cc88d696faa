/*
 * Reads jsonl and protoJson with json-c, which, other than jansson, has integers
 * of 64 bits without a sign: an epoch needs them.
 */
#include <json-c/json.h>

#include <stdio.h>
#include <string.h>

#include "cli/reader.h"
#include "cli/values.h"

enum { READER_JSON_DEPTH = 8 };

/* A field that this version does not know is skipped, as protobuf's are. */
static int
reader_json_object(json_object *object, enum values_style style, struct values *values, struct buffer *records, char *error, size_t size)
{
	if (!json_object_is_type(object, json_type_object)) {
		snprintf(error, size, "not a JSON object");
		return -1;
	}
	values_clear(values);
	json_object_object_foreach(object, name, value) {
		bool text = json_object_is_type(value, json_type_string);
		const char *string = text ? json_object_get_string(value) : json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN);
		size_t length = text ? (size_t)json_object_get_string_len(value) : strlen(string);
		int row = values_row(name);

		if (row == -1 || value == NULL)
			continue;
		if (values_set(values, (unsigned int)row, string, length, style) == -1) {
			snprintf(error, size, "%s: '%.64s' is no value of it", name, string);
			return -1;
		}
	}
	values_write(values, records);
	return 0;
}

static int
reader_json_line(json_object *line, struct values *values, struct buffer *records, char *error, size_t size)
{
	return reader_json_object(line, VALUES_PLAIN, values, records, error, size);
}

static int
reader_json_envelope(json_object *line, struct values *values, struct buffer *records, char *error, size_t size)
{
	json_object *rows = NULL;

	if (json_object_object_get_ex(line, "row", &rows) && json_object_is_type(rows, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(rows); i++)
			if (reader_json_object(json_object_array_get_idx(rows, i), VALUES_PROTO, values, records, error, size) == -1)
				return -1;
		return 0;
	}
	snprintf(error, size, "not an Envelope: {\"row\":[...]}");
	return -1;
}

typedef int (*reader_json_fn)(json_object *, struct values *, struct buffer *, char *, size_t);

/* Each line is a JSON text by itself. */
static int
reader_json(const uint8_t *bytes, size_t length, struct buffer *records, reader_json_fn take, char *error, size_t size)
{
	json_tokener *tokener = json_tokener_new_ex(READER_JSON_DEPTH);
	size_t start = records->length, line = 1, used;
	struct values values = { 0 };
	char why[256] = "";
	int result = 0;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	for (; length > 0 && result == 0; bytes += used, length -= used, line++) {
		const uint8_t *end = memchr(bytes, '\n', length);
		json_object *object;

		used = end != NULL ? (size_t)(end - bytes) + 1 : length;
		json_tokener_reset(tokener);
		object = json_tokener_parse_ex(tokener, (const char *)bytes, (int)used);
		if (object == NULL)
			snprintf(why, sizeof(why), "%s", json_tokener_error_desc(json_tokener_get_error(tokener)));
		result = object != NULL ? take(object, &values, records, why, sizeof(why)) : -1;
		json_object_put(object);
	}
	if (result == -1) {
		records->length = start;
		snprintf(error, size, "line %zu: %s", line - 1, why);
	}
	values_free(&values);
	json_tokener_free(tokener);
	return result;
}

static int
reader_jsonl_read(const uint8_t *bytes, size_t length, struct buffer *records, char *error, size_t size)
{
	return reader_json(bytes, length, records, reader_json_line, error, size);
}

static int
reader_proto_json_read(const uint8_t *bytes, size_t length, struct buffer *records, char *error, size_t size)
{
	return reader_json(bytes, length, records, reader_json_envelope, error, size);
}

const struct reader reader_jsonl = { .name = "jsonl", .read = reader_jsonl_read };
const struct reader reader_proto_json = { .name = "protoJson", .read = reader_proto_json_read };
