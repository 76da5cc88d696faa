/*
 * The check of a record's bytes.  With $CHECK_SURVIVORS this program tests
 * nothing, but writes what passes the check of many records made at random and
 * spoilt at random to that file, each behind its length: test_check_python.py
 * has another protobuf read them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collector/encode.h"
#include "common/record.h"
#include "common/varint.h"
#include "shipper/check.h"

enum { ROOM = 2 * RECORD_MAX };

/* A record under construction. */
struct draft {
	uint8_t	bytes[ROOM];
	size_t	length;
};

static void
add_varint(struct draft *draft, uint64_t value)
{
	draft->length += varint_write(draft->bytes + draft->length, value);
}

static void
add_number(struct draft *draft, uint32_t number, uint64_t value)
{
	add_varint(draft, (uint64_t)number << 3);
	add_varint(draft, value);
}

static void
add_bytes(struct draft *draft, uint32_t number, const void *bytes, size_t length)
{
	add_varint(draft, (uint64_t)number << 3 | 2);
	add_varint(draft, length);
	memcpy(draft->bytes + draft->length, bytes, length);
	draft->length += length;
}

static void
add_raw(struct draft *draft, const void *bytes, size_t length)
{
	memcpy(draft->bytes + draft->length, bytes, length);
	draft->length += length;
}

/*
 * The verdict on bytes that stand at the very end of an allocation, so that a
 * sanitizer sees a read beyond them.
 */
static const char *
check(const struct draft *draft)
{
	uint8_t *exact = malloc(draft->length > 0 ? draft->length : 1);
	const char *verdict;

	assert_non_null(exact);
	memcpy(exact, draft->bytes, draft->length);
	verdict = check_record(exact, draft->length);
	free(exact);
	return verdict;
}

static void
assert_good(const struct draft *draft)
{
	const char *verdict = check(draft);

	if (verdict != NULL)
		fail_msg("refused: %s", verdict);
}

static void
assert_bad(const struct draft *draft, const char *reason)
{
	const char *verdict = check(draft);

	if (verdict == NULL)
		fail_msg("accepted, and should not: %s", reason);
	assert_string_equal(verdict, reason);
}

/*
 * The same bytes at the record's end and far before it: those are checked in
 * different ways.  The second time the field has come before, which is another.
 */
