/*
 * holder: makes TCP sockets of chosen kinds in a network namespace, says
 * "ready", and holds them until its standard input ends.  The system tests,
 * the bench and the captures look at what it holds.
 *
 *	holder [-bdlt] [-u | -j FILE] KIND[:KEY=VALUE[,KEY=VALUE]...] ...
 *
 *	-u	in a new network namespace
 *	-j FILE	in the namespace of this file; given again, in each of them
 *	-t	all in a second thread; the first stays where it was
 *	-b	goes back where it was when the sockets are made
 *	-l	brings the loopback device up first
 *	-d	at addresses for documentation, which the caller has given to
 *		the loopback device, instead of 127.0.0.1 and ::1
 *
 *	KIND	established, listen, backlog (connections that nobody accepts),
 *		bound, time-wait, close-wait (the other end is in FIN_WAIT2),
 *		fin-wait1, closing, last-ack, syn-sent, syn-recv,
 *		unacked (the other end has gone deaf: retransmissions),
 *		unread (the other end reads nothing: a closed window)
 *	KEY	count, family (4, 6, mapped, mapped-both), port (of the
 *		listener), cc, uid, device, md5 (a key), bytes (client to
 *		server), fill (bytes that the server does not read), fastopen,
 *		mptcp, tls (1.2, 1.3), cipher (aes128, aes256, chacha20),
 *		tls-one-way, tls-no-pad, tls-max-payload, replace (of
 *		established: milliseconds after which one connection is closed
 *		and another one made, again and again), and the socket options
 *		of the table below
 *
 * A process may have few descriptors, so kinds are split into jobs, and a
 * process has as many jobs as go into it (but not with -t: a fork would have
 * the thread's namespace as its main one).
 */
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROCESS_CONNECTIONS = 5000, JOBS_MAX = 8192, NAMESPACES_MAX = 4096, REPLACEMENTS_MAX = 8192 };

enum family { FAMILY_4, FAMILY_6, FAMILY_MAPPED, FAMILY_MAPPED_BOTH };

union address {
	struct sockaddr		any;
	struct sockaddr_in	v4;
	struct sockaddr_in6	v6;
};

/* 192.0.2.1 and 2001:db8::1 (RFC 5737, RFC 3849) */
#define DOCUMENTATION_4	0xc0000201U
static const struct in6_addr documentation6 = { .s6_addr = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } };

enum { V6 = 1, EARLY = 2 };		/* of IPv6 sockets; before bind(2) only */

/* Socket options that are one number, by the key that sets them. */
static const struct option {
	const char	*name;
	int		 level;
	int		 option;
	unsigned int	 where;
} options[] = {
	{ "mark", SOL_SOCKET, SO_MARK, 0 },
	{ "priority", SOL_SOCKET, SO_PRIORITY, 0 },
	{ "rcvbuf", SOL_SOCKET, SO_RCVBUF, 0 },
	{ "sndbuf", SOL_SOCKET, SO_SNDBUF, 0 },
	{ "keepalive", SOL_SOCKET, SO_KEEPALIVE, 0 },
	{ "pacing", SOL_SOCKET, SO_MAX_PACING_RATE, 0 },
	{ "tos", IPPROTO_IP, IP_TOS, 0 },
	{ "recverr", IPPROTO_IP, IP_RECVERR, 0 },
	{ "freebind", IPPROTO_IP, IP_FREEBIND, 0 },
	{ "transparent", IPPROTO_IP, IP_TRANSPARENT, 0 },
	{ "late-port", IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0 },
	{ "multicast-all", IPPROTO_IP, IP_MULTICAST_ALL, 0 },
	{ "multicast-loop", IPPROTO_IP, IP_MULTICAST_LOOP, 0 },
	{ "tclass", IPPROTO_IPV6, IPV6_TCLASS, V6 },
	{ "v6only", IPPROTO_IPV6, IPV6_V6ONLY, V6 | EARLY },
	{ "mss", IPPROTO_TCP, TCP_MAXSEG, EARLY },
	{ "nodelay", IPPROTO_TCP, TCP_NODELAY, 0 },
	{ "keepidle", IPPROTO_TCP, TCP_KEEPIDLE, 0 },
	{ "lowat", IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0 },
	{ "defer", IPPROTO_TCP, TCP_DEFER_ACCEPT, 0 },
};

enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

