/* One message of a dump, taken apart: where each attribute's payload is. */
#ifndef COLLECTOR_ATTRIBUTES_H
#define COLLECTOR_ATTRIBUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/counters.h"
#include "common/record.h"

struct nlmsghdr;

#define ATTRIBUTES_EVERY	UINT64_MAX

struct attributes {
	uint64_t	 present;	/* bits of enum record_source */
	const uint8_t	*payload[RECORD_SOURCES];	/* of the present ones */
	uint16_t	 length[RECORD_SOURCES];
};

/*
 * Chooses what attributes_find() finds, by bits of enum record_source; until
 * then it is everything.
 */
void	attributes_choose(uint64_t chosen);
/* The byte idiag_ext of a request that brings these attributes, and no others. */
uint8_t	attributes_extensions(uint64_t chosen);

/*
 * Finds every attribute of a message that is chosen and long enough for the
 * fields that are read from it (tcp_info may have any length), and counts the
 * unknown ones.  TCP-MD5 keys are overwritten in the message before anything
 * else can see them, chosen or not.  False if this is no whole inet_diag
 * message: then the whole message is overwritten with zeros, for there might
 * be a key in it.
 */
bool	attributes_find(struct attributes *, struct nlmsghdr *message, struct counters *);

/* Bit n: attributes of that number came in the nest, and are not known (31: that and higher). */
uint32_t attributes_unknown(const struct counters *, enum record_nest);
/* Bits of enum record_source: attributes that came with more at their end than is known. */
uint64_t attributes_longer(void);

#endif
