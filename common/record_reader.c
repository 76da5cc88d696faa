/* A record's bytes, field by field: see record_reader.h. */
#include <endian.h>
#include <string.h>

#include "common/record_reader.h"

enum { READER_SHORT = 5 };

/* How a field's bytes become its value. */
enum reader_take { READER_UNKNOWN, READER_U32, READER_U64, READER_ENUM, READER_STRING, READER_BYTES, READER_ADDRESS };

#define READER_TAKE(type)						\
	((type) == RECORD_STRING ? READER_STRING :			\
	    (type) == RECORD_ADDRESS ? READER_ADDRESS :			\
	    (type) == RECORD_BYTES ? READER_BYTES :			\
	    (type) == RECORD_U32 || (type) == RECORD_STATE ? READER_U32 : \
	    (type) == RECORD_U64 || (type) == RECORD_I64 ? READER_U64 : READER_ENUM)

/* By number; kept small, since this is looked at once per field. */
static const struct reader_entry {
	uint8_t row;
	uint8_t take;
} reader_entries[RECORD_NUMBERS] = {
#define FIELD(number, name, type, owner, source, load, offset) \
	[number] = { RECORD_F_##name, READER_TAKE(RECORD_##type) },
#include "common/record.def"
#undef FIELD
};

static const uint8_t reader_no_address[16];

struct reader {
	const uint8_t	*at;
	const uint8_t	*end;
	bool		 bad;
};

/*
 * Other than varint_read it takes what is longer than it needs to be: that is
 * valid protobuf, and only our own encoder promises more.
 */
static uint64_t
reader_long_varint(struct reader *reader)
{
	uint64_t value = 0;
	unsigned int shift;

	for (shift = 0; shift < 70 && reader->at < reader->end; shift += 7) {
		uint8_t byte = *reader->at++;

		if (shift == 63 && byte > 1)
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
	reader->bad = true;
	reader->at = reader->end;
	return 0;
}

/*
 * Values of a record have lengths that no branch can foretell, so up to eight
 * bytes are taken without one: the first byte below 0x80 ends the varint, and
 * groups of seven bits are moved together by pairs, fours and eights.
 */
static inline uint64_t
reader_varint(struct reader *reader)
{
	uint64_t word, stop;

	if (reader->end - reader->at < 8)
		return reader_long_varint(reader);
	if (*reader->at < 0x80)
		return *reader->at++;
	memcpy(&word, reader->at, 8);
	word = le64toh(word);
	stop = ~word & UINT64_C(0x8080808080808080);
	if (stop == 0)
		return reader_long_varint(reader);
	reader->at += __builtin_ctzll(stop) / 8 + 1;
	word &= stop ^ (stop - 1);
	word = (word & UINT64_C(0x007f007f007f007f)) | (word & UINT64_C(0x7f007f007f007f00)) >> 1;
	word = (word & UINT64_C(0x00003fff00003fff)) | (word & UINT64_C(0x3fff00003fff0000)) >> 2;
	return (word & UINT64_C(0x0fffffff)) | (word & UINT64_C(0x0fffffff00000000)) >> 4;
}

/* Of a tag or a length, protobuf takes no more bytes than these, whatever their value. */
static uint64_t
reader_short_varint(struct reader *reader)
{
	const uint8_t *at = reader->at;
	uint64_t value = reader_varint(reader);

	if (reader->at - at <= READER_SHORT)
		return value;
	reader->bad = true;
	reader->at = reader->end;
	return 0;
}

/* Of tags nearly all have two bytes, which a branch does foretell. */
static inline uint64_t
reader_tag(struct reader *reader)
{
	const uint8_t *at = reader->at;

	if (reader->end - at >= 2 && at[0] >= 0x80 && at[1] < 0x80) {
		reader->at = at + 2;
		return (uint64_t)(at[0] & 0x7f) | (uint64_t)at[1] << 7;
	}
	return reader_short_varint(reader);
}

static const uint8_t *
reader_bytes(struct reader *reader, uint64_t length)
{
	const uint8_t *bytes = reader->at;

	if (length > (size_t)(reader->end - bytes)) {
		reader->bad = true;
		reader->at = reader->end;
		return NULL;
	}
	reader->at += length;
	return bytes;
}

/* Groups (wire types 3 and 4) are in no schema that could be a newer one of ours. */
static void
reader_skip(struct reader *reader, unsigned int wire)
{
	switch (wire) {
	case 0:
		reader_varint(reader);
		break;
	case 1:
		reader_bytes(reader, 8);
		break;
	case 2:
		reader_bytes(reader, reader_short_varint(reader));
		break;
	case 5:
		reader_bytes(reader, 4);
		break;
	default:
		reader->bad = true;
	}
}

static void
reader_take_bytes(struct reader *reader, struct record_value *value, uint8_t take)
{
	value->number = reader_short_varint(reader);
	value->bytes = reader_bytes(reader, value->number);
	if (take != READER_ADDRESS)
		return;
	/* An empty one is how other encoders may write that there is none. */
	if (value->number == 0) {
		value->number = sizeof(reader_no_address);
		value->bytes = reader_no_address;
	} else if (value->number != sizeof(reader_no_address))
		reader->bad = true;
}

static inline void
reader_take(struct reader *reader, struct record_value *value, uint8_t take, unsigned int wire)
{
	/* As protobuf says: what is too wide for its type loses its high bits. */
	static const uint64_t masks[] = { [READER_U32] = UINT32_MAX, [READER_U64] = UINT64_MAX, [READER_ENUM] = UINT32_MAX };

	if (wire != (take >= READER_STRING ? 2 : 0)) {
		reader->bad = true;
		return;
	}
	if (take >= READER_STRING) {
		reader_take_bytes(reader, value, take);
		return;
	}
	value->number = reader_varint(reader) & masks[take];
	if (take == READER_ENUM)
		value->number = (uint64_t)(int32_t)value->number;
}

int
record_read(struct record *record, const uint8_t *bytes, size_t length)
{
	struct reader reader = { .at = bytes, .end = bytes + length };

	memset(record, 0, sizeof(*record));
	while (reader.at < reader.end && !reader.bad) {
		uint64_t tag = reader_tag(&reader), number = tag >> 3;
		const struct reader_entry *entry = &reader_entries[number < RECORD_NUMBERS ? number : 0];

		/* 2^29 - 1 is the largest number a field can have. */
		if (number == 0 || tag > UINT32_MAX)
			return -1;
		if (entry->take == READER_UNKNOWN) {
			reader_skip(&reader, tag & 7);
			continue;
		}
		reader_take(&reader, &record->values[entry->row], entry->take, tag & 7);
		record->written[entry->row / 64] |= UINT64_C(1) << (entry->row % 64);
	}
	return reader.bad ? -1 : 0;
}

bool
record_field_written(const struct record *record, enum record_index row)
{
	return record->written[row / 64] >> (row % 64) & 1;
}

struct record_shape
record_shape(const struct record *record)
{
	return (struct record_shape){
		.ours = record_field_written(record, RECORD_F_attributes_present) ||
		    record_field_written(record, RECORD_F_record_kind),
		.kind = (uint32_t)record->values[RECORD_F_record_kind].number,
		.tcp_info_length = (uint32_t)record->values[RECORD_F_tcp_info_length].number,
		.attributes = record->values[RECORD_F_attributes_present].number,
	};
}

bool
record_shape_implies(const struct record_shape *shape, enum record_index row)
{
	const struct record_field *field = &record_fields[row];

	if (!shape->ours)
		return false;
	if (field->source == RECORD_ALWAYS)
		return true;
	if (field->source == RECORD_SNAPSHOT)
		return shape->kind == RECORD_KIND_SNAPSHOT_END;
	if (field->source >= RECORD_SOURCES || !(shape->attributes >> field->source & 1))
		return false;
	return field->source != RECORD_INFO ||
	    field->offset + record_load_width(field->load) <= shape->tcp_info_length;
}

bool
record_field_present(const struct record *record, enum record_index row)
{
	struct record_shape shape;

	if (record_field_written(record, row))
		return true;
	shape = record_shape(record);
	return record_shape_implies(&shape, row);
}