static const struct cipher {
	const char	*name;
	uint16_t	 type;
	socklen_t	 size;
} ciphers[] = {
	{ "aes128", TLS_CIPHER_AES_GCM_128, sizeof(struct tls12_crypto_info_aes_gcm_128) },
	{ "aes256", TLS_CIPHER_AES_GCM_256, sizeof(struct tls12_crypto_info_aes_gcm_256) },
	{ "chacha20", TLS_CIPHER_CHACHA20_POLY1305, sizeof(struct tls12_crypto_info_chacha20_poly1305) },
	{ NULL, 0, 0 }
};

struct spec {
	const struct kind *kind;
	unsigned int	 count;
	unsigned int	 number;	/* of the job in its namespace: its own loopback address */
	bool		 documentation;
	enum family	 family;
	unsigned int	 port;
	const char	*cc;
	const char	*device;
	unsigned int	 bytes;
	unsigned int	 fill;
	unsigned int	 uid;
	unsigned int	 replace;	/* ms; 0: never */
	const char	*md5;
	int		 tls;		/* TLS_1_2_VERSION, or 0 */
	const struct cipher *cipher;
	unsigned int	 tls_one_way;
	unsigned int	 tls_no_pad;
	unsigned int	 tls_max_payload;
	unsigned int	 mptcp;
	unsigned int	 fastopen;
	bool		 given[OPTIONS];
	int		 options[OPTIONS];
};

struct kind {
	const char	*name;
	void		(*make)(const struct spec *);
	void		(*then)(int client, int server);	/* what becomes of each connection */
	bool		 fds;		/* each takes descriptors: split it */
};

struct job {
	struct spec	 spec;
	const char	*join;		/* NULL: the process is there */
};

struct holder {
	struct spec	 specs[JOBS_MAX];
	unsigned int	 nspecs;
	struct job	 jobs[JOBS_MAX];
	unsigned int	 njobs;
	const char	*joins[NAMESPACES_MAX];
	unsigned int	 njoins;
	bool		 unshare;
	bool		 thread;
	bool		 back;
	bool		 lo;
	bool		 documentation;
	int		 life;		/* ends when the first process does */
	int		 ready;		/* a byte for each process */
};

/* The connections of a job that are replaced one after the other. */
struct replacement {
	struct spec	 spec;
	int		 netns, listener;
	struct pair {
		int	 client, server;
	}		*pairs;
	unsigned int	 next;
	uint64_t	 due;		/* ms */
};

static struct replacement replacements[REPLACEMENTS_MAX];
static unsigned int nreplacements;

static void
set(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) == -1)
		err(1, "setsockopt %s", name);
}

/*
 * The key for the first address for documentation: that of all ends of a first
 * job with -d, and nobody's without.
 */
static void
set_md5(int fd, const char *key, bool v6)
{
	struct tcp_md5sig sig = { .tcpm_keylen = (uint16_t)strlen(key) };
	union address *peer = (union address *)&sig.tcpm_addr;

	if (v6) {
		peer->v6.sin6_family = AF_INET6;
		peer->v6.sin6_addr = documentation6;
	} else {
		peer->v4.sin_family = AF_INET;
		peer->v4.sin_addr.s_addr = htonl(DOCUMENTATION_4);
	}
	memcpy(sig.tcpm_key, key, sig.tcpm_keylen);
	if (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &sig, sizeof(sig)) == -1)
		err(1, "setsockopt TCP_MD5SIG");
}

static void
apply_options(int fd, const struct spec *spec, bool v6, bool bound)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (spec->given[i] && (v6 || !(options[i].where & V6)) && (!bound || !(options[i].where & EARLY)))
			set(fd, options[i].level, options[i].option, spec->options[i], options[i].name);
}

static void
apply(int fd, const struct spec *spec, bool v6, bool bound)
{
	apply_options(fd, spec, v6, bound);
	if (spec->cc != NULL &&
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, spec->cc, (socklen_t)strlen(spec->cc)) == -1)
		err(1, "congestion control %s", spec->cc);
	if (spec->md5 != NULL && !bound)
		set_md5(fd, spec->md5, v6);
	if (spec->device != NULL &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, spec->device, (socklen_t)strlen(spec->device)) == -1)
		err(1, "device %s", spec->device);
}

/* A socket that takes no segment from now on. */
static void
deafen(int fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { 1, &drop };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == -1)
		err(1, "setsockopt SO_ATTACH_FILTER");
}

