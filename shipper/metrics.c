/*
 * The table of metrics and its text form: see metrics.h.
 *
 * Own code, since there is no library for it that is kept: the C client for
 * Prometheus is abandoned, and all that would be taken from it is printf.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/version.h"
#include "shipper/metrics.h"

#define METRICS_SIZE(source, member)	(sizeof(((struct metrics *)NULL)->source.member) / sizeof(uint64_t))

const char *
metrics_attribute(size_t index)
{
	static const char *const nests[RECORD_NESTS] = {
		[RECORD_NEST_TOP] = "", [RECORD_NEST_ULP] = "ulp-", [RECORD_NEST_TLS] = "tls-", [RECORD_NEST_MPTCP] = "mptcp-",
	};
	size_t number = index % COUNTERS_KINDS;
	static char text[16];

	snprintf(text, sizeof(text), "%s%zu%s", nests[index / COUNTERS_KINDS], number, number < COUNTERS_KINDS - 1 ? "" : "+");
	return text;
}

/* No failure has class none. */
static const char *
metrics_class(size_t number)
{
	enum sink_class class = (enum sink_class)number;

	return class != SINK_CLASS_NONE ? sink_class_name(class) : NULL;
}

static const char *
metrics_way(size_t way)
{
	return way != RECORD_WAY_UNSPECIFIED ? record_enum_text(RECORD_WAY, way) : NULL;
}

static const char *
metrics_outcome(size_t outcome)
{
	return record_enum_text(RECORD_OUTCOME, outcome);
}

static void
metrics_label(struct buffer *out, const char *name, const char *value)
{
	buffer_append_string(out, name);
	buffer_append_string(out, "=\"");
	metrics_escape_label(out, value);
	buffer_append_string(out, "\"");
}

static void
metrics_build(const struct metrics *metrics, struct buffer *out)
{
	(void)metrics;
	metrics_label(out, "version", VERSION);
	buffer_append_string(out, ",");
	metrics_label(out, "commit", version_commit);
}

static void
metrics_delivery(const struct metrics *metrics, struct buffer *out)
{
	metrics_label(out, "format", metrics->format);
	buffer_append_string(out, ",");
	metrics_label(out, "sink", metrics->sink);
}

/* The reasons of a namespace's are named where those of all are. */
static const char *
metrics_drop(size_t reason)
{
	size_t offset = offsetof(struct metrics, account.word.dropped) + reason * sizeof(uint64_t);

	for (size_t i = 0; i < metrics_nrows; i++)
		if (metrics_rows[i].count > 0 && metrics_rows[i].offset == offset)
			return metrics_rows[i].value;
	return NULL;
}

const struct metrics_row metrics_rows[] = {
#define NUMBERS(source, member)	.offset = offsetof(struct metrics, source.member), .count = METRICS_SIZE(source, member)
#define GROUP(title) { .group = title },
#define INFO(title, labels, function, words) { .kind = METRICS_GAUGE, .name = title, .label = labels, .info = function, .help = words },
#define METRIC(type, source, member, title, words) { .kind = METRICS_##type, .name = title, .help = words, NUMBERS(source, member) },
#define NETNS(type, member, title, words) { .kind = METRICS_##type, .netns = true, .name = title, .help = words, NUMBERS(netns, member) },
#define FAMILY(type, title, by, words) { .kind = METRICS_##type, .name = title, .label = by, .help = words },
#define NETNS_FAMILY(type, title, by, words) { .kind = METRICS_##type, .netns = true, .name = title, .label = by, .help = words },
#define OF(source, member, label_value, words) { .value = label_value, .help = words, NUMBERS(source, member) },
#define EACH(source, member, function, words) { .text = function, .help = words, NUMBERS(source, member) },
#define SEEN(source, member, function, words) { .text = function, .seen = true, .help = words, NUMBERS(source, member) },
#include "shipper/metrics.def"
};

const size_t metrics_nrows = sizeof(metrics_rows) / sizeof(metrics_rows[0]);

/* --- text ------------------------------------------------------------------------- */

static void
metrics_escape(struct buffer *out, const char *text, const char *special)
{
	for (;;) {
		size_t plain = strcspn(text, special);

		buffer_append(out, text, plain);
		text += plain;
		if (*text == '\0')
			return;
		buffer_append(out, (const char[]){ '\\', *text == '\n' ? 'n' : *text }, 2);
		text++;
	}
}

void
metrics_escape_label(struct buffer *out, const char *text)
{
	metrics_escape(out, text, "\\\"\n");
}

