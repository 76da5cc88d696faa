/*
 * The formats: how a batch of records becomes bytes for a sink.  Adding one is
 * one file format_NAME.c and one line in formats.c.
 *
 * A batch is what format protobuf writes: records with their identity in
 * front, each behind its length as a varint.
 */
#ifndef SHIPPER_FORMAT_H
#define SHIPPER_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/record_reader.h"
#include "shipper/sink.h"

struct format_options {
	char *const	*columns;	/* field names, or NULL: the format's own */
	size_t		 ncolumns;
	unsigned int	 width;		/* of the terminal; 0: no limit */
};

struct format {
	const char	*name;
	const char	*help;		/* a line for --help */
	bool		 columns;	/* heeds format_options.columns */
	bool		 snapshot_ends;	/* may carry records of kind snapshot_end */
	bool		 text;		/* may be shown on a terminal */
	bool		 aligned;	/* a batch is laid out as one: for people, not for messages */
	enum sink_framing framing;	/* what a sink must know to keep files whole */
	/*
	 * The format's state, which format_close frees; or NULL and one sentence
	 * in error (an unknown column, say).
	 */
	void		*(*open)(const struct format_options *, char *error, size_t size);
	/* What stands at the start of an empty file or stream; or NULL. */
	void		 (*header)(void *state, struct buffer *out);
	/*
	 * Appends a batch.  NULL: the batch's own bytes are the format
	 * (protobuf), and nothing is copied.
	 */
	void		 (*batch)(void *state, const uint8_t *bytes, size_t length, struct buffer *out);
	/*
	 * Only a format whose files are whole when they are finished has it: it
	 * appends the end of the file; the next batch begins another.  NULL: a
	 * file may end after any batch.
	 */
	void		 (*finish)(void *state, struct buffer *out);
	/* NULL: free(3) is all that the state needs. */
	void		 (*close)(void *state);
};

extern const struct format *const formats[];	/* ends with NULL */

const struct format	*format_by_name(const char *name);
/* The state may be NULL. */
void			 format_close(const struct format *, void *state);

/*
 * Calls each for every record of a batch, already taken apart.  Returns the
 * number of records, or -1 at the first that is none (only a foreign file can
 * do that: the shipper checks before it batches).
 */
typedef void (*format_each_fn)(void *context, const struct record *record);
int	format_each(const uint8_t *bytes, size_t length, format_each_fn each, void *context);

#endif
