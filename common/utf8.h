/* Text that comes from outside and must be valid before it is identity. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Bytes of the character at text, which has at most length bytes: 1 to 4, or 0
 * if it is none (overlong, surrogate, above U+10FFFF, cut short).  RFC 3629.
 */
size_t	utf8_sequence(const unsigned char *text, size_t length);
/*
 * The same, and 0 for a control character: below U+0020, U+007F to U+009F, those
 * that end a line or turn its direction (U+2028 to U+202E, U+2066 to U+2069).
 */
size_t	utf8_character(const unsigned char *text, size_t length);
/* True if all of it is such characters. */
bool	utf8_valid(const char *text, size_t length);
/* Replaces every byte of a string that belongs to no such character by '_'. */
void	utf8_clean(char *text);

#endif
