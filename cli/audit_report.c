/* The report: for people, or as JSON. */
#include <stdlib.h>
#include <string.h>

#include "cli/audit.h"
#include "common/buffer.h"
#include "common/fd.h"

/* Collectors that are the same in every property but for the namespace that they read. */
struct report_group {
	char	*signature;
	size_t	 first, count;
};

static struct {
	struct report_group	*groups;
	size_t			 count;
} report;

static const char report_marks[] = {
	[AUDIT_HOLDS] = '+', [AUDIT_DIFFERS] = '!', [AUDIT_UNREAD] = '?', [AUDIT_NOTED] = '-', [AUDIT_HIDDEN] = '~',
};

static bool
report_has_row(const struct audit_process *process, enum audit_property property)
{
	for (size_t i = 0; i < audit_rows_count; i++)
		if (audit_rows[i].kind == process->kind && audit_rows[i].property == property)
			return true;
	return false;
}

/* --- for people ---------------------------------------------------------------------- */

static void
report_declared(const struct audit_row *row, const struct audit_process *process)
{
	cleanup_free char *expected = audit_expected(row, process);

	if (row->test == AUDIT_UNSEEN) {
		printf("      declared: %s\n", row->why);
		return;
	}
	printf("      declared: %s ", audit_test_name(row->test));
	audit_print(expected[0] != '\0' ? expected : "nothing");
	printf("\n      because:  %s\n", row->why);
}

static void
report_property(const struct audit_process *process, enum audit_property property)
{
	enum audit_mark mark = audit_mark(process, property);
	const char *value = process->values[property];

	printf("  %c %-30s ", report_marks[mark], audit_property_name(property));
	audit_print(value == NULL ? "could not be read" : value[0] != '\0' ? value : "none");
	putchar('\n');
	for (size_t i = 0; i < audit_rows_count; i++) {
		const struct audit_row *row = &audit_rows[i];

		if (row->kind == process->kind && row->property == property && row->test != AUDIT_SHOWN &&
		    (audit.verbose || audit_check(row, process) >= AUDIT_DIFFERS))
			report_declared(row, process);
	}
	if (mark == AUDIT_UNREAD)
		printf("      do:       look again, with nothing that traces it; if it stays so: ps -o stat,wchan -p %d\n", (int)process->pid);
	else if ((mark == AUDIT_DIFFERS || mark == AUDIT_HIDDEN) && audit_property_remedy(property)[0] != '\0')
		printf("      do:       %s\n", audit_property_remedy(property));
}

static void
report_properties(const struct audit_process *process, bool all, bool alike)
{
	for (enum audit_property property = 0; property < AUDIT_PROPERTIES && !process->gone; property++) {
		enum audit_mark mark;

		if (!report_has_row(process, property) || (alike && property == AUDIT_READS))
			continue;
		mark = audit_mark(process, property);
		if (all || mark == AUDIT_DIFFERS || mark == AUDIT_UNREAD || property == AUDIT_READS)
			report_property(process, property);
	}
}

static void
report_head(const struct audit_process *process)
{
	printf("%s %d, which calls itself \"", audit_kind_name(process->kind), (int)process->pid);
	audit_print(process->title);
	printf("\"%s\n", process->gone ? ": ended while it was looked at" : "");
}

/* --- groups ----------------------------------------------------------------------------- */

static void
report_add(size_t index)
{
	char *signature = audit_signature(&audit.processes[index]);
	struct buffer grown = { 0 };

	for (size_t i = 0; i < report.count; i++)
		if (strcmp(report.groups[i].signature, signature) == 0) {
			report.groups[i].count++;
			free(signature);
			return;
		}
	buffer_append(&grown, report.groups, report.count * sizeof(*report.groups));
	buffer_append(&grown, &(struct report_group){ signature, index, 1 }, sizeof(struct report_group));
	free(report.groups);
	report.groups = (void *)grown.bytes;
	report.count++;
}

static void
report_pids(const struct report_group *group)
{
	printf("  processes:");
	for (size_t i = group->first; i < audit.count; i++) {
		cleanup_free char *signature = audit.processes[i].kind == AUDIT_COLLECTOR ? audit_signature(&audit.processes[i]) : NULL;

		if (signature != NULL && strcmp(signature, group->signature) == 0)
			printf(" %d", (int)audit.processes[i].pid);
	}
	putchar('\n');
}

/* Alike ones once; of those that differ only in what. */
static void
report_group(const struct report_group *group)
{
	const struct audit_process *first = &audit.processes[group->first];

	if (group->count == 1) {
		report_head(first);
	} else {
		printf("%zu collectors, alike but for the namespace that each reads\n", group->count);
		if (audit_differs(first))
			report_pids(group);
	}
	report_properties(first, !audit_differs(first), group->count > 1);
}

