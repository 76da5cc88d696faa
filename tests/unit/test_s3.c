/*
 * The S3 client against a server in this process that says what the test wants: what is sent, what each answer means,
 * parts, credentials from everywhere, and servers that stall.  That real servers take the signatures is the system tests' affair.
 */
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buffer.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "shipper/s3_client.h"
#include "shipper/s3_target.h"
#include "shipper/s3_xml.h"
#include "tests/unit/folder.h"

enum { REQUESTS_MAX = 32, REPLIES_MAX = 32, TEXT_MAX = 4096 };

/* What the server got. */
struct request {
	char	method[16], uri[512], body[TEXT_MAX];
	char	headers[TEXT_MAX];	/* "name: value\n", names in lower case */
};

/* What it says, in turn; the last one again and again. */
struct reply {
	int		 status;	/* 0: nothing, for ever; -1: the connection ends */
	const char	*body;
	const char	*header, *value;
};

struct fixture {
	struct event_base	*base;
	struct evhttp		*server;
	struct config		 config;
	struct s3_client	*client;
	char			 folder[FOLDER_MAX], endpoint[64];
	struct request		 requests[REQUESTS_MAX];
	size_t			 nrequests;
	const struct reply	*replies;
	size_t			 nreplies;
	bool			 answered;
	struct s3_result	 result;
	char			 why[2048];
};

/* --- the server ---------------------------------------------------------------------- */

static void
serve(struct evhttp_request *http, void *context)
{
	struct fixture *f = context;
	struct request *request = &f->requests[f->nrequests];
	const struct reply *reply = &f->replies[f->nrequests < f->nreplies ? f->nrequests : f->nreplies - 1];
	struct evbuffer *input = evhttp_request_get_input_buffer(http);
	const char *methods[] = { [EVHTTP_REQ_GET] = "GET", [EVHTTP_REQ_PUT] = "PUT", [EVHTTP_REQ_POST] = "POST",
		[EVHTTP_REQ_DELETE] = "DELETE" };
	struct evkeyval *header;
	size_t used = 0;

	assert_true(f->nrequests++ < REQUESTS_MAX);
	snprintf(request->method, sizeof(request->method), "%s", methods[evhttp_request_get_command(http)]);
	snprintf(request->uri, sizeof(request->uri), "%s", evhttp_request_get_uri(http));
	evbuffer_copyout(input, request->body, sizeof(request->body) - 1);
	TAILQ_FOREACH(header, evhttp_request_get_input_headers(http), next) {
		size_t start = used;

		used += (size_t)snprintf(request->headers + used, sizeof(request->headers) - used, "%s: %s\n", header->key, header->value);
		for (char *c = request->headers + start; *c != ':'; c++)
			*c |= *c >= 'A' && *c <= 'Z' ? 0x20 : 0;
	}
	if (reply->status == -1)
		evhttp_connection_free(evhttp_request_get_connection(http));
	if (reply->status <= 0)
		return;
	if (reply->header != NULL)
		evhttp_add_header(evhttp_request_get_output_headers(http), reply->header, reply->value);
	evbuffer_add(evhttp_request_get_output_buffer(http), reply->body, strlen(reply->body));
	evhttp_send_reply(http, reply->status, "as told", NULL);
}

static void
write_file(const struct fixture *f, const char *name, const char *text, char path[128])
{
	FILE *file;

	snprintf(path, 128, "%s/%s", f->folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void
set(struct fixture *f, const char *key, const char *value)
{
	char error[512];

	if (config_set(&f->config, key, value, error, sizeof(error)) == -1)
		fail_msg("%s", error);
}

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct evhttp_bound_socket *bound;
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	char path[128];

	log_init("test_s3", LOG_LEVEL_ERROR);
	config_init(&f->config);
	folder_make(f->folder, "test_s3");
	f->base = event_base_new();
	f->server = evhttp_new(f->base);
	evhttp_set_allowed_methods(f->server, EVHTTP_REQ_GET | EVHTTP_REQ_PUT | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE);
	evhttp_set_gencb(f->server, serve, f);
	bound = evhttp_bind_socket_with_handle(f->server, "127.0.0.1", 0);
	assert_non_null(bound);
	assert_int_equal(getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &size), 0);
	snprintf(f->endpoint, sizeof(f->endpoint), "http://127.0.0.1:%d", ntohs(((struct sockaddr_in *)&address)->sin_port));
	set(f, "s3-endpoint", f->endpoint);
	set(f, "s3-bucket", "sockets");
	write_file(f, "access", "AKIDEXAMPLE\n", path);
	set(f, "s3-access-key-file", path);
	write_file(f, "secret", "  wJalr/KEY \n", path);
	set(f, "s3-secret-key-file", path);
	*state = f;
	return 0;
}

