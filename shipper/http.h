/*
 * A small HTTP server for pages that this process makes: GET and HEAD of a few
 * paths, one request a connection, by libevent's evhttp in the one event loop.
 *
 * Whoever asks may be hostile, and must cost the loop little: there is a limit
 * to connections at a time and to new ones in a second (what is above it waits
 * in the kernel), to the bytes of a request, and to the time from connecting to
 * the last byte of the answer.  Nothing of a request comes back in an answer.
 * SIGPIPE has to be ignored.
 */
#ifndef SHIPPER_HTTP_H
#define SHIPPER_HTTP_H

#include <sys/socket.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buffer.h"

struct event_base;

enum {
	HTTP_CONNECTIONS = 32,		/* at a time */
	HTTP_RATE = 50,			/* new ones in a second, */
	HTTP_BURST = 100,		/* after a quiet while */
	HTTP_HEADER_MAX = 8 * 1024,	/* bytes of a request */
	HTTP_BODY_MAX = 1024,		/* and of what nobody asked for behind it */
};

/* From a connection's beginning to its end. */
#define HTTP_TIME	(5 * SECOND)

struct http_address {
	bool			 off;		/* no listener */
	bool			 remote;	/* other hosts may reach it */
	char			 path[108];	/* of a unix socket, or "" */
	struct sockaddr_storage	 ip;
	socklen_t		 length;
};

/* A page, shared by all who are reading it. */
struct http_page {
	unsigned int	 references;
	int		 status;	/* 200, 503 */
	const char	*type;		/* Content-Type */
	struct buffer	 body;
};

struct http_counts {
	uint64_t	requests;
	uint64_t	late;		/* connections cut off when their time was over */
	uint64_t	held_back;	/* times that nobody was let in for a moment: too many, or too fast */
};

struct http_options {
	struct event_base	*base;
	const char		*key;		/* of the configuration, for messages */
	uint64_t		 time;		/* ns; 0: HTTP_TIME */
	/* The page of a path, with a reference of the caller's; NULL if there is none. */
	struct http_page	*(*page)(void *context, const char *path);
	void			*context;
};

struct http;

/*
 * Understands "off", "unix:/PATH", "127.0.0.1:9000" and "[::1]:9000".  Names
 * are no addresses.  Returns 0, or -1 with one sentence fragment in error.
 */
int		 http_address_parse(struct http_address *, const char *text, char *error, size_t size);

/*
 * Binds.  A folder of /run that is missing is made as for the shipper's own
 * socket.  NULL with one sentence in error.
 */
struct http	*http_new(const struct http_options *, const struct http_address *, uid_t uid, gid_t gid, char *error, size_t size);
/* Begins to listen.  Returns 0, or -1 with one sentence in error. */
int		 http_listen(struct http *, char *error, size_t size);
void		 http_free(struct http *);
const struct http_counts *http_counts(const struct http *);

/* An empty page with one reference. */
struct http_page *http_page_new(int status, const char *type);
void		 http_page_drop(struct http_page *);

#endif
