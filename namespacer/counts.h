/*
 * What all parts of the namespacer have counted, told to the shipper once a
 * second: it shows them among its metrics.
 */
#ifndef NAMESPACER_COUNTS_H
#define NAMESPACER_COUNTS_H

struct event_base;

/* Returns 0, or -1 with errno. */
int	counts_start(struct event_base *);
/* Tells them now. */
void	counts_send(void);

#endif
