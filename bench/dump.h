/*
 * What the floor and its variants have in common: the request, the count of
 * what came, and the clocks.
 */
#ifndef BENCH_DUMP_H
#define BENCH_DUMP_H

#include <sys/resource.h>
#include <sys/socket.h>

#include <err.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum { DUMP_BUFFER = 32 * 1024, DUMP_STATES = 0xfff, DUMP_EXTENSIONS = 0xff };

static inline int
dump_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd == -1)
		err(1, "socket");
	return fd;
}

static inline void
dump_send(int fd, const void *message, size_t length)
{
	if (send(fd, message, length, 0) != (ssize_t)length)
		err(1, "send");
}

/* The legacy request: one walk over both families. */
static inline void
dump_ask(int fd)
{
	struct {
		struct nlmsghdr		header;
		struct inet_diag_req	request;
	} ask = {
		.header = { .nlmsg_len = sizeof(ask), .nlmsg_type = TCPDIAG_GETSOCK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.request = { .idiag_family = AF_INET, .idiag_ext = DUMP_EXTENSIONS, .idiag_states = DUMP_STATES },
	};

	dump_send(fd, &ask, sizeof(ask));
}

/* What ss and others ask for: one family. */
static inline void
dump_ask_family(int fd, int family)
{
	struct {
		struct nlmsghdr		header;
		struct inet_diag_req_v2	request;
	} ask = {
		.header = { .nlmsg_len = sizeof(ask), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.request = { .sdiag_family = (uint8_t)family, .sdiag_protocol = IPPROTO_TCP,
		    .idiag_ext = DUMP_EXTENSIONS, .idiag_states = DUMP_STATES },
	};

	dump_send(fd, &ask, sizeof(ask));
}

/* Counts the messages only: what they say is not looked at.  True at the end of the dump. */
static inline bool
dump_count(const void *buffer, ssize_t length, unsigned long *sockets)
{
	const struct nlmsghdr *message = buffer;

	for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
		if (message->nlmsg_type == NLMSG_DONE)
			return true;
		if (message->nlmsg_type == NLMSG_ERROR)
			errx(1, "the kernel refuses the dump");
		(*sockets)++;
	}
	return false;
}

struct dump_cost {
	uint64_t	user, system, wall;	/* ns */
};

static inline uint64_t
dump_ns(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_usec * 1000;
}

/* Of this process, threads of the kernel that work for it included. */
static inline struct dump_cost
dump_clock(void)
{
	struct rusage used;
	struct timespec now;

	getrusage(RUSAGE_SELF, &used);
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (struct dump_cost){
		.user = dump_ns(used.ru_utime),
		.system = dump_ns(used.ru_stime),
		.wall = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
	};
}

/* One line: the sockets of one walk, then ns of user, system and wall time of one. */
static inline void
dump_report(unsigned long sockets, unsigned long walks, struct dump_cost start)
{
	struct dump_cost end = dump_clock();

	printf("%lu %llu %llu %llu\n", sockets, (unsigned long long)((end.user - start.user) / walks),
	    (unsigned long long)((end.system - start.system) / walks), (unsigned long long)((end.wall - start.wall) / walks));
}

#endif
