/* Where a bucket is, from the configuration's words. */
#ifndef SHIPPER_S3_TARGET_H
#define SHIPPER_S3_TARGET_H

#include <stddef.h>

#include "common/buffer.h"

struct config;

enum { S3_TARGET_HOST_MAX = 512 };

struct s3_target {
	char	scheme[8];
	char	host[S3_TARGET_HOST_MAX];	/* as header Host has it: without the scheme's own port */
	char	path[128];			/* "/BUCKET", or "" where the bucket is part of the host */
};

/* NULL, or the key that is wrong and one sentence. */
const char	*s3_target_resolve(struct s3_target *, const struct config *, char *error, size_t size);
/* "http://HOST[:PORT]" and no more; NULL or what is wrong with it. */
const char	*s3_target_endpoint_fault(const char *endpoint);

#endif
