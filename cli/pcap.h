/*
 * Capture files of netlink: classic pcap with LINKTYPE_NETLINK, a cooked header
 * of 16 bytes before each datagram, as the nlmon device gives them.
 *
 * By hand, not by libpcap: the format is two structs, and libpcap would bring
 * D-Bus and RDMA libraries to hardened hosts.
 */
#ifndef CLI_PCAP_H
#define CLI_PCAP_H

#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

enum {
	PCAP_LINK_NETLINK = 253,
	PCAP_COOKED = 16,		/* bytes before a datagram */
	PCAP_PACKET_MAX = 256 * 1024,	/* bytes with them; what Wireshark takes */
};

void	pcap_write_header(struct buffer *out);
/* A datagram of NETLINK_SOCK_DIAG at a time in ns since 1970. */
void	pcap_write_datagram(struct buffer *out, uint64_t timestamp, const void *bytes, size_t length);

#endif
