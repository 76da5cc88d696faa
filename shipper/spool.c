/* The spool: see spool.h. */
#include <sys/file.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record_reader.h"
#include "shipper/aside.h"
#include "shipper/crc32c.h"
#include "shipper/formats.h"
#include "shipper/ledger.h"
#include "shipper/losses.h"
#include "shipper/spool.h"
#include "shipper/store.h"

/* A batch that has been with the sink for so long is not what kills us. */
#define SPOOL_SUSPECT_TIME	(5 * SECOND)

enum { SPOOL_PATH_MAX = 4096, SPOOL_NAME_MAX = 256, SPOOL_EXPIRE_MAX = 32 };

/* What went in and out, in records: in the store, in the same transaction. */
struct spool_books {
	uint64_t	in;
	uint64_t	delivered;
	uint64_t	withdrawn;	/* back into memory */
	uint64_t	dropped[BOOKS_DROPS];
};

/* A batch that is answered for and not removed yet. */
struct spool_end {
	uint64_t	sequence;
	uint64_t	rows;
	uint64_t	bytes;
	uint64_t	delivered;
	uint64_t	withdrawn;
	uint64_t	dropped[BOOKS_DROPS];
};

struct spool {
	struct spool_options	 options;
	struct spool_events	 events;
	char			 path[SPOOL_PATH_MAX];	/* of spool.db */
	int			 dir;
	int			 lock;
	struct ledger		*ledger;
	struct store		*store;		/* NULL: it could not be made; tried again */
	struct aside		 rejects;
	struct aside		 corrupt;
	struct ledger_numbers	 numbers;	/* but for those that are in the books */
	struct spool_books	 spooled;	/* what is committed */
	struct store_totals	 totals;
	struct spool_end	*ends;
	size_t			 nends;
	size_t			 ends_capacity;
	uint64_t		 given[LEDGER_SENT];	/* when, for the ledger's entry of that index */
	struct losses		 losses;
	char			 requeued[SPOOL_NAME_MAX];	/* the file that is being tried again, or "" */
	bool			 suspects;
	bool			 held;
	bool			 trouble;
	bool			 notes;		/* there may be some */
};

_Static_assert((int)BOOKS_DROPS <= (int)LEDGER_DROPS, "reasons in the ledger");

static int __attribute__((format(printf, 3, 4)))
spool_refuse(char *error, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, size, format, arguments);
	va_end(arguments);
	return -1;
}

/* --- the ledger -------------------------------------------------------------------------- */

void
spool_sync(struct spool *spool)
{
	const struct books *books = spool->options.books;
	struct ledger_numbers *n = &spool->numbers;

	n->boot = ledger_boot();
	n->drained = books->drained;
	n->delivered = books->delivered;
	n->filtered = books->filtered;
	n->in_doubt = books->in_doubt;
	n->requeued = books->requeued;
	n->spool_in = spool->spooled.in;
	n->spool_delivered = spool->spooled.delivered;
	n->spool_withdrawn = spool->spooled.withdrawn;
	for (size_t i = 0; i < BOOKS_DROPS; i++) {
		n->dropped[i] = books->dropped[i];
		n->spool_dropped[i] = spool->spooled.dropped[i];
	}
	ledger_write(spool->ledger, n);
}

uint64_t
spool_number(struct spool *spool)
{
	spool->numbers.sequence++;
	spool_sync(spool);
	return spool->numbers.sequence;
}

uint64_t
spool_epoch(const struct spool *spool)
{
	return spool->numbers.epoch;
}

bool
spool_suspects(const struct spool *spool)
{
	return spool->suspects;
}

static struct ledger_sent *
spool_find_sent(struct spool *spool, uint64_t sequence)
{
	struct ledger_sent *sent = ledger_sent(spool->ledger);

	for (size_t i = 0; i < LEDGER_SENT; i++)
		if (sent[i].sequence == sequence)
			return &sent[i];
	return NULL;
}

/* One that is not blamed, if we die now, makes place: how often it was tried is forgotten. */
static struct ledger_sent *
spool_find_unsuspected(struct spool *spool)
{
	struct ledger_sent *sent = ledger_sent(spool->ledger);

	for (size_t i = 0; i < LEDGER_SENT; i++)
		if (!sent[i].suspect)
			return &sent[i];
	return NULL;
}

void
spool_given(struct spool *spool, uint64_t sequence)
{
	struct ledger_sent *sent = spool_find_sent(spool, sequence);

	/* Where there is no place for it, it is not blamed. */
	if (sent == NULL && (sent = spool_find_sent(spool, 0)) == NULL && (sent = spool_find_unsuspected(spool)) == NULL)
		return;
	if (sent->sequence != sequence)
		sent->attempts = 0;
	sent->sequence = sequence;
	sent->attempts++;
	sent->suspect = 1;
	spool->given[sent - ledger_sent(spool->ledger)] = clock_monotonic();
}

