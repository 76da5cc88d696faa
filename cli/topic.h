/* A topic of Kafka's, message by message. */
#ifndef CLI_TOPIC_H
#define CLI_TOPIC_H

#include <stdbool.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

struct config;
struct topic;

/* Where reading begins. */
struct topic_start {
	enum topic_from { TOPIC_BEGINNING, TOPIC_END, TOPIC_OFFSET, TOPIC_TIME } from;
	int64_t		number;		/* the offset in each partition; or ms since 1970 */
};

/*
 * Connects and begins.  group: NULL, or the consumer group that shares the
 * partitions and goes on where it was; then start is for where it never was.
 * NULL when it cannot; it is said why, and *code is the exit code.
 */
struct topic		*topic_open(const struct config *, const char *group, const struct topic_start *, int *code);
/* The next message, to be destroyed; NULL if none comes within so many ms. */
rd_kafka_message_t	*topic_next(struct topic *, int ms);
/* All that was there when it was last looked has been given. */
bool			 topic_ended(const struct topic *);
/* It cannot go on; it is said why. */
bool			 topic_failed(const struct topic *);
/* It was read from the first message that there has ever been. */
bool			 topic_whole(const struct topic *);
/* What was given so far need not be given to the group again. */
void			 topic_commit(struct topic *);
void			 topic_close(struct topic *);

#endif
