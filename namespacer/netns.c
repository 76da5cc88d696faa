/* The table of known network namespaces. */
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/utf8.h"
#include "namespacer/hash.h"
#include "namespacer/mounts.h"
#include "namespacer/netns.h"

enum { NETNS_BUCKETS = 1024, NETNS_CONTAINER_ID = 64, NETNS_CGROUP_SIZE = 4096 };

struct netns_list netns_all = TAILQ_HEAD_INITIALIZER(netns_all);
struct netns_list netns_stale = TAILQ_HEAD_INITIALIZER(netns_stale);

LIST_HEAD(netns_bucket, netns);

static struct {
	struct netns_bucket	buckets[NETNS_BUCKETS];	/* by inode */
	struct netns_bucket	places[NETNS_BUCKETS];	/* by holder */
	dev_t			nsfs;		/* the file system of all namespaces */
	uint64_t		standard;	/* inode of PID 1's */
} netns;

void
netns_init(void)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) == 0)
		netns.nsfs = st.st_dev;
	/* Where PID 1 is more privileged than root here, our own stands for it. */
	netns.standard = netns_inode_of("/proc/1/ns/net");
	if (netns.standard == 0)
		netns.standard = netns_inode_of("/proc/self/ns/net");
}

bool
netns_is_default(uint64_t inode)
{
	return inode == netns.standard;
}

struct netns *
netns_find(uint64_t inode)
{
	struct netns *ns;

	LIST_FOREACH(ns, &netns.buckets[inode % NETNS_BUCKETS], bucket)
		if (ns->inode == inode)
			return ns;
	return NULL;
}

/*
 * stat() follows the link or the mount and opens nothing, so that a FIFO or a
 * device in a watched folder is never opened.
 */
uint64_t
netns_inode_of(const char *path)
{
	struct stat st;

	if (stat(path, &st) == -1)
		return 0;
	if (st.st_dev == netns.nsfs)
		return st.st_ino;
	errno = ENOTTY;
	return 0;
}

static struct netns_bucket *
netns_place_of(const char *path)
{
	return &netns.places[hash_bytes(HASH_START, path, strlen(path)) % NETNS_BUCKETS];
}

static const struct netns *
netns_find_holder(const char *path)
{
	const struct netns *ns;

	LIST_FOREACH(ns, netns_place_of(path), place)
		if (strcmp(ns->holder, path) == 0)
			return ns;
	return NULL;
}

/* Takes the path. */
static void
netns_set_holder(struct netns *ns, char *path, enum netns_how how)
{
	if (ns->holder != NULL)
		LIST_REMOVE(ns, place);
	free(ns->holder);
	ns->holder = path;
	ns->how = how;
	ns->mount = how == NETNS_MOUNT ? mounts_of(path) : 0;
	LIST_INSERT_HEAD(netns_place_of(path), ns, place);
}

/* At the head: who walks the list does not meet it again. */
void
netns_make_stale(struct netns *ns)
{
	if (!ns->stale)
		TAILQ_INSERT_HEAD(&netns_stale, ns, stales);
	ns->stale = true;
}

static void
netns_unmake_stale(struct netns *ns)
{
	if (ns->stale)
		TAILQ_REMOVE(&netns_stale, ns, stales);
	ns->stale = false;
}

/* Opens it and looks again: the path may lead elsewhere by now. */
static int
netns_open(const char *path, uint64_t inode)
{
	/* O_PATH opens nothing: a device that was put there meanwhile stays closed. */
	cleanup_fd int place = open(path, O_PATH | O_CLOEXEC), fd = -1;
	char self[64];
	struct statfs fs;
	struct stat st;

	if (place == -1 || fstatfs(place, &fs) == -1 || fstat(place, &st) == -1)
		return -1;
	if ((uint64_t)fs.f_type == NSFS_MAGIC && st.st_ino == inode) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", place);
		if ((fd = open(self, O_RDONLY | O_CLOEXEC)) == -1)
			return -1;
		if (ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET)
			return fd_steal(&fd);
	}
	errno = ESTALE;
	return -1;
}

struct netns *
netns_add(const char *path, uint64_t inode, enum netns_how how)
{
	cleanup_fd int fd = netns_open(path, inode);
	struct netns *ns;
	char *holder;

	if (fd == -1 || (ns = calloc(1, sizeof(*ns))) == NULL)
		return NULL;
	if ((holder = strdup(path)) == NULL) {
		free(ns);
		return NULL;
	}
	ns->inode = inode;
	ns->fd = fd_steal(&fd);
	netns_set_holder(ns, holder, how);
	netns_make_stale(ns);
	TAILQ_INSERT_TAIL(&netns_all, ns, all);
	LIST_INSERT_HEAD(&netns.buckets[inode % NETNS_BUCKETS], ns, bucket);
	return ns;
}

