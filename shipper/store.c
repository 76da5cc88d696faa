/*
 * Batches in SQLite: see store.h.
 *
 * Why SQLite and not LMDB: docs/decisions.md.  A rollback journal and not a
 * write-ahead log, since a log grows as long as somebody reads; a journal that
 * is kept (PERSIST), so that its blocks are there when the disk is full.
 */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "shipper/store.h"

enum {
	STORE_PAGE = 16384,		/* bytes: a batch of one record is no large one then, nor are many pages one of 768 KiB */
	STORE_PAGES_ASIDE = 8,		/* of what a batch takes beside its bytes, at most */
	STORE_PAGES_TRIED = 512,	/* that change in one transaction of a new file, at most: the batches of an object go at once */
	STORE_CHUNK_MAX = 1 << 30,	/* SQLite counts in int */
	STORE_BUSY_TIME = 200,		/* ms that another reader may take */
	STORE_CACHE = 4096,		/* KiB */
	STORE_ID = 0x74637064,		/* application_id: "tcpd" */
	STORE_VERSION = 1,		/* user_version: the tables */
};

enum store_statement {
	STORE_BEGIN, STORE_COMMIT, STORE_ROLLBACK, STORE_PUT, STORE_GET, STORE_NEXT, STORE_REMOVE, STORE_SET_DEATHS,
	STORE_TOTALS, STORE_NOTE, STORE_FIND_NOTE, STORE_FORGET_NOTES, STORE_NOTES,
	STORE_VALUE, STORE_SET_VALUE, STORE_PAGES, STORE_UNUSED, STORE_STATEMENTS
};

static const char *const store_sql[STORE_STATEMENTS] = {
	[STORE_BEGIN] = "BEGIN IMMEDIATE",
	[STORE_COMMIT] = "COMMIT",
	[STORE_ROLLBACK] = "ROLLBACK",
	[STORE_PUT] = "INSERT INTO batch (sequence, closed, rows, length, crc, deaths, netns, records) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	[STORE_GET] = "SELECT records FROM batch WHERE sequence = ?1",
	[STORE_NEXT] = "SELECT sequence, closed, rows, length, crc, deaths, netns FROM batch WHERE sequence > ?1 ORDER BY sequence LIMIT 1",
	[STORE_REMOVE] = "DELETE FROM batch WHERE sequence = ?1",
	[STORE_SET_DEATHS] = "UPDATE batch SET deaths = ?2 WHERE sequence = ?1",
	[STORE_TOTALS] = "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(length), 0), coalesce(max(sequence), 0) FROM batch",
	[STORE_NOTE] = "INSERT OR REPLACE INTO note (first, last, text) VALUES (?1, ?2, ?3)",
	[STORE_FIND_NOTE] = "SELECT first, last, text FROM note WHERE first <= ?1 AND last >= ?1 ORDER BY first DESC LIMIT 1",
	[STORE_FORGET_NOTES] = "DELETE FROM note WHERE NOT EXISTS (SELECT 1 FROM batch WHERE sequence BETWEEN first AND last)",
	[STORE_NOTES] = "SELECT count(*) FROM note",
	[STORE_VALUE] = "SELECT value FROM value WHERE name = ?1",
	[STORE_SET_VALUE] = "INSERT INTO value (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
	[STORE_PAGES] = "PRAGMA page_count",
	[STORE_UNUSED] = "PRAGMA freelist_count",
};

/* The records stand last, so that what is before them is read without them. */
static const char store_tables[] =
    "CREATE TABLE batch (sequence INTEGER PRIMARY KEY, closed INTEGER NOT NULL, rows INTEGER NOT NULL, length INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, deaths INTEGER NOT NULL, netns TEXT NOT NULL, records BLOB NOT NULL);"
    "CREATE TABLE note (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, text TEXT NOT NULL);"
    "CREATE TABLE value (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;";

