/*
 * Sink kafka and the delivery against librdkafka's mock cluster, which answers
 * with the errors that it is told to: what becomes of each, that nothing is
 * lost, and that it is counted as what it is.  A consumer reads back what is
 * in the topic.
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <dirent.h>
#include <inttypes.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"
#include "shipper/sinks.h"
#include "shipper/spool.h"
#include "tests/unit/folder.h"
#include "tests/unit/shipper_parts.h"

enum { ROWS = 4, TOPIC_MAX = 4096, PATH = 256 };

/* Kafka's numbers of requests. */
enum { KAFKA_PRODUCE = 0, KAFKA_INIT_PRODUCER_ID = 22 };

struct fixture {
	char			 folder[FOLDER_MAX];
	rd_kafka_t		*handle;
	rd_kafka_mock_cluster_t	*cluster;
	struct config		 config;
	struct event_base	*base;
	struct books		 books;
	struct delivery		*delivery;
	unsigned int		 settled, rooms;
	uint64_t		 next;		/* the next record's sequence, from 1 on */
	uint64_t		 read[TOPIC_MAX];	/* sequences, as they are in the topic */
	size_t			 nread;
};

static void
count_settled(void *context)
{
	((struct fixture *)context)->settled++;
}

static void
count_room(void *context)
{
	((struct fixture *)context)->rooms++;
}

static void
set(struct fixture *f, const char *key, const char *value)
{
	char error[512];

	if (config_set(&f->config, key, value, error, sizeof(error)) == -1)
		fail_msg("%s", error);
}

/* --- a cluster, a spool, a delivery ------------------------------------------------- */

static void
make_cluster(struct fixture *f)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char error[512];

	/* It would say that it knows no brokers. */
	assert_int_equal(rd_kafka_conf_set(conf, "log_level", "0", error, sizeof(error)), 0);
	f->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	assert_non_null(f->handle);
	f->cluster = rd_kafka_mock_cluster_new(f->handle, 1);
	assert_non_null(f->cluster);
	assert_int_equal(rd_kafka_mock_topic_create(f->cluster, "t", 1, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
	config_init(&f->config);
	set(f, "kafka-brokers", rd_kafka_mock_cluster_bootstraps(f->cluster));
	set(f, "kafka-topic", "t");
	/* What librdkafka tries again by itself, it tries soon. */
	set(f, "kafka.rdkafka.retry.backoff.ms", "1");
	set(f, "kafka.rdkafka.reconnect.backoff.ms", "5");
	set(f, "kafka.rdkafka.reconnect.backoff.max.ms", "20");
}

static void
make_delivery(struct fixture *f)
{
	const struct delivery_events events = { .settled = count_settled, .room = count_room, .context = f };
	const struct format_options none = { 0 };
	struct delivery_options options = {
		.base = f->base, .books = &f->books, .limits = { .rows = ROWS, .bytes = 1 << 20 }, .age = HOUR, .queue_size = 1 << 20,
		.spool_put = 1 << 18, .ack_hold = 20 * MILLISECOND, .backoff = MILLISECOND, .sink = &sink_kafka, .target = "kafka",
		.host = "host", .format = format_by_name("protobuf"),
	};
	char error[512];

	options.format_state = options.format->open(&none, error, sizeof(error));
	f->delivery = delivery_new(&options);
	if (delivery_open(f->delivery, &(struct sink_options){ .target = "", .fd = -1, .config = &f->config }, error, sizeof(error)) == -1)
		fail_msg("%s", error);
	delivery_listen(f->delivery, &events);
}

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct spool_options spooling = { .size = SPOOL_SIZE_MIN, .rejects = 1 << 20, .machine = "m", .books = &f->books };
	struct spool *spool;
	char dir[PATH], error[512];

	folder_make(f->folder, "test_kafka_mock");
	snprintf(dir, sizeof(dir), "%s/spool", f->folder);
	spooling.dir = dir;
	f->next = 1;
	f->base = event_base_new();
	make_cluster(f);
	make_delivery(f);
	spool = spool_open(&spooling, error, sizeof(error));
	assert_non_null(spool);
	delivery_use_spool(f->delivery, spool);
	*state = f;
	return 0;
}

static int
end(void **state)
{
	struct fixture *f = *state;

	delivery_end(f->delivery);
	assert_true(books_balance(&f->books));
	delivery_free(f->delivery);
	event_base_free(f->base);
	rd_kafka_mock_cluster_destroy(f->cluster);
	rd_kafka_destroy(f->handle);
	config_free(&f->config);
	folder_remove(f->folder);
	free(f);
	return 0;
}

/* --- what is done with it -------------------------------------------------------------- */

static void
push(struct fixture *f, int16_t request, const rd_kafka_resp_err_t *errors, size_t count)
{
	rd_kafka_mock_push_request_errors_array(f->cluster, request, count, errors);
}

