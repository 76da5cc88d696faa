/* FNV-1a: a spread that is the same at every start. */
#ifndef NAMESPACER_HASH_H
#define NAMESPACER_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START	UINT64_C(0xcbf29ce484222325)

/* Goes on from the hash of what was before, or from HASH_START. */
static inline uint64_t
hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
	const unsigned char *at = bytes;

	while (length-- > 0)
		hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
	return hash;
}

#endif