static void
assert_field(uint32_t number, const void *bytes, size_t length, const char *reason)
{
	static const char padding[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct draft last = { .length = 0 }, amid = { .length = 0 };
	int times;

	add_raw(&last, bytes, length);
	add_raw(&amid, bytes, length);
	if (number < RECORD_N_ulp_name)
		add_bytes(&amid, RECORD_N_ulp_name, padding, sizeof(padding) - 1);
	/* The last one of all. */
	add_bytes(&amid, RECORD_N_md5_peer_address, padding, 16);
	for (times = 0; times < 2; times++) {
		if (reason == NULL) {
			assert_good(&last);
			if (number < RECORD_N_md5_peer_address)
				assert_good(&amid);
		} else {
			assert_bad(&last, reason);
			assert_bad(&amid, reason);
		}
	}
}

static void
assert_number(uint32_t number, uint64_t value, const char *reason)
{
	struct draft draft = { .length = 0 };

	add_number(&draft, number, value);
	assert_field(number, draft.bytes, draft.length, reason);
}

static void
assert_string(const void *bytes, size_t length, const char *reason)
{
	struct draft draft = { .length = 0 };

	add_bytes(&draft, RECORD_N_congestion_algorithm_string, bytes, length);
	assert_field(RECORD_N_congestion_algorithm_string, draft.bytes, draft.length, reason);
}

static bool
is_number(const struct record_field *field)
{
	return record_wire_type((enum record_type)field->type) == 0;
}

/* --- one field at a time ----------------------------------------------- */

static const char *
too_large(const struct record_field *field)
{
	return field->type > RECORD_STATE ? "enum" : "width";
}

static void
test_every_field(void **state)
{
	const struct record_field *field;
	unsigned int bits;

	for (field = record_fields; field < record_fields + RECORD_FIELDS; field++) {
		uint64_t most = record_field_max(field);

		if (field->owner != RECORD_COLLECTOR || !is_number(field))
			continue;
		assert_number(field->number, 0, "zero");
		assert_number(field->number, most, NULL);
		if (most < UINT64_MAX)
			assert_number(field->number, most + 1, too_large(field));
		/* On both sides of each length of a varint, among others. */
		for (bits = 0; bits < 64; bits++) {
			uint64_t low = UINT64_C(1) << bits, high = UINT64_MAX >> (63 - bits);

			assert_number(field->number, low, low <= most ? NULL : too_large(field));
			assert_number(field->number, high, high <= most ? NULL : too_large(field));
		}
	}
	(void)state;
}

/* Values of the schema's enums that nobody has defined would be open to guesses. */
static void
test_enums(void **state)
{
	const struct record_field *field;
	uint64_t value;

	for (field = record_fields; field < record_fields + RECORD_FIELDS; field++)
		for (value = 1; field->type > RECORD_STATE && value < 300; value++)
			assert_number(field->number, value,
			    record_enum_text((enum record_type)field->type, value) != NULL ? NULL : "enum");
	(void)state;
}

static void
test_owners(void **state)
{
	const struct record_field *field;

	for (field = record_fields; field < record_fields + RECORD_FIELDS; field++) {
		struct draft draft = { .length = 0 };

		if (field->owner == RECORD_COLLECTOR)
			continue;
		/* Whatever the bytes are: a name of another namespace, say. */
		if (is_number(field))
			add_number(&draft, field->number, 1);
		else
			add_bytes(&draft, field->number, "default", 7);
		assert_field(field->number, draft.bytes, draft.length, "owner");
	}
	(void)state;
}

static void
test_unknown_fields(void **state)
{
	static const uint64_t beyond[] = { RECORD_NUMBERS, 1U << 29, UINT32_MAX, UINT64_MAX >> 3,
	    (UINT64_C(1) << 32) + RECORD_N_mark };
	uint32_t number;
	size_t i;

	for (number = 1; number < RECORD_NUMBERS; number++)
		if (record_field_by_number(number) < 0)
			assert_number(number, 1, "unknown field");
	for (i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
		struct draft draft = { .length = 0 };

		add_varint(&draft, beyond[i] << 3);
		add_varint(&draft, 1);
		assert_bad(&draft, "unknown field");
	}
	/* There is no field 0. */
	assert_number(0, 1, "field order");
	(void)state;
}

static void
test_wire_types(void **state)
{
	const struct record_field *field;
	unsigned int wire;

	for (field = record_fields; field < record_fields + RECORD_FIELDS; field++) {
		if (field->owner != RECORD_COLLECTOR)
			continue;
		for (wire = 0; wire < 8; wire++) {
			struct draft draft = { .length = 0 };

			if (wire == record_wire_type((enum record_type)field->type))
				continue;
			add_varint(&draft, (uint64_t)field->number << 3 | wire);
			/* Good as a fixed number, as a group, and as one byte of a string. */
			add_raw(&draft, "\x01" "aaaaaaa", 8);
			assert_field(field->number, draft.bytes, draft.length, "wire type");
		}
	}
	(void)state;
}

static void
test_order(void **state)
{
	static const uint32_t numbers[] = { RECORD_N_timestamp_ns, RECORD_N_record_counter, RECORD_N_record_sequence,
	    RECORD_N_tcp_info_rto, RECORD_N_class_id, RECORD_N_mark, RECORD_N_tcp_info_accecn };
	const size_t count = sizeof(numbers) / sizeof(numbers[0]);
	size_t i, j;

	for (i = 0; i < count; i++)
		for (j = 0; j < count; j++) {
			struct draft draft = { .length = 0 };

			add_number(&draft, numbers[i], 7);
			add_number(&draft, numbers[j], 7);
			if (i < j)
				assert_good(&draft);
			else
				assert_bad(&draft, "field order");
			/* Also where the fast path is taken. */
			add_number(&draft, RECORD_N_tcp_info_accecn, UINT32_MAX);
			add_number(&draft, RECORD_N_tcp_info_accecn, UINT32_MAX);
			add_number(&draft, RECORD_N_tcp_info_accecn, UINT32_MAX);
			assert_bad(&draft, "field order");
		}
	(void)state;
}

/* --- varints ----------------------------------------------------------- */

static void
test_varints_too_long(void **state)
{
	static const char endless[200] = { [0 ... 199] = (char)0x81 };
	static const struct {
		uint32_t	number;
		const char	*bytes;
		size_t		length;
	} cases[] = {
		{ RECORD_N_tcp_info_rto, "\x80\x00", 2 },
		{ RECORD_N_tcp_info_rto, "\x81\x00", 2 },
		{ RECORD_N_tcp_info_rto, "\xff\x80\x00", 3 },
		{ RECORD_N_tcp_info_rto, "\x81\x80\x80\x80\x80\x80\x80\x00", 8 },
		{ RECORD_N_c_group, "\xff\xff\xff\xff\xff\xff\xff\xff\x00", 9 },
		{ RECORD_N_c_group, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", 10 },
		{ RECORD_N_c_group, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10 },	/* 65 bits */
		{ RECORD_N_c_group, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11 },
		{ RECORD_N_c_group, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 },
		{ RECORD_N_c_group, endless, sizeof(endless) },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct draft draft = { .length = 0 };

		add_varint(&draft, (uint64_t)cases[i].number << 3);
		add_raw(&draft, cases[i].bytes, cases[i].length);
		assert_field(cases[i].number, draft.bytes, draft.length, "varint");
	}
	(void)state;
}

static void
test_string_lengths_too_long(void **state)
{
	static const struct { const char *bytes; size_t length; } cases[] = {
		{ "\x81\x00" "a", 3 }, { "\x80\x00", 2 }, { "\x81", 1 }, { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10 },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct draft draft = { .length = 0 };

		add_varint(&draft, RECORD_N_ulp_name << 3 | 2);
		add_raw(&draft, cases[i].bytes, cases[i].length);
		assert_bad(&draft, "varint");
	}
	(void)state;
}

static void
test_tags_too_long(void **state)
{
	static const struct { const char *bytes; size_t length; } tags[] = {
		{ "\xd0\x00", 2 },		/* 10 */
		{ "\xe0\x83\x00", 3 },		/* 60 */
		{ "\xf8\xcb\x00", 3 },		/* 1215 */
		{ "\xc0\x89\x81\x00", 4 },	/* 2200 */
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 10 },
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11 },
	};
	size_t i;

	for (i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		struct draft draft = { .length = 0 };

		add_raw(&draft, tags[i].bytes, tags[i].length);
		add_raw(&draft, "\x07", 1);
		assert_field(RECORD_N_mark, draft.bytes, draft.length, "varint");
	}
	(void)state;
}

