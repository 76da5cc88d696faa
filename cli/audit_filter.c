/*
 * The filters that are loaded, by PTRACE_SECCOMP_GET_FILTER, and which of the
 * compiled policies they are.
 *
 * A thread is seized and interrupted, which it does not notice (a system call
 * that waits goes on or is asked again), read, and let go whatever happened; if
 * this process dies meanwhile, the kernel lets it go.  One that does not stop in
 * time, in an uninterruptible call, is one that could not be read.
 */
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/audit.h"
#include "cli/audit_bpf.h"
#include "collector/collector.h"
#include "common/clock.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "seccomp/sandbox.h"

#define FILTER_STOP_TIME	(2 * SECOND)

enum { FILTER_MAX = 64 };

/* The programs of one thread, the oldest first. */
struct filter_stack {
	struct sock_fprog	programs[FILTER_MAX];
	size_t			count;
	bool			read;
};

/* --- reading them --------------------------------------------------------------------- */

/* Until the thread has stopped.  False if it has ended, or does not stop. */
static bool
filter_await(pid_t tid, int *status)
{
	uint64_t deadline = clock_monotonic() + FILTER_STOP_TIME;
	const struct timespec pause = { 0, 10 * (long)MILLISECOND };
	sigset_t child;
	pid_t got;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	while ((got = waitpid(tid, status, __WALL | WNOHANG)) == 0 && clock_monotonic() < deadline)
		(void)sigtimedwait(&child, NULL, &pause);
	return got == tid && WIFSTOPPED(*status);
}

static bool
filter_get(pid_t tid, size_t index, struct sock_fprog *program)
{
	long count = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)(uintptr_t)index, NULL);

	if (count <= 0 || (program->filter = calloc((size_t)count, sizeof(*program->filter))) == NULL)
		return false;
	program->len = (unsigned short)count;
	return ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)(uintptr_t)index, program->filter) == count;
}

static void
filter_get_all(pid_t tid, struct filter_stack *stack)
{
	while (stack->count < FILTER_MAX && filter_get(tid, stack->count, &stack->programs[stack->count]))
		stack->count++;
	/* Behind the last there is none; any other answer is no answer. */
	stack->read = errno == ENOENT || (stack->count == 0 && errno == EINVAL);
}

/* A signal that came at the same moment is the thread's to get. */
static void
filter_let_go(pid_t tid, int status)
{
	bool event = status >> 16 != 0;

	(void)ptrace(PTRACE_DETACH, tid, NULL, (void *)(uintptr_t)(event ? 0 : WSTOPSIG(status)));
}

static void
filter_read(pid_t tid, struct filter_stack *stack)
{
	int status = 0;

	*stack = (struct filter_stack){ 0 };
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) == -1)
		return;
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0 && filter_await(tid, &status)) {
		errno = 0;
		filter_get_all(tid, stack);
		filter_let_go(tid, status);
	}
}

static void
filter_free(struct filter_stack *stack)
{
	for (size_t i = 0; i < FILTER_MAX; i++)
		free(stack->programs[i].filter);
	*stack = (struct filter_stack){ 0 };
}

/* --- naming them ------------------------------------------------------------------------ */

static bool
filter_same(const struct sock_fprog *a, const struct sock_fprog *b)
{
	return a->len == b->len && memcmp(a->filter, b->filter, a->len * sizeof(*a->filter)) == 0;
}

static void
filter_compile(enum audit_kind kind, enum sandbox_level level, const uint64_t *values, struct sock_fprog *program)
{
	static const struct sandbox_policy *const policies[AUDIT_KINDS] = { &sandbox_namespacer, &sandbox_collector, &sandbox_shipper };

	free(program->filter);
	program->filter = NULL;
	if (sandbox_compile(policies[kind], level, values, program) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "a policy cannot be compiled");
}

/* A policy that names no number. */
static bool
filter_is_plain(const struct sock_fprog *program, enum audit_kind kind, enum sandbox_level level)
{
	static struct sock_fprog compiled[AUDIT_KINDS][SANDBOX_LEVELS];

	if (compiled[kind][level].filter == NULL)
		filter_compile(kind, level, NULL, &compiled[kind][level]);
	return filter_same(program, &compiled[kind][level]);
}

/* The collectors', with a certain place for the messages. */
static bool
filter_is_collector_at(const struct sock_fprog *program, enum sandbox_level level, uint64_t page)
{
	static struct {
		struct sock_fprog	program;
		uint64_t		page;
	} compiled[SANDBOX_LEVELS];
	const uint64_t values[SANDBOX_VALUES] = COLLECTOR_SANDBOX_VALUES(page);

	if (compiled[level].program.filter == NULL || compiled[level].page != page)
		filter_compile(AUDIT_COLLECTOR, level, values, &compiled[level].program);
	compiled[level].page = page;
	return filter_same(program, &compiled[level].program);
}

/*
 * Where the pinned messages are is each namespacer's own; they have to be in a
 * page of this collector's that cannot be written.  So nothing is left out of
 * the comparison: each such page is tried, and all collectors have the same.
 */
