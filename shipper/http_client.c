/* HTTP requests on the event loop: see http_client.h. */
#include <sys/queue.h>

#include <curl/curl.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/log.h"
#include "shipper/http_client.h"

enum {
	HTTP_CLIENT_HEADERS_MAX = 64 * 1024,	/* bytes of all headers of an answer */
	HTTP_CLIENT_SLOWEST = 16 * 1024,	/* bytes a second that a request may be as slow as, in all */
	HTTP_CLIENT_BUFFER = 256 * 1024,
	HTTP_CLIENT_IDLE = 4,			/* connections that are kept for the next request */
};

struct http_call {
	TAILQ_ENTRY(http_call)	 link;
	struct http_client	*client;
	CURL			*easy;
	struct curl_slist	*headers;
	http_answered		 answered;
	void			*context;
	struct buffer		 body;
	size_t			 header_bytes;
	bool			 cut;		/* the body is longer than what is kept */
	char			 date[HTTP_CLIENT_FIELD_MAX];
	char			 etag[HTTP_CLIENT_FIELD_MAX];
	char			 why[CURL_ERROR_SIZE];
};

struct http_client {
	struct http_client_options options;
	struct buffer		 ca;
	CURLM			*multi;
	struct event		*timer;
	TAILQ_HEAD(, http_call)	 calls;
};

/* --- what an error means ------------------------------------------------------------ */

static const struct {
	CURLcode	code;
	enum sink_class	class;
} http_client_classes[] = {
	{ CURLE_COULDNT_RESOLVE_HOST, SINK_CLASS_UNREACHABLE },
	{ CURLE_COULDNT_CONNECT, SINK_CLASS_UNREACHABLE },
	{ CURLE_SEND_ERROR, SINK_CLASS_UNREACHABLE },
	{ CURLE_RECV_ERROR, SINK_CLASS_UNREACHABLE },
	{ CURLE_GOT_NOTHING, SINK_CLASS_UNREACHABLE },
	{ CURLE_PARTIAL_FILE, SINK_CLASS_UNREACHABLE },
	{ CURLE_OPERATION_TIMEDOUT, SINK_CLASS_TIMEOUT },
	{ CURLE_SSL_CONNECT_ERROR, SINK_CLASS_TLS },
	{ CURLE_PEER_FAILED_VERIFICATION, SINK_CLASS_TLS },
	{ CURLE_SSL_CACERT_BADFILE, SINK_CLASS_TLS },
	{ CURLE_SSL_CIPHER, SINK_CLASS_TLS },
	{ CURLE_OUT_OF_MEMORY, SINK_CLASS_SYSTEM },
};

static enum sink_class
http_client_class(CURLcode code)
{
	for (size_t i = 0; i < sizeof(http_client_classes) / sizeof(http_client_classes[0]); i++)
		if (http_client_classes[i].code == code)
			return http_client_classes[i].class;
	return SINK_CLASS_OTHER;
}

/* --- an answer ------------------------------------------------------------------------- */

static size_t
http_call_body(char *bytes, size_t size, size_t count, void *context)
{
	struct http_call *call = context;
	size_t length = size * count, room = HTTP_CLIENT_BODY_MAX - call->body.length;

	buffer_append(&call->body, bytes, length < room ? length : room);
	call->cut = length > room;
	/* Less than all ends the transfer. */
	return call->cut ? 0 : length;
}

/* "Name: value\r\n" */
static void
http_call_field(char *to, size_t size, const char *line, size_t length, const char *name)
{
	size_t skip = strlen(name);

	if (length <= skip || strncasecmp(line, name, skip) != 0)
		return;
	while (skip < length && (line[skip] == ' ' || line[skip] == '\t'))
		skip++;
	while (length > skip && (unsigned char)line[length - 1] <= ' ')
		length--;
	snprintf(to, size, "%.*s", (int)(length - skip), line + skip);
}

static size_t
http_call_header(char *bytes, size_t size, size_t count, void *context)
{
	struct http_call *call = context;
	size_t length = size * count;

	if ((call->header_bytes += length) > HTTP_CLIENT_HEADERS_MAX)
		return 0;
	http_call_field(call->date, sizeof(call->date), bytes, length, "date:");
	http_call_field(call->etag, sizeof(call->etag), bytes, length, "etag:");
	return length;
}

static void
http_call_free(struct http_call *call)
{
	TAILQ_REMOVE(&call->client->calls, call, link);
	if (call->easy != NULL) {
		curl_multi_remove_handle(call->client->multi, call->easy);
		curl_easy_cleanup(call->easy);
	}
	curl_slist_free_all(call->headers);
	/* SECURITY: it may have been a secret. */
	if (call->body.bytes != NULL)
		explicit_bzero(call->body.bytes, call->body.length);
	buffer_free(&call->body);
	free(call);
}

static void
http_call_done(struct http_call *call, CURLcode code)
{
	struct http_answer answer = { .date = call->date, .etag = call->etag, .length = call->body.length };

	buffer_append(&call->body, "", 1);
	answer.body = (const char *)call->body.bytes;
	if (code == CURLE_OK || call->cut)
		curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &answer.status);
	if (answer.status == 0) {
		answer.class = http_client_class(code);
		answer.why = call->why[0] != '\0' ? call->why : curl_easy_strerror(code);
	}
	call->answered(call->context, &answer);
	http_call_free(call);
}

