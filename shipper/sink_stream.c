/*
 * The sinks stdout and stderr.
 *
 * Whoever reads may be slow, so nothing here may block.  O_NONBLOCK is a flag
 * of the open file description, which is shared with the shell and everything
 * it started, so it is never set on what was inherited.  A pipe or a terminal
 * is opened once more, which gives a description of our own; where that is not
 * possible, it is written to only after poll says that it can be, and no more
 * at a time than poll speaks for.  What epoll refuses (a regular file,
 * /dev/null) never blocks for long and is written directly.
 */
#include <sys/epoll.h>
#include <sys/stat.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "shipper/sinks.h"

enum {
	STREAM_PORTION = PIPE_BUF,	/* poll(2): a pipe that is writable takes so much */
	STREAM_TERMINAL_PORTION = 256,	/* tty: writable means that more than so much fits */
	STREAM_SENTENCE = 256,
};

struct sink_stream {
	struct sink_options	 options;
	const char		*name;
	struct event		*writable;	/* NULL: written directly */
	int			 fd;
	bool			 own;		/* its own description, that does not block */
	size_t			 portion;
	bool			 fresh;		/* nothing is delivered yet, and nothing was there */
	const struct sink_batch	*batch;		/* that is not answered, or NULL */
	/*
	 * What of a batch is written.  It cannot be taken back, so the batch is
	 * continued here when it comes again.
	 */
	struct sink_id		 id;
	size_t			 written;
};

static enum sink_class
stream_class(enum sink_result result, int error)
{
	if (result == SINK_CLOSED)
		return SINK_CLASS_CLOSED;
	return error == ENOSPC || error == EDQUOT || error == EFBIG ? SINK_CLASS_NO_SPACE : SINK_CLASS_SYSTEM;
}

static void
stream_answer(struct sink_stream *stream, enum sink_result result, int error)
{
	const struct sink_options *options = &stream->options;
	const struct sink_id id = stream->batch->id;
	char why[STREAM_SENTENCE];

	stream->batch = NULL;
	if (result == SINK_DELIVERED) {
		stream->written = 0;
		stream->fresh = false;
		options->done(options->context, &id, SINK_DELIVERED, SINK_CLASS_NONE, NULL);
		return;
	}
	if (result == SINK_CLOSED)
		snprintf(why, sizeof(why), "%s: nobody reads it any more (%s)", stream->name, strerror(error));
	else
		snprintf(why, sizeof(why), "%s: cannot be written: %s", stream->name, strerror(error));
	options->done(options->context, &id, result, stream_class(result, error), why);
}

/* EIO: of a terminal, that it hung up; of a file, that its disk may be mended. */
static bool
stream_is_over(const struct sink_stream *stream, int error)
{
	return error == EPIPE || error == EBADF || error == ECONNRESET || (error == EIO && stream->writable != NULL);
}

/* Writes a portion: 1 if it went on, 0 if it must wait, -1 if it answered. */
static int
stream_write(struct sink_stream *stream)
{
	size_t left = stream->batch->length - stream->written;
	ssize_t n;

	if (left == 0) {
		stream_answer(stream, SINK_DELIVERED, 0);
		return -1;
	}
	n = write(stream->fd, stream->batch->bytes + stream->written, left < stream->portion ? left : stream->portion);
	if (n >= 0) {
		stream->written += (size_t)n;
		return 1;
	}
	if (errno == EINTR || errno == EAGAIN)
		return errno == EINTR;
	stream_answer(stream, stream_is_over(stream, errno) ? SINK_CLOSED : SINK_RETRY, errno);
	return -1;
}

static bool
stream_is_writable(const struct sink_stream *stream)
{
	struct pollfd pollfd = { .fd = stream->fd, .events = POLLOUT };

	/* With an error it is: write(2) says which. */
	return poll(&pollfd, 1, 0) == 1;
}

