/* What the configuration's words come to: defaults that depend on each other, and one clear error for each mistake. */
#include "common/config.h"
#include "shipper/settings.h"
#include "tests/unit/shipper_parts.h"

struct fixture {
	struct config	config;
	struct settings	settings;
	char		error[CONFIG_ERROR_MAX];
};

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	config_init(&f->config);
	*state = f;
	return 0;
}

static int
end(void **state)
{
	struct fixture *f = *state;

	config_free(&f->config);
	free(f);
	return 0;
}

/* NULL-terminated pairs of key and value. */
static const char *
resolve(struct fixture *f, const char *const *pairs)
{
	config_free(&f->config);
	config_init(&f->config);
	for (; *pairs != NULL; pairs += 2)
		assert_int_equal(config_set(&f->config, pairs[0], pairs[1], f->error, sizeof(f->error)), 0);
	return settings_resolve(&f->settings, &f->config, f->error, sizeof(f->error));
}

#define WORDS(...)	(const char *const []){ __VA_ARGS__, NULL }

static void
test_the_format_depends_on_the_sink(void **state)
{
	struct fixture *f = *state;

	assert_null(resolve(f, WORDS("sink", "stderr")));
	assert_string_equal(f->settings.format->name, "table");
	assert_null(resolve(f, WORDS("sink", "file:/x")));
	assert_string_equal(f->settings.format->name, "protobuf");
	assert_string_equal(f->settings.target, "/x");
	assert_null(resolve(f, WORDS("sink", "null")));
	assert_string_equal(f->settings.format->name, "protobuf");
	assert_null(resolve(f, WORDS("sink", "stderr", "format", "csv")));
	assert_string_equal(f->settings.format->name, "csv");
}

static void
test_snapshot_ends(void **state)
{
	static const struct {
		const char	*sink, *format, *word;
		bool		 delivered;
	} cases[] = {
		{ "file:/x", "protobuf", "auto", true },
		{ "file:/x", "jsonl", "auto", true },
		{ "null", "protobuf", "auto", true },
		{ "file:/x", "csv", "auto", false },
		{ "file:/x", "tsv", "auto", false },
		{ "file:/x", "table", "auto", false },
		{ "file:/x", "protobufList", "auto", false },
		{ "file:/x", "protoJson", "auto", false },
		{ "file:/x", "protoText", "auto", false },
		{ "file:/x", "msgpack", "auto", true },
		{ "stderr", "jsonl", "auto", false },
		{ "stderr", "jsonl", "yes", true },
		{ "file:/x", "jsonl", "no", false },
		{ "file:/x", "csv", "no", false },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(resolve(f,
		    WORDS("sink", cases[i].sink, "format", cases[i].format, "snapshot-ends", cases[i].word)));
		assert_int_equal(f->settings.snapshot_ends, cases[i].delivered);
	}
}

static void
test_mistakes(void **state)
{
	char long_path[200] = "/", long_name[300] = "";
	const struct {
		const char	*key, *error;
		const char	*words[5];
	} cases[] = {
		{ "format", "parquet needs a sink of whole files, and stdout is none; file:FOLDER/ is one", { "format", "parquet" } },
		{ "format", "there is no format 'xml'; there are: auto, table, jsonl", { "format", "xml" } },
		{ "sink", "there is no sink 'kafak'; there are: stdout", { "sink", "kafak" } },
		{ "sink", "sink file needs a target", { "sink", "file" } },
		{ "snapshot-ends", "'perhaps' is not yes, no or auto", { "snapshot-ends", "perhaps", "sink", "null" } },
		{ "snapshot-ends", "format csv has no place for snapshot ends", { "snapshot-ends", "yes", "format", "csv" } },
		{ "snapshot-ends", "format protoJson has no place", { "snapshot-ends", "yes", "format", "protoJson" } },
		{ "columns", "unknown column \"nosuch\"", { "columns", "nosuch", "format", "csv" } },
		{ "columns", "format jsonl writes all fields", { "columns", "netns", "format", "jsonl" } },
		{ "socket", "'a/b' is no absolute path", { "socket", "a/b", "sink", "null" } },
		{ "socket", "'/xxx", { "socket", long_path, "sink", "null" } },
		{ "metrics", "'0:9477' is not off, unix:/PATH", { "metrics", "0:9477", "sink", "null" } },
		{ "metrics", "'x' is no absolute path", { "metrics", "unix:x", "sink", "null" } },
		{ "hostname", "the value is longer than 255 bytes", { "hostname", long_name, "sink", "null" } },
		{ "location", "the value is longer than 255 bytes", { "location", long_name, "sink", "null" } },
		{ "label", "the value is longer than 255 bytes", { "label", long_name, "sink", "null" } },
		{ "tag", "the value is longer than 255 bytes", { "tag", long_name, "sink", "null" } },
	};
	struct fixture *f = *state;

	memset(long_path + 1, 'x', sizeof(long_path) - 2);
	memset(long_name, 'x', sizeof(long_name) - 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *key = resolve(f, cases[i].words);

		assert_non_null(key);
		assert_string_equal(key, cases[i].key);
		if (strncmp(f->error, cases[i].error, strlen(cases[i].error)) != 0)
			fail_msg("'%s' does not begin with '%s'", f->error, cases[i].error);
	}
}

