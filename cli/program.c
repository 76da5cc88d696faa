/* Where the daemons' programs are. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/program.h"
#include "common/exit.h"
#include "common/log.h"

void
program_find(const char *name, char *path, size_t size)
{
	char self[PATH_MAX] = "";
	char *slash;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) == -1 || (slash = strrchr(self, '/')) == NULL)
		fatal_errno(EXIT_CODE_SYSTEM, "/proc/self/exe");
	*slash = '\0';
	snprintf(path, size, "%s/%s", self, name);
	if (access(path, X_OK) == 0)
		return;
	snprintf(path, size, "%s/../sbin/%s", self, name);
	if (access(path, X_OK) == 0)
		return;
	fatal(EXIT_CODE_SYSTEM, "%s is neither in %s nor in %s/../sbin", name, self, self);
}
