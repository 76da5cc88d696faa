/* The table of known sockets. */
#include <arpa/inet.h>
#include <netinet/tcp.h>

#include "collector/known.h"

struct known known;

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

void
known_end(bool complete)
{
	known.whole &= complete;
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

static void
known_add_listener(uint64_t cookie)
{
	if (known.nlisteners == KNOWN_LISTENERS)
		known.whole = false;
	else
		known.listeners[known.nlisteners++] = cookie;
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
	if (socket->idiag_state == TCP_LISTEN) {
		known_add_listener(cookie);
		return;
	}
	if (known.count == KNOWN_SOCKETS || known_twice(cookie)) {
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
