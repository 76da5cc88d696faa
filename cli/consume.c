/*
 * tcpdiag consume: reads what the shipper sent to a topic of Kafka's, prints the
 * records in any format, and tells what is missing.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/consume.h"
#include "cli/output.h"
#include "cli/reader.h"
#include "cli/topic.h"
#include "cli/verify.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record_reader.h"
#include "shipper/formats.h"

enum {
	CONSUME_WAIT = 200,			/* ms; then what has come is written */
	CONSUME_BATCH = 256 * 1024,		/* bytes that are written at once */
	CONSUME_HEADER_MAX = 256,
};

struct consume {
	struct output		 output;
	struct config		 config;
	struct topic		*topic;
	struct verify		*verify;
	const char		*group;
	struct topic_start	 start;
	const struct reader	*input;		/* of messages that do not say it */
	bool			 follow, quiet;
	uint64_t		 unreadable;	/* messages */
	bool			 uncommitted;
};

static volatile sig_atomic_t consume_stop;

static void
consume_signal(int number)
{
	(void)number;
	consume_stop = 1;
}

/* --- a message ------------------------------------------------------------------- */

struct consume_headers {
	char	host[CONSUME_HEADER_MAX], format[CONSUME_HEADER_MAX], spool_epoch[CONSUME_HEADER_MAX];
	char	batch_sequence[CONSUME_HEADER_MAX], part[CONSUME_HEADER_MAX];
};

static void
consume_header(const rd_kafka_headers_t *headers, const char *name, char to[CONSUME_HEADER_MAX])
{
	const void *value;
	size_t length;

	if (headers != NULL && rd_kafka_header_get_last(headers, name, &value, &length) == RD_KAFKA_RESP_ERR_NO_ERROR && value != NULL)
		snprintf(to, CONSUME_HEADER_MAX, "%.*s", (int)(length < CONSUME_HEADER_MAX ? length : CONSUME_HEADER_MAX - 1),
		    (const char *)value);
}

static void
consume_headers(const rd_kafka_message_t *message, struct consume_headers *to)
{
	rd_kafka_headers_t *headers = NULL;

	*to = (struct consume_headers){ 0 };
	if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	consume_header(headers, "host", to->host);
	consume_header(headers, "format", to->format);
	consume_header(headers, "spool_epoch", to->spool_epoch);
	consume_header(headers, "batch_sequence", to->batch_sequence);
	consume_header(headers, "part", to->part);
}

static void
consume_bad(struct consume *consume, const rd_kafka_message_t *message, const char *why)
{
	consume->unreadable++;
	log_error("topic %s, partition %" PRId32 ", offset %" PRId64 ": %s", consume->config.kafka_topic, message->partition,
	    message->offset, why);
}

/* Takes records from a place on to their end. */
static void
consume_records(struct consume *consume, size_t start, bool ends)
{
	const struct buffer *records = &consume->output.batch.records;
	struct record record;
	size_t prefix, frame;

	for (size_t at = start; at < records->length; at += frame) {
		frame = format_frame(records->bytes + at, records->length - at, &prefix);
		if (frame == 0 || record_read(&record, records->bytes + at + prefix, frame - prefix) == -1)
			break;
		verify_record(consume->verify, &record, ends);
	}
	if (consume->quiet)
		consume->output.batch.records.length = start;
}

static void
consume_message(struct consume *consume, const rd_kafka_message_t *message)
{
	struct consume_headers headers;
	const struct reader *reader;
	const struct format *format;
	size_t start = consume->output.batch.records.length;
	char why[512];

	consume_headers(message, &headers);
	verify_batch(consume->verify, &(struct verify_batch){ headers.host, strtoull(headers.spool_epoch, NULL, 16),
	    strtoull(headers.batch_sequence, NULL, 10), (uint32_t)strtoul(headers.part, NULL, 10) });
	reader = headers.format[0] != '\0' ? reader_by_name(headers.format) : consume->input;
	if (reader == NULL) {
		snprintf(why, sizeof(why), headers.format[0] != '\0' ? "format %s is not read by this command" :
		    "%sno header says its format, and there is no --input", headers.format);
		consume_bad(consume, message, why);
		return;
	}
	if (reader_message(reader, message->payload, message->len, &consume->output.batch.records, why, sizeof(why)) == -1) {
		consume_bad(consume, message, why);
		return;
	}
	format = format_by_name(reader->name);
	consume_records(consume, start, format != NULL && format->snapshot_ends);
}

/* --- all of them -------------------------------------------------------------------- */

static void
consume_flush(struct consume *consume)
{
	output_flush(&consume->output);
	if (consume->uncommitted && !consume->output.failed)
		topic_commit(consume->topic);
	consume->uncommitted = false;
}

