/* Counters for the shipper's metrics. */
#include <event2/event.h>

#include "common/clock.h"
#include "common/protocol.h"
#include "common/usage.h"
#include "namespacer/counts.h"
#include "namespacer/discovery.h"
#include "namespacer/fleet.h"
#include "namespacer/handover.h"
#include "namespacer/life.h"
#include "namespacer/link.h"
#include "namespacer/netns.h"
#include "namespacer/schedule.h"

static uint64_t counts_started;

static void
counts_fill_grown(struct protocol_grown *grown)
{
	const struct schedule_counts *snapshots = schedule_counts();
	const struct life_counts *collectors = life_counts();
	const struct fleet_counts *namespaces = fleet_counts();
	const struct discovery_counts *looks = discovery_counts();
	const struct handover_counts *rings = handover_counts();

	*grown = (struct protocol_grown){
		.snapshots = snapshots->taken,
		.incomplete = snapshots->incomplete,
		.late = snapshots->late,
		.forks = collectors->started,
		.setup_faults = collectors->setup_faults,
		.crashes = collectors->crashed,
		.trapped = collectors->trapped,
		.hostile = collectors->hostile,
		.outgrown = collectors->outgrown,
		.appeared = namespaces->appeared,
		.gone = namespaces->gone,
		.renamed = namespaces->renamed,
		.scans = looks->scans,
		.scan_cpu = namespaces->nanoseconds,
		.strangers = looks->strangers,
		.vanished = looks->vanished,
		.denied = looks->refused,
		.lost_rings = rings->lost_rings,
		.lost_bytes = rings->lost_bytes,
	};
}

static void
counts_add_life(const struct life *life, struct protocol_level *level)
{
	switch (life->state) {
	case LIFE_SETUP:
		level->setup++;
		break;
	case LIFE_IDLE:
		level->idle++;
		break;
	case LIFE_TAKING:
		level->taking++;
		level->waiting += life->waiting;
		break;
	default:
		level->missing++;
		break;
	}
}

static void
counts_fill_level(struct protocol_level *level)
{
	struct netns *ns;

	*level = (struct protocol_level){ .orphan_bytes = handover_counts()->orphan_bytes };
	TAILQ_FOREACH(ns, &netns_all, all) {
		level->namespaces++;
		if (ns->life != NULL)
			counts_add_life(ns->life, level);
	}
}

void
counts_send(void)
{
	struct protocol_counts counts = { .started = counts_started };
	struct usage usage;

	if (!link_is_up())
		return;
	usage_read(&usage);
	counts_fill_grown(&counts.grown);
	counts_fill_level(&counts.level);
	counts.grown.cpu = usage.cpu;
	counts.level.resident = usage.resident;
	link_send_counts(&counts);
}

static void
counts_ticked(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	counts_send();
}

int
counts_start(struct event_base *base)
{
	static const struct timeval second = { 1, 0 };
	struct event *tick = event_new(base, -1, EV_PERSIST, counts_ticked, NULL);

	counts_started = clock_real();
	return tick == NULL ? -1 : event_add(tick, &second);
}
