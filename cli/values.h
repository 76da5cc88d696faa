/*
 * A record that is made of names and texts, as the text formats have them, and
 * written as format protobuf writes it.
 */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "common/record_reader.h"

/* How a text has to be read where the formats differ. */
enum values_style {
	VALUES_PLAIN,	/* addresses and enums' names for people, bytes in hexadecimal: jsonl, csv, tsv, msgpack */
	VALUES_PROTO,	/* enums' names as in the .proto, addresses and bytes in base64: protoJson */
	VALUES_RAW,	/* enums' names as in the .proto, addresses and bytes as they are: protoText */
};

struct values {
	struct {
		bool		set;
		uint64_t	number;	/* or the length */
		size_t		offset;	/* of the bytes */
	}		of[RECORD_FIELDS];
	struct buffer	bytes;
};

enum { VALUES_WHY = 256 };	/* bytes of a sentence */

/* The row of a field's name, as in the .proto or in lowerCamelCase; -1 if there is none. */
int		 values_row(const char *name);
const char	*values_name(int row);
void		 values_clear(struct values *);
/* -1 if the text, which has a NUL behind it, is no value of this field; with the sentence. */
int		 values_set_or_say(struct values *, int row, const char *text, size_t length, enum values_style, char why[VALUES_WHY]);
/* -1 if the field is not a number, or not such a one. */
int		 values_set_number(struct values *, unsigned int row, uint64_t number, bool negative);
/*
 * Appends the record behind its length.  Zeros are left out, unless that they
 * were there would be lost with them.  -1 with a sentence if nothing was set.
 */
int		 values_write_or_say(const struct values *, struct buffer *records, char why[VALUES_WHY]);
void		 values_free(struct values *);

#endif