static void
put_batches(struct fixture *f, unsigned int count)
{
	for (unsigned int i = 0; i < count * ROWS; i++) {
		f->books.drained++;
		if (!parts_put(f->delivery, f->next)) {
			unsigned int rooms = f->rooms;

			loop_until(f->base, f->rooms > rooms);
			assert_true(parts_put(f->delivery, f->next));
		}
		f->next++;
	}
}

/* All that was put is delivered or dropped. */
static void
wait_for_answers(struct fixture *f)
{
	loop_until(f->base, f->books.delivered + books_dropped(&f->books) == f->books.drained);
	assert_true(books_balance(&f->books));
}

static void
read_message(struct fixture *f, const rd_kafka_message_t *message)
{
	struct parts_read *read = calloc(1, sizeof(*read));

	parts_read(read, &(struct buffer){ .bytes = message->payload, .length = message->len });
	assert_true(f->nread + read->count <= TOPIC_MAX);
	memcpy(&f->read[f->nread], read->sequences, read->count * sizeof(f->read[0]));
	f->nread += read->count;
	free(read);
}

/* What is in the topic. */
static void
read_topic(struct fixture *f)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_message_t *message;
	rd_kafka_t *consumer;
	bool ended = false;
	char error[512];

	assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(f->cluster), error, sizeof(error)), 0);
	assert_int_equal(rd_kafka_conf_set(conf, "group.id", "g", error, sizeof(error)), 0);
	assert_int_equal(rd_kafka_conf_set(conf, "enable.partition.eof", "true", error, sizeof(error)), 0);
	consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	assert_non_null(consumer);
	rd_kafka_topic_partition_list_add(list, "t", 0)->offset = 0;
	assert_int_equal(rd_kafka_assign(consumer, list), 0);
	while (!ended && (message = rd_kafka_consumer_poll(consumer, (int)(PARTS_PATIENCE / MILLISECOND))) != NULL) {
		ended = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			read_message(f, message);
		rd_kafka_message_destroy(message);
	}
	assert_true(ended);
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_consumer_close(consumer);
	rd_kafka_destroy(consumer);
}

/* Each record that was put is in the topic, the first arrivals in order, but for one. */
static void
assert_topic(struct fixture *f, uint64_t but)
{
	uint64_t next = 1;

	read_topic(f);
	for (size_t i = 0; i < f->nread; i++) {
		next += next == but;
		if (f->read[i] == next)
			next++;
		else
			assert_true(f->read[i] < next);
	}
	next += next == but;
	assert_int_equal(next, f->next);
}

static unsigned int
rejects(const struct fixture *f, const char *ending)
{
	unsigned int count = 0;
	struct dirent *entry;
	char path[PATH];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/spool/rejects", f->folder);
	if ((dir = opendir(path)) == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		count += entry->d_name[0] != '.' && strstr(entry->d_name, ending) != NULL;
	closedir(dir);
	return count;
}

/* --- answers ------------------------------------------------------------------------------ */

enum { BATCHES = 8 };

/*
 * What librdkafka tries again by itself shows nowhere.  What it gives up, and
 * what its producer can never get over, is sent again by another producer.
 */
static const struct answer {
	const char		*name;
	int16_t			 request;
	rd_kafka_resp_err_t	 error;
	enum sink_class		 class;		/* that is counted; NONE: nothing */
} answers[] = {
	{ "not enough replicas", KAFKA_PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, SINK_CLASS_NONE },
	{ "not enough replicas any more", KAFKA_PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, SINK_CLASS_NONE },
	{ "not the leader", KAFKA_PRODUCE, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, SINK_CLASS_NONE },
	{ "no answer from a replica", KAFKA_PRODUCE, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, SINK_CLASS_NONE },
	{ "a coordinator that loads", KAFKA_INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, SINK_CLASS_NONE },
	{ "no right to the topic", KAFKA_PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, SINK_CLASS_DENIED },
	{ "a policy", KAFKA_PRODUCE, RD_KAFKA_RESP_ERR_POLICY_VIOLATION, SINK_CLASS_DENIED },
	{ "an answer that nobody knows", KAFKA_PRODUCE, (rd_kafka_resp_err_t)999, SINK_CLASS_OTHER },
	{ "a sequence out of order", KAFKA_PRODUCE, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, SINK_CLASS_OTHER },
	{ "a producer's epoch that is over", KAFKA_PRODUCE, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, SINK_CLASS_OTHER },
	{ "no right to be idempotent", KAFKA_INIT_PRODUCER_ID, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, SINK_CLASS_DENIED },
};

static void
assert_answer(struct fixture *f, const struct answer *answer)
{
	for (size_t class = 0; class < SINK_CLASS_COUNT; class++)
		if ((f->books.failures[class] > 0) != (class == answer->class && class != SINK_CLASS_NONE))
			fail_msg("%s: %" PRIu64 " of class %s", answer->name, f->books.failures[class], sink_class_name((enum sink_class)class));
	assert_int_equal(f->books.retries > 0, answer->class != SINK_CLASS_NONE);
	assert_int_equal(books_dropped(&f->books), 0);
	assert_true(delivery_ready(f->delivery));
	assert_topic(f, 0);
	assert_int_equal(f->nread, BATCHES * ROWS);
}

static void
test_answers(void **state)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		const rd_kafka_resp_err_t errors[] = { answers[i].error, answers[i].error };

		begin(state);
		push(*state, answers[i].request, errors, 2);
		put_batches(*state, BATCHES);
		wait_for_answers(*state);
		assert_answer(*state, &answers[i]);
		end(state);
	}
}

