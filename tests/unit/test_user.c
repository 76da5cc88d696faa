/* Which ids a process is given. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "common/user.h"

static uid_t uid;
static gid_t gid;
static char error[256];

static int
find(const char *name, uid_t fallback)
{
	uid = 4711;
	gid = 4711;
	error[0] = '\0';
	return user_find(name, fallback, &uid, &gid, error, sizeof(error));
}

static void
test_name_gives_uid_and_its_group(void **state)
{
	const struct passwd *games = getpwnam("games");

	assert_non_null(games);
	assert_int_equal(find("games", USER_COLLECTOR_FALLBACK), 0);
	assert_int_equal(uid, games->pw_uid);
	assert_int_equal(gid, games->pw_gid);
	/* Else a uid taken for a gid would not be seen. */
	assert_int_not_equal(uid, gid);
}

static void
test_number_of_a_user_gives_its_group(void **state)
{
	const struct passwd *games = getpwnam("games");
	char number[16];

	assert_non_null(games);
	snprintf(number, sizeof(number), "%u", (unsigned int)games->pw_uid);
	assert_int_equal(find(number, USER_COLLECTOR_FALLBACK), 0);
	assert_int_equal(uid, games->pw_uid);
	assert_int_equal(gid, games->pw_gid);
}

static void
test_number_of_nobody_is_taken_for_both(void **state)
{
	assert_int_equal(find("3999999999", USER_COLLECTOR_FALLBACK), 0);
	assert_int_equal(uid, 3999999999U);
	assert_int_equal(gid, 3999999999U);
}

static void
test_missing_user_gets_the_fallback(void **state)
{
	assert_int_equal(find("tcpdiag-no-such-user", USER_SHIPPER_FALLBACK), 0);
	assert_int_equal(uid, USER_SHIPPER_FALLBACK);
	assert_int_equal(gid, USER_SHIPPER_FALLBACK);
}

/* Only our own two may be missing: another name was meant. */
static void
test_another_missing_user_is_an_error(void **state)
{
	assert_int_equal(find("no-such-user", USER_SHIPPER_FALLBACK), -1);
	assert_non_null(strstr(error, "no-such-user"));
}

static void
test_fallback_of_somebody_is_refused(void **state)
{
	const struct passwd *daemon = getpwnam("daemon");

	assert_non_null(daemon);
	assert_int_equal(find("tcpdiag-no-such-user", daemon->pw_uid), -1);
	assert_non_null(strstr(error, "tcpdiag-no-such-user"));
	assert_non_null(strstr(error, "'daemon'"));
	assert_int_equal(uid, 4711);
}

static void
test_fallback_of_a_group_is_refused(void **state)
{
	const struct group *group;

	/* A group whose number no user has; there is always one. */
	while ((group = getgrent()) != NULL && getpwuid(group->gr_gid) != NULL)
		;
	assert_non_null(group);
	assert_int_equal(find("tcpdiag-no-such-user", group->gr_gid), -1);
	assert_non_null(strstr(error, "and group '"));
}

static void
test_root_is_refused(void **state)
{
	static const char *const names[] = { "root", "0", "000" };
	size_t i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(find(names[i], USER_COLLECTOR_FALLBACK), -1);
		assert_non_null(strstr(error, "root"));
		assert_int_equal(uid, 4711);
	}
}

static void
test_what_is_no_id_is_refused(void **state)
{
	static const char *const names[] = { "4294967295", "4294967296", "99999999999999999999999", "" };
	size_t i;

	for (i = 0; i < 4; i++) {
		assert_int_equal(find(names[i], USER_COLLECTOR_FALLBACK), -1);
		assert_non_null(strstr(error, "neither a user's name nor an id"));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_gives_uid_and_its_group),
		cmocka_unit_test(test_number_of_a_user_gives_its_group),
		cmocka_unit_test(test_number_of_nobody_is_taken_for_both),
		cmocka_unit_test(test_missing_user_gets_the_fallback),
		cmocka_unit_test(test_another_missing_user_is_an_error),
		cmocka_unit_test(test_fallback_of_somebody_is_refused),
		cmocka_unit_test(test_fallback_of_a_group_is_refused),
		cmocka_unit_test(test_root_is_refused),
		cmocka_unit_test(test_what_is_no_id_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
