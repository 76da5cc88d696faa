/*
 * Listening sockets in the file system.  A stale one is replaced, one that
 * somebody listens on is not, and what is no socket is left alone.
 */
#ifndef SHIPPER_LOCAL_SOCKET_H
#define SHIPPER_LOCAL_SOCKET_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct local_socket {
	char		*path;
	int		 fd;		/* bound, not listening yet; -1: none */
	struct stat	 bound;		/* its file, to unlink no other's */
};

struct local_socket_options {
	const char	*key;		/* of the configuration, for messages */
	const char	*path;
	int		 type;		/* SOCK_STREAM or SOCK_SEQPACKET */
	mode_t		 mode;		/* of the file */
	/* As root, a folder of /run that is missing is made, and owned by these. */
	uid_t		 uid;
	gid_t		 gid;
};

/* NULL if a socket can have this path, else what is wrong with it, for messages. */
const char	*local_socket_fault(const char *path);
/* Returns 0, or -1 with one sentence in error. */
int		 local_socket_bind(struct local_socket *, const struct local_socket_options *, char *error, size_t size);
/* Removes the file, if it is still ours, and closes the socket. */
void		 local_socket_close(struct local_socket *);

#endif