static void
set_payload(int fd, uint16_t most)
{
	/* Newer headers have it. */
	enum { TLS_TX_MAX_PAYLOAD_LEN = 5 };

	if (setsockopt(fd, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &most, sizeof(most)) == -1)
		err(1, "setsockopt TLS_TX_MAX_PAYLOAD_LEN");
}

static void
set_tls(int fd, const struct spec *spec, bool send, bool receive)
{
	union {
		struct tls_crypto_info	any;
		char			bytes[64];
	} info = { .any = { (uint16_t)spec->tls, spec->cipher->type } };

	/* A key that everybody may know: no text of any use is sent. */
	memset(info.bytes + sizeof(info.any), 'k', spec->cipher->size - sizeof(info.any));
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3) == -1)
		err(1, "setsockopt TCP_ULP");
	if ((send && setsockopt(fd, SOL_TLS, TLS_TX, &info, spec->cipher->size) == -1) ||
	    (receive && setsockopt(fd, SOL_TLS, TLS_RX, &info, spec->cipher->size) == -1))
		err(1, "TLS with %s", spec->cipher->name);
	if (spec->tls_no_pad && receive)
		set(fd, SOL_TLS, TLS_RX_EXPECT_NO_PAD, 1, "TLS_RX_EXPECT_NO_PAD");
	if (spec->tls_max_payload != 0 && send)
		set_payload(fd, (uint16_t)spec->tls_max_payload);
}

static int
open_socket(const struct spec *spec, bool v6, int flags)
{
	int fd;

	setfsuid(spec->uid);
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, spec->mptcp ? IPPROTO_MPTCP : 0);
	setfsuid(0);
	if (fd == -1)
		err(1, "socket");
	apply(fd, spec, v6, false);
	return fd;
}

static in_addr_t
host4(const struct spec *spec)
{
	return htonl((spec->documentation ? DOCUMENTATION_4 : INADDR_LOOPBACK) + spec->number);
}

static void
map(uint8_t *address, in_addr_t host)
{
	address[10] = address[11] = 0xff;
	memcpy(address + 12, &host, sizeof(host));
}

/* Where a job listens, or with client set, where it connects to. */
static socklen_t
place(const struct spec *spec, bool client, union address *a)
{
	memset(a, 0, sizeof(*a));
	if (spec->family == FAMILY_4 || (client && spec->family == FAMILY_MAPPED)) {
		a->v4.sin_family = AF_INET;
		a->v4.sin_port = htons((uint16_t)spec->port);
		a->v4.sin_addr.s_addr = host4(spec);
		return sizeof(a->v4);
	}
	a->v6.sin6_family = AF_INET6;
	a->v6.sin6_port = htons((uint16_t)spec->port);
	if (spec->family == FAMILY_6)
		a->v6.sin6_addr = spec->documentation ? documentation6 : in6addr_loopback;
	else if (client)
		map(a->v6.sin6_addr.s6_addr, host4(spec));
	return sizeof(a->v6);
}

static int
open_bound(const struct spec *spec)
{
	union address a;
	socklen_t length = place(spec, false, &a);
	int fd = open_socket(spec, spec->family != FAMILY_4, 0);

	if (spec->family == FAMILY_MAPPED || spec->family == FAMILY_MAPPED_BOTH)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY");
	if (bind(fd, &a.any, length) == -1)
		err(1, "bind");
	return fd;
}

/* port becomes the one that the listener got. */
static int
open_listener(struct spec *spec, int backlog)
{
	union address a;
	socklen_t length = sizeof(a);
	int fd = open_bound(spec);

	if (spec->fastopen)
		set(fd, IPPROTO_TCP, TCP_FASTOPEN, backlog, "TCP_FASTOPEN");
	if (listen(fd, backlog) == -1)
		err(1, "listen");
	if (getsockname(fd, &a.any, &length) == -1)
		err(1, "getsockname");
	spec->port = ntohs(a.v4.sin_port);
	return fd;
}

static int
open_client(const struct spec *spec, int flags, bool deaf)
{
	union address a;
	socklen_t length = place(spec, true, &a);
	int fd = open_socket(spec, a.any.sa_family == AF_INET6, flags);

	if (deaf)
		deafen(fd);
	if (spec->fastopen) {
		if (sendto(fd, "", 1, MSG_FASTOPEN, &a.any, length) != 1)
			err(1, "sendto MSG_FASTOPEN");
	} else if (connect(fd, &a.any, length) == -1 && (flags & SOCK_NONBLOCK) == 0)
		err(1, "connect");
	return fd;
}

