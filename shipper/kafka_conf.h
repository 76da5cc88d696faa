/* From our keys to librdkafka's properties. */
#ifndef SHIPPER_KAFKA_CONF_H
#define SHIPPER_KAFKA_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include <librdkafka/rdkafka.h>

struct config;
struct format;

/* As sink.check: NULL, or the key that is wrong and a sentence.  Opens nothing. */
const char	*kafka_conf_check(const struct config *, const struct format *, char *error, size_t size);
/*
 * What every producer of this life is made of.  Certificates, keys and secrets
 * are read now, with the rights of now; the callbacks are the caller's to set.
 * NULL with a sentence.
 */
rd_kafka_conf_t	*kafka_conf_new(const struct config *, char *error, size_t size);
/*
 * The same for a client that only reads: brokers, TLS, SASL and
 * kafka.rdkafka.PROPERTY are checked and set.  NULL with the key that is wrong
 * and a sentence.
 */
rd_kafka_conf_t	*kafka_conf_client(const struct config *, const char **key, char *error, size_t size);
/*
 * For OAUTHBEARER: the client is given the token that the file has now.  Whoever
 * renews the file is not our affair: librdkafka asks again each minute.
 */
bool		 kafka_conf_wants_token(const struct config *);
void		 kafka_conf_token(rd_kafka_t *, const struct config *);
/* A warning that concerns this library with this configuration, or NULL. */
const char	*kafka_conf_warning(const struct config *);

#endif