static void
test_metrics_are_beside_the_socket(void **state)
{
	static const struct {
		const char	*socket, *metrics, *path;
		bool		 off, remote;
	} cases[] = {
		{ "/run/tcpdiag/shipper.sock", "auto", "/run/tcpdiag/shipper.metrics.sock", false, false },
		{ "/a/b.sock", "auto", "/a/b.metrics.sock", false, false },
		{ "/a/b", "auto", "/a/b.metrics.sock", false, false },
		{ "/a/.sock", "auto", "/a/.metrics.sock", false, false },
		{ "/a/b.sock", "off", "", true, false },
		{ "/a/b.sock", "unix:/c", "/c", false, false },
		{ "/a/b.sock", "127.0.0.1:1", "", false, false },
		{ "/a/b.sock", "0.0.0.0:1", "", false, true },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(resolve(f, WORDS("socket", cases[i].socket, "metrics", cases[i].metrics)));
		assert_string_equal(f->settings.metrics.path, cases[i].path);
		assert_int_equal(f->settings.metrics.off, cases[i].off);
		assert_int_equal(f->settings.metrics.remote, cases[i].remote);
	}
}

/* --- what waits for the sink ------------------------------------------------------------- */

#define AWAY	"sink", "kafka", "kafka-brokers", "127.0.0.1:9", "kafka-topic", "t"

/* Text for this host is made in portions; what is whole only at its end, or not here, is not. */
static void
test_bytes_of_a_batch(void **state)
{
	static const struct {
		const char	*words[7];
		uint64_t	 bytes;
	} cases[] = {
		{ { "sink", "file:/x", "format", "jsonl" }, 64 * 1024 },
		{ { "sink", "stdout", "format", "csv" }, 64 * 1024 },
		{ { "sink", "file:/x", "format", "jsonl", "batch-bytes", "10KiB" }, 10 * 1024 },
		{ { "sink", "file:/x", "format", "jsonl", "file-fsync", "yes" }, 768 * 1024 },
		{ { "sink", "file:/x", "format", "protobuf" }, 768 * 1024 },
		{ { "sink", "file:/x", "format", "table" }, 768 * 1024 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(resolve(f, cases[i].words));
		assert_int_equal(settings_batch(&f->settings, &f->config), cases[i].bytes);
	}
	assert_null(resolve(f, WORDS(AWAY, "format", "jsonl")));
	assert_int_equal(settings_batch(&f->settings, &f->config), 768 * 1024);
}

static void
test_a_spool_is_where_the_service_manager_says(void **state)
{
	struct fixture *f = *state;

	unsetenv("STATE_DIRECTORY");
	assert_null(resolve(f, WORDS(AWAY)));
	assert_string_equal(f->settings.spool, "");
	setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b", 1);
	assert_null(resolve(f, WORDS(AWAY)));
	assert_string_equal(f->settings.spool, "/var/lib/a/spool");
	assert_int_equal(settings_queue(&f->settings, &f->config), 64 << 20);
	/* A sink on this host needs none: what it does not take stays in the rings. */
	assert_null(resolve(f, WORDS("sink", "file:/x")));
	assert_string_equal(f->settings.spool, "");
	assert_int_equal(settings_queue(&f->settings, &f->config), 0);
	/* Unless it is asked for. */
	assert_null(resolve(f, WORDS("sink", "file:/x", "spool", "/y", "queue-size", "1MiB")));
	assert_string_equal(f->settings.spool, "/y");
	assert_int_equal(settings_queue(&f->settings, &f->config), 1 << 20);
	assert_null(resolve(f, WORDS(AWAY, "spool", "off")));
	assert_string_equal(f->settings.spool, "");
	unsetenv("STATE_DIRECTORY");
}

static void
test_spools_that_cannot_be(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(resolve(f, WORDS("spool", "here")), "spool");
	assert_string_equal(f->error, "'here' is not off, auto or an absolute path");
	assert_string_equal(resolve(f, WORDS("spool", "/x", "spool-size", "2MiB", "batch-bytes", "768KiB")), "batch-bytes");
	assert_null(resolve(f, WORDS("spool", "/x", "spool-size", "4MiB", "batch-bytes", "768KiB")));
	assert_string_equal(resolve(f, WORDS("refusals", "perhaps")), "refusals");
	assert_string_equal(f->error, "'perhaps' is not final or retry");
	assert_null(resolve(f, WORDS("refusals", "retry")));
	assert_true(f->settings.refusals_retry);
}

#define test(name)	cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_the_format_depends_on_the_sink),
		test(test_bytes_of_a_batch),
		test(test_a_spool_is_where_the_service_manager_says),
		test(test_spools_that_cannot_be),
		test(test_snapshot_ends),
		test(test_metrics_are_beside_the_socket),
		test(test_mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
