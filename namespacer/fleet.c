/* One collector for each wanted namespace. */
#include <stdbool.h>
#include <stddef.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "namespacer/discovery.h"
#include "namespacer/fleet.h"
#include "namespacer/life.h"
#include "namespacer/netns.h"
#include "namespacer/schedule.h"
#include "namespacer/watch.h"

/*
 * A collector's descriptors pin its namespace and every device in it, so "gone"
 * is: nobody outside holds it.  No event tells that a process left, so what
 * holds each namespace is looked at twice a second, by one stat(2).
 */
enum { FLEET_CHECK_MS = 500 };

static struct {
	const struct config_list	*patterns;
	struct event			*scan, *check;
	struct fleet_counts		 counts;
} fleet;

/* Whoever lost what held it may be held by something else. */
static bool
fleet_lost_any(void)
{
	struct netns *ns;

	TAILQ_FOREACH(ns, &netns_all, all)
		if (!netns_held(ns))
			return true;
	return false;
}

static void
fleet_remove_gone(void)
{
	struct netns *ns, *next;

	TAILQ_FOREACH_SAFE(ns, &netns_all, all, next) {
		if (netns_held(ns))
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

static void
fleet_reconcile(void)
{
	struct netns *ns;

	fleet_remove_gone();
	TAILQ_FOREACH(ns, &netns_all, all) {
		fleet_take_name(ns);
		if (ns->life == NULL && netns_matches(ns, fleet.patterns) && life_new(ns) == NULL)
			log_errno(LOG_LEVEL_ERROR, "%s", ns->name);
	}
	schedule_soon();
}

void
fleet_scan(void)
{
	watch_folders();
	discovery_scan();
	fleet_reconcile();
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
	(void)fd;
	(void)what;
	(void)context;
	if (fleet_lost_any())
		fleet_scan();
}

/* After a burst of events: what was looked at is in the table. */
static void
fleet_changed(void)
{
	if (fleet_lost_any())
		discovery_scan();
	fleet_reconcile();
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
	fleet.check = fleet_every(base, FLEET_CHECK_MS * MILLISECOND, fleet_check_timer);
	return fleet.scan == NULL || fleet.check == NULL ? -1 : 0;
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
