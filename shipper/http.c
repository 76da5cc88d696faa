/* A small HTTP server: see http.h. */
#include <netinet/in.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "shipper/http.h"
#include "shipper/local_socket.h"

#define HTTP_TICK	(100 * MILLISECOND)

enum {
	HTTP_BACKLOG = 64,
	HTTP_TICKS = 10,		/* in a second */
	HTTP_SOCKET_MODE = 0660,	/* who is in the shipper's group may read */
	HTTP_INPUT_MAX = 2 * (HTTP_HEADER_MAX + HTTP_BODY_MAX),	/* bytes that wait to be understood */
	HTTP_METHODS = 0xffff,		/* all that evhttp knows, and those that it does not */
};

/* evhttp does not tell when a connection ends, but then takes its callbacks out. */
struct http_connection {
	struct bufferevent	*stream;	/* a reference; NULL: the place is free */
	uint64_t		 deadline;	/* monotonic ns */
};

struct http {
	struct http_options	 options;
	struct http_address	 address;
	struct local_socket	 local;		/* of a unix socket */
	int			 fd;		/* of an IP address, until it listens */
	struct evhttp		*server;
	struct evconnlistener	*listener;	/* the server's */
	struct event		*tick;		/* while there is a connection, or too few new ones are allowed */
	struct http_connection	 connections[HTTP_CONNECTIONS];
	size_t			 open;
	unsigned int		 allowed;	/* new ones, now */
	struct http_counts	 counts;
};

/* The one that listens: a listener's error callback is given evhttp's state, not ours. */
static struct http *http_listening;

/* --- addresses ---------------------------------------------------------------------- */

static int
http_address_fault(char *error, size_t size, const char *text)
{
	snprintf(error, size, "'%s' is not off, unix:/PATH, ADDRESS:PORT or [ADDRESS]:PORT, with an address in numbers", text);
	return -1;
}

static bool
http_parse_port(const char *text, in_port_t *port)
{
	unsigned long number = 0;
	const char *c;

	for (c = text; *c >= '0' && *c <= '9' && number <= UINT16_MAX; c++)
		number = number * 10 + (unsigned long)(*c - '0');
	*port = htons((uint16_t)number);
	return *c == '\0' && number >= 1 && number <= UINT16_MAX;
}

static bool
http_parse_ip(struct http_address *address, char *host, const char *port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address->ip;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->ip;
	size_t length = strlen(host);

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		address->length = sizeof(*v4);
		address->remote = ntohl(v4->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
		return http_parse_port(port, &v4->sin_port);
	}
	if (length < 2 || host[0] != '[' || host[length - 1] != ']')
		return false;
	host[length - 1] = '\0';
	if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	address->length = sizeof(*v6);
	address->remote = !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
	return http_parse_port(port, &v6->sin6_port);
}

static int
http_parse_path(struct http_address *address, const char *path, char *error, size_t size)
{
	const char *fault = local_socket_fault(path);

	if (fault == NULL) {
		snprintf(address->path, sizeof(address->path), "%s", path);
		return 0;
	}
	snprintf(error, size, "'%s' %s", path, fault);
	return -1;
}

int
http_address_parse(struct http_address *address, const char *text, char *error, size_t size)
{
	char host[INET6_ADDRSTRLEN + 3];
	const char *colon = strrchr(text, ':');

	*address = (struct http_address){ .off = strcmp(text, "off") == 0 };
	if (address->off)
		return 0;
	if (strncmp(text, "unix:", 5) == 0)
		return http_parse_path(address, text + 5, error, size);
	if (colon == NULL || (size_t)(colon - text) >= sizeof(host))
		return http_address_fault(error, size, text);
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	return http_parse_ip(address, host, colon + 1) ? 0 : http_address_fault(error, size, text);
}

/* --- pages ------------------------------------------------------------------------------ */

