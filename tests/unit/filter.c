/*
 * The filters, for test_policy.py: prints what a policy compiles to, and makes
 * calls under it.
 *
 *	filter values			NAME NUMBER lines
 *	filter show POLICY LEVEL ARCH	the program: "code jt jf k" lines; ARCH: x86_64 or aarch64
 *	filter probe POLICY LEVEL	for each "NUMBER A0 ... A5" line of stdin, in a
 *					child with the filter: "returned RESULT ERRNO",
 *					"refused NUMBER" or "ended", and its exit status
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <linux/audit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/collector.h"
#include "seccomp/sandbox.h"

/* Where the pinned page would be: an address with something in both halves. */
#define FILTER_PAGE	0x7e1234567000UL

enum { FILTER_NOTHING, FILTER_RETURNED, FILTER_REFUSED };

static const uint64_t values[SANDBOX_VALUES] = COLLECTOR_SANDBOX_VALUES(FILTER_PAGE);

/* The child's answer. */
static struct {
	int	what;
	long	result;
	int	error, number;
} *answer;

static const struct {
	const char			*name;
	const struct sandbox_policy	*policy;
} policies[] = {
	{ "collector", &sandbox_collector },
	{ "namespacer", &sandbox_namespacer },
	{ "shipper", &sandbox_shipper },
};

static int
usage(void)
{
	fprintf(stderr, "usage: filter values | show POLICY LEVEL ARCH | probe POLICY LEVEL\n");
	return 64;
}

static int
compile(const char *policy, const char *word, uint32_t architecture, struct sock_fprog *program)
{
	enum sandbox_level level;

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (strcmp(policies[i].name, policy) == 0 && sandbox_level(policies[i].policy, word, &level))
			return architecture == 0 ? sandbox_compile(policies[i].policy, level, values, program) :
			    sandbox_compile_for(policies[i].policy, level, values, architecture, program);
	errno = EINVAL;
	return -1;
}

static int
print_values(void)
{
	static const char *const names[SANDBOX_VALUES] = {
		[SANDBOX_NETLINK_FD] = "SANDBOX_NETLINK_FD",
		[SANDBOX_LAST_CHANNEL_FD] = "SANDBOX_LAST_CHANNEL_FD",
		[SANDBOX_SEND_FLAGS] = "SANDBOX_SEND_FLAGS",
		[SANDBOX_PINNED_MESSAGE] = "SANDBOX_PINNED_MESSAGE",
		[SANDBOX_PINNED_MESSAGES] = "SANDBOX_PINNED_MESSAGES",
		[SANDBOX_PINNED_STRIDE] = "SANDBOX_PINNED_STRIDE",
	};

	for (int i = 0; i < SANDBOX_VALUES; i++)
		printf("%s %llu\n", names[i], (unsigned long long)values[i]);
	return 0;
}

static int
show(const char *policy, const char *level, const char *machine)
{
	uint32_t architecture = strcmp(machine, "aarch64") == 0 ? AUDIT_ARCH_AARCH64 : AUDIT_ARCH_X86_64;
	struct sock_fprog program;

	if (compile(policy, level, architecture, &program) == -1) {
		perror("filter: compile");
		return 1;
	}
	for (size_t i = 0; i < program.len; i++)
		printf("%u %u %u %u\n", program.filter[i].code, program.filter[i].jt, program.filter[i].jf, program.filter[i].k);
	free(program.filter);
	return 0;
}

static void
trapped(int number, unsigned int architecture)
{
	(void)architecture;
	answer->what = FILTER_REFUSED;
	answer->number = number;
}

/* Whatever the call is, there is nothing open that it could harm. */
static _Noreturn void
probe_child(const struct sock_fprog *program, const unsigned long call[7])
{
	close_range(0, ~0U, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 || sandbox_load(program, trapped) == -1)
		abort();
	errno = 0;
	answer->result = syscall((long)call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
	answer->error = errno;
	answer->what = FILTER_RETURNED;
	syscall(SYS_exit_group, 0);
	abort();
}

static int
probe_one(const struct sock_fprog *program, const unsigned long call[7])
{
	int status;
	pid_t child;

	memset(answer, 0, sizeof(*answer));
	if ((child = fork()) == 0)
		probe_child(program, call);
	if (child == -1 || waitpid(child, &status, 0) != child)
		return -1;
	if (answer->what == FILTER_RETURNED)
		printf("returned %ld %d", answer->result, answer->error);
	else if (answer->what == FILTER_REFUSED)
		printf("refused %d", answer->number);
	else
		printf("ended");
	printf(" %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status));
	/* A child that forks must not say it again. */
	fflush(stdout);
	return 0;
}

static int
probe(const char *policy, const char *level)
{
	struct sock_fprog program;
	unsigned long call[7];
	char line[256];

	answer = mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (answer == MAP_FAILED || compile(policy, level, 0, &program) == -1) {
		perror("filter: compile");
		return 1;
	}
	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (sscanf(line, "%lu %lu %lu %lu %lu %lu %lu", &call[0], &call[1], &call[2], &call[3], &call[4], &call[5], &call[6]) != 7)
			return usage();
		if (probe_one(&program, call) == -1) {
			perror("filter: fork");
			return 1;
		}
	}
	free(program.filter);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "values") == 0)
		return print_values();
	if (argc == 5 && strcmp(argv[1], "show") == 0)
		return show(argv[2], argv[3], argv[4]);
	if (argc == 4 && strcmp(argv[1], "probe") == 0)
		return probe(argv[2], argv[3]);
	return usage();
}
