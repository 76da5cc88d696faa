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

enum { SANDBOX_CONDITIONS = 3, SANDBOX_NAMES = 600 };

enum sandbox_verdict {
	SANDBOX_END,		/* of the table */
	SANDBOX_ALLOW,
	SANDBOX_ALLOW_INSTEAD,	/* takes a "never" of the same policy back */
	SANDBOX_NEVER,
	SANDBOX_ABSENT,
};

/* ONE_OF takes the value, and of the two that follow it how many there are and their distance. */
enum sandbox_test { SANDBOX_ANY, SANDBOX_IS, SANDBOX_IS_NUMBER, SANDBOX_EITHER, SANDBOX_NO_BIT_OF,
    SANDBOX_AT_MOST, SANDBOX_ZERO, SANDBOX_ONE_OF };

struct sandbox_condition {
	enum sandbox_test	test;
	unsigned int		argument;
	enum sandbox_value	value;
	uint64_t		numbers[2];	/* that stand in the policy */
};

struct sandbox_rule {
	enum sandbox_verdict		verdict;
	const char			*call;
	struct sandbox_condition	conditions[SANDBOX_CONDITIONS];
};

struct sandbox_policy {
	enum sandbox_level		 strictest;
	const struct sandbox_rule	*rules;
};

/* One compilation. */
struct sandbox_filter {
	scmp_filter_ctx			 context;
	const struct sandbox_policy	*policy;
	const uint64_t			*values;
	uint32_t			 architecture;	/* SCMP_ARCH_*, which is AUDIT_ARCH_* */
	uint32_t			 unknown;	/* the action for calls without a rule */
	uint32_t			 refused;	/* and for those that are refused */
	uint32_t			 absent;	/* and for those that do not exist */
};

#define IS(argument, value)	{ SANDBOX_IS, argument, value, { 0 } }
#define ONE_OF(argument, value)	{ SANDBOX_ONE_OF, argument, value, { 0 } }
#define AT_MOST(argument, value) { SANDBOX_AT_MOST, argument, value, { 0 } }
#define ZERO(argument)		{ SANDBOX_ZERO, argument, 0, { 0 } }
#define IS_NUMBER(argument, number) { SANDBOX_IS_NUMBER, argument, 0, { number } }
#define NO_BIT_OF(argument, mask) { SANDBOX_NO_BIT_OF, argument, 0, { mask } }
#define EITHER(argument, low, high) { SANDBOX_EITHER, argument, 0, { low, high } }
#define ALLOW(call, why)	{ SANDBOX_ALLOW, #call, { { 0 } } },
#define ALLOW_IF(call, why, ...) { SANDBOX_ALLOW, #call, { __VA_ARGS__ } },
/* A test cannot make it call this on every machine: the reason says where it does. */
#define ALLOW_RARE(call, why)	ALLOW(call, why)
#define ALLOW_INSTEAD(call)	{ SANDBOX_ALLOW_INSTEAD, #call, { { 0 } } },
#define NEVER(call)		{ SANDBOX_NEVER, #call, { { 0 } } },
#define ABSENT(call)		{ SANDBOX_ABSENT, #call, { { 0 } } },

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

const struct sandbox_policy sandbox_collector = { SANDBOX_STRICT, sandbox_collector_rules };
const struct sandbox_policy sandbox_namespacer = { SANDBOX_ROBUST, sandbox_namespacer_rules };
const struct sandbox_policy sandbox_shipper = { SANDBOX_ROBUST, sandbox_shipper_rules };

static const char *const sandbox_levels[SANDBOX_LEVELS] = {
	[SANDBOX_OFF] = "off", [SANDBOX_LOG] = "log", [SANDBOX_ROBUST] = "robust", [SANDBOX_STRICT] = "strict",
};

/* What the handler of SIGSYS says: the library may not be called there. */
static sandbox_trapped_fn sandbox_trapped;
static const char *sandbox_names[SANDBOX_NAMES];

#ifdef SANDBOX_SANITIZER
static int sandbox_loaded;

/*
 * At its end a process's leaks are looked for by a tracer, which no confined
 * one may have: it would wait for it for ever.  Not so in other programs.
 */
int	__lsan_is_turned_off(void);
int
__lsan_is_turned_off(void)
{
	return sandbox_loaded;
}
#endif

bool
sandbox_level(const struct sandbox_policy *policy, const char *word, enum sandbox_level *level)
{
	for (*level = SANDBOX_OFF; *level <= policy->strictest; (*level)++)
		if (strcmp(sandbox_levels[*level], word) == 0)
			return true;
	return false;
}

const char *
sandbox_level_name(enum sandbox_level level)
{
	return sandbox_levels[level];
}

static bool
sandbox_taken_back(const struct sandbox_rule *rules, const char *call)
{
	for (; rules->verdict != SANDBOX_END; rules++)
		if (rules->verdict == SANDBOX_ALLOW_INSTEAD && strcmp(rules->call, call) == 0)
			return true;
	return false;
}

