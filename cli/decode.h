/* tcpdiag decode: files of records, in the format that is asked for. */
#ifndef CLI_DECODE_H
#define CLI_DECODE_H

/* argv[0] is the command's own name.  Returns the exit code. */
int	decode_main(int argc, char **argv);

#endif
