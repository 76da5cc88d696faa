/* The registry of formats, and what they share in taking a batch apart. */
#include <stdlib.h>
#include <string.h>

#include "common/varint.h"
#include "shipper/format.h"
#include "shipper/formats.h"

const struct format *const formats[] = {
	&format_table,
	&format_jsonl,
	&format_csv,
	&format_tsv,
	&format_protobuf,
	&format_protobuf_list,
	&format_proto_json,
	&format_proto_text,
	&format_msgpack,
	&format_parquet,
	NULL,
};

const struct format *
format_by_name(const char *name)
{
	size_t i;

	for (i = 0; formats[i] != NULL; i++) {
		if (strcmp(formats[i]->name, name) == 0)
			return formats[i];
	}
	return NULL;
}

void
format_close(const struct format *format, void *state)
{
	if (state != NULL && format->close != NULL)
		format->close(state);
	else
		free(state);
}

size_t
format_frame(const uint8_t *bytes, size_t length, size_t *prefix)
{
	uint64_t record;

	*prefix = varint_read(bytes, length, &record);
	if (*prefix == 0 || record > length - *prefix)
		return 0;
	return *prefix + (size_t)record;
}

int
format_each(const uint8_t *bytes, size_t length, format_each_fn each, void *context)
{
	struct record record;
	size_t prefix, frame;
	int count = 0;

	for (; length > 0; bytes += frame, length -= frame, count++) {
		frame = format_frame(bytes, length, &prefix);
		if (frame == 0 || record_read(&record, bytes + prefix, frame - prefix) == -1)
			return -1;
		each(context, &record);
	}
	return count;
}
