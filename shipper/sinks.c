/* The registry of sinks: see sink.h. */
#include <stdio.h>
#include <string.h>

#include "shipper/sinks.h"

const struct sink *const sinks[] = {
	&sink_stdout,
	&sink_stderr,
	&sink_file,
	&sink_folder,
	&sink_null,
	&sink_kafka,
	&sink_s3,
	NULL
};

static const char *const sink_class_names[SINK_CLASS_COUNT] = {
#define SINK_CLASS_NAME(symbol, name) [symbol] = name,
	SINK_CLASSES(SINK_CLASS_NAME)
#undef SINK_CLASS_NAME
};

const char *
sink_class_name(enum sink_class class)
{
	return sink_class_names[class];
}

/* "stdout, stderr, file:TARGET, null" */
static const char *
sink_list(char *to, size_t size)
{
	size_t used = 0;

	to[0] = '\0';
	for (size_t i = 0; sinks[i] != NULL && used < size; i++)
		used += (size_t)snprintf(to + used, size - used, "%s%s%s", i == 0 ? "" : ", ", sinks[i]->name,
		    sinks[i]->folder ? ":FOLDER/" : sinks[i]->target ? ":TARGET" : "");
	return to;
}

/* Of two of one name, the one is for targets that end with a slash. */
static const struct sink *
sink_by_name(const char *name, size_t length, bool folder)
{
	const struct sink *found = NULL;

	for (size_t i = 0; sinks[i] != NULL; i++)
		if (strlen(sinks[i]->name) == length && memcmp(sinks[i]->name, name, length) == 0 &&
		    (found == NULL || sinks[i]->folder == folder))
			found = sinks[i];
	return found;
}

const struct sink *
sink_by_spec(const char *spec, const char **target, char *error, size_t size)
{
	size_t length = strcspn(spec, ":");
	bool has_target = spec[length] == ':' && spec[length + 1] != '\0';
	const struct sink *sink = sink_by_name(spec, length, has_target && spec[strlen(spec) - 1] == '/');
	char list[256];

	*target = has_target ? spec + length + 1 : "";
	if (sink == NULL)
		snprintf(error, size, "there is no sink '%.*s'; there are: %s", (int)length, spec,
		    sink_list(list, sizeof(list)));
	else if (sink->target && !has_target)
		snprintf(error, size, "sink %s needs a target: %s:TARGET", sink->name, sink->name);
	else if (!sink->target && spec[length] == ':')
		snprintf(error, size, "sink %s takes no target, but has '%s'", sink->name, spec + length + 1);
	else
		return sink;
	return NULL;
}
