/* The metrics: each number has its row, and their text is what Prometheus reads. */
#include <ctype.h>

#include "common/version.h"
#include "shipper/metrics.h"
#include "tests/unit/shipper_parts.h"

static const struct metrics empty = { .format = "a\"b", .sink = "c" };

static char *
written(const struct metrics *metrics)
{
	struct buffer out = { 0 };

	metrics_write(metrics, &out);
	buffer_append(&out, "", 1);
	return (char *)out.bytes;
}

/* A name's value, as text; fails when there is not exactly one line of it. */
static char *
value_of(const char *text, const char *name)
{
	static char value[64];
	unsigned int found = 0;

	for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
		if (strncmp(line, name, strlen(name)) != 0 || line[strlen(name)] != ' ')
			continue;
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + strlen(name) + 1, "\n"), line + strlen(name) + 1);
		found++;
	}
	if (found != 1)
		fail_msg("%s stands there %u times", name, found);
	return value;
}

/* --- the table ----------------------------------------------------------------- */

/* Whoever adds a number to books.h, counters.h or another source finds out here that nobody would see it. */
static void
test_every_number_has_one_row(void **state)
{
	static unsigned int rows[offsetof(struct metrics, netns) / sizeof(uint64_t)];

	(void)state;
	for (size_t i = 0; i < metrics_nrows; i++)
		for (size_t n = 0; n < metrics_rows[i].count; n++)
			if (metrics_rows[i].offset < offsetof(struct metrics, netns))
				rows[metrics_rows[i].offset / sizeof(uint64_t) + n]++;
	/* These three are shown for each namespace only. */
	rows[offsetof(struct metrics, account.drained) / sizeof(uint64_t)]++;
	rows[offsetof(struct metrics, account.filtered) / sizeof(uint64_t)]++;
	rows[offsetof(struct metrics, account.dropped) / sizeof(uint64_t)]++;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i] != 1)
			fail_msg("the number at byte %zu of struct metrics has %u rows in shipper/metrics.def; books begin at byte %zu, "
			    "account at %zu, its word at %zu, rings at %zu, now at %zu", i * sizeof(uint64_t), rows[i],
			    offsetof(struct metrics, books), offsetof(struct metrics, account), offsetof(struct metrics, account.word),
			    offsetof(struct metrics, rings), offsetof(struct metrics, now));
}

static bool
is_name(const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		if (!islower((unsigned char)*c) && *c != '_' && (c == text || !isdigit((unsigned char)*c)))
			return false;
	return *text != '\0';
}

static bool
ends_with(const char *text, const char *end)
{
	return strlen(text) > strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

static void
test_families_are_sound(void **state)
{
	const struct metrics_row *family = NULL;

	(void)state;
	for (size_t i = 0; i < metrics_nrows; i++) {
		const struct metrics_row *row = &metrics_rows[i];

		if (row->group != NULL)
			continue;
		assert_true(row->help != NULL && row->help[0] != '\0');
		if (row->name == NULL) {
			assert_non_null(family);
			assert_non_null(family->label);
			assert_true((row->text != NULL) != (row->value != NULL));
			continue;
		}
		family = row;
		assert_true(is_name(row->name));
		assert_true(row->label == NULL || row->info != NULL || is_name(row->label));
		assert_int_equal(ends_with(row->name, "_total"), metrics_is_counter(row->kind));
		/* A namespace's name is the only label without bounds. */
		assert_int_equal(row->netns, strncmp(row->name, "netns_", 6) == 0 && strcmp(row->name, "netns_rings_unlisted_total") != 0);
		assert_true((row->count == 0) == (row->label != NULL));
		assert_true(row->count <= 1);
		for (size_t k = 0; k < i; k++)
			assert_true(metrics_rows[k].name == NULL || strcmp(metrics_rows[k].name, row->name) != 0);
	}
}

/* --- the text ---------------------------------------------------------------------- */

static void
test_values_are_shown(void **state)
{
	struct metrics metrics = empty;
	char *text;

	(void)state;
	metrics.books.drained = 12;
	metrics.books.dropped[BOOKS_DROP_HOSTILE] = 3;
	metrics.books.bytes = UINT64_MAX;
	metrics.account.word.dropped[COUNTERS_DROP_ABANDONED] = 5;
	metrics.account.outcomes[RECORD_OUTCOME_DEADLINE] = 2;
	metrics.now.cpu = 3 * SECOND + 5 * MILLISECOND;
	metrics.rings.fullest = SECOND / 4;
	text = written(&metrics);
	assert_string_equal(value_of(text, "tcpdiag_shipper_cpu_seconds_total"), "3.005000000");
	assert_string_equal(value_of(text, "tcpdiag_rings_fullest_ratio"), "0.250000000");
	assert_string_equal(value_of(text, "tcpdiag_snapshots_total{outcome=\"deadline\"}"), "2");
	assert_string_equal(value_of(text, "tcpdiag_snapshots_total{outcome=\"complete\"}"), "0");
	assert_non_null(strstr(text, "\ntcpdiag_build_info{version=\"" VERSION "\",commit=\""));
	assert_string_equal(value_of(text, "tcpdiag_delivery_info{format=\"a\\\"b\",sink=\"c\"}"), "1");
	assert_string_equal(value_of(text, "tcpdiag_records_drained_total"), "12");
	assert_string_equal(value_of(text, "tcpdiag_records_delivered_total"), "0");
	assert_string_equal(value_of(text, "tcpdiag_records_dropped_total{reason=\"hostile\"}"), "3");
	assert_string_equal(value_of(text, "tcpdiag_delivered_bytes_total"), "18446744073709551615");
	assert_string_equal(value_of(text, "tcpdiag_collector_sockets_dropped_total{reason=\"abandoned\"}"), "5");
	assert_string_equal(value_of(text, "tcpdiag_collector_sockets_dropped_total{reason=\"deadline\"}"), "0");
	free(text);
}

static void
test_unknown_attributes_are_shown_when_they_were_seen(void **state)
{
	struct metrics metrics = empty;
	char *text = written(&metrics);

	(void)state;
	assert_null(strstr(text, "tcpdiag_collector_attributes_unknown_total{"));
	assert_non_null(strstr(text, "# TYPE tcpdiag_collector_attributes_unknown_total counter\n"));
	free(text);
	metrics.account.word.unknown_attributes[RECORD_NEST_TOP][23] = 7;
	metrics.account.word.unknown_attributes[RECORD_NEST_TOP][31] = 1;
	metrics.account.word.unknown_attributes[RECORD_NEST_TLS][8] = 2;
	metrics.account.word.unknown_attributes[RECORD_NEST_MPTCP][31] = 3;
	text = written(&metrics);
	assert_string_equal(value_of(text, "tcpdiag_collector_attributes_unknown_total{kind=\"23\"}"), "7");
	assert_string_equal(value_of(text, "tcpdiag_collector_attributes_unknown_total{kind=\"31+\"}"), "1");
	assert_string_equal(value_of(text, "tcpdiag_collector_attributes_unknown_total{kind=\"tls-8\"}"), "2");
	assert_string_equal(value_of(text, "tcpdiag_collector_attributes_unknown_total{kind=\"mptcp-31+\"}"), "3");
	assert_null(strstr(text, "kind=\"22\""));
	free(text);
}

/* Each family once: HELP, TYPE, its values, nothing between. */
static void
test_families_stand_together(void **state)
{
	struct metrics metrics = empty;
	char *text = written(&metrics);
	const char *family = "";
	size_t heads = 0;

	(void)state;
	for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
		const char *name = line[0] == '#' ? line + 7 : line;

		assert_memory_equal(name, METRICS_PREFIX, strlen(METRICS_PREFIX));
		if (strncmp(line, "# HELP ", 7) == 0) {
			heads++;
			family = name;
			assert_memory_equal(strchr(line, '\n') + 1, "# TYPE ", 7);
		}
		assert_int_equal(strcspn(name, " {"), strcspn(family, " {"));
		assert_memory_equal(name, family, strcspn(name, " {"));
	}
	assert_true(heads > 20);
	free(text);
}

