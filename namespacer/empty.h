/*
 * The empty namespaces (network, mount, IPC) that every collector joins once
 * its sockets are open.  They are held by descriptors only.
 */
#ifndef NAMESPACER_EMPTY_H
#define NAMESPACER_EMPTY_H

struct empty {
	int	net, mount, ipc;
};

/*
 * Makes them, by a child, so that this process never leaves its own.
 * Returns NULL, or what could not be done, with errno.
 */
const char	*empty_make(struct empty *);

#endif
