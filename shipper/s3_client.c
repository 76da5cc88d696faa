/* Objects into a bucket: see s3_client.h. */
#include <sys/queue.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "shipper/http_client.h"
#include "shipper/s3_answer.h"
#include "shipper/s3_client.h"
#include "shipper/s3_credentials.h"
#include "shipper/s3_target.h"
#include "shipper/s3_xml.h"
#include "shipper/sigv4.h"

enum {
	S3_CLIENT_CA_MAX = 1024 * 1024,
	S3_CLIENT_WHY = 1536,
	S3_CLIENT_KEY_MAX = 1024,	/* what S3 takes */
	S3_CLIENT_UPLOAD_ID_MAX = 1024,
	S3_CLIENT_CONNECT = 10,		/* s; or s3-timeout, if that is less */
	S3_CLIENT_BASE64 = 4 * ((SIGV4_HASH_SIZE + 2) / 3) + 1,
};

struct s3_client {
	const struct config	*config;
	struct event_base	*base;
	struct s3_target	 target;
	struct http_client	*http;
	struct s3_credentials	*credentials;
	bool			 unconditional;	/* the server does not know If-None-Match */
	TAILQ_HEAD(, s3_upload)	 uploads;
};

/* What an upload is doing. */
enum s3_step { S3_PUT, S3_CREATE, S3_PART, S3_COMPLETE, S3_ABORT };

struct s3_part {
	char	etag[HTTP_CLIENT_FIELD_MAX];
	char	sum[S3_CLIENT_BASE64];
};

struct s3_upload {
	TAILQ_ENTRY(s3_upload)	 link;
	struct s3_client	*client;
	s3_client_answered	 answered;
	void			*context;
	struct s3_object	 object;
	char			 key[S3_CLIENT_KEY_MAX + 1];
	enum s3_step		 step;
	struct event		*next;		/* the step's request, from the event loop */
	struct s3_wait		 wait;
	bool			 waiting;	/* for credentials */
	bool			 unconditional;	/* the server did not know something of the request: without If-None-Match once more */
	struct http_call	*call;
	struct buffer		 body;		/* of a request that is not the object */
	/* in parts */
	char			 id[S3_CLIENT_UPLOAD_ID_MAX];
	struct s3_part		*parts;
	size_t			 nparts;
	size_t			 part;		/* the one that is sent, from 0 */
	/* what it will come to, when what was left behind is cleared */
	struct s3_result	 result;
	char			 why[S3_CLIENT_WHY];
};

/* --- the configuration -------------------------------------------------------------------- */

static const char *
s3_client_check_word(const char *key, const char *value, const char *const *words, char *error, size_t size)
{
	size_t used = (size_t)snprintf(error, size, "'%s' is none of", value);

	for (size_t i = 0; words[i] != NULL; i++) {
		if (strcmp(words[i], value) == 0)
			return NULL;
		if (used < size)
			used += (size_t)snprintf(error + used, size - used, "%s%s", i > 0 ? ", " : " ", words[i]);
	}
	return key;
}

/* What goes into a header or a path as it is. */
static const char *
s3_client_check_plain(const char *key, const char *value, char *error, size_t size)
{
	for (const char *c = value; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~') {
			snprintf(error, size, "'%s' has a character that is no letter, digit or plain sign", value);
			return key;
		}
	return NULL;
}

static const char *
s3_client_check_endpoint(const char *key, const char *value, char *error, size_t size)
{
	const char *fault = value[0] != '\0' ? s3_target_endpoint_fault(value) : NULL;

	if (fault == NULL && (value[0] == '\0' || value[strlen(value) - 1] != '/'))
		return NULL;
	snprintf(error, size, "'%s' %s", value, fault != NULL ? fault : "ends with a slash");
	return key;
}

