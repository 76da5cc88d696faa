/*
 * The way of a batch from being filled to being acknowledged.  There are
 * DELIVERY_BATCHES of them: one is filled, the others wait for the sink in the
 * order in which they were closed; the first alone is with it.  When all are
 * in use nothing can be filled, rings run full, and collectors wait: that is
 * how a slow sink slows down what feeds it without anything being lost.
 *
 * A refused batch is tried again after 1 s, doubling to 5 min, with jitter, and
 * nothing overtakes it.
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

enum { DELIVERY_BATCHES = 4 };

/* None is called from within a delivery_ function; all from the event loop. */
struct delivery_events {
	void	(*acknowledged)(void *context, const struct batch *);	/* the sink has it */
	void	(*room)(void *context);		/* again, after delivery_batch returned NULL */
	void	(*failed)(void *context);	/* nothing can be delivered any more; it is logged */
	void	*context;
};

struct delivery_options {
	struct event_base	*base;
	struct books		*books;
	struct batch_limits	 limits;
	uint64_t		 age;		/* ns that a record waits for its batch to fill */
	uint64_t		 backoff;	/* ns before the second try; 0: 1 s */
	bool			 once;		/* what is refused is refused for good */
	const char		*target;	/* the sink's name in messages */
	const struct format	*format;
	void			*format_state;	/* delivery_free frees it */
	const struct sink	*sink;
};

struct delivery;

struct delivery	*delivery_new(const struct delivery_options *);
/*
 * Opens the sink, whose answers come here; sink.base, .done and .context are
 * set by it.  Returns 0, or -1 with one sentence in error.
 */
int		 delivery_open(struct delivery *, const struct sink_options *, char *error, size_t size);
void		 delivery_listen(struct delivery *, const struct delivery_events *);
/* Closes the sink; what was not acknowledged is forgotten. */
void		 delivery_free(struct delivery *);

/*
 * The batch to fill, with place for a record of need bytes; or NULL: wait for
 * room().  Say delivery_committed after each record.
 */
struct batch	*delivery_batch(struct delivery *, size_t need);
void		 delivery_committed(struct delivery *);
/* Closes the batch that is being filled, if it has any record. */
void		 delivery_flush(struct delivery *);
/* From now on a refused batch is tried four times a second: the end is near. */
void		 delivery_hurry(struct delivery *);
/* Records in batches, not acknowledged. */
uint64_t	 delivery_held(const struct delivery *);
/* True if the sink cannot be given a thing right now: it refused the last. */
bool		 delivery_refused(const struct delivery *);
/* SIGHUP: the sink's target anew.  Returns 0, or -1 with one sentence in error. */
int		 delivery_reopen(struct delivery *, int fd, char *error, size_t size);

#endif