struct http_page *
http_page_new(int status, const char *type)
{
	struct http_page *page = calloc(1, sizeof(*page));

	if (page == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a page");
	page->references = 1;
	page->status = status;
	page->type = type;
	return page;
}

void
http_page_drop(struct http_page *page)
{
	if (page == NULL || --page->references > 0)
		return;
	buffer_free(&page->body);
	free(page);
}

static void
http_page_sent(const void *bytes, size_t length, void *page)
{
	(void)bytes;
	(void)length;
	http_page_drop(page);
}

/* --- requests ------------------------------------------------------------------------------ */

static void
http_header(struct evhttp_request *request, const char *name, const char *value)
{
	(void)evhttp_add_header(evhttp_request_get_output_headers(request), name, value);
}

/* The page's reference goes with it. */
static void
http_send(struct evhttp_request *request, struct http_page *page)
{
	struct evbuffer *body = evbuffer_new();
	int status = page->status;
	char length[24];

	snprintf(length, sizeof(length), "%zu", page->body.length);
	http_header(request, "Content-Type", page->type);
	http_header(request, "Content-Length", length);
	http_header(request, "Cache-Control", "no-store");
	http_header(request, "Connection", "close");
	if (body == NULL || evhttp_request_get_command(request) == EVHTTP_REQ_HEAD ||
	    evbuffer_add_reference(body, page->body.bytes, page->body.length, http_page_sent, page) == -1)
		http_page_drop(page);
	evhttp_send_reply(request, status, NULL, body);
	if (body != NULL)
		evbuffer_free(body);
}

static void
http_send_text(struct evhttp_request *request, int status, const char *text)
{
	struct http_page *page = http_page_new(status, "text/plain; charset=utf-8");

	buffer_append_string(&page->body, text);
	http_send(request, page);
}

static void
http_requested(struct evhttp_request *request, void *context)
{
	struct http *h = context;
	enum evhttp_cmd_type method = evhttp_request_get_command(request);
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
	const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;
	struct http_page *page = path != NULL ? h->options.page(h->options.context, path) : NULL;

	h->counts.requests++;
	if (page == NULL) {
		http_send_text(request, HTTP_NOTFOUND, "There is no such page.\n");
	} else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
		http_page_drop(page);
		http_header(request, "Allow", "GET, HEAD");
		http_send_text(request, HTTP_BADMETHOD, "Only GET and HEAD are possible.\n");
	} else
		http_send(request, page);
}

/* --- connections ----------------------------------------------------------------------------- */

static bool
http_has_ended(const struct http_connection *connection)
{
	bufferevent_data_cb readable, writable;
	bufferevent_event_cb event;
	void *context;

	bufferevent_getcb(connection->stream, &readable, &writable, &event, &context);
	return event == NULL;
}

/* Its end comes by the loop, like any other. */
static void
http_cut_off(struct http *h, struct http_connection *connection)
{
	connection->deadline = UINT64_MAX;
	h->counts.late++;
	(void)shutdown(bufferevent_getfd(connection->stream), SHUT_RDWR);
}

static void
http_sweep(struct http *h)
{
	uint64_t now = clock_monotonic();

	for (size_t i = 0; i < HTTP_CONNECTIONS; i++) {
		struct http_connection *connection = &h->connections[i];

		if (connection->stream == NULL)
			continue;
		if (http_has_ended(connection)) {
			bufferevent_decref(connection->stream);
			connection->stream = NULL;
			h->open--;
		} else if (connection->deadline <= now)
			http_cut_off(h, connection);
	}
}

static void
http_hold_back(struct http *h)
{
	h->counts.held_back++;
	evconnlistener_disable(h->listener);
}

static void
http_ticked(evutil_socket_t fd, short what, void *context)
{
	struct http *h = context;

	(void)fd;
	(void)what;
	http_sweep(h);
	h->allowed = h->allowed + HTTP_RATE / HTTP_TICKS < HTTP_BURST ? h->allowed + HTTP_RATE / HTTP_TICKS : HTTP_BURST;
	if (h->open < HTTP_CONNECTIONS)
		evconnlistener_enable(h->listener);
	if (h->open == 0 && h->allowed == HTTP_BURST)
		event_del(h->tick);
}

static void
http_start_ticking(struct http *h)
{
	struct timeval period = clock_timeval(HTTP_TICK);

	if (!event_pending(h->tick, EV_TIMEOUT, NULL) && event_add(h->tick, &period) == -1)
		fatal(EXIT_CODE_SYSTEM, "cannot set a timer");
}

