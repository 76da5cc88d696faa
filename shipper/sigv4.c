/* AWS Signature Version 4: see sigv4.h. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/sigv4.h"

static const char sigv4_hex_upper[] = "0123456789ABCDEF";
static const char sigv4_hex_lower[] = "0123456789abcdef";

/* --- encoding, hashing ------------------------------------------------------------ */

static bool
sigv4_is_plain(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	    c == '~';
}

void
sigv4_encode(struct buffer *out, const char *text, bool slashes)
{
	for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
		char three[3] = { '%', sigv4_hex_upper[*c >> 4], sigv4_hex_upper[*c & 15] };

		if (sigv4_is_plain(*c) || (slashes && *c == '/'))
			buffer_append(out, c, 1);
		else
			buffer_append(out, three, sizeof(three));
	}
}

void
sigv4_date(char date[SIGV4_DATE_SIZE], uint64_t when)
{
	time_t seconds = (time_t)(when / SECOND);
	struct tm tm;

	strftime(date, SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", gmtime_r(&seconds, &tm));
}

void
sigv4_hash(uint8_t hash[SIGV4_HASH_SIZE], const void *bytes, size_t length)
{
	if (EVP_Digest(bytes, length, hash, NULL, EVP_sha256(), NULL) != 1)
		fatal(EXIT_CODE_INTERNAL, "OpenSSL cannot compute SHA-256");
}

void
sigv4_hex(char hex[SIGV4_HEX_SIZE], const uint8_t hash[SIGV4_HASH_SIZE])
{
	for (size_t i = 0; i < SIGV4_HASH_SIZE; i++) {
		hex[2 * i] = sigv4_hex_lower[hash[i] >> 4];
		hex[2 * i + 1] = sigv4_hex_lower[hash[i] & 15];
	}
	hex[SIGV4_HEX_SIZE - 1] = '\0';
}

static void
sigv4_hmac(uint8_t out[SIGV4_HASH_SIZE], const void *key, size_t key_length, const char *text, size_t length)
{
	if (HMAC(EVP_sha256(), key, (int)key_length, (const unsigned char *)text, length, out, NULL) == NULL)
		fatal(EXIT_CODE_INTERNAL, "OpenSSL cannot compute HMAC-SHA-256");
}

/* --- the canonical request ----------------------------------------------------------- */

static int
sigv4_by_name(const void *a, const void *b)
{
	return strcmp(((const struct sigv4_pair *)a)->name, ((const struct sigv4_pair *)b)->name);
}

/* A part of a query: where it begins, and how long it is. */
struct sigv4_part {
	const char	*text;
	size_t		 name;		/* bytes before its '=' */
	size_t		 length;
};

static int
sigv4_compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
	int order = memcmp(a, b, a_length < b_length ? a_length : b_length);

	return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

/* By name, then by value: '=' is no part of the order. */
static int
sigv4_by_part(const void *left, const void *right)
{
	const struct sigv4_part *a = left, *b = right;
	int order = sigv4_compare(a->text, a->name, b->text, b->name);

	return order != 0 ? order : sigv4_compare(a->text + a->name, a->length - a->name, b->text + b->name, b->length - b->name);
}

static void
sigv4_append_query(struct buffer *out, const char *query)
{
	struct sigv4_part parts[SIGV4_QUERY_MAX];
	size_t count = 0;

	for (const char *at = query; *at != '\0'; at += strspn(at, "&")) {
		size_t length = strcspn(at, "&"), name = strcspn(at, "=&");

		if (count == SIGV4_QUERY_MAX)
			fatal(EXIT_CODE_INTERNAL, "a query of more than %d parts", SIGV4_QUERY_MAX);
		parts[count++] = (struct sigv4_part){ at, name, length };
		at += length;
	}
	qsort(parts, count, sizeof(parts[0]), sigv4_by_part);
	for (size_t i = 0; i < count; i++) {
		buffer_append_string(out, i > 0 ? "&" : "");
		buffer_append(out, parts[i].text, parts[i].length);
		/* "uploads" counts as "uploads=". */
		buffer_append_string(out, parts[i].name == parts[i].length ? "=" : "");
	}
}

/* Without the white space around it, and one space for several in it. */
static void
sigv4_append_trimmed(struct buffer *out, const char *value)
{
	const char *separator = "";

	for (const char *at = value + strspn(value, " \t"); *at != '\0'; at += strspn(at, " \t")) {
		size_t length = strcspn(at, " \t");

		buffer_append_string(out, separator);
		buffer_append(out, at, length);
		separator = " ";
		at += length;
	}
}

static void
sigv4_append_names(struct buffer *out, const struct sigv4_pair *headers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buffer_printf(out, "%s%s", i > 0 ? ";" : "", headers[i].name);
}

static void
sigv4_append_request(struct buffer *out, const struct sigv4_request *request, const struct sigv4_pair *headers)
{
	buffer_printf(out, "%s\n%s\n", request->method, request->path);
	sigv4_append_query(out, request->query);
	buffer_append_string(out, "\n");
	for (size_t i = 0; i < request->nheaders; i++) {
		buffer_printf(out, "%s:", headers[i].name);
		sigv4_append_trimmed(out, headers[i].value);
		buffer_append_string(out, "\n");
	}
	buffer_append_string(out, "\n");
	sigv4_append_names(out, headers, request->nheaders);
	buffer_printf(out, "\n%s", request->payload);
}

/* --- the signature ---------------------------------------------------------------------- */

static void
sigv4_append_scope(struct buffer *out, const struct sigv4_signer *signer)
{
	buffer_printf(out, "%.8s/%s/%s/aws4_request", signer->date, signer->region, signer->service);
}

/* SECURITY: good for a day, for this region and service; whoever calls wipes it. */
static void
sigv4_key(uint8_t key[SIGV4_HASH_SIZE], const struct sigv4_signer *signer)
{
	struct buffer first = { 0 };

	/* Never grown, which would leave a copy of the secret behind. */
	buffer_reserve(&first, strlen(signer->secret_key) + sizeof("AWS4"));
	buffer_append_string(&first, "AWS4");
	buffer_append_string(&first, signer->secret_key);
	sigv4_hmac(key, first.bytes, first.length, signer->date, 8);
	explicit_bzero(first.bytes, first.length);
	buffer_free(&first);
	sigv4_hmac(key, key, SIGV4_HASH_SIZE, signer->region, strlen(signer->region));
	sigv4_hmac(key, key, SIGV4_HASH_SIZE, signer->service, strlen(signer->service));
	sigv4_hmac(key, key, SIGV4_HASH_SIZE, "aws4_request", strlen("aws4_request"));
}

static void
sigv4_signature(char hex[SIGV4_HEX_SIZE], const struct sigv4_request *request, const struct sigv4_pair *headers,
    const struct sigv4_signer *signer)
{
	uint8_t hash[SIGV4_HASH_SIZE], key[SIGV4_HASH_SIZE];
	struct buffer text = { 0 };

	sigv4_append_request(&text, request, headers);
	sigv4_hash(hash, text.bytes, text.length);
	sigv4_hex(hex, hash);
	text.length = 0;
	buffer_printf(&text, "AWS4-HMAC-SHA256\n%s\n", signer->date);
	sigv4_append_scope(&text, signer);
	buffer_printf(&text, "\n%s", hex);
	sigv4_key(key, signer);
	sigv4_hmac(hash, key, sizeof(key), (const char *)text.bytes, text.length);
	explicit_bzero(key, sizeof(key));
	sigv4_hex(hex, hash);
	buffer_free(&text);
}

void
sigv4_authorization(struct buffer *out, const struct sigv4_request *request, const struct sigv4_signer *signer)
{
	struct sigv4_pair headers[SIGV4_HEADERS_MAX];
	char hex[SIGV4_HEX_SIZE];

	if (request->nheaders > SIGV4_HEADERS_MAX)
		fatal(EXIT_CODE_INTERNAL, "a request of %zu headers", request->nheaders);
	memcpy(headers, request->headers, request->nheaders * sizeof(headers[0]));
	qsort(headers, request->nheaders, sizeof(headers[0]), sigv4_by_name);
	sigv4_signature(hex, request, headers, signer);
	buffer_printf(out, "AWS4-HMAC-SHA256 Credential=%s/", signer->access_key);
	sigv4_append_scope(out, signer);
	buffer_append_string(out, ", SignedHeaders=");
	sigv4_append_names(out, headers, request->nheaders);
	buffer_printf(out, ", Signature=%s", hex);
}
