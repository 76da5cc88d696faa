/*
 * A record's bytes taken apart into one value per field of the table: what the
 * text formats print from.  It trusts nothing: any bytes give either a record
 * or -1.
 */
#ifndef COMMON_RECORD_READER_H
#define COMMON_RECORD_READER_H

#include "common/record.h"

struct record_value {
	uint64_t	 number;	/* integers and enums; a string's length */
	const uint8_t	*bytes;		/* strings and addresses: into the record */
};

struct record {
	uint64_t		written[(RECORD_FIELDS + 63) / 64];
	struct record_value	values[RECORD_FIELDS];
};

/*
 * Takes a record without its length prefix apart.  Fields may come in any
 * order (identity stands before the rest), the last of a repeated one wins,
 * unknown fields are skipped.  Values point into bytes.
 * Returns 0, or -1 if it is no protobuf message of this schema.
 */
int	record_read(struct record *, const uint8_t *bytes, size_t length);
/* True if the field stands in the bytes. */
bool	record_field_written(const struct record *, enum record_index);
/*
 * True if the field has a value, be it zero: it was written, or it is left out
 * as zero while its attribute came and (for tcp_info) is long enough.
 * Of a record without attributes_present (another program's) only what is
 * written is present.  The value of a present field that is not written is 0.
 */
bool	record_field_present(const struct record *, enum record_index);

#endif