static bool
filter_is_collector(struct audit_process *process, const struct sock_fprog *program, enum sandbox_level level)
{
	static uint64_t last;

	for (size_t i = 0; i < process->npages; i++)
		if (process->pages[i] == last && filter_is_collector_at(program, level, last)) {
			process->requests = last;
			return true;
		}
	for (size_t i = 0; i < process->npages; i++)
		if (filter_is_collector_at(program, level, process->pages[i])) {
			process->requests = last = process->pages[i];
			return true;
		}
	return false;
}

static void
filter_digest(const struct sock_fprog *program, char *to, size_t size)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const uint8_t *)program->filter, program->len * sizeof(*program->filter), digest);
	snprintf(to, size, "sha256:%02x%02x%02x%02x%02x%02x", digest[0], digest[1], digest[2], digest[3], digest[4], digest[5]);
}

static bool
filter_is(struct audit_process *process, const struct sock_fprog *program, enum audit_kind kind, enum sandbox_level level)
{
	if (kind != AUDIT_COLLECTOR)
		return level < SANDBOX_STRICT && filter_is_plain(program, kind, level);
	return process->kind == AUDIT_COLLECTOR && filter_is_collector(process, program, level);
}

/* "collector:strict"; or the digest, and false. */
static bool
filter_name(struct audit_process *process, const struct sock_fprog *program, char *to, size_t size)
{
	for (enum audit_kind kind = 0; kind < AUDIT_KINDS; kind++)
		for (enum sandbox_level level = SANDBOX_LEVELS; level-- > SANDBOX_LOG;)
			if (filter_is(process, program, kind, level)) {
				snprintf(to, size, "%s:%s", audit_kind_name(kind), sandbox_level_name(level));
				return true;
			}
	filter_digest(program, to, size);
	return false;
}

static void
filter_note_calls(struct audit_process *process, const struct sock_fprog *program, bool from_outside)
{
	process->refuses_execve |= audit_filter_refuses(program, SYS_execve) && audit_filter_refuses(program, SYS_execveat);
	process->refused_mseal |= from_outside && audit_filter_refuses(program, AUDIT_MSEAL);
}

/* Those before the first of ours were there before it was started. */
static void
filter_describe(struct audit_process *process, const struct filter_stack *stack)
{
	struct audit_words outer = { 0 }, own = { 0 };
	char name[64];

	for (size_t i = 0; i < stack->count; i++) {
		bool known = filter_name(process, &stack->programs[i], name, sizeof(name));
		bool from_outside = own.count == 0 && !known;

		filter_note_calls(process, &stack->programs[i], from_outside);
		audit_words_add(from_outside ? &outer : &own, "%s", name);
	}
	process->values[AUDIT_OUTER] = audit_words_join(&outer, false);
	process->values[AUDIT_FILTERS] = audit_words_join(&own, false);
}

/* --- the other threads --------------------------------------------------------------------- */

static bool
filter_stacks_equal(const struct filter_stack *a, const struct filter_stack *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!filter_same(&a->programs[i], &b->programs[i]))
			return false;
	return true;
}

/* Not a thread that has ended meanwhile, or ends and waits for the others. */
static bool
filter_thread_lives(const struct audit_process *process, pid_t tid)
{
	char name[64];

	snprintf(name, sizeof(name), "task/%d/status", (int)tid);
	cleanup_free char *text = audit_file(process, name);

	return text != NULL && strstr(text, "\nState:\tZ") == NULL && strstr(text, "\nState:\tX") == NULL;
}

/* False if it is there and could not be read. */
static bool
filter_compare_thread(struct audit_process *process, pid_t tid, const struct filter_stack *first)
{
	struct audit_words unlike = { 0 };
	struct filter_stack stack;
	bool read;

	filter_read(tid, &stack);
	if ((read = stack.read) && !filter_stacks_equal(&stack, first)) {
		audit_words_split(&unlike, process->values[AUDIT_ALIKE] != NULL ? process->values[AUDIT_ALIKE] : "");
		audit_words_add(&unlike, "%d:filters", (int)tid);
		free(process->values[AUDIT_ALIKE]);
		process->values[AUDIT_ALIKE] = audit_words_join(&unlike, true);
	}
	filter_free(&stack);
	return read || !filter_thread_lives(process, tid);
}

/* One that cannot be looked at is enough to say so; a thousand would take an hour. */
static void
filter_compare_threads(struct audit_process *process, const struct filter_stack *first)
{
	int fd = openat(process->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	bool read = true;

	if (dir == NULL) {
		fd_close(&fd);
		return;
	}
	while (read && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.' && strtol(entry->d_name, NULL, 10) != process->pid)
			read = filter_compare_thread(process, (pid_t)strtol(entry->d_name, NULL, 10), first);
	closedir(dir);
	if (read || (process->values[AUDIT_ALIKE] != NULL && process->values[AUDIT_ALIKE][0] != '\0'))
		return;
	free(process->values[AUDIT_ALIKE]);
	process->values[AUDIT_ALIKE] = NULL;
}

void
audit_read_filters(struct audit_process *process)
{
	struct filter_stack stack;

	filter_read(process->pid, &stack);
	if (stack.read) {
		filter_describe(process, &stack);
		filter_compare_threads(process, &stack);
	}
	filter_free(&stack);
}
