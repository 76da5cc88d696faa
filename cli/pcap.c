/* Capture files: see pcap.h. */
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <net/if_arp.h>
#include <string.h>

#include "cli/pcap.h"
#include "common/clock.h"

#ifndef ARPHRD_NETLINK
#define ARPHRD_NETLINK	824
#endif

enum {
	PCAP_MAGIC_US = 0xa1b2c3d4,
	PCAP_MAJOR = 2, PCAP_MINOR = 4,
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

_Static_assert(sizeof(struct pcap_header) == 24, "as it is in the file");
_Static_assert(sizeof(struct pcap_packet_header) == 16, "as it is in the file");
_Static_assert(sizeof(struct pcap_cooked) == PCAP_COOKED, "as it is in the file");

void
pcap_write_header(struct buffer *out)
{
	const struct pcap_header header = {
		.magic = PCAP_MAGIC_US,
		.major = PCAP_MAJOR,
		.minor = PCAP_MINOR,
		.snaplen = PCAP_PACKET_MAX,
		.link = PCAP_LINK_NETLINK,
	};

	buffer_append(out, &header, sizeof(header));
}

void
pcap_write_datagram(struct buffer *out, uint64_t timestamp, const void *bytes, size_t length)
{
	const struct pcap_packet_header header = {
		.seconds = (uint32_t)(timestamp / SECOND),
		.fraction = (uint32_t)(timestamp % SECOND / MICROSECOND),
		.length = (uint32_t)(PCAP_COOKED + length),
		.original = (uint32_t)(PCAP_COOKED + length),
	};
	const struct pcap_cooked cooked = {
		.direction = htons(PCAP_OUTGOING),
		.device = htons(ARPHRD_NETLINK),
		.family = htons(NETLINK_SOCK_DIAG),
	};

	buffer_append(out, &header, sizeof(header));
	buffer_append(out, &cooked, sizeof(cooked));
	buffer_append(out, bytes, length);
}
