/* UTF-8 as RFC 3629 has it. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The length of the character at the start of so many bytes; 0 if there is
 * none: a wrong or missing byte, one longer than it needs to be, a surrogate,
 * or beyond U+10FFFF.
 */
static inline size_t
utf8_character(const uint8_t *bytes, size_t length)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c;
	size_t i, n;

	if (length == 0)
		return 0;
	if (bytes[0] < 0x80)
		return 1;
	n = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
	if (bytes[0] < 0xc0 || bytes[0] > 0xf4 || n > length)
		return 0;
	c = bytes[0] & (0x7fU >> n);
	for (i = 1; i < n; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (bytes[i] & 0x3fU);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return n;
}

/* True for a C0 or C1 control character, or DEL, of so many bytes. */
static inline bool
utf8_control(const uint8_t *character, size_t length)
{
	if (length == 1)
		return character[0] < 0x20 || character[0] == 0x7f;
	return length == 2 && character[0] == 0xc2 && character[1] < 0xa0;
}

#endif
