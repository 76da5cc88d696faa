/*
 * The kernel shows the memory where the arguments stood; a title is written
 * over it.  (prctl(PR_SET_MM_ARG_START) would need CAP_SYS_RESOURCE; libbsd's
 * setproctitle would move the whole environment for the sake of length.)
 */
#include <sys/prctl.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/title.h"

static struct {
	char	*start;
	size_t	 size;
} title;

void
title_init(int argc, char **argv)
{
	if (argc < 1)
		return;
	title.start = argv[0];
	title.size = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]) + 1;
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
