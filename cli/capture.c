/*
 * tcpdiag capture: asks the kernel for the sockets of one or all network
 * namespaces as a collector does, with its code, and keeps request and answers
 * as they were, but for TCP-MD5 keys.  Each namespace is read by a child.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/anonymize.h"
#include "cli/capture.h"
#include "cli/capture_child.h"
#include "cli/capture_copy.h"
#include "cli/capture_file.h"
#include "cli/input.h"
#include "collector/attributes.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/log.h"
#include "namespacer/decoders.h"
#include "namespacer/discovery.h"
#include "namespacer/netns.h"
#include "namespacer/privilege.h"
#include "namespacer/states.h"

/* What children write, too. */
struct capture_shared {
	struct capture_told	told;	/* by the last one */
	struct capture_books	books;	/* of all */
};

static struct {
	struct config		 config;
	uint32_t		 states;
	uint64_t		 attributes;	/* that are asked for: bits of enum record_source */
	bool			 here;		/* --this-netns */
	bool			 with_mark;
	bool			 anonymize;
	const char		*key;		/* --anonymize-key, or NULL */
	const char		*from;		/* --from, or NULL */
	const char		*name;		/* of the file */
	struct input		 input;		/* of --from */
	struct capture_file	 file;
	struct capture_shared	*shared;
	void			*pinned;
	uint64_t		 namespaces, incomplete;
} capture;

/* --- the children ------------------------------------------------------------- */

static int
capture_explain(const char *name)
{
	const struct capture_told *told = &capture.shared->told;
	bool right = told->error == EPERM || told->error == EACCES;

	log_error("%s is not captured: cannot %s: %s%s", name, told->step, strerror(told->error),
	    right ? "; run it as root (sudo)" : "");
	return right ? EXIT_CODE_PRIVILEGE : EXIT_CODE_SYSTEM;
}

/* A dump that failed is in the file as far as it went. */
static void
capture_judge(const char *name)
{
	const struct capture_told *told = &capture.shared->told;

	if (told->outcome == RECORD_OUTCOME_COMPLETE)
		return;
	capture.incomplete++;
	log_warning("the dump of %s is incomplete (%s%s%s)%s", name, record_enum_text(RECORD_OUTCOME, told->outcome),
	    told->error != 0 ? ": " : "", told->error != 0 ? strerror(told->error) : "",
	    told->error == ENOENT ? "; try: modprobe tcp_diag" : "");
}

static pid_t
capture_fork(struct capture_child *start)
{
	pid_t child;

	capture.shared->told = (struct capture_told){ 0 };
	if ((child = fork()) == 0)
		capture_child(start);
	return child;
}

/* One namespace; -1: the one that it is in.  Returns the exit code. */
static int
capture_namespace(int netns, const struct pcap_identity *identity)
{
	struct capture_child start = {
		.netns = netns,
		.identity = *identity,
		.states = capture.states,
		.extensions = attributes_extensions(capture.attributes),
		.with_mark = capture.with_mark,
		.patience = capture.config.deadline != 0 ? capture.config.deadline : capture.config.interval,
		.pinned = capture.pinned,
		.file = &capture.file,
		.told = &capture.shared->told,
	};
	pid_t child = capture_fork(&start);
	int status;

	if (child == -1 || waitpid(child, &status, 0) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "no child reads %s", identity->name);
	/* The child has written it. */
	capture.file.interfaces++;
	capture.namespaces++;
	if (capture.shared->told.step != NULL)
		return capture_explain(identity->name);
	if (!WIFEXITED(status))
		fatal(EXIT_CODE_SYSTEM, "the child that reads %s was killed by signal %d", identity->name, WTERMSIG(status));
	if (WEXITSTATUS(status) == EXIT_CODE_OK)
		capture_judge(identity->name);
	return WEXITSTATUS(status);
}

/* --- which namespaces --------------------------------------------------------- */

static bool
capture_is_file(const char *netns)
{
	return strchr(netns, '/') != NULL;
}

/* The one that a file leads to, in the table. */
static struct netns *
capture_add_file(const char *path)
{
	enum netns_how how = strncmp(path, "/proc/", strlen("/proc/")) == 0 ? NETNS_PROCESS : NETNS_MOUNT;
	uint64_t inode = netns_inode_of(path);
	struct netns *ns = inode != 0 ? netns_find(inode) : NULL;

	if (ns == NULL && (inode == 0 || (ns = netns_add(path, inode, how)) == NULL))
		log_errno(LOG_LEVEL_ERROR, "--netns: %s is no network namespace", path);
	return ns;
}

