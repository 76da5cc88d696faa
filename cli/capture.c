/*
 * tcpdiag capture: asks the kernel for the sockets of one or all network
 * namespaces as a collector does, with its code, and keeps request and answers
 * as they were, but for TCP-MD5 keys.
 *
 * Each namespace is read by a child, which gives up its capabilities before it
 * asks: the kernel looks at the process that reads, and tells marks and keys
 * to one with CAP_NET_ADMIN only.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/capture.h"
#include "cli/datagram.h"
#include "cli/pcap.h"
#include "collector/attributes.h"
#include "collector/collector.h"
#include "collector/request.h"
#include "collector/walk.h"
#include "common/clock.h"
#include "common/confine.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/title.h"
#include "namespacer/decoders.h"
#include "namespacer/discovery.h"
#include "namespacer/netns.h"
#include "namespacer/privilege.h"
#include "namespacer/states.h"

enum { CAPTURE_FD_HIGH = 64, CAPTURE_REQUEST_MAX = 1024 };

/* What a child tells: of itself first, and what it adds to the sums. */
struct capture_shared {
	const char		*step;		/* that failed, or NULL; a constant of this program */
	int			 error;		/* errno of it, or the kernel's of the dump */
	enum record_outcome	 outcome;
	uint64_t		 sockets, datagrams;
	struct counters		 counters;
};

static struct {
	struct config		 config;
	uint32_t		 states;
	uint64_t		 attributes;	/* that are asked for */
	bool			 here;
	bool			 with_mark;
	const char		*file;
	int			 out;
	struct capture_shared	*shared;
	uint64_t		 namespaces, incomplete;

	/* the child's */
	void			*pinned;
	struct attributes	 found;
	struct buffer		 packets;
	uint64_t		 start;		/* when it asked */
	bool			 asked;		/* the request is written */
} capture = { .out = -1 };

/* False: it is said why the file takes no more. */
static bool
capture_write(void)
{
	const uint8_t *bytes = capture.packets.bytes;
	size_t length = capture.packets.length;

	while (length > 0) {
		ssize_t n = write(capture.out, bytes, length);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			log_errno(LOG_LEVEL_ERROR, "%s", capture.file);
			return false;
		}
		bytes += n;
		length -= (size_t)n;
	}
	capture.packets.length = 0;
	return true;
}

/* --- in the child ------------------------------------------------------------- */

static _Noreturn void
capture_fail(const char *step)
{
	capture.shared->step = step;
	capture.shared->error = errno;
	_exit(EXIT_CODE_SYSTEM);
}

static void
capture_flush(void)
{
	if (!capture_write())
		_exit(EXIT_CODE_SINK);
}

static void
capture_request(void)
{
	uint8_t request[CAPTURE_REQUEST_MAX];

	if (capture.asked)
		return;
	capture.asked = true;
	pcap_write_datagram(&capture.packets, capture.start, request, request_last(request, sizeof(request)));
}

static bool
capture_socket(void *context, struct nlmsghdr *message)
{
	(void)context;
	capture.shared->sockets++;
	return attributes_find(&capture.found, message, &capture.shared->counters);
}

/* Why the kernel did not answer, if it says so. */
static void
capture_note_error(const struct nlmsghdr *message, size_t length)
{
	const struct nlmsgerr *error = (const struct nlmsgerr *)(message + 1);

	if (length >= NLMSG_LENGTH(sizeof(error->error)) &&
	    (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE))
		capture.shared->error = -error->error;
}

static void
capture_datagram(void *context, void *bytes, size_t length)
{
	/* Keys of its sockets are overwritten already, and are not counted again. */
	struct counters ignored = { 0 };

	(void)context;
	capture_request();
	datagram_wipe(bytes, length, &ignored);
	capture_note_error(bytes, length);
	pcap_write_datagram(&capture.packets, clock_real(), bytes, length);
	capture.shared->datagrams++;
	capture_flush();
}

static void
capture_abandoned(void *context)
{
	(void)context;
}

static void
capture_enter(int netns)
{
	uint64_t cookie;
	int fd;

	if (netns != -1 && setns(netns, CLONE_NEWNET) == -1)
		capture_fail("join the network namespace");
	if ((fd = walk_open(&cookie)) == -1)
		capture_fail("open the sock_diag socket");
	if (fd != COLLECTOR_FD_NETLINK && dup2(fd, COLLECTOR_FD_NETLINK) == -1)
		capture_fail("put the sock_diag socket in its place");
	if (request_pin(capture.pinned, capture.states, attributes_extensions(capture.attributes)) == -1)
		capture_fail("pin the request");
}

static void
capture_confine(void)
{
	const cap_value_t mark[] = { CAP_NET_ADMIN };

	if (confine_capabilities(mark, capture.with_mark ? 1 : 0) == -1)
		capture_fail(capture.with_mark ? "keep CAP_NET_ADMIN" : "give up its capabilities");
	if (confine_no_new_privileges() == -1 || confine_undumpable() == -1)
		capture_fail("confine itself");
}

static _Noreturn void
capture_child(int netns, const char *name)
{
	static const struct walk_handler handler = {
		.socket = capture_socket,
		.datagram = capture_datagram,
		.abandoned = capture_abandoned,
	};
	uint64_t deadline = capture.config.deadline != 0 ? capture.config.deadline : capture.config.interval;

	title_set("tcpdiag: capture %s", name);
	capture_enter(netns);
	capture_confine();
	capture.start = clock_real();
	capture.shared->outcome = walk_once(REQUEST_WALK, &handler, clock_monotonic() + deadline);
	capture_request();
	capture_flush();
	_exit(EXIT_CODE_OK);
}

