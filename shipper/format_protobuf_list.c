/*
 * protobufList: for each batch the length of an Envelope, then the Envelope,
 * which holds its records in field 10.
 */
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "common/varint.h"
#include "shipper/formats.h"
#include "shipper/text.h"

enum { ENVELOPE_ROW = 10 << 3 | 2 };	/* field 10, length-delimited */

static void *
format_protobuf_list_open(const struct format_options *options, char *error, size_t size)
{
	void *state = calloc(1, 1);

	(void)options;
	(void)error;
	(void)size;
	if (state == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: format protobufList");
	return state;
}

static void
format_protobuf_list_row(struct buffer *out, const uint8_t *frame, size_t length, size_t prefix)
{
	struct record record;
	uint8_t *to;

	if (record_read(&record, frame + prefix, length - prefix) == -1 || !text_is_socket(&record))
		return;
	to = buffer_reserve(out, 1 + length);
	to[0] = ENVELOPE_ROW;
	memcpy(to + 1, frame, length);
	out->length += 1 + length;
}

static void
format_protobuf_list_batch(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	size_t start = out->length, rows = start + VARINT_MAX, frame, prefix;
	uint8_t *to;

	(void)state;
	/* The length is only known at the end, and then moves up to what it counts. */
	buffer_reserve(out, VARINT_MAX + length + length / 8);
	out->length = rows;
	for (; length > 0; bytes += frame, length -= frame) {
		frame = format_frame(bytes, length, &prefix);
		if (frame == 0)
			break;
		format_protobuf_list_row(out, bytes, frame, prefix);
	}
	length = out->length - rows;
	out->length = start;
	if (length == 0)
		return;
	to = out->bytes + start;
	to += varint_write(to, length);
	memmove(to, out->bytes + rows, length);
	out->length = (size_t)(to - out->bytes) + length;
}

const struct format format_protobuf_list = {
	.name = "protobufList",
	.help = "an Envelope a batch, behind its length",
	.framing = SINK_DELIMITED,
	.open = format_protobuf_list_open,
	.batch = format_protobuf_list_batch,
};
