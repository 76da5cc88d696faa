/*
 * floor: the least that any reader must pay.  One walk over both families
 * (the legacy request), every extension, received 32 KiB at a time and thrown
 * away; run inside the namespace.
 *
 *	floor [WALKS]
 *
 * Prints the sockets of a walk and the CPU time (user and system) of one, in
 * nanoseconds.
 */
#include <sys/resource.h>
#include <sys/socket.h>

#include <err.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER = 32 * 1024, STATES = 0xfff, EXTENSIONS = 0xff };

static void
ask(int fd, uint32_t sequence)
{
	struct {
		struct nlmsghdr		header;
		struct inet_diag_req	request;
	} ask = { 0 };

	ask.header.nlmsg_len = sizeof(ask);
	ask.header.nlmsg_type = TCPDIAG_GETSOCK;
	ask.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	ask.header.nlmsg_seq = sequence;
	ask.request.idiag_family = AF_INET;
	ask.request.idiag_ext = EXTENSIONS;
	ask.request.idiag_states = STATES;
	if (send(fd, &ask, sizeof(ask), 0) != (ssize_t)sizeof(ask))
		err(1, "send");
}

/* Counts the messages only: what they say is not looked at. */
static unsigned long
walk(int fd, uint32_t sequence)
{
	static _Alignas(NLMSG_ALIGNTO) char buffer[BUFFER];
	unsigned long sockets = 0;

	ask(fd, sequence);
	for (;;) {
		ssize_t length = recv(fd, buffer, sizeof(buffer), 0);
		struct nlmsghdr *message = (struct nlmsghdr *)buffer;

		if (length == -1)
			err(1, "recv");
		for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
			if (message->nlmsg_type == NLMSG_DONE)
				return sockets;
			if (message->nlmsg_type == NLMSG_ERROR)
				errx(1, "the kernel refuses the dump");
			sockets++;
		}
	}
}

static uint64_t
cpu(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000 +
	    (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000;
}

int
main(int argc, char **argv)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	unsigned long walks = argc > 1 ? strtoul(argv[1], NULL, 10) : 1, sockets;
	uint64_t start;

	if (fd == -1)
		err(1, "socket");
	if (walks == 0)
		errx(1, "usage: floor [WALKS]");
	/* The first warms up, and is not counted. */
	sockets = walk(fd, 1);
	start = cpu();
	for (unsigned long i = 0; i < walks; i++)
		if (walk(fd, (uint32_t)i + 2) != sockets)
			errx(1, "the sockets change while they are measured");
	printf("%lu %llu\n", sockets, (unsigned long long)((cpu() - start) / walks));
	return 0;
}
