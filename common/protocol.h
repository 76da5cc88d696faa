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
#define PROTOCOL_VERSION	2

enum { PROTOCOL_NAME_MAX = 256, PROTOCOL_CONTAINER_MAX = 128, PROTOCOL_RUNTIME_MAX = 32 };

enum protocol_type {
	/* both ways between namespacer and shipper */
	PROTOCOL_HELLO = 1,
	/* namespacer to shipper */
	PROTOCOL_RING,		/* a collector's identity and its ring; 3 fds: D, C, doorbell */
	PROTOCOL_ENDED,		/* that collector has ended; drain its ring and say DRAINED */
	PROTOCOL_FINISH,	/* once: nothing more will come; drain, deliver, exit */
	PROTOCOL_COUNTS,	/* once a second: what the namespacer has counted */
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

/* For the shipper's metrics: the namespacer has no network to show them on. */
struct protocol_counts {
	uint64_t	started;	/* when it was, ns since 1970: of this life everything is */
	/* only grow; 64-bit numbers and nothing else */
	struct protocol_grown {
		uint64_t	cpu;		/* ns */
		uint64_t	snapshots;	/* that ended */
		uint64_t	incomplete;	/* of these */
		uint64_t	late;		/* intervals that were left out */
		uint64_t	forks;		/* collectors started */
		uint64_t	setup_faults;	/* that could not be */
		uint64_t	crashes;	/* ends that nobody asked for */
		uint64_t	trapped;	/* of these, by a refused system call */
		uint64_t	hostile;	/* ended for what the shipper found in their ring */
		uint64_t	outgrown;	/* replaced by one with a larger ring */
		uint64_t	appeared;	/* namespaces */
		uint64_t	gone;
		uint64_t	renamed;
		uint64_t	scans;		/* looks at all of /proc and the folders */
		uint64_t	scan_cpu;	/* ns of CPU time for all looks */
		uint64_t	strangers;	/* entries of folders that are no namespace */
		uint64_t	vanished;	/* gone between the look and the entry */
		uint64_t	denied;		/* not allowed to look or to open */
		uint64_t	lost_rings;	/* of dead collectors, given up before a shipper had them */
		uint64_t	lost_bytes;	/* of records in them */
	} grown;
	/* are so now */
	struct protocol_level {
		uint64_t	resident;	/* bytes of memory */
		uint64_t	namespaces;	/* that are known, wanted or not */
		uint64_t	setup;		/* collectors that are not ready yet, */
		uint64_t	idle;		/* that wait for an order, */
		uint64_t	taking;		/* that take a snapshot */
		uint64_t	waiting;	/* of these, for room in their ring */
		uint64_t	missing;	/* namespaces that are wanted and have none */
		uint64_t	orphan_bytes;	/* of rings of dead collectors, kept for the shipper */
	} level;
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
