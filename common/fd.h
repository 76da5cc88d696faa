/* Descriptors and heap that clean up after themselves. */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <stdlib.h>
#include <unistd.h>

static inline void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void
heap_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline int
fd_steal(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

#define cleanup_fd	__attribute__((cleanup(fd_close)))
#define cleanup_free	__attribute__((cleanup(heap_free)))

#endif
