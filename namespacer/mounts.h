/*
 * Which mounts there are, by listmount(2): a mount that is there still holds
 * what it held, and one call for all of them costs less than a stat(2) of a
 * few.  Linux 6.8 and later; before, nothing is known.
 */
#ifndef NAMESPACER_MOUNTS_H
#define NAMESPACER_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The mount that a path leads to the root of: a number that is never given
 * again.  0 if there is none, or it is not known.
 */
uint64_t	mounts_of(const char *path);
/* Lists those of our mount namespace; false if this kernel cannot. */
bool		mounts_list(void);
/* True if this one was listed. */
bool		mounts_listed(uint64_t mount);

#endif
