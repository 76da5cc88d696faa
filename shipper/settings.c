/* From the configuration to what is run: see settings.h. */
#include <sys/ioctl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/record.h"
#include "shipper/local_socket.h"
#include "shipper/settings.h"
#include "shipper/stamp.h"
#include "shipper/store.h"

enum { SETTINGS_PORTION = 64 * 1024 };

static int
settings_descriptor(const struct sink *sink)
{
	return strcmp(sink->name, "stderr") == 0 ? STDERR_FILENO : STDOUT_FILENO;
}

/* --- the format ------------------------------------------------------------------- */

static const struct format *
settings_unknown_format(const char *name, char *error, size_t size)
{
	size_t used = (size_t)snprintf(error, size, "there is no format '%s'; there are: auto", name);

	for (size_t i = 0; formats[i] != NULL && used < size; i++)
		used += (size_t)snprintf(error + used, size - used, ", %s", formats[i]->name);
	return NULL;
}

static const char *
settings_resolve_format(struct settings *settings, const struct config *config, char *error, size_t size)
{
	const char *name = config->format;

	if (strcmp(name, "auto") == 0)
		name = settings->sink->people ? "table" : settings->sink->files ? "parquet" : "protobuf";
	settings->format = format_by_name(name);
	if (settings->format == NULL) {
		settings_unknown_format(name, error, size);
		return "format";
	}
	if (settings->format->finish != NULL && !settings->sink->files) {
		snprintf(error, size, "%s needs a sink of whole files, and %s is none; file:FOLDER/ is one, and tcpdiag decode makes a file "
		    "of records", name, settings->sink->name);
		return "format";
	}
	if (!settings->format->text && settings->sink->people && isatty(settings_descriptor(settings->sink))) {
		snprintf(error, size, "%s is not for a terminal, and %s is one; the formats for people are table, csv, tsv, jsonl",
		    name, settings->sink->name);
		return "format";
	}
	return NULL;
}

/* --- what goes with it -------------------------------------------------------------- */

static const char *
settings_resolve_snapshot_ends(struct settings *settings, const struct config *config, char *error, size_t size)
{
	const char *word = config->snapshot_ends;
	/* Among sockets there is no place for them in Parquet, but in a set of files of their own. */
	bool can = settings->format->snapshot_ends || (settings->format->finish != NULL && settings->sink->files);

	if (strcmp(word, "auto") == 0)
		settings->snapshot_ends = can && !settings->sink->people;
	else if (strcmp(word, "yes") == 0 || strcmp(word, "no") == 0)
		settings->snapshot_ends = word[0] == 'y';
	else {
		snprintf(error, size, "'%s' is not yes, no or auto", word);
		return "snapshot-ends";
	}
	if (!settings->snapshot_ends || can)
		return NULL;
	snprintf(error, size, "format %s has no place for snapshot ends", settings->format->name);
	return "snapshot-ends";
}

/* Unknown columns are the format's to refuse: it is opened for that. */
static const char *
settings_check_columns(const struct settings *settings, const struct config *config, char *error, size_t size)
{
	void *state;

	if (config->columns.count > 0 && !settings->format->columns) {
		snprintf(error, size, "format %s writes all fields and takes no columns", settings->format->name);
		return "columns";
	}
	state = settings_open_format(settings, config, error, size);
	format_close(settings->format, state);
	return state == NULL ? "columns" : NULL;
}

static const char *
settings_check_socket(const struct config *config, char *error, size_t size)
{
	const char *fault = local_socket_fault(config->socket);

	if (fault == NULL)
		return NULL;
	snprintf(error, size, "'%s' %s", config->socket, fault);
	return "socket";
}

/* What has the socket's name, and another ending. */
static void
settings_beside_socket(char *path, size_t size, const struct config *config, const char *before, const char *ending)
{
	size_t length = strlen(config->socket);

	if (length > 5 && strcmp(config->socket + length - 5, ".sock") == 0)
		length -= 5;
	snprintf(path, size, "%s%.*s%s", before, (int)length, config->socket, ending);
}

void
settings_ledger(char *path, size_t size, const struct config *config)
{
	settings_beside_socket(path, size, config, "", ".ledger");
}

int
settings_metrics(struct http_address *address, const struct config *config, char *error, size_t size)
{
	char beside[2 * sizeof(address->path)];

	if (strcmp(config->metrics, "auto") != 0)
		return http_address_parse(address, config->metrics, error, size);
	settings_beside_socket(beside, sizeof(beside), config, "unix:", ".metrics.sock");
	return http_address_parse(address, beside, error, size);
}

/* --- what waits for the sink ---------------------------------------------------------- */

