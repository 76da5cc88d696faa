/* Finds the end of a file's whole records: see whole.h. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "common/record.h"
#include "common/varint.h"
#include "shipper/whole.h"

enum {
	WHOLE_PORTION = 64 * 1024,
	/* No line of ours is longer, so a longer one is nobody's unfinished record. */
	WHOLE_LINE_MAX = 256 * 1024,
	/* A message of ours begins with one of these fields, or has no byte at all. */
	WHOLE_RECORD_TAG = RECORD_N_schema_version << 3,
	WHOLE_ENVELOPE_TAG = 10 << 3 | 2,
};

struct whole_window {
	int	 fd;
	off_t	 size;		/* of the file */
	off_t	 start;		/* of the window in it */
	size_t	 length;
	uint8_t	 bytes[WHOLE_PORTION];
};

/* Fills the window from a place on; -1 if that cannot be read. */
static int
whole_read(struct whole_window *window, off_t start)
{
	ssize_t n;

	do
		n = pread(window->fd, window->bytes, sizeof(window->bytes), start);
	while (n == -1 && errno == EINTR);
	window->start = start;
	window->length = n > 0 ? (size_t)n : 0;
	return n > 0 ? 0 : -1;
}

/* --- lines -------------------------------------------------------------------- */

static off_t
whole_lines(struct whole_window *window, const char **why)
{
	off_t end = window->size, start;
	const uint8_t *newline;

	while (end > 0 && window->size - end < WHOLE_LINE_MAX) {
		start = end > WHOLE_PORTION ? end - WHOLE_PORTION : 0;
		if (whole_read(window, start) == -1 || (off_t)window->length < end - start) {
			*why = "cannot be read";
			return -1;
		}
		newline = memrchr(window->bytes, '\n', (size_t)(end - start));
		if (newline != NULL)
			return start + (newline - window->bytes) + 1;
		end = start;
	}
	if (end == 0 && window->size < WHOLE_LINE_MAX)
		return 0;
	*why = "has no end of line where there should be one: it is not a file of this format";
	return -1;
}

/* --- messages ------------------------------------------------------------------- */

static bool
whole_is_ours(uint8_t tag)
{
	return tag == WHOLE_RECORD_TAG || tag == WHOLE_ENVELOPE_TAG;
}

/* Makes sure that the window holds the length at a place and what is behind it. */
static int
whole_reach(struct whole_window *window, off_t at)
{
	off_t behind = window->start + (off_t)window->length;

	if (at >= window->start && (at + VARINT_MAX + 1 <= behind || (at < behind && behind >= window->size)))
		return 0;
	return whole_read(window, at);
}

/*
 * Bytes of the message at a place with its length; 0 if the file ends before
 * it does, -1 if there is no message of ours.
 */
static off_t
whole_message(const struct whole_window *window, off_t at)
{
	const uint8_t *bytes = window->bytes + (at - window->start);
	size_t left = window->length - (size_t)(at - window->start), prefix;
	uint64_t length;

	prefix = varint_read(bytes, left, &length);
	if (prefix == 0)
		return left < VARINT_MAX && (bytes[left - 1] & 0x80) ? 0 : -1;
	if (length > 0 && prefix < left && !whole_is_ours(bytes[prefix]))
		return -1;
	if (length > INT64_MAX - VARINT_MAX)
		return -1;
	return (off_t)(prefix + length) > window->size - at ? 0 : (off_t)(prefix + length);
}

static off_t
whole_messages(struct whole_window *window, const char **why)
{
	off_t at, length;

	for (at = 0; at < window->size; at += length) {
		if (whole_reach(window, at) == -1) {
			*why = "cannot be read";
			return -1;
		}
		if ((length = whole_message(window, at)) == 0)
			return at;
		if (length == -1) {
			*why = "holds something else than records of this format";
			return -1;
		}
	}
	return at;
}

off_t
whole_end(int fd, off_t size, enum sink_framing framing, const char **why)
{
	struct whole_window window = { .fd = fd, .size = size };

	return framing == SINK_LINES ? whole_lines(&window, why) : whole_messages(&window, why);
}
