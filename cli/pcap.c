/* Writes capture files: see pcap.h. */
#include <sys/utsname.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>

#include "cli/pcap.h"
#include "cli/pcap_ng.h"
#include "common/clock.h"
#include "common/version.h"

#ifndef ARPHRD_NETLINK
#define ARPHRD_NETLINK	824
#endif

enum {
	PCAP_MAJOR = 2, PCAP_MINOR = 4,
	PCAP_NG_MAJOR = 1, PCAP_NG_MINOR = 0,
	PCAP_OUTGOING = 4,		/* nlmon has both directions so */
};

struct pcap_header {
	uint32_t	magic;
	uint16_t	major, minor;
	uint32_t	zone, accuracy;
	uint32_t	snaplen;
	uint32_t	link;
};

struct pcap_packet_header {
	uint32_t	seconds, fraction;
	uint32_t	length, original;
};

/* In network byte order. */
struct pcap_cooked {
	uint16_t	direction;
	uint16_t	device;
	uint8_t		unused[10];
	uint16_t	family;
};

struct pcap_section {
	uint32_t	order;
	uint16_t	major, minor;
	int64_t		length;		/* -1: not told */
} __attribute__((packed));

struct pcap_interface_block {
	uint16_t	link, unused;
	uint32_t	snaplen;
};

struct pcap_packet_block {
	uint32_t	interface;
	uint32_t	high, low;	/* of the time */
	uint32_t	length, original;
};

_Static_assert(sizeof(struct pcap_header) == 24, "as it is in the file");
_Static_assert(sizeof(struct pcap_packet_header) == 16, "as it is in the file");
_Static_assert(sizeof(struct pcap_cooked) == PCAP_COOKED, "as it is in the file");
_Static_assert(sizeof(struct pcap_section) == 16, "as it is in the file");
_Static_assert(sizeof(struct pcap_packet_block) == 20, "as it is in the file");

/* --- pcapng --- */

/* Begins a block; its length is written when it ends.  Returns where it begins. */
static size_t
pcap_begin_block(struct buffer *out, uint32_t kind, const void *fixed, size_t length)
{
	const uint32_t head[] = { kind, 0 };
	size_t start = out->length;

	buffer_append(out, head, sizeof(head));
	buffer_append(out, fixed, length);
	return start;
}

static void
pcap_pad(struct buffer *out)
{
	static const uint8_t zeros[4];

	buffer_append(out, zeros, -out->length % sizeof(zeros));
}

static void
pcap_end_block(struct buffer *out, size_t start)
{
	uint32_t length;

	pcap_pad(out);
	length = (uint32_t)(out->length - start + sizeof(length));
	buffer_append(out, &length, sizeof(length));
	memcpy(out->bytes + start + sizeof(uint32_t), &length, sizeof(length));
}

static void
pcap_write_option(struct buffer *out, enum pcap_option option, const void *value, size_t length)
{
	const uint16_t head[] = { (uint16_t)option, (uint16_t)length };

	buffer_append(out, head, sizeof(head));
	buffer_append(out, value, length);
	pcap_pad(out);
}

static void
pcap_write_text(struct buffer *out, enum pcap_option option, const char *text)
{
	pcap_write_option(out, option, text, strlen(text));
}

/* Which kernel it was is what a capture is often about. */
static void
pcap_write_section(struct buffer *out)
{
	const struct pcap_section section = { PCAP_MAGIC_ORDER, PCAP_NG_MAJOR, PCAP_NG_MINOR, -1 };
	size_t start = pcap_begin_block(out, PCAP_MAGIC_NG, &section, sizeof(section));
	struct utsname system;
	char os[2 * sizeof(system.release)];

	if (uname(&system) == 0) {
		snprintf(os, sizeof(os), "%s %s", system.sysname, system.release);
		pcap_write_text(out, PCAP_OPTION_OS, os);
	}
	pcap_write_text(out, PCAP_OPTION_PROGRAM, "tcpdiag " VERSION);
	pcap_write_option(out, PCAP_OPTION_END, NULL, 0);
	pcap_end_block(out, start);
}

void
pcap_write_interface(struct buffer *out, const struct pcap_identity *identity)
{
	const struct pcap_interface_block block = { PCAP_LINK_NETLINK, 0, PCAP_PACKET_MAX };
	const uint8_t resolution = PCAP_RESOLUTION_NS;
	char description[sizeof(PCAP_DESCRIPTION) + 64 + sizeof(identity->container) + sizeof(identity->runtime)];
	size_t start = pcap_begin_block(out, PCAP_NG_INTERFACE, &block, sizeof(block));

	if (identity->name[0] != '\0') {
		snprintf(description, sizeof(description), PCAP_DESCRIPTION "inode %" PRIu64 " cookie %" PRIu64 "%s%s%s%s", identity->inode,
		    identity->cookie, identity->container[0] != '\0' ? " container " : "", identity->container,
		    identity->runtime[0] != '\0' ? " runtime " : "", identity->runtime);
		pcap_write_text(out, PCAP_OPTION_NAME, identity->name);
		pcap_write_text(out, PCAP_OPTION_DESCRIPTION, description);
	}
	pcap_write_option(out, PCAP_OPTION_RESOLUTION, &resolution, sizeof(resolution));
	pcap_write_option(out, PCAP_OPTION_END, NULL, 0);
	pcap_end_block(out, start);
}

/* --- either --- */

void
pcap_write_header(struct buffer *out, bool ng)
{
	const struct pcap_header header = {
		.magic = PCAP_MAGIC_US,
		.major = PCAP_MAJOR,
		.minor = PCAP_MINOR,
		.snaplen = PCAP_PACKET_MAX,
		.link = PCAP_LINK_NETLINK,
	};

	if (ng)
		pcap_write_section(out);
	else
		buffer_append(out, &header, sizeof(header));
}

static void
pcap_write_cooked(struct buffer *out, const struct pcap_datagram *datagram)
{
	const struct pcap_cooked cooked = {
		.direction = htons(PCAP_OUTGOING),
		.device = htons(ARPHRD_NETLINK),
		.family = htons(NETLINK_SOCK_DIAG),
	};

	buffer_append(out, &cooked, sizeof(cooked));
	buffer_append(out, datagram->bytes, datagram->length);
}

static void
pcap_write_block(struct buffer *out, const struct pcap_datagram *datagram)
{
	const struct pcap_packet_block packet = {
		.interface = datagram->interface,
		.high = (uint32_t)(datagram->timestamp >> 32),
		.low = (uint32_t)datagram->timestamp,
		.length = (uint32_t)(PCAP_COOKED + datagram->length),
		.original = (uint32_t)(PCAP_COOKED + datagram->original),
	};
	size_t start = pcap_begin_block(out, PCAP_NG_PACKET, &packet, sizeof(packet));

	pcap_write_cooked(out, datagram);
	pcap_end_block(out, start);
}

void
pcap_write_datagram(struct buffer *out, const struct pcap_datagram *datagram)
{
	const struct pcap_packet_header header = {
		.seconds = (uint32_t)(datagram->timestamp / SECOND),
		.fraction = (uint32_t)(datagram->timestamp % SECOND / MICROSECOND),
		.length = (uint32_t)(PCAP_COOKED + datagram->length),
		.original = (uint32_t)(PCAP_COOKED + datagram->original),
	};

	if (datagram->ng) {
		pcap_write_block(out, datagram);
		return;
	}
	buffer_append(out, &header, sizeof(header));
	pcap_write_cooked(out, datagram);
}
