/* Names and numbers that the namespacer makes of other people's words. */
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "collector/sockstat.h"
#include "namespacer/mounts.h"
#include "namespacer/netns.h"
#include "namespacer/states.h"

static uint32_t
mask(const char *one, const char *two)
{
	char *items[] = { (char *)one, (char *)two };
	struct config_list names = { items, one == NULL ? 0 : two == NULL ? 1 : 2 };
	char error[256];

	return states_mask(&names, error, sizeof(error));
}

/* The numbers of include/net/tcp_states.h; ss -a is the witness of the default. */
static void
test_states(void **state)
{
	(void)state;
	assert_int_equal(mask(NULL, NULL), 0xfff);
	assert_int_equal(mask("all", NULL), 0xfff);
	assert_int_equal(mask("established", NULL), 1 << 1);
	assert_int_equal(mask("LISTEN", "time-wait"), 1 << 10 | 1 << 6);
	assert_int_equal(mask("connected", NULL), 0xfff & ~(1 << 10 | 1 << 7));
	assert_int_equal(mask("bound-inactive", NULL), 1 << 13);
	assert_int_equal(mask("listening", "nonsense"), 0);
}

static struct netns *
with_holder(const char *holder, enum netns_how how)
{
	struct netns *ns = calloc(1, sizeof(*ns));

	assert_non_null(ns);
	ns->inode = 7;
	ns->how = how;
	ns->holder = strdup(holder);
	return ns;
}

static void
name_is(struct netns *ns, const char *name, bool renamed)
{
	netns_choose_name(ns);
	assert_string_equal(ns->name, name);
	assert_int_equal(ns->renamed, renamed);
}

/* The mount's name, else the container's id, else the inode. */
static void
test_names(void **state)
{
	struct netns *ns = with_holder("/proc/1/ns/net", NETNS_PROCESS);

	(void)state;
	name_is(ns, "netns:[7]", false);
	snprintf(ns->container, sizeof(ns->container), "0123abcd");
	name_is(ns, "0123abcd", true);
	name_is(ns, "0123abcd", false);
	free(ns->holder);
	ns->holder = strdup("/run/netns/bl\nue\xff");
	ns->how = NETNS_MOUNT;
	name_is(ns, "bl_ue_", true);
	free(ns->holder);
	free(ns);
}

static void
test_the_own_namespace_is_the_default(void **state)
{
	struct stat st;
	struct netns *ns;

	(void)state;
	netns_init();
	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	assert_int_equal(netns_inode_of("/proc/self/ns/net"), st.st_ino);
	ns = netns_add("/proc/self/ns/net", st.st_ino, NETNS_PROCESS);
	assert_non_null(ns);
	assert_ptr_equal(netns_find(st.st_ino), ns);
	assert_false(netns_find_lost(NETNS_LOOK_PATHS));
	netns_remove(ns);
	assert_null(netns_find(st.st_ino));
}

/* A process that ended holds nothing: the next path that is found takes its place, also a worse one. */
static void
test_a_holder_is_lost(void **state)
{
	char path[64];
	pid_t child = fork();
	struct netns *ns;

	(void)state;
	if (child == 0) {
		pause();
		_exit(0);
	}
	netns_init();
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)child);
	ns = netns_add(path, netns_inode_of("/proc/self/ns/net"), NETNS_PROCESS);
	assert_non_null(ns);
	assert_true(ns->stale);
	netns_choose_name(ns);
	netns_held_by(ns, "/proc/self/task/1/ns/net", NETNS_THREAD);
	assert_false(netns_find_lost(NETNS_LOOK_PATHS));
	assert_true(netns_is_holder(path));
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_true(netns_find_lost(NETNS_LOOK_PATHS));
	assert_true(ns->lost);
	assert_false(ns->stale);
	netns_held_by(ns, "/proc/self/ns/net", NETNS_THREAD);
	assert_true(ns->stale);
	assert_false(netns_find_lost(NETNS_LOOK_PATHS));
	assert_false(netns_is_holder(path));
	netns_remove(ns);
}

/* The kernel tells when a mount goes; till then it needs no look.  What was lost is looked at again all the same. */
static void
test_a_mount_is_looked_at_when_mounts_changed(void **state)
{
	struct netns *ns;

	(void)state;
	netns_init();
	ns = netns_add("/proc/self/ns/net", netns_inode_of("/proc/self/ns/net"), NETNS_MOUNT);
	assert_non_null(ns);
	/* As where somebody made a link to it in /run/netns: it is in no list. */
	assert_false(netns_find_lost(NETNS_LOOK_MOUNTS));
	ns->holder[1] = 'x';
	assert_false(netns_find_lost(NETNS_LOOK_PROCESSES));
	assert_false(ns->lost);
	assert_true(netns_find_lost(NETNS_LOOK_PATHS));
	assert_true(netns_find_lost(NETNS_LOOK_PROCESSES));
	netns_remove(ns);
}

