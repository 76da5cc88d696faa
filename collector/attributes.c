/* Finds the attributes of a message; the first reader of what the kernel sent. */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <string.h>

#include <libmnl/libmnl.h>

#include "collector/attributes.h"

enum { ATTRIBUTES_UNKNOWN = 31 };

/* linux/inet_diag.h and linux/tls.h: parts of INET_DIAG_ULP_INFO. */
enum { ULP_NAME = 1, ULP_TLS = 2 };
enum { TLS_PARTS = 4 };

/*
 * Bytes that the fields read of each attribute need.  An attribute that is
 * shorter is from no kernel that we support, and is not used.  tcp_info is the
 * exception: it grew, and each of its fields is judged alone.
 */
static size_t
attributes_needed(enum record_source source)
{
	static const uint16_t needed[RECORD_SOURCES] = {
		[RECORD_MEMINFO] = 16, [RECORD_VEGASINFO] = 16, [RECORD_CONG] = 1,
		[RECORD_TOS] = 1, [RECORD_TCLASS] = 1, [RECORD_SKMEMINFO] = 36,
		[RECORD_SHUTDOWN] = 1, [RECORD_DCTCPINFO] = 16,
		[RECORD_PROTOCOL] = 1, [RECORD_SKV6ONLY] = 1, [RECORD_MARK] = 4,
		[RECORD_BBRINFO] = 20, [RECORD_CLASS_ID] = 4,
		[RECORD_CGROUP_ID] = 8, [RECORD_SOCKOPT] = 2, [RECORD_ULP_NAME] = 1,
		[RECORD_TLS_VERSION] = 2, [RECORD_TLS_CIPHER] = 2,
		[RECORD_TLS_TXCONF] = 2, [RECORD_TLS_RXCONF] = 2,
	};

	return needed[source];
}

static void
attributes_add(struct attributes *found, enum record_source source, const struct nlattr *attr, struct counters *counters)
{
	uint16_t length = mnl_attr_get_payload_len(attr);

	if (length < attributes_needed(source)) {
		counters->short_attributes++;
		return;
	}
	found->present |= UINT64_C(1) << source;
	found->payload[source] = mnl_attr_get_payload(attr);
	found->length[source] = length;
}

/* struct tcp_diag_md5sig, again and again: address and key. */
static void
attributes_wipe_keys(struct attributes *found, struct nlattr *attr, struct counters *counters)
{
	struct tcp_diag_md5sig *keys = mnl_attr_get_payload(attr);
	size_t count = mnl_attr_get_payload_len(attr) / sizeof(*keys);

	for (size_t i = 0; i < count; i++)
		explicit_bzero(keys[i].tcpm_key, sizeof(keys[i].tcpm_key));
	/* A tail that is no whole struct could be the start of a key. */
	explicit_bzero(&keys[count], mnl_attr_get_payload_len(attr) % sizeof(*keys));
	counters->md5_keys += count;
	found->present |= UINT64_C(1) << RECORD_MD5SIG;
	found->payload[RECORD_MD5SIG] = (const uint8_t *)keys;
	found->length[RECORD_MD5SIG] = mnl_attr_get_payload_len(attr);
}

static void
attributes_find_tls(struct attributes *found, const struct nlattr *nest, struct counters *counters)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest) {
		uint16_t type = mnl_attr_get_type(attr);

		if (type >= 1 && type <= TLS_PARTS)
			attributes_add(found, RECORD_TLS_VERSION + type - 1, attr, counters);
	}
}

static void
attributes_find_ulp(struct attributes *found, const struct nlattr *nest, struct counters *counters)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest) {
		if (mnl_attr_get_type(attr) == ULP_NAME)
			attributes_add(found, RECORD_ULP_NAME, attr, counters);
		else if (mnl_attr_get_type(attr) == ULP_TLS)
			attributes_find_tls(found, attr, counters);
	}
}

/* The kernel's numbers that are a source of fields by themselves. */
#define BIT(source)	(UINT64_C(1) << RECORD_##source)
static const uint64_t attributes_known = BIT(MEMINFO) | BIT(INFO) | BIT(VEGASINFO) |
    BIT(CONG) | BIT(TOS) | BIT(TCLASS) | BIT(SKMEMINFO) | BIT(SHUTDOWN) |
    BIT(DCTCPINFO) | BIT(PROTOCOL) | BIT(SKV6ONLY) | BIT(MARK) | BIT(BBRINFO) |
    BIT(CLASS_ID) | BIT(ULP_INFO) | BIT(CGROUP_ID) | BIT(SOCKOPT);
#undef BIT

static void
attributes_take(struct attributes *found, struct nlattr *attr, struct counters *counters)
{
	uint16_t type = mnl_attr_get_type(attr);

	if (type == INET_DIAG_MD5SIG)
		attributes_wipe_keys(found, attr, counters);
	else if (type < ATTRIBUTES_UNKNOWN && (attributes_known >> type & 1) != 0)
		attributes_add(found, (enum record_source)type, attr, counters);
	else
		counters->unknown_attributes[type < ATTRIBUTES_UNKNOWN ? type : ATTRIBUTES_UNKNOWN]++;
	if (type == INET_DIAG_ULP_INFO)
		attributes_find_ulp(found, attr, counters);
}

bool
attributes_find(struct attributes *found, struct nlmsghdr *message, struct counters *counters)
{
	struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	struct nlattr *attr;
	char *end = (char *)message + message->nlmsg_len;

	found->present = 0;
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*socket)) {
		explicit_bzero(socket, mnl_nlmsg_get_payload_len(message));
		return false;
	}
	found->present = UINT64_C(1) << RECORD_MSG;
	found->payload[RECORD_MSG] = (const uint8_t *)socket;
	found->length[RECORD_MSG] = sizeof(*socket);
	for (attr = mnl_nlmsg_get_payload_offset(message, sizeof(*socket));
	    mnl_attr_ok(attr, (int)(end - (char *)attr)); attr = mnl_attr_next(attr))
		attributes_take(found, attr, counters);
	if ((char *)attr >= end)
		return true;
	explicit_bzero(socket, mnl_nlmsg_get_payload_len(message));
	return false;
}
