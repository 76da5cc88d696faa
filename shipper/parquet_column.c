/* A column: pages, statistics, and what the footer says of them. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/parquet_bits.h"
#include "shipper/parquet_column.h"

/* parquet.thrift: Type, Encoding, PageType, CompressionCodec. */
enum { TYPE_INT32 = 1, TYPE_INT64 = 2, TYPE_BYTE_ARRAY = 6, TYPE_FIXED = 7 };
enum { ENCODING_PLAIN = 0, ENCODING_RLE = 3, ENCODING_DELTA = 5, ENCODING_RLE_DICTIONARY = 8 };
enum { PAGE_DATA = 0, PAGE_DICTIONARY = 2 };
enum { CODEC_ZSTD = 6 };

enum { COLUMN_LENGTH_BITS = 32, COLUMN_FIXED = 16, COLUMN_WAYS = 3, COLUMN_LIKING = 32 };

static const int32_t column_encodings[] = {
	[PARQUET_DICTIONARY] = ENCODING_RLE_DICTIONARY,
	[PARQUET_DELTA] = ENCODING_DELTA,
	[PARQUET_PLAIN] = ENCODING_PLAIN,
};

static const struct {
	int32_t		type;
	unsigned int	bits;		/* of a number; 0: bytes */
	bool		prefix;		/* its length stands before a value */
} column_types[] = {
	[PARQUET_UINT32] = { TYPE_INT32, 32, false },
	[PARQUET_UINT64] = { TYPE_INT64, 64, false },
	[PARQUET_TIMESTAMP] = { TYPE_INT64, 64, false },
	[PARQUET_STRING] = { TYPE_BYTE_ARRAY, 0, true },
	[PARQUET_BYTES] = { TYPE_BYTE_ARRAY, 0, true },
	[PARQUET_FIXED16] = { TYPE_FIXED, 0, false },
};

static bool
column_is_number(const struct parquet_column *column)
{
	return column_types[column->field.type].bits > 0;
}

void
parquet_column_init(struct parquet_column *column, const struct parquet_field *field)
{
	*column = (struct parquet_column){ .field = *field };
}

