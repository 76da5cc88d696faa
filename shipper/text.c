/* Values as text: see text.h.  Written by hand, since printf would cost more than all else. */
#include "common/utf8.h"
#include "shipper/text.h"

#define REPLACEMENT	"\xef\xbf\xbd"		/* U+FFFD */

#define DIGITS(tens)	#tens "0" #tens "1" #tens "2" #tens "3" #tens "4" #tens "5" #tens "6" #tens "7" #tens "8" #tens "9"
const char text_digits[201] =
    DIGITS(0) DIGITS(1) DIGITS(2) DIGITS(3) DIGITS(4)
    DIGITS(5) DIGITS(6) DIGITS(7) DIGITS(8) DIGITS(9);

/* How many digits: the bits say it but for one, which the power of ten says. */
static inline size_t
text_number_length(uint64_t value)
{
	static const uint64_t powers[] = {
		0, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000,
		UINT64_C(10000000000), UINT64_C(100000000000), UINT64_C(1000000000000),
		UINT64_C(10000000000000), UINT64_C(100000000000000), UINT64_C(1000000000000000),
		UINT64_C(10000000000000000), UINT64_C(100000000000000000),
		UINT64_C(1000000000000000000), UINT64_C(10000000000000000000),
	};
	unsigned int bits = 64 - (unsigned int)__builtin_clzll(value | 1);
	unsigned int digits = bits * 1233 >> 12;

	return digits + (value >= powers[digits]);
}

size_t
text_number_long(char *to, uint64_t value)
{
	size_t length = text_number_length(value);
	char *at = to + length;

	while (value >= 100) {
		at -= 2;
		memcpy(at, &text_digits[2 * (value % 100)], 2);
		value /= 100;
	}
	if (value >= 10)
		memcpy(to, &text_digits[2 * value], 2);
	else
		*to = (char)('0' + value);
	return length;
}

size_t
text_signed(char *to, int64_t value)
{
	if (value >= 0)
		return text_number(to, (uint64_t)value);
	*to = '-';
	return 1 + text_number(to + 1, -(uint64_t)value);
}

static size_t
text_ipv4(char *to, const uint8_t *address)
{
	char *at = to;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		at += text_number(at, address[i]);
		*at++ = '.';
	}
	return (size_t)(at - 1 - to);
}

static size_t
text_hex(char *to, unsigned int value)
{
	size_t length = 0;
	int shift;

	for (shift = 12; shift >= 0; shift -= 4) {
		if (value >> shift != 0 || shift == 0)
			to[length++] = "0123456789abcdef"[value >> shift & 15];
	}
	return length;
}

/* The longest run of zero groups, the first of equals; none shorter than two. */
static unsigned int
text_zero_run(const unsigned int *groups, unsigned int *start)
{
	unsigned int i, run = 0, best = 0;

	for (i = 0; i < 8; i++) {
		run = groups[i] == 0 ? run + 1 : 0;
		if (run > best) {
			best = run;
			*start = i + 1 - run;
		}
	}
	return best < 2 ? 0 : best;
}

static size_t
text_ipv6(char *to, const uint8_t *address)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	unsigned int groups[8], i, run, start = 8;
	char *at = to;

	if (memcmp(address, mapped, sizeof(mapped)) == 0) {
		memcpy(to, "::ffff:", 7);
		return 7 + text_ipv4(to + 7, address + 12);
	}
	for (i = 0; i < 8; i++)
		groups[i] = (unsigned int)address[2 * i] << 8 | address[2 * i + 1];
	run = text_zero_run(groups, &start);
	for (i = 0; i < 8;) {
		if (run > 0 && i == start) {
			*at++ = ':';
			if (i == 0)
				*at++ = ':';
			i += run;
			continue;
		}
		at += text_hex(at, groups[i]);
		if (++i < 8)
			*at++ = ':';
	}
	return (size_t)(at - to);
}

size_t
text_address(char *to, uint64_t family, const uint8_t *address)
{
	static const uint8_t none[16];

	if (address == NULL)
		address = none;
	return family == TEXT_IPV4 ? text_ipv4(to, address) : text_ipv6(to, address);
}

