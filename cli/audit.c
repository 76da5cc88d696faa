/* tcpdiag audit: options, and the order of things. */
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/audit.h"
#include "common/buffer.h"
#include "common/clock.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/user.h"

#define AUDIT_SETTLE_TIME	(2 * SECOND)	/* what differs is looked at again so long, */

enum {
	AUDIT_ROUNDS = 3,	/* of looking for collectors that were started meanwhile */
	AUDIT_SAME = 6,		/* or until it was the same so often */
};

struct audit	audit;

const char *
audit_kind_name(enum audit_kind kind)
{
	static const char *const names[] = { "namespacer", "collector", "shipper" };

	return names[kind];
}

const char *
audit_property_name(enum audit_property property)
{
	static const char *const names[] = {
#define PROPERTY(id, name, from, remedy) name,
#include "cli/audit_policy.def"
	};

	return names[property];
}

const char *
audit_property_remedy(enum audit_property property)
{
	static const char *const remedies[] = {
#define PROPERTY(id, name, from, remedy) remedy,
#include "cli/audit_policy.def"
	};

	return remedies[property];
}

struct audit_process *
audit_the(enum audit_kind kind)
{
	for (size_t i = 0; i < audit.count; i++)
		if (audit.processes[i].kind == kind)
			return &audit.processes[i];
	return NULL;
}

/* --- options ------------------------------------------------------------------------- */

static int
audit_set_flag(void *context, const char *value)
{
	(void)value;
	*(bool *)context = true;
	return 0;
}

static int
audit_set_json(void *context, const char *value)
{
	(void)context;
	return audit_set_flag(&audit.json, value);
}

static int
audit_set_verbose(void *context, const char *value)
{
	(void)context;
	return audit_set_flag(&audit.verbose, value);
}

static int
audit_set_sums(void *context, const char *value)
{
	(void)context;
	return audit_set_flag(&audit.sums, value);
}

static int
audit_set_policy(void *context, const char *value)
{
	(void)context;
	return audit_set_flag(&audit.policy, value);
}

static int
audit_set_pid(enum audit_kind kind, const char *value)
{
	char *end;
	long pid = strtol(value, &end, 10);

	if (*end != '\0' || end == value || pid < 1 || pid > INT32_MAX) {
		log_error("--%s: '%s' is no process id", audit_kind_name(kind), value);
		return EXIT_CODE_USAGE;
	}
	audit.chosen[kind] = (pid_t)pid;
	return 0;
}

static int
audit_set_namespacer(void *context, const char *value)
{
	(void)context;
	return audit_set_pid(AUDIT_NAMESPACER, value);
}

static int
audit_set_shipper(void *context, const char *value)
{
	(void)context;
	return audit_set_pid(AUDIT_SHIPPER, value);
}

static const struct config_option audit_options[] = {
	{ "json", 'j', NULL, "print a JSON object", audit_set_json },
	{ "verbose", 'v', NULL, "print every collector, and what is declared of it", audit_set_verbose },
	{ "sums", 0, NULL, "print the books instead, and whether they balance", audit_set_sums },
	{ "policy", 0, NULL, "print the policy instead, for who signs it", audit_set_policy },
	{ "namespacer", 0, "PID", "look at this namespacer and its collectors", audit_set_namespacer },
	{ "shipper", 0, "PID", "look at this shipper", audit_set_shipper },
	{ NULL, 0, NULL, NULL, NULL }
};

static const char *
audit_check_config(void *context, const struct config *config, char *error, size_t size)
{
	(void)context;
	return settings_resolve(&audit.settings, config, error, size);
}

static const struct config_program audit_program = {
	.name = "tcpdiag audit",
	.usage = "[options]",
	.about = "holds the running processes against the declared policy, with the configuration that they were started with;\n"
	    "exits with 0 if all that can be seen is as declared, 81 if something is not, 75 if not all was seen",
	.letter = 0,
	.options = audit_options,
	.check = audit_check_config,
};

/* --- what it needs itself --------------------------------------------------------------- */

static bool
audit_may(cap_value_t value)
{
	cap_flag_value_t set = CAP_CLEAR;
	cap_t now = cap_get_proc();

	if (now != NULL)
		(void)cap_get_flag(now, value, CAP_EFFECTIVE, &set);
	cap_free(now);
	return set == CAP_SET;
}

