/* Halves of refused batches: see split.h. */
#include <assert.h>
#include <stdlib.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/split.h"

struct split *
split_new(uint64_t rows, size_t length)
{
	struct split *split = malloc(sizeof(*split));

	if (split == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a batch that was refused");
	split->ranges[0] = (struct split_range){ 0, rows, 0, length };
	split->count = 1;
	split->part = 1;
	return split;
}

const struct split_range *
split_next(const struct split *split)
{
	return &split->ranges[split->count - 1];
}

bool
split_advance(struct split *split)
{
	split->part++;
	return --split->count == 0;
}

void
split_halve(struct split *split, const uint8_t *records)
{
	struct split_range *second = &split->ranges[split->count - 1], *first = second + 1;
	uint64_t rows = second->rows / 2;
	size_t middle = second->begin, prefix;

	assert(rows > 0 && split->count < SPLIT_DEPTH);
	for (uint64_t i = 0; i < rows; i++)
		middle += format_frame(records + middle, second->end - middle, &prefix);
	*first = (struct split_range){ second->first, rows, second->begin, middle };
	*second = (struct split_range){ second->first + rows, second->rows - rows, middle, second->end };
	split->count++;
	split->part++;
}
