/* Datagrams: see datagram.h. */
#include <sys/socket.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include "cli/datagram.h"
#include "collector/attributes.h"
#include "collector/walk.h"

static bool
datagram_is_sock_diag(const struct nlmsghdr *message)
{
	return message->nlmsg_type == SOCK_DIAG_BY_FAMILY || message->nlmsg_type == TCPDIAG_GETSOCK;
}

bool
datagram_is_request(const struct nlmsghdr *message)
{
	return datagram_is_sock_diag(message) && (message->nlmsg_flags & NLM_F_REQUEST) != 0;
}

bool
datagram_is_socket(const struct nlmsghdr *message)
{
	const uint8_t *family = mnl_nlmsg_get_payload(message);

	if (!datagram_is_sock_diag(message) || (message->nlmsg_flags & NLM_F_REQUEST) != 0)
		return false;
	/* The answer's struct begins with it, whatever the family is. */
	return mnl_nlmsg_get_payload_len(message) == 0 || *family == AF_INET || *family == AF_INET6;
}

/* Requests, and what the kernel says about them: no key can be there. */
static bool
datagram_is_harmless(const struct nlmsghdr *message)
{
	switch (message->nlmsg_type) {
	case NLMSG_NOOP:
	case NLMSG_ERROR:
	case NLMSG_DONE:
		return true;
	default:
		return datagram_is_request(message);
	}
}

static void
datagram_zero(struct nlmsghdr *message)
{
	explicit_bzero(mnl_nlmsg_get_payload(message), mnl_nlmsg_get_payload_len(message));
}

/* True if nothing is left of it. */
static bool
datagram_wipe_message(struct nlmsghdr *message, struct counters *counters)
{
	struct attributes found;

	if (datagram_is_harmless(message))
		return false;
	if (!datagram_is_socket(message)) {
		datagram_zero(message);
		return true;
	}
	counters->read++;
	return !attributes_find(&found, message, counters);
}

uint64_t
datagram_wipe(void *bytes, size_t length, struct counters *counters)
{
	struct nlmsghdr *message = bytes;
	uint64_t overwritten = 0;
	int left = (int)length;

	while (walk_message_whole(message, left)) {
		overwritten += datagram_wipe_message(message, counters);
		message = mnl_nlmsg_next(message, &left);
	}
	if (left <= 0)
		return overwritten;
	explicit_bzero(message, (size_t)left);
	return overwritten + 1;
}
