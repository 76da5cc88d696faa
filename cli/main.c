/* tcpdiag: what a person calls. */
#include <stdio.h>
#include <string.h>

#include "cli/audit.h"
#include "cli/capture.h"
#include "cli/consume.h"
#include "cli/decode.h"
#include "cli/ns.h"
#include "cli/replay.h"
#include "cli/run.h"
#include "cli/schema.h"
#include "cli/spool.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/title.h"
#include "common/version.h"

static const struct {
	const char	*name;
	int		(*main)(int argc, char **argv);
	const char	*help;
} commands[] = {
	{ "run", run_main, "stream this host's sockets: both daemons, in the foreground" },
	{ "ns", ns_main, "list the network namespaces" },
	{ "audit", audit_main, "hold the running processes against the declared policy; the books" },
	{ "spool", spool_main, "list what waits on disk for the sink, hold it back, try rejects again" },
	{ "decode", decode_main, "print a file of records in another format" },
	{ "consume", consume_main, "print a topic of Kafka's, and tell what is missing in it" },
	{ "schema", schema_main, "register the schema of records at a registry" },
	{ "capture", capture_main, "write the kernel's answers about sockets as a pcap" },
	{ "replay", replay_main, "print the sockets of such a capture in any format" },
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void
usage(FILE *out)
{
	fprintf(out, "usage: tcpdiag COMMAND [options]\n"
	    "       tcpdiag --version | --help\n\n"
	    "Streams the state of every TCP socket of a host, in every network namespace.\n\n"
	    "Commands (each has --help):\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
}

int
main(int argc, char **argv)
{
	title_init(argc, argv);
	log_init("tcpdiag", LOG_LEVEL_INFO);
	if (argc < 2) {
		usage(stderr);
		return EXIT_CODE_USAGE;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].main(argc - 1, argv + 1);
	if (strcmp(argv[1], "--version") == 0) {
		printf("tcpdiag %s\n", version_text);
		return EXIT_CODE_OK;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		usage(stdout);
		return EXIT_CODE_OK;
	}
	log_error("'%s' is no command; see tcpdiag --help", argv[1]);
	return EXIT_CODE_USAGE;
}
