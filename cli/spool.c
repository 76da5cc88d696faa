/*
 * tcpdiag spool: looks into the spool beside a shipper that uses it, and leaves
 * it words: the file hold, and rejects moved to requeue/.
 *
 * SECURITY: the folder is the shipper's, and what is in it may be anything if
 * the shipper is somebody else's by now.  So root becomes the folder's owner
 * first, and follows no link in it.
 */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/spool.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/utf8.h"
#include "shipper/ledger.h"
#include "shipper/store.h"

#define SPOOL_DEFAULT	"/var/lib/tcpdiag/spool"	/* what the unit's StateDirectory makes of auto */

enum { SPOOL_PATH_MAX = 4096, SPOOL_AGE_MAX = 32 };

static struct {
	struct config		 config;
	bool			 json;
	const char		*path;
	int			 dir;
	struct store		*store;
	struct ledger_numbers	 numbers;
	struct ledger_sent	 sent[LEDGER_SENT];
	bool			 ledger;	/* both are known */
} spool;

/* --- the folder ------------------------------------------------------------------ */

static int
spool_complain(const char *what)
{
	int code = errno == EACCES || errno == EPERM ? EXIT_CODE_PRIVILEGE : EXIT_CODE_SYSTEM;

	log_errno(LOG_LEVEL_ERROR, "%s%s%s", spool.path, what[0] != '\0' ? "/" : "", what);
	return code;
}

static int
spool_become_owner(void)
{
	struct stat st;

	if (fstat(spool.dir, &st) == -1)
		return spool_complain("");
	if (geteuid() != 0 || st.st_uid == 0)
		return 0;
	if (setgroups(0, NULL) == -1 || setresgid(st.st_gid, st.st_gid, st.st_gid) == -1 ||
	    setresuid(st.st_uid, st.st_uid, st.st_uid) == -1)
		return spool_complain("");
	return 0;
}

static int
spool_find(void)
{
	const char *word = spool.config.spool;

	if (strcmp(word, "off") == 0) {
		log_error("spool = off: there is none");
		return EXIT_CODE_CONFIG;
	}
	spool.path = strcmp(word, "auto") == 0 ? SPOOL_DEFAULT : word;
	spool.dir = open(spool.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool.dir == -1)
		return spool_complain("");
	return spool_become_owner();
}

static int
spool_open_store(void)
{
	char path[SPOOL_PATH_MAX], why[256];
	enum store_result result = STORE_BAD;
	struct stat st;

	if (fstatat(spool.dir, "spool.db", &st, AT_SYMLINK_NOFOLLOW) == -1)
		return spool_complain("spool.db");
	snprintf(path, sizeof(path), "%s/spool.db", spool.path);
	if (!S_ISREG(st.st_mode) || (spool.store = store_open_to_read(path, &result, why, sizeof(why))) == NULL) {
		log_error("%s: %s", path, S_ISREG(st.st_mode) ? why : "is no file");
		return result == STORE_BAD ? EXIT_CODE_DATA : EXIT_CODE_SYSTEM;
	}
	snprintf(path, sizeof(path), "%s/ledger", spool.path);
	spool.ledger = ledger_peek(path, &spool.numbers, spool.sent);
	return 0;
}

/* --- the list --------------------------------------------------------------------------- */

static const struct ledger_sent *
spool_sent(uint64_t sequence)
{
	static const struct ledger_sent none;

	for (size_t i = 0; i < LEDGER_SENT && spool.ledger; i++)
		if (spool.sent[i].sequence == sequence)
			return &spool.sent[i];
	return &none;
}

