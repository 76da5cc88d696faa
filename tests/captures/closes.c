/*
 * closes FILE: writes what the kernel tells of closing TCP sockets as a capture.
 * Says "ready" when it listens in its network namespace, and ends with its
 * standard input.
 */
#include <sys/socket.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/pcap.h"

static int
listen_to_closes(void)
{
	const int groups[] = { SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY };
	struct sockaddr_nl here = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd == -1 || bind(fd, (struct sockaddr *)&here, sizeof(here)) == -1)
		err(1, "netlink");
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) == -1)
			err(1, "setsockopt NETLINK_ADD_MEMBERSHIP");
	return fd;
}

/* Everything that has come; an overrun is an error, for then something is lacking. */
static void
take(int fd, struct buffer *out)
{
	static uint8_t bytes[32768];
	struct timespec now;
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		clock_gettime(CLOCK_REALTIME, &now);
		pcap_write_datagram(out, &(struct pcap_datagram){
			.timestamp = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
			.bytes = bytes,
			.length = (size_t)n,
			.original = (size_t)n,
		});
	}
	if (n == -1 && errno != EAGAIN)
		err(1, "recv");
}

static void
save(const char *path, const struct buffer *out)
{
	FILE *file = fopen(path, "we");

	if (file == NULL || fwrite(out->bytes, 1, out->length, file) != out->length || fclose(file) != 0)
		err(1, "%s", path);
}

int
main(int argc, char **argv)
{
	struct buffer out = { NULL, 0, 0 };
	struct pollfd wait[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .events = POLLIN } };

	if (argc != 2)
		errx(1, "usage: closes FILE");
	wait[1].fd = listen_to_closes();
	pcap_write_header(&out, false);
	printf("ready\n");
	fflush(stdout);
	while (wait[0].revents == 0) {
		if (poll(wait, 2, -1) == -1)
			err(1, "poll");
		take(wait[1].fd, &out);
	}
	save(argv[1], &out);
	buffer_free(&out);
	return 0;
}
