/*
 * A snapshot: one pass over the namespace's sockets, in the cheapest way that
 * is complete, ended by a record of kind snapshot_end.
 */
#ifndef COLLECTOR_SNAPSHOT_H
#define COLLECTOR_SNAPSHOT_H

#include "common/protocol.h"

struct ring_producer;

/* Once, after the confinement.  states: 1 << TCP state, what is asked for. */
void	snapshot_init(struct ring_producer *, uint32_t states);
/*
 * Takes one and fills in what the namespacer is told.  Ends the process with
 * EXIT_CODE_PEER if the ring's consumer position is impossible.
 */
void	snapshot_take(const struct protocol_snapshot *, struct protocol_taken *);

#endif
