/* The RLE hybrid, and delta encoding: see parquet_bits.h. */
#include <string.h>

#include "common/varint.h"
#include "shipper/parquet_bits.h"

enum {
	RLE_GROUP = 8,			/* values are bit-packed by eight */
	RLE_GROUPS_MOST = 63,		/* a header of one byte */
	DELTA_BLOCK = 128,
	DELTA_MINIBLOCKS = 4,
	DELTA_MINIBLOCK = DELTA_BLOCK / DELTA_MINIBLOCKS,
};

static void
bits_varint(struct buffer *out, uint64_t value)
{
	out->length += varint_write(buffer_reserve(out, VARINT_MAX), value);
}

/* --- the hybrid -------------------------------------------------------------- */

static void
rle_packed(struct buffer *out, const uint32_t *values, size_t count, unsigned int width)
{
	size_t groups = (count + RLE_GROUP - 1) / RLE_GROUP;
	uint64_t word = 0;
	unsigned int have = 0;
	uint8_t *to;

	if (count == 0)
		return;
	bits_varint(out, groups << 1 | 1);
	to = buffer_reserve(out, groups * width);
	out->length += groups * width;
	for (size_t i = 0; i < groups * RLE_GROUP; i++) {
		word |= (uint64_t)(i < count ? values[i] : 0) << have;
		for (have += width; have >= 8; have -= 8, word >>= 8)
			*to++ = (uint8_t)word;
	}
}

static void
rle_run(struct buffer *out, uint32_t value, size_t count, unsigned int width)
{
	bits_varint(out, count << 1);
	for (unsigned int bit = 0; bit < width; bit += 8) {
		uint8_t byte = (uint8_t)(value >> bit);

		buffer_append(out, &byte, 1);
	}
}

static size_t
rle_same(const uint32_t *values, size_t count)
{
	size_t same = 1;

	while (same < count && values[same] == values[0])
		same++;
	return same;
}

/* A run begins where a group does: bit-packed values cannot end in one's middle. */
void
parquet_rle(struct buffer *out, const uint32_t *values, size_t count, unsigned int width)
{
	size_t packed = 0, at = 0;

	while (at < count) {
		size_t same = rle_same(values + at, count - at);

		if (same >= RLE_GROUP) {
			rle_packed(out, values + at - packed, packed, width);
			rle_run(out, values[at], same, width);
			at += same;
			packed = 0;
			continue;
		}
		at += RLE_GROUP;
		packed += RLE_GROUP;
		if (at >= count || packed == RLE_GROUP * RLE_GROUPS_MOST) {
			size_t over = at > count ? at - count : 0;

			rle_packed(out, values + at - packed, packed - over, width);
			packed = 0;
		}
	}
}

/* --- differences ---------------------------------------------------------------- */

static uint64_t
delta_zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

/* In the column's width: the difference of two 32-bit numbers is one. */
static int64_t
delta_wrap(uint64_t value, unsigned int bits)
{
	return bits == 32 ? (int64_t)(int32_t)(uint32_t)value : (int64_t)value;
}

static void
delta_pack(struct buffer *out, const uint64_t *values, unsigned int width)
{
	uint8_t *to = buffer_reserve(out, DELTA_MINIBLOCK * width / 8);
	__extension__ unsigned __int128 word = 0;
	unsigned int have = 0;

	out->length += DELTA_MINIBLOCK * width / 8;
	for (size_t i = 0; i < DELTA_MINIBLOCK; i++) {
		__extension__ unsigned __int128 value = values[i];

		word |= value << have;
		for (have += width; have >= 8; have -= 8, word >>= 8)
			*to++ = (uint8_t)word;
	}
}

/* count differences, at most DELTA_BLOCK; those that a miniblock lacks are 0. */
static void
delta_block(struct buffer *out, const int64_t *deltas, size_t count)
{
	uint64_t above[DELTA_BLOCK] = { 0 };
	uint8_t widths[DELTA_MINIBLOCKS] = { 0 };
	int64_t least = deltas[0];

	for (size_t i = 1; i < count; i++)
		least = deltas[i] < least ? deltas[i] : least;
	for (size_t i = 0; i < count; i++) {
		unsigned int width;

		above[i] = (uint64_t)deltas[i] - (uint64_t)least;
		width = parquet_bit_width(above[i]);
		if (width > widths[i / DELTA_MINIBLOCK])
			widths[i / DELTA_MINIBLOCK] = (uint8_t)width;
	}
	bits_varint(out, delta_zigzag(least));
	buffer_append(out, widths, sizeof(widths));
	for (size_t i = 0; i < count; i += DELTA_MINIBLOCK)
		delta_pack(out, above + i, widths[i / DELTA_MINIBLOCK]);
}

void
parquet_delta(struct buffer *out, const uint64_t *values, size_t count, unsigned int bits)
{
	int64_t deltas[DELTA_BLOCK];
	size_t n = 0;

	bits_varint(out, DELTA_BLOCK);
	bits_varint(out, DELTA_MINIBLOCKS);
	bits_varint(out, count);
	bits_varint(out, delta_zigzag(count > 0 ? delta_wrap(values[0], bits) : 0));
	for (size_t i = 1; i < count; i++) {
		deltas[n++] = delta_wrap(values[i] - values[i - 1], bits);
		if (n == DELTA_BLOCK) {
			delta_block(out, deltas, n);
			n = 0;
		}
	}
	if (n > 0)
		delta_block(out, deltas, n);
}
