/* systemd's readiness protocol: see notify.h. */
#include "common/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

enum { NOTIFY_MAX = 512 };

static int notify_socket = -1;

/* A path, or an abstract name behind "@". */
static int
notify_address(const char *name, struct sockaddr_un *address, socklen_t *length)
{
	size_t n = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof(address->sun_path)) {
		errno = EINVAL;
		return -1;
	}
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(address->sun_path, name, n);
	if (name[0] == '@')
		address->sun_path[0] = '\0';
	*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (name[0] == '/'));
	return 0;
}

/*
 * Connected now, while the path can be reached: afterwards the process may
 * have another root and a filter that knows no addresses.
 */
static int
notify_connect(const char *name)
{
	struct sockaddr_un address;
	cleanup_fd int fd = -1;
	socklen_t length;

	if (notify_address(name, &address, &length) == -1)
		return -1;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1 || connect(fd, (struct sockaddr *)&address, length) == -1)
		return -1;
	return fd_steal(&fd);
}

void
notify_init(void)
{
	const char *name = getenv("NOTIFY_SOCKET");

	fd_close(&notify_socket);
	if (name == NULL || name[0] == '\0')
		return;
	notify_socket = notify_connect(name);
	if (notify_socket == -1)
		log_errno(LOG_LEVEL_WARNING, "cannot reach the service manager at NOTIFY_SOCKET=%s", name);
}

static void
notify_send(const char *message, int flags)
{
	if (notify_socket == -1)
		return;
	while (send(notify_socket, message, strlen(message), MSG_NOSIGNAL | flags) == -1) {
		if (errno == EINTR)
			continue;
		log_limited(LOG_LEVEL_WARNING, "cannot tell the service manager '%s': %s", message, strerror(errno));
		return;
	}
}

void
notify_ready(void)
{
	notify_send("READY=1", 0);
}

void
notify_reloading(void)
{
	char message[NOTIFY_MAX];

	/* The time is what Type=notify-reload tells two reloads apart by. */
	snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_monotonic() / MICROSECOND);
	notify_send(message, 0);
}

void
notify_stopping(void)
{
	notify_send("STOPPING=1", 0);
}

void
notify_status(const char *format, ...)
{
	char message[NOTIFY_MAX] = "STATUS=";
	size_t start = strlen(message);
	va_list arguments;
	char *c;

	va_start(arguments, format);
	vsnprintf(message + start, sizeof(message) - start, format, arguments);
	va_end(arguments);
	/* A line's end would begin another assignment. */
	for (c = message; *c != '\0'; c++) {
		if (*c == '\n')
			*c = ' ';
	}
	notify_send(message, MSG_DONTWAIT);
}

void
notify_watchdog(void)
{
	notify_send("WATCHDOG=1", MSG_DONTWAIT);
}

static uint64_t
number_from(const char *variable)
{
	const char *text = getenv(variable);
	unsigned long long value;
	char *end;

	if (text == NULL || text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	value = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' ? value : 0;
}

uint64_t
notify_watchdog_interval(void)
{
	uint64_t timeout = number_from("WATCHDOG_USEC");

	if (notify_socket == -1 || timeout == 0 || timeout > UINT64_MAX / MICROSECOND)
		return 0;
	/* Meant for a parent, whose environment this is. */
	if (getenv("WATCHDOG_PID") != NULL && number_from("WATCHDOG_PID") != (uint64_t)getpid())
		return 0;
	return timeout * MICROSECOND / 2;
}
