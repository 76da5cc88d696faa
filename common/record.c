/* The record's table and the names of its enums: see record.h. */
#include <string.h>

#include "common/record.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

const struct record_field record_fields[RECORD_FIELDS] = {
#define FIELD(number, name, type, owner, source, load, offset) \
	{ #name, number, RECORD_##type, RECORD_##owner, RECORD_##source, RECORD_LOAD_##load, offset },
#include "common/record.def"
#undef FIELD
};

/* Row + 1 by number, so that a number that nobody has gives 0. */
static const uint8_t record_rows[RECORD_NUMBERS] = {
#define FIELD(number, name, type, owner, source, load, offset) [number] = RECORD_F_##name + 1,
#include "common/record.def"
#undef FIELD
};
_Static_assert(RECORD_FIELDS < 255, "a row has to fit into record_rows");

static const char *const record_states[] = {
	[1] = "ESTABLISHED", [2] = "SYN_SENT", [3] = "SYN_RECV",
	[4] = "FIN_WAIT1", [5] = "FIN_WAIT2", [6] = "TIME_WAIT",
	[7] = "CLOSE", [8] = "CLOSE_WAIT", [9] = "LAST_ACK",
	[10] = "LISTEN", [11] = "CLOSING", [12] = "NEW_SYN_RECV",
	[13] = "BOUND_INACTIVE",
};
static const char *const record_congestions[] = {
	[1] = "cubic", [2] = "dctcp", [3] = "vegas", [4] = "prague",
	[5] = "bbr1", [6] = "bbr2", [7] = "bbr3",
};
static const char *const record_kinds[] = {
	[RECORD_KIND_SOCKET] = "socket",
	[RECORD_KIND_CLOSED] = "closed",
	[RECORD_KIND_SNAPSHOT_END] = "snapshot_end",
};
static const char *const record_ways[] = {
	[RECORD_WAY_SKIP] = "skip",
	[RECORD_WAY_TARGETED] = "targeted",
	[RECORD_WAY_WALK] = "walk",
};
static const char *const record_outcomes[] = {
	[RECORD_OUTCOME_COMPLETE] = "complete",
	[RECORD_OUTCOME_DEADLINE] = "deadline",
	[RECORD_OUTCOME_KERNEL] = "kernel",
	[RECORD_OUTCOME_TRUNCATED] = "truncated",
	[RECORD_OUTCOME_OVERRUN] = "overrun",
	[RECORD_OUTCOME_SILENT] = "silent",
	[RECORD_OUTCOME_MALFORMED] = "malformed",
};
_Static_assert(COUNT(record_ways) == RECORD_WAYS && COUNT(record_outcomes) == RECORD_OUTCOMES, "each value has its name");

static const struct {
	const char *const	*names;
	size_t			 count;
	const char		*prefix;	/* of the names in the .proto; NULL: no enum there */
} record_enums[] = {
	[RECORD_STATE] = { record_states, COUNT(record_states), NULL },
	[RECORD_CONGESTION] = { record_congestions, COUNT(record_congestions), "CONGESTION_ALGORITHM_" },
	[RECORD_KIND] = { record_kinds, COUNT(record_kinds), "RECORD_KIND_" },
	[RECORD_WAY] = { record_ways, COUNT(record_ways), "SNAPSHOT_WAY_" },
	[RECORD_OUTCOME] = { record_outcomes, COUNT(record_outcomes), "SNAPSHOT_OUTCOME_" },
};

static const struct {
	uint8_t		width;	/* bytes read from the attribute */
	uint64_t	max;	/* of what is read; 0: the type decides */
} record_loads[] = {
	[RECORD_LOAD_OWN] = { 0, 0 },
	[RECORD_LOAD_U8] = { 1, UINT8_MAX },
	[RECORD_LOAD_U16] = { 2, UINT16_MAX },
	[RECORD_LOAD_U32] = { 4, UINT32_MAX },
	[RECORD_LOAD_U64] = { 8, UINT64_MAX },
	[RECORD_LOAD_BE16] = { 2, UINT16_MAX },
	[RECORD_LOAD_COOKIE] = { 8, UINT64_MAX },
	[RECORD_LOAD_LOW4] = { 1, 15 },
	[RECORD_LOAD_HIGH4] = { 1, 15 },
	[RECORD_LOAD_BIT0] = { 1, 1 },
	[RECORD_LOAD_BITS12] = { 1, 3 },
	[RECORD_LOAD_ADDRESS] = { 16, 0 },
	[RECORD_LOAD_STRING] = { 0, 0 },
	[RECORD_LOAD_CONGESTION] = { 0, 0 },
	[RECORD_LOAD_FLAG] = { 0, 1 },
	[RECORD_LOAD_KEYS] = { 0, UINT16_MAX },
	[RECORD_LOAD_TAIL] = { 1, 0 },	/* an empty one is none */
};

/*
 * A state may be one that this table has no name for, since the kernel makes
 * new ones; of the schema's own enums only the known values exist.
 */
static const uint64_t record_maxima[] = {
	[RECORD_U32] = UINT32_MAX,
	[RECORD_U64] = UINT64_MAX,
	[RECORD_I64] = INT64_MAX,
	[RECORD_STRING] = RECORD_STRING_MAX,
	[RECORD_ADDRESS] = 16,
	[RECORD_BYTES] = RECORD_BYTES_MAX,
	[RECORD_STATE] = UINT8_MAX,
	[RECORD_CONGESTION] = COUNT(record_congestions) - 1,
	[RECORD_KIND] = COUNT(record_kinds) - 1,
	[RECORD_WAY] = COUNT(record_ways) - 1,
	[RECORD_OUTCOME] = COUNT(record_outcomes) - 1,
};

int
record_field_by_number(uint32_t number)
{
	return number < RECORD_NUMBERS ? record_rows[number] - 1 : -1;
}

int
record_field_by_name(const char *name)
{
	int row;

	for (row = 0; row < RECORD_FIELDS; row++) {
		if (strcmp(record_fields[row].name, name) == 0)
			return row;
	}
	return -1;
}

size_t
record_load_width(enum record_load load)
{
	return record_loads[load].width;
}

uint64_t
record_field_max(const struct record_field *field)
{
	uint64_t loaded = record_loads[field->load].max;
	uint64_t typed = record_maxima[field->type];

	return loaded != 0 && loaded < typed ? loaded : typed;
}

unsigned int
record_wire_type(enum record_type type)
{
	return type == RECORD_STRING || type == RECORD_ADDRESS || type == RECORD_BYTES ? 2 : 0;
}

const char *
record_enum_text(enum record_type type, uint64_t value)
{
	if (type >= COUNT(record_enums) || value >= record_enums[type].count)
		return NULL;
	return record_enums[type].names[value];
}

size_t
record_enum_name(char *to, enum record_type type, uint64_t value)
{
	const char *text = record_enum_text(type, value);
	const char *prefix = text != NULL ? record_enums[type].prefix : NULL;
	size_t length;

	if (prefix == NULL)
		return 0;
	length = strlen(prefix);
	memcpy(to, prefix, length);
	/* The .proto has the same words in capitals. */
	for (; *text != '\0'; text++)
		to[length++] = (char)(*text >= 'a' && *text <= 'z' ? *text - 'a' + 'A' : *text);
	return length;
}

unsigned int
record_congestion(const char *name, size_t length)
{
	unsigned int value;

	/* The first one's module has no number in its name. */
	if (length == 3 && memcmp(name, "bbr", 3) == 0)
		return 5;
	for (value = 1; value < COUNT(record_congestions); value++) {
		const char *known = record_congestions[value];

		if (strlen(known) == length && memcmp(name, known, length) == 0)
			return value;
	}
	return 0;
}
