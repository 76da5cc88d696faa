/* Writes tcpdiag-metrics(7) to its standard output, from the table that the shipper shows: `make metrics-page`. */
#include <stdio.h>

#include "common/exit.h"
#include "shipper/metrics.h"

static const char page_begin[] =
    ".\\\" Made of shipper/metrics.def by `make metrics-page`: change that.\n"
    ".Dd November 26, 2026\n"
    ".Dt TCPDIAG-METRICS 7\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm tcpdiag-metrics\n"
    ".Nd what tcpdiag shows of itself\n"
    ".Sh DESCRIPTION\n"
    ".Xr tcpdiag-shipper 8\n"
    "answers HTTP at the place that key\n"
    ".Ic metrics\n"
    "of\n"
    ".Xr tcpdiag.conf 5\n"
    "names:\n"
    ".Bl -tag -width /metrics\n"
    ".It Pa /metrics\n"
    "All that is listed here, in Prometheus' text format 0.0.4.\n"
    "It is at most a tenth of a second old, and twenty times as long as it takes to make; what the namespacer counts, a second more.\n"
    ".It Pa /healthz\n"
    "200 while the shipper's event loop turns.\n"
    ".It Pa /readyz\n"
    "200 while records can flow: a namespacer is connected, or has said that nothing more will come, and the sink takes batches.\n"
    "503 otherwise, with one line that says why.\n"
    ".El\n"
    ".Pp\n"
    "Only\n"
    ".Li GET\n"
    "and\n"
    ".Li HEAD\n"
    "are possible, one request a connection.\n"
    "Connections at a time, new ones in a second, the size of a request and its time are bounded, so that nobody who asks can hold\n"
    "records up.\n"
    ".Pp\n"
    "Counters never run backwards while a shipper lives, and begin anew with the next one;\n"
    "with a spool the books go on where they ended, for they are part of it.\n"
    "What belongs to a ring is added up when somebody asks and when the ring ends, so that the sums outlive it.\n"
    "What is called a collector's word was counted by processes that parse what the kernel sends, in memory that they can write;\n"
    "the shipper adds it up as long as it only grows, and no faster than could be counted, but cannot check it.\n"
    "Everything else the shipper has counted itself.\n"
    ".Ss Sums\n"
    "When nothing is in flight, these are equal:\n"
    ".Bd -literal -offset indent\n"
    "tcpdiag_records_drained_total + tcpdiag_records_requeued_total =\n"
    "    tcpdiag_records_delivered_total + tcpdiag_records_filtered_total +\n"
    "    sum(tcpdiag_records_dropped_total) + tcpdiag_records_in_doubt_total +\n"
    "    tcpdiag_records_spooled + tcpdiag_records_held\n"
    "\n"
    "tcpdiag_rings_published_bytes_total =\n"
    "    tcpdiag_rings_read_bytes_total + tcpdiag_rings_unread_bytes +\n"
    "    tcpdiag_rings_abandoned_bytes_total\n"
    "\n"
    "tcpdiag_collector_sockets_read_total =\n"
    "    tcpdiag_collector_sockets_encoded_total +\n"
    "    tcpdiag_collector_sockets_filtered_total +\n"
    "    sum(tcpdiag_collector_sockets_dropped_total)\n"
    ".Ed\n"
    ".Pp\n"
    "What was left in rings of dead collectors and never reached a shipper is not among what was published;\n"
    "it is\n"
    ".Va tcpdiag_namespacer_rings_lost_bytes_total .\n"
    ".Sh METRICS\n";

static const char page_end[] =
    ".Sh EXAMPLES\n"
    "To look by hand:\n"
    ".Bd -literal -offset indent\n"
    "curl --unix-socket /run/tcpdiag/shipper.metrics.sock http://localhost/metrics\n"
    ".Ed\n"
    ".Pp\n"
    "For Prometheus, which cannot read a unix socket:\n"
    ".Bd -literal -offset indent\n"
    "metrics = 127.0.0.1:9477\n"
    ".Ed\n"
    ".Pp\n"
    "What deserves an alert:\n"
    ".Bd -literal -offset indent\n"
    "tcpdiag_ready == 0\n"
    "increase(tcpdiag_records_dropped_total[5m]) > 0\n"
    "time() - tcpdiag_oldest_snapshot_timestamp_seconds > 120\n"
    "tcpdiag_rings_fullest_ratio > 0.9\n"
    "deriv(tcpdiag_spool_bytes[30m]) > 0\n"
    ".Ed\n"
    ".Sh SEE ALSO\n"
    ".Xr tcpdiag 1 ,\n"
    ".Xr tcpdiag.conf 5 ,\n"
    ".Xr tcpdiag-record 7 ,\n"
    ".Xr tcpdiag-security 7 ,\n"
    ".Xr tcpdiag-shipper 8\n";

/* A line of text; none of ours begins with what troff would take for a request. */
static void
page_text(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text == '\\')
			fputs("\\e", stdout);
		else
			putchar(*text);
	putchar('\n');
}

/* The values of an array's label, where they are known beforehand. */
static void
page_values(const struct metrics_row *row)
{
	const char *between = "Values are";

	if (row->seen)
		return;
	for (size_t i = 0; i < row->count; i++) {
		const char *value = row->text(i);

		if (value == NULL)
			continue;
		printf("%s\n.Li %s", between, value);
		between = " ,";
	}
	puts(" .");
}

static void
page_family(const struct metrics_row *row)
{
	printf(".It Va " METRICS_PREFIX "%s Pq %s", row->name, metrics_is_counter(row->kind) ? "counter" : "gauge");
	if (row->netns)
		printf(", by netns");
	if (row->label != NULL)
		printf(", by %s", row->label);
	putchar('\n');
	page_text(row->help);
}

/* Returns true if row is one of a list of values, which it begins. */
static bool
page_value(const struct metrics_row *row, bool listing)
{
	if (row->text != NULL) {
		page_values(row);
		printf("The label is %s.\n", row->help);
		return false;
	}
	if (!listing)
		puts(".Bl -tag -width Ds -compact");
	printf(".It Li %s\n", row->value);
	page_text(row->help);
	return true;
}

static void
page_rows(void)
{
	bool listing = false, grouped = false;

	for (size_t i = 0; i < metrics_nrows; i++) {
		const struct metrics_row *row = &metrics_rows[i];

		if (listing && (row->group != NULL || row->name != NULL)) {
			puts(".El");
			listing = false;
		}
		if (row->group != NULL) {
			printf("%s.Ss %s\n.Bl -tag -width Ds\n", grouped ? ".El\n" : "", row->group);
			grouped = true;
		} else if (row->name != NULL)
			page_family(row);
		else
			listing = page_value(row, listing);
	}
	printf("%s.El\n", listing ? ".El\n" : "");
}

int
main(void)
{
	fputs(page_begin, stdout);
	page_rows();
	fputs(page_end, stdout);
	return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_SINK;
}
