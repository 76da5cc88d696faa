/* What /proc tells of a process: who it is, what it may, where it is. */
#include <sys/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/audit.h"
#include "common/fd.h"

enum { PROCESS_LINE_MAX = 1024, PROCESS_KCMP_VM = 1 };

/* --- lines of status ----------------------------------------------------------------- */

/* What stands behind a word at the start of a line, or "" if there is no such line. */
static const char *
process_line(const char *text, const char *word, char *to, size_t size)
{
	const char *line = text;
	size_t length = 0;

	while (strncmp(line, word, strlen(word)) != 0) {
		if ((line = strchr(line, '\n')) == NULL)
			break;
		line++;
	}
	if (line != NULL) {
		line += strlen(word);
		line += strspn(line, " \t");
		length = strcspn(line, "\n");
	}
	snprintf(to, size, "%.*s", (int)length, line != NULL ? line : "");
	return to;
}

/* Numbers of a line, as words. */
static char *
process_words(const char *text, const char *word)
{
	char line[PROCESS_LINE_MAX], *rest = line, *item;
	struct audit_words words = { 0 };

	process_line(text, word, line, sizeof(line));
	while ((item = strsep(&rest, " \t")) != NULL)
		if (item[0] != '\0')
			audit_words_add(&words, "%s", item);
	return audit_words_join(&words, false);
}

static uint64_t
process_mask(const char *text, const char *word)
{
	char line[PROCESS_LINE_MAX];

	return strtoull(process_line(text, word, line, sizeof(line)), NULL, 16);
}

static void
process_capability(struct audit_words *words, unsigned int number)
{
	char *name = cap_to_name((cap_value_t)number);

	audit_words_add(words, "%s", name != NULL && strncmp(name, "cap_", 4) == 0 ? name + 4 : name != NULL ? name : "?");
	cap_free(name);
}

static void
process_signal(struct audit_words *words, unsigned int bit)
{
	const char *name = sigabbrev_np((int)bit + 1);

	if (name != NULL)
		audit_words_add(words, "%s", name);
	else
		audit_words_add(words, "%u", bit + 1);
}

static char *
process_bits(const char *text, const char *word, void (*add)(struct audit_words *, unsigned int))
{
	uint64_t mask = process_mask(text, word);
	struct audit_words words = { 0 };

	for (unsigned int bit = 0; bit < 64; bit++)
		if ((mask >> bit & 1) != 0)
			add(&words, bit);
	return audit_words_join(&words, false);
}

static const struct {
	enum audit_property	 property;
	const char		*word;
	void			(*add)(struct audit_words *, unsigned int);	/* NULL: numbers */
} process_status[] = {
	{ AUDIT_USER, "Uid:", NULL },
	{ AUDIT_GROUP, "Gid:", NULL },
	{ AUDIT_GROUPS, "Groups:", NULL },
	{ AUDIT_INHERITABLE, "CapInh:", process_capability },
	{ AUDIT_PERMITTED, "CapPrm:", process_capability },
	{ AUDIT_EFFECTIVE, "CapEff:", process_capability },
	{ AUDIT_BOUNDING, "CapBnd:", process_capability },
	{ AUDIT_AMBIENT, "CapAmb:", process_capability },
	{ AUDIT_NO_NEW_PRIVS, "NoNewPrivs:", NULL },
	{ AUDIT_TRACER, "TracerPid:", NULL },
	{ AUDIT_SECCOMP, "Seccomp:", NULL },
	{ AUDIT_BLOCKED, "SigBlk:", process_signal },
	{ AUDIT_CAUGHT, "SigCgt:", process_signal },
	{ AUDIT_IGNORED, "SigIgn:", process_signal },
	{ AUDIT_THREADS, "Threads:", NULL },
};

enum { PROCESS_STATUS = sizeof(process_status) / sizeof(process_status[0]) };

static char *
process_status_of(const char *text, size_t i)
{
	if (process_status[i].add != NULL)
		return process_bits(text, process_status[i].word, process_status[i].add);
	return process_words(text, process_status[i].word);
}

