/* Reads a topic with librdkafka's consumer: see topic.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/topic.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/kafka_conf.h"

enum {
	TOPIC_PATIENCE = 15000,		/* ms to connect and to learn about the topic */
	TOPIC_WHY = 512,
};

struct topic {
	const struct config		*config;
	rd_kafka_t			*consumer;
	rd_kafka_topic_partition_list_t	*partitions;	/* that are read, or NULL: the group decides */
	rd_kafka_topic_partition_list_t	*ended;		/* of which all that was there has been given */
	bool				 group;
	bool				 failed;
	bool				 whole;
	char				 trouble[TOPIC_WHY];	/* of the last broker that could not be reached */
};

/* --- what librdkafka says ------------------------------------------------------- */

static void
topic_error(rd_kafka_t *consumer, int error, const char *reason, void *context)
{
	struct topic *topic = context;

	(void)consumer;
	log_debug("librdkafka: %s: %s", rd_kafka_err2name((rd_kafka_resp_err_t)error), reason);
	/* A broker that cannot be reached says more than that none can. */
	if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || topic->trouble[0] == '\0')
		snprintf(topic->trouble, sizeof(topic->trouble), "%s", reason);
}

static void
topic_log(const rd_kafka_t *consumer, int level, const char *facility, const char *text)
{
	(void)consumer;
	(void)level;
	log_debug("librdkafka: %s: %s", facility, text);
}

static void
topic_token(rd_kafka_t *consumer, const char *oauth, void *context)
{
	const struct topic *topic = context;

	(void)oauth;
	kafka_conf_token(consumer, topic->config);
}

static void
topic_say(struct topic *topic, rd_kafka_resp_err_t error, const char *what)
{
	/* What comes from the connection explains an answer that did not come. */
	rd_kafka_poll(topic->consumer, 0);
	log_error("kafka: topic %s: %s%s%s%s", topic->config->kafka_topic, what, rd_kafka_err2str(error),
	    topic->trouble[0] != '\0' ? ": " : "", topic->trouble);
	topic->failed = true;
}

/* --- where it begins ---------------------------------------------------------------- */

/* Its partitions, or false: it is said why. */
static bool
topic_learn(struct topic *topic)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *handle = rd_kafka_topic_new(topic->consumer, topic->config->kafka_topic, NULL);
	rd_kafka_resp_err_t error = rd_kafka_metadata(topic->consumer, 0, handle, &metadata, TOPIC_PATIENCE);

	rd_kafka_topic_destroy(handle);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
		topic_say(topic, error, "");
		return false;
	}
	error = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		topic_say(topic, error, "");
	else
		for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
			rd_kafka_topic_partition_list_add(topic->partitions, topic->config->kafka_topic, metadata->topics[0].partitions[i].id);
	rd_kafka_metadata_destroy(metadata);
	return error == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Whether no partition has lost its first message to the topic's retention. */
static bool
topic_is_whole(struct topic *topic)
{
	for (int i = 0; i < topic->partitions->cnt; i++) {
		int64_t low, high;

		if (rd_kafka_query_watermark_offsets(topic->consumer, topic->config->kafka_topic, topic->partitions->elems[i].partition,
		    &low, &high, TOPIC_PATIENCE) != RD_KAFKA_RESP_ERR_NO_ERROR || low != 0)
			return false;
	}
	return true;
}

