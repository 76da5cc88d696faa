/*
 * What the text formats share: numbers, addresses and strings as text, and
 * which fields a record has.  None of the text_* writers ends its text with a
 * NUL; each returns the number of bytes it wrote, at most what is said here.
 */
#ifndef SHIPPER_TEXT_H
#define SHIPPER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/buffer.h"
#include "common/record_reader.h"

enum {
	TEXT_NUMBER_MAX = 20,
	TEXT_ADDRESS_MAX = 45,
	TEXT_PLAIN_MAX = 48,		/* any value that is neither string nor bytes */
	TEXT_BYTES = 2,			/* characters that a byte of bytes becomes */
	TEXT_SCALED_MAX = 24,		/* with a unit of at most 8 bytes */
	TEXT_ESCAPED = 6,		/* bytes that one byte of a string may become */
	TEXT_UTF8_ESCAPED = 3,		/* the same for TEXT_UTF8 */
	TEXT_LABEL_MAX = 48,
};

extern const char text_digits[201];	/* "00" to "99" */

size_t	text_number_long(char *to, uint64_t value);

/* Most numbers of a record are small. */
static inline size_t
text_number(char *to, uint64_t value)
{
	if (value < 10) {
		to[0] = (char)('0' + value);
		return 1;
	}
	if (value < 100) {
		memcpy(to, &text_digits[2 * value], 2);
		return 2;
	}
	return text_number_long(to, value);
}

size_t	text_signed(char *to, int64_t value);

/* Address families as the kernel numbers them. */
enum { TEXT_IPV4 = 2, TEXT_IPV6 = 10 };

/*
 * An address of 16 bytes: dotted if the family is TEXT_IPV4 (the first four),
 * else as RFC 5952 says, v4-mapped ones as ::ffff:a.b.c.d.  NULL: all zeros.
 */
size_t	text_address(char *to, uint64_t family, const uint8_t *address);

/* Bytes as two hexadecimal digits each, in lower case. */
size_t	text_bytes(char *to, const uint8_t *bytes, size_t length);

/*
 * The value of a field that is neither string nor bytes: numbers in decimal,
 * enums by name if they have one, addresses.  *bare: JSON needs no quotes
 * around it.
 */
size_t	text_plain(char *to, const struct record *, enum record_index, bool *bare);

/*
 * Strings.  What is not UTF-8 becomes U+FFFD, one for each byte that fits
 * nowhere, so that the output is always UTF-8.
 */
enum text_style {
	TEXT_JSON,	/* what stands between the quotes */
	TEXT_CSV,	/* RFC 4180, with quotes where they are needed; NUL is U+FFFD */
	TEXT_TSV,	/* \t \n \r \b \f \0 and \\ as ClickHouse's TabSeparated has them */
	TEXT_TERMINAL,	/* all that could command a terminal or turn the text is U+FFFD */
	TEXT_UTF8,	/* nothing else is changed */
};
size_t	text_string(char *to, const uint8_t *bytes, size_t length, enum text_style);

/*
 * What stands before a field's value, made once.  It is copied whole, since a
 * fixed length is quicker than the right one; so there has to be room for it.
 */
struct text_label {
	char	bytes[TEXT_LABEL_MAX];
	uint8_t	length;
};

/* The three together are at most TEXT_LABEL_MAX bytes; so they are for any field with 6 bytes around it. */
void	text_label(struct text_label *, const char *before, const char *name, const char *after);

static inline char *
text_label_copy(char *to, const struct text_label *label)
{
	memcpy(to, label->bytes, TEXT_LABEL_MAX);
	return to + label->length;
}

/* Room for more bytes in a buffer that has been written up to at; returns the new at. */
static inline char *
text_room(struct buffer *out, const char *at, size_t more)
{
	out->length = (size_t)((const uint8_t *)at - out->bytes);
	return (char *)buffer_reserve(out, more);
}

/* Columns of a terminal that a text of TEXT_TERMINAL takes. */
size_t	text_columns(const char *text, size_t length);
/* The length of the longest start of the text that takes at most so many. */
size_t	text_fit(const char *text, size_t length, size_t columns);

/* Three digits, a decimal prefix and the unit: "12.3Mbps", "0B", "999B". */
size_t	text_scaled(char *to, uint64_t value, const char *unit);
/* Microseconds as milliseconds: "0.045ms", "1.23ms", "12.3ms", "4294967ms". */
size_t	text_milliseconds(char *to, uint64_t us);

/*
 * The fields that a record has, as a bit set, with the answers for the last
 * few shapes kept: a batch has few of them.  Zeroed memory is a new one.
 */
enum { TEXT_SHAPES = 8 };

struct text_presence {
	struct {
		bool			used;
		struct record_shape	shape;
		uint64_t		implied[RECORD_WORDS];
	} known[TEXT_SHAPES];
	unsigned int next;
};

void	text_present(struct text_presence *, const struct record *, uint64_t present[RECORD_WORDS]);

static inline bool
text_has(const uint64_t present[RECORD_WORDS], unsigned int row)
{
	return present[row / 64] >> (row % 64) & 1;
}

/* True if it is a socket's: the formats for people and sheets take no other. */
static inline bool
text_is_socket(const struct record *record)
{
	return record->values[RECORD_F_record_kind].number != RECORD_KIND_SNAPSHOT_END;
}

#endif
