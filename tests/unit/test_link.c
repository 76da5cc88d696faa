/* The link, over a real socket: who is heard, what is refused, and that nothing is left behind. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/ring.h"
#include "shipper/drain.h"
#include "shipper/link.h"
#include "tests/unit/folder.h"
#include "tests/unit/shipper_parts.h"

struct fixture {
	char			 folder[FOLDER_MAX];
	char			 path[96];
	struct event_base	*base;
	struct books		 books;
	struct delivery		*delivery;
	struct drain		*drain;
	struct link		*link;
	unsigned int		 finished, lost;
	char			 error[512];
};

static const struct channel_type hello_type = { PROTOCOL_HELLO, sizeof(struct protocol_hello), 0 };
static const struct channel_type ring_type = { PROTOCOL_RING, sizeof(struct protocol_ring), 3 };
static const struct channel_type ended_type = { PROTOCOL_ENDED, sizeof(struct protocol_epoch), 0 };
static const struct channel_type finish_type = { PROTOCOL_FINISH, 0, 0 };
static const struct channel_type counts_type = { PROTOCOL_COUNTS, sizeof(struct protocol_counts), 0 };
static const struct channel_type incoming[] = {
	{ PROTOCOL_HELLO, sizeof(struct protocol_hello), 0 },
	{ PROTOCOL_DRAINED, sizeof(struct protocol_epoch), 0 },
	{ PROTOCOL_HOSTILE, sizeof(struct protocol_epoch), 0 },
	{ 0, 0, 0 }
};

static void
on_drained(void *context, uint64_t epoch)
{
	link_send_drained(((struct fixture *)context)->link, epoch);
}

static void
on_hostile(void *context, uint64_t epoch)
{
	link_send_hostile(((struct fixture *)context)->link, epoch);
}

static void
on_nothing(void *context)
{
	(void)context;
}

static void
on_finish(void *context)
{
	((struct fixture *)context)->finished++;
}

static void
on_lost(void *context)
{
	((struct fixture *)context)->lost++;
}

static struct link *
make_link(struct fixture *f, uid_t peer)
{
	const struct link_options options = {
		.base = f->base, .path = f->path, .peer = peer, .finish = on_finish, .lost = on_lost, .context = f,
	};

	return link_new(&options, getuid(), getgid(), f->error, sizeof(f->error));
}

static void
begin_for(struct fixture *f, uid_t peer)
{
	f->link = make_link(f, peer);
	assert_non_null(f->link);
	assert_int_equal(link_listen(f->link, f->drain, f->error, sizeof(f->error)), 0);
}

static int
begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	folder_make(f->folder, "test_link");
	snprintf(f->path, sizeof(f->path), "%s/socket", f->folder);
	f->base = event_base_new();
	f->delivery = parts_delivery(&(struct delivery_options){
		.base = f->base, .books = &f->books, .limits = { 1000, 1 << 20 }, .age = MILLISECOND,
	});
	f->drain = drain_new(&(struct drain_options){
		.base = f->base, .books = &f->books, .delivery = f->delivery, .snapshot_ends = true,
		.events = { on_drained, on_hostile, on_nothing, on_nothing, f },
	});
	*state = f;
	return 0;
}

static int
end(void **state)
{
	struct fixture *f = *state;

	if (f->link != NULL)
		link_free(f->link);
	drain_free(f->drain);
	delivery_free(f->delivery);
	event_base_free(f->base);
	/* The link has taken its socket away, and the folder is empty. */
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

