/* Checked messages over SOCK_SEQPACKET: see channel.h. */
#include <sys/socket.h>

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/channel.h"
#include "common/fd.h"

struct channel_header {
	uint32_t	type;
	uint32_t	length;		/* bytes of payload behind it */
};

struct channel_packet {
	struct channel_header	header;
	uint8_t			payload[CHANNEL_PAYLOAD_MAX];
	uint8_t			beyond;		/* shows that more was sent */
};

static_assert(sizeof(struct channel_header) == 8, "no padding");
static_assert(offsetof(struct channel_packet, payload) == 8, "payload stands right behind");

union channel_control {
	struct cmsghdr	header;
	/* One too many is seen as such, and can be closed. */
	char		bytes[CMSG_SPACE(sizeof(int) * (CHANNEL_FDS + 1))];
};

/* --- sending ----------------------------------------------------------- */

static enum channel_result
channel_failure(void)
{
	switch (errno) {
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
	case EINTR:
	case ETOOMANYREFS:	/* descriptors in flight: the peer will take them */
		return CHANNEL_AGAIN;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		return CHANNEL_CLOSED;
	default:
		return CHANNEL_BROKEN;
	}
}

static ssize_t
channel_send_fds(int socket, void *bytes, size_t length, const int *fds, size_t count)
{
	union channel_control control = { .bytes = { 0 } };
	struct iovec part = { .iov_base = bytes, .iov_len = length };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(sizeof(int) * count),
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

enum channel_result
channel_send(int socket, const struct channel_type *type, const void *payload, const int *fds)
{
	struct channel_packet packet;
	size_t length = sizeof(packet.header) + type->size;
	ssize_t sent;

	assert(type->size <= CHANNEL_PAYLOAD_MAX && type->fds <= CHANNEL_FDS);
	packet.header = (struct channel_header){ .type = type->type, .length = type->size };
	if (type->size > 0)
		memcpy(packet.payload, payload, type->size);
	/* A confined process has sendto(2) only, whose arguments a filter can see. */
	if (type->fds == 0)
		sent = send(socket, &packet, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		sent = channel_send_fds(socket, &packet, length, fds, type->fds);
	return sent < 0 ? channel_failure() : CHANNEL_OK;
}

/* --- receiving --------------------------------------------------------- */

static void
channel_message_init(struct channel_message *message)
{
	size_t i;

	message->type = 0;
	message->nfds = 0;
	for (i = 0; i < CHANNEL_FDS; i++)
		message->fds[i] = -1;
}

void
channel_message_close(struct channel_message *message)
{
	size_t i;

	for (i = 0; i < message->nfds; i++)
		fd_close(&message->fds[i]);
	message->nfds = 0;
}

static bool
channel_brings_fds(const struct channel_type *types)
{
	for (; types->type != 0; types++)
		if (types->fds > 0)
			return true;
	return false;
}

/* Takes one descriptor into the message; one that has no place there is closed. */
static bool
channel_take_fd(struct channel_message *message, int fd)
{
	if (message->nfds == CHANNEL_FDS) {
		close(fd);
		return false;
	}
	message->fds[message->nfds++] = fd;
	return true;
}

/* Takes all descriptors that came, so that none is left open; false if something is wrong with them. */
static bool
channel_take_fds(struct msghdr *header, struct channel_message *message)
{
	struct cmsghdr *control;
	const uint8_t *data, *end;
	bool good = (header->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
	int fd;

	for (control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
			good = false;
			continue;
		}
		data = CMSG_DATA(control);
		end = (const uint8_t *)control + control->cmsg_len;
		for (; data + sizeof(fd) <= end; data += sizeof(fd)) {
			memcpy(&fd, data, sizeof(fd));
			good &= channel_take_fd(message, fd);
		}
	}
	return good;
}

static ssize_t
channel_read_fds(int socket, struct channel_packet *packet, struct channel_message *message)
{
	union channel_control control;
	struct iovec part = { .iov_base = packet, .iov_len = sizeof(*packet) };
	struct msghdr header = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t length = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (length < 0 || channel_take_fds(&header, message))
		return length;
	/* Our own limit looks like a lie of the peer's; errno tells them apart. */
	errno = header.msg_flags & MSG_CTRUNC && message->nfds < CHANNEL_FDS ? EMFILE : EPROTO;
	return -1;
}

static enum channel_result
channel_check(const struct channel_type *types, const struct channel_packet *packet, size_t length,
    struct channel_message *message)
{
	size_t size = length - sizeof(packet->header);

	errno = EPROTO;
	if (length < sizeof(packet->header) || packet->header.length != size)
		return CHANNEL_BROKEN;
	/* 0 ends the table, so it cannot be asked for. */
	while (types->type != 0 && types->type != packet->header.type)
		types++;
	if (types->type == 0 || types->size != size || types->fds != message->nfds)
		return CHANNEL_BROKEN;
	assert(size <= CHANNEL_PAYLOAD_MAX);
	message->type = types->type;
	memcpy(message->payload, packet->payload, size);
	return CHANNEL_OK;
}

enum channel_result
channel_receive(int socket, const struct channel_type *types, struct channel_message *message)
{
	struct channel_packet packet;
	enum channel_result result;
	ssize_t length;

	channel_message_init(message);
	if (channel_brings_fds(types))
		length = channel_read_fds(socket, &packet, message);
	else	/* the kernel drops what comes beside the bytes */
		length = recv(socket, &packet, sizeof(packet), MSG_DONTWAIT);
	if (length == 0)	/* the end; a message without a header looks the same, and is as good as one */
		result = CHANNEL_CLOSED;
	else if (length < 0)
		result = channel_failure();
	else
		result = channel_check(types, &packet, (size_t)length, message);
	if (result != CHANNEL_OK)
		channel_message_close(message);
	return result;
}

int
channel_peer(int socket, uid_t *uid, pid_t *pid)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		return -1;
	*uid = peer.uid;
	*pid = peer.pid;
	return 0;
}
