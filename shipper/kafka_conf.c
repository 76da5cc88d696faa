/* librdkafka's properties: see kafka_conf.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/fd.h"
#include "shipper/format.h"
#include "shipper/kafka_conf.h"
#include "shipper/registry.h"

enum {
	KAFKA_CONF_FILE_MAX = 256 * 1024,
	/* The broker's own limit less what stands around a message. */
	KAFKA_CONF_MESSAGE_MIN = 1000000,
	KAFKA_CONF_MESSAGE_ROOM = 64 * 1024,
	KAFKA_CONF_MESSAGE_MAX = 1000000000,
	KAFKA_CONF_SCRAM_VERSION = 0x020601ff,
	KAFKA_CONF_TOKEN_TIME = 60,	/* s; a token's file is read again before they are over */
	KAFKA_CONF_WHY = 512,
};

static const char *const kafka_conf_keys[] = { "host", "netns", "none", NULL };
static const char *const kafka_conf_acks[] = { "all", "1", NULL };
static const char *const kafka_conf_compressions[] = { "none", "gzip", "snappy", "lz4", "zstd", NULL };
static const char *const kafka_conf_mechanisms[] = { "none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", NULL };

/*
 * What every producer has.  Nothing is given up here: how long a batch is tried
 * and where it waits meanwhile is the delivery's affair.
 */
static const struct {
	const char	*name, *value;
} kafka_conf_fixed[] = {
	{ "client.id", "tcpdiag" },
	{ "client.software.name", "tcpdiag" },
	{ "message.timeout.ms", "0" },
	/* Java's default, so that all producers agree where a key belongs. */
	{ "partitioner", "murmur2_random" },
	/* The reason why a topic is not there is not waited for half a minute. */
	{ "topic.metadata.propagation.max.ms", "5000" },
	{ "log.connection.close", "false" },
	{ "log.queue", "true" },
	{ "socket.keepalive.enable", "true" },
	{ "message.send.max.retries", "2147483647" },
};

/* Properties that may not be passed through, and why. */
static const struct {
	const char	*name, *why;
} kafka_conf_refused[] = {
	{ "plugin.library.paths", "it loads code into the shipper" },
	{ "ssl.engine.location", "it loads code into the shipper" },
	{ "ssl.engine.id", "it loads code into the shipper" },
	{ "ssl.providers", "it loads code into the shipper" },
	{ "sasl.kerberos.kinit.cmd", "it runs a program" },
	{ "sasl.kerberos.keytab", "Kerberos runs a program" },
	{ "sasl.kerberos.principal", "Kerberos runs a program" },
	{ "bootstrap.servers", "it is kafka-brokers" },
	{ "metadata.broker.list", "it is kafka-brokers" },
	{ "compression.codec", "it is kafka-compression" },
	{ "compression.type", "it is kafka-compression" },
	{ "acks", "it is kafka-acks" },
	{ "request.required.acks", "it is kafka-acks" },
	{ "security.protocol", "it follows from kafka-tls and kafka-sasl" },
	{ "sasl.mechanism", "it is kafka-sasl" },
	{ "sasl.mechanisms", "it is kafka-sasl" },
	{ "sasl.username", "it is kafka-sasl-user" },
	{ "sasl.password", "secrets come from files: kafka-sasl-password-file" },
	{ "sasl.oauthbearer.client.secret", "secrets come from files" },
	{ "ssl.key.password", "secrets come from files; the key in kafka-tls-key is read as it is" },
	{ "ssl.key.pem", "secrets come from files: kafka-tls-key" },
	{ "ssl.keystore.password", "secrets come from files" },
	{ "ssl.ca.location", "it is kafka-tls-ca" },
	{ "ssl.certificate.location", "it is kafka-tls-certificate" },
	{ "ssl.key.location", "it is kafka-tls-key" },
	{ "message.timeout.ms", "how long a batch is tried is not librdkafka's to decide" },
	{ "delivery.timeout.ms", "how long a batch is tried is not librdkafka's to decide" },
	{ "enable.idempotence", "it follows from kafka-acks" },
	{ "transactional.id", "batches are no transactions" },
	{ "queue.buffering.max.kbytes", "it is kafka-memory" },
	{ "dr_cb", "it is no setting" }, { "dr_msg_cb", "it is no setting" }, { "error_cb", "it is no setting" },
	{ "log_cb", "it is no setting" }, { "opaque", "it is no setting" }, { "interceptors", "it is no setting" },
};

