/* The table of known sockets. */
#include <arpa/inet.h>
#include <netinet/tcp.h>

#include "collector/known.h"

struct known known;

/* Where in ids the listeners are that a walk finds, in ascending order. */
static uint16_t known_places[KNOWN_LISTENERS];

uint64_t
known_cookie(const struct inet_diag_sockid *id)
{
	return id->idiag_cookie[0] | (uint64_t)id->idiag_cookie[1] << 32;
}

uint64_t
known_total(void)
{
	return known.count + known.nlisteners;
}

void
known_begin(bool learns)
{
	known.count = known.nlisteners = 0;
	known.whole = learns;
	known.half_open = false;
}


/*
 * One that is asked for twice would be counted twice, and could stand for one
 * that nobody knows.  It comes twice when it moved within its hash bucket.
 */
static bool
known_twice(uint64_t cookie)
{
	size_t first = known.count > KNOWN_NEIGHBOURS ? known.count - KNOWN_NEIGHBOURS : 0;

	for (size_t i = first; i < known.count; i++)
		if (known_cookie(&known.ids[i]) == cookie)
			return true;
	return false;
}

/* False if there are more than there is room for. */
static bool
known_add_listener(uint64_t cookie)
{
	if (known.nlisteners == KNOWN_LISTENERS)
		return false;
	known.deaf |= cookie == known.missed;
	known_places[known.nlisteners] = (uint16_t)known.count;
	known.listeners[known.nlisteners++] = cookie;
	return true;
}

void
known_add(const struct inet_diag_msg *socket)
{
	uint64_t cookie = known_cookie(&socket->id);
	struct inet_diag_sockid *id;

	if (socket->idiag_state == TCP_SYN_RECV)
		known.half_open = true;
	if (!known.whole)
		return;
	if (known.count == KNOWN_SOCKETS || known_twice(cookie) ||
	    (socket->idiag_state == TCP_LISTEN && !known_add_listener(cookie))) {
		known.whole = false;
		return;
	}
	id = &known.ids[known.count++];
	*id = socket->id;
	if (socket->idiag_family != AF_INET)
		return;
	id->idiag_src[3] = socket->id.idiag_src[0];
	id->idiag_dst[3] = socket->id.idiag_dst[0];
	id->idiag_src[0] = id->idiag_dst[0] = id->idiag_src[1] = id->idiag_dst[1] = 0;
	id->idiag_src[2] = id->idiag_dst[2] = htonl(0xffff);
}

/* Of several listeners on a port the kernel finds the one that suits a packet best, whichever was meant. */
static bool
known_share_a_port(void)
{
	for (size_t i = 1; i < known.nlisteners; i++)
		for (size_t j = 0; j < i; j++)
			if (known.ids[known_places[i]].idiag_sport == known.ids[known_places[j]].idiag_sport)
				return true;
	return false;
}

static void
known_take_listeners_out(void)
{
	size_t kept = 0, listener = 0;

	for (size_t i = 0; i < known.count; i++) {
		if (listener < known.nlisteners && known_places[listener] == i)
			listener++;
		else
			known.ids[kept++] = known.ids[i];
	}
	known.count = kept;
}

void
known_end(bool complete)
{
	known.whole &= complete;
	if (known.whole && (known.deaf || known_share_a_port()))
		known_take_listeners_out();
	else
		known.nlisteners = 0;
}

void
known_missed(const struct inet_diag_sockid *id)
{
	if (id->idiag_dport == 0)
		known.missed = known_cookie(id);
}
