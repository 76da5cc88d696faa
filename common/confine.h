/*
 * The steps by which a process gives up what it does not need.  Each returns
 * 0, or -1 with errno; the caller names the step and ends.
 */
#ifndef COMMON_CONFINE_H
#define COMMON_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/capability.h>
#include <sys/types.h>

/*
 * Whoever started us may have left signals blocked (libraries do that for their
 * threads); a blocked SIGSYS could not tell which call was refused.
 */
int	confine_unblock_signals(void);
/* Groups, gid and uid, all of each; keep: the permitted set survives. */
int	confine_user(uid_t uid, gid_t gid, bool keep);
/* Permitted and effective are exactly these; inheritable and ambient empty. */
int	confine_capabilities(const cap_value_t *values, int count);
/* Whatever is not among these can never come back (needs CAP_SETPCAP). */
int	confine_bounding(const cap_value_t *values, int count);
/* uid 0 means nothing for capabilities any more, for good (needs CAP_SETPCAP). */
int	confine_securebits(void);
int	confine_no_new_privileges(void);
/* No core, no ptrace by the same uid, /proc/PID belongs to root. */
int	confine_undumpable(void);
/*
 * Of a daemon: no core file, no memory that cannot be swapped out, and as many
 * descriptors as may be, for each namespace takes some.
 */
int	confine_limits(void);
/*
 * Whole pages whose mapping can no longer be changed, moved or taken away, by
 * whatever call.  Nothing happens before Linux 6.10.
 */
int	confine_seal(const void *start, size_t length);
/* True if any capability is permitted. */
bool	confine_holds_any(void);

#endif