/* --- what is right ------------------------------------------------------------- */

static int
kafka_conf_word(const char *const *words, const char *value, char *error, size_t size)
{
	size_t used;

	for (size_t i = 0; words[i] != NULL; i++)
		if (strcmp(words[i], value) == 0)
			return 0;
	used = (size_t)snprintf(error, size, "'%s' is none of", value);
	for (size_t i = 0; words[i] != NULL && used < size; i++)
		used += (size_t)snprintf(error + used, size - used, "%s %s", i > 0 ? "," : "", words[i]);
	return -1;
}

static const char *
kafka_conf_check_words(const struct config *config, char *error, size_t size)
{
	const struct {
		const char		*key, *value;
		const char *const	*words;
	} words[] = {
		{ "kafka-key", config->kafka_key, kafka_conf_keys },
		{ "kafka-acks", config->kafka_acks, kafka_conf_acks },
		{ "kafka-compression", config->kafka_compression, kafka_conf_compressions },
		{ "kafka-sasl", config->kafka_sasl, kafka_conf_mechanisms },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (kafka_conf_word(words[i].words, words[i].value, error, size) == -1)
			return words[i].key;
	return NULL;
}

static bool
kafka_conf_sasl(const struct config *config)
{
	return strcmp(config->kafka_sasl, "none") != 0;
}

static bool
kafka_conf_oauth(const struct config *config)
{
	return strcmp(config->kafka_sasl, "OAUTHBEARER") == 0;
}

static const char *
kafka_conf_check_sasl(const struct config *config, char *error, size_t size)
{
	if (!kafka_conf_sasl(config))
		return NULL;
	if (config->kafka_sasl_user[0] == '\0' && !kafka_conf_oauth(config)) {
		snprintf(error, size, "it needs kafka-sasl-user and kafka-sasl-password-file");
		return "kafka-sasl";
	}
	if (config->kafka_sasl_password_file[0] == '\0') {
		snprintf(error, size, "it needs kafka-sasl-password-file");
		return "kafka-sasl";
	}
	return NULL;
}

static const char *
kafka_conf_check_tls(const struct config *config, char *error, size_t size)
{
	bool certificate = config->kafka_tls_certificate[0] != '\0', key = config->kafka_tls_key[0] != '\0';

	if (certificate != key) {
		snprintf(error, size, "kafka-tls-certificate and kafka-tls-key go together");
		return certificate ? "kafka-tls-certificate" : "kafka-tls-key";
	}
	if (!config->kafka_tls && (certificate || config->kafka_tls_ca[0] != '\0')) {
		snprintf(error, size, "it needs kafka-tls = yes");
		return certificate ? "kafka-tls-certificate" : "kafka-tls-ca";
	}
	return NULL;
}

static const char *
kafka_conf_check_format(const struct config *config, const struct format *format, char *error, size_t size)
{
	if (config->schema_registry[0] != '\0' && strcmp(format->name, "protobufList") != 0) {
		snprintf(error, size, "with schema-registry each message is an Envelope, and %s has none: it needs format = protobufList",
		    format->name);
		return "format";
	}
	if (!format->aligned)
		return NULL;
	snprintf(error, size, "%s cannot be cut into messages: choose another for sink kafka", format->name);
	return "format";
}

static const char *
kafka_conf_refusal(const char *property)
{
	size_t length = strcspn(property, "=");

	for (size_t i = 0; i < sizeof(kafka_conf_refused) / sizeof(kafka_conf_refused[0]); i++)
		if (strncmp(kafka_conf_refused[i].name, property, length) == 0 && kafka_conf_refused[i].name[length] == '\0')
			return kafka_conf_refused[i].why;
	return NULL;
}

/* --- properties -------------------------------------------------------------------- */

static int
kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error, size_t size)
{
	char why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
		return 0;
	snprintf(error, size, "librdkafka: %s", why);
	return -1;
}

