/*
 * Reads protobuf and protobufList.  The bytes of records are taken over as they
 * are, but protobuf-c has to be able to read them too.
 */
#include <stdio.h>

#include "cli/reader.h"
#include "common/record_reader.h"
#include "common/varint.h"
#include "proto/xtcp_flat_record.pb-c.h"
#include "shipper/formats.h"

enum { READER_ROW = 10 << 3 | 2 };	/* field 10 of an Envelope, length-delimited */

static bool
reader_protobuf_is_record(const uint8_t *bytes, size_t length)
{
	XtcpFlatRecord__V1__XtcpFlatRecord *message;
	struct record record;

	if (record_read(&record, bytes, length) == -1)
		return false;
	message = xtcp_flat_record__v1__xtcp_flat_record__unpack(NULL, length, bytes);
	if (message == NULL)
		return false;
	xtcp_flat_record__v1__xtcp_flat_record__free_unpacked(message, NULL);
	return true;
}

/* One record with its length at the front; 0 if there is none. */
static size_t
reader_protobuf_take(const uint8_t *bytes, size_t length, struct buffer *records)
{
	size_t prefix, frame = format_frame(bytes, length, &prefix);

	if (frame <= prefix || !reader_protobuf_is_record(bytes + prefix, frame - prefix))
		return 0;
	buffer_append(records, bytes, frame);
	return frame;
}

static int
reader_protobuf_bad(struct buffer *records, size_t start, size_t at, const char *what, char *error, size_t size)
{
	records->length = start;
	snprintf(error, size, "byte %zu: not %s", at, what);
	return -1;
}

static int
reader_protobuf_read(const uint8_t *bytes, size_t length, struct buffer *records, char *error, size_t size)
{
	size_t start = records->length, at = 0, frame;

	for (; at < length; at += frame)
		if ((frame = reader_protobuf_take(bytes + at, length - at, records)) == 0)
			return reader_protobuf_bad(records, start, at, "a record behind its length", error, size);
	return 0;
}

static int
reader_protobuf_list_read(const uint8_t *bytes, size_t length, struct buffer *records, char *error, size_t size)
{
	size_t start = records->length, at = 0, frame, prefix, end;

	while (at < length) {
		end = at + format_frame(bytes + at, length - at, &prefix);
		if (end == at)
			return reader_protobuf_bad(records, start, at, "an Envelope behind its length", error, size);
		for (at += prefix; at < end; at += 1 + frame) {
			frame = bytes[at] == READER_ROW ? reader_protobuf_take(bytes + at + 1, end - at - 1, records) : 0;
			if (frame == 0)
				return reader_protobuf_bad(records, start, at, "a row of an Envelope", error, size);
		}
	}
	return 0;
}

const struct reader reader_protobuf = { .name = "protobuf", .read = reader_protobuf_read };
const struct reader reader_protobuf_list = { .name = "protobufList", .read = reader_protobuf_list_read };