static void
consume_all(struct consume *consume)
{
	while (!consume_stop && !consume->output.failed && !topic_failed(consume->topic)) {
		rd_kafka_message_t *message = topic_next(consume->topic, consume->output.batch.records.length > 0 ? 0 : CONSUME_WAIT);

		if (message != NULL) {
			consume_message(consume, message);
			consume->uncommitted = true;
			rd_kafka_message_destroy(message);
		}
		if (message == NULL || consume->output.batch.records.length > CONSUME_BATCH)
			consume_flush(consume);
		if (message == NULL && !consume->follow && topic_ended(consume->topic))
			break;
	}
	consume_flush(consume);
}

static int
consume_report(struct consume *consume)
{
	bool missing = verify_report(consume->verify, topic_whole(consume->topic), stderr);

	if (consume->unreadable > 0)
		fprintf(stderr, "unreadable: %" PRIu64 " messages\n", consume->unreadable);
	if (consume->output.failed)
		return EXIT_CODE_SINK;
	if (consume->unreadable > 0 || topic_failed(consume->topic))
		return EXIT_CODE_DATA;
	return missing ? EXIT_CODE_INCOMPLETE : EXIT_CODE_OK;
}

static int
consume_run(struct consume *consume)
{
	struct sigaction action = { .sa_handler = consume_signal };
	int code;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	consume->topic = topic_open(&consume->config, consume->group, &consume->start, &code);
	if (consume->topic == NULL)
		return code;
	consume->verify = verify_new();
	if (!consume->quiet)
		output_begin(&consume->output);
	consume_all(consume);
	code = consume_report(consume);
	verify_free(consume->verify);
	topic_close(consume->topic);
	return code;
}

/* --- the command line ------------------------------------------------------------------ */

static void
consume_help(void)
{
	char names[128];

	printf("usage: tcpdiag consume [options] --brokers HOST:PORT,... --topic TOPIC\n"
	    "\n"
	    "Prints the records in a topic of Kafka's in any format.  At the end it tells what\n"
	    "is missing, repeated or incomplete; it ends where the topic does.\n"
	    "\n"
	    "  -b, --brokers LIST       brokers to begin with (kafka-brokers)\n"
	    "  -t, --topic TOPIC        the topic (kafka-topic)\n"
	    "  -g, --group GROUP        share the topic with this group, go on where it was\n"
	    "  -o, --offset OFFSET      beginning (the default), end, a number, or @SECONDS\n"
	    "                           since 1970; of a group, where it never was\n"
	    "  -F, --follow             wait for more until SIGINT\n"
	    "  -q, --quiet              print no records\n"
	    "  -i, --input FORMAT       of messages without a header that says it\n");
	output_help();
	printf("      --config FILE        take the kafka keys of tcpdiag.conf(5) from it\n"
	    "      --kafka-tls, --kafka-tls-ca, --kafka-tls-certificate, --kafka-tls-key,\n"
	    "      --kafka-sasl, --kafka-sasl-user, --kafka-sasl-password-file VALUE\n"
	    "                           as in tcpdiag.conf(5)\n"
	    "      --rdkafka NAME=VALUE a property of librdkafka\n"
	    "  -h, --help               this text\n"
	    "\n"
	    "Messages can be in\n"
	    "%s\n"
	    "Of others, batches are verified by their headers only, and the exit code is 65.\n"
	    "The exit code is 75 if batches or records are missing.\n", reader_names(names));
}

/* Options that are keys of the configuration. */
enum { CONSUME_KEYS = 256 };

static const struct consume_key {
	const char	*option, *key;
} consume_keys[] = {
	{ "brokers", "kafka-brokers" },
	{ "topic", "kafka-topic" },
	{ "kafka-tls", "kafka-tls" },
	{ "kafka-tls-ca", "kafka-tls-ca" },
	{ "kafka-tls-certificate", "kafka-tls-certificate" },
	{ "kafka-tls-key", "kafka-tls-key" },
	{ "kafka-sasl", "kafka-sasl" },
	{ "kafka-sasl-user", "kafka-sasl-user" },
	{ "kafka-sasl-password-file", "kafka-sasl-password-file" },
};

enum { CONSUME_NKEYS = sizeof(consume_keys) / sizeof(consume_keys[0]) };

static int
consume_set_key(struct consume *consume, const struct consume_key *key, const char *value)
{
	char error[CONFIG_ERROR_MAX];

	if (config_set(&consume->config, key->key, value, error, sizeof(error)) == 0)
		return -1;
	return output_usage(&consume->output, "--%s: %s", key->option, error);
}

static int
consume_set_property(struct consume *consume, const char *value)
{
	cleanup_free char *name = NULL;

	if (strchr(value, '=') == NULL)
		return output_usage(&consume->output, "--rdkafka wants NAME=VALUE, not \"%s\"", value);
	if (asprintf(&name, "kafka.rdkafka.%.*s", (int)strcspn(value, "="), value) == -1)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	return consume_set_key(consume, &(struct consume_key){ "rdkafka", name }, strchr(value, '=') + 1);
}

