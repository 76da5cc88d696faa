/*
 * Whose answer a message of a capture is: one namespace's dump is told from
 * another by the reader's port id and the request's sequence.  Datagrams may
 * come in any order.
 */
#ifndef CLI_CONVERSATIONS_H
#define CLI_CONVERSATIONS_H

#include <stdbool.h>
#include <stdint.h>

struct nlmsghdr;

struct conversation {
	uint64_t	snapshot;	/* 1 for the first in the file, and so on */
	uint64_t	records;	/* for the user to count */
};

struct conversations {
	void		*answers, *requests;	/* trees of search.h */
	uint64_t	 count;
};

/* The one that an answer belongs to, till conversations_free. */
struct conversation	*conversations_of(struct conversations *, uint64_t interface, const struct nlmsghdr *);
/* Notes what a request asks for, if it is one for sockets. */
void			 conversations_ask(struct conversations *, uint64_t interface, const struct nlmsghdr *);
/*
 * True unless the last request with an answer's sequence asked for something
 * else than TCP.  (A request does not show the port id of who made it.)
 */
bool			 conversations_tcp(const struct conversations *, uint64_t interface, const struct nlmsghdr *);
void			 conversations_free(struct conversations *);

#endif
