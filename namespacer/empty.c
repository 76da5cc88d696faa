/* Makes the empty namespaces. */
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/fd.h"
#include "namespacer/empty.h"

/*
 * The root of a mount namespace is not ours if we were started in a chroot, and
 * whoever joins the namespace gets its own: so ours becomes that first.
 */
static int
empty_leave_chroot(void)
{
	cleanup_fd int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

	return own == -1 ? -1 : setns(own, CLONE_NEWNS);
}

/*
 * A root without a file: an empty tmpfs over /proc, which always exists,
 * becomes the root, and the old one is let go.
 */
static int
empty_root(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
	    mount("none", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0,mode=0555") == -1 ||
	    chdir("/proc") == -1 || syscall(SYS_pivot_root, ".", ".") == -1 ||
	    umount2(".", MNT_DETACH) == -1)
		return -1;
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* Says how it went by one int, and lives until the parent has looked. */
static _Noreturn void
empty_child(int to_parent)
{
	int error = 0;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC) == -1 || empty_leave_chroot() == -1 || empty_root() == -1)
		error = errno;
	if (write(to_parent, &error, sizeof(error)) != sizeof(error))
		_exit(1);
	for (;;)
		pause();
}

static int
empty_open(pid_t child, const char *kind)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)child, kind);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static const char *
empty_take(struct empty *empty, pid_t child, int from_child)
{
	int error;

	if (read(from_child, &error, sizeof(error)) != sizeof(error) || error != 0) {
		errno = error != 0 ? error : EIO;
		return "make the empty namespaces";
	}
	empty->net = empty_open(child, "net");
	empty->mount = empty_open(child, "mnt");
	empty->ipc = empty_open(child, "ipc");
	if (empty->net != -1 && empty->mount != -1 && empty->ipc != -1)
		return NULL;
	return "open the empty namespaces";
}

const char *
empty_make(struct empty *empty)
{
	cleanup_fd int from_child = -1, to_parent = -1;
	const char *failed;
	int ends[2], error;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) == -1)
		return "make a pipe";
	from_child = ends[0];
	to_parent = ends[1];
	if ((child = fork()) == -1)
		return "fork";
	if (child == 0)
		empty_child(to_parent);
	fd_close(&to_parent);
	failed = empty_take(empty, child, from_child);
	error = errno;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	errno = error;
	return failed;
}
