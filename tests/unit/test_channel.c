/* Messages that are well-formed, and every way in which one can be not. */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/channel.h"
#include "common/fd.h"

static const struct channel_type plain = { 1, 24, 0 };
static const struct channel_type empty = { 2, 0, 0 };
static const struct channel_type largest = { 3, CHANNEL_PAYLOAD_MAX, CHANNEL_FDS };
static const struct channel_type one_fd = { 4, 8, 1 };
static const struct channel_type all[] = {
	{ 1, 24, 0 }, { 2, 0, 0 }, { 3, CHANNEL_PAYLOAD_MAX, CHANNEL_FDS }, { 4, 8, 1 }, { 0, 0, 0 },
};
static const struct channel_type without_fds[] = { { 1, 24, 0 }, { 2, 0, 0 }, { 0, 0, 0 } };

struct pair {
	int		ends[2];
	unsigned int	open;		/* descriptors, both ends among them */
};

static unsigned int
open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(folder);
	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

static int
setup(void **state)
{
	static struct pair pair;

	*state = &pair;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.ends) != 0)
		return -1;
	pair.open = open_descriptors();
	return 0;
}

/* No test leaves a descriptor open. */
static int
teardown(void **state)
{
	struct pair *pair = *state;
	unsigned int closed = (pair->ends[0] < 0) + (pair->ends[1] < 0);
	unsigned int open = open_descriptors() + closed;

	fd_close(&pair->ends[0]);
	fd_close(&pair->ends[1]);
	if (open != pair->open)
		print_error("%u descriptors, there were %u\n", open, pair->open);
	return open == pair->open ? 0 : -1;
}

static void
fill(uint8_t *bytes, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		bytes[i] = (uint8_t)(i * 13 + 1);
}

