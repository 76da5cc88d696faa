/* A byte buffer that grows: see buffer.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"
#include "common/exit.h"
#include "common/log.h"

enum { BUFFER_FIRST = 256 };

static void
buffer_grow(struct buffer *buffer, size_t more)
{
	size_t capacity = buffer->capacity ? buffer->capacity : BUFFER_FIRST;
	uint8_t *bytes;

	if (more > SIZE_MAX / 2 - buffer->length)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a buffer of %zu bytes asked for %zu more",
		    buffer->length, more);
	while (capacity < buffer->length + more)
		capacity *= 2;
	bytes = realloc(buffer->bytes, capacity);
	if (bytes == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a buffer of %zu bytes", capacity);
	buffer->bytes = bytes;
	buffer->capacity = capacity;
}

uint8_t *
buffer_reserve(struct buffer *buffer, size_t more)
{
	if (buffer->bytes == NULL || more > buffer->capacity - buffer->length)
		buffer_grow(buffer, more);
	return buffer->bytes + buffer->length;
}

void
buffer_append(struct buffer *buffer, const void *bytes, size_t length)
{
	if (length == 0)
		return;
	memcpy(buffer_reserve(buffer, length), bytes, length);
	buffer->length += length;
}

void
buffer_append_string(struct buffer *buffer, const char *string)
{
	buffer_append(buffer, string, strlen(string));
}

void
buffer_printf(struct buffer *buffer, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (length < 0)
		fatal(EXIT_CODE_INTERNAL, "buffer_printf cannot print \"%s\"", format);
	/* The NUL needs room, but is not counted. */
	va_start(arguments, format);
	vsnprintf((char *)buffer_reserve(buffer, (size_t)length + 1), (size_t)length + 1, format, arguments);
	va_end(arguments);
	buffer->length += (size_t)length;
}

void
buffer_free(struct buffer *buffer)
{
	free(buffer->bytes);
	*buffer = (struct buffer){ 0 };
}
