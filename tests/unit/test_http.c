/*
 * The HTTP server: answers GET and HEAD, refuses everything else in a word,
 * and whoever stalls, floods or sends rubbish costs only his own connection.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <unistd.h>

#include "common/fd.h"
#include "shipper/http.h"
#include "tests/unit/folder.h"
#include "tests/unit/shipper_parts.h"

#define TIME	(500 * MILLISECOND)

enum { ANSWER_MAX = 64 * 1024 };

struct fixture {
	struct event_base	*base;
	struct http		*http;
	char			 folder[FOLDER_MAX], path[128];
	char			 answer[ANSWER_MAX];
	size_t			 length;
	bool			 large;
};

static struct http_page *
page_of(void *context, const char *path)
{
	struct fixture *f = context;
	struct http_page *page;

	if (strcmp(path, "/page") != 0)
		return NULL;
	page = http_page_new(200, "text/plain");
	buffer_append_string(&page->body, "hello\n");
	if (f->large)
		memset(buffer_reserve(&page->body, 8 << 20), 'x', 8 << 20), page->body.length += 8 << 20;
	return page;
}

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct http_options with = { .key = "metrics", .time = TIME, .page = page_of, .context = f };
	struct http_address address;
	char error[256], spec[160];

	folder_make(f->folder, "test_http");
	snprintf(f->path, sizeof(f->path), "%s/s", f->folder);
	snprintf(spec, sizeof(spec), "unix:%s", f->path);
	assert_int_equal(http_address_parse(&address, spec, error, sizeof(error)), 0);
	f->base = event_base_new();
	with.base = f->base;
	f->http = http_new(&with, &address, 0, 0, error, sizeof(error));
	assert_non_null(f->http);
	assert_int_equal(http_listen(f->http, error, sizeof(error)), 0);
	*state = f;
	return 0;
}

static int
end(void **state)
{
	struct fixture *f = *state;

	http_free(f->http);
	event_base_free(f->base);
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

static int
connected(const struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* True when the other end has closed; what it said is in f->answer. */
static bool
over(struct fixture *f, int fd)
{
	ssize_t n;

	while ((n = recv(fd, f->answer + f->length, sizeof(f->answer) - 1 - f->length, 0)) > 0)
		f->length += (size_t)n;
	f->answer[f->length] = '\0';
	return n == 0 || (n == -1 && errno != EAGAIN);
}

/* Sends all of it, as the server takes it, and reads to the end. */
static const char *
asked_bytes(struct fixture *f, const char *request, size_t length)
{
	cleanup_fd int fd = connected(f);
	size_t sent = 0;
	ssize_t n;

	f->length = 0;
	loop_until(f->base, (sent < length && (n = send(fd, request + sent, length - sent, MSG_NOSIGNAL)) > 0 &&
	    (sent += (size_t)n) < length ? false : over(f, fd)));
	return f->answer;
}

static const char *
asked(struct fixture *f, const char *request)
{
	return asked_bytes(f, request, strlen(request));
}

static bool
starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* --- answers ------------------------------------------------------------------------- */

