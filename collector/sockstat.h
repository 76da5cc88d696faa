/*
 * How many TCP sockets a namespace has, without a walk: /proc/net/sockstat and
 * sockstat6, opened inside and read at offset 0 ever after.
 */
#ifndef COLLECTOR_SOCKSTAT_H
#define COLLECTOR_SOCKSTAT_H

#include <stdint.h>

struct sockstat {
	uint64_t	inuse;	/* full sockets, both families, listeners too */
	uint64_t	tw;	/* TIME_WAIT */
};

/*
 * Reads both files; one that is missing (IPv6 off) counts as zero.
 * Returns 0, or -1 with errno (EPROTO: not what the kernel writes).
 */
int	sockstat_read(int sockstat, int sockstat6, struct sockstat *);

#endif
