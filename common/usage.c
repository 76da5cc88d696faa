/* CPU time and memory: see usage.h. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/usage.h"

void
usage_read(struct usage *usage)
{
	FILE *file = fopen("/proc/self/statm", "re");
	uint64_t pages;

	*usage = (struct usage){ .cpu = clock_read(CLOCK_PROCESS_CPUTIME_ID) };
	if (file == NULL)
		return;
	if (fscanf(file, "%*u %" SCNu64, &pages) == 1)
		usage->resident = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	fclose(file);
}