size_t
text_bytes(char *to, const uint8_t *bytes, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		to[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
		to[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
	}
	return TEXT_BYTES * length;
}

/* A key's peer may be of another family than the socket: an IPv6 listener takes IPv4. */
static uint64_t
text_family(const struct record *record, enum record_index row)
{
	return record->values[row == RECORD_F_md5_peer_address ? RECORD_F_md5_peer_family :
	    RECORD_F_inet_diag_msg_family].number;
}

size_t
text_plain(char *to, const struct record *record, enum record_index row, bool *bare)
{
	const struct record_value *value = &record->values[row];
	enum record_type type = record_fields[row].type;
	const char *name;

	*bare = false;
	if (type == RECORD_ADDRESS)
		return text_address(to, text_family(record, row), value->bytes);
	name = record_enum_text(type, value->number);
	if (name != NULL) {
		size_t length = strlen(name);

		memcpy(to, name, length);
		return length;
	}
	*bare = true;
	/* U64 is the only type whose top bit is no sign. */
	if (type == RECORD_U64)
		return text_number(to, value->number);
	return text_signed(to, (int64_t)value->number);
}

/* The length of the character at the front, 0 if there is none, and its code point. */
static size_t
text_sequence(const uint8_t *bytes, size_t left, uint32_t *point)
{
	size_t length, i;

	*point = bytes[0];
	if (bytes[0] < 0x80)
		return 1;
	length = utf8_sequence(bytes, left);
	if (length == 0)
		return 0;
	*point &= 0x7fu >> length;
	for (i = 1; i < length; i++)
		*point = *point << 6 | (bytes[i] & 0x3fu);
	return length;
}

static size_t
text_escape_json(char *to, uint8_t byte)
{
	static const char letters[0x20] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };

	to[0] = '\\';
	if (byte == '"' || byte == '\\') {
		to[1] = (char)byte;
		return 2;
	}
	if (byte < 0x20 && letters[byte] != 0) {
		to[1] = letters[byte];
		return 2;
	}
	memcpy(to + 1, "u00", 3);
	to[4] = "0123456789abcdef"[byte >> 4];
	to[5] = "0123456789abcdef"[byte & 15];
	return 6;
}

static size_t
text_escape_csv(char *to, uint8_t byte)
{
	if (byte == 0) {
		memcpy(to, REPLACEMENT, 3);
		return 3;
	}
	to[0] = to[1] = (char)byte;
	return byte == '"' ? 2 : 1;
}

static size_t
text_escape_tsv(char *to, uint8_t byte)
{
	static const char letters[] = {
		[0] = '0', ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n',
		['\f'] = 'f', ['\r'] = 'r', ['\\'] = '\\',
	};

	if (byte >= sizeof(letters) || letters[byte] == 0) {
		to[0] = (char)byte;
		return 1;
	}
	to[0] = '\\';
	to[1] = letters[byte];
	return 2;
}

static size_t
text_escape_terminal(char *to, uint8_t byte)
{
	if (byte >= 0x20 && byte != 0x7f) {
		to[0] = (char)byte;
		return 1;
	}
	memcpy(to, REPLACEMENT, 3);
	return 3;
}

struct text_range {
	uint32_t first, last;
};

static bool
text_in(const struct text_range *ranges, size_t count, uint32_t point)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (point >= ranges[i].first && point <= ranges[i].last)
			return true;
	}
	return false;
}

#define TEXT_IN(ranges, point)	text_in(ranges, sizeof(ranges) / sizeof((ranges)[0]), point)

/* C1 controls, and what is not seen but changes what is: joiners, line ends, directions. */
static const struct text_range text_unsafe[] = {
	{ 0x80, 0x9f }, { 0xad, 0xad }, { 0x061c, 0x061c }, { 0x180e, 0x180e }, { 0x200b, 0x200f },
	{ 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe0fff },
};

/* Whether a byte below 0x80 stands for itself; decided by a table, once per byte. */
enum {
	TEXT_PLAIN_JSON = 1, TEXT_PLAIN_CSV = 2, TEXT_PLAIN_TSV = 4, TEXT_PLAIN_TERMINAL = 8, TEXT_PLAIN_UTF8 = 16,
	TEXT_PLAIN_ALL = 31
};