/* Columns without values, as there are many, cost nothing. */
static void
column_allocate(struct parquet_column *column)
{
	column->levels = calloc(PARQUET_PAGE_ROWS, sizeof(column->levels[0]));
	column->values = malloc(PARQUET_PAGE_ROWS * sizeof(column->values[0]));
	if (column->levels == NULL || column->values == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: column %s", column->field.name);
}

/* --- bounds --------------------------------------------------------------------- */

/* What a bound is as bytes: PLAIN, without a length. */
static void
column_bound_bytes(const struct parquet_column *column, const struct parquet_bound *bound, struct buffer *out)
{
	if (column_is_number(column))
		buffer_append(out, &bound->number, column_types[column->field.type].bits / 8);
	else
		buffer_append(out, bound->bytes.bytes, bound->bytes.length);
}

/* Numbers have no sign, but for the time: as the column's logical type says. */
static bool
column_less(const struct parquet_column *column, uint64_t a, uint64_t b)
{
	return column->field.type == PARQUET_TIMESTAMP ? (int64_t)a < (int64_t)b : a < b;
}

static void
column_bound_number(const struct parquet_column *column, struct parquet_bounds *bounds, uint64_t value)
{
	if (!bounds->least.set || column_less(column, value, bounds->least.number))
		bounds->least.number = value;
	if (!bounds->most.set || column_less(column, bounds->most.number, value))
		bounds->most.number = value;
	bounds->least.set = bounds->most.set = true;
}

static int
column_compare(const struct buffer *bound, const void *bytes, size_t length)
{
	size_t both = length < bound->length ? length : bound->length;
	int order = both == 0 ? 0 : memcmp(bytes, bound->bytes, both);

	return order != 0 ? order : (length > bound->length) - (length < bound->length);
}

static void
column_bound_set(struct parquet_bound *bound, const void *bytes, size_t length)
{
	bound->set = true;
	bound->bytes.length = 0;
	buffer_append(&bound->bytes, bytes, length);
}

static void
column_bound_text(struct parquet_bounds *bounds, const void *bytes, size_t length)
{
	if (!bounds->least.set || column_compare(&bounds->least.bytes, bytes, length) < 0)
		column_bound_set(&bounds->least, bytes, length);
	if (!bounds->most.set || column_compare(&bounds->most.bytes, bytes, length) > 0)
		column_bound_set(&bounds->most, bytes, length);
}

static void
column_bounds_add(const struct parquet_column *column, struct parquet_bounds *all, const struct parquet_bounds *page)
{
	if (!page->least.set)
		return;
	if (column_is_number(column)) {
		column_bound_number(column, all, page->least.number);
		column_bound_number(column, all, page->most.number);
	} else {
		column_bound_text(all, page->least.bytes.bytes, page->least.bytes.length);
		column_bound_text(all, page->most.bytes.bytes, page->most.bytes.length);
	}
}

static void
column_bounds_clear(struct parquet_bounds *bounds)
{
	bounds->least.set = bounds->most.set = false;
}

static void
column_bounds_free(struct parquet_bounds *bounds)
{
	buffer_free(&bounds->least.bytes);
	buffer_free(&bounds->most.bytes);
}

/* --- values ---------------------------------------------------------------------- */

static void
column_add(struct parquet_column *column, uint32_t row, uint64_t value)
{
	column->levels[row] = 1;
	column->values[column->count++] = value;
}

void
parquet_column_number(struct parquet_column *column, uint32_t row, uint64_t value)
{
	if (column->levels == NULL)
		column_allocate(column);
	if (column->count == 0 || column->values[column->count - 1] != value)
		column_bound_number(column, &column->bounds, value);
	column_add(column, row, value);
}

static const uint8_t *
column_text(const struct parquet_column *column, uint32_t i, size_t *length)
{
	*length = (uint32_t)column->values[i];
	if (*length == 0)
		return (const uint8_t *)"";	/* where there may be no text at all */
	return column->text.bytes + (column->values[i] >> COLUMN_LENGTH_BITS);
}

/* Most strings are what they were in the row before: then nothing is copied. */
static bool
column_again(const struct parquet_column *column, const void *bytes, size_t length)
{
	const uint8_t *last;
	size_t before;

	if (column->count == 0)
		return false;
	last = column_text(column, column->count - 1, &before);
	return before == length && (length == 0 || memcmp(last, bytes, length) == 0);
}

void
parquet_column_bytes(struct parquet_column *column, uint32_t row, const void *bytes, size_t length)
{
	assert(length <= PARQUET_BYTES_MAX);
	if (column->levels == NULL)
		column_allocate(column);
	if (column_again(column, bytes, length)) {
		column_add(column, row, column->values[column->count - 1]);
		return;
	}
	column_bound_text(&column->bounds, bytes, length);
	column_add(column, row, (uint64_t)column->text.length << COLUMN_LENGTH_BITS | length);
	buffer_append(&column->text, bytes, length);
}

/* --- encodings --------------------------------------------------------------------- */

static bool
column_plain(struct parquet_column *column, struct parquet_press *press, struct buffer *out)
{
	size_t size = column_types[column->field.type].bits / 8;

	(void)press;
	for (uint32_t i = 0; i < column->count; i++) {
		size_t length = size;
		const void *from = &column->values[i];

		if (size == 0)
			from = column_text(column, i, &length);
		if (column_types[column->field.type].prefix)
			buffer_append(out, &(uint32_t){ (uint32_t)length }, sizeof(uint32_t));
		buffer_append(out, from, length);
	}
	return true;
}

static bool
column_delta(struct parquet_column *column, struct parquet_press *press, struct buffer *out)
{
	(void)press;
	if (!column_is_number(column))
		return false;
	parquet_delta(out, column->values, column->count, column_types[column->field.type].bits);
	return true;
}

static int64_t
column_look_up(struct parquet_column *column, uint32_t i)
{
	size_t length = column_types[column->field.type].bits / 8;
	const void *from = &column->values[i];

	if (length == 0)
		from = column_text(column, i, &length);
	return parquet_dictionary_index(&column->dictionary, from, length, column_types[column->field.type].prefix);
}

/* False when there are too many different values. */
static bool
column_dictionary(struct parquet_column *column, struct parquet_press *press, struct buffer *out)
{
	uint8_t width;

	for (uint32_t i = 0; i < column->count; i++) {
		int64_t index;

		if (i > 0 && column->values[i] == column->values[i - 1])
			index = press->indices[i - 1];
		else
			index = column_look_up(column, i);
		if (index == -1)
			return false;
		press->indices[i] = (uint32_t)index;
	}
	/* Width 0 is allowed for a single value, but not every reader's joy. */
	width = (uint8_t)parquet_bit_width(column->dictionary.count > 1 ? column->dictionary.count - 1 : 1);
	buffer_append(out, &width, 1);
	parquet_rle(out, press->indices, column->count, width);
	return true;
}

typedef bool (*column_encode_fn)(struct parquet_column *, struct parquet_press *, struct buffer *);

static const column_encode_fn column_encode[] = {
	[PARQUET_DICTIONARY] = column_dictionary,
	[PARQUET_DELTA] = column_delta,
	[PARQUET_PLAIN] = column_plain,
};

/* --- pages ------------------------------------------------------------------------- */

static void
press_pack(struct parquet_press *press, const struct buffer *from, struct buffer *out)
{
	size_t bound = ZSTD_compressBound(from->length);
	size_t n = ZSTD_compressCCtx(press->zstd, buffer_reserve(out, bound), bound, from->bytes, from->length, press->level);

	if (ZSTD_isError(n))
		fatal(EXIT_CODE_SYSTEM, "zstd: %s", ZSTD_getErrorName(n));
	out->length += n;
}

/* Definition levels: a length of four bytes, then the hybrid in one bit. */
static void
column_levels(struct parquet_column *column, struct parquet_press *press, uint32_t rows)
{
	uint32_t length;

	press->levels.length = 0;
	buffer_append(&press->levels, &(uint32_t){ 0 }, sizeof(uint32_t));
	for (uint32_t row = 0; row < rows; row++)
		press->indices[row] = column->levels != NULL ? column->levels[row] : 0;
	parquet_rle(&press->levels, press->indices, rows, 1);
	length = (uint32_t)(press->levels.length - sizeof(length));
	memcpy(press->levels.bytes, &length, sizeof(length));
}

/* Encodes in one way behind the levels and packs into press->packed; false if it cannot be. */
static bool
column_try(struct parquet_column *column, struct parquet_press *press, enum parquet_way way)
{
	press->values.length = press->packed.length = 0;
	buffer_append(&press->values, press->levels.bytes, press->levels.length);
	if (!column_encode[way](column, press, &press->values))
		return false;
	press_pack(press, &press->values, &press->packed);
	return true;
}

/* What a dictionary page would add. */
static size_t
column_dictionary_cost(struct parquet_column *column, struct parquet_press *press)
{
	press->best.length = 0;
	press_pack(press, &column->dictionary.plain, &press->best);
	return press->best.length;
}

/*
 * Readers like dictionaries: they compare a value once for all rows.  So one
 * may cost a little more.
 */
static size_t
column_cost(struct parquet_column *column, struct parquet_press *press, enum parquet_way way)
{
	size_t cost = press->packed.length;

	if (way != PARQUET_DICTIONARY)
		return cost + cost / COLUMN_LIKING + COLUMN_LIKING;
	return cost + column_dictionary_cost(column, press);
}

static enum parquet_way
column_choose(struct parquet_column *column, struct parquet_press *press)
{
	enum parquet_way best = PARQUET_PLAIN;
	size_t least = SIZE_MAX;

	for (enum parquet_way way = PARQUET_DICTIONARY; way <= PARQUET_PLAIN; way++) {
		size_t cost;

		if (!column_try(column, press, way))
			continue;
		/* One value for all rows, as in most columns. */
		if (way == PARQUET_DICTIONARY && column->dictionary.count == 1)
			return way;
		cost = column_cost(column, press, way);
		if (cost < least) {
			least = cost;
			best = way;
		}
	}
	if (best != PARQUET_DICTIONARY)
		parquet_dictionary_clear(&column->dictionary);
	return best;
}

static void
column_header(struct buffer *out, int32_t type, size_t plain, size_t packed, uint32_t values, int32_t encoding)
{
	struct thrift thrift = { .out = out };

	thrift_struct_begin(&thrift);
	thrift_field_i32(&thrift, 1, type);
	thrift_field_i32(&thrift, 2, (int32_t)plain);
	thrift_field_i32(&thrift, 3, (int32_t)packed);
	thrift_field_struct(&thrift, type == PAGE_DATA ? 5 : 7);
	thrift_field_i32(&thrift, 1, (int32_t)values);
	thrift_field_i32(&thrift, 2, encoding);
	if (type == PAGE_DATA) {
		thrift_field_i32(&thrift, 3, ENCODING_RLE);
		thrift_field_i32(&thrift, 4, ENCODING_RLE);
	}
	thrift_struct_end(&thrift);
	thrift_struct_end(&thrift);
}

static struct parquet_page *
column_new_page(struct parquet_column *column)
{
	struct parquet_page *index = reallocarray(column->index, column->npages + 1, sizeof(*index));

	if (index == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: pages of column %s", column->field.name);
	column->index = index;
	index[column->npages] = (struct parquet_page){
		.offset = column->pages.length,
		.first_row = column->total,
	};
	return &index[column->npages++];
}

static void
column_reset_page(struct parquet_column *column)
{
	if (column->levels != NULL)
		memset(column->levels, 0, PARQUET_PAGE_ROWS);
	column->count = 0;
	column->text.length = 0;
	column_bounds_clear(&column->bounds);
}

void
parquet_column_page(struct parquet_column *column, struct parquet_press *press, uint32_t rows)
{
	struct parquet_page *page = column_new_page(column);
	size_t before = column->pages.length;
	enum parquet_way way = column->way;

	column_levels(column, press, rows);
	if (column->count == 0)
		way = PARQUET_PLAIN;
	else if (way == PARQUET_UNDECIDED)
		way = column->way = column_choose(column, press);
	if (!column_try(column, press, way)) {
		/* The dictionary is full: it stays for the pages that use it. */
		way = column->way = column_is_number(column) ? PARQUET_DELTA : PARQUET_PLAIN;
		column_try(column, press, way);
	}
	column_header(&column->pages, PAGE_DATA, press->values.length, press->packed.length, rows, column_encodings[way]);
	column->plain_size += column->pages.length - before + press->values.length;
	buffer_append(&column->pages, press->packed.bytes, press->packed.length);
	column->used[way - 1]++;
	page->size = (uint32_t)(column->pages.length - before);
	page->nulls = rows - column->count;
	page->only_nulls = column->count == 0;
	if (column->bounds.least.set) {
		column_bound_bytes(column, &column->bounds.least, &page->least);
		column_bound_bytes(column, &column->bounds.most, &page->most);
	}
	column_bounds_add(column, &column->all, &column->bounds);
	column->total += rows;
	column->nulls += page->nulls;
	column_reset_page(column);
}

/* --- the chunk ------------------------------------------------------------------------ */

static void
column_statistics(const struct parquet_column *column, struct thrift *thrift)
{
	struct buffer bytes = { 0 };

	thrift_field_struct(thrift, 12);
	thrift_field_i64(thrift, 3, (int64_t)column->nulls);
	if (column->all.least.set) {
		column_bound_bytes(column, &column->all.most, &bytes);
		thrift_field_binary(thrift, 5, bytes.bytes, bytes.length);
		bytes.length = 0;
		column_bound_bytes(column, &column->all.least, &bytes);
		thrift_field_binary(thrift, 6, bytes.bytes, bytes.length);
	}
	thrift_struct_end(thrift);
	buffer_free(&bytes);
}

/* RLE is that of the levels; PLAIN also that of a dictionary's values. */
static void
column_used_encodings(const struct parquet_column *column, struct thrift *thrift)
{
	bool plain = column->used[PARQUET_PLAIN - 1] > 0 || column->used[PARQUET_DICTIONARY - 1] > 0;
	bool delta = column->used[PARQUET_DELTA - 1] > 0, dictionary = column->used[PARQUET_DICTIONARY - 1] > 0;

	thrift_field_list(thrift, 2, THRIFT_I32, 1U + plain + delta + dictionary);
	thrift_i32(thrift, ENCODING_RLE);
	if (plain)
		thrift_i32(thrift, ENCODING_PLAIN);
	if (delta)
		thrift_i32(thrift, ENCODING_DELTA);
	if (dictionary)
		thrift_i32(thrift, ENCODING_RLE_DICTIONARY);
}

static void
column_page_counts(const struct parquet_column *column, struct thrift *thrift)
{
	size_t kinds = column->used[PARQUET_DICTIONARY - 1] > 0;

	for (size_t i = 0; i < COLUMN_WAYS; i++)
		kinds += column->used[i] > 0;
	thrift_field_list(thrift, 13, THRIFT_STRUCT, kinds);
	if (column->used[PARQUET_DICTIONARY - 1] > 0) {
		thrift_struct_begin(thrift);
		thrift_field_i32(thrift, 1, PAGE_DICTIONARY);
		thrift_field_i32(thrift, 2, ENCODING_PLAIN);
		thrift_field_i32(thrift, 3, 1);
		thrift_struct_end(thrift);
	}
	for (enum parquet_way way = PARQUET_DICTIONARY; way <= PARQUET_PLAIN; way++) {
		if (column->used[way - 1] == 0)
			continue;
		thrift_struct_begin(thrift);
		thrift_field_i32(thrift, 1, PAGE_DATA);
		thrift_field_i32(thrift, 2, column_encodings[way]);
		thrift_field_i32(thrift, 3, (int32_t)column->used[way - 1]);
		thrift_struct_end(thrift);
	}
}

static void
column_describe(const struct parquet_column *column, struct thrift *thrift, uint64_t start, uint64_t first_page, size_t packed)
{
	thrift_struct_begin(thrift);
	thrift_field_i32(thrift, 1, column_types[column->field.type].type);
	column_used_encodings(column, thrift);
	thrift_field_list(thrift, 3, THRIFT_BINARY, 1);
	thrift_binary(thrift, column->field.name, strlen(column->field.name));
	thrift_field_i32(thrift, 4, CODEC_ZSTD);
	thrift_field_i64(thrift, 5, (int64_t)column->total);
	thrift_field_i64(thrift, 6, (int64_t)column->plain_size);
	thrift_field_i64(thrift, 7, (int64_t)packed);
	thrift_field_i64(thrift, 9, (int64_t)first_page);
	if (first_page != start)
		thrift_field_i64(thrift, 11, (int64_t)start);
	column_statistics(column, thrift);
	column_page_counts(column, thrift);
	thrift_struct_end(thrift);
}

void
parquet_column_chunk(struct parquet_column *column, struct parquet_press *press, struct buffer *out, uint64_t base,
    struct thrift *metadata, uint64_t *first_page)
{
	const struct parquet_dictionary *dictionary = &column->dictionary;
	uint64_t start = base + out->length;
	size_t before = out->length;

	if (column->used[PARQUET_DICTIONARY - 1] > 0) {
		press->packed.length = 0;
		press_pack(press, &dictionary->plain, &press->packed);
		column_header(out, PAGE_DICTIONARY, dictionary->plain.length, press->packed.length, dictionary->count, ENCODING_PLAIN);
		column->plain_size += out->length - before + dictionary->plain.length;
		buffer_append(out, press->packed.bytes, press->packed.length);
	}
	*first_page = base + out->length;
	buffer_append(out, column->pages.bytes, column->pages.length);
	column_describe(column, metadata, start, *first_page, out->length - before);
}

void
parquet_column_index(const struct parquet_column *column, struct buffer *out)
{
	struct thrift thrift = { .out = out };
	size_t i;

	thrift_struct_begin(&thrift);
	thrift_field_list(&thrift, 1, THRIFT_TRUE, column->npages);
	for (i = 0; i < column->npages; i++)
		thrift_bool(&thrift, column->index[i].only_nulls);
	thrift_field_list(&thrift, 2, THRIFT_BINARY, column->npages);
	for (i = 0; i < column->npages; i++)
		thrift_binary(&thrift, column->index[i].least.bytes, column->index[i].least.length);
	thrift_field_list(&thrift, 3, THRIFT_BINARY, column->npages);
	for (i = 0; i < column->npages; i++)
		thrift_binary(&thrift, column->index[i].most.bytes, column->index[i].most.length);
	thrift_field_i32(&thrift, 4, 0);	/* in no order */
	thrift_field_list(&thrift, 5, THRIFT_I64, column->npages);
	for (i = 0; i < column->npages; i++)
		thrift_i64(&thrift, (int64_t)column->index[i].nulls);
	thrift_struct_end(&thrift);
}

void
parquet_column_offsets(const struct parquet_column *column, uint64_t first_page, struct buffer *out)
{
	struct thrift thrift = { .out = out };

	thrift_struct_begin(&thrift);
	thrift_field_list(&thrift, 1, THRIFT_STRUCT, column->npages);
	for (size_t i = 0; i < column->npages; i++) {
		thrift_struct_begin(&thrift);
		thrift_field_i64(&thrift, 1, (int64_t)(first_page + column->index[i].offset));
		thrift_field_i32(&thrift, 2, (int32_t)column->index[i].size);
		thrift_field_i64(&thrift, 3, (int64_t)column->index[i].first_row);
		thrift_struct_end(&thrift);
	}
	thrift_struct_end(&thrift);
}

/* --- the end --------------------------------------------------------------------------- */

void
parquet_column_clear(struct parquet_column *column)
{
	for (size_t i = 0; i < column->npages; i++) {
		buffer_free(&column->index[i].least);
		buffer_free(&column->index[i].most);
	}
	column->npages = 0;
	column->pages.length = 0;
	column->total = column->nulls = column->plain_size = 0;
	column->way = PARQUET_UNDECIDED;
	memset(column->used, 0, sizeof(column->used));
	parquet_dictionary_clear(&column->dictionary);
	column_bounds_clear(&column->all);
	column_reset_page(column);
}

void
parquet_column_free(struct parquet_column *column)
{
	parquet_column_clear(column);
	parquet_dictionary_free(&column->dictionary);
	column_bounds_free(&column->bounds);
	column_bounds_free(&column->all);
	buffer_free(&column->text);
	buffer_free(&column->pages);
	free(column->index);
	free(column->levels);
	free(column->values);
}
