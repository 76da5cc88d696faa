/* What may stand in tcpdiag.conf and on a command line, and what is said about the rest. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/log.h"
#include "tests/unit/folder.h"

enum { WENT_ON = 200, ARGUMENTS_MAX = 16, OUTPUT_MAX = 65536 };

static struct config config;
static char error[CONFIG_ERROR_MAX];
static char folder[FOLDER_MAX], file[FOLDER_MAX + 8];

static int
setup(void **state)
{
	config_init(&config);
	folder_make(folder, "test_config");
	snprintf(file, sizeof(file), "%s/conf", folder);
	close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	error[0] = '\0';
	return 0;
}

static int
teardown(void **state)
{
	config_free(&config);
	folder_remove(folder);
	return 0;
}

static void
write_file(const char *bytes, size_t length)
{
	int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_int_equal(write(fd, bytes, length), length);
	close(fd);
}

static void
write_text(const char *text)
{
	write_file(text, strlen(text));
}

static int
read_text(const char *text)
{
	write_text(text);
	return config_read(&config, file, error, sizeof(error));
}

static int
set(const char *key, const char *value)
{
	return config_set(&config, key, value, error, sizeof(error));
}

/* The error is FILE:LINE: sentence. */
static void
assert_error_at(unsigned int line, const char *sentence)
{
	char expected[CONFIG_ERROR_MAX];

	snprintf(expected, sizeof(expected), "%s:%u: %s", file, line, sentence);
	assert_string_equal(error, expected);
}

static void
assert_list(const struct config_list *list, const char *expected)
{
	char text[256] = "";
	size_t i;

	for (i = 0; i < list->count; i++) {
		strcat(text, i > 0 ? "|" : "");
		strcat(text, list->items[i]);
	}
	assert_string_equal(text, expected);
}

/* --- values -------------------------------------------------------------- */

