/* The stamp: what it says is what was given, and nothing else can get in. */
#include "shipper/stamp.h"
#include "tests/unit/shipper_parts.h"

static void
assert_string(const struct record *record, enum record_index field, const char *expected)
{
	const struct record_value *value = &record->values[field];

	if (expected == NULL) {
		assert_false(record_field_written(record, field));
		return;
	}
	assert_true(record_field_written(record, field));
	assert_int_equal(value->number, strlen(expected));
	assert_memory_equal(value->bytes, expected, strlen(expected));
}

static const struct stamp_identity whole = {
	.version = "1.2.3", .hostname = "host", .location = "rack 7", .netns = "blue", .inode = 4026531840,
	.container = "0123456789ab", .runtime = "docker", .label = "l", .tag = "t", .cookie = 4097, .epoch = UINT64_MAX,
};

static void
test_every_field_is_there(void **state)
{
	uint8_t bytes[RECORD_STAMP_MAX];
	size_t length = stamp_write(bytes, &whole);
	struct record record;

	(void)state;
	assert_int_equal(record_read(&record, bytes, length), 0);
	assert_int_equal(parts_number(&record, RECORD_F_schema_version), RECORD_SCHEMA_VERSION);
	assert_string(&record, RECORD_F_daemon_version, "1.2.3");
	assert_string(&record, RECORD_F_hostname, "host");
	assert_string(&record, RECORD_F_location, "rack 7");
	assert_string(&record, RECORD_F_netns, "blue");
	assert_int_equal(parts_number(&record, RECORD_F_netns_inode), 4026531840);
	assert_string(&record, RECORD_F_container_id, "0123456789ab");
	assert_string(&record, RECORD_F_container_runtime, "docker");
	assert_string(&record, RECORD_F_label, "l");
	assert_string(&record, RECORD_F_tag, "t");
	assert_int_equal(parts_number(&record, RECORD_F_netns_cookie), 4097);
	assert_true(parts_number(&record, RECORD_F_collector_epoch) == UINT64_MAX);
}

/* Each field that the shipper owns, none that a collector does: so neither can contradict the other. */
static void
test_only_what_the_shipper_owns(void **state)
{
	uint8_t bytes[RECORD_STAMP_MAX];
	struct record record;

	(void)state;
	assert_int_equal(record_read(&record, bytes, stamp_write(bytes, &whole)), 0);
	for (int field = 0; field < RECORD_FIELDS; field++)
		assert_int_equal(record_field_written(&record, field), record_fields[field].owner == RECORD_SHIPPER);
}

static void
test_what_is_not_known_is_left_out(void **state)
{
	const struct stamp_identity little = { .netns = "default", .hostname = "", .epoch = 1 };
	uint8_t bytes[RECORD_STAMP_MAX];
	size_t length = stamp_write(bytes, &little);
	struct record record;

	(void)state;
	assert_int_equal(record_read(&record, bytes, length), 0);
	assert_string(&record, RECORD_F_netns, "default");
	assert_string(&record, RECORD_F_hostname, NULL);
	assert_string(&record, RECORD_F_container_id, NULL);
	assert_false(record_field_written(&record, RECORD_F_netns_cookie));
	assert_false(record_field_written(&record, RECORD_F_netns_inode));
}

static void
test_fields_ascend(void **state)
{
	uint8_t bytes[RECORD_STAMP_MAX];
	size_t length = stamp_write(bytes, &whole);
	uint64_t tag, value, before = 0;

	(void)state;
	for (size_t at = 0; at < length;) {
		at += varint_read(bytes + at, length - at, &tag);
		at += varint_read(bytes + at, length - at, &value);
		if ((tag & 7) == 2)
			at += value;
		assert_true(tag >> 3 > before);
		before = tag >> 3;
	}
}

static void
test_the_longest_strings_fit(void **state)
{
	char longest[RECORD_STRING_MAX + 1], container[128], runtime[32];
	uint8_t bytes[RECORD_STAMP_MAX];
	struct stamp_identity identity = {
		.version = "100.200.300-rc10", .hostname = longest, .location = longest, .netns = longest, .inode = UINT64_MAX,
		.container = container, .runtime = runtime, .label = longest, .tag = longest, .cookie = UINT64_MAX,
		.epoch = UINT64_MAX,
	};

	(void)state;
	memset(longest, 'x', sizeof(longest));
	memset(container, 'x', sizeof(container));
	memset(runtime, 'x', sizeof(runtime));
	longest[sizeof(longest) - 1] = container[sizeof(container) - 1] = runtime[sizeof(runtime) - 1] = '\0';
	assert_true(stamp_write(bytes, &identity) > 5 * RECORD_STRING_MAX);
}

static void
test_too_much_is_refused(void **state)
{
	static char huge[RECORD_STAMP_MAX];
	uint8_t bytes[RECORD_STAMP_MAX + 64];
	struct stamp_identity identity = { .hostname = huge };

	(void)state;
	memset(huge, 'x', sizeof(huge) - 1);
	memset(bytes, 0xaa, sizeof(bytes));
	assert_int_equal(stamp_write(bytes, &identity), 0);
	for (size_t i = RECORD_STAMP_MAX; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0xaa);
}

static void
test_strings_that_may_not_stand_in_a_record(void **state)
{
	static const char *const bad[] = {
		"\n", "a\tb", "\x7f", "\xc2\x85", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "caf\xc3", "\x80",
	};
	static const char *const good[] = { "", "plain", "caf\xc3\xa9", "\xc2\xa0", "\xf0\x9f\x90\xa7", "a b/c:d" };
	char longest[RECORD_STRING_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(stamp_string_fault(bad[i], strlen(bad[i])));
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_null(stamp_string_fault(good[i], strlen(good[i])));
	memset(longest, 'x', sizeof(longest));
	assert_null(stamp_string_fault(longest, RECORD_STRING_MAX));
	assert_non_null(stamp_string_fault(longest, RECORD_STRING_MAX + 1));
	assert_non_null(stamp_string_fault("a\0b", 3));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_field_is_there),
		cmocka_unit_test(test_only_what_the_shipper_owns),
		cmocka_unit_test(test_what_is_not_known_is_left_out),
		cmocka_unit_test(test_fields_ascend),
		cmocka_unit_test(test_the_longest_strings_fit),
		cmocka_unit_test(test_too_much_is_refused),
		cmocka_unit_test(test_strings_that_may_not_stand_in_a_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
