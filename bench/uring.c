/*
 * uring: the floor (see floor.c), received by io_uring: DEPTH receives stand
 * in the ring at any time, each with a buffer of its own.  For the bench only:
 * a confined collector has no io_uring (docs/performance.md says why).
 *
 *	uring [-d DEPTH] [-w WALKS]
 */
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/dump.h"

enum { DEPTH_MAX = 64 };

static struct {
	struct io_uring	ring;
	int		fd;
	unsigned int	depth;
	char		*buffers;	/* DUMP_BUFFER bytes for each */
} uring = { .depth = 4 };

static void
submit(uintptr_t number)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&uring.ring);

	if (entry == NULL)
		errx(1, "the submission queue is full");
	io_uring_prep_recv(entry, uring.fd, uring.buffers + number * DUMP_BUFFER, DUMP_BUFFER, 0);
	io_uring_sqe_set_data(entry, (void *)number);
}

/*
 * The receives behind the one that saw the end wait for the next walk, so
 * that each is submitted again at once.
 */
static unsigned long
walk(void)
{
	struct io_uring_cqe *done;
	unsigned long sockets = 0;
	bool end = false;

	dump_ask(uring.fd);
	while (!end) {
		uintptr_t number;

		if (io_uring_submit_and_wait(&uring.ring, 1) < 0)
			errx(1, "io_uring_submit_and_wait");
		while (io_uring_peek_cqe(&uring.ring, &done) == 0) {
			if (done->res < 0)
				errx(1, "receive: error %d", -done->res);
			number = (uintptr_t)io_uring_cqe_get_data(done);
			end |= dump_count(uring.buffers + number * DUMP_BUFFER, done->res, &sockets);
			io_uring_cqe_seen(&uring.ring, done);
			submit(number);
		}
	}
	return sockets;
}

int
main(int argc, char **argv)
{
	unsigned long walks = 1, sockets = 0;
	struct dump_cost start;
	int letter, result;

	while ((letter = getopt(argc, argv, "d:w:")) != -1)
		if (letter == 'd')
			uring.depth = (unsigned int)strtoul(optarg, NULL, 10);
		else if (letter == 'w')
			walks = strtoul(optarg, NULL, 10);
		else
			exit(64);
	if (uring.depth == 0 || uring.depth > DEPTH_MAX || walks == 0)
		errx(64, "usage: uring [-d DEPTH] [-w WALKS]");
	uring.fd = dump_open();
	if ((uring.buffers = calloc(uring.depth, DUMP_BUFFER)) == NULL)
		err(1, "calloc");
	if ((result = io_uring_queue_init(DEPTH_MAX, &uring.ring, 0)) < 0)
		errx(1, "io_uring_queue_init: error %d", -result);
	for (uintptr_t number = 0; number < uring.depth; number++)
		submit(number);
	walk();
	start = dump_clock();
	for (unsigned long i = 0; i < walks; i++)
		sockets += walk();
	dump_report(sockets / walks, walks, start);
	return 0;
}
