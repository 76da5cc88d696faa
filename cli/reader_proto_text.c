/*
 * Reads protoText, protobuf's text format of Envelopes.  By hand: protobuf-c has
 * no parser of it, and Google's would bring C++.  What the shipper writes is
 * read, and what other writers do otherwise with the same fields: spaces and
 * comments, a colon before a brace, commas and semicolons, single quotes, all
 * escapes but those by code point.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/reader.h"

struct proto_text_in {
	const uint8_t	*at, *end;
};

static void
proto_text_space(struct proto_text_in *in)
{
	bool comment = false;

	for (; in->at < in->end && (comment || isspace(*in->at) || *in->at == '#'); in->at++)
		comment = (comment || *in->at == '#') && *in->at != '\n';
}

/* True, and behind it, if this byte is next. */
static bool
proto_text_next(struct proto_text_in *in, char byte)
{
	proto_text_space(in);
	if (in->at == in->end || *in->at != (uint8_t)byte)
		return false;
	in->at++;
	return true;
}

static void
proto_text_put(struct buffer *text, uint8_t byte)
{
	*buffer_reserve(text, 1) = byte;
	text->length++;
}

/* A name or a number, with a NUL behind it; false if there is none. */
static bool
proto_text_word(struct proto_text_in *in, struct buffer *text)
{
	text->length = 0;
	proto_text_space(in);
	for (; in->at < in->end && (isalnum(*in->at) || *in->at == '_' || *in->at == '-' || *in->at == '.' || *in->at == '+'); in->at++)
		proto_text_put(text, *in->at);
	*buffer_reserve(text, 1) = '\0';
	return text->length > 0;
}

/* Up to so many digits. */
static uint8_t
proto_text_digits(struct proto_text_in *in, unsigned int base, int most)
{
	unsigned int value = 0;

	for (; most > 0 && in->at < in->end && isxdigit(*in->at) && (base == 16 || (*in->at >= '0' && *in->at <= '7')); most--, in->at++) {
		unsigned int digit = (unsigned int)(isdigit(*in->at) ? *in->at - '0' : tolower(*in->at) - 'a' + 10);

		value = value * base + digit;
	}
	return (uint8_t)value;
}

/* Behind a backslash; false if it is none that we know. */
static bool
proto_text_escape(struct proto_text_in *in, struct buffer *text)
{
	static const char letters[] = {
		['a'] = '\a', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t', ['v'] = '\v',
		['?'] = '?', ['\\'] = '\\', ['\''] = '\'', ['"'] = '"',
	};
	uint8_t byte = in->at < in->end ? *in->at : 0;

	if (byte >= '0' && byte <= '7')
		proto_text_put(text, proto_text_digits(in, 8, 3));
	else if (byte == 'x' || byte == 'X') {
		in->at++;
		proto_text_put(text, proto_text_digits(in, 16, 2));
	} else if (byte < sizeof(letters) && letters[byte] != 0) {
		in->at++;
		proto_text_put(text, (uint8_t)letters[byte]);
	} else
		return false;
	return true;
}

/* Strings one behind the other are one; false if there is none, or it has no end. */
static bool
proto_text_string(struct proto_text_in *in, struct buffer *text)
{
	bool any = false;

	text->length = 0;
	for (proto_text_space(in); in->at < in->end && (*in->at == '"' || *in->at == '\''); proto_text_space(in)) {
		uint8_t quote = *in->at++;

		while (in->at < in->end && *in->at != quote && *in->at != '\n') {
			uint8_t byte = *in->at++;

			if (byte != '\\')
				proto_text_put(text, byte);
			else if (!proto_text_escape(in, text))
				return false;
		}
		if (in->at == in->end || *in->at++ != quote)
			return false;
		any = true;
	}
	*buffer_reserve(text, 1) = '\0';
	return any;
}

/* --- rows ------------------------------------------------------------------------- */

static int
proto_text_field(struct reader_state *state, struct proto_text_in *in, char *why)
{
	char name[READER_LOOK];
	int row;

	snprintf(name, sizeof(name), "%s", (const char *)state->text.bytes);
	row = values_row(name);
	if (!proto_text_next(in, ':') || (!proto_text_string(in, &state->text) && !proto_text_word(in, &state->text))) {
		snprintf(why, READER_WHY, "%s: no value behind a colon", name);
		return -1;
	}
	if (!proto_text_next(in, ';'))
		(void)proto_text_next(in, ',');
	/* A field that this version does not know is skipped, as in the binary format. */
	if (row == -1)
		return 0;
	return values_set_or_say(&state->values, row, (const char *)state->text.bytes, state->text.length, VALUES_RAW, why);
}

static int
proto_text_row(struct reader_state *state, struct proto_text_in *in, struct buffer *records, char *why)
{
	bool row = proto_text_word(in, &state->text) && strcmp((const char *)state->text.bytes, "row") == 0;

	(void)(row && proto_text_next(in, ':'));
	if (!row || !proto_text_next(in, '{')) {
		snprintf(why, READER_WHY, "not row { ... }");
		return -1;
	}
	values_clear(&state->values);
	while (proto_text_word(in, &state->text))
		if (proto_text_field(state, in, why) == -1)
			return -1;
	if (!proto_text_next(in, '}')) {
		snprintf(why, READER_WHY, in->at == in->end ? "cut short" : "a name or a brace is missing");
		return -1;
	}
	return values_write_or_say(&state->values, records, why);
}

static int
reader_proto_text_read(struct reader_state *state, const uint8_t *bytes, size_t length, struct buffer *records, char *why)
{
	struct proto_text_in in = { bytes, bytes + length };

	/* What separates rows stands before the next one, or behind the last. */
	if (!proto_text_next(&in, ';'))
		(void)proto_text_next(&in, ',');
	proto_text_space(&in);
	return in.at < in.end ? proto_text_row(state, &in, records, why) : 0;
}

/* Up to the brace that ends a row; braces in strings and comments are none. */
static size_t
reader_proto_text_unit(const uint8_t *bytes, size_t length)
{
	uint8_t within = 0;	/* a quote, or the start of a comment */

	for (size_t i = 0; i < length; i++) {
		if (within == '#' ? bytes[i] == '\n' : within != 0 && bytes[i] == within)
			within = 0;
		else if (within == '"' || within == '\'')
			i += bytes[i] == '\\';
		else if (within == 0 && (bytes[i] == '"' || bytes[i] == '\'' || bytes[i] == '#'))
			within = bytes[i];
		else if (within == 0 && bytes[i] == '}')
			return i + 1;
	}
	return 0;
}

static bool
reader_proto_text_mine(const uint8_t *bytes, size_t length)
{
	return length >= 4 && memcmp(bytes, "row", 3) == 0 && strchr(" {:", bytes[3]) != NULL && bytes[3] != '\0';
}

const struct reader reader_proto_text = {
	.name = "protoText",
	.what = "row",
	.unit = reader_proto_text_unit,
	.read = reader_proto_text_read,
	.mine = reader_proto_text_mine,
};
