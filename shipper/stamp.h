/*
 * The stamp: the fields of a record that say where it is from, encoded once
 * for each ring from what the namespacer and the configuration say, and put
 * before the bytes of every record of that ring.  A record's own bytes cannot
 * hold these fields (check.h), so what stands here is never contradicted.
 */
#ifndef SHIPPER_STAMP_H
#define SHIPPER_STAMP_H

#include <stddef.h>
#include <stdint.h>

#include "common/record.h"

/* Strings may be NULL or "", numbers 0: the field is then left out. */
struct stamp_identity {
	const char	*version;	/* of this program */
	const char	*hostname;
	const char	*location;
	const char	*netns;
	uint64_t	 inode;
	const char	*container;
	const char	*runtime;
	const char	*label;
	const char	*tag;
	uint64_t	 cookie;
	uint64_t	 epoch;
};

/*
 * Writes the stamp, fields in ascending order.  Returns its length, or 0 when
 * it would be longer than RECORD_STAMP_MAX.
 */
size_t		 stamp_write(uint8_t to[RECORD_STAMP_MAX], const struct stamp_identity *);
/*
 * NULL if the string may stand in a record, else what is wrong with it: one
 * that is too long, no UTF-8 or holds control characters would make readers
 * reject the whole batch or show what was never there.
 */
const char	*stamp_string_fault(const char *string, size_t length);

#endif
