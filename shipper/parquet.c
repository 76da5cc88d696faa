/* The file: row groups, page indexes, footer.  See parquet.h. */
#include <stdlib.h>
#include <string.h>

#include "common/exit.h"
#include "common/log.h"
#include "common/version.h"
#include "shipper/parquet_column.h"

#define PARQUET_MAGIC "PAR1"

/* parquet.thrift: ConvertedType, FieldRepetitionType. */
enum { CONVERTED_NONE = -1, CONVERTED_UTF8 = 0, CONVERTED_UINT_32 = 13, CONVERTED_UINT_64 = 14 };
enum { OPTIONAL = 1 };

/* Where a chunk and its indexes are. */
struct parquet_place {
	uint64_t	first_page;
	uint64_t	column_index, offset_index;
	uint32_t	column_index_size, offset_index_size;
	size_t		metadata, metadata_size;	/* in the group's metadata */
};

struct parquet_group {
	uint64_t		 rows, start, packed, plain;
	struct buffer		 metadata;	/* a ColumnMetaData a column */
	struct parquet_place	*places;
	struct buffer		 indexes;	/* column indexes, then offset indexes */
};

struct parquet {
	struct parquet_column	*columns;
	size_t			 ncolumns;
	struct parquet_press	 press;
	uint32_t		 page_rows;
	uint64_t		 group_rows, rows;
	uint64_t		 base;		/* of out's first byte, in the file; modulo 2^64 */
	uint64_t		 offset;	/* of what comes next, between calls */
	size_t			 page_bytes;	/* about, of the page that is being filled */
	struct parquet_group	*groups;
	size_t			 ngroups;
};

/* --- the start and the end ------------------------------------------------------ */

struct parquet *
parquet_new(const struct parquet_field *fields, size_t count, int level)
{
	struct parquet *p = calloc(1, sizeof(*p));

	if (p != NULL) {
		p->columns = calloc(count, sizeof(*p->columns));
		p->press.zstd = ZSTD_createCCtx();
		p->press.indices = calloc(PARQUET_PAGE_ROWS, sizeof(*p->press.indices));
	}
	if (p == NULL || p->columns == NULL || p->press.zstd == NULL || p->press.indices == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a Parquet file of %zu columns", count);
	p->press.level = level;
	p->ncolumns = count;
	for (size_t i = 0; i < count; i++)
		parquet_column_init(&p->columns[i], &fields[i]);
	return p;
}

static void
parquet_forget_groups(struct parquet *p)
{
	for (size_t i = 0; i < p->ngroups; i++) {
		buffer_free(&p->groups[i].metadata);
		buffer_free(&p->groups[i].indexes);
		free(p->groups[i].places);
	}
	free(p->groups);
	p->groups = NULL;
	p->ngroups = 0;
}

void
parquet_free(struct parquet *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->ncolumns; i++)
		parquet_column_free(&p->columns[i]);
	parquet_forget_groups(p);
	buffer_free(&p->press.levels);
	buffer_free(&p->press.values);
	buffer_free(&p->press.best);
	buffer_free(&p->press.packed);
	ZSTD_freeCCtx(p->press.zstd);
	free(p->press.indices);
	free(p->columns);
	free(p);
}

/* --- rows ------------------------------------------------------------------------- */

void
parquet_number(struct parquet *p, size_t column, uint64_t value)
{
	parquet_column_number(&p->columns[column], p->page_rows, value);
	p->page_bytes += sizeof(uint32_t);
}

void
parquet_bytes(struct parquet *p, size_t column, const void *bytes, size_t length)
{
	parquet_column_bytes(&p->columns[column], p->page_rows, bytes, length);
	p->page_bytes += sizeof(uint32_t);
}

uint64_t
parquet_rows(const struct parquet *p)
{
	return p->rows;
}

static void
parquet_page(struct parquet *p)
{
	if (p->page_rows == 0)
		return;
	for (size_t i = 0; i < p->ncolumns; i++)
		parquet_column_page(&p->columns[i], &p->press, p->page_rows);
	p->page_rows = 0;
	p->page_bytes = 0;
}

/* --- row groups --------------------------------------------------------------------- */

