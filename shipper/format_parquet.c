/*
 * parquet: one file, which is whole only when it is finished; so it goes with
 * sinks that write whole files, and with tcpdiag decode.  Snapshot ends are
 * another data set and not in it.
 */
#include <stdlib.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/parquet_record.h"

struct format_parquet {
	struct parquet_records	*records;
	struct buffer		*out;		/* of the batch at work */
};

static void *
format_parquet_open(const struct format_options *options, char *error, size_t size)
{
	struct format_parquet *parquet = calloc(1, sizeof(*parquet));

	if (parquet == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: format parquet");
	(void)options;
	(void)error;
	(void)size;
	parquet->records = parquet_records_new(PARQUET_SOCKETS, PARQUET_LEVEL);
	return parquet;
}

static void
format_parquet_record(void *state, const struct record *record)
{
	struct format_parquet *parquet = state;

	parquet_records_add(parquet->records, record, parquet->out);
}

static void
format_parquet_batch(void *state, const uint8_t *bytes, size_t length, struct buffer *out)
{
	struct format_parquet *parquet = state;

	parquet->out = out;
	format_each(bytes, length, format_parquet_record, parquet);
}

static void
format_parquet_finish(void *state, struct buffer *out)
{
	struct format_parquet *parquet = state;

	parquet_records_finish(parquet->records, out, NULL, 0);
}

static void
format_parquet_close(void *state)
{
	struct format_parquet *parquet = state;

	parquet_records_free(parquet->records);
	free(parquet);
}

const struct format format_parquet = {
	.name = "parquet",
	.help = "whole files of columns, compressed with zstd",
	.open = format_parquet_open,
	.batch = format_parquet_batch,
	.finish = format_parquet_finish,
	.close = format_parquet_close,
};
