/*
 * The table of metrics and its text form: see metrics.h.
 *
 * Own code, since there is no library for it that is kept: the C client for
 * Prometheus is abandoned, and all that would be taken from it is printf.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
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
metrics_class(size_t class)
{
	return class != SINK_CLASS_NONE ? sink_class_name((enum sink_class)class) : NULL;
}

static const char *
metrics_way(size_t way)
{
	return way != RECORD_WAY_UNSPECIFIED ? record_enum_text(RECORD_WAY, way) : NULL;
}

const struct metrics_row metrics_rows[] = {
#define METRIC(type, source, member, title, words) { .kind = METRICS_##type, .name = title, .help = words,	\
	.offset = offsetof(struct metrics, source.member), .count = METRICS_SIZE(source, member) },
#define FAMILY(type, title, by, words) { .kind = METRICS_##type, .name = title, .label = by, .help = words },
#define OF(source, member, text_, words) { .value = text_, .help = words,					\
	.offset = offsetof(struct metrics, source.member), .count = METRICS_SIZE(source, member) },
#define EACH(source, member, function, words) { .text = function, .help = words,				\
	.offset = offsetof(struct metrics, source.member), .count = METRICS_SIZE(source, member) },
#define SEEN(source, member, function, words) { .text = function, .seen = true, .help = words,			\
	.offset = offsetof(struct metrics, source.member), .count = METRICS_SIZE(source, member) },
#include "shipper/metrics.def"
};

const size_t metrics_nrows = sizeof(metrics_rows) / sizeof(metrics_rows[0]);

/* --- text ------------------------------------------------------------------------- */

static void
metrics_escape(struct buffer *out, const char *text, const char *special)
{
	for (; *text != '\0'; text++) {
		char pair[2] = { '\\', *text == '\n' ? 'n' : *text };

		if (strchr(special, *text) != NULL)
			buffer_append(out, pair, sizeof(pair));
		else
			buffer_append(out, text, 1);
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

static bool
metrics_is_nano(enum metrics_kind kind)
{
	return kind == METRICS_COUNTER_NANO || kind == METRICS_GAUGE_NANO;
}

static void
metrics_write_head(const struct metrics_row *family, struct buffer *out)
{
	bool counter = family->kind == METRICS_COUNTER || family->kind == METRICS_COUNTER_NANO;

	buffer_printf(out, "# HELP " METRICS_PREFIX "%s ", family->name);
	metrics_escape_help(out, family->help);
	buffer_printf(out, "\n# TYPE " METRICS_PREFIX "%s %s\n", family->name, counter ? "counter" : "gauge");
}

static void
metrics_write_number(enum metrics_kind kind, uint64_t number, struct buffer *out)
{
	if (metrics_is_nano(kind))
		buffer_printf(out, " %" PRIu64 ".%09" PRIu64 "\n", number / SECOND, number % SECOND);
	else
		buffer_printf(out, " %" PRIu64 "\n", number);
}

static void
metrics_write_value(const struct metrics_row *family, const char *value, uint64_t number, struct buffer *out)
{
	buffer_printf(out, METRICS_PREFIX "%s", family->name);
	if (family->label != NULL) {
		buffer_printf(out, "{%s=\"", family->label);
		metrics_escape_label(out, value);
		buffer_append_string(out, "\"}");
	}
	metrics_write_number(family->kind, number, out);
}

static void
metrics_write_row(const struct metrics_row *family, const struct metrics_row *row, const struct metrics *metrics,
    struct buffer *out)
{
	const uint64_t *numbers = (const uint64_t *)((const char *)metrics + row->offset);

	for (size_t i = 0; i < row->count; i++) {
		const char *value = row->text != NULL ? row->text(i) : row->value;

		if ((value != NULL || family->label == NULL) && (numbers[i] > 0 || !row->seen))
			metrics_write_value(family, value, numbers[i], out);
	}
}

void
metrics_write(const struct metrics *metrics, struct buffer *out)
{
	const struct metrics_row *family = NULL;

	for (size_t i = 0; i < metrics_nrows; i++) {
		if (metrics_rows[i].name != NULL) {
			family = &metrics_rows[i];
			metrics_write_head(family, out);
		}
		metrics_write_row(family, &metrics_rows[i], metrics, out);
	}
}