/* What a thread has of its own, and a library's thread may have otherwise. */
static bool
process_may_differ(enum audit_property property)
{
	return property == AUDIT_BLOCKED || property == AUDIT_TRACER;
}

static void
process_read_thread(struct audit_process *process, pid_t tid, struct audit_words *unlike)
{
	char name[64];
	cleanup_free char *text = NULL;

	snprintf(name, sizeof(name), "task/%d/status", (int)tid);
	if ((text = audit_file(process, name)) == NULL)
		return;		/* it has ended */
	for (size_t i = 0; i < PROCESS_STATUS; i++) {
		cleanup_free char *value = process_status_of(text, i);
		const char *first = process->values[process_status[i].property];

		if (!process_may_differ(process_status[i].property) && first != NULL && strcmp(value, first) != 0)
			audit_words_add(unlike, "%d:%s", (int)tid, process_status[i].word);
	}
}

static void
process_read_threads(struct audit_process *process, struct audit_words *unlike)
{
	int fd = openat(process->proc, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.' && strtol(entry->d_name, NULL, 10) != process->pid)
			process_read_thread(process, (pid_t)strtol(entry->d_name, NULL, 10), unlike);
	if (dir != NULL)
		closedir(dir);
	else
		fd_close(&fd);
}

static void
process_read_status(struct audit_process *process)
{
	cleanup_free char *text = audit_file(process, "status");
	struct audit_words unlike = { 0 };
	char line[PROCESS_LINE_MAX];

	if (text == NULL)
		return;
	for (size_t i = 0; i < PROCESS_STATUS; i++)
		process->values[process_status[i].property] = process_status_of(text, i);
	process->parent = (pid_t)strtol(process_line(text, "PPid:", line, sizeof(line)), NULL, 10);
	process_read_threads(process, &unlike);
	process->values[AUDIT_ALIKE] = audit_words_join(&unlike, true);
}

/* --- which program, whose child ------------------------------------------------------------ */

static void
process_read_program(struct audit_process *process)
{
	static const char *const names[AUDIT_KINDS] = { "tcpdiag-namespacer", "tcpdiag-namespacer", "tcpdiag-shipper" };
	struct audit_words words = { 0 };
	char link[PROCESS_LINE_MAX];
	struct stat st;
	ssize_t n;

	if (fstatat(process->proc, "exe", &st, 0) == -1 ||
	    (n = readlinkat(process->proc, "exe", link, sizeof(link) - 1)) == -1)
		return;
	link[n] = '\0';
	if (st.st_dev == audit.programs[process->kind].dev && st.st_ino == audit.programs[process->kind].ino)
		audit_words_add(&words, "%s", names[process->kind]);
	else
		audit_words_add(&words, "%s", link);
	process->values[AUDIT_PROGRAM] = audit_words_join(&words, false);
}

static void
process_read_parent(struct audit_process *process)
{
	const struct audit_process *namespacer = audit_the(AUDIT_NAMESPACER);
	struct audit_words words = { 0 };
	char path[64], name[64] = "?";
	struct stat st;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)process->parent);
	if (process->kind == AUDIT_COLLECTOR && namespacer != NULL && process->parent == namespacer->pid) {
		audit_words_add(&words, "namespacer");
	} else if (stat(path, &st) == 0 && st.st_dev == audit.self.dev && st.st_ino == audit.self.ino) {
		audit_words_add(&words, "%d:tcpdiag-run", (int)process->parent);
	} else {
		snprintf(path, sizeof(path), "/proc/%d/comm", (int)process->parent);
		if ((file = fopen(path, "re")) != NULL && fgets(name, sizeof(name), file) != NULL)
			name[strcspn(name, "\n")] = '\0';
		if (file != NULL)
			fclose(file);
		audit_words_add(&words, "%d:%s", (int)process->parent, name);
	}
	process->values[AUDIT_PARENT] = audit_words_join(&words, false);
}

/* --- dumpable --------------------------------------------------------------------- */

/*
 * Whoever may not be dumped has files of root's in /proc.  Of root's own that
 * says nothing; but then kcmp(2) refuses who has CAP_SYS_PTRACE in its
 * permitted set only: __ptrace_may_access() looks at the effective set first,
 * at the dumpable flag, and then (by the real credentials) at the permitted one.
 */
