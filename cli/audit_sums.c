/*
 * The books: DESIGN's equations, from the shipper's page of metrics, and beside
 * it what the rings' memory says, which nobody has to be asked for.
 */
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/audit.h"
#include "common/buffer.h"
#include "common/clock.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"

#define SUMS_SETTLE_TIME	(2 * SECOND)	/* what is in flight comes down somewhere */

enum { SUMS_TERMS = 8, SUMS_PAGE_MAX = 64 * 1024 * 1024, SUMS_SECONDS = 10 };

struct sums_term {
	const char	*name;		/* NULL: no more */
	const char	*metric;	/* behind "tcpdiag_"; all its labels are added */
};

/* The first term is the sum of the others; those before the second mark are on the left side. */
struct sums_equation {
	const char		*about, *source;
	unsigned int		 left;	/* so many terms are on the left side */
	struct sums_term	 terms[SUMS_TERMS];
};

static const struct sums_equation sums_equations[] = {
	{ "sockets in collectors", "a collector's word", 1, {
		{ "read", "collector_sockets_read_total" },
		{ "encoded", "collector_sockets_encoded_total" },
		{ "filtered", "collector_sockets_filtered_total" },
		{ "dropped", "collector_sockets_dropped_total" },
	} },
	{ "bytes in rings", "published positions, as the shipper saw them", 1, {
		{ "published", "rings_published_bytes_total" },
		{ "read", "rings_read_bytes_total" },
		{ "unread", "rings_unread_bytes" },
		{ "abandoned", "rings_abandoned_bytes_total" },
	} },
	{ "records in the shipper", "the shipper's own books", 2, {
		{ "drained", "records_drained_total" },
		{ "requeued", "records_requeued_total" },
		{ "delivered", "records_delivered_total" },
		{ "filtered", "records_filtered_total" },
		{ "dropped", "records_dropped_total" },
		{ "in doubt", "records_in_doubt_total" },
		{ "spooled", "records_spooled" },
		{ "held", "records_held" },
	} },
};

enum { SUMS_EQUATIONS = sizeof(sums_equations) / sizeof(sums_equations[0]) };

/* What may be missing without an equation that could show it. */
static const struct sums_term sums_lost[] = {
	{ "bytes lost with dead collectors", "namespacer_rings_lost_bytes_total" },
	{ "collectors whose word cannot be true", "collectors_disbelieved_total" },
};

enum { SUMS_LOST = sizeof(sums_lost) / sizeof(sums_lost[0]) };

static struct {
	uint64_t	values[SUMS_EQUATIONS][SUMS_TERMS];
	uint64_t	lost[SUMS_LOST];
	uint64_t	rings, bytes, impossible;	/* of the rings' memory */
} sums;

/* --- the page -------------------------------------------------------------------------- */

static int
sums_connect(void)
{
	const struct http_address *where = &audit.settings.metrics;
	const struct timeval patience = { SUMS_SECONDS, 0 };
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	cleanup_fd int fd = socket(where->path[0] != '\0' ? AF_UNIX : where->ip.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int result;

	if (fd == -1)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	snprintf(local.sun_path, sizeof(local.sun_path), "%s", where->path);
	if (where->path[0] != '\0')
		result = connect(fd, (const struct sockaddr *)&local, sizeof(local));
	else
		result = connect(fd, (const struct sockaddr *)&where->ip, where->length);
	return result == -1 ? -1 : fd_steal(&fd);
}

/* HTTP/1.0: the answer ends with the connection.  NULL with errno. */
static char *
sums_fetch(void)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
	cleanup_fd int fd = sums_connect();
	uint64_t deadline = clock_monotonic() + SUMS_SECONDS * SECOND;
	struct buffer answer = { 0 };
	ssize_t n = -1;

	if (fd == -1 || send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == -1)
		return NULL;
	/* A shipper that was taken over may send a byte now and then, without end. */
	while ((n = recv(fd, buffer_reserve(&answer, 64 * 1024), 64 * 1024 - 1, 0)) > 0 && answer.length < SUMS_PAGE_MAX &&
	    clock_monotonic() < deadline)
		answer.length += (size_t)n;
	buffer_append(&answer, "", 1);
	if (n == 0 && strncmp((char *)answer.bytes, "HTTP/1.", 7) == 0 && strncmp((char *)answer.bytes + 8, " 200 ", 5) == 0)
		return (char *)answer.bytes;
	buffer_free(&answer);
	errno = n == -1 ? errno : clock_monotonic() >= deadline ? ETIMEDOUT : EPROTO;
	return NULL;
}

/* A family's numbers, added.  False if the page does not have it. */
static bool
sums_read(const char *page, const char *metric, uint64_t *sum)
{
	char name[128];
	size_t length = (size_t)snprintf(name, sizeof(name), "\ntcpdiag_%s", metric);
	bool found = false;

	*sum = 0;
	for (const char *line = page; (line = strstr(line, name)) != NULL; line += length) {
		const char *value = line + length;

		if (*value == '{')
			value = strchr(value, '}') != NULL ? strchr(value, '}') + 1 : "";
		if (*value != ' ')
			continue;
		*sum += strtoull(value + 1, NULL, 10);
		found = true;
	}
	return found;
}

static bool
sums_take(const char *page)
{
	for (size_t i = 0; i < SUMS_EQUATIONS; i++)
		for (size_t term = 0; term < SUMS_TERMS && sums_equations[i].terms[term].name != NULL; term++)
			if (!sums_read(page, sums_equations[i].terms[term].metric, &sums.values[i][term])) {
				log_error("the page of metrics has no tcpdiag_%s: it is another version's", sums_equations[i].terms[term].metric);
				return false;
			}
	for (size_t i = 0; i < SUMS_LOST; i++)
		(void)sums_read(page, sums_lost[i].metric, &sums.lost[i]);
	return true;
}