struct store {
	sqlite3		*db;
	sqlite3_stmt	*statements[STORE_STATEMENTS];
	uint64_t	 pages_most;	/* 0: for reading only */
	int		 reserved;	/* -1, or the file: see store_reserve */
	char		 why[160];
};

/* --- SQLite's answers --------------------------------------------------------------- */

static enum store_result
store_result_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return STORE_OK;
	case SQLITE_FULL:
		return STORE_FULL;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return STORE_BUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return STORE_BAD;
	default:
		/* A file that is shorter than it says it is. */
		return code == SQLITE_IOERR_SHORT_READ ? STORE_BAD : STORE_FAILED;
	}
}

static enum store_result
store_judge(struct store *store, int code)
{
	enum store_result result = store_result_of(code);

	if (result != STORE_OK)
		snprintf(store->why, sizeof(store->why), "%s (%d)", sqlite3_errmsg(store->db), sqlite3_extended_errcode(store->db));
	return result;
}

static enum store_result
store_bad(struct store *store, const char *why)
{
	snprintf(store->why, sizeof(store->why), "%s", why);
	return STORE_BAD;
}

const char *
store_why(const struct store *store)
{
	return store->why;
}

/* --- statements ------------------------------------------------------------------------ */

/* Prepared when it is first used; NULL when it cannot be. */
static sqlite3_stmt *
store_statement(struct store *store, enum store_statement which, enum store_result *result)
{
	sqlite3_stmt **statement = &store->statements[which];

	*result = STORE_OK;
	if (*statement == NULL)
		*result = store_judge(store, sqlite3_prepare_v3(store->db, store_sql[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL));
	return *result == STORE_OK ? *statement : NULL;
}

/* One step; a row is left to be read, and store_end ends it. */
static enum store_result
store_step(struct store *store, sqlite3_stmt *statement, bool *row)
{
	int code = sqlite3_step(statement);

	*row = code == SQLITE_ROW;
	return store_judge(store, code);
}

static void
store_end(sqlite3_stmt *statement)
{
	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
}

/* A statement that takes a number and gives nothing. */
static enum store_result
store_do(struct store *store, enum store_statement which, uint64_t first, uint64_t second)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, which, &result);
	bool row;

	if (statement == NULL)
		return result;
	if (sqlite3_bind_parameter_count(statement) > 0)
		sqlite3_bind_int64(statement, 1, (sqlite3_int64)first);
	if (sqlite3_bind_parameter_count(statement) > 1)
		sqlite3_bind_int64(statement, 2, (sqlite3_int64)second);
	result = store_step(store, statement, &row);
	store_end(statement);
	return result;
}

static uint64_t
store_count(struct store *store, enum store_statement which)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, which, &result);
	uint64_t count = 0;
	bool row;

	if (statement == NULL)
		return 0;
	if (store_step(store, statement, &row) == STORE_OK && row)
		count = (uint64_t)sqlite3_column_int64(statement, 0);
	store_end(statement);
	return count;
}

enum store_result
store_begin(struct store *store)
{
	return store_do(store, STORE_BEGIN, 0, 0);
}

enum store_result
store_commit(struct store *store)
{
	return store_do(store, STORE_COMMIT, 0, 0);
}

void
store_rollback(struct store *store)
{
	char why[sizeof(store->why)];

	/* Some failures have done it already. */
	if (sqlite3_get_autocommit(store->db))
		return;
	memcpy(why, store->why, sizeof(why));
	(void)store_do(store, STORE_ROLLBACK, 0, 0);
	memcpy(store->why, why, sizeof(why));
}

/* --- batches ------------------------------------------------------------------------------ */

