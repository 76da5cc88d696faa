/* Reads "TCP: inuse 7 orphan 0 tw 3 alloc 9 mem 1" and "TCP6: inuse 4". */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/sockstat.h"

enum { SOCKSTAT_SIZE = 1024 };

/* The number behind " name " on the line that starts with label. */
static bool
sockstat_number(const char *text, const char *label, const char *name, uint64_t *number)
{
	const char *line = strstr(text, label), *at, *end;

	if (line == NULL)
		return false;
	end = strchrnul(line, '\n');
	at = strstr(line, name);
	if (at == NULL || at >= end)
		return false;
	*number = strtoull(at + strlen(name), NULL, 10);
	return true;
}

static int
sockstat_load(int fd, char *text)
{
	ssize_t n = pread(fd, text, SOCKSTAT_SIZE - 1, 0);

	if (n < 0)
		return -1;
	text[n] = '\0';
	return 0;
}

int
sockstat_read(int sockstat, int sockstat6, struct sockstat *counts)
{
	char text[SOCKSTAT_SIZE];
	uint64_t six = 0;

	if (sockstat_load(sockstat, text) == -1)
		return -1;
	if (!sockstat_number(text, "TCP:", " inuse ", &counts->inuse) ||
	    !sockstat_number(text, "TCP:", " tw ", &counts->tw)) {
		errno = EPROTO;
		return -1;
	}
	if (sockstat6 >= 0 && sockstat_load(sockstat6, text) == 0 &&
	    sockstat_number(text, "TCP6:", " inuse ", &six))
		counts->inuse += six;
	return 0;
}
