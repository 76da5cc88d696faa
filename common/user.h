/* The two users that the processes run as. */
#ifndef COMMON_USER_H
#define COMMON_USER_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Used where the system users do not exist (make run on a machine where
 * nothing is installed): ids that no distribution gives out, see
 * systemd's UIDS-GIDS.  user_find refuses them when somebody has them.
 */
#define USER_PREFIX	"tcpdiag-"	/* of the two users' names */
enum { USER_COLLECTOR_FALLBACK = 60641, USER_SHIPPER_FALLBACK = 60642 };

/*
 * The ids of a user by name (or of a number in decimal); of fallback if it is
 * one of ours by its prefix, there
 * is no such user and nobody has that id.  Root is refused: the users are there
 * so that nothing runs as root.  -1 with one sentence in error.
 */
int user_find(const char *name, uid_t fallback, uid_t *uid, gid_t *gid, char *error, size_t size);

#endif
