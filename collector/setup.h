/* From a fork of root to a confined process, one step after the other. */
#ifndef COLLECTOR_SETUP_H
#define COLLECTOR_SETUP_H

#include "collector/collector.h"

/*
 * Takes every step, or reports the one that failed and ends the process: a
 * collector is confined completely or it is not.
 */
void	setup_confine(const struct collector_start *);

#endif
