/*
 * What the shipper shows of itself over HTTP: /metrics for Prometheus,
 * /healthz (the event loop turns) and /readyz (records can flow: a namespacer
 * is connected, and the sink takes batches).
 */
#ifndef SHIPPER_MONITOR_H
#define SHIPPER_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "shipper/books.h"
#include "shipper/http.h"

struct delivery;
struct drain;
struct event_base;
struct link;

struct monitor_options {
	struct event_base	*base;
	struct http_address	 address;	/* not off */
};

/* What is shown; all of it outlives the monitor. */
struct monitor_sources {
	const struct books	*books;
	const struct delivery	*delivery;
	struct drain		*drain;
	const struct link	*link;
	const char		*format, *sink;	/* their names */
};

struct monitor;

/* Binds.  NULL with one sentence in error. */
struct monitor	*monitor_new(const struct monitor_options *, uid_t uid, gid_t gid, char *error, size_t size);
/* Begins to listen.  Returns 0, or -1 with one sentence in error. */
int		 monitor_listen(struct monitor *, const struct monitor_sources *, char *error, size_t size);
/* The end has begun: it is not ready any more. */
void		 monitor_ending(struct monitor *);
void		 monitor_free(struct monitor *);

#endif
