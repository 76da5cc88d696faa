/*
 * tracee: looks at a process's system calls, and makes it do some, as somebody
 * who has taken it over could; for the tests of filters, as root.
 *
 *	tracee list PID			until it ends: the number of each call
 *					that it made, a line each; "ready" before
 *	tracee call PID NUMBER A0 ...	makes the call in its place: "returned
 *					RESULT", and it goes on as before; or
 *					"refused", and its handler runs.  An
 *					argument "hex:..." is an address of these
 *					bytes
 */
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRACEE_CALLS = 1024, TRACEE_STOP_BIT = 0x80, TRACEE_ARGUMENTS = 6, TRACEE_BYTES = 256, TRACEE_RED_ZONE = 128 };

/* What an argument is: a number, or bytes that are put into the other process. */
struct word {
	unsigned long	number;
	size_t		length;
	unsigned char	bytes[TRACEE_BYTES];
};

static _Noreturn void
fail(const char *what)
{
	fprintf(stderr, "tracee: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int
next_stop(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, __WALL) == -1)
		fail("waitpid");
	return status;
}

/* Stopped wherever it was. */
static void
seize(pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) == -1 ||
	    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == -1)
		fail("it cannot be traced");
	next_stop(pid);
}

/* --- list ---------------------------------------------------------------- */

/* Its other stops are passed on: signals as they are, a group's stop as such. */
static void
go_on(pid_t pid, int status)
{
	int signal = WSTOPSIG(status);
	bool group = status >> 16 == PTRACE_EVENT_STOP && signal != SIGTRAP;

	if (signal == (SIGTRAP | TRACEE_STOP_BIT) || status >> 16 != 0)
		signal = 0;
	if (ptrace(group ? PTRACE_LISTEN : PTRACE_SYSCALL, pid, NULL, (void *)(long)signal) == -1 && errno != ESRCH)
		fail("it does not go on");
}

static void
list(pid_t pid)
{
	static bool made[TRACEE_CALLS];
	struct __ptrace_syscall_info info;
	int status = (SIGTRAP | TRACEE_STOP_BIT) << 8;

	seize(pid);
	puts("ready");
	fflush(stdout);
	do {
		if (WSTOPSIG(status) == (SIGTRAP | TRACEE_STOP_BIT) &&
		    ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) > 0 &&
		    info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr < TRACEE_CALLS)
			made[info.entry.nr] = true;
		go_on(pid, status);
		status = next_stop(pid);
	} while (WIFSTOPPED(status));
	for (int i = 0; i < TRACEE_CALLS; i++)
		if (made[i])
			printf("%d\n", i);
}

/* --- call ---------------------------------------------------------------- */

#if defined(__x86_64__)
static void
registers(pid_t pid, int request, struct user_regs_struct *to)
{
	struct iovec place = { to, sizeof(*to) };

	if (ptrace(request, pid, (void *)NT_PRSTATUS, &place) == -1)
		fail("registers");
}

/* The filter's signal waits for it. */
static bool
is_refused(pid_t pid)
{
	struct __ptrace_peeksiginfo_args first = { .nr = 1 };
	siginfo_t info = { 0 };

	return ptrace(PTRACE_PEEKSIGINFO, pid, &first, &info) == 1 && info.si_signo == SIGSYS;
}

/* Below what its stack holds now. */
static unsigned long
place(pid_t pid, const struct word *word, unsigned long *stack)
{
	struct iovec from = { (void *)word->bytes, word->length };
	struct iovec to;

	if (word->length == 0)
		return word->number;
	*stack = (*stack - word->length) & ~15UL;
	to = (struct iovec){ (void *)*stack, word->length };
	if (process_vm_writev(pid, &from, 1, &to, 1, 0) != (ssize_t)word->length)
		fail("its memory cannot be written");
	return *stack;
}

static void
go_to(pid_t pid, unsigned int op)
{
	struct __ptrace_syscall_info info;

	do {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == -1 || !WIFSTOPPED(next_stop(pid)))
			fail("it does not go on");
	} while (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) <= 0 || info.op != op);
}

/* The next call that it makes, or makes again, becomes another one; afterwards it makes its own. */
static void
call(pid_t pid, const struct word *words)
{
	struct user_regs_struct before, now;
	unsigned long stack, arguments[TRACEE_ARGUMENTS];

	seize(pid);
	go_to(pid, PTRACE_SYSCALL_INFO_ENTRY);
	registers(pid, PTRACE_GETREGSET, &before);
	stack = before.rsp - TRACEE_RED_ZONE;
	for (int i = 0; i < TRACEE_ARGUMENTS; i++)
		arguments[i] = place(pid, &words[i + 1], &stack);
	now = before;
	now.orig_rax = words[0].number;
	now.rdi = arguments[0];
	now.rsi = arguments[1];
	now.rdx = arguments[2];
	now.r10 = arguments[3];
	now.r8 = arguments[4];
	now.r9 = arguments[5];
	registers(pid, PTRACE_SETREGSET, &now);
	go_to(pid, PTRACE_SYSCALL_INFO_EXIT);
	if (is_refused(pid))
		puts("refused");
	else {
		registers(pid, PTRACE_GETREGSET, &now);
		printf("returned %ld\n", (long)now.rax);
		/* The instruction is two bytes long. */
		before.rip -= 2;
		before.rax = before.orig_rax;
		before.orig_rax = -1UL;
		registers(pid, PTRACE_SETREGSET, &before);
	}
	if (ptrace(PTRACE_DETACH, pid, NULL, NULL) == -1)
		fail("it cannot be let go");
}
#else
static void
call(pid_t pid, const struct word *words)
{
	(void)pid;
	(void)words;
	errno = ENOTSUP;
	fail("this machine's registers");
}
#endif

static void
read_word(struct word *word, const char *text)
{
	if (strncmp(text, "hex:", 4) != 0) {
		word->number = strtoul(text, NULL, 0);
		return;
	}
	for (text += 4; word->length < TRACEE_BYTES && sscanf(text, "%2hhx", &word->bytes[word->length]) == 1; text += 2)
		word->length++;
}

int
main(int argc, char **argv)
{
	static struct word words[1 + TRACEE_ARGUMENTS];

	for (int i = 3; i < argc && i - 3 <= TRACEE_ARGUMENTS; i++)
		read_word(&words[i - 3], argv[i]);
	if (argc == 3 && strcmp(argv[1], "list") == 0)
		list(atoi(argv[2]));
	else if (argc >= 4 && strcmp(argv[1], "call") == 0)
		call(atoi(argv[2]), words);
	else {
		fprintf(stderr, "usage: tracee list PID | call PID NUMBER [ARGUMENT ...]\n");
		return 64;
	}
	return 0;
}
