/*
 * Records as the bytes of an object: whole when it is finished, and the same
 * bytes whenever the same records are given in the same calls.
 */
#ifndef SHIPPER_OBJECT_WRITER_H
#define SHIPPER_OBJECT_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "shipper/format.h"
#include "shipper/parquet.h"

/* The data sets: sockets, and the records that end a snapshot. */
enum object_set { OBJECT_SOCKETS, OBJECT_SNAPSHOTS, OBJECT_SETS };

/* How a format is an object. */
struct object_form {
	const char	*format;
	const char	*ending;	/* of its name, without the first dot */
	const char	*type;		/* of its content, for HTTP */
	bool		 zstd;		/* it is one frame of it */
};

struct object_writer;

/* "sockets", "snapshots" */
const char			*object_set_name(enum object_set);
/* NULL: a format that is no object. */
const struct object_form	*object_form_of_format(const char *format);
/* By what the name of an object ends with; NULL: none. */
const struct object_form	*object_form_of_key(const char *key);
/* "parquet, protobuf, ..." */
const char			*object_form_list(char *to, size_t size);

/* Ends the process when memory is out. */
struct object_writer	*object_writer_new(const struct object_form *, const struct format_options *);
void			 object_writer_free(struct object_writer *);
/*
 * Adds the records of a batch, each to the object of its set.  False: there is
 * something among them that is no record, and the rest of the batch is left out.
 */
bool			 object_writer_add(struct object_writer *, const uint8_t *bytes, size_t length);
/* About how many bytes all of it takes, if it is finished now. */
uint64_t		 object_writer_size(const struct object_writer *);
/* Records in a set's object. */
uint64_t		 object_writer_rows(const struct object_writer *, enum object_set);
/* Completes a set's object; the notes go where the format has a place for them. */
void			 object_writer_finish(struct object_writer *, enum object_set, const struct parquet_note *, size_t notes);
/* Its bytes, until the writer is freed. */
const struct buffer	*object_writer_bytes(const struct object_writer *, enum object_set);

#endif
