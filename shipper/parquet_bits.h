/*
 * Two of Parquet's encodings of whole numbers:
 * https://github.com/apache/parquet-format/blob/master/Encodings.md
 */
#ifndef SHIPPER_PARQUET_BITS_H
#define SHIPPER_PARQUET_BITS_H

#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

/* The bits that a value takes; 0 takes none. */
static inline unsigned int
parquet_bit_width(uint64_t value)
{
	return value == 0 ? 0 : 64 - (unsigned int)__builtin_clzll(value);
}

/*
 * The RLE / bit-packing hybrid: runs of eight and more of the same value are
 * written once, the others as they are, in width bits each (1 to 32).
 */
void	parquet_rle(struct buffer *out, const uint32_t *values, size_t count, unsigned int width);
/*
 * DELTA_BINARY_PACKED: the differences from value to value, less the smallest
 * of their block, in as many bits as the largest takes.  bits: 32 or 64, the
 * column's type, in which the differences wrap around.
 */
void	parquet_delta(struct buffer *out, const uint64_t *values, size_t count, unsigned int bits);

#endif
