/* The sink that acknowledges everything and keeps nothing: for measuring. */
#include <stdio.h>
#include <stdlib.h>

#include "shipper/sinks.h"

struct sink_null {
	struct sink_options options;
};

static void *
sink_null_open(const struct sink_options *options, char *error, size_t size)
{
	struct sink_null *null = malloc(sizeof(*null));

	if (null == NULL)
		snprintf(error, size, "out of memory");
	else
		null->options = *options;
	return null;
}

/* An endless stream that has begun long ago. */
static bool
sink_null_fresh(void *state)
{
	(void)state;
	return false;
}

static void
sink_null_deliver(void *state, const struct sink_batch *batch)
{
	struct sink_null *null = state;

	null->options.done(null->options.context, &batch->id, SINK_DELIVERED, SINK_CLASS_NONE, NULL);
}

const struct sink sink_null = {
	.name = "null",
	.help = "nowhere: everything is acknowledged and forgotten",
	.open = sink_null_open,
	.fresh = sink_null_fresh,
	.deliver = sink_null_deliver,
	.close = free,
};