void
metrics_escape_help(struct buffer *out, const char *text)
{
	metrics_escape(out, text, "\\\n");
}

bool
metrics_is_counter(enum metrics_kind kind)
{
	return kind == METRICS_COUNTER || kind == METRICS_COUNTER_NANO;
}

static bool
metrics_is_nano(enum metrics_kind kind)
{
	return kind == METRICS_COUNTER_NANO || kind == METRICS_GAUGE_NANO;
}

static void
metrics_write_head(const struct metrics_row *family, struct buffer *out)
{
	buffer_printf(out, "# HELP " METRICS_PREFIX "%s ", family->name);
	metrics_escape_help(out, family->help);
	buffer_printf(out, "\n# TYPE " METRICS_PREFIX "%s %s\n", family->name,
	    metrics_is_counter(family->kind) ? "counter" : "gauge");
}

/* A number with at least so many digits: a page has tens of thousands, and printf(3) would take most of its time. */
static void
metrics_write_digits(uint64_t number, size_t least, struct buffer *out)
{
	char text[20], *end = text + sizeof(text), *at = end;

	do {
		*--at = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0 || (size_t)(end - at) < least);
	buffer_append(out, at, (size_t)(end - at));
}

static void
metrics_write_number(enum metrics_kind kind, uint64_t number, struct buffer *out)
{
	buffer_append_string(out, " ");
	metrics_write_digits(metrics_is_nano(kind) ? number / SECOND : number, 1, out);
	if (metrics_is_nano(kind)) {
		buffer_append_string(out, ".");
		metrics_write_digits(number % SECOND, 9, out);
	}
	buffer_append_string(out, "\n");
}

/* One line; netns and value are NULL where the family has no such label. */
static void
metrics_write_value(const struct metrics_row *family, const char *netns, const char *value, uint64_t number, struct buffer *out)
{
	const char *between = "{";

	buffer_append_string(out, METRICS_PREFIX);
	buffer_append_string(out, family->name);
	if (netns != NULL) {
		buffer_append_string(out, between);
		metrics_label(out, "netns", netns);
		between = ",";
	}
	if (value != NULL) {
		buffer_append_string(out, between);
		metrics_label(out, family->label, value);
	}
	if (netns != NULL || value != NULL)
		buffer_append_string(out, "}");
	metrics_write_number(family->kind, number, out);
}

static void
metrics_write_numbers(const struct metrics_row *family, const struct metrics_row *row, const char *netns, const uint64_t *numbers,
    struct buffer *out)
{
	for (size_t i = 0; i < row->count; i++) {
		const char *value;

		if (row->seen && numbers[i] == 0)
			continue;
		value = row->text != NULL ? row->text(i) : row->value;
		/* An enum's value that has no name is never counted. */
		if (value != NULL || family->label == NULL)
			metrics_write_value(family, netns, value, numbers[i], out);
	}
}

static void
metrics_write_info(const struct metrics_row *row, const struct metrics *metrics, struct buffer *out)
{
	buffer_printf(out, METRICS_PREFIX "%s{", row->name);
	row->info(metrics, out);
	buffer_append_string(out, "} 1\n");
}

/* For a namespace the numbers stand in its own account, at the same place as in metrics->netns. */
static void
metrics_write_netns(const struct metrics_row *family, const struct metrics_row *row, const struct metrics *metrics, struct buffer *out)
{
	const struct account_netns *netns;
	size_t offset = row->offset - offsetof(struct metrics, netns);

	if (row->count > 0)
		LIST_FOREACH(netns, metrics->namespaces, next)
			metrics_write_numbers(family, row, netns->name, (const uint64_t *)((const char *)&netns->shown + offset), out);
}

static void
metrics_write_row(const struct metrics_row *family, const struct metrics_row *row, const struct metrics *metrics,
    struct buffer *out)
{
	if (row == family)
		metrics_write_head(family, out);
	if (row->info != NULL)
		metrics_write_info(row, metrics, out);
	else if (family->netns)
		metrics_write_netns(family, row, metrics, out);
	else
		metrics_write_numbers(family, row, NULL, (const uint64_t *)((const char *)metrics + row->offset), out);
}

void
metrics_write(const struct metrics *metrics, struct buffer *out)
{
	const struct metrics_row *family = &metrics_rows[0];

	for (size_t i = 0; i < metrics_nrows; i++) {
		const struct metrics_row *row = &metrics_rows[i];

		if (row->name != NULL)
			family = row;
		if (row->group == NULL && (!family->netns || metrics->namespaces != NULL))
			metrics_write_row(family, row, metrics, out);
	}
}
