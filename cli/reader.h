/*
 * Readers: what a format of the shipper's writes, back to records.  Adding one
 * is one file reader_NAME.c and one line in readers.c.
 */
#ifndef CLI_READER_H
#define CLI_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

struct reader {
	const char	*name;		/* the format's */
	/*
	 * Appends the records of a whole message as format protobuf writes them.
	 * 0; or -1 with a sentence, and nothing is appended.
	 */
	int		(*read)(const uint8_t *bytes, size_t length, struct buffer *records, char *error, size_t size);
};

extern const struct reader *const readers[];	/* ends with NULL */
extern const struct reader reader_protobuf, reader_protobuf_list, reader_jsonl, reader_proto_json;

const struct reader	*reader_by_name(const char *name);

#endif
