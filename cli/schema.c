/*
 * tcpdiag schema: the schema of records and the registry that sink kafka asks
 * for its id.
 */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "cli/schema.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/registry.h"

struct schema {
	struct config		 config;
	struct event_base	*base;
	struct registry		*registry;
	int			 code;
};

static int
schema_print(struct schema *schema)
{
	(void)schema;
	fputs(registry_schema, stdout);
	return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_SINK;
}

static void
schema_answered(void *context, const struct registry_answer *answer)
{
	struct schema *schema = context;

	if (answer->class == SINK_CLASS_NONE)
		printf("%u %s\n", answer->id, registry_subject(schema->registry));
	else
		log_error("%s", answer->why);
	schema->code = answer->class == SINK_CLASS_NONE ? EXIT_CODE_OK : EXIT_CODE_DATA;
	event_base_loopbreak(schema->base);
}

static int
schema_ask(struct schema *schema, enum registry_verb verb)
{
	char error[CONFIG_ERROR_MAX];

	if (schema->config.schema_registry[0] == '\0' || schema->config.kafka_topic[0] == '\0') {
		log_error("which %s?", schema->config.schema_registry[0] == '\0' ? "--schema-registry URL" : "--kafka-topic TOPIC");
		return EXIT_CODE_USAGE;
	}
	if ((schema->base = event_base_new()) == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	schema->registry = registry_new(schema->base, &schema->config, error, sizeof(error));
	schema->code = EXIT_CODE_CONFIG;
	if (schema->registry != NULL) {
		registry_ask(schema->registry, verb, schema_answered, schema);
		event_base_dispatch(schema->base);
		registry_free(schema->registry);
	} else
		log_error("%s", error);
	event_base_free(schema->base);
	return schema->code;
}

static int
schema_register(struct schema *schema)
{
	return schema_ask(schema, REGISTRY_REGISTER);
}

static int
schema_find(struct schema *schema)
{
	return schema_ask(schema, REGISTRY_FIND);
}

static const struct {
	const char	*name;
	int		(*run)(struct schema *);
} schema_verbs[] = {
	{ "register", schema_register },
	{ "find", schema_find },
	{ "print", schema_print },
};

static const char *
schema_check(void *context, const struct config *config, char *error, size_t size)
{
	(void)context;
	return registry_check(config, error, size);
}

static int
schema_run(struct schema *schema, int count, char **words)
{
	for (size_t i = 0; count == 1 && i < sizeof(schema_verbs) / sizeof(schema_verbs[0]); i++)
		if (strcmp(schema_verbs[i].name, words[0]) == 0)
			return schema_verbs[i].run(schema);
	log_error("it can be register, find or print, one of them");
	return EXIT_CODE_USAGE;
}

int
schema_main(int argc, char **argv)
{
	static const struct config_program program = {
		.name = "tcpdiag schema",
		.usage = "[options] register | find | print",
		.about = "Registers the schema of records at schema-registry, or asks for its id there, or prints it.",
		.letter = 'S',
		.check = schema_check,
	};
	struct schema schema = { 0 };
	int code, operands;

	config_init(&schema.config);
	code = config_parse(&schema.config, &program, argc, argv, &operands);
	if (code == -1)
		code = schema_run(&schema, argc - operands, argv + operands);
	config_free(&schema.config);
	return code;
}
