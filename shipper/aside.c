/* Folders of what is set aside: see aside.h. */
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "shipper/aside.h"

#define ASIDE_UNFINISHED	".unfinished"

uint64_t
aside_free(int fd)
{
	struct statvfs st;

	return fstatvfs(fd, &st) == 0 ? (uint64_t)st.f_bavail * st.f_frsize : UINT64_MAX;
}

static int
aside_count(struct aside *aside)
{
	int fd = openat(aside->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	struct stat st;

	if (dir == NULL) {
		fd_close(&fd);
		return -1;
	}
	aside->bytes = aside->files = 0;
	while ((entry = readdir(dir)) != NULL) {
		if (fstatat(aside->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1 || !S_ISREG(st.st_mode))
			continue;
		aside->bytes += (uint64_t)st.st_size;
		aside->files++;
	}
	closedir(dir);
	return 0;
}

int
aside_open(struct aside *aside, int parent, const char *name, uint64_t most, uint64_t minfree)
{
	*aside = (struct aside){ .fd = -1, .most = most, .minfree = minfree };
	if (mkdirat(parent, name, 0700) == -1 && errno != EEXIST)
		return -1;
	aside->fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (aside->fd != -1 && aside_count(aside) == 0)
		return 0;
	aside_close(aside);
	return -1;
}

void
aside_close(struct aside *aside)
{
	fd_close(&aside->fd);
}

static int
aside_write_all(int fd, const uint8_t *at, size_t length)
{
	ssize_t n;

	for (; length > 0; at += n, length -= (size_t)n) {
		n = write(fd, at, length);
		if (n == -1 && errno == EINTR)
			n = 0;
		else if (n == -1)
			return -1;
	}
	return 0;
}

/* A file of that name, or none. */
static int
aside_write_new(struct aside *aside, const char *name, const void *bytes, size_t length)
{
	cleanup_fd int fd = openat(aside->fd, ASIDE_UNFINISHED, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int error;

	if (fd == -1)
		return -1;
	if (aside_write_all(fd, bytes, length) == 0 && fdatasync(fd) == 0 && renameat(aside->fd, ASIDE_UNFINISHED, aside->fd, name) == 0)
		return 0;
	error = errno;
	(void)unlinkat(aside->fd, ASIDE_UNFINISHED, 0);
	errno = error;
	return -1;
}

static bool
aside_fits(const struct aside *aside, size_t length)
{
	return length <= aside->most && aside->bytes <= aside->most - length;
}

int
aside_write(struct aside *aside, const char *name, const void *bytes, size_t length)
{
	struct stat st;

	if (fstatat(aside->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	/* People take files away. */
	if (!aside_fits(aside, length) && (aside_count(aside) == -1 || !aside_fits(aside, length))) {
		errno = EDQUOT;
		return -1;
	}
	errno = ENOSPC;
	if (aside->minfree > 0 && aside_free(aside->fd) < aside->minfree + length)
		return -1;
	if (aside_write_new(aside, name, bytes, length) == -1)
		return -1;
	aside->bytes += length;
	aside->files++;
	return 0;
}
