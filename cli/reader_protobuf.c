/*
 * Reads protobuf and protobufList.  The bytes of records are taken over as they
 * are, but protobuf-c has to be able to read them too.
 */
#include <stdio.h>

#include "cli/reader.h"
#include "common/record_reader.h"
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

static size_t
reader_protobuf_unit(const uint8_t *bytes, size_t length)
{
	size_t prefix;

	return format_frame(bytes, length, &prefix);
}

static int
reader_protobuf_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	(void)state;
	if (reader_protobuf_take(bytes, length, records) == length)
		return 0;
	snprintf(why, READER_WHY, "not a record behind its length");
	return -1;
}

int
reader_protobuf_rows(const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	for (size_t at = 0; at < length;) {
		size_t frame = bytes[at] == READER_ROW ? reader_protobuf_take(bytes + at + 1, length - at - 1, records) : 0;

		if (frame == 0) {
			snprintf(why, READER_WHY, "byte %zu of the Envelope is no row", at);
			return -1;
		}
		at += 1 + frame;
	}
	return 0;
}

static int
reader_protobuf_list_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	size_t prefix;

	(void)state;
	if (format_frame(bytes, length, &prefix) == length)
		return reader_protobuf_rows(bytes + prefix, length - prefix, records, why);
	snprintf(why, READER_WHY, "not an Envelope behind its length");
	return -1;
}

const struct reader reader_protobuf = { .name = "protobuf", .unit = reader_protobuf_unit, .read = reader_protobuf_read };
const struct reader reader_protobuf_list = { .name = "protobufList", .unit = reader_protobuf_unit, .read = reader_protobuf_list_read };