static int
dial(struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void
greet(int fd, uint32_t version)
{
	const struct protocol_hello hello = { .name = PROTOCOL_NAME, .version = version };

	assert_int_equal(channel_send(fd, &hello_type, &hello, NULL), CHANNEL_OK);
}

/* The next message, or what came instead. */
static enum channel_result
hear(struct fixture *f, int fd, struct channel_message *message)
{
	enum channel_result result;

	loop_until(f->base, (result = channel_receive(fd, incoming, message)) != CHANNEL_AGAIN);
	return result;
}

/* Connected, and both have said HELLO. */
static int
namespacer(struct fixture *f)
{
	struct channel_message message;
	int fd = dial(f);

	greet(fd, PROTOCOL_VERSION);
	assert_int_equal(hear(f, fd, &message), CHANNEL_OK);
	assert_int_equal(message.type, PROTOCOL_HELLO);
	assert_int_equal(((struct protocol_hello *)message.payload)->version, PROTOCOL_VERSION);
	return fd;
}

static void
assert_closed(struct fixture *f, int fd)
{
	struct channel_message message;

	while (hear(f, fd, &message) == CHANNEL_OK)
		continue;
	close(fd);
}

static size_t
descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

/* --- the socket ------------------------------------------------------------------------- */

static void
test_everybody_may_connect_and_root_is_heard(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	begin_for(f, getuid());
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	close(namespacer(f));
	loop_until(f->base, f->lost == 1);
}

static void
test_others_are_not_heard(void **state)
{
	struct fixture *f = *state;
	int fd;

	begin_for(f, getuid() + 1);
	fd = dial(f);
	greet(fd, PROTOCOL_VERSION);
	assert_closed(f, fd);
	assert_int_equal(f->lost, 0);
}

static void
test_a_stale_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int stale = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, f->path);
	assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof(address)), 0);
	close(stale);
	begin_for(f, getuid());
	close(namespacer(f));
}

static void
test_another_shipper_is_left_alone(void **state)
{
	struct fixture *f = *state;
	char expected[256];

	begin_for(f, getuid());
	assert_null(make_link(f, getuid()));
	snprintf(expected, sizeof(expected), "another shipper listens on %s", f->path);
	assert_string_equal(f->error, expected);
	close(namespacer(f));	/* and it still listens */
}

static void
test_places_that_cannot_be(void **state)
{
	struct fixture *f = *state;
	char path[96], expected[256];
	int fd;

	strcpy(path, f->path);
	fd = open(path, O_CREAT | O_CLOEXEC | O_WRONLY, 0600);
	close(fd);
	assert_null(make_link(f, 0));
	snprintf(expected, sizeof(expected), "socket %s: is there already, and no socket", path);
	assert_string_equal(f->error, expected);
	unlink(path);
	snprintf(f->path, sizeof(f->path), "%s/no/socket", f->folder);
	assert_null(make_link(f, 0));
	snprintf(expected, sizeof(expected), "socket %s: there is no folder %s/no", f->path, f->folder);
	assert_string_equal(f->error, expected);
	strcpy(f->path, "socket");
	assert_null(make_link(f, 0));
	assert_string_equal(f->error, "socket socket: is no absolute path of at most 107 bytes");
}

/* --- the connection ------------------------------------------------------------------------ */

static void
test_a_second_connection_is_refused(void **state)
{
	struct fixture *f = *state;
	struct channel_message message;
	int first, second;

	begin_for(f, getuid());
	first = namespacer(f);
	second = dial(f);
	assert_closed(f, second);
	/* The first does not notice; when it has gone, the next one is heard. */
	assert_int_equal(channel_receive(first, incoming, &message), CHANNEL_AGAIN);
	close(first);
	loop_until(f->base, f->lost == 1);
	close(namespacer(f));
}

static void
test_another_version_is_closed(void **state)
{
	struct fixture *f = *state;
	int fd;

	begin_for(f, getuid());
	fd = dial(f);
	greet(fd, PROTOCOL_VERSION + 1);
	assert_closed(f, fd);
	assert_int_equal(f->lost, 0);	/* it never was one */
	close(namespacer(f));
}

static void
test_what_breaks_the_protocol_is_closed(void **state)
{
	static const struct protocol_epoch epoch = { 7 };
	static const struct channel_type drained = { PROTOCOL_DRAINED, sizeof(epoch), 0 };
	struct fixture *f = *state;
	int fd;

	begin_for(f, getuid());
	/* No HELLO first. */
	fd = dial(f);
	assert_int_equal(channel_send(fd, &ended_type, &epoch, NULL), CHANNEL_OK);
	assert_closed(f, fd);
	assert_int_equal(f->lost, 0);
	/* A message of the other direction. */
	fd = namespacer(f);
	assert_int_equal(channel_send(fd, &drained, &epoch, NULL), CHANNEL_OK);
	assert_closed(f, fd);
	/* No message at all. */
	fd = namespacer(f);
	assert_int_equal(send(fd, "garbage", 7, 0), 7);
	assert_closed(f, fd);
	/* A second HELLO. */
	fd = namespacer(f);
	greet(fd, PROTOCOL_VERSION);
	assert_closed(f, fd);
	assert_int_equal(f->lost, 3);
	close(namespacer(f));
}