enum store_result
store_put(struct store *store, const struct store_batch *batch, const uint8_t *bytes)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, STORE_PUT, &result);
	bool row;

	if (statement == NULL)
		return result;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)batch->sequence);
	sqlite3_bind_int64(statement, 2, (sqlite3_int64)batch->closed);
	sqlite3_bind_int64(statement, 3, (sqlite3_int64)batch->rows);
	sqlite3_bind_int64(statement, 4, (sqlite3_int64)batch->length);
	sqlite3_bind_int64(statement, 5, batch->crc);
	sqlite3_bind_int64(statement, 6, batch->deaths);
	sqlite3_bind_text(statement, 7, batch->netns, -1, SQLITE_STATIC);
	result = store_judge(store, sqlite3_bind_blob64(statement, 8, bytes, batch->length, SQLITE_STATIC));
	if (result == STORE_OK)
		result = store_step(store, statement, &row);
	store_end(statement);
	return result;
}

enum store_result
store_get(struct store *store, const struct store_batch *batch, struct buffer *records)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, STORE_GET, &result);
	const void *bytes;
	bool row;

	if (statement == NULL)
		return result;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)batch->sequence);
	result = store_step(store, statement, &row);
	if (result == STORE_OK && row) {
		bytes = sqlite3_column_blob(statement, 0);
		if (bytes == NULL || (uint64_t)sqlite3_column_bytes(statement, 0) != batch->length)
			result = sqlite3_errcode(store->db) == SQLITE_NOMEM ? store_judge(store, SQLITE_NOMEM) :
			    store_bad(store, "a batch that is longer or shorter than it was");
		else
			buffer_append(records, bytes, batch->length);
	} else if (result == STORE_OK)
		result = STORE_NONE;
	store_end(statement);
	return result;
}

static void
store_read_batch(sqlite3_stmt *statement, struct store_batch *batch)
{
	const unsigned char *netns = sqlite3_column_text(statement, 6);

	batch->sequence = (uint64_t)sqlite3_column_int64(statement, 0);
	batch->closed = (uint64_t)sqlite3_column_int64(statement, 1);
	batch->rows = (uint64_t)sqlite3_column_int64(statement, 2);
	batch->length = (uint64_t)sqlite3_column_int64(statement, 3);
	batch->crc = (uint32_t)sqlite3_column_int64(statement, 4);
	batch->deaths = (uint32_t)sqlite3_column_int64(statement, 5);
	snprintf(batch->netns, sizeof(batch->netns), "%s", netns != NULL ? (const char *)netns : "");
}

enum store_result
store_next(struct store *store, uint64_t after, struct store_batch *batch)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, STORE_NEXT, &result);
	bool row;

	if (statement == NULL)
		return result;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)after);
	result = store_step(store, statement, &row);
	if (result == STORE_OK && row)
		store_read_batch(statement, batch);
	else if (result == STORE_OK)
		result = STORE_NONE;
	store_end(statement);
	return result;
}

enum store_result
store_remove(struct store *store, uint64_t sequence)
{
	return store_do(store, STORE_REMOVE, sequence, 0);
}

enum store_result
store_set_deaths(struct store *store, uint64_t sequence, uint32_t deaths)
{
	return store_do(store, STORE_SET_DEATHS, sequence, deaths);
}

enum store_result
store_totals(struct store *store, struct store_totals *totals)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, STORE_TOTALS, &result);
	bool row;

	if (statement == NULL)
		return result;
	result = store_step(store, statement, &row);
	if (result == STORE_OK && row) {
		totals->batches = (uint64_t)sqlite3_column_int64(statement, 0);
		totals->rows = (uint64_t)sqlite3_column_int64(statement, 1);
		totals->bytes = (uint64_t)sqlite3_column_int64(statement, 2);
		totals->last = (uint64_t)sqlite3_column_int64(statement, 3);
	}
	store_end(statement);
	return result;
}

/* --- notes -------------------------------------------------------------------------------- */

enum store_result
store_note(struct store *store, uint64_t first, uint64_t last, const char *text)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, STORE_NOTE, &result);
	bool row;

	if (statement == NULL)
		return result;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)first);
	sqlite3_bind_int64(statement, 2, (sqlite3_int64)last);
	sqlite3_bind_text(statement, 3, text, -1, SQLITE_STATIC);
	result = store_step(store, statement, &row);
	store_end(statement);
	return result;
}

