/* tcpdiag consume. */
#ifndef CLI_CONSUME_H
#define CLI_CONSUME_H

int	consume_main(int argc, char **argv);

#endif
