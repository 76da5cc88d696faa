/* What the configuration's words come to in the namespacer. */
#ifndef NAMESPACER_SETTINGS_H
#define NAMESPACER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/record.h"
#include "seccomp/sandbox.h"

struct namespacer_settings {
	uint32_t	states;		/* 1 << TCP state: what is asked for */
	uint64_t	attributes;	/* bits of enum record_source: what is read of each */
	bool		net_admin;	/* collectors keep CAP_NET_ADMIN */
	enum sandbox_level sandbox, collector_sandbox;	/* of its own filter, and of theirs */
	enum record_way	way;		/* how they read; unspecified: the cheapest that is complete */
};

/*
 * Finds out, and checks what the table of keys cannot.  NULL, or the key that
 * is wrong and one sentence in error: a config_program's check.
 */
const char	*namespacer_settings_resolve(struct namespacer_settings *, const struct config *, char *error, size_t size);

#endif
