/*
 * One dump: asks, receives, checks what the kernel says about it, and hands
 * every socket message on.  KERNEL.md tells what can happen; in short: the
 * kernel never says that a dump was interrupted, but it can fail at any
 * datagram, and only NLMSG_DONE with no error is the end of a whole one.
 */
#ifndef COLLECTOR_WALK_H
#define COLLECTOR_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/request.h"
#include "common/record.h"

struct nlmsghdr;

/* The kernel never fills more than this in one receive of a dump. */
enum { WALK_BUFFER = 32 * 1024 };

struct walk_handler {
	/* A socket; false: malformed, the walk has failed. */
	bool	(*socket)(void *context, struct nlmsghdr *);
	/* All messages of a datagram have been handed on; its bytes are the walk's. */
	void	(*datagram)(void *context, void *bytes, size_t length);
	/* A message of a walk that has failed already: count it. */
	void	(*abandoned)(void *context);
	void	*context;
};

/*
 * Opens the socket of this thread's network namespace that walks are made by;
 * its caller puts it at COLLECTOR_FD_NETLINK.  Nobody but the kernel is heard.
 * *cookie: the namespace's; 0 before Linux 5.14.  -1 with errno.
 */
int			walk_open(uint64_t *cookie);
/*
 * Asks for one dump; no answer may take longer than to the deadline (monotonic ns).
 * Whatever comes of it, the socket is empty afterwards, ready for the next.
 * Returns RECORD_OUTCOME_COMPLETE, or why not.
 */
enum record_outcome	walk_once(enum request_dump, const struct walk_handler *, uint64_t deadline);
/*
 * True if what is left of a datagram begins with a whole message.  To
 * mnl_nlmsg_ok(), a length of 2 GiB and more is a negative one, which fits.
 */
bool			walk_message_whole(const struct nlmsghdr *, int left);
/* Where answers are received, WALK_BUFFER bytes: it serves whoever asks. */
void			*walk_buffer(void);
/* Reads and counts what is left of answers, and wipes the buffer: there may be a TCP-MD5 key in it. */
void			walk_abandon(const struct walk_handler *);

#endif
