/* Messages to stderr: see log.h. */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/utf8.h"

enum {
	LOG_MESSAGE_MAX = 2048,		/* as it is formatted */
	LOG_LINE_MAX = 4 * LOG_MESSAGE_MAX + 256,	/* with every byte escaped */
};

static struct {
	const char	*program;
	enum log_level	 highest;
	bool		 journal;
} state = { .highest = LOG_LEVEL_INFO };

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_NOTICE] = "notice",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

int
log_level_by_name(const char *name)
{
	int level;

	for (level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
		if (strcmp(name, level_names[level]) == 0)
			return level;
	}
	return -1;
}

/* systemd names the journal's stream by device and inode: systemd.exec(5). */
static bool
is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	if (stream == NULL || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
		return false;
	return fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

/* Reading from 0 and writing to 1 must fail as if they were still closed. */
static void
open_standard_descriptors(void)
{
	static const int modes[] = { O_WRONLY, O_RDONLY, O_WRONLY };
	int fd;

	for (fd = 0; fd < 3; fd++) {
		if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)
			(void)open("/dev/null", modes[fd]);
	}
}

void
log_init(const char *program, enum log_level highest)
{
	int saved = errno;

	open_standard_descriptors();
	state.program = program;
	state.highest = highest;
	state.journal = is_journal(STDERR_FILENO);
	errno = saved;
}

/* Copies text so that a terminal or a log's reader takes it for nothing else. */
static size_t
put_printable(char *to, const char *text)
{
	const uint8_t *bytes = (const uint8_t *)text;
	size_t i, n, used = 0, length = strlen(text);

	for (i = 0; i < length; i += n) {
		n = utf8_character(bytes + i, length - i);
		if (n > 0) {
			memcpy(to + used, bytes + i, n);
			used += n;
			continue;
		}
		n = 1;
		used += (size_t)sprintf(to + used, "\\x%02x", bytes[i]);
	}
	return used;
}

static void
write_all(const char *bytes, size_t length)
{
	ssize_t n;

	while (length > 0) {
		n = write(STDERR_FILENO, bytes, length);
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return;		/* there is nobody to tell */
		bytes += n;
		length -= (size_t)n;
	}
}

static void __attribute__((format(printf, 3, 0)))
log_line(enum log_level level, int error, const char *format, va_list arguments)
{
	char line[LOG_LINE_MAX], message[LOG_MESSAGE_MAX];
	const char *program = state.program != NULL ? state.program : program_invocation_short_name;
	size_t length;
	int n;

	if (level > state.highest)
		return;
	n = vsnprintf(message, sizeof(message), format, arguments);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(message))
		memcpy(message + sizeof(message) - 4, "...", 4);
	length = (size_t)(state.journal ? snprintf(line, 128, "<%d>", (int)level) :
	    snprintf(line, 128, "%.100s: ", program));
	length += put_printable(line + length, message);
	if (error != 0)
		length += (size_t)snprintf(line + length, 100, ": %s", strerror(error));
	line[length++] = '\n';
	write_all(line, length);
}

void
log_at(enum log_level level, const char *format, ...)
{
	va_list arguments;
	int saved = errno;

	va_start(arguments, format);
	log_line(level, 0, format, arguments);
	va_end(arguments);
	errno = saved;
}

void
log_errno(enum log_level level, const char *format, ...)
{
	va_list arguments;
	int saved = errno;

	va_start(arguments, format);
	log_line(level, saved, format, arguments);
	va_end(arguments);
	errno = saved;
}

bool
log_allowed(struct log_limit *limit)
{
	uint64_t now = clock_monotonic();
	unsigned int suppressed;

	if (limit->used == 0 || now - limit->window >= MINUTE) {
		suppressed = limit->suppressed;
		*limit = (struct log_limit){ .window = now };
		if (suppressed > 0)
			log_notice("%u more messages like the next one were not written", suppressed);
	}
	if (limit->used >= LOG_LIMIT_BURST) {
		limit->suppressed++;
		return false;
	}
	limit->used++;
	return true;
}

void
fatal(int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(LOG_LEVEL_ERROR, 0, format, arguments);
	va_end(arguments);
	exit(code);
}

void
fatal_errno(int code, const char *format, ...)
{
	va_list arguments;
	int saved = errno;

	va_start(arguments, format);
	log_line(LOG_LEVEL_ERROR, saved, format, arguments);
	va_end(arguments);
	exit(code);
}
