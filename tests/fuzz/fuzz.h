/*
 * What the fuzz targets share.  A target is a libFuzzer program, and a unit
 * test when it is linked with driver.c.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert(3), which NDEBUG would take away. */
#define FUZZ_REQUIRE(condition) do {					\
	if (!(condition)) {						\
		fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
		abort();						\
	}								\
} while (0)

/* The input as a script: what is missing at its end is zeros. */
struct fuzz_script {
	const uint8_t	*at;
	size_t		 left;
};

/* The next bytes, as many as there are, at most length. */
static inline const uint8_t *
fuzz_bytes(struct fuzz_script *script, size_t *length)
{
	const uint8_t *bytes = script->at;

	if (*length > script->left)
		*length = script->left;
	script->at += *length;
	script->left -= *length;
	return bytes;
}

/* The next number of so many bytes, the low one first. */
static inline uint64_t
fuzz_number(struct fuzz_script *script, size_t width)
{
	const uint8_t *bytes = fuzz_bytes(script, &width);
	uint64_t number = 0;

	for (size_t i = 0; i < width; i++)
		number |= (uint64_t)bytes[i] << (8 * i);
	return number;
}

/* A copy on the heap, with nothing behind it that a sanitizer would let pass. */
static inline uint8_t *
fuzz_copy(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size);

	FUZZ_REQUIRE(copy != NULL || size == 0);
	if (size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

#endif
