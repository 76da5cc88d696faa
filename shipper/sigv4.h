/*
 * AWS Signature Version 4: the header that says who sends a request, and that
 * nobody has changed it.
 *
 * Why not libcurl's own (CURLOPT_AWS_SIGV4): the one of Debian 12 (7.88) signs a
 * path as it stands, so that a key with date=2026-01-02 fails at AWS; it neither
 * sorts nor completes a query, so that ?uploads fails; and it does not send
 * x-amz-content-sha256, without which S3 refuses.  Only 8.14 has all that right.  No
 * other library in C is packaged.  What is hard in it, HMAC and SHA-256, is OpenSSL's.
 */
#ifndef SHIPPER_SIGV4_H
#define SHIPPER_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

enum {
	SIGV4_HASH_SIZE = 32,
	SIGV4_HEX_SIZE = 2 * SIGV4_HASH_SIZE + 1,
	SIGV4_DATE_SIZE = sizeof("20150830T123600Z"),
	SIGV4_HEADERS_MAX = 24,
	SIGV4_QUERY_MAX = 8,
};

struct sigv4_pair {
	const char	*name;
	const char	*value;
};

struct sigv4_request {
	const char		*method;
	const char		*path;		/* as it is sent: sigv4_encode has made it */
	const char		*query;		/* as it is sent: "a=1&b=", each part made by sigv4_encode; or "" */
	const struct sigv4_pair	*headers;	/* all that are signed, host and x-amz-date among them; names in lower case */
	size_t			 nheaders;
	const char		*payload;	/* the body's hash in hex: sigv4_hash_hex */
};

struct sigv4_signer {
	const char	*access_key;
	const char	*secret_key;
	const char	*region;
	const char	*service;	/* "s3" */
	const char	*date;		/* sigv4_date */
};

/*
 * Appends text with every byte as %XX that is no letter, digit, '-', '.', '_' or '~';
 * with slashes, '/' stays, too.  So a key's '=' is sent as %3D, the one form that
 * every server tried takes for the same as what was signed.
 */
void	sigv4_encode(struct buffer *out, const char *text, bool slashes);
/* "20150830T123600Z" of ns since 1970. */
void	sigv4_date(char date[SIGV4_DATE_SIZE], uint64_t when);
void	sigv4_hash(uint8_t hash[SIGV4_HASH_SIZE], const void *bytes, size_t length);
void	sigv4_hex(char hex[SIGV4_HEX_SIZE], const uint8_t hash[SIGV4_HASH_SIZE]);
/*
 * Appends the value of header Authorization.  Whatever was made of the secret key is
 * wiped.  More headers or parts of a query than the limits above end the process.
 */
void	sigv4_authorization(struct buffer *out, const struct sigv4_request *, const struct sigv4_signer *);

#endif