static struct draft
whole_record(void)
{
	struct draft draft = { .length = 0 };
	const struct record_field *field;

	for (field = record_fields; field < record_fields + RECORD_FIELDS; field++) {
		if (field->owner != RECORD_COLLECTOR)
			continue;
		if (is_number(field))
			add_number(&draft, field->number, record_field_max(field));
		else
			add_bytes(&draft, field->number, "0123456789abcdef", 16);
	}
	return draft;
}

/* Cut anywhere but between two fields, a record is refused. */
static void
test_cut(void **state)
{
	struct draft whole = whole_record(), part = whole;
	bool boundary[ROOM] = { false };
	const struct record_field *field;
	size_t at = 0, boundaries = 0;

	assert_good(&whole);
	for (field = record_fields; field < record_fields + RECORD_FIELDS; field++) {
		struct draft one = { .length = 0 };

		if (field->owner != RECORD_COLLECTOR)
			continue;
		if (is_number(field))
			add_number(&one, field->number, record_field_max(field));
		else
			add_bytes(&one, field->number, "0123456789abcdef", 16);
		at += one.length;
		boundary[at] = true;
	}
	for (part.length = 0; part.length <= whole.length; part.length++) {
		boundaries += boundary[part.length];
		if ((check(&part) == NULL) != boundary[part.length])
			fail_msg("cut at %zu: %s", part.length, boundary[part.length] ? "refused" : "accepted");
	}
	assert_in_range(boundaries, 100, RECORD_FIELDS);
	(void)state;
}

