/*
 * Objects into a bucket: one PUT each, or the parts of a multipart upload where
 * they are large.  Nothing is tried again here, but for what a server has shown
 * that it does not know; nothing is asked of the bucket, so that the right to
 * write is all that is needed.
 */
#ifndef SHIPPER_S3_CLIENT_H
#define SHIPPER_S3_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shipper/sink.h"

struct config;
struct event_base;
struct s3_client;
struct s3_upload;

struct s3_object {
	const char	*key;		/* prefix and all; may be gone after the call */
	const char	*type;		/* of its content; is never freed */
	const uint8_t	*bytes;		/* where it is until the answer or the cancel */
	size_t		 length;
	/* It may be there already, by an earlier try, also of an earlier life: then that is as good. */
	bool		 again;
};

struct s3_result {
	enum sink_result result;	/* SINK_DELIVERED or SINK_RETRY */
	enum sink_class	 class;
	const char	*why;		/* names the object; NULL if it is there */
	bool		 foreign;	/* there is another of that key, which is not ours: not `again` for the next try */
};

/* From the event loop; never from within a function of this module.  The upload is gone. */
typedef void (*s3_client_answered)(void *context, const struct s3_result *);

/* NULL, or the key that is wrong and one sentence.  Opens nothing. */
const char		*s3_client_check(const struct config *, char *error, size_t size);
/* Files are read with the rights of now; no server is spoken to.  NULL with a sentence. */
struct s3_client	*s3_client_new(const struct config *, struct event_base *, char *error, size_t size);
void			 s3_client_free(struct s3_client *);
struct s3_upload	*s3_client_put(struct s3_client *, const struct s3_object *, s3_client_answered, void *context);
/* It is not answered any more; a multipart upload stays open at the server. */
void			 s3_client_cancel(struct s3_upload *);

#endif
