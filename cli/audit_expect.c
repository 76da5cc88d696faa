/* The declared policy, and how a process is held against it. */
#include <ctype.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/audit.h"
#include "common/buffer.h"
#include "common/fd.h"
#include "seccomp/sandbox.h"

#define ROW(kind, id, test, expected, why)	{ AUDIT_##kind, AUDIT_##id, AUDIT_##test, expected, why },
#define NAMESPACER(id, test, expected, why)	ROW(NAMESPACER, id, test, expected, why)
#define COLLECTOR(id, test, expected, why)	ROW(COLLECTOR, id, test, expected, why)
#define SHIPPER(id, test, expected, why)	ROW(SHIPPER, id, test, expected, why)
#define EVERY(id, test, expected, why)		ROW(NAMESPACER, id, test, expected, why) \
	ROW(COLLECTOR, id, test, expected, why) ROW(SHIPPER, id, test, expected, why)

const struct audit_row audit_rows[] = {
#include "cli/audit_policy.def"
};

const size_t audit_rows_count = sizeof(audit_rows) / sizeof(audit_rows[0]);

const char *
audit_test_name(enum audit_test test)
{
	static const char *const names[] = {
		[AUDIT_IS] = "is", [AUDIT_AMONG] = "among", [AUDIT_HAS] = "has", [AUDIT_AT_MOST] = "at most",
		[AUDIT_WITHIN] = "within", [AUDIT_SHOWN] = "shown", [AUDIT_UNSEEN] = "unseen",
	};

	return names[test];
}

/* --- what is known at run time ------------------------------------------------------------ */

static void
expect_number(struct audit_words *words, unsigned long number)
{
	audit_words_add(words, "%lu", number);
}

static void
expect_collector(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	expect_number(words, audit.collector_uid);
}

static void
expect_collector_group(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	expect_number(words, audit.collector_gid);
}

static void
expect_shipper(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	expect_number(words, audit.shipper_uid);
}

static void
expect_shipper_group(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	expect_number(words, audit.shipper_gid);
}

/* In the order in which the kernel numbers them. */
static void
expect_namespacer_capabilities(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	audit_words_split(words, "kill setgid setuid setpcap net_admin sys_chroot sys_ptrace sys_admin");
}

static void
expect_collector_capabilities(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	if (strcmp(audit.config.collector_capability, "none") != 0)
		audit_words_add(words, "net_admin");
}

/* A service manager's child has the filters of its unit; any other's are inherited. */
static void
expect_outer(struct audit_words *words, const struct audit_process *process)
{
	struct audit_process parent = { .proc = -1 };
	const char *line;

	if (process->parent <= 1 || !audit_open(&parent, AUDIT_NAMESPACER, process->parent)) {
		audit_words_add(words, "any");
		return;
	}
	cleanup_free char *text = audit_file(&parent, "status");
	line = text != NULL ? strstr(text, "\nSeccomp_filters:") : NULL;
	expect_number(words, line != NULL ? strtoul(line + strlen("\nSeccomp_filters:"), NULL, 10) : 0);
	audit_close(&parent);
}

static void
expect_namespacer_outer(struct audit_words *words, const struct audit_process *process)
{
	const struct audit_process *namespacer = audit_the(AUDIT_NAMESPACER);

	(void)process;
	if (namespacer != NULL && namespacer->values[AUDIT_OUTER] != NULL)
		audit_words_split(words, namespacer->values[AUDIT_OUTER]);
}

/* The level that is configured, but at least robust: a weaker one is for trying things. */
static void
expect_filter(struct audit_words *words, enum audit_kind kind)
{
	const char *level = kind == AUDIT_COLLECTOR ? audit.config.collector_sandbox : audit.config.sandbox;

	if (strcmp(level, "log") == 0 || strcmp(level, "off") == 0)
		level = "robust";
	audit_words_add(words, "%s:%s", audit_kind_name(kind), level);
}

static void
expect_own_filter(struct audit_words *words, const struct audit_process *process)
{
	expect_filter(words, process->kind);
}

static void
expect_parents_filter(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	expect_filter(words, AUDIT_NAMESPACER);
}

/* A word with a path, which is no pattern, and a pattern behind it. */
static void
expect_pattern(struct audit_words *words, const char *before, const char *path, const char *behind)
{
	struct buffer word = { 0 };
	cleanup_free char *plain = NULL;
	struct audit_words one = { 0 };

	audit_words_add(&one, "%s%s", before, path);
	plain = audit_words_join(&one, false);
	buffer_printf(&word, "%s%s", plain, behind);
	buffer_append(&word, "", 1);
	audit_words_split(words, (char *)word.bytes);
	buffer_free(&word);
}

/* Where bind mounts of namespaces are looked for. */
static void
expect_namespacer_folders(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	audit_words_split(words, "folder:/run/netns(r) folder:/run/docker/netns(r)");
	for (size_t i = 0; i < audit.config.netns_folder.count; i++)
		expect_pattern(words, "folder:", audit.config.netns_folder.items[i], "(r)");
}