static const char *
settings_resolve_spool(struct settings *settings, const struct config *config, char *error, size_t size)
{
	const char *state = getenv("STATE_DIRECTORY"), *word = config->spool;
	int length = 0;

	settings->spool[0] = '\0';
	if (strcmp(word, "off") == 0)
		return NULL;
	if (word[0] == '/')
		length = snprintf(settings->spool, sizeof(settings->spool), "%s", word);
	else if (strcmp(word, "auto") != 0) {
		snprintf(error, size, "'%s' is not off, auto or an absolute path", word);
		return "spool";
	} else if (settings->sink->pace != SINK_PROMPT && state != NULL && state[0] == '/')
		length = snprintf(settings->spool, sizeof(settings->spool), "%.*s/spool", (int)strcspn(state, ":"), state);
	if ((size_t)length < sizeof(settings->spool))
		return NULL;
	snprintf(error, size, "the path is longer than %zu bytes", sizeof(settings->spool) - 1);
	return "spool";
}

static const char *
settings_check_spool(const struct settings *settings, const struct config *config, char *error, size_t size)
{
	if (settings->spool[0] == '\0' && settings->sink->pace == SINK_SPOOLED) {
		snprintf(error, size, "sink %s acknowledges minutes later and needs a spool: a folder that the shipper may write to",
		    settings->sink->name);
		return "spool";
	}
	if (settings->spool[0] == '\0' || (config->batch_bytes <= config->spool_size / 4 && config->batch_bytes <= STORE_BATCH_MAX))
		return NULL;
	snprintf(error, size, "a batch may have a quarter of spool-size and 512MiB at most, and batch-bytes is more");
	return "batch-bytes";
}

static const char *
settings_resolve_refusals(struct settings *settings, const struct config *config, char *error, size_t size)
{
	settings->refusals_retry = strcmp(config->refusals, "retry") == 0;
	if (settings->refusals_retry || strcmp(config->refusals, "final") == 0)
		return NULL;
	snprintf(error, size, "'%s' is not final or retry", config->refusals);
	return "refusals";
}

uint64_t
settings_queue(const struct settings *settings, const struct config *config)
{
	return settings->sink->pace != SINK_PROMPT || settings->spool[0] != '\0' ? config->queue_size : 0;
}

uint64_t
settings_batch(const struct settings *settings, const struct config *config)
{
	const struct format *format = settings->format;
	bool portions = settings->sink->pace == SINK_PROMPT && format->batch != NULL && format->finish == NULL &&
	    !format->aligned && !config->file_fsync;

	return portions && config->batch_bytes > SETTINGS_PORTION ? SETTINGS_PORTION : config->batch_bytes;
}

static const char *
settings_check_strings(const struct config *config, char *error, size_t size)
{
	const struct {
		const char	*key;
		const char	*value;
	} strings[] = {
		{ "hostname", config->hostname },
		{ "location", config->location },
		{ "label", config->label },
		{ "tag", config->tag },
	};

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		const char *fault = stamp_string_fault(strings[i].value, strlen(strings[i].value));

		if (fault == NULL)
			continue;
		snprintf(error, size, "the value %s", fault);
		return strings[i].key;
	}
	return NULL;
}

const char *
settings_resolve(struct settings *settings, const struct config *config, char *error, size_t size)
{
	const char *key;

	settings->sink = sink_by_spec(config->sink, &settings->target, error, size);
	if (settings->sink == NULL)
		return "sink";
	if ((key = settings_resolve_format(settings, config, error, size)) != NULL ||
	    (key = settings_resolve_snapshot_ends(settings, config, error, size)) != NULL ||
	    (key = settings_check_columns(settings, config, error, size)) != NULL ||
	    (key = settings_check_socket(config, error, size)) != NULL)
		return key;
	if (settings->sink->check != NULL && (key = settings->sink->check(config, settings->format, error, size)) != NULL)
		return key;
	if ((key = settings_resolve_spool(settings, config, error, size)) != NULL ||
	    (key = settings_check_spool(settings, config, error, size)) != NULL ||
	    (key = settings_resolve_refusals(settings, config, error, size)) != NULL)
		return key;
	if (settings_metrics(&settings->metrics, config, error, size) == -1)
		return "metrics";
	if (!sandbox_level(&sandbox_shipper, config->sandbox, &settings->sandbox)) {
		snprintf(error, size, "'%s' is neither robust, log nor off", config->sandbox);
		return "sandbox";
	}
	return settings_check_strings(config, error, size);
}

/* --- opening ----------------------------------------------------------------------------- */

static unsigned int
settings_width(const struct sink *sink)
{
	const char *columns = getenv("COLUMNS");
	struct winsize window;
	unsigned long width;

	if (!sink->people)
		return 0;
	if (ioctl(settings_descriptor(sink), TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
		return window.ws_col;
	width = columns != NULL ? strtoul(columns, NULL, 10) : 0;
	return width <= UINT16_MAX ? (unsigned int)width : 0;
}

void *
settings_open_format(const struct settings *settings, const struct config *config, char *error, size_t size)
{
	const struct format_options options = {
		.columns = config->columns.count > 0 ? config->columns.items : NULL,
		.ncolumns = config->columns.count,
		.width = settings_width(settings->sink),
	};

	return settings->format->open(&options, error, size);
}
