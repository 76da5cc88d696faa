/*
 * The sink of a bucket: objects.h makes objects of batches, and s3_client.h
 * sends them.  Nothing is asked of the bucket before the first object, since the
 * right to write may be all that we have.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/objects.h"
#include "shipper/s3_client.h"
#include "shipper/sinks.h"

enum { SINK_S3_PUTS = 2 };

struct sink_s3 {
	struct sink_options	 options;
	struct s3_client	*client;
	struct objects		*objects;
	bool			 well;		/* the last answer was good */
	/* An object of this key was there before anything was sent: not ours, also when its range comes again. */
	char			 foreign[OBJECT_KEY_MAX];
	struct sink_s3_put {
		struct sink_s3		*s3;
		const struct object	*object;	/* NULL: this place is free */
	}			 puts[SINK_S3_PUTS];
};

static const char *
sink_s3_check(const struct config *config, const struct format *format, char *error, size_t size)
{
	const char *fault = object_key_prefix_fault(config->s3_prefix), *key = s3_client_check(config, error, size);

	if (key != NULL || fault == NULL)
		return key != NULL ? key : objects_check(config, format, error, size);
	snprintf(error, size, "'%s' %s", config->s3_prefix, fault);
	return "s3-prefix";
}

static void
sink_s3_answered(void *context, const struct s3_result *result)
{
	struct sink_s3_put *put = context;
	const struct object *object = put->object;
	struct sink_s3 *s3 = put->s3;

	put->object = NULL;
	if (result->foreign)
		snprintf(s3->foreign, sizeof(s3->foreign), "%s", object->key);
	if (result->result == SINK_DELIVERED && !s3->well)
		s3->options.state(s3->options.context, SINK_CLASS_NONE, NULL);
	s3->well = result->result == SINK_DELIVERED;
	objects_done(s3->objects, object, result->result, result->class, result->why);
}

static void
sink_s3_put(void *context, const struct object *object)
{
	struct sink_s3 *s3 = context;
	struct sink_s3_put *put = s3->puts;
	const struct s3_object sent = {
		.key = object->key,
		.type = object->type,
		.bytes = object->bytes,
		.length = object->length,
		.again = object->again && strcmp(s3->foreign, object->key) != 0,
	};

	while (put < s3->puts + SINK_S3_PUTS && put->object != NULL)
		put++;
	if (put == s3->puts + SINK_S3_PUTS)
		fatal(EXIT_CODE_INTERNAL, "more objects than can be sent at once");
	put->object = object;
	s3_client_put(s3->client, &sent, sink_s3_answered, put);
}

static void *
sink_s3_open(const struct sink_options *options, char *error, size_t size)
{
	struct sink_s3 *s3 = calloc(1, sizeof(*s3));

	if (s3 == NULL || (s3->client = s3_client_new(options->config, options->base, error, size)) == NULL) {
		if (s3 == NULL)
			snprintf(error, size, "s3: out of memory");
		free(s3);
		return NULL;
	}
	s3->options = *options;
	for (size_t i = 0; i < SINK_S3_PUTS; i++)
		s3->puts[i].s3 = s3;
	s3->objects = objects_new(&(struct objects_options){
		.sink = options,
		.prefix = options->config->s3_prefix,
		.puts = SINK_S3_PUTS,
		.put = sink_s3_put,
		.context = s3,
	});
	return s3;
}

static bool
sink_s3_fresh(void *state)
{
	(void)state;
	return false;
}

static void
sink_s3_deliver(void *state, const struct sink_batch *batch)
{
	objects_deliver(((struct sink_s3 *)state)->objects, batch);
}

static void
sink_s3_flush(void *state)
{
	objects_flush(((struct sink_s3 *)state)->objects);
}

/* What was on its way is in doubt, and sent again under the same name by the next life. */
static void
sink_s3_close(void *state)
{
	struct sink_s3 *s3 = state;

	s3_client_free(s3->client);
	objects_free(s3->objects);
	free(s3);
}

const struct sink sink_s3 = {
	.name = "s3",
	.network = true,
	.help = "objects in s3-bucket",
	.files = true,
	.pace = SINK_SPOOLED,
	.window = OBJECTS_WINDOW,
	.check = sink_s3_check,
	.open = sink_s3_open,
	.fresh = sink_s3_fresh,
	.deliver = sink_s3_deliver,
	.flush = sink_s3_flush,
	.close = sink_s3_close,
};
