/* Batches of records: see batch.h. */
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "common/varint.h"
#include "shipper/batch.h"

enum { BATCH_MARKS_FIRST = 16 };

static size_t
batch_varint_size(uint64_t value)
{
	size_t n = 1;

	while (value >= 0x80) {
		value >>= 7;
		n++;
	}
	return n;
}

size_t
batch_need(size_t stamp_length, size_t length)
{
	return batch_varint_size(stamp_length + length) + stamp_length + length;
}

uint8_t *
batch_place(struct batch *batch, const uint8_t *stamp, size_t stamp_length, size_t length)
{
	uint8_t *place = buffer_reserve(&batch->records, VARINT_MAX + stamp_length + length);

	place += varint_write(place, stamp_length + length);
	memcpy(place, stamp, stamp_length);
	return place + stamp_length;
}

void
batch_commit(struct batch *batch, size_t stamp_length, size_t length)
{
	batch->records.length += batch_need(stamp_length, length);
	batch->rows++;
}

bool
batch_fits(const struct batch *batch, const struct batch_limits *limits, size_t need)
{
	if (batch->rows == 0)
		return true;
	return batch->rows < limits->rows && need <= limits->bytes && batch->records.length <= limits->bytes - need;
}

bool
batch_full(const struct batch *batch, const struct batch_limits *limits)
{
	return batch->rows >= limits->rows || batch->records.length >= limits->bytes;
}

static void
batch_grow_marks(struct batch *batch)
{
	size_t capacity = batch->marks_capacity > 0 ? batch->marks_capacity * 2 : BATCH_MARKS_FIRST;
	struct batch_mark *marks = reallocarray(batch->marks, capacity, sizeof(*marks));

	if (marks == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a batch of records from %zu rings", batch->nmarks);
	batch->marks = marks;
	batch->marks_capacity = capacity;
}

size_t
batch_mark(struct batch *batch, void *owner, uint64_t position)
{
	if (batch->nmarks == batch->marks_capacity)
		batch_grow_marks(batch);
	batch->marks[batch->nmarks] = (struct batch_mark){ .owner = owner, .position = position };
	return batch->nmarks++;
}

void
batch_note(struct batch *batch, const struct sink_note *note)
{
	free((char *)(uintptr_t)batch->note.text);
	batch->note = (struct sink_note){ 0 };
	batch->given.note = NULL;
	if (note == NULL)
		return;
	batch->note = *note;
	if ((batch->note.text = strdup(note->text)) == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a note");
	batch->given.note = &batch->note;
}

void
batch_unload(struct batch *batch)
{
	buffer_free(&batch->records);
	buffer_free(&batch->formed);
	batch->is_formed = false;
	batch->unloaded = true;
}

void
batch_clear(struct batch *batch)
{
	batch->records.length = 0;
	batch->rows = 0;
	batch->nmarks = 0;
	batch->formed.length = 0;
	batch_note(batch, NULL);
	free(batch->split);
	*batch = (struct batch){
		.records = batch->records,
		.marks = batch->marks,
		.marks_capacity = batch->marks_capacity,
		.formed = batch->formed,
	};
}

void
batch_free(struct batch *batch)
{
	buffer_free(&batch->records);
	buffer_free(&batch->formed);
	batch_note(batch, NULL);
	free(batch->marks);
	free(batch->split);
	*batch = (struct batch){ 0 };
}