void
spool_answered(struct spool *spool, uint64_t sequence, bool done)
{
	struct ledger_sent *sent = spool_find_sent(spool, sequence);

	if (sent == NULL)
		return;
	sent->suspect = 0;
	if (done)
		sent->sequence = 0;
}

static void
spool_clear_suspects(struct spool *spool, uint64_t now)
{
	struct ledger_sent *sent = ledger_sent(spool->ledger);

	for (size_t i = 0; i < LEDGER_SENT; i++)
		if (sent[i].suspect && now - spool->given[i] > SPOOL_SUSPECT_TIME)
			sent[i].suspect = 0;
}

/* --- trouble ------------------------------------------------------------------------------- */

/* A step that failed undoes its transaction.  True if the store can be used on. */
static bool
spool_failed(struct spool *spool, enum store_result result, const char *what)
{
	spool->options.books->spool_failures++;
	spool->trouble = true;
	store_rollback(spool->store);
	if (result != STORE_BAD)
		log_limited(LOG_LEVEL_ERROR, "%s: cannot %s: %s", spool->options.dir, what, store_why(spool->store));
	return result != STORE_BAD;
}

/* --- the store: open, identity, set aside ------------------------------------------------------ */

static enum store_result
spool_save_books(struct store *store, const struct spool_books *books)
{
	enum store_result result;
	char name[64];

	if ((result = store_set_number(store, "in", books->in)) != STORE_OK ||
	    (result = store_set_number(store, "delivered", books->delivered)) != STORE_OK ||
	    (result = store_set_number(store, "withdrawn", books->withdrawn)) != STORE_OK)
		return result;
	for (enum books_drop i = 0; i < BOOKS_DROPS; i++) {
		if (books->dropped[i] == 0)
			continue;
		snprintf(name, sizeof(name), "dropped %s", books_drop_name(i));
		if ((result = store_set_number(store, name, books->dropped[i])) != STORE_OK)
			return result;
	}
	return STORE_OK;
}

static enum store_result
spool_load_number(struct store *store, const char *name, uint64_t *value)
{
	enum store_result result = store_number(store, name, value);

	return result == STORE_NONE ? STORE_OK : result;
}

static enum store_result
spool_load_books(struct store *store, struct spool_books *books)
{
	enum store_result result;
	char name[64];

	*books = (struct spool_books){ 0 };
	if ((result = spool_load_number(store, "in", &books->in)) != STORE_OK ||
	    (result = spool_load_number(store, "delivered", &books->delivered)) != STORE_OK ||
	    (result = spool_load_number(store, "withdrawn", &books->withdrawn)) != STORE_OK)
		return result;
	for (enum books_drop i = 0; i < BOOKS_DROPS; i++) {
		snprintf(name, sizeof(name), "dropped %s", books_drop_name(i));
		if ((result = spool_load_number(store, name, &books->dropped[i])) != STORE_OK)
			return result;
	}
	return STORE_OK;
}

static uint64_t
spool_rows(const struct spool_books *books)
{
	uint64_t out = books->delivered + books->withdrawn;

	for (size_t i = 0; i < BOOKS_DROPS; i++)
		out += books->dropped[i];
	return books->in - out;
}

static uint64_t
spool_random(void)
{
	uint64_t number;

	do
		arc4random_buf(&number, sizeof(number));
	while (number == 0);
	return number;
}

static void
spool_show_totals(struct spool *spool)
{
	struct books *books = spool->options.books;

	books->spooled = spool->totals.rows;
	books->spool_batches = spool->totals.batches;
	books->spool_bytes = spool->totals.bytes;
}

