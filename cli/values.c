/* Names and texts to a record's bytes: see values.h. */
#include <arpa/inet.h>

#include <openssl/evp.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/values.h"
#include "common/varint.h"

enum { VALUES_NAME_MAX = 64, VALUES_ADDRESS = 16 };

/* --- names ----------------------------------------------------------------------- */

struct values_name {
	char		name[VALUES_NAME_MAX];	/* small letters and digits only */
	unsigned int	row;
};

static struct values_name values_names[RECORD_FIELDS];

/* snake_case and lowerCamelCase of a name become the same. */
static void
values_fold(char to[VALUES_NAME_MAX], const char *name)
{
	size_t n = 0;

	for (; *name != '\0' && n < VALUES_NAME_MAX - 1; name++)
		if (*name != '_')
			to[n++] = (char)(*name >= 'A' && *name <= 'Z' ? *name - 'A' + 'a' : *name);
	to[n] = '\0';
}

static int
values_compare(const void *a, const void *b)
{
	return strcmp(((const struct values_name *)a)->name, ((const struct values_name *)b)->name);
}

int
values_row(const char *name)
{
	const struct values_name *found;
	struct values_name wanted;

	if (values_names[0].name[0] == '\0') {
		for (unsigned int row = 0; row < RECORD_FIELDS; row++) {
			values_fold(values_names[row].name, record_fields[row].name);
			values_names[row].row = row;
		}
		qsort(values_names, RECORD_FIELDS, sizeof(values_names[0]), values_compare);
	}
	values_fold(wanted.name, name);
	found = bsearch(&wanted, values_names, RECORD_FIELDS, sizeof(values_names[0]), values_compare);
	return found != NULL ? (int)found->row : -1;
}

const char *
values_name(int row)
{
	return record_fields[row].name;
}

/* --- values ------------------------------------------------------------------------ */

void
values_clear(struct values *values)
{
	memset(values->of, 0, sizeof(values->of));
	values->bytes.length = 0;
}

void
values_free(struct values *values)
{
	buffer_free(&values->bytes);
}

static void
values_set_bytes(struct values *values, unsigned int row, const void *bytes, size_t length)
{
	values->of[row].number = length;
	values->of[row].offset = values->bytes.length;
	buffer_append(&values->bytes, bytes, length);
}

int
values_set_number(struct values *values, unsigned int row, uint64_t number, bool negative)
{
	enum record_type type = record_fields[row].type;

	if (record_wire_type(type) == 2 || (negative && (type == RECORD_U32 || type == RECORD_U64)) ||
	    (type == RECORD_U32 && number > UINT32_MAX) || (type == RECORD_I64 && !negative && number > INT64_MAX))
		return -1;
	values->of[row].set = true;
	values->of[row].number = number;
	return 0;
}

static int
values_set_digits(struct values *values, unsigned int row, const char *text)
{
	bool negative = *text == '-';
	uint64_t number;
	char *end;

	errno = 0;
	number = negative ? (uint64_t)strtoll(text, &end, 10) : strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0')
		return -1;
	return values_set_number(values, row, number, negative);
}

static int
values_set_enum(struct values *values, unsigned int row, const char *text, enum values_style style)
{
	enum record_type type = record_fields[row].type;
	char name[RECORD_ENUM_NAME_MAX + 1];

	/* No enum has as many. */
	for (uint64_t value = 0; value < 64; value++) {
		const char *known = record_enum_text(type, value);

		if (known != NULL && style != VALUES_PLAIN) {
			name[record_enum_name(name, type, value)] = '\0';
			known = name;
		}
		if (known != NULL && strcmp(known, text) == 0) {
			values->of[row].number = value;
			return 0;
		}
	}
	return values_set_digits(values, row, text);
}

static int
values_set_address(struct values *values, unsigned int row, const char *text)
{
	uint8_t address[VALUES_ADDRESS] = { 0 };

	if (inet_pton(AF_INET, text, address) != 1 && inet_pton(AF_INET6, text, address) != 1)
		return -1;
	values_set_bytes(values, row, address, sizeof(address));
	return 0;
}

