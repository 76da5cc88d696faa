/* The clock. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/record.h"
#include "namespacer/hash.h"
#include "namespacer/link.h"
#include "namespacer/schedule.h"

enum {
	SCHEDULE_SETUPS = 8,		/* collectors that are being set up at a time */
	SCHEDULE_ONCE_FAILURES = 3,	/* then a namespace is given up */
	SCHEDULE_SLOTS = 64,		/* moments of an interval at which orders are given */
	SCHEDULE_SMALL = 256,		/* records, up to which a snapshot is a small one */
	SCHEDULE_SHARE = 16,		/* so many small ones count as one */
};

/*
 * Lives are kept in a list for each state, those that wait for an order by the
 * time at which it is due: what happens to one of a thousand is no reason to
 * look at all of them.
 */
static struct {
	struct schedule_setting	setting;
	struct life_list	lists[LIFE_STATES];
	struct event		*timer;
	uint64_t		host;		/* a hash of the host's name */
	bool			known, finished, incomplete;
	struct schedule_counts	counts;
} schedule;

static void	schedule_run(evutil_socket_t fd, short what, void *context);

int
schedule_init(const struct schedule_setting *setting)
{
	char host[256] = "";

	schedule.setting = *setting;
	for (size_t i = 0; i < LIFE_STATES; i++)
		TAILQ_INIT(&schedule.lists[i]);
	gethostname(host, sizeof(host) - 1);
	schedule.host = hash_bytes(HASH_START, host, strlen(host));
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
schedule_life_forgotten(struct life *life)
{
	if (life->list != NULL)
		TAILQ_REMOVE(life->list, life, turn);
	life->list = NULL;
}

/* Mostly it is the last: each comes back an interval later.  One that is new is the first. */
static void
schedule_insert_by_due(struct life_list *list, struct life *life)
{
	struct life *other = TAILQ_FIRST(list);

	if (other == NULL || life->due < other->due) {
		TAILQ_INSERT_HEAD(list, life, turn);
		return;
	}
	TAILQ_FOREACH_REVERSE(other, list, life_list, turn)
		if (other->due <= life->due)
			break;
	TAILQ_INSERT_AFTER(list, other, life, turn);
}

static void
schedule_place(struct life *life)
{
	struct life_list *list = &schedule.lists[life->state];

	if (life->list == list)
		return;
	schedule_life_forgotten(life);
	if (life->state == LIFE_IDLE)
		schedule_insert_by_due(list, life);
	else
		TAILQ_INSERT_TAIL(list, life, turn);
	life->list = list;
}

void
schedule_life_changed(struct life *life)
{
	schedule_place(life);
	schedule_soon();
}

/*
 * The next moment of its phase, but not one that has just been.  Phases are few
 * enough that of a thousand namespaces some share one: to wake up three
 * processes for one namespace of 20 sockets costs as much as to read them.
 */
static uint64_t
schedule_next(const struct life *life, uint64_t now)
{
	uint64_t interval = schedule.setting.interval;
	uint64_t hash = hash_bytes(schedule.host, &life->netns->inode, sizeof(life->netns->inode));
	uint64_t next = now - now % interval + (hash >> 16) % SCHEDULE_SLOTS * interval / SCHEDULE_SLOTS;

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

static void
schedule_order(struct life *life, uint64_t now)
{
	schedule_advance(life, now);
	life_order(life, now + schedule.setting.deadline);
	schedule_place(life);
}

/* The one that has waited longest for its turn. */
static struct life *
schedule_choose_start(uint64_t now)
{
	struct life *life, *chosen = NULL;

	TAILQ_FOREACH(life, &schedule.lists[LIFE_NONE], turn)
		if (schedule_wants_start(life, now) && (chosen == NULL || life->due < chosen->due))
			chosen = life;
	return chosen;
}

static struct life *
schedule_choose_order(uint64_t now)
{
	struct life *life;

	TAILQ_FOREACH(life, &schedule.lists[LIFE_IDLE], turn) {
		if (life->due > now)
			return NULL;
		if (!schedule.setting.once || life->last.sequence == 0)
			return life;
	}
	return NULL;
}

/* Its part of a core's turn, by the last that it took; the first counts in full. */
static size_t
schedule_weight(const struct life *life)
{
	return life->last.sequence != 0 && life->last.records <= SCHEDULE_SMALL ? 1 : SCHEDULE_SHARE;
}

/* What uses cores now; one that waits for room has given its turn back. */
static size_t
schedule_weigh_taking(void)
{
	const struct life *life;
	size_t weight = 0;

	TAILQ_FOREACH(life, &schedule.lists[LIFE_TAKING], turn)
		weight += life->waiting ? 0 : schedule_weight(life);
	return weight;
}

static void
schedule_start_lives(uint64_t now)
{
	struct life *life;
	size_t setups = 0;

	TAILQ_FOREACH(life, &schedule.lists[LIFE_SETUP], turn)
		setups++;
	for (; setups < SCHEDULE_SETUPS && !life_paused(now) && (life = schedule_choose_start(now)) != NULL; setups++) {
		life_start(life);
		schedule_place(life);
	}
}

/* Without a shipper a snapshot would only fill its ring and stop there. */
static void
schedule_order_lives(uint64_t now)
{
	size_t most = schedule.setting.parallel * SCHEDULE_SHARE, taking = schedule_weigh_taking();
	struct life *life;

	while (link_is_up() && (life = schedule_choose_order(now)) != NULL && taking + schedule_weight(life) <= most) {
		taking += schedule_weight(life);
		schedule_order(life, now);
	}
}

static void
schedule_kill_overdue(uint64_t now)
{
	static const enum life_state states[] = { LIFE_SETUP, LIFE_TAKING, LIFE_ENDING };
	struct life *life, *next;

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		TAILQ_FOREACH_SAFE(life, &schedule.lists[states[i]], turn, next) {
			if (life->overdue > now)
				continue;
			life->expected = false;		/* also when it was asked to end, and did not */
			life_kill(life, "it did not answer in time");
		}
}

/* When something is due that no event will tell. */
static uint64_t
schedule_next_event(uint64_t now)
{
	uint64_t next = now + SECOND;
	const struct life *life;

	TAILQ_FOREACH(life, &schedule.lists[LIFE_NONE], turn)
		if (life->not_before > now && life->not_before < next)
			next = life->not_before;
	TAILQ_FOREACH(life, &schedule.lists[LIFE_IDLE], turn)
		if (life->due > now)
			return life->due < next ? life->due : next;
	return next;
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
	uint64_t now = clock_monotonic();

	(void)fd;
	(void)what;
	(void)context;
	schedule_kill_overdue(now);
	schedule_start_lives(now);
	schedule_order_lives(now);
	schedule_consider_finish();
	schedule_at(schedule_next_event(now), now);
}

void
schedule_known(void)
{
	schedule.known = true;
	schedule_soon();
}