static bool
same_file(int a, int b)
{
	struct stat first, second;

	assert_int_equal(fstat(a, &first), 0);
	assert_int_equal(fstat(b, &second), 0);
	return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* --- what is well-formed ----------------------------------------------- */

static void
test_plain(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	uint8_t payload[24];
	unsigned int i;

	fill(payload, sizeof(payload));
	for (i = 0; i < 2; i++) {
		const struct channel_type *types = i == 0 ? all : without_fds;

		assert_int_equal(channel_send(pair->ends[0], &plain, payload, NULL), CHANNEL_OK);
		assert_int_equal(channel_send(pair->ends[0], &empty, NULL, NULL), CHANNEL_OK);
		assert_int_equal(channel_receive(pair->ends[1], types, &message), CHANNEL_OK);
		assert_int_equal(message.type, 1);
		assert_int_equal(message.nfds, 0);
		assert_int_equal(message.fds[0], -1);
		assert_memory_equal(message.payload, payload, sizeof(payload));
		assert_int_equal(channel_receive(pair->ends[1], types, &message), CHANNEL_OK);
		assert_int_equal(message.type, 2);
		assert_int_equal(channel_receive(pair->ends[1], types, &message), CHANNEL_AGAIN);
	}
}

static void
test_descriptors(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	uint8_t payload[CHANNEL_PAYLOAD_MAX];
	int fds[CHANNEL_FDS], i;

	fill(payload, sizeof(payload));
	for (i = 0; i < CHANNEL_FDS; i++)
		fds[i] = memfd_create("sent", 0);
	assert_int_equal(channel_send(pair->ends[0], &largest, payload, fds), CHANNEL_OK);
	assert_int_equal(channel_receive(pair->ends[1], all, &message), CHANNEL_OK);
	assert_int_equal(message.type, 3);
	assert_int_equal(message.nfds, CHANNEL_FDS);
	assert_memory_equal(message.payload, payload, sizeof(payload));
	for (i = 0; i < CHANNEL_FDS; i++) {
		/* In their order, the receiver's own, and not for its children. */
		assert_true(same_file(fds[i], message.fds[i]));
		assert_int_not_equal(fds[i], message.fds[i]);
		assert_true(fcntl(message.fds[i], F_GETFD) & FD_CLOEXEC);
		close(fds[i]);
	}
	/* One is taken, the others are not wanted. */
	i = fd_steal(&message.fds[1]);
	channel_message_close(&message);
	assert_int_equal(message.nfds, 0);
	assert_true(fcntl(i, F_GETFD) >= 0);
	channel_message_close(&message);
	close(i);
}

static void
test_again(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	uint8_t payload[CHANNEL_PAYLOAD_MAX] = { 0 };
	unsigned int sent = 0, received = 0;

	assert_int_equal(channel_receive(pair->ends[1], all, &message), CHANNEL_AGAIN);
	assert_int_equal(channel_receive(pair->ends[1], without_fds, &message), CHANNEL_AGAIN);
	while (channel_send(pair->ends[0], &plain, payload, NULL) == CHANNEL_OK)
		sent++;
	assert_int_equal(channel_send(pair->ends[0], &plain, payload, NULL), CHANNEL_AGAIN);
	while (channel_receive(pair->ends[1], all, &message) == CHANNEL_OK)
		received++;
	assert_int_equal(received, sent);
	assert_int_equal(channel_send(pair->ends[0], &plain, payload, NULL), CHANNEL_OK);
}

static void
test_closed(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	uint8_t payload[24] = { 0 };

	/* What was sent before the end is still read. */
	assert_int_equal(channel_send(pair->ends[0], &plain, payload, NULL), CHANNEL_OK);
	fd_close(&pair->ends[0]);
	assert_int_equal(channel_receive(pair->ends[1], all, &message), CHANNEL_OK);
	assert_int_equal(channel_receive(pair->ends[1], all, &message), CHANNEL_CLOSED);
	assert_int_equal(channel_receive(pair->ends[1], without_fds, &message), CHANNEL_CLOSED);
	/* An answer, and no signal. */
	assert_int_equal(channel_send(pair->ends[1], &plain, payload, NULL), CHANNEL_CLOSED);
	assert_int_equal(channel_send(pair->ends[1], &one_fd, payload, &pair->ends[1]), CHANNEL_CLOSED);
}

/* A peer that ends with our message unread resets the connection. */
static void
test_reset(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	uint8_t payload[24] = { 0 };

	assert_int_equal(channel_send(pair->ends[1], &plain, payload, NULL), CHANNEL_OK);
	fd_close(&pair->ends[0]);
	assert_int_equal(channel_receive(pair->ends[1], all, &message), CHANNEL_CLOSED);
}

static void
test_no_socket(void **state)
{
	struct channel_message message;
	uint8_t payload[24] = { 0 };

	assert_int_equal(channel_send(-1, &plain, payload, NULL), CHANNEL_BROKEN);
	assert_int_equal(channel_receive(-1, all, &message), CHANNEL_BROKEN);
	(void)state;
}

/* --- what is not ------------------------------------------------------- */

struct wrong {
	const char	*what;
	uint32_t	 type, announced;	/* the header */
	size_t		 length;		/* of all bytes, header too */
	unsigned int	 fds;
};

static const struct wrong wrongs[] = {
	{ "unknown type", 9, 24, 32, 0 },
	{ "unknown type with descriptors", 9, 8, 16, 3 },
	{ "type 0", 0, 0, 8, 0 },
	{ "type 0 with a descriptor", 0, 0, 8, 1 },
	{ "one byte", 1, 24, 1, 0 },
	{ "half a header", 1, 24, 4, 2 },
	{ "all but a byte of a header", 2, 0, 7, 0 },
	{ "header alone", 1, 24, 8, 0 },
	{ "one byte too few", 1, 24, 31, 0 },
	{ "one byte too many", 1, 24, 33, 0 },
	{ "another size, announced", 1, 16, 24, 0 },
	{ "a size that is not there", 1, 16, 32, 0 },
	{ "a huge size", 1, UINT32_MAX, 32, 0 },
	{ "payload that the type does not have", 2, 8, 16, 0 },
	{ "longer than any message", 3, CHANNEL_PAYLOAD_MAX + 1, 8 + CHANNEL_PAYLOAD_MAX + 1, 3 },
	{ "cut by the receiver", 3, CHANNEL_PAYLOAD_MAX, 8 + CHANNEL_PAYLOAD_MAX + 1000, 3 },
	{ "descriptors that the type does not have", 1, 24, 32, 1 },
	{ "no descriptor", 4, 8, 16, 0 },
	{ "two descriptors for one", 4, 8, 16, 2 },
	{ "two descriptors for three", 3, CHANNEL_PAYLOAD_MAX, 8 + CHANNEL_PAYLOAD_MAX, 2 },
	{ "four descriptors for three", 3, CHANNEL_PAYLOAD_MAX, 8 + CHANNEL_PAYLOAD_MAX, 4 },
	{ "five descriptors for one", 4, 8, 16, 5 },
	{ "as many descriptors as there can be", 3, CHANNEL_PAYLOAD_MAX, 8 + CHANNEL_PAYLOAD_MAX, 253 },
};

static void
send_raw(int socket, const struct wrong *wrong)
{
	union {
		struct cmsghdr	header;
		char		bytes[CMSG_SPACE(253 * sizeof(int))];
	} control = { .bytes = { 0 } };
	uint8_t bytes[8 + CHANNEL_PAYLOAD_MAX + 1000] = { 0 };
	struct iovec part = { .iov_base = bytes, .iov_len = wrong->length };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	unsigned int i;

	memcpy(bytes, &wrong->type, 4);
	memcpy(bytes + 4, &wrong->announced, 4);
	if (wrong->fds > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(wrong->fds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(wrong->fds * sizeof(int));
		for (i = 0; i < wrong->fds; i++)
			memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &socket, sizeof(int));
	}
	assert_int_equal(sendmsg(socket, &message, 0), (ssize_t)wrong->length);
}

static void
test_broken(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	size_t i;

	for (i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		send_raw(pair->ends[0], &wrongs[i]);
		errno = 0;
		if (channel_receive(pair->ends[1], all, &message) != CHANNEL_BROKEN)
			fail_msg("accepted: %s", wrongs[i].what);
		assert_int_equal(errno, EPROTO);
		assert_int_equal(message.nfds, 0);
		if (open_descriptors() != pair->open)
			fail_msg("a descriptor was left open: %s", wrongs[i].what);
	}
}

/* Where no type has descriptors none is ever installed, whatever is sent. */
static void
test_broken_without_fds(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	size_t i;

	for (i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		enum channel_result wanted = CHANNEL_BROKEN;

		/* A good message: the kernel threw the descriptors away. */
		if (wrongs[i].type == 1 && wrongs[i].announced == 24 && wrongs[i].length == 32)
			wanted = CHANNEL_OK;
		send_raw(pair->ends[0], &wrongs[i]);
		if (channel_receive(pair->ends[1], without_fds, &message) != wanted)
			fail_msg("%s", wrongs[i].what);
		assert_int_equal(message.nfds, 0);
		assert_int_equal(open_descriptors(), pair->open);
	}
}

/* A type that may come at another time may not come now. */
static void
test_only_what_may_come(void **state)
{
	struct pair *pair = *state;
	const struct channel_type now[] = { one_fd, { 0, 0, 0 } };
	struct channel_message message;
	uint8_t payload[24] = { 0 };

	assert_int_equal(channel_send(pair->ends[0], &plain, payload, NULL), CHANNEL_OK);
	assert_int_equal(channel_receive(pair->ends[1], now, &message), CHANNEL_BROKEN);
	assert_int_equal(channel_send(pair->ends[0], &one_fd, payload, pair->ends), CHANNEL_OK);
	assert_int_equal(channel_receive(pair->ends[1], without_fds, &message), CHANNEL_BROKEN);
}

/* Other ancillary data than descriptors was never agreed on. */
static void
test_credentials(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	uint8_t payload[24] = { 0 };
	int on = 1;

	assert_int_equal(setsockopt(pair->ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	assert_int_equal(channel_send(pair->ends[0], &plain, payload, NULL), CHANNEL_OK);
	assert_int_equal(channel_receive(pair->ends[1], all, &message), CHANNEL_BROKEN);
	assert_int_equal(channel_send(pair->ends[0], &one_fd, payload, pair->ends), CHANNEL_OK);
	assert_int_equal(channel_receive(pair->ends[1], all, &message), CHANNEL_BROKEN);
}

/* Our own limit is not the peer's fault, and errno says so. */
static void
test_out_of_descriptors(void **state)
{
	struct pair *pair = *state;
	struct channel_message message;
	uint8_t payload[CHANNEL_PAYLOAD_MAX] = { 0 };
	int fds[CHANNEL_FDS] = { pair->ends[0], pair->ends[0], pair->ends[0] };
	struct rlimit before, few;
	int probe = dup(pair->ends[0]);

	assert_true(probe >= 0);
	close(probe);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ .rlim_cur = (rlim_t)probe + 1, .rlim_max = before.rlim_max };
	assert_int_equal(channel_send(pair->ends[0], &largest, payload, fds), CHANNEL_OK);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	errno = 0;
	assert_int_equal(channel_receive(pair->ends[1], all, &message), CHANNEL_BROKEN);
	assert_int_equal(errno, EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void
test_peer(void **state)
{
	struct pair *pair = *state;
	uid_t uid = (uid_t)-1;
	pid_t pid = -1;

	assert_int_equal(channel_peer(pair->ends[0], &uid, &pid), 0);
	assert_int_equal(uid, geteuid());
	assert_int_equal(pid, getpid());
	assert_int_equal(channel_peer(-1, &uid, &pid), -1);
	assert_int_equal(errno, EBADF);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken_without_fds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_what_may_come, setup, teardown),
		cmocka_unit_test_setup_teardown(test_credentials, setup, teardown),
		cmocka_unit_test_setup_teardown(test_out_of_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