const char *
s3_client_check(const struct config *config, char *error, size_t size)
{
	static const char *const encryptions[] = { "none", "AES256", "aws:kms", "aws:kms:dsse", NULL };
	struct s3_target target;
	const char *key;

	if ((key = s3_target_resolve(&target, config, error, size)) != NULL ||
	    (key = s3_client_check_word("s3-sse", config->s3_sse, encryptions, error, size)) != NULL ||
	    (key = s3_client_check_plain("s3-sse-kms-key-id", config->s3_sse_kms_key_id, error, size)) != NULL ||
	    (key = s3_client_check_plain("s3-storage-class", config->s3_storage_class, error, size)) != NULL ||
	    (key = s3_client_check_endpoint("s3-instance-endpoint", config->s3_instance_endpoint, error, size)) != NULL ||
	    (key = s3_client_check_endpoint("s3-sts-endpoint", config->s3_sts_endpoint, error, size)) != NULL)
		return key;
	if (config->s3_sse_kms_key_id[0] != '\0' && strncmp(config->s3_sse, "aws:kms", 7) != 0) {
		snprintf(error, size, "a key needs s3-sse = aws:kms");
		return "s3-sse-kms-key-id";
	}
	if (config->s3_ca_file[0] != '\0' && strcmp(target.scheme, "https") != 0) {
		snprintf(error, size, "authorities need an s3-endpoint that is https://");
		return "s3-ca-file";
	}
	return s3_credentials_check(config, error, size);
}

/* Empty where there is no such file.  -1 with a sentence. */
static int
s3_client_read_ca(const struct config *config, struct buffer *ca, char *error, size_t size)
{
	const char *name = config->s3_ca_file;
	cleanup_fd int fd = name[0] != '\0' ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = -1;

	if (name[0] == '\0')
		return 0;
	if (fd != -1)
		n = read(fd, buffer_reserve(ca, S3_CLIENT_CA_MAX), S3_CLIENT_CA_MAX);
	if (n > 0 && n < S3_CLIENT_CA_MAX) {
		ca->length = (size_t)n;
		return 0;
	}
	snprintf(error, size, "s3-ca-file: %s: %s", name, n == -1 ? strerror(errno) : n == 0 ? "the file is empty" : "it is too large");
	return -1;
}

struct s3_client *
s3_client_new(const struct config *config, struct event_base *base, char *error, size_t size)
{
	struct s3_client *client = calloc(1, sizeof(*client));
	uint64_t connect = S3_CLIENT_CONNECT * SECOND;
	struct buffer ca = { 0 };
	struct http_client_options options = { .base = base, .ca = &ca, .stall = config->s3_timeout };

	if (client == NULL) {
		snprintf(error, size, "s3: out of memory");
		return NULL;
	}
	client->config = config;
	client->base = base;
	TAILQ_INIT(&client->uploads);
	options.connect = config->s3_timeout < connect ? config->s3_timeout : connect;
	if (s3_target_resolve(&client->target, config, error, size) == NULL && s3_client_read_ca(config, &ca, error, size) == 0 &&
	    (client->http = http_client_new(&options, error, size)) != NULL)
		client->credentials = s3_credentials_new(config, client->http, error, size);
	buffer_free(&ca);
	if (client->credentials != NULL)
		return client;
	s3_client_free(client);
	return NULL;
}

void
s3_client_free(struct s3_client *client)
{
	struct s3_upload *upload;

	while ((upload = TAILQ_FIRST(&client->uploads)) != NULL)
		s3_client_cancel(upload);
	if (client->credentials != NULL)
		s3_credentials_free(client->credentials);
	if (client->http != NULL)
		http_client_free(client->http);
	free(client);
}

/* --- a request ------------------------------------------------------------------------------- */

enum { S3_HEADERS_MAX = 16 };

/* The headers of a request as they are signed, and then as they are sent. */
struct s3_request {
	struct sigv4_pair	 pairs[S3_HEADERS_MAX];
	size_t			 npairs;
	const uint8_t		*body;
	size_t			 length;
	char			 date[SIGV4_DATE_SIZE];
	char			 payload[SIGV4_HEX_SIZE];
	char			 sum[S3_CLIENT_BASE64];
	struct buffer		 path, query;
};

