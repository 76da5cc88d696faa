/* tcpdiag spool: what waits on disk, and what may be done about it. */
#ifndef CLI_SPOOL_H
#define CLI_SPOOL_H

/* argv[0] is the command's own name.  Returns the exit code. */
int	spool_main(int argc, char **argv);

#endif
