/*
 * Which processes are looked at: by the program that they run (device and
 * inode, not its name), whose children they are, and who is at the other end
 * of a socket.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/audit.h"
#include "cli/program.h"
#include "common/buffer.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/utf8.h"

enum { FIND_CANDIDATES = 256, FIND_DEPTH = 16 };

struct find_list {
	pid_t	pids[FIND_CANDIDATES];
	size_t	count;
};

/* --- one process ------------------------------------------------------------------ */

char *
audit_file(const struct audit_process *process, const char *name)
{
	cleanup_fd int fd = openat(process->proc, name, O_RDONLY | O_CLOEXEC);
	struct buffer text = { 0 };
	ssize_t n = fd == -1 ? -1 : 0;

	while (fd != -1 && (n = read(fd, buffer_reserve(&text, 64 * 1024), 64 * 1024 - 1)) > 0)
		text.length += (size_t)n;
	if (n == -1) {
		buffer_free(&text);
		return NULL;
	}
	buffer_append(&text, "", 1);
	return (char *)text.bytes;
}

/* It may say anything; arguments are parted by NUL. */
static char *
find_title(const struct audit_process *process)
{
	cleanup_fd int fd = openat(process->proc, "cmdline", O_RDONLY | O_CLOEXEC);
	char title[256];
	ssize_t n = fd != -1 ? read(fd, title, sizeof(title) - 1) : -1;

	while (n > 0 && (title[n - 1] == '\0' || title[n - 1] == ' '))
		n--;
	title[n > 0 ? n : 0] = '\0';
	for (ssize_t i = 0; i < n; i++)
		if (title[i] == '\0')
			title[i] = ' ';
	utf8_clean(title);
	return strdup(title);
}

bool
audit_open(struct audit_process *process, enum audit_kind kind, pid_t pid)
{
	char path[32];

	*process = (struct audit_process){ .kind = kind, .pid = pid, .pidfd = -1 };
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	process->proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	process->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (process->proc != -1 && process->pidfd != -1 && (process->title = find_title(process)) != NULL)
		return true;
	audit_close(process);
	return false;
}

void
audit_close(struct audit_process *process)
{
	fd_close(&process->proc);
	fd_close(&process->pidfd);
	for (size_t i = 0; i < AUDIT_PROPERTIES; i++)
		free(process->values[i]);
	free(process->title);
	process->title = NULL;
	memset(process->values, 0, sizeof(process->values));
}

static void
find_add(enum audit_kind kind, pid_t pid)
{
	struct audit_process *grown = realloc(audit.processes, (audit.count + 1) * sizeof(*grown));

	if (grown == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	audit.processes = grown;
	if (audit_open(&audit.processes[audit.count], kind, pid))
		audit.count++;
}

/* --- all of them --------------------------------------------------------------------- */

static bool
find_runs(pid_t pid, enum audit_kind kind)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return stat(path, &st) == 0 && st.st_dev == audit.programs[kind].dev && st.st_ino == audit.programs[kind].ino;
}

/* Of status: a number behind a word; -1: there is none. */
static long
find_number(pid_t pid, const char *word)
{
	char path[32], line[256];
	long number = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if ((file = fopen(path, "re")) == NULL)
		return -1;
	while (number == -1 && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, word, strlen(word)) == 0)
			number = strtol(line + strlen(word), NULL, 10);
	fclose(file);
	return number;
}

static void
find_each(void (*each)(pid_t pid, void *context), void *context)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	if (dir == NULL)
		fatal_errno(EXIT_CODE_SYSTEM, "/proc");
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			each((pid_t)strtol(entry->d_name, NULL, 10), context);
	closedir(dir);
}

