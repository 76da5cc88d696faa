/*
 * What the processes say to each other: messages of channel.h.
 *
 *	namespacer <-> shipper		over the shipper's listening socket;
 *					each says HELLO first
 *	namespacer <-> collector	over a socketpair made before the fork
 *	tcpdiag run --> daemons		over a socketpair they inherit
 */
#ifndef COMMON_PROTOCOL_H
#define COMMON_PROTOCOL_H

#include <stdint.h>

#include "common/channel.h"
#include "common/record.h"

#define PROTOCOL_NAME		"tcpdiag"
#define PROTOCOL_VERSION	1

enum { PROTOCOL_NAME_MAX = 256, PROTOCOL_CONTAINER_MAX = 128, PROTOCOL_RUNTIME_MAX = 32 };

enum protocol_type {
	/* both ways between namespacer and shipper */
	PROTOCOL_HELLO = 1,
	/* namespacer to shipper */
	PROTOCOL_RING,		/* a collector's identity and its ring; 3 fds: D, C, doorbell */
	PROTOCOL_ENDED,		/* that collector has ended; drain its ring and say DRAINED */
	PROTOCOL_FINISH,	/* once: nothing more will come; drain, deliver, exit */
	/* shipper to namespacer */
	PROTOCOL_DRAINED,	/* an ended collector's ring is empty and delivered */
	PROTOCOL_HOSTILE,	/* that collector wrote what cannot be; end it */
	/* namespacer to collector */
	PROTOCOL_SNAPSHOT = 20,	/* take one now */
	/* collector to namespacer */
	PROTOCOL_IDENTITY,	/* before it is confined: which namespace it is in */
	PROTOCOL_READY,		/* confined, and waiting for work */
	PROTOCOL_FAILED,	/* could not be set up; it exits */
	PROTOCOL_WAITING,	/* the ring is full: another may have its turn */
	PROTOCOL_TAKEN,		/* the snapshot has ended, complete or not */
	PROTOCOL_TRAPPED,	/* it made a system call that it may not */
	/* tcpdiag run to the shipper */
	PROTOCOL_FILE = 40,	/* the sink's file, opened anew; 1 fd */
};

struct protocol_hello {
	char		name[8];	/* PROTOCOL_NAME */
	uint32_t	version;
	uint32_t	unused;
};

struct protocol_ring {
	uint64_t	epoch;		/* random, of this collector's life */
	uint64_t	cookie;		/* SO_NETNS_COOKIE; 0 before Linux 5.14 */
	uint64_t	inode;
	uint64_t	size;		/* bytes of data in the ring */
	uint32_t	ended;		/* 1: its collector has ended already */
	uint32_t	unused;
	char		name[PROTOCOL_NAME_MAX];		/* NUL-terminated, UTF-8 */
	char		container[PROTOCOL_CONTAINER_MAX];	/* or "" */
	char		runtime[PROTOCOL_RUNTIME_MAX];		/* or "" */
};

struct protocol_epoch {			/* ENDED, DRAINED, HOSTILE */
	uint64_t	epoch;
};

struct protocol_snapshot {
	uint64_t	sequence;
	uint64_t	deadline;	/* CLOCK_MONOTONIC, ns */
};

struct protocol_identity {
	uint64_t	cookie;
	uint64_t	inode;
};

struct protocol_failed {
	int32_t		error;		/* errno */
	char		step[60];	/* what it was doing: "join the network namespace" */
};

struct protocol_taken {
	uint64_t	sequence;
	uint64_t	records;	/* published */
	uint64_t	bytes;		/* published */
	uint64_t	dropped;
	uint64_t	duration;	/* ns */
	uint32_t	outcome;	/* enum record_outcome */
	uint32_t	attempts;
	/* in the collector's life: what the kernel sends that it does not know */
	uint32_t	unknown[RECORD_NESTS];	/* bit n: attributes of number n */
	uint64_t	longer;		/* bits of enum record_source: of more bytes */
	uint32_t	way;		/* enum record_way */
	uint32_t	unused;
};

struct protocol_trapped {
	int32_t		number;		/* of the system call */
	uint32_t	architecture;	/* AUDIT_ARCH_* */
};

#endif
