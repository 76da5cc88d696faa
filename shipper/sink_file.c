/*
 * The sink file: batches appended to a file, whole or not at all.
 *
 * A batch is acknowledged when it is fully written.  When a write fails half
 * way the file is cut back to its good length, which is kept here; and at open
 * to its last whole record, for the case that a shipper was killed in the
 * middle.  A lock keeps a second shipper out, whose batches would stand in the
 * middle of ours.
 */
#include <sys/file.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "shipper/aside.h"
#include "shipper/sinks.h"
#include "shipper/whole.h"

enum { FILE_MODE = 0640, FILE_SENTENCE = 512 };

struct sink_file {
	struct sink_options	 options;
	char			*path;
	int			 fd;
	off_t			 good;		/* bytes of the file that are whole batches */
	bool			 spoiled;	/* there may be more than that */
};

/* --- opening -------------------------------------------------------------------- */

/* O_NONBLOCK: a pipe of that name shall not make us wait for its reader. */
static int
file_open(const char *path)
{
	int flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	return open(path, flags, FILE_MODE);
}

static int __attribute__((format(printf, 3, 4)))
file_refuse(char *error, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, size, format, arguments);
	va_end(arguments);
	return -1;
}

/* Only what another shipper, or a user by mistake, cannot have open as well. */
static int
file_check(const char *path, int fd, struct stat *st, char *error, size_t size)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags == -1 || fstat(fd, st) == -1)
		return file_refuse(error, size, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st->st_mode))
		return file_refuse(error, size, "%s: is not a regular file", path);
	if ((flags & O_ACCMODE) != O_RDWR)
		return file_refuse(error, size, "%s: is not open for reading and writing", path);
	if (!(flags & O_APPEND) && fcntl(fd, F_SETFL, flags | O_APPEND) == -1)
		return file_refuse(error, size, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return file_refuse(error, size, "%s: another process writes to it (it is locked)", path);
	return file_refuse(error, size, "%s: cannot be locked: %s", path, strerror(errno));
}

/* Cuts an unfinished record off. */
static int
file_mend(const struct sink_file *file, int fd, off_t size, off_t *good, char *error, size_t error_size)
{
	const char *why;

	*good = whole_end(fd, size, file->options.framing, &why);
	if (*good == -1)
		return file_refuse(error, error_size, "%s: %s", file->path, why);
	if (*good == size)
		return 0;
	if (ftruncate(fd, *good) == -1)
		return file_refuse(error, error_size, "%s: ends with an unfinished record that cannot be cut off: %s",
		    file->path, strerror(errno));
	log_warning("%s: cut %" PRIdMAX " bytes of an unfinished record off its end", file->path, (intmax_t)(size - *good));
	return 0;
}

/* Makes a descriptor, which is the sink's in any case, the one that is written. */
static int
file_take(struct sink_file *file, int taken, char *error, size_t size)
{
	cleanup_fd int fd = taken;
	struct stat now = { 0 }, before;
	off_t good;

	/* Its lock is our own, so the same file again is no second writer. */
	if (file->fd != -1 && fstat(fd, &now) == 0 && fstat(file->fd, &before) == 0 &&
	    now.st_dev == before.st_dev && now.st_ino == before.st_ino)
		return 0;
	if (file_check(file->path, fd, &now, error, size) == -1 ||
	    file_mend(file, fd, now.st_size, &good, error, size) == -1)
		return -1;
	fd_close(&file->fd);
	file->fd = fd_steal(&fd);
	file->good = good;
	file->spoiled = false;
	return 0;
}

static int
sink_file_reopen(void *state, int fd, char *error, size_t size)
{
	struct sink_file *file = state;

	if (fd == -1 && (fd = file_open(file->path)) == -1)
		return file_refuse(error, size, "%s: cannot be opened: %s", file->path, strerror(errno));
	return file_take(file, fd, error, size);
}

static void
sink_file_close(void *state)
{
	struct sink_file *file = state;

	fd_close(&file->fd);
	free(file->path);
	free(file);
}

