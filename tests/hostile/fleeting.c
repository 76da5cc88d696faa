/*
 * fleeting: makes network namespaces that do not stay, as root.
 *
 *	fleeting FOLDER NAME RATE SECONDS
 *
 * RATE of them each second, in turn held by a mount FOLDER/NAME-N and by a
 * process alone, for up to a twentieth of a second; then nothing is left of
 * them.  Says "made N in T ms" when all are gone.  They are as many as the
 * machine can make, when that is less.
 */
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MAKERS = 12, LONGEST_US = 50000, MILLION = 1000000 };

static struct {
	const char	*folder, *name;
	long		 rate, seconds;
	int		 own;		/* the namespace to go back to */
	long		 start;		/* us */
	atomic_long	*made;
} fleeting;

static long
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * MILLION + time.tv_nsec / 1000;
}

/* The rate is what is asked for. */
static void
wait_until(long when)
{
	long left = when - now();

	if (left > 0)
		usleep((useconds_t)left);
}

/* A file, and then the mount over it, as ip(8) does it; for as long as it is to live. */
static void
hold_by_mount(long number, useconds_t time)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s-%ld", fleeting.folder, fleeting.name, number);
	if ((fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0)) == -1)
		err(1, "%s", path);
	close(fd);
	if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) == -1)
		err(1, "mount %s", path);
	usleep(time);
	if (umount2(path, MNT_DETACH) == -1 || unlink(path) == -1)
		err(1, "unmount %s", path);
}

/* It sleeps for as long as the namespace lives: that is the trick. */
static void
make_one(long number)
{
	useconds_t time = (useconds_t)(random() % LONGEST_US);

	if (unshare(CLONE_NEWNET) == -1)
		err(1, "unshare");
	if (number % 2 == 0)
		hold_by_mount(number, time);
	else
		usleep(time);
	if (setns(fleeting.own, CLONE_NEWNET) == -1)
		err(1, "setns");
	atomic_fetch_add(fleeting.made, 1);
}

/* Who is late makes the next at once. */
static _Noreturn void
make(long first)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	srandom((unsigned int)first);
	for (long number = first;; number += MAKERS) {
		long due = fleeting.start + number * MILLION / fleeting.rate;

		wait_until(due);
		if (now() >= fleeting.start + fleeting.seconds * MILLION)
			exit(0);
		make_one(number);
	}
}

int
main(int argc, char **argv)
{
	int status = 0;
	bool failed = false;

	if (argc != 5)
		errx(1, "usage: fleeting FOLDER NAME RATE SECONDS");
	fleeting.folder = argv[1];
	fleeting.name = argv[2];
	fleeting.rate = strtol(argv[3], NULL, 10);
	fleeting.seconds = strtol(argv[4], NULL, 10);
	fleeting.own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	fleeting.made = mmap(NULL, sizeof(*fleeting.made), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fleeting.start = now();
	if (fleeting.own == -1 || fleeting.made == MAP_FAILED || fleeting.rate < 1)
		err(1, "start");
	for (long maker = 0; maker < MAKERS; maker++)
		if (fork() == 0)
			make(maker);
	while (wait(&status) > 0)
		failed |= status != 0;
	printf("made %ld in %ld ms\n", atomic_load(fleeting.made), (now() - fleeting.start) / 1000);
	return failed;
}