enum store_result
store_find_note(struct store *store, uint64_t sequence, uint64_t *first, uint64_t *last, char *text, size_t size)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, STORE_FIND_NOTE, &result);
	bool row;

	if (statement == NULL)
		return result;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)sequence);
	result = store_step(store, statement, &row);
	if (result == STORE_OK && row) {
		const unsigned char *found = sqlite3_column_text(statement, 2);

		*first = (uint64_t)sqlite3_column_int64(statement, 0);
		*last = (uint64_t)sqlite3_column_int64(statement, 1);
		snprintf(text, size, "%s", found != NULL ? (const char *)found : "");
	} else if (result == STORE_OK)
		result = STORE_NONE;
	store_end(statement);
	return result;
}

enum store_result
store_forget_notes(struct store *store, bool *left)
{
	enum store_result result = store_do(store, STORE_FORGET_NOTES, 0, 0);

	*left = result != STORE_OK || store_count(store, STORE_NOTES) > 0;
	return result;
}

/* --- room ------------------------------------------------------------------------------------ */

bool
store_has_room(struct store *store, uint64_t bytes)
{
	uint64_t used = store_count(store, STORE_PAGES) - store_count(store, STORE_UNUSED);
	uint64_t need = bytes / (STORE_PAGE - 64) + STORE_PAGES_ASIDE;

	return need <= store->pages_most && used <= store->pages_most - need;
}

void
store_size(struct store *store, uint64_t *bytes, uint64_t *unused)
{
	*bytes = store_count(store, STORE_PAGES) * STORE_PAGE;
	*unused = store_count(store, STORE_UNUSED) * STORE_PAGE;
}

/* --- numbers and texts -------------------------------------------------------------------------- */

/* The statement stands on the value; or NULL, and *result says why. */
static sqlite3_stmt *
store_find(struct store *store, const char *name, enum store_result *result)
{
	sqlite3_stmt *statement = store_statement(store, STORE_VALUE, result);
	bool row;

	if (statement == NULL)
		return NULL;
	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	*result = store_step(store, statement, &row);
	if (*result == STORE_OK && row)
		return statement;
	if (*result == STORE_OK)
		*result = STORE_NONE;
	store_end(statement);
	return NULL;
}

enum store_result
store_number(struct store *store, const char *name, uint64_t *value)
{
	enum store_result result;
	sqlite3_stmt *statement = store_find(store, name, &result);

	if (statement == NULL)
		return result;
	*value = (uint64_t)sqlite3_column_int64(statement, 0);
	store_end(statement);
	return STORE_OK;
}

enum store_result
store_text(struct store *store, const char *name, char *text, size_t size)
{
	enum store_result result;
	sqlite3_stmt *statement = store_find(store, name, &result);
	const unsigned char *value;

	if (statement == NULL)
		return result;
	value = sqlite3_column_text(statement, 0);
	snprintf(text, size, "%s", value != NULL ? (const char *)value : "");
	store_end(statement);
	return STORE_OK;
}

