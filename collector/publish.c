/* Records into the ring. */
#include <unistd.h>

#include "collector/publish.h"
#include "collector/report.h"
#include "common/exit.h"
#include "common/ring.h"

enum {
	PUBLISH_ROOM = RING_PREFIX_MAX + ENCODE_SOCKET_MAX,
	PUBLISH_END_ROOM = RING_PREFIX_MAX + ENCODE_END_MAX,
	PUBLISH_PORTION = 4,	/* a sleeping shipper is woken for this part of the ring */
};

static struct {
	struct ring_producer	*ring;
	struct counters		*counters;
	uint64_t		 sequence;	/* of the last record */
	uint64_t		 hidden;	/* sockets that are written and not shown */
	uint64_t		 rung;		/* bytes of this snapshot when the shipper was woken last */

	/* of the snapshot that is being taken */
	uint64_t		 deadline;
	uint64_t		 bytes;
	bool			 late;
	bool			 waited;	/* the namespacer knows */
} publish;

struct counters *
publish_init(struct ring_producer *ring)
{
	_Static_assert(sizeof(struct counters) <= RING_COUNTERS_SIZE, "the counters fit in their page");

	publish.ring = ring;
	publish.counters = ring_counters(ring);
	return publish.counters;
}

void
publish_begin(uint64_t deadline)
{
	publish.deadline = deadline;
	publish.bytes = publish.rung = 0;
	publish.late = publish.waited = false;
}

bool
publish_late(void)
{
	return publish.late;
}

uint64_t
publish_bytes(void)
{
	return publish.bytes;
}

/*
 * Shows what was written.  A shipper that sleeps is woken for a portion, or
 * for less if nothing more comes now.  A counter is stored before the position
 * that makes it true.
 */
static void
publish_portion(uint64_t least)
{
	publish.counters->read += publish.hidden;
	publish.counters->encoded += publish.hidden;
	publish.hidden = 0;
	if (!ring_publish(publish.ring) || publish.bytes - publish.rung < least)
		return;
	publish.rung = publish.bytes;
	report_ring_doorbell();
}

void
publish_show(void)
{
	publish_portion(publish.ring->size / PUBLISH_PORTION);
}

uint64_t
publish_withdraw(void)
{
	uint64_t withdrawn = publish.hidden;

	publish.bytes -= ring_withdraw(publish.ring);
	publish.sequence -= withdrawn;
	publish.hidden = 0;
	return withdrawn;
}

/* Waits until the shipper made room, or the deadline has passed. */
static void
publish_wait(size_t need)
{
	publish_portion(0);
	publish.counters->waits++;
	if (!publish.waited)
		report_waiting();
	publish.waited = true;
	while (ring_start_waiting(publish.ring, need) && !publish.late)
		publish.late = !report_wait_doorbell(publish.deadline);
	ring_stop_waiting(publish.ring);
}

/*
 * A place for need bytes, or NULL when the snapshot had to give up.  Sockets
 * ask for room for a snapshot_end besides, so that it can still say so then.
 */
static uint8_t *
publish_reserve(size_t need)
{
	uint8_t *place;

	for (;;) {
		switch (ring_reserve(publish.ring, need, &place)) {
		case RING_OK:
			return place;
		case RING_FULL:
			if (publish.late)
				return NULL;
			publish_wait(need);
			break;
		default:
			_exit(EXIT_CODE_PEER);
		}
	}
}

static void
publish_commit(size_t length)
{
	ring_commit(publish.ring, length);
	publish.bytes += length;
}

bool
publish_socket(struct encode_metadata *metadata, const struct attributes *found)
{
	uint8_t *place = publish_reserve(PUBLISH_ROOM + PUBLISH_END_ROOM);

	if (place == NULL)
		return false;
	metadata->sequence = ++publish.sequence;
	publish_commit(encode_socket(place, metadata, found));
	publish.hidden++;
	return true;
}

bool
publish_end(struct encode_metadata *metadata, const struct encode_end *end)
{
	uint8_t *place = publish_reserve(PUBLISH_END_ROOM);

	if (place == NULL)
		return false;
	metadata->sequence = ++publish.sequence;
	publish_commit(encode_end(place, metadata, end));
	publish.counters->snapshots++;
	publish_portion(0);
	return true;
}
