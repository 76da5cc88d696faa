/*
 * Landlock: which files the shipper can still open.  By system calls of its
 * own, for the C library has none and no Debian package wraps them.
 */
#ifndef SHIPPER_LANDLOCK_H
#define SHIPPER_LANDLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "shipper/settings.h"

enum { LANDLOCK_ABI_MIN = 2 };	/* Linux 5.19: files can be moved between folders of a spool */

struct landlock {
	int		abi;		/* of the kernel; 0: it has none, or an older one */
	int		fd;		/* of the ruleset, or -1 */
	uint64_t	handled;	/* what is refused unless a rule allows it */
};

/*
 * Makes the rules, with the rights to see what they are about: the files that
 * the configuration names and those that libraries read to find hosts and to
 * trust them.  passed: whoever started us opens the sink's file.
 * Returns 0, or -1 with errno.
 */
int	landlock_prepare(struct landlock *, const struct settings *, const struct config *, bool passed);
/*
 * Restricts this thread, and all that it starts from now on, to them; it can
 * listen on no TCP port, connect to none unless its sink is a host, signal no other process and reach no abstract socket of
 * somebody else's, where the kernel can see to that.  What is open stays open.  Needs no_new_privs.
 * Returns 0, or -1 with errno.
 */
int	landlock_enter(struct landlock *);

#endif
