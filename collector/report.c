/* Control channel and doorbell. */
#include <sys/socket.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "collector/collector.h"
#include "collector/report.h"
#include "common/clock.h"
#include "common/exit.h"

static const struct channel_type report_orders[] = {
	{ PROTOCOL_SNAPSHOT, sizeof(struct protocol_snapshot), 0 },
	{ 0, 0, 0 }
};

/*
 * A collector without its namespacer has nobody to work for.  The channel's
 * buffer holds more than a collector ever says between two orders, so that
 * "no room" is a namespacer that no longer reads.
 */
static void
report_send(int control, uint32_t type, const void *payload, uint32_t size)
{
	const struct channel_type message = { type, size, 0 };

	if (channel_send(control, &message, payload, NULL) != CHANNEL_OK)
		_exit(EXIT_CODE_PEER);
}

void
report_ready(void)
{
	report_send(COLLECTOR_FD_CONTROL, PROTOCOL_READY, NULL, 0);
}

void
report_waiting(void)
{
	report_send(COLLECTOR_FD_CONTROL, PROTOCOL_WAITING, NULL, 0);
}

void
report_taken(const struct protocol_taken *taken)
{
	report_send(COLLECTOR_FD_CONTROL, PROTOCOL_TAKEN, taken, sizeof(*taken));
}

void
report_identity(int control, const struct protocol_identity *identity)
{
	report_send(control, PROTOCOL_IDENTITY, identity, sizeof(*identity));
}

void
report_failed(int control, const char *step, int error)
{
	struct protocol_failed failed = { .error = error };

	strncpy(failed.step, step, sizeof(failed.step) - 1);
	report_send(control, PROTOCOL_FAILED, &failed, sizeof(failed));
	_exit(EXIT_CODE_SYSTEM);
}

void
report_trapped(int number, unsigned int architecture)
{
	struct protocol_trapped trapped = { .number = number, .architecture = architecture };

	report_send(COLLECTOR_FD_CONTROL, PROTOCOL_TRAPPED, &trapped, sizeof(trapped));
}

void
report_wait_order(struct protocol_snapshot *order)
{
	struct pollfd control = { .fd = COLLECTOR_FD_CONTROL, .events = POLLIN };
	struct channel_message message;

	for (;;) {
		/* The next order nearly always is an interval away. */
		ppoll(&control, 1, NULL, NULL);
		switch (channel_receive(COLLECTOR_FD_CONTROL, report_orders, &message)) {
		case CHANNEL_OK:
			memcpy(order, message.payload, sizeof(*order));
			return;
		case CHANNEL_AGAIN:
			break;
		case CHANNEL_CLOSED:
			_exit(EXIT_CODE_OK);
		default:
			_exit(EXIT_CODE_PEER);
		}
	}
}

void
report_ring_doorbell(void)
{
	/* A full buffer means that it has been rung; a closed one, that nobody listens. */
	(void)!send(COLLECTOR_FD_DOORBELL, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A shipper may shut the doorbell down; then only the tick is left. */
static bool report_doorbell_over;

/* Takes the rings, which carry nothing; a bounded number, whoever rings. */
static void
report_quiet_doorbell(void)
{
	char rings[256];

	if (!report_doorbell_over && recv(COLLECTOR_FD_DOORBELL, rings, sizeof(rings), MSG_DONTWAIT) == 0)
		report_doorbell_over = true;
}

bool
report_wait_doorbell(uint64_t deadline)
{
	struct pollfd fds[] = {
		{ .fd = report_doorbell_over ? -1 : COLLECTOR_FD_DOORBELL, .events = POLLIN },
		{ .fd = COLLECTOR_FD_CONTROL, .events = 0 },	/* gone is always told */
	};
	uint64_t now = clock_monotonic(), left = deadline > now ? deadline - now : 0;
	/* A lost ring costs at most a tick. */
	uint64_t tick = left < 100 * MILLISECOND ? left : 100 * MILLISECOND;
	struct timespec timeout = clock_timespec(tick);

	if (left == 0)
		return false;
	ppoll(fds, 2, &timeout, NULL);
	if ((fds[1].revents & (POLLHUP | POLLERR)) != 0)
		_exit(EXIT_CODE_OK);
	report_quiet_doorbell();
	return true;
}
