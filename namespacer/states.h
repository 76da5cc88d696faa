/* TCP states by the names that ss(8) takes. */
#ifndef NAMESPACER_STATES_H
#define NAMESPACER_STATES_H

#include <stddef.h>
#include <stdint.h>

#include "common/config.h"

/*
 * The mask (1 << TCP state) of a list of names; none means what ss -a shows.
 * 0 with one sentence in error for an unknown name.
 */
uint32_t	states_mask(const struct config_list *names, char *error, size_t size);

#endif
