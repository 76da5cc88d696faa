/* Listening sockets in the file system: see local_socket.h. */
#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "shipper/local_socket.h"

enum {
	LOCAL_SOCKET_FOLDER_MODE = 0755,
	LOCAL_SOCKET_PATH_MAX = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
};

const char *
local_socket_fault(const char *path)
{
	_Static_assert(LOCAL_SOCKET_PATH_MAX == 107, "the message says how long a path may be");
	return path[0] == '/' && strlen(path) <= LOCAL_SOCKET_PATH_MAX ? NULL : "is no absolute path of at most 107 bytes";
}

/* systemd's RuntimeDirectory= does it for the unit; this is for a start by hand. */
static int
local_socket_make_folder(const struct local_socket_options *options, char *error, size_t size)
{
	cleanup_free char *copy = strdup(options->path);
	const char *folder;
	struct stat st;

	if (copy == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a path");
	folder = dirname(copy);
	if (stat(folder, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	if (geteuid() == 0 && strncmp(folder, "/run/", 5) == 0 && mkdir(folder, LOCAL_SOCKET_FOLDER_MODE) == 0 &&
	    chmod(folder, LOCAL_SOCKET_FOLDER_MODE) == 0 && chown(folder, options->uid, options->gid) == 0)
		return 0;
	snprintf(error, size, "%s %s: there is no folder %s", options->key, options->path, folder);
	return -1;
}

/* Removes a socket that nobody listens on.  0, or -1 with a sentence. */
static int
local_socket_remove_stale(const struct local_socket_options *options, const struct sockaddr_un *address, char *error, size_t size)
{
	cleanup_fd int fd = socket(AF_UNIX, options->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;
	int answer;

	if (lstat(address->sun_path, &st) == -1) {
		if (errno == ENOENT)
			return 0;
		snprintf(error, size, "%s %s: %s", options->key, address->sun_path, strerror(errno));
		return -1;
	}
	if (!S_ISSOCK(st.st_mode)) {
		snprintf(error, size, "%s %s: is there already, and no socket", options->key, address->sun_path);
		return -1;
	}
	answer = fd == -1 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) == -1 ? errno : 0;
	/* EAGAIN: somebody listens, and many wait for him. */
	if (answer == 0 || answer == EAGAIN) {
		snprintf(error, size, "another shipper listens on %s", address->sun_path);
		return -1;
	}
	if (answer == ECONNREFUSED && unlink(address->sun_path) == 0)
		return 0;
	snprintf(error, size, "%s %s: is there already: %s", options->key, address->sun_path, strerror(answer == ECONNREFUSED ? errno : answer));
	return -1;
}

static int
local_socket_make(struct local_socket *local, const struct local_socket_options *options, const struct sockaddr_un *address,
    char *error, size_t size)
{
	/* No chmod of the path: by then it may be a link that somebody put there. */
	mode_t mask = umask(0777 & ~options->mode);
	bool bound;

	local->fd = socket(AF_UNIX, options->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bound = local->fd != -1 && bind(local->fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
	umask(mask);
	if (bound && lstat(address->sun_path, &local->bound) == 0)
		return 0;
	snprintf(error, size, "%s %s: %s", options->key, address->sun_path, strerror(errno));
	return -1;
}

int
local_socket_bind(struct local_socket *local, const struct local_socket_options *options, char *error, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *fault = local_socket_fault(options->path);

	*local = (struct local_socket){ .fd = -1 };
	if (fault != NULL) {
		snprintf(error, size, "%s %s: %s", options->key, options->path, fault);
		return -1;
	}
	memcpy(address.sun_path, options->path, strlen(options->path) + 1);
	if (local_socket_make_folder(options, error, size) == 0 &&
	    local_socket_remove_stale(options, &address, error, size) == 0 &&
	    local_socket_make(local, options, &address, error, size) == 0) {
		if ((local->path = strdup(options->path)) == NULL)
			fatal(EXIT_CODE_SYSTEM, "out of memory: a path");
		return 0;
	}
	fd_close(&local->fd);
	return -1;
}

void
local_socket_close(struct local_socket *local)
{
	struct stat st;

	/* A shipper that was started meanwhile has one of its own there. */
	if (local->path != NULL && lstat(local->path, &st) == 0 && st.st_dev == local->bound.st_dev &&
	    st.st_ino == local->bound.st_ino)
		(void)unlink(local->path);
	free(local->path);
	local->path = NULL;
	fd_close(&local->fd);
}