static void
test_nothing(void **state)
{
	struct draft draft = { .length = 0 };

	assert_bad(&draft, "length");
	(void)state;
}

/* --- strings and addresses --------------------------------------------- */

static void
test_lengths(void **state)
{
	char bytes[300];
	size_t i;

	memset(bytes, 'x', sizeof(bytes));
	assert_string(bytes, 0, "zero");
	for (i = 1; i <= RECORD_STRING_MAX; i++)
		assert_string(bytes, i, NULL);
	assert_string(bytes, RECORD_STRING_MAX + 1, "length");
	assert_string(bytes, 300, "length");
	for (i = 1; i < 40; i++) {
		struct draft draft = { .length = 0 };

		add_bytes(&draft, RECORD_N_inet_diag_msg_socket_source, bytes, i);
		assert_field(RECORD_N_inet_diag_msg_socket_source, draft.bytes, draft.length, i == 16 ? NULL : "length");
	}
	/* An address may be all zeros: that is one. */
	memset(bytes, 0, sizeof(bytes));
	{
		struct draft draft = { .length = 0 };

		add_bytes(&draft, RECORD_N_inet_diag_msg_socket_source, bytes, 16);
		assert_field(RECORD_N_inet_diag_msg_socket_source, draft.bytes, draft.length, NULL);
	}
	(void)state;
}

/* Bytes hold anything, so only their length is looked at. */
static void
test_lengths_of_bytes(void **state)
{
	uint8_t bytes[RECORD_BYTES_MAX + 2];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (i = 0; i <= sizeof(bytes); i++) {
		struct draft draft = { .length = 0 };

		add_bytes(&draft, RECORD_N_tcp_info_tail, bytes, i);
		assert_field(RECORD_N_tcp_info_tail, draft.bytes, draft.length,
		    i == 0 ? "zero" : i > RECORD_BYTES_MAX ? "length" : NULL);
	}
	(void)state;
}

static void
test_length_beyond_the_end(void **state)
{
	static const uint64_t lengths[] = { 3, 17, 255, 256, UINT32_MAX, UINT64_MAX, UINT64_MAX - 2 };
	size_t i;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct draft draft = { .length = 0 };

		add_varint(&draft, RECORD_N_ulp_name << 3 | 2);
		add_varint(&draft, lengths[i]);
		add_raw(&draft, "tl", 2);
		assert_bad(&draft, "length");
	}
	(void)state;
}

static void
test_utf8(void **state)
{
	static const char *const good[] = {
		"cubic", " ~", "\xc2\xa0", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
		"\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "gr\xc3\xbc\xc3\x9f", "\xe2\x82\xac\xe2\x82\xac",
	};
	static const char *const bad[] = {
		"\x80", "\xbf", "a\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2" "a", "\xe0\x80\x80", "\xe0\x9f\xbf",
		"\xe2\x82", "\xe2\x82" "a", "\xe2", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
		"\xf0\x90\x80", "\xf0\x90\x80" "a", "\xf0\x90" "a\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
		"\xf8\x88\x80\x80\x80", "\xfe", "\xff", "\xff\xff\xff\xff",
		"\n", "a\tb", "\x1b[2J", "\x01", "\x1f", "\x7f", "\xc2\x80", "\xc2\x9b" "2J", "\xc2\x9f",
	};
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_string(good[i], strlen(good[i]), NULL);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string(bad[i], strlen(bad[i]), "utf-8");
	assert_string("\0", 1, "utf-8");
	assert_string("a\0b", 3, "utf-8");
	(void)state;
}

