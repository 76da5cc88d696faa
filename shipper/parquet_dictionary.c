/* A dictionary by open addressing: see parquet_dictionary.h. */
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/parquet_dictionary.h"

enum { DICTIONARY_FIRST = 64 };

/* FNV-1a over words of eight bytes, mixed at the end: values are short. */
static uint64_t
dictionary_hash(const uint8_t *bytes, size_t length)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ length, word;

	for (; length >= sizeof(word); bytes += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	word = 0;
	if (length > 0)
		memcpy(&word, bytes, length);
	hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

/* The slot of a value, or the free one where it belongs. */
static uint32_t *
dictionary_slot(const struct parquet_dictionary *d, const void *bytes, size_t length)
{
	uint64_t mask = 2 * (uint64_t)d->capacity - 1;

	for (uint64_t at = dictionary_hash(bytes, length) & mask;; at = (at + 1) & mask) {
		uint32_t *slot = &d->slots[at];

		if (*slot == 0)
			return slot;
		if (d->ends[*slot - 1] - d->starts[*slot - 1] == length &&
		    (length == 0 || memcmp(d->plain.bytes + d->starts[*slot - 1], bytes, length) == 0))
			return slot;
	}
}

static void *
dictionary_array(void *old, size_t count)
{
	void *array = reallocarray(old, count, sizeof(uint32_t));

	if (array == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a dictionary of %zu values", count);
	return array;
}

static void
dictionary_grow(struct parquet_dictionary *d)
{
	d->capacity = d->capacity == 0 ? DICTIONARY_FIRST : d->capacity * 2;
	d->starts = dictionary_array(d->starts, d->capacity);
	d->ends = dictionary_array(d->ends, d->capacity);
	d->slots = dictionary_array(d->slots, 2 * (size_t)d->capacity);
	memset(d->slots, 0, 2 * (size_t)d->capacity * sizeof(d->slots[0]));
	for (uint32_t i = 0; i < d->count; i++)
		*dictionary_slot(d, d->plain.bytes + d->starts[i], d->ends[i] - d->starts[i]) = i + 1;
}

static void
dictionary_add(struct parquet_dictionary *d, const void *bytes, size_t length, int prefix)
{
	uint32_t size = (uint32_t)length;

	/* Little-endian, as everything in the file. */
	if (prefix)
		buffer_append(&d->plain, &size, sizeof(size));
	d->starts[d->count] = (uint32_t)d->plain.length;
	buffer_append(&d->plain, bytes, length);
	d->ends[d->count] = (uint32_t)d->plain.length;
	d->count++;
}

int64_t
parquet_dictionary_index(struct parquet_dictionary *d, const void *bytes, size_t length, int prefix)
{
	uint32_t *slot;

	if (d->count == d->capacity)
		dictionary_grow(d);
	slot = dictionary_slot(d, bytes, length);
	if (*slot == 0) {
		if (d->count == PARQUET_DICTIONARY_ENTRIES || d->plain.length + length > PARQUET_DICTIONARY_BYTES)
			return -1;
		dictionary_add(d, bytes, length, prefix);
		*slot = d->count;
	}
	return *slot - 1;
}

void
parquet_dictionary_clear(struct parquet_dictionary *d)
{
	d->plain.length = 0;
	d->count = 0;
	if (d->slots != NULL)
		memset(d->slots, 0, 2 * (size_t)d->capacity * sizeof(d->slots[0]));
}

void
parquet_dictionary_free(struct parquet_dictionary *d)
{
	buffer_free(&d->plain);
	free(d->starts);
	free(d->ends);
	free(d->slots);
	*d = (struct parquet_dictionary){ 0 };
}