static bool
process_is_refused(pid_t pid)
{
	static const cap_value_t ptrace[] = { CAP_SYS_PTRACE };
	cap_t all = cap_get_proc(), less = cap_get_proc();
	long same = 0;

	if (all != NULL && less != NULL && cap_set_flag(less, CAP_EFFECTIVE, 1, ptrace, CAP_CLEAR) == 0 && cap_set_proc(less) == 0) {
		same = syscall(SYS_kcmp, getpid(), pid, PROCESS_KCMP_VM, 0, 0);
		if (same == -1 && errno != EPERM)
			same = -2;	/* it cannot be told */
		(void)cap_set_proc(all);
	}
	cap_free(less);
	cap_free(all);
	return same == -1;
}

static void
process_read_dumpable(struct audit_process *process)
{
	const char *user = process->values[AUDIT_USER];
	struct stat st;
	bool not;

	if (user == NULL || fstatat(process->proc, "fd", &st, 0) == -1)
		return;
	if (strcmp(user, "0 0 0 0") == 0)
		not = process_is_refused(process->pid);
	else
		not = st.st_uid == 0;
	process->values[AUDIT_DUMPABLE] = strdup(not ? "no" : "yes");
}

/* --- namespaces ------------------------------------------------------------------------------------ */

static ino_t
process_namespace(int proc, const char *name)
{
	struct stat st;

	return fstatat(proc, name, &st, 0) == 0 ? st.st_ino : 0;
}

static bool
process_file_has(const struct audit_process *process, const char *name, const char *text)
{
	cleanup_free char *all = audit_file(process, name);

	return all != NULL && strstr(all, text) != NULL;
}

/* Lines beyond a headline. */
static bool
process_file_goes_on(const struct audit_process *process, const char *name, unsigned int headlines)
{
	cleanup_free char *all = audit_file(process, name);
	unsigned int lines = 0;

	for (const char *c = all; c != NULL && *c != '\0'; c++)
		lines += *c == '\n';
	return lines > headlines;
}

/* An address of either family, a route, or a socket that others could reach. */
static bool
process_network_is_used(const struct audit_process *process)
{
	return process_file_has(process, "net/fib_trie", "LOCAL") || process_file_goes_on(process, "net/if_inet6", 0) ||
	    process_file_goes_on(process, "net/route", 1) || process_file_goes_on(process, "net/unix", 1);
}

/* A thousand collectors are in one namespace: it is looked into once. */
static bool
process_network_is_empty(const struct audit_process *process)
{
	static struct {
		ino_t	inode;
		bool	empty;
	} last;

	if (last.inode != process->namespaces[0] || last.inode == 0) {
		last.inode = process->namespaces[0];
		last.empty = !process_network_is_used(process);
	}
	return last.empty;
}

static const struct {
	enum audit_property	 property;
	const char		*name;
} process_kinds[AUDIT_NAMESPACES] = {
	{ AUDIT_NAMESPACE_NET, "ns/net" }, { AUDIT_NAMESPACE_MNT, "ns/mnt" }, { AUDIT_NAMESPACE_IPC, "ns/ipc" },
};

static const char *
process_namespace_word(const struct audit_process *process, size_t i)
{
	const struct audit_process *namespacer = audit_the(AUDIT_NAMESPACER);

	if (process->namespaces[i] == audit.host[i])
		return "host";
	if (process->kind != AUDIT_COLLECTOR)
		return "other";
	if (namespacer != NULL && process->namespaces[i] == namespacer->namespaces[i])
		return "the-namespacer's";
	if (process_kinds[i].property != AUDIT_NAMESPACE_NET)
		return "empty";
	if (process->namespaces[i] == process->reads)
		return "the-one-it-reads";
	return process_network_is_empty(process) ? "empty" : "one-in-use";
}

static void
process_read_namespaces(struct audit_process *process)
{
	ino_t user = process_namespace(process->proc, "ns/user");

	for (size_t i = 0; i < AUDIT_NAMESPACES; i++)
		if ((process->namespaces[i] = process_namespace(process->proc, process_kinds[i].name)) != 0)
			process->values[process_kinds[i].property] = strdup(process_namespace_word(process, i));
	if (user != 0)
		process->values[AUDIT_NAMESPACE_USER] = strdup(user == audit.host_user ? "host" : "other");
}

