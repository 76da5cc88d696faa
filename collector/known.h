/*
 * The sockets of the namespace as the last complete snapshot found them: what
 * can be asked for by id in the next one.  Its memory is there from the start,
 * and only what is used of it is ever touched.
 */
#ifndef COLLECTOR_KNOWN_H
#define COLLECTOR_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/inet_diag.h>

enum {
	KNOWN_SOCKETS = 16 * 1024,	/* beyond so many, by far, a walk is cheaper */
	KNOWN_LISTENERS = 1024,
	KNOWN_NEIGHBOURS = 16,		/* among which a socket that came twice stands */
};

struct known {
	/*
	 * All that the kernel counts is in here, each once.  False after a walk
	 * that was not whole, or found more than there is room for.
	 */
	bool			whole;
	/*
	 * There was a connection in SYN_RECV.  The kernel counts it nowhere, so
	 * that nothing would tell of the next one.
	 */
	bool			half_open;
	/*
	 * A listener did not answer by its id, though the next walk found it: a
	 * BPF program may choose another.  Stays true.
	 */
	bool			deaf;
	uint64_t		missed;		/* cookie of the last listener that did not answer */
	size_t			count, nlisteners;
	/* Cookies, for a dump of listeners: where ids do not find them.  Else they are in ids. */
	uint64_t		listeners[KNOWN_LISTENERS];
	struct inet_diag_sockid	ids[KNOWN_SOCKETS];	/* IPv4 as v4-mapped */
};

extern struct known	known;

/*
 * A walk begins; what it finds is added one by one, and then it is said how it
 * ended.  learns: false if it shall leave nothing known.
 */
void		known_begin(bool learns);
void		known_add(const struct inet_diag_msg *);
void		known_end(bool complete);
/* A socket did not answer by id. */
void		known_missed(const struct inet_diag_sockid *);
/* How many sockets are known. */
uint64_t	known_total(void);
/* A socket's cookie. */
uint64_t	known_cookie(const struct inet_diag_sockid *);

#endif
