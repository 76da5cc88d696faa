/* The encoder. */
#include <linux/tcp.h>
#include <string.h>

#include "collector/encode.h"
#include "common/ring.h"
#include "common/varint.h"

enum { ENCODE_ADDRESS = 16 };

/*
 * Every constant of a row is one at compile time: the table is unrolled into
 * straight code, which is three times as fast as a loop over it (a record has
 * some ninety fields, and this is where a collector's own time goes).
 */
#define ENCODE_INLINE	static inline __attribute__((always_inline))

/* Protobuf's wire types by record_type: WIRE_U32. */
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
#define WIRE_BYTES	2

/* Bytes that a load reads, as far as tcp_info has such: WIDTH_U32. */
enum {
	WIDTH_OWN = 0, WIDTH_U8 = 1, WIDTH_U16 = 2, WIDTH_U32 = 4, WIDTH_U64 = 8, WIDTH_BE16 = 2,
	WIDTH_COOKIE = 8, WIDTH_LOW4 = 1, WIDTH_HIGH4 = 1, WIDTH_BIT0 = 1, WIDTH_BITS12 = 1,
	WIDTH_ADDRESS = ENCODE_ADDRESS, WIDTH_STRING = 0, WIDTH_CONGESTION = 0, WIDTH_FLAG = 0, WIDTH_KEYS = 0,
	WIDTH_TAIL = 1,
};

/* The longest value with its tag, and its length where it has one: LARGEST_U32. */
enum {
	LARGEST_U32 = 3 + 5, LARGEST_U64 = 3 + 10, LARGEST_I64 = 3 + 10, LARGEST_STRING = 3 + 2 + RECORD_STRING_MAX,
	LARGEST_ADDRESS = 3 + 1 + ENCODE_ADDRESS, LARGEST_BYTES = 3 + 2 + RECORD_BYTES_MAX, LARGEST_STATE = 3 + 2,
	LARGEST_CONGESTION = 3 + 1, LARGEST_KIND = 3 + 1, LARGEST_WAY = 3 + 1, LARGEST_OUTCOME = 3 + 1,
};
#define FIELD(number, name, type, owner, source, load, offset) + (RECORD_##owner == RECORD_COLLECTOR ? LARGEST_##type : 0)
_Static_assert(ENCODE_SOCKET_MAX >= 0
#include "common/record.def"
    , "every field of a collector's has room at once");
#undef FIELD

#define TAG(field)	((uint32_t)RECORD_N_##field << 3)

ENCODE_INLINE uint8_t *
encode_varint(uint8_t *to, uint64_t value)
{
	if (value < 0x80) {
		*to = (uint8_t)value;
		return to + 1;
	}
	if (value < 0x4000) {
		to[0] = (uint8_t)(value | 0x80);
		to[1] = (uint8_t)(value >> 7);
		return to + 2;
	}
	return to + varint_write(to, value);
}

/* tag: the field's number and wire type, a constant. */
ENCODE_INLINE uint8_t *
encode_number(uint8_t *to, uint32_t tag, uint64_t value)
{
	return value == 0 ? to : encode_varint(encode_varint(to, tag), value);
}

#define encode_field(to, field, value)	encode_number(to, TAG(field), value)

ENCODE_INLINE uint8_t *
encode_address(uint8_t *to, uint32_t tag, const uint8_t *address)
{
	to = encode_varint(to, tag);
	*to++ = ENCODE_ADDRESS;
	memcpy(to, address, ENCODE_ADDRESS);
	return to + ENCODE_ADDRESS;
}

/* A name is the kernel's or a module's; what is not printable ASCII is '_'. */
static uint8_t *
encode_string(uint8_t *to, uint32_t tag, const uint8_t *bytes, size_t length)
{
	length = strnlen((const char *)bytes, length < RECORD_STRING_MAX ? length : RECORD_STRING_MAX);
	if (length == 0)
		return to;
	to = encode_varint(encode_varint(to, tag), length);
	for (size_t i = 0; i < length; i++)
		*to++ = bytes[i] > ' ' && bytes[i] < 0x7f ? bytes[i] : '_';
	return to;
}

/* What no field is read from; attributes.c counts it, and what is cut off. */
static uint8_t *
encode_tail(uint8_t *to, uint32_t tag, const uint8_t *bytes, size_t length)
{
	length = length < RECORD_BYTES_MAX ? length : RECORD_BYTES_MAX;
	to = encode_varint(encode_varint(to, tag), length);
	memcpy(to, bytes, length);
	return to + length;
}

