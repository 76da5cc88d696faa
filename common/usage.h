/* What this process costs. */
#ifndef COMMON_USAGE_H
#define COMMON_USAGE_H

#include <stdint.h>

struct usage {
	uint64_t	cpu;		/* ns, in user and kernel mode */
	uint64_t	resident;	/* bytes of memory; 0 if /proc does not tell */
};

void	usage_read(struct usage *);

#endif
