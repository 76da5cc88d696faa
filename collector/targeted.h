/*
 * A snapshot by targeted reads: the sockets that are known are asked for by id,
 * each found by its hash, whatever else the host holds.  Where listeners share a
 * port they are asked for by a dump of their own, since of several with
 * SO_REUSEPORT only one answers by id.  (A dump of listeners looks at all listeners of the
 * host: with a thousand namespaces it was two fifths of a snapshot's time.)
 *
 * It proves that nobody else is there by numbers.  What was known before the
 * counts were read, and answers after, was there when they were read, and is in
 * them.  So if as many answer as were counted, these are all.  (In the counts
 * are all full sockets and TIME_WAIT; a socket that goes from one to the other
 * meanwhile is in their sum once.)
 */
#ifndef COLLECTOR_TARGETED_H
#define COLLECTOR_TARGETED_H

#include <stdint.h>

#include "collector/walk.h"

enum targeted_result {
	TARGETED_COMPLETE,
	TARGETED_UNPROVED,	/* fewer answer than were counted */
	TARGETED_FAILED,	/* the kernel does not answer as it should */
};

struct targeted_figures {
	uint64_t	sent;		/* sockets that were asked for */
	uint64_t	answered;
	uint64_t	gone;		/* of them: they are no more */
};

/*
 * Reads all that is known, hands it on, and leaves what has answered in the
 * table.  counted: the sockets that sockstat told before.  Ends early when it
 * can no longer reach them.  The handler's datagram() is not called.
 */
enum targeted_result	targeted_read(const struct walk_handler *, uint64_t counted, uint64_t deadline, struct targeted_figures *);

#endif
