/*
 * The requests that a collector may ever send, built once and then read-only.
 *
 * Whoever holds CAP_NET_ADMIN and a sock_diag socket can kill any connection
 * of the namespace with SOCK_DESTROY, and a filter cannot look into a message.
 * It can compare the address of a msghdr: sendmsg is allowed with those of this
 * page only, and the page can no longer be written.  What changes from request
 * to request lies outside and is given by an iovec of its own: the sequence
 * number of a dump, and the ids of the sockets that are asked for by id.  Type
 * and flags of a request are out of reach.
 */
#ifndef COLLECTOR_REQUEST_H
#define COLLECTOR_REQUEST_H

#include <stddef.h>
#include <stdint.h>

struct inet_diag_sockid;

/* The dumps. */
enum request_dump {
	REQUEST_WALK,		/* every socket, by one walk of the host's table */
	REQUEST_LISTENERS,	/* the listening ones; that table is not walked */
	REQUEST_DUMPS
};

enum { REQUEST_BATCH = 64 };	/* sockets that are asked for by id at a time, at most */

/*
 * Builds all requests in the page and makes it read-only.  states: those of
 * REQUEST_WALK, 1 << TCP state; extensions: idiag_ext of all, see
 * attributes_extensions().  Returns 0, or -1 with errno.
 */
int	request_pin(void *page, uint32_t states, uint8_t extensions);
/* Asks for a dump; its answers carry this sequence.  -1 with errno. */
int	request_dump(enum request_dump, uint32_t sequence);
/*
 * Asks for the first of these sockets by id, at most REQUEST_BATCH, and returns
 * how many; -1 with errno.  IPv4 addresses stand as v4-mapped ones.  All answers
 * are there when it returns, in the same order, and carry the sequence 0.
 */
int	request_read(const struct inet_diag_sockid *ids, size_t count);
/* The bytes that the last walk was asked for with, at most size of them: for captures. */
size_t	request_last(void *to, size_t size);

#endif