static void
test_durations(void **state)
{
	static const struct {
		const char	*text;
		uint64_t	 ns;
	} good[] = {
		{ "0", 0 }, { "0s", 0 }, { "1ns", 1 }, { "7us", 7000 }, { "500ms", 500 * MILLISECOND }, { "10s", 10 * SECOND },
		{ "2m", 2 * MINUTE }, { "1h", HOUR }, { "18446744073709551615ns", UINT64_MAX },
	};
	static const char *const bad[] = {
		"", "10", "s", "-1s", "+1s", " 1s", "1 s", "1.5s", "1S", "1sec", "1d", "0x1s", "18446744073709551616ns",
		"18446744073709551615s", "1s1s",
	};
	uint64_t ns;
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(config_duration(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(config_duration(bad[i], &ns), -1);
}

static void
test_sizes(void **state)
{
	static const char *const bad[] = { "", "k", "1K", "1kB", "1KB", "1 KiB", "-1", "17179869184GiB", "1e3" };
	uint64_t bytes;
	size_t i;

	assert_int_equal(config_size("512", &bytes), 0);
	assert_int_equal(bytes, 512);
	assert_int_equal(config_size("64KiB", &bytes), 0);
	assert_int_equal(bytes, 65536);
	assert_int_equal(config_size("3MiB", &bytes), 0);
	assert_int_equal(bytes, 3 << 20);
	assert_int_equal(config_size("17179869183GiB", &bytes), 0);
	assert_int_equal(bytes, UINT64_C(17179869183) << 30);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(config_size(bad[i], &bytes), -1);
}

static void
test_defaults(void **state)
{
	assert_int_equal(config.interval, 10 * SECOND);
	assert_int_equal(config.batch_bytes, 768 * 1024);
	assert_int_equal(config.batch_rows, 10000);
	assert_false(config.file_fsync);
	assert_string_equal(config.sink, "stdout");
	assert_string_equal(config.label, "");
	assert_list(&config.state, "all");
	assert_list(&config.netns, "");
}

static void
test_booleans(void **state)
{
	static const char *const yes[] = { "yes", "true", "on" };
	static const char *const no[] = { "no", "false", "off" };
	size_t i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(set("file-fsync", yes[i]), 0);
		assert_true(config.file_fsync);
		assert_int_equal(set("file-fsync", no[i]), 0);
		assert_false(config.file_fsync);
	}
	assert_int_equal(set("file-fsync", "maybe"), -1);
	assert_string_equal(error, "file-fsync: 'maybe' is not yes or no");
	assert_int_equal(set("file-fsync", ""), -1);
}

static void
test_bounds_are_named(void **state)
{
	assert_int_equal(set("interval", "99ms"), -1);
	assert_string_equal(error, "interval: 99ms is too small: it can be 100ms to 24h");
	assert_int_equal(set("interval", "100ms"), 0);
	assert_int_equal(set("interval", "24h"), 0);
	assert_int_equal(set("interval", "25h"), -1);
	assert_string_equal(error, "interval: 25h is too large: it can be 100ms to 24h");
	assert_int_equal(config.interval, 24 * HOUR);
	assert_int_equal(set("ring-size", "1KiB"), -1);
	assert_string_equal(error, "ring-size: 1KiB is too small: it can be 64KiB to 64MiB");
	assert_int_equal(set("batch-rows", "0"), -1);
	assert_string_equal(error, "batch-rows: 0 is too small: it can be 1 to 10000000");
}

static void
test_bad_numbers_say_what_is_wanted(void **state)
{
	assert_int_equal(set("interval", "10"), -1);
	assert_string_equal(error, "interval: '10' is not a number and a unit (ns, us, ms, s, m or h)");
	assert_int_equal(set("ring-size", "64K"), -1);
	assert_string_equal(error, "ring-size: '64K' is not a number of bytes (or with KiB, MiB or GiB)");
	assert_int_equal(set("batch-rows", "many"), -1);
	assert_string_equal(error, "batch-rows: 'many' is not a number");
}

static void
test_text_must_be_clean(void **state)
{
	assert_int_equal(set("label", "  caf\xc3\xa9 = # 1\t"), 0);
	assert_string_equal(config.label, "caf\xc3\xa9 = # 1");
	assert_int_equal(set("label", "a\033[31m"), -1);
	assert_string_equal(error, "label: the value is not UTF-8, or has a control character");
	assert_int_equal(set("label", "\xff"), -1);
	assert_string_equal(config.label, "caf\xc3\xa9 = # 1");
	assert_int_equal(set("label", ""), 0);
	assert_string_equal(config.label, "");
}

static void
test_unknown_keys_get_a_suggestion(void **state)
{
	assert_int_equal(set("intervall", "10s"), -1);
	assert_string_equal(error, "unknown key 'intervall' (did you mean 'interval'?)");
	assert_int_equal(set("batch_rows", "1"), -1);
	assert_string_equal(error, "unknown key 'batch_rows' (did you mean 'batch-rows'?)");
	/* The nearest, and not the first that is near. */
	assert_int_equal(set("batch-ags", "1"), -1);
	assert_string_equal(error, "unknown key 'batch-ags' (did you mean 'batch-age'?)");
	assert_int_equal(set("zzz", "1"), -1);
	assert_string_equal(error, "unknown key 'zzz'");
	assert_int_equal(set("", "1"), -1);
	assert_string_equal(error, "unknown key ''");
	/* A key is its whole name. */
	assert_int_equal(set("batch", "1"), -1);
	assert_int_equal(set("INTERVAL", "1s"), -1);
}

static void
test_lists_add_within_a_source_and_replace_across(void **state)
{
	assert_int_equal(set("netns", "a, b"), 0);
	assert_int_equal(set("netns", "c"), 0);
	assert_list(&config.netns, "a|b|c");
	assert_int_equal(read_text("netns = x\nnetns = y,z\n"), 0);
	assert_list(&config.netns, "x|y|z");
	assert_int_equal(set("netns", "o"), 0);
	assert_list(&config.netns, "o");
	assert_int_equal(set("netns", ""), 0);
	assert_list(&config.netns, "o");
	assert_int_equal(read_text("netns =\n"), 0);
	assert_list(&config.netns, "");
	/* The default is a source of its own. */
	assert_int_equal(set("state", "listen"), 0);
	assert_list(&config.state, "listen");
}

static void
test_properties_are_kept_by_name(void **state)
{
	static char text[OUTPUT_MAX];
	FILE *out;

	assert_int_equal(read_text("kafka.rdkafka.linger.ms = 50\nkafka.rdkafka.debug = broker,topic\n"), 0);
	assert_int_equal(set("kafka.rdkafka.linger.ms", " 7 "), 0);
	assert_list(&config.kafka_rdkafka, "linger.ms=7|debug=broker,topic");
	out = fmemopen(text, sizeof(text), "w");
	config_print(&config, out, 'S');
	fclose(out);
	assert_non_null(strstr(text, "\nkafka.rdkafka.linger.ms = 7\nkafka.rdkafka.debug = broker,topic\n"));
	assert_int_equal(set("kafka.rdkafka.", "x"), -1);
	assert_string_equal(error, "kafka.rdkafka.: the property's name is missing");
}

static void
test_empty_items_are_refused(void **state)
{
	static const char *const bad[] = { ",", "a,", ",a", "a,,b", "a, ,b" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(set("netns", bad[i]), -1);
		assert_string_equal(error, "netns: there is nothing before or after a comma");
	}
}

/* --- the file ------------------------------------------------------------ */

static void
test_file_is_read(void **state)
{
	assert_int_equal(read_text("# comment\n\n  # another\ninterval=5s\n\tsink =  file:/a b=c#d \nlog-level = debug"), 0);
	assert_int_equal(config.interval, 5 * SECOND);
	assert_string_equal(config.sink, "file:/a b=c#d");
	assert_string_equal(config.log_level, "debug");
}

static void
test_file_errors_name_the_line(void **state)
{
	assert_int_equal(read_text("interval = 5s\n\nintrval = 5s\n"), -1);
	assert_error_at(3, "unknown key 'intrval' (did you mean 'interval'?)");
	assert_int_equal(read_text("# x\ninterval 5s\n"), -1);
	assert_error_at(2, "'interval 5s' is not 'key = value'");
	assert_int_equal(read_text("interval = soon"), -1);
	assert_error_at(1, "interval: 'soon' is not a number and a unit (ns, us, ms, s, m or h)");
	assert_int_equal(read_text("= 5s\n"), -1);
	assert_error_at(1, "unknown key ''");
	assert_int_equal(read_text("interval = 5s\r\n"), -1);
	assert_error_at(1, "interval: the value is not UTF-8, or has a control character");
}

static void
test_same_key_twice_in_a_file_is_an_error(void **state)
{
	assert_int_equal(read_text("interval = 5s\nsink = null\ninterval = 5s\n"), -1);
	assert_error_at(3, "'interval' is set in line 1 already");
	assert_int_equal(read_text("interval = 6s\n"), 0);
}

static void
test_nul_bytes_are_refused(void **state)
{
	static const char bytes[] = "interval = 5s\0 and more";

	write_file(bytes, sizeof(bytes) - 1);
	assert_int_equal(config_read(&config, file, error, sizeof(error)), -1);
	assert_error_at(1, "the line has a NUL byte");
}

static void
test_unreadable_files_are_named(void **state)
{
	assert_int_equal(config_read(&config, "/nonexistent/tcpdiag.conf", error, sizeof(error)), -1);
	assert_string_equal(error, "/nonexistent/tcpdiag.conf: cannot be read: No such file or directory");
	assert_int_equal(config_read(&config, "/tmp", error, sizeof(error)), -1);
	assert_string_equal(error, "/tmp: cannot be read: Is a directory");
}

/* Every key has a value other than its default that survives. */
static void
test_what_is_printed_can_be_read(void **state)
{
	static char first[OUTPUT_MAX], second[OUTPUT_MAX];
	FILE *out;

	assert_int_equal(read_text("interval = 1500ms\nnetns = a,b\nlabel = x = y\nfile-fsync = on\nbatch-bytes = 1000000\n"
	    "ring-size = 128KiB\nstate =\nbatch-age = 0\n"), 0);
	out = fmemopen(first, sizeof(first), "w");
	config_print(&config, out, '\0');
	fclose(out);
	assert_non_null(strstr(first, "interval = 1500ms\n"));
	assert_non_null(strstr(first, "netns = a,b\n"));
	assert_non_null(strstr(first, "label = x = y\n"));
	assert_non_null(strstr(first, "file-fsync = yes\n"));
	assert_non_null(strstr(first, "batch-bytes = 1000000\n"));
	assert_non_null(strstr(first, "ring-size = 128KiB\n"));
	assert_non_null(strstr(first, "\nstate =\n"));
	assert_non_null(strstr(first, "batch-age = 0\n"));
	config_free(&config);
	config_init(&config);
	assert_int_equal(read_text(first), 0);
	out = fmemopen(second, sizeof(second), "w");
	config_print(&config, out, '\0');
	fclose(out);
	assert_string_equal(first, second);
}

static void
test_programs_print_their_own_keys(void **state)
{
	static char text[OUTPUT_MAX];
	FILE *out = fmemopen(text, sizeof(text), "w");

	config_print(&config, out, 'S');
	fclose(out);
	assert_null(strstr(text, "interval"));
	assert_non_null(strstr(text, "format = auto\n"));
	assert_non_null(strstr(text, "log-level = info\n"));
}

static void
test_keys_can_be_listed(void **state)
{
	size_t i, keys = 0, lines = 0;
	static char text[OUTPUT_MAX];
	FILE *out = fmemopen(text, sizeof(text), "w");
	char *c;

	config_print(&config, out, '\0');
	fclose(out);
	for (c = text; *c != '\0'; c++)
		lines += *c == '\n';
	/* A prefix (its name ends with a dot) has a line for each property that is set. */
	for (i = 0; config_key(i) != NULL; i++)
		keys += config_key(i)[strlen(config_key(i)) - 1] != '.';
	assert_int_equal(keys, lines);
	assert_string_equal(config_key(0), "interval");
}

/* --- the command line ---------------------------------------------------- */

/* What a run of config_parse left behind: its process ends, as a program would. */
static struct {
	int	code;
	char	out[OUTPUT_MAX];
	char	err[OUTPUT_MAX];
} run;

static int
note_once(void *context, const char *value)
{
	printf("once\n");
	return 0;
}

static int
note_parent(void *context, const char *value)
{
	printf("parent %s\n", value);
	return strcmp(value, "bad") == 0 ? EXIT_CODE_USAGE : 0;
}

static const char *
check_format(void *context, const struct config *checked, char *why, size_t size)
{
	if (strcmp(checked->format, "unknown") != 0)
		return NULL;
	snprintf(why, size, "unknown format '%s'", checked->format);
	return "format";
}

static void
parse_and_show(char letter, int argc, char **argv, bool with_operands)
{
	static const struct config_option options[] = {
		{ "once", '1', NULL, "take one snapshot", note_once },
		{ "parent-fd", 0, "N", "internal", note_parent },
		{ NULL, 0, NULL, NULL, NULL },
	};
	const struct config_program program = {
		.name = "prog", .usage = "[options]", .about = "Does things.", .letter = letter, .options = options,
		.check = check_format,
	};
	int i, operands = 0, code;

	code = config_parse(&config, &program, argc, argv, with_operands ? &operands : NULL);
	if (code == -1) {
		printf("interval %llu sink %s level %s operands", (unsigned long long)(config.interval / MILLISECOND), config.sink,
		    config.log_level);
		for (i = operands; with_operands && i < argc; i++)
			printf(" [%s]", argv[i]);
		printf("\n");
	}
	fflush(stdout);
	config_free(&config);
	_exit(code == -1 ? WENT_ON : code);
}

static void
slurp(int fd, char *to)
{
	ssize_t n = pread(fd, to, OUTPUT_MAX - 1, 0);

	assert_true(n >= 0);
	to[n] = '\0';
	close(fd);
}

static void
parse_as(char letter, bool with_operands, ...)
{
	int out = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC), argc = 1, status;
	char *argv[ARGUMENTS_MAX] = { (char *)(uintptr_t)"prog" };
	va_list arguments;
	pid_t pid;

	va_start(arguments, with_operands);
	while ((argv[argc] = va_arg(arguments, char *)) != NULL)
		argc++;
	va_end(arguments);
	pid = fork();
	if (pid == 0) {
		dup2(out, STDOUT_FILENO);
		dup2(err, STDERR_FILENO);
		parse_and_show(letter, argc, argv, with_operands);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	run.code = WEXITSTATUS(status);
	slurp(out, run.out);
	slurp(err, run.err);
}

#define parse(...)	parse_as('\0', true, __VA_ARGS__, NULL)

static void
assert_refused(int code, const char *message)
{
	assert_string_equal(run.err, message);
	assert_string_equal(run.out, "");
	assert_int_equal(run.code, code);
}

static void
test_options_win_over_the_file(void **state)
{
	write_text("interval = 5s\nsink = null\n");
	parse("--interval=3s", "--config", file, "--log-level", "debug");
	assert_string_equal(run.out, "interval 3000 sink null level debug operands\n");
	assert_string_equal(run.err, "");
	assert_int_equal(run.code, WENT_ON);
}

static void
test_own_options_and_operands(void **state)
{
	parse("one", "--once", "-", "--parent-fd", "7", "two", "-1", "--", "--once");
	assert_string_equal(run.out, "once\nparent 7\nonce\ninterval 10000 sink stdout level info operands [one] [-] [two] [--once]\n");
	parse("--parent-fd=bad", "--sink", "x");
	assert_string_equal(run.out, "parent bad\n");
	assert_int_equal(run.code, EXIT_CODE_USAGE);
	parse_as('\0', false, "--once", "stray", NULL);
	assert_refused(EXIT_CODE_USAGE, "prog: unexpected argument 'stray' (see --help)\n");
}

static void
test_bad_options_are_named(void **state)
{
	static const struct {
		const char	*option;
		const char	*message;
	} bad[] = {
		{ "--intervall=3s", "prog: unknown option '--intervall' (did you mean '--interval'?)\n" },
		{ "--onec", "prog: unknown option '--onec' (did you mean '--once'?)\n" },
		{ "--verison", "prog: unknown option '--verison' (did you mean '--version'?)\n" },
		{ "--zzzzz", "prog: unknown option '--zzzzz' (see --help)\n" },
		{ "--interva", "prog: unknown option '--interva' (did you mean '--interval'?)\n" },
		{ "-x", "prog: unknown option '-x' (see --help)\n" },
		{ "-1x", "prog: unknown option '-1x' (see --help)\n" },
		{ "--=", "prog: unknown option '--=' (see --help)\n" },
		{ "--interval", "prog: option '--interval' needs a value\n" },
		{ "--config", "prog: option '--config' needs a value\n" },
		{ "--once=yes", "prog: option '--once' takes no value\n" },
		{ "--interval=", "prog: --interval: '' is not a number and a unit (ns, us, ms, s, m or h)\n" },
		{ "--log-level=loud", "prog: --log-level: 'loud' is not error, warning, notice, info or debug\n" },
		{ "--format=unknown", "prog: --format: unknown format 'unknown'\n" },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		parse(bad[i].option);
		assert_refused(EXIT_CODE_USAGE, bad[i].message);
	}
}

static void
test_a_bad_file_is_a_configuration_error(void **state)
{
	char message[256];

	parse("--config=/nonexistent/x");
	assert_refused(EXIT_CODE_CONFIG, "prog: /nonexistent/x: cannot be read: No such file or directory\n");
	write_text("\nformat = unknown\n");
	parse("--config", file);
	snprintf(message, sizeof(message), "prog: %s:2: format: unknown format 'unknown'\n", file);
	assert_refused(EXIT_CODE_CONFIG, message);
	/* What the command line replaces is not used, so not wrong. */
	parse("--config", file, "--format", "csv");
	assert_int_equal(run.code, WENT_ON);
	parse("--config", file, "--format", "unknown");
	assert_refused(EXIT_CODE_USAGE, "prog: --format: unknown format 'unknown'\n");
}

static void
test_other_programs_keys(void **state)
{
	write_text("interval = 5s\nformat = csv\n");
	parse_as('S', true, "--config", file, NULL);
	assert_int_equal(run.code, WENT_ON);
	parse_as('S', true, "--interval", "5s", NULL);
	assert_refused(EXIT_CODE_USAGE, "prog: option '--interval' is not for prog, which does not read that key\n");
	parse_as('N', true, "--interval", "5s", NULL);
	assert_int_equal(run.code, WENT_ON);
	/* A typing error in the other's key is found by both. */
	write_text("formatt = csv\n");
	parse_as('N', true, "--config", file, NULL);
	assert_int_equal(run.code, EXIT_CODE_CONFIG);
}

static void
test_check_config(void **state)
{
	parse("--check-config", "--interval", "5s");
	assert_string_equal(run.out, "");
	assert_string_equal(run.err, "");
	assert_int_equal(run.code, 0);
	parse("--format", "unknown", "--check-config");
	assert_refused(EXIT_CODE_USAGE, "prog: --format: unknown format 'unknown'\n");
}

static void
test_print_config(void **state)
{
	parse("--print-config", "--interval", "5s");
	assert_int_equal(run.code, 0);
	assert_non_null(strstr(run.out, "interval = 5s\n"));
	assert_non_null(strstr(run.out, "format = auto\n"));
	parse_as('N', true, "--print-config", NULL);
	assert_null(strstr(run.out, "format"));
}

static void
test_help_has_every_key_of_the_program(void **state)
{
	char option[128];
	size_t i;

	parse("-h");
	assert_int_equal(run.code, 0);
	assert_string_equal(run.err, "");
	for (i = 0; config_key(i) != NULL; i++) {
		snprintf(option, sizeof(option), "  --%s%s ", config_key(i), config_key(i)[strlen(config_key(i)) - 1] == '.' ? "NAME" : "");
		assert_non_null(strstr(run.out, option));
	}
	assert_non_null(strstr(run.out, "usage: prog [options]\nDoes things.\n"));
	assert_non_null(strstr(run.out, "  -1, --once "));
	assert_non_null(strstr(run.out, "\nWhat is read, and when:\n"));
	assert_non_null(strstr(run.out, "time between two snapshots of a namespace [10s]\n"));
	parse_as('S', true, "--help", "--zzz", NULL);
	assert_null(strstr(run.out, "--interval"));
	assert_null(strstr(run.out, "What is read"));
	assert_non_null(strstr(run.out, "--format"));
}

static void
test_version_names_the_commit(void **state)
{
	char commit[64];

	parse("--version");
	assert_int_equal(run.code, 0);
	assert_int_equal(sscanf(run.out, "prog %*d.%*d.%*d (%63[^)])\n", commit), 1);
	assert_true(strlen(commit) >= 7);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_booleans, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_numbers_say_what_is_wanted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_text_must_be_clean, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_keys_get_a_suggestion, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lists_add_within_a_source_and_replace_across, setup, teardown),
		cmocka_unit_test_setup_teardown(test_properties_are_kept_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_items_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_errors_name_the_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_same_key_twice_in_a_file_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nul_bytes_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unreadable_files_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_printed_can_be_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_programs_print_their_own_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keys_can_be_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_options_win_over_the_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own_options_and_operands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_options_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_bad_file_is_a_configuration_error, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_programs_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_print_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_help_has_every_key_of_the_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_version_names_the_commit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
