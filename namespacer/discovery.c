/* Looks for network namespaces. */
#include <sys/stat.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/utf8.h"
#include "namespacer/discovery.h"
#include "namespacer/netns.h"

enum {
	DISCOVERY_STRANGERS = 64,	/* entries that were complained about */
	DISCOVERY_STRANGER_AGE = 2,	/* seconds: "ip netns add" mounts later */
};

static struct {
	const char		*folders[DISCOVERY_FOLDERS + 1];
	char			*strangers[DISCOVERY_STRANGERS];
	size_t			 next_stranger;
	uint64_t		 ignored;
	pid_t			 self;		/* 0: counts like any other */
	struct discovery_counts	 counts;
} discovery = {
	.folders = { "/run/netns", "/run/docker/netns" },
};

static void
discovery_close(DIR **dir)
{
	if (*dir != NULL)
		closedir(*dir);
}

#define cleanup_dir	__attribute__((cleanup(discovery_close)))

void
discovery_init(const struct config_list *folders)
{
	size_t n = 2;

	for (size_t i = 0; i < folders->count && n < DISCOVERY_FOLDERS; i++)
		discovery.folders[n++] = folders->items[i];
}

void
discovery_ignore(uint64_t inode)
{
	discovery.ignored = inode;
}

void
discovery_ignore_self(void)
{
	if (!netns_is_default(netns_inode_of("/proc/self/ns/net")))
		discovery.self = getpid();
}

const char *
discovery_folder(size_t index)
{
	return discovery.folders[index];
}

const struct discovery_counts *
discovery_counts(void)
{
	return &discovery.counts;
}

static void
discovery_count_error(void)
{
	if (errno == EACCES || errno == EPERM)
		discovery.counts.refused++;
	else
		discovery.counts.vanished++;
}

/* A path that leads to the namespace with that inode. */
static struct netns *
discovery_found(const char *path, uint64_t inode, enum netns_how how)
{
	struct netns *ns = netns_find(inode);

	if (inode == discovery.ignored)
		return NULL;
	if (ns != NULL)
		netns_held_by(ns, path, how);
	else if ((ns = netns_add(path, inode, how)) == NULL) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			log_limited(LOG_LEVEL_ERROR, "a namespace is not read: %s; raise LimitNOFILE= or the memory", strerror(errno));
		discovery_count_error();
	}
	return ns;
}

/* Complains once about a name that is no namespace; forgets the oldest. */
static void
discovery_stranger(const char *path)
{
	char shown[PATH_MAX];

	for (size_t i = 0; i < DISCOVERY_STRANGERS; i++)
		if (discovery.strangers[i] != NULL && strcmp(discovery.strangers[i], path) == 0)
			return;
	free(discovery.strangers[discovery.next_stranger]);
	discovery.strangers[discovery.next_stranger] = strdup(path);
	discovery.next_stranger = (discovery.next_stranger + 1) % DISCOVERY_STRANGERS;
	discovery.counts.strangers++;
	snprintf(shown, sizeof(shown), "%s", path);
	utf8_clean(shown);
	log_limited(LOG_LEVEL_WARNING, "%s: not a network namespace, left alone", shown);
}

/* A fresh plain file may become a mount in a moment. */
static bool
discovery_is_old(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && time(NULL) - st.st_ctime >= DISCOVERY_STRANGER_AGE;
}

static bool
discovery_look_at(const char *path)
{
	uint64_t inode = netns_inode_of(path);

	if (inode != 0)
		return discovery_found(path, inode, NETNS_MOUNT) != NULL;
	/* Of one that is being taken away, the file remains for a moment. */
	if (errno == ENOTTY && discovery_is_old(path) && !netns_is_holder(path))
		discovery_stranger(path);
	return false;
}

/* False if it is too long to be one. */
static bool
discovery_path(char *path, const char *folder, const char *name)
{
	return snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

bool
discovery_look(const char *folder, const char *name)
{
	char path[PATH_MAX];

	return discovery_path(path, folder, name) && discovery_look_at(path);
}

/* Of a thousand names all but a few are known to hold what they held. */
static void
discovery_scan_folder(const char *folder)
{
	cleanup_dir DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[PATH_MAX];

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    discovery_path(path, folder, entry->d_name) && !netns_is_held_by(path))
			discovery_look_at(path);
}

/* True for the numbered entries of /proc and of /proc/PID/task. */
static bool
discovery_is_number(const char *name)
{
	return isdigit((unsigned char)name[0]) != 0;
}

static uint64_t
discovery_scan_member(const char *path, pid_t pid, enum netns_how how)
{
	uint64_t inode = netns_inode_of(path);
	struct netns *ns;

	if (inode == 0) {
		discovery_count_error();
		return 0;
	}
	if ((ns = discovery_found(path, inode, how)) != NULL)
		netns_learn_container(ns, pid);
	return inode;
}

/* A folder of /proc has a link for each entry, its own two besides. */
static bool
discovery_has_threads(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_nlink != 3;
}

/* A thread may live in another namespace than its process. */
static void
discovery_scan_threads(pid_t pid, uint64_t main_inode)
{
	char path[64];
	cleanup_dir DIR *dir = NULL;
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	if (!discovery_has_threads(path) || (dir = opendir(path)) == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		uint64_t inode;

		if (!discovery_is_number(entry->d_name) || tid == pid)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%d/ns/net", (int)pid, (int)tid);
		inode = netns_inode_of(path);
		if (inode != 0 && inode != main_inode)
			discovery_scan_member(path, pid, NETNS_THREAD);
	}
}

static int
discovery_compare(const void *a, const void *b)
{
	const pid_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

static void
discovery_scan_proc(const pid_t *own, size_t count)
{
	cleanup_dir DIR *dir = opendir("/proc");
	struct dirent *entry;
	char path[64];

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (!discovery_is_number(entry->d_name) || pid == discovery.self ||
		    (count > 0 && bsearch(&pid, own, count, sizeof(*own), discovery_compare) != NULL))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
		discovery_scan_threads(pid, discovery_scan_member(path, pid, NETNS_PROCESS));
	}
}

/* Folders come first: a mount's name is the better one. */
void
discovery_scan(pid_t *own, size_t count)
{
	if (count > 0)
		qsort(own, count, sizeof(*own), discovery_compare);
	for (size_t i = 0; discovery.folders[i] != NULL; i++)
		discovery_scan_folder(discovery.folders[i]);
	discovery_scan_proc(own, count);
	discovery.counts.scans++;
}