static int
audit_check_rights(void)
{
	static const struct {
		cap_value_t	 value;
		const char	*name, *purpose;
	} needed[] = {
		{ CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "look at processes of others" },
		{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "read their filters and the seals of their memory" },
	};
	int code = geteuid() == 0 ? 0 : EXIT_CODE_PRIVILEGE;

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (audit_may(needed[i].value))
			continue;
		log_error("%s is missing: needed to %s", needed[i].name, needed[i].purpose);
		code = EXIT_CODE_PRIVILEGE;
	}
	/* The kernel shows filters to nobody who has one. */
	if (prctl(PR_GET_SECCOMP) != 0) {
		log_error("this process has a seccomp filter itself, so the kernel shows it no other's: run it outside of the container");
		code = EXIT_CODE_PRIVILEGE;
	}
	if (code != 0)
		log_error("rights are missing; run it as root (sudo)");
	return code;
}

static int
audit_find_users(void)
{
	char error[CONFIG_ERROR_MAX];

	if (user_find(audit.config.collector_user, USER_COLLECTOR_FALLBACK,
	    &audit.collector_uid, &audit.collector_gid, error, sizeof(error)) == 0 &&
	    user_find(audit.config.shipper_user, USER_SHIPPER_FALLBACK,
	    &audit.shipper_uid, &audit.shipper_gid, error, sizeof(error)) == 0)
		return 0;
	log_error("%s", error);
	return EXIT_CODE_CONFIG;
}

/* Process 1's; where that may not be looked at (in some containers), our own. */
static ino_t
audit_host_namespace(const char *name)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/1/ns/%s", name);
	if (stat(path, &st) == 0)
		return st.st_ino;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static void
audit_find_host(void)
{
	audit.host[0] = audit_host_namespace("net");
	audit.host[1] = audit_host_namespace("mnt");
	audit.host[2] = audit_host_namespace("ipc");
	audit.host_user = audit_host_namespace("user");
}

/* --- what only all of them together show -------------------------------------------------- */

struct audit_ring {
	ino_t	inode;
	size_t	process;
};

static int
audit_compare_rings(const void *a, const void *b)
{
	const struct audit_ring *one = a, *other = b;

	return one->inode < other->inode ? -1 : one->inode > other->inode;
}

static void
audit_set_value(struct audit_process *process, enum audit_property property, struct audit_words *words)
{
	free(process->values[property]);
	process->values[property] = audit_words_join(words, true);
}

/* Of rings in order of inode: those that two collectors have mapped. */
static void
audit_note_owners(const struct audit_ring *rings, size_t count)
{
	for (size_t i = 0; i < audit.count; i++) {
		struct audit_words words = { 0 };

		if (audit.processes[i].kind != AUDIT_COLLECTOR || audit.processes[i].gone)
			continue;
		for (size_t r = 0; r + 1 < count; r++)
			if (rings[r].inode == rings[r + 1].inode && (rings[r].process == i || rings[r + 1].process == i))
				audit_words_add(&words, "%d", (int)audit.processes[rings[r].process == i ? rings[r + 1].process : rings[r].process].pid);
		audit_set_value(&audit.processes[i], AUDIT_OWNED, &words);
	}
}

static void
audit_compare_owners(void)
{
	struct buffer rings = { 0 };

	for (size_t i = 0; i < audit.count; i++)
		for (size_t r = 0; audit.processes[i].kind == AUDIT_COLLECTOR && r < audit.processes[i].nrings; r++)
			buffer_append(&rings, &(struct audit_ring){ audit.processes[i].rings[r], i }, sizeof(struct audit_ring));
	if (rings.length > 0)
		qsort(rings.bytes, rings.length / sizeof(struct audit_ring), sizeof(struct audit_ring), audit_compare_rings);
	audit_note_owners((const void *)rings.bytes, rings.length / sizeof(struct audit_ring));
	buffer_free(&rings);
}

static bool
audit_is_new_namespace(size_t of, size_t kind)
{
	for (size_t i = 0; i < of; i++)
		if (audit.processes[i].kind == AUDIT_COLLECTOR && !audit.processes[i].gone &&
		    audit.processes[i].namespaces[kind] == audit.processes[of].namespaces[kind])
			return false;
	return true;
}

static void
audit_compare_namespaces(void)
{
	static const char *const names[AUDIT_NAMESPACES] = { "net", "mnt", "ipc" };
	struct audit_words words = { 0 };

	for (size_t kind = 0; kind < AUDIT_NAMESPACES; kind++) {
		size_t count = 0;

		for (size_t i = 0; i < audit.count; i++)
			if (audit.processes[i].kind == AUDIT_COLLECTOR && !audit.processes[i].gone)
				count += audit_is_new_namespace(i, kind);
		if (count > 0)
			audit_words_add(&words, "%s:%zu", names[kind], count);
	}
	audit_set_value(audit_the(AUDIT_NAMESPACER), AUDIT_EMPTY, &words);
}

