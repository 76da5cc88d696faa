/* Finds the end of a file's whole records: see whole.h. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "common/record.h"
#include "common/varint.h"
#include "shipper/text.h"
#include "shipper/whole.h"

enum {
	WHOLE_PORTION = 64 * 1024,
	/* No line of ours is longer, so a longer one is nobody's unfinished record. */
	WHOLE_LINE_MAX = 256 * 1024,
	/* A message of ours begins with one of these fields, or has no byte at all. */
	WHOLE_RECORD_TAG = RECORD_N_schema_version << 3,
	WHOLE_ENVELOPE_TAG = 10 << 3 | 2,
};

#define WHOLE_FOREIGN	"holds something else than records of this format"

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

/* --- text ---------------------------------------------------------------------- */

static const struct whole_text {
	const char	*ending;	/* of every whole piece */
	const char	*beginning;	/* of the unfinished one: what is not ours is not cut */
	off_t		 most;		/* bytes of an unfinished one */
} whole_texts[] = {
	[SINK_LINES] = { "\n", "", WHOLE_LINE_MAX },
	[SINK_ENVELOPES] = { "\n", "{\"row\":[", INT64_MAX },
	[SINK_BLOCKS] = { "\n}\n", "row {\n", WHOLE_LINE_MAX },
};

/* The end of the last ending among bytes; 0 if there is none. */
static size_t
whole_last(const uint8_t *bytes, size_t length, const char *ending)
{
	size_t n = strlen(ending);

	for (; length >= n; length--) {
		const uint8_t *last = memrchr(bytes, ending[n - 1], length);

		if (last == NULL)
			return 0;
		length = (size_t)(last - bytes) + 1;
		if (length >= n && memcmp(bytes + length - n, ending, n) == 0)
			return length;
	}
	return 0;
}

/* The end of the last whole piece, 0 if there is none; or -1. */
static off_t
whole_text_end(struct whole_window *window, const struct whole_text *text, const char **why)
{
	off_t end = window->size, start = end;
	size_t found;

	while (start > 0 && window->size - end < text->most) {
		start = end > WHOLE_PORTION ? end - WHOLE_PORTION : 0;
		if (whole_read(window, start) == -1 || (off_t)window->length < end - start) {
			*why = "cannot be read";
			return -1;
		}
		found = whole_last(window->bytes, (size_t)(end - start), text->ending);
		if (found > 0)
			return start + (off_t)found;
		/* An ending may lie across two portions. */
		end = start + (off_t)strlen(text->ending) - 1;
	}
	if (start == 0 && window->size < text->most)
		return 0;
	*why = "has no end of line where there should be one: it is not a file of this format";
	return -1;
}

static off_t
whole_text(struct whole_window *window, enum sink_framing framing, const char **why)
{
	const struct whole_text *text = &whole_texts[framing];
	off_t end = whole_text_end(window, text, why);
	size_t n = strlen(text->beginning);

	if (end == -1 || end == window->size)
		return end;
	if (whole_read(window, end) == -1) {
		*why = "cannot be read";
		return -1;
	}
	if (memcmp(window->bytes, text->beginning, n < window->length ? n : window->length) == 0)
		return end;
	*why = WHOLE_FOREIGN;
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
			*why = WHOLE_FOREIGN;
			return -1;
		}
	}
	return at;
}

/* --- maps ------------------------------------------------------------------------ */

/* No string of ours needs more than 16 bits of length: no record is so long. */
enum { WHOLE_MAP_16 = 0xde, WHOLE_STR_8 = 0xd9, WHOLE_STR_16 = 0xda };
_Static_assert(RECORD_FIELDS * (TEXT_LABEL_MAX + TEXT_PLAIN_MAX) +
    TEXT_UTF8_ESCAPED * (RECORD_MAX + RECORD_STAMP_MAX) <= WHOLE_PORTION, "a map has to fit into the window");

static bool
whole_is_string(uint8_t first)
{
	return (first & 0xe0) == 0xa0 || first == WHOLE_STR_8 || first == WHOLE_STR_16;
}

/* The length that so many bytes say, the highest first. */
static size_t
whole_length(const uint8_t *bytes, size_t width)
{
	size_t length = 0;

	while (width-- > 0)
		length = length << 8 | *bytes++;
	return length;
}

/* Bytes of the string or number at the front; 0 if not all of it is there, -1 if it is neither. */
static off_t
whole_item(const uint8_t *bytes, size_t left)
{
	uint8_t first = bytes[0];
	size_t length = 1, width;

	if ((first & 0xe0) == 0xa0)
		length += first & 0x1f;
	else if (first >= 0xcc && first <= 0xd3)		/* 8 to 64 bits, unsigned and signed */
		length += (size_t)1 << (first & 3);
	else if (whole_is_string(first)) {
		width = first - WHOLE_STR_8 + 1u;
		length += width;
		length += length <= left ? whole_length(bytes + 1, width) : 0;
	} else if (first >= 0x80 && first < 0xe0)
		return -1;
	return length <= left ? (off_t)length : 0;
}

/* The same for a map whose keys are strings. */
static off_t
whole_map(const uint8_t *bytes, size_t left)
{
	size_t at = bytes[0] == WHOLE_MAP_16 ? 3 : 1, items, i;
	off_t length;

	if (bytes[0] != WHOLE_MAP_16 && (bytes[0] & 0xf0) != 0x80)
		return -1;
	if (at > left)
		return 0;
	items = 2 * (at == 3 ? whole_length(bytes + 1, 2) : bytes[0] & 0x0fu);
	for (i = 0; i < items; i++, at += (size_t)length) {
		if (at == left)
			return 0;
		if (i % 2 == 0 && !whole_is_string(bytes[at]))
			return -1;
		if ((length = whole_item(bytes + at, left - at)) <= 0)
			return length;
	}
	return (off_t)at;
}

static off_t
whole_maps(struct whole_window *window, const char **why)
{
	off_t at, length, behind = 0;

	for (at = 0; at < window->size; at += length) {
		length = at < behind ? whole_map(window->bytes + (at - window->start), (size_t)(behind - at)) : 0;
		/* It may only be cut by the window's end. */
		if (length == 0 && (at > window->start || behind == 0)) {
			if (whole_read(window, at) == -1) {
				*why = "cannot be read";
				return -1;
			}
			behind = at + (off_t)window->length;
			length = whole_map(window->bytes, window->length);
		}
		if (length == 0 && behind >= window->size)
			return at;
		if (length <= 0) {
			*why = WHOLE_FOREIGN;
			return -1;
		}
	}
	return at;
}

off_t
whole_end(int fd, off_t size, enum sink_framing framing, const char **why)
{
	struct whole_window window = { .fd = fd, .size = size };

	if (framing == SINK_DELIMITED)
		return whole_messages(&window, why);
	return framing == SINK_MAPS ? whole_maps(&window, why) : whole_text(&window, framing, why);
}
