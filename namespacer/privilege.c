/* Privileges of the namespacer. */
#include <sys/socket.h>
#include <sys/utsname.h>

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/confine.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "namespacer/privilege.h"

enum { PRIVILEGE_KERNEL_MAJOR = 5, PRIVILEGE_KERNEL_MINOR = 10 };

static const struct {
	cap_value_t	 value;
	const char	*name, *purpose;
} privilege_needed[] = {
	{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "join network namespaces" },
	{ CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "see the namespaces of other users' processes in /proc" },
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN", "give it to collectors, which read the field mark with it" },
	{ CAP_SYS_CHROOT, "CAP_SYS_CHROOT", "put collectors into an empty mount namespace" },
	{ CAP_SETUID, "CAP_SETUID", "run collectors as their user" },
	{ CAP_SETGID, "CAP_SETGID", "run collectors as their group" },
	{ CAP_SETPCAP, "CAP_SETPCAP", "empty the collectors' bounding set" },
	{ CAP_KILL, "CAP_KILL", "end collectors, which run as another user" },
};

enum { PRIVILEGE_COUNT = sizeof(privilege_needed) / sizeof(privilege_needed[0]) };

static void
privilege_check_kernel(void)
{
	struct utsname system;
	int major = 0, minor = 0;

	if (uname(&system) == -1 || sscanf(system.release, "%d.%d", &major, &minor) != 2)
		return;
	if (major > PRIVILEGE_KERNEL_MAJOR ||
	    (major == PRIVILEGE_KERNEL_MAJOR && minor >= PRIVILEGE_KERNEL_MINOR))
		return;
	fatal(EXIT_CODE_SYSTEM, "this kernel is Linux %s; 5.10 or later is needed", system.release);
}

static bool
privilege_has(cap_t now, cap_value_t value)
{
	cap_flag_value_t set = CAP_CLEAR;

	return cap_get_flag(now, value, CAP_EFFECTIVE, &set) == 0 && set == CAP_SET;
}

static void
privilege_advise(void)
{
	char line[512] = "", options[512] = "";

	for (size_t i = 0; i < PRIVILEGE_COUNT; i++) {
		size_t at = strlen(line), in = strlen(options);

		snprintf(line + at, sizeof(line) - at, " %s", privilege_needed[i].name);
		snprintf(options + in, sizeof(options) - in, " --cap-add=%s", privilege_needed[i].name + strlen("CAP_"));
	}
	log_error("in a systemd unit, without User=: CapabilityBoundingSet=%s", line + 1);
	log_error("in a container, as root: --pid=host%s", options);
}

static void
privilege_check_capabilities(void)
{
	cap_t now = cap_get_proc();
	unsigned int missing = 0;

	if (now == NULL)
		fatal_errno(EXIT_CODE_SYSTEM, "capabilities cannot be read");
	for (size_t i = 0; i < PRIVILEGE_COUNT; i++) {
		if (privilege_has(now, privilege_needed[i].value))
			continue;
		log_error("%s is missing: needed to %s", privilege_needed[i].name, privilege_needed[i].purpose);
		missing++;
	}
	cap_free(now);
	if (missing == 0 && geteuid() == 0)
		return;
	if (geteuid() != 0)
		log_error("not root: the shipper listens to root only");
	privilege_advise();
	fatal(EXIT_CODE_PRIVILEGE, "rights are missing; run it as root (sudo)");
}

/* Asks for listeners only, which costs next to nothing. */
static int
privilege_probe(int fd)
{
	struct {
		struct nlmsghdr		header;
		struct inet_diag_req	body;
	} request = {
		.header = { sizeof(request), TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
		.body = { .idiag_family = AF_INET, .idiag_states = 1U << TCP_LISTEN },
	};
	_Alignas(struct nlmsghdr) char answer[32 * 1024];
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;

	if (send(fd, &request, sizeof(request), 0) == -1)
		return -1;
	if (recv(fd, answer, sizeof(answer), 0) < (ssize_t)sizeof(*header))
		return -1;
	if (header->nlmsg_type != NLMSG_ERROR)
		return 0;
	errno = -((const struct nlmsgerr *)(header + 1))->error;
	return -1;
}

static void
privilege_check_sock_diag(void)
{
	cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd == -1 || privilege_probe(fd) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "the kernel does not answer for TCP sockets; load its modules at boot by the lines "
		    "inet_diag and tcp_diag in /etc/modules-load.d/tcpdiag.conf, now by modprobe tcp_diag");
}

void
privilege_check(void)
{
	privilege_check_kernel();
	privilege_check_capabilities();
	privilege_check_sock_diag();
}

void
privilege_drop(void)
{
	cap_value_t values[PRIVILEGE_COUNT];

	for (size_t i = 0; i < PRIVILEGE_COUNT; i++)
		values[i] = privilege_needed[i].value;
	if (confine_limits() == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "the limits of memory and descriptors cannot be set");
	if (confine_bounding(values, PRIVILEGE_COUNT) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "the bounding set cannot be reduced");
	if (confine_securebits() == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "the securebits cannot be locked");
	if (confine_capabilities(values, PRIVILEGE_COUNT) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "capabilities cannot be given up");
	if (confine_no_new_privileges() == -1 || confine_undumpable() == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "no_new_privs cannot be set");
}