/* What a call that does not wait did: bytes, or 0 where it would have waited. */
static unsigned int
done(ssize_t n, const char *what)
{
	if (n == 0)
		errx(1, "%s: the end", what);
	if (n == -1 && errno != EAGAIN)
		err(1, "%s", what);
	return n == -1 ? 0 : (unsigned int)n;
}

static void
send_bytes(int from, int to, unsigned int bytes)
{
	static char out[65536], in[65536];
	struct pollfd wait[2] = { { .fd = to, .events = POLLIN }, { .fd = from, .events = POLLOUT } };
	unsigned int sent = 0, received = 0, left;

	while (received < bytes) {
		left = bytes - sent < sizeof(out) ? bytes - sent : (unsigned int)sizeof(out);
		if (left > 0)
			sent += done(send(from, out, left, MSG_DONTWAIT), "send");
		left = bytes - received < sizeof(in) ? bytes - received : (unsigned int)sizeof(in);
		received += done(recv(to, in, left, MSG_DONTWAIT), "recv");
		/* The second is looked at only while there is something to send. */
		if (received < bytes && poll(wait, sent < bytes ? 2 : 1, -1) == -1)
			err(1, "poll");
	}
}

/* As much as fits, or at most so many bytes. */
static void
fill(int fd, unsigned int most)
{
	static char block[4096];
	unsigned int sent, n;

	for (sent = 0; sent < most; sent += n) {
		n = most - sent < sizeof(block) ? most - sent : (unsigned int)sizeof(block);
		if ((n = done(send(fd, block, n, MSG_DONTWAIT), "send")) == 0)
			return;
	}
}

static void
end(int fd)
{
	if (shutdown(fd, SHUT_WR) == -1)
		err(1, "shutdown");
}

static int
accept_one(const struct spec *spec, int listener)
{
	char byte;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd == -1)
		err(1, "accept");
	apply(fd, spec, spec->family != FAMILY_4, true);
	if (spec->fastopen && read(fd, &byte, 1) != 1)
		err(1, "read");
	return fd;
}

