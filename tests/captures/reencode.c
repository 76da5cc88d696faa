/*
 * Decodes records with protobuf-c's own code, and with nothing of tcpdiag's,
 * and encodes them again.  Reads frames from its standard input: a length of
 * four bytes in the machine's order, and a record.  Writes two frames for each:
 * the record as protobuf-c encodes it, and its values as text, a line for each
 * field that is not 0: number=value, bytes in hexadecimal digits.
 * Exits with 1, and says the record's number, at one that is none.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/xtcp_flat_record.pb-c.h"

enum { FRAME_MAX = 1 << 20 };

static void
put_frame(const void *bytes, size_t length)
{
	uint32_t prefix = (uint32_t)length;

	if (fwrite(&prefix, sizeof(prefix), 1, stdout) != 1 || fwrite(bytes, 1, length, stdout) != length)
		err(1, "standard output");
}

/* The next frame's length, or -1 at the end. */
static ssize_t
get_frame(uint8_t *to)
{
	uint32_t length;

	if (fread(&length, sizeof(length), 1, stdin) != 1)
		return -1;
	if (length > FRAME_MAX || fread(to, 1, length, stdin) != length)
		errx(1, "a frame of %" PRIu32 " bytes is not whole", length);
	return (ssize_t)length;
}

static void
print_bytes(FILE *out, uint32_t number, const uint8_t *bytes, size_t length)
{
	if (length == 0)
		return;
	fprintf(out, "%" PRIu32 "=", number);
	for (size_t i = 0; i < length; i++)
		fprintf(out, "%02x", bytes[i]);
	fputc('\n', out);
}

static void
print_number(FILE *out, uint32_t number, uint64_t value)
{
	if (value != 0)
		fprintf(out, "%" PRIu32 "=%" PRIu64 "\n", number, value);
}

static void
print_field(FILE *out, const ProtobufCFieldDescriptor *field, const uint8_t *member)
{
	ProtobufCBinaryData data;
	const char *text;
	uint32_t narrow;
	uint64_t wide;

	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_ENUM:
		memcpy(&narrow, member, sizeof(narrow));
		print_number(out, field->id, narrow);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		memcpy(&wide, member, sizeof(wide));
		print_number(out, field->id, wide);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		memcpy(&data, member, sizeof(data));
		print_bytes(out, field->id, data.data, data.len);
		break;
	case PROTOBUF_C_TYPE_STRING:
		memcpy(&text, member, sizeof(text));
		print_bytes(out, field->id, (const uint8_t *)text, strlen(text));
		break;
	default:
		errx(1, "%s: a type that no field has", field->name);
	}
}

static void
put_values(const ProtobufCMessage *message)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	if (out == NULL)
		err(1, "open_memstream");
	for (unsigned int i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

		print_field(out, field, (const uint8_t *)message + field->offset);
	}
	fclose(out);
	put_frame(text, length);
	free(text);
}

static void
reencode(const uint8_t *bytes, size_t length, unsigned int number)
{
	XtcpFlatRecord__V1__XtcpFlatRecord *record = xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, length, bytes);
	uint8_t *packed;
	size_t size;

	if (record == NULL)
		errx(1, "record %u is none", number);
	if (record->base.n_unknown_fields != 0)
		errx(1, "record %u has a field that the schema does not know", number);
	size = xtcp_flat_record__v1__xtcp_flat_record__get_packed_size(record);
	if ((packed = malloc(size + 1)) == NULL)
		err(1, "malloc");
	put_frame(packed, xtcp_flat_record__v1__xtcp_flat_record__pack(record, packed));
	put_values(&record->base);
	free(packed);
	xtcp_flat_record__v1__xtcp_flat_record__free_unpacked(record, NULL);
}

int
main(void)
{
	uint8_t *frame = malloc(FRAME_MAX);
	unsigned int number = 0;
	ssize_t length;

	if (frame == NULL)
		err(1, "malloc");
	while ((length = get_frame(frame)) >= 0)
		reencode(frame, (size_t)length, number++);
	free(frame);
	if (fflush(stdout) != 0)
		err(1, "standard output");
	return 0;
}
