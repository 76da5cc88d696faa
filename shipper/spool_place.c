/* Where a spool is, before it is opened: see spool.h. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "shipper/spool.h"

const char *
spool_machine(char *to, size_t size)
{
	cleanup_fd int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd != -1 ? read(fd, to, size - 1) : 0;

	to[n > 0 ? n : 0] = '\0';
	to[strcspn(to, "\n")] = '\0';
	return to;
}

/* What goes wrong here is said by spool_open, which finds no folder that it may use. */
void
spool_prepare(const char *dir, uid_t uid, gid_t gid)
{
	cleanup_fd int fd = -1;

	/* Later nobody can make it. */
	if (mkdir(dir, 0700) == -1 || geteuid() != 0)
		return;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd != -1 && fchown(fd, uid, gid) == -1)
		log_errno(LOG_LEVEL_WARNING, "%s: cannot be given to uid %u", dir, uid);
}
