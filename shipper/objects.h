/*
 * Batches as objects: what every sink of whole files shares, be it a folder
 * or a bucket.  The sink only puts: "here are a key and bytes; tell me the result".
 *
 * A range is some batches in a row, first to last.  It becomes one object of the
 * sockets in it, and one of the snapshot ends, if there are any of them:
 *	PREFIX/sockets/date=2026-01-02/hour=03/host-EPOCH-SEQUENCE.parquet
 *	PREFIX/snapshots/date=2026-01-02/hour=03/host-EPOCH-SEQUENCE.parquet
 * A range is open until its objects have object-size bytes or object-rows rows
 * together, or it is object-age old, less a part that EPOCH and SEQUENCE (first)
 * decide, so that hosts do not all come at once.  Then it is fixed: the keys, with date
 * and hour of that moment, and first and last are committed by sink_options.note, and
 * only then put() is called.  Its batches are answered when all of its objects are put.
 *
 * When one cannot be put, all of the range's batches are answered SINK_RETRY,
 * and so are those of the range that is open: the delivery waits, and gives all
 * again in order, also in a next life.  Those that come with a note become the
 * very range that the note says, under its keys, whatever the configuration is by
 * then; the key's ending says in which format.  With the same version of this program
 * and the same batches the bytes are the same, too.
 *
 * For a sink that uses this
 *	Its struct sink has .files, .pace SINK_SPOOLED or SINK_COLLECTED, and
 *	.window OBJECTS_WINDOW.  deliver() calls objects_deliver() and nothing
 *	else, flush() objects_flush(), close() objects_free(), and fresh() is
 *	false.  check() asks objects_check().  It calls done() of its options for no
 *	batch; state() is its own.
 *
 * Memory: the objects of (puts + 1) ranges, each of object-size bytes, of that
 * again while it is finished, and of what Parquet's columns take (parquet.h).
 */
#ifndef SHIPPER_OBJECTS_H
#define SHIPPER_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shipper/object_key.h"
#include "shipper/object_writer.h"
#include "shipper/sink.h"

enum { OBJECTS_WINDOW = 4 };	/* a batch that is copied does not count */

/* One that is to be put.  All of it stays valid until objects_done. */
struct object {
	const char	*key;		/* the whole of it: prefix, data set and template */
	const uint8_t	*bytes;
	size_t		 length;
	uint64_t	 rows;
	const char	*type;		/* of the content, for HTTP */
	/*
	 * The key was committed before this try, by this life or an earlier one:
	 * an object of that name is ours, whole or not.  False: there can be none.
	 */
	bool		 again;
};

struct objects_options {
	const struct sink_options *sink;	/* copied */
	const char	*prefix;	/* without a fault (object_key.h); copied */
	unsigned int	 puts;		/* objects that may be with the target at once; 0: 1 */
	/*
	 * Puts an object: all of it or nothing, under its name.  The answer is
	 * objects_done, from within or later.  It is never called from within
	 * objects_done.
	 */
	void		(*put)(void *context, const struct object *);
	void		*context;
};

struct objects;

/* NULL; or the key of the configuration that is wrong, and one sentence in error: for sink.check. */
const char	*objects_check(const struct config *, const struct format *, char *error, size_t size);
/* Ends the process when memory is out. */
struct objects	*objects_new(const struct objects_options *);
/* Nothing is put any more, and nothing answered. */
void		 objects_free(struct objects *);
void		 objects_deliver(struct objects *, const struct sink_batch *);
/* What was collected is put now. */
void		 objects_flush(struct objects *);
/*
 * What became of a put.  SINK_DELIVERED: all of it is there, under its name; anything
 * else: it is put again later (nothing is refused for good: an object holds records
 * of many sockets).  why: a sentence that names the target and what to do.
 */
void		 objects_done(struct objects *, const struct object *, enum sink_result, enum sink_class, const char *why);

#endif
