/* TCP states by name. */
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "namespacer/states.h"

/*
 * What ss -a asks for.  BOUND_INACTIVE (bit 13, Linux 6.8) is not in it: the
 * kernel would walk the bind hash of the whole host besides.
 */
enum {
	STATES_ALL = 0xfff,
	STATES_BOUND_INACTIVE = 1 << 13,
	STATES_CONNECTED = STATES_ALL & ~(1 << TCP_CLOSE | 1 << TCP_LISTEN),
	STATES_BUCKET = 1 << TCP_TIME_WAIT | 1 << TCP_SYN_RECV,
};

static const struct {
	const char	*name;
	uint32_t	mask;
} states_names[] = {
	{ "all", STATES_ALL },
	{ "connected", STATES_CONNECTED },
	{ "synchronized", STATES_CONNECTED & ~(1 << TCP_SYN_SENT) },
	{ "bucket", STATES_BUCKET },
	{ "big", STATES_ALL & ~STATES_BUCKET },
	{ "established", 1 << TCP_ESTABLISHED },
	{ "syn-sent", 1 << TCP_SYN_SENT },
	{ "syn-recv", 1 << TCP_SYN_RECV },
	{ "fin-wait-1", 1 << TCP_FIN_WAIT1 },
	{ "fin-wait-2", 1 << TCP_FIN_WAIT2 },
	{ "time-wait", 1 << TCP_TIME_WAIT },
	{ "closed", 1 << TCP_CLOSE },
	{ "close", 1 << TCP_CLOSE },
	{ "close-wait", 1 << TCP_CLOSE_WAIT },
	{ "last-ack", 1 << TCP_LAST_ACK },
	{ "listening", 1 << TCP_LISTEN },
	{ "listen", 1 << TCP_LISTEN },
	{ "closing", 1 << TCP_CLOSING },
	{ "bound-inactive", STATES_BOUND_INACTIVE },
};

static uint32_t
states_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof(states_names) / sizeof(states_names[0]); i++)
		if (strcasecmp(states_names[i].name, name) == 0)
			return states_names[i].mask;
	return 0;
}

uint32_t
states_mask(const struct config_list *names, char *error, size_t size)
{
	uint32_t mask = 0, one;

	for (size_t i = 0; i < names->count; i++) {
		if ((one = states_by_name(names->items[i])) == 0) {
			snprintf(error, size, "'%s' is no TCP state; known are all, connected, synchronized, established, "
			    "syn-sent, syn-recv, fin-wait-1, fin-wait-2, time-wait, close, close-wait, last-ack, "
			    "listen, closing, bound-inactive", names->items[i]);
			return 0;
		}
		mask |= one;
	}
	return mask == 0 ? STATES_ALL : mask;
}
