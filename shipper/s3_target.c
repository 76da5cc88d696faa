/* Where a bucket is: see s3_target.h. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "shipper/s3_target.h"

/* A part of a URL; NULL: it has none.  curl_free it. */
static char *
s3_target_part(CURLU *url, CURLUPart part, unsigned int flags)
{
	char *text = NULL;

	return curl_url_get(url, part, &text, flags) == CURLUE_OK ? text : NULL;
}

/* True if it has nothing but what is asked for. */
static bool
s3_target_is_bare(CURLU *url)
{
	static const CURLUPart others[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT };
	char *path = s3_target_part(url, CURLUPART_PATH, 0);
	bool bare = path == NULL || strcmp(path, "/") == 0;

	curl_free(path);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		char *other = s3_target_part(url, others[i], 0);

		bare = bare && other == NULL;
		curl_free(other);
	}
	return bare;
}

/* Host and port as libcurl sends them; NULL: it is none. */
static const char *
s3_target_take(CURLU *url, char scheme[8], char *host, size_t size)
{
	char *words = s3_target_part(url, CURLUPART_SCHEME, 0), *name = s3_target_part(url, CURLUPART_HOST, 0);
	/* NULL as well where it is the scheme's own. */
	char *port = s3_target_part(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
	const char *fault = NULL;

	if (words == NULL || name == NULL || (strcmp(words, "http") != 0 && strcmp(words, "https") != 0))
		fault = "is not http://HOST[:PORT] or https://HOST[:PORT]";
	else if (strlen(name) >= size - 8)
		fault = "has a host's name that is too long";
	else {
		snprintf(scheme, 8, "%s", words);
		snprintf(host, size, "%s%s%s", name, port != NULL ? ":" : "", port != NULL ? port : "");
	}
	curl_free(words);
	curl_free(name);
	curl_free(port);
	return fault;
}

static const char *
s3_target_parse(const char *endpoint, char scheme[8], char *host, size_t size)
{
	CURLU *url = curl_url();
	const char *fault = "is not http://HOST[:PORT] or https://HOST[:PORT]";

	if (url != NULL && curl_url_set(url, CURLUPART_URL, endpoint, 0) == CURLUE_OK && s3_target_is_bare(url))
		fault = s3_target_take(url, scheme, host, size);
	curl_url_cleanup(url);
	return fault;
}

const char *
s3_target_endpoint_fault(const char *endpoint)
{
	char scheme[8], host[S3_TARGET_HOST_MAX];

	return s3_target_parse(endpoint, scheme, host, sizeof(host));
}

static const char *
s3_target_bucket_fault(const char *bucket)
{
	size_t length = strlen(bucket);

	if (length == 0)
		return "sink s3 needs s3-bucket";
	if (length < 3 || length > 63 || strspn(bucket, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != length ||
	    bucket[0] == '.' || bucket[length - 1] == '.' || strstr(bucket, "..") != NULL)
		return "a bucket's name has 3 to 63 letters, digits, dots and dashes";
	return NULL;
}

/* Where AWS has it; what stands for nothing else has a host of its own for each bucket. */
static void
s3_target_of_aws(struct s3_target *target, const char *region)
{
	snprintf(target->scheme, sizeof(target->scheme), "https");
	snprintf(target->host, sizeof(target->host), "s3.%s.amazonaws.com%s", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

/* -1: it is no style; else whether the bucket is part of the host. */
static int
s3_target_style(const struct config *config)
{
	if (strcmp(config->s3_style, "path") == 0)
		return 0;
	if (strcmp(config->s3_style, "virtual") == 0)
		return 1;
	/* A certificate for *.s3.REGION does not cover a bucket with a dot. */
	if (strcmp(config->s3_style, "auto") == 0)
		return config->s3_endpoint[0] == '\0' && strchr(config->s3_bucket, '.') == NULL;
	return -1;
}

static const char *
s3_target_resolve_host(struct s3_target *target, const struct config *config, char *error, size_t size)
{
	const char *fault;

	if (config->s3_region[0] == '\0' || strspn(config->s3_region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(config->s3_region) ||
	    strlen(config->s3_region) > 64) {
		snprintf(error, size, "'%s' is no region; AWS's first is us-east-1", config->s3_region);
		return "s3-region";
	}
	if (config->s3_endpoint[0] == '\0') {
		s3_target_of_aws(target, config->s3_region);
		return NULL;
	}
	fault = s3_target_parse(config->s3_endpoint, target->scheme, target->host, sizeof(target->host));
	if (fault == NULL)
		return NULL;
	snprintf(error, size, "'%s' %s", config->s3_endpoint, fault);
	return "s3-endpoint";
}

const char *
s3_target_resolve(struct s3_target *target, const struct config *config, char *error, size_t size)
{
	const char *fault = s3_target_bucket_fault(config->s3_bucket), *key;
	size_t length = strlen(config->s3_bucket) + 1;
	int style = s3_target_style(config);

	*target = (struct s3_target){ 0 };
	if (fault != NULL) {
		snprintf(error, size, "%s", fault);
		return "s3-bucket";
	}
	if ((key = s3_target_resolve_host(target, config, error, size)) != NULL)
		return key;
	if (style == -1) {
		snprintf(error, size, "'%s' is none of auto, path, virtual", config->s3_style);
		return "s3-style";
	}
	if (style == 0) {
		snprintf(target->path, sizeof(target->path), "/%s", config->s3_bucket);
		return NULL;
	}
	if (target->host[0] == '[' || strlen(target->host) + length >= sizeof(target->host)) {
		snprintf(error, size, "a bucket cannot be part of the host %s", target->host);
		return "s3-style";
	}
	/* "BUCKET." before it. */
	memmove(target->host + length, target->host, strlen(target->host) + 1);
	memcpy(target->host, config->s3_bucket, length - 1);
	target->host[length - 1] = '.';
	return NULL;
}
