/*
 * A snapshot: one pass over the namespace's sockets, in the cheapest way that
 * is complete, ended by a record of kind snapshot_end.
 */
#ifndef COLLECTOR_SNAPSHOT_H
#define COLLECTOR_SNAPSHOT_H

#include "common/protocol.h"

struct collector_start;

/* Once, after the confinement. */
void	snapshot_init(const struct collector_start *);
/*
 * Takes one and fills in what the namespacer is told.  Ends the process with
 * EXIT_CODE_PEER if the ring's consumer position is impossible.
 */
void	snapshot_take(const struct protocol_snapshot *, struct protocol_taken *);

#endif