static int
values_set_hex(struct values *values, unsigned int row, const char *text, size_t length)
{
	uint8_t byte;

	values_set_bytes(values, row, NULL, 0);
	for (size_t i = 0; i < length; i += 2) {
		if (i + 1 == length || sscanf(text + i, "%2hhx", &byte) != 1)
			return -1;
		buffer_append(&values->bytes, &byte, 1);
	}
	values->of[row].number = length / 2;
	return 0;
}

static int
values_set_base64(struct values *values, unsigned int row, const char *text, size_t length)
{
	int decoded, padding = 0;

	if (length % 4 != 0)
		return -1;
	while (padding < 2 && length > 0 && text[length - 1 - (size_t)padding] == '=')
		padding++;
	values->of[row].offset = values->bytes.length;
	decoded = EVP_DecodeBlock(buffer_reserve(&values->bytes, length), (const unsigned char *)text, (int)length);
	if (decoded < padding || (record_fields[row].type == RECORD_ADDRESS && decoded - padding != VALUES_ADDRESS))
		return -1;
	values->of[row].number = (uint64_t)(decoded - padding);
	values->bytes.length += values->of[row].number;
	return 0;
}

static int
values_set_raw(struct values *values, unsigned int row, const char *text, size_t length)
{
	if (record_fields[row].type == RECORD_ADDRESS && length != VALUES_ADDRESS)
		return -1;
	values_set_bytes(values, row, text, length);
	return 0;
}

static int
values_set(struct values *values, unsigned int row, const char *text, size_t length, enum values_style style)
{
	enum record_type type = record_fields[row].type;
	bool bytes = type == RECORD_ADDRESS || type == RECORD_BYTES;

	values->of[row].set = true;
	if (type == RECORD_STRING || (bytes && style == VALUES_RAW))
		return values_set_raw(values, row, text, length);
	if (strlen(text) != length)
		return -1;
	if (bytes && style == VALUES_PROTO)
		return values_set_base64(values, row, text, length);
	if (bytes)
		return type == RECORD_ADDRESS ? values_set_address(values, row, text) : values_set_hex(values, row, text, length);
	return type <= RECORD_I64 ? values_set_digits(values, row, text) : values_set_enum(values, row, text, style);
}

int
values_set_or_say(struct values *values, int row, const char *text, size_t length, enum values_style style, char why[VALUES_WHY])
{
	if (values_set(values, (unsigned int)row, text, length, style) == 0)
		return 0;
	snprintf(why, VALUES_WHY, "%s: '%.64s' is no value of it", values_name(row), text);
	return -1;
}

/* --- the record's bytes ----------------------------------------------------------------- */

static void
values_put_varint(struct buffer *out, uint64_t value)
{
	out->length += varint_write(buffer_reserve(out, VARINT_MAX), value);
}

int
values_write_or_say(const struct values *values, struct buffer *records, char why[VALUES_WHY])
{
	/* Of what has neither, only what is written is there. */
	bool ours = values->of[RECORD_F_attributes_present].set || values->of[RECORD_F_record_kind].set;
	struct buffer record = { 0 };

	for (unsigned int row = 0; row < RECORD_FIELDS; row++) {
		unsigned int wire = record_wire_type(record_fields[row].type);

		if (!values->of[row].set || (ours && values->of[row].number == 0))
			continue;
		values_put_varint(&record, (uint64_t)record_fields[row].number << 3 | wire);
		values_put_varint(&record, values->of[row].number);
		if (wire == 2 && values->of[row].number > 0)
			buffer_append(&record, values->bytes.bytes + values->of[row].offset, values->of[row].number);
	}
	if (record.length == 0) {
		snprintf(why, VALUES_WHY, "it has no field of a record");
		return -1;
	}
	values_put_varint(records, record.length);
	buffer_append(records, record.bytes, record.length);
	buffer_free(&record);
	return 0;
}
