/*
 * The sinks: where batches go.  Adding one is one file sink_NAME.c and one
 * line in sinks.c.
 *
 * What the delivery promises to a sink
 *	Batches are given in the order in which they were filled.  At most
 *	sink.window of them are with the sink, and after a failure fewer: the
 *	oldest alone as the probe, then one more for each that was delivered.
 *	A batch is given again, from its first byte, until the sink answers
 *	SINK_DELIVERED or SINK_REFUSED; it may then be another part of it (below).
 *	What a batch points to stays valid, and where it is, until the sink has
 *	answered or close() has returned.  Nothing has to be copied.
 *	Every function is called from the event loop's thread, never from
 *	within another one of the same sink, nor from within done().
 *
 * What a sink promises
 *	It answers each batch that it was given exactly once, by its id, by
 *	calling done(): from within deliver() or at any later time from the event
 *	loop, in any order, but never from another thread and never from
 *	within close().  It never waits in any function.
 *	SINK_DELIVERED is said of what the target has taken over as well as it can:
 *	the records are forgotten here.
 *	A sink with a window above 1 whose readers see an order answers SINK_RETRY
 *	for whatever it was given behind a batch that failed, so that the first
 *	arrivals of all records ascend.  Order means nothing to a sink of
 *	objects with names of their own.
 *	What it may try again by itself within seconds is its own affair; the
 *	waits between two tries of a target that is down are the delivery's.
 */
#ifndef SHIPPER_SINK_H
#define SHIPPER_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct config;
struct event_base;
struct format;

/* Each sink has a table of the answers that refuse; an unknown one is SINK_RETRY. */
enum sink_result {
	SINK_DELIVERED,		/* acknowledged: the records may be forgotten */
	SINK_RETRY,		/* not now; give it to me again later */
	SINK_REFUSED,		/* never, for what is in it (too large, invalid): give me less of it */
	SINK_CLOSED,		/* never again anything: the reader has gone */
};

/* Why: the label of a metric, so there are few.  The name stands in log lines too. */
#define SINK_CLASSES(X)							\
	X(SINK_CLASS_NONE, "none")		/* delivered */		\
	X(SINK_CLASS_OTHER, "other")					\
	X(SINK_CLASS_UNREACHABLE, "unreachable") /* no name, route or listener; a reset */ \
	X(SINK_CLASS_TIMEOUT, "timeout")	/* no answer in time */	\
	X(SINK_CLASS_TLS, "tls")		/* a certificate that does not fit, no common version */ \
	X(SINK_CLASS_AUTHENTICATION, "authentication")	/* wrong credentials */ \
	X(SINK_CLASS_DENIED, "denied")		/* the right to write there is missing */ \
	X(SINK_CLASS_UNKNOWN_TARGET, "unknown-target")	/* no such topic, bucket, path */ \
	X(SINK_CLASS_BUSY, "busy")		/* slow down, try again, not enough replicas */ \
	X(SINK_CLASS_NO_SPACE, "no-space")				\
	X(SINK_CLASS_CLOSED, "closed")		/* nobody reads it any more */ \
	X(SINK_CLASS_SYSTEM, "system")		/* memory, descriptors, disk of this host */ \
	X(SINK_CLASS_TOO_LARGE, "too-large")				\
	X(SINK_CLASS_INVALID, "invalid")	/* the target cannot read it */

enum sink_class {
#define SINK_CLASS_ENUM(symbol, name) symbol,
	SINK_CLASSES(SINK_CLASS_ENUM)
#undef SINK_CLASS_ENUM
	SINK_CLASS_COUNT
};

/* How a target acknowledges, and so what becomes of batches that wait for it. */
enum sink_pace {
	/* Here and at once.  Where there is no spool, what waits is left in the rings. */
	SINK_PROMPT,
	/* Somewhere else: what waits longer than ack-hold goes into the spool or the queue. */
	SINK_LATE,
	/* Here, and minutes later: each batch is in the spool before it is given, or in memory where there is no spool. */
	SINK_COLLECTED,
	/* Somewhere else, and minutes later: the same, and there has to be a spool. */
	SINK_SPOOLED,
};

/* What the bytes are made of, so that a file can be cut back to whole ones. */
enum sink_framing {
	SINK_LINES,		/* each ends with a newline */
	SINK_DELIMITED,		/* each behind its length as a varint, a protobuf message */
	SINK_ENVELOPES,		/* lines of any length, an Envelope each: {"row":[...]} */
	SINK_BLOCKS,		/* row { ... }, the last line of each is only the brace */
	SINK_MAPS,		/* msgpack maps of strings and numbers */
};

/*
 * Which batch.  The epoch is the spool's random id (of this process where there
 * is no spool), the sequence consecutive within it.  A batch that was
 * refused is given in parts, each of which is answered by itself: part is 0
 * for the whole, else a number that no other part of it has in this life.
 */
struct sink_id {
	uint64_t	spool_epoch;
	uint64_t	batch_sequence;
	uint32_t	part;
};

static inline bool
sink_id_same(const struct sink_id *a, const struct sink_id *b)
{
	return a->spool_epoch == b->spool_epoch && a->batch_sequence == b->batch_sequence && a->part == b->part;
}

/* What a sink of objects makes of the batches from first to last: see sink_options.note. */
struct sink_note {
	uint64_t	 first;
	uint64_t	 last;
	const char	*text;
};

