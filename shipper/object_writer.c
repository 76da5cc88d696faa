/* Objects of records: see object_writer.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/formats.h"
#include "shipper/object_writer.h"
#include "shipper/parquet_record.h"
#include "shipper/text.h"

enum { WRITER_ERROR_MAX = 256 };

static const struct object_form object_forms[] = {
	{ "parquet", "parquet", "application/vnd.apache.parquet", false },
	{ "protobuf", "pb.zst", "application/zstd", true },
	{ "jsonl", "jsonl.zst", "application/zstd", true },
	{ "msgpack", "msgpack.zst", "application/zstd", true },
	{ "csv", "csv", "text/csv", false },
	{ "tsv", "tsv", "text/tab-separated-values", false },
};

enum { OBJECT_FORMS = sizeof(object_forms) / sizeof(object_forms[0]) };

struct writer_set {
	uint64_t		 rows;
	struct buffer		 bytes;
	struct parquet_records	*parquet;	/* or NULL: the others write it */
	ZSTD_CCtx		*zstd;		/* or NULL */
	uint64_t		 inside;	/* bytes that went into it since something came out */
	bool			 begun;
};

struct object_writer {
	const struct object_form *form;
	const struct format	*format;
	void			*format_state;	/* NULL: parquet */
	struct buffer		 plain;		/* of the records at hand */
	struct writer_set	 sets[OBJECT_SETS];
};

const char *
object_set_name(enum object_set set)
{
	return set == OBJECT_SOCKETS ? "sockets" : "snapshots";
}

const struct object_form *
object_form_of_format(const char *format)
{
	for (size_t i = 0; i < OBJECT_FORMS; i++)
		if (strcmp(object_forms[i].format, format) == 0)
			return &object_forms[i];
	return NULL;
}

const struct object_form *
object_form_of_key(const char *key)
{
	size_t length = strlen(key);

	for (size_t i = 0; i < OBJECT_FORMS; i++) {
		size_t ending = strlen(object_forms[i].ending);

		if (length > ending && key[length - ending - 1] == '.' && strcmp(key + length - ending, object_forms[i].ending) == 0)
			return &object_forms[i];
	}
	return NULL;
}

const char *
object_form_list(char *to, size_t size)
{
	size_t used = 0;

	to[0] = '\0';
	for (size_t i = 0; i < OBJECT_FORMS && used < size; i++)
		used += (size_t)snprintf(to + used, size - used, "%s%s", i == 0 ? "" : ", ", object_forms[i].format);
	return to;
}

/* --- the start and the end ---------------------------------------------------------- */

static void
writer_open_set(struct object_writer *w, enum object_set set)
{
	struct writer_set *s = &w->sets[set];

	if (w->format->finish != NULL)
		s->parquet = parquet_records_new(set == OBJECT_SOCKETS ? PARQUET_SOCKETS : PARQUET_SNAPSHOTS, PARQUET_LEVEL);
	if (!w->form->zstd)
		return;
	s->zstd = ZSTD_createCCtx();
	if (s->zstd == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: zstd");
	(void)ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, PARQUET_LEVEL);
	(void)ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_checksumFlag, 1);
}

