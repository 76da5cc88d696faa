/*
 * The sink that produces to Kafka: one message a batch, its bytes never copied
 * here.  The producer is idempotent, so that what librdkafka repeats by itself
 * neither comes twice nor out of order.  What it gives up is the delivery's to
 * try again: then everything that stood behind it is taken back, the producer
 * is ended, and the next batch begins with a new one.
 *
 * SECURITY: the producer and its threads are made from the event loop, after
 * the privileges are gone and the filter is loaded, so that every thread has
 * both; files with secrets are read before, in open().
 */
#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "shipper/format.h"
#include "common/varint.h"
#include "shipper/backoff.h"
#include "shipper/kafka_conf.h"
#include "shipper/registry.h"
#include "shipper/sinks.h"

enum {
	SINK_KAFKA_WINDOW = 5,		/* requests that an idempotent producer may have in flight */
	SINK_KAFKA_WHY = 512,
	SINK_KAFKA_HEADER_MAX = 24,
};

/* A message on its way. */
struct sink_kafka_flight {
	bool		used;
	struct sink_id	id;
	struct buffer	value;		/* with a schema's id before the Envelope; kept for the next one */
};

struct sink_kafka_answer;

static void	sink_kafka_ask(evutil_socket_t, short, void *);
static void	sink_kafka_registered(void *, const struct registry_answer *);

struct sink_kafka {
	struct sink_options	 options;
	rd_kafka_conf_t		*conf;		/* of every producer */
	rd_kafka_t		*producer;	/* or NULL */
	rd_kafka_queue_t	*queue;		/* its events */
	int			 wake[2];	/* librdkafka writes into it when there are any */
	struct event		*events;
	struct event		*start;
	struct sink_kafka_flight flights[SINK_KAFKA_WINDOW];
	unsigned int		 in_flight;
	bool			 broken;	/* the producer is to be ended when all messages have been answered */
	bool			 well;		/* the last answer was good */
	bool			 down;		/* no broker is left, which is trouble once there is something to send */
	bool			 refused;	/* since then a broker refused us: that says more than that none is left */
	char			 detail[SINK_KAFKA_WHY];	/* of the last broker that could not be reached */
	const struct sink_kafka_answer *cause;			/* of the end of a broken producer; or NULL */
	char			 why[SINK_KAFKA_WHY];		/* the same as a sentence */
	/* with a schema registry */
	struct registry		*registry;	/* or NULL */
	uint32_t		 schema;	/* the id; 0: not known */
	struct event		*ask;
	struct backoff		 backoff;	/* of asking */
	const struct sink_batch	*waiting[SINK_KAFKA_WINDOW];	/* for the id, the oldest first */
	size_t			 nwaiting;
};

/* --- what an error means ------------------------------------------------------- */

static const struct sink_kafka_answer {
	rd_kafka_resp_err_t	error;
	enum sink_class		class;
	enum sink_result	result;
} sink_kafka_answers[] = {
	/* for good, for what is in it */
	{ RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, SINK_CLASS_TOO_LARGE, SINK_REFUSED },
	{ RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, SINK_CLASS_TOO_LARGE, SINK_REFUSED },
	{ RD_KAFKA_RESP_ERR_INVALID_RECORD, SINK_CLASS_INVALID, SINK_REFUSED },
	{ RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, SINK_CLASS_INVALID, SINK_REFUSED },
	/* for now */
	{ RD_KAFKA_RESP_ERR__TRANSPORT, SINK_CLASS_UNREACHABLE, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, SINK_CLASS_UNREACHABLE, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__RESOLVE, SINK_CLASS_UNREACHABLE, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, SINK_CLASS_UNREACHABLE, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__SSL, SINK_CLASS_TLS, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__AUTHENTICATION, SINK_CLASS_AUTHENTICATION, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, SINK_CLASS_AUTHENTICATION, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, SINK_CLASS_AUTHENTICATION, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, SINK_CLASS_DENIED, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, SINK_CLASS_DENIED, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_POLICY_VIOLATION, SINK_CLASS_DENIED, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, SINK_CLASS_UNKNOWN_TARGET, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, SINK_CLASS_UNKNOWN_TARGET, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, SINK_CLASS_UNKNOWN_TARGET, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, SINK_CLASS_UNKNOWN_TARGET, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, SINK_CLASS_TIMEOUT, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__TIMED_OUT, SINK_CLASS_TIMEOUT, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, SINK_CLASS_TIMEOUT, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__QUEUE_FULL, SINK_CLASS_BUSY, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, SINK_CLASS_BUSY, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, SINK_CLASS_BUSY, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, SINK_CLASS_BUSY, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, SINK_CLASS_NO_SPACE, SINK_RETRY },
	{ RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, SINK_CLASS_SYSTEM, SINK_RETRY },
};