static int
kafka_conf_set_number(rd_kafka_conf_t *conf, const char *name, uint64_t value, char *error, size_t size)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return kafka_conf_set(conf, name, text, error, size);
}

static int
kafka_conf_set_fixed(rd_kafka_conf_t *conf, const struct config *config, char *error, size_t size)
{
	(void)config;
	for (size_t i = 0; i < sizeof(kafka_conf_fixed) / sizeof(kafka_conf_fixed[0]); i++)
		if (kafka_conf_set(conf, kafka_conf_fixed[i].name, kafka_conf_fixed[i].value, error, size) == -1)
			return -1;
	return 0;
}

static int
kafka_conf_set_list(rd_kafka_conf_t *conf, const struct config *config, char *error, size_t size)
{
	for (size_t i = 0; i < config->kafka_rdkafka.count; i++) {
		const char *property = config->kafka_rdkafka.items[i], *why = kafka_conf_refusal(property);
		cleanup_free char *name = strndup(property, strcspn(property, "="));

		if (name == NULL)
			snprintf(error, size, "out of memory");
		else if (why != NULL)
			snprintf(error, size, "%s is refused: %s", name, why);
		if (name == NULL || why != NULL || kafka_conf_set(conf, name, property + strlen(name) + 1, error, size) == -1)
			return -1;
	}
	return 0;
}

static int
kafka_conf_set_brokers(rd_kafka_conf_t *conf, const struct config *config, char *error, size_t size)
{
	char brokers[4096];
	size_t used = 0;

	for (size_t i = 0; i < config->kafka_brokers.count && used < sizeof(brokers); i++)
		used += (size_t)snprintf(brokers + used, sizeof(brokers) - used, "%s%s", i > 0 ? "," : "", config->kafka_brokers.items[i]);
	if (used < sizeof(brokers))
		return kafka_conf_set(conf, "bootstrap.servers", brokers, error, size);
	snprintf(error, size, "more than %zu bytes of kafka-brokers", sizeof(brokers));
	return -1;
}

/* With one acknowledgement only, a broker's loss can lose or repeat what it had. */
static int
kafka_conf_set_promises(rd_kafka_conf_t *conf, const struct config *config, char *error, size_t size)
{
	bool all = strcmp(config->kafka_acks, "all") == 0;

	if (kafka_conf_set(conf, "acks", config->kafka_acks, error, size) == -1 ||
	    kafka_conf_set(conf, "enable.idempotence", all ? "true" : "false", error, size) == -1)
		return -1;
	/* Else a retry could overtake. */
	return all ? 0 : kafka_conf_set(conf, "max.in.flight.requests.per.connection", "1", error, size);
}

static int
kafka_conf_set_sizes(rd_kafka_conf_t *conf, const struct config *config, char *error, size_t size)
{
	uint64_t message = config->batch_bytes + KAFKA_CONF_MESSAGE_ROOM;

	if (message < KAFKA_CONF_MESSAGE_MIN)
		message = KAFKA_CONF_MESSAGE_MIN;
	if (message > KAFKA_CONF_MESSAGE_MAX)
		message = KAFKA_CONF_MESSAGE_MAX;
	if (kafka_conf_set_number(conf, "message.max.bytes", message, error, size) == -1 ||
	    kafka_conf_set_number(conf, "queue.buffering.max.kbytes", config->kafka_memory / 1024, error, size) == -1)
		return -1;
	return kafka_conf_set(conf, "compression.codec", config->kafka_compression, error, size);
}

