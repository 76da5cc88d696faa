/*
 * The requests that a collector may ever send, built once and then read-only.
 *
 * Whoever holds CAP_NET_ADMIN and a sock_diag socket can kill any connection
 * of the namespace with SOCK_DESTROY, and a filter cannot look into a message.
 * It can compare the address of a msghdr: sendmsg is allowed with this one
 * only, in a page that can no longer be written.  The one word that changes
 * from walk to walk, the sequence number, lies outside and is given by an
 * iovec of its own; the type of the request is out of reach.
 */
#ifndef COLLECTOR_REQUEST_H
#define COLLECTOR_REQUEST_H

#include <stddef.h>
#include <stdint.h>

/*
 * Builds the dump request in the page and makes it read-only.
 * states: 1 << TCP state; extensions: idiag_ext, see attributes_extensions().
 * Returns 0, or -1 with errno.
 */
int	request_pin(void *page, uint32_t states, uint8_t extensions);
/* Asks for one walk; its answers carry this sequence.  -1 with errno. */
int	request_walk(uint32_t sequence);
/* The bytes that the last walk was asked for with, at most size of them: for captures. */
size_t	request_last(void *to, size_t size);

#endif