static int
end(void **state)
{
	static const char *const names[] = { "access", "secret", "token", "ca" };
	struct fixture *f = *state;
	char path[128];

	if (f->client != NULL)
		s3_client_free(f->client);
	evhttp_free(f->server);
	event_base_free(f->base);
	config_free(&f->config);
	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->folder, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

/* --- an upload -------------------------------------------------------------------------- */

static void
answered(void *context, const struct s3_result *result)
{
	struct fixture *f = context;

	f->answered = true;
	f->result = *result;
	snprintf(f->why, sizeof(f->why), "%s", result->why != NULL ? result->why : "");
	event_base_loopbreak(f->base);
}

static void
open_client(struct fixture *f)
{
	char error[512] = "";

	if (s3_client_check(&f->config, error, sizeof(error)) != NULL ||
	    (f->client = s3_client_new(&f->config, f->base, error, sizeof(error))) == NULL)
		fail_msg("%s", error);
}

static struct s3_upload *
start(struct fixture *f, const char *bytes, size_t length, bool again)
{
	const struct s3_object object = { "p/date=2026-01-02/a b.parquet", "application/vnd.apache.parquet", (const uint8_t *)bytes, length,
		again };

	if (f->client == NULL)
		open_client(f);
	f->answered = false;
	return s3_client_put(f->client, &object, answered, f);
}

static void
put(struct fixture *f, const char *bytes, bool again)
{
	start(f, bytes, strlen(bytes), again);
	assert_false(f->answered);
	while (!f->answered)
		assert_int_not_equal(event_base_loop(f->base, EVLOOP_ONCE), -1);
}

static void
replies(struct fixture *f, const struct reply *list, size_t count)
{
	f->replies = list;
	f->nreplies = count;
	f->nrequests = 0;
	memset(f->requests, 0, sizeof(f->requests));
}

#define REPLIES(f, ...) do {						\
	static const struct reply list_[] = { __VA_ARGS__ };		\
	replies(f, list_, sizeof(list_) / sizeof(list_[0]));		\
} while (0)

static void
has_header(const struct request *request, const char *line)
{
	char all[TEXT_MAX + 2], wanted[512];

	snprintf(all, sizeof(all), "\n%s", request->headers);
	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	if (strstr(all, wanted) == NULL)
		fail_msg("no '%s' among\n%s", line, request->headers);
}

static void
has_no_header(const struct request *request, const char *name)
{
	char all[TEXT_MAX + 2], wanted[128];

	snprintf(all, sizeof(all), "\n%s", request->headers);
	snprintf(wanted, sizeof(wanted), "\n%s:", name);
	assert_null(strstr(all, wanted));
}

