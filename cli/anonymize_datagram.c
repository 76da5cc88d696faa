/* Where addresses stand in a datagram: see anonymize.h. */
#include <sys/socket.h>

#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include "cli/anonymize.h"
#include "cli/datagram.h"
#include "cli/pcap.h"
#include "collector/walk.h"
#include "common/counters.h"
#include "common/record.h"

enum { ANONYMIZE_V4 = 4, ANONYMIZE_V4_OFFSET = 12, ANONYMIZE_BITS = 128 };

/*
 * The attributes by nest and number.  Those that are known stay as they are,
 * since none but TCP-MD5 peers holds an address: one that does has to be looked
 * into here, too.
 */
enum anonymize_kind { ANONYMIZE_ZERO, ANONYMIZE_STAYS, ANONYMIZE_HOLDS };

static const struct anonymize_row {
	uint8_t	kind;	/* enum anonymize_kind */
	uint8_t	opens;	/* enum record_nest */
} anonymize_rows[RECORD_NESTS][COUNTERS_KINDS] = {
#define ATTRIBUTE(bit, source, nest, number, least, known, asked, decoder)	\
	[RECORD_NEST_##nest][number] = { ANONYMIZE_STAYS, 0 },
#define NEST(bit, source, nest, number, opens, asked, decoder)			\
	[RECORD_NEST_##nest][number] = { ANONYMIZE_HOLDS, RECORD_NEST_##opens },
#define IGNORE(nest, number)							\
	[RECORD_NEST_##nest][number] = { ANONYMIZE_ZERO, 0 },
#include "common/attribute.def"
};

/* Four words, of which IPv4 has the first; bits: of the prefix that it is. */
static void
anonymize_words(struct anonymize *anonymize, unsigned int family, uint32_t words[4], unsigned int bits)
{
	uint8_t address[ANONYMIZE_ADDRESS] = { [10] = 0xff, [11] = 0xff };
	size_t offset = family == AF_INET ? ANONYMIZE_V4_OFFSET : 0, length = sizeof(address) - offset;

	memcpy(address + offset, words, length);
	anonymize_address(anonymize, address);
	for (size_t bit = bits; bit < length * 8; bit++)
		address[offset + bit / 8] &= (uint8_t)~(0x80U >> bit % 8);
	memcpy(words, address + offset, length);
	/* What IPv4 leaves is none. */
	memset((uint8_t *)words + length, 0, offset);
}

static void
anonymize_id(struct anonymize *anonymize, unsigned int family, struct inet_diag_sockid *id)
{
	uint32_t words[2][4];

	_Static_assert(sizeof(words) == sizeof(id->idiag_src) + sizeof(id->idiag_dst), "an address is four words");
	memcpy(words[0], id->idiag_src, sizeof(words[0]));
	memcpy(words[1], id->idiag_dst, sizeof(words[1]));
	anonymize_words(anonymize, family, words[0], ANONYMIZE_BITS);
	anonymize_words(anonymize, family, words[1], ANONYMIZE_BITS);
	memcpy(id->idiag_src, words[0], sizeof(words[0]));
	memcpy(id->idiag_dst, words[1], sizeof(words[1]));
}

/* struct tcp_diag_md5sig, again and again; a part of one at the end is zeros already. */
static void
anonymize_peers(struct anonymize *anonymize, struct nlattr *attr)
{
	struct tcp_diag_md5sig *peers = mnl_attr_get_payload(attr);
	size_t count = mnl_attr_get_payload_len(attr) / sizeof(*peers);

	for (size_t i = 0; i < count; i++) {
		uint32_t words[4];

		memcpy(words, peers[i].tcpm_addr, sizeof(words));
		anonymize_words(anonymize, peers[i].tcpm_family, words, peers[i].tcpm_prefixlen);
		memcpy(peers[i].tcpm_addr, words, sizeof(words));
	}
}

static void	anonymize_attributes_of(struct anonymize *, enum record_nest, void *, int);

static void
anonymize_attribute(struct anonymize *anonymize, enum record_nest nest, struct nlattr *attr)
{
	unsigned int number = mnl_attr_get_type(attr);
	/* The last number is that of all higher ones, too: it has no row. */
	const struct anonymize_row *row = &anonymize_rows[nest][number < COUNTERS_KINDS ? number : COUNTERS_KINDS - 1];
	void *payload = mnl_attr_get_payload(attr);

	if (row->kind == ANONYMIZE_ZERO)
		memset(payload, 0, mnl_attr_get_payload_len(attr));
	else if (row->kind == ANONYMIZE_HOLDS)
		anonymize_attributes_of(anonymize, (enum record_nest)row->opens, payload, mnl_attr_get_payload_len(attr));
	else if (nest == RECORD_NEST_TOP && number == INET_DIAG_MD5SIG)
		anonymize_peers(anonymize, attr);
}

static void
anonymize_attributes_of(struct anonymize *anonymize, enum record_nest nest, void *first, int left)
{
	struct nlattr *attr = first;

	while (mnl_attr_ok(attr, left)) {
		anonymize_attribute(anonymize, nest, attr);
		left -= MNL_ALIGN(attr->nla_len);
		attr = mnl_attr_next(attr);
	}
	/* No attribute: what it is nobody knows. */
	if (left > 0)
		memset(attr, 0, (size_t)left);
}

static void
anonymize_socket(struct anonymize *anonymize, struct nlmsghdr *message)
{
	struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	size_t length = mnl_nlmsg_get_payload_len(message);

	if (length < sizeof(*socket))
		return;		/* zeros already */
	anonymize_id(anonymize, socket->idiag_family, &socket->id);
	anonymize_attributes_of(anonymize, RECORD_NEST_TOP, socket + 1, (int)(length - sizeof(*socket)));
}

/* A filter behind the request's struct can hold addresses; other families' requests are not looked into. */
static void
anonymize_request(struct anonymize *anonymize, struct nlmsghdr *message)
{
	union {
		struct inet_diag_req	legacy;
		struct inet_diag_req_v2	present;
	} *request = mnl_nlmsg_get_payload(message);
	bool legacy = message->nlmsg_type == TCPDIAG_GETSOCK;
	size_t length = mnl_nlmsg_get_payload_len(message), kept = legacy ? sizeof(request->legacy) : sizeof(request->present);
	uint8_t family = length > 0 ? *(const uint8_t *)request : 0;

	if (length < kept || (family != AF_INET && family != AF_INET6))
		kept = 0;
	else
		anonymize_id(anonymize, family, legacy ? &request->legacy.id : &request->present.id);
	memset((uint8_t *)request + kept, 0, length - kept);
}

/* Of a payload only what it begins with. */
static void
anonymize_cut(struct nlmsghdr *message, size_t kept)
{
	size_t length = mnl_nlmsg_get_payload_len(message);

	if (length > kept)
		memset((uint8_t *)mnl_nlmsg_get_payload(message) + kept, 0, length - kept);
}

void
anonymize_message(struct anonymize *anonymize, struct nlmsghdr *message)
{
	if (datagram_is_socket(message))
		anonymize_socket(anonymize, message);
	else if (datagram_is_request(message))
		anonymize_request(anonymize, message);
	else if (message->nlmsg_type == NLMSG_ERROR)	/* of which request */
		anonymize_cut(message, sizeof(struct nlmsgerr));
	else
		anonymize_cut(message, message->nlmsg_type == NLMSG_DONE ? sizeof(int) : 0);
}

void
anonymize_datagram(struct anonymize *anonymize, void *bytes, size_t length)
{
	struct nlmsghdr *message = bytes;
	int left = (int)length;

	while (walk_message_whole(message, left)) {
		anonymize_message(anonymize, message);
		message = mnl_nlmsg_next(message, &left);
	}
}

void
anonymize_identity(struct pcap_identity *identity, uint64_t number)
{
	identity->container[0] = identity->runtime[0] = '\0';
	if (identity->name[0] != '\0' && strcmp(identity->name, "default") != 0)
		snprintf(identity->name, sizeof(identity->name), "ns%" PRIu64, number);
}