static void
open_pair(const struct spec *spec, int listener, int *client, int *server)
{
	*client = open_client(spec, 0, false);
	*server = accept_one(spec, listener);
	if (spec->tls) {
		set_tls(*client, spec, true, !spec->tls_one_way);
		set_tls(*server, spec, !spec->tls_one_way, true);
	}
	send_bytes(*client, *server, spec->bytes);
	fill(*client, spec->fill);
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Spread, so that jobs do not replace all at the same moment. */
static void
remember(const struct spec *spec, int listener, struct pair *pairs)
{
	struct replacement *r = &replacements[nreplacements];

	if (nreplacements++ == REPLACEMENTS_MAX)
		errx(1, "more than %d jobs that replace", REPLACEMENTS_MAX);
	r->spec = *spec;
	r->listener = listener;
	r->pairs = pairs;
	r->due = now_ms() + (uint64_t)rand() % spec->replace;
	if ((r->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) == -1)
		err(1, "/proc/thread-self/ns/net");
}

static void
close_both(int client, int server)
{
	close(client);
	close(server);
}

static void
end_client(int client, int server)
{
	end(client);
}

static void
end_unheard(int client, int server)
{
	deafen(server);
	end(client);
}

/* Neither end hears that its own FIN has come; the client hears the other's. */
static void
end_both_unheard(int client, int server)
{
	end_unheard(client, server);
	end(server);
}

static void
end_last(int client, int server)
{
	struct pollfd wait = { .fd = server, .events = POLLRDHUP };

	end(client);
	if (poll(&wait, 1, -1) != 1)
		err(1, "poll");
	deafen(client);
	end(server);
}

static void
send_unheard(int client, int server)
{
	deafen(server);
	fill(client, 3000);
}

/* To a closed window: no end of it that a wait could be for, so until twice nothing more has fitted. */
static void
send_unread(int client, int server)
{
	struct pollfd wait = { .fd = client, .events = POLLOUT };

	do
		fill(client, UINT_MAX);
	while (poll(&wait, 1, 300) == 1);
}

static void
make_established(const struct spec *spec)
{
	struct spec s = *spec;
	int listener = open_listener(&s, 16);
	struct pair *pairs = calloc(s.count, sizeof(*pairs));

	if (pairs == NULL)
		err(1, "calloc");
	for (unsigned int i = 0; i < s.count; i++)
		open_pair(&s, listener, &pairs[i].client, &pairs[i].server);
	if (s.replace != 0 && s.count > 0)
		remember(&s, listener, pairs);
	else
		free(pairs);
}

/* The client closes first: it leaves a TIME_WAIT. */
static void
replace_one(struct replacement *r)
{
	struct pair *pair = &r->pairs[r->next];

	if (setns(r->netns, CLONE_NEWNET) == -1)
		err(1, "setns");
	close(pair->client);
	close(pair->server);
	open_pair(&r->spec, r->listener, &pair->client, &pair->server);
	r->next = (r->next + 1) % r->spec.count;
	r->due += r->spec.replace;
}

/* Milliseconds until the next one, or -1. */
static int
replace_due(void)
{
	uint64_t now = now_ms(), next = UINT64_MAX;

	for (unsigned int i = 0; i < nreplacements; i++) {
		if (replacements[i].due <= now)
			replace_one(&replacements[i]);
		if (replacements[i].due < next)
			next = replacements[i].due;
	}
	return next == UINT64_MAX ? -1 : next <= now ? 0 : (int)(next - now);
}

static void
make_pairs(const struct spec *spec)
{
	struct spec s = *spec;
	int client, server, listener = open_listener(&s, 16);

	for (unsigned int i = 0; i < s.count; i++) {
		open_pair(&s, listener, &client, &server);
		s.kind->then(client, server);
	}
	if (!s.kind->fds)
		close(listener);
}

static void
make_listen(const struct spec *spec)
{
	for (unsigned int i = 0; i < spec->count; i++) {
		struct spec s = *spec;

		open_listener(&s, 7 + (int)i);
	}
}

static void
make_bound(const struct spec *spec)
{
	for (unsigned int i = 0; i < spec->count; i++)
		open_bound(spec);
}

static void
make_backlog(const struct spec *spec)
{
	struct spec s = *spec;

	open_listener(&s, (int)s.count);
	for (unsigned int i = 0; i < s.count; i++)
		open_client(&s, 0, false);
}

/* A listener whose queue of one is full answers no SYN. */
static void
make_syn_sent(const struct spec *spec)
{
	struct spec s = *spec;

	open_listener(&s, 0);
	open_client(&s, 0, false);
	for (unsigned int i = 0; i < s.count; i++)
		open_client(&s, SOCK_NONBLOCK, false);
}

/* A client that does not hear the answer to its SYN. */
static void
make_syn_recv(const struct spec *spec)
{
	struct spec s = *spec;

	open_listener(&s, 16);
	for (unsigned int i = 0; i < s.count; i++)
		open_client(&s, SOCK_NONBLOCK, true);
}

static const struct kind kinds[] = {
	{ "established", make_established, NULL, true },
	{ "listen", make_listen, NULL, true },
	{ "backlog", make_backlog, NULL, true },
	{ "bound", make_bound, NULL, true },
	{ "time-wait", make_pairs, close_both, false },
	{ "close-wait", make_pairs, end_client, true },
	{ "fin-wait1", make_pairs, end_unheard, true },
	{ "closing", make_pairs, end_both_unheard, true },
	{ "last-ack", make_pairs, end_last, true },
	{ "syn-sent", make_syn_sent, NULL, true },
	{ "syn-recv", make_syn_recv, NULL, true },
	{ "unacked", make_pairs, send_unheard, true },
	{ "unread", make_pairs, send_unread, true },
	{ NULL, NULL, NULL, false }
};

static enum family
parse_family(const char *value)
{
	if (strcmp(value, "4") == 0)
		return FAMILY_4;
	if (strcmp(value, "6") == 0)
		return FAMILY_6;
	if (strcmp(value, "mapped") == 0)
		return FAMILY_MAPPED;
	if (strcmp(value, "mapped-both") == 0)
		return FAMILY_MAPPED_BOTH;
	errx(1, "family %s: want 4, 6, mapped or mapped-both", value);
}

static int
parse_tls(const char *value)
{
	if (strcmp(value, "1.2") == 0)
		return TLS_1_2_VERSION;
	if (strcmp(value, "1.3") == 0)
		return TLS_1_3_VERSION;
	errx(1, "tls %s: want 1.2 or 1.3", value);
}

static const struct cipher *
parse_cipher(const char *value)
{
	for (const struct cipher *c = ciphers; c->name != NULL; c++)
		if (strcmp(c->name, value) == 0)
			return c;
	errx(1, "unknown cipher %s", value);
}

static bool
parse_option(struct spec *spec, const char *key, const char *value)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (strcmp(key, options[i].name) == 0) {
			spec->given[i] = true;
			spec->options[i] = (int)strtoul(value, NULL, 0);
			return true;
		}
	return false;
}