/* The condition as it must be; of several values, the one with this index. */
static struct scmp_arg_cmp
sandbox_compare(const struct sandbox_condition *condition, const uint64_t *values, uint64_t index)
{
	bool number = condition->test == SANDBOX_IS_NUMBER || condition->test == SANDBOX_EITHER;
	uint64_t value = condition->test == SANDBOX_ZERO ? 0 : number ? condition->numbers[index] : values[condition->value];

	if (condition->test == SANDBOX_ONE_OF)
		value += index * values[condition->value + 2];
	if (condition->test == SANDBOX_NO_BIT_OF)
		return SCMP_CMP64(condition->argument, SCMP_CMP_MASKED_EQ, condition->numbers[0], 0);
	return SCMP_CMP64(condition->argument, condition->test == SANDBOX_AT_MOST ? SCMP_CMP_LE : SCMP_CMP_EQ, value);
}

/* What happens anyway needs no rule, and libseccomp takes none. */
static int
sandbox_rule(const struct sandbox_filter *filter, uint32_t action, int number, unsigned int count, const struct scmp_arg_cmp *when)
{
	return action == filter->unknown ? 0 : seccomp_rule_add_array(filter->context, action, number, count, when);
}

static int
sandbox_refuse(const struct sandbox_filter *filter, int number, struct scmp_arg_cmp when)
{
	return sandbox_rule(filter, filter->refused, number, 1, &when);
}

/*
 * Refuses what is below, above and between: the values are multiples of their
 * distance, a power of two, so that whatever lies between has one of its low bits.
 */
static int
sandbox_refuse_others(const struct sandbox_filter *filter, int number, unsigned int argument, const uint64_t values[3])
{
	uint64_t first = values[0], count = values[1], distance = values[2];
	int error = 0;

	if (count == 0 || (distance & (distance - 1)) != 0 || first % distance != 0)
		return -EINVAL;
	error = sandbox_refuse(filter, number, SCMP_CMP64(argument, SCMP_CMP_LT, first));
	if (error == 0)
		error = sandbox_refuse(filter, number, SCMP_CMP64(argument, SCMP_CMP_GT, first + (count - 1) * distance));
	for (uint64_t bit = 1; error == 0 && bit < distance; bit <<= 1)
		error = sandbox_refuse(filter, number, SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, bit, bit));
	return error;
}

static int
sandbox_refuse_bits(const struct sandbox_filter *filter, int number, const struct sandbox_condition *condition)
{
	int error = 0;

	for (uint64_t bit = 1; error == 0 && bit != 0; bit <<= 1)
		if ((condition->numbers[0] & bit) != 0)
			error = sandbox_refuse(filter, number, SCMP_CMP64(condition->argument, SCMP_CMP_MASKED_EQ, bit, bit));
	return error;
}

/* Small numbers: whatever is between them and below is refused by name. */
static int
sandbox_refuse_all_but(const struct sandbox_filter *filter, int number, const struct sandbox_condition *condition)
{
	int error = sandbox_refuse(filter, number, SCMP_CMP64(condition->argument, SCMP_CMP_GT, condition->numbers[1]));

	for (uint64_t value = 0; error == 0 && value < condition->numbers[1]; value++)
		if (value != condition->numbers[0])
			error = sandbox_refuse(filter, number, SCMP_CMP64(condition->argument, SCMP_CMP_EQ, value));
	return error;
}

/* The opposite of a condition: libseccomp has no "else". */
static int
sandbox_refuse_unless(const struct sandbox_filter *filter, int number, const struct sandbox_condition *condition)
{
	struct scmp_arg_cmp not = sandbox_compare(condition, filter->values, 0);

	if (condition->test == SANDBOX_ONE_OF)
		return sandbox_refuse_others(filter, number, condition->argument, &filter->values[condition->value]);
	if (condition->test == SANDBOX_EITHER)
		return sandbox_refuse_all_but(filter, number, condition);
	if (condition->test == SANDBOX_NO_BIT_OF)
		return sandbox_refuse_bits(filter, number, condition);
	not.op = condition->test == SANDBOX_AT_MOST ? SCMP_CMP_GT : SCMP_CMP_NE;
	return sandbox_refuse(filter, number, not);
}

/* How many rules it takes: one for each value of a ONE_OF or EITHER. */
static uint64_t
sandbox_rules(const struct sandbox_rule *rule, const uint64_t *values)
{
	for (unsigned int i = 0; i < SANDBOX_CONDITIONS; i++)
		if (rule->conditions[i].test == SANDBOX_ONE_OF)
			return values[rule->conditions[i].value + 1];
		else if (rule->conditions[i].test == SANDBOX_EITHER)
			return 2;
	return 1;
}

