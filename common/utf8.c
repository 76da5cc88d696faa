/* UTF-8, RFC 3629. */
#include <stdint.h>
#include <string.h>

#include "common/utf8.h"

size_t
utf8_sequence(const unsigned char *text, size_t length)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t value;
	size_t bytes;

	if (length == 0)
		return 0;
	if (text[0] < 0x80)
		return 1;
	bytes = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	if (text[0] < 0xc2 || text[0] > 0xf4 || bytes > length)
		return 0;
	value = text[0] & (0x7fU >> bytes);
	for (size_t i = 1; i < bytes; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (text[i] & 0x3f);
	}
	if (value < least[bytes] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return 0;
	return bytes;
}

/*
 * U+2028 and U+2029 end a line for many readers; U+202A to U+202E and U+2066 to
 * U+2069 turn the order in which a person reads what stands around them.
 */
static bool
utf8_misleads(const unsigned char *text)
{
	return text[0] == 0xe2 && ((text[1] == 0x80 && text[2] >= 0xa8 && text[2] <= 0xae) ||
	    (text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9));
}

size_t
utf8_character(const unsigned char *text, size_t length)
{
	size_t bytes = utf8_sequence(text, length);

	/* U+0080 to U+009F: a terminal may obey them too. */
	if ((bytes == 1 && (text[0] < ' ' || text[0] == 0x7f)) ||
	    (bytes == 2 && text[0] == 0xc2 && text[1] < 0xa0) || (bytes == 3 && utf8_misleads(text)))
		return 0;
	return bytes;
}

bool
utf8_valid(const char *text, size_t length)
{
	for (size_t at = 0, n; at < length; at += n)
		if ((n = utf8_character((const unsigned char *)text + at, length - at)) == 0)
			return false;
	return true;
}

void
utf8_clean(char *text)
{
	size_t length = strlen(text);

	for (size_t at = 0, n; at < length; at += n) {
		n = utf8_character((const unsigned char *)text + at, length - at);
		if (n == 0) {
			text[at] = '_';
			n = 1;
		}
	}
}
