/* Thrift's compact protocol: see thrift.h. */
#include <assert.h>
#include <string.h>

#include "common/varint.h"
#include "shipper/thrift.h"

static void
thrift_byte(struct thrift *thrift, uint8_t byte)
{
	buffer_append(thrift->out, &byte, 1);
}

static void
thrift_varint(struct thrift *thrift, uint64_t value)
{
	thrift->out->length += varint_write(buffer_reserve(thrift->out, VARINT_MAX), value);
}

static uint64_t
thrift_zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

/* Small steps of the number share a byte with the type. */
static void
thrift_field(struct thrift *thrift, int16_t number, enum thrift_type type)
{
	int16_t *last = &thrift->last[thrift->depth - 1];
	int step = number - *last;

	assert(step > 0);
	if (step <= 15)
		thrift_byte(thrift, (uint8_t)(step << 4 | (int)type));
	else {
		thrift_byte(thrift, (uint8_t)type);
		thrift_varint(thrift, thrift_zigzag(number));
	}
	*last = number;
}

void
thrift_struct_begin(struct thrift *thrift)
{
	assert(thrift->depth < THRIFT_DEPTH);
	thrift->last[thrift->depth++] = 0;
}

void
thrift_struct_end(struct thrift *thrift)
{
	thrift_byte(thrift, 0);
	thrift->depth--;
}

void
thrift_field_struct(struct thrift *thrift, int16_t number)
{
	thrift_field(thrift, number, THRIFT_STRUCT);
	thrift_struct_begin(thrift);
}

void
thrift_field_empty(struct thrift *thrift, int16_t number)
{
	thrift_field_struct(thrift, number);
	thrift_struct_end(thrift);
}

void
thrift_field_list(struct thrift *thrift, int16_t number, enum thrift_type type, size_t count)
{
	thrift_field(thrift, number, THRIFT_LIST);
	if (count < 15)
		thrift_byte(thrift, (uint8_t)(count << 4 | type));
	else {
		thrift_byte(thrift, (uint8_t)(0xf0 | type));
		thrift_varint(thrift, count);
	}
}

void
thrift_field_i8(struct thrift *thrift, int16_t number, int8_t value)
{
	thrift_field(thrift, number, THRIFT_BYTE);
	thrift_byte(thrift, (uint8_t)value);
}

void
thrift_field_i16(struct thrift *thrift, int16_t number, int16_t value)
{
	thrift_field(thrift, number, THRIFT_I16);
	thrift_varint(thrift, thrift_zigzag(value));
}

void
thrift_field_i32(struct thrift *thrift, int16_t number, int32_t value)
{
	thrift_field(thrift, number, THRIFT_I32);
	thrift_i32(thrift, value);
}

void
thrift_field_i64(struct thrift *thrift, int16_t number, int64_t value)
{
	thrift_field(thrift, number, THRIFT_I64);
	thrift_i64(thrift, value);
}

void
thrift_field_bool(struct thrift *thrift, int16_t number, bool value)
{
	thrift_field(thrift, number, value ? THRIFT_TRUE : THRIFT_FALSE);
}

void
thrift_field_binary(struct thrift *thrift, int16_t number, const void *bytes, size_t length)
{
	thrift_field(thrift, number, THRIFT_BINARY);
	thrift_binary(thrift, bytes, length);
}

void
thrift_field_string(struct thrift *thrift, int16_t number, const char *string)
{
	thrift_field_binary(thrift, number, string, strlen(string));
}

void
thrift_i32(struct thrift *thrift, int32_t value)
{
	thrift_varint(thrift, thrift_zigzag(value));
}

void
thrift_i64(struct thrift *thrift, int64_t value)
{
	thrift_varint(thrift, thrift_zigzag(value));
}

void
thrift_bool(struct thrift *thrift, bool value)
{
	thrift_byte(thrift, value ? THRIFT_TRUE : THRIFT_FALSE);
}

void
thrift_binary(struct thrift *thrift, const void *bytes, size_t length)
{
	thrift_varint(thrift, length);
	buffer_append(thrift->out, bytes, length);
}
