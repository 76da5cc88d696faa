/* Protobuf's base-128 varints, as far as more than one program writes them. */
#ifndef COMMON_VARINT_H
#define COMMON_VARINT_H

#include <stddef.h>
#include <stdint.h>

enum { VARINT_MAX = 10 };	/* bytes of the longest */

/* Writes value at to, which has room for VARINT_MAX; returns its length. */
static inline size_t
varint_write(uint8_t *to, uint64_t value)
{
	size_t n = 0;

	while (value >= 0x80) {
		to[n++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	to[n++] = (uint8_t)value;
	return n;
}

/*
 * Reads a varint of at most length bytes.  Returns its length, or 0 if it does
 * not end in them, has more than ten bytes or more than 64 bits, or is longer
 * than it needs to be (not canonical).
 */
static inline size_t
varint_read(const uint8_t *from, size_t length, uint64_t *value)
{
	uint64_t v = 0;
	size_t n;

	for (n = 0; n < length && n < VARINT_MAX; n++) {
		if (n == 9 && from[n] > 1)
			return 0;
		v |= (uint64_t)(from[n] & 0x7f) << (7 * n);
		if (from[n] & 0x80)
			continue;
		if (n > 0 && from[n] == 0)
			return 0;
		*value = v;
		return n + 1;
	}
	return 0;
}

#endif