static int
kafka_conf_set_security(rd_kafka_conf_t *conf, const struct config *config, char *error, size_t size)
{
	static const char *const protocols[2][2] = { { "plaintext", "ssl" }, { "sasl_plaintext", "sasl_ssl" } };
	bool sasl = kafka_conf_sasl(config);

	if (kafka_conf_set(conf, "security.protocol", protocols[sasl][config->kafka_tls], error, size) == -1)
		return -1;
	if (!sasl)
		return 0;
	if (kafka_conf_set(conf, "sasl.mechanisms", config->kafka_sasl, error, size) == -1)
		return -1;
	return kafka_conf_oauth(config) ? 0 : kafka_conf_set(conf, "sasl.username", config->kafka_sasl_user, error, size);
}

/* What concerns a producer only, and what any client needs. */
static const char *
kafka_conf_fill(rd_kafka_conf_t *conf, const struct config *config, bool producer, char *error, size_t size)
{
	const struct {
		const char	*key;
		bool		 producer;
		int		(*set)(rd_kafka_conf_t *, const struct config *, char *, size_t);
	} steps[] = {
		{ "kafka-brokers", false, kafka_conf_set_brokers },
		{ "kafka-memory", true, kafka_conf_set_sizes },
		{ "kafka-acks", true, kafka_conf_set_promises },
		{ "kafka-acks", true, kafka_conf_set_fixed },
		{ "kafka-sasl", false, kafka_conf_set_security },
		{ "kafka.rdkafka.", false, kafka_conf_set_list },
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if ((producer || !steps[i].producer) && steps[i].set(conf, config, error, size) == -1)
			return steps[i].key;
	return NULL;
}

static const char *
kafka_conf_check_target(const struct config *config, char *error, size_t size)
{
	if (config->kafka_brokers.count == 0) {
		snprintf(error, size, "sink kafka needs kafka-brokers = HOST:PORT");
		return "kafka-brokers";
	}
	if (config->kafka_topic[0] == '\0') {
		snprintf(error, size, "sink kafka needs kafka-topic");
		return "kafka-topic";
	}
	return NULL;
}

const char *
kafka_conf_check(const struct config *config, const struct format *format, char *error, size_t size)
{
	rd_kafka_conf_t *conf;
	const char *key;

	if ((key = kafka_conf_check_target(config, error, size)) != NULL ||
	    (key = kafka_conf_check_format(config, format, error, size)) != NULL ||
	    (key = kafka_conf_check_words(config, error, size)) != NULL ||
	    (key = kafka_conf_check_sasl(config, error, size)) != NULL ||
	    (key = kafka_conf_check_tls(config, error, size)) != NULL ||
	    (key = registry_check(config, error, size)) != NULL)
		return key;
	conf = rd_kafka_conf_new();
	key = kafka_conf_fill(conf, config, true, error, size);
	rd_kafka_conf_destroy(conf);
	return key;
}

/* --- files ------------------------------------------------------------------------------ */

static char *
kafka_conf_read(const char *key, const char *name, char *error, size_t size)
{
	cleanup_fd int fd = open(name, O_RDONLY | O_CLOEXEC);
	char *text = calloc(1, KAFKA_CONF_FILE_MAX + 1);
	ssize_t n = -1;

	if (fd != -1 && text != NULL)
		n = read(fd, text, KAFKA_CONF_FILE_MAX);
	if (n > 0 && (size_t)n < KAFKA_CONF_FILE_MAX && strlen(text) == (size_t)n)
		return text;
	snprintf(error, size, "%s: %s: %s", key, name, n == -1 ? strerror(errno) : n == 0 ? "the file is empty" :
	    "it is too large, or has a NUL byte");
	if (text != NULL)
		explicit_bzero(text, KAFKA_CONF_FILE_MAX);
	free(text);
	return NULL;
}

static int
kafka_conf_set_file(rd_kafka_conf_t *conf, const char *property, const char *key, const char *name, bool line, char *error, size_t size)
{
	char *text;
	int result;

	if (name[0] == '\0')
		return 0;
	if ((text = kafka_conf_read(key, name, error, size)) == NULL)
		return -1;
	if (line)
		text[strcspn(text, "\r\n")] = '\0';
	result = kafka_conf_set(conf, property, text, error, size);
	explicit_bzero(text, KAFKA_CONF_FILE_MAX);
	free(text);
	return result;
}

static const char *
kafka_conf_set_files(rd_kafka_conf_t *conf, const struct config *config, char *error, size_t size)
{
	const struct {
		const char	*property, *key, *name;
		bool		 line;
	} files[] = {
		{ "ssl.ca.pem", "kafka-tls-ca", config->kafka_tls_ca, false },
		{ "ssl.certificate.pem", "kafka-tls-certificate", config->kafka_tls_certificate, false },
		{ "ssl.key.pem", "kafka-tls-key", config->kafka_tls_key, false },
		{ "sasl.password", "kafka-sasl-password-file", config->kafka_sasl_password_file, true },
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		/* A token is read when it is asked for. */
		if (files[i].line && (!kafka_conf_sasl(config) || kafka_conf_oauth(config)))
			continue;
		if (kafka_conf_set_file(conf, files[i].property, files[i].key, files[i].name, files[i].line, error, size) == -1)
			return files[i].key;
	}
	return NULL;
}

rd_kafka_conf_t *
kafka_conf_new(const struct config *config, char *error, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	if (kafka_conf_fill(conf, config, true, error, size) == NULL && kafka_conf_set_files(conf, config, error, size) == NULL)
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

rd_kafka_conf_t *
kafka_conf_client(const struct config *config, const char **key, char *error, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	if ((*key = kafka_conf_check_target(config, error, size)) == NULL &&
	    (*key = kafka_conf_check_words(config, error, size)) == NULL &&
	    (*key = kafka_conf_check_sasl(config, error, size)) == NULL &&
	    (*key = kafka_conf_check_tls(config, error, size)) == NULL &&
	    (*key = kafka_conf_fill(conf, config, false, error, size)) == NULL &&
	    (*key = kafka_conf_set_files(conf, config, error, size)) == NULL)
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

bool
kafka_conf_wants_token(const struct config *config)
{
	return kafka_conf_oauth(config);
}

void
kafka_conf_token(rd_kafka_t *client, const struct config *config)
{
	char error[KAFKA_CONF_WHY], *token = kafka_conf_read("kafka-sasl-password-file", config->kafka_sasl_password_file, error, sizeof(error));
	int64_t end = (int64_t)(clock_real() / MILLISECOND) + KAFKA_CONF_TOKEN_TIME * 1000;
	const char *user = config->kafka_sasl_user[0] != '\0' ? config->kafka_sasl_user : "tcpdiag";

	if (token == NULL) {
		rd_kafka_oauthbearer_set_token_failure(client, error);
		return;
	}
	token[strcspn(token, "\r\n")] = '\0';
	if (rd_kafka_oauthbearer_set_token(client, token, end, user, NULL, 0, error, sizeof(error)) != RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_oauthbearer_set_token_failure(client, error);
	explicit_bzero(token, KAFKA_CONF_FILE_MAX);
	free(token);
}

const char *
kafka_conf_warning(const struct config *config)
{
	if (strncmp(config->kafka_sasl, "SCRAM", 5) == 0 && rd_kafka_version() < KAFKA_CONF_SCRAM_VERSION)
		return "this librdkafka is older than 2.6.1: its SCRAM is refused by Kafka 4 brokers as invalid credentials";
	return NULL;
}
