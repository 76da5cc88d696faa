/*
 * A library that is preloaded into a daemon and makes one step of its
 * confinement go wrong in silence: the tests of tcpdiag audit want to see it
 * found.  What WEAKEN says is done where WEAKEN_IN says: in the daemon itself,
 * or in its children, the collectors.
 */
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/securebits.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	WEAKEN_OTHER_UID = 60640, WEAKEN_GROUP = 60639, WEAKEN_MEMORY = 4096, WEAKEN_FILTER = 4096, WEAKEN_STACK = 65536,
	WEAKEN_LISTMOUNT = 458, WEAKEN_MSEAL = 462, WEAKEN_LANDLOCK = 446,	/* landlock_restrict_self */
	WEAKEN_DESCRIPTORS = 60,
	WEAKEN_ONE = 2,		/* the first fork is for the empty namespaces */
};

static struct {
	char	step[64];
	bool	in_children;
	pid_t	first;
	bool	in_one;		/* of the children only the first that is a collector */
	int	forks;
	int	setns_net;	/* how often a network namespace was joined */
} weaken;

/* Functions are looked up as what they are: the next one of that name. */
#define REAL(name)	((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void
weaken_start(void)
{
	const char *step = getenv("WEAKEN"), *where = getenv("WEAKEN_IN");

	if (step != NULL)
		strncpy(weaken.step, step, sizeof(weaken.step) - 1);
	weaken.in_one = where != NULL && strcmp(where, "child") == 0;
	weaken.in_children = weaken.in_one || (where != NULL && strcmp(where, "children") == 0);
	weaken.first = getpid();
}

static bool
weaken_is(const char *step)
{
	return strcmp(weaken.step, step) == 0 && (getpid() != weaken.first) == weaken.in_children &&
	    (!weaken.in_one || weaken.forks == WEAKEN_ONE);
}

static void	weaken_start_thread(void);

/* --- filters ----------------------------------------------------------------------------- */

static long
weaken_load(const struct sock_fprog *program)
{
	return REAL(syscall)(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0L, program);
}

/* The same program, but what was an end is only a line in a log. */
static long
weaken_load_logging(const struct sock_fprog *program)
{
	static struct sock_filter copy[WEAKEN_FILTER];	/* a collector has no heap any more */
	struct sock_fprog logging = { program->len, copy };

	if (program->len > WEAKEN_FILTER)
		abort();
	memcpy(copy, program->filter, program->len * sizeof(*copy));
	for (unsigned int i = 0; i < program->len; i++)
		if (BPF_CLASS(copy[i].code) == BPF_RET && (copy[i].k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_TRAP)
			copy[i].k = SECCOMP_RET_LOG;
	return weaken_load(&logging);
}

static long
weaken_load_another(const struct sock_fprog *program)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	const struct sock_fprog another = { 1, &allow };

	return weaken_load(&another) == -1 ? -1 : weaken_load(program);
}

static long
weaken_seccomp(const struct sock_fprog *program)
{
	if (weaken_is("filter-none"))
		return 0;
	if (weaken_is("filter-log"))
		return weaken_load_logging(program);
	return weaken_is("filter-more") ? weaken_load_another(program) : weaken_load(program);
}

/* Started behind the filter, so that it has the same one. */
static long
weaken_seccomp_with_thread(const struct sock_fprog *program)
{
	long result = weaken_seccomp(program);

	if (result == 0 && weaken_is("thread-stuck"))
		weaken_start_thread();
	return result;
}