/* text: or NULL for the number. */
static enum store_result
store_set_value(struct store *store, const char *name, const char *text, uint64_t number)
{
	enum store_result result;
	sqlite3_stmt *statement = store_statement(store, STORE_SET_VALUE, &result);
	bool row;

	if (statement == NULL)
		return result;
	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	if (text != NULL)
		sqlite3_bind_text(statement, 2, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_int64(statement, 2, (sqlite3_int64)number);
	result = store_step(store, statement, &row);
	store_end(statement);
	return result;
}

enum store_result
store_set_number(struct store *store, const char *name, uint64_t value)
{
	return store_set_value(store, name, NULL, value);
}

enum store_result
store_set_text(struct store *store, const char *name, const char *text)
{
	return store_set_value(store, name, text, 0);
}

/* --- opening --------------------------------------------------------------------------------------- */

static enum store_result
store_execute(struct store *store, const char *sql)
{
	return store_judge(store, sqlite3_exec(store->db, sql, NULL, NULL, NULL));
}

static enum store_result __attribute__((format(printf, 2, 3)))
store_format(struct store *store, const char *format, ...)
{
	char sql[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sql, sizeof(sql), format, arguments);
	va_end(arguments);
	return store_execute(store, sql);
}

/* What a file may bring along that is not ours is not run. */
static enum store_result
store_distrust(struct store *store)
{
	static const int off[] = { SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW, SQLITE_DBCONFIG_TRUSTED_SCHEMA };

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		(void)sqlite3_db_config(store->db, off[i], 0, NULL);
	(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_extended_result_codes(store->db, 1);
	(void)sqlite3_busy_timeout(store->db, STORE_BUSY_TIME);
	return store_format(store, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -%d",
	    STORE_CACHE);
}

/* The one number of a pragma. */
static uint64_t
store_ask(struct store *store, const char *sql)
{
	sqlite3_stmt *statement;
	uint64_t value = 0;

	if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return 0;
	if (sqlite3_step(statement) == SQLITE_ROW)
		value = (uint64_t)sqlite3_column_int64(statement, 0);
	(void)sqlite3_finalize(statement);
	return value;
}

/*
 * By a descriptor of our own: SQLite would write a byte into each block, which
 * takes seconds for gigabytes; it does what is left where a file system cannot.
 * Closing any descriptor of a file lets go of all locks on it (fcntl(2)), so it
 * stays open as long as SQLite's.  The chunk keeps SQLite from cutting the file
 * when it undoes a transaction.
 */
static void
store_reserve(struct store *store)
{
	sqlite3_int64 size = (sqlite3_int64)store->pages_most * STORE_PAGE;
	int chunk = size < STORE_CHUNK_MAX ? (int)size : STORE_CHUNK_MAX;

	store->reserved = open(sqlite3_db_filename(store->db, "main"), O_RDWR | O_CLOEXEC);
	if (store->reserved != -1)
		(void)fallocate(store->reserved, 0, 0, size);
	(void)sqlite3_file_control(store->db, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
	(void)sqlite3_file_control(store->db, "main", SQLITE_FCNTL_SIZE_HINT, &size);
}

/*
 * Pages that change in one transaction, so that the journal has its blocks.  What only
 * comes or goes is not written to it.
 */
static enum store_result
store_reserve_journal(struct store *store)
{
	uint64_t pages = store->pages_most / 8 < STORE_PAGES_TRIED ? store->pages_most / 8 : STORE_PAGES_TRIED;
	enum store_result result = store_format(store, "CREATE TABLE reserve (page BLOB); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
	    "SELECT i + 1 FROM n WHERE i < %llu) INSERT INTO reserve SELECT zeroblob(%d) FROM n", (unsigned long long)pages,
	    STORE_PAGE - STORE_PAGE / 16);

	if (result == STORE_OK)
		result = store_execute(store, "UPDATE reserve SET page = x'00'");
	/* A disk that has not even that will do without. */
	return result == STORE_FULL ? STORE_OK : result;
}

/* The tables of a new file. */
static enum store_result
store_create(struct store *store)
{
	enum store_result result;

	if ((result = store_begin(store)) != STORE_OK)
		return result;
	if ((result = store_execute(store, store_tables)) != STORE_OK ||
	    (result = store_format(store, "PRAGMA application_id = %d; PRAGMA user_version = %d", STORE_ID, STORE_VERSION)) != STORE_OK ||
	    (result = store_commit(store)) != STORE_OK)
		return result;
	return store_reserve_journal(store);
}

/* Reads the first page; so what is no database is found here. */
static enum store_result
store_check(struct store *store, bool *empty)
{
	enum store_result result = store_execute(store, "SELECT count(*) FROM sqlite_schema");

	if (result != STORE_OK)
		return result;
	*empty = store_ask(store, "PRAGMA page_count") <= 1 && store_ask(store, "SELECT count(*) FROM sqlite_schema") == 0;
	if (*empty)
		return STORE_OK;
	if (store_ask(store, "PRAGMA application_id") != STORE_ID || store_ask(store, "PRAGMA page_size") != STORE_PAGE)
		return store_bad(store, "it is a database of somebody else's");
	if (store_ask(store, "PRAGMA user_version") != STORE_VERSION)
		return store_bad(store, "it was made by another version");
	return STORE_OK;
}

static enum store_result
store_set_up(struct store *store, bool reserve, bool sync)
{
	enum store_result result;
	bool empty;

	if ((result = store_distrust(store)) != STORE_OK ||
	    (result = store_format(store, "PRAGMA page_size = %d; PRAGMA auto_vacuum = NONE", STORE_PAGE)) != STORE_OK ||
	    (result = store_check(store, &empty)) != STORE_OK ||
	    (result = store_format(store, "PRAGMA journal_mode = PERSIST; PRAGMA synchronous = %s; PRAGMA secure_delete = OFF",
	    sync ? "FULL" : "OFF")) != STORE_OK ||
	    (result = store_format(store, "PRAGMA max_page_count = %llu", (unsigned long long)store->pages_most)) != STORE_OK)
		return result;
	/* First the tables: zeros without a first page are no database. */
	if (empty && (result = store_create(store)) != STORE_OK)
		return result;
	/* Also of one who died meanwhile. */
	if ((result = store_execute(store, "DROP TABLE IF EXISTS reserve")) != STORE_OK)
		return result;
	if (reserve)
		store_reserve(store);
	return STORE_OK;
}

/* Ends a store that did not open. */
static struct store *
store_fail(struct store *store, enum store_result result, enum store_result *why, char *error, size_t length)
{
	*why = result;
	snprintf(error, length, "%s", store->why);
	store_close(store);
	return NULL;
}

static struct store *
store_new(const char *path, int flags, enum store_result *result, char *error, size_t length)
{
	struct store *store = calloc(1, sizeof(*store));

	if (store == NULL) {
		*result = STORE_FAILED;
		snprintf(error, length, "out of memory");
		return NULL;
	}
	store->reserved = -1;
	*result = store_judge(store, sqlite3_open_v2(path, &store->db, flags | SQLITE_OPEN_NOMUTEX, NULL));
	return *result == STORE_OK ? store : store_fail(store, *result, result, error, length);
}

struct store *
store_open(const char *path, uint64_t size, bool reserve, bool sync, enum store_result *result, char *error, size_t length)
{
	struct store *store = store_new(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, result, error, length);

	if (store == NULL)
		return NULL;
	store->pages_most = size / STORE_PAGE;
	*result = store_set_up(store, reserve, sync);
	return *result == STORE_OK ? store : store_fail(store, *result, result, error, length);
}

struct store *
store_open_to_read(const char *path, enum store_result *result, char *error, size_t length)
{
	/* Writable to SQLite, which undoes what a killed shipper left half done; not to us. */
	struct store *store = store_new(path, SQLITE_OPEN_READWRITE, result, error, length);
	bool empty = false;

	if (store == NULL)
		return NULL;
	if ((*result = store_distrust(store)) == STORE_OK && (*result = store_check(store, &empty)) == STORE_OK)
		*result = store_execute(store, "PRAGMA query_only = ON");
	return *result == STORE_OK ? store : store_fail(store, *result, result, error, length);
}

void
store_close(struct store *store)
{
	for (size_t i = 0; i < STORE_STATEMENTS; i++)
		(void)sqlite3_finalize(store->statements[i]);
	(void)sqlite3_close(store->db);
	fd_close(&store->reserved);
	free(store);
}
