/* The steps by which a process gives up what it does not need. */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <errno.h>
#include <grp.h>
#include <linux/securebits.h>
#include <signal.h>
#include <unistd.h>

#include "common/confine.h"

/* Locked too: NO_SETUID_FIXUP, so that no later uid change gives or takes. */
#define SECUREBITS_FINAL	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |		\
    SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |			\
    SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |			\
    SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

enum {
	CONFINE_MSEAL = 462,	/* the same on every machine, and newer than many headers */
	CONFINE_DESCRIPTORS = 1 << 20,	/* what the kernel allows unless told otherwise (fs.nr_open) */
};

int
confine_unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

int
confine_user(uid_t uid, gid_t gid, bool keep)
{
	if (prctl(PR_SET_KEEPCAPS, keep ? 1 : 0) == -1 && keep)
		return -1;
	if (setgroups(0, NULL) == -1 || setresgid(gid, gid, gid) == -1)
		return -1;
	return setresuid(uid, uid, uid);
}

int
confine_capabilities(const cap_value_t *values, int count)
{
	cap_t set = cap_init();
	int result = -1;

	if (set == NULL)
		return -1;
	if (count == 0 ||
	    (cap_set_flag(set, CAP_PERMITTED, count, values, CAP_SET) == 0 &&
	    cap_set_flag(set, CAP_EFFECTIVE, count, values, CAP_SET) == 0))
		result = cap_set_proc(set);
	cap_free(set);
	return result;
}

static bool
confine_contains(const cap_value_t *values, int count, cap_value_t value)
{
	for (int i = 0; i < count; i++)
		if (values[i] == value)
			return true;
	return false;
}

int
confine_bounding(const cap_value_t *values, int count)
{
	/* The kernel may know more capabilities than libcap: ask until EINVAL. */
	for (cap_value_t value = 0; prctl(PR_CAPBSET_READ, value) >= 0; value++) {
		if (confine_contains(values, count, value))
			continue;
		if (prctl(PR_CAPBSET_READ, value) == 1 &&
		    prctl(PR_CAPBSET_DROP, value) == -1)
			return -1;
	}
	return 0;
}

int
confine_securebits(void)
{
	int now = prctl(PR_GET_SECUREBITS);

	if (now == -1)
		return -1;
	/* Bits that are locked already (by a unit) stay as they are. */
	return prctl(PR_SET_SECUREBITS, now | SECUREBITS_FINAL);
}

int
confine_no_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int
confine_undumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 0);
}

int
confine_limits(void)
{
	static const struct rlimit none = { 0, 0 };
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &none) == -1 || setrlimit(RLIMIT_MEMLOCK, &none) == -1 || getrlimit(RLIMIT_NOFILE, &files) == -1)
		return -1;
	if (files.rlim_max > CONFINE_DESCRIPTORS)
		files.rlim_max = CONFINE_DESCRIPTORS;
	files.rlim_cur = files.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &files);
}

int
confine_seal(const void *start, size_t length)
{
	if (syscall(CONFINE_MSEAL, start, length, 0UL) == 0)
		return 0;
	/* EPERM: the filter of a service manager that does not know it yet. */
	return errno == ENOSYS || errno == EPERM ? 0 : -1;
}

bool
confine_holds_any(void)
{
	cap_t now = cap_get_proc(), none = cap_init();
	bool holds = true;

	if (now != NULL && none != NULL)
		holds = cap_compare(now, none) != 0;
	cap_free(none);
	cap_free(now);
	return holds;
}