/* --- in the parent ------------------------------------------------------------ */

static int
capture_explain(const char *name)
{
	const struct capture_shared *shared = capture.shared;
	bool right = shared->error == EPERM || shared->error == EACCES;

	log_error("%s is not captured: cannot %s: %s%s", name, shared->step, strerror(shared->error),
	    right ? "; run it as root (sudo)" : "");
	return right ? EXIT_CODE_PRIVILEGE : EXIT_CODE_SYSTEM;
}

/* A dump that failed is in the file as far as it went. */
static void
capture_judge(const char *name)
{
	const struct capture_shared *shared = capture.shared;

	if (shared->outcome == RECORD_OUTCOME_COMPLETE)
		return;
	capture.incomplete++;
	log_warning("the dump of %s is incomplete (%s%s%s)%s", name, record_enum_text(RECORD_OUTCOME, shared->outcome),
	    shared->error != 0 ? ": " : "", shared->error != 0 ? strerror(shared->error) : "",
	    shared->error == ENOENT ? "; try: modprobe tcp_diag" : "");
}

/* One namespace; -1: the one that it is in.  Returns the exit code. */
static int
capture_namespace(int netns, const char *name)
{
	pid_t child;
	int status;

	capture.shared->step = NULL;
	capture.shared->error = 0;
	if ((child = fork()) == 0)
		capture_child(netns, name);
	if (child == -1 || waitpid(child, &status, 0) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "no child reads %s", name);
	capture.namespaces++;
	if (capture.shared->step != NULL)
		return capture_explain(name);
	if (!WIFEXITED(status))
		fatal(EXIT_CODE_SYSTEM, "the child that reads %s was killed by signal %d", name, WTERMSIG(status));
	if (WEXITSTATUS(status) == EXIT_CODE_OK)
		capture_judge(name);
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
		discovery_scan();
	}
	if (capture_choose())
		return -1;
	log_error("no network namespace has such a name; tcpdiag ns lists them");
	return EXIT_CODE_USAGE;
}

static int
capture_all(void)
{
	struct netns *ns;
	int code = EXIT_CODE_OK;

	TAILQ_FOREACH(ns, &netns_all, all)
		if ((code = capture_namespace(ns->fd, ns->name)) != EXIT_CODE_OK)
			return code;
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

static const struct config_option capture_options[] = {
	{ "this-netns", 0, NULL, "only the namespace that it runs in, which needs no right", capture_set_here },
	{ "with-mark", 0, NULL, "keep CAP_NET_ADMIN while it reads, so that the kernel tells marks", capture_set_mark },
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

/* Out of the way of the number that the sock_diag socket must have.  -1: it is said. */
static int
capture_open(void)
{
	bool standard = strcmp(capture.file, "-") == 0;
	cleanup_fd int fd = standard ? dup(STDOUT_FILENO) : open(capture.file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0640);

	if (standard)
		capture.file = "standard output";
	if (fd != -1)
		capture.out = fcntl(fd, F_DUPFD_CLOEXEC, CAPTURE_FD_HIGH);
	if (capture.out == -1)
		log_errno(LOG_LEVEL_ERROR, "%s cannot be opened for writing", capture.file);
	return capture.out == -1 ? -1 : 0;
}

static void *
capture_map(size_t size, int flags)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fatal_errno(EXIT_CODE_SYSTEM, "mmap");
	return memory;
}

/* Everything that can be refused is refused before the file is touched. */
static int
capture_prepare(int argc, char **argv)
{
	int code, first;

	config_init(&capture.config);
	if ((code = config_parse(&capture.config, &capture_program, argc, argv, &first)) != -1)
		return code;
	if (argc - first != 1) {
		log_error("%s (see --help)", first == argc ? "which FILE?  - is standard output" : "only one FILE at a time");
		return EXIT_CODE_USAGE;
	}
	if (capture.here && capture.config.netns.count > 0) {
		log_error("--this-netns and --netns are not for the same capture");
		return EXIT_CODE_USAGE;
	}
	capture.file = argv[first];
	if (strcmp(capture.file, "-") == 0 && isatty(STDOUT_FILENO)) {
		log_error("a capture is not for a terminal; give a FILE");
		return EXIT_CODE_USAGE;
	}
	if (!capture.here && (code = capture_find()) != -1)
		return code;
	return capture_open() == -1 ? EXIT_CODE_SINK : -1;
}

static void
capture_report(void)
{
	const struct capture_shared *shared = capture.shared;

	log_info("%s: namespaces: %" PRIu64 ", sockets: %" PRIu64 ", datagrams: %" PRIu64 ", TCP-MD5 keys overwritten: %" PRIu64,
	    capture.file, capture.namespaces, shared->sockets, shared->datagrams, shared->counters.md5_keys);
}

int
capture_main(int argc, char **argv)
{
	int code = capture_prepare(argc, argv);

	if (code != -1)
		return code;
	/* A reader that has gone is an error like others, and is told. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	capture.shared = capture_map(sizeof(*capture.shared), MAP_SHARED);
	capture.pinned = capture_map((size_t)sysconf(_SC_PAGESIZE), MAP_PRIVATE);
	pcap_write_header(&capture.packets);
	if (!capture_write())
		code = EXIT_CODE_SINK;
	else
		code = capture.here ? capture_namespace(-1, "this namespace") : capture_all();
	if (code == EXIT_CODE_OK) {
		capture_report();
		code = capture.incomplete > 0 ? EXIT_CODE_INCOMPLETE : EXIT_CODE_OK;
	}
	close(capture.out);
	buffer_free(&capture.packets);
	config_free(&capture.config);
	return code;
}