/* --- at random --------------------------------------------------------- */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t
random_next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint64_t
random_below(uint64_t limit)
{
	return random_next() % limit;
}

/* Of every number of bits alike. */
static uint64_t
random_value(const struct record_field *field)
{
	uint64_t value = random_next() >> random_below(64), most = record_field_max(field);

	if (random_below(16) == 0)
		return most;
	value = most == UINT64_MAX ? value : value % (most + 1);
	return value == 0 ? 1 : value;
}

static void
random_string(struct draft *draft, const struct record_field *field)
{
	static const char *const pieces[] = { "a", "cubic", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x90\xa7", " ", "_" };
	char string[RECORD_STRING_MAX + 8];
	size_t length = 0, wanted = 1 + random_below(random_below(4) == 0 ? RECORD_STRING_MAX - 4 : 12);

	while (length < wanted) {
		const char *piece = pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))];

		memcpy(string + length, piece, strlen(piece));
		length += strlen(piece);
	}
	add_bytes(draft, field->number, string, length);
}

static struct draft
random_record(void)
{
	struct draft draft = { .length = 0 };
	uint64_t rare = 1 + random_below(20);
	const struct record_field *field;

	for (field = record_fields; field < record_fields + RECORD_FIELDS; field++) {
		uint64_t address[2] = { random_next(), random_next() };

		if (field->owner != RECORD_COLLECTOR || random_below(rare) != 0)
			continue;
		if (field->type == RECORD_ADDRESS)
			add_bytes(&draft, field->number, address, 16);
		else if (field->type == RECORD_STRING)
			random_string(&draft, field);
		else if (field->type == RECORD_BYTES)
			add_bytes(&draft, field->number, address, 1 + random_below(sizeof(address)));
		else
			add_number(&draft, field->number, random_value(field));
	}
	return draft;
}

/* A bit, a byte, a piece taken out, moved or repeated. */
static void
spoil(struct draft *draft)
{
	size_t at, from, length;

	if (draft->length == 0)
		return;
	at = random_below(draft->length);
	from = random_below(draft->length);
	length = 1 + random_below(8);
	if (length > draft->length - at)
		length = draft->length - at;
	switch (random_below(5)) {
	case 0:
		draft->bytes[at] ^= (uint8_t)(1 << random_below(8));
		break;
	case 1:
		draft->bytes[at] = (uint8_t)random_next();
		break;
	case 2:
		memmove(draft->bytes + at, draft->bytes + at + length, draft->length - at - length);
		draft->length -= length;
		break;
	case 3:
		memmove(draft->bytes + at + length, draft->bytes + at, draft->length - at);
		draft->length += length;
		break;
	default:
		if (length > draft->length - from)
			length = draft->length - from;
		memmove(draft->bytes + at, draft->bytes + from, length);
	}
}

/* The rules as they are written down, a field at a time and without any haste. */
static bool
reference_field(const uint8_t *bytes, size_t length, uint32_t *previous, size_t *used)
{
	const struct record_field *field;
	size_t tag_length, value_length;
	uint64_t tag, value;

	tag_length = varint_read(bytes, length, &tag);
	if (tag_length == 0 || tag >> 3 <= *previous || tag >> 3 > UINT32_MAX)
		return false;
	*previous = (uint32_t)(tag >> 3);
	if (record_field_by_number(*previous) < 0)
		return false;
	field = &record_fields[record_field_by_number(*previous)];
	if (field->owner != RECORD_COLLECTOR || (tag & 7) != record_wire_type((enum record_type)field->type))
		return false;
	value_length = varint_read(bytes + tag_length, length - tag_length, &value);
	*used = tag_length + value_length;
	if (value_length == 0 || value == 0)
		return false;
	if (is_number(field))
		return value <= record_field_max(field);
	if (value > length - *used || value > (field->type == RECORD_BYTES ? RECORD_BYTES_MAX : RECORD_STRING_MAX))
		return false;
	*used += value;
	return field->type != RECORD_ADDRESS || value == 16;
}

