/*
 * The link to the namespacer: the listening socket, one connection at a time,
 * and the messages of protocol.h that bring rings and take news of them back.
 * Only root is heard.  A namespacer that breaks the protocol loses the
 * connection; its rings are drained and delivered all the same.
 */
#ifndef SHIPPER_LINK_H
#define SHIPPER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct drain;
struct event_base;
struct protocol_counts;

struct link_options {
	struct event_base	*base;
	const char		*path;		/* of the socket */
	uid_t			 peer;		/* who is heard: 0, but for tests */
	void			(*finish)(void *context);	/* PROTOCOL_FINISH came */
	void			(*lost)(void *context);		/* a connection that had said HELLO is over */
	void			*context;
};

struct link;

/*
 * Binds the socket: a stale one is replaced, one that somebody listens on is
 * not.  As root, a folder of /run that is missing is made, and owned by uid and
 * gid.  NULL with one sentence in error.
 */
struct link	*link_new(const struct link_options *, uid_t uid, gid_t gid, char *error, size_t size);
/*
 * Begins to listen.  Not before the process has its final uid: the namespacer
 * sees the one that called listen(2).  Rings go to the drain.
 */
int		 link_listen(struct link *, struct drain *, char *error, size_t size);
/* No new connection from here on; the present one goes on. */
void		 link_stop(struct link *);
void		 link_free(struct link *);

/* A namespacer that speaks our version is connected. */
bool		 link_is_connected(const struct link *);
/* It is, or it has said that nothing more will come. */
bool		 link_is_served(const struct link *);

/*
 * What namespacers have counted: the present one, and those that were
 * connected before.  Levels are 0 while none is.
 */
const struct protocol_counts *link_counts(const struct link *);

/* To be called from drain_events: queued, and sent from the event loop. */
void		 link_send_drained(struct link *, uint64_t epoch);
void		 link_send_hostile(struct link *, uint64_t epoch);

#endif
