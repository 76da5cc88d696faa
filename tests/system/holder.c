/*
 * holder: makes TCP sockets of chosen kinds in a network namespace, says
 * "ready", and holds them until its standard input ends.  The system tests and
 * the bench look at what it holds.
 *
 *	holder [-blt] [-u | -j FILE] KIND[:KEY=VALUE[,KEY=VALUE]...] ...
 *
 *	-u	in a new network namespace
 *	-j FILE	in the namespace of this file; given again, in each of them
 *	-t	all in a second thread; the first stays where it was
 *	-b	goes back where it was when the sockets are made
 *	-l	brings the loopback device up first
 *
 *	KIND	established, listen, bound, time-wait, close-wait, syn-sent
 *	KEY	count, family (4, 6, mapped), port (of the listener), cc, mark,
 *		tos, tclass, bytes (client to server), uid, md5 (a key),
 *		replace (of established: milliseconds after which one connection
 *		is closed and another one made, again and again)
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
#include <fcntl.h>
#include <linux/tcp.h>
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

enum family { FAMILY_4, FAMILY_6, FAMILY_MAPPED };

struct spec {
	const struct kind *kind;
	unsigned int	 count;
	unsigned int	 number;	/* of the job in its namespace: its own loopback address */
	enum family	 family;
	unsigned int	 port;
	const char	*cc;
	unsigned int	 mark;
	int		 tos;
	int		 tclass;
	unsigned int	 bytes;
	unsigned int	 uid;
	unsigned int	 replace;	/* ms; 0: never */
	const char	*md5;
};

struct kind {
	const char	*name;
	void		(*make)(const struct spec *);
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

union address {
	struct sockaddr		any;
	struct sockaddr_in	v4;
	struct sockaddr_in6	v6;
};

static void
set(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) == -1)
		err(1, "setsockopt %s", name);
}

static void
set_md5(int fd, const char *key)
{
	struct tcp_md5sig sig = { .tcpm_keylen = (uint16_t)strlen(key) };
	struct sockaddr_in *peer = (struct sockaddr_in *)&sig.tcpm_addr;

	peer->sin_family = AF_INET;
	/* 192.0.2.1: nobody */
	peer->sin_addr.s_addr = htonl(0xc0000201);
	memcpy(sig.tcpm_key, key, sig.tcpm_keylen);
	if (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &sig, sizeof(sig)) == -1)
		err(1, "setsockopt TCP_MD5SIG");
}

static void
apply(int fd, const struct spec *spec, bool v6)
{
	if (spec->mark != 0)
		set(fd, SOL_SOCKET, SO_MARK, (int)spec->mark, "SO_MARK");
	if (spec->tos >= 0)
		set(fd, IPPROTO_IP, IP_TOS, spec->tos, "IP_TOS");
	if (spec->tclass >= 0 && v6)
		set(fd, IPPROTO_IPV6, IPV6_TCLASS, spec->tclass, "IPV6_TCLASS");
	if (spec->cc != NULL &&
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, spec->cc, (socklen_t)strlen(spec->cc)) == -1)
		err(1, "congestion control %s", spec->cc);
	if (spec->md5 != NULL && !v6)
		set_md5(fd, spec->md5);
}

static int
open_socket(const struct spec *spec, bool v6, int flags)
{
	int fd;

	setfsuid(spec->uid);
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	setfsuid(0);
	if (fd == -1)
		err(1, "socket");
	apply(fd, spec, v6);
	return fd;
}

/* Where a job listens, or with client set, where it connects to. */
static socklen_t
place(const struct spec *spec, bool client, union address *a)
{
	memset(a, 0, sizeof(*a));
	if (spec->family == FAMILY_4 || (client && spec->family == FAMILY_MAPPED)) {
		a->v4.sin_family = AF_INET;
		a->v4.sin_port = htons((uint16_t)spec->port);
		a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + spec->number);
		return sizeof(a->v4);
	}
	a->v6.sin6_family = AF_INET6;
	a->v6.sin6_port = htons((uint16_t)spec->port);
	if (spec->family == FAMILY_6)
		a->v6.sin6_addr = in6addr_loopback;
	return sizeof(a->v6);
}

static int
open_bound(const struct spec *spec)
{
	union address a;
	socklen_t length = place(spec, false, &a);
	int fd = open_socket(spec, spec->family != FAMILY_4, 0);

	if (spec->family == FAMILY_MAPPED)
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

	if (listen(fd, backlog) == -1)
		err(1, "listen");
	if (getsockname(fd, &a.any, &length) == -1)
		err(1, "getsockname");
	spec->port = ntohs(a.v4.sin_port);
	return fd;
}

