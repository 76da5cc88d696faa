/*
 * The filters, loaded for real in a child: what is allowed goes on, an unknown
 * call does not exist, and what is never allowed ends the process.
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "collector/collector.h"
#include "common/exit.h"
#include "seccomp/sandbox.h"

enum { SEND_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL };
enum { ALLOWED = 1, ABSENT = 2 };	/* exit codes of a probe's child */

#ifdef SANDBOX_SANITIZER
enum { SANITIZED = 1 };		/* its run-time may do more: see collector.policy */
#else
enum { SANITIZED = 0 };
#endif

static _Alignas(4096) char page[4096];
#define PINNED(i)	((unsigned long)page + (unsigned long)(i) * COLLECTOR_PINNED_STRIDE)

/* A collector may not even write a line. */
static void
silently(int number, unsigned int architecture)
{
	(void)number;
	(void)architecture;
}

static int
enter_collector(void)
{
	const uint64_t values[SANDBOX_VALUES] = COLLECTOR_SANDBOX_VALUES(page);
	struct sock_fprog program;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    sandbox_compile(&sandbox_collector, SANDBOX_STRICT, values, &program) == -1)
		return -1;
	return sandbox_load(&program, silently);
}

static int
enter_shipper(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ? -1 : sandbox_enter(&sandbox_shipper, SANDBOX_ROBUST);
}

static int
enter_namespacer(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ? -1 : sandbox_enter(&sandbox_namespacer, SANDBOX_ROBUST);
}

/* How a call ends under a filter: ALLOWED, ABSENT or EXIT_CODE_SANDBOX. */
static int
probe(int (*enter)(void), long number, const unsigned long arguments[6])
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		int quiet = open("/dev/null", O_WRONLY);

		dup2(quiet, STDERR_FILENO);
		if (enter() == -1)
			_exit(100);
		errno = 0;
		syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
		_exit(errno == ENOSYS ? ABSENT : ALLOWED);
	}
	assert_int_not_equal(child, -1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

struct verdict {
	long		number;
	unsigned long	arguments[6];
	int		expected;
	bool		sanitizer;	/* allowed to sanitizers' run-time */
};

static void
check_verdicts(int (*enter)(void), const struct verdict *verdicts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int got;

		if (SANITIZED && verdicts[i].sanitizer)
			continue;
		got = probe(enter, verdicts[i].number, verdicts[i].arguments);
		if (got != verdicts[i].expected)
			fail_msg("row %zu, call %ld: %d instead of %d", i, verdicts[i].number, got, verdicts[i].expected);
	}
}

#define HIGH	(1UL << 32)	/* bits that a filter of 32 bits would not see */

