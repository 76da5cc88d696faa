/*
 * floor: the least that any reader must pay.  One walk over both families
 * (the legacy request), every extension, received 32 KiB at a time and thrown
 * away; in the namespace that it is started in, or in those of the files.
 *
 *	floor [-2] [-b BYTES] [-r READERS] [-w WALKS] [FILE...]
 *
 *	-2	two walks instead, AF_INET and AF_INET6, as most readers do it
 *	-b	bytes of the buffer
 *	-r	so many threads that all receive on the one socket
 *	-w	so many passes over all namespaces are measured (after one that is not)
 *
 * Prints the sockets of a pass, and the nanoseconds of user, system and wall
 * time that one took.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/dump.h"

enum { READERS_MAX = 64 };

static struct {
	bool		 two;
	size_t		 buffer;
	unsigned int	 readers;
	unsigned long	 walks;
	int		*sockets;	/* one in each namespace */
	unsigned int	 namespaces;
	sem_t		 done;		/* several readers: one of them saw the end */
	_Atomic unsigned long counted;
} options = { .buffer = DUMP_BUFFER, .walks = 1 };

/*
 * Who wants to go on with a dump that another reader has just ended is told
 * EINVAL by netlink_dump(), once (net/netlink/af_netlink.c): the next one to
 * receive gets it, and nothing is lost.
 */
static bool
receive_again(void)
{
	return errno == EINTR || (errno == EINVAL && options.readers > 1);
}

static ssize_t
receive(int fd, void *buffer)
{
	ssize_t length;

	do
		length = recv(fd, buffer, options.buffer, MSG_TRUNC);
	while (length == -1 && receive_again());
	if (length == -1)
		err(1, "recv");
	if ((size_t)length > options.buffer)
		errx(1, "a datagram of %zd bytes does not go into the buffer", length);
	return length;
}

static unsigned long
drain(int fd)
{
	static void *buffer;
	unsigned long sockets = 0;

	if (buffer == NULL && (buffer = malloc(options.buffer)) == NULL)
		err(1, "malloc");
	while (!dump_count(buffer, receive(fd, buffer), &sockets))
		;
	return sockets;
}

/* One of several; the first walk finds them all in recv. */
static void *
reader(void *argument)
{
	int fd = *(int *)argument;
	void *buffer = malloc(options.buffer);

	if (buffer == NULL)
		err(1, "malloc");
	for (;;) {
		unsigned long sockets = 0;
		bool end = dump_count(buffer, receive(fd, buffer), &sockets);

		atomic_fetch_add(&options.counted, sockets);
		if (end)
			sem_post(&options.done);
	}
}

static void
start_readers(void)
{
	pthread_t thread;

	sem_init(&options.done, 0, 0);
	for (unsigned int i = 0; i < options.readers; i++)
		if (pthread_create(&thread, NULL, reader, &options.sockets[0]) != 0)
			errx(1, "pthread_create");
}

/* A reader that is slower than the one that sees the end is not waited for: its count shows in the next walk. */
static unsigned long
walk_by_readers(int fd)
{
	unsigned long before = atomic_load(&options.counted);

	dump_ask(fd);
	while (sem_wait(&options.done) == -1)
		;
	return atomic_load(&options.counted) - before;
}

static unsigned long
walk(int fd)
{
	unsigned long sockets;

	if (options.readers > 0)
		return walk_by_readers(fd);
	if (!options.two) {
		dump_ask(fd);
		return drain(fd);
	}
	dump_ask_family(fd, AF_INET);
	sockets = drain(fd);
	dump_ask_family(fd, AF_INET6);
	return sockets + drain(fd);
}

static unsigned long
pass(void)
{
	unsigned long sockets = 0;

	for (unsigned int i = 0; i < options.namespaces; i++)
		sockets += walk(options.sockets[i]);
	return sockets;
}

/* A socket stays in the namespace in which it was opened. */
static int
open_in(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd == -1 || setns(fd, CLONE_NEWNET) == -1)
		err(1, "%s", file);
	close(fd);
	return dump_open();
}

static void
open_sockets(char **files, int count)
{
	options.namespaces = count > 0 ? (unsigned int)count : 1;
	options.sockets = calloc(options.namespaces, sizeof(*options.sockets));
	if (options.sockets == NULL)
		err(1, "calloc");
	if (count == 0)
		options.sockets[0] = dump_open();
	for (int i = 0; i < count; i++)
		options.sockets[i] = open_in(files[i]);
}

static void
parse(int argc, char **argv)
{
	int letter;

	while ((letter = getopt(argc, argv, "2b:r:w:")) != -1)
		switch (letter) {
		case '2':
			options.two = true;
			break;
		case 'b':
			options.buffer = strtoul(optarg, NULL, 10);
			break;
		case 'r':
			options.readers = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'w':
			options.walks = strtoul(optarg, NULL, 10);
			break;
		default:
			exit(64);
		}
	if (options.walks == 0 || options.buffer == 0 || options.readers > READERS_MAX ||
	    (options.readers > 0 && (options.two || argc - optind > 1)))
		errx(64, "usage: floor [-2] [-b BYTES] [-r READERS] [-w WALKS] [FILE...]");
}

int
main(int argc, char **argv)
{
	struct dump_cost start;
	unsigned long sockets = 0;

	parse(argc, argv);
	open_sockets(argv + optind, argc - optind);
	if (options.readers > 0)
		start_readers();
	pass();
	start = dump_clock();
	for (unsigned long i = 0; i < options.walks; i++)
		sockets += pass();
	dump_report(sockets / options.walks, options.walks, start);
	return 0;
}
