/*
 * The steps, in an order that matters: what needs a right comes before the
 * right is given up, and the namespace is joined before anything is opened.
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "collector/attributes.h"
#include "collector/report.h"
#include "collector/request.h"
#include "collector/setup.h"
#include "collector/walk.h"
#include "common/confine.h"
#include "common/ring.h"
#include "seccomp/sandbox.h"

enum {
	SETUP_FD_HIGH = 64,	/* descriptors stand here until all are placed */
	SETUP_STACK = 1024,	/* of a process that does nothing */
};

static struct {
	const struct collector_start	*start;
	int				 fds[COLLECTOR_FDS];	/* -1: none */
	struct protocol_identity	 identity;
} setup;

/* Signals of a terminal or a service manager are the namespacer's to answer. */
static int
setup_signals(void)
{
	static const int ignored[] = { SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGTERM };
	sigset_t none;

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (signal(ignored[i], SIG_IGN) == SIG_ERR)
			return -1;
	if (signal(SIGCHLD, SIG_DFL) == SIG_ERR)
		return -1;
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * The descriptor must be a network namespace, and the one that was found: a
 * pid may have been given to another process since.
 */
static int
setup_join(void)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(setup.start->netns, &fs) == -1 || fstat(setup.start->netns, &st) == -1)
		return -1;
	if ((uint64_t)fs.f_type != NSFS_MAGIC || st.st_ino != setup.start->inode) {
		errno = ESTALE;
		return -1;
	}
	setup.identity.inode = st.st_ino;
	return setns(setup.start->netns, CLONE_NEWNET);
}

/* Puts a descriptor out of the way of the fixed numbers. */
static int
setup_keep(enum collector_fd place, int fd)
{
	if (fd == -1)
		return -1;
	setup.fds[place] = fcntl(fd, F_DUPFD, SETUP_FD_HIGH);
	return setup.fds[place] == -1 ? -1 : 0;
}

static int
setup_netlink(void)
{
	return setup_keep(COLLECTOR_FD_NETLINK, walk_open(&setup.identity.cookie));
}

/* Each file stays that of the namespace in which it was opened. */
static int
setup_sockstat(void)
{
	int six = open("/proc/thread-self/net/sockstat6", O_RDONLY);

	if (six == -1 && errno != ENOENT)
		return -1;
	if (six != -1 && setup_keep(COLLECTOR_FD_SOCKSTAT6, six) == -1)
		return -1;
	return setup_keep(COLLECTOR_FD_SOCKSTAT, open("/proc/thread-self/net/sockstat", O_RDONLY));
}

static int
setup_identify(void)
{
	report_identity(setup.start->control, &setup.identity);
	return 0;
}

/* From here on it sees no network, no file and no System V object. */
static int
setup_join_empty(void)
{
	if (setns(setup.start->empty_ipc, CLONE_NEWIPC) == -1 ||
	    setns(setup.start->empty_net, CLONE_NEWNET) == -1 ||
	    setns(setup.start->empty_mount, CLONE_NEWNS) == -1)
		return -1;
	return chdir("/");
}

/* Everything that was inherited goes, but for the table's numbers. */
static int
setup_place_descriptors(void)
{
	if (setup_keep(COLLECTOR_FD_CONTROL, setup.start->control) == -1 ||
	    setup_keep(COLLECTOR_FD_DOORBELL, setup.start->doorbell) == -1)
		return -1;
	for (int place = 0; place < COLLECTOR_FDS; place++) {
		if (place == COLLECTOR_FD_STDERR)
			continue;
		close(place);
		if (setup.fds[place] != -1 && dup2(setup.fds[place], place) == -1)
			return -1;
		setup.fds[place] = setup.fds[place] == -1 ? -1 : place;
	}
#ifndef SANDBOX_SANITIZER
	/* The journal is not the collector's to write. */
	close(COLLECTOR_FD_STDERR);
#endif
	return close_range(COLLECTOR_FDS, ~0U, 0);
}

#ifndef SANDBOX_SANITIZER
static int
setup_wait_for_the_end(void *context)
{
	(void)context;
	return pause();
}

/*
 * The kernel made the table of descriptors as large as the namespacer's, which
 * has some for each namespace, and never makes it smaller; but who shares one
 * with another process is given a copy of the size that it needs.
 */
static int
setup_shrink_table(void)
{
	static _Alignas(16) char stack[SETUP_STACK];
	pid_t other = clone(setup_wait_for_the_end, stack + sizeof(stack), CLONE_VM | CLONE_FILES | SIGCHLD, NULL);
	int result, error;

	if (other == -1)
		return -1;
	result = unshare(CLONE_FILES);
	error = errno;
	kill(other, SIGKILL);
	if (waitpid(other, NULL, 0) == -1)
		return -1;
	errno = error;
	return result;
}

