/* How the shipper gives up what it does not need: all of it, before the first byte from a peer is read. */
#ifndef SHIPPER_CONFINE_H
#define SHIPPER_CONFINE_H

#include <sys/types.h>

#include "shipper/settings.h"

/*
 * Started as root, it becomes uid and gid; in any case it ends up with no
 * capability, no way to one, the files of landlock.h and its seccomp filter.
 * passed: whoever started us opens the sink's files.
 * Returns 0, or the exit code; the message is written.
 */
int	shipper_confine(uid_t uid, gid_t gid, const struct settings *, const struct config *, bool passed);

#endif