static inline bool
text_stands(uint8_t byte, enum text_style style)
{
	static const uint8_t stands[256] = {
		[0 ... 0x1f] = TEXT_PLAIN_UTF8,
		[' ' ... '!'] = TEXT_PLAIN_ALL,
		['"'] = TEXT_PLAIN_TSV | TEXT_PLAIN_TERMINAL | TEXT_PLAIN_UTF8,
		['#' ... '+'] = TEXT_PLAIN_ALL,
		[','] = TEXT_PLAIN_JSON | TEXT_PLAIN_TSV | TEXT_PLAIN_TERMINAL | TEXT_PLAIN_UTF8,
		['-' ... '['] = TEXT_PLAIN_ALL,
		['\\'] = TEXT_PLAIN_CSV | TEXT_PLAIN_TERMINAL | TEXT_PLAIN_UTF8,
		[']' ... '~'] = TEXT_PLAIN_ALL,
		[0x7f] = TEXT_PLAIN_JSON | TEXT_PLAIN_CSV | TEXT_PLAIN_TSV | TEXT_PLAIN_UTF8,
	};

	return stands[byte] >> style & 1;
}

static size_t
text_escape(char *to, const uint8_t *bytes, size_t length, enum text_style style)
{
	/* To TEXT_UTF8 every byte below 0x80 stands, so it has none. */
	static size_t (*const escapes[])(char *, uint8_t) = {
		[TEXT_JSON] = text_escape_json,
		[TEXT_CSV] = text_escape_csv,
		[TEXT_TSV] = text_escape_tsv,
		[TEXT_TERMINAL] = text_escape_terminal,
	};
	char *at = to;
	size_t i, n;

	for (i = 0; i < length; i += n) {
		uint32_t point;

		n = text_sequence(bytes + i, length - i, &point);
		if (n == 1 && text_stands(bytes[i], style))
			*at++ = (char)bytes[i];
		else if (n == 1)
			at += escapes[style](at, bytes[i]);
		else if (n == 0 || (style == TEXT_TERMINAL && TEXT_IN(text_unsafe, point))) {
			memcpy(at, REPLACEMENT, 3);
			at += 3;
			n = n ? n : 1;
		} else {
			memcpy(at, bytes + i, n);
			at += n;
		}
	}
	return (size_t)(at - to);
}

size_t
text_string(char *to, const uint8_t *bytes, size_t length, enum text_style style)
{
	size_t i, n;

	for (i = 0; i < length && text_stands(bytes[i], style); i++)
		to[i] = (char)bytes[i];
	if (i == length)
		return length;
	if (style != TEXT_CSV)
		return text_escape(to, bytes, length, style);
	to[0] = '"';
	n = text_escape(to + 1, bytes, length, style);
	to[1 + n] = '"';
	return n + 2;
}

/* Letters that take two columns, and marks that take none; coarse, but a name's. */
static const struct text_range text_wide[] = {
	{ 0x1100, 0x115f }, { 0x2e80, 0x303e }, { 0x3041, 0xa4cf }, { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff },
	{ 0xfe30, 0xfe6f }, { 0xff01, 0xff60 }, { 0xffe0, 0xffe6 }, { 0x1f300, 0x1f64f }, { 0x1f900, 0x1f9ff },
	{ 0x20000, 0x3fffd },
};
static const struct text_range text_marks[] = { { 0x0300, 0x036f }, { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f } };

/* One letter of a text that is valid already, and the columns it takes. */
static size_t
text_letter(const char *text, size_t left, size_t *width)
{
	uint32_t point;
	size_t n = text_sequence((const uint8_t *)text, left, &point);

	*width = 1;
	if (point >= text_marks[0].first)
		*width = TEXT_IN(text_marks, point) ? 0 : TEXT_IN(text_wide, point) ? 2 : 1;
	return n ? n : 1;
}

size_t
text_fit(const char *text, size_t length, size_t columns)
{
	size_t i, n, width;

	for (i = 0; i < length; i += n) {
		n = text_letter(text + i, length - i, &width);
		if (width > columns)
			break;
		columns -= width;
	}
	return i;
}

size_t
text_columns(const char *text, size_t length)
{
	size_t i, width, columns = 0;

	for (i = 0; i < length; columns += width)
		i += text_letter(text + i, length - i, &width);
	return columns;
}

static const uint64_t text_powers[] = { 1, 10, 100 };