static void
test_a_page(void **state)
{
	struct fixture *f = *state;
	const char *answer = asked(f, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n");

	assert_true(starts(answer, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(answer, "\r\nContent-Type: text/plain\r\n"));
	assert_non_null(strstr(answer, "\r\nContent-Length: 6\r\n"));
	assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nhello\n");
	assert_int_equal(http_counts(f->http)->requests, 1);
}

/* A query is no other page, and HTTP/1.0 is spoken by simple clients. */
static void
test_ways_to_ask_for_it(void **state)
{
	struct fixture *f = *state;

	assert_non_null(strstr(asked(f, "GET /page?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"), "\r\n\r\nhello\n"));
	assert_non_null(strstr(asked(f, "GET /page HTTP/1.0\r\n\r\n"), "\r\n\r\nhello\n"));
	assert_non_null(strstr(asked(f, "GET http://h/page HTTP/1.1\r\nHost: x\r\n\r\n"), "\r\n\r\nhello\n"));
	assert_non_null(strstr(asked(f, "GET /page HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"), "\r\n\r\nhello\n"));
	/* The second of two in a row is not answered: one request a connection. */
	assert_string_equal(strstr(asked(f, "GET /page HTTP/1.1\r\nHost: x\r\n\r\nGET /page HTTP/1.1\r\nHost: x\r\n\r\n"), "\r\n\r\n"),
	    "\r\n\r\nhello\n");
}

static void
test_head_has_no_body(void **state)
{
	const char *answer = asked(*state, "HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n");

	assert_true(starts(answer, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(answer, "\r\nContent-Length: 6\r\n"));
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

static void
test_other_methods(void **state)
{
	static const char *const methods[] = { "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH" };
	char request[128];

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		const char *answer;

		snprintf(request, sizeof(request), "%s /page HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", methods[i]);
		answer = asked(*state, request);
		if (!starts(answer, "HTTP/1.1 405 Method Not Allowed\r\n") || strstr(answer, "\r\nAllow: GET, HEAD\r\n") == NULL)
			fail_msg("%s: %s", methods[i], answer);
	}
	assert_true(starts(asked(*state, "BREW /page HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 405 "));
	assert_true(starts(asked(*state, "POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"), "HTTP/1.1 405 "));
	assert_true(starts(asked(*state, "POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), "HTTP/1.1 404 "));
}

/* Whatever is asked for, nothing of it comes back. */
static void
test_nothing_is_reflected(void **state)
{
	static const char *const requests[] = {
		"GET /needle HTTP/1.1\r\nHost: needle\r\nUser-Agent: needle\r\nReferer: needle\r\nCookie: needle=needle\r\n\r\n",
		"GET /page?needle HTTP/1.1\r\nHost: needle\r\nOrigin: needle\r\nX-Needle: needle\r\n\r\n",
		"GET /../needle HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://needle/needle HTTP/1.1\r\nHost: needle\r\n\r\n",
		"GET needle HTTP/1.1\r\nHost: needle\r\n\r\n",
		"NEEDLE /page HTTP/1.1\r\nHost: needle\r\n\r\n",
		"TRACE /page HTTP/1.1\r\nHost: needle\r\nX-Needle: needle\r\n\r\n",
		"needle\r\n\r\n",
		"GET /%6eneedle\xff HTTP/1.1\r\nHost: needle\r\n\r\n",
		"GET /needle HTTP/9.9\r\nHost: needle\r\n\r\n",
		"GET /page HTTP/1.1\r\nHost: x\r\nExpect: needle\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const char *answer = asked(*state, requests[i]);

		if (strcasestr(answer, "needle") != NULL)
			fail_msg("%s came back: %s", requests[i], answer);
	}
	assert_true(starts(asked(*state, requests[0]), "HTTP/1.1 404 "));
}

static void
test_too_large(void **state)
{
	struct fixture *f = *state;
	size_t size = 256 * 1024;
	char *request = malloc(size + 1);

	memset(request, 'a', size);
	request[size] = '\0';
	memcpy(request, "GET /", 5);
	assert_false(starts(asked(f, request), "HTTP/1.1 200"));
	memcpy(request, "GET /page HTTP/1.1\r\nHost: x\r\nX: ", 33);
	assert_false(starts(asked(f, request), "HTTP/1.1 200"));
	memcpy(request, "POST /page HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 53);
	assert_true(starts(asked(f, request), "HTTP/1.1 413 "));
	memcpy(request, "POST /page HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n", 60);
	assert_false(starts(asked(f, request), "HTTP/1.1 200"));
	assert_int_equal(http_counts(f->http)->requests, 0);
	free(request);
	assert_true(starts(asked(f, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200"));
}

static void
on_heard(evutil_socket_t fd, short what, void *heard)
{
	(void)fd;
	(void)what;
	*(bool *)heard = true;
}

/* A connection that has ended leaves nothing behind that is in the way of the next who gets its descriptor. */
static void
test_what_comes_next_is_heard(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10; i++) {
		int pair[2];

		assert_true(starts(asked(f, "GET /page HTTP/1.0\r\n\r\n"), "HTTP/1.0 200"));
		/* One has the client's number, the other the server's. */
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		for (int k = 0; k < 2; k++) {
			bool heard = false;
			struct event *event = event_new(f->base, pair[k], EV_READ, on_heard, &heard);

			assert_int_equal(event_add(event, NULL), 0);
			assert_int_equal(send(pair[!k], "x", 1, MSG_NOSIGNAL), 1);
			loop_until(f->base, heard);
			event_free(event);
		}
		close(pair[0]);
		close(pair[1]);
	}
}

/* --- those who mean harm ----------------------------------------------------------------- */

/* Few enough bytes not to be too many of them. */
static void
trickle(int fd, uint64_t *last)
{
	uint64_t now = clock_monotonic();

	if (now - *last < 20 * MILLISECOND)
		return;
	*last = now;
	(void)send(fd, "G", 1, MSG_NOSIGNAL);
}

/* Many who connect and say nothing: not more than so many are let in, and their time ends. */
static void
test_those_who_stall_are_cut_off(void **state)
{
	struct fixture *f = *state;
	int clients[2 * HTTP_CONNECTIONS];
	const struct http_counts *counts = http_counts(f->http);
	uint64_t start = clock_monotonic(), sent = 0;

	for (size_t i = 0; i < 2 * HTTP_CONNECTIONS; i++)
		clients[i] = connected(f);
	loop_until(f->base, counts->held_back > 0);
	/* A byte now and then does not buy time. */
	loop_until(f->base, (trickle(clients[0], &sent), over(f, clients[0])));
	assert_true(clock_monotonic() - start >= TIME);
	loop_until(f->base, counts->late >= HTTP_CONNECTIONS);
	/* Those who were waiting have their turn, and one who asks is answered among them. */
	f->length = 0;
	assert_int_equal(send(clients[2 * HTTP_CONNECTIONS - 1], "GET /page HTTP/1.0\r\n\r\n", 22, MSG_NOSIGNAL), 22);
	loop_until(f->base, over(f, clients[2 * HTTP_CONNECTIONS - 1]));
	assert_non_null(strstr(f->answer, "\r\n\r\nhello\n"));
	for (size_t i = 0; i < 2 * HTTP_CONNECTIONS; i++)
		close(clients[i]);
}

/* One who asks for much and reads none of it. */
static void
test_those_who_do_not_read_are_cut_off(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int fd = connected(f);

	f->large = true;
	assert_int_equal(send(fd, "GET /page HTTP/1.0\r\n\r\n", 22, MSG_NOSIGNAL), 22);
	loop_until(f->base, http_counts(f->http)->late == 1);
	f->large = false;
	assert_non_null(strstr(asked(f, "GET /page HTTP/1.0\r\n\r\n"), "\r\n\r\nhello\n"));
}

/* One who comes again and again is let in so often in a second. */
static void
test_a_flood_is_slowed_down(void **state)
{
	struct fixture *f = *state;
	const unsigned int times = HTTP_BURST + HTTP_RATE;
	uint64_t start = clock_monotonic();

	for (unsigned int i = 0; i < times; i++)
		assert_non_null(strstr(asked(f, "GET /page HTTP/1.0\r\n\r\n"), "\r\n\r\nhello\n"));
	assert_true(clock_monotonic() - start >= SECOND / 2);
	assert_true(http_counts(f->http)->held_back > 0);
	assert_int_equal(http_counts(f->http)->late, 0);
}

static void
test_one_who_goes_away(void **state)
{
	struct fixture *f = *state;

	f->large = true;
	for (int i = 0; i < 50; i++) {
		int fd = connected(f);

		(void)send(fd, "GET /page HTTP/1.0\r\n\r\n", i % 23, MSG_NOSIGNAL);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
		close(fd);
	}
	loop_some(f->base);
	f->large = false;
	assert_non_null(strstr(asked(f, "GET /page HTTP/1.0\r\n\r\n"), "\r\n\r\nhello\n"));
}

/* --- addresses ------------------------------------------------------------------------------ */

static void
test_addresses(void **state)
{
	static const struct {
		const char	*text;
		bool		 remote;
		int		 family;
	} good[] = {
		{ "127.0.0.1:9477", false, AF_INET },
		{ "127.8.9.1:1", false, AF_INET },
		{ "[::1]:65535", false, AF_INET6 },
		{ "0.0.0.0:9477", true, AF_INET },
		{ "10.1.2.3:9477", true, AF_INET },
		{ "[::]:9477", true, AF_INET6 },
		{ "[2001:db8::1]:9477", true, AF_INET6 },
	};
	static const char *const bad[] = {
		"", "on", "yes", "9477", ":9477", "*:9477", "localhost:9477", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
		"127.0.0.1:99999999999999999999", "127.0.0.1:9477x", "127.0.0.1: 9477", "127.0.0.1:+9", "::1:9477", "[::1]", "[::1]9477",
		"[127.0.0.1]:9477", "[::1:9477", "::1]:9477", "[]:9477", "[fe80::1%lo]:9477", "unix", "unix:", "unix:a/b", "unix:@a",
		"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb]:1",
	};
	struct http_address address;
	char error[256], path[160] = "unix:/";

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(http_address_parse(&address, good[i].text, error, sizeof(error)), 0);
		assert_false(address.off);
		assert_int_equal(address.remote, good[i].remote);
		assert_int_equal(address.ip.ss_family, good[i].family);
		assert_string_equal(address.path, "");
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (http_address_parse(&address, bad[i], error, sizeof(error)) != -1)
			fail_msg("'%s' was taken", bad[i]);
		assert_non_null(strstr(error, starts(bad[i], "unix:") ? bad[i] + 5 : bad[i]));
	}
	assert_int_equal(http_address_parse(&address, "off", error, sizeof(error)), 0);
	assert_true(address.off);
	assert_int_equal(http_address_parse(&address, "unix:/run/x", error, sizeof(error)), 0);
	assert_string_equal(address.path, "/run/x");
	assert_false(address.remote);
	memset(path + 6, 'x', 107);
	assert_int_equal(http_address_parse(&address, path, error, sizeof(error)), -1);
	path[5 + 107] = '\0';
	assert_int_equal(http_address_parse(&address, path, error, sizeof(error)), 0);
}

static void
test_who_may_connect(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
}

/* A port that somebody has is an error, and says so. */
static void
test_a_port_that_is_taken(void **state)
{
	struct fixture *f = *state;
	const struct http_options options = { .base = f->base, .key = "metrics", .page = page_of, .context = f };
	cleanup_fd int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(in);
	struct http_address address;
	char error[256], text[32];

	assert_int_equal(bind(taken, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(taken, 1), 0);
	assert_int_equal(getsockname(taken, (struct sockaddr *)&in, &length), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
	assert_int_equal(http_address_parse(&address, text, error, sizeof(error)), 0);
	assert_null(http_new(&options, &address, 0, 0, error, sizeof(error)));
	assert_string_equal(error, "metrics: cannot listen there: Address already in use");
}

#define test(name)	cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_a_page),
		test(test_ways_to_ask_for_it),
		test(test_head_has_no_body),
		test(test_other_methods),
		test(test_nothing_is_reflected),
		test(test_too_large),
		test(test_what_comes_next_is_heard),
		test(test_those_who_stall_are_cut_off),
		test(test_those_who_do_not_read_are_cut_off),
		test(test_a_flood_is_slowed_down),
		test(test_one_who_goes_away),
		test(test_who_may_connect),
		test(test_a_port_that_is_taken),
		cmocka_unit_test(test_addresses),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