static void
find_candidate(pid_t pid, void *context)
{
	struct find_list *lists = context;

	for (enum audit_kind kind = 0; kind < AUDIT_KINDS; kind++) {
		struct find_list *list = &lists[kind];

		if (kind == AUDIT_COLLECTOR || !find_runs(pid, kind) || list->count == FIND_CANDIDATES)
			continue;
		if (kind == AUDIT_NAMESPACER && (find_runs((pid_t)find_number(pid, "PPid:"), kind) ||
		    find_number(pid, "Uid:") == (long)audit.collector_uid))
			continue;	/* a collector, or one that lost its parent */
		list->pids[list->count++] = pid;
	}
}

/* --- who talks to whom ------------------------------------------------------------------ */

static bool
find_is_peer(int pidfd, int fd, pid_t of)
{
	cleanup_fd int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return copy != -1 && getsockopt(copy, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == of;
}

/* A socket of a's has b at its other end: who called, or who listened. */
static bool
find_are_connected(pid_t a, pid_t b)
{
	cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, a, 0);
	struct dirent *entry;
	char path[32];
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)a);
	if (pidfd == -1 || (dir = opendir(path)) == NULL)
		return false;
	while (!found && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			found = find_is_peer(pidfd, (int)strtol(entry->d_name, NULL, 10), b);
	closedir(dir);
	return found;
}

/* The socket that listens at the configured path; 0: none does. */
static unsigned long
find_listener(void)
{
	char line[512], *path;
	unsigned long inode = 0, flags, number;
	FILE *file = fopen("/proc/net/unix", "re");

	while (inode == 0 && file != NULL && fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if ((path = strchr(line, '/')) == NULL || strcmp(path, audit.config.socket) != 0)
			continue;
		if (sscanf(line, "%*s %*s %*s %lx %*s %*s %lu", &flags, &number) == 2 && (flags & 0x10000) != 0)
			inode = number;
	}
	if (file != NULL)
		fclose(file);
	return inode;
}

static bool
find_holds_socket(pid_t pid, unsigned long inode)
{
	char path[PATH_MAX], link[64], wanted[64];
	struct dirent *entry;
	bool found = false;
	ssize_t n;
	DIR *dir;
	int fd;

	snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	if ((dir = opendir(path)) == NULL)
		return false;
	fd = dirfd(dir);
	while (fd >= 0 && !found && (entry = readdir(dir)) != NULL) {
		if ((n = readlinkat(fd, entry->d_name, link, sizeof(link) - 1)) <= 0)
			continue;
		link[n] = '\0';
		found = strcmp(link, wanted) == 0;
	}
	closedir(dir);
	return found;
}

/* --- the choice ----------------------------------------------------------------------------- */

/* Of several, the only one for which this holds; 0: none or several. */
static pid_t
find_only(const struct find_list *list, bool (*holds)(pid_t pid, unsigned long than), unsigned long than)
{
	pid_t only = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (!holds(list->pids[i], than))
			continue;
		if (only != 0)
			return 0;
		only = list->pids[i];
	}
	return only;
}

static bool
find_any(pid_t pid, unsigned long than)
{
	(void)than;
	return pid > 0;
}

static bool
find_talks_with(pid_t pid, unsigned long than)
{
	return find_are_connected(pid, (pid_t)than) || find_are_connected((pid_t)than, pid);
}

static int
find_complain(const char *program, const char *option, const struct find_list *list)
{
	char pids[256] = "";

	for (size_t i = 0; i < list->count; i++)
		snprintf(pids + strlen(pids), sizeof(pids) - strlen(pids), " %d", (int)list->pids[i]);
	if (list->count == 0)
		log_error("no %s runs: there is nothing to audit (of another installation's, name it by %s PID)", program, option);
	else
		log_error("several %s run (%s): choose by %s PID, or by --socket of its configuration", program, pids + 1, option);
	return list->count == 0 ? EXIT_CODE_INCOMPLETE : EXIT_CODE_USAGE;
}

