/*
 * Reads what sink kafka writes where there is a schema registry: a zero, the
 * schema's id, which message of the schema it is, and one Envelope to the end.
 * The id is not asked for: whatever schema it was, numbers keep their meaning.
 */
#include <stdio.h>

#include "cli/reader.h"
#include "shipper/registry.h"

/* There is no other end than the message's. */
static size_t
reader_envelope_unit(const uint8_t *bytes, size_t length)
{
	(void)bytes;
	(void)length;
	return 0;
}

static int
reader_envelope_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	size_t head = registry_head_length(bytes, length);

	(void)state;
	if (head > 0)
		return reader_protobuf_rows(bytes + head, length - head, records, why);
	snprintf(why, READER_WHY, "not an Envelope behind a schema's id");
	return -1;
}

const struct reader reader_envelope = { .name = "envelope", .unit = reader_envelope_unit, .read = reader_envelope_read };
