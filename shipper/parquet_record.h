/*
 * Records as rows of a Parquet file.  The columns are made of record.def, so
 * that a new field is a new column by itself: a number is one without sign,
 * timestamp_ns a TIMESTAMP, an enum or a TCP state its name, and an address
 * two columns, its 16 bytes and NAME_text.  A field that a record does not
 * have is null; zero is zero.
 *
 * Sockets and snapshot ends are data sets of their own, in files of their own.
 */
#ifndef SHIPPER_PARQUET_RECORD_H
#define SHIPPER_PARQUET_RECORD_H

#include "common/buffer.h"
#include "common/record_reader.h"
#include "shipper/parquet.h"

enum parquet_set { PARQUET_SOCKETS, PARQUET_SNAPSHOTS };

enum { PARQUET_LEVEL = 3 };	/* zstd's, where none is asked for */

struct parquet_records;

struct parquet_records	*parquet_records_new(enum parquet_set, int level);
void			 parquet_records_free(struct parquet_records *);
/* Adds the record if it belongs to the set; true if it does. */
bool			 parquet_records_add(struct parquet_records *, const struct record *, struct buffer *out);
uint64_t		 parquet_records_rows(const struct parquet_records *);
uint64_t		 parquet_records_size(const struct parquet_records *);
/* Completes the file; the next record begins a new one. */
void			 parquet_records_finish(struct parquet_records *, struct buffer *out, const struct parquet_note *, size_t notes);

#endif