static void
s3_request_add(struct s3_request *request, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	if (request->npairs == S3_HEADERS_MAX)
		fatal(EXIT_CODE_INTERNAL, "a request to S3 has too many headers");
	request->pairs[request->npairs++] = (struct sigv4_pair){ name, value };
}

/* Both ways of saying what the body is: for the signature, and for S3 to keep beside the object. */
static void
s3_request_set_body(struct s3_request *request, const uint8_t *body, size_t length)
{
	uint8_t hash[SIGV4_HASH_SIZE];

	request->body = body;
	request->length = length;
	sigv4_hash(hash, body, length);
	sigv4_hex(request->payload, hash);
	EVP_EncodeBlock((unsigned char *)request->sum, hash, sizeof(hash));
}

/* What an object is to be, wherever it is begun. */
static void
s3_request_add_object(struct s3_request *request, const struct s3_upload *upload)
{
	const struct config *config = upload->client->config;
	bool encrypted = strcmp(config->s3_sse, "none") != 0;

	s3_request_add(request, "content-type", upload->object.type);
	s3_request_add(request, "x-amz-server-side-encryption", encrypted ? config->s3_sse : NULL);
	s3_request_add(request, "x-amz-server-side-encryption-aws-kms-key-id", config->s3_sse_kms_key_id);
	s3_request_add(request, "x-amz-storage-class", config->s3_storage_class);
}

static void
s3_request_add_condition(struct s3_request *request, const struct s3_upload *upload)
{
	s3_request_add(request, "if-none-match", upload->client->unconditional || upload->unconditional ? NULL : "*");
}

static void
s3_request_set_query(struct s3_request *request, const struct s3_upload *upload, bool part)
{
	if (part)
		buffer_printf(&request->query, "partNumber=%zu&", upload->part + 1);
	buffer_append_string(&request->query, "uploadId=");
	sigv4_encode(&request->query, upload->id, false);
}

/* --- the steps --------------------------------------------------------------------------------- */

static void
s3_put_fill(struct s3_upload *upload, struct s3_request *request)
{
	s3_request_set_body(request, upload->object.bytes, upload->object.length);
	s3_request_add_object(request, upload);
	s3_request_add_condition(request, upload);
	s3_request_add(request, "x-amz-checksum-sha256", request->sum);
}

static void
s3_create_fill(struct s3_upload *upload, struct s3_request *request)
{
	s3_request_set_body(request, (const uint8_t *)"", 0);
	s3_request_add_object(request, upload);
	s3_request_add(request, "x-amz-checksum-algorithm", "SHA256");
	buffer_append_string(&request->query, "uploads=");
}

static void
s3_part_fill(struct s3_upload *upload, struct s3_request *request)
{
	size_t most = upload->client->config->s3_multipart, from = upload->part * most;

	s3_request_set_body(request, upload->object.bytes + from,
	    upload->object.length - from < most ? upload->object.length - from : most);
	s3_request_add(request, "x-amz-checksum-sha256", request->sum);
	memcpy(upload->parts[upload->part].sum, request->sum, sizeof(request->sum));
	s3_request_set_query(request, upload, true);
}

