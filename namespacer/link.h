/*
 * The connection to the shipper.  It is made again whenever it breaks, with
 * back-off; the rings go to one shipper at a time, and to the next only when
 * the last process has ended.
 *
 * SECURITY: a descriptor is sent only to a listener that runs as the shipper's
 * user.  What the shipper says is two small messages about an epoch; the worst
 * it can do by lying is to have a collector replaced or a ring given up.
 */
#ifndef NAMESPACER_LINK_H
#define NAMESPACER_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct event_base;
struct handover;
struct protocol_counts;

struct link_callbacks {
	void	(*up)(void);			/* rings can be sent, snapshots taken */
	void	(*down)(void);
	void	(*hostile)(uint64_t epoch);	/* that collector must end */
};

/* uid: whom the listener must run as. */
int	link_start(struct event_base *, const char *path, uid_t uid, const struct link_callbacks *);
/* True while a shipper is there that speaks our version. */
bool	link_is_up(void);
/* Sends the ring, if there is a shipper and it is known; again to every new one. */
void	link_send_ring(struct handover *);
/* Its collector has ended. */
void	link_send_ended(struct handover *);
/* If there is a shipper, and it has room for it: another will follow. */
void	link_send_counts(const struct protocol_counts *);
/* run --once: nothing more will come. */
void	link_send_finish(void);
void	link_stop(void);

#endif