static bool
parse_number(struct spec *spec, const char *key, const char *value)
{
	const struct { const char *name; unsigned int *number; } numbers[] = {
		{ "count", &spec->count }, { "port", &spec->port }, { "uid", &spec->uid },
		{ "bytes", &spec->bytes }, { "fill", &spec->fill }, { "tls-one-way", &spec->tls_one_way },
		{ "tls-no-pad", &spec->tls_no_pad }, { "tls-max-payload", &spec->tls_max_payload },
		{ "mptcp", &spec->mptcp }, { "fastopen", &spec->fastopen }, { "replace", &spec->replace },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(key, numbers[i].name) == 0) {
			*numbers[i].number = (unsigned int)strtoul(value, NULL, 0);
			return true;
		}
	return false;
}

static void
parse_key(struct spec *spec, const char *key, const char *value)
{
	if (parse_number(spec, key, value) || parse_option(spec, key, value))
		return;
	if (strcmp(key, "family") == 0)
		spec->family = parse_family(value);
	else if (strcmp(key, "cc") == 0)
		spec->cc = value;
	else if (strcmp(key, "md5") == 0)
		spec->md5 = value;
	else if (strcmp(key, "device") == 0)
		spec->device = value;
	else if (strcmp(key, "tls") == 0)
		spec->tls = parse_tls(value);
	else if (strcmp(key, "cipher") == 0)
		spec->cipher = parse_cipher(value);
	else
		errx(1, "unknown key %s", key);
}

/* Consumes text, which stays alive: values point into it. */
static struct spec
parse_spec(char *text)
{
	struct spec spec = { .count = 1, .cipher = ciphers };
	char *name = strsep(&text, ":"), *pair, *key;

	for (spec.kind = kinds; spec.kind->name != NULL; spec.kind++)
		if (strcmp(spec.kind->name, name) == 0)
			break;
	if (spec.kind->name == NULL)
		errx(1, "unknown kind %s", name);
	while ((pair = strsep(&text, ",")) != NULL) {
		key = strsep(&pair, "=");
		if (pair == NULL)
			errx(1, "%s: no value", key);
		parse_key(&spec, key, pair);
	}
	return spec;
}

static void
add_jobs(struct holder *h, const struct spec *spec, const char *file, unsigned int *number)
{
	unsigned int left = spec->count;

	while (left > 0) {
		struct job *job = &h->jobs[h->njobs];

		if (h->njobs++ == JOBS_MAX)
			errx(1, "more than %d jobs", JOBS_MAX);
		job->spec = *spec;
		job->spec.documentation = h->documentation;
		job->join = file;
		job->spec.count = !spec->kind->fds || left < PROCESS_CONNECTIONS ? left : PROCESS_CONNECTIONS;
		job->spec.number = (*number)++;
		left -= job->spec.count;
	}
}

/* One namespace is entered by all; of several, each job enters its own. */
static void
make_jobs(struct holder *h)
{
	unsigned int namespaces = h->njoins > 1 ? h->njoins : 1;

	for (unsigned int n = 0; n < namespaces; n++) {
		unsigned int number = 0;

		for (unsigned int i = 0; i < h->nspecs; i++)
			add_jobs(h, &h->specs[i], h->njoins > 1 ? h->joins[n] : NULL, &number);
	}
}

static void
bring_up_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd == -1 || ioctl(fd, SIOCGIFFLAGS, &request) == -1)
		err(1, "lo");
	request.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request) == -1)
		err(1, "lo");
	close(fd);
}

static void
join(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd == -1 || setns(fd, CLONE_NEWNET) == -1)
		err(1, "%s", file);
	close(fd);
}

static void
enter(const struct holder *h)
{
	if (h->njoins == 1)
		join(h->joins[0]);
	if (h->unshare && unshare(CLONE_NEWNET) == -1)
		err(1, "unshare");
	if (h->lo)
		bring_up_loopback();
}