/*
 * The namespacer's heap as it was at the fork: it would be kept for this
 * process alone as soon as the namespacer goes on.  Nothing is allocated any
 * more from here on.
 */
static int
setup_let_go(void)
{
	return munmap(setup.start->heap, (size_t)((char *)sbrk(0) - (char *)setup.start->heap));
}
#endif

static int
setup_pin(void)
{
	return request_pin(setup.start->pinned, setup.start->states, attributes_extensions(setup.start->attributes));
}

static int
setup_limits(void)
{
	static const struct {
		int	resource;
		rlim_t	limit;
	} limits[] = {
		{ RLIMIT_NPROC, 0 }, { RLIMIT_FSIZE, SANDBOX_FILE_SIZE }, { RLIMIT_CORE, 0 },
		{ RLIMIT_MEMLOCK, 0 },
		/* poll(2) fails below the number of descriptors it is given */
		{ RLIMIT_NOFILE, COLLECTOR_FDS },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit both = { limits[i].limit, limits[i].limit };

		if (setrlimit((__rlimit_resource_t)limits[i].resource, &both) == -1)
			return -1;
	}
	return 0;
}

static const cap_value_t setup_capabilities[] = { CAP_NET_ADMIN };

static int
setup_bounding(void)
{
	return confine_bounding(NULL, 0);
}

static int
setup_user(void)
{
	return confine_user(setup.start->uid, setup.start->gid, false);
}

static int
setup_drop(void)
{
	return confine_capabilities(setup_capabilities, setup.start->net_admin ? 1 : 0);
}

/* A change of uid takes the death signal away, so it is asked for after it. */
static int
setup_die_with_parent(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
		return -1;
	if (getppid() == setup.start->parent)
		return 0;
	errno = ESRCH;
	return -1;
}

/* No snapshot is to wait for the kernel to map what is there. */
static int
setup_touch(void)
{
	ring_producer_touch(setup.start->ring);
	return 0;
}

/*
 * The requests stay read-only and the ring where it is, also if the filter had
 * a hole.  What is written, stack and data, cannot be sealed to any use.
 */
static int
setup_seal(void)
{
	size_t length;
	const void *ring = ring_producer_memory(setup.start->ring, &length);

	return confine_seal(ring, length) == -1 ? -1 : confine_seal(setup.start->pinned, (size_t)sysconf(_SC_PAGESIZE));
}

static int
setup_filter(void)
{
	return sandbox_load(setup.start->filter, report_trapped);
}

static const struct {
	const char	*name;
	int		(*take)(void);
} setup_steps[] = {
	{ "set the signals", setup_signals },
	{ "join the network namespace", setup_join },
	{ "open the sock_diag socket", setup_netlink },
	{ "open sockstat", setup_sockstat },
	{ "say which namespace it is in", setup_identify },
	{ "join the empty namespaces", setup_join_empty },
	{ "put its descriptors in place", setup_place_descriptors },
#ifndef SANDBOX_SANITIZER
	{ "make its table of descriptors smaller", setup_shrink_table },
#endif
	{ "pin its requests", setup_pin },
	{ "limit itself", setup_limits },
	{ "empty the bounding set", setup_bounding },
	{ "lock the securebits", confine_securebits },
	{ "become its user", setup_user },
	{ "give up its capabilities", setup_drop },
	{ "set no_new_privs", confine_no_new_privileges },
	{ "become undumpable", confine_undumpable },
	{ "tie its life to the namespacer's", setup_die_with_parent },
#ifndef SANDBOX_SANITIZER
	/* The sanitizers' own memory is in there. */
	{ "let go of the namespacer's memory", setup_let_go },
#endif
	{ "map its ring", setup_touch },
	{ "seal its memory", setup_seal },
	{ "load its filter", setup_filter },
};

void
setup_confine(const struct collector_start *start)
{
	setup.start = start;
	for (int place = 0; place < COLLECTOR_FDS; place++)
		setup.fds[place] = -1;
	for (size_t i = 0; i < sizeof(setup_steps) / sizeof(setup_steps[0]); i++) {
		if (setup_steps[i].take() == 0)
			continue;
		report_failed(setup.fds[COLLECTOR_FD_CONTROL] != -1 ?
		    setup.fds[COLLECTOR_FD_CONTROL] : start->control, setup_steps[i].name, errno);
	}
}