static void
test_finish_is_passed_on(void **state)
{
	struct fixture *f = *state;
	int fd;

	begin_for(f, getuid());
	fd = namespacer(f);
	assert_int_equal(channel_send(fd, &finish_type, NULL, NULL), CHANNEL_OK);
	loop_until(f->base, f->finished == 1);
	close(fd);
}

/* --- rings ------------------------------------------------------------------------------------ */

struct collector {
	struct ring_memory	memory;
	struct ring_producer	producer;
	int			bells[2];
};

static void
send_ring(int fd, struct collector *c, uint64_t epoch, bool good)
{
	struct protocol_ring message = { .epoch = epoch, .size = RING_SIZE_MIN, .name = "blue" };
	int fds[3];

	assert_int_equal(ring_create(&c->memory, &c->producer, RING_SIZE_MIN), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c->bells), 0);
	memcpy(fds, (int[]){ c->memory.data_fd, c->memory.control_fd, c->bells[1] }, sizeof(fds));
	if (!good)
		message.size = 1000;
	assert_int_equal(channel_send(fd, &ring_type, &message, fds), CHANNEL_OK);
	fd_close(&c->bells[1]);
	ring_memory_close(&c->memory);
}

static void
write_records(struct collector *c, unsigned int count)
{
	uint8_t record[64], *place;

	for (unsigned int i = 1; i <= count; i++) {
		size_t length = parts_record(record, i, RECORD_KIND_SOCKET), prefix;

		assert_int_equal(ring_reserve(&c->producer, 64, &place), RING_OK);
		prefix = varint_write(place, length);
		memcpy(place + prefix, record, length);
		ring_commit(&c->producer, prefix + length);
	}
	if (ring_publish(&c->producer))
		send(c->bells[0], "", 1, MSG_DONTWAIT);
}

static void
drop(struct collector *c)
{
	ring_producer_unmap(&c->producer);
	fd_close(&c->bells[0]);
}

static void
expect(struct fixture *f, int fd, enum protocol_type type, uint64_t epoch)
{
	struct channel_message message;

	assert_int_equal(hear(f, fd, &message), CHANNEL_OK);
	assert_int_equal(message.type, type);
	assert_int_equal(((struct protocol_epoch *)message.payload)->epoch, epoch);
}

static void
test_a_ring_from_its_beginning_to_its_end(void **state)
{
	struct fixture *f = *state;
	const struct protocol_epoch epoch = { 7 };
	struct collector c;
	size_t before;
	int fd;

	begin_for(f, getuid());
	fd = namespacer(f);
	before = descriptors();
	send_ring(fd, &c, 7, true);
	write_records(&c, 100);
	loop_until(f->base, f->books.delivered == 100);
	write_records(&c, 100);
	drop(&c);
	assert_int_equal(channel_send(fd, &ended_type, &epoch, NULL), CHANNEL_OK);
	expect(f, fd, PROTOCOL_DRAINED, 7);
	assert_int_equal(f->books.delivered, 200);
	assert_int_equal(descriptors(), before);
	/* What nobody knows is drained. */
	assert_int_equal(channel_send(fd, &ended_type, &epoch, NULL), CHANNEL_OK);
	expect(f, fd, PROTOCOL_DRAINED, 7);
	close(fd);
}

static void
test_a_hostile_ring_is_reported(void **state)
{
	struct fixture *f = *state;
	struct collector c;
	int fd;

	begin_for(f, getuid());
	fd = namespacer(f);
	send_ring(fd, &c, 7, true);
	atomic_store(&c.producer.own->position, UINT64_MAX);
	expect(f, fd, PROTOCOL_HOSTILE, 7);
	close(fd);
	drop(&c);
}

static void
test_a_ring_that_cannot_be_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	struct collector c;
	size_t before = descriptors();
	int fd;

	begin_for(f, getuid());
	fd = namespacer(f);
	send_ring(fd, &c, 7, false);
	assert_closed(f, fd);
	assert_int_equal(f->books.refused, 1);
	assert_int_equal(drain_rings(f->drain), 0);
	drop(&c);
	assert_int_equal(descriptors(), before + 1);	/* the listening socket */
}