/* Of the options of a mount those that take something away. */
static void
process_mount(struct audit_words *words, char *line)
{
	static const char *const known[] = { "ro", "nosuid", "nodev", "noexec" };
	char place[PROCESS_LINE_MAX], options[PROCESS_LINE_MAX], type[64] = "?", kept[64] = "", *dash;

	if ((dash = strstr(line, " - ")) == NULL || sscanf(line, "%*s %*s %*s %*s %1023s %1023s", place, options) != 2)
		return;
	(void)sscanf(dash, " - %63s", type);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		char all[PROCESS_LINE_MAX + 2], one[32];

		snprintf(all, sizeof(all), ",%s,", options);
		snprintf(one, sizeof(one), ",%s,", known[i]);
		if (strstr(all, one) != NULL)
			snprintf(kept + strlen(kept), sizeof(kept) - strlen(kept), "%s%s", kept[0] != '\0' ? "," : "", known[i]);
	}
	audit_words_add(words, "%s:%s:%s", place, type, kept);
}

static size_t
process_count_root(const struct audit_process *process)
{
	int fd = openat(process->proc, "root/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	size_t count = 0;

	if (dir == NULL) {
		fd_close(&fd);
		return SIZE_MAX;
	}
	while ((entry = readdir(dir)) != NULL)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return count;
}

static void
process_read_mounts(struct audit_process *process)
{
	cleanup_free char *text = process->kind == AUDIT_COLLECTOR ? audit_file(process, "mountinfo") : NULL;
	struct audit_words words = { 0 };
	char *rest = text, *line;

	if (text == NULL)
		return;
	while ((line = strsep(&rest, "\n")) != NULL)
		process_mount(&words, line);
	audit_words_add(&words, "files:%zd", (ssize_t)process_count_root(process));
	process->values[AUDIT_MOUNTS] = audit_words_join(&words, false);
}

/* --- limits -------------------------------------------------------------------------------------------- */

static void
process_read_limits(struct audit_process *process)
{
	static const struct {
		const char	*line, *name;
	} limits[] = {
		{ "Max processes", "nproc" }, { "Max file size", "fsize" }, { "Max core file size", "core" },
		{ "Max locked memory", "memlock" }, { "Max open files", "nofile" },
	};
	cleanup_free char *text = audit_file(process, "limits");
	char line[PROCESS_LINE_MAX], hard[64];
	struct audit_words words = { 0 };

	if (text == NULL)
		return;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		if (sscanf(process_line(text, limits[i].line, line, sizeof(line)), "%*s %63s", hard) != 1)
			snprintf(hard, sizeof(hard), "?");
		audit_words_add(&words, "%s:%s", limits[i].name, hard);
	}
	process->values[AUDIT_LIMITS] = audit_words_join(&words, false);
}

/* --- all of it ------------------------------------------------------------------------------------------- */

static void
process_forget(struct audit_process *process)
{
	for (size_t i = 0; i < AUDIT_PROPERTIES; i++)
		free(process->values[i]);
	memset(process->values, 0, sizeof(process->values));
	process->npages = process->nrings = 0;
	process->reads = process->requests = 0;
	process->refuses_execve = process->refused_mseal = false;
	memset(&process->ring, 0, sizeof(process->ring));
}

bool
audit_read(struct audit_process *process)
{
	static void (*const readers[])(struct audit_process *) = {
		process_read_status, process_read_program, process_read_parent, process_read_dumpable, audit_read_descriptors,
		process_read_namespaces, process_read_mounts, process_read_limits, audit_read_memory, audit_read_filters, audit_conclude,
	};
	cleanup_free char *still = NULL;

	process_forget(process);
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
		readers[i](process);
	/* A folder of /proc stays the process's, also when its number is another's by now. */
	still = audit_file(process, "status");
	process->gone = still == NULL || strstr(still, "\nState:\tZ") != NULL || strstr(still, "\nState:\tX") != NULL;
	return !process->gone;
}
