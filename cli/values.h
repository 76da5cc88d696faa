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
};

struct values {
	struct {
		bool		set;
		uint64_t	number;	/* or the length */
		size_t		offset;	/* of the bytes */
	}		of[RECORD_FIELDS];
	struct buffer	bytes;
};

/* The row of a field's name, as in the .proto or in lowerCamelCase; -1 if there is none. */
int	values_row(const char *name);
void	values_clear(struct values *);
/* -1 if the text is no value of this field. */
int	values_set(struct values *, unsigned int row, const char *text, size_t length, enum values_style);
/* Appends the record behind its length; zeros are left out. */
void	values_write(const struct values *, struct buffer *records);
void	values_free(struct values *);

#endif
