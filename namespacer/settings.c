/* The namespacer's part of the configuration. */
#include <stdio.h>
#include <string.h>

#include "namespacer/decoders.h"
#include "namespacer/discovery.h"
#include "namespacer/settings.h"
#include "namespacer/states.h"

/* False for a word that is none of them. */
static bool
settings_way(const char *word, enum record_way *way)
{
	static const struct {
		const char	*word;
		enum record_way	 way;
	} ways[] = {
		{ "auto", RECORD_WAY_UNSPECIFIED },
		{ "walk", RECORD_WAY_WALK },
		{ "targeted", RECORD_WAY_TARGETED },
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		*way = ways[i].way;
		if (strcmp(ways[i].word, word) == 0)
			return true;
	}
	return false;
}

const char *
namespacer_settings_resolve(struct namespacer_settings *settings, const struct config *config, char *error, size_t size)
{
	settings->net_admin = strcmp(config->collector_capability, "none") != 0;
	if ((settings->states = states_mask(&config->state, error, size)) == 0)
		return "state";
	if ((settings->attributes = decoders_mask(&config->decoders, error, size)) == 0)
		return "decoders";
	if (!settings_way(config->snapshot_way, &settings->way)) {
		snprintf(error, size, "'%s' is neither auto, walk nor targeted", config->snapshot_way);
		return "snapshot-way";
	}
	if (settings->net_admin && strcmp(config->collector_capability, "net-admin") != 0) {
		snprintf(error, size, "'%s' is neither net-admin nor none", config->collector_capability);
		return "collector-capability";
	}
	if (!sandbox_level(&sandbox_namespacer, config->sandbox, &settings->sandbox)) {
		snprintf(error, size, "'%s' is neither robust, log nor off", config->sandbox);
		return "sandbox";
	}
	if (!sandbox_level(&sandbox_collector, config->collector_sandbox, &settings->collector_sandbox)) {
		snprintf(error, size, "'%s' is neither strict, robust, log nor off", config->collector_sandbox);
		return "collector-sandbox";
	}
	if (config->netns_folder.count > DISCOVERY_FOLDERS - 2) {
		snprintf(error, size, "more than %d folders", DISCOVERY_FOLDERS - 2);
		return "netns-folder";
	}
	if (config->ring_limit < config->ring_size) {
		snprintf(error, size, "it is smaller than ring-size");
		return "ring-limit";
	}
	return NULL;
}
