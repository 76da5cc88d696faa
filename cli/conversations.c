/* Conversations: see conversations.h. */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <search.h>
#include <stdlib.h>

#include <libmnl/libmnl.h>

#include "cli/conversations.h"
#include "common/exit.h"
#include "common/log.h"

struct conversations_key {
	uint64_t	interface;
	uint32_t	sequence, pid;
};

struct conversations_answer {
	struct conversations_key	key;
	struct conversation		conversation;
};

struct conversations_request {
	struct conversations_key	key;
	bool				tcp;
};

static int
conversations_compare(const void *one, const void *other)
{
	const struct conversations_key *a = one, *b = other;

	if (a->interface != b->interface)
		return a->interface < b->interface ? -1 : 1;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? -1 : 1;
	return (a->pid > b->pid) - (a->pid < b->pid);
}

/* What has the key in the tree; new memory of that size, zeros behind the key, if there was none. */
static void *
conversations_get(void **tree, const struct conversations_key *key, size_t size)
{
	void **found = tfind(key, tree, conversations_compare);
	struct conversations_key *made;

	if (found != NULL)
		return *found;
	if ((made = calloc(1, size)) == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	*made = *key;
	if (tsearch(made, tree, conversations_compare) == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	return made;
}

struct conversation *
conversations_of(struct conversations *conversations, uint64_t interface, const struct nlmsghdr *message)
{
	const struct conversations_key key = { interface, message->nlmsg_seq, message->nlmsg_pid };
	struct conversations_answer *answer = conversations_get(&conversations->answers, &key, sizeof(*answer));

	if (answer->conversation.snapshot == 0)
		answer->conversation.snapshot = ++conversations->count;
	return &answer->conversation;
}

void
conversations_ask(struct conversations *conversations, uint64_t interface, const struct nlmsghdr *message)
{
	const struct conversations_key key = { interface, message->nlmsg_seq, 0 };
	const struct inet_diag_req_v2 *body = mnl_nlmsg_get_payload(message);
	struct conversations_request *request;
	bool tcp = message->nlmsg_type == TCPDIAG_GETSOCK;

	if (!tcp && (message->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(message) < sizeof(*body)))
		return;
	request = conversations_get(&conversations->requests, &key, sizeof(*request));
	request->tcp = tcp || body->sdiag_protocol == IPPROTO_TCP;
}

bool
conversations_tcp(const struct conversations *conversations, uint64_t interface, const struct nlmsghdr *message)
{
	const struct conversations_key key = { interface, message->nlmsg_seq, 0 };
	void *const *found = tfind(&key, &conversations->requests, conversations_compare);

	return found == NULL || ((const struct conversations_request *)*found)->tcp;
}

void
conversations_free(struct conversations *conversations)
{
	tdestroy(conversations->answers, free);
	tdestroy(conversations->requests, free);
}
