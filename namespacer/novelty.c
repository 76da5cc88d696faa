/* Kinds of attributes that were never met before. */

#include "common/counters.h"
#include "common/log.h"
#include "namespacer/novelty.h"

static struct {
	uint32_t	unknown[RECORD_NESTS];
	uint64_t	longer;
} novelty;

/* By enum record_source, as the kernel's header calls them but for the prefix. */
static const char *const novelty_names[RECORD_SOURCES] = {
#define ATTRIBUTE(bit, source, nest, number, least, known, asked, decoder) [bit] = #source,
#include "common/attribute.def"
};

static void
novelty_unknown(const char *name, enum record_nest nest, unsigned int number)
{
	static const char *const nests[RECORD_NESTS] = {
		[RECORD_NEST_TOP] = "INET_DIAG_*", [RECORD_NEST_ULP] = "INET_ULP_INFO_*",
		[RECORD_NEST_TLS] = "TLS_INFO_*", [RECORD_NEST_MPTCP] = "MPTCP_SUBFLOW_ATTR_*",
	};

	log_notice("%s: the kernel sends attribute %u%s of %s, which this version does not know: it is left out and counted",
	    name, number, number < COUNTERS_KINDS - 1 ? "" : " or a higher one", nests[nest]);
}

static void
novelty_longer(const char *name, unsigned int source)
{
	if (novelty_names[source] != NULL)
		log_notice("%s: the kernel's %s has more at its end than this version knows: it is %s and counted",
		    name, novelty_names[source], source == RECORD_INFO ? "kept as field tcp_info_tail" : "left out");
}

void
novelty_note(const char *name, const struct protocol_taken *taken)
{
	for (unsigned int nest = 0; nest < RECORD_NESTS; nest++) {
		uint32_t fresh = taken->unknown[nest] & ~novelty.unknown[nest];

		novelty.unknown[nest] |= fresh;
		for (; fresh != 0; fresh &= fresh - 1)
			novelty_unknown(name, nest, (unsigned int)__builtin_ctz(fresh));
	}
	for (unsigned int source = 0; source < RECORD_SOURCES; source++)
		if ((taken->longer & ~novelty.longer) >> source & 1)
			novelty_longer(name, source);
	novelty.longer |= taken->longer;
}
