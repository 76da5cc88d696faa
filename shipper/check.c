/* The well-formedness of a collector's records: see check.h. */
#include <endian.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
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
#define CHECK_SPREAD	UINT64_C(0x7f7f7f7f7f7f7f7f)

enum {
	CHECK_VARINT = 0, CHECK_BYTES = 2,	/* wire types */
	CHECK_VALUE = 9,	/* bytes of a number that no bound needs to be compared with */
	CHECK_WINDOW = 64,	/* bytes whose continuation bits are looked at together */
	CHECK_WIDE = 80,	/* bytes that the fast path may read: a tag and a word behind the window */
	CHECK_TEXT = 0x80,	/* a text of the fast path is shorter */
	CHECK_OTHER = 0xff,	/* bytes that the fast path leaves to the slow one */
};

/* What the fast path knows of a field. */
struct check_row {
	uint32_t	tag, mask;	/* its bytes as a little-endian word */
	uint16_t	number;
	uint8_t		tag_length;
	uint8_t		safe;		/* a value of no more bytes is within the bound */
	uint8_t		length;		/* of an address; CHECK_TEXT, CHECK_OTHER; 0 of a number */
	bool		wide;		/* a number of 64 bits */
	uint64_t	spread;		/* the bound of a number */
};

/*
 * The fields that ever came, in ascending order, and behind them a row that no
 * field of the fast path matches.  Records are much alike, so that the next field is nearly always
 * the next row, and never one before: the order needs no check of its own.
 */
static struct {
	size_t			count;
	struct check_row	rows[RECORD_FIELDS + 1];
} check_usual = { .rows = { { .tag = UINT32_MAX, .mask = UINT32_MAX, .length = CHECK_OTHER } } };