/* Each namespace by its name, whatever that is; none of it without being asked for. */
static void
test_namespaces_are_shown_when_asked_for(void **state)
{
	struct account_netns one = { .name = "blue" }, two = { .name = "q\"\\\n" };
	struct account_list list = LIST_HEAD_INITIALIZER(list);
	struct metrics metrics = empty;
	char *text = written(&metrics);

	(void)state;
	assert_null(strstr(text, "tcpdiag_netns_rings{"));
	assert_null(strstr(text, "tcpdiag_netns_records_drained_total"));
	free(text);
	one.shown.sum.drained = 41;
	one.shown.sum.word.unknown_attributes[RECORD_NEST_TOP][23] = 9;
	two.shown.sum.outcomes[RECORD_OUTCOME_COMPLETE] = 42;
	two.shown.snapshot = 1700000000 * SECOND;
	LIST_INSERT_HEAD(&list, &one, next);
	LIST_INSERT_HEAD(&list, &two, next);
	metrics.namespaces = &list;
	text = written(&metrics);
	assert_string_equal(value_of(text, "tcpdiag_netns_records_drained_total{netns=\"blue\"}"), "41");
	assert_string_equal(value_of(text, "tcpdiag_netns_records_drained_total{netns=\"q\\\"\\\\\\n\"}"), "0");
	assert_string_equal(value_of(text, "tcpdiag_netns_snapshots_total{netns=\"q\\\"\\\\\\n\",outcome=\"complete\"}"), "42");
	assert_string_equal(value_of(text, "tcpdiag_netns_snapshot_timestamp_seconds{netns=\"q\\\"\\\\\\n\"}"), "1700000000.000000000");
	assert_string_equal(value_of(text, "tcpdiag_netns_collector_attributes_unknown_total{netns=\"blue\",kind=\"23\"}"), "9");
	/* The sum has no such label. */
	assert_string_equal(value_of(text, "tcpdiag_records_drained_total"), "0");
	free(text);
}

static void
test_escaping(void **state)
{
	struct buffer out = { 0 };

	(void)state;
	metrics_escape_label(&out, "a\\b\"c\nd\xc3\xa9}");
	buffer_append(&out, "|", 1);
	metrics_escape_help(&out, "a\\b\"c\nd");
	buffer_append(&out, "", 1);
	assert_string_equal((char *)out.bytes, "a\\\\b\\\"c\\nd\xc3\xa9}|a\\\\b\"c\\nd");
	buffer_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_number_has_one_row),
		cmocka_unit_test(test_families_are_sound),
		cmocka_unit_test(test_values_are_shown),
		cmocka_unit_test(test_unknown_attributes_are_shown_when_they_were_seen),
		cmocka_unit_test(test_families_stand_together),
		cmocka_unit_test(test_namespaces_are_shown_when_asked_for),
		cmocka_unit_test(test_escaping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
