/* Encodes a ring's identity: see stamp.h. */
#include <stdbool.h>
#include <string.h>

#include "common/utf8.h"
#include "common/varint.h"
#include "shipper/stamp.h"

enum { STAMP_FIELDS = 12 };

struct stamp_field {
	uint32_t	 number;
	const char	*string;	/* or NULL: it is a number */
	uint64_t	 value;
};

struct stamp_cursor {
	uint8_t	*to;
	size_t	 length;
	bool	 full;
};

static void
stamp_put(struct stamp_cursor *cursor, const void *bytes, size_t length)
{
	if (cursor->full || length > RECORD_STAMP_MAX - cursor->length) {
		cursor->full = true;
		return;
	}
	memcpy(cursor->to + cursor->length, bytes, length);
	cursor->length += length;
}

static void
stamp_put_varint(struct stamp_cursor *cursor, uint64_t value)
{
	uint8_t bytes[VARINT_MAX];

	stamp_put(cursor, bytes, varint_write(bytes, value));
}

static void
stamp_put_field(struct stamp_cursor *cursor, const struct stamp_field *field)
{
	size_t length = field->string != NULL ? strlen(field->string) : 0;

	if (length == 0 && field->value == 0)
		return;
	stamp_put_varint(cursor, (uint64_t)field->number << 3 | (length > 0 ? 2 : 0));
	stamp_put_varint(cursor, length > 0 ? length : field->value);
	if (length > 0)
		stamp_put(cursor, field->string, length);
}

size_t
stamp_write(uint8_t to[RECORD_STAMP_MAX], const struct stamp_identity *identity)
{
	const struct stamp_field fields[STAMP_FIELDS] = {
		{ RECORD_N_schema_version, NULL, RECORD_SCHEMA_VERSION },
		{ RECORD_N_daemon_version, identity->version, 0 },
		{ RECORD_N_hostname, identity->hostname, 0 },
		{ RECORD_N_location, identity->location, 0 },
		{ RECORD_N_netns, identity->netns, 0 },
		{ RECORD_N_netns_inode, NULL, identity->inode },
		{ RECORD_N_container_id, identity->container, 0 },
		{ RECORD_N_container_runtime, identity->runtime, 0 },
		{ RECORD_N_label, identity->label, 0 },
		{ RECORD_N_tag, identity->tag, 0 },
		{ RECORD_N_netns_cookie, NULL, identity->cookie },
		{ RECORD_N_collector_epoch, NULL, identity->epoch },
	};
	struct stamp_cursor cursor = { .to = to };

	for (size_t i = 0; i < STAMP_FIELDS; i++)
		stamp_put_field(&cursor, &fields[i]);
	return cursor.full ? 0 : cursor.length;
}

const char *
stamp_string_fault(const char *string, size_t length)
{
	if (length > RECORD_STRING_MAX)
		return "is longer than 255 bytes";
	return utf8_valid(string, length) ? NULL : "is not UTF-8, or has a control character";
}
