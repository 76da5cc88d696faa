/* tcpdiag ns: looks where the namespacer looks, and counts inside. */
#include <sys/mman.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/ns.h"
#include "collector/sockstat.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/utf8.h"
#include "namespacer/discovery.h"
#include "namespacer/netns.h"
#include "namespacer/privilege.h"


static struct {
	struct config	config;
	bool		json;
	struct sockstat	*shared;	/* written by the children that enter */
} ns;

static int
ns_set_json(void *context, const char *value)
{
	(void)context;
	(void)value;
	ns.json = true;
	return 0;
}

static const struct config_option ns_options[] = {
	{ "json", 'j', NULL, "print a JSON array", ns_set_json },
	{ NULL, 0, NULL, NULL, NULL }
};

static const struct config_program ns_program = {
	.name = "tcpdiag ns",
	.usage = "[options]",
	.about = "lists the network namespaces, as the namespacer sees them",
	.letter = 'N',
	.options = ns_options,
};

/* In a child, since a process that went elsewhere would have to find back. */
static _Noreturn void
ns_count_inside(int fd, struct sockstat *counts)
{
	int four, six;

	if (setns(fd, CLONE_NEWNET) == -1)
		_exit(1);
	four = open("/proc/thread-self/net/sockstat", O_RDONLY | O_CLOEXEC);
	six = open("/proc/thread-self/net/sockstat6", O_RDONLY | O_CLOEXEC);
	_exit(sockstat_read(four, six, counts) == 0 ? 0 : 1);
}

static bool
ns_count(const struct netns *netns, struct sockstat *counts)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		ns_count_inside(netns->fd, ns.shared);
	if (child == -1 || waitpid(child, &status, 0) == -1 || status != 0)
		return false;
	*counts = *ns.shared;
	return true;
}

/* A holder's path is other people's; a name is clean already. */
static void
ns_print_json_string(const char *from)
{
	char clean[PATH_MAX];
	const char *text = clean;

	snprintf(clean, sizeof(clean), "%s", from);
	utf8_clean(clean);
	putchar('"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static void
ns_print_json(const struct netns *netns, const struct sockstat *counts, bool counted)
{
	printf("{\"inode\":%" PRIu64 ",\"name\":", netns->inode);
	ns_print_json_string(netns->name);
	printf(",\"found\":\"%s\",\"holder\":", netns_how_text(netns->how));
	ns_print_json_string(netns->holder);
	if (netns->container[0] != '\0')
		printf(",\"container\":\"%s\",\"runtime\":\"%s\"", netns->container, netns->runtime);
	if (counted)
		printf(",\"sockets\":%" PRIu64 ",\"time_wait\":%" PRIu64, counts->inuse, counts->tw);
	printf("}");
}

static void
ns_print_line(const struct netns *netns, const struct sockstat *counts, bool counted)
{
	char sockets[32] = "-", time_wait[32] = "-";

	if (counted) {
		snprintf(sockets, sizeof(sockets), "%" PRIu64, counts->inuse);
		snprintf(time_wait, sizeof(time_wait), "%" PRIu64, counts->tw);
	}
	printf("%10" PRIu64 " %8s %9s  %-7s  %s\n", netns->inode, sockets, time_wait,
	    netns_how_text(netns->how), netns->name);
}

static void
ns_print_all(void)
{
	const char *separator = "[";
	struct netns *netns;

	if (!ns.json)
		printf("%10s %8s %9s  %-7s  %s\n", "INODE", "SOCKETS", "TIME_WAIT", "FOUND", "NAME");
	TAILQ_FOREACH(netns, &netns_all, all) {
		struct sockstat counts = { 0 };
		bool counted;

		netns_choose_name(netns);
		if (!netns_matches(netns, &ns.config.netns))
			continue;
		counted = ns_count(netns, &counts);
		if (!ns.json) {
			ns_print_line(netns, &counts, counted);
			continue;
		}
		fputs(separator, stdout);
		ns_print_json(netns, &counts, counted);
		separator = ",\n ";
	}
	if (ns.json)
		puts(strcmp(separator, "[") == 0 ? "[]" : "]");
}

int
ns_main(int argc, char **argv)
{
	int code;

	config_init(&ns.config);
	if ((code = config_parse(&ns.config, &ns_program, argc, argv, NULL)) != -1)
		return code;
	privilege_check();
	ns.shared = mmap(NULL, sizeof(*ns.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ns.shared == MAP_FAILED)
		fatal_errno(EXIT_CODE_SYSTEM, "mmap");
	netns_init();
	discovery_init(&ns.config.netns_folder);
	discovery_scan(NULL, 0);
	fflush(stdout);
	ns_print_all();
	config_free(&ns.config);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_CODE_OK;
	log_errno(LOG_LEVEL_ERROR, "stdout");
	return EXIT_CODE_SINK;
}
