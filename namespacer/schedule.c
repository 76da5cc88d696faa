/* The clock. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/record.h"
#include "namespacer/link.h"
#include "namespacer/schedule.h"

enum {
	SCHEDULE_SETUPS = 8,		/* collectors that are being set up at a time */
	SCHEDULE_ONCE_FAILURES = 3,	/* then a namespace is given up */
};

static struct {
	struct schedule_setting	setting;
	struct event		*timer;
	uint64_t		host;		/* a hash of the host's name */
	bool			known, finished, incomplete;
	struct schedule_counts	counts;
} schedule;

static void	schedule_run(evutil_socket_t fd, short what, void *context);

/* FNV-1a: a spread that is the same at every start. */
static uint64_t
schedule_hash(uint64_t hash, const void *bytes, size_t length)
{
	const unsigned char *at = bytes;

	while (length-- > 0)
		hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
	return hash;
}

int
schedule_init(const struct schedule_setting *setting)
{
	char host[256] = "";

	schedule.setting = *setting;
	gethostname(host, sizeof(host) - 1);
	schedule.host = schedule_hash(UINT64_C(0xcbf29ce484222325), host, strlen(host));
	schedule.timer = evtimer_new(setting->base, schedule_run, NULL);
	return schedule.timer == NULL ? -1 : 0;
}

const struct schedule_counts *
schedule_counts(void)
{
	return &schedule.counts;
}

static void
schedule_at(uint64_t when, uint64_t now)
{
	struct timeval pause = clock_timeval(when > now ? when - now : 0);

	event_add(schedule.timer, &pause);
}

void
schedule_soon(void)
{
	schedule_at(0, 0);
}

void
schedule_life_changed(struct life *life)
{
	(void)life;
	schedule_soon();
}

/* The next moment of its phase, but not one that has just been. */
static uint64_t
schedule_next(const struct life *life, uint64_t now)
{
	uint64_t interval = schedule.setting.interval;
	uint64_t hash = schedule_hash(schedule.host, &life->netns->inode, sizeof(life->netns->inode));
	uint64_t next = now - now % interval + (hash >> 16) % interval;

	while (next <= now + interval / 2)
		next += interval;
	return next;
}

/* The first time, the phase is far; later it is one interval. */
static void
schedule_advance(struct life *life, uint64_t now)
{
	uint64_t next = life->due + schedule.setting.interval;

	if (life->due == 0) {
		next = schedule_next(life, now);
	} else if (next < now) {
		schedule.counts.late++;
		next = schedule_next(life, now);
	}
	life->due = next;
}

void
schedule_life_taken(struct life *life)
{
	const struct protocol_taken *taken = &life->last;
	const char *why = record_enum_text(RECORD_OUTCOME, taken->outcome);
	const char *way = record_enum_text(RECORD_WAY, taken->way);

	schedule.counts.taken++;
	log_debug("%s: snapshot %" PRIu64 " (%s): %" PRIu64 " records, %" PRIu64 " bytes, %" PRIu64 " us",
	    life->netns->name, taken->sequence, way != NULL ? way : "unknown", taken->records, taken->bytes,
	    taken->duration / MICROSECOND);
	if (taken->outcome == RECORD_OUTCOME_COMPLETE)
		return;
	schedule.counts.incomplete++;
	schedule.incomplete = true;
	log_limited(LOG_LEVEL_WARNING, "%s: snapshot %" PRIu64 " is incomplete (%s): %" PRIu64 " records, %" PRIu64 " dropped, %u attempts",
	    life->netns->name, taken->sequence, why != NULL ? why : "unknown", taken->records, taken->dropped, taken->attempts);
}

/* A one-shot run waits for no pause and no long back-off. */
static bool
schedule_given_up(const struct life *life)
{
	return schedule.setting.once && life->state == LIFE_NONE &&
	    (life->failures >= SCHEDULE_ONCE_FAILURES || life_paused(clock_monotonic()));
}

