/* What came of consecutive numbers, and what did not: see sequences.h. */
#include <stdlib.h>
#include <string.h>

#include "cli/sequences.h"
#include "common/exit.h"
#include "common/log.h"

static void
sequence_insert(struct sequence *sequence, size_t at, uint64_t first, uint64_t last)
{
	if (sequence->nholes == sequence->capacity) {
		sequence->capacity = sequence->capacity > 0 ? 2 * sequence->capacity : 4;
		sequence->holes = reallocarray(sequence->holes, sequence->capacity, sizeof(*sequence->holes));
		if (sequence->holes == NULL)
			fatal(EXIT_CODE_SYSTEM, "out of memory");
	}
	memmove(&sequence->holes[at + 1], &sequence->holes[at], (sequence->nholes - at) * sizeof(*sequence->holes));
	sequence->holes[at] = (struct sequence_hole){ first, last };
	sequence->nholes++;
}

static void
sequence_remove(struct sequence *sequence, size_t at)
{
	sequence->nholes--;
	memmove(&sequence->holes[at], &sequence->holes[at + 1], (sequence->nholes - at) * sizeof(*sequence->holes));
}

/* Takes one number out of a hole, which may leave two. */
static void
sequence_fill(struct sequence *sequence, size_t at, uint64_t number)
{
	struct sequence_hole *hole = &sequence->holes[at];
	uint64_t last = hole->last;

	if (hole->first == number && hole->last == number)
		sequence_remove(sequence, at);
	else if (hole->first == number)
		hole->first++;
	else {
		hole->last = number - 1;
		if (number < last)
			sequence_insert(sequence, at + 1, number + 1, last);
	}
}

enum sequence_arrival
sequence_arrive(struct sequence *sequence, uint64_t number)
{
	if (number > sequence->highest) {
		if (number > sequence->highest + 1)
			sequence_insert(sequence, sequence->nholes, sequence->highest + 1, number - 1);
		sequence->highest = number;
		return SEQUENCE_NEXT;
	}
	/* What is late is mostly not very late. */
	for (size_t i = sequence->nholes; i-- > 0 && sequence->holes[i].last >= number;) {
		if (sequence->holes[i].first > number)
			continue;
		sequence_fill(sequence, i, number);
		sequence->late++;
		return SEQUENCE_LATE;
	}
	sequence->repeats++;
	return SEQUENCE_REPEAT;
}

void
sequence_free(struct sequence *sequence)
{
	free(sequence->holes);
	*sequence = (struct sequence){ 0 };
}
