/*
 * fake_namespacer: speaks the namespacer's part to a real shipper, over two
 * rings.  One carries honest records; the other's "collector" attacks.
 *
 *	fake_namespacer SOCKET ATTACK
 *
 * Says on stdout, line by line, what the shipper answers.  Exits 0 when the
 * honest ring is drained.
 */
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <err.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/channel.h"
#include "common/clock.h"
#include "common/counters.h"
#include "common/protocol.h"
#include "common/record.h"
#include "common/ring.h"
#include "common/varint.h"

enum { HONEST = 11, HOSTILE = 22, PORTION = 50, RING_BYTES = 64 * 1024, PATIENCE_MS = 20000 };

struct collector {
	struct ring_memory	 memory;
	struct ring_producer	 producer;
	int			 doorbell;
	uint64_t		 written;	/* records */
};

struct bytes {
	uint8_t	 at[2 * RECORD_MAX];
	size_t	 length;
};

struct attack {
	const char	*name;
	/* Alters a good record, or NULL. */
	void		(*record)(struct bytes *);
	/* Does something to the ring, or NULL. */
	void		(*ring)(struct collector *);
	/* Goes on in a process of its own until it is killed. */
	bool		 endless;
	/* The shipper has to say HOSTILE. */
	bool		 hostile;
};

static const struct channel_type hello_type = { PROTOCOL_HELLO, sizeof(struct protocol_hello), 0 };
static const struct channel_type ring_type = { PROTOCOL_RING, sizeof(struct protocol_ring), 3 };
static const struct channel_type ended_type = { PROTOCOL_ENDED, sizeof(struct protocol_epoch), 0 };
static const struct channel_type finish_type = { PROTOCOL_FINISH, 0, 0 };
static const struct channel_type answers[] = {
	{ PROTOCOL_HELLO, sizeof(struct protocol_hello), 0 },
	{ PROTOCOL_DRAINED, sizeof(struct protocol_epoch), 0 },
	{ PROTOCOL_HOSTILE, sizeof(struct protocol_epoch), 0 },
	{ 0, 0, 0 }
};

/* --- records ------------------------------------------------------------- */

static void
put_raw(struct bytes *to, const void *from, size_t length)
{
	memcpy(to->at + to->length, from, length);
	to->length += length;
}

static void
put_number(struct bytes *to, uint32_t field, uint64_t value)
{
	to->length += varint_write(to->at + to->length, (uint64_t)field << 3);
	to->length += varint_write(to->at + to->length, value);
}

static void
put_string(struct bytes *to, uint32_t field, const void *from, size_t length)
{
	to->length += varint_write(to->at + to->length, (uint64_t)field << 3 | 2);
	to->length += varint_write(to->at + to->length, length);
	put_raw(to, from, length);
}

/* The n-th good record of an established connection, up to field 1010. */
static void
put_record(struct bytes *to, uint64_t n)
{
	static const uint8_t address[16] = { 10, 1, 2, 3 };

	put_number(to, RECORD_N_timestamp_ns, 1);
	put_number(to, RECORD_N_record_counter, n);
	put_number(to, RECORD_N_snapshot_sequence, 1);
	put_number(to, RECORD_N_record_sequence, n);
	put_number(to, RECORD_N_attributes_present, 1u << RECORD_MSG);
	put_number(to, RECORD_N_snapshot_attempt, 1);
	put_number(to, RECORD_N_inet_diag_msg_family, 2);
	put_number(to, RECORD_N_inet_diag_msg_state, 1);
	put_number(to, RECORD_N_inet_diag_msg_socket_source_port, n);
	put_number(to, RECORD_N_inet_diag_msg_socket_destination_port, 443);
	put_string(to, RECORD_N_inet_diag_msg_socket_source, address, sizeof(address));
	put_string(to, RECORD_N_inet_diag_msg_socket_destination, address, sizeof(address));
	put_number(to, RECORD_N_inet_diag_msg_socket_cookie, n);
}

/* Waits for room; the flood is the only one that needs it. */
static void
write_bytes(struct collector *c, const struct bytes *record)
{
	uint8_t *place;
	size_t n;

	while (ring_reserve(&c->producer, record->length + VARINT_MAX, &place) == RING_FULL)
		poll(NULL, 0, 1);
	n = varint_write(place, record->length);
	memcpy(place + n, record->at, record->length);
	ring_commit(&c->producer, n + record->length);
	c->written++;
}