static void
test_one_put(void **state)
{
	struct fixture *f = *state;
	const struct request *request = &f->requests[0];

	set(f, "s3-sse", "aws:kms");
	set(f, "s3-sse-kms-key-id", "arn:aws:kms:eu-west-1:1:key/2");
	set(f, "s3-storage-class", "STANDARD_IA");
	REPLIES(f, { 200, "", NULL, NULL });
	put(f, "Welcome to Amazon S3.", false);
	assert_int_equal(f->result.result, SINK_DELIVERED);
	assert_int_equal(f->nrequests, 1);
	assert_string_equal(request->method, "PUT");
	assert_string_equal(request->uri, "/sockets/p/date%3D2026-01-02/a%20b.parquet");
	assert_string_equal(request->body, "Welcome to Amazon S3.");
	has_header(request, "content-type: application/vnd.apache.parquet");
	has_header(request, "if-none-match: *");
	has_header(request, "x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
	has_header(request, "x-amz-checksum-sha256: RM591nyVng01JP+sF3Hfu6h9K2tLTpnkIDSouAP4sHI=");
	has_header(request, "x-amz-server-side-encryption: aws:kms");
	has_header(request, "x-amz-server-side-encryption-aws-kms-key-id: arn:aws:kms:eu-west-1:1:key/2");
	has_header(request, "x-amz-storage-class: STANDARD_IA");
	has_no_header(request, "x-amz-security-token");
	assert_non_null(strstr(request->headers, "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
	assert_non_null(strstr(request->headers, "SignedHeaders=content-type;host;if-none-match;x-amz-checksum-sha256;"
	    "x-amz-content-sha256;x-amz-date;x-amz-server-side-encryption;x-amz-server-side-encryption-aws-kms-key-id;"
	    "x-amz-storage-class, Signature="));
	assert_null(strstr(request->headers, "wJalr"));
}

#define ERROR(code) "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" code "</Code><Message>In words.</Message></Error>"

static const struct {
	struct reply		reply;
	enum sink_class		class;
	const char		*says;
} meanings[] = {
	{ { 403, ERROR("AccessDenied"), NULL, NULL }, SINK_CLASS_DENIED, "status 403 AccessDenied: In words" },
	{ { 404, ERROR("NoSuchBucket"), NULL, NULL }, SINK_CLASS_UNKNOWN_TARGET, "404 NoSuchBucket" },
	{ { 503, ERROR("SlowDown"), NULL, NULL }, SINK_CLASS_BUSY, "503 SlowDown" },
	{ { 503, "<html>no XML<br></html>", NULL, NULL }, SINK_CLASS_BUSY, "status 503" },
	{ { 500, ERROR("InternalError"), NULL, NULL }, SINK_CLASS_OTHER, "500 InternalError" },
	{ { 500, "", NULL, NULL }, SINK_CLASS_OTHER, "status 500" },
	{ { 403, ERROR("SignatureDoesNotMatch"), NULL, NULL }, SINK_CLASS_AUTHENTICATION, "SignatureDoesNotMatch" },
	{ { 403, ERROR("InvalidAccessKeyId"), NULL, NULL }, SINK_CLASS_AUTHENTICATION, "InvalidAccessKeyId" },
	{ { 404, ERROR("XAdminUserNotFound"), NULL, NULL }, SINK_CLASS_AUTHENTICATION, "XAdminUserNotFound" },
	{ { 403, ERROR("RequestTimeTooSkewed"), "Date", "Sun, 30 Aug 2015 12:36:00 GMT" }, SINK_CLASS_AUTHENTICATION,
	    "(UTC), at the server Sun, 30 Aug 2015 12:36:00 GMT" },
	{ { 301, ERROR("PermanentRedirect"), "Location", "http://127.0.0.1:1/" }, SINK_CLASS_UNKNOWN_TARGET,
	    "the bucket is elsewhere" },
	{ { 307, ERROR("TemporaryRedirect"), "Location", "http://127.0.0.1:1/" }, SINK_CLASS_BUSY, "307" },
	{ { 507, "", NULL, NULL }, SINK_CLASS_NO_SPACE, "status 507" },
	{ { 400, ERROR("EntityTooLarge"), NULL, NULL }, SINK_CLASS_TOO_LARGE, "EntityTooLarge" },
	{ { 413, "", NULL, NULL }, SINK_CLASS_TOO_LARGE, "status 413" },
	{ { 418, ERROR("Teapot"), NULL, NULL }, SINK_CLASS_OTHER, "418 Teapot" },
	{ { 412, ERROR("PreconditionFailed"), NULL, NULL }, SINK_CLASS_OTHER, "not one that was sent from here" },
	{ { 200, ERROR("InternalError"), NULL, NULL }, SINK_CLASS_OTHER, "InternalError" },
};

static void
test_what_an_answer_means(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		replies(f, &meanings[i].reply, 1);
		put(f, "x", false);
		if (f->result.result != SINK_RETRY || f->result.class != meanings[i].class ||
		    strstr(f->why, meanings[i].says) == NULL)
			fail_msg("row %zu: result %d, class %s: %s", i, f->result.result, sink_class_name(f->result.class), f->why);
		assert_non_null(strstr(f->why, "/sockets/p/date=2026-01-02/a b.parquet: "));
		assert_int_equal(f->nrequests, 1);
	}
}

static void
test_an_object_that_is_there_is_as_good_the_second_time(void **state)
{
	struct fixture *f = *state;

	REPLIES(f, { 412, ERROR("PreconditionFailed"), NULL, NULL });
	put(f, "x", true);
	assert_int_equal(f->result.result, SINK_DELIVERED);
	put(f, "x", false);
	assert_int_equal(f->result.result, SINK_RETRY);
	assert_true(f->result.foreign);
}

static void
test_a_server_that_does_not_know_the_condition(void **state)
{
	struct fixture *f = *state;

	REPLIES(f, { 501, ERROR("NotImplemented"), NULL, NULL }, { 200, "", NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->result.result, SINK_DELIVERED);
	assert_int_equal(f->nrequests, 2);
	has_header(&f->requests[0], "if-none-match: *");
	has_no_header(&f->requests[1], "if-none-match");
	/* It is remembered, and a second such answer is an error like others. */
	REPLIES(f, { 501, ERROR("NotImplemented"), NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->result.result, SINK_RETRY);
	assert_int_equal(f->nrequests, 1);
	has_no_header(&f->requests[0], "if-none-match");
}

/* It may be something else that it does not know. */
static void
test_a_server_that_does_not_know_something_else(void **state)
{
	struct fixture *f = *state;

	REPLIES(f, { 501, ERROR("NotImplemented"), NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->result.result, SINK_RETRY);
	assert_int_equal(f->nrequests, 2);
	assert_non_null(strstr(f->why, "501 NotImplemented"));
	REPLIES(f, { 200, "", NULL, NULL });
	put(f, "x", false);
	has_header(&f->requests[0], "if-none-match: *");
}

/* --- parts -------------------------------------------------------------------------------- */

#define CREATED "<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId>one/two=</UploadId></InitiateMultipartUploadResult>"

static void
put_parts(struct fixture *f, bool again)
{
	size_t length = (5 << 20) + 3;
	char *bytes = malloc(length);

	memset(bytes, 'a', length);
	set(f, "s3-multipart", "5MiB");
	start(f, bytes, length, again);
	while (!f->answered)
		assert_int_not_equal(event_base_loop(f->base, EVLOOP_ONCE), -1);
	free(bytes);
}

static void
test_a_large_object_goes_in_parts(void **state)
{
	struct fixture *f = *state;

	REPLIES(f, { 200, CREATED, NULL, NULL }, { 200, "", "ETag", "\"e1\"" }, { 200, "", "ETag", "\"e2\"" }, { 200, "<x/>", NULL, NULL });
	put_parts(f, false);
	assert_int_equal(f->result.result, SINK_DELIVERED);
	assert_int_equal(f->nrequests, 4);
	assert_string_equal(f->requests[0].method, "POST");
	assert_non_null(strstr(f->requests[0].uri, "a%20b.parquet?uploads="));
	has_header(&f->requests[0], "x-amz-checksum-algorithm: SHA256");
	has_header(&f->requests[0], "content-type: application/vnd.apache.parquet");
	assert_non_null(strstr(f->requests[1].uri, "?partNumber=1&uploadId=one%2Ftwo%3D"));
	has_header(&f->requests[1], "content-length: 5242880");
	has_no_header(&f->requests[1], "content-type");
	assert_non_null(strstr(f->requests[2].uri, "?partNumber=2&uploadId=one%2Ftwo%3D"));
	has_header(&f->requests[2], "content-length: 3");
	assert_string_equal(f->requests[3].method, "POST");
	assert_non_null(strstr(f->requests[3].uri, "?uploadId=one%2Ftwo%3D"));
	has_header(&f->requests[3], "if-none-match: *");
	assert_non_null(strstr(f->requests[3].body, "<Part><ETag>\"e1\"</ETag><PartNumber>1</PartNumber><ChecksumSHA256>"));
	assert_non_null(strstr(f->requests[3].body, "<Part><ETag>\"e2\"</ETag><PartNumber>2</PartNumber><ChecksumSHA256>"));
}

static void
test_parts_that_fail_are_cleared(void **state)
{
	struct fixture *f = *state;

	REPLIES(f, { 200, CREATED, NULL, NULL }, { 200, "", "ETag", "\"e1\"" }, { 503, ERROR("SlowDown"), NULL, NULL }, { 204, "", NULL, NULL });
	put_parts(f, false);
	assert_int_equal(f->result.result, SINK_RETRY);
	assert_int_equal(f->result.class, SINK_CLASS_BUSY);
	assert_int_equal(f->nrequests, 4);
	assert_string_equal(f->requests[3].method, "DELETE");
	assert_non_null(strstr(f->requests[3].uri, "?uploadId=one%2Ftwo%3D"));
	/* Also when the last word is an error under status 200, and when nobody may clear. */
	REPLIES(f, { 200, CREATED, NULL, NULL }, { 200, "", "ETag", "\"e1\"" }, { 200, "", "ETag", "\"e2\"" },
	    { 200, " \n" ERROR("InternalError"), NULL, NULL }, { 403, ERROR("AccessDenied"), NULL, NULL });
	put_parts(f, false);
	assert_int_equal(f->result.result, SINK_RETRY);
	assert_int_equal(f->result.class, SINK_CLASS_OTHER);
	assert_int_equal(f->nrequests, 5);
	assert_string_equal(f->requests[4].method, "DELETE");
	/* And when they were there already. */
	REPLIES(f, { 200, CREATED, NULL, NULL }, { 200, "", "ETag", "\"e1\"" }, { 200, "", "ETag", "\"e2\"" },
	    { 412, ERROR("PreconditionFailed"), NULL, NULL }, { 204, "", NULL, NULL });
	put_parts(f, true);
	assert_int_equal(f->result.result, SINK_DELIVERED);
	assert_string_equal(f->requests[4].method, "DELETE");
}

static void
test_a_part_without_a_tag_is_no_success(void **state)
{
	struct fixture *f = *state;

	REPLIES(f, { 200, CREATED, NULL, NULL }, { 200, "", NULL, NULL }, { 204, "", NULL, NULL });
	put_parts(f, false);
	assert_int_equal(f->result.result, SINK_RETRY);
	assert_non_null(strstr(f->why, "nothing that S3 would say"));
	REPLIES(f, { 200, "<html></html>", NULL, NULL });
	put_parts(f, false);
	assert_int_equal(f->result.result, SINK_RETRY);
	assert_int_equal(f->nrequests, 1);
}

/* --- servers that do not behave --------------------------------------------------------------- */

static void
test_a_server_that_says_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t before = clock_monotonic();

	set(f, "s3-timeout", "1s");
	REPLIES(f, { 0, "", NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->result.class, SINK_CLASS_TIMEOUT);
	assert_true(clock_monotonic() - before < 30 * SECOND);
}

/* Or a 412 would be for our own object; from the second time on it does not matter. */
static void
test_what_is_sent_first_is_sent_once(void **state)
{
	struct fixture *f = *state;

	REPLIES(f, { 200, "", NULL, NULL }, { -1, "", NULL, NULL }, { 412, ERROR("PreconditionFailed"), NULL, NULL });
	put(f, "x", false);
	put(f, "x", false);
	assert_int_equal(f->result.class, SINK_CLASS_UNREACHABLE);
	assert_false(f->result.foreign);
	assert_int_equal(f->nrequests, 2);
	put(f, "x", true);
	assert_int_equal(f->result.result, SINK_DELIVERED);
}

static void
test_nobody_listens(void **state)
{
	struct fixture *f = *state;

	set(f, "s3-endpoint", "http://127.0.0.1:1");
	put(f, "x", false);
	assert_int_equal(f->result.class, SINK_CLASS_UNREACHABLE);
	assert_non_null(strstr(f->why, "s3: http://127.0.0.1:1/sockets/"));
}

static void
test_an_answer_without_end(void **state)
{
	struct fixture *f = *state;
	struct reply reply = { .status = 403 };
	char *body = malloc(1 << 20);

	memset(body, 'x', 1 << 20);
	memcpy(body, ERROR("AccessDenied"), strlen(ERROR("AccessDenied")));
	body[(1 << 20) - 1] = '\0';
	reply.body = body;
	replies(f, &reply, 1);
	put(f, "x", false);
	assert_int_equal(f->result.class, SINK_CLASS_DENIED);
	free(body);
}

static void
test_what_is_cancelled_is_not_answered(void **state)
{
	struct fixture *f = *state;
	struct s3_upload *upload;

	REPLIES(f, { 0, "", NULL, NULL });
	s3_client_cancel(start(f, "x", 1, false));
	upload = start(f, "x", 1, false);
	while (f->nrequests == 0)
		event_base_loop(f->base, EVLOOP_ONCE);
	s3_client_cancel(upload);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_false(f->answered);
	/* One more is on its way when the client goes. */
	start(f, "x", 1, false);
	while (f->nrequests == 1)
		event_base_loop(f->base, EVLOOP_ONCE);
}

/* --- credentials -------------------------------------------------------------------------------- */

static void
test_files_are_read_again_when_they_change(void **state)
{
	struct fixture *f = *state;
	char path[128];

	REPLIES(f, { 200, "", NULL, NULL });
	write_file(f, "token", "first+token\n", path);
	set(f, "s3-session-token-file", path);
	put(f, "x", false);
	has_header(&f->requests[0], "x-amz-security-token: first+token");
	assert_non_null(strstr(f->requests[0].headers, "x-amz-date;x-amz-security-token, Signature"));
	write_file(f, "token", "another+token\n", path);
	write_file(f, "access", "AKIDOTHER\n", path);
	put(f, "x", false);
	has_header(&f->requests[1], "x-amz-security-token: another+token");
	assert_non_null(strstr(f->requests[1].headers, "Credential=AKIDOTHER/"));
	/* What cannot be read stays as it was. */
	assert_int_equal(unlink(path), 0);
	put(f, "x", false);
	assert_non_null(strstr(f->requests[2].headers, "Credential=AKIDOTHER/"));
	write_file(f, "access", "", path);
	put(f, "x", false);
	assert_non_null(strstr(f->requests[3].headers, "Credential=AKIDOTHER/"));
}

/* The three answers of a metadata service, with keys that are good for so long. */
static void
instance_replies(struct fixture *f, struct reply list[4], char *keys, size_t size, const char *access, uint64_t seconds)
{
	time_t end_time = (time_t)(clock_real() / SECOND + seconds);
	struct tm tm;
	char text[64];

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&end_time, &tm));
	snprintf(keys, size, "{\"Code\" : \"Success\", \"AccessKeyId\" : \"%s\", \"SecretAccessKey\" : \"s\\/s\", \"Token\" : \"t==\", "
	    "\"Expiration\" : \"%s\"}", access, text);
	list[0] = (struct reply){ 200, "TOKEN==", NULL, NULL };
	list[1] = (struct reply){ 200, "my-role\n", NULL, NULL };
	list[2] = (struct reply){ 200, keys, NULL, NULL };
	list[3] = (struct reply){ 200, "", NULL, NULL };
	replies(f, list, 4);
}

static void
test_an_instance(void **state)
{
	struct fixture *f = *state;
	struct reply list[4];
	char keys[512];

	set(f, "s3-credentials", "instance");
	set(f, "s3-instance-endpoint", f->endpoint);
	instance_replies(f, list, keys, sizeof(keys), "ASIA1", 3600);
	put(f, "x", false);
	assert_int_equal(f->result.result, SINK_DELIVERED);
	assert_string_equal(f->requests[0].method, "PUT");
	assert_string_equal(f->requests[0].uri, "/latest/api/token");
	has_header(&f->requests[0], "x-aws-ec2-metadata-token-ttl-seconds: 300");
	assert_string_equal(f->requests[1].uri, "/latest/meta-data/iam/security-credentials/");
	has_header(&f->requests[1], "x-aws-ec2-metadata-token: TOKEN==");
	assert_string_equal(f->requests[2].uri, "/latest/meta-data/iam/security-credentials/my-role");
	has_header(&f->requests[3], "x-amz-security-token: t==");
	assert_non_null(strstr(f->requests[3].headers, "Credential=ASIA1/"));
	/* They are kept; but not if the server does not take them. */
	REPLIES(f, { 403, ERROR("ExpiredToken"), NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->nrequests, 1);
	instance_replies(f, list, keys, sizeof(keys), "ASIA2", 240);
	put(f, "x", false);
	assert_int_equal(f->nrequests, 4);
	assert_non_null(strstr(f->requests[3].headers, "Credential=ASIA2/"));
	/* Near their end they are fetched anew, and used to the end if that fails. */
	REPLIES(f, { 500, "", NULL, NULL }, { 200, "", NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->result.result, SINK_DELIVERED);
	assert_string_equal(f->requests[0].uri, "/latest/api/token");
	assert_non_null(strstr(f->requests[1].headers, "Credential=ASIA2/"));
}

static void
test_an_instance_without_a_role(void **state)
{
	struct fixture *f = *state;

	set(f, "s3-credentials", "instance");
	set(f, "s3-instance-endpoint", f->endpoint);
	REPLIES(f, { 200, "TOKEN", NULL, NULL }, { 404, "", NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->result.class, SINK_CLASS_AUTHENTICATION);
	assert_non_null(strstr(f->why, "no credentials from instance"));
	assert_non_null(strstr(f->why, "the role of the instance"));
	REPLIES(f, { 200, "TOKEN", NULL, NULL }, { 200, "r", NULL, NULL }, { 200, "{\"Code\": \"Failed\"}", NULL, NULL });
	put(f, "x", false);
	assert_non_null(strstr(f->why, "was asked for keys"));
}

#define ASSUMED(end)											\
	"<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"	\
	"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>s/s</SecretAccessKey>"	\
	"<SessionToken>web+token</SessionToken><Expiration>" end "</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"	\
	"</AssumeRoleWithWebIdentityResponse>"

static void
test_a_web_identity(void **state)
{
	struct fixture *f = *state;
	char path[128];

	write_file(f, "token", "ey.J/=\n", path);
	set(f, "s3-credentials", "web-identity");
	set(f, "s3-web-identity-token-file", path);
	set(f, "s3-role-arn", "arn:aws:iam::1:role/r");
	set(f, "s3-sts-endpoint", f->endpoint);
	REPLIES(f, { 200, ASSUMED("2099-01-01T00:00:00.000Z"), NULL, NULL }, { 200, "", NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->result.result, SINK_DELIVERED);
	assert_string_equal(f->requests[0].method, "POST");
	assert_string_equal(f->requests[0].uri, "/");
	assert_string_equal(f->requests[0].body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=tcpdiag&"
	    "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&WebIdentityToken=ey.J%2F%3D");
	has_header(&f->requests[1], "x-amz-security-token: web+token");
	assert_non_null(strstr(f->requests[1].headers, "Credential=ASIAWEB/"));
}

static void
test_a_web_identity_that_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[128];

	write_file(f, "token", "ey.J\n", path);
	set(f, "s3-credentials", "web-identity");
	set(f, "s3-web-identity-token-file", path);
	set(f, "s3-role-arn", "arn:aws:iam::1:role/r");
	set(f, "s3-sts-endpoint", f->endpoint);
	REPLIES(f, { 400, ERROR("InvalidIdentityToken"), NULL, NULL });
	put(f, "x", false);
	assert_int_equal(f->result.class, SINK_CLASS_AUTHENTICATION);
	assert_non_null(strstr(f->why, "InvalidIdentityToken: In words."));
	assert_int_equal(unlink(path), 0);
	put(f, "x", false);
	assert_non_null(strstr(f->why, "s3-web-identity-token-file: "));
	assert_int_equal(f->nrequests, 1);
}

static void
test_a_secret_that_is_missing_is_named(void **state)
{
	struct fixture *f = *state;
	char path[128], error[512];

	snprintf(path, sizeof(path), "%s/secret", f->folder);
	assert_int_equal(unlink(path), 0);
	assert_null(s3_client_new(&f->config, f->base, error, sizeof(error)));
	assert_non_null(strstr(error, "s3-secret-key-file: "));
	assert_non_null(strstr(error, "No such file"));
	write_file(f, "secret", " \n", path);
	assert_null(s3_client_new(&f->config, f->base, error, sizeof(error)));
	assert_non_null(strstr(error, "s3-secret-key-file: "));
	write_file(f, "secret", "s", path);
	set(f, "s3-ca-file", "/nosuch/ca.pem");
	assert_null(s3_client_new(&f->config, f->base, error, sizeof(error)));
	assert_non_null(strstr(error, "s3-ca-file: /nosuch/ca.pem: No such file"));
}

/* --- the configuration --------------------------------------------------------------------------- */

static const struct {
	const char	*key, *value;		/* beside a good configuration */
	const char	*wrong, *says;		/* NULL: it is right */
	const char	*host, *path;
} words[] = {
	{ "s3-endpoint", "", NULL, NULL, "sockets.s3.us-east-1.amazonaws.com", "" },
	{ "s3-endpoint", "http://[::1]:9000", NULL, NULL, "[::1]:9000", "/sockets" },
	{ "s3-endpoint", "https://minio:443/", NULL, NULL, "minio", "/sockets" },
	{ "s3-endpoint", "http://minio:80", NULL, NULL, "minio", "/sockets" },
	{ "s3-endpoint", "https://minio:9000", NULL, NULL, "minio:9000", "/sockets" },
	{ "s3-endpoint", "minio:9000", "s3-endpoint", "is not http://HOST", NULL, NULL },
	{ "s3-endpoint", "ftp://minio", "s3-endpoint", "is not http://HOST", NULL, NULL },
	{ "s3-endpoint", "http://minio/path", "s3-endpoint", "is not http://HOST", NULL, NULL },
	{ "s3-endpoint", "http://user:pass@minio", "s3-endpoint", "is not http://HOST", NULL, NULL },
	{ "s3-style", "virtual", NULL, NULL, "sockets.minio:9000", "" },
	{ "s3-style", "dns", "s3-style", "none of auto, path, virtual", NULL, NULL },
	{ "s3-bucket", "a", "s3-bucket", "3 to 63", NULL, NULL },
	{ "s3-bucket", "", "s3-bucket", "needs s3-bucket", NULL, NULL },
	{ "s3-bucket", "a/b", "s3-bucket", "3 to 63", NULL, NULL },
	{ "s3-region", "US East", "s3-region", "is no region", NULL, NULL },
	{ "s3-sse", "aes", "s3-sse", "none of none, AES256", NULL, NULL },
	{ "s3-sse-kms-key-id", "k", "s3-sse-kms-key-id", "needs s3-sse = aws:kms", NULL, NULL },
	{ "s3-storage-class", "A B", "s3-storage-class", "no letter", NULL, NULL },
	{ "s3-credentials", "environment", "s3-credentials", "none of files, instance, web-identity", NULL, NULL },
	{ "s3-credentials", "web-identity", "s3-web-identity-token-file", "needs s3-web-identity-token-file", NULL, NULL },
	{ "s3-secret-key-file", "", "s3-secret-key-file", "needs s3-access-key-file and", NULL, NULL },
	{ "s3-ca-file", "/ca.pem", "s3-ca-file", "https://", NULL, NULL },
	{ "s3-sts-endpoint", "http://sts/x", "s3-sts-endpoint", "is not http://HOST", NULL, NULL },
};

static void
test_words(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct s3_target target;
		char error[512] = "";
		const char *wrong;

		set(f, "s3-endpoint", "http://minio:9000");
		set(f, words[i].key, words[i].value);
		wrong = s3_client_check(&f->config, error, sizeof(error));
		if (words[i].wrong != NULL && (wrong == NULL || strcmp(wrong, words[i].wrong) != 0 || strstr(error, words[i].says) == NULL))
			fail_msg("%s = %s: %s: %s", words[i].key, words[i].value, wrong, error);
		if (words[i].wrong == NULL) {
			if (wrong != NULL)
				fail_msg("%s = %s: %s: %s", words[i].key, words[i].value, wrong, error);
			assert_null(s3_target_resolve(&target, &f->config, error, sizeof(error)));
			assert_string_equal(target.host, words[i].host);
			assert_string_equal(target.path, words[i].path);
		}
		config_free(&f->config);
		config_init(&f->config);
		set(f, "s3-bucket", "sockets");
		set(f, "s3-access-key-file", "/a");
		set(f, "s3-secret-key-file", "/s");
	}
}

static void
test_xml(void **state)
{
	static const struct {
		const char *text, *value;
	} rows[] = {
		{ "<a><b>one</b><b>two</b></a>", "one" },
		{ "<a><b>&quot;&amp;&#x41;</b></a>", "\"&A" },
		{ "<a><b/></a>", "" },
		{ "<x:a xmlns:x='u'><b>1</b></x:a>", "1" },
		{ "<a><b>cut off in the mid", NULL },
		{ "<!DOCTYPE a [<!ENTITY e 'evil'>]><a><b>&e;</b></a>", NULL },
		{ "no XML", NULL },
		{ "", NULL },
	};
	char value[8];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(s3_xml_find(rows[i].text, strlen(rows[i].text), "b", value, sizeof(value)), rows[i].value != NULL);
		assert_string_equal(value, rows[i].value != NULL ? rows[i].value : "");
	}
	assert_true(s3_xml_find("<b>0123456789</b>", 17, "b", value, sizeof(value)));
	assert_string_equal(value, "0123456");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_put),
		TEST(test_what_an_answer_means),
		TEST(test_an_object_that_is_there_is_as_good_the_second_time),
		TEST(test_a_server_that_does_not_know_the_condition),
		TEST(test_a_server_that_does_not_know_something_else),
		TEST(test_a_large_object_goes_in_parts),
		TEST(test_parts_that_fail_are_cleared),
		TEST(test_a_part_without_a_tag_is_no_success),
		TEST(test_a_server_that_says_nothing),
		TEST(test_what_is_sent_first_is_sent_once),
		TEST(test_nobody_listens),
		TEST(test_an_answer_without_end),
		TEST(test_what_is_cancelled_is_not_answered),
		TEST(test_files_are_read_again_when_they_change),
		TEST(test_an_instance),
		TEST(test_an_instance_without_a_role),
		TEST(test_a_web_identity),
		TEST(test_a_web_identity_that_is_refused),
		TEST(test_a_secret_that_is_missing_is_named),
		TEST(test_words),
		cmocka_unit_test(test_xml),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
