/* Files that are read once: see input.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/input.h"
#include "common/log.h"

enum { INPUT_READ = 256 * 1024 };	/* bytes asked for at once */

int
input_open(struct input *input, const char *file)
{
	if (strcmp(file, "-") == 0) {
		input->name = "standard input";
		input->fd = STDIN_FILENO;
		return 0;
	}
	input->name = file;
	input->fd = open(file, O_RDONLY | O_CLOEXEC);
	if (input->fd == -1)
		log_errno(LOG_LEVEL_ERROR, "%s", file);
	return input->fd == -1 ? -1 : 0;
}

static void
input_fill(struct input *input)
{
	struct buffer *data = &input->read;
	ssize_t n;

	if (input->wait != NULL && !input->wait(input->context)) {
		input->failed = input->refused = true;
		return;
	}
	if (input->used > 0)
		memmove(data->bytes, data->bytes + input->used, data->length - input->used);
	data->length -= input->used;
	input->used = 0;
	do
		n = read(input->fd, buffer_reserve(data, INPUT_READ), INPUT_READ);
	while (n == -1 && errno == EINTR);
	if (n == -1) {
		log_errno(LOG_LEVEL_ERROR, "%s", input->name);
		input->failed = true;
	}
	if (n > 0)
		data->length += (size_t)n;
	else
		input->ended = true;
}

size_t
input_want(struct input *input, size_t length)
{
	while (input->read.length - input->used < length && !input->ended && !input->failed)
		input_fill(input);
	return input->read.length - input->used;
}

const uint8_t *
input_here(const struct input *input)
{
	return input->read.bytes + input->used;
}

void
input_skip(struct input *input, size_t length)
{
	input->used += length;
	input->offset += length;
}

void
input_close(struct input *input)
{
	if (input->fd != STDIN_FILENO)
		close(input->fd);
	buffer_free(&input->read);
}