/* The connection breaks, and the message may have arrived: at least once. */
static void
test_a_lost_connection(void **state)
{
	const rd_kafka_resp_err_t errors[] = { RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__TRANSPORT };
	struct fixture *f = *state;

	push(f, KAFKA_PRODUCE, errors, 2);
	put_batches(f, BATCHES);
	wait_for_answers(f);
	assert_true(f->books.failures[SINK_CLASS_UNREACHABLE] > 0);
	assert_topic(f, 0);
}

static void
test_a_broker_that_is_down(void **state)
{
	struct fixture *f = *state;

	put_batches(f, 1);
	wait_for_answers(f);
	assert_true(delivery_ready(f->delivery));
	assert_int_equal(rd_kafka_mock_broker_set_down(f->cluster, 1), 0);
	put_batches(f, BATCHES);
	loop_until(f->base, f->books.failures[SINK_CLASS_UNREACHABLE] > 0);
	assert_false(delivery_ready(f->delivery));
	loop_until(f->base, f->books.spooled == BATCHES * ROWS);
	assert_int_equal(rd_kafka_mock_broker_set_up(f->cluster, 1), 0);
	wait_for_answers(f);
	assert_true(delivery_ready(f->delivery));
	assert_topic(f, 0);
}

/* Longer than ack-hold: all of it goes through the spool, and once. */
static void
test_a_slow_broker(void **state)
{
	struct fixture *f = *state;

	rd_kafka_mock_broker_set_rtt(f->cluster, 1, 300);
	put_batches(f, BATCHES);
	wait_for_answers(f);
	assert_true(f->books.spool_put > 0);
	assert_int_equal(f->books.retries, 0);
	assert_topic(f, 0);
	assert_int_equal(f->nread, BATCHES * ROWS);
}

/* --- what is refused for good ---------------------------------------------------------------- */

/* A batch that is too large is not when it is halved. */
static void
test_too_large_together(void **state)
{
	const rd_kafka_resp_err_t errors[] = { RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE };
	struct fixture *f = *state;

	push(f, KAFKA_PRODUCE, errors, 1);
	put_batches(f, 1);
	wait_for_answers(f);
	assert_int_equal(f->books.failures[SINK_CLASS_TOO_LARGE], 1);
	assert_int_equal(f->books.parted, 1);
	assert_int_equal(books_dropped(&f->books), 0);
	assert_int_equal(f->books.batches, 2);
	assert_topic(f, 0);
	assert_int_equal(rejects(f, ""), 0);
}

/* Down to one record, which is set aside; the others of its batch, and those behind it, arrive. */
static void
drop_the_first(struct fixture *f, rd_kafka_resp_err_t error, enum sink_class class, const char *ending)
{
	const rd_kafka_resp_err_t errors[] = { error, error, error };

	push(f, KAFKA_PRODUCE, errors, 3);
	put_batches(f, 1);
	wait_for_answers(f);
	put_batches(f, BATCHES);
	wait_for_answers(f);
	assert_int_equal(f->books.failures[class], 3);
	assert_int_equal(f->books.dropped[BOOKS_DROP_REFUSED], 1);
	assert_int_equal(books_dropped(&f->books), 1);
	assert_int_equal(rejects(f, ending), 1);
	assert_int_equal(rejects(f, ""), 1);
	assert_topic(f, 1);
}

static void
test_an_invalid_record(void **state)
{
	drop_the_first(*state, RD_KAFKA_RESP_ERR_INVALID_RECORD, SINK_CLASS_INVALID, "-1-0.invalid");
}

static void
test_a_record_that_is_too_large(void **state)
{
	drop_the_first(*state, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, SINK_CLASS_TOO_LARGE, "-1-0.too-large");
}

/* A request holds several messages, and an answer is to all of them: each is judged again by itself. */
static void
test_refused_with_others(void **state)
{
	const rd_kafka_resp_err_t errors[] = { RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
		RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE };
	struct fixture *f = *state;

	push(f, KAFKA_PRODUCE, errors, 3);
	put_batches(f, BATCHES);
	wait_for_answers(f);
	assert_true(f->books.parted > 0);
	assert_int_equal(books_dropped(&f->books), 0);
	assert_topic(f, 0);
}

#define kafka_test(name)	cmocka_unit_test_setup_teardown(test_ ## name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		kafka_test(a_lost_connection),
		kafka_test(a_broker_that_is_down),
		kafka_test(a_slow_broker),
		kafka_test(too_large_together),
		kafka_test(an_invalid_record),
		kafka_test(a_record_that_is_too_large),
		kafka_test(refused_with_others),
	};

	log_init("test_kafka_mock", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
