/*
 * The spool: a folder with the batches that wait on disk, and with what is
 * known of them.
 *
 *	lock		one shipper has it
 *	spool.db	the batches (store.h), and the books of what went in and out
 *	ledger		the rest of the books, and what is with the sink (ledger.h)
 *	rejects/	records and batches that the sink will never take
 *	corrupt/	what was damaged; nothing of it is ever deleted
 *	requeue/	rejects that are to be tried again
 *	hold		while it exists nothing is given to the sink
 *
 * What is in the spool when a function returns true is there after a kill -9,
 * and with sync after a loss of power.  The struct books are changed by it in
 * the same moment, and are as true in the next life.
 *
 * What cannot be read any more is set aside, counted as dropped(corrupt), and
 * the spool goes on, with a new spool_epoch if it had to begin anew.
 */
#ifndef SHIPPER_SPOOL_H
#define SHIPPER_SPOOL_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shipper/batch.h"
#include "shipper/books.h"

enum {
	SPOOL_DEATHS = 3,		/* shippers in a row that one batch may cost */
	SPOOL_SIZE_MIN = 1024 * 1024,
	SPOOL_PUT_MAX = 64,		/* batches in one transaction */
};

/* What becomes of a batch that has to go, in memory. */
enum spool_eviction {
	SPOOL_EVICT_DROP,	/* nothing is left of it */
	SPOOL_EVICT_HELD,	/* the sink has it: it is in memory only from now on */
};

struct spool_options {
	const char	*dir;
	uint64_t	 size;		/* bytes of spool.db */
	uint64_t	 age;		/* ns that a batch may be old; 0: any */
	bool		 sync;
	uint64_t	 rejects;	/* bytes of rejects/ */
	uint64_t	 minfree;	/* bytes that rejects/ and corrupt/ leave free on the disk */
	const char	*machine;	/* which machine this is; a spool of another one gets a new epoch */
	struct books	*books;
};

/* Both are called from within spool_put, spool_tick and whatever finds damage. */
struct spool_events {
	enum spool_eviction (*evict)(void *context, uint64_t sequence, enum books_drop);
	/* All that was in the spool is not any more; returns the rows of it that are in memory and are held from now on. */
	uint64_t	(*reset)(void *context);
	void		*context;
};

struct spool;

enum { SPOOL_MACHINE_MAX = 64 };

/* Which machine this is, for spool_options: /etc/machine-id, or "". */
const char	*spool_machine(char *to, size_t size);
/* Before the rights are given up: a folder that is not there is made, and is that user's. */
void		 spool_prepare(const char *dir, uid_t uid, gid_t gid);
/* NULL with one sentence in error. */
struct spool	*spool_open(const struct spool_options *, char *error, size_t size);
void		 spool_listen(struct spool *, const struct spool_events *);
/* Everything that was answered is committed first. */
void		 spool_close(struct spool *);

uint64_t	 spool_epoch(const struct spool *);
/* The number of the next batch; it is used up. */
uint64_t	 spool_number(struct spool *);
/* True if the last life died while the sink had something: what is given now should be in the spool first. */
bool		 spool_suspects(const struct spool *);
/* The books as they are now outlive this process: said before a ring's bytes are given back. */
void		 spool_sync(struct spool *);

/*
 * Puts batches in, all or none; the oldest go for it if need be.  They are at most
 * SPOOL_PUT_MAX, and together a quarter of the spool.  False: it is logged, and
 * nothing has changed but for what was dropped.
 */
bool		 spool_put(struct spool *, struct batch *const *batches, size_t count);
/*
 * A batch of the spool is answered for: batch.delivered and .refused say what
 * became of its rows.  It goes with the next transaction, or at spool_commit, and
 * only then is it counted.
 */
void		 spool_done(struct spool *, const struct batch *);
/* Commits what is done.  True if nothing is left to be committed. */
bool		 spool_commit(struct spool *);
size_t		 spool_uncommitted(const struct spool *);
/* Batches in it that are not answered for. */
uint64_t	 spool_batches(const struct spool *);
/*
 * The first good batch after this number: its records, rows, number and time;
 * false if there is none.  What is damaged or has killed SPOOL_DEATHS shippers is set
 * aside.
 */
bool		 spool_load(struct spool *, uint64_t after, struct batch *);

/* The batch's records once more.  False: they are set aside, or cannot be read; or it was evicted for that. */
bool		 spool_reload(struct spool *, struct batch *);
/* Commits a note of batches in the spool; each that is loaded comes with it. */
bool		 spool_note(struct spool *, const struct sink_note *);

/* The sink is given a batch; it was answered, and done is false if it is to be given again. */
void		 spool_given(struct spool *, uint64_t sequence);
void		 spool_answered(struct spool *, uint64_t sequence, bool done);

/* Sets aside a record that the sink will never take, row counted from 0. */
void		 spool_reject(struct spool *, const struct sink_id *, uint64_t row, const char *class, const uint8_t *record, size_t length);
/*
 * A reject that is to be tried again: its records become the batch's.  False: none.
 * Say spool_requeued when the batch is answered for or in the spool.
 */
bool		 spool_requeue(struct spool *, struct batch *);
void		 spool_requeued(struct spool *);

/* Once a second: what is too old goes, what was dropped is logged. */
void		 spool_tick(struct spool *);
/* True while the file hold exists, as of the last tick. */
bool		 spool_held(const struct spool *);
/* True if the last transaction failed. */
bool		 spool_in_trouble(const struct spool *);

#endif
