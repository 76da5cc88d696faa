/*
 * A Parquet file, written into memory: flat, every column optional, pages of
 * zstd, statistics and page indexes, so that readers skip what they need not
 * see.  https://github.com/apache/parquet-format, format version 2.
 *
 * Own code, since nothing that writes Parquet is packaged with a C interface
 * (Arrow's is C++ from a foreign archive, DuckDB's is not packaged at all).
 */
#ifndef SHIPPER_PARQUET_H
#define SHIPPER_PARQUET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

enum {
	PARQUET_PAGE_ROWS = 8192,
	PARQUET_GROUP_ROWS = 15 * PARQUET_PAGE_ROWS,	/* 122,880: what DuckDB and others like */
	PARQUET_BYTES_MAX = 1024 * 1024,		/* of one value */
};

enum parquet_type {
	PARQUET_UINT32, PARQUET_UINT64,
	PARQUET_TIMESTAMP,	/* ns since 1970, UTC; signed */
	PARQUET_STRING,		/* UTF-8 */
	PARQUET_BYTES,
	PARQUET_FIXED16,	/* 16 bytes */
};

struct parquet_field {
	const char		*name;		/* static */
	enum parquet_type	 type;
};

/* Names and values in the footer, for people. */
struct parquet_note {
	const char	*key, *value;
};

struct parquet;

/*
 * level: zstd's.  The fields are copied.  Memory: about 100 KiB a column that
 * has values, and the compressed pages of a row group.
 */
struct parquet	*parquet_new(const struct parquet_field *, size_t count, int level);
void		 parquet_free(struct parquet *);
/* The values of the row at hand, each column at most once; the others are null. */
void		 parquet_number(struct parquet *, size_t column, uint64_t);
void		 parquet_bytes(struct parquet *, size_t column, const void *, size_t length);
/*
 * The row is complete; row groups are appended to out as they become full.
 * What was appended may be taken out of it at any time between two calls.
 */
void		 parquet_row(struct parquet *, struct buffer *out);
/* Rows since parquet_new or the last parquet_finish. */
uint64_t	 parquet_rows(const struct parquet *);
/* About how large the file would be if it ended now; what is not yet in pages counts as it is. */
uint64_t	 parquet_size(const struct parquet *);
/* Appends the rest and the footer: the file is whole, and the next row begins a new one. */
void		 parquet_finish(struct parquet *, struct buffer *out, const struct parquet_note *, size_t notes);

#endif