static bool
topic_assign(struct topic *topic, const struct topic_start *start)
{
	static const int64_t offsets[] = { [TOPIC_BEGINNING] = RD_KAFKA_OFFSET_BEGINNING, [TOPIC_END] = RD_KAFKA_OFFSET_END };
	bool number = start->from == TOPIC_OFFSET || start->from == TOPIC_TIME;
	rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (int i = 0; i < topic->partitions->cnt; i++)
		topic->partitions->elems[i].offset = number ? start->number : offsets[start->from];
	if (start->from == TOPIC_TIME)
		error = rd_kafka_offsets_for_times(topic->consumer, topic->partitions, TOPIC_PATIENCE);
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
		error = rd_kafka_assign(topic->consumer, topic->partitions);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		topic_say(topic, error, "");
	topic->whole = start->from == TOPIC_BEGINNING && topic_is_whole(topic);
	return error == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool
topic_subscribe(struct topic *topic)
{
	rd_kafka_topic_partition_list_t *names = rd_kafka_topic_partition_list_new(1);
	rd_kafka_resp_err_t error;

	rd_kafka_topic_partition_list_add(names, topic->config->kafka_topic, RD_KAFKA_PARTITION_UA);
	error = rd_kafka_subscribe(topic->consumer, names);
	rd_kafka_topic_partition_list_destroy(names);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		topic_say(topic, error, "");
	return error == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* --- the consumer --------------------------------------------------------------------- */

static int
topic_configure(struct topic *topic, rd_kafka_conf_t *conf, const char *group, const struct topic_start *start, char *error, size_t size)
{
	const struct {
		const char	*name, *value;
	} properties[] = {
		{ "client.id", "tcpdiag-consume" },
		{ "group.id", group != NULL ? group : "tcpdiag-consume" },
		{ "enable.auto.commit", "false" },
		{ "enable.partition.eof", "true" },
		{ "auto.offset.reset", start->from == TOPIC_END ? "latest" : "earliest" },
	};

	for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
		if (rd_kafka_conf_set(conf, properties[i].name, properties[i].value, error, size) != RD_KAFKA_CONF_OK)
			return -1;
	rd_kafka_conf_set_opaque(conf, topic);
	rd_kafka_conf_set_error_cb(conf, topic_error);
	rd_kafka_conf_set_log_cb(conf, topic_log);
	if (kafka_conf_wants_token(topic->config))
		rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, topic_token);
	return 0;
}

static int
topic_connect(struct topic *topic, const char *group, const struct topic_start *start)
{
	const char *key, *warning = kafka_conf_warning(topic->config);
	char error[TOPIC_WHY];
	rd_kafka_conf_t *conf = kafka_conf_client(topic->config, &key, error, sizeof(error));

	if (conf == NULL) {
		log_error("consume: --%s: %s", key, error);
		return EXIT_CODE_USAGE;
	}
	if (topic_configure(topic, conf, group, start, error, sizeof(error)) == 0)
		topic->consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	if (topic->consumer == NULL) {
		rd_kafka_conf_destroy(conf);
		log_error("kafka: no consumer could be made: %s", error);
		return EXIT_CODE_SYSTEM;
	}
	rd_kafka_poll_set_consumer(topic->consumer);
	/* A token is asked for before there is a connection. */
	rd_kafka_consumer_poll(topic->consumer, 0);
	if (warning != NULL)
		log_warning("%s", warning);
	return EXIT_CODE_OK;
}

struct topic *
topic_open(const struct config *config, const char *group, const struct topic_start *start, int *code)
{
	struct topic *topic = calloc(1, sizeof(*topic));

	if (topic == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	topic->config = config;
	topic->group = group != NULL;
	topic->partitions = rd_kafka_topic_partition_list_new(1);
	topic->ended = rd_kafka_topic_partition_list_new(1);
	*code = topic_connect(topic, group, start);
	if (*code == EXIT_CODE_OK && (!topic_learn(topic) || !(group != NULL ? topic_subscribe(topic) : topic_assign(topic, start))))
		*code = EXIT_CODE_DATA;
	if (*code == EXIT_CODE_OK)
		return topic;
	topic_close(topic);
	return NULL;
}

/* --- messages ---------------------------------------------------------------------------- */

static void
topic_note_end(struct topic *topic, const rd_kafka_message_t *message)
{
	if (rd_kafka_topic_partition_list_find(topic->ended, topic->config->kafka_topic, message->partition) == NULL)
		rd_kafka_topic_partition_list_add(topic->ended, topic->config->kafka_topic, message->partition);
}

rd_kafka_message_t *
topic_next(struct topic *topic, int ms)
{
	rd_kafka_message_t *message = rd_kafka_consumer_poll(topic->consumer, ms);

	if (message == NULL || message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return message;
	if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		topic_note_end(topic, message);
	else
		topic_say(topic, message->err, "");
	rd_kafka_message_destroy(message);
	return NULL;
}

bool
topic_ended(const struct topic *topic)
{
	rd_kafka_topic_partition_list_t *assigned;
	bool all;

	if (!topic->group)
		return topic->ended->cnt == topic->partitions->cnt;
	/* What the others of the group read is theirs. */
	if (topic->ended->cnt == 0 || rd_kafka_assignment(topic->consumer, &assigned) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	all = assigned->cnt > 0;
	for (int i = 0; i < assigned->cnt && all; i++)
		all = rd_kafka_topic_partition_list_find(topic->ended, assigned->elems[i].topic, assigned->elems[i].partition) != NULL;
	rd_kafka_topic_partition_list_destroy(assigned);
	return all;
}

bool
topic_failed(const struct topic *topic)
{
	return topic->failed;
}

bool
topic_whole(const struct topic *topic)
{
	return topic->whole;
}

void
topic_commit(struct topic *topic)
{
	rd_kafka_resp_err_t error;

	if (!topic->group)
		return;
	error = rd_kafka_commit(topic->consumer, NULL, 0);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR && error != RD_KAFKA_RESP_ERR__NO_OFFSET)
		topic_say(topic, error, "the group's offsets: ");
}

void
topic_close(struct topic *topic)
{
	if (topic->consumer != NULL) {
		rd_kafka_consumer_close(topic->consumer);
		rd_kafka_destroy(topic->consumer);
	}
	rd_kafka_topic_partition_list_destroy(topic->partitions);
	rd_kafka_topic_partition_list_destroy(topic->ended);
	free(topic);
}
