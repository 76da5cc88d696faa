/* A datagram of NETLINK_SOCK_DIAG, of the kernel's or out of a file. */
#ifndef CLI_DATAGRAM_H
#define CLI_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/counters.h"

struct nlmsghdr;

/* True if it asks for sockets. */
bool	datagram_is_request(const struct nlmsghdr *);
/* True if it answers for a TCP socket, or for another of the same families. */
bool	datagram_is_socket(const struct nlmsghdr *);
/*
 * Overwrites TCP-MD5 keys, and the payload of whatever could hold one unseen:
 * messages that cannot be taken apart, or are of other kinds than belong here.
 * Returns how many of these there were.  Of the counters, the sockets (read),
 * the keys, and what attributes_find() counts are counted.
 */
uint64_t	datagram_wipe(void *bytes, size_t length, struct counters *);

#endif