/* An alert of TLS that librdkafka knows as an end of the connection. */
static const struct sink_kafka_answer sink_kafka_certificate = { RD_KAFKA_RESP_ERR__SSL, SINK_CLASS_TLS, SINK_RETRY };

/* What is not in the table is tried again. */
static const struct sink_kafka_answer *
sink_kafka_answer(rd_kafka_resp_err_t error)
{
	static const struct sink_kafka_answer other = { RD_KAFKA_RESP_ERR_UNKNOWN, SINK_CLASS_OTHER, SINK_RETRY };

	for (size_t i = 0; i < sizeof(sink_kafka_answers) / sizeof(sink_kafka_answers[0]); i++)
		if (sink_kafka_answers[i].error == error)
			return &sink_kafka_answers[i];
	return &other;
}

/* --- the end of a producer ------------------------------------------------------- */

/* It waits for its threads, and one of them may be resolving a name; so we do not. */
static void *
sink_kafka_destroy(void *producer)
{
	rd_kafka_destroy(producer);
	return NULL;
}

static void
sink_kafka_end(struct sink_kafka *kafka)
{
	pthread_t thread;

	rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
	rd_kafka_queue_destroy(kafka->queue);
	if (pthread_create(&thread, NULL, sink_kafka_destroy, kafka->producer) == 0)
		pthread_detach(thread);
	else
		rd_kafka_destroy(kafka->producer);
	kafka->producer = NULL;
	kafka->queue = NULL;
	kafka->cause = NULL;
	kafka->broken = false;
}

/* Everything that is on its way comes back, so that nothing overtakes what failed. */
static void
sink_kafka_break(struct sink_kafka *kafka, const struct sink_kafka_answer *cause, const char *why)
{
	if (kafka->broken)
		return;
	kafka->broken = true;
	kafka->well = false;
	/* A refusal is of one message only. */
	kafka->cause = cause->result == SINK_RETRY ? cause : NULL;
	snprintf(kafka->why, sizeof(kafka->why), "%s", why);
	rd_kafka_purge(kafka->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* --- what librdkafka says ----------------------------------------------------------- */

static void
sink_kafka_answered(struct sink_kafka *kafka, struct sink_kafka_flight *flight, rd_kafka_resp_err_t error, const char *text)
{
	const struct sink_kafka_answer *answer = sink_kafka_answer(error);
	char why[2 * SINK_KAFKA_WHY];

	flight->used = false;
	kafka->in_flight--;
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
		if (!kafka->well)
			kafka->options.state(kafka->options.context, SINK_CLASS_NONE, NULL);
		kafka->well = true;
		kafka->refused = kafka->down = false;
		kafka->options.done(kafka->options.context, &flight->id, SINK_DELIVERED, SINK_CLASS_NONE, NULL);
		return;
	}
	/* What had to come back with another one, or with the producer, did so for its reason. */
	if (kafka->cause != NULL && (error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)) {
		answer = kafka->cause;
		text = kafka->why;
	}
	snprintf(why, sizeof(why), "kafka: topic %s: %s", kafka->options.config->kafka_topic, text);
	sink_kafka_break(kafka, answer, text);
	kafka->options.done(kafka->options.context, &flight->id, answer->result, answer->class, why);
}

static void
sink_kafka_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *context)
{
	(void)producer;
	sink_kafka_answered(context, message->_private, message->err, rd_kafka_err2str(message->err));
}