static void
stream_writable(evutil_socket_t fd, short what, void *context)
{
	struct sink_stream *stream = context;
	int result;

	(void)fd;
	(void)what;
	do
		result = stream_write(stream);
	while (result == 1 && (stream->own || stream_is_writable(stream)));
	if (result != -1 && event_add(stream->writable, NULL) == -1)
		stream_answer(stream, SINK_RETRY, ENOMEM);
}

static void
sink_stream_deliver(void *state, const struct sink_batch *batch)
{
	struct sink_stream *stream = state;
	int result;

	if (!sink_id_same(&stream->id, &batch->id))
		stream->written = 0;
	stream->id = batch->id;
	stream->batch = batch;
	if (stream->writable != NULL) {
		if (event_add(stream->writable, NULL) == -1)
			stream_answer(stream, SINK_RETRY, ENOMEM);
		return;
	}
	do
		result = stream_write(stream);
	while (result == 1);
	if (result == 0)
		stream_answer(stream, SINK_RETRY, EAGAIN);
}

static bool
sink_stream_fresh(void *state)
{
	return ((struct sink_stream *)state)->fresh;
}

static void
sink_stream_close(void *state)
{
	struct sink_stream *stream = state;

	if (stream->writable != NULL)
		event_free(stream->writable);
	if (stream->own)
		close(stream->fd);
	free(stream);
}

/* --- opening ------------------------------------------------------------------ */

static bool
stream_can_be_polled(int fd)
{
	cleanup_fd int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLOUT };

	return epoll != -1 && (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 || errno != EPERM);
}

/* A description of our own of the same pipe or terminal, or -1. */
static int
stream_reopen(int fd)
{
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* A file that something stands in already has its header. */
static bool
stream_is_fresh(int fd)
{
	struct stat st;

	return fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) || st.st_size == 0;
}

static void
stream_choose(struct sink_stream *stream, int fd)
{
	struct stat st;

	stream->fd = fd;
	stream->portion = SSIZE_MAX;
	if (!stream_can_be_polled(fd) || fstat(fd, &st) == -1)
		return;
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		stream->fd = stream_reopen(fd);
	stream->own = stream->fd != -1 && stream->fd != fd;
	if (stream->own)
		return;
	stream->fd = fd;
	stream->portion = isatty(fd) ? STREAM_TERMINAL_PORTION : STREAM_PORTION;
}

static void *
stream_open(const struct sink_options *options, const char *name, int fd, char *error, size_t size)
{
	struct sink_stream *stream;

	if (fcntl(fd, F_GETFL) == -1) {
		snprintf(error, size, "%s: is not open", name);
		return NULL;
	}
	if ((stream = calloc(1, sizeof(*stream))) == NULL) {
		snprintf(error, size, "%s: out of memory", name);
		return NULL;
	}
	stream->options = *options;
	stream->name = name;
	stream->fresh = stream_is_fresh(fd);
	stream_choose(stream, fd);
	if (!stream_can_be_polled(stream->fd))
		return stream;
	stream->writable = event_new(options->base, stream->fd, EV_WRITE, stream_writable, stream);
	if (stream->writable != NULL)
		return stream;
	snprintf(error, size, "%s: out of memory", name);
	sink_stream_close(stream);
	return NULL;
}

static void *
sink_stdout_open(const struct sink_options *options, char *error, size_t size)
{
	return stream_open(options, "stdout", STDOUT_FILENO, error, size);
}

static void *
sink_stderr_open(const struct sink_options *options, char *error, size_t size)
{
	return stream_open(options, "stderr", STDERR_FILENO, error, size);
}

const struct sink sink_stdout = {
	.name = "stdout",
	.help = "the standard output",
	.people = true,
	.open = sink_stdout_open,
	.fresh = sink_stream_fresh,
	.deliver = sink_stream_deliver,
	.close = sink_stream_close,
};

const struct sink sink_stderr = {
	.name = "stderr",
	.help = "the standard error, where messages go too",
	.people = true,
	.open = sink_stderr_open,
	.fresh = sink_stream_fresh,
	.deliver = sink_stream_deliver,
	.close = sink_stream_close,
};