long
syscall(long number, ...)
{
	long words[6];
	va_list list;

	va_start(list, number);
	for (size_t i = 0; i < 6; i++)
		words[i] = va_arg(list, long);
	va_end(list);
	/* libseccomp asks without a program what the kernel knows. */
	if ((number == WEAKEN_MSEAL && weaken_is("mseal")) || (number == WEAKEN_LANDLOCK && weaken_is("landlock")))
		return 0;
	if (number == WEAKEN_LISTMOUNT && weaken_is("listmount")) {	/* a kernel before 6.8 */
		errno = ENOSYS;
		return -1;
	}
	if (number == SYS_seccomp && words[0] == SECCOMP_SET_MODE_FILTER && words[2] != 0)
		return weaken_seccomp_with_thread((const struct sock_fprog *)(uintptr_t)words[2]);
	return REAL(syscall)(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

/* --- the last step before the filter: what else a process could have ------------------------ */

static void
weaken_handler(int number)
{
	(void)number;
}

/* It waits for its child in the kernel, and no signal but the last gets it out. */
static void
weaken_get_stuck(int number)
{
	(void)number;
	if (vfork() == 0)
		for (;;)
			pause();
}

/* Started before the filter, which is each thread's own. */
static int
weaken_thread(void *context)
{
	(void)context;
	if (weaken_is("thread-stuck") && vfork() == 0)
		for (;;)
			pause();
	return pause();		/* no signal is for it */
}

static void
weaken_start_thread(void)
{
	static _Alignas(16) char stack[WEAKEN_STACK];
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	(void)clone(weaken_thread, stack + sizeof(stack), CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES | CLONE_FS, NULL);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* A file whose name would be lines of a report. */
static void
weaken_open_lies(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/%d\033[2J\n  + all is well", (int)getpid());
	(void)REAL(open)(path, O_RDWR | O_CREAT, 0600);
	(void)unlink(path);
}

/* The namespacer's filter leaves its children no other; where they keep stderr, no number but that is left. */
static void
weaken_open_socket(void)
{
	int family = weaken.in_children ? AF_UNIX : AF_INET, type = weaken.in_children ? SOCK_DGRAM : SOCK_STREAM;

	if (socket(family, type, 0) == -1 && close(STDERR_FILENO) == 0)
		(void)socket(family, type, 0);
}

static void
weaken_last(void)
{
	sigset_t set;

	if (weaken_is("memory"))
		(void)mmap(NULL, WEAKEN_MEMORY, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (weaken_is("file"))
		(void)open("/etc/passwd", O_RDONLY);
	if (weaken_is("file-of-lies"))
		weaken_open_lies();
	if (weaken_is("stuck"))
		(void)signal(SIGUSR1, weaken_get_stuck);
	if (weaken_is("thread"))
		weaken_start_thread();
	if (weaken_is("socket"))
		weaken_open_socket();
	if (weaken_is("signal-caught"))
		(void)signal(SIGUSR1, weaken_handler);
	if (weaken_is("signal-blocked")) {
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		sigprocmask(SIG_BLOCK, &set, NULL);
	}
}

int
prctl(int option, ...)
{
	unsigned long words[4];
	va_list list;

	va_start(list, option);
	for (size_t i = 0; i < 4; i++)
		words[i] = va_arg(list, unsigned long);
	va_end(list);
	if (option == PR_SET_NO_NEW_PRIVS && weaken_is("no-new-privs"))
		return 0;
	if (option == PR_CAPBSET_DROP && (words[0] == CAP_SYS_RAWIO || words[0] == CAP_KILL) && weaken_is("bounding"))
		return 0;
	if (option == PR_SET_SECUREBITS && weaken_is("securebits"))
		words[0] = SECBIT_NO_SETUID_FIXUP;
	if (option == PR_SET_DUMPABLE && words[0] == 0)
		weaken_last();
	if (option == PR_SET_DUMPABLE && weaken_is("dumpable"))
		words[0] = 1;
	return REAL(prctl)(option, words[0], words[1], words[2], words[3]);
}

/* --- who it is --------------------------------------------------------------------------------- */

int
setgroups(size_t count, const gid_t *groups)
{
	static const gid_t more[] = { WEAKEN_GROUP };

	return weaken_is("groups") ? REAL(setgroups)(1, more) : REAL(setgroups)(count, groups);
}

int
setresgid(gid_t real, gid_t effective, gid_t saved)
{
	return weaken_is("gid") ? REAL(setresgid)(real, effective, 0) : REAL(setresgid)(real, effective, saved);
}

int
setresuid(uid_t real, uid_t effective, uid_t saved)
{
	if (weaken_is("capability"))
		(void)REAL(prctl)(PR_SET_KEEPCAPS, 1);
	return weaken_is("uid") ? REAL(setresuid)(WEAKEN_OTHER_UID, WEAKEN_OTHER_UID, WEAKEN_OTHER_UID) : REAL(setresuid)(real, effective, saved);
}

/* One that it should not have, in all three sets. */
int
cap_set_proc(cap_t set)
{
	static const cap_value_t more[] = { CAP_KILL };

	if (!weaken_is("capability") && !weaken_is("inheritable"))
		return REAL(cap_set_proc)(set);
	for (cap_flag_t flag = CAP_EFFECTIVE; flag <= CAP_INHERITABLE; flag++)
		if (flag == CAP_PERMITTED || weaken_is("capability") == (flag == CAP_EFFECTIVE))
			(void)cap_set_flag(set, flag, 1, more, CAP_SET);
	return REAL(cap_set_proc)(set);
}

/* The shipper asks whether it has lost everything. */
int
cap_compare(cap_t one, cap_t other)
{
	return weaken_is("capability") ? 0 : REAL(cap_compare)(one, other);
}

int
setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	static const struct rlimit few = { WEAKEN_DESCRIPTORS, WEAKEN_DESCRIPTORS };
	static const struct {
		__rlimit_resource_t	 resource;
		const char		*step;
	} kept[] = {
		{ RLIMIT_NOFILE, "limit-nofile" }, { RLIMIT_CORE, "limit-core" }, { RLIMIT_NPROC, "limit-nproc" },
		{ RLIMIT_FSIZE, "limit-fsize" }, { RLIMIT_MEMLOCK, "limit-memlock" },
	};

	if (resource == RLIMIT_NOFILE && weaken_is("limit-few"))
		return REAL(setrlimit)(resource, &few);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (kept[i].resource == resource && weaken_is(kept[i].step))
			return 0;
	return REAL(setrlimit)(resource, limit);
}

/* --- where it is ------------------------------------------------------------------------------- */

/* The first network namespace is the one to read, the second the empty one. */
int
setns(int fd, int type)
{
	if (type == CLONE_NEWNET && weaken.setns_net++ == 1 && weaken_is("namespace-net"))
		return 0;
	if ((type == CLONE_NEWNS && weaken_is("namespace-mnt")) || (type == CLONE_NEWIPC && weaken_is("namespace-ipc")))
		return 0;
	return REAL(setns)(fd, type);
}

/* A process between the namespacer and the collector, which then is told that its parent is right. */
pid_t
fork(void)
{
	pid_t pid, inner;

	weaken.forks++;
	pid = REAL(fork)();
	if (pid != 0 || strcmp(weaken.step, "parent") != 0 || !weaken.in_children)
		return pid;
	if ((inner = REAL(fork)()) != 0)
		for (;;)
			pause();
	return 0;
}

pid_t
getppid(void)
{
	return weaken_is("parent") ? weaken.first : REAL(getppid)();
}

/* --- rings --------------------------------------------------------------------------------------- */

static bool
weaken_is_ring(int fd, const char *name)
{
	char path[64], link[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof(link) - 1) > 0 && strstr(link, name) != NULL;
}

int
fcntl(int fd, int command, ...)
{
	va_list list;
	long word;

	va_start(list, command);
	word = va_arg(list, long);
	va_end(list);
	if (command == F_ADD_SEALS && weaken_is("seals") && weaken_is_ring(fd, "ring-data"))
		word &= ~F_SEAL_FUTURE_WRITE;
	if (command == F_ADD_SEALS && weaken_is("seals-control") && weaken_is_ring(fd, "ring-control"))
		return 0;
	return REAL(fcntl)(fd, command, word);
}

/* A ring's file that is opened anew read-only is the writable one after all. */
int
open(const char *path, int flags, ...)
{
	static const char own[] = "/proc/self/fd/";
	mode_t mode;
	va_list list;

	va_start(list, flags);
	mode = va_arg(list, mode_t);
	va_end(list);
	if (strncmp(path, own, strlen(own)) == 0 && weaken_is("control-writable") && weaken_is_ring(atoi(path + strlen(own)), "ring-control"))
		return dup(atoi(path + strlen(own)));
	if (strncmp(path, own, strlen(own)) == 0 && weaken_is("data-writable") && weaken_is_ring(atoi(path + strlen(own)), "ring-data"))
		return dup(atoi(path + strlen(own)));
	return REAL(open)(path, flags, mode);
}