/* A file, or a folder and what is below it; without a slash at its end. */
static void
expect_files(struct audit_words *words, const char *path)
{
	char bare[SETTINGS_PATH_MAX];

	snprintf(bare, sizeof(bare), "%s", path);
	for (size_t n = strlen(bare); n > 1 && bare[n - 1] == '/'; n--)
		bare[n - 1] = '\0';
	expect_pattern(words, "file:", bare, "(*w)");
	expect_pattern(words, "file:", bare, "/*(r*)");
	expect_pattern(words, "file:", bare, "/*(w)");
	expect_pattern(words, "folder:", bare, "(r)");
	expect_pattern(words, "folder:", bare, "/*(r)");
}

/* The sink's file, the spool, and what libraries read to find a host. */
static void
expect_shipper_files(struct audit_words *words, const struct audit_process *process)
{
	static const char host[] = "file:/etc/resolv.conf(r) file:/etc/hosts(r) file:/etc/nsswitch.conf(r) file:/etc/gai.conf(r) "
	    "file:/etc/ssl/*(r) file:/usr/*(r) folder:/etc/ssl/*(r)";
	char ledger[SETTINGS_PATH_MAX];

	(void)process;
	if (audit.settings.target[0] == '/')
		expect_files(words, audit.settings.target);
	if (audit.settings.spool[0] != '\0')
		expect_files(words, audit.settings.spool);
	settings_ledger(ledger, sizeof(ledger), &audit.config);
	expect_pattern(words, "file:", ledger, "(rw)");
	audit_words_split(words, host);
}

/* Sockets of a network where the sink or the metrics need them, and no others. */
static void
expect_shipper_network(struct audit_words *words, const struct audit_process *process)
{
	(void)process;
	if (audit.settings.sink->network)
		audit_words_split(words, "inet:stream(rw) inet6:stream(rw) inet:dgram(rw) inet6:dgram(rw)");
	else if (strchr(audit.config.metrics, ':') != NULL && strncmp(audit.config.metrics, "unix:", strlen("unix:")) != 0)
		audit_words_split(words, "inet:stream(rw) inet6:stream(rw)");
}

static void
expect_shipper_maps(struct audit_words *words, const struct audit_process *process)
{
	char ledger[SETTINGS_PATH_MAX];

	(void)process;
	settings_ledger(ledger, sizeof(ledger), &audit.config);
	expect_pattern(words, "", ledger, "(rw)");
	if (audit.settings.spool[0] != '\0')
		expect_pattern(words, "", audit.settings.spool, "/*(r*)");
}

/* Its three mappings of the ring, and the page of its requests. */
static void
expect_sealed(struct audit_words *words, const struct audit_process *process)
{
	audit_words_split(words, !audit_kernel_seals() ? AUDIT_NO_MSEAL :
	    process->refused_mseal ? AUDIT_MSEAL_REFUSED : "control data=2 requests");
}

static const struct {
	const char	*name;
	void		(*add)(struct audit_words *, const struct audit_process *);
} expect_names[] = {
	{ "collector", expect_collector },
	{ "collector_group", expect_collector_group },
	{ "shipper", expect_shipper },
	{ "shipper_group", expect_shipper_group },
	{ "namespacer_capabilities", expect_namespacer_capabilities },
	{ "collector_capabilities", expect_collector_capabilities },
	{ "outer", expect_outer },
	{ "namespacer_outer", expect_namespacer_outer },
	{ "filter", expect_own_filter },
	{ "namespacer_filter", expect_parents_filter },
	{ "namespacer_folders", expect_namespacer_folders },
	{ "shipper_files", expect_shipper_files },
	{ "shipper_network", expect_shipper_network },
	{ "shipper_maps", expect_shipper_maps },
	{ "sealed", expect_sealed },
};

static void
expect_fill_in(struct audit_words *words, const char *name, const struct audit_process *process)
{
	for (size_t i = 0; i < sizeof(expect_names) / sizeof(expect_names[0]); i++)
		if (strcmp(name, expect_names[i].name) == 0)
			expect_names[i].add(words, process);
}

char *
audit_expected(const struct audit_row *row, const struct audit_process *process)
{
	struct audit_words words = { 0 }, filled = { 0 };

	audit_words_split(&words, row->expected);
	for (size_t i = 0; i < words.count; i++) {
		if (words.items[i][0] == '$')
			expect_fill_in(&filled, words.items[i] + 1, process);
		else
			audit_words_split(&filled, words.items[i]);
	}
	audit_words_free(&words);
	return audit_words_join(&filled, false);
}

/* --- the tests ------------------------------------------------------------------------------- */

/* A word without how often it came. */
static void
expect_one(char *word)
{
	word[strcspn(word, "=")] = '\0';
}

static bool
expect_matches(char *word, const struct audit_words *patterns)
{
	expect_one(word);
	for (size_t i = 0; i < patterns->count; i++)
		if (fnmatch(patterns->items[i], word, 0) == 0)
			return true;
	return false;
}

