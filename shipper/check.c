/* The well-formedness of a collector's records: see check.h. */
#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "common/record.h"
#include "common/utf8.h"
#include "common/varint.h"
#include "shipper/check.h"

/*
 * A varint of up to eight bytes is looked at as one little-endian word from
 * which the continuation bits were taken.  Such "spread" values are in the
 * same order as the numbers they stand for, so that a bound can be compared
 * without putting the number together.
 */
#define CHECK_CONTINUE	UINT64_C(0x8080808080808080)
#define CHECK_SPREAD	UINT64_C(0x7f7f7f7f7f7f7f7f)

enum {
	CHECK_VARINT = 0, CHECK_BYTES = 2,	/* wire types */
	CHECK_WIDE = 16,	/* bytes that the fast path may read */
};

/*
 * By field number, 0 for what is no number of a collector's: the bounds of a
 * value, spread for the fast path and whole for the slow one.  Made of the
 * record table once.
 */
static struct {
	bool		made;
	uint64_t	spread[RECORD_NUMBERS];
	uint64_t	whole[RECORD_NUMBERS];
} check_bounds;

struct check_cursor {
	const uint8_t	*at;
	const uint8_t	*end;
	uint32_t	 previous;	/* number of the field before */
};

/*
 * An enum of the schema, whose readers refuse what it does not name.  A TCP
 * state is a plain number there, and a newer kernel may have one more.
 */
static bool
check_is_enum(const struct record_field *field)
{
	return field->type > RECORD_STATE;
}

static uint64_t
check_spread(uint64_t value)
{
	uint64_t spread = 0;
	unsigned int i;

	if (value >> 56 != 0)
		return CHECK_SPREAD;
	for (i = 0; i < 8; i++)
		spread |= (value >> (7 * i) & 0x7f) << (8 * i);
	return spread;
}

static void
check_make_bounds(void)
{
	const struct record_field *field;

	for (field = record_fields; field < record_fields + RECORD_FIELDS; field++) {
		if (field->owner != RECORD_COLLECTOR || record_wire_type((enum record_type)field->type) != CHECK_VARINT)
			continue;
		check_bounds.whole[field->number] = record_field_max(field);
		check_bounds.spread[field->number] = check_spread(record_field_max(field));
	}
	check_bounds.made = true;
}

/* --- what is rare, or wrong -------------------------------------------- */

/* Why a field may not come with this wire type, or NULL. */
static const char *
check_field(uint32_t number, unsigned int wire)
{
	int row = record_field_by_number(number);

	if (row < 0)
		return "unknown field";
	if (record_fields[row].owner != RECORD_COLLECTOR)
		return "owner";
	if (record_wire_type((enum record_type)record_fields[row].type) != wire)
		return "wire type";
	return NULL;
}

/* A number's full check, that of the fast path byte by byte, with the reason. */
static const char *
check_number_slowly(struct check_cursor *cursor, uint32_t number, unsigned int wire)
{
	const char *wrong = check_field(number, wire);
	uint64_t value;
	size_t length;

	if (wrong != NULL)
		return wrong;
	length = varint_read(cursor->at, (size_t)(cursor->end - cursor->at), &value);
	if (length == 0)
		return "varint";
	if (value == 0)
		return "zero";
	if (value > check_bounds.whole[number])
		return check_is_enum(&record_fields[record_field_by_number(number)]) ? "enum" : "width";
	cursor->at += length;
	return NULL;
}

static bool
check_utf8(const uint8_t *at, size_t left)
{
	size_t length;

	for (; left > 0; at += length, left -= length) {
		length = at[0] >= 0x20 && at[0] <= 0x7e ? 1 : utf8_character(at, left);
		if (length == 0)
			return false;
	}
	return true;
}

/* Of what is bytes: why it may not be so long, or hold that. */
static const char *
check_content(const struct record_field *field, const uint8_t *at, size_t length)
{
	if (length > record_field_max(field) || (field->type == RECORD_ADDRESS && length != record_field_max(field)))
		return "length";
	if (field->type == RECORD_STRING && !check_utf8(at, length))
		return "utf-8";
	return NULL;
}

static const char *
check_bytes(struct check_cursor *cursor, uint32_t number)
{
	const char *wrong = check_field(number, CHECK_BYTES);
	size_t length;
	uint64_t value;

	if (wrong != NULL)
		return wrong;
	length = varint_read(cursor->at, (size_t)(cursor->end - cursor->at), &value);
	if (length == 0)
		return "varint";
	cursor->at += length;
	if (value == 0)
		return "zero";
	if (value > (uint64_t)(cursor->end - cursor->at))
		return "length";
	wrong = check_content(&record_fields[record_field_by_number(number)], cursor->at, (size_t)value);
	cursor->at += value;
	return wrong;
}

