/*
 * Reads msgpack: a map a record.  By hand: what matters is a key and a number
 * or string behind it, whatever else there may be is skipped; and the library
 * for C, which makes a tree of every map first, has another package in each
 * release of Debian.
 */
#include <stdio.h>
#include <string.h>

#include "cli/reader.h"

enum msgpack_kind { MSGPACK_NUMBER, MSGPACK_NEGATIVE, MSGPACK_STRING, MSGPACK_MAP, MSGPACK_ARRAY, MSGPACK_OTHER };

/* What begins at some byte. */
struct msgpack_item {
	enum msgpack_kind	kind;
	uint64_t		number;		/* the value; or the bytes, pairs, elements that follow */
	size_t			head;		/* bytes before those */
};

/* Kinds by their first byte from 0xc0 to 0xdf: how many bytes the number behind it has, and what follows besides. */
static const struct msgpack_first {
	uint8_t	kind, width, more;
	bool	counted;	/* the number counts bytes that follow */
} msgpack_firsts[32] = {
	[0x00] = { MSGPACK_OTHER, 0, 0, false }, [0x01] = { MSGPACK_OTHER, 0, 0, false }, [0x02] = { MSGPACK_OTHER, 0, 0, false },
	[0x03] = { MSGPACK_OTHER, 0, 0, false },
	[0x04] = { MSGPACK_OTHER, 1, 0, true }, [0x05] = { MSGPACK_OTHER, 2, 0, true }, [0x06] = { MSGPACK_OTHER, 4, 0, true },
	[0x07] = { MSGPACK_OTHER, 1, 1, true }, [0x08] = { MSGPACK_OTHER, 2, 1, true }, [0x09] = { MSGPACK_OTHER, 4, 1, true },
	[0x0a] = { MSGPACK_OTHER, 0, 4, false }, [0x0b] = { MSGPACK_OTHER, 0, 8, false },
	[0x0c] = { MSGPACK_NUMBER, 1, 0, false }, [0x0d] = { MSGPACK_NUMBER, 2, 0, false },
	[0x0e] = { MSGPACK_NUMBER, 4, 0, false }, [0x0f] = { MSGPACK_NUMBER, 8, 0, false },
	[0x10] = { MSGPACK_NEGATIVE, 1, 0, false }, [0x11] = { MSGPACK_NEGATIVE, 2, 0, false },
	[0x12] = { MSGPACK_NEGATIVE, 4, 0, false }, [0x13] = { MSGPACK_NEGATIVE, 8, 0, false },
	[0x14] = { MSGPACK_OTHER, 0, 2, false }, [0x15] = { MSGPACK_OTHER, 0, 3, false }, [0x16] = { MSGPACK_OTHER, 0, 5, false },
	[0x17] = { MSGPACK_OTHER, 0, 9, false }, [0x18] = { MSGPACK_OTHER, 0, 17, false },
	[0x19] = { MSGPACK_STRING, 1, 0, true }, [0x1a] = { MSGPACK_STRING, 2, 0, true }, [0x1b] = { MSGPACK_STRING, 4, 0, true },
	[0x1c] = { MSGPACK_ARRAY, 2, 0, false }, [0x1d] = { MSGPACK_ARRAY, 4, 0, false },
	[0x1e] = { MSGPACK_MAP, 2, 0, false }, [0x1f] = { MSGPACK_MAP, 4, 0, false },
};

static struct msgpack_item
msgpack_short(uint8_t first)
{
	if (first < 0x80)
		return (struct msgpack_item){ MSGPACK_NUMBER, first, 1 };
	if (first < 0x90)
		return (struct msgpack_item){ MSGPACK_MAP, first & 0xf, 1 };
	if (first < 0xa0)
		return (struct msgpack_item){ MSGPACK_ARRAY, first & 0xf, 1 };
	if (first < 0xc0)
		return (struct msgpack_item){ MSGPACK_STRING, first & 0x1f, 1 };
	return (struct msgpack_item){ MSGPACK_NEGATIVE, (uint64_t)(int8_t)first, 1 };
}