static void
test_collector(void **state)
{
	const struct timespec now = { 0 };
	const struct verdict verdicts[] = {
		/* its requests, on its one socket, without flags */
		{ SYS_sendmsg, { COLLECTOR_FD_NETLINK, PINNED(0), 0 }, ALLOWED, false },
		{ SYS_sendmsg, { COLLECTOR_FD_NETLINK, PINNED(0) + HIGH, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmsg, { COLLECTOR_FD_NETLINK, PINNED(1) - HIGH, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmsg, { COLLECTOR_FD_NETLINK, PINNED(0), MSG_OOB }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmsg, { COLLECTOR_FD_NETLINK, PINNED(COLLECTOR_PINNED - 1), MSG_OOB }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmsg, { COLLECTOR_FD_CONTROL, PINNED(0), 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmsg, { COLLECTOR_FD_CONTROL, PINNED(3), 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmsg, { COLLECTOR_FD_NETLINK + HIGH, PINNED(0), 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmsg, { COLLECTOR_FD_NETLINK, 0, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmsg, { COLLECTOR_FD_NETLINK, -1UL, 0 }, EXIT_CODE_SANDBOX, false },
		/* answers: from that socket only, for ever if need be */
		{ SYS_recvmmsg, { COLLECTOR_FD_NETLINK, 0, 0, MSG_DONTWAIT, 0 }, ALLOWED, false },
		{ SYS_recvmmsg, { COLLECTOR_FD_CONTROL, 0, 0, MSG_DONTWAIT, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_recvmmsg, { COLLECTOR_FD_DOORBELL, 0, 0, MSG_DONTWAIT, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_recvmmsg, { COLLECTOR_FD_NETLINK + HIGH, 0, 0, MSG_DONTWAIT, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_recvmmsg, { COLLECTOR_FD_NETLINK, 0, 0, MSG_DONTWAIT, (unsigned long)page }, EXIT_CODE_SANDBOX, false },
		{ SYS_recvmsg, { COLLECTOR_FD_NETLINK, 0, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendmmsg, { COLLECTOR_FD_NETLINK, PINNED(0), 1, 0 }, EXIT_CODE_SANDBOX, false },
		/* its channels, to no address */
		{ SYS_sendto, { COLLECTOR_FD_CONTROL, 0, 0, SEND_FLAGS, 0, 0 }, ALLOWED, false },
		{ SYS_sendto, { COLLECTOR_FD_CONTROL, 0, 0, 0, 0, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendto, { COLLECTOR_FD_DOORBELL, 0, 0, SEND_FLAGS | MSG_OOB, 0, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendto, { COLLECTOR_FD_DOORBELL, 0, 0, SEND_FLAGS, 0, 0 }, ALLOWED, false },
		{ SYS_sendto, { COLLECTOR_FD_NETLINK, 0, 0, SEND_FLAGS, 0, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendto, { COLLECTOR_FD_CONTROL, 0, 0, SEND_FLAGS, 1, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_sendto, { COLLECTOR_FD_CONTROL + HIGH, 0, 0, SEND_FLAGS, 0, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_ppoll, { 0, 0, (unsigned long)&now, 0, 0 }, ALLOWED, false },
		{ SYS_pread64, { 4, 0, 0, 0 }, ALLOWED, false },
		{ SYS_recvfrom, { 0, 0, 0, MSG_DONTWAIT, 0, 0 }, ALLOWED, false },
		/* what nobody listed does not exist */
		{ SYS_getcwd, { 0 }, ABSENT, false },
		{ SYS_write, { COLLECTOR_FD_NETLINK, 0, 0 }, EXIT_CODE_SANDBOX, true },
		{ 999, { 0 }, ABSENT, false },
		/* what it must never do */
		{ SYS_execve, { 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_socket, { AF_NETLINK, SOCK_RAW, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_setns, { 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_mprotect, { PINNED(0), 4096, PROT_READ | PROT_WRITE }, EXIT_CODE_SANDBOX, true },
		{ SYS_mmap, { 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1UL, 0 }, EXIT_CODE_SANDBOX, true },
		{ SYS_kill, { 1, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_openat, { AT_FDCWD, 0, 0 }, EXIT_CODE_SANDBOX, true },
		{ SYS_io_uring_setup, { 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_rt_sigaction, { SIGSYS, 0, 0, 8 }, EXIT_CODE_SANDBOX, false },
		{ SYS_prlimit64, { 0 }, EXIT_CODE_SANDBOX, false },
	};

	(void)state;
	check_verdicts(enter_collector, verdicts, sizeof(verdicts) / sizeof(verdicts[0]));
}

/* Of all addresses in and around the page, the messages' own are allowed, and no other. */
static void
test_every_pinned_message(void **state)
{
	(void)state;
	for (long at = -COLLECTOR_PINNED_STRIDE; at < (COLLECTOR_PINNED + 1) * COLLECTOR_PINNED_STRIDE; at++) {
		bool message = at >= 0 && at % COLLECTOR_PINNED_STRIDE == 0 && at / COLLECTOR_PINNED_STRIDE < COLLECTOR_PINNED;
		const struct verdict verdict = {
			SYS_sendmsg, { COLLECTOR_FD_NETLINK, PINNED(0) + (unsigned long)at, 0 },
			message ? ALLOWED : EXIT_CODE_SANDBOX, false,
		};

		check_verdicts(enter_collector, &verdict, 1);
	}
}

static void
test_daemons(void **state)
{
	static const struct verdict both[] = {
		{ SYS_execve, { 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_ptrace, { PTRACE_PEEKDATA, 1 }, EXIT_CODE_SANDBOX, false },
		{ SYS_bpf, { 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_io_uring_setup, { 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_init_module, { 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_mount, { 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_getpid, { 0 }, ALLOWED, false },
		{ SYS_socket, { AF_UNIX, SOCK_STREAM, 0 }, ALLOWED, false },
		{ SYS_clone, { CLONE_SIGHAND }, ALLOWED, false },
		{ SYS_clone, { CLONE_NEWUSER | SIGCHLD }, EXIT_CODE_SANDBOX, false },
		{ SYS_clone, { CLONE_NEWNET | SIGCHLD }, EXIT_CODE_SANDBOX, false },
	};
	static const struct verdict shipper[] = {
		{ SYS_setns, { -1UL, CLONE_NEWNET }, EXIT_CODE_SANDBOX, false },
		{ SYS_kill, { 1, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_socket, { AF_INET, SOCK_STREAM, 0 }, ALLOWED, false },
	};
	static const struct verdict namespacer[] = {
		{ SYS_setns, { -1UL, CLONE_NEWNET }, ALLOWED, false },
		{ SYS_socket, { AF_NETLINK, SOCK_RAW, 0 }, ALLOWED, false },
		{ SYS_socket, { AF_INET, SOCK_STREAM, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_socket, { AF_INET6, SOCK_DGRAM, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_socket, { AF_PACKET, SOCK_RAW, 0 }, EXIT_CODE_SANDBOX, false },
		{ SYS_unshare, { CLONE_FILES }, ALLOWED, false },
		{ SYS_unshare, { CLONE_NEWUSER }, EXIT_CODE_SANDBOX, false },
		{ SYS_listen, { -1UL, 1 }, EXIT_CODE_SANDBOX, false },
	};

	(void)state;
	check_verdicts(enter_shipper, both, sizeof(both) / sizeof(both[0]));
	check_verdicts(enter_namespacer, both, sizeof(both) / sizeof(both[0]));
	check_verdicts(enter_shipper, shipper, sizeof(shipper) / sizeof(shipper[0]));
	check_verdicts(enter_namespacer, namespacer, sizeof(namespacer) / sizeof(namespacer[0]));
}

static void
test_levels(void **state)
{
	struct sock_fprog program;
	enum sandbox_level level;

	(void)state;
	assert_true(sandbox_level(&sandbox_collector, "strict", &level) && level == SANDBOX_STRICT);
	assert_true(sandbox_level(&sandbox_shipper, "log", &level) && level == SANDBOX_LOG);
	assert_false(sandbox_level(&sandbox_shipper, "strict", &level));
	assert_false(sandbox_level(&sandbox_collector, "", &level));
	assert_int_equal(sandbox_compile(&sandbox_shipper, SANDBOX_OFF, NULL, &program), 0);
	assert_int_equal(program.len, 0);
	assert_int_equal(sandbox_load(&program, NULL), 0);
}

static void
test_names(void **state)
{
	char buffer[32];

	(void)state;
	assert_string_equal(sandbox_call_name(SYS_openat, 0xc000003e, buffer, sizeof(buffer)),
#if defined(__x86_64__)
	    "openat");
#else
	    buffer);
#endif
	assert_string_equal(sandbox_call_name(99999, 0xc000003e, buffer, sizeof(buffer)), "call 99999");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_collector),
		cmocka_unit_test(test_every_pinned_message),
		cmocka_unit_test(test_daemons),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