static void
make(const struct holder *h, const struct job *job)
{
	if (job->join != NULL) {
		join(job->join);
		if (h->lo)
			bring_up_loopback();
	}
	job->spec.kind->make(&job->spec);
}

/* How many of these jobs go into one process; at least one. */
static unsigned int
fit(const struct job *jobs, unsigned int njobs)
{
	unsigned int n, sum = 0;

	for (n = 0; n < njobs; n++) {
		sum += jobs[n].spec.kind->fds ? jobs[n].spec.count : 1;
		if (n > 0 && sum > PROCESS_CONNECTIONS)
			break;
	}
	return n;
}

static int answer;

/* For exit(3): the first process waits for an answer of each. */
static void
say_failed(void)
{
	if (write(answer, "f", 1) != 1)
		_exit(1);
}

/* Makes the sockets of some jobs and holds them as long as the first process lives. */
static void
run_jobs(const struct holder *h, const struct job *jobs, unsigned int njobs, int home)
{
	struct pollfd life = { .fd = h->life, .events = POLLIN };
	char byte = 'r';

	answer = h->ready;
	atexit(say_failed);
	for (unsigned int i = 0; i < njobs; i++)
		make(h, &jobs[i]);
	if (h->back && setns(home, CLONE_NEWNET) == -1)
		err(1, "setns");
	if (write(h->ready, &byte, 1) != 1)
		err(1, "write");
	while (poll(&life, 1, replace_due()) == 0)
		;
	_exit(0);
}

static void
fork_jobs(struct holder *h, int home)
{
	unsigned int processes = 0, n;
	int life[2], answers[2];
	char byte;

	if (pipe2(life, O_CLOEXEC) == -1 || pipe2(answers, O_CLOEXEC) == -1)
		err(1, "pipe");
	h->life = life[0];
	h->ready = answers[1];
	for (unsigned int i = 0; i < h->njobs; i += n, processes++) {
		n = fit(&h->jobs[i], h->njobs - i);
		switch (fork()) {
		case -1:
			err(1, "fork");
		case 0:
			close(life[1]);
			run_jobs(h, &h->jobs[i], n, home);
		}
	}
	close(answers[1]);
	for (unsigned int i = 0; i < processes; i++)
		if (read(answers[0], &byte, 1) != 1 || byte != 'r')
			errx(1, "a job has failed");
	if (h->back && setns(home, CLONE_NEWNET) == -1)
		err(1, "setns");
}

static void
hold(void)
{
	char byte;

	printf("ready %ld\n", (long)syscall(SYS_gettid));
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

static void *
thread_main(void *argument)
{
	struct holder *h = argument;

	enter(h);
	for (unsigned int i = 0; i < h->njobs; i++)
		make(h, &h->jobs[i]);
	hold();
	return NULL;
}

static void
raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		err(1, "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
		err(1, "setrlimit");
}

static void
parse(struct holder *h, int argc, char **argv)
{
	int letter;

	while ((letter = getopt(argc, argv, "dubltj:")) != -1)
		switch (letter) {
		case 'd':
			h->documentation = true;
			break;
		case 'u':
			h->unshare = true;
			break;
		case 'b':
			h->back = true;
			break;
		case 'l':
			h->lo = true;
			break;
		case 't':
			h->thread = true;
			break;
		case 'j':
			if (h->njoins == NAMESPACES_MAX)
				errx(1, "more than %d namespaces", NAMESPACES_MAX);
			h->joins[h->njoins++] = optarg;
			break;
		default:
			exit(1);
		}
	for (; optind < argc; optind++) {
		if (h->nspecs == JOBS_MAX)
			errx(1, "more than %d kinds", JOBS_MAX);
		h->specs[h->nspecs++] = parse_spec(argv[optind]);
	}
	make_jobs(h);
}

int
main(int argc, char **argv)
{
	static struct holder h;
	pthread_t thread;
	int home;

	parse(&h, argc, argv);
	raise_limit();
	if (h.thread) {
		if (pthread_create(&thread, NULL, thread_main, &h) != 0)
			errx(1, "pthread_create");
		pthread_join(thread, NULL);
		return 0;
	}
	if ((home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) == -1)
		err(1, "/proc/self/ns/net");
	enter(&h);
	fork_jobs(&h, home);
	hold();
	return 0;
}