static struct parquet_group *
parquet_new_group(struct parquet *p, const struct buffer *out)
{
	struct parquet_group *groups = reallocarray(p->groups, p->ngroups + 1, sizeof(*groups));
	struct parquet_place *places = calloc(p->ncolumns, sizeof(*places));

	if (groups == NULL || places == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a row group");
	p->groups = groups;
	groups[p->ngroups] = (struct parquet_group){
		.rows = p->group_rows,
		.start = p->base + out->length,
		.places = places,
	};
	return &groups[p->ngroups++];
}

/* Offsets of indexes count from the group's own start until parquet_finish places them. */
static void
parquet_group_column(struct parquet *p, struct parquet_group *group, size_t i, struct buffer *out)
{
	struct parquet_place *place = &group->places[i];
	struct thrift metadata = { .out = &group->metadata };
	size_t before = group->indexes.length;

	place->metadata = group->metadata.length;
	parquet_column_chunk(&p->columns[i], &p->press, out, p->base, &metadata, &place->first_page);
	place->metadata_size = group->metadata.length - place->metadata;
	group->plain += p->columns[i].plain_size;
	place->column_index = before;
	parquet_column_index(&p->columns[i], &group->indexes);
	place->column_index_size = (uint32_t)(group->indexes.length - before);
	place->offset_index = group->indexes.length;
	parquet_column_offsets(&p->columns[i], place->first_page, &group->indexes);
	place->offset_index_size = (uint32_t)(group->indexes.length - place->offset_index);
	parquet_column_clear(&p->columns[i]);
}

static void
parquet_group_end(struct parquet *p, struct buffer *out)
{
	struct parquet_group *group;

	parquet_page(p);
	if (p->group_rows == 0)
		return;
	group = parquet_new_group(p, out);
	for (size_t i = 0; i < p->ncolumns; i++)
		parquet_group_column(p, group, i, out);
	group->packed = p->base + out->length - group->start;
	p->group_rows = 0;
}

/* out may hold other bytes, and less than all of the file: what was written is taken away between calls. */
static void
parquet_enter(struct parquet *p, struct buffer *out)
{
	p->base = p->offset - out->length;
	if (p->rows == 0)
		buffer_append_string(out, PARQUET_MAGIC);
}

void
parquet_row(struct parquet *p, struct buffer *out)
{
	parquet_enter(p, out);
	p->rows++;
	p->group_rows++;
	if (++p->page_rows == PARQUET_PAGE_ROWS)
		parquet_page(p);
	if (p->group_rows == PARQUET_GROUP_ROWS)
		parquet_group_end(p, out);
	p->offset = p->base + out->length;
}

uint64_t
parquet_size(const struct parquet *p)
{
	uint64_t size = p->offset + p->page_bytes / 4;

	for (size_t i = 0; i < p->ncolumns; i++)
		size += p->columns[i].pages.length + p->columns[i].dictionary.plain.length / 4;
	return size;
}

/* --- the footer ----------------------------------------------------------------------- */

static const struct {
	int32_t	type, length, converted;
} parquet_types[] = {
	[PARQUET_UINT32] = { 1, 0, CONVERTED_UINT_32 },
	[PARQUET_UINT64] = { 2, 0, CONVERTED_UINT_64 },
	[PARQUET_TIMESTAMP] = { 2, 0, CONVERTED_NONE },
	[PARQUET_STRING] = { 6, 0, CONVERTED_UTF8 },
	[PARQUET_BYTES] = { 6, 0, CONVERTED_NONE },
	[PARQUET_FIXED16] = { 7, 16, CONVERTED_NONE },
};

/* LogicalType: a union, whose one field is the choice. */
static void
parquet_logical(struct thrift *thrift, enum parquet_type type)
{
	if (type == PARQUET_BYTES || type == PARQUET_FIXED16)
		return;
	thrift_field_struct(thrift, 10);
	if (type == PARQUET_STRING)
		thrift_field_empty(thrift, 1);
	else if (type == PARQUET_TIMESTAMP) {
		thrift_field_struct(thrift, 8);
		thrift_field_bool(thrift, 1, true);	/* UTC */
		thrift_field_struct(thrift, 2);
		thrift_field_empty(thrift, 3);		/* nanoseconds */
		thrift_struct_end(thrift);
		thrift_struct_end(thrift);
	} else {
		thrift_field_struct(thrift, 10);
		thrift_field_i8(thrift, 1, type == PARQUET_UINT32 ? 32 : 64);
		thrift_field_bool(thrift, 2, false);	/* no sign */
		thrift_struct_end(thrift);
	}
	thrift_struct_end(thrift);
}

static void
parquet_schema(const struct parquet *p, struct thrift *thrift)
{
	thrift_field_list(thrift, 2, THRIFT_STRUCT, p->ncolumns + 1);
	thrift_struct_begin(thrift);
	thrift_field_string(thrift, 4, "schema");
	thrift_field_i32(thrift, 5, (int32_t)p->ncolumns);
	thrift_struct_end(thrift);
	for (size_t i = 0; i < p->ncolumns; i++) {
		const struct parquet_field *field = &p->columns[i].field;

		thrift_struct_begin(thrift);
		thrift_field_i32(thrift, 1, parquet_types[field->type].type);
		if (parquet_types[field->type].length > 0)
			thrift_field_i32(thrift, 2, parquet_types[field->type].length);
		thrift_field_i32(thrift, 3, OPTIONAL);
		thrift_field_string(thrift, 4, field->name);
		if (parquet_types[field->type].converted != CONVERTED_NONE)
			thrift_field_i32(thrift, 6, parquet_types[field->type].converted);
		parquet_logical(thrift, field->type);
		thrift_struct_end(thrift);
	}
}

static void
parquet_chunk(struct thrift *thrift, const struct parquet_group *group, const struct parquet_place *place)
{
	thrift_struct_begin(thrift);
	thrift_field_i64(thrift, 2, 0);	/* no metadata elsewhere */
	/* Field 3 is a struct that is written already. */
	thrift_field_struct(thrift, 3);
	buffer_append(thrift->out, group->metadata.bytes + place->metadata, place->metadata_size);
	thrift->depth--;
	thrift_field_i64(thrift, 4, (int64_t)place->offset_index);
	thrift_field_i32(thrift, 5, (int32_t)place->offset_index_size);
	thrift_field_i64(thrift, 6, (int64_t)place->column_index);
	thrift_field_i32(thrift, 7, (int32_t)place->column_index_size);
	thrift_struct_end(thrift);
}

static void
parquet_row_groups(const struct parquet *p, struct thrift *thrift)
{
	thrift_field_list(thrift, 4, THRIFT_STRUCT, p->ngroups);
	for (size_t g = 0; g < p->ngroups; g++) {
		const struct parquet_group *group = &p->groups[g];

		thrift_struct_begin(thrift);
		thrift_field_list(thrift, 1, THRIFT_STRUCT, p->ncolumns);
		for (size_t i = 0; i < p->ncolumns; i++)
			parquet_chunk(thrift, group, &group->places[i]);
		thrift_field_i64(thrift, 2, (int64_t)group->plain);
		thrift_field_i64(thrift, 3, (int64_t)group->rows);
		thrift_field_i64(thrift, 5, (int64_t)group->start);
		thrift_field_i64(thrift, 6, (int64_t)group->packed);
		thrift_field_i16(thrift, 7, (int16_t)g);
		thrift_struct_end(thrift);
	}
}

static void
parquet_notes(struct thrift *thrift, const struct parquet_note *notes, size_t count)
{
	if (count == 0)
		return;
	thrift_field_list(thrift, 5, THRIFT_STRUCT, count);
	for (size_t i = 0; i < count; i++) {
		thrift_struct_begin(thrift);
		thrift_field_string(thrift, 1, notes[i].key);
		thrift_field_string(thrift, 2, notes[i].value);
		thrift_struct_end(thrift);
	}
}

/* The order of minima and maxima is the types' own. */
static void
parquet_orders(const struct parquet *p, struct thrift *thrift)
{
	thrift_field_list(thrift, 7, THRIFT_STRUCT, p->ncolumns);
	for (size_t i = 0; i < p->ncolumns; i++) {
		thrift_struct_begin(thrift);
		thrift_field_empty(thrift, 1);
		thrift_struct_end(thrift);
	}
}

static void
parquet_place_indexes(struct parquet *p, struct buffer *out)
{
	for (size_t g = 0; g < p->ngroups; g++) {
		struct parquet_group *group = &p->groups[g];

		for (size_t i = 0; i < p->ncolumns; i++) {
			group->places[i].column_index += p->base + out->length;
			group->places[i].offset_index += p->base + out->length;
		}
		buffer_append(out, group->indexes.bytes, group->indexes.length);
	}
}

void
parquet_finish(struct parquet *p, struct buffer *out, const struct parquet_note *notes, size_t count)
{
	struct thrift thrift = { .out = out };
	uint32_t length;
	size_t start;

	parquet_enter(p, out);
	parquet_group_end(p, out);
	parquet_place_indexes(p, out);
	start = out->length;
	thrift_struct_begin(&thrift);
	thrift_field_i32(&thrift, 1, 2);
	parquet_schema(p, &thrift);
	thrift_field_i64(&thrift, 3, (int64_t)p->rows);
	parquet_row_groups(p, &thrift);
	parquet_notes(&thrift, notes, count);
	thrift_field_string(&thrift, 6, "tcpdiag version " VERSION);
	parquet_orders(p, &thrift);
	thrift_struct_end(&thrift);
	length = (uint32_t)(out->length - start);
	buffer_append(out, &length, sizeof(length));
	buffer_append_string(out, PARQUET_MAGIC);
	parquet_forget_groups(p);
	p->rows = p->offset = 0;
}
