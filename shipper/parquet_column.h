/*
 * One column of a row group: values come in row by row, and leave as pages,
 * compressed, with their statistics.  A page's encoding is the one that made
 * the column chunk's first page the smallest.
 */
#ifndef SHIPPER_PARQUET_COLUMN_H
#define SHIPPER_PARQUET_COLUMN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zstd.h>

#include "shipper/parquet.h"
#include "shipper/parquet_dictionary.h"
#include "shipper/thrift.h"

enum parquet_way { PARQUET_UNDECIDED, PARQUET_DICTIONARY, PARQUET_DELTA, PARQUET_PLAIN };

/* Bytes of a value at an end of the column's order. */
struct parquet_bound {
	bool		set;
	uint64_t	number;
	struct buffer	bytes;
};

struct parquet_bounds {
	struct parquet_bound least, most;
};

struct parquet_page {
	uint64_t	 offset;	/* in the chunk's pages */
	uint32_t	 size;		/* with its header */
	uint64_t	 first_row;	/* in the row group */
	uint64_t	 nulls;
	bool		 only_nulls;
	struct buffer	 least, most;	/* as statistics have them */
};

struct parquet_column {
	struct parquet_field	 field;
	/* the page that is being filled */
	uint8_t			*levels;	/* by row: 1 has a value */
	uint64_t		*values;	/* numbers; or of bytes: where in text, and length */
	uint32_t		 count;		/* of values */
	struct buffer		 text;
	struct parquet_bounds	 bounds;
	/* the chunk */
	enum parquet_way	 way;
	struct parquet_dictionary dictionary;
	struct buffer		 pages;
	struct parquet_page	*index;
	size_t			 npages;
	uint64_t		 total, nulls;	/* rows; of them without value */
	uint64_t		 plain_size;	/* bytes of the pages before compression */
	struct parquet_bounds	 all;
	uint32_t		 used[3];	/* pages by way - 1 */
};

/* What all columns share while a page is made. */
struct parquet_press {
	ZSTD_CCtx	*zstd;
	int		 level;
	struct buffer	 levels, values, best, packed;
	uint32_t	*indices;	/* PARQUET_PAGE_ROWS */
};

void	parquet_column_init(struct parquet_column *, const struct parquet_field *);
void	parquet_column_free(struct parquet_column *);
/* The value of a row of the page; rows that are never named have none. */
void	parquet_column_number(struct parquet_column *, uint32_t row, uint64_t);
void	parquet_column_bytes(struct parquet_column *, uint32_t row, const void *, size_t length);
/* Closes the page, which has so many rows. */
void	parquet_column_page(struct parquet_column *, struct parquet_press *, uint32_t rows);
/*
 * The chunk: appends dictionary and pages to out, whose first byte stands at
 * base in the file, and describes it as a ColumnMetaData (a struct that is no
 * field).  Then the column indexes; then it is forgotten.
 */
void	parquet_column_chunk(struct parquet_column *, struct parquet_press *, struct buffer *out, uint64_t base,
	    struct thrift *metadata, uint64_t *first_page);
void	parquet_column_index(const struct parquet_column *, struct buffer *out);
void	parquet_column_offsets(const struct parquet_column *, uint64_t first_page, struct buffer *out);
void	parquet_column_clear(struct parquet_column *);

#endif