/* "4s", "3m12s", "5h02m", "9d03h" */
static const char *
spool_age_text(char *to, uint64_t ns)
{
	uint64_t s = ns / SECOND;

	if (s < 60)
		snprintf(to, SPOOL_AGE_MAX, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(to, SPOOL_AGE_MAX, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(to, SPOOL_AGE_MAX, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(to, SPOOL_AGE_MAX, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
	return to;
}

static uint64_t
spool_age(const struct store_batch *batch)
{
	uint64_t now = clock_real();

	return now > batch->closed ? now - batch->closed : 0;
}

/* A name may be anybody's. */
static void
spool_print_string(const char *from)
{
	char clean[SPOOL_PATH_MAX];

	snprintf(clean, sizeof(clean), "%s", from);
	utf8_clean(clean);
	if (!spool.json) {
		fputs(clean, stdout);
		return;
	}
	putchar('"');
	for (const char *c = clean; *c != '\0'; c++) {
		if (*c == '"' || *c == '\\')
			putchar('\\');
		putchar(*c);
	}
	putchar('"');
}

static void
spool_print_batch(const struct store_batch *batch)
{
	const struct ledger_sent *sent = spool_sent(batch->sequence);
	char age[SPOOL_AGE_MAX];

	if (spool.json)
		printf("{\"batch_sequence\":%" PRIu64 ",\"age_seconds\":%" PRIu64 ".%03" PRIu64 ",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
		    ",\"attempts\":%" PRIu64 ",\"deaths\":%u,\"netns\":", batch->sequence, spool_age(batch) / SECOND,
		    spool_age(batch) % SECOND / MILLISECOND, batch->rows, batch->length, sent->attempts, batch->deaths);
	else
		printf("%12" PRIu64 " %8s %9" PRIu64 " %10" PRIu64 " %8" PRIu64 " %6u  ", batch->sequence,
		    spool_age_text(age, spool_age(batch)), batch->rows, batch->length, sent->attempts, batch->deaths);
	spool_print_string(batch->netns[0] != '\0' || spool.json ? batch->netns : "-");
	putchar(spool.json ? '}' : '\n');
}

static int
spool_print_batches(void)
{
	const char *separator = "";
	struct store_batch batch;
	enum store_result result;
	uint64_t after = 0;

	if (!spool.json)
		printf("%12s %8s %9s %10s %8s %6s  %s\n", "BATCH", "AGE", "RECORDS", "BYTES", "ATTEMPTS", "DEATHS", "NAMESPACE");
	while ((result = store_next(spool.store, after, &batch)) == STORE_OK) {
		fputs(spool.json ? separator : "", stdout);
		spool_print_batch(&batch);
		separator = ",\n  ";
		after = batch.sequence;
	}
	if (result == STORE_NONE)
		return 0;
	log_error("%s/spool.db: %s", spool.path, store_why(spool.store));
	return EXIT_CODE_DATA;
}

/* The files of one of its folders, each with what to do. */
static void
spool_each_file(const char *folder, void (*each)(const char *name, uint64_t size, void *context), void *context)
{
	int fd = openat(spool.dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	struct stat st;

	if (dir == NULL) {
		fd_close(&fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1 || !S_ISREG(st.st_mode))
			continue;
		each(entry->d_name, (uint64_t)st.st_size, context);
	}
	closedir(dir);
}

struct spool_folder {
	const char	*name;
	const char	*separator;
};

static void
spool_print_file(const char *name, uint64_t size, void *context)
{
	struct spool_folder *folder = context;

	if (spool.json)
		printf("%s{\"name\":", folder->separator);
	else
		printf("%s/", folder->name);
	spool_print_string(name);
	printf(spool.json ? ",\"bytes\":%" PRIu64 "}" : " %" PRIu64 "\n", size);
	folder->separator = ",\n  ";
}

static void
spool_print_folder(const char *name)
{
	struct spool_folder folder = { .name = name, .separator = "" };

	if (spool.json)
		printf(",\n \"%s\":[", name);
	spool_each_file(name, spool_print_file, &folder);
	if (spool.json)
		putchar(']');
}

static bool
spool_is_held(void)
{
	return faccessat(spool.dir, "hold", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void
spool_print_head(const struct store_totals *totals, uint64_t epoch)
{
	uint64_t bytes, unused;

	store_size(spool.store, &bytes, &unused);
	fputs(spool.json ? "{\"spool\":" : "", stdout);
	spool_print_string(spool.path);
	if (spool.json)
		printf(",\"spool_epoch\":\"%016" PRIx64 "\",\"held\":%s,\"file_bytes\":%" PRIu64 ",\"free_bytes\":%" PRIu64
		    ",\"records\":%" PRIu64 ",\n \"batches\":[", epoch, spool_is_held() ? "true" : "false", bytes, unused, totals->rows);
	else
		printf(": epoch %016" PRIx64 ", %" PRIu64 " batches of %" PRIu64 " records and %" PRIu64 " bytes%s\n", epoch,
		    totals->batches, totals->rows, totals->bytes, spool_is_held() ? "; on hold" : "");
}

static int
spool_list(int count, char **words)
{
	struct store_totals totals = { 0 };
	uint64_t epoch = 0;
	int code;

	if (count > 0) {
		log_error("list: takes no '%s'", words[0]);
		return EXIT_CODE_USAGE;
	}
	if ((code = spool_open_store()) != 0)
		return code;
	if (store_totals(spool.store, &totals) != STORE_OK) {
		log_error("%s/spool.db: %s", spool.path, store_why(spool.store));
		return EXIT_CODE_DATA;
	}
	(void)store_number(spool.store, "epoch", &epoch);
	spool_print_head(&totals, epoch);
	code = spool_print_batches();
	if (spool.json)
		putchar(']');
	spool_print_folder("rejects");
	spool_print_folder("requeue");
	spool_print_folder("corrupt");
	if (spool.json)
		puts("}");
	return code;
}

/* --- words for the shipper --------------------------------------------------------------- */

static int
spool_hold(int count, char **words)
{
	cleanup_fd int fd = -1;

	if (count > 0) {
		log_error("hold: takes no '%s'", words[0]);
		return EXIT_CODE_USAGE;
	}
	fd = openat(spool.dir, "hold", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd != -1 ? 0 : spool_complain("hold");
}

static int
spool_release(int count, char **words)
{
	if (count > 0) {
		log_error("release: takes no '%s'", words[0]);
		return EXIT_CODE_USAGE;
	}
	return unlinkat(spool.dir, "hold", 0) == 0 || errno == ENOENT ? 0 : spool_complain("hold");
}

struct spool_request {
	int	to;	/* the folder requeue/ */
	int	from;
	int	moved;
	int	code;
};

static void
spool_move(const char *name, uint64_t size, void *context)
{
	struct spool_request *request = context;

	(void)size;
	if (strchr(name, '/') == NULL && renameat(request->from, name, request->to, name) == 0) {
		request->moved++;
		return;
	}
	log_errno(LOG_LEVEL_ERROR, "%s/rejects/%s", spool.path, name);
	request->code = EXIT_CODE_DATA;
}

static int
spool_requeue(int count, char **words)
{
	cleanup_fd int to = -1, from = openat(spool.dir, "rejects", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct spool_request request = { 0 };

	if (count == 0) {
		log_error("requeue: which? Names of files in rejects/, or all");
		return EXIT_CODE_USAGE;
	}
	if (from == -1)
		return spool_complain("rejects");
	if (mkdirat(spool.dir, "requeue", 0700) == -1 && errno != EEXIST)
		return spool_complain("requeue");
	if ((to = openat(spool.dir, "requeue", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) == -1)
		return spool_complain("requeue");
	request.to = to;
	request.from = from;
	if (count == 1 && strcmp(words[0], "all") == 0)
		spool_each_file("rejects", spool_move, &request);
	else
		for (int i = 0; i < count; i++)
			spool_move(words[i], 0, &request);
	printf("%d files are tried again by the shipper\n", request.moved);
	return request.code;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int
spool_set_json(void *context, const char *value)
{
	(void)context;
	(void)value;
	spool.json = true;
	return 0;
}

static const struct config_option spool_cli_options[] = {
	{ "json", 'j', NULL, "list: print a JSON object", spool_set_json },
	{ NULL, 0, NULL, NULL, NULL }
};

static const struct config_program spool_program = {
	.name = "tcpdiag spool",
	.usage = "[options] [list | hold | release | requeue all | requeue NAME...]",
	.about = "lists what waits on disk for the sink; holds it back; tries rejects again",
	.letter = 'S',
	.options = spool_cli_options,
};

static const struct {
	const char	*name;
	int		(*run)(int count, char **words);
} spool_verbs[] = {
	{ "list", spool_list },
	{ "hold", spool_hold },
	{ "release", spool_release },
	{ "requeue", spool_requeue },
};

static int
spool_run(int count, char **words)
{
	const char *verb = count > 0 ? words[0] : "list";
	int code;

	for (size_t i = 0; i < sizeof(spool_verbs) / sizeof(spool_verbs[0]); i++) {
		if (strcmp(verb, spool_verbs[i].name) != 0)
			continue;
		if ((code = spool_find()) != 0)
			return code;
		return spool_verbs[i].run(count > 0 ? count - 1 : 0, words + 1);
	}
	log_error("'%s' is none of list, hold, release and requeue", verb);
	return EXIT_CODE_USAGE;
}

int
spool_main(int argc, char **argv)
{
	int code, operands;

	spool.dir = -1;
	config_init(&spool.config);
	if ((code = config_parse(&spool.config, &spool_program, argc, argv, &operands)) == -1)
		code = spool_run(argc - operands, argv + operands);
	if (spool.store != NULL)
		store_close(spool.store);
	fd_close(&spool.dir);
	config_free(&spool.config);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	log_errno(LOG_LEVEL_ERROR, "stdout");
	return EXIT_CODE_SINK;
}
