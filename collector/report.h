/* What a collector says to the namespacer, and its doorbell to the shipper. */
#ifndef COLLECTOR_REPORT_H
#define COLLECTOR_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/protocol.h"

/* Each ends the process if the namespacer has gone. */
void	report_ready(void);
void	report_waiting(void);
void	report_taken(const struct protocol_taken *);
/* Before the descriptors are in their places: the control channel is given. */
void	report_identity(int control, const struct protocol_identity *);
_Noreturn void report_failed(int control, const char *step, int error);
/* In a signal handler. */
void	report_trapped(int number, unsigned int architecture);

/* Waits for an order. */
void	report_wait_order(struct protocol_snapshot *);

/* Wakes the shipper: a hint, harmless when it is lost or comes too often. */
void	report_ring_doorbell(void);
/* Waits for the shipper to ring; false when the deadline (monotonic ns) has passed. */
bool	report_wait_doorbell(uint64_t deadline);

#endif
