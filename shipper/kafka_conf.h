/* From our keys to librdkafka's properties. */
#ifndef SHIPPER_KAFKA_CONF_H
#define SHIPPER_KAFKA_CONF_H

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
/* The content of a key's file as a string, to be wiped and freed; NULL with a sentence. */
char		*kafka_conf_read(const char *key, const char *name, char *error, size_t size);
/* A warning that concerns this library with this configuration, or NULL. */
const char	*kafka_conf_warning(const struct config *);

#endif
