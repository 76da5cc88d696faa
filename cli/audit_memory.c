/* What a process has mapped: code that can be written, rings, pages of its own. */
#include <sys/stat.h>

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/audit.h"
#include "common/fd.h"

enum { MEMORY_LINE_MAX = 4352 };

/* A line of maps; smaps has lines about it behind. */
struct memory_line {
	uint64_t	start, end;
	char		rights[5];	/* "rwxp"; the last is s for shared */
	unsigned long	inode;
	char		name[MEMORY_LINE_MAX];
	char		range[40];	/* as /proc/PID/map_files calls it */
};

static bool
memory_parse(const char *text, struct memory_line *line)
{
	int at = 0;

	line->name[0] = '\0';
	if (sscanf(text, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %lu%n", &line->start, &line->end, line->rights, &line->inode, &at) < 4)
		return false;
	text += at;
	text += strspn(text, " ");
	snprintf(line->name, sizeof(line->name), "%.*s", (int)strcspn(text, "\n"), text);
	snprintf(line->range, sizeof(line->range), "map_files/%" PRIx64 "-%" PRIx64, line->start, line->end);
	return true;
}

/* "/memfd:tcpdiag-ring-data (deleted)": "data". */
static void
memory_name(const struct memory_line *line, char *to, size_t size)
{
	static const char prefix[] = "/memfd:tcpdiag-ring-", deleted[] = " (deleted)";
	const char *end = strstr(line->name, deleted);

	if (strncmp(line->name, prefix, strlen(prefix)) == 0 && end != NULL)
		snprintf(to, size, "%.*s", (int)(end - line->name - (ptrdiff_t)strlen(prefix)), line->name + strlen(prefix));
	else
		snprintf(to, size, "%s", line->name);
}

/* VmFlags of the mapping, which end before the next one; NULL if there are none. */
static const char *
memory_flags(const char *text, const char *end)
{
	const char *found = strstr(text, "VmFlags:");

	return found != NULL && (end == NULL || found < end) ? found : NULL;
}

static bool
memory_has_flag(const char *flags, const char *flag)
{
	const char *line = flags != NULL ? strchr(flags, '\n') : NULL;
	const char *word = flags != NULL ? strstr(flags, flag) : NULL;

	return word != NULL && line != NULL && word < line;
}

struct memory_found {
	struct audit_words	shared, seals, code, sealed;
	char			control[40];	/* where the shipper's page is */
};

static uint64_t
memory_position(int fd)
{
	uint64_t position = 0;

	return pread(fd, &position, sizeof(position), 0) == (ssize_t)sizeof(position) ? position : 0;
}

/* Each position is the first word of its file; the shipper's stands before the collector's in memory. */
static void
memory_note_positions(struct audit_process *process, const char *name, int fd)
{
	struct stat st;

	if (strcmp(name, "control") == 0)
		process->ring.released = memory_position(fd);
	if (strcmp(name, "data") != 0 || process->ring.size != 0 || fd == -1 || fstat(fd, &st) == -1)
		return;
	process->ring.written = memory_position(fd);
	process->ring.size = (uint64_t)(st.st_size - sysconf(_SC_PAGESIZE));
}

/* mw: "may be written", by mprotect(2); sl: sealed by mseal(2). */
static void
memory_note_shared(struct audit_process *process, const struct memory_line *line, const char *flags, struct memory_found *found)
{
	bool may_write = flags == NULL || memory_has_flag(flags, " mw");
	cleanup_fd int fd = openat(process->proc, line->range, O_RDONLY | O_CLOEXEC);
	bool writable = line->rights[1] == 'w';
	char name[MEMORY_LINE_MAX], seals[128];

	memory_name(line, name, sizeof(name));
	audit_words_add(&found->shared, "%s(%s%s)", name, writable ? "rw" : "r", !writable && may_write ? "+w" : "");
	if (strncmp(line->name, "/memfd:", strlen("/memfd:")) != 0)
		return;
	if (process->nrings < AUDIT_RINGS && (process->nrings == 0 || process->rings[process->nrings - 1] != line->inode))
		process->rings[process->nrings++] = line->inode;
	if (memory_has_flag(flags, " sl"))
		audit_words_add(&found->sealed, "%s", name);
	memory_note_positions(process, name, fd);
	if (strcmp(name, "control") == 0)
		snprintf(found->control, sizeof(found->control), "%s", line->range);
	audit_seals(fd, seals, sizeof(seals));
	audit_words_add(&found->seals, "%s:%s", name, fd == -1 ? "?" : seals);
}

static void
memory_note(struct audit_process *process, const struct memory_line *line, const char *flags, struct memory_found *found)
{
	if (line->rights[1] == 'w' && line->rights[2] == 'x')
		audit_words_add(&found->code, "%" PRIx64 "-%" PRIx64, line->start, line->end);
	if (line->rights[3] == 's')
		memory_note_shared(process, line, flags, found);
	if (strcmp(line->rights, "r--p") == 0 && line->inode == 0 && line->name[0] == '\0' && process->npages < AUDIT_PAGES) {
		process->sealed[process->npages] = memory_has_flag(flags, " sl");
		process->pages[process->npages++] = line->start;
	}
}

/* The next line that begins a mapping: with an address, where the others begin with a capital letter. */
static const char *
memory_next(const char *text)
{
	while ((text = strchr(text, '\n')) != NULL)
		if (isdigit((unsigned char)*++text) || islower((unsigned char)*text))
			return text;
	return NULL;
}

void
audit_read_memory(struct audit_process *process)
{
	cleanup_free char *text = audit_file(process, "smaps");
	struct memory_found found = { 0 };
	struct memory_line line;

	if (text == NULL || text[0] == '\0')
		return;
	for (const char *at = text, *next; at != NULL; at = next) {
		next = memory_next(at);
		if (memory_parse(at, &line))
			memory_note(process, &line, memory_flags(at, next), &found);
	}
	cleanup_fd int control = found.control[0] != '\0' ? openat(process->proc, found.control, O_RDONLY | O_CLOEXEC) : -1;

	process->ring.later = memory_position(control);
	process->values[AUDIT_WRITABLE_CODE] = audit_words_join(&found.code, true);
	process->values[AUDIT_SHARED] = audit_words_join(&found.shared, true);
	process->values[AUDIT_SEALS] = audit_words_join(&found.seals, true);
	process->values[AUDIT_SEALED] = audit_words_join(&found.sealed, true);
}
