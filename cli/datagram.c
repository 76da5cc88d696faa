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
		return datagram_is_sock_diag(message) && (message->nlmsg_flags & NLM_F_REQUEST) != 0;
	}
}

static void
datagram_wipe_message(struct nlmsghdr *message, struct counters *counters)
{
	struct attributes found;

	if (datagram_is_socket(message))
		attributes_find(&found, message, counters);
	else if (!datagram_is_harmless(message))
		explicit_bzero(mnl_nlmsg_get_payload(message), mnl_nlmsg_get_payload_len(message));
}

void
datagram_wipe(void *bytes, size_t length, struct counters *counters)
{
	struct nlmsghdr *message = bytes;
	int left = (int)length;

	while (walk_message_whole(message, left)) {
		datagram_wipe_message(message, counters);
		message = mnl_nlmsg_next(message, &left);
	}
	if (left > 0)
		explicit_bzero(message, (size_t)left);
}
