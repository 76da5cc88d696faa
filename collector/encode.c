/* The encoder. */
#include <string.h>

#include "collector/encode.h"
#include "common/ring.h"
#include "common/varint.h"

/* Protobuf's wire types, as constants: RECORD_WIRE(U32). */
#define WIRE_U32	0
#define WIRE_U64	0
#define WIRE_I64	0
#define WIRE_STATE	0
#define WIRE_CONGESTION	0
#define WIRE_KIND	0
#define WIRE_WAY	0
#define WIRE_OUTCOME	0
#define WIRE_STRING	2
#define WIRE_ADDRESS	2

/* A tag's bytes as one little-endian word, and how many they are. */
#define TAG(number, wire)	((uint32_t)(number) << 3 | (wire))
#define TAG_SIZE(tag)		((tag) < 0x80 ? 1 : (tag) < 0x4000 ? 2 : 3)
#define TAG_BYTE(tag, i)	(((tag) >> (7 * (i)) & 0x7f) | ((i) + 1 < TAG_SIZE(tag) ? 0x80 : 0))

struct encode_row {
	uint8_t		tag[3];
	uint8_t		tag_size;
	uint8_t		source;		/* enum record_source */
	uint8_t		load;		/* enum record_load */
	uint16_t	offset;
};

#define FIELD(number, name, type, owner, source, load, offset) {	\
	{ TAG_BYTE(TAG(number, WIRE_##type), 0),			\
	  TAG_BYTE(TAG(number, WIRE_##type), 1),			\
	  TAG_BYTE(TAG(number, WIRE_##type), 2) },			\
	TAG_SIZE(TAG(number, WIRE_##type)),				\
	RECORD_##source, RECORD_LOAD_##load, offset },
static const struct encode_row encode_rows[RECORD_FIELDS] = {
#include "common/record.def"
};
#undef FIELD

/* The rows that are read from the kernel: from inet_diag_msg to the end. */
enum { ENCODE_KERNEL_ROWS = RECORD_F_inet_diag_msg_family };

static uint8_t *
encode_tag(uint8_t *to, const struct encode_row *row)
{
	for (unsigned int i = 0; i < row->tag_size; i++)
		to[i] = row->tag[i];
	return to + row->tag_size;
}

static uint8_t *
encode_number(uint8_t *to, const struct encode_row *row, uint64_t value)
{
	if (value == 0)
		return to;
	to = encode_tag(to, row);
	return to + varint_write(to, value);
}

static uint8_t *
encode_field(uint8_t *to, enum record_index field, uint64_t value)
{
	return encode_number(to, &encode_rows[field], value);
}

static uint8_t *
encode_bytes(uint8_t *to, const struct encode_row *row, const uint8_t *bytes, size_t length)
{
	to = encode_tag(to, row);
	to += varint_write(to, length);
	memcpy(to, bytes, length);
	return to + length;
}

/* A name is the kernel's or a module's; what is not printable ASCII is '_'. */
static uint8_t *
encode_string(uint8_t *to, const struct encode_row *row, const uint8_t *bytes, size_t length)
{
	uint8_t clean[RECORD_STRING_MAX];
	size_t n = 0;

	for (; n < length && n < sizeof(clean) && bytes[n] != '\0'; n++)
		clean[n] = bytes[n] > ' ' && bytes[n] < 0x7f ? bytes[n] : '_';
	return n > 0 ? encode_bytes(to, row, clean, n) : to;
}

#define LOAD(type) __extension__({ type value_; memcpy(&value_, from, sizeof(value_)); value_; })

/* A number as the kernel wrote it; attributes are only aligned to four bytes. */
static inline uint64_t
encode_load(enum record_load load, const uint8_t *from)
{
	switch (load) {
	case RECORD_LOAD_U8:
		return from[0];
	case RECORD_LOAD_U16:
		return LOAD(uint16_t);
	case RECORD_LOAD_U32:
		return LOAD(uint32_t);
	case RECORD_LOAD_U64:
		return LOAD(uint64_t);
	case RECORD_LOAD_BE16:
		return (uint64_t)from[0] << 8 | from[1];
	case RECORD_LOAD_COOKIE: {
		uint32_t words[2];

		memcpy(words, from, sizeof(words));
		return words[0] | (uint64_t)words[1] << 32;
	}
	/* Bit fields: the low bits come first on little-endian machines only. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	case RECORD_LOAD_LOW4:
		return from[0] & 0x0f;
	case RECORD_LOAD_HIGH4:
		return from[0] >> 4;
	case RECORD_LOAD_BIT0:
		return from[0] & 0x01;
	case RECORD_LOAD_BITS12:
		return from[0] >> 1 & 0x03;
#else
	case RECORD_LOAD_LOW4:
		return from[0] >> 4;
	case RECORD_LOAD_HIGH4:
		return from[0] & 0x0f;
	case RECORD_LOAD_BIT0:
		return from[0] >> 7;
	case RECORD_LOAD_BITS12:
		return from[0] >> 5 & 0x03;
#endif
	default:
		return 0;
	}
}

static uint8_t *
encode_row(uint8_t *to, const struct encode_row *row, const uint8_t *payload, size_t length)
{
	switch ((enum record_load)row->load) {
	case RECORD_LOAD_ADDRESS:
		return encode_bytes(to, row, payload + row->offset, 16);
	case RECORD_LOAD_STRING:
		return encode_string(to, row, payload, length);
	case RECORD_LOAD_CONGESTION:
		return encode_number(to, row, record_congestion((const char *)payload,
		    strnlen((const char *)payload, length)));
	default:
		return encode_number(to, row, encode_load((enum record_load)row->load, payload + row->offset));
	}
}

/*
 * tcp_info may end before a field: it is as long as the kernel that wrote it
 * knew.  (Every other attribute that is present is long enough.)
 */
static bool
encode_within(const struct encode_row *row, size_t length)
{
	return row->source != RECORD_INFO ||
	    row->offset + record_load_width((enum record_load)row->load) <= length;
}

static uint8_t *
encode_kernel_rows(uint8_t *to, const struct attributes *found)
{
	for (size_t i = ENCODE_KERNEL_ROWS; i < RECORD_FIELDS; i++) {
		const struct encode_row *row = &encode_rows[i];

		if (row->source >= RECORD_SOURCES || (found->present >> row->source & 1) == 0)
			continue;
		if (encode_within(row, found->length[row->source]))
			to = encode_row(to, row, found->payload[row->source], found->length[row->source]);
	}
	return to;
}

static uint8_t *
encode_head(uint8_t *to, const struct encode_metadata *metadata, enum record_kind kind)
{
	to = encode_field(to, RECORD_F_timestamp_ns, metadata->timestamp);
	to = encode_field(to, RECORD_F_record_counter, metadata->counter);
	to = encode_field(to, RECORD_F_record_kind, kind);
	to = encode_field(to, RECORD_F_snapshot_sequence, metadata->snapshot);
	return encode_field(to, RECORD_F_record_sequence, metadata->sequence);
}

/*
 * Puts the length in front of a record that was written RING_PREFIX_MAX bytes
 * behind to.  A canonical length of a short record has one byte only, so that
 * record moves down.
 */
static size_t
encode_prefix(uint8_t *to, const uint8_t *end)
{
	size_t length = (size_t)(end - to) - RING_PREFIX_MAX;
	uint8_t prefix[VARINT_MAX];
	size_t n = varint_write(prefix, length);

	if (n < RING_PREFIX_MAX)
		memmove(to + n, to + RING_PREFIX_MAX, length);
	memcpy(to, prefix, n);
	return n + length;
}

size_t
encode_socket(uint8_t *to, const struct encode_metadata *metadata, const struct attributes *found)
{
	uint8_t *at = encode_head(to + RING_PREFIX_MAX, metadata, RECORD_KIND_SOCKET);

	at = encode_field(at, RECORD_F_attributes_present, found->present);
	if ((found->present >> RECORD_INFO & 1) != 0)
		at = encode_field(at, RECORD_F_tcp_info_length, found->length[RECORD_INFO]);
	at = encode_field(at, RECORD_F_snapshot_attempt, metadata->attempt);
	return encode_prefix(to, encode_kernel_rows(at, found));
}

size_t
encode_end(uint8_t *to, const struct encode_metadata *metadata, const struct encode_end *end)
{
	uint8_t *at = encode_head(to + RING_PREFIX_MAX, metadata, RECORD_KIND_SNAPSHOT_END);

	at = encode_field(at, RECORD_F_snapshot_attempt, metadata->attempt);
	at = encode_field(at, RECORD_F_snapshot_way, end->way);
	at = encode_field(at, RECORD_F_snapshot_outcome, end->outcome);
	at = encode_field(at, RECORD_F_snapshot_published, end->published);
	at = encode_field(at, RECORD_F_snapshot_dropped, end->dropped);
	at = encode_field(at, RECORD_F_snapshot_repeated, end->repeated);
	at = encode_field(at, RECORD_F_snapshot_inuse_before, end->inuse_before);
	at = encode_field(at, RECORD_F_snapshot_inuse_after, end->inuse_after);
	at = encode_field(at, RECORD_F_snapshot_tw_before, end->tw_before);
	at = encode_field(at, RECORD_F_snapshot_tw_after, end->tw_after);
	at = encode_field(at, RECORD_F_snapshot_duration_ns, end->duration);
	return encode_prefix(to, at);
}
