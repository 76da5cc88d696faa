/* Reads a namespace for a capture: see capture_child.h. */
#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "cli/capture_child.h"
#include "collector/attributes.h"
#include "collector/collector.h"
#include "collector/request.h"
#include "collector/walk.h"
#include "common/clock.h"
#include "common/confine.h"
#include "common/exit.h"
#include "common/title.h"

enum { CAPTURE_REQUEST_MAX = 1024 };

static struct {
	struct capture_child	*start;
	uint64_t		 asked;		/* when */
	bool			 written;	/* the request is in the file */
} child;

static _Noreturn void
child_fail(const char *step)
{
	child.start->told->step = step;
	child.start->told->error = errno;
	_exit(EXIT_CODE_SYSTEM);
}

static void
child_flush(void)
{
	if (!capture_file_flush(child.start->file))
		_exit(EXIT_CODE_SINK);
}

/* Before the first answer: only then it has its sequence. */
static void
child_add_request(void)
{
	_Alignas(struct nlmsghdr) uint8_t request[CAPTURE_REQUEST_MAX];
	size_t length;

	if (child.written)
		return;
	child.written = true;
	length = request_last(request, sizeof(request));
	capture_file_add(child.start->file, child.asked, request, length, length);
}

/* It is counted, and its keys are overwritten, when its datagram is added. */
static bool
child_take_socket(void *context, struct nlmsghdr *message)
{
	struct counters ignored = { 0 };
	struct attributes found;

	(void)context;
	return attributes_find(&found, message, &ignored);
}

/* Why the kernel did not answer, if it says so. */
static void
child_note_error(const struct nlmsghdr *message, size_t length)
{
	const int *error = mnl_nlmsg_get_payload(message);

	if (length >= NLMSG_LENGTH(sizeof(*error)) && (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE))
		child.start->told->error = -*error;
}

static void
child_take_datagram(void *context, void *bytes, size_t length)
{
	(void)context;
	child_add_request();
	child_note_error(bytes, length);
	capture_file_add(child.start->file, clock_real(), bytes, length, length);
	child_flush();
}

static void
child_take_abandoned(void *context)
{
	(void)context;
}

static void
child_enter(struct capture_child *start)
{
	int fd;

	if (start->netns != -1 && setns(start->netns, CLONE_NEWNET) == -1)
		child_fail("join the network namespace");
	if ((fd = walk_open(&start->identity.cookie)) == -1)
		child_fail("open the sock_diag socket");
	if (fd != COLLECTOR_FD_NETLINK && dup2(fd, COLLECTOR_FD_NETLINK) == -1)
		child_fail("put the sock_diag socket in its place");
	if (request_pin(start->pinned, start->states, start->extensions) == -1)
		child_fail("pin the request");
}

static void
child_confine(bool with_mark)
{
	const cap_value_t mark[] = { CAP_NET_ADMIN };

	if (confine_capabilities(mark, with_mark ? 1 : 0) == -1)
		child_fail(with_mark ? "keep CAP_NET_ADMIN" : "give up its capabilities");
	if (confine_no_new_privileges() == -1 || confine_undumpable() == -1)
		child_fail("confine itself");
}

void
capture_child(struct capture_child *start)
{
	static const struct walk_handler handler = {
		.socket = child_take_socket,
		.datagram = child_take_datagram,
		.abandoned = child_take_abandoned,
	};

	child.start = start;
	title_set("tcpdiag: capture %s", start->identity.name);
	child_enter(start);
	child_confine(start->with_mark);
	capture_file_interface(start->file, &start->identity);
	child.asked = clock_real();
	start->told->outcome = walk_once(REQUEST_WALK, &handler, clock_monotonic() + start->patience);
	child_add_request();
	child_flush();
	_exit(EXIT_CODE_OK);
}
