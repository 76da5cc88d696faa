/* Sets of attributes by name, and what the administrator is told of those that nobody knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/counters.h"
#include "common/log.h"
#include "common/record.h"
#include "namespacer/decoders.h"
#include "namespacer/novelty.h"

#define BIT(source)	(UINT64_C(1) << RECORD_##source)

static char error[CONFIG_ERROR_MAX];

static uint64_t
mask(const char *a, const char *b)
{
	char *words[] = { (char *)(uintptr_t)a, (char *)(uintptr_t)b };
	const struct config_list names = { words, (size_t)(a != NULL) + (b != NULL) };

	error[0] = '\0';
	return decoders_mask(&names, error, sizeof(error));
}

static void
test_names(void **state)
{
	static const struct {
		const char	*name;
		uint64_t	 bits;
	} cases[] = {
		{ "meminfo", BIT(MEMINFO) }, { "info", BIT(INFO) }, { "vegas", BIT(VEGASINFO) }, { "cong", BIT(CONG) },
		{ "tos", BIT(TOS) }, { "tclass", BIT(TCLASS) }, { "tc", BIT(TCLASS) }, { "skmem", BIT(SKMEMINFO) },
		{ "shutdown", BIT(SHUTDOWN) }, { "shut", BIT(SHUTDOWN) }, { "dctcp", BIT(DCTCPINFO) }, { "bbr", BIT(BBRINFO) },
		{ "protocol", BIT(PROTOCOL) }, { "skv6only", BIT(SKV6ONLY) }, { "mark", BIT(MARK) }, { "class_id", BIT(CLASS_ID) },
		{ "classid", BIT(CLASS_ID) }, { "md5", BIT(MD5SIG) }, { "cgroup", BIT(CGROUP_ID) }, { "sockopt", BIT(SOCKOPT) },
		{ "none", 0 }, { "INFO", BIT(INFO) },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(mask(cases[i].name, NULL), BIT(MSG) | cases[i].bits);
	assert_int_equal(mask("tos", "info"), BIT(MSG) | BIT(TOS) | BIT(INFO));
	assert_int_equal(mask("none", "info"), BIT(MSG) | BIT(INFO));
	/* An attribute is chosen with all that stands in it. */
	assert_int_equal(mask("ulp", NULL), BIT(MSG) | BIT(ULP_INFO) | UINT64_C(0xfffff) << RECORD_ULP_NAME);
}

/* Everything that a field is read from is in a set, and meminfo alone is not in the default. */
static void
test_groups(void **state)
{
	uint64_t all = mask("all", NULL), fields = BIT(MSG) | BIT(ULP_INFO) | BIT(ULP_TLS) | BIT(ULP_MPTCP);

	(void)state;
	for (int row = 0; row < RECORD_FIELDS; row++)
		if (record_fields[row].source < RECORD_SOURCES)
			fields |= UINT64_C(1) << record_fields[row].source;
	assert_int_equal(all, fields);
	assert_int_equal(mask("default", NULL), all & ~BIT(MEMINFO));
	assert_int_equal(mask(NULL, NULL), all & ~BIT(MEMINFO));
	assert_int_equal(mask("default", "meminfo"), all);
}

static void
test_an_unknown_name_is_an_error_with_the_list(void **state)
{
	(void)state;
	assert_int_equal(mask("info", "tcpinfo"), 0);
	assert_string_equal(error, "there is no decoder 'tcpinfo'; there are: default, all, none, meminfo, info, vegas, cong, tos, "
	    "tclass, skmem, shutdown, dctcp, protocol, skv6only, mark, bbr, class_id, md5, ulp, cgroup, sockopt");
}

/* --- novelties ---------------------------------------------------------------------- */

static int reader;

static int
capture_log(void **state)
{
	int ends[2];

	(void)state;
	unsetenv("JOURNAL_STREAM");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == -1)
		return -1;
	reader = ends[0];
	log_init("prog", LOG_LEVEL_INFO);
	return dup2(ends[1], STDERR_FILENO) == -1 ? -1 : 0;
}

/* The next line, or "". */
static const char *
logged(void)
{
	static char text[1024];
	ssize_t n = recv(reader, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void
test_what_is_new_is_said_once(void **state)
{
	struct protocol_taken taken = { .sequence = 1 };

	(void)state;
	novelty_note("web", &taken);
	assert_string_equal(logged(), "");
	taken.unknown[RECORD_NEST_TOP] = 1U << 23;
	taken.unknown[RECORD_NEST_TLS] = 1U << 8 | 1U << 31;
	novelty_note("web", &taken);
	assert_string_equal(logged(), "prog: web: the kernel sends attribute 23 of INET_DIAG_*, which this version does not know: "
	    "it is left out and counted\n");
	assert_string_equal(logged(), "prog: web: the kernel sends attribute 8 of TLS_INFO_*, which this version does not know: "
	    "it is left out and counted\n");
	assert_string_equal(logged(), "prog: web: the kernel sends attribute 31 or a higher one of TLS_INFO_*, which this version does not "
	    "know: it is left out and counted\n");
	/* Not again, and not for another namespace. */
	novelty_note("web", &taken);
	novelty_note("db", &taken);
	assert_string_equal(logged(), "");
	taken.unknown[RECORD_NEST_TOP] |= 1U << 24;
	novelty_note("db", &taken);
	assert_non_null(strstr(logged(), "db: the kernel sends attribute 24 of INET_DIAG_*"));
	assert_string_equal(logged(), "");
}

static void
test_what_is_longer_is_said_once(void **state)
{
	struct protocol_taken taken = { .longer = BIT(INFO) | BIT(BBRINFO) };

	(void)state;
	novelty_note("web", &taken);
	assert_string_equal(logged(), "prog: web: the kernel's INFO has more at its end than this version knows: "
	    "it is kept as field tcp_info_tail and counted\n");
	assert_string_equal(logged(), "prog: web: the kernel's BBRINFO has more at its end than this version knows: "
	    "it is left out and counted\n");
	novelty_note("web", &taken);
	assert_string_equal(logged(), "");
}

/* A collector that says anything it likes cannot fill the journal. */
static void
test_lies_are_bounded(void **state)
{
	struct protocol_taken taken;
	unsigned int lines = 0;

	(void)state;
	memset(&taken, 0xff, sizeof(taken));
	for (int i = 0; i < 1000; i++) {
		novelty_note("web", &taken);
		while (logged()[0] != '\0')
			lines++;
	}
	assert_in_range(lines, 100, RECORD_NESTS * COUNTERS_KINDS + RECORD_SOURCES);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_an_unknown_name_is_an_error_with_the_list),
		cmocka_unit_test(test_what_is_new_is_said_once),
		cmocka_unit_test(test_what_is_longer_is_said_once),
		cmocka_unit_test(test_lies_are_bounded),
	};

	return cmocka_run_group_tests(tests, capture_log, NULL);
}
