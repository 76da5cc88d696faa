/*
 * The store: batches on disk, in one file of bounded size, by SQLite.
 *
 * Each function is one step of a transaction between store_begin and
 * store_commit, or one by itself.  No statement stays open between two calls:
 * what is read is copied out, and no reader holds back what others free.
 *
 * The file has its full size from the start, where the file system can reserve
 * it, and never grows above it; beside it stands a journal of a few pages.
 */
#ifndef SHIPPER_STORE_H
#define SHIPPER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/record.h"

enum store_result {
	STORE_OK,
	STORE_NONE,	/* there is no such batch or number */
	STORE_FULL,	/* the file may not grow, or the disk is full; nothing was done */
	STORE_BUSY,	/* somebody else reads it; again later */
	STORE_BAD,	/* the file is no store, or is damaged */
	STORE_FAILED,	/* anything else: store_why */
};

enum { STORE_BATCH_MAX = 512 * 1024 * 1024 };	/* bytes of a batch that SQLite takes */

/* A batch without its records. */
struct store_batch {
	uint64_t	sequence;
	uint64_t	closed;		/* ns since 1970 */
	uint64_t	rows;
	uint64_t	length;		/* bytes of the records */
	uint32_t	crc;		/* CRC-32C of them */
	uint32_t	deaths;		/* shippers in a row that died while they sent it */
	char		netns[RECORD_STRING_MAX + 1];	/* or "" */
};

struct store_totals {
	uint64_t	batches;
	uint64_t	rows;
	uint64_t	bytes;
	uint64_t	last;		/* the highest sequence, or 0 */
};

struct store;

/*
 * Opens the file, which is made if it does not exist or is empty.  It grows to
 * size at most; reserve: its bytes are reserved now.  sync: what is committed
 * survives a loss of power.  NULL with the reason in *result, and a sentence
 * without the file's name in error.
 */
struct store	*store_open(const char *path, uint64_t size, bool reserve, bool sync, enum store_result *result, char *error, size_t length);
/* For reading beside a shipper; nothing can be changed. */
struct store	*store_open_to_read(const char *path, enum store_result *result, char *error, size_t length);
/* What is not committed is forgotten. */
void		 store_close(struct store *);
/* What the last call that failed met, in words. */
const char	*store_why(const struct store *);

enum store_result	 store_begin(struct store *);
enum store_result	 store_commit(struct store *);
/* All since store_begin is undone; also after a call that failed.  Never fails. */
void			 store_rollback(struct store *);

/* The batch's length and crc are those of bytes. */
enum store_result	 store_put(struct store *, const struct store_batch *, const uint8_t *bytes);
/* Appends the records; STORE_BAD too when their length is another one than was said. */
enum store_result	 store_get(struct store *, const struct store_batch *, struct buffer *records);
/* The first batch after this sequence. */
enum store_result	 store_next(struct store *, uint64_t after, struct store_batch *);
enum store_result	 store_remove(struct store *, uint64_t sequence);
enum store_result	 store_set_deaths(struct store *, uint64_t sequence, uint32_t deaths);
enum store_result	 store_totals(struct store *, struct store_totals *);
/* False: a batch of so many bytes does not go in. */
bool			 store_has_room(struct store *, uint64_t bytes);
/* Bytes of the file, and of those the free ones. */
void			 store_size(struct store *, uint64_t *bytes, uint64_t *unused);

/* What becomes of the batches from first to last.  The text is at most size - 1 bytes. */
enum store_result	 store_note(struct store *, uint64_t first, uint64_t last, const char *text);
enum store_result	 store_find_note(struct store *, uint64_t sequence, uint64_t *first, uint64_t *last, char *text, size_t size);
/* Those of which no batch is left go.  *left: there are others. */
enum store_result	 store_forget_notes(struct store *, bool *left);

/* Named numbers and texts; text is at most size - 1 bytes. */
enum store_result	 store_number(struct store *, const char *name, uint64_t *value);
enum store_result	 store_set_number(struct store *, const char *name, uint64_t value);
enum store_result	 store_text(struct store *, const char *name, char *text, size_t size);
enum store_result	 store_set_text(struct store *, const char *name, const char *text);

#endif
