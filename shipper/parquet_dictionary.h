/*
 * The different values of a column, numbered in the order in which they came.
 * Values are bytes, as Parquet's PLAIN encoding has them.
 */
#ifndef SHIPPER_PARQUET_DICTIONARY_H
#define SHIPPER_PARQUET_DICTIONARY_H

#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

enum {
	PARQUET_DICTIONARY_ENTRIES = 32 * 1024,	/* at most */
	PARQUET_DICTIONARY_BYTES = 1024 * 1024,
};

/* Zeroed is an empty one. */
struct parquet_dictionary {
	struct buffer	 plain;		/* the values; the dictionary page's content */
	uint32_t	*starts;	/* of each value's bytes in it, behind the length */
	uint32_t	*ends;
	uint32_t	*slots;		/* hash table of index + 1; 0: free */
	uint32_t	 count;
	uint32_t	 capacity;	/* of starts and ends; slots has twice as many */
};

/*
 * The index of a value, which is added if it is new; -1 when it would be one
 * too many.  prefix: its length stands before it in plain (BYTE_ARRAY).
 */
int64_t	parquet_dictionary_index(struct parquet_dictionary *, const void *bytes, size_t length, int prefix);
/* Forgets the values; the memory is kept. */
void	parquet_dictionary_clear(struct parquet_dictionary *);
void	parquet_dictionary_free(struct parquet_dictionary *);

#endif