static bool
sums_balance(size_t i)
{
	uint64_t left = 0, right = 0;

	for (unsigned int term = 0; term < SUMS_TERMS; term++)
		*(term < sums_equations[i].left ? &left : &right) += sums.values[i][term];
	return left == right;
}

/* --- the rings -------------------------------------------------------------------------- */

static void
sums_look_at_rings(void)
{
	sums.rings = sums.bytes = sums.impossible = 0;
	for (size_t i = 0; i < audit.count; i++) {
		const struct audit_process *process = &audit.processes[i];

		if (process->kind != AUDIT_COLLECTOR || process->gone || process->ring.size == 0)
			continue;
		sums.rings++;
		if (process->ring.written < process->ring.released || process->ring.written - process->ring.later > process->ring.size)
			sums.impossible++;
		else
			sums.bytes += process->ring.written - process->ring.released;
	}
}

/* --- what is printed ------------------------------------------------------------------------ */

static void
sums_print(size_t i)
{
	const struct sums_equation *equation = &sums_equations[i];

	printf("%c %s (%s)\n   ", sums_balance(i) ? '+' : '!', equation->about, equation->source);
	for (unsigned int term = 0; term < SUMS_TERMS && equation->terms[term].name != NULL; term++)
		printf("%s %s %" PRIu64, term == 0 ? "" : term == equation->left ? " =" : " +", equation->terms[term].name, sums.values[i][term]);
	putchar('\n');
}

static void
sums_print_json(size_t i)
{
	const struct sums_equation *equation = &sums_equations[i];

	printf("{\"sum\":\"%s\",\"source\":\"%s\",\"balanced\":%s", equation->about, equation->source, sums_balance(i) ? "true" : "false");
	for (unsigned int term = 0; term < SUMS_TERMS && equation->terms[term].name != NULL; term++)
		printf("%s{\"name\":\"%s\",\"metric\":\"tcpdiag_%s\",\"value\":%" PRIu64 "}",
		    term == 0 ? ",\"left\":[" : term == equation->left ? "],\"right\":[" : ",", equation->terms[term].name,
		    equation->terms[term].metric, sums.values[i][term]);
	printf("]}");
}

static void
sums_print_all(bool balanced)
{
	for (size_t i = 0; i < SUMS_EQUATIONS; i++)
		sums_print(i);
	printf("%c rings, as their memory says\n    %" PRIu64 " rings of running collectors with %" PRIu64
	    " bytes that were not given back; %" PRIu64 " with positions that cannot be\n",
	    sums.impossible == 0 ? '+' : '!', sums.rings, sums.bytes, sums.impossible);
	for (size_t i = 0; i < SUMS_LOST; i++)
		printf("- %s: %" PRIu64 "\n", sums_lost[i].name, sums.lost[i]);
	if (!balanced)
		puts("do: look again while nothing is restarted; where the source is a collector's word, see the log for one that is called hostile;\n"
		    "    else it is a fault of tcpdiag's: keep this and the page of metrics");
	puts(balanced ? "the books balance" : "THE BOOKS DO NOT BALANCE");
}

static void
sums_print_all_json(bool balanced)
{
	printf("{\"balanced\":%s,\n \"sums\":[", balanced ? "true" : "false");
	for (size_t i = 0; i < SUMS_EQUATIONS; i++) {
		fputs(i > 0 ? ",\n  " : "", stdout);
		sums_print_json(i);
	}
	printf("],\n \"rings\":{\"rings\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"impossible\":%" PRIu64 "},\n \"lost\":{",
	    sums.rings, sums.bytes, sums.impossible);
	for (size_t i = 0; i < SUMS_LOST; i++)
		printf("%s\"tcpdiag_%s\":%" PRIu64, i > 0 ? "," : "", sums_lost[i].metric, sums.lost[i]);
	puts("}}");
}

/* --- the order of things ------------------------------------------------------------------------- */

static bool
sums_all_balance(void)
{
	for (size_t i = 0; i < SUMS_EQUATIONS; i++)
		if (!sums_balance(i))
			return false;
	return sums.impossible == 0;
}

static int
sums_once(void)
{
	cleanup_free char *page = sums_fetch();

	if (page == NULL) {
		log_errno(LOG_LEVEL_ERROR, "the shipper's metrics cannot be read at %s; give --socket or --metrics of its configuration",
		    audit.settings.metrics.path[0] != '\0' ? audit.settings.metrics.path : audit.config.metrics);
		return EXIT_CODE_INCOMPLETE;
	}
	return sums_take(page) ? 0 : EXIT_CODE_INCOMPLETE;
}

int
audit_sums(void)
{
	const struct timespec pause = { 0, 150 * (long)MILLISECOND };	/* a page is kept for a tenth of a second */
	uint64_t deadline = clock_monotonic() + SUMS_SETTLE_TIME;
	int code;

	if (audit.settings.metrics.off) {
		log_error("metrics = off: the shipper shows no books");
		return EXIT_CODE_CONFIG;
	}
	for (;;) {
		if ((code = sums_once()) != 0)
			return code;
		sums_look_at_rings();
		if (sums_all_balance() || clock_monotonic() > deadline)
			break;
		nanosleep(&pause, NULL);
	}
	(audit.json ? sums_print_all_json : sums_print_all)(sums_all_balance());
	return sums_all_balance() ? EXIT_CODE_OK : EXIT_CODE_AUDIT;
}
