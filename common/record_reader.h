/*
 * A record's bytes taken apart into one value per field of the table: what the
 * text formats print from.  It trusts nothing: any bytes give either a record
 * or -1.
 */
#ifndef COMMON_RECORD_READER_H
#define COMMON_RECORD_READER_H

#include "common/record.h"

enum { RECORD_WORDS = (RECORD_FIELDS + 63) / 64 };

struct record_value {
	uint64_t	 number;	/* integers and enums; the length of bytes */
	const uint8_t	*bytes;		/* strings, addresses and bytes: into the record */
};

struct record {
	uint64_t		written[RECORD_WORDS];	/* bit RECORD_F_* */
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
 * Of a record with neither attributes_present nor record_kind (another
 * program's) only what is written is present: a snapshot_end has no attributes,
 * so that its attributes_present is a zero that is left out, too.
 * The value of a present field that is not written is 0; its bytes are NULL.
 */
bool	record_field_present(const struct record *, enum record_index);

/*
 * What decides which fields a record has beside the written ones.  Records of
 * few shapes make up a batch, so who prints many asks once per shape.
 */
struct record_shape {
	bool		 ours;
	uint32_t	 kind;		/* enum record_kind */
	uint32_t	 tcp_info_length;
	uint64_t	 attributes;
};

struct record_shape	record_shape(const struct record *);
bool			record_shape_implies(const struct record_shape *, enum record_index);

#endif