enum { SINK_NOTE_MAX = 2048 };	/* bytes of the text, with its NUL */

struct sink_batch {
	struct sink_id	 id;
	uint64_t	 rows;		/* records in it, at least 1 */
	/* As the format writes them, with its header if fresh() said so; NULL for a sink of files. */
	const uint8_t	*bytes;
	size_t		 length;
	/* The same rows as format protobuf writes them, for a sink with another use for them. */
	const uint8_t	*records;
	size_t		 records_length;
	uint64_t	 closed;	/* when it was full, ns since 1970: does not change with a retry */
	unsigned int	 attempt;	/* 1: given for the first time in this life */
	const char	*format;	/* its name */
	const char	*host;		/* the host's name, as in the records */
	const char	*netns;		/* the one namespace of all rows, or NULL */
	const struct sink_note *note;	/* of the range that it is in, or NULL */
};

struct sink_options {
	struct event_base *base;
	const struct config *config;	/* stays valid until close() */
	const struct format *format;
	const char	*target;	/* what stands behind "NAME:", or "" */
	int		 fd;		/* an open file from tcpdiag run, or -1; the sink's */
	bool		 fsync;
	bool		 once;		/* nothing is tried again for long: what cannot be now is answered, also with SINK_RETRY */
	uint64_t	 minfree;	/* bytes that a file leaves free on its disk */
	uid_t		 uid;		/* who this process will be, once all is open */
	gid_t		 gid;
	enum sink_framing framing;
	/*
	 * The answer to one batch.  id is a copy or points into the batch.
	 * why: a sentence that names the target, for the log; NULL if delivered.
	 */
	void		(*done)(void *context, const struct sink_id *id, enum sink_result, enum sink_class, const char *why);
	/*
	 * What the sink knows of its target without a batch's answer: that it
	 * cannot be reached (why: a sentence that names it), or, with
	 * SINK_CLASS_NONE and NULL, that it is well.  The first of each kind in
	 * a row is logged, and while there is trouble ready is not claimed.
	 */
	void		(*state)(void *context, enum sink_class, const char *why);
	/*
	 * For sinks of objects: what batches that it was given become, such as an object's
	 * key.  When this returns true it is committed to the spool, if there is one, and each
	 * of them that is given again, also in a next life and whatever the configuration
	 * is then, comes with it, until all of them are answered.  They come in order; of a
	 * range of which some were dropped meanwhile the others do, and one with another note,
	 * or none, says that no more will.  False: try again later.
	 */
	bool		(*note)(void *context, const struct sink_note *);
	/*
	 * What the sink needs of a batch it has copied: bytes and records are not valid any
	 * more, and if it has to be given again it is read from the spool.  It is to be
	 * answered all the same, but does not count as one of the window's.
	 */
	void		(*copied)(void *context, const struct sink_id *);
	/* For sinks of objects: one of so many bytes was put (SINK_CLASS_NONE), or was not, and why. */
	void		(*counted)(void *context, enum sink_class, uint64_t bytes);
	void		*context;
};

struct sink {
	const char	*name;
	const char	*help;
	bool		 target;	/* wants ":TARGET" */
	bool		 files;		/* makes whole files of records: parquet by default */
	bool		 folder;	/* its target ends with a slash; else there is another sink of that name */
	bool		 network;	/* its target is a host: else Landlock refuses to connect by TCP */
	bool		 people;	/* a person may be looking: table by default */
	enum sink_pace	 pace;
	unsigned int	 window;	/* batches that may be with it, beside those that it copied; 0: 1 */
	/*
	 * Checks what the configuration says about this sink, also with which
	 * format it goes; opens nothing.  NULL, or the key that is wrong and
	 * one sentence in error.  Or there is no such function.
	 */
	const char	*(*check)(const struct config *, const struct format *, char *error, size_t size);
	/* True if it wants batches of one namespace each.  Or there is no such function. */
	bool		 (*per_netns)(const struct config *);
	/*
	 * The sink's state, or NULL and one sentence in error.  Called before
	 * the privileges are given up and the filter is loaded.  A target
	 * somewhere else that does not answer is no error here: state() says it.
	 */
	void		*(*open)(const struct sink_options *, char *error, size_t size);
	/* True if the next batch starts an empty file, stream or message: it gets the format's header. */
	bool		 (*fresh)(void *state);
	void		 (*deliver)(void *state, const struct sink_batch *);
	/*
	 * Nothing more comes, or only when there is memory again: what was collected is to be sent
	 * now.  Maybe more than once.  NULL: it collects nothing.
	 */
	void		 (*flush)(void *state);
	/*
	 * SIGHUP: opens the target anew (fd: as above; the sink's, also when it
	 * fails).  NULL: nothing to do, and it never takes a descriptor.
	 */
	int		 (*reopen)(void *state, int fd, char *error, size_t size);
	/* Batches that were not answered are the delivery's again. */
	void		 (*close)(void *state);
};

extern const struct sink *const sinks[];	/* ends with NULL */

/*
 * Finds the sink of "NAME" or "NAME:TARGET" and sets *target behind the colon.
 * NULL with one sentence in error.
 */
const struct sink	*sink_by_spec(const char *spec, const char **target, char *error, size_t size);
const char		*sink_class_name(enum sink_class);

#endif
