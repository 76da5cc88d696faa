/*
 * Which way a snapshot takes: the cheapest that can be complete, by what each
 * has cost in this namespace.  Both costs are measured whenever that way is
 * taken, and each way is taken from time to time, so that neither is judged by
 * what it cost long ago.
 */
#ifndef COLLECTOR_CHOICE_H
#define COLLECTOR_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/counters.h"
#include "common/record.h"

/*
 * forced: the way that is configured, or unspecified.  provable: all that the
 * kernel counts is asked for, so that counts can prove anything.  phase: so
 * that the namespaces of a host do not measure in the same interval.
 */
void		choice_init(enum record_way forced, bool provable, uint64_t phase);
/*
 * The way for so many sockets that sockstat has counted: targeted or walk, with
 * the reason for a walk.
 */
enum record_way	choice_make(uint64_t counted, enum counters_walk *why);
/* If the cost of the next targeted reads is wanted; to ask for CPU time costs nearly as much as to read a socket. */
bool		choice_measures_reads(void);
/* How it went: CPU time in ns; of reads, 0 if it was not measured. */
void		choice_walked(uint64_t cost);
void		choice_read(uint64_t cost, uint64_t sockets, bool complete);

#endif