/* One at a time: who is answered may cancel others. */
static void
http_client_collect(struct http_client *client)
{
	struct http_call *call;
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
		http_call_done(call, message->data.result);
	}
}

/* --- libcurl on libevent ------------------------------------------------------------------ */

static void
http_client_ready(evutil_socket_t fd, short what, void *context)
{
	struct http_client *client = context;
	int running, action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

	curl_multi_socket_action(client->multi, fd, action, &running);
	http_client_collect(client);
}

static void
http_client_timeout(evutil_socket_t fd, short what, void *context)
{
	struct http_client *client = context;
	int running;

	(void)fd;
	(void)what;
	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	http_client_collect(client);
}

/* libcurl says what it waits for on a socket. */
static int
http_client_watch(CURL *easy, curl_socket_t fd, int what, void *context, void *watched)
{
	struct http_client *client = context;
	short events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
	struct event *event = watched;

	(void)easy;
	if (event != NULL)
		event_free(event);
	event = NULL;
	if (what != CURL_POLL_REMOVE) {
		event = event_new(client->options.base, fd, events, http_client_ready, client);
		if (event == NULL || event_add(event, NULL) == -1)
			fatal(EXIT_CODE_SYSTEM, "out of memory: an event of a socket");
	}
	curl_multi_assign(client->multi, fd, event);
	return 0;
}

static int
http_client_timer(CURLM *multi, long ms, void *context)
{
	struct http_client *client = context;
	struct timeval when = clock_timeval((uint64_t)(ms > 0 ? ms : 0) * MILLISECOND);

	(void)multi;
	if (ms < 0)
		evtimer_del(client->timer);
	else
		evtimer_add(client->timer, &when);
	return 0;
}

struct http_client *
http_client_new(const struct http_client_options *options, char *error, size_t size)
{
	struct http_client *client = calloc(1, sizeof(*client));

	if (client == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		snprintf(error, size, "libcurl does not start");
		free(client);
		return NULL;
	}
	client->options = *options;
	buffer_append(&client->ca, options->ca->bytes, options->ca->length);
	TAILQ_INIT(&client->calls);
	client->multi = curl_multi_init();
	client->timer = evtimer_new(options->base, http_client_timeout, client);
	if (client->multi == NULL || client->timer == NULL) {
		snprintf(error, size, "libcurl does not start: out of memory");
		http_client_free(client);
		return NULL;
	}
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, http_client_watch);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, http_client_timer);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_CLIENT_IDLE);
	return client;
}

void
http_client_free(struct http_client *client)
{
	struct http_call *call;

	while ((call = TAILQ_FIRST(&client->calls)) != NULL)
		http_call_free(call);
	if (client->multi != NULL)
		curl_multi_cleanup(client->multi);
	if (client->timer != NULL)
		event_free(client->timer);
	buffer_free(&client->ca);
	free(client);
	curl_global_cleanup();
}

/* --- a request ------------------------------------------------------------------------------ */

static bool
http_call_add_header(struct http_call *call, const char *line)
{
	struct curl_slist *longer = curl_slist_append(call->headers, line);

	if (longer != NULL)
		call->headers = longer;
	return longer != NULL;
}

static void
http_call_set_limits(CURL *easy, const struct http_client_options *options, size_t length)
{
	long stall = (long)(options->stall / SECOND);

	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(options->connect / MILLISECOND));
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, stall > 0 ? stall : 1L);
	/* And no server can hold it for ever by a byte now and then. */
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
	    (long)((options->connect + 4 * options->stall) / MILLISECOND + (uint64_t)length * 1000 / HTTP_CLIENT_SLOWEST));
}

static void
http_call_set_security(CURL *easy, struct http_client *client)
{
	struct curl_blob ca = { client->ca.bytes, client->ca.length, CURL_BLOB_NOCOPY };

	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (client->ca.length > 0)
		curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
}

static void
http_call_set(struct http_call *call, const struct http_request *request)
{
	CURL *easy = call->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	if (request->body != NULL) {
		/* Whatever the method is: so libcurl sends it from where it is, also from its beginning once more. */
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->length);
		curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)HTTP_CLIENT_BUFFER);
	}
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->once ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, http_call_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, http_call_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->why);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* A thread that resolves a name is never waited for. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	http_call_set_limits(easy, &call->client->options, request->length);
	http_call_set_security(easy, call->client);
}

struct http_call *
http_client_send(struct http_client *client, const struct http_request *request, http_answered answered, void *context, char *error,
    size_t size)
{
	struct http_call *call = calloc(1, sizeof(*call));
	bool whole = call != NULL;

	if (whole) {
		*call = (struct http_call){ .client = client, .answered = answered, .context = context };
		TAILQ_INSERT_TAIL(&client->calls, call, link);
		whole = (call->easy = curl_easy_init()) != NULL;
	}
	for (size_t i = 0; whole && i < request->nheaders; i++)
		whole = http_call_add_header(call, request->headers[i]);
	if (whole) {
		http_call_set(call, request);
		whole = curl_multi_add_handle(client->multi, call->easy) == CURLM_OK;
	}
	if (whole)
		return call;
	if (call != NULL)
		http_call_free(call);
	snprintf(error, size, "out of memory: a request to %s", request->url);
	return NULL;
}

void
http_client_cancel(struct http_call *call)
{
	http_call_free(call);
}