/* --- the order of things ------------------------------------------------------------------- */

/* A collector that has ended is one less to look at; the others are asked for. */
static void
audit_drop_ended(void)
{
	size_t kept = 0;

	for (size_t i = 0; i < audit.count; i++) {
		if (audit.processes[i].kind == AUDIT_COLLECTOR && audit.processes[i].gone) {
			audit_close(&audit.processes[i]);
			audit.ended++;
		} else {
			audit.processes[kept++] = audit.processes[i];
		}
	}
	audit.count = kept;
}

/* All that differs is read again.  False if nothing has changed by that. */
static bool
audit_read_again(bool *differ)
{
	bool changed = false;

	*differ = false;
	for (size_t i = 0; i < audit.count; i++) {
		struct audit_process *process = &audit.processes[i];
		cleanup_free char *before = NULL, *after = NULL;

		if (process->gone || !audit_differs(process))
			continue;
		before = audit_signature(process);
		(void)audit_read(process);
		after = audit_signature(process);
		changed |= process->gone || strcmp(before, after) != 0;
		*differ |= !process->gone && audit_differs(process);
	}
	return changed;
}

/*
 * A collector that is being set up, and a file that a library has open for a
 * moment, are as they should be soon.
 */
static void
audit_look_again(void)
{
	const struct timespec pause = { 0, 50 * (long)MILLISECOND };
	uint64_t deadline = clock_monotonic() + AUDIT_SETTLE_TIME;
	unsigned int same = 0;
	bool differ = true;

	while (differ && same < AUDIT_SAME && clock_monotonic() < deadline) {
		same = audit_read_again(&differ) ? 0 : same + 1;
		if (differ)
			nanosleep(&pause, NULL);
	}
}

static void
audit_read_all(void)
{
	size_t done = 0;

	for (unsigned int round = 0; round < AUDIT_ROUNDS; round++) {
		for (; done < audit.count; done++)
			(void)audit_read(&audit.processes[done]);
		if (!audit_find_more())
			break;
	}
	for (; done < audit.count; done++)
		(void)audit_read(&audit.processes[done]);
	audit_look_again();
	audit_drop_ended();
	audit_compare_owners();
	audit_compare_namespaces();
}

static int
audit_verdict(void)
{
	int code = EXIT_CODE_OK;

	for (size_t i = 0; i < audit.count; i++) {
		const struct audit_process *process = &audit.processes[i];

		if (process->gone) {
			log_error("the %s, process %d, ended while it was looked at", audit_kind_name(process->kind), (int)process->pid);
			return EXIT_CODE_INCOMPLETE;
		}
		for (enum audit_property p = 0; p < AUDIT_PROPERTIES; p++) {
			enum audit_mark mark = audit_mark(process, p);

			if (mark == AUDIT_DIFFERS)
				code = EXIT_CODE_AUDIT;
			else if (mark == AUDIT_UNREAD && code == EXIT_CODE_OK)
				code = EXIT_CODE_INCOMPLETE;
		}
	}
	return code;
}

static int
audit_processes(void)
{
	sigset_t child;
	int code;

	/* Stops are waited for with a deadline: audit_filter.c. */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	if ((code = audit_check_rights()) != 0 || (code = audit_find_users()) != 0)
		return code;
	audit_find_host();
	if ((code = audit_find()) != 0)
		return code;
	audit_read_all();
	if (audit.sums)
		return audit_sums();
	code = audit_verdict();
	audit_report();
	if (audit_the(AUDIT_COLLECTOR) != NULL)
		return code;
	log_error("namespacer %d has no collector to look at", (int)audit_the(AUDIT_NAMESPACER)->pid);
	return code == EXIT_CODE_OK ? EXIT_CODE_INCOMPLETE : code;
}

static void
audit_free(void)
{
	for (size_t i = 0; i < audit.count; i++)
		audit_close(&audit.processes[i]);
	free(audit.processes);
	config_free(&audit.config);
}

int
audit_main(int argc, char **argv)
{
	int code;

	config_init(&audit.config);
	if ((code = config_parse(&audit.config, &audit_program, argc, argv, NULL)) == -1)
		code = audit.policy ? audit_print_policy() : audit_processes();
	audit_free();
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	log_errno(LOG_LEVEL_ERROR, "stdout");
	return EXIT_CODE_SINK;
}