static int
consume_set_config(struct consume *consume, const char *file)
{
	char error[CONFIG_ERROR_MAX];

	if (config_read(&consume->config, file, error, sizeof(error)) == 0)
		return -1;
	log_error("%s", error);
	return EXIT_CODE_CONFIG;
}

static int
consume_set_offset(struct consume *consume, const char *value)
{
	bool time = value[0] == '@';
	char *end;

	if (strcmp(value, "beginning") == 0 || strcmp(value, "end") == 0) {
		consume->start.from = value[0] == 'e' ? TOPIC_END : TOPIC_BEGINNING;
		return -1;
	}
	consume->start.from = time ? TOPIC_TIME : TOPIC_OFFSET;
	consume->start.number = strtoll(value + time, &end, 10);
	if (end == value + time || *end != '\0' || consume->start.number < 0 || (time && consume->start.number > INT64_MAX / 1000))
		return output_usage(&consume->output, "--offset \"%s\": it can be beginning, end, a number or @SECONDS", value);
	consume->start.number *= time ? 1000 : 1;
	return -1;
}

static int
consume_set_input(struct consume *consume, const char *name)
{
	char names[128];

	consume->input = reader_by_name(name);
	if (consume->input != NULL)
		return -1;
	return output_usage(&consume->output, "unknown input \"%s\": there are %s", name, reader_names(names));
}

static int
consume_set(struct consume *consume, int letter, char *value)
{
	switch (letter) {
	case 'b':
		return consume_set_key(consume, &consume_keys[0], value);
	case 't':
		return consume_set_key(consume, &consume_keys[1], value);
	case 'g':
		consume->group = value;
		return -1;
	case 'o':
		return consume_set_offset(consume, value);
	case 'F':
		consume->follow = true;
		return -1;
	case 'q':
		consume->quiet = true;
		return -1;
	case 'i':
		return consume_set_input(consume, value);
	case 'f':
		return output_set_format(&consume->output, value);
	case 'c':
		return output_set_columns(&consume->output, value);
	case 'C':
		return consume_set_config(consume, value);
	case 'R':
		return consume_set_property(consume, value);
	case 'h':
		consume_help();
		return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_SINK;
	default:
		break;
	}
	if (letter >= CONSUME_KEYS)
		return consume_set_key(consume, &consume_keys[letter - CONSUME_KEYS], value);
	/* getopt has said what is wrong. */
	return EXIT_CODE_USAGE;
}

/* What the table of options cannot say. */
static int
consume_check(struct consume *consume)
{
	const struct output *output = &consume->output;

	if (consume->config.kafka_brokers.count == 0)
		return output_usage(output, "which --brokers HOST:PORT,...?");
	if (consume->config.kafka_topic[0] == '\0')
		return output_usage(output, "which --topic?");
	if (consume->group != NULL && (consume->start.from == TOPIC_OFFSET || consume->start.from == TOPIC_TIME))
		return output_usage(output, "with --group, --offset can be beginning or end");
	return output_open(&consume->output);
}

/* Returns -1 to go on, else the exit code; what is wrong is said already. */
static int
consume_parse(struct consume *consume, int argc, char **argv)
{
	static const struct option own[] = {
		{ "group", required_argument, NULL, 'g' },
		{ "offset", required_argument, NULL, 'o' },
		{ "follow", no_argument, NULL, 'F' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "input", required_argument, NULL, 'i' },
		{ "format", required_argument, NULL, 'f' },
		{ "columns", required_argument, NULL, 'c' },
		{ "config", required_argument, NULL, 'C' },
		{ "rdkafka", required_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' },
	};
	enum { OWN = sizeof(own) / sizeof(own[0]) };
	struct option longs[OWN + CONSUME_NKEYS + 1] = { 0 };
	int letter, code;

	memcpy(longs, own, sizeof(own));
	for (int i = 0; i < CONSUME_NKEYS; i++)
		longs[OWN + i] = (struct option){ consume_keys[i].option, required_argument, NULL, CONSUME_KEYS + i };
	/* 0, not 1: whoever called us may have used getopt before. */
	optind = 0;
	while ((letter = getopt_long(argc, argv, "b:t:g:o:Fqi:f:c:h", longs, NULL)) != -1) {
		code = consume_set(consume, letter, optarg);
		if (code != -1)
			return code;
	}
	if (argc != optind)
		return output_usage(&consume->output, "what is \"%s\"?  Only options are known", argv[optind]);
	return consume_check(consume);
}

int
consume_main(int argc, char **argv)
{
	struct consume consume = { .output = { .command = "consume" } };
	int code;

	config_init(&consume.config);
	code = consume_parse(&consume, argc, argv);
	if (code == -1)
		code = consume_run(&consume);
	output_close(&consume.output);
	config_free(&consume.config);
	return code;
}