static void
sink_kafka_trouble(struct sink_kafka *kafka, enum sink_class class, const char *reason)
{
	char why[SINK_KAFKA_WHY + 16];

	kafka->well = false;
	snprintf(why, sizeof(why), "kafka: %s", reason);
	kafka->options.state(kafka->options.context, class, why);
}

/* Said once: librdkafka says so only when the last broker goes. */
static void
sink_kafka_down(struct sink_kafka *kafka, const char *reason)
{
	kafka->down = true;
	/* Brokers close idle connections, and a refusal says more. */
	if (kafka->refused || (kafka->well && kafka->in_flight == 0))
		return;
	kafka->down = false;
	sink_kafka_trouble(kafka, SINK_CLASS_UNREACHABLE, kafka->detail[0] != '\0' ? kafka->detail : reason);
}

/*
 * A broker that cannot be reached is trouble only when none can; then the last
 * one's reason is told.
 */
static void
sink_kafka_error(rd_kafka_t *producer, int error, const char *reason, void *context)
{
	const struct sink_kafka_answer *answer = sink_kafka_answer((rd_kafka_resp_err_t)error);
	struct sink_kafka *kafka = context;

	log_debug("librdkafka: %s: %s", rd_kafka_err2name((rd_kafka_resp_err_t)error), reason);
	if (producer != kafka->producer)
		return;
	if (error == RD_KAFKA_RESP_ERR__FATAL) {
		answer = sink_kafka_answer(rd_kafka_fatal_error(producer, kafka->detail, sizeof(kafka->detail)));
		log_limited(LOG_LEVEL_WARNING, "kafka: the producer is made anew: %s", kafka->detail);
		sink_kafka_break(kafka, answer, kafka->detail);
		return;
	}
	if (strstr(reason, "alert bad certificate") != NULL || strstr(reason, "alert certificate required") != NULL) {
		answer = &sink_kafka_certificate;
		error = answer->error;
	}
	if (answer->class == SINK_CLASS_UNREACHABLE && error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
		snprintf(kafka->detail, sizeof(kafka->detail), "%s", reason);
		return;
	}
	if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
		sink_kafka_down(kafka, reason);
		return;
	}
	kafka->refused = true;
	/* Once, it is the answer to what is on its way. */
	if (kafka->options.once)
		sink_kafka_break(kafka, answer, reason);
	else
		sink_kafka_trouble(kafka, answer->class, reason);
}

/* What matters comes as an error, too. */
static void
sink_kafka_log(const rd_kafka_t *producer, int level, const char *facility, const char *text)
{
	(void)producer;
	(void)level;
	log_debug("librdkafka: %s: %s", facility, text);
}

static void
sink_kafka_token(rd_kafka_t *producer, const char *oauth, void *context)
{
	struct sink_kafka *kafka = context;

	(void)oauth;
	kafka_conf_token(producer, kafka->options.config);
}

