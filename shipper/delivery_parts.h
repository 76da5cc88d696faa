/*
 * What the files of the delivery share, and nobody else includes:
 *	delivery.c		filling, timers, the start and the end
 *	delivery_send.c		the sink: window, answers, refusals
 *	delivery_keep.c		memory and the spool: what is released, put away, fetched, given up
 *
 * The queue holds every closed batch that is in memory, oldest first:
 *	- of those before `unreleased` the rings' bytes were given back;
 *	- those from `behind` on have older ones in the spool only, which are
 *	  fetched to the place before it, so that nothing overtakes.
 */
#ifndef SHIPPER_DELIVERY_PARTS_H
#define SHIPPER_DELIVERY_PARTS_H

#include <event2/event.h>

#include "common/clock.h"
#include "shipper/backoff.h"
#include "shipper/delivery.h"
#include "shipper/ledger.h"
#include "shipper/losses.h"
#include "shipper/spool.h"
#include "shipper/split.h"

/* So many batches that are on their way to the spool go in one transaction. */
#define DELIVERY_GROUP_TIME	(5 * MILLISECOND)
/* What is delivered is removed from the spool after so long at the latest. */
#define DELIVERY_COMMIT_TIME	(200 * MILLISECOND)
/* With a cap on what is fetched, it is looked at so often. */
#define DELIVERY_REPLAY_TIME	(20 * MILLISECOND)
/* A spool that failed is tried again. */
#define DELIVERY_TROUBLE_TIME	SECOND

TAILQ_HEAD(delivery_batches, batch);

struct delivery {
	struct delivery_options	 options;
	struct delivery_events	 events;
	struct spool		*spool;		/* or NULL */
	void			*sink_state;
	uint64_t		 epoch;		/* without a spool */
	uint64_t		 sequence;
	struct batch		*filling;	/* or NULL */
	struct delivery_batches	 queue;
	struct batch		*unreleased;	/* in the queue, or NULL */
	struct batch		*behind;	/* in the queue, or NULL */
	struct delivery_batches	 unused;
	size_t			 nunused;
	size_t			 room;		/* batches that may still be made, where the rings wait for the sink */
	bool			 queueing;	/* they do not */
	uint64_t		 memory;	/* bytes of closed batches */
	uint64_t		 copies;	/* batches that are in memory and in the spool */
	uint64_t		 after;		/* what was fetched from the spool last */
	/* the cap on what is fetched */
	uint64_t		 closed_bytes;	/* that were closed since the last tick */
	uint64_t		 live;		/* bytes a second that come in, on average */
	int64_t			 allowance;	/* bytes that may be fetched; below 0: when it is not any more */
	uint64_t		 allowed;	/* when it was filled up, monotonic */
	struct ledger		*ledger;	/* without a spool; or NULL */
	uint64_t		 queued;	/* records whose rings have given them back, in no spool and not answered for */
	struct losses		 losses;
	/* the sink */
	unsigned int		 most;		/* its window */
	unsigned int		 window;	/* how much of it is open now */
	unsigned int		 sent;		/* batches with it */
	unsigned int		 copied;	/* of these, copied by it */
	uint64_t		 sent_bytes;
	struct backoff		 backoff;
	bool			 refused;	/* until the retry's time has come */
	bool			 failed;	/* for good */
	bool			 starved;	/* somebody waits for room() */
	bool			 finishing;	/* nothing more is filled */
	bool			 proven;	/* the sink has shown that it takes records */
	bool			 careful;	/* a batch may have killed the last life: none goes that is not in the spool */
	bool			 keep_armed;
	uint64_t		 keep_time;	/* when, monotonic */
	enum sink_class		 trouble;	/* what the sink said of its target last */
	bool			 told[SINK_CLASS_COUNT];	/* refusals of that class are logged */
	struct event		*age;
	struct event		*kick;
	struct event		*retry;
	struct event		*keep;
	struct event		*tick;
};

/* delivery.c */
void		 delivery_arm(struct event *, uint64_t ns);
struct batch	*delivery_make(struct delivery *);
/* After something has become less: says room() to who waits for it, and settled(). */
void		 delivery_eased(struct delivery *);

/* delivery_send.c */
void		 delivery_send(struct delivery *);
void		 delivery_retried(evutil_socket_t, short, void *);
void		 delivery_done(void *, const struct sink_id *, enum sink_result, enum sink_class, const char *);
void		 delivery_state(void *, enum sink_class, const char *);
bool		 delivery_note(void *, const struct sink_note *);
void		 delivery_copied(void *, const struct sink_id *);
void		 delivery_counted(void *, enum sink_class, uint64_t);

/* delivery_keep.c */
/* The next number, if it has none. */
void		 delivery_number(struct delivery *, struct batch *);
void		 delivery_append(struct delivery *, struct batch *);
/* All rows of the batch are dealt with: counts them, and forgets it as soon as it can. */
void		 delivery_account(struct delivery *, struct batch *);
/* Its bytes are in memory again, if they were not.  False: they are nowhere, and it has been dealt with, or comes later. */
bool		 delivery_reload(struct delivery *, struct batch *);
/* It is in the spool no more, and the sink did not take it. */
void		 delivery_lose(struct delivery *, struct batch *);
void		 delivery_keep_within(struct delivery *, uint64_t ns);
void		 delivery_kept(evutil_socket_t, short, void *);
void		 delivery_ticked(evutil_socket_t, short, void *);
/* True if a batch may be given only when it is in the spool. */
bool		 delivery_spools_first(const struct delivery *);
/* True if there are batches that are in the spool only. */
bool		 delivery_has_backlog(const struct delivery *);
void		 delivery_fetch(struct delivery *);
/* The end: everything that is in memory only goes into the spool, or is counted as lost. */
void		 delivery_save(struct delivery *);
/* What is in memory only has changed: it is written down where there is no spool. */
void		 delivery_note_queued(struct delivery *, bool clean);
struct spool_events delivery_spool_events(struct delivery *);

#endif
