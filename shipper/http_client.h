/*
 * HTTP(S) requests to other hosts, by libcurl on the event loop: nothing waits.
 * A redirect is an answer like others and is never followed, no proxy of the
 * environment is used, and an answer's body and headers are bounded.
 */
#ifndef SHIPPER_HTTP_CLIENT_H
#define SHIPPER_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "shipper/sink.h"

enum {
	HTTP_CLIENT_BODY_MAX = 64 * 1024,	/* of an answer; the rest is cut off */
	HTTP_CLIENT_FIELD_MAX = 256,
};

struct event_base;
struct http_client;
struct http_call;

struct http_client_options {
	struct event_base	*base;
	const struct buffer	*ca;		/* PEM of the authorities that sign servers; empty: the system's */
	uint64_t		 connect;	/* ns that a connection may take, TLS included */
	uint64_t		 stall;		/* ns without a byte in either direction */
};

struct http_request {
	const char	*method;
	const char	*url;
	const char	*const *headers;	/* "Name: value" */
	size_t		 nheaders;
	/* NULL: none.  Stays valid, and where it is, until the answer or the cancel. */
	const uint8_t	*body;
	size_t		 length;
	/*
	 * Sent once at most: on a connection of its own.  When one that was kept breaks
	 * without a word, libcurl sends the request again by itself.
	 */
	bool		 once;
};

struct http_answer {
	long		 status;	/* 0: there is none, and the next two say why */
	enum sink_class	 class;
	const char	*why;
	const char	*body;		/* with a NUL behind it */
	size_t		 length;
	/* headers; "" if they did not come */
	const char	*date;
	const char	*etag;
};

/* From the event loop; never from within a function of this module. */
typedef void (*http_answered)(void *context, const struct http_answer *);

/* NULL with one sentence in error. */
struct http_client	*http_client_new(const struct http_client_options *, char *error, size_t size);
/* Those that were not answered are cancelled. */
void			 http_client_free(struct http_client *);
/* Returns what can be cancelled until it is answered; or NULL with a sentence: out of memory. */
struct http_call	*http_client_send(struct http_client *, const struct http_request *, http_answered, void *context, char *error,
    size_t size);
/* It is not answered any more. */
void			 http_client_cancel(struct http_call *);

#endif