static void
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Mounts for this test alone; who is not root is it there. */
static void
enter_own_mounts(const char *folder)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char uids[32], gids[32];

	assert_int_equal(unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)), 0);
	if (uid != 0) {
		snprintf(uids, sizeof(uids), "0 %u 1", (unsigned int)uid);
		snprintf(gids, sizeof(gids), "0 %u 1", (unsigned int)gid);
		write_text("/proc/self/uid_map", uids);
		write_text("/proc/self/setgroups", "deny");
		write_text("/proc/self/gid_map", gids);
	}
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("none", folder, "tmpfs", 0, NULL), 0);
}

/* A kernel before 6.8 cannot say; then nothing is known of any mount. */
static bool
can_list_mounts(void)
{
	bool can = mounts_list();

	assert_int_equal(mounts_of("/proc") != 0, can);
	return can;
}

/* As many as need a longer list. */
static void
test_mounts_are_listed(void **state)
{
	const char *folder = *state;
	uint64_t first, one;

	enter_own_mounts(folder);
	if (!can_list_mounts())
		return;
	first = mounts_of(folder);
	for (size_t i = 0; i < 2500; i++)
		assert_int_equal(mount("none", folder, "tmpfs", 0, NULL), 0);
	one = mounts_of(folder);
	assert_true(first != one && !mounts_listed(one));
	assert_true(mounts_list());
	assert_true(mounts_listed(first) && mounts_listed(one) && mounts_listed(mounts_of("/proc")));
	assert_int_equal(umount2(folder, 0), 0);
	assert_true(mounts_listed(one));
	assert_true(mounts_list());
	assert_true(mounts_listed(first) && !mounts_listed(one));
}

static void
mount_namespace(const char *kind, const char *place)
{
	close(open(place, O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(mount(kind, place, NULL, MS_BIND, NULL), 0);
}

/* One that is covered still holds; only who follows the path sees what covers it. */
static void
test_a_mount_is_lost(void **state)
{
	const char *folder = *state;
	char place[64];
	struct netns *ns;

	enter_own_mounts(folder);
	netns_init();
	snprintf(place, sizeof(place), "%s/name", folder);
	mount_namespace("/proc/self/ns/net", place);
	ns = netns_add(place, netns_inode_of(place), NETNS_MOUNT);
	assert_non_null(ns);
	assert_false(netns_find_lost(NETNS_LOOK_MOUNTS));
	assert_true(netns_is_held_by(place));
	mount_namespace("/proc/self/ns/uts", place);
	assert_int_equal(netns_find_lost(NETNS_LOOK_MOUNTS), !can_list_mounts());
	assert_true(netns_find_lost(NETNS_LOOK_PATHS));
	assert_true(netns_is_holder(place) && !netns_is_held_by(place));
	assert_int_equal(umount2(place, 0), 0);
	assert_false(netns_find_lost(NETNS_LOOK_MOUNTS));
	assert_int_equal(umount2(place, MNT_DETACH), 0);
	assert_true(netns_find_lost(NETNS_LOOK_MOUNTS));
	assert_true(ns->lost);
	netns_remove(ns);
	assert_false(netns_is_holder(place));
}

/* Another inode, another kind of namespace, a plain file: never entered. */
static void
test_what_is_no_such_namespace(void **state)
{
	struct stat st;

	(void)state;
	netns_init();
	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	assert_null(netns_add("/proc/self/ns/net", st.st_ino + 1, NETNS_PROCESS));
	assert_int_equal(errno, ESTALE);
	assert_int_equal(stat("/proc/self/ns/mnt", &st), 0);
	assert_null(netns_add("/proc/self/ns/mnt", st.st_ino, NETNS_MOUNT));
	assert_int_equal(errno, ESTALE);
	assert_int_equal(netns_inode_of("/dev/null"), 0);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(netns_inode_of("/nonexistent"), 0);
	assert_int_equal(errno, ENOENT);
}

static int
file_with(const char *text)
{
	int fd = memfd_create("sockstat", MFD_CLOEXEC);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static void
test_sockstat(void **state)
{
	int four = file_with("sockets: used 9\nTCP: inuse 5 orphan 0 tw 3 alloc 8 mem 0\nUDP: inuse 77 mem 0\n");
	int six = file_with("TCP6: inuse 4\nUDP6: inuse 55\n"), bad = file_with("TCP: whatever\n");
	struct sockstat counts = { 0 };

	(void)state;
	assert_int_equal(sockstat_read(four, six, &counts), 0);
	assert_int_equal(counts.inuse, 9);
	assert_int_equal(counts.tw, 3);
	assert_int_equal(sockstat_read(four, -1, &counts), 0);
	assert_int_equal(counts.inuse, 5);
	assert_int_equal(sockstat_read(bad, six, &counts), -1);
	assert_int_equal(errno, EPROTO);
	assert_int_equal(sockstat_read(-1, six, &counts), -1);
	close(four);
	close(six);
	close(bad);
}

int
main(void)
{
	static char folder[] = "/tmp";	/* what is mounted on it is seen by this process alone */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_the_own_namespace_is_the_default),
		cmocka_unit_test(test_a_holder_is_lost),
		cmocka_unit_test(test_a_mount_is_looked_at_when_mounts_changed),
		cmocka_unit_test(test_what_is_no_such_namespace),
		cmocka_unit_test(test_sockstat),
		cmocka_unit_test_prestate(test_mounts_are_listed, folder),
		cmocka_unit_test_prestate(test_a_mount_is_lost, folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
