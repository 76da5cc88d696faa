/* Exit codes of every program; sysexits(3) where it has a fitting one. */
#ifndef COMMON_EXIT_H
#define COMMON_EXIT_H

enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_USAGE = 64,		/* EX_USAGE: the command line */
	EXIT_CODE_DATA = 65,		/* EX_DATAERR: an input file */
	EXIT_CODE_INTERNAL = 70,	/* EX_SOFTWARE: a bug */
	EXIT_CODE_SYSTEM = 71,		/* EX_OSERR: the system refused */
	EXIT_CODE_SINK = 74,		/* EX_IOERR: the sink cannot be written */
	EXIT_CODE_INCOMPLETE = 75,	/* EX_TEMPFAIL: run --once or audit could not see all */
	EXIT_CODE_PEER = 76,		/* EX_PROTOCOL: a peer broke the protocol */
	EXIT_CODE_PRIVILEGE = 77,	/* EX_NOPERM: a right is missing */
	EXIT_CODE_CONFIG = 78,		/* EX_CONFIG: the configuration */
	EXIT_CODE_SANDBOX = 80,		/* a refused system call */
	EXIT_CODE_AUDIT = 81,		/* something is not as it was declared */
};

#endif