/* Rules that allow when all conditions hold, and for each condition what refuses when it does not. */
static int
sandbox_add_conditions(const struct sandbox_filter *filter, int number, const struct sandbox_rule *rule)
{
	struct scmp_arg_cmp all[SANDBOX_CONDITIONS];
	uint64_t rules = sandbox_rules(rule, filter->values);
	unsigned int n = 0;
	int error = 0;

	for (unsigned int i = 0; i < SANDBOX_CONDITIONS && error == 0; i++)
		if (rule->conditions[i].test != SANDBOX_ANY)
			error = sandbox_refuse_unless(filter, number, &rule->conditions[i]);
	for (uint64_t index = 0; index < rules && error == 0; index++) {
		n = 0;
		for (unsigned int i = 0; i < SANDBOX_CONDITIONS; i++)
			if (rule->conditions[i].test != SANDBOX_ANY)
				all[n++] = sandbox_compare(&rule->conditions[i], filter->values, index);
		error = sandbox_rule(filter, SCMP_ACT_ALLOW, number, n, all);
	}
	return error;
}

/* The library takes this machine's numbers also for another one; calls that that one does not have are no rule. */
static int
sandbox_add(const struct sandbox_filter *filter, const struct sandbox_rule *rule)
{
	int number = seccomp_syscall_resolve_name(rule->call);

	/* Negative too: newer than the library, which is why names are tested. */
	if (seccomp_syscall_resolve_name_arch(filter->architecture, rule->call) < 0)
		return 0;
	if (number >= 0 && number < SANDBOX_NAMES)
		sandbox_names[number] = rule->call;
	if (rule->verdict == SANDBOX_ABSENT)
		return sandbox_rule(filter, filter->absent, number, 0, NULL);
	if (rule->verdict != SANDBOX_NEVER)
		return sandbox_add_conditions(filter, number, rule);
	if (sandbox_taken_back(filter->policy->rules, rule->call))
		return 0;
	return sandbox_rule(filter, filter->refused, number, 0, NULL);
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

/* Of a call by another ABI the numbers mean something else, so that all of them are refused. */
static int
sandbox_begin(struct sandbox_filter *filter)
{
	int error = 0;

	if ((filter->context = seccomp_init(filter->unknown)) == NULL)
		return -ENOMEM;
	if (filter->architecture != seccomp_arch_native() &&
	    (error = seccomp_arch_remove(filter->context, SCMP_ARCH_NATIVE)) == 0)
		error = seccomp_arch_add(filter->context, filter->architecture);
	return error == 0 ? seccomp_attr_set(filter->context, SCMP_FLTATR_ACT_BADARCH, filter->refused) : error;
}

int
sandbox_compile_for(const struct sandbox_policy *policy, enum sandbox_level level, const uint64_t values[SANDBOX_VALUES],
    uint32_t architecture, struct sock_fprog *program)
{
	static const uint64_t none[SANDBOX_VALUES];
	bool strict = level == SANDBOX_STRICT || (level == SANDBOX_LOG && policy->strictest == SANDBOX_STRICT);
	struct sandbox_filter filter = {
		.policy = policy,
		.values = values != NULL ? values : none,
		.architecture = architecture,
		.refused = level == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_TRAP,
		.absent = level == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(ENOSYS),
	};
	int error;

	*program = (struct sock_fprog){ 0 };
	if (level == SANDBOX_OFF)
		return 0;
	filter.unknown = !strict ? SCMP_ACT_ALLOW : level == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(ENOSYS);
	error = sandbox_begin(&filter);
	for (const struct sandbox_rule *rule = policy->rules; error == 0 && rule->verdict != SANDBOX_END; rule++)
		error = sandbox_add(&filter, rule);
	if (error == 0)
		error = sandbox_export(filter.context, program);
	if (filter.context != NULL)
		seccomp_release(filter.context);
	errno = -error;
	return error == 0 ? 0 : -1;
}

int
sandbox_compile(const struct sandbox_policy *policy, enum sandbox_level level, const uint64_t values[SANDBOX_VALUES],
    struct sock_fprog *program)
{
	return sandbox_compile_for(policy, level, values, seccomp_arch_native(), program);
}

/* In a signal handler: no stdio, no heap. */
static void
sandbox_write_line(int number)
{
	char line[96] = "refused system call ", digits[] = "0000";
	const char *name = number >= 0 && number < SANDBOX_NAMES ? sandbox_names[number] : NULL;

	for (int i = 3, n = number; i >= 0; i--, n /= 10)
		digits[i] = (char)('0' + n % 10);
	strncat(line, name != NULL ? name : digits, 40);
	strncat(line, ", ending\n", 10);
	if (write(STDERR_FILENO, line, strlen(line)) == -1)
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

#ifdef SANDBOX_SANITIZER
	sandbox_loaded = 1;
#endif
	sandbox_trapped = trapped;
	if (sigaction(SIGSYS, &action, NULL) == -1)
		return -1;
	if (program->len == 0)
		return 0;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program);
}

int
sandbox_enter(const struct sandbox_policy *policy, enum sandbox_level level)
{
	struct sock_fprog program;
	int result, error;

	if (sandbox_compile(policy, level, NULL, &program) == -1)
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
