/* A capture made of a capture: what may be shared of somebody's. */
#ifndef CLI_CAPTURE_COPY_H
#define CLI_CAPTURE_COPY_H

#include "cli/capture_file.h"
#include "cli/input.h"

/*
 * Copies what is of NETLINK_SOCK_DIAG, wiped like a new capture; says what is
 * left out.  Returns the exit code.
 */
int	capture_copy(struct input *, struct capture_file *);

#endif