/* What a life still needs, in order of urgency. */
static bool
schedule_wants_start(const struct life *life, uint64_t now)
{
	return life->state == LIFE_NONE && life->not_before <= now && !schedule_given_up(life) &&
	    !(schedule.setting.once && life->last.sequence != 0);
}

static bool
schedule_wants_order(const struct life *life, uint64_t now)
{
	return life->state == LIFE_IDLE && life->due <= now &&
	    !(schedule.setting.once && life->last.sequence != 0);
}

static void
schedule_order(struct life *life, uint64_t now)
{
	schedule_advance(life, now);
	life_order(life, now + schedule.setting.deadline);
}

/*
 * What is seen in one pass over all lives: with a thousand of them, and two
 * events for each snapshot, every further pass would be felt.
 */
struct schedule_view {
	size_t		 setups, taking;	/* they use a core now */
	struct life	*start, *order;		/* who has waited longest for it, or NULL */
	uint64_t	 next;			/* when something is due that no event will tell */
};

static void
schedule_see(struct schedule_view *view, struct life *life, uint64_t now)
{
	uint64_t when = UINT64_MAX;

	/* One that waits for room has given its turn back. */
	view->setups += life->state == LIFE_SETUP;
	view->taking += life->state == LIFE_TAKING && !life->waiting;
	if (schedule_wants_start(life, now) && (view->start == NULL || life->due < view->start->due))
		view->start = life;
	if (schedule_wants_order(life, now) && (view->order == NULL || life->due < view->order->due))
		view->order = life;
	if (life->state == LIFE_IDLE && life->due > now)
		when = life->due;
	else if (life->state == LIFE_NONE && life->not_before > now)
		when = life->not_before;
	if (when < view->next)
		view->next = when;
}

static struct schedule_view
schedule_look(uint64_t now)
{
	struct schedule_view view = { .next = now + SECOND };
	struct netns *ns;

	TAILQ_FOREACH(ns, &netns_all, all)
		if (ns->life != NULL)
			schedule_see(&view, ns->life, now);
	return view;
}

static void
schedule_kill_overdue(uint64_t now)
{
	struct netns *ns;

	TAILQ_FOREACH(ns, &netns_all, all) {
		struct life *life = ns->life;

		if (life == NULL || life->state == LIFE_NONE || life->state == LIFE_IDLE || life->overdue > now)
			continue;
		life->expected = false;		/* also when it was asked to end, and did not */
		life_kill(life, "it did not answer in time");
	}
}

/*
 * Starts and orders as many as may be, and returns when to look again.  Without
 * a shipper a snapshot would only fill its ring and stop there.
 */
static uint64_t
schedule_give_turns(uint64_t now)
{
	unsigned int starts = 0;

	for (;;) {
		struct schedule_view view = schedule_look(now);

		if (view.start != NULL && view.setups < SCHEDULE_SETUPS && starts++ < SCHEDULE_SETUPS && !life_paused(now))
			life_start(view.start);
		else if (view.order != NULL && view.taking < schedule.setting.parallel && link_is_up())
			schedule_order(view.order, now);
		else
			return view.next;
	}
}

static void
schedule_consider_finish(void)
{
	struct netns *ns;

	if (!schedule.setting.once || !schedule.known || schedule.finished)
		return;
	TAILQ_FOREACH(ns, &netns_all, all) {
		if (ns->life == NULL)
			continue;
		if (ns->life->last.sequence == 0 && !schedule_given_up(ns->life))
			return;
		if (ns->life->last.sequence == 0)
			schedule.incomplete = true;
	}
	schedule.finished = true;
	schedule.setting.finished(!schedule.incomplete);
}

static void
schedule_run(evutil_socket_t fd, short what, void *context)
{
	uint64_t now = clock_monotonic(), next;

	(void)fd;
	(void)what;
	(void)context;
	schedule_kill_overdue(now);
	next = schedule_give_turns(now);
	schedule_consider_finish();
	schedule_at(next, now);
}

void
schedule_known(void)
{
	schedule.known = true;
	schedule_soon();
}
