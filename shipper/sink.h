/*
 * The sinks: where batches go.  Adding one is one file sink_NAME.c and one
 * line in sinks.c.  A sink is given one delivery at a time and answers by
 * calling done, at once or later from the event loop.
 */
#ifndef SHIPPER_SINK_H
#define SHIPPER_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;

enum sink_result {
	SINK_DELIVERED,		/* acknowledged: the records may be forgotten */
	SINK_RETRY,		/* not now; give it to me again later */
	SINK_CLOSED,		/* never again: the reader has gone */
};

/* What the bytes are made of, so that a file can be cut back to whole ones. */
enum sink_framing {
	SINK_LINES,		/* each ends with a newline */
	SINK_DELIMITED,		/* each behind its length as a varint, a protobuf message */
	SINK_ENVELOPES,		/* lines of any length, an Envelope each: {"row":[...]} */
	SINK_BLOCKS,		/* row { ... }, the last line of each is only the brace */
	SINK_MAPS,		/* msgpack maps of strings and numbers */
};

struct sink_options {
	struct event_base *base;
	const char	*target;	/* what stands behind "NAME:", or "" */
	int		 fd;		/* an open file from tcpdiag run, or -1; the sink's */
	bool		 fsync;
	enum sink_framing framing;
	/* Once per delivery.  why: a sentence that names the target, or NULL. */
	void		(*done)(void *context, enum sink_result, const char *why);
	void		*context;
};

struct sink {
	const char	*name;
	const char	*help;
	bool		 target;	/* wants ":TARGET" */
	bool		 people;	/* a person may be looking: table by default */
	/* The sink's state, or NULL and one sentence in error. */
	void		*(*open)(const struct sink_options *, char *error, size_t size);
	/* True if the next delivery starts an empty file or stream. */
	bool		 (*fresh)(void *state);
	/* bytes stay valid until done is called. */
	void		 (*deliver)(void *state, const uint8_t *bytes, size_t length);
	/*
	 * SIGHUP: opens the target anew (fd: as above; the sink's, also when it
	 * fails).  NULL: nothing to do, and it never takes a descriptor.
	 */
	int		 (*reopen)(void *state, int fd, char *error, size_t size);
	void		 (*close)(void *state);
};

extern const struct sink *const sinks[];	/* ends with NULL */

/*
 * Finds the sink of "NAME" or "NAME:TARGET" and sets *target behind the colon.
 * NULL with one sentence in error.
 */
const struct sink	*sink_by_spec(const char *spec, const char **target, char *error, size_t size);

#endif
