/*
 * Finds the attributes of a message; the first reader of what the kernel sent.
 *
 * libmnl would do the stepping, but its accessors are calls, five of them an
 * attribute: inline, all of it takes a fifth of the time.
 */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <string.h>

#include "collector/attributes.h"

enum { ATTRIBUTES_ANY = UINT16_MAX };	/* bytes that are known: all */

enum attributes_kind { ATTRIBUTES_UNKNOWN, ATTRIBUTES_FIELDS, ATTRIBUTES_NEST, ATTRIBUTES_IGNORED };

/* attribute.def by nest and number; what has no row is unknown. */
struct attributes_row {
	uint8_t		kind;
	uint8_t		source;		/* enum record_source */
	uint8_t		opens;		/* enum record_nest */
	uint16_t	least, known;	/* bytes */
};

#define ANY	ATTRIBUTES_ANY
static const struct attributes_row attributes_rows[RECORD_NESTS][COUNTERS_KINDS] = {
#define ATTRIBUTE(bit, source, nest, number, least, known, asked, decoder)	\
	[RECORD_NEST_##nest][number] = { ATTRIBUTES_FIELDS, bit, 0, least, known },
#define NEST(bit, source, nest, number, opens, asked, decoder)			\
	[RECORD_NEST_##nest][number] = { ATTRIBUTES_NEST, bit, RECORD_NEST_##opens, 0, ANY },
#define IGNORE(nest, number)							\
	[RECORD_NEST_##nest][number] = { ATTRIBUTES_IGNORED, 0, 0, 0, ANY },
#include "common/attribute.def"
};

/* The attribute of 1 to 8 whose bit in idiag_ext brings it, or 0, by source. */
static const uint8_t attributes_asked[RECORD_SOURCES] = {
#define ATTRIBUTE(bit, source, nest, number, least, known, asked, decoder)	\
	[bit] = asked,
#include "common/attribute.def"
};

static uint64_t attributes_chosen = ATTRIBUTES_EVERY;
static uint64_t attributes_were_longer;

void
attributes_choose(uint64_t chosen)
{
	attributes_chosen = chosen;
}

uint8_t
attributes_extensions(uint64_t chosen)
{
	unsigned int extensions = 0;

	for (unsigned int source = 1; source < RECORD_SOURCES; source++)
		if ((chosen >> source & 1) != 0 && attributes_asked[source] != 0)
			extensions |= 1U << (attributes_asked[source] - 1);
	return (uint8_t)extensions;
}

/* Rare, and kept out of the loop's registers. */
#define ATTRIBUTES_RARE	__attribute__((noinline, cold))

uint32_t
attributes_unknown(const struct counters *counters, enum record_nest nest)
{
	uint32_t unknown = 0;

	_Static_assert(COUNTERS_KINDS <= 32, "a bit each");
	for (unsigned int number = 0; number < COUNTERS_KINDS; number++)
		if (counters->unknown_attributes[nest][number] != 0)
			unknown |= UINT32_C(1) << number;
	return unknown;
}

uint64_t
attributes_longer(void)
{
	return attributes_were_longer;
}

static inline uint8_t *
attributes_payload(struct nlattr *attr)
{
	return (uint8_t *)attr + NLA_HDRLEN;
}

static inline uint16_t
attributes_length(const struct nlattr *attr)
{
	return (uint16_t)(attr->nla_len - NLA_HDRLEN);
}

/* Its end is from a newer kernel: tcp_info's is kept, as far as a record has room. */
static ATTRIBUTES_RARE void
attributes_long(const struct attributes_row *row, uint16_t length, struct counters *counters)
{
	size_t more = length - row->known;

	counters->long_attributes++;
	attributes_were_longer |= UINT64_C(1) << row->source;
	if (row->source != RECORD_INFO)
		return;
	counters->tail_bytes += more;
	if (more > RECORD_BYTES_MAX)
		counters->cut_bytes += more - RECORD_BYTES_MAX;
}

static inline void
attributes_add(struct attributes *found, const struct attributes_row *row, struct nlattr *attr, struct counters *counters)
{
	uint16_t length = attributes_length(attr);

	if ((attributes_chosen >> row->source & 1) == 0)
		return;
	if (length < row->least) {
		counters->short_attributes++;
		return;
	}
	if (length > row->known)
		attributes_long(row, length, counters);
	found->present |= UINT64_C(1) << row->source;
	found->payload[row->source] = attributes_payload(attr);
	found->length[row->source] = length;
}

/* struct tcp_diag_md5sig, again and again: address and key. */
static ATTRIBUTES_RARE void
attributes_wipe_keys(struct nlattr *attr, struct counters *counters)
{
	struct tcp_diag_md5sig *keys = (struct tcp_diag_md5sig *)attributes_payload(attr);
	size_t count = attributes_length(attr) / sizeof(*keys);

	for (size_t i = 0; i < count; i++)
		explicit_bzero(keys[i].tcpm_key, sizeof(keys[i].tcpm_key));
	/* A tail that is no whole struct could be the start of a key. */
	explicit_bzero(&keys[count], attributes_length(attr) % sizeof(*keys));
	counters->md5_keys += count;
}

static bool	attributes_walk(struct attributes *, enum record_nest, uint8_t *, size_t, struct counters *);

/* What is no plain attribute with fields.  Nests go as deep as the table does. */
static ATTRIBUTES_RARE void
attributes_take_other(struct attributes *found, enum record_nest nest, struct nlattr *attr, struct counters *counters)
{
	uint16_t number = attr->nla_type & NLA_TYPE_MASK;
	const struct attributes_row *row;

	if (number >= COUNTERS_KINDS)
		number = COUNTERS_KINDS - 1;
	row = &attributes_rows[nest][number];
	if (row->kind == ATTRIBUTES_NEST) {
		attributes_add(found, row, attr, counters);
		if ((attributes_chosen >> row->source & 1) != 0 &&
		    !attributes_walk(found, row->opens, attributes_payload(attr), attributes_length(attr), counters))
			counters->short_attributes++;
	} else if (row->kind == ATTRIBUTES_UNKNOWN)
		counters->unknown_attributes[nest][number]++;
}

static inline void
attributes_take(struct attributes *found, enum record_nest nest, struct nlattr *attr, struct counters *counters)
{
	uint16_t number = attr->nla_type & NLA_TYPE_MASK;

	if (nest == RECORD_NEST_TOP && number == INET_DIAG_MD5SIG)
		attributes_wipe_keys(attr, counters);
	if (number < COUNTERS_KINDS && attributes_rows[nest][number].kind == ATTRIBUTES_FIELDS)
		attributes_add(found, &attributes_rows[nest][number], attr, counters);
	else
		attributes_take_other(found, nest, attr, counters);
}

/* False if the bytes are no whole attributes. */
static bool
attributes_walk(struct attributes *found, enum record_nest nest, uint8_t *at, size_t left, struct counters *counters)
{
	while (left >= NLA_HDRLEN) {
		struct nlattr *attr = (struct nlattr *)at;
		size_t step = NLA_ALIGN(attr->nla_len);

		if (attr->nla_len < NLA_HDRLEN || attr->nla_len > left)
			return false;
		attributes_take(found, nest, attr, counters);
		/* The padding of the last one may be missing. */
		if (step >= left)
			return true;
		at += step;
		left -= step;
	}
	return left == 0;
}

bool
attributes_find(struct attributes *found, struct nlmsghdr *message, struct counters *counters)
{
	uint8_t *socket = (uint8_t *)NLMSG_DATA(message);
	size_t length = message->nlmsg_len - NLMSG_HDRLEN, head = sizeof(struct inet_diag_msg);

	found->present = 0;
	if (length >= head) {
		found->present = UINT64_C(1) << RECORD_MSG;
		found->payload[RECORD_MSG] = socket;
		found->length[RECORD_MSG] = (uint16_t)head;
		if (attributes_walk(found, RECORD_NEST_TOP, socket + head, length - head, counters))
			return true;
	}
	explicit_bzero(socket, length);
	return false;
}