/* True if it was asked for: by a file that leads to it, by its name, or by nothing in particular. */
static bool
capture_wants(const struct netns *ns)
{
	const struct config_list *wanted = &capture.config.netns;

	for (size_t i = 0; i < wanted->count; i++) {
		struct config_list one = { &wanted->items[i], 1 };

		if (capture_is_file(wanted->items[i]) ? netns_inode_of(wanted->items[i]) == ns->inode : netns_matches(ns, &one))
			return true;
	}
	return wanted->count == 0;
}

/* Names all of them, and forgets those that nobody asked for.  False: none is left. */
static bool
capture_choose(void)
{
	struct netns *ns, *next;

	TAILQ_FOREACH(ns, &netns_all, all)
		netns_choose_name(ns);
	TAILQ_FOREACH_SAFE(ns, &netns_all, all, next)
		if (!capture_wants(ns))
			netns_remove(ns);
	return !TAILQ_EMPTY(&netns_all);
}

/* Returns -1, or the exit code. */
static int
capture_find(void)
{
	const struct config_list *wanted = &capture.config.netns;
	bool scan = wanted->count == 0;

	privilege_check();
	netns_init();
	for (size_t i = 0; i < wanted->count; i++) {
		if (!capture_is_file(wanted->items[i]))
			scan = true;
		else if (capture_add_file(wanted->items[i]) == NULL)
			return EXIT_CODE_USAGE;
	}
	if (scan) {
		discovery_init(&capture.config.netns_folder);
		discovery_scan(NULL, 0);
	}
	if (capture_choose())
		return -1;
	log_error("no network namespace has such a name; tcpdiag ns lists them");
	return EXIT_CODE_USAGE;
}

static int
capture_here(void)
{
	struct pcap_identity identity = { 0 };

	netns_init();
	identity.inode = netns_inode_of("/proc/self/ns/net");
	if (netns_is_default(identity.inode))
		snprintf(identity.name, sizeof(identity.name), "default");
	else
		snprintf(identity.name, sizeof(identity.name), "netns:[%" PRIu64 "]", identity.inode);
	return capture_namespace(-1, &identity);
}

static int
capture_all(void)
{
	struct netns *ns;
	int code = EXIT_CODE_OK;

	TAILQ_FOREACH(ns, &netns_all, all) {
		struct pcap_identity identity = { .inode = ns->inode };

		memcpy(identity.name, ns->name, sizeof(identity.name));
		memcpy(identity.container, ns->container, sizeof(identity.container));
		memcpy(identity.runtime, ns->runtime, sizeof(identity.runtime));
		if ((code = capture_namespace(ns->fd, &identity)) != EXIT_CODE_OK)
			return code;
	}
	return code;
}

/* --- the command line --------------------------------------------------------- */

static int
capture_set_here(void *context, const char *value)
{
	(void)context;
	(void)value;
	capture.here = true;
	return 0;
}

static int
capture_set_mark(void *context, const char *value)
{
	(void)context;
	(void)value;
	capture.with_mark = true;
	return 0;
}

static int
capture_set_ng(void *context, const char *value)
{
	(void)context;
	(void)value;
	capture.file.ng = true;
	return 0;
}

static int
capture_set_anonymize(void *context, const char *value)
{
	(void)context;
	(void)value;
	capture.anonymize = true;
	return 0;
}

static int
capture_set_key(void *context, const char *value)
{
	(void)context;
	capture.anonymize = true;
	capture.key = value;
	return 0;
}

static int
capture_set_from(void *context, const char *value)
{
	(void)context;
	capture.from = value;
	return 0;
}

static const struct config_option capture_options[] = {
	{ "this-netns", 0, NULL, "only the namespace that it runs in, which needs no right", capture_set_here },
	{ "with-mark", 0, NULL, "keep CAP_NET_ADMIN while it reads, so that the kernel tells marks", capture_set_mark },
	{ "from", 0, "FILE", "copy a capture, of nlmon for example, instead of asking the kernel", capture_set_from },
	{ "pcapng", 0, NULL, "write a pcapng, in which each namespace is an interface with its name", capture_set_ng },
	{ "anonymize", 0, NULL, "write stand-ins for addresses and names", capture_set_anonymize },
	{ "anonymize-key", 0, "FILE", "the same stand-ins whenever the FILE has the same bytes", capture_set_key },
	{ NULL, 0, NULL, NULL, NULL }
};

