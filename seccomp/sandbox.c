/* Compiles policies with libseccomp and loads the programs. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/fd.h"
#include "seccomp/sandbox.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_SANITIZER
#endif
#endif

enum { SANDBOX_CONDITIONS = 3 };

enum sandbox_verdict {
	SANDBOX_END,		/* of the table */
	SANDBOX_ALLOW,
	SANDBOX_ALLOW_INSTEAD,	/* takes a "never" of the same policy back */
	SANDBOX_NEVER,
};

/* ONE_OF takes the value, and of the two that follow it how many there are and their distance. */
enum sandbox_test { SANDBOX_ANY, SANDBOX_IS, SANDBOX_AT_MOST, SANDBOX_ZERO, SANDBOX_ONE_OF };

struct sandbox_condition {
	enum sandbox_test	test;
	unsigned int		argument;
	enum sandbox_value	value;
};

struct sandbox_rule {
	enum sandbox_verdict		verdict;
	const char			*call;
	struct sandbox_condition	conditions[SANDBOX_CONDITIONS];
};

struct sandbox_policy {
	uint32_t			unknown;	/* the action for other calls */
	const struct sandbox_rule	*rules;
};

#define IS(argument, value)	{ SANDBOX_IS, argument, value }
#define ONE_OF(argument, value)	{ SANDBOX_ONE_OF, argument, value }
#define AT_MOST(argument, value) { SANDBOX_AT_MOST, argument, value }
#define ZERO(argument)		{ SANDBOX_ZERO, argument, 0 }
#define ALLOW(call, why)	{ SANDBOX_ALLOW, #call, { { 0 } } },
#define ALLOW_IF(call, why, ...) { SANDBOX_ALLOW, #call, { __VA_ARGS__ } },
#define ALLOW_INSTEAD(call)	{ SANDBOX_ALLOW_INSTEAD, #call, { { 0 } } },
#define NEVER(call)		{ SANDBOX_NEVER, #call, { { 0 } } },

static const struct sandbox_rule sandbox_collector_rules[] = {
#include "seccomp/collector.policy"
	{ SANDBOX_END, NULL, { { 0 } } }
};

static const struct sandbox_rule sandbox_namespacer_rules[] = {
#include "seccomp/namespacer.policy"
	{ SANDBOX_END, NULL, { { 0 } } }
};

static const struct sandbox_rule sandbox_shipper_rules[] = {
#include "seccomp/shipper.policy"
	{ SANDBOX_END, NULL, { { 0 } } }
};

const struct sandbox_policy sandbox_collector = { SCMP_ACT_ERRNO(ENOSYS), sandbox_collector_rules };
const struct sandbox_policy sandbox_namespacer = { SCMP_ACT_ALLOW, sandbox_namespacer_rules };
const struct sandbox_policy sandbox_shipper = { SCMP_ACT_ALLOW, sandbox_shipper_rules };

static sandbox_trapped_fn sandbox_trapped;

static bool
sandbox_taken_back(const struct sandbox_rule *rules, const char *call)
{
	for (; rules->verdict != SANDBOX_END; rules++)
		if (rules->verdict == SANDBOX_ALLOW_INSTEAD && strcmp(rules->call, call) == 0)
			return true;
	return false;
}

/* The condition as it must be; of ONE_OF's values, the one with this index. */
static struct scmp_arg_cmp
sandbox_compare(const struct sandbox_condition *condition, const uint64_t *values, uint64_t index)
{
	uint64_t value = condition->test == SANDBOX_ZERO ? 0 : values[condition->value];

	if (condition->test == SANDBOX_ONE_OF)
		value += index * values[condition->value + 2];
	return SCMP_CMP64(condition->argument, condition->test == SANDBOX_AT_MOST ? SCMP_CMP_LE : SCMP_CMP_EQ, value);
}

static int
sandbox_trap(scmp_filter_ctx filter, int number, struct scmp_arg_cmp when)
{
	return seccomp_rule_add_array(filter, SCMP_ACT_TRAP, number, 1, &when);
}

/*
 * Traps what is below, above and between: the values are multiples of their
 * distance, a power of two, so that whatever lies between has one of its low bits.
 */
static int
sandbox_trap_others(scmp_filter_ctx filter, int number, unsigned int argument, const uint64_t values[3])
{
	uint64_t first = values[0], count = values[1], distance = values[2];
	int error = 0;

	if (count == 0 || (distance & (distance - 1)) != 0 || first % distance != 0)
		return -EINVAL;
	error = sandbox_trap(filter, number, SCMP_CMP64(argument, SCMP_CMP_LT, first));
	if (error == 0)
		error = sandbox_trap(filter, number, SCMP_CMP64(argument, SCMP_CMP_GT, first + (count - 1) * distance));
	for (uint64_t bit = 1; error == 0 && bit < distance; bit <<= 1)
		error = sandbox_trap(filter, number, SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, bit, bit));
	return error;
}

/* The opposite of a condition: libseccomp has no "else". */
static int
sandbox_trap_unless(scmp_filter_ctx filter, int number, const struct sandbox_condition *condition, const uint64_t *values)
{
	struct scmp_arg_cmp not = sandbox_compare(condition, values, 0);

	if (condition->test == SANDBOX_ONE_OF)
		return sandbox_trap_others(filter, number, condition->argument, &values[condition->value]);
	not.op = condition->test == SANDBOX_AT_MOST ? SCMP_CMP_GT : SCMP_CMP_NE;
	return sandbox_trap(filter, number, not);
}