static int
open_client(const struct spec *spec, int flags)
{
	union address a;
	socklen_t length = place(spec, true, &a);
	int fd = open_socket(spec, a.any.sa_family == AF_INET6, flags);

	if (connect(fd, &a.any, length) == -1 && (flags & SOCK_NONBLOCK) == 0)
		err(1, "connect");
	return fd;
}

static void
send_bytes(int from, int to, unsigned int bytes)
{
	static char block[4096];
	unsigned int sent, n;
	ssize_t got;

	for (sent = 0; sent < bytes; sent += n) {
		n = bytes - sent < sizeof(block) ? bytes - sent : (unsigned int)sizeof(block);
		if (write(from, block, n) != (ssize_t)n)
			err(1, "write");
		for (unsigned int read_now = 0; read_now < n; read_now += (unsigned int)got)
			if ((got = read(to, block, n - read_now)) <= 0)
				err(1, "read");
	}
}

static void
open_pair(const struct spec *spec, int listener, int *client, int *server)
{
	*client = open_client(spec, 0);
	if ((*server = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) == -1)
		err(1, "accept");
	apply(*server, spec, spec->family != FAMILY_4);
	send_bytes(*client, *server, spec->bytes);
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
make_time_wait(const struct spec *spec)
{
	struct spec s = *spec;
	int client, server, listener = open_listener(&s, 16);

	for (unsigned int i = 0; i < s.count; i++) {
		open_pair(&s, listener, &client, &server);
		close(client);
		close(server);
	}
	close(listener);
}

static void
make_close_wait(const struct spec *spec)
{
	struct spec s = *spec;
	int client, server, listener = open_listener(&s, 16);

	for (unsigned int i = 0; i < s.count; i++) {
		open_pair(&s, listener, &client, &server);
		if (shutdown(client, SHUT_WR) == -1)
			err(1, "shutdown");
	}
}

/* A listener whose queue of one is full answers no SYN. */
static void
make_syn_sent(const struct spec *spec)
{
	struct spec s = *spec;

	open_listener(&s, 0);
	open_client(&s, 0);
	for (unsigned int i = 0; i < s.count; i++)
		open_client(&s, SOCK_NONBLOCK);
}

static const struct kind kinds[] = {
	{ "established", make_established, true },
	{ "listen", make_listen, true },
	{ "bound", make_bound, true },
	{ "time-wait", make_time_wait, false },
	{ "close-wait", make_close_wait, true },
	{ "syn-sent", make_syn_sent, true },
	{ NULL, NULL, false }
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
	errx(1, "family %s: want 4, 6 or mapped", value);
}

static void
parse_key(struct spec *spec, const char *key, const char *value)
{
	const struct { const char *name; unsigned int *number; } numbers[] = {
		{ "count", &spec->count }, { "port", &spec->port }, { "mark", &spec->mark },
		{ "bytes", &spec->bytes }, { "uid", &spec->uid }, { "replace", &spec->replace },
		{ "tos", (unsigned int *)&spec->tos }, { "tclass", (unsigned int *)&spec->tclass },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(key, numbers[i].name) == 0) {
			*numbers[i].number = (unsigned int)strtoul(value, NULL, 0);
			return;
		}
	if (strcmp(key, "family") == 0)
		spec->family = parse_family(value);
	else if (strcmp(key, "cc") == 0)
		spec->cc = value;
	else if (strcmp(key, "md5") == 0)
		spec->md5 = value;
	else
		errx(1, "unknown key %s", key);
}

/* Consumes text, which stays alive: values point into it. */
static struct spec
parse_spec(char *text)
{
	struct spec spec = { .count = 1, .tos = -1, .tclass = -1 };
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

/* Makes the sockets of some jobs and holds them as long as the first process lives. */
static void
run_jobs(const struct holder *h, const struct job *jobs, unsigned int njobs, int home)
{
	struct pollfd life = { .fd = h->life, .events = POLLIN };
	char byte = 0;

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
	int life[2], ready[2];
	char byte;

	if (pipe2(life, O_CLOEXEC) == -1 || pipe2(ready, O_CLOEXEC) == -1)
		err(1, "pipe");
	h->life = life[0];
	h->ready = ready[1];
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
	close(ready[1]);
	for (unsigned int i = 0; i < processes; i++)
		if (read(ready[0], &byte, 1) != 1)
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

	while ((letter = getopt(argc, argv, "ubltj:")) != -1)
		switch (letter) {
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