/* Its rings are delivered, then freed. */
static void
test_a_namespacer_that_goes(void **state)
{
	struct fixture *f = *state;
	struct collector c;
	size_t before;
	int fd;

	begin_for(f, getuid());
	before = descriptors();
	fd = namespacer(f);
	send_ring(fd, &c, 7, true);
	loop_until(f->base, drain_rings(f->drain) == 1);
	write_records(&c, 50);
	close(fd);
	drop(&c);
	loop_until(f->base, f->lost == 1 && drain_rings(f->drain) == 0);
	assert_int_equal(f->books.delivered, 50);
	assert_int_equal(descriptors(), before);
}

/* More news than its socket takes: none is forgotten. */
static void
test_a_namespacer_that_does_not_read(void **state)
{
	struct fixture *f = *state;
	const struct protocol_epoch epoch = { 7 };
	int fd;

	begin_for(f, getuid());
	fd = namespacer(f);
	/* An answer shows that its HELLO has been read. */
	assert_int_equal(channel_send(fd, &ended_type, &epoch, NULL), CHANNEL_OK);
	expect(f, fd, PROTOCOL_DRAINED, 7);
	for (uint64_t i = 1; i <= 5000; i++)
		link_send_drained(f->link, i);
	loop_some(f->base);
	for (uint64_t i = 1; i <= 5000; i++)
		expect(f, fd, PROTOCOL_DRAINED, i);
	close(fd);
}

static void
send_counts(int fd, uint64_t started, uint64_t snapshots, uint64_t idle)
{
	const struct protocol_counts counts = {
		.started = started, .grown = { .snapshots = snapshots, .lost_bytes = 7 }, .level = { .idle = idle },
	};

	assert_int_equal(channel_send(fd, &counts_type, &counts, NULL), CHANNEL_OK);
}

/* Of all lives together; a life that comes back is not counted twice. */
static void
test_counts_are_added_up(void **state)
{
	struct fixture *f = *state;
	const struct protocol_counts *counts;
	int fd;

	begin_for(f, getuid());
	counts = link_counts(f->link);
	assert_false(link_is_connected(f->link));
	fd = namespacer(f);
	send_counts(fd, 1000, 5, 3);
	loop_until(f->base, counts->grown.snapshots == 5);
	assert_true(link_is_connected(f->link));
	assert_int_equal(counts->grown.lost_bytes, 7);
	assert_int_equal(counts->level.idle, 3);
	send_counts(fd, 1000, 8, 2);
	loop_until(f->base, counts->grown.snapshots == 8);
	assert_int_equal(counts->grown.lost_bytes, 7);
	close(fd);
	loop_until(f->base, f->lost == 1);
	assert_int_equal(counts->level.idle, 0);
	assert_int_equal(counts->grown.snapshots, 8);
	/* The link was lost, the namespacer was not. */
	fd = namespacer(f);
	send_counts(fd, 1000, 9, 2);
	loop_until(f->base, counts->grown.snapshots == 9);
	close(fd);
	loop_until(f->base, f->lost == 2);
	/* Another one, which begins anew. */
	fd = namespacer(f);
	send_counts(fd, 2000, 1, 4);
	loop_until(f->base, counts->grown.snapshots == 10);
	assert_int_equal(counts->grown.lost_bytes, 14);
	assert_int_equal(counts->started, 2000);
	assert_int_equal(counts->level.idle, 4);
	close(fd);
}

static void
test_counts_that_run_backwards(void **state)
{
	struct fixture *f = *state;
	int fd;

	begin_for(f, getuid());
	fd = namespacer(f);
	send_counts(fd, 1000, 5, 0);
	send_counts(fd, 1000, 4, 0);
	assert_closed(f, fd);
	assert_int_equal(link_counts(f->link)->grown.snapshots, 5);
}

#define test(name)	cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_everybody_may_connect_and_root_is_heard),
		test(test_others_are_not_heard),
		test(test_a_stale_socket_is_replaced),
		test(test_another_shipper_is_left_alone),
		test(test_places_that_cannot_be),
		test(test_a_second_connection_is_refused),
		test(test_another_version_is_closed),
		test(test_what_breaks_the_protocol_is_closed),
		test(test_finish_is_passed_on),
		test(test_a_ring_from_its_beginning_to_its_end),
		test(test_a_hostile_ring_is_reported),
		test(test_a_ring_that_cannot_be_ends_the_connection),
		test(test_a_namespacer_that_goes),
		test(test_counts_are_added_up),
		test(test_counts_that_run_backwards),
		test(test_a_namespacer_that_does_not_read),
	};

	log_init("test_link", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
