/*
 * The input is a datagram on a channel, behind a byte that says how many
 * descriptors come with it.  With every table of types that a process waits
 * for, it is taken only if it is exactly what the table says, and a message
 * that is refused leaves no descriptor open.
 */
#include <sys/socket.h>

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "common/channel.h"
#include "common/fd.h"
#include "common/protocol.h"
#include "tests/fuzz/fuzz.h"

enum { SENT_FDS = CHANNEL_FDS + 2, HEADER = 2 * sizeof(uint32_t) };

#define TYPE(type, payload, fds)	{ PROTOCOL_##type, sizeof(struct protocol_##payload), fds }
#define TYPE_EMPTY(type, fds)		{ PROTOCOL_##type, 0, fds }

static const struct channel_type greeting[] = { TYPE(HELLO, hello, 0), { 0, 0, 0 } };
static const struct channel_type to_shipper[] = {
	TYPE(RING, ring, 3), TYPE(ENDED, epoch, 0), TYPE_EMPTY(FINISH, 0), TYPE(COUNTS, counts, 0), { 0, 0, 0 }
};
static const struct channel_type from_shipper[] = { TYPE(DRAINED, epoch, 0), TYPE(HOSTILE, epoch, 0), { 0, 0, 0 } };
static const struct channel_type to_collector[] = { TYPE(SNAPSHOT, snapshot, 0), { 0, 0, 0 } };
static const struct channel_type from_collector[] = {
	TYPE(IDENTITY, identity, 0), TYPE_EMPTY(READY, 0), TYPE(FAILED, failed, 0),
	TYPE_EMPTY(WAITING, 0), TYPE(TAKEN, taken, 0), TYPE(TRAPPED, trapped, 0), { 0, 0, 0 }
};
static const struct channel_type from_run[] = { TYPE_EMPTY(FILE, 1), { 0, 0, 0 } };
static const struct channel_type largest[] = { { 1, CHANNEL_PAYLOAD_MAX, CHANNEL_FDS }, { 0, 0, 0 } };
static const struct channel_type nothing[] = { { 0, 0, 0 } };
static const struct channel_type *const tables[] = {
	greeting, to_shipper, from_shipper, to_collector, from_collector, from_run, largest, nothing
};

static void
send_datagram(int socket, const uint8_t *bytes, size_t size, size_t nfds)
{
	union {
		struct cmsghdr	header;
		char		bytes[CMSG_SPACE(sizeof(int) * SENT_FDS)];
	} control = { .bytes = { 0 } };
	struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	int fds[SENT_FDS];

	for (size_t i = 0; i < nfds; i++)
		fds[i] = socket;
	if (nfds > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		control.header = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * nfds),
		};
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * nfds);
	}
	FUZZ_REQUIRE(sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)size);
}

static bool
brings_fds(const struct channel_type *types)
{
	for (; types->type != 0; types++)
		if (types->fds > 0)
			return true;
	return false;
}

/* The row that the datagram is one of, or NULL. */
static const struct channel_type *
expected_type(const struct channel_type *types, const uint8_t *bytes, size_t size, size_t nfds)
{
	uint32_t header[2];

	if (size < HEADER)
		return NULL;
	memcpy(header, bytes, HEADER);
	/* Where none may come, the kernel drops them. */
	if (!brings_fds(types))
		nfds = 0;
	for (; types->type != 0; types++)
		if (types->type == header[0] && types->size == header[1] && types->size == size - HEADER && types->fds == nfds)
			return types;
	return NULL;
}

static void
require_message(const struct channel_message *message, const struct channel_type *type, const uint8_t *bytes)
{
	FUZZ_REQUIRE(message->type == type->type);
	FUZZ_REQUIRE(message->nfds == type->fds);
	FUZZ_REQUIRE(memcmp(message->payload, bytes + HEADER, type->size) == 0);
	for (uint32_t i = 0; i < message->nfds; i++)
		FUZZ_REQUIRE(fcntl(message->fds[i], F_GETFD) == FD_CLOEXEC);
}

/* The lowest number that is free. */
static int
free_fd(void)
{
	int fd = dup(STDERR_FILENO);

	FUZZ_REQUIRE(fd >= 0);
	close(fd);
	return fd;
}

/* Which of the numbers that a message could take are open. */
static unsigned int
open_fds(int first)
{
	unsigned int set = 0;

	for (int i = 0; i < SENT_FDS; i++)
		set |= (fcntl(first + i, F_GETFD) != -1 ? 1U : 0) << i;
	return set;
}

static void
try_table(const int pair[2], const struct channel_type *types, const uint8_t *bytes, size_t size, size_t nfds)
{
	const struct channel_type *type = expected_type(types, bytes, size, nfds);
	struct channel_message message;
	enum channel_result result;
	int first = free_fd();
	unsigned int before = open_fds(first);

	send_datagram(pair[0], bytes, size, nfds);
	result = channel_receive(pair[1], types, &message);
	if (type != NULL) {
		FUZZ_REQUIRE(result == CHANNEL_OK);
		require_message(&message, type, bytes);
		channel_message_close(&message);
	} else
		FUZZ_REQUIRE(result == CHANNEL_BROKEN || (size == 0 && result == CHANNEL_CLOSED));
	FUZZ_REQUIRE(message.nfds == 0);
	FUZZ_REQUIRE(open_fds(first) == before);
	FUZZ_REQUIRE(channel_receive(pair[1], types, &message) == CHANNEL_AGAIN);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pair[2] = { -1, -1 };

	if (size == 0)
		return 0;
	if (pair[0] == -1)
		FUZZ_REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		try_table(pair, tables[i], data + 1, size - 1, data[0] % (SENT_FDS + 1));
	return 0;
}
