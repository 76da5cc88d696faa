/* Signature Version 4 against what AWS publishes: its suite of vectors, and the examples of S3's API reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "shipper/sigv4.h"

#define SUITE_SECRET	"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define S3_SECRET	"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define UNRESERVED	"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define TOKEN									\
	"AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7m" \
	"SEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0" \
	"rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

static const struct sigv4_signer suite = { "AKIDEXAMPLE", SUITE_SECRET, "us-east-1", "service", "20150830T123600Z" };
static const struct sigv4_signer s3 = { "AKIAIOSFODNN7EXAMPLE", S3_SECRET, "us-east-1", "s3", "20130524T000000Z" };

struct vector {
	const char			*name;
	const struct sigv4_signer	*signer;
	const char			*method;
	const char			*path;	/* not encoded yet */
	const char			*query;
	struct sigv4_pair		 headers[6];
	const char			*body;
	const char			*names, *signature;
};

#define SUITE_HOST	{ "host", "example.amazonaws.com" }, { "x-amz-date", "20150830T123600Z" }
#define S3_HOST		{ "host", "examplebucket.s3.amazonaws.com" }, { "x-amz-date", "20130524T000000Z" }
#define S3_EMPTY	{ "x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }

static const struct vector vectors[] = {
	{ "get-vanilla", &suite, "GET", "/", "", { SUITE_HOST }, "", "host;x-amz-date",
	    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
	{ "get-vanilla-query-order-key-case", &suite, "GET", "/", "Param2=value2&Param1=value1", { SUITE_HOST }, "", "host;x-amz-date",
	    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500" },
	{ "get-vanilla-empty-query-key", &suite, "GET", "/", "Param1=value1", { SUITE_HOST }, "", "host;x-amz-date",
	    "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb" },
	{ "get-vanilla-query-unreserved", &suite, "GET", "/", UNRESERVED "=" UNRESERVED, { SUITE_HOST }, "", "host;x-amz-date",
	    "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197" },
	{ "get-unreserved", &suite, "GET", "/" UNRESERVED, "", { SUITE_HOST }, "", "host;x-amz-date",
	    "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f" },
	{ "get-utf8", &suite, "GET", "/\xe1\x88\xb4", "", { SUITE_HOST }, "", "host;x-amz-date",
	    "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85" },
	{ "get-space", &suite, "GET", "/example space/", "", { SUITE_HOST }, "", "host;x-amz-date",
	    "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741" },
	{ "get-header-value-trim", &suite, "GET", "/", "", { { "my-header1", " value1" }, { "my-header2", " \"a   b   c\"" }, SUITE_HOST },
	    "", "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736" },
	{ "post-vanilla", &suite, "POST", "/", "", { SUITE_HOST }, "", "host;x-amz-date",
	    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
	{ "post-header-key-sort", &suite, "POST", "/", "", { SUITE_HOST, { "my-header1", "value1" } }, "", "host;my-header1;x-amz-date",
	    "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c" },
	{ "post-header-value-case", &suite, "POST", "/", "", { SUITE_HOST, { "my-header1", "VALUE1" } }, "", "host;my-header1;x-amz-date",
	    "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d" },
	{ "post-x-www-form-urlencoded", &suite, "POST", "/", "",
	    { SUITE_HOST, { "content-type", "application/x-www-form-urlencoded" } }, "Param1=value1", "content-type;host;x-amz-date",
	    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a" },
	{ "post-sts-header-before", &suite, "POST", "/", "", { SUITE_HOST, { "x-amz-security-token", TOKEN } }, "",
	    "host;x-amz-date;x-amz-security-token", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead" },
	{ "S3: GET Object", &s3, "GET", "/test.txt", "", { S3_HOST, { "range", "bytes=0-9" }, S3_EMPTY }, "",
	    "host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ "S3: PUT Object", &s3, "PUT", "/test$file.text", "",
	    { S3_HOST, { "date", "Fri, 24 May 2013 00:00:00 GMT" }, { "x-amz-storage-class", "REDUCED_REDUNDANCY" },
	    { "x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072" } }, "Welcome to Amazon S3.",
	    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ "S3: GET Bucket Lifecycle", &s3, "GET", "/", "lifecycle", { S3_HOST, S3_EMPTY }, "", "host;x-amz-content-sha256;x-amz-date",
	    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ "S3: List Objects", &s3, "GET", "/", "prefix=J&max-keys=2", { S3_HOST, S3_EMPTY }, "", "host;x-amz-content-sha256;x-amz-date",
	    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
};

static char *
encoded(const char *text, bool slashes)
{
	struct buffer out = { 0 };

	sigv4_encode(&out, text, slashes);
	buffer_append(&out, "", 1);
	return (char *)out.bytes;
}

static void
test_vector(const struct vector *vector)
{
	struct sigv4_request request = { .method = vector->method, .query = vector->query, .headers = vector->headers };
	char payload[SIGV4_HEX_SIZE], *path = encoded(vector->path, true), expected[1024];
	uint8_t hash[SIGV4_HASH_SIZE];
	struct buffer out = { 0 };

	sigv4_hash(hash, vector->body, strlen(vector->body));
	sigv4_hex(payload, hash);
	request.path = path;
	request.payload = payload;
	while (request.nheaders < 6 && vector->headers[request.nheaders].name != NULL)
		request.nheaders++;
	sigv4_authorization(&out, &request, vector->signer);
	buffer_append(&out, "", 1);
	snprintf(expected, sizeof(expected), "AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/%s/aws4_request, SignedHeaders=%s, Signature=%s",
	    vector->signer->access_key, vector->signer->date, vector->signer->service, vector->names, vector->signature);
	if (strcmp((char *)out.bytes, expected) != 0)
		print_error("%s\n", vector->name);
	assert_string_equal(out.bytes, expected);
	buffer_free(&out);
	free(path);
}

static void
test_published_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		test_vector(&vectors[i]);
}

/* Names before values: "a-b" is behind "a", though '-' is before '='. */
static void
test_query_is_in_order_of_names(void **state)
{
	static const struct sigv4_pair headers[] = { SUITE_HOST };
	const struct sigv4_request one = { "GET", "/", "a=1&a-b=2&uploadId=x", headers, 2, "" };
	const struct sigv4_request other = { "GET", "/", "uploadId=x&a-b=2&a=1", headers, 2, "" };
	struct buffer a = { 0 }, b = { 0 };

	(void)state;
	sigv4_authorization(&a, &one, &suite);
	sigv4_authorization(&b, &other, &suite);
	assert_int_equal(a.length, b.length);
	assert_memory_equal(a.bytes, b.bytes, a.length);
	buffer_free(&a);
	buffer_free(&b);
}

static void
test_a_path_is_encoded_as_every_server_takes_it(void **state)
{
	char *key = encoded("/b/date=2026-01-02/h+o st-\xc3\xa9.parquet", true), *part = encoded("a/b c", false);

	(void)state;
	assert_string_equal(key, "/b/date%3D2026-01-02/h%2Bo%20st-%C3%A9.parquet");
	assert_string_equal(part, "a%2Fb%20c");
	free(key);
	free(part);
}

static void
test_dates(void **state)
{
	char date[SIGV4_DATE_SIZE];

	(void)state;
	sigv4_date(date, UINT64_C(1440938160) * SECOND + 999 * MILLISECOND);
	assert_string_equal(date, "20150830T123600Z");
	sigv4_date(date, 0);
	assert_string_equal(date, "19700101T000000Z");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_vectors),
		cmocka_unit_test(test_query_is_in_order_of_names),
		cmocka_unit_test(test_a_path_is_encoded_as_every_server_takes_it),
		cmocka_unit_test(test_dates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
