/*
 * The way of a batch from being filled to being answered for.  One batch is
 * filled; closed ones wait for the sink in their order, and as many as the
 * sink's window allows are with it, which may answer in any order.
 *
 * A ring's bytes are given back when everything up to them is answered for:
 * delivered, or dropped and counted; and after ack-hold, if the sink has not
 * answered by then, when it is in the spool or, without one, in a queue in
 * memory of bounded size.  Of a full spool or queue the oldest goes, so that
 * draining never stops.  Where there is no queue either (queue_size 0: a sink
 * on this host), nothing can be filled when all batches are in use, rings run
 * full, and collectors wait: that is how a slow sink slows down what feeds it
 * without anything being lost.
 *
 * After a batch that was not taken, all wait (backoff.h); then the oldest goes
 * alone, as the probe, and for each that is delivered one more may be with the
 * sink.  No batch overtakes an older one, in memory or in the spool.  One that
 * the sink refuses for good goes in parts (split.h), and meanwhile no newer one
 * is given.
 */
#ifndef SHIPPER_DELIVERY_H
#define SHIPPER_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shipper/batch.h"
#include "shipper/books.h"
#include "shipper/format.h"
#include "shipper/sink.h"

struct event_base;
struct ledger;
struct spool;

enum { DELIVERY_BATCHES = 4 };	/* beside those that the window allows */

/* None is called from within a delivery_ function; all from the event loop. */
struct delivery_events {
	void	(*released)(void *context, const struct batch *);	/* its marks' bytes may be given back */
	void	(*room)(void *context);		/* again, after delivery_batch returned NULL */
	void	(*settled)(void *context);	/* maybe more than once, after delivery_finish: delivery_is_settled */
	void	(*failed)(void *context);	/* nothing can be delivered any more; it is logged */
	void	*context;
};

struct delivery_options {
	struct event_base	*base;
	struct books		*books;
	struct batch_limits	 limits;
	uint64_t		 age;		/* ns that a record waits for its batch to fill */
	uint64_t		 backoff;	/* ns before the second try; 0: 1 s */
	uint64_t		 queue_size;	/* bytes of closed batches in memory; 0: DELIVERY_BATCHES, and then rings wait */
	uint64_t		 ack_hold;	/* ns that the rings keep what the sink has not acknowledged */
	uint64_t		 replay;	/* bytes a second out of the spool at most; 0: any */
	uint64_t		 spool_put;	/* bytes that go into the spool in one transaction */
	bool			 once;		/* what is not taken is not taken for good */
	bool			 refusals_retry;	/* what is refused for good is tried again all the same */
	bool			 per_netns;	/* no batch holds rows of two namespaces */
	const char		*target;	/* the sink's name in messages */
	const char		*host;		/* the host's name in records */
	const struct format	*format;
	void			*format_state;	/* delivery_free frees it */
	const struct sink	*sink;
};

struct delivery;

struct delivery	*delivery_new(const struct delivery_options *);
/*
 * Opens the sink, whose answers come here; sink.base, .format, .done, .state
 * and .context are set by it.  Returns 0, or -1 with one sentence in error.
 */
int		 delivery_open(struct delivery *, const struct sink_options *, char *error, size_t size);
void		 delivery_listen(struct delivery *, const struct delivery_events *);
/* What waits longer than ack-hold goes into the spool, which is the delivery's from now on. */
void		 delivery_use_spool(struct delivery *, struct spool *);
/*
 * Without a spool: in this ledger, which is the delivery's from now on, it keeps how much
 * there is in memory only, and counts what an earlier life had there when it died.
 */
void		 delivery_use_ledger(struct delivery *, struct ledger *);
/* The last thing before delivery_free: what is in memory goes into the spool, if there is one. */
void		 delivery_end(struct delivery *);
/* Closes the sink; what was not acknowledged is forgotten. */
void		 delivery_free(struct delivery *);

/*
 * The batch to fill, with place for a record of need bytes; or NULL: wait for
 * room().  Say delivery_committed after each record.  source is the ring that
 * the record is of (compared only), netns its namespace's name.
 */
struct batch	*delivery_batch(struct delivery *, size_t need, const void *source, const char *netns);
void		 delivery_committed(struct delivery *);
/* Closes the batch that is being filled, if it has any record. */
void		 delivery_flush(struct delivery *);
/* The same, and nothing more is filled: a sink that collects batches is told to send them. */
void		 delivery_finish(struct delivery *);
/* From now on what was not taken is tried four times a second: the end is near. */
void		 delivery_hurry(struct delivery *);
/* True if nothing is left that could be delivered or put away now. */
bool		 delivery_is_settled(const struct delivery *);
/* The books outlive this process as they are: said before a ring's bytes are given back for what went into no batch. */
void		 delivery_sync(struct delivery *);
/* Records in memory that are not answered for. */
uint64_t	 delivery_held(const struct delivery *);
/* True if the sink cannot be given a thing right now: it refused the last. */
bool		 delivery_refused(const struct delivery *);
/* True if the sink takes records, as far as is known; one somewhere else has to show it first. */
bool		 delivery_ready(const struct delivery *);
/* SIGHUP: the sink's target anew.  Returns 0, or -1 with one sentence in error. */
int		 delivery_reopen(struct delivery *, int fd, char *error, size_t size);

#endif
