/* The pinned requests. */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include "collector/collector.h"
#include "collector/request.h"

enum {
	REQUEST_DUMP_PARTS = 3,
	REQUEST_EVERY_STATE = -1,	/* the kernel does not look, where one socket is named */
};

/* How many sockets each of the requests by id names: any number up to the first is a sum of some of them. */
static const uint8_t request_sizes[] = { REQUEST_BATCH, 32, 16, 8, 4, 2, 1 };

enum { REQUEST_SIZES = sizeof(request_sizes) };

_Static_assert(REQUEST_DUMPS + REQUEST_SIZES == COLLECTOR_PINNED, "what the filter is told");

/* A dump, as it goes to the kernel. */
struct request_message {
	struct nlmsghdr		header;
	struct inet_diag_req	body;
};

/* A socket by id, without the id. */
struct request_head {
	struct nlmsghdr	header;
	uint8_t		family, protocol, extensions, pad;
	uint32_t	states;
};

_Static_assert(sizeof(struct request_head) + sizeof(struct inet_diag_sockid) ==
    sizeof(struct nlmsghdr) + sizeof(struct inet_diag_req_v2), "head and id are the whole request");

union request_place {
	struct msghdr	message;
	char		stride[COLLECTOR_PINNED_STRIDE];
};

/*
 * The messages come first, for their addresses are what the filter compares.
 * All requests by id use the same head and the same row of parts, as many of
 * them as they name sockets.
 */
struct request_page {
	union request_place	messages[COLLECTOR_PINNED];	/* the dumps, then by id */
	struct request_message	dumps[REQUEST_DUMPS];
	struct iovec		dump_parts[REQUEST_DUMPS][REQUEST_DUMP_PARTS];
	struct request_head	head;
	struct iovec		parts[REQUEST_BATCH][2];
};

_Static_assert(sizeof(union request_place) == COLLECTOR_PINNED_STRIDE, "a message has room in its place");
_Static_assert(offsetof(struct request_page, messages) == 0, "the filter allows the page's start");
_Static_assert(sizeof(struct request_page) <= 4096, "one page on every machine");

static struct {
	const struct request_page	*page;
	/* in writable memory, on purpose */
	uint32_t			 sequence;
	struct inet_diag_sockid		 ids[REQUEST_BATCH];
} request;

/*
 * The legacy request (TCPDIAG_GETSOCK) dumps both families in one walk of the
 * hash table: net/ipv4/inet_diag.c, inet_diag_dump_compat().
 */
static void
request_fill(struct request_message *message, uint32_t states, uint8_t extensions)
{
	*message = (struct request_message){
		.header = {
			.nlmsg_len = sizeof(*message),
			.nlmsg_type = TCPDIAG_GETSOCK,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.body = {
			.idiag_family = AF_INET,
			.idiag_ext = extensions,
			.idiag_states = states,
		},
	};
}

/* The header up to its sequence; the sequence; the rest. */
static void
request_build_dump(struct request_page *page, enum request_dump which, uint32_t states, uint8_t extensions)
{
	uint8_t *dump = (uint8_t *)&page->dumps[which];
	size_t at = offsetof(struct nlmsghdr, nlmsg_seq), behind = at + sizeof(uint32_t);
	struct iovec *parts = page->dump_parts[which];

	request_fill(&page->dumps[which], states, extensions);
	parts[0] = (struct iovec){ dump, at };
	parts[1] = (struct iovec){ &request.sequence, sizeof(request.sequence) };
	parts[2] = (struct iovec){ dump + behind, sizeof(page->dumps[which]) - behind };
	page->messages[which].message = (struct msghdr){ .msg_iov = parts, .msg_iovlen = REQUEST_DUMP_PARTS };
}

/*
 * AF_INET6 finds the sockets of both families: an IPv4 one by v4-mapped
 * addresses.  No NLM_F_DUMP, so that each request is looked up by its hash.
 */
static void
request_build_reads(struct request_page *page, uint8_t extensions)
{
	page->head = (struct request_head){
		.header = {
			.nlmsg_len = sizeof(struct request_head) + sizeof(struct inet_diag_sockid),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST,
		},
		.family = AF_INET6,
		.protocol = IPPROTO_TCP,
		.extensions = extensions,
		.states = (uint32_t)REQUEST_EVERY_STATE,
	};
	for (size_t i = 0; i < REQUEST_BATCH; i++) {
		page->parts[i][0] = (struct iovec){ &page->head, sizeof(page->head) };
		page->parts[i][1] = (struct iovec){ &request.ids[i], sizeof(request.ids[i]) };
	}
	for (size_t i = 0; i < REQUEST_SIZES; i++)
		page->messages[REQUEST_DUMPS + i].message = (struct msghdr){
			.msg_iov = page->parts[0], .msg_iovlen = 2 * (size_t)request_sizes[i],
		};
}

int
request_pin(void *memory, uint32_t states, uint8_t extensions)
{
	struct request_page *page = memory;

	memset(page, 0, sizeof(*page));
	request_build_dump(page, REQUEST_WALK, states, extensions);
	request_build_dump(page, REQUEST_LISTENERS, 1U << TCP_LISTEN, extensions);
	request_build_reads(page, extensions);
	request.page = page;
	return mprotect(page, (size_t)sysconf(_SC_PAGESIZE), PROT_READ);
}

static int
request_send(size_t message)
{
	return sendmsg(COLLECTOR_FD_NETLINK, &request.page->messages[message].message, 0) == -1 ? -1 : 0;
}

int
request_dump(enum request_dump which, uint32_t sequence)
{
	request.sequence = sequence;
	return request_send(which);
}

int
request_read(const struct inet_diag_sockid *ids, size_t count)
{
	size_t asked = 0, wanted = count < REQUEST_BATCH ? count : REQUEST_BATCH;

	for (size_t i = 0; i < REQUEST_SIZES; i++) {
		if (wanted - asked < request_sizes[i])
			continue;
		memcpy(request.ids, ids + asked, request_sizes[i] * sizeof(*ids));
		if (request_send(REQUEST_DUMPS + i) == -1)
			return -1;
		asked += request_sizes[i];
	}
	return (int)asked;
}

size_t
request_last(void *to, size_t size)
{
	const struct msghdr *message = &request.page->messages[REQUEST_WALK].message;
	size_t length = 0;

	for (size_t i = 0; i < message->msg_iovlen; i++) {
		const struct iovec *part = &message->msg_iov[i];
		size_t n = part->iov_len < size - length ? part->iov_len : size - length;

		memcpy((uint8_t *)to + length, part->iov_base, n);
		length += n;
	}
	return length;
}
