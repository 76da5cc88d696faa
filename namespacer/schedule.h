/*
 * The clock: which collector takes a snapshot, and when.  A bounded number at
 * a time, spread over the interval by a jitter that is fixed for a host and a
 * namespace; a namespace that is new is read at once.  Small ones share a turn.
 */
#ifndef NAMESPACER_SCHEDULE_H
#define NAMESPACER_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "namespacer/life.h"

struct event_base;

struct schedule_setting {
	struct event_base	*base;
	uint64_t		 interval, deadline;	/* ns */
	uint64_t		 parallel;
	bool			 once;		/* one snapshot of each */
	void			(*finished)(bool complete);	/* once: all are taken */
};

struct schedule_counts {
	uint64_t	taken, incomplete, late;	/* late: an interval was left out */
};

int	schedule_init(const struct schedule_setting *);
/* Something changed: looks what may be started or ordered now. */
void	schedule_soon(void);
/* Callbacks for life.h. */
void	schedule_life_changed(struct life *);
void	schedule_life_forgotten(struct life *);
void	schedule_life_taken(struct life *);
/* once: every namespace is known now; finished may be called from here on. */
void	schedule_known(void);
const struct schedule_counts *schedule_counts(void);

#endif
