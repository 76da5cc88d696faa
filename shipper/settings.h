/* What the configuration's words come to: a format, a sink, and what goes with them. */
#ifndef SHIPPER_SETTINGS_H
#define SHIPPER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/config.h"
#include "seccomp/sandbox.h"
#include "shipper/format.h"
#include "shipper/http.h"
#include "shipper/sink.h"

enum { SETTINGS_PATH_MAX = 1024 };

struct settings {
	const struct format	*format;
	const struct sink	*sink;
	const char		*target;	/* behind the sink's colon, or "" */
	bool			 snapshot_ends;	/* records of that kind are delivered */
	struct http_address	 metrics;
	char			 spool[SETTINGS_PATH_MAX];	/* a folder, or "" */
	bool			 refusals_retry;
	enum sandbox_level	 sandbox;
};

/*
 * Finds out, and checks everything that can be known before anything is
 * opened.  NULL, or the key that is wrong and one sentence in error: a
 * config_program's check.
 */
const char	*settings_resolve(struct settings *, const struct config *, char *error, size_t size);
/*
 * Where metrics are shown; "auto" is beside the socket: /run/a.metrics.sock for
 * /run/a.sock.  Returns 0, or -1 with one sentence in error.
 */
int		 settings_metrics(struct http_address *, const struct config *, char *error, size_t size);
/* Where it is noted, without a spool, how much waits in memory: beside the socket. */
void		 settings_ledger(char *path, size_t size, const struct config *);
/* Bytes of batches that may wait in memory; 0: none, the rings wait. */
uint64_t	 settings_queue(const struct settings *, const struct config *);
/*
 * Bytes of a batch at most.  A text format makes ten times as many of them: to a sink on
 * this host they are written in portions that stay in the processor's cache, which is twice as cheap.
 */
uint64_t	 settings_batch(const struct settings *, const struct config *);
/* Opens the format.  NULL with one sentence in error. */
void		*settings_open_format(const struct settings *, const struct config *, char *error, size_t size);

#endif