struct object_writer *
object_writer_new(const struct object_form *form, const struct format_options *options)
{
	static const struct format_options plain = { 0 };
	struct object_writer *w = calloc(1, sizeof(*w));
	char error[WRITER_ERROR_MAX] = "";

	if (w == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: an object");
	w->form = form;
	w->format = format_by_name(form->format);
	if (w->format->finish == NULL &&
	    (w->format_state = w->format->open(w->format->columns ? options : &plain, error, sizeof(error))) == NULL)
		fatal(EXIT_CODE_INTERNAL, "format %s: %s", form->format, error);
	for (enum object_set set = 0; set < OBJECT_SETS; set++)
		writer_open_set(w, set);
	return w;
}

void
object_writer_free(struct object_writer *w)
{
	if (w == NULL)
		return;
	for (enum object_set set = 0; set < OBJECT_SETS; set++) {
		parquet_records_free(w->sets[set].parquet);
		ZSTD_freeCCtx(w->sets[set].zstd);
		buffer_free(&w->sets[set].bytes);
	}
	format_close(w->format, w->format_state);
	buffer_free(&w->plain);
	free(w);
}

/* --- records -------------------------------------------------------------------------- */

static void
writer_press(struct writer_set *s, const void *bytes, size_t length, ZSTD_EndDirective end)
{
	ZSTD_inBuffer in = { bytes, length, 0 };
	size_t left;

	s->inside += length;
	do {
		size_t room = ZSTD_CStreamOutSize();
		ZSTD_outBuffer out = { buffer_reserve(&s->bytes, room), room, 0 };

		left = ZSTD_compressStream2(s->zstd, &out, &in, end);
		if (ZSTD_isError(left))
			fatal(EXIT_CODE_SYSTEM, "zstd: %s", ZSTD_getErrorName(left));
		s->bytes.length += out.pos;
		if (out.pos > 0)
			s->inside = 0;
	} while (in.pos < in.size || (end == ZSTD_e_end && left > 0));
}

/* Frames of one set, in a row. */
static void
writer_write(struct object_writer *w, struct writer_set *s, const uint8_t *bytes, size_t length)
{
	struct buffer *to = w->form->zstd ? &w->plain : &s->bytes;

	w->plain.length = 0;
	if (!s->begun && w->format->header != NULL)
		w->format->header(w->format_state, to);
	s->begun = true;
	if (w->format->batch != NULL)
		w->format->batch(w->format_state, bytes, length, to);
	else
		buffer_append(to, bytes, length);
	if (w->form->zstd)
		writer_press(s, w->plain.bytes, w->plain.length, ZSTD_e_continue);
}

bool
object_writer_add(struct object_writer *w, const uint8_t *bytes, size_t length)
{
	struct writer_set *run = NULL, *s;
	const uint8_t *start = bytes, *end = bytes + length;
	struct record record;
	size_t prefix, frame;

	for (; bytes < end; bytes += frame) {
		frame = format_frame(bytes, (size_t)(end - bytes), &prefix);
		if (frame == 0 || record_read(&record, bytes + prefix, frame - prefix) == -1)
			break;
		s = &w->sets[text_is_socket(&record) ? OBJECT_SOCKETS : OBJECT_SNAPSHOTS];
		s->rows++;
		if (s->parquet != NULL)
			parquet_records_add(s->parquet, &record, &s->bytes);
		if (s == run)
			continue;
		if (run != NULL && run->parquet == NULL)
			writer_write(w, run, start, (size_t)(bytes - start));
		run = s;
		start = bytes;
	}
	if (run != NULL && run->parquet == NULL)
		writer_write(w, run, start, (size_t)(bytes - start));
	return bytes == end;
}

/* What zstd has taken in and not given out becomes a quarter or less. */
static uint64_t
writer_set_size(const struct writer_set *s)
{
	return s->parquet != NULL ? parquet_records_size(s->parquet) : s->bytes.length + s->inside / 4;
}

uint64_t
object_writer_size(const struct object_writer *w)
{
	return writer_set_size(&w->sets[OBJECT_SOCKETS]) + writer_set_size(&w->sets[OBJECT_SNAPSHOTS]);
}

uint64_t
object_writer_rows(const struct object_writer *w, enum object_set set)
{
	/* csv has no place for snapshot ends: a header alone is no object. */
	if (set == OBJECT_SNAPSHOTS && !w->format->snapshot_ends && w->sets[set].parquet == NULL)
		return 0;
	return w->sets[set].rows;
}

void
object_writer_finish(struct object_writer *w, enum object_set set, const struct parquet_note *notes, size_t count)
{
	struct writer_set *s = &w->sets[set];

	if (s->parquet != NULL)
		parquet_records_finish(s->parquet, &s->bytes, notes, count);
	else if (w->form->zstd)
		writer_press(s, NULL, 0, ZSTD_e_end);
}

const struct buffer *
object_writer_bytes(const struct object_writer *w, enum object_set set)
{
	return &w->sets[set].bytes;
}
