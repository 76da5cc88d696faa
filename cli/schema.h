/* tcpdiag schema: the schema of records, and its registry. */
#ifndef CLI_SCHEMA_H
#define CLI_SCHEMA_H

/* argv[0] is the command's own name.  Returns the exit code. */
int	schema_main(int argc, char **argv);

#endif
