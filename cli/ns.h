/* tcpdiag ns: the network namespaces as the namespacer sees them. */
#ifndef CLI_NS_H
#define CLI_NS_H

/* argv[0] is the command's own name.  Returns the exit code. */
int	ns_main(int argc, char **argv);

#endif