static bool
expect_contains(const char *wanted, const struct audit_words *words)
{
	for (size_t i = 0; i < words->count; i++) {
		expect_one(words->items[i]);
		if (strcmp(words->items[i], wanted) == 0)
			return true;
	}
	return false;
}

static bool
expect_is(struct audit_words *value, struct audit_words *expected)
{
	if (value->count != expected->count)
		return false;
	for (size_t i = 0; i < value->count; i++)
		if (strcmp(value->items[i], expected->items[i]) != 0)
			return false;
	return true;
}

static bool
expect_among(struct audit_words *value, struct audit_words *expected)
{
	for (size_t i = 0; i < value->count; i++)
		if (!expect_matches(value->items[i], expected))
			return false;
	return true;
}

static bool
expect_has(struct audit_words *value, struct audit_words *expected)
{
	for (size_t i = 0; i < expected->count; i++)
		if (!expect_contains(expected->items[i], value))
			return false;
	return true;
}

static bool
expect_at_most(struct audit_words *value, struct audit_words *expected)
{
	return expected->count == 1 && (strcmp(expected->items[0], "any") == 0 ||
	    value->count <= strtoul(expected->items[0], NULL, 10));
}

/* Bounds that are left out are none; the kernel's largest number is "unlimited". */
static bool
expect_number_within(const char *number, const char *bounds)
{
	const char *dots = strstr(bounds, "..");
	uint64_t low = strtoull(bounds, NULL, 10), high = low, value;
	char *end = NULL;

	if (dots != NULL)
		high = dots[2] != '\0' ? strtoull(dots + 2, NULL, 10) : UINT64_MAX;
	value = strcmp(number, "unlimited") == 0 ? UINT64_MAX : strtoull(number, &end, 10);
	if (value != UINT64_MAX && (end == number || *end != '\0'))
		return false;
	return value >= low && value <= high;
}

/* Word by word, with the same names before the colons. */
static bool
expect_within(struct audit_words *value, struct audit_words *expected)
{
	if (value->count != expected->count)
		return false;
	for (size_t i = 0; i < value->count; i++) {
		size_t name = strcspn(expected->items[i], ":") + 1;

		if (strncmp(value->items[i], expected->items[i], name) != 0 ||
		    !expect_number_within(value->items[i] + name, expected->items[i] + name))
			return false;
	}
	return true;
}

static bool
expect_shown(struct audit_words *value, struct audit_words *expected)
{
	(void)value;
	(void)expected;
	return true;
}

enum audit_mark
audit_check(const struct audit_row *row, const struct audit_process *process)
{
	static bool (*const tests[])(struct audit_words *, struct audit_words *) = {
		[AUDIT_IS] = expect_is, [AUDIT_AMONG] = expect_among, [AUDIT_HAS] = expect_has,
		[AUDIT_AT_MOST] = expect_at_most, [AUDIT_WITHIN] = expect_within, [AUDIT_SHOWN] = expect_shown, [AUDIT_UNSEEN] = expect_shown,
	};
	struct audit_words value = { 0 }, expected = { 0 };
	cleanup_free char *text = NULL;
	bool holds;

	if (row->test == AUDIT_SHOWN || row->test == AUDIT_UNSEEN)
		return row->test == AUDIT_SHOWN ? AUDIT_NOTED : AUDIT_HIDDEN;
	if (process->values[row->property] == NULL)
		return AUDIT_UNREAD;
	text = audit_expected(row, process);
	audit_words_split(&value, process->values[row->property]);
	audit_words_split(&expected, text);
	holds = tests[row->test](&value, &expected);
	audit_words_free(&value);
	audit_words_free(&expected);
	return holds ? AUDIT_HOLDS : AUDIT_DIFFERS;
}

enum audit_mark
audit_mark(const struct audit_process *process, enum audit_property property)
{
	enum audit_mark worst = AUDIT_NOTED, mark;

	for (size_t i = 0; i < audit_rows_count; i++) {
		if (audit_rows[i].kind != process->kind || audit_rows[i].property != property)
			continue;
		mark = audit_check(&audit_rows[i], process);
		if (mark == AUDIT_DIFFERS || (mark == AUDIT_UNREAD && worst != AUDIT_DIFFERS) || worst == AUDIT_NOTED)
			worst = mark;
	}
	return worst;
}

bool
audit_differs(const struct audit_process *process)
{
	for (size_t i = 0; i < audit_rows_count; i++)
		if (audit_rows[i].kind == process->kind && audit_check(&audit_rows[i], process) == AUDIT_DIFFERS)
			return true;
	return false;
}

char *
audit_signature(const struct audit_process *process)
{
	struct buffer signature = { 0 };

	for (size_t i = 0; i < AUDIT_PROPERTIES; i++)
		if (i != AUDIT_READS)
			buffer_printf(&signature, "%s\n", process->values[i] != NULL ? process->values[i] : "?");
	buffer_append(&signature, "", 1);
	return (char *)signature.bytes;
}