/* One field of any shape. */
static const char *
check_slowly(struct check_cursor *cursor)
{
	uint64_t tag = 0, number;
	size_t length = varint_read(cursor->at, (size_t)(cursor->end - cursor->at), &tag);

	number = tag >> 3;
	if (length == 0)
		return "varint";
	if (number <= cursor->previous)
		return "field order";
	if (number >= RECORD_NUMBERS)
		return "unknown field";
	cursor->at += length;
	cursor->previous = (uint32_t)number;
	if ((tag & 7) == CHECK_BYTES)
		return check_bytes(cursor, (uint32_t)number);
	return check_number_slowly(cursor, (uint32_t)number, tag & 7);
}

/* --- the fast path ----------------------------------------------------- */

static inline uint64_t
check_word(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return le64toh(word);
}

/* A number's tag of two or three bytes in a word; false if it is something else. */
static inline bool
check_fast_tag(uint64_t word, uint32_t *number, unsigned int *length)
{
	if ((word & 0x8087) == 0x0080) {
		*number = (uint32_t)((word & 0x78) >> 3 | (word & 0x7f00) >> 4);
		*length = 2;
		return *number >= 0x10;
	}
	if ((word & 0x808087) == 0x008080) {
		*number = (uint32_t)((word & 0x78) >> 3 | (word & 0x7f00) >> 4 | (word & 0x7f0000) >> 5);
		*length = 3;
		return *number >= 0x800;
	}
	return false;
}

/* The length of the value in a word, or 0 if the slow path must look. */
static inline unsigned int
check_fast_value(uint64_t word, uint64_t bound)
{
	uint64_t ends = ~word & CHECK_CONTINUE, spread;
	unsigned int last;

	if (ends == 0)
		return 0;
	last = (unsigned int)__builtin_ctzll(ends) - 7;	/* the last byte's first bit */
	spread = word & (ends ^ (ends - 1)) & CHECK_SPREAD;
	/* An empty last byte is an explicit zero or a varint too long. */
	return spread >> last == 0 || spread > bound ? 0 : last / 8 + 1;
}

/*
 * Goes over fields that are numbers, nearly all, and stops before the first
 * that is something else, or wrong, or begins behind last; from where
 * CHECK_WIDE bytes may be read.
 *
 * What this costs is the way from one field's start to the next's.  So the
 * cursor is kept in registers, and the usual lengths are branches and not
 * arithmetic: a processor predicts a branch, but has to wait for a sum.
 */
static inline const uint8_t *
check_fast(const uint8_t *at, const uint8_t *last, uint32_t *previous)
{
	unsigned int tag, value;
	uint32_t number;

	while (at <= last) {
		if (!check_fast_tag(check_word(at), &number, &tag))
			break;
		if (number <= *previous || number >= RECORD_NUMBERS)
			break;
		value = check_fast_value(check_word(at + tag), check_bounds.spread[number]);
		if (value == 0)
			break;
		*previous = number;
		if (value == 1)
			at += tag + 1;
		else if (value == 2)
			at += tag + 2;
		else
			at += tag + value;
	}
	return at;
}

/* The same for the record's last bytes, as if zeros were behind them. */
static inline const uint8_t *
check_fast_tail(const uint8_t *at, const uint8_t *end, uint32_t *previous)
{
	uint8_t bytes[2 * CHECK_WIDE] = { 0 };
	const uint8_t *from = bytes + CHECK_WIDE - (end - at);

	memcpy(bytes, end - CHECK_WIDE, CHECK_WIDE);
	return at + (check_fast(from, bytes + CHECK_WIDE - 1, previous) - from);
}

const char *
check_record(const uint8_t *bytes, size_t length)
{
	struct check_cursor cursor = { .at = bytes, .end = bytes + length };
	const char *wrong = length == 0 ? "length" : NULL;

	if (!check_bounds.made)
		check_make_bounds();
	while (wrong == NULL && cursor.at < cursor.end) {
		if (length >= CHECK_WIDE) {
			cursor.at = check_fast(cursor.at, cursor.end - CHECK_WIDE, &cursor.previous);
			if (cursor.end - cursor.at < CHECK_WIDE)
				cursor.at = check_fast_tail(cursor.at, cursor.end, &cursor.previous);
		}
		if (cursor.at < cursor.end)
			wrong = check_slowly(&cursor);
	}
	return wrong;
}
