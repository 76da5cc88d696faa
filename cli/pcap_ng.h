/* For the writer and the reader of capture files: what a pcapng is made of. */
#ifndef CLI_PCAP_NG_H
#define CLI_PCAP_NG_H

#define PCAP_MAGIC_US		0xa1b2c3d4U	/* of a pcap with microseconds */
#define PCAP_MAGIC_NS		0xa1b23c4dU	/* with nanoseconds */
#define PCAP_MAGIC_NG		0x0a0d0d0aU	/* the kind of block that a pcapng begins with */
#define PCAP_MAGIC_ORDER	0x1a2b3c4dU	/* in it: tells the byte order */

enum pcap_block {
	PCAP_NG_INTERFACE = 1, PCAP_NG_OLD_PACKET = 2, PCAP_NG_SIMPLE_PACKET = 3, PCAP_NG_PACKET = 6,
};

enum pcap_option {
	PCAP_OPTION_END = 0,
	PCAP_OPTION_NAME = 2, PCAP_OPTION_DESCRIPTION = 3,	/* of an interface */
	PCAP_OPTION_OS = 3, PCAP_OPTION_PROGRAM = 4,		/* of a section */
	PCAP_OPTION_RESOLUTION = 9, PCAP_OPTION_SECONDS = 14,
};

enum { PCAP_RESOLUTION_US = 6, PCAP_RESOLUTION_NS = 9, PCAP_RESOLUTION_BINARY = 0x80 };

/*
 * An interface's description that makes it a network namespace: it is said by
 * tcpdiag, and the interface's name is that of the namespace.
 */
#define PCAP_DESCRIPTION	"network namespace: "

#endif