/* How many rules it takes: one for each value of a ONE_OF. */
static uint64_t
sandbox_rules(const struct sandbox_rule *rule, const uint64_t *values)
{
	for (unsigned int i = 0; i < SANDBOX_CONDITIONS; i++)
		if (rule->conditions[i].test == SANDBOX_ONE_OF)
			return values[rule->conditions[i].value + 1];
	return 1;
}

/* Rules that allow when all conditions hold, and for each condition what traps when it does not. */
static int
sandbox_add_conditions(scmp_filter_ctx filter, int number, const struct sandbox_rule *rule, const uint64_t *values)
{
	struct scmp_arg_cmp all[SANDBOX_CONDITIONS];
	uint64_t rules = sandbox_rules(rule, values);
	unsigned int n = 0;
	int error = 0;

	for (unsigned int i = 0; i < SANDBOX_CONDITIONS && error == 0; i++)
		if (rule->conditions[i].test != SANDBOX_ANY)
			error = sandbox_trap_unless(filter, number, &rule->conditions[i], values);
	for (uint64_t index = 0; index < rules && error == 0; index++) {
		n = 0;
		for (unsigned int i = 0; i < SANDBOX_CONDITIONS; i++)
			if (rule->conditions[i].test != SANDBOX_ANY)
				all[n++] = sandbox_compare(&rule->conditions[i], values, index);
		error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, n, all);
	}
	return error;
}

/* Calls that this architecture does not have are no rule. */
static int
sandbox_add(scmp_filter_ctx filter, const struct sandbox_policy *policy, const struct sandbox_rule *rule, const uint64_t *values)
{
	int number = seccomp_syscall_resolve_name(rule->call);

	/* Negative too: newer than the library, which is why names are tested. */
	if (number < 0)
		return 0;
	if (rule->verdict == SANDBOX_NEVER) {
		if (sandbox_taken_back(policy->rules, rule->call))
			return 0;
		return seccomp_rule_add(filter, SCMP_ACT_TRAP, number, 0);
	}
	return sandbox_add_conditions(filter, number, rule, values);
}

/* The program as the kernel takes it; libseccomp only writes it to a file. */
static int
sandbox_export(scmp_filter_ctx filter, struct sock_fprog *program)
{
	cleanup_fd int fd = memfd_create("tcpdiag-filter", MFD_CLOEXEC);
	cleanup_free void *bytes = NULL;
	struct stat st;
	int error;

	if (fd == -1)
		return -errno;
	if ((error = seccomp_export_bpf(filter, fd)) != 0)
		return error;
	if (fstat(fd, &st) == -1 || (bytes = malloc((size_t)st.st_size)) == NULL ||
	    pread(fd, bytes, (size_t)st.st_size, 0) != st.st_size)
		return -errno;
	program->len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
	program->filter = bytes;
	bytes = NULL;
	return 0;
}

int
sandbox_compile(const struct sandbox_policy *policy, const uint64_t values[SANDBOX_VALUES], struct sock_fprog *program)
{
	static const uint64_t none[SANDBOX_VALUES];
	scmp_filter_ctx filter = seccomp_init(policy->unknown);
	int error = 0;

	if (filter == NULL) {
		errno = ENOMEM;
		return -1;
	}
	for (const struct sandbox_rule *rule = policy->rules; error == 0 && rule->verdict != SANDBOX_END; rule++)
		error = sandbox_add(filter, policy, rule, values != NULL ? values : none);
	if (error == 0)
		error = sandbox_export(filter, program);
	seccomp_release(filter);
	errno = -error;
	return error == 0 ? 0 : -1;
}

/* In a signal handler: no stdio, no heap. */
static void
sandbox_write_line(int number)
{
	char line[] = "refused system call 0000, ending\n";
	char *digit = strchr(line, '0') + 3;

	for (int i = 0, n = number; i < 4; i++, n /= 10)
		*digit-- = (char)('0' + n % 10);
	if (write(STDERR_FILENO, line, sizeof(line) - 1) == -1)
		_exit(EXIT_CODE_SANDBOX);
}

static void
sandbox_signal(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	if (sandbox_trapped != NULL)
		sandbox_trapped(info->si_syscall, info->si_arch);
	else
		sandbox_write_line(info->si_syscall);
	_exit(EXIT_CODE_SANDBOX);
}

int
sandbox_load(const struct sock_fprog *program, sandbox_trapped_fn trapped)
{
	struct sigaction action = { .sa_sigaction = sandbox_signal, .sa_flags = SA_SIGINFO };

	sandbox_trapped = trapped;
	if (sigaction(SIGSYS, &action, NULL) == -1)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program);
}

int
sandbox_enter(const struct sandbox_policy *policy)
{
	struct sock_fprog program;
	int result, error;

	if (sandbox_compile(policy, NULL, &program) == -1)
		return -1;
	result = sandbox_load(&program, NULL);
	error = errno;
	free(program.filter);
	errno = error;
	return result;
}

const char *
sandbox_call_name(int number, unsigned int architecture, char *buffer, size_t size)
{
	cleanup_free char *name = seccomp_syscall_resolve_num_arch(architecture, number);

	if (name != NULL)
		snprintf(buffer, size, "%s", name);
	else
		snprintf(buffer, size, "call %d", number);
	return buffer;
}
