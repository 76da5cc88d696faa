/* The registry of readers. */
#include <string.h>

#include "cli/reader.h"

const struct reader *const readers[] = {
	&reader_protobuf,
	&reader_protobuf_list,
	&reader_jsonl,
	&reader_proto_json,
	NULL,
};

const struct reader *
reader_by_name(const char *name)
{
	for (size_t i = 0; readers[i] != NULL; i++)
		if (strcmp(readers[i]->name, name) == 0)
			return readers[i];
	return NULL;
}
