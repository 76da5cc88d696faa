/* tcpdiag run: both daemons in the foreground, with one configuration. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

/* argv[0] is the command's own name.  Returns the exit code. */
int	run_main(int argc, char **argv);

#endif
