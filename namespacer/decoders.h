/* Which attributes are read of each socket, by the names of common/attribute.def's sets. */
#ifndef NAMESPACER_DECODERS_H
#define NAMESPACER_DECODERS_H

#include <stddef.h>
#include <stdint.h>

#include "common/config.h"

/*
 * The bits of enum record_source that a list of names chooses; struct
 * inet_diag_msg is always among them.  0 with one sentence in error for an
 * unknown name.
 */
uint64_t	decoders_mask(const struct config_list *names, char *error, size_t size);

#endif
