/*
 * Capture files of netlink, whose link type is LINKTYPE_NETLINK: a cooked header
 * of 16 bytes before each datagram, as the nlmon device gives them.  They are
 * pcap, or pcapng, where each network namespace is an interface with its name.
 *
 * By hand, not by libpcap: that tells neither the offset at which a file is
 * wrong, nor the interface that a packet of a pcapng is from, it gives up a
 * packet that is cut short where the whole messages in it can be had, and it
 * brings D-Bus and RDMA libraries to hardened hosts.
 */
#ifndef CLI_PCAP_H
#define CLI_PCAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/input.h"
#include "common/buffer.h"
#include "common/protocol.h"

enum {
	PCAP_LINK_NETLINK = 253,
	PCAP_COOKED = 16,		/* bytes before a datagram */
	PCAP_PACKET_MAX = 256 * 1024,	/* bytes with them; what Wireshark takes */
};

/* Which network namespace a packet is from. */
struct pcap_identity {
	char		name[PROTOCOL_NAME_MAX];	/* "": it is not said */
	uint64_t	inode, cookie;			/* 0: not known */
	char		container[PROTOCOL_CONTAINER_MAX];	/* or "" */
	char		runtime[PROTOCOL_RUNTIME_MAX];		/* or "" */
};

/* --- writing --- */

/* What is before the first packet; ng: it will be a pcapng. */
void	pcap_write_header(struct buffer *out, bool ng);
/* Of a pcapng only: the next interface, the first one's number being 0. */
void	pcap_write_interface(struct buffer *out, const struct pcap_identity *);
/* One of NETLINK_SOCK_DIAG. */
struct pcap_datagram {
	bool		 ng;
	uint32_t	 interface;	/* of a pcapng */
	uint64_t	 timestamp;	/* ns since 1970 */
	const void	*bytes;
	size_t		 length;
	size_t		 original;	/* at least length: more if the end was cut off */
};
void	pcap_write_datagram(struct buffer *out, const struct pcap_datagram *);

/* --- reading --- */

struct pcap_packet {
	uint64_t	 offset;	/* of its bytes in the file */
	uint64_t	 timestamp;	/* ns since 1970; 0: not known */
	uint64_t	 interface;	/* which of the file's, from 0 */
	unsigned int	 link;		/* its link type */
	const struct pcap_identity *identity;	/* of its interface */
	const uint8_t	*bytes;		/* till the next one is read */
	size_t		 length;
	size_t		 original;	/* length when it was captured */
};

enum pcap_result { PCAP_PACKET, PCAP_END, PCAP_BAD };

struct pcap_interface {
	unsigned int	 link;
	uint32_t	 snaplen;
	uint8_t		 resolution;	/* as if_tsresol has it */
	int64_t		 seconds;	/* added to each time */
	bool		 ours;		/* its description is that of a namespace */
	struct pcap_identity identity;
};

struct pcap_reader {
	struct input		*input;
	bool			 begun, ng, swapped;
	struct pcap_interface	*interfaces;	/* of the section; a pcap has one */
	size_t			 ninterfaces, capacity;
	uint64_t		 before;	/* interfaces of the sections before */
	uint64_t		 start;		/* of what is to be skipped before the next one */
	size_t			 rest;		/* bytes of that */
	uint64_t		 bad;		/* what is wrong is at this offset */
	char			 error[128];
};

void			pcap_open(struct pcap_reader *, struct input *);
/*
 * The next packet.  One that the file's end cuts short is given as far as it
 * goes, and the next call says PCAP_BAD.  After that there is nothing more.
 */
enum pcap_result	pcap_read(struct pcap_reader *, struct pcap_packet *);
void			pcap_close(struct pcap_reader *);

/* True of a packet of NETLINK_SOCK_DIAG, behind whose cooked header a datagram begins. */
bool			pcap_is_sock_diag(const struct pcap_packet *);

#endif