/* evhttp asks for the stream of a new connection. */
static struct bufferevent *
http_connected(struct event_base *base, void *context)
{
	struct http *h = context;
	/*
	 * The last reference closes the descriptor.  Were evhttp to do it, the
	 * events of our reference would be left on a number that is given to
	 * the next who opens something.
	 */
	struct bufferevent *stream = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	size_t i;

	if (stream == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: a connection");
	bufferevent_setwatermark(stream, EV_READ, 0, HTTP_INPUT_MAX);
	http_sweep(h);
	for (i = 0; i < HTTP_CONNECTIONS && h->connections[i].stream != NULL; i++)
		continue;
	if (i < HTTP_CONNECTIONS) {
		bufferevent_incref(stream);
		h->connections[i] = (struct http_connection){ stream, clock_monotonic() + h->options.time };
		h->open++;
	}
	if (h->allowed > 0)
		h->allowed--;
	if (h->allowed == 0 || h->open == HTTP_CONNECTIONS)
		http_hold_back(h);
	http_start_ticking(h);
	return stream;
}

/* Out of descriptors, most likely: libevent would try again at once and for ever. */
static void
http_not_accepted(struct evconnlistener *listener, void *context)
{
	struct http *h = http_listening;

	(void)listener;
	(void)context;
	log_limited(LOG_LEVEL_WARNING, "%s: cannot accept a connection: %s", h->options.key, strerror(errno));
	http_hold_back(h);
	http_start_ticking(h);
}

/* --- the whole ---------------------------------------------------------------------------------- */

static int
http_bind_ip(struct http *h, char *error, size_t size)
{
	const struct sockaddr *ip = (const struct sockaddr *)&h->address.ip;
	const int on = 1;

	h->fd = socket(ip->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->fd != -1 && setsockopt(h->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (ip->sa_family == AF_INET || setsockopt(h->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
	    bind(h->fd, ip, h->address.length) == 0)
		return 0;
	snprintf(error, size, "%s: cannot listen there: %s", h->options.key, strerror(errno));
	return -1;
}

struct http *
http_new(const struct http_options *options, const struct http_address *address, uid_t uid, gid_t gid, char *error, size_t size)
{
	const struct local_socket_options local = {
		.key = options->key,
		.path = address->path,
		.type = SOCK_STREAM,
		.mode = HTTP_SOCKET_MODE,
		.uid = uid,
		.gid = gid,
	};
	struct http *h = calloc(1, sizeof(*h));

	if (h == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: the HTTP server");
	h->options = *options;
	if (h->options.time == 0)
		h->options.time = HTTP_TIME;
	h->address = *address;
	h->fd = h->local.fd = -1;
	h->allowed = HTTP_BURST;
	if ((address->path[0] != '\0' ? local_socket_bind(&h->local, &local, error, size) : http_bind_ip(h, error, size)) == 0)
		return h;
	http_free(h);
	return NULL;
}

static bool
http_start(struct http *h)
{
	int fd = h->fd != -1 ? h->fd : h->local.fd;
	/* For a silent one; the deadline comes before it. */
	const struct timeval time = clock_timeval(2 * h->options.time);

	h->server = evhttp_new(h->options.base);
	h->tick = event_new(h->options.base, -1, EV_PERSIST, http_ticked, h);
	if (h->server == NULL || h->tick == NULL)
		return false;
	evhttp_set_allowed_methods(h->server, HTTP_METHODS);
	evhttp_set_max_headers_size(h->server, HTTP_HEADER_MAX);
	evhttp_set_max_body_size(h->server, HTTP_BODY_MAX);
	evhttp_set_timeout_tv(h->server, &time);
	evhttp_set_bevcb(h->server, http_connected, h);
	evhttp_set_gencb(h->server, http_requested, h);
	h->listener = evconnlistener_new(h->options.base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, HTTP_BACKLOG, fd);
	if (h->listener == NULL)
		return false;
	http_listening = h;
	evconnlistener_set_error_cb(h->listener, http_not_accepted);
	return evhttp_bind_listener(h->server, h->listener) != NULL;
}

int
http_listen(struct http *h, char *error, size_t size)
{
	if (http_start(h))
		return 0;
	snprintf(error, size, "%s: cannot listen there: %s", h->options.key, strerror(errno));
	return -1;
}

void
http_free(struct http *h)
{
	if (h == NULL)
		return;
	/* Ends the connections and frees the listener, which leaves its socket open. */
	if (h->server != NULL)
		evhttp_free(h->server);
	http_sweep(h);
	if (h->tick != NULL)
		event_free(h->tick);
	fd_close(&h->fd);
	local_socket_close(&h->local);
	free(h);
}

const struct http_counts *
http_counts(const struct http *h)
{
	return &h->counts;
}