static pid_t
find_shipper(const struct find_list *list)
{
	unsigned long listener = find_listener();
	pid_t pid = audit.chosen[AUDIT_SHIPPER];

	if (pid == 0 && audit.chosen[AUDIT_NAMESPACER] != 0)
		pid = find_only(list, find_talks_with, (unsigned long)audit.chosen[AUDIT_NAMESPACER]);
	if (pid == 0 && listener != 0)
		pid = find_only(list, find_holds_socket, listener);
	return pid != 0 ? pid : find_only(list, find_any, 0);
}

static pid_t
find_namespacer(const struct find_list *list, pid_t shipper)
{
	pid_t pid = audit.chosen[AUDIT_NAMESPACER];

	if (pid == 0)
		pid = find_only(list, find_talks_with, (unsigned long)shipper);
	return pid != 0 ? pid : find_only(list, find_any, 0);
}

static void
find_programs(void)
{
	static const struct {
		enum audit_kind	 kind;
		const char	*name;
	} names[] = {
		{ AUDIT_NAMESPACER, "tcpdiag-namespacer" }, { AUDIT_COLLECTOR, "tcpdiag-namespacer" }, { AUDIT_SHIPPER, "tcpdiag-shipper" },
	};
	char path[PATH_MAX + 64];
	struct stat st;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		program_find(names[i].name, path, sizeof(path));
		if (stat(path, &st) == -1)
			fatal_errno(EXIT_CODE_SYSTEM, "%s", path);
		audit.programs[names[i].kind].dev = st.st_dev;
		audit.programs[names[i].kind].ino = st.st_ino;
	}
	if (stat("/proc/self/exe", &st) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "/proc/self/exe");
	audit.self.dev = st.st_dev;
	audit.self.ino = st.st_ino;
}

int
audit_find(void)
{
	static struct find_list lists[AUDIT_KINDS];
	pid_t shipper, namespacer;

	find_programs();
	find_each(find_candidate, lists);
	if ((shipper = find_shipper(&lists[AUDIT_SHIPPER])) == 0)
		return find_complain("tcpdiag-shipper", "--shipper", &lists[AUDIT_SHIPPER]);
	if ((namespacer = find_namespacer(&lists[AUDIT_NAMESPACER], shipper)) == 0)
		return find_complain("tcpdiag-namespacer", "--namespacer", &lists[AUDIT_NAMESPACER]);
	find_add(AUDIT_NAMESPACER, namespacer);
	find_add(AUDIT_SHIPPER, shipper);
	if (audit.count == 2) {
		(void)audit_find_more();
		return 0;
	}
	log_error("process %d has ended before it was looked at",
	    (int)(audit.count == 0 || audit.processes[0].pid == shipper ? namespacer : shipper));
	return EXIT_CODE_INCOMPLETE;
}

/* A child of the namespacer's, or a child's child. */
static bool
find_descends(pid_t pid, pid_t from)
{
	for (unsigned int depth = 0; depth < FIND_DEPTH && pid > 1; depth++)
		if ((pid = (pid_t)find_number(pid, "PPid:")) == from)
			return true;
	return false;
}

/* It runs the namespacer's program as the collectors' user, and no namespacer is its parent. */
static bool
find_is_stray(pid_t pid)
{
	return find_runs(pid, AUDIT_NAMESPACER) && !find_runs((pid_t)find_number(pid, "PPid:"), AUDIT_NAMESPACER) &&
	    find_number(pid, "Uid:") == (long)audit.collector_uid;
}

static void
find_collector(pid_t pid, void *context)
{
	pid_t namespacer = audit_the(AUDIT_NAMESPACER)->pid;

	(void)context;
	if (pid == namespacer || (!find_descends(pid, namespacer) && !find_is_stray(pid)))
		return;
	for (size_t i = 0; i < audit.count; i++)
		if (audit.processes[i].pid == pid)
			return;
	find_add(AUDIT_COLLECTOR, pid);
}

bool
audit_find_more(void)
{
	size_t before = audit.count;

	find_each(find_collector, NULL);
	return audit.count > before;
}