/* Where the file is: of a copy of it, something differs. */
static void
spool_place(const struct spool *spool, char *text, size_t size)
{
	struct stat st = { 0 };

	(void)fstatat(spool->dir, "spool.db", &st, 0);
	snprintf(text, size, "%s %ju %ju", spool->options.machine, (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
}

/* Which file it is, and the epoch that its batches are sent under. */
static enum store_result
spool_identify(struct spool *spool, bool keep)
{
	enum store_result result;
	char place[SPOOL_NAME_MAX], before[SPOOL_NAME_MAX] = "";
	uint64_t id = 0, epoch = 0;

	spool_place(spool, place, sizeof(place));
	if ((result = spool_load_number(spool->store, "id", &id)) != STORE_OK ||
	    (result = spool_load_number(spool->store, "epoch", &epoch)) != STORE_OK)
		return result;
	result = store_text(spool->store, "place", before, sizeof(before));
	if (result != STORE_OK && result != STORE_NONE)
		return result;
	if (epoch != 0 && strcmp(place, before) != 0)
		log_notice("%s: is a copy, or was moved: its batches go under a new epoch", spool->path);
	if (epoch == 0 || !keep || strcmp(place, before) != 0)
		epoch = spool_random();
	if (id == 0)
		id = spool_random();
	spool->numbers.epoch = epoch;
	spool->numbers.store = id;
	if ((result = store_begin(spool->store)) != STORE_OK ||
	    (result = store_set_number(spool->store, "id", id)) != STORE_OK ||
	    (result = store_set_number(spool->store, "epoch", epoch)) != STORE_OK ||
	    (result = store_set_text(spool->store, "place", place)) != STORE_OK)
		return result;
	return store_commit(spool->store);
}

/* Renames spool.db into corrupt/.  The journal goes with it: it is of no other file. */
static int
spool_set_store_aside(struct spool *spool)
{
	char name[64], journal[80];

	snprintf(name, sizeof(name), "spool.db.%" PRIu64, clock_real() / SECOND);
	snprintf(journal, sizeof(journal), "%s-journal", name);
	(void)renameat(spool->dir, "spool.db-journal", spool->corrupt.fd, journal);
	if (renameat(spool->dir, "spool.db", spool->corrupt.fd, name) == -1 && errno != ENOENT)
		return -1;
	log_error("%s: set aside as corrupt/%s", spool->path, name);
	return 0;
}

/*
 * True if the disk has room for all of it: what is reserved now is not missing
 * when others have filled the disk.
 */
static bool
spool_can_reserve(const struct spool *spool)
{
	uint64_t unused = aside_free(spool->dir), size = spool->options.size;
	struct stat st;

	if (fstatat(spool->dir, "spool.db", &st, 0) == 0)
		size -= (uint64_t)st.st_blocks * 512 < size ? (uint64_t)st.st_blocks * 512 : size;
	if (unused >= spool->options.minfree && size <= unused - spool->options.minfree)
		return true;
	log_warning("%s: the disk has no room for a spool of %" PRIu64 " bytes: it may be full before", spool->options.dir, spool->options.size);
	return false;
}

/* Opens the store; one that is damaged is set aside for a new one.  -1 with a sentence in error. */
static int
spool_open_store(struct spool *spool, bool keep, char *error, size_t size)
{
	char why[160];
	enum store_result result;

	for (int i = 0; i < 2; i++) {
		/* Not with the mode that SQLite would choose. */
		int fd = openat(spool->dir, "spool.db", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		fd_close(&fd);
		spool->store = store_open(spool->path, spool->options.size, spool_can_reserve(spool), spool->options.sync, &result, why,
		    sizeof(why));
		if (spool->store != NULL &&
		    ((result = spool_identify(spool, keep && i == 0)) != STORE_OK ||
		    (result = store_totals(spool->store, &spool->totals)) != STORE_OK ||
		    (result = spool_load_books(spool->store, &spool->spooled)) != STORE_OK)) {
			snprintf(why, sizeof(why), "%s", store_why(spool->store));
			store_close(spool->store);
			spool->store = NULL;
		}
		if (spool->store != NULL)
			return 0;
		if (result != STORE_BAD)
			break;
		log_error("%s: cannot be used: %s", spool->path, why);
		if (spool_set_store_aside(spool) == -1)
			return spool_refuse(error, size, "%s: cannot be set aside: %s", spool->path, strerror(errno));
	}
	return spool_refuse(error, size, "%s: cannot be opened: %s", spool->path, why);
}

/* The store is damaged: a new one, and what was in the old one only is lost. */
static void
spool_reset(struct spool *spool)
{
	struct books *books = spool->options.books;
	char error[SPOOL_PATH_MAX + 256];
	uint64_t kept;

	log_error("%s: is damaged: %s", spool->path, store_why(spool->store));
	store_close(spool->store);
	spool->store = NULL;
	spool->trouble = true;
	/* What is answered for and was to be removed is gone from it now. */
	for (size_t i = 0; i < spool->nends; i++) {
		books->delivered += spool->ends[i].delivered;
		books->held += spool->ends[i].withdrawn;
		books->spooled -= spool->ends[i].rows;
		for (size_t r = 0; r < BOOKS_DROPS; r++)
			books->dropped[r] += spool->ends[i].dropped[r];
	}
	spool->nends = 0;
	kept = spool->events.reset != NULL ? spool->events.reset(spool->events.context) : 0;
	books->dropped[BOOKS_DROP_CORRUPT] += books->spooled - kept;
	books->held += kept;
	if (books->spooled > kept)
		log_error("%" PRIu64 " records were in it and are dropped", books->spooled - kept);
	spool->totals = (struct store_totals){ 0 };
	spool->spooled = (struct spool_books){ 0 };
	if (spool_set_store_aside(spool) == -1 || spool_open_store(spool, false, error, sizeof(error)) == -1)
		log_error("%s: cannot be begun anew: what would go into it is held in memory", spool->path);
	spool_show_totals(spool);
	spool_sync(spool);
}

/* After a new store could not be made. */
static void
spool_try_again(struct spool *spool)
{
	char error[SPOOL_PATH_MAX + 256];

	if (spool->store != NULL)
		return;
	if (spool_open_store(spool, false, error, sizeof(error)) == 0) {
		spool_show_totals(spool);
		spool_sync(spool);
		log_notice("%s: begun anew", spool->path);
	} else
		log_limited(LOG_LEVEL_ERROR, "%s", error);
}

/* What a step came to: true if all went well. */
static bool
spool_judge(struct spool *spool, enum store_result result, const char *what)
{
	if (result == STORE_OK) {
		spool->trouble = false;
		return true;
	}
	if (!spool_failed(spool, result, what))
		spool_reset(spool);
	return false;
}

/* --- removing --------------------------------------------------------------------------------------- */

static void
spool_add_end(struct spool *spool, const struct spool_end *end)
{
	if (spool->nends == spool->ends_capacity) {
		size_t capacity = spool->ends_capacity > 0 ? 2 * spool->ends_capacity : SPOOL_PUT_MAX;
		struct spool_end *ends = reallocarray(spool->ends, capacity, sizeof(*ends));

		if (ends == NULL)
			fatal(EXIT_CODE_SYSTEM, "out of memory: batches that are delivered");
		spool->ends = ends;
		spool->ends_capacity = capacity;
	}
	spool->ends[spool->nends++] = *end;
}

static enum store_result
spool_remove_ends(struct spool *spool, struct spool_books *books)
{
	enum store_result result = STORE_OK;

	for (size_t i = 0; i < spool->nends && result == STORE_OK; i++) {
		const struct spool_end *end = &spool->ends[i];

		result = store_remove(spool->store, end->sequence);
		books->delivered += end->delivered;
		books->withdrawn += end->withdrawn;
		for (size_t r = 0; r < BOOKS_DROPS; r++)
			books->dropped[r] += end->dropped[r];
	}
	return result == STORE_OK && spool->notes ? store_forget_notes(spool->store, &spool->notes) : result;
}

/* The transaction is committed: the books follow. */
static void
spool_apply(struct spool *spool, const struct spool_books *committed)
{
	struct books *books = spool->options.books;

	books->delivered += committed->delivered - spool->spooled.delivered;
	books->held += committed->withdrawn - spool->spooled.withdrawn;
	for (size_t i = 0; i < BOOKS_DROPS; i++)
		books->dropped[i] += committed->dropped[i] - spool->spooled.dropped[i];
	for (size_t i = 0; i < spool->nends; i++) {
		spool->totals.batches--;
		spool->totals.rows -= spool->ends[i].rows;
		spool->totals.bytes -= spool->ends[i].bytes;
	}
	spool->nends = 0;
	spool->spooled = *committed;
	spool_show_totals(spool);
	spool_sync(spool);
}

bool
spool_commit(struct spool *spool)
{
	struct spool_books books = spool->spooled;
	enum store_result result;

	if (spool->nends == 0)
		return true;
	if ((result = store_begin(spool->store)) == STORE_OK && (result = spool_remove_ends(spool, &books)) == STORE_OK &&
	    (result = spool_save_books(spool->store, &books)) == STORE_OK)
		result = store_commit(spool->store);
	if (!spool_judge(spool, result, "remove what was delivered"))
		return false;
	spool_apply(spool, &books);
	return true;
}

size_t
spool_uncommitted(const struct spool *spool)
{
	return spool->nends;
}

uint64_t
spool_batches(const struct spool *spool)
{
	return spool->totals.batches - spool->nends;
}

void
spool_done(struct spool *spool, const struct batch *batch)
{
	const struct spool_end end = {
		.sequence = batch->given.id.batch_sequence,
		.rows = batch->rows,
		.bytes = batch->spooled_bytes,
		.delivered = batch->delivered,
		.dropped = { [BOOKS_DROP_REFUSED] = batch->refused },
	};

	spool_add_end(spool, &end);
}

/*
 * One batch goes, for the reason; or, if the sink has it, it is in memory only
 * from now on.
 */
static bool
spool_drop(struct spool *spool, const struct store_batch *batch, enum books_drop reason)
{
	struct spool_end end = { .sequence = batch->sequence, .rows = batch->rows, .bytes = batch->length };

	if (spool->events.evict != NULL &&
	    spool->events.evict(spool->events.context, batch->sequence, reason) == SPOOL_EVICT_HELD)
		end.withdrawn = batch->rows;
	else {
		end.dropped[reason] = batch->rows;
		losses_add(&spool->losses, reason, spool->numbers.epoch, batch->sequence, batch->rows);
	}
	spool_add_end(spool, &end);
	return spool_commit(spool);
}

/* The oldest that is still to be delivered. */
static bool
spool_drop_oldest(struct spool *spool)
{
	struct store_batch oldest;
	enum store_result result;

	/* First what is done with: it makes room for nothing. */
	if (!spool_commit(spool) || spool->store == NULL)
		return false;
	result = store_next(spool->store, 0, &oldest);
	if (result == STORE_NONE)
		return false;
	return spool_judge(spool, result, "find the oldest batch") && spool_drop(spool, &oldest, BOOKS_DROP_FULL);
}

/* --- putting in ---------------------------------------------------------------------------------- */

static enum store_result
spool_put_one(struct spool *spool, struct batch *batch)
{
	struct store_batch stored = {
		.sequence = batch->given.id.batch_sequence,
		.closed = batch->given.closed,
		.rows = batch->rows,
		.length = batch->records.length,
		.crc = crc32c(0, batch->records.bytes, batch->records.length),
	};

	if (batch->given.netns != NULL)
		snprintf(stored.netns, sizeof(stored.netns), "%s", batch->given.netns);
	return store_put(spool->store, &stored, batch->records.bytes);
}

static enum store_result
spool_put_all(struct spool *spool, struct batch *const *batches, size_t count, struct spool_books *books)
{
	enum store_result result = store_begin(spool->store);

	if (result == STORE_OK)
		result = spool_remove_ends(spool, books);
	for (size_t i = 0; i < count && result == STORE_OK; i++) {
		result = spool_put_one(spool, batches[i]);
		books->in += batches[i]->rows;
	}
	if (result == STORE_OK)
		result = spool_save_books(spool->store, books);
	return result == STORE_OK ? store_commit(spool->store) : result;
}

/* Where the spool answers for records: they are in it, and so their rings need them no more. */
static void
spool_take(struct spool *spool, struct batch *const *batches, size_t count, const struct spool_books *books)
{
	for (size_t i = 0; i < count; i++) {
		batches[i]->spooled = true;
		batches[i]->spooled_bytes = batches[i]->records.length;
		spool->options.books->held -= batches[i]->rows;
		spool->totals.batches++;
		spool->totals.rows += batches[i]->rows;
		spool->totals.bytes += batches[i]->records.length;
		spool->totals.last = batches[i]->given.id.batch_sequence;
	}
	spool->options.books->spool_put += count;
	spool_apply(spool, books);
}

bool
spool_put(struct spool *spool, struct batch *const *batches, size_t count)
{
	struct spool_books books;
	enum store_result result;
	uint64_t bytes = 0;

	if (spool->store == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		bytes += batches[i]->records.length;
	/* What was drained is in the ledger before the store counts it as put in. */
	spool_sync(spool);
	for (;;) {
		while (!store_has_room(spool->store, bytes) && spool_drop_oldest(spool))
			continue;
		if (spool->store == NULL)
			return false;
		books = spool->spooled;
		result = spool_put_all(spool, batches, count, &books);
		if (result != STORE_FULL)
			break;
		/* The disk is, or the estimate was wrong. */
		store_rollback(spool->store);
		if (!spool_drop_oldest(spool))
			break;
		if (spool->store == NULL)
			return false;
	}
	if (!spool_judge(spool, result, "put batches in"))
		return false;
	spool_take(spool, batches, count, &books);
	return true;
}

/* --- taking out ------------------------------------------------------------------------------------- */

/* Frames, whole ones, and as many as there should be. */
static bool
spool_is_whole(const uint8_t *bytes, size_t length, uint64_t rows)
{
	size_t frame, prefix;

	for (; length > 0; bytes += frame, length -= frame, rows--) {
		frame = format_frame(bytes, length, &prefix);
		if (frame == 0 || rows == 0)
			return false;
	}
	return rows == 0;
}

/* Writes a batch's bytes into a folder; what cannot be kept is said. */
static void
spool_keep(struct spool *spool, struct aside *folder, const char *name, const struct buffer *bytes)
{
	if (aside_write(folder, name, bytes->bytes, bytes->length) == -1)
		log_limited(LOG_LEVEL_ERROR, "%s: %s cannot be kept: %s", spool->options.dir, name,
		    errno == EDQUOT ? "the folder is full" : strerror(errno));
}

static void
spool_set_batch_aside(struct spool *spool, const struct store_batch *stored, const struct buffer *records, enum books_drop reason)
{
	char name[SPOOL_NAME_MAX];
	bool crash = reason == BOOKS_DROP_CRASH;

	snprintf(name, sizeof(name), "%016" PRIx64 "-%" PRIu64 ".%s", spool->numbers.epoch, stored->sequence,
	    crash ? "crash" : "damaged");
	spool_keep(spool, crash ? &spool->rejects : &spool->corrupt, name, records);
	(void)spool_drop(spool, stored, reason);
}

/* True if it may be sent; else it is set aside. */
static bool
spool_check(struct spool *spool, const struct store_batch *stored, const struct buffer *records)
{
	bool good = records->length == stored->length && stored->crc == crc32c(0, records->bytes, records->length) &&
	    stored->rows > 0 && spool_is_whole(records->bytes, records->length, stored->rows);

	if (good && stored->deaths < SPOOL_DEATHS)
		return true;
	spool_set_batch_aside(spool, stored, records, good ? BOOKS_DROP_CRASH : BOOKS_DROP_CORRUPT);
	return false;
}

/* The note of the range that it is in, if there is one. */
static void
spool_find_note(struct spool *spool, struct batch *batch)
{
	char text[SINK_NOTE_MAX];
	struct sink_note note = { .text = text };

	if (spool->notes &&
	    store_find_note(spool->store, batch->given.id.batch_sequence, &note.first, &note.last, text, sizeof(text)) == STORE_OK)
		batch_note(batch, &note);
}

static void
spool_fill(struct spool *spool, struct batch *batch, const struct store_batch *stored)
{
	batch->rows = stored->rows;
	batch->spooled = batch->released = true;
	batch->spooled_bytes = stored->length;
	snprintf(batch->netns, sizeof(batch->netns), "%s", stored->netns);
	batch->given.id = (struct sink_id){ spool->numbers.epoch, stored->sequence, 0 };
	batch->given.closed = stored->closed;
	batch->given.netns = stored->netns[0] != '\0' ? batch->netns : NULL;
	spool_find_note(spool, batch);
}

bool
spool_load(struct spool *spool, uint64_t after, struct batch *batch)
{
	enum store_result result = STORE_NONE;
	struct store_batch stored;

	for (; spool->store != NULL && (result = store_next(spool->store, after, &stored)) == STORE_OK; after = stored.sequence) {
		batch->records.length = 0;
		if ((result = store_get(spool->store, &stored, &batch->records)) != STORE_OK)
			break;
		if (!spool_check(spool, &stored, &batch->records))
			continue;
		spool_fill(spool, batch, &stored);
		return true;
	}
	batch->records.length = 0;
	if (result != STORE_NONE)
		(void)spool_judge(spool, result, "read a batch");
	return false;
}

bool
spool_reload(struct spool *spool, struct batch *batch)
{
	struct store_batch stored;
	struct buffer records = { 0 };
	enum store_result result;

	if (spool->store == NULL)
		return false;
	result = store_next(spool->store, batch->given.id.batch_sequence - 1, &stored);
	if (result == STORE_OK && stored.sequence == batch->given.id.batch_sequence)
		result = store_get(spool->store, &stored, &records);
	/* The check may end the batch. */
	if (result == STORE_OK && spool_check(spool, &stored, &records)) {
		batch->records = records;
		batch->unloaded = false;
		return true;
	}
	buffer_free(&records);
	if (result != STORE_OK)
		(void)spool_judge(spool, result, "read a batch");
	return false;
}

bool
spool_note(struct spool *spool, const struct sink_note *note)
{
	enum store_result result;

	if (spool->store == NULL)
		return false;
	result = store_note(spool->store, note->first, note->last, note->text);
	if (!spool_judge(spool, result, "note what batches become"))
		return false;
	spool->notes = true;
	return true;
}

/* --- rejects ------------------------------------------------------------------------------------------- */

void
spool_reject(struct spool *spool, const struct sink_id *id, uint64_t row, const char *class, const uint8_t *record, size_t length)
{
	const struct buffer bytes = { .bytes = (uint8_t *)record, .length = length };
	char name[SPOOL_NAME_MAX];

	snprintf(name, sizeof(name), "%016" PRIx64 "-%" PRIu64 "-%" PRIu64 ".%s", id->spool_epoch, id->batch_sequence, row, class);
	spool_keep(spool, &spool->rejects, name, &bytes);
}

/* Any file of the folder requeue/: its name, or "". */
static void
spool_find_requeued(struct spool *spool)
{
	int fd = openat(spool->dir, "requeue", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	spool->requeued[0] = '\0';
	if (dir == NULL) {
		fd_close(&fd);
		return;
	}
	while (spool->requeued[0] == '\0' && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			snprintf(spool->requeued, sizeof(spool->requeued), "%s", entry->d_name);
	closedir(dir);
}

static int
spool_read_file(int dir, const char *name, uint64_t most, struct buffer *to)
{
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	ssize_t n = 1;

	if (fd == -1 || fstat(fd, &st) == -1)
		return -1;
	errno = EFBIG;
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size > most)
		return -1;
	(void)buffer_reserve(to, (size_t)st.st_size);
	while (n > 0 && to->length < (size_t)st.st_size) {
		n = read(fd, to->bytes + to->length, (size_t)st.st_size - to->length);
		to->length += n > 0 ? (size_t)n : 0;
	}
	return n == -1 ? -1 : 0;
}

/* What people put there is looked at as a foreign file is. */
static void
spool_count_record(void *context, const struct record *record)
{
	(void)record;
	(*(uint64_t *)context)++;
}

bool
spool_requeue(struct spool *spool, struct batch *batch)
{
	char path[SPOOL_NAME_MAX + sizeof("requeue/")];
	uint64_t rows = 0;

	if (spool->requeued[0] != '\0')
		return false;
	spool_find_requeued(spool);
	if (spool->requeued[0] == '\0')
		return false;
	snprintf(path, sizeof(path), "requeue/%s", spool->requeued);
	if (spool_read_file(spool->dir, path, spool->options.size / 4, &batch->records) == 0 &&
	    format_each(batch->records.bytes, batch->records.length, spool_count_record, &rows) > 0) {
		batch->rows = rows;
		batch->requeued = true;
		spool->options.books->requeued += rows;
		spool->options.books->held += rows;
		log_notice("%s/requeue/%s: %" PRIu64 " records are tried again", spool->options.dir, spool->requeued, rows);
		return true;
	}
	log_error("%s/requeue/%s: holds no records of ours, and goes to corrupt/", spool->options.dir, spool->requeued);
	batch->records.length = 0;
	if (renameat(spool->dir, path, spool->corrupt.fd, spool->requeued) == 0)
		spool->requeued[0] = '\0';
	return false;
}

void
spool_requeued(struct spool *spool)
{
	char path[SPOOL_NAME_MAX + sizeof("requeue/")];

	snprintf(path, sizeof(path), "requeue/%s", spool->requeued);
	(void)unlinkat(spool->dir, path, 0);
	spool->requeued[0] = '\0';
}

/* --- once a second ----------------------------------------------------------------------------------------- */

static void
spool_expire(struct spool *spool)
{
	uint64_t now = clock_real();
	struct store_batch oldest;

	if (spool->options.age == 0 || !spool_commit(spool))
		return;
	for (int i = 0; i < SPOOL_EXPIRE_MAX && spool->store != NULL && store_next(spool->store, 0, &oldest) == STORE_OK; i++)
		if (oldest.closed > now || now - oldest.closed < spool->options.age || !spool_drop(spool, &oldest, BOOKS_DROP_AGE))
			break;
}

static void
spool_look_for_hold(struct spool *spool)
{
	bool held = faccessat(spool->dir, "hold", F_OK, AT_SYMLINK_NOFOLLOW) == 0;

	if (held != spool->held)
		log_notice("%s: %s", spool->options.dir, held ? "on hold: nothing is given to the sink until tcpdiag spool release" :
		    "released");
	spool->held = held;
}

void
spool_tick(struct spool *spool)
{
	spool_try_again(spool);
	spool_look_for_hold(spool);
	spool_expire(spool);
	spool_clear_suspects(spool, clock_monotonic());
	losses_tell(&spool->losses);
}

bool
spool_held(const struct spool *spool)
{
	return spool->held;
}

bool
spool_in_trouble(const struct spool *spool)
{
	return spool->trouble;
}

/* --- the start ------------------------------------------------------------------------------------------------ */

static int
spool_open_folder(struct spool *spool, char *error, size_t size)
{
	const char *dir = spool->options.dir;

	if (mkdir(dir, 0700) == -1 && errno != EEXIST)
		return spool_refuse(error, size, "%s: cannot be made: %s", dir, strerror(errno));
	spool->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool->dir == -1)
		return spool_refuse(error, size, "%s: cannot be opened: %s", dir, strerror(errno));
	spool->lock = openat(spool->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (spool->lock == -1)
		return spool_refuse(error, size, "%s: cannot be written to by this user (uid %u): %s", dir, geteuid(), strerror(errno));
	if (flock(spool->lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return spool_refuse(error, size, "%s: another shipper has this spool (it is locked); give each its own", dir);
}

static int
spool_open_parts(struct spool *spool, char *error, size_t size)
{
	const struct spool_options *o = &spool->options;
	char path[SPOOL_PATH_MAX];

	if ((size_t)snprintf(spool->path, sizeof(spool->path), "%s/spool.db", o->dir) >= sizeof(spool->path))
		return spool_refuse(error, size, "%s: is too long", o->dir);
	if (aside_open(&spool->rejects, spool->dir, "rejects", o->rejects, o->minfree) == -1)
		return spool_refuse(error, size, "%s/rejects: %s", o->dir, strerror(errno));
	if (aside_open(&spool->corrupt, spool->dir, "corrupt", UINT64_MAX, o->minfree) == -1)
		return spool_refuse(error, size, "%s/corrupt: %s", o->dir, strerror(errno));
	snprintf(path, sizeof(path), "%.*s/ledger", SPOOL_PATH_MAX - 16, o->dir);
	if ((spool->ledger = ledger_open(path)) == NULL)
		return spool_refuse(error, size, "%s: cannot be opened: %s", path, strerror(errno));
	return 0;
}

/* What the ledger's last numbers say about a store that is not there any more. */
static uint64_t
spool_lost_rows(const struct ledger_numbers *n)
{
	struct spool_books books = { .in = n->spool_in, .delivered = n->spool_delivered, .withdrawn = n->spool_withdrawn };

	memcpy(books.dropped, n->spool_dropped, sizeof(books.dropped));
	return spool_rows(&books);
}

/*
 * The books go on: from the ledger, and from what the store's transactions know
 * better.  What is nowhere else was taken out of rings and not answered for.
 */
static void
spool_load_from_ledger(struct spool *spool, const struct ledger_numbers *before)
{
	struct books *books = spool->options.books;
	bool same = before->store == spool->numbers.store;
	uint64_t all, here;

	books->drained = before->drained;
	books->filtered = before->filtered;
	books->in_doubt = before->in_doubt;
	books->requeued = before->requeued;
	books->delivered = before->delivered + spool->spooled.delivered - (same ? before->spool_delivered : 0);
	for (size_t i = 0; i < BOOKS_DROPS; i++)
		books->dropped[i] = before->dropped[i] + spool->spooled.dropped[i] - (same ? before->spool_dropped[i] : 0);
	if (!same)
		books->dropped[BOOKS_DROP_CORRUPT] += spool_lost_rows(before);
	/* Of a store that says what it had. */
	if (spool_rows(&spool->spooled) > spool->totals.rows)
		books->dropped[BOOKS_DROP_CORRUPT] += spool_rows(&spool->spooled) - spool->totals.rows;
	spool_show_totals(spool);
	all = books->drained + books->requeued;
	here = books->delivered + books->filtered + books_dropped(books) + books->in_doubt + books->spooled;
	if (all >= here)
		books->in_doubt += all - here;
	else
		/* The ledger is older than the store: power was lost. */
		books->drained += here - all;
}

/* Who was with the sink when the last life ended may be why.  Returns whether anybody was. */
static bool
spool_blame(struct spool *spool, bool clean)
{
	struct ledger_sent *sent = ledger_sent(spool->ledger);
	struct store_batch batch;
	bool suspects = false;

	for (size_t i = 0; i < LEDGER_SENT; i++) {
		bool suspect = sent[i].suspect && !clean;

		sent[i].suspect = 0;
		if (sent[i].sequence == 0)
			continue;
		suspects |= suspect;
		if (store_next(spool->store, sent[i].sequence - 1, &batch) != STORE_OK || batch.sequence != sent[i].sequence)
			sent[i].sequence = 0;
		else
			(void)store_set_deaths(spool->store, batch.sequence, suspect ? batch.deaths + 1 : 0);
	}
	return suspects;
}

static int
spool_begin(struct spool *spool, char *error, size_t size)
{
	struct ledger_numbers before = { 0 };
	bool known = ledger_read(spool->ledger, &before);
	/* After a loss of power the last numbers may have been used and not written. */
	bool keep = known && (before.clean || ledger_same_boot(before.boot, ledger_boot()));

	if (!known)
		memset(ledger_sent(spool->ledger), 0, LEDGER_SENT * sizeof(struct ledger_sent));
	if (spool_open_store(spool, keep, error, size) == -1)
		return -1;
	spool->numbers.sequence = known && before.sequence > spool->totals.last ? before.sequence : spool->totals.last;
	spool_load_from_ledger(spool, &before);
	spool->notes = true;
	spool->suspects = spool_blame(spool, known && before.clean);
	spool->numbers.clean = 0;
	spool_sync(spool);
	if (spool->totals.batches > 0)
		log_notice("%s: holds %" PRIu64 " batches of %" PRIu64 " records from before", spool->path, spool->totals.batches,
		    spool->totals.rows);
	return 0;
}

static void
spool_free(struct spool *spool)
{
	if (spool->store != NULL)
		store_close(spool->store);
	if (spool->ledger != NULL)
		ledger_close(spool->ledger);
	aside_close(&spool->rejects);
	aside_close(&spool->corrupt);
	fd_close(&spool->lock);
	fd_close(&spool->dir);
	free(spool->ends);
	free(spool);
}

struct spool *
spool_open(const struct spool_options *options, char *error, size_t size)
{
	struct spool *spool = calloc(1, sizeof(*spool));

	if (spool == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: the spool");
	spool->options = *options;
	spool->dir = spool->lock = spool->rejects.fd = spool->corrupt.fd = -1;
	if (spool_open_folder(spool, error, size) == 0 && spool_open_parts(spool, error, size) == 0 &&
	    spool_begin(spool, error, size) == 0) {
		spool_look_for_hold(spool);
		return spool;
	}
	spool_free(spool);
	return NULL;
}

void
spool_listen(struct spool *spool, const struct spool_events *events)
{
	spool->events = *events;
}

void
spool_close(struct spool *spool)
{
	(void)spool_commit(spool);
	losses_tell(&spool->losses);
	spool->numbers.clean = 1;
	spool_sync(spool);
	spool_free(spool);
}
