/* tcpdiag capture: the netlink conversation of one dump, as a pcap. */
#ifndef CLI_CAPTURE_H
#define CLI_CAPTURE_H

/* argv[0] is the command's own name.  Returns the exit code. */
int	capture_main(int argc, char **argv);

#endif
