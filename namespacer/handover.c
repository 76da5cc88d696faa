/* The rings and their doorbells. */
#include <sys/random.h>
#include <sys/socket.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "namespacer/handover.h"

struct handover_list handover_all = TAILQ_HEAD_INITIALIZER(handover_all);

static struct {
	uint64_t		limit;
	struct handover_counts	counts;
} handover;

void
handover_init(uint64_t limit)
{
	handover.limit = limit;
}

const struct handover_counts *
handover_counts(void)
{
	return &handover.counts;
}

struct handover *
handover_new(uint64_t size, struct ring_producer *producer, int *collector_doorbell)
{
	struct handover *ring = calloc(1, sizeof(*ring));
	int doorbell[2];

	if (ring == NULL)
		return NULL;
	if (getrandom(&ring->identity.epoch, sizeof(ring->identity.epoch), 0) == -1 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, doorbell) == -1) {
		free(ring);
		return NULL;
	}
	if (ring_create(&ring->memory, producer, size) == -1) {
		int error = errno;

		close(doorbell[0]);
		close(doorbell[1]);
		free(ring);
		errno = error;
		return NULL;
	}
	ring->identity.size = size;
	ring->doorbell = doorbell[0];
	*collector_doorbell = doorbell[1];
	TAILQ_INSERT_TAIL(&handover_all, ring, all);
	return ring;
}

void
handover_free(struct handover *ring)
{
	if (ring->identity.ended)
		handover.counts.orphan_bytes -= ring->identity.size;
	TAILQ_REMOVE(&handover_all, ring, all);
	ring_memory_close(&ring->memory);
	close(ring->doorbell);
	free(ring);
}

/* Each position is the first word of its memory file: see ring.h. */
static uint64_t
handover_position(int fd)
{
	uint64_t position = 0;

	return pread(fd, &position, sizeof(position), 0) == (ssize_t)sizeof(position) ? position : 0;
}

static uint64_t
handover_unread_of(const struct handover *ring)
{
	uint64_t written = handover_position(ring->memory.data_fd);
	uint64_t released = handover_position(ring->memory.control_fd);

	/* Both are others' words: what cannot be is not added up. */
	return written - released <= ring->identity.size ? written - released : 0;
}

uint64_t
handover_unread(void)
{
	const struct handover *ring;
	uint64_t unread = 0;

	TAILQ_FOREACH(ring, &handover_all, all)
		unread += handover_unread_of(ring);
	return unread;
}

/* The list is in order of age.  What a shipper has mapped is not lost by this. */
static void
handover_give_up_oldest(void)
{
	struct handover *ring;

	TAILQ_FOREACH(ring, &handover_all, all)
		if (ring->identity.ended)
			break;
	if (ring == NULL)
		return;
	if (!ring->sent) {
		log_limited(LOG_LEVEL_WARNING, "%s: the ring of collector %016lx is lost: more than orphan-rings bytes wait for a shipper",
		    ring->identity.name, (unsigned long)ring->identity.epoch);
		handover.counts.lost_rings++;
		handover.counts.lost_bytes += handover_unread_of(ring);
	}
	handover_free(ring);
}

void
handover_end(struct handover *ring)
{
	ring->identity.ended = 1;
	handover.counts.orphan_bytes += ring->identity.size;
}

void
handover_limit(void)
{
	while (handover.counts.orphan_bytes > handover.limit)
		handover_give_up_oldest();
}

struct handover *
handover_find(uint64_t epoch)
{
	struct handover *ring;

	TAILQ_FOREACH(ring, &handover_all, all)
		if (ring->identity.epoch == epoch)
			return ring;
	return NULL;
}