#define LOAD(type) __extension__({ type value_; memcpy(&value_, from, sizeof(value_)); value_; })

/* Bit fields: the low bits come first on little-endian machines only. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BITS(from, first, count)	((from) >> (first) & ((1U << (count)) - 1))
#else
#define BITS(from, first, count)	((from) >> (8 - (first) - (count)) & ((1U << (count)) - 1))
#endif

/* A number as the kernel wrote it; attributes are only aligned to four bytes. */
ENCODE_INLINE uint64_t
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
	case RECORD_LOAD_LOW4:
		return BITS(from[0], 0, 4);
	case RECORD_LOAD_HIGH4:
		return BITS(from[0], 4, 4);
	case RECORD_LOAD_BIT0:
		return BITS(from[0], 0, 1);
	case RECORD_LOAD_BITS12:
		return BITS(from[0], 1, 2);
	default:
		return 0;
	}
}

/*
 * One field.  tcp_info may end before it: that is as long as the kernel that
 * wrote it knew.  (Every other attribute that is present is long enough.)
 */
ENCODE_INLINE uint8_t *
encode_row(uint8_t *to, const struct attributes *found, uint64_t present, uint32_t tag, enum record_source source,
    enum record_load load, size_t width, size_t offset)
{
	const uint8_t *payload;
	size_t length;

	if (source >= RECORD_SOURCES || (present >> source & 1) == 0)
		return to;
	payload = found->payload[source];
	length = found->length[source];
	if (source == RECORD_INFO && offset + width > length)
		return to;
	if (load == RECORD_LOAD_ADDRESS)
		return encode_address(to, tag, payload + offset);
	if (load == RECORD_LOAD_STRING)
		return encode_string(to, tag, payload, length);
	if (load == RECORD_LOAD_CONGESTION)
		return encode_number(to, tag, record_congestion((const char *)payload,
		    strnlen((const char *)payload, length)));
	if (load == RECORD_LOAD_TAIL)
		return encode_tail(to, tag, payload + offset, length - offset);
	if (load == RECORD_LOAD_FLAG)
		return encode_number(to, tag, 1);
	if (load == RECORD_LOAD_KEYS)
		return encode_number(to, tag, length / sizeof(struct tcp_diag_md5sig));
	return encode_number(to, tag, encode_load(load, payload + offset));
}

/* The rows that are read from the kernel; the others' source is none of its. */
static uint8_t *
encode_kernel_rows(uint8_t *to, const struct attributes *found)
{
	const uint64_t present = found->present;

#define FIELD(number, name, type, owner, source, load, offset)			\
	to = encode_row(to, found, present, TAG(name) | WIRE_##type, RECORD_##source,	\
	    RECORD_LOAD_##load, WIDTH_##load, offset);
#include "common/record.def"
#undef FIELD
	return to;
}

static uint8_t *
encode_head(uint8_t *to, const struct encode_metadata *metadata, enum record_kind kind)
{
	to = encode_field(to, timestamp_ns, metadata->timestamp);
	to = encode_field(to, record_counter, metadata->counter);
	to = encode_field(to, record_kind, kind);
	to = encode_field(to, snapshot_sequence, metadata->snapshot);
	return encode_field(to, record_sequence, metadata->sequence);
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

	at = encode_field(at, attributes_present, found->present);
	if ((found->present >> RECORD_INFO & 1) != 0)
		at = encode_field(at, tcp_info_length, found->length[RECORD_INFO]);
	at = encode_field(at, snapshot_attempt, metadata->attempt);
	return encode_prefix(to, encode_kernel_rows(at, found));
}

size_t
encode_end(uint8_t *to, const struct encode_metadata *metadata, const struct encode_end *end)
{
	uint8_t *at = encode_head(to + RING_PREFIX_MAX, metadata, RECORD_KIND_SNAPSHOT_END);

	at = encode_field(at, snapshot_attempt, metadata->attempt);
	at = encode_field(at, snapshot_way, end->way);
	at = encode_field(at, snapshot_outcome, end->outcome);
	at = encode_field(at, snapshot_published, end->published);
	at = encode_field(at, snapshot_dropped, end->dropped);
	at = encode_field(at, snapshot_repeated, end->repeated);
	at = encode_field(at, snapshot_inuse_before, end->inuse_before);
	at = encode_field(at, snapshot_inuse_after, end->inuse_after);
	at = encode_field(at, snapshot_tw_before, end->tw_before);
	at = encode_field(at, snapshot_tw_after, end->tw_after);
	at = encode_field(at, snapshot_duration_ns, end->duration);
	return encode_prefix(to, at);
}