/* False if it is not whole; without what a map or array holds. */
static bool
msgpack_item(struct msgpack_item *item, const uint8_t *bytes, size_t length)
{
	const struct msgpack_first *first;
	uint64_t number, follows;

	if (length == 0)
		return false;
	if (bytes[0] < 0xc0 || bytes[0] >= 0xe0) {
		*item = msgpack_short(bytes[0]);
		return item->kind != MSGPACK_STRING || length - 1 >= item->number;
	}
	first = &msgpack_firsts[bytes[0] - 0xc0];
	if (length - 1 < first->width)
		return false;
	/* Of a signed number the first bit stands for all above it. */
	number = first->kind == MSGPACK_NEGATIVE && (int8_t)bytes[1] < 0 ? ~UINT64_C(0) : 0;
	for (size_t i = 0; i < first->width; i++)
		number = number << 8 | bytes[1 + i];
	*item = (struct msgpack_item){ first->kind, number, 1u + first->width };
	if (first->kind == MSGPACK_NEGATIVE && (int64_t)number >= 0)
		item->kind = MSGPACK_NUMBER;
	follows = (first->counted ? number : 0) + first->more;
	if (first->kind == MSGPACK_OTHER)
		item->number = follows;
	return !first->counted && first->kind != MSGPACK_OTHER ? true : length - item->head >= follows;
}

/* The bytes of what begins here, with all that is in it; 0 if it is not whole. */
static size_t
msgpack_skip(const uint8_t *bytes, size_t length)
{
	struct msgpack_item item;
	uint64_t left = 1;
	size_t at = 0;

	for (; left > 0; left--) {
		if (!msgpack_item(&item, bytes + at, length - at))
			return 0;
		at += item.head;
		if (item.kind == MSGPACK_STRING || item.kind == MSGPACK_OTHER)
			at += item.number;
		else if (item.kind == MSGPACK_MAP || item.kind == MSGPACK_ARRAY)
			left += item.kind == MSGPACK_MAP ? 2 * item.number : item.number;
	}
	return at;
}

/* --- maps ------------------------------------------------------------------------ */

static const char *
msgpack_text(struct reader_state *state, const uint8_t *bytes, const struct msgpack_item *item)
{
	state->text.length = 0;
	buffer_append(&state->text, bytes + item->head, item->number);
	*buffer_reserve(&state->text, 1) = '\0';
	return (const char *)state->text.bytes;
}

static int
msgpack_value(struct reader_state *state, int row, const uint8_t *bytes, size_t length, char *why)
{
	struct msgpack_item item;

	if (!msgpack_item(&item, bytes, length))
		return -1;
	/* nil: it is not there */
	if (row == -1 || bytes[0] == 0xc0)
		return 0;
	if (item.kind == MSGPACK_STRING)
		return values_set_or_say(&state->values, row, msgpack_text(state, bytes, &item), item.number, VALUES_PLAIN, why);
	if (item.kind <= MSGPACK_NEGATIVE && values_set_number(&state->values, (unsigned int)row, item.number, item.kind == MSGPACK_NEGATIVE) == 0)
		return 0;
	snprintf(why, READER_WHY, "%s: what is there is no value of it", values_name(row));
	return -1;
}

static int
reader_msgpack_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	struct msgpack_item map = { 0 }, key;
	size_t at;

	if (msgpack_skip(bytes, length) != length || !msgpack_item(&map, bytes, length) || map.kind != MSGPACK_MAP) {
		snprintf(why, READER_WHY, "not a map, or cut short");
		return -1;
	}
	values_clear(&state->values);
	for (at = map.head; map.number > 0; map.number--) {
		int row = -1;

		if (msgpack_item(&key, bytes + at, length - at) && key.kind == MSGPACK_STRING)
			row = values_row(msgpack_text(state, bytes + at, &key));
		at += msgpack_skip(bytes + at, length - at);
		if (msgpack_value(state, row, bytes + at, length - at, why) == -1)
			return -1;
		at += msgpack_skip(bytes + at, length - at);
	}
	return values_write_or_say(&state->values, records, why);
}

/* A map whose first key is a field. */
static bool
reader_msgpack_mine(const uint8_t *bytes, size_t length)
{
	struct msgpack_item map, key;
	char name[READER_LOOK + 1];

	if (!msgpack_item(&map, bytes, length) || map.kind != MSGPACK_MAP || map.number == 0 ||
	    !msgpack_item(&key, bytes + map.head, length - map.head) || key.kind != MSGPACK_STRING || key.number > READER_LOOK)
		return false;
	memcpy(name, bytes + map.head + key.head, key.number);
	name[key.number] = '\0';
	return values_row(name) != -1;
}

const struct reader reader_msgpack = {
	.name = "msgpack",
	.what = "map",
	.unit = msgpack_skip,
	.read = reader_msgpack_read,
	.mine = reader_msgpack_mine,
};