struct check_cursor {
	const uint8_t		*at;
	const uint8_t		*end;
	const struct check_row	*row;		/* the first that may come now */
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

/* Bytes of a varint that cannot be above the bound. */
static uint8_t
check_safe(const struct record_field *field, uint64_t most)
{
	uint8_t bytes = 0;

	if (check_is_enum(field))
		return 0;
	while (bytes < CHECK_VALUE && most >= (UINT64_C(1) << (7 * (bytes + 1))) - 1)
		bytes++;
	return bytes;
}

static void
check_make_row(struct check_row *row, const struct record_field *field)
{
	enum record_type type = (enum record_type)field->type;
	uint64_t most = record_field_max(field);
	uint8_t tag[VARINT_MAX] = { 0 };

	*row = (struct check_row){ .number = field->number };
	row->tag_length = (uint8_t)varint_write(tag, (uint64_t)field->number << 3 | record_wire_type(type));
	row->tag = (uint32_t)(tag[0] | tag[1] << 8 | tag[2] << 16);
	row->mask = (uint32_t)((UINT64_C(1) << (8 * row->tag_length)) - 1);
	if (record_wire_type(type) == CHECK_VARINT) {
		row->safe = check_safe(field, most);
		row->spread = check_spread(most);
		row->wide = most == UINT64_MAX;
	} else {
		row->length = type == RECORD_ADDRESS ? (uint8_t)most : type == RECORD_STRING ? CHECK_TEXT : CHECK_OTHER;
	}
}

/* A field came that may never have come.  Returns the row behind its own. */
static const struct check_row *
check_learn(const struct record_field *field)
{
	struct check_row *row = check_usual.rows, *end = row + check_usual.count;

	while (row < end && row->number < field->number)
		row++;
	if (row == end || row->number != field->number) {
		memmove(row + 1, row, (size_t)(end + 1 - row) * sizeof(*row));
		check_make_row(row, field);
		check_usual.count++;
	}
	return row + 1;
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
	const struct record_field *field;
	uint64_t value;
	size_t length;

	if (wrong != NULL)
		return wrong;
	length = varint_read(cursor->at, (size_t)(cursor->end - cursor->at), &value);
	if (length == 0)
		return "varint";
	if (value == 0)
		return "zero";
	field = &record_fields[record_field_by_number(number)];
	if (value > record_field_max(field))
		return check_is_enum(field) ? "enum" : "width";
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
	const char *wrong;
	uint64_t tag = 0, number;
	size_t length = varint_read(cursor->at, (size_t)(cursor->end - cursor->at), &tag);

	number = tag >> 3;
	if (length == 0)
		return "varint";
	if (number == 0 || (cursor->row > check_usual.rows && number <= cursor->row[-1].number))
		return "field order";
	if (number >= RECORD_NUMBERS)
		return "unknown field";
	cursor->at += length;
	if ((tag & 7) == CHECK_BYTES)
		wrong = check_bytes(cursor, (uint32_t)number);
	else
		wrong = check_number_slowly(cursor, (uint32_t)number, tag & 7);
	if (wrong == NULL)
		cursor->row = check_learn(&record_fields[record_field_by_number((uint32_t)number)]);
	return wrong;
}

/* --- the fast path ----------------------------------------------------- */

/*
 * What a check costs is the way from one field's start to the next's: to load a
 * varint, to find its end and to load what is behind it is a chain that no
 * processor can shorten.  So the ends of all varints in a window are found at
 * once, as bits of a word, and the way is to clear its lowest bit: everything
 * else about a field hangs on that, and nothing on it.
 */
struct check_window {
	uint64_t	ends;	/* bit i: byte i has no continuation bit */
	uint64_t	zeros;	/* bit i: byte i is 0, which none of a canonical number that is not 0 is */
};

static inline uint64_t
check_word(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return le64toh(word);
}

#if defined(__SSE2__)
static inline uint64_t
check_high(__m128i bytes, unsigned int shift)
{
	return (uint64_t)(uint16_t)_mm_movemask_epi8(bytes) << shift;
}

static inline struct check_window
check_look(const uint8_t *at)
{
	const __m128i none = _mm_setzero_si128();
	const __m128i a = _mm_loadu_si128((const void *)at), b = _mm_loadu_si128((const void *)(at + 16));
	const __m128i c = _mm_loadu_si128((const void *)(at + 32)), d = _mm_loadu_si128((const void *)(at + 48));

	return (struct check_window){
		.ends = ~(check_high(a, 0) | check_high(b, 16) | check_high(c, 32) | check_high(d, 48)),
		.zeros = check_high(_mm_cmpeq_epi8(a, none), 0) | check_high(_mm_cmpeq_epi8(b, none), 16) |
		    check_high(_mm_cmpeq_epi8(c, none), 32) | check_high(_mm_cmpeq_epi8(d, none), 48),
	};
}
#else
/* The high bits of a word's bytes, side by side: the product has them in its highest byte. */
static inline uint64_t
check_gather(uint64_t word)
{
	return (word >> 7 & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080) >> 56;
}

static inline struct check_window
check_look(const uint8_t *at)
{
	struct check_window window = { 0, 0 };

	for (unsigned int i = 0; i < CHECK_WINDOW; i += 8) {
		uint64_t word = check_word(at + i);

		window.ends |= check_gather(~word) << i;
		/* The sum's high bit is set if any of the low ones was. */
		window.zeros |= check_gather(~(((word & CHECK_SPREAD) + CHECK_SPREAD) | word)) << i;
	}
	return window;
}
#endif

/* Whether a value of so many bytes, none of them 0, is within the row's bound. */
static inline bool
check_bound(const struct check_row *row, const uint8_t *value, size_t length)
{
	if (length <= row->safe)
		return true;
	/* No limit at all is such a number. */
	if (length == VARINT_MAX)
		return row->wide && value[VARINT_MAX - 1] == 1;
	return length <= 8 && (check_word(value) & CHECK_SPREAD & ~UINT64_C(0) >> (64 - 8 * length)) <= row->spread;
}

/* The bytes of an address, or of a short plain text, with its length before it; or 0. */
static inline size_t
check_fast_bytes(const struct check_row *row, const uint8_t *at, const uint8_t *end)
{
	size_t length = *at++;

	if (length == 0 || length >= CHECK_TEXT || length > (size_t)(end - at))
		return 0;
	if (length == row->length)
		return 1 + length;
	if (row->length != CHECK_TEXT)
		return 0;
	for (size_t i = 0; i < length; i++)
		if (at[i] < 0x20 || at[i] > 0x7e)
			return 0;
	return 1 + length;
}

static inline bool
check_is(const struct check_row *row, uint32_t word)
{
	return ((word ^ row->tag) & row->mask) == 0;
}

/*
 * Goes over the numbers in a window, and stops where it is no number, or wrong,
 * or goes on behind the window.  Returns where, or NULL if something was wrong
 * before.
 */
static inline const uint8_t *
check_fast_numbers(const uint8_t *start, const struct check_row **usual)
{
	struct check_window window = check_look(start);
	const struct check_row *row = *usual;
	unsigned int place = 0;

	while (place < CHECK_WINDOW) {
		uint32_t word = (uint32_t)check_word(start + place);
		uint64_t rest = window.ends & (window.ends - 1);	/* without the tag's */
		unsigned int value, next;

		if (__builtin_expect(!check_is(row, word), 0)) {
			const struct check_row *found = row;

			while (found->number != 0 && !check_is(found, word))
				found++;
			if (found->number == 0)
				break;
			row = found;
		}
		if (row->length != 0 || rest == 0)
			break;
		value = place + row->tag_length;
		next = (unsigned int)__builtin_ctzll(rest) + 1;
		if (!check_bound(row, start + value, next - value))
			break;
		window.ends = rest & (rest - 1);
		place = next;
		row++;
	}
	*usual = row;
	return place == 0 || (window.zeros << (CHECK_WINDOW - place)) == 0 ? start + place : NULL;
}

/*
 * Goes over the fields of usual shapes, nearly all, and stops before the first
 * that is none or begins behind last; from where CHECK_WIDE bytes may be read.
 */
static inline void
check_fast(struct check_cursor *cursor, const uint8_t *last)
{
	const uint8_t *before = NULL;

	while (cursor->at <= last && cursor->at != before) {
		const struct check_row *row = cursor->row;
		const uint8_t *at = check_fast_numbers(cursor->at, &row);
		size_t bytes;

		if (at == NULL)
			return;
		before = cursor->at;
		while (at <= last && row->length != 0 && check_is(row, (uint32_t)check_word(at)) &&
		    (bytes = check_fast_bytes(row, at + row->tag_length, cursor->end)) != 0)
			at += row++->tag_length + bytes;
		cursor->at = at;
		cursor->row = row;
	}
}

/* The same for the record's last bytes, as if zeros were behind them. */
static inline void
check_fast_tail(struct check_cursor *cursor, size_t length)
{
	uint8_t bytes[2 * CHECK_WIDE] = { 0 };
	struct check_cursor tail = { .end = bytes + CHECK_WIDE, .row = cursor->row };

	/* A constant length is quicker. */
	if (length >= CHECK_WIDE)
		memcpy(bytes, cursor->end - CHECK_WIDE, CHECK_WIDE);
	else
		memcpy(bytes + CHECK_WIDE - length, cursor->end - length, length);
	tail.at = tail.end - (cursor->end - cursor->at);
	check_fast(&tail, tail.end - 1);
	cursor->at = cursor->end - (tail.end - tail.at);
	cursor->row = tail.row;
}

const char *
check_record(const uint8_t *bytes, size_t length)
{
	struct check_cursor cursor = { .at = bytes, .end = bytes + length, .row = check_usual.rows };
	const char *wrong = length == 0 ? "length" : NULL;

	while (wrong == NULL && cursor.at < cursor.end) {
		if (length >= CHECK_WIDE)
			check_fast(&cursor, cursor.end - CHECK_WIDE);
		if (cursor.end - cursor.at < CHECK_WIDE)
			check_fast_tail(&cursor, length);
		if (cursor.at < cursor.end)
			wrong = check_slowly(&cursor);
	}
	return wrong;
}
