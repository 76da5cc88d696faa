/* A folder in /tmp that is a test's own. */
#ifndef TESTS_UNIT_FOLDER_H
#define TESTS_UNIT_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

enum { FOLDER_MAX = 64 };

static inline void __attribute__((unused))
folder_make(char folder[FOLDER_MAX], const char *test)
{
	snprintf(folder, FOLDER_MAX, "/tmp/%s.XXXXXX", test);
	assert_non_null(mkdtemp(folder));
}

/* With all that is in it. */
static inline void __attribute__((unused))
folder_remove(const char *folder)
{
	char command[FOLDER_MAX + 16];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

#endif
