/* One message of a dump, taken apart: where each attribute's payload is. */
#ifndef COLLECTOR_ATTRIBUTES_H
#define COLLECTOR_ATTRIBUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/counters.h"
#include "common/record.h"

struct nlmsghdr;

struct attributes {
	uint64_t	 present;	/* bits of enum record_source */
	const uint8_t	*payload[RECORD_SOURCES];	/* of the present ones */
	uint16_t	 length[RECORD_SOURCES];
};

/*
 * Finds every attribute of a message that is known and long enough for the
 * fields that are read from it (tcp_info may have any length), and counts the
 * others.  TCP-MD5 keys are overwritten in the message before anything else
 * can see them.  False if this is no whole inet_diag message: then the whole
 * message is overwritten with zeros, for there might be a key in it.
 */
bool	attributes_find(struct attributes *, struct nlmsghdr *, struct counters *);

#endif
