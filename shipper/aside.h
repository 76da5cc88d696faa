/*
 * Folders of what is set aside: batches and records that cannot be delivered,
 * each in a file of its own, for people to look at.  Nothing in them is ever
 * deleted or overwritten by us.
 */
#ifndef SHIPPER_ASIDE_H
#define SHIPPER_ASIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aside {
	int		fd;		/* of the folder */
	uint64_t	most;		/* bytes of its files */
	uint64_t	minfree;	/* bytes that the file system must have left */
	uint64_t	bytes;
	uint64_t	files;
};

/* Opens a folder of a folder, which is made if need be, and counts what is in it.  Returns 0, or -1 with errno. */
int	aside_open(struct aside *, int parent, const char *name, uint64_t most, uint64_t minfree);
void	aside_close(struct aside *);
/*
 * Writes a file, whole or not at all; one of that name that is there already
 * stays, and is what was asked for.  Returns 0, or -1 with errno: EDQUOT when
 * the folder is full, ENOSPC when the disk is.
 */
int	aside_write(struct aside *, const char *name, const void *bytes, size_t length);
/* Bytes that the file system of a descriptor has left for us; UINT64_MAX when it cannot say. */
uint64_t aside_free(int fd);

#endif
