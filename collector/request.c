/* The pinned requests. */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "collector/collector.h"
#include "collector/request.h"

enum { REQUEST_PARTS = 3 };

/*
 * The legacy request (TCPDIAG_GETSOCK) dumps both families in one walk of the
 * hash table: net/ipv4/inet_diag.c, inet_diag_dump_compat().
 */
struct request_dump {
	struct nlmsghdr		header;
	struct inet_diag_req	body;
};

/* message comes first: its address is what the filter compares. */
struct request_page {
	struct msghdr		message;
	struct iovec		parts[REQUEST_PARTS];
	struct request_dump	dump;
};

_Static_assert(offsetof(struct request_page, message) == 0, "the filter allows the page's start");
_Static_assert(sizeof(struct request_page) <= 4096, "one page on every machine");

static struct {
	const struct request_page	*page;
	uint32_t			 sequence;	/* in writable memory, on purpose */
} request;

/* The header up to its sequence; the sequence; the rest. */
static void
request_split(struct request_page *page)
{
	uint8_t *dump = (uint8_t *)&page->dump;
	size_t at = offsetof(struct nlmsghdr, nlmsg_seq), behind = at + sizeof(uint32_t);

	page->parts[0] = (struct iovec){ dump, at };
	page->parts[1] = (struct iovec){ &request.sequence, sizeof(request.sequence) };
	page->parts[2] = (struct iovec){ dump + behind, sizeof(page->dump) - behind };
	page->message = (struct msghdr){ .msg_iov = page->parts, .msg_iovlen = REQUEST_PARTS };
}

int
request_pin(void *memory, uint32_t states, uint8_t extensions)
{
	struct request_page *page = memory;

	memset(page, 0, sizeof(*page));
	page->dump.header = (struct nlmsghdr){
		.nlmsg_len = sizeof(page->dump),
		.nlmsg_type = TCPDIAG_GETSOCK,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
	};
	page->dump.body = (struct inet_diag_req){
		.idiag_family = AF_INET,
		.idiag_ext = extensions,
		.idiag_states = states,
	};
	request_split(page);
	request.page = page;
	return mprotect(page, (size_t)sysconf(_SC_PAGESIZE), PROT_READ);
}

int
request_walk(uint32_t sequence)
{
	request.sequence = sequence;
	return sendmsg(COLLECTOR_FD_NETLINK, &request.page->message, 0) == -1 ? -1 : 0;
}

size_t
request_last(void *to, size_t size)
{
	const struct msghdr *message = &request.page->message;
	size_t length = 0;

	for (size_t i = 0; i < message->msg_iovlen; i++) {
		const struct iovec *part = &message->msg_iov[i];
		size_t n = part->iov_len < size - length ? part->iov_len : size - length;

		memcpy((uint8_t *)to + length, part->iov_base, n);
		length += n;
	}
	return length;
}
