/*
 * A batch: records with their stamps in front, each behind its length, as
 * format protobuf writes them; and for each ring how far the batch reaches, so
 * that the ring's bytes are given back when the batch is acknowledged, not
 * before.
 */
#ifndef SHIPPER_BATCH_H
#define SHIPPER_BATCH_H

#include <sys/queue.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/record.h"
#include "shipper/books.h"
#include "shipper/sink.h"

struct split;

struct batch_mark {
	void		*owner;		/* the ring */
	uint64_t	 position;	/* everything before it is in here, or was */
};

/* How far it is on its way; the rest of this is the delivery's. */
enum batch_state {
	BATCH_FILLING,
	BATCH_WAITING,		/* to be given to the sink, or given again */
	BATCH_BEHIND,		/* of older ones that are in the spool only */
	BATCH_SENT,		/* the sink has it and has not answered */
	BATCH_DONE,		/* every row of it is delivered or dropped */
};

struct batch {
	TAILQ_ENTRY(batch)	 link;
	struct buffer		 records;
	uint64_t		 rows;
	struct batch_mark	*marks;
	size_t			 nmarks;
	size_t			 marks_capacity;
	enum batch_state	 state;
	const void		*source;	/* the ring of its rows; NULL: several */
	char			 netns[RECORD_STRING_MAX + 1];	/* its namespace */
	struct buffer		 formed;	/* what the sink is given, as the format writes it */
	bool			 is_formed;
	bool			 formed_fresh;	/* with the header */
	struct split		*split;		/* it was refused, and goes in parts */
	uint64_t		 delivered;	/* rows of it */
	uint64_t		 refused;
	uint64_t		 since;		/* when it was closed, monotonic ns */
	uint64_t		 spooled_bytes;	/* of it in the spool */
	bool			 spooled;	/* it is in the spool */
	bool			 counted;	/* what became of its rows is in the books, or goes there with the spool */
	bool			 released;	/* its marks' bytes were given back */
	bool			 withdrawn;	/* it was in a spool that had to make room; if it is not taken, it is lost */
	enum books_drop		 withdrawn_for;
	bool			 requeued;	/* it was a file in requeue/ */
	struct sink_batch	 given;		/* its id too, from when it was closed on */
	struct sink_note	 note;		/* text: freed with the batch, or NULL */
	bool			 unloaded;	/* its bytes are in the spool only, or nowhere */
	bool			 copied;	/* by the sink, which has it */
};

struct batch_limits {
	uint64_t	rows;
	uint64_t	bytes;
};

/*
 * A place for a record of length bytes with its stamp: the length and the stamp
 * are written, and the record's own bytes go to what is returned.  The batch is
 * unchanged until batch_commit; without it, nothing has happened.
 */
uint8_t	*batch_place(struct batch *, const uint8_t *stamp, size_t stamp_length, size_t length);
void	 batch_commit(struct batch *, size_t stamp_length, size_t length);
/* Bytes that such a record takes. */
size_t	 batch_need(size_t stamp_length, size_t length);
/* True if so many bytes are within the limits; an empty batch takes any record. */
bool	 batch_fits(const struct batch *, const struct batch_limits *, size_t need);
bool	 batch_full(const struct batch *, const struct batch_limits *);
/* Adds a mark and returns its index. */
size_t	 batch_mark(struct batch *, void *owner, uint64_t position);
/* Copies a note; NULL: it has none. */
void	 batch_note(struct batch *, const struct sink_note *);
/* Its bytes go; what is known of them stays. */
void	 batch_unload(struct batch *);
/* Makes it empty; its memory is kept for the next records. */
void	 batch_clear(struct batch *);
void	 batch_free(struct batch *);

#endif