static void *
sink_file_open(const struct sink_options *options, char *error, size_t size)
{
	struct sink_file *file = calloc(1, sizeof(*file));

	if (file == NULL || (file->path = strdup(options->target)) == NULL) {
		free(file);
		(void)file_refuse(error, size, "%s: out of memory", options->target);
		return NULL;
	}
	file->options = *options;
	file->fd = -1;
	if (sink_file_reopen(file, options->fd, error, size) == 0)
		return file;
	sink_file_close(file);
	return NULL;
}

/* --- writing ---------------------------------------------------------------------- */

/*
 * Back to the good length.  A file that another process has cut or added to is
 * taken as it is: what is not ours is not ours to cut.
 */
static int
file_settle(struct sink_file *file)
{
	struct stat st;

	if (fstat(file->fd, &st) == -1)
		return -1;
	if (file->spoiled && st.st_size > file->good && ftruncate(file->fd, file->good) == -1)
		return -1;
	if (!file->spoiled && st.st_size != file->good)
		log_limited(LOG_LEVEL_WARNING, "%s: somebody else has made it %s", file->path,
		    st.st_size < file->good ? "shorter" : "longer");
	if (!file->spoiled || st.st_size < file->good)
		file->good = st.st_size;
	file->spoiled = false;
	return 0;
}

static int
file_write(struct sink_file *file, const uint8_t *bytes, size_t length)
{
	size_t written = 0;
	ssize_t n;

	file->spoiled = true;
	while (written < length) {
		n = write(file->fd, bytes + written, length - written);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC;
		if (n <= 0)
			return -1;
		written += (size_t)n;
	}
	return file->options.fsync ? fdatasync(file->fd) : 0;
}

static void
file_fail(struct sink_file *file, const struct sink_id *id, int error)
{
	enum sink_class class = error == ENOSPC || error == EDQUOT || error == EFBIG ? SINK_CLASS_NO_SPACE : SINK_CLASS_SYSTEM;
	char why[FILE_SENTENCE];
	off_t written = lseek(file->fd, 0, SEEK_END) - file->good;
	int length;

	length = snprintf(why, sizeof(why), "%s: cannot be written: %s", file->path, strerror(error));
	/* At once, so that who reads the file meanwhile sees whole records. */
	if (file->spoiled && written > 0 && file_settle(file) == 0 && length > 0 && (size_t)length < sizeof(why))
		snprintf(why + length, sizeof(why) - (size_t)length, " (%" PRIdMAX " bytes of the batch were cut off again)",
		    (intmax_t)written);
	file->options.done(file->options.context, id, SINK_RETRY, class, why);
}

/* Says no when the disk would have less left than it is to have. */
static bool
file_leaves_enough(struct sink_file *file, const struct sink_batch *batch)
{
	uint64_t most = file->options.minfree, unused;
	char why[FILE_SENTENCE];

	if (most == 0 || (unused = aside_free(file->fd)) >= most + batch->length)
		return true;
	snprintf(why, sizeof(why), "%s: its disk has %" PRIu64 " bytes left, and minfree is %" PRIu64, file->path, unused, most);
	file->options.done(file->options.context, &batch->id, SINK_RETRY, SINK_CLASS_NO_SPACE, why);
	return false;
}

static void
sink_file_deliver(void *state, const struct sink_batch *batch)
{
	struct sink_file *file = state;

	if (!file_leaves_enough(file, batch))
		return;
	if (file_settle(file) == -1 || file_write(file, batch->bytes, batch->length) == -1) {
		file_fail(file, &batch->id, errno);
		return;
	}
	file->good += (off_t)batch->length;
	file->spoiled = false;
	file->options.done(file->options.context, &batch->id, SINK_DELIVERED, SINK_CLASS_NONE, NULL);
}

static bool
sink_file_fresh(void *state)
{
	struct sink_file *file = state;
	struct stat st;

	if (file->spoiled || fstat(file->fd, &st) == -1)
		return file->good == 0;
	return st.st_size == 0;
}

const struct sink sink_file = {
	.name = "file",
	.help = "a file, opened anew at SIGHUP",
	.target = true,
	.open = sink_file_open,
	.fresh = sink_file_fresh,
	.deliver = sink_file_deliver,
	.reopen = sink_file_reopen,
	.close = sink_file_close,
};