void
netns_remove(struct netns *ns)
{
	TAILQ_REMOVE(&netns_all, ns, all);
	LIST_REMOVE(ns, bucket);
	LIST_REMOVE(ns, place);
	netns_unmake_stale(ns);
	close(ns->fd);
	free(ns->holder);
	free(ns);
}

/* By the list of mounts, where there is one; else by one stat(2). */
static bool
netns_is_lost(const struct netns *ns, bool listed)
{
	return listed && ns->mount != 0 ? !mounts_listed(ns->mount) : netns_inode_of(ns->holder) != ns->inode;
}

bool
netns_find_lost(enum netns_look look)
{
	bool listed = look == NETNS_LOOK_MOUNTS && mounts_list(), any = false;
	struct netns *ns;

	TAILQ_FOREACH(ns, &netns_all, all) {
		bool lost;

		if (ns->how == NETNS_MOUNT && look == NETNS_LOOK_PROCESSES && !ns->lost)
			continue;
		/* A page that is written to is copied, once after each fork. */
		if ((lost = netns_is_lost(ns, listed)) != ns->lost)
			ns->lost = lost;
		any |= lost;
	}
	return any;
}

bool
netns_is_holder(const char *path)
{
	return netns_find_holder(path) != NULL;
}

bool
netns_is_held_by(const char *path)
{
	const struct netns *ns = netns_find_holder(path);

	return ns != NULL && !ns->lost;
}

void
netns_held_by(struct netns *ns, const char *path, enum netns_how how)
{
	char *holder;

	if (how <= ns->how && !ns->lost)
		return;
	if ((holder = strdup(path)) == NULL)
		return;		/* the old one is looked at again next time */
	netns_set_holder(ns, holder, how);
	ns->lost = false;
	netns_make_stale(ns);
}

/* A run of exactly 64 hexadecimal digits: what every container engine uses. */
static const char *
netns_find_container(const char *text)
{
	size_t run = 0;

	for (const char *at = text; ; at++) {
		if (isxdigit((unsigned char)*at)) {
			run++;
			continue;
		}
		if (run == NETNS_CONTAINER_ID)
			return at - run;
		if (*at == '\0')
			return NULL;
		run = 0;
	}
}

static const char *
netns_runtime(const char *cgroup)
{
	static const struct {
		const char	*part, *runtime;
	} known[] = {
		{ "cri-containerd", "containerd" }, { "crio", "cri-o" },
		{ "libpod", "podman" }, { "docker", "docker" },
		{ "containerd", "containerd" }, { "lxc", "lxc" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(cgroup, known[i].part) != NULL)
			return known[i].runtime;
	return "";
}

void
netns_learn_container(struct netns *ns, pid_t pid)
{
	char path[64], text[NETNS_CGROUP_SIZE];
	cleanup_fd int fd = -1;
	const char *id;
	ssize_t n;

	if (ns->container[0] != '\0' || ns->inode == netns.standard)
		return;
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1 || (n = read(fd, text, sizeof(text) - 1)) <= 0)
		return;
	text[n] = '\0';
	if ((id = netns_find_container(text)) == NULL)
		return;
	memcpy(ns->container, id, NETNS_CONTAINER_ID);
	snprintf(ns->runtime, sizeof(ns->runtime), "%s", netns_runtime(text));
	netns_make_stale(ns);
}

/* A cgroup's name is its owner's to choose; the first who has it keeps it. */
static bool
netns_container_is_taken(const struct netns *ns)
{
	const struct netns *other;

	TAILQ_FOREACH(other, &netns_all, all) {
		if (other == ns)
			return false;
		if (strcmp(other->container, ns->container) == 0)
			return true;
	}
	return false;
}

void
netns_choose_name(struct netns *ns)
{
	char name[PROTOCOL_NAME_MAX];
	const char *slash = strrchr(ns->holder, '/');

	if (ns->inode == netns.standard)
		snprintf(name, sizeof(name), "default");
	else if (ns->how == NETNS_MOUNT && slash != NULL)
		snprintf(name, sizeof(name), "%s", slash + 1);
	else if (ns->container[0] != '\0' && !netns_container_is_taken(ns))
		snprintf(name, sizeof(name), "%s", ns->container);
	else
		snprintf(name, sizeof(name), "netns:[%" PRIu64 "]", ns->inode);
	utf8_clean(name);
	ns->renamed = ns->name[0] != '\0' && strcmp(name, ns->name) != 0;
	memcpy(ns->name, name, sizeof(name));
	netns_unmake_stale(ns);
}

bool
netns_matches(const struct netns *ns, const struct config_list *patterns)
{
	for (size_t i = 0; i < patterns->count; i++)
		if (fnmatch(patterns->items[i], ns->name, 0) == 0)
			return true;
	return patterns->count == 0;
}

const char *
netns_how_text(enum netns_how how)
{
	static const char *const text[] = {
		[NETNS_THREAD] = "thread", [NETNS_PROCESS] = "process", [NETNS_MOUNT] = "mount",
	};

	return text[how];
}
