/*
 * Records into the ring: written in place, shown when there is a portion of
 * them, and taken back as long as they are not shown.
 */
#ifndef COLLECTOR_PUBLISH_H
#define COLLECTOR_PUBLISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/attributes.h"
#include "collector/encode.h"

struct ring_producer;

/* Once.  The counters are the ring's. */
struct counters	*publish_init(struct ring_producer *);
/* A snapshot begins: whoever waits for room waits until the deadline (monotonic ns). */
void		 publish_begin(uint64_t deadline);
/*
 * Writes a record; false if there was no room until the deadline.  Its sequence
 * is filled in.  Both end the process with EXIT_CODE_PEER if the ring's
 * consumer position is impossible.
 */
bool		 publish_socket(struct encode_metadata *, const struct attributes *);
bool		 publish_end(struct encode_metadata *, const struct encode_end *);
/* Shows what was written, and wakes a shipper that sleeps if it is a portion worth it. */
void		 publish_show(void);
/* Takes back the sockets that were written and not shown, and returns how many. */
uint64_t	 publish_withdraw(void);
/* The deadline passed while it waited for room. */
bool		 publish_late(void);
/* Bytes of this snapshot. */
uint64_t	 publish_bytes(void);

#endif
