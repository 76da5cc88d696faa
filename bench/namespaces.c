/*
 * namespaces: makes COUNT network namespaces in /run/netns, named PREFIX-0,
 * PREFIX-1 and so on, each with its loopback device up; says "ready", and takes
 * them away when its standard input ends.
 *
 *	namespaces [-r RATE] PREFIX COUNT
 *
 *	-r	until then, RATE times a second, the oldest goes and a new one
 *		comes.  Each has a listener then, and has its line when it has
 *		come and when it goes (ns of CLOCK_MONOTONIC):
 *			+ NAME COOKIE WHEN
 *			- NAME COOKIE WHEN
 */
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE	71
#endif

#define FOLDER	"/run/netns"

struct space {
	unsigned long	number;
	int		listener;
	uint64_t	cookie;
};

static struct {
	const char	*prefix;
	unsigned long	 count, rate, made;
	struct space	*spaces;	/* a circle: made % count is the oldest */
	int		 home;
} all;

static uint64_t
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void
path_of(unsigned long number, char *path, size_t size)
{
	snprintf(path, size, FOLDER "/%s-%lu", all.prefix, number);
}

static void
bring_up_loopback(int fd)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING };

	if (ioctl(fd, SIOCSIFFLAGS, &request) == -1)
		err(1, "lo");
}

/* In the new namespace. */
static void
fill(struct space *space)
{
	socklen_t length = sizeof(space->cookie);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1)
		err(1, "socket");
	bring_up_loopback(fd);
	getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &space->cookie, &length);
	if (all.rate == 0) {
		close(fd);
		return;
	}
	if (listen(fd, 1) == -1)
		err(1, "listen");
	space->listener = fd;
}

static void
say(char what, const struct space *space)
{
	if (all.rate != 0)
		printf("%c %s-%lu %llu %llu\n", what, all.prefix, space->number,
		    (unsigned long long)space->cookie, (unsigned long long)now());
}

static void
make(void)
{
	struct space *space = &all.spaces[all.made % all.count];
	char path[PATH_MAX];
	int fd;

	*space = (struct space){ .number = all.made, .listener = -1 };
	path_of(space->number, path, sizeof(path));
	if (unshare(CLONE_NEWNET) == -1)
		err(1, "unshare");
	fill(space);
	if ((fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444)) == -1)
		err(1, "%s", path);
	close(fd);
	all.made++;	/* from here on it is to be taken away */
	if (mount("/proc/self/ns/net", path, "none", MS_BIND, NULL) == -1)
		err(1, "mount %s", path);
	if (setns(all.home, CLONE_NEWNET) == -1)
		err(1, "setns");
	say('+', space);
}

static void
take_away(const struct space *space)
{
	char path[PATH_MAX];

	say('-', space);
	path_of(space->number, path, sizeof(path));
	umount2(path, MNT_DETACH);
	unlink(path);
	if (space->listener != -1)
		close(space->listener);
}

static void
take_all_away(void)
{
	unsigned long first = all.made > all.count ? all.made - all.count : 0;

	for (unsigned long number = first; number < all.made; number++)
		take_away(&all.spaces[number % all.count]);
}

static void
turn_over(void)
{
	const struct space *oldest = &all.spaces[all.made % all.count];

	take_away(oldest);
	make();
}

/* Until the standard input ends. */
static void
hold(void)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	uint64_t period = all.rate != 0 ? 1000000000 / all.rate : 0, due = now() + period;
	char byte;

	for (;;) {
		uint64_t time = now();
		int pause = all.rate == 0 ? -1 : due > time ? (int)((due - time + 999999) / 1000000) : 0;

		if (poll(&input, 1, pause) == 1 && read(STDIN_FILENO, &byte, 1) <= 0)
			return;
		for (; all.rate != 0 && due <= now(); due += period)
			turn_over();
		fflush(stdout);
	}
}

static void
parse(int argc, char **argv)
{
	int letter;

	while ((letter = getopt(argc, argv, "r:")) != -1)
		if (letter == 'r')
			all.rate = strtoul(optarg, NULL, 10);
		else
			exit(64);
	if (argc - optind != 2 || (all.count = strtoul(argv[optind + 1], NULL, 10)) == 0)
		errx(64, "usage: namespaces [-r RATE] PREFIX COUNT");
	all.prefix = argv[optind];
}

/* A listener for each. */
static void
raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		err(1, "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
		err(1, "setrlimit");
}

int
main(int argc, char **argv)
{
	parse(argc, argv);
	raise_limit();
	if ((all.spaces = calloc(all.count, sizeof(*all.spaces))) == NULL)
		err(1, "calloc");
	if ((all.home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) == -1)
		err(1, "/proc/self/ns/net");
	if (mkdir(FOLDER, 0755) == -1 && errno != EEXIST)
		err(1, FOLDER);
	/* Whatever ends it: what was made is taken away. */
	atexit(take_all_away);
	while (all.made < all.count)
		make();
	printf("ready\n");
	fflush(stdout);
	hold();
	return 0;
}
