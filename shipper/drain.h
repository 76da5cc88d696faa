/*
 * The drain: takes records out of all rings, in turn and in bounded portions,
 * checks and stamps them, and puts them into batches.  A ring's bytes are given
 * back to its collector when the delivery answers for the batch that holds
 * them.  A ring with what cannot be is closed; no other one notices.
 */
#ifndef SHIPPER_DRAIN_H
#define SHIPPER_DRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/protocol.h"
#include "shipper/account.h"
#include "shipper/books.h"
#include "shipper/delivery.h"
#include "shipper/stamp.h"

struct event_base;

enum {
	/* What one ring may give before the next one has its turn. */
	DRAIN_TURN_RECORDS = 256,
	DRAIN_TURN_BYTES = 64 * 1024,
	/* Turns before the event loop looks at signals, the link and the sink. */
	DRAIN_TURNS = 16,
	/* Wake-ups for nothing in one second before a doorbell is muted for the rest of it. */
	DRAIN_BELLS = 64,
};

/*
 * Called from the event loop and from within drain_ functions; they must not
 * call one.
 */
struct drain_events {
	void	(*drained)(void *context, uint64_t epoch);	/* it had ended; all is delivered, the ring is gone */
	void	(*hostile)(void *context, uint64_t epoch);	/* the ring is closed; end its collector */
	void	(*finished)(void *context);			/* once, after drain_finish */
	void	(*failed)(void *context);			/* the sink takes nothing any more; it is logged */
	void	*context;
};

struct drain_options {
	struct event_base	*base;
	struct books		*books;
	struct delivery		*delivery;	/* the drain listens to its events */
	bool			 snapshot_ends;	/* false: records of that kind are filtered */
	bool			 per_netns;	/* an account for each namespace */
	struct stamp_identity	 identity;	/* the host's part; the strings stay valid */
	struct drain_events	 events;
};

/* Of all rings that are mapped now. */
struct drain_figures {
	uint64_t	rings;
	uint64_t	bytes;		/* of data that they have room for */
	uint64_t	unread;		/* bytes published and not read */
	uint64_t	held;		/* bytes published and not released */
	uint64_t	waiting;	/* collectors that wait for room */
	uint64_t	fullest;	/* the largest share of a ring that is held, in 1/10^9 */
	/*
	 * When the last complete snapshot came from the collector of which that
	 * is longest ago, or its ring if none has come yet; ns since 1970, or 0.
	 */
	uint64_t	oldest_snapshot;
};

enum { DRAIN_RING_FDS = 3 };	/* D, C, doorbell: as PROTOCOL_RING brings them */

struct drain;

struct drain	*drain_new(const struct drain_options *);
void		 drain_free(struct drain *);
/*
 * Takes a ring over.  The descriptors are the drain's in any case.  Returns
 * NULL, or a constant sentence about what the message gets wrong, after which
 * the sender is not to be trusted with anything.  A ring that this process has
 * no room for is reported as hostile, so that its collector is made anew later.
 */
const char	*drain_add(struct drain *, const struct protocol_ring *, const int fds[DRAIN_RING_FDS]);
/* Its collector has ended.  False if there is no such ring. */
bool		 drain_ended(struct drain *, uint64_t epoch);
/*
 * The namespacer has gone, and its collectors with it: what the rings hold is
 * delivered, then they are freed.  One that is added again before is kept.
 */
void		 drain_orphan(struct drain *);
/*
 * Takes what is in the rings now and no more, delivers it at once, and says
 * finished().
 */
void		 drain_finish(struct drain *);
/* Bytes that are published in rings and not drained. */
uint64_t	 drain_left(const struct drain *);
size_t		 drain_rings(const struct drain *);
/* Brings the accounts up to now.  They stay the drain's. */
const struct accounts *drain_accounts(struct drain *, struct drain_figures *);

#endif
