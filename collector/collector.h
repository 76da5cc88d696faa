/*
 * The collector: one process for each network namespace, forked by the
 * namespacer and never exec'd.  It reads the namespace's TCP sockets through
 * sock_diag and writes records into its ring.
 *
 * SECURITY: everything that needs a right happens before the filter is loaded,
 * in the order of setup.c; from then on it holds at most CAP_NET_ADMIN, can
 * send nothing to the kernel but the requests it built before, opens nothing,
 * allocates nothing, and sees no file, no network and no other process.
 */
#ifndef COLLECTOR_COLLECTOR_H
#define COLLECTOR_COLLECTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/record.h"

struct ring_producer;
struct sock_fprog;

struct collector_start {
	const char		*name;		/* of the namespace, for the title */
	int			 netns;		/* nsfs descriptor of the namespace */
	uint64_t		 inode;		/* that it must have */
	int			 empty_net, empty_mount, empty_ipc;
	int			 control;	/* to the namespacer: protocol.h */
	int			 doorbell;	/* to the shipper: bytes without meaning */
	struct ring_producer	*ring;		/* mapped; no descriptor of it is kept */
	void			*pinned;	/* a private page for the requests; the filter knows its address */
	const struct sock_fprog	*filter;	/* not in the heap; or empty */
	void			*heap;		/* where the heap begins: it is let go */
	pid_t			 parent;
	uid_t			 uid;
	gid_t			 gid;
	bool			 net_admin;	/* keep CAP_NET_ADMIN */
	uint32_t		 states;	/* 1 << TCP state: what to ask for */
	uint64_t		 attributes;	/* bits of enum record_source: what to read of each socket */
	enum record_way		 way;		/* the one to take; unspecified: the cheapest */
};

/* The messages that it may send stand at the start of the pinned page, so far apart. */
enum { COLLECTOR_PINNED = 9, COLLECTOR_PINNED_STRIDE = 64 };

/* The collector's fixed descriptors, once it is confined. */
enum collector_fd {
	COLLECTOR_FD_CONTROL, COLLECTOR_FD_DOORBELL, COLLECTOR_FD_STDERR,
	COLLECTOR_FD_NETLINK, COLLECTOR_FD_SOCKSTAT, COLLECTOR_FD_SOCKSTAT6,
	COLLECTOR_FDS
};

/* What the policy calls by name; page: the address of the pinned one. */
#define COLLECTOR_SANDBOX_VALUES(page) {			\
	[SANDBOX_NETLINK_FD] = COLLECTOR_FD_NETLINK,		\
	[SANDBOX_LAST_CHANNEL_FD] = COLLECTOR_FD_DOORBELL,	\
	[SANDBOX_SEND_FLAGS] = MSG_DONTWAIT | MSG_NOSIGNAL,	\
	[SANDBOX_PINNED_MESSAGE] = (uintptr_t)(page),		\
	[SANDBOX_PINNED_MESSAGES] = COLLECTOR_PINNED,		\
	[SANDBOX_PINNED_STRIDE] = COLLECTOR_PINNED_STRIDE,	\
}

/* The child's life, from the fork to its end. */
_Noreturn void	collector_main(const struct collector_start *);

#endif
