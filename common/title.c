/*
 * The kernel shows the memory where the arguments stood, and goes on into the
 * environment behind it when the last argument's NUL was overwritten
 * (fs/proc/base.c, get_mm_cmdline()); a title is written over both.
 * (prctl(PR_SET_MM_ARG_START) would need CAP_SYS_RESOURCE; libbsd's
 * setproctitle would be a library for these lines.)
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/title.h"

extern char **environ;

static struct {
	char	*start;
	size_t	 size;
} title;

/*
 * Moves the environment's strings elsewhere.  What follows on each other is
 * the title's; running out of memory leaves the rest where it is.
 */
static char *
title_take_environment(char *end)
{
	for (char **entry = environ; entry != NULL && *entry == end; entry++) {
		char *copy = strdup(*entry);

		if (copy == NULL)
			return end;
		end += strlen(end) + 1;
		*entry = copy;
	}
	return end;
}

void
title_init(int argc, char **argv)
{
	char *end;

	if (argc < 1)
		return;
	end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
	title.start = argv[0];
	title.size = (size_t)(title_take_environment(end) - argv[0]);
}

void
title_set(const char *format, ...)
{
	va_list arguments;

	if (title.size == 0)
		return;
	memset(title.start, 0, title.size);
	va_start(arguments, format);
	vsnprintf(title.start, title.size, format, arguments);
	va_end(arguments);
}
