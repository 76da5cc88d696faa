/*
 * Where network namespaces are looked for: the processes and threads in /proc,
 * and the bind mounts in some folders.  Everything found is put into the table
 * of netns.h; what it means is the caller's.
 *
 * SECURITY: names in the folders and in /proc are other people's.  Nothing but
 * a network namespace is ever opened; a name only becomes text after it was
 * made valid.
 */
#ifndef NAMESPACER_DISCOVERY_H
#define NAMESPACER_DISCOVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/config.h"

/* Folders at most, with the two that are always looked at. */
enum { DISCOVERY_FOLDERS = 32 };

struct discovery_counts {
	uint64_t	scans;		/* whole ones */
	uint64_t	strangers;	/* entries of folders that are no namespace */
	uint64_t	vanished;	/* gone between the look and the entry */
	uint64_t	refused;	/* not allowed to look or to open */
};

/* Further folders beside /run/netns and /run/docker/netns. */
void	discovery_init(const struct config_list *folders);
/* A namespace that is ours and is not to be found: the empty one. */
void	discovery_ignore(uint64_t inode);
/*
 * This process does not count as one that lives in its namespace: that the
 * unit's PrivateNetwork= put it into one is no reason to read it.
 */
void	discovery_ignore_self(void);
/*
 * Looks everywhere, but not again at what netns_find_lost has found to hold
 * what it did, and not at the processes whose ids are own (which are
 * sorted): what only this program's children hold is held by nobody.
 */
void	discovery_scan(pid_t *own, size_t count);
/* Looks at one name in a folder; true if it is a namespace now. */
bool	discovery_look(const char *folder, const char *name);
/* The folders in turn; NULL at the end. */
const char *discovery_folder(size_t index);
const struct discovery_counts *discovery_counts(void);

#endif