static const char *
capture_check(void *context, const struct config *config, char *error, size_t size)
{
	(void)context;
	if ((capture.states = states_mask(&config->state, error, size)) == 0)
		return "state";
	capture.attributes = decoders_mask(&config->decoders, error, size);
	return capture.attributes == 0 ? "decoders" : NULL;
}

static const struct config_program capture_program = {
	.name = "tcpdiag capture",
	.usage = "[options] FILE",
	.about = "writes one dump of each network namespace, request and answers, as a pcap (-: to standard output);\n"
	    "--netns also takes a file that leads to a namespace; TCP-MD5 keys are overwritten",
	.letter = 'N',
	.options = capture_options,
	.check = capture_check,
};

static void *
capture_map(size_t size, int flags)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fatal_errno(EXIT_CODE_SYSTEM, "mmap");
	return memory;
}

/* What does not go together, or is missing.  Returns -1, or the exit code. */
static int
capture_refuse(int operands)
{
	const char *what = NULL;

	if (operands != 1)
		what = operands == 0 ? "which FILE?  - is standard output" : "only one FILE at a time";
	else if (capture.from != NULL && (capture.here || capture.with_mark))
		what = "--from reads a capture, not a namespace";
	else if (strcmp(capture.name, "-") == 0 && isatty(STDOUT_FILENO))
		what = "a capture is not for a terminal; give a FILE";
	if (what == NULL)
		return -1;
	log_error("%s (see --help)", what);
	return EXIT_CODE_USAGE;
}

/* Everything that can be refused is refused before the file is touched. */
static int
capture_prepare(int argc, char **argv)
{
	int code, first;

	config_init(&capture.config);
	if ((code = config_parse(&capture.config, &capture_program, argc, argv, &first)) != -1)
		return code;
	capture.name = argv[first];
	if ((code = capture_refuse(argc - first)) != -1)
		return code;
	if (capture.from != NULL && input_open(&capture.input, capture.from) == -1)
		return EXIT_CODE_DATA;
	if (capture.anonymize && (capture.file.anonymize = anonymize_open(capture.key)) == NULL)
		return EXIT_CODE_USAGE;
	if (capture.from == NULL && !capture.here && (code = capture_find()) != -1)
		return code;
	return capture_file_open(&capture.file, capture.name, capture.from != NULL ? capture.input.fd : -1) == -1 ? EXIT_CODE_SINK : -1;
}

static void
capture_report(void)
{
	const struct capture_books *books = &capture.shared->books;

	if (capture.from == NULL)
		log_info("%s: namespaces: %" PRIu64 ", sockets: %" PRIu64 ", datagrams: %" PRIu64, capture.file.name, capture.namespaces,
		    books->counters.read, books->datagrams);
	else
		log_info("%s: sockets: %" PRIu64 ", datagrams: %" PRIu64, capture.file.name, books->counters.read, books->datagrams);
	if (books->counters.md5_keys > 0)
		log_info("%s: TCP-MD5 keys overwritten: %" PRIu64, capture.file.name, books->counters.md5_keys);
	if (books->overwritten > 0)
		log_warning("%s: messages that could not be taken apart, and were overwritten with zeros: %" PRIu64, capture.file.name,
		    books->overwritten);
}

/* Asks the kernel.  Returns the exit code. */
static int
capture_live(void)
{
	int code;

	capture_file_begin(&capture.file);
	if (!capture_file_flush(&capture.file))
		return EXIT_CODE_SINK;
	code = capture.here ? capture_here() : capture_all();
	return code == EXIT_CODE_OK && capture.incomplete > 0 ? EXIT_CODE_INCOMPLETE : code;
}

int
capture_main(int argc, char **argv)
{
	int code;

	capture.file.fd = -1;
	code = capture_prepare(argc, argv);
	if (code == -1) {
		/* A reader that has gone is an error like others, and is told. */
		signal(SIGPIPE, SIG_IGN);
		signal(SIGCHLD, SIG_DFL);
		capture.shared = capture_map(sizeof(*capture.shared), MAP_SHARED);
		capture.pinned = capture_map((size_t)sysconf(_SC_PAGESIZE), MAP_PRIVATE);
		capture.file.books = &capture.shared->books;
		code = capture.from != NULL ? capture_copy(&capture.input, &capture.file) : capture_live();
		if (code == EXIT_CODE_OK || code == EXIT_CODE_INCOMPLETE || code == EXIT_CODE_DATA)
			capture_report();
	}
	if (capture.from != NULL)
		input_close(&capture.input);
	capture_file_close(&capture.file);
	config_free(&capture.config);
	return code;
}
