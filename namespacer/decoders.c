/* Sets of attributes by name. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/record.h"
#include "namespacer/decoders.h"

#define DECODERS_MSG		(UINT64_C(1) << RECORD_MSG)
/* Its four numbers are among INET_DIAG_SKMEMINFO's nine. */
#define DECODERS_NOT_BY_DEFAULT	(UINT64_C(1) << RECORD_MEMINFO)

static const struct {
	const char	*name;
	uint64_t	 bit;
	enum record_nest nest;
} decoders_rows[] = {
#define ATTRIBUTE(bit, source, nest, number, least, known, asked, decoder)	\
	{ decoder, UINT64_C(1) << (bit), RECORD_NEST_##nest },
#include "common/attribute.def"
};
enum { DECODERS_ROWS = sizeof(decoders_rows) / sizeof(decoders_rows[0]) };

/* As xtcp calls them. */
static const struct {
	const char	*alias, *name;
} decoders_aliases[] = { { "tc", "tclass" }, { "shut", "shutdown" }, { "classid", "class_id" } };

static uint64_t
decoders_by_name(const char *name)
{
	uint64_t bits = 0, every = 0;

	for (size_t i = 0; i < sizeof(decoders_aliases) / sizeof(decoders_aliases[0]); i++)
		if (strcasecmp(decoders_aliases[i].alias, name) == 0)
			name = decoders_aliases[i].name;
	for (size_t i = 0; i < DECODERS_ROWS; i++) {
		every |= decoders_rows[i].bit;
		if (strcasecmp(decoders_rows[i].name, name) == 0)
			bits |= decoders_rows[i].bit;
	}
	if (strcasecmp(name, "all") == 0)
		return DECODERS_MSG | every;
	if (strcasecmp(name, "default") == 0)
		return DECODERS_MSG | (every & ~DECODERS_NOT_BY_DEFAULT);
	if (strcasecmp(name, "none") == 0)
		return DECODERS_MSG;
	return bits;
}

static void
decoders_unknown(const char *name, char *error, size_t size)
{
	size_t length;

	snprintf(error, size, "there is no decoder '%s'; there are: default, all, none", name);
	for (size_t i = 0; i < DECODERS_ROWS; i++) {
		length = strlen(error);
		/* Parts of an attribute are chosen with it. */
		if (decoders_rows[i].nest == RECORD_NEST_TOP)
			snprintf(error + length, size - length, ", %s", decoders_rows[i].name);
	}
}

uint64_t
decoders_mask(const struct config_list *names, char *error, size_t size)
{
	uint64_t mask = 0, one;

	for (size_t i = 0; i < names->count; i++) {
		if ((one = decoders_by_name(names->items[i])) == 0) {
			decoders_unknown(names->items[i], error, size);
			return 0;
		}
		mask |= one;
	}
	return mask != 0 ? DECODERS_MSG | mask : decoders_by_name("default");
}
