/*
 * Keeps one collector for each namespace that is wanted: looks for namespaces,
 * gives new ones a life, and ends the lives of those that are gone.
 */
#ifndef NAMESPACER_FLEET_H
#define NAMESPACER_FLEET_H

#include <stdint.h>

#include "common/config.h"

struct event_base;

struct fleet_counts {
	uint64_t	appeared, gone, renamed;
	uint64_t	nanoseconds;	/* CPU time of looking for them, and at what holds them: collectors are not in it */
};

/* patterns: of names, glob(7); none means all.  -1 with errno. */
int	fleet_start(struct event_base *, const struct config_list *patterns, uint64_t interval);
/* Looks everywhere, now. */
void	fleet_scan(void);
void	fleet_stop(void);
const struct fleet_counts *fleet_counts(void);

#endif
