/* tcpdiag replay: a capture of netlink as records. */
#ifndef CLI_REPLAY_H
#define CLI_REPLAY_H

/* argv[0] is the command's own name.  Returns the exit code. */
int	replay_main(int argc, char **argv);

#endif
