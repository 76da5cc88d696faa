/*
 * Landlock: which files the shipper can still open.  By system calls of its
 * own, for the C library has none and no Debian package wraps them.
 */
#ifndef SHIPPER_LANDLOCK_H
#define SHIPPER_LANDLOCK_H

#include "common/config.h"
#include "shipper/settings.h"

enum { LANDLOCK_ABI_MIN = 2 };	/* Linux 5.19: files can be moved between folders of a spool */

/*
 * Restricts this thread, and all that it starts from now on, to the files that
 * the configuration names and those that libraries read to find hosts and to
 * trust them; it can listen on no TCP port and signal no other process, where
 * the kernel can see to that.  What is open stays open.  passed: whoever
 * started us opens the sink's files.
 * Returns the kernel's ABI, 0 if it has none or an older one, or -1 with errno.
 */
int	landlock_confine(const struct settings *, const struct config *, bool passed);

#endif