static void
publish(struct collector *c)
{
	if (ring_publish(&c->producer))
		send(c->doorbell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
write_good(struct collector *c, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct bytes record = { .length = 0 };

		put_record(&record, c->written + 1);
		write_bytes(c, &record);
	}
	publish(c);
}

/* --- attacks on the record ----------------------------------------------- */

static void
attack_garbage(struct bytes *record)
{
	record->length = 300;
	if (getrandom(record->at, record->length, 0) == -1)
		err(1, "getrandom");
}

/* Writes a record that starts with fields of its own choice. */
static void
lead_with(struct bytes *record, const struct bytes *lead)
{
	struct bytes good = *record;

	*record = *lead;
	put_raw(record, good.at, good.length);
}

static void
attack_name(struct bytes *record)
{
	struct bytes forged = { .length = 0 };

	put_number(&forged, RECORD_N_timestamp_ns, 1);
	put_string(&forged, RECORD_N_netns, "honest", 6);
	put_number(&forged, RECORD_N_record_counter, 1);
	*record = forged;
}

static void
attack_name_first(struct bytes *record)
{
	struct bytes lead = { .length = 0 };

	put_string(&lead, RECORD_N_netns, "honest", 6);
	lead_with(record, &lead);
}

static void
attack_name_last(struct bytes *record)
{
	put_string(record, RECORD_N_netns, "honest", 6);
}

static void
attack_epoch(struct bytes *record)
{
	struct bytes forged = { .length = 0 };

	put_number(&forged, RECORD_N_timestamp_ns, 1);
	put_number(&forged, RECORD_N_collector_epoch, HONEST);
	put_number(&forged, RECORD_N_record_sequence, 1);
	*record = forged;
}

static void
attack_cookie(struct bytes *record)
{
	put_number(record, RECORD_N_netns_cookie, 1000 + HONEST);
}

static void
attack_inode(struct bytes *record)
{
	struct bytes lead = { .length = 0 };

	put_number(&lead, RECORD_N_netns_inode, 5000 + HONEST);
	lead_with(record, &lead);
}

static void
attack_container(struct bytes *record)
{
	struct bytes lead = { .length = 0 };

	put_string(&lead, RECORD_N_container_id, "honest", 6);
	lead_with(record, &lead);
}

static void
attack_hostname(struct bytes *record)
{
	struct bytes lead = { .length = 0 };

	put_string(&lead, RECORD_N_hostname, "another", 7);
	lead_with(record, &lead);
}

static void
attack_twice(struct bytes *record)
{
	put_number(record, RECORD_N_inet_diag_msg_socket_cookie, 7);
}

static void
attack_unknown(struct bytes *record)
{
	put_number(record, 5000, 7);
}

static void
attack_newline(struct bytes *record)
{
	static const char text[] = "cubic\n{\"netns\":\"honest\"}";

	put_string(record, RECORD_N_congestion_algorithm_string, text, strlen(text));
}

static void
attack_utf8(struct bytes *record)
{
	put_string(record, RECORD_N_congestion_algorithm_string, "cub\xff\xc0ic", 7);
}

static void
attack_nul(struct bytes *record)
{
	put_string(record, RECORD_N_congestion_algorithm_string, "cu\0bic", 6);
}

/* CSI in one byte, as a terminal takes it: valid UTF-8, and no text. */
static void
attack_terminal(struct bytes *record)
{
	put_string(record, RECORD_N_congestion_algorithm_string, "\xc2\x9b" "2Jcubic", 9);
}

static void
attack_address(struct bytes *record)
{
	struct bytes forged = { .length = 0 };

	put_number(&forged, RECORD_N_timestamp_ns, 1);
	put_string(&forged, RECORD_N_inet_diag_msg_socket_source, "1234", 4);
	*record = forged;
}

static void
attack_wide(struct bytes *record)
{
	put_number(record, RECORD_N_inet_diag_msg_uid, UINT64_C(1) << 40);
}

static void
attack_redundant(struct bytes *record)
{
	/* 1016 = 1, in two bytes */
	static const uint8_t field[] = { 0xc0, 0x3f, 0x81, 0x00 };

	put_raw(record, field, sizeof(field));
}

static void
attack_kind(struct bytes *record)
{
	struct bytes forged = { .length = 0 };

	put_number(&forged, RECORD_N_timestamp_ns, 1);
	put_number(&forged, RECORD_N_record_kind, 99);
	*record = forged;
}

static void
attack_cut(struct bytes *record)
{
	record->length--;
}

static void
attack_huge(struct bytes *record)
{
	static const uint8_t nothing[RECORD_MAX + 1];

	put_string(record, RECORD_N_congestion_algorithm_string, nothing, RECORD_MAX);
}

/* --- attacks on the ring ------------------------------------------------- */

static uint64_t
position(struct collector *c)
{
	return atomic_load(&c->producer.own->position);
}

static void
set_position(struct collector *c, uint64_t value)
{
	atomic_store(&c->producer.own->position, value);
	send(c->doorbell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
attack_ahead(struct collector *c)
{
	set_position(c, position(c) + RING_BYTES + 1);
}

static void
attack_far_ahead(struct collector *c)
{
	set_position(c, UINT64_MAX - 3);
}

/* Behind what the shipper has read, once it has. */
static void
attack_back(struct collector *c)
{
	while (atomic_load(&c->producer.peer->position) < position(c))
		poll(NULL, 0, 1);
	set_position(c, position(c) - 1);
}

/* As if nothing had ever been written. */
static void
attack_to_zero(struct collector *c)
{
	while (atomic_load(&c->producer.peer->position) < position(c))
		poll(NULL, 0, 1);
	set_position(c, 0);
}

/* Truth and lies in turn, faster than anybody can look. */
static void
attack_flicker(struct collector *c)
{
	for (uint64_t truth = position(c), i = 0;; i++) {
		atomic_store(&c->producer.own->position, truth - 1 - i % RING_BYTES);
		atomic_store(&c->producer.own->position, truth);
		atomic_store(&c->producer.own->position, truth + RING_BYTES + 1 + i % RING_BYTES);
		atomic_store(&c->producer.own->position, truth);
		if (i % 1024 == 0)
			send(c->doorbell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

static void
put_prefix(struct collector *c, const uint8_t *prefix, size_t length)
{
	uint8_t *place;

	if (ring_reserve(&c->producer, 64, &place) != RING_OK)
		errx(1, "no room");
	memcpy(place, prefix, length);
	ring_commit(&c->producer, length);
	publish(c);
}

static void
attack_beyond(struct collector *c)
{
	put_prefix(c, (const uint8_t[]){ 100, 0, 0 }, 3);
}

static void
attack_empty(struct collector *c)
{
	put_prefix(c, (const uint8_t[]){ 0 }, 1);
}

static void
attack_long_prefix(struct collector *c)
{
	put_prefix(c, (const uint8_t[]){ 0xff, 0xff, 0xff, 0xff, 0x7f }, 5);
}

/* Writes random bytes over everything that it can map, as fast as it can. */
static void
attack_scribble(struct collector *c)
{
	uint64_t dice[64];

	for (;;) {
		if (getrandom(dice, sizeof(dice), 0) == -1)
			err(1, "getrandom");
		for (size_t i = 0; i + 2 < 64; i += 3) {
			memcpy(c->producer.data + dice[i] % (RING_BYTES - 8), &dice[i + 1], 8);
			atomic_store(&c->producer.own->position, position(c) + dice[i + 2] % 300);
			atomic_store(&c->producer.own->waiting, (uint32_t)dice[i]);
		}
		send(c->doorbell, dice, sizeof(dice), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

/* Good records; but at any time one bit of what is unread is another one. */
static void
attack_restless(struct collector *c)
{
	volatile uint8_t *bytes = c->producer.data;

	for (uint64_t i = 0;; i++) {
		uint64_t read = atomic_load(&c->producer.peer->position), unread = position(c) - read;
		uint64_t at = (read + i * 31 % (unread + 1)) % RING_BYTES;

		if (unread == 0)
			write_good(c, 100);
		bytes[at] ^= (uint8_t)(1U << i % 8);
		for (int spin = 0; spin < 200; spin++)
			atomic_signal_fence(memory_order_seq_cst);
		bytes[at] ^= (uint8_t)(1U << i % 8);
	}
}

/* Its counters are never the same for two looks, and never true. */
static void
attack_counters(struct collector *c)
{
	uint64_t *counters = ring_counters(&c->producer);

	for (;;) {
		if (getrandom(counters, sizeof(struct counters), 0) == -1)
			err(1, "getrandom");
		counters[0] = 0;
	}
}

/* Asks for a wake-up at each step, and never hears one. */
static void
attack_deaf(struct collector *c)
{
	for (;;) {
		atomic_store(&c->producer.own->waiting, 1);
		write_good(c, 1);
	}
}

/* Descriptors, as many as the doorbell takes, of a file that then stays open. */
static void
attack_descriptors(struct collector *c)
{
	union {
		struct cmsghdr	header;
		char		bytes[CMSG_SPACE(sizeof(int) * 8)];
	} control = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * 8) } };
	char ring = 'x';
	struct iovec part = { .iov_base = &ring, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	int fds[8];

	for (size_t i = 0; i < 8; i++)
		fds[i] = STDOUT_FILENO;
	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	for (;;)
		sendmsg(c->doorbell, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Nothing wrong with any of it, but there is no end. */
static void
attack_flood(struct collector *c)
{
	for (;;)
		write_good(c, 100);
}

static void
attack_ringing(struct collector *c)
{
	for (;;)
		send(c->doorbell, "xxxxxxxx", 8, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Reads nothing and takes the shipper's own wake-ups to be lost. */
static void
attack_hang_up(struct collector *c)
{
	shutdown(c->doorbell, SHUT_RDWR);
}

/* What an honest collector of a newer kernel would count. */
static void
attack_word(struct collector *c)
{
	struct counters *word = ring_counters(&c->producer);

	word->unknown_attributes[RECORD_NEST_TOP][23] = 7;
	word->unknown_attributes[RECORD_NEST_TOP][COUNTERS_KINDS - 1] = 2;
	word->read = 12;
	word->encoded = 10;
	word->dropped[COUNTERS_DROP_DEADLINE] = 2;
}

/* Counts more than anybody can. */
static void
attack_lie(struct collector *c)
{
	memset(ring_counters(&c->producer), 0xff, sizeof(struct counters));
}

static const struct attack attacks[] = {
	{ "none", NULL, NULL, false, false },
	{ "garbage", attack_garbage, NULL, false, true },
	{ "name", attack_name, NULL, false, true },
	{ "name-first", attack_name_first, NULL, false, true },
	{ "name-last", attack_name_last, NULL, false, true },
	{ "epoch", attack_epoch, NULL, false, true },
	{ "cookie", attack_cookie, NULL, false, true },
	{ "inode", attack_inode, NULL, false, true },
	{ "container", attack_container, NULL, false, true },
	{ "hostname", attack_hostname, NULL, false, true },
	{ "twice", attack_twice, NULL, false, true },
	{ "unknown", attack_unknown, NULL, false, true },
	{ "newline", attack_newline, NULL, false, true },
	{ "utf8", attack_utf8, NULL, false, true },
	{ "nul", attack_nul, NULL, false, true },
	{ "terminal", attack_terminal, NULL, false, true },
	{ "address", attack_address, NULL, false, true },
	{ "wide", attack_wide, NULL, false, true },
	{ "redundant", attack_redundant, NULL, false, true },
	{ "kind", attack_kind, NULL, false, true },
	{ "cut", attack_cut, NULL, false, true },
	{ "huge", attack_huge, NULL, false, true },
	{ "ahead", NULL, attack_ahead, false, true },
	{ "far-ahead", NULL, attack_far_ahead, false, true },
	{ "back", NULL, attack_back, false, true },
	{ "to-zero", NULL, attack_to_zero, false, true },
	{ "flicker", NULL, attack_flicker, true, true },
	{ "beyond", NULL, attack_beyond, false, true },
	{ "empty", NULL, attack_empty, false, true },
	{ "long-prefix", NULL, attack_long_prefix, false, true },
	{ "scribble", NULL, attack_scribble, true, true },
	{ "restless", NULL, attack_restless, true, true },
	{ "counters", NULL, attack_counters, true, false },
	{ "deaf", NULL, attack_deaf, true, false },
	{ "descriptors", NULL, attack_descriptors, true, false },
	{ "flood", NULL, attack_flood, true, false },
	{ "ringing", NULL, attack_ringing, true, false },
	{ "hang-up", NULL, attack_hang_up, false, false },
	{ "word", NULL, attack_word, false, false },
	{ "lie", NULL, attack_lie, false, false },
	{ NULL, NULL, NULL, false, false }
};

/* --- the namespacer's part ----------------------------------------------- */

static void
tell(int link, const struct channel_type *type, const void *payload, const int *fds)
{
	struct pollfd room = { .fd = link, .events = POLLOUT };
	enum channel_result result;

	while ((result = channel_send(link, type, payload, fds)) == CHANNEL_AGAIN)
		poll(&room, 1, 100);
	if (result != CHANNEL_OK)
		errx(2, "the shipper does not listen");
}

/* The next answer's type and epoch; ends the program when none comes. */
static uint32_t
answer(int link, uint64_t *epoch)
{
	struct pollfd ready = { .fd = link, .events = POLLIN };
	struct channel_message message;
	enum channel_result result;

	while ((result = channel_receive(link, answers, &message)) == CHANNEL_AGAIN)
		if (poll(&ready, 1, PATIENCE_MS) == 0)
			errx(3, "no answer");
	if (result != CHANNEL_OK)
		errx(2, "the shipper has hung up");
	memcpy(epoch, message.payload, sizeof(*epoch));
	if (message.type != PROTOCOL_HELLO) {
		printf("%s %llu\n", message.type == PROTOCOL_HOSTILE ? "hostile" : "drained", (unsigned long long)*epoch);
		fflush(stdout);
	}
	return message.type;
}

static void
expect(int link, uint32_t type, uint64_t epoch)
{
	uint64_t got;

	while (answer(link, &got) != type || got != epoch)
		;
}

static int
connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct protocol_hello hello = { PROTOCOL_NAME, PROTOCOL_VERSION, 0 };
	int link = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	uint64_t unused;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (link == -1 || connect(link, (struct sockaddr *)&address, sizeof(address)) == -1)
		err(2, "%s", path);
	tell(link, &hello_type, &hello, NULL);
	if (answer(link, &unused) != PROTOCOL_HELLO)
		errx(2, "no greeting");
	return link;
}

static void
register_collector(int link, struct collector *c, uint64_t epoch, const char *name)
{
	struct protocol_ring ring = { .epoch = epoch, .cookie = 1000 + epoch, .inode = 5000 + epoch, .size = RING_BYTES };
	int bell[2];

	if (ring_create(&c->memory, &c->producer, RING_BYTES) == -1)
		err(1, "ring_create");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bell) == -1)
		err(1, "socketpair");
	c->doorbell = bell[0];
	snprintf(ring.name, sizeof(ring.name), "%s", name);
	tell(link, &ring_type, &ring, (const int[]){ c->memory.data_fd, c->memory.control_fd, bell[1] });
	close(bell[1]);
}

static pid_t
attack_with(const struct attack *attack, struct collector *c)
{
	struct bytes record = { .length = 0 };
	pid_t pid;

	if (attack->record != NULL) {
		put_record(&record, c->written + 1);
		attack->record(&record);
		write_bytes(c, &record);
		publish(c);
	}
	if (attack->ring == NULL)
		return 0;
	if (!attack->endless) {
		attack->ring(c);
		return 0;
	}
	if ((pid = fork()) == -1)
		err(1, "fork");
	if (pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
			err(1, "prctl");
		attack->ring(c);
		_exit(0);
	}
	return pid;
}

static const struct attack *
find_attack(const char *name)
{
	for (const struct attack *a = attacks; a->name != NULL; a++)
		if (strcmp(a->name, name) == 0)
			return a;
	errx(1, "unknown attack %s", name);
}

static void
stop(pid_t pid)
{
	if (pid == 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int
main(int argc, char **argv)
{
	static struct collector honest, hostile;
	struct protocol_epoch honest_epoch = { HONEST }, hostile_epoch = { HOSTILE };
	const struct attack *attack;
	pid_t attacker;
	int link;

	if (argc != 3)
		errx(1, "usage: fake_namespacer SOCKET ATTACK");
	attack = find_attack(argv[2]);
	link = connect_to(argv[1]);
	register_collector(link, &honest, HONEST, "honest");
	register_collector(link, &hostile, HOSTILE, "hostile");
	write_good(&honest, PORTION);
	write_good(&hostile, 1);
	attacker = attack_with(attack, &hostile);
	write_good(&honest, PORTION);
	if (attack->hostile)
		expect(link, PROTOCOL_HOSTILE, HOSTILE);
	write_good(&honest, PORTION);
	tell(link, &ended_type, &honest_epoch, NULL);
	expect(link, PROTOCOL_DRAINED, HONEST);
	stop(attacker);
	tell(link, &ended_type, &hostile_epoch, NULL);
	tell(link, &finish_type, NULL, NULL);
	return 0;
}
