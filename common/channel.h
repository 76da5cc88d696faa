/*
 * Messages between two processes over SOCK_SEQPACKET: a header, then a payload
 * of the size that its type has, and at most CHANNEL_FDS descriptors.
 * Everything is checked here, so that a receiver only sees whole messages of a
 * known type; what is not one is CHANNEL_BROKEN, and the connection is over.
 */
#ifndef COMMON_CHANNEL_H
#define COMMON_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CHANNEL_PAYLOAD_MAX = 1024, CHANNEL_FDS = 3 };

struct channel_type {
	uint32_t	type;
	uint32_t	size;		/* bytes of its payload, exactly */
	uint32_t	fds;		/* descriptors that come with it, exactly */
};

enum channel_result {
	CHANNEL_OK,
	CHANNEL_AGAIN,		/* nothing to read, or no room to write, now */
	CHANNEL_CLOSED,		/* the peer has gone */
	CHANNEL_BROKEN,		/* the peer does not keep to the protocol: errno is
				   EPROTO, or EMFILE if we had no descriptors left */
};

struct channel_message {
	uint32_t	type;
	uint32_t	nfds;
	int		fds[CHANNEL_FDS];	/* close-on-exec; the receiver's */
	_Alignas(16) uint8_t payload[CHANNEL_PAYLOAD_MAX];
};

/* Never blocks.  The descriptors stay the sender's. */
enum channel_result channel_send(int socket, const struct channel_type *, const void *payload, const int *fds);
/*
 * types: what the peer may send now, ends with type 0.  Never blocks.  When
 * CHANNEL_OK, the descriptors are the caller's; otherwise none is left open.
 */
enum channel_result channel_receive(int socket, const struct channel_type *types, struct channel_message *);
/* Closes what a message brought and nobody took. */
void channel_message_close(struct channel_message *);
/* The peer's uid and pid by SO_PEERCRED; -1 with errno. */
int channel_peer(int socket, uid_t *uid, pid_t *pid);

#endif