static void
sink_kafka_poll(evutil_socket_t fd, short what, void *context)
{
	struct sink_kafka *kafka = context;
	char bytes[64];

	(void)what;
	while (read(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
		;
	if (kafka->producer == NULL)
		return;
	rd_kafka_poll(kafka->producer, 0);
	if (kafka->broken && kafka->in_flight == 0)
		sink_kafka_end(kafka);
}

/* --- the start of a producer ----------------------------------------------------------- */

/* 0, or -1 with a sentence. */
static int
sink_kafka_begin(struct sink_kafka *kafka, char *why, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_dup(kafka->conf);
	char error[256];

	kafka->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (kafka->producer == NULL) {
		rd_kafka_conf_destroy(conf);
		snprintf(why, size, "kafka: no producer could be made: %s", error);
		return -1;
	}
	rd_kafka_set_log_queue(kafka->producer, NULL);
	kafka->queue = rd_kafka_queue_get_main(kafka->producer);
	rd_kafka_queue_io_event_enable(kafka->queue, kafka->wake[1], "k", 1);
	/* Only the first event of an empty queue wakes, and one may be in it already: a token is asked for at once. */
	if (write(kafka->wake[1], "k", 1) == -1)
		log_debug("librdkafka: a full pipe wakes as well");
	kafka->broken = false;
	return 0;
}

/* Before there is a batch: wrong credentials are told at once. */
static void
sink_kafka_started(evutil_socket_t fd, short what, void *context)
{
	struct sink_kafka *kafka = context;
	char why[SINK_KAFKA_WHY];

	(void)fd;
	(void)what;
	if (kafka->producer == NULL && sink_kafka_begin(kafka, why, sizeof(why)) == -1)
		kafka->options.state(kafka->options.context, SINK_CLASS_SYSTEM, why);
}

static void
sink_kafka_set_callbacks(struct sink_kafka *kafka)
{
	rd_kafka_conf_set_opaque(kafka->conf, kafka);
	rd_kafka_conf_set_dr_msg_cb(kafka->conf, sink_kafka_delivered);
	rd_kafka_conf_set_error_cb(kafka->conf, sink_kafka_error);
	rd_kafka_conf_set_log_cb(kafka->conf, sink_kafka_log);
	if (kafka_conf_wants_token(kafka->options.config))
		rd_kafka_conf_set_oauthbearer_token_refresh_cb(kafka->conf, sink_kafka_token);
}

static void
sink_kafka_free(struct sink_kafka *kafka)
{
	if (kafka->events != NULL)
		event_free(kafka->events);
	if (kafka->start != NULL)
		event_free(kafka->start);
	if (kafka->ask != NULL)
		event_free(kafka->ask);
	if (kafka->registry != NULL)
		registry_free(kafka->registry);
	for (size_t i = 0; i < SINK_KAFKA_WINDOW; i++)
		buffer_free(&kafka->flights[i].value);
	for (size_t i = 0; i < 2; i++)
		if (kafka->wake[i] != -1)
			close(kafka->wake[i]);
	if (kafka->conf != NULL)
		rd_kafka_conf_destroy(kafka->conf);
	free(kafka);
}

/* It is asked from the event loop, too. */
static bool
sink_kafka_open_registry(struct sink_kafka *kafka, char *error, size_t size)
{
	const struct timeval now = { 0, 0 };

	if (kafka->options.config->schema_registry[0] == '\0')
		return true;
	if ((kafka->registry = registry_new(kafka->options.base, kafka->options.config, error, size)) == NULL)
		return false;
	kafka->ask = evtimer_new(kafka->options.base, sink_kafka_ask, kafka);
	if (kafka->ask != NULL && evtimer_add(kafka->ask, &now) == 0)
		return true;
	snprintf(error, size, "kafka: %s", strerror(errno));
	return false;
}

static void *
sink_kafka_open(const struct sink_options *options, char *error, size_t size)
{
	const struct timeval now = { 0, 0 };
	const char *warning = kafka_conf_warning(options->config);
	struct sink_kafka *kafka = calloc(1, sizeof(*kafka));

	if (kafka == NULL) {
		snprintf(error, size, "kafka: out of memory");
		return NULL;
	}
	kafka->options = *options;
	kafka->wake[0] = kafka->wake[1] = -1;
	if ((kafka->conf = kafka_conf_new(options->config, error, size)) == NULL ||
	    !sink_kafka_open_registry(kafka, error, size)) {
		sink_kafka_free(kafka);
		return NULL;
	}
	sink_kafka_set_callbacks(kafka);
	if (pipe2(kafka->wake, O_CLOEXEC | O_NONBLOCK) == 0) {
		kafka->events = event_new(options->base, kafka->wake[0], EV_READ | EV_PERSIST, sink_kafka_poll, kafka);
		kafka->start = evtimer_new(options->base, sink_kafka_started, kafka);
	}
	if (kafka->events == NULL || kafka->start == NULL || event_add(kafka->events, NULL) == -1 ||
	    evtimer_add(kafka->start, &now) == -1) {
		snprintf(error, size, "kafka: %s", strerror(errno));
		sink_kafka_free(kafka);
		return NULL;
	}
	if (warning != NULL)
		log_warning("%s", warning);
	return kafka;
}

/* --- a batch ------------------------------------------------------------------------------ */

/* A message stands alone: a format with a header has it in each. */
static bool
sink_kafka_fresh(void *state)
{
	(void)state;
	return true;
}

static void __attribute__((format(printf, 3, 4)))
sink_kafka_header(rd_kafka_headers_t *headers, const char *name, const char *format, ...)
{
	char text[RECORD_STRING_MAX + 1];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	rd_kafka_header_add(headers, name, -1, text, -1);
}

/* A consumer sees from these alone that a batch is missing. */
static rd_kafka_headers_t *
sink_kafka_headers(const struct sink_batch *batch, const char *format)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(6);

	sink_kafka_header(headers, "host", "%s", batch->host);
	sink_kafka_header(headers, "format", "%s", format);
	sink_kafka_header(headers, "rows", "%" PRIu64, batch->rows);
	sink_kafka_header(headers, "spool_epoch", "%016" PRIx64, batch->id.spool_epoch);
	sink_kafka_header(headers, "batch_sequence", "%" PRIu64, batch->id.batch_sequence);
	if (batch->id.part != 0)
		sink_kafka_header(headers, "part", "%" PRIu32, batch->id.part);
	return headers;
}

static bool
sink_kafka_per_netns(const struct config *config)
{
	return strcmp(config->kafka_key, "netns") == 0;
}

static const char *
sink_kafka_key(const struct sink_kafka *kafka, const struct sink_batch *batch)
{
	const char *key = kafka->options.config->kafka_key;

	if (strcmp(key, "netns") == 0)
		return batch->netns;
	return strcmp(key, "host") == 0 ? batch->host : NULL;
}

static struct sink_kafka_flight *
sink_kafka_take_off(struct sink_kafka *kafka, const struct sink_id *id)
{
	for (size_t i = 0; i < SINK_KAFKA_WINDOW; i++) {
		if (!kafka->flights[i].used) {
			kafka->flights[i].used = true;
			kafka->flights[i].id = *id;
			kafka->in_flight++;
			return &kafka->flights[i];
		}
	}
	return NULL;
}

/* An Envelope with the schema's id at its front instead of its length. */
static void
sink_kafka_put_head(const struct sink_kafka *kafka, const struct sink_batch *batch, struct buffer *value)
{
	uint64_t length;
	size_t prefix = varint_read(batch->bytes, batch->length, &length);
	uint8_t *to;

	value->length = 0;
	to = buffer_reserve(value, REGISTRY_HEAD + batch->length);
	registry_head(to, kafka->schema);
	value->length = REGISTRY_HEAD;
	buffer_append(value, batch->bytes + prefix, batch->length - prefix);
}

static rd_kafka_resp_err_t
sink_kafka_produce(struct sink_kafka *kafka, const struct sink_batch *batch, struct sink_kafka_flight *flight)
{
	const struct buffer framed = { .bytes = (uint8_t *)(uintptr_t)batch->bytes, .length = batch->length }, *value = &framed;
	rd_kafka_headers_t *headers = sink_kafka_headers(batch, kafka->registry != NULL ? "envelope" : batch->format);
	const char *key = sink_kafka_key(kafka, batch);
	size_t key_length = key != NULL ? strlen(key) : 0;
	rd_kafka_resp_err_t error;

	if (kafka->registry != NULL) {
		sink_kafka_put_head(kafka, batch, &flight->value);
		value = &flight->value;
	}
	/* No flag: the bytes stay where they are until they are answered. */
	error = rd_kafka_producev(kafka->producer, RD_KAFKA_V_TOPIC(kafka->options.config->kafka_topic), RD_KAFKA_V_MSGFLAGS(0),
	    RD_KAFKA_V_VALUE(value->bytes, value->length), RD_KAFKA_V_KEY(key, key_length),
	    RD_KAFKA_V_TIMESTAMP((int64_t)(batch->closed / MILLISECOND)), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(flight),
	    RD_KAFKA_V_END);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_headers_destroy(headers);
	return error;
}

static void
sink_kafka_send(struct sink_kafka *kafka, const struct sink_batch *batch)
{
	struct sink_kafka_flight *flight;
	char why[2 * SINK_KAFKA_WHY] = "kafka: the last producer is being ended";
	rd_kafka_resp_err_t error;

	if (kafka->broken && kafka->cause != NULL)
		snprintf(why, sizeof(why), "kafka: %s", kafka->why);
	if (kafka->broken || (kafka->producer == NULL && sink_kafka_begin(kafka, why, sizeof(why)) == -1)) {
		kafka->options.done(kafka->options.context, &batch->id, SINK_RETRY, SINK_CLASS_OTHER, why);
		return;
	}
	flight = sink_kafka_take_off(kafka, &batch->id);
	error = sink_kafka_produce(kafka, batch, flight);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		sink_kafka_answered(kafka, flight, error, rd_kafka_err2str(error));
	else if (kafka->down)
		sink_kafka_down(kafka, "no broker is left");
}

/* --- the schema's id ------------------------------------------------------------------------ */

static void
sink_kafka_ask(evutil_socket_t fd, short what, void *context)
{
	struct sink_kafka *kafka = context;

	(void)fd;
	(void)what;
	registry_ask(kafka->registry, REGISTRY_FIND, sink_kafka_registered, kafka);
}

/* Until it is known, batches wait here; those behind them in the spool. */
static void
sink_kafka_registered(void *context, const struct registry_answer *answer)
{
	struct sink_kafka *kafka = context;
	size_t count = kafka->nwaiting;
	struct timeval wait;

	kafka->nwaiting = 0;
	if (answer->class == SINK_CLASS_NONE) {
		kafka->schema = answer->id;
		log_info("schema registry %s: %s has the id %" PRIu32, kafka->options.config->schema_registry,
		    registry_subject(kafka->registry), kafka->schema);
		for (size_t i = 0; i < count; i++)
			sink_kafka_send(kafka, kafka->waiting[i]);
		return;
	}
	if (!kafka->options.once) {
		sink_kafka_trouble(kafka, answer->class, answer->why);
		kafka->nwaiting = count;
		count = 0;
	}
	for (size_t i = 0; i < count; i++)
		kafka->options.done(kafka->options.context, &kafka->waiting[i]->id, SINK_RETRY, answer->class, answer->why);
	wait = clock_timeval(backoff_failed(&kafka->backoff));
	evtimer_add(kafka->ask, &wait);
}

static void
sink_kafka_deliver(void *state, const struct sink_batch *batch)
{
	struct sink_kafka *kafka = state;

	if (kafka->registry == NULL || kafka->schema != 0)
		sink_kafka_send(kafka, batch);
	else
		kafka->waiting[kafka->nwaiting++] = batch;
}

static void
sink_kafka_ignore_answer(void *context, const struct sink_id *id, enum sink_result result, enum sink_class class, const char *why)
{
	(void)context;
	(void)id;
	(void)result;
	(void)class;
	(void)why;
}

static void
sink_kafka_ignore_state(void *context, enum sink_class class, const char *why)
{
	(void)context;
	(void)class;
	(void)why;
}

/* What was on its way is in doubt, and the delivery's again. */
static void
sink_kafka_close(void *state)
{
	struct sink_kafka *kafka = state;

	if (kafka->producer != NULL) {
		/* From here on nobody answers, and nobody reads a batch's bytes. */
		kafka->options.done = sink_kafka_ignore_answer;
		kafka->options.state = sink_kafka_ignore_state;
		rd_kafka_purge(kafka->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
		rd_kafka_poll(kafka->producer, 0);
		sink_kafka_end(kafka);
	}
	sink_kafka_free(kafka);
}

const struct sink sink_kafka = {
	.name = "kafka",
	.network = true,
	.help = "a topic of kafka-brokers",
	.pace = SINK_LATE,
	.window = SINK_KAFKA_WINDOW,
	.check = kafka_conf_check,
	.per_netns = sink_kafka_per_netns,
	.open = sink_kafka_open,
	.fresh = sink_kafka_fresh,
	.deliver = sink_kafka_deliver,
	.close = sink_kafka_close,
};
