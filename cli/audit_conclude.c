/*
 * What nobody can read of another process, and what follows from that which can
 * be read.  Nothing is printed as a value that was not seen.
 */
#include <sys/syscall.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/audit.h"

/* landlock_create_ruleset, the same on every machine. */
enum { CONCLUDE_LANDLOCK = 444, CONCLUDE_LANDLOCK_VERSION = 1 };

/* Nothing is sealed by it: it asks for no byte. */
bool
audit_kernel_seals(void)
{
	return syscall(AUDIT_MSEAL, 0UL, 0UL, 0UL) == 0;
}

int
audit_kernel_landlock(void)
{
	long abi = syscall(CONCLUDE_LANDLOCK, NULL, 0UL, (unsigned long)CONCLUDE_LANDLOCK_VERSION);

	return abi > 0 ? (int)abi : 0;
}

/* --- securebits -------------------------------------------------------------------------- */

static bool
conclude_execve_refused(const struct audit_process *process)
{
	return process->refuses_execve;
}

static bool
conclude_bounding_adds_nothing(const struct audit_process *process)
{
	struct audit_words bounding = { 0 }, permitted = { 0 };
	size_t found = 0;

	audit_words_split(&bounding, process->values[AUDIT_BOUNDING]);
	audit_words_split(&permitted, process->values[AUDIT_PERMITTED]);
	for (size_t i = 0; i < bounding.count; i++)
		for (size_t p = 0; p < permitted.count; p++)
			found += strcmp(bounding.items[i], permitted.items[p]) == 0;
	bool nothing = found == bounding.count;

	audit_words_free(&bounding);
	audit_words_free(&permitted);
	return nothing;
}

static bool
conclude_inheritable_empty(const struct audit_process *process)
{
	return process->values[AUDIT_INHERITABLE][0] == '\0';
}

static bool
conclude_ambient_empty(const struct audit_process *process)
{
	return process->values[AUDIT_AMBIENT][0] == '\0';
}

static bool
conclude_no_new_privs(const struct audit_process *process)
{
	return strcmp(process->values[AUDIT_NO_NEW_PRIVS], "1") == 0;
}

/*
 * SECBIT_NOROOT and SECBIT_NO_CAP_AMBIENT_RAISE rule what execve(2) gives, which
 * is at most what the inheritable, ambient and bounding sets have, and with
 * no_new_privs nothing that is not permitted already; SECBIT_NO_SETUID_FIXUP and
 * SECBIT_KEEP_CAPS rule what a change of user takes, or brings back from the
 * permitted set.  See capabilities(7); security/commoncap.c.
 */
static void
conclude_securebits(struct audit_process *process)
{
	static const struct {
		const char	*name;
		bool		(*holds)(const struct audit_process *);
	} reasons[] = {
		{ "inheritable-empty", conclude_inheritable_empty },
		{ "ambient-empty", conclude_ambient_empty },
		{ "bounding-adds-nothing", conclude_bounding_adds_nothing },
		{ "no_new_privs", conclude_no_new_privs },
		{ "execve-refused", conclude_execve_refused },
	};
	static const enum audit_property needed[] = {
		AUDIT_INHERITABLE, AUDIT_AMBIENT, AUDIT_BOUNDING, AUDIT_PERMITTED, AUDIT_NO_NEW_PRIVS, AUDIT_FILTERS,
	};
	struct audit_words words = { 0 };

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (process->values[needed[i]] == NULL)
			return;
	audit_words_add(&words, "not-read");
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].holds(process))
			audit_words_add(&words, "%s", reasons[i].name);
	process->values[AUDIT_SECUREBITS] = audit_words_join(&words, false);
}

/* --- sealed memory ----------------------------------------------------------------------- */

/* The page that its filter names; without such a filter, any that was sealed stands for it. */
static bool
conclude_requests_sealed(const struct audit_process *process)
{
	for (size_t i = 0; i < process->npages; i++)
		if (process->sealed[i] && (process->requests == 0 || process->pages[i] == process->requests))
			return true;
	return false;
}

static void
conclude_sealed(struct audit_process *process)
{
	struct audit_words words = { 0 };

	if (process->kind != AUDIT_COLLECTOR || process->values[AUDIT_SEALED] == NULL)
		return;
	audit_words_split(&words, process->values[AUDIT_SEALED]);
	if (conclude_requests_sealed(process))
		audit_words_add(&words, "requests");
	if (words.count == 0 && !audit_kernel_seals())
		audit_words_add(&words, AUDIT_NO_MSEAL);
	else if (words.count == 0 && process->refused_mseal)
		audit_words_add(&words, AUDIT_MSEAL_REFUSED);
	free(process->values[AUDIT_SEALED]);
	process->values[AUDIT_SEALED] = audit_words_join(&words, false);
}

/* --- what nobody sees ------------------------------------------------------------------------ */

static void
conclude_unseen(struct audit_process *process)
{
	int abi = audit_kernel_landlock();
	char text[64];

	if (abi > 0)
		snprintf(text, sizeof(text), "not-visible-from-outside kernel:ABI-%d", abi);
	else
		snprintf(text, sizeof(text), "not-visible-from-outside kernel:has-none");
	process->values[AUDIT_LANDLOCK] = strdup(text);
	process->values[AUDIT_DEATH] = strdup("not-visible-from-outside");
}

void
audit_conclude(struct audit_process *process)
{
	conclude_securebits(process);
	conclude_sealed(process);
	conclude_unseen(process);
}