/* 1000 to 999999 thousandths as three digits; 1000 is "one of the next size". */
static uint64_t
text_round(uint64_t thousandths, unsigned int *decimals)
{
	uint64_t digits;

	*decimals = thousandths < 10000 ? 2 : thousandths < 100000 ? 1 : 0;
	digits = (thousandths * text_powers[*decimals] + 500) / 1000;
	if (digits == 1000 && *decimals > 0) {
		digits = 100;
		(*decimals)--;
	}
	return digits;
}

static size_t
text_fraction(char *to, uint64_t digits, unsigned int decimals)
{
	uint64_t rest = digits % text_powers[decimals];
	char *at = to;

	at += text_number(at, digits / text_powers[decimals]);
	if (decimals > 0)
		*at++ = '.';
	if (decimals == 2 && rest < 10)
		*at++ = '0';
	if (decimals > 0)
		at += text_number(at, rest);
	return (size_t)(at - to);
}

size_t
text_scaled(char *to, uint64_t value, const char *unit)
{
	static const char prefixes[] = " kMGTPE";
	unsigned int prefix = 1, decimals;
	uint64_t thousandth = 1, digits;
	char *at = to;

	if (value < 1000)
		at += text_number(at, value);
	else {
		for (; value / thousandth >= 1000000; prefix++)
			thousandth *= 1000;
		digits = text_round(value / thousandth, &decimals);
		if (digits == 1000) {
			digits = 100;
			decimals = 2;
			prefix++;
		}
		at += text_fraction(at, digits, decimals);
		*at++ = prefixes[prefix];
	}
	memcpy(at, unit, strlen(unit));
	return (size_t)(at - to) + strlen(unit);
}

size_t
text_milliseconds(char *to, uint64_t us)
{
	unsigned int decimals;
	uint64_t digits;
	char *at = to;

	if (us == 0)
		*at++ = '0';
	else if (us < 1000) {
		memcpy(at, "0.", 2);
		at[2] = (char)('0' + us / 100);
		memcpy(at + 3, &text_digits[2 * (us % 100)], 2);
		at += 5;
	} else if (us < 1000000) {
		digits = text_round(us, &decimals);
		at += text_fraction(at, digits, decimals);
	} else
		at += text_number(at, us / 1000 + (us % 1000 >= 500));
	memcpy(at, "ms", 2);
	return (size_t)(at + 2 - to);
}

#define FIELD(number, name, type, owner, source, load, offset) \
	_Static_assert(sizeof(#name) - 1 + 6 <= TEXT_LABEL_MAX, "a longer label is needed");
#include "common/record.def"
#undef FIELD

void
text_label(struct text_label *label, const char *before, const char *name, const char *after)
{
	char *at = label->bytes;

	at = mempcpy(at, before, strlen(before));
	at = mempcpy(at, name, strlen(name));
	at = mempcpy(at, after, strlen(after));
	label->length = (uint8_t)(at - label->bytes);
}

static void
text_learn(struct text_presence *presence, unsigned int slot, const struct record_shape *shape)
{
	uint64_t *implied = presence->known[slot].implied;
	unsigned int row;

	memset(implied, 0, sizeof(presence->known[slot].implied));
	for (row = 0; row < RECORD_FIELDS; row++) {
		if (record_shape_implies(shape, row))
			implied[row / 64] |= UINT64_C(1) << (row % 64);
	}
	presence->known[slot].shape = *shape;
	presence->known[slot].used = true;
}

static bool
text_same(const struct record_shape *a, const struct record_shape *b)
{
	return a->attributes == b->attributes && a->tcp_info_length == b->tcp_info_length &&
	    a->kind == b->kind && a->ours == b->ours;
}

void
text_present(struct text_presence *presence, const struct record *record, uint64_t present[RECORD_WORDS])
{
	struct record_shape shape = record_shape(record);
	unsigned int slot, word;

	for (slot = 0; slot < TEXT_SHAPES; slot++) {
		if (presence->known[slot].used && text_same(&presence->known[slot].shape, &shape))
			break;
	}
	if (slot == TEXT_SHAPES) {
		slot = presence->next++ % TEXT_SHAPES;
		text_learn(presence, slot, &shape);
	}
	for (word = 0; word < RECORD_WORDS; word++)
		present[word] = record->written[word] | presence->known[slot].implied[word];
}