static void
report_collectors(void)
{
	for (size_t i = 0; i < audit.count; i++) {
		if (audit.processes[i].kind != AUDIT_COLLECTOR)
			continue;
		if (!audit.verbose) {
			report_add(i);
			continue;
		}
		report_head(&audit.processes[i]);
		report_properties(&audit.processes[i], true, false);
	}
	for (size_t i = 0; i < report.count; i++) {
		report_group(&report.groups[i]);
		free(report.groups[i].signature);
	}
	free(report.groups);
}

/* --- the sum of it ------------------------------------------------------------------------- */

static size_t
report_count(enum audit_mark wanted)
{
	size_t count = 0;

	for (size_t i = 0; i < audit.count; i++)
		for (enum audit_property property = 0; property < AUDIT_PROPERTIES && !audit.processes[i].gone; property++)
			count += audit_mark(&audit.processes[i], property) == wanted;
	return count;
}

static bool
report_saw_all(void)
{
	for (size_t i = 0; i < audit.count; i++)
		if (audit.processes[i].gone)
			return false;
	return report_count(AUDIT_UNREAD) == 0 && audit_the(AUDIT_COLLECTOR) != NULL;
}

static void
report_end(void)
{
	size_t differ = report_count(AUDIT_DIFFERS), unread = report_count(AUDIT_UNREAD), hidden = report_count(AUDIT_HIDDEN);

	if (audit.ended > 0)
		printf("%zu collectors ended while they were looked at\n", audit.ended);
	if (differ > 0)
		puts("What is declared follows the configuration: is it the one that these processes were started with (--config, or keys as options)?");
	printf("%zu processes, %zu properties hold, %zu differ, %zu could not be read, %zu nobody can see from outside: %s\n", audit.count,
	    report_count(AUDIT_HOLDS), differ, unread, hidden, differ > 0 ? "NOT AS DECLARED" : !report_saw_all() ? "not all was seen" :
	    "all that can be seen is as declared");
}

/* --- JSON ------------------------------------------------------------------------------------ */

static const char *
report_mark_name(enum audit_mark mark)
{
	static const char *const names[] = { "holds", "differs", "unread", "noted", "unseen" };

	return names[mark];
}

static void
report_json_declared(const struct audit_process *process, enum audit_property property)
{
	const char *separator = ",\"declared\":[";

	for (size_t i = 0; i < audit_rows_count; i++) {
		const struct audit_row *row = &audit_rows[i];
		cleanup_free char *expected = NULL;

		if (row->kind != process->kind || row->property != property || row->test == AUDIT_SHOWN)
			continue;
		expected = audit_expected(row, process);
		printf("%s{\"test\":\"%s\",\"words\":", separator, audit_test_name(row->test));
		audit_print(expected);
		printf(",\"why\":");
		audit_print(row->why);
		putchar('}');
		separator = ",";
	}
	if (separator[1] == '\0')
		putchar(']');
}

static void
report_json_property(const struct audit_process *process, enum audit_property property)
{
	enum audit_mark mark = audit_mark(process, property);

	printf("{\"property\":");
	audit_print(audit_property_name(property));
	printf(",\"mark\":\"%s\",\"value\":", report_mark_name(mark));
	if (process->values[property] != NULL)
		audit_print(process->values[property]);
	else
		printf("null");
	if (audit.verbose || mark != AUDIT_HOLDS)
		report_json_declared(process, property);
	if (mark == AUDIT_DIFFERS) {
		printf(",\"remedy\":");
		audit_print(audit_property_remedy(property));
	}
	putchar('}');
}

static void
report_json_process(const struct audit_process *process)
{
	const char *separator = "";

	printf("{\"kind\":\"%s\",\"pid\":%d,\"title\":", audit_kind_name(process->kind), (int)process->pid);
	audit_print(process->title);
	printf(",\"ended\":%s,\"properties\":[", process->gone ? "true" : "false");
	for (enum audit_property property = 0; property < AUDIT_PROPERTIES && !process->gone; property++) {
		if (!report_has_row(process, property))
			continue;
		fputs(separator, stdout);
		report_json_property(process, property);
		separator = ",\n  ";
	}
	printf("]}");
}

static void
report_json(void)
{
	printf("{\"differ\":%zu,\"unread\":%zu,\"hold\":%zu,\"unseen\":%zu,\"ended\":%zu,\n \"processes\":[", report_count(AUDIT_DIFFERS),
	    report_count(AUDIT_UNREAD), report_count(AUDIT_HOLDS), report_count(AUDIT_HIDDEN), audit.ended);
	for (size_t i = 0; i < audit.count; i++) {
		fputs(i > 0 ? ",\n " : "", stdout);
		report_json_process(&audit.processes[i]);
	}
	puts("]}");
}

void
audit_report(void)
{
	if (audit.json) {
		report_json();
		return;
	}
	puts("+ as declared   ! NOT as declared   ? could not be read   ~ nobody can see it from outside   - shown only");
	for (size_t i = 0; i < audit.count; i++) {
		if (audit.processes[i].kind == AUDIT_COLLECTOR)
			continue;
		report_head(&audit.processes[i]);
		report_properties(&audit.processes[i], true, false);
	}
	report_collectors();
	report_end();
}
