/* A datagram of NETLINK_SOCK_DIAG, of the kernel's or out of a file. */
#ifndef CLI_DATAGRAM_H
#define CLI_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/counters.h"

struct nlmsghdr;

/* True if it answers for a TCP socket, or for another of the same families. */
bool	datagram_is_socket(const struct nlmsghdr *);
/*
 * Overwrites TCP-MD5 keys, and the payload of whatever could hold one unseen:
 * messages that cannot be taken apart, or are of other kinds than belong here.
 */
void	datagram_wipe(void *bytes, size_t length, struct counters *);

#endif
