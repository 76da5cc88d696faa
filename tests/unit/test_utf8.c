/* Text that is valid, and text that is made valid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/utf8.h"

static void
test_valid(void **state)
{
	static const char *const valid[] = { "", "a", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf",
		"\xe2\x80\xa7", "\xe2\x80\xaf", "\xe2\x81\xa5", "\xe2\x81\xaa" };
	static const char *const invalid[] = {
		"\x80", "\xc3", "\xc0\xaf", "\xc1\x81", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xed\xa0\x80",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\nb", "\x1b[2J", "\x7f", "\xe2\x82", "\xc2\x85", "x\xc2\x9b",
		"\xe2\x80\xa8", "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x81\xa9",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++)
		assert_true(utf8_valid(valid[i], strlen(valid[i])));
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++)
		assert_false(utf8_valid(invalid[i], strlen(invalid[i])));
	assert_false(utf8_valid("a\0b", 3));
}

static void
test_clean(void **state)
{
	static const struct {
		const char	*from, *to;
	} cases[] = {
		{ "blue", "blue" }, { "a\nb\x1b", "a_b_" }, { "\xff\xfe", "__" }, { "caf\xc3\xa9", "caf\xc3\xa9" },
		{ "cut\xe2\x82", "cut__" }, { "x\xc2\x85y", "x__y" }, { "", "" }, { "gpj\xe2\x80\xae.exe", "gpj___.exe" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[32];

		snprintf(text, sizeof(text), "%s", cases[i].from);
		utf8_clean(text);
		assert_string_equal(text, cases[i].to);
	}
}

/* Whatever the bytes, what is cleaned is valid, and as long as it was. */
static void
test_every_pair_of_bytes(void **state)
{
	(void)state;
	for (unsigned int first = 1; first < 256; first++)
		for (unsigned int second = 1; second < 256; second++) {
			char text[] = { 'x', (char)first, (char)second, 'y', '\0' };

			utf8_clean(text);
			assert_int_equal(strlen(text), 4);
			assert_true(utf8_valid(text, 4));
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_every_pair_of_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
