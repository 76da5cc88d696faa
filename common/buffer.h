/* A byte buffer that grows.  Running out of memory ends the process. */
#ifndef COMMON_BUFFER_H
#define COMMON_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
	uint8_t	*bytes;
	size_t	 length;
	size_t	 capacity;
};

/* A place for at least so many more bytes, at the end; length is unchanged. */
uint8_t	*buffer_reserve(struct buffer *, size_t more);
void	 buffer_append(struct buffer *, const void *bytes, size_t length);
void	 buffer_append_string(struct buffer *, const char *string);
void	 buffer_printf(struct buffer *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void	 buffer_free(struct buffer *);

#endif
