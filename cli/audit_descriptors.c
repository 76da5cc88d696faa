/* What a process has open: by kind, and in which direction. */
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/audit.h"
#include "common/fd.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC	0x0020		/* Linux 6.3 */
#endif

#define DESCRIPTOR_PIDFS	0x50494446	/* PID_FS_MAGIC, Linux 6.9 */

/* One descriptor while it is looked at. */
struct descriptor {
	int		 number;
	int		 dir;			/* the process's folder fd/ */
	char		 name[16];
	char		 link[PATH_MAX];	/* what the kernel calls it */
	const char	*access;		/* r, w, rw, path */
	struct stat	 st;
	char		 word[PATH_MAX + 64];
};

static const char *
descriptor_access(const struct audit_process *process, int number)
{
	cleanup_free char *text = NULL;
	char name[32];
	const char *flags;
	unsigned long bits;

	snprintf(name, sizeof(name), "fdinfo/%d", number);
	if ((text = audit_file(process, name)) == NULL || (flags = strstr(text, "flags:")) == NULL)
		return "?";
	bits = strtoul(flags + strlen("flags:"), NULL, 8);
	if ((bits & O_PATH) == O_PATH)
		return "path";
	return (bits & O_ACCMODE) == O_RDONLY ? "r" : (bits & O_ACCMODE) == O_WRONLY ? "w" : "rw";
}

/* A copy of the very descriptor; the caller's.  Nothing is read from it or written to it. */
static int
descriptor_copy(const struct audit_process *process, int number)
{
	return (int)syscall(SYS_pidfd_getfd, process->pidfd, number, 0);
}

static int
descriptor_option(int fd, int option)
{
	socklen_t size = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

static const char *
descriptor_number_name(int number, const char *const *names, size_t count)
{
	return number >= 0 && (size_t)number < count && names[number] != NULL ? names[number] : "other";
}

/* --- sockets -------------------------------------------------------------------------- */

/* The namespace that a netlink socket reads: it is its own for life. */
static void
descriptor_note_netns(struct audit_process *process, int copy)
{
	cleanup_fd int netns = ioctl(copy, SIOCGSKNS);
	struct audit_words words = { 0 };
	struct stat st;

	if (netns == -1 || fstat(netns, &st) == -1 || process->values[AUDIT_READS] != NULL)
		return;
	process->reads = st.st_ino;
	audit_words_add(&words, "net:%lu", (unsigned long)st.st_ino);
	process->values[AUDIT_READS] = audit_words_join(&words, false);
}

static void
descriptor_socket(struct audit_process *process, struct descriptor *d)
{
	static const char *const types[] = {
		[SOCK_STREAM] = "stream", [SOCK_DGRAM] = "dgram", [SOCK_RAW] = "raw", [SOCK_SEQPACKET] = "seqpacket", [SOCK_PACKET] = "packet",
	};
	static const char *const families[] = {
		[AF_UNIX] = "unix", [AF_INET] = "inet", [AF_INET6] = "inet6", [AF_PACKET] = "packet",
	};
	cleanup_fd int copy = descriptor_copy(process, d->number);
	int family = descriptor_option(copy, SO_DOMAIN), protocol = descriptor_option(copy, SO_PROTOCOL);

	if (copy == -1) {
		snprintf(d->word, sizeof(d->word), "socket");
	} else if (family == AF_NETLINK) {
		snprintf(d->word, sizeof(d->word), "netlink:%s", protocol == NETLINK_SOCK_DIAG ? "sock_diag" : "other");
		if (process->kind == AUDIT_COLLECTOR)
			descriptor_note_netns(process, copy);
	} else {
		snprintf(d->word, sizeof(d->word), "%s:%s", descriptor_number_name(family, families, sizeof(families) / sizeof(families[0])),
		    descriptor_number_name(descriptor_option(copy, SO_TYPE), types, sizeof(types) / sizeof(types[0])));
	}
}

/* --- files ---------------------------------------------------------------------------------- */

void
audit_seals(int fd, char *to, size_t size)
{
	static const struct {
		int		 bit;
		const char	*name;
	} seals[] = {
		{ F_SEAL_SEAL, "seal" }, { F_SEAL_SHRINK, "shrink" }, { F_SEAL_GROW, "grow" },
		{ F_SEAL_WRITE, "write" }, { F_SEAL_FUTURE_WRITE, "future_write" }, { F_SEAL_EXEC, "exec" },
	};
	int have = fcntl(fd, F_GET_SEALS);

	snprintf(to, size, "%s", have == -1 ? "?" : have == 0 ? "none" : "");
	for (size_t i = 0; have > 0 && i < sizeof(seals) / sizeof(seals[0]); i++)
		if ((have & seals[i].bit) != 0)
			snprintf(to + strlen(to), size - strlen(to), "%s%s", to[0] != '\0' ? "+" : "", seals[i].name);
}

/* "/memfd:NAME (deleted)" without what is around the name; a file of that name has a link. */
static bool
descriptor_is_memory(struct descriptor *d)
{
	char *end;

	if (strncmp(d->link, "/memfd:", strlen("/memfd:")) != 0 || d->st.st_nlink != 0)
		return false;
	if ((end = strstr(d->link, " (deleted)")) != NULL)
		*end = '\0';
	snprintf(d->word, sizeof(d->word), "%s", d->link + 1);
	return true;
}

/* A file of /proc: without the number of whose it is; its own folder is "self". */
static void
descriptor_proc(const struct audit_process *process, struct descriptor *d)
{
	const char *name = d->link, *digits;

	for (const char *c = d->link; (c = strchr(c, '/')) != NULL;) {
		digits = ++c;
		while (isdigit((unsigned char)*c))
			c++;
		if (c > digits && *c == '/')
			name = c;
	}
	digits = strrchr(d->link, '/');
	if (digits != NULL && strtol(digits + 1, NULL, 10) == process->pid)
		name = "self";
	snprintf(d->word, sizeof(d->word), "proc:%s", name + (name[0] == '/'));
}

static void
descriptor_namespace(struct descriptor *d)
{
	static const struct {
		int		 type;
		const char	*name;
	} kinds[] = { { CLONE_NEWNET, "netns" }, { CLONE_NEWNS, "mntns" }, { CLONE_NEWIPC, "ipcns" } };
	cleanup_fd int fd = openat(d->dir, d->name, O_RDONLY | O_CLOEXEC);
	int type = fd != -1 ? ioctl(fd, NS_GET_NSTYPE) : -1;
	const char *kind = "ns";

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].type == type)
			kind = kinds[i].name;
	snprintf(d->word, sizeof(d->word), "%s:%lu", kind, (unsigned long)d->st.st_ino);
}

