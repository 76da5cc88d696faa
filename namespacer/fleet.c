/* One collector for each wanted namespace. */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "namespacer/discovery.h"
#include "namespacer/fleet.h"
#include "namespacer/life.h"
#include "namespacer/netns.h"
#include "namespacer/schedule.h"
#include "namespacer/watch.h"

/*
 * A collector's descriptors pin its namespace and every device in it, so "gone"
 * is: nobody outside holds it.  The kernel tells when a mount is taken away, but
 * not that a process left, so those that a process or a thread holds are
 * looked at again and again, by one stat(2).  Whoever
 * lost what held it may be held by something else, so then everything is looked
 * at; where that takes long it is done as seldom as the promise allows (a
 * second, the end of the collector included), else as often as FLEET_SHARE of a
 * CPU allows.
 */
enum { FLEET_CHECK_MS = 900, FLEET_SHARE = 200 };

static struct {
	const struct config_list	*patterns;
	struct event			*scan, *check;
	uint64_t			 next_check;	/* not before */
	bool				 any_lost;	/* since the lost ones were removed */
	bool				 mounted;	/* or unmounted, since all paths were looked at */
	struct fleet_counts		 counts;
} fleet;

static void
fleet_remove_lost(void)
{
	struct netns *ns, *next;

	if (!fleet.any_lost)
		return;
	fleet.any_lost = false;
	TAILQ_FOREACH_SAFE(ns, &netns_all, all, next) {
		if (!ns->lost)
			continue;
		log_debug("%s: gone", ns->name);
		fleet.counts.gone++;
		if (ns->life != NULL)
			life_abandon(ns->life, "its namespace is gone");
		netns_remove(ns);
	}
}

/* Identity is fixed for a life: a new name takes a new collector. */
static void
fleet_take_name(struct netns *ns)
{
	bool is_new = ns->name[0] == '\0';

	netns_choose_name(ns);
	if (is_new)
		fleet.counts.appeared++;
	if (is_new)
		log_debug("%s: found by %s %s", ns->name, netns_how_text(ns->how), ns->holder);
	if (!ns->renamed && !life_has_other_identity(ns->life))
		return;
	fleet.counts.renamed++;
	if (ns->life != NULL)
		life_abandon(ns->life, "its namespace has another name or container now");
}

/* What is new gets its name and its life. */
static void
fleet_settle(void)
{
	struct netns *ns, *next;

	TAILQ_FOREACH_SAFE(ns, &netns_stale, stales, next) {
		fleet_take_name(ns);
		if (ns->life != NULL || !netns_matches(ns, fleet.patterns) || life_new(ns) != NULL)
			continue;
		netns_make_stale(ns);	/* tried again */
		log_errno(LOG_LEVEL_ERROR, "%s", ns->name);
	}
	schedule_soon();
}

/* Collectors hold nothing: they are not even looked at. */
static void
fleet_look_everywhere(void)
{
	cleanup_free pid_t *own = NULL;
	size_t count = 0, n = 0;
	struct netns *ns;

	TAILQ_FOREACH(ns, &netns_all, all)
		count++;
	own = calloc(count + 1, sizeof(*own));
	TAILQ_FOREACH(ns, &netns_all, all)
		if (own != NULL && ns->life != NULL && ns->life->pid > 0)
			own[n++] = ns->life->pid;
	discovery_scan(own, n);
}

/* After a look: its time is taken down, what it found gets or loses its collector. */
static void
fleet_follow(uint64_t start)
{
	fleet.counts.nanoseconds += clock_read(CLOCK_PROCESS_CPUTIME_ID) - start;
	fleet_remove_lost();
	fleet_settle();
}

/* What a path leads to changes by mounts alone. */
static enum netns_look
fleet_choose_look(bool everything)
{
	bool changed = watch_mounts_changed();

	fleet.mounted |= changed;
	if (!everything || !fleet.mounted)
		return changed ? NETNS_LOOK_MOUNTS : NETNS_LOOK_PROCESSES;
	fleet.mounted = false;
	return NETNS_LOOK_PATHS;
}

/* Once an interval everything is looked at, and otherwise what may have lost its holder. */
static void
fleet_check(bool everything)
{
	static const struct timeval pause = { 0, FLEET_CHECK_MS * 1000 };
	uint64_t start = clock_read(CLOCK_PROCESS_CPUTIME_ID);
	bool lost = netns_find_lost(fleet_choose_look(everything));

	fleet.any_lost |= lost;
	if (everything || lost)
		fleet_look_everywhere();
	fleet.next_check = clock_monotonic() + (clock_read(CLOCK_PROCESS_CPUTIME_ID) - start) * FLEET_SHARE;
	event_add(fleet.check, &pause);
}

void
fleet_scan(void)
{
	uint64_t start = clock_read(CLOCK_PROCESS_CPUTIME_ID);

	watch_folders();
	fleet_check(true);
	fleet_follow(start);
}

static void
fleet_scan_timer(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	fleet_scan();
}

static void
fleet_check_timer(evutil_socket_t fd, short what, void *context)
{
	uint64_t start = clock_read(CLOCK_PROCESS_CPUTIME_ID);

	(void)fd;
	(void)what;
	(void)context;
	fleet_check(false);
	fleet_follow(start);
}

/* After a burst of events: what was looked at is in the table. */
static void
fleet_changed(bool all, uint64_t start)
{
	if (all)
		fleet_look_everywhere();
	if (clock_monotonic() >= fleet.next_check)
		fleet_check(false);
	fleet_follow(start);
}

static struct event *
fleet_every(struct event_base *base, uint64_t ns, event_callback_fn call)
{
	struct timeval period = clock_timeval(ns);
	struct event *timer = event_new(base, -1, EV_PERSIST, call, NULL);

	if (timer != NULL)
		event_add(timer, &period);
	return timer;
}

int
fleet_start(struct event_base *base, const struct config_list *patterns, uint64_t interval)
{
	fleet.patterns = patterns;
	if (watch_start(base, fleet_changed) == -1)
		return -1;
	fleet.scan = fleet_every(base, interval, fleet_scan_timer);
	fleet.check = evtimer_new(base, fleet_check_timer, NULL);
	if (fleet.scan == NULL || fleet.check == NULL)
		return -1;
	fleet_check(false);
	return 0;
}

void
fleet_stop(void)
{
	struct netns *ns, *next;

	if (fleet.scan != NULL)
		event_free(fleet.scan);
	if (fleet.check != NULL)
		event_free(fleet.check);
	fleet.scan = fleet.check = NULL;
	watch_stop();
	TAILQ_FOREACH_SAFE(ns, &netns_all, all, next) {
		if (ns->life != NULL)
			life_abandon(ns->life, "the namespacer ends");
		netns_remove(ns);
	}
}

const struct fleet_counts *
fleet_counts(void)
{
	return &fleet.counts;
}
