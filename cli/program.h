/* The programs of an installation, for those that start or look for them. */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include <stddef.h>

/* Beside this program, or where an installation puts daemons.  Ends the process if there is none. */
void	program_find(const char *name, char *path, size_t size);

#endif