/* "anon_inode:[eventpoll]", "anon_inode:inotify" */
static void
descriptor_anonymous(struct descriptor *d)
{
	const char *name = d->link + strlen("anon_inode:");

	name += name[0] == '[';
	snprintf(d->word, sizeof(d->word), "%.*s", (int)strcspn(name, "]"), name);
}

static void
descriptor_file(const struct audit_process *process, struct descriptor *d)
{
	cleanup_fd int where = openat(d->dir, d->name, O_PATH | O_CLOEXEC);
	struct statfs fs = { 0 };

	if (descriptor_is_memory(d))
		return;
	(void)fstatfs(where, &fs);
	if ((uint64_t)fs.f_type == NSFS_MAGIC)
		descriptor_namespace(d);
	else if ((uint64_t)fs.f_type == PROC_SUPER_MAGIC)
		descriptor_proc(process, d);
	else if (strcmp(d->link, "anon_inode:[pidfd]") == 0 || (uint64_t)fs.f_type == DESCRIPTOR_PIDFS)
		snprintf(d->word, sizeof(d->word), "pidfd");
	else if (strncmp(d->link, "anon_inode:", strlen("anon_inode:")) == 0)
		descriptor_anonymous(d);
	else
		snprintf(d->word, sizeof(d->word), "%s:%s", S_ISDIR(d->st.st_mode) ? "folder" : S_ISREG(d->st.st_mode) ? "file" :
		    S_ISCHR(d->st.st_mode) || S_ISBLK(d->st.st_mode) ? "device" : "fifo", d->link);
}

/* --- each of them ------------------------------------------------------------------------------ */

static bool
descriptor_look(struct audit_process *process, struct descriptor *d, const char *name)
{
	ssize_t n = readlinkat(d->dir, name, d->link, sizeof(d->link) - 1);

	if (n == -1 || fstatat(d->dir, name, &d->st, 0) == -1)
		return false;		/* closed meanwhile */
	d->link[n] = '\0';
	d->number = (int)strtol(name, NULL, 10);
	snprintf(d->name, sizeof(d->name), "%d", d->number);
	d->access = descriptor_access(process, d->number);
	if (S_ISSOCK(d->st.st_mode))
		descriptor_socket(process, d);
	else if (S_ISFIFO(d->st.st_mode) && d->link[0] != '/')
		snprintf(d->word, sizeof(d->word), "pipe");
	else
		descriptor_file(process, d);
	return true;
}

/* The seals of a ring that it holds. */
static void
descriptor_note_seals(const struct audit_process *process, const struct descriptor *d, struct audit_words *seals)
{
	static const char prefix[] = "memfd:tcpdiag-ring-";
	cleanup_fd int copy = -1;
	char text[128];

	if (strncmp(d->word, prefix, strlen(prefix)) != 0 || (copy = descriptor_copy(process, d->number)) == -1)
		return;
	audit_seals(copy, text, sizeof(text));
	audit_words_add(seals, "%s:%s", d->word + strlen(prefix), text);
}

void
audit_read_descriptors(struct audit_process *process)
{
	struct descriptor d = { .dir = openat(process->proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	DIR *dir = d.dir != -1 ? fdopendir(d.dir) : NULL;
	struct audit_words words = { 0 }, streams = { 0 }, seals = { 0 };
	struct dirent *entry;

	if (dir == NULL) {
		fd_close(&d.dir);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || !descriptor_look(process, &d, entry->d_name))
			continue;
		if (process->kind == AUDIT_COLLECTOR)
			audit_words_add(&words, "%d:%s(%s)", d.number, d.word, d.access);
		else if (d.number <= STDERR_FILENO)
			audit_words_add(&streams, "%d:%s(%s)", d.number, d.word, d.access);
		else
			audit_words_add(&words, "%s(%s)", d.word, d.access);
		descriptor_note_seals(process, &d, &seals);
	}
	closedir(dir);
	process->values[AUDIT_DESCRIPTORS] = audit_words_join(&words, true);
	process->values[AUDIT_STREAMS] = audit_words_join(&streams, true);
	process->values[AUDIT_DESCRIPTOR_SEALS] = audit_words_join(&seals, true);
}
