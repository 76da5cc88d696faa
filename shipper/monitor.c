/* The pages of the metrics listener: see monitor.h. */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/log.h"
#include "common/usage.h"
#include "shipper/delivery.h"
#include "shipper/drain.h"
#include "shipper/link.h"
#include "shipper/metrics.h"
#include "shipper/monitor.h"

/*
 * Whoever asks more often gets the same page again; and the more one costs,
 * the longer it is kept, so that asking takes a twentieth of the time at most.
 */
#define MONITOR_FRESH	(100 * MILLISECOND)
enum { MONITOR_SHARE = 20 };

struct monitor {
	struct http		*http;
	struct monitor_sources	 from;
	uint64_t		 started;	/* ns since 1970 */
	bool			 ending;
	struct http_page	*metrics;	/* the last one, or NULL */
	uint64_t		 stale;		/* from when on it is made anew, monotonic ns */
};

/* --- is it ready? -------------------------------------------------------------------- */

/* NULL, or why not. */
static const char *
monitor_fault(const struct monitor *m)
{
	if (m->ending)
		return "the shipper is ending";
	if (!link_is_served(m->from.link))
		return "no namespacer is connected";
	if (delivery_refused(m->from.delivery))
		return "the sink refuses records at the moment";
	if (!delivery_ready(m->from.delivery))
		return "the sink has not shown yet that it takes records";
	return NULL;
}

static struct http_page *
monitor_text(int status, const char *what, const char *why)
{
	struct http_page *page = http_page_new(status, "text/plain; charset=utf-8");

	buffer_printf(&page->body, "%s%s%s\n", what, why != NULL ? ": " : "", why != NULL ? why : "");
	return page;
}

static struct http_page *
monitor_ready(struct monitor *m)
{
	const char *why = monitor_fault(m);

	return why == NULL ? monitor_text(200, "ready", NULL) : monitor_text(503, "not ready", why);
}

static struct http_page *
monitor_healthy(struct monitor *m)
{
	(void)m;
	return monitor_text(200, "ok", NULL);
}

/* --- the metrics ------------------------------------------------------------------------ */

static void
monitor_fill_process(const struct monitor *m, struct metrics_now *now)
{
	struct usage usage;

	usage_read(&usage);
	now->started = m->started;
	now->cpu = usage.cpu;
	now->resident = usage.resident;
	now->http = *http_counts(m->http);
}

static void
monitor_fill(const struct monitor *m, struct metrics *metrics)
{
	const struct accounts *accounts = drain_accounts(m->from.drain, &metrics->rings);
	struct metrics_now *now = &metrics->now;

	metrics->books = *m->from.books;
	metrics->account = accounts->total;
	metrics->namespaces = accounts->per_netns ? &accounts->netns : NULL;
	metrics->format = m->from.format;
	metrics->sink = m->from.sink;
	now->refusing = delivery_refused(m->from.delivery);
	now->connected = link_is_connected(m->from.link);
	now->ready = monitor_fault(m) == NULL;
	metrics->namespacer = *link_counts(m->from.link);
	now->unlisted = accounts->unlisted;
	monitor_fill_process(m, now);
}

static struct http_page *
monitor_metrics(struct monitor *m)
{
	uint64_t start = clock_monotonic(), end;
	struct metrics metrics = { 0 };

	if (m->metrics == NULL || start >= m->stale) {
		http_page_drop(m->metrics);
		m->metrics = http_page_new(200, METRICS_TYPE);
		monitor_fill(m, &metrics);
		metrics_write(&metrics, &m->metrics->body);
		end = clock_monotonic();
		m->stale = end + MONITOR_FRESH + (end - start) * MONITOR_SHARE;
	}
	m->metrics->references++;
	return m->metrics;
}

/* --- the listener ------------------------------------------------------------------------ */

static struct http_page *
monitor_page(void *context, const char *path)
{
	static const struct {
		const char		*path;
		struct http_page	*(*make)(struct monitor *);
	} pages[] = {
		{ "/metrics", monitor_metrics },
		{ "/healthz", monitor_healthy },
		{ "/readyz", monitor_ready },
	};

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		if (strcmp(path, pages[i].path) == 0)
			return pages[i].make(context);
	return NULL;
}

struct monitor *
monitor_new(const struct monitor_options *options, uid_t uid, gid_t gid, char *error, size_t size)
{
	struct monitor *m = calloc(1, sizeof(*m));
	const struct http_options http = { .base = options->base, .key = "metrics", .page = monitor_page, .context = m };

	if (m == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: the metrics");
	m->started = clock_real();
	m->http = http_new(&http, &options->address, uid, gid, error, size);
	if (m->http != NULL)
		return m;
	free(m);
	return NULL;
}

int
monitor_listen(struct monitor *m, const struct monitor_sources *from, char *error, size_t size)
{
	m->from = *from;
	return http_listen(m->http, error, size);
}

void
monitor_ending(struct monitor *m)
{
	if (m != NULL)
		m->ending = true;
}

void
monitor_free(struct monitor *m)
{
	if (m == NULL)
		return;
	http_free(m->http);
	http_page_drop(m->metrics);
	free(m);
}
