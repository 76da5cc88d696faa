/*
 * The record's fields as a table, made of record.def.
 *
 * A record on the wire is a protobuf message whose fields stand in ascending
 * order of number, each at most once, zeros left out.  Whether a field that is
 * left out is zero or unknown is told by attributes_present and
 * tcp_info_length: record_field_present() is the one place that decides it.
 */
#ifndef COMMON_RECORD_H
#define COMMON_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RECORD_MAX = 4096,	/* bytes of the largest record a collector may write */
	RECORD_STAMP_MAX = 2048,/* bytes of the identity that is put before it */
	RECORD_STRING_MAX = 255,/* bytes of any string in a record */
	RECORD_BYTES_MAX = 1024,/* of what is kept as bytes */
	RECORD_SCHEMA_VERSION = 1,
	RECORD_ENUM_NAME_MAX = 32,
};

enum record_type {
	RECORD_U32, RECORD_U64, RECORD_I64, RECORD_STRING,
	RECORD_ADDRESS,		/* 16 bytes; IPv4 in the first four */
	RECORD_BYTES,		/* as the kernel sent them */
	RECORD_STATE,		/* TCP state, linux/tcp_states.h */
	RECORD_CONGESTION, RECORD_KIND, RECORD_WAY, RECORD_OUTCOME,
};

enum record_owner { RECORD_COLLECTOR, RECORD_SHIPPER, RECORD_NOBODY };

/*
 * Bits of attributes_present: attribute.def.  1 to 31 are the kernel's
 * INET_DIAG_* numbers; the parts of INET_DIAG_ULP_INFO follow.  From 60 on:
 * never a bit on the wire.
 */
enum record_source {
	RECORD_MSG = 0,		/* struct inet_diag_msg itself */
#define ATTRIBUTE(bit, source, nest, number, least, known, asked, decoder) RECORD_##source = (bit),
#include "common/attribute.def"
	RECORD_SOURCES = 60,
	RECORD_ALWAYS = 60,	/* in every record */
	RECORD_SNAPSHOT = 61,	/* in a record of kind snapshot_end */
	RECORD_STAMP = 62,	/* identity: present when written */
	RECORD_UNFILLED = 63,	/* present when written, by somebody else */
};

/* What attributes stand in: the message, or another attribute. */
enum record_nest { RECORD_NEST_TOP, RECORD_NEST_ULP, RECORD_NEST_TLS, RECORD_NEST_MPTCP, RECORD_NESTS };

/* How a field is read from its attribute, in the kernel's byte order. */
enum record_load {
	RECORD_LOAD_OWN,	/* not read: written by name */
	RECORD_LOAD_U8, RECORD_LOAD_U16, RECORD_LOAD_U32, RECORD_LOAD_U64,
	RECORD_LOAD_BE16,	/* a port */
	RECORD_LOAD_COOKIE,	/* two u32, the low one first */
	RECORD_LOAD_LOW4, RECORD_LOAD_HIGH4, RECORD_LOAD_BIT0, RECORD_LOAD_BITS12,
	RECORD_LOAD_ADDRESS,
	RECORD_LOAD_STRING,	/* to its NUL or the attribute's end */
	RECORD_LOAD_CONGESTION,	/* the name, as the schema's enum */
	RECORD_LOAD_FLAG,	/* 1: it came, and holds nothing */
	RECORD_LOAD_KEYS,	/* how many struct tcp_diag_md5sig */
	RECORD_LOAD_TAIL,	/* from the offset to the attribute's end, at most RECORD_BYTES_MAX */
};

enum record_kind { RECORD_KIND_SOCKET, RECORD_KIND_CLOSED, RECORD_KIND_SNAPSHOT_END };
enum record_way { RECORD_WAY_UNSPECIFIED, RECORD_WAY_SKIP, RECORD_WAY_TARGETED, RECORD_WAY_WALK, RECORD_WAYS };
enum record_outcome {
	RECORD_OUTCOME_UNSPECIFIED, RECORD_OUTCOME_COMPLETE,
	RECORD_OUTCOME_DEADLINE, RECORD_OUTCOME_KERNEL,
	RECORD_OUTCOME_TRUNCATED, RECORD_OUTCOME_OVERRUN,
	RECORD_OUTCOME_SILENT, RECORD_OUTCOME_MALFORMED,
	RECORD_OUTCOMES
};

struct record_field {
	const char	*name;
	uint16_t	 number;
	uint8_t		 type;		/* enum record_type */
	uint8_t		 owner;		/* enum record_owner */
	uint8_t		 source;	/* enum record_source */
	uint8_t		 load;		/* enum record_load */
	uint16_t	 offset;
};

/* The rows' indices: RECORD_F_<name>. */
enum record_index {
#define FIELD(number, name, type, owner, source, load, offset) RECORD_F_##name,
#include "common/record.def"
#undef FIELD
	RECORD_FIELDS
};

/* The numbers: RECORD_N_<name>. */
enum record_number {
#define FIELD(number, name, type, owner, source, load, offset) RECORD_N_##name = (number),
#include "common/record.def"
#undef FIELD
	RECORD_NUMBERS
};

extern const struct record_field record_fields[RECORD_FIELDS];

/* The row of a field number, or -1. */
int		 record_field_by_number(uint32_t number);
/* The row of a name as in the .proto, or -1. */
int		 record_field_by_name(const char *name);
/* Bytes that a load needs of its attribute; 0 for strings and own fields. */
size_t		 record_load_width(enum record_load load);
/*
 * The largest value a field may have, from its type and its load's width; of
 * strings and bytes the length.
 */
uint64_t	 record_field_max(const struct record_field *field);
/* 0 for a varint, 2 for what is bytes: protobuf's wire types. */
unsigned int	 record_wire_type(enum record_type type);
/*
 * The text of an enum's value ("ESTABLISHED", "cubic", "socket", "walk",
 * "complete"), or NULL if the type is no enum or the value is unknown.
 */
const char	*record_enum_text(enum record_type type, uint64_t value);
/*
 * The same value's name in the .proto ("RECORD_KIND_SOCKET"), without a NUL.
 * Returns its length, at most RECORD_ENUM_NAME_MAX; 0 if the type is no enum
 * there (a state is a number), or the value is unspecified or unknown.
 */
size_t		 record_enum_name(char *to, enum record_type type, uint64_t value);
/* The schema's enum of a congestion control's name; 0 when it has none. */
unsigned int	 record_congestion(const char *name, size_t length);

#endif
