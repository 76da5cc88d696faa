/*
 * protobuf: each record behind its length, again and again, which is what a
 * batch is made of.  Files of it can be put together with cat(1).
 */
#include <stdlib.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"

static void *
format_protobuf_open(const struct format_options *options, char *error, size_t size)
{
	void *state = calloc(1, 1);

	(void)options;
	(void)error;
	(void)size;
	if (state == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: format protobuf");
	return state;
}

const struct format format_protobuf = {
	.name = "protobuf",
	.help = "records one by one, each behind its length",
	.snapshot_ends = true,
	.framing = SINK_DELIMITED,
	.open = format_protobuf_open,
};
