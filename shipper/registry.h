/*
 * A schema registry, as Confluent's API has it: which id our schema has there.
 * A message of Kafka's with such an id begins with REGISTRY_HEAD bytes, and one
 * Envelope without a length follows.
 */
#ifndef SHIPPER_REGISTRY_H
#define SHIPPER_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shipper/sink.h"

enum {
	REGISTRY_HEAD = 6,		/* a zero, the id with its highest byte first, a zero: the first message of the schema */
	REGISTRY_SUBJECT_MAX = 300,
};

struct config;
struct event_base;
struct registry;

enum registry_verb {
	REGISTRY_FIND,			/* the id of this very schema */
	REGISTRY_REGISTER,		/* the same; if it has none, it gets one */
};

struct registry_answer {
	uint32_t	 id;		/* if class is SINK_CLASS_NONE */
	enum sink_class	 class;
	const char	*why;		/* a sentence that names the registry, or NULL */
};

typedef void (*registry_answered)(void *context, const struct registry_answer *);

/* The proto/ file, as it is registered. */
extern const char registry_schema[];

/* As sink.check. */
const char	*registry_check(const struct config *, char *error, size_t size);
/* Files are read now, with the rights of now.  NULL with one sentence in error. */
struct registry	*registry_new(struct event_base *, const struct config *, char *error, size_t size);
void		 registry_free(struct registry *);
/* TOPIC-value */
const char	*registry_subject(const struct registry *);
/*
 * Asks once; it is answered from the event loop, never from within, and before
 * it is there is no other.
 */
void		 registry_ask(struct registry *, enum registry_verb, registry_answered, void *context);
void		 registry_head(uint8_t to[REGISTRY_HEAD], uint32_t id);
/* The length of what stands before the Envelope, or 0 if no such head is there, or one of another message than the first. */
size_t		 registry_head_length(const uint8_t *bytes, size_t length);

#endif