/* An ETag has quotes, and nothing else that would have to be escaped: see s3_part_taken. */
static void
s3_complete_fill(struct s3_upload *upload, struct s3_request *request)
{
	struct buffer *body = &upload->body;

	body->length = 0;
	buffer_append_string(body, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (size_t i = 0; i < upload->nparts; i++)
		buffer_printf(body, "<Part><ETag>%s</ETag><PartNumber>%zu</PartNumber><ChecksumSHA256>%s</ChecksumSHA256></Part>",
		    upload->parts[i].etag, i + 1, upload->parts[i].sum);
	buffer_append_string(body, "</CompleteMultipartUpload>");
	s3_request_set_body(request, body->bytes, body->length);
	s3_request_add(request, "content-type", "application/xml");
	s3_request_add_condition(request, upload);
	s3_request_set_query(request, upload, false);
}

static void
s3_abort_fill(struct s3_upload *upload, struct s3_request *request)
{
	s3_request_set_body(request, (const uint8_t *)"", 0);
	s3_request_set_query(request, upload, false);
}

static bool
s3_create_taken(struct s3_upload *upload, const struct http_answer *answer)
{
	return s3_xml_find(answer->body, answer->length, "UploadId", upload->id, sizeof(upload->id)) && upload->id[0] != '\0';
}

static bool
s3_part_taken(struct s3_upload *upload, const struct http_answer *answer)
{
	if (answer->etag[0] == '\0' || strpbrk(answer->etag, "<>&") != NULL)
		return false;
	snprintf(upload->parts[upload->part].etag, sizeof(upload->parts[0].etag), "%s", answer->etag);
	upload->part++;
	return true;
}

static const struct {
	const char	*method;
	void		(*fill)(struct s3_upload *, struct s3_request *);
	/* What its success brings.  False: it is not what it should be.  NULL: nothing. */
	bool		(*taken)(struct s3_upload *, const struct http_answer *);
} s3_steps[] = {
	[S3_PUT] = { "PUT", s3_put_fill, NULL },
	[S3_CREATE] = { "POST", s3_create_fill, s3_create_taken },
	[S3_PART] = { "PUT", s3_part_fill, s3_part_taken },
	[S3_COMPLETE] = { "POST", s3_complete_fill, NULL },
	[S3_ABORT] = { "DELETE", s3_abort_fill, NULL },
};

/* --- its end ------------------------------------------------------------------------------------- */

void
s3_client_cancel(struct s3_upload *upload)
{
	if (upload->call != NULL)
		http_client_cancel(upload->call);
	if (upload->waiting)
		s3_credentials_leave(upload->client->credentials, &upload->wait);
	TAILQ_REMOVE(&upload->client->uploads, upload, link);
	if (upload->next != NULL)
		event_free(upload->next);
	buffer_free(&upload->body);
	free(upload->parts);
	free(upload);
}

static void
s3_upload_end(struct s3_upload *upload)
{
	if (upload->result.result != SINK_DELIVERED)
		upload->result.why = upload->why;
	upload->answered(upload->context, &upload->result);
	s3_client_cancel(upload);
}

static void
s3_upload_go(struct s3_upload *upload, enum s3_step step)
{
	upload->step = step;
	event_active(upload->next, 0, 0);
}

/* What it is in the end; parts that lie at the server are cleared first. */
static void
s3_upload_finish(struct s3_upload *upload, struct s3_result result)
{
	upload->result = result;
	if (upload->id[0] != '\0' && result.class != SINK_CLASS_UNREACHABLE)
		s3_upload_go(upload, S3_ABORT);
	else
		s3_upload_end(upload);
}

static void __attribute__((format(printf, 3, 4)))
s3_upload_fail(struct s3_upload *upload, struct s3_result result, const char *format, ...)
{
	const struct s3_target *target = &upload->client->target;
	int used = snprintf(upload->why, sizeof(upload->why), "s3: %s://%s%s/%s: ", target->scheme, target->host, target->path, upload->key);
	va_list arguments;

	va_start(arguments, format);
	if ((size_t)used < sizeof(upload->why))
		vsnprintf(upload->why + used, sizeof(upload->why) - (size_t)used, format, arguments);
	va_end(arguments);
	s3_upload_finish(upload, result);
}

/* --- its way ----------------------------------------------------------------------------------------- */

/* It was that, and nothing else, that the server does not know: from now on nobody asks it for that. */
static void
s3_upload_was_unconditional(struct s3_upload *upload)
{
	upload->client->unconditional = true;
	log_notice("s3: %s does not know If-None-Match; it is left out from now on", upload->client->target.host);
}

static void
s3_upload_refused(struct s3_upload *upload, const struct s3_answer *answer)
{
	bool conditional = !upload->client->unconditional && !upload->unconditional &&
	    (upload->step == S3_PUT || upload->step == S3_COMPLETE);

	if (answer->keys)
		s3_credentials_doubt(upload->client->credentials);
	if (answer->unknown && conditional) {
		upload->unconditional = true;
		s3_upload_go(upload, upload->step);
	} else if (answer->there && upload->object.again)
		s3_upload_finish(upload, (struct s3_result){ SINK_DELIVERED, SINK_CLASS_NONE, NULL, false });
	else if (answer->there)
		s3_upload_fail(upload, (struct s3_result){ SINK_RETRY, answer->class, NULL, true },
		    "there is an object of that key, and it is not one that was sent from here");
	else
		s3_upload_fail(upload, (struct s3_result){ SINK_RETRY, answer->class, NULL, false }, "%s", answer->text);
}

static void
s3_upload_next(struct s3_upload *upload)
{
	if (upload->step == S3_CREATE || (upload->step == S3_PART && upload->part < upload->nparts))
		s3_upload_go(upload, S3_PART);
	else if (upload->step == S3_PART)
		s3_upload_go(upload, S3_COMPLETE);
	else {
		if (upload->unconditional && !upload->client->unconditional)
			s3_upload_was_unconditional(upload);
		upload->id[0] = '\0';
		s3_upload_finish(upload, (struct s3_result){ SINK_DELIVERED, SINK_CLASS_NONE, NULL, false });
	}
}

static void
s3_upload_answered(void *context, const struct http_answer *http)
{
	struct s3_upload *upload = context;
	struct s3_answer answer;

	upload->call = NULL;
	/* Whatever becomes of an abort: who owns the bucket clears what is left. */
	if (upload->step == S3_ABORT)
		s3_upload_end(upload);
	else if (!s3_answer_read(&answer, http))
		s3_upload_refused(upload, &answer);
	else if (s3_steps[upload->step].taken != NULL && !s3_steps[upload->step].taken(upload, http))
		s3_upload_fail(upload, (struct s3_result){ SINK_RETRY, SINK_CLASS_INVALID, NULL, false },
		    "the server answered with status %ld, and nothing that S3 would say", http->status);
	else
		s3_upload_next(upload);
}

/* "name: value" of each pair; the texts are one after another in to. */
static void
s3_request_lines(const struct s3_request *request, struct buffer *to, const char *lines[S3_HEADERS_MAX])
{
	size_t starts[S3_HEADERS_MAX];

	for (size_t i = 0; i < request->npairs; i++) {
		starts[i] = to->length;
		buffer_printf(to, "%s: %s", request->pairs[i].name, request->pairs[i].value);
		buffer_append(to, "", 1);
	}
	for (size_t i = 0; i < request->npairs; i++)
		lines[i] = (const char *)to->bytes + starts[i];
}

static void
s3_request_sign(struct s3_request *request, const struct s3_upload *upload, const struct s3_keys *keys, struct buffer *authorization)
{
	const struct s3_client *client = upload->client;
	const struct sigv4_signer signer = { keys->access_key, keys->secret_key, client->config->s3_region, "s3", request->date };
	struct sigv4_request canonical = { .method = s3_steps[upload->step].method, .payload = request->payload };

	sigv4_date(request->date, clock_real());
	s3_request_add(request, "host", client->target.host);
	s3_request_add(request, "x-amz-content-sha256", request->payload);
	s3_request_add(request, "x-amz-date", request->date);
	s3_request_add(request, "x-amz-security-token", keys->session_token);
	buffer_printf(&request->path, "%s/", client->target.path);
	sigv4_encode(&request->path, upload->key, true);
	buffer_append(&request->path, "", 1);
	buffer_append(&request->query, "", 1);
	canonical.path = (const char *)request->path.bytes;
	canonical.query = (const char *)request->query.bytes;
	canonical.headers = request->pairs;
	canonical.nheaders = request->npairs;
	sigv4_authorization(authorization, &canonical, &signer);
	buffer_append(authorization, "", 1);
	s3_request_add(request, "authorization", (const char *)authorization->bytes);
	/* It is no header of ours otherwise, and libcurl would add one. */
	if (upload->step != S3_PUT && upload->step != S3_CREATE && upload->step != S3_COMPLETE)
		s3_request_add(request, "content-type", " ");
}

static void
s3_upload_keys(void *context, const struct s3_keys *keys, enum sink_class class, const char *why)
{
	struct s3_upload *upload = context;
	const struct s3_target *target = &upload->client->target;
	struct buffer url = { 0 }, lines = { 0 }, authorization = { 0 };
	const char *headers[S3_HEADERS_MAX];
	struct s3_request request = { 0 };
	char error[256];

	upload->waiting = false;
	if (keys == NULL && upload->step == S3_ABORT) {
		s3_upload_end(upload);
		return;
	}
	if (keys == NULL) {
		s3_upload_fail(upload, (struct s3_result){ SINK_RETRY, class, NULL, false }, "%s", why);
		return;
	}
	s3_steps[upload->step].fill(upload, &request);
	s3_request_sign(&request, upload, keys, &authorization);
	s3_request_lines(&request, &lines, headers);
	buffer_printf(&url, "%s://%s%s%s%s", target->scheme, target->host, (const char *)request.path.bytes,
	    request.query.length > 1 ? "?" : "", (const char *)request.query.bytes);
	buffer_append(&url, "", 1);
	upload->call = http_client_send(upload->client->http, &(struct http_request){
		.method = s3_steps[upload->step].method,
		.url = (const char *)url.bytes,
		.headers = headers,
		.nheaders = request.npairs,
		.body = request.body,
		.length = request.length,
		/* A 412 for what was sent the first time says that another's object is there, so it has to be the first time. */
		.once = !upload->object.again && (upload->step == S3_PUT || upload->step == S3_COMPLETE),
	}, s3_upload_answered, upload, error, sizeof(error));
	buffer_free(&request.path);
	buffer_free(&request.query);
	buffer_free(&authorization);
	buffer_free(&lines);
	buffer_free(&url);
	if (upload->call == NULL && upload->step == S3_ABORT)
		s3_upload_end(upload);
	else if (upload->call == NULL)
		s3_upload_fail(upload, (struct s3_result){ SINK_RETRY, SINK_CLASS_SYSTEM, NULL, false }, "%s", error);
}

static void
s3_upload_step(evutil_socket_t fd, short what, void *context)
{
	struct s3_upload *upload = context;

	(void)fd;
	(void)what;
	upload->waiting = true;
	s3_credentials_get(upload->client->credentials, &upload->wait);
}

struct s3_upload *
s3_client_put(struct s3_client *client, const struct s3_object *object, s3_client_answered answered, void *context)
{
	struct s3_upload *upload = calloc(1, sizeof(*upload));
	size_t most = client->config->s3_multipart;

	if (upload == NULL || (upload->next = evtimer_new(client->base, s3_upload_step, upload)) == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: an upload");
	upload->client = client;
	upload->answered = answered;
	upload->context = context;
	upload->object = *object;
	upload->wait.ready = s3_upload_keys;
	upload->wait.context = upload;
	snprintf(upload->key, sizeof(upload->key), "%s", object->key);
	TAILQ_INSERT_TAIL(&client->uploads, upload, link);
	if (object->length > most) {
		upload->nparts = (object->length + most - 1) / most;
		upload->parts = calloc(upload->nparts, sizeof(upload->parts[0]));
		if (upload->parts == NULL)
			fatal(EXIT_CODE_SYSTEM, "out of memory: an upload in %zu parts", upload->nparts);
	}
	s3_upload_go(upload, upload->nparts > 0 ? S3_CREATE : S3_PUT);
	return upload;
}
