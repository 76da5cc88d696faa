/*
 * Who we are at S3: keys from files, from the instance's metadata service
 * (IMDSv2), or from a web identity's token by way of STS.
 *
 * SECURITY: secrets come from files and from those two services only, never from
 * arguments or the environment.  What is not used any more is wiped; libcurl and
 * json-c have copies of what they sent or read for as long as a request lasts.
 */
#ifndef SHIPPER_S3_CREDENTIALS_H
#define SHIPPER_S3_CREDENTIALS_H

#include <sys/queue.h>

#include <stdbool.h>
#include <stddef.h>

#include "shipper/sink.h"

struct config;
struct http_client;
struct s3_credentials;

struct s3_keys {
	char	*access_key;
	char	*secret_key;
	char	*session_token;		/* or NULL */
};

/* Somebody who waits for keys. */
struct s3_wait {
	TAILQ_ENTRY(s3_wait)	 link;
	/* keys are valid within this call only; NULL: class and why say what is wrong. */
	void			(*ready)(void *context, const struct s3_keys *, enum sink_class, const char *why);
	void			*context;
};

/* NULL, or the key that is wrong and one sentence.  Opens nothing. */
const char		*s3_credentials_check(const struct config *, char *error, size_t size);
/*
 * Files are read now, with the rights of now, and again, with those of then, when they
 * have changed.  The client is not used before s3_credentials_get.  NULL with a sentence.
 */
struct s3_credentials	*s3_credentials_new(const struct config *, struct http_client *, char *error, size_t size);
/* Nobody waits any more. */
void			 s3_credentials_free(struct s3_credentials *);
/* Calls ready(), maybe before it returns. */
void			 s3_credentials_get(struct s3_credentials *, struct s3_wait *);
/* Does not wait any more; said only by who does. */
void			 s3_credentials_leave(struct s3_credentials *, struct s3_wait *);
/* A server did not accept them: they are fetched anew the next time. */
void			 s3_credentials_doubt(struct s3_credentials *);

#endif
