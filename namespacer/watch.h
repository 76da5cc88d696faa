/*
 * What tells that a namespace may have come or gone: inotify on the folders of
 * bind mounts, and POLLPRI on /proc/self/mountinfo ("ip netns add" makes the
 * file first and mounts later, and only the mount is a namespace).
 */
#ifndef NAMESPACER_WATCH_H
#define NAMESPACER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;

/*
 * Calls changed after every burst of events, at most ten times a second, when
 * the names concerned have been looked at, with the CPU time of this process
 * when that began.  all: they were too many, and everything must be looked at.
 * -1 with errno.
 */
int	watch_start(struct event_base *, void (*changed)(bool all, uint64_t start));
/* True if a mount was made or taken away since this was asked last. */
bool	watch_mounts_changed(void);
/* Watches folders that have appeared since. */
void	watch_folders(void);
void	watch_stop(void);

#endif
