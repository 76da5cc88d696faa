/*
 * Readers: what a format of the shipper's writes, back to records.  Adding one
 * is one file reader_NAME.c and one line in readers.c.
 */
#ifndef CLI_READER_H
#define CLI_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/values.h"
#include "common/buffer.h"

enum {
	READER_LOOK = 64,		/* bytes that mine() needs, or the whole of what is shorter */
	READER_WHY = 256,
};

/* Of one message or file.  Zeroed memory is a new one. */
struct reader_state {
	uint64_t	 count;		/* units that were read */
	struct values	 values;	/* of the record at work */
	struct buffer	 text;		/* for a value's text, with a NUL behind it */
	/* csv, tsv: the rows of record_fields by their columns, as the first line says; -1: none */
	int		*columns;
	size_t		 ncolumns;
};

struct reader {
	const char	*name;		/* the format's */
	const char	*what;		/* a unit is called so, and counted from 1; NULL: the byte where it begins is told */
	/* The length of the unit (record, line, ...) that these bytes begin with; 0 if it is not whole. */
	size_t		(*unit)(const uint8_t *bytes, size_t length);
	/*
	 * Appends the records of one unit as format protobuf writes them.  The
	 * last one may not be whole.  0; or -1 with a sentence without a subject.
	 */
	int		(*read)(struct reader_state *, const uint8_t *bytes, size_t length, struct buffer *records, char *why);
	/* True if a file that begins so is of this format and no other.  NULL: it does not show. */
	bool		(*mine)(const uint8_t *bytes, size_t length);
};

extern const struct reader *const readers[];	/* ends with NULL */
extern const struct reader reader_protobuf, reader_protobuf_list, reader_jsonl, reader_proto_json, reader_proto_text;
extern const struct reader reader_envelope, reader_csv, reader_tsv, reader_msgpack;

const struct reader	*reader_by_name(const char *name);
/* By the first bytes; NULL: it does not show. */
const struct reader	*reader_by_look(const uint8_t *bytes, size_t length);
/* "protobuf, protobufList, ..."; to has room for 128 bytes. */
const char		*reader_names(char to[128]);
/* Reads one unit.  0, or -1 with a sentence that names it, and nothing is appended. */
int			 reader_unit(const struct reader *, struct reader_state *, uint64_t offset, const uint8_t *bytes, size_t length,
			    struct buffer *records, char *error, size_t size);
/* The same for a whole message. */
int			 reader_message(const struct reader *, const uint8_t *bytes, size_t length, struct buffer *records, char *error,
			    size_t size);
void			 reader_state_free(struct reader_state *);
/* For formats that have Envelopes: the rows of one.  As reader.read. */
int			 reader_protobuf_rows(const uint8_t *bytes, size_t length, struct buffer *records, char *why);
/* For units that are lines. */
size_t			 reader_line(const uint8_t *bytes, size_t length);

#endif