/* All but UTF-8, which test_utf8 and Python's decoder look after. */
static bool
reference(const struct draft *draft)
{
	uint32_t previous = 0;
	size_t at = 0, used = 0;

	for (; at < draft->length; at += used)
		if (!reference_field(draft->bytes + at, draft->length - at, &previous, &used))
			return false;
	return draft->length > 0;
}

static void
test_random(void **state)
{
	unsigned int round, accepted = 0, refused = 0, spoilt;

	for (round = 0; round < 200000; round++) {
		struct draft draft = random_record();
		const char *verdict;
		bool good;

		for (spoilt = (unsigned int)random_below(4); spoilt > 0; spoilt--)
			spoil(&draft);
		verdict = check(&draft);
		good = reference(&draft);
		if (verdict != NULL && strcmp(verdict, "utf-8") == 0)
			continue;
		if ((verdict == NULL) != good)
			fail_msg("round %u: %s", round, good ? verdict : "accepted");
		accepted += good;
		refused += !good;
	}
	assert_in_range(accepted, 20000, round);
	assert_in_range(refused, 20000, round);
	(void)state;
}

static void
test_noise(void **state)
{
	unsigned int round;

	for (round = 0; round < 100000; round++) {
		struct draft draft = { .length = random_below(64) };
		const char *verdict;
		size_t i;

		for (i = 0; i < draft.length; i++)
			draft.bytes[i] = (uint8_t)random_next();
		verdict = check(&draft);
		if (verdict == NULL || strcmp(verdict, "utf-8") != 0)
			assert_int_equal(verdict == NULL, reference(&draft));
	}
	(void)state;
}

/* What our own encoder writes passes, be the numbers what they may. */
static void
test_encoder(void **state)
{
	unsigned int round;

	for (round = 0; round < 10000; round++) {
		struct encode_metadata metadata = { random_next() >> 1, random_next(), random_next(), random_next(),
		    (uint32_t)random_next() };
		struct encode_end end = { RECORD_WAY_WALK, (enum record_outcome)random_below(8), random_next(), random_next(),
		    0, 0, random_next() >> random_below(64), 1, random_next(), random_next() };
		struct draft draft;
		uint8_t bytes[ENCODE_END_MAX + 2];
		size_t length = encode_end(bytes, &metadata, &end), prefix;
		uint64_t value = 0;

		prefix = varint_read(bytes, length, &value);
		assert_int_equal(prefix + value, length);
		draft.length = value;
		memcpy(draft.bytes, bytes + prefix, value);
		assert_good(&draft);
	}
	(void)state;
}

/* --- for another protobuf ---------------------------------------------- */

static int
write_survivors(const char *path)
{
	unsigned int count = 0, unspoilt = 0, i;
	FILE *file = fopen(path, "w");

	if (file == NULL)
		return 1;
	while (count < 20000) {
		struct draft draft = random_record();
		uint8_t prefix[VARINT_MAX];
		unsigned int spoilt = (unsigned int)random_below(4);

		for (i = 0; i < spoilt; i++)
			spoil(&draft);
		/* Most of the file shall be what survived a change. */
		unspoilt += spoilt == 0;
		if ((spoilt == 0 && unspoilt > 5000) || check(&draft) != NULL)
			continue;
		fwrite(prefix, 1, varint_write(prefix, draft.length), file);
		fwrite(draft.bytes, 1, draft.length, file);
		count++;
	}
	return fclose(file) == 0 ? 0 : 1;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_field),
		cmocka_unit_test(test_enums),
		cmocka_unit_test(test_owners),
		cmocka_unit_test(test_unknown_fields),
		cmocka_unit_test(test_wire_types),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_varints_too_long),
		cmocka_unit_test(test_string_lengths_too_long),
		cmocka_unit_test(test_tags_too_long),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_lengths_of_bytes),
		cmocka_unit_test(test_length_beyond_the_end),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_encoder),
	};
	const char *survivors = getenv("CHECK_SURVIVORS");

	if (survivors != NULL)
		return write_survivors(survivors);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
