/* What the service manager hears. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/notify.h"
#include "tests/unit/folder.h"

static int manager = -1;

/* The manager's socket; a name that starts with "@" is abstract. */
static void
listen_at(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 10 };
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] == '/'));

	assert_true(strlen(name) < sizeof(address.sun_path));
	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&address, length), 0);
	assert_int_equal(setsockopt(manager, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	notify_init();
}

static const char *
heard(int flags)
{
	static char message[1024];
	ssize_t n = recv(manager, message, sizeof(message) - 1, flags);

	if (n == -1)
		return NULL;
	message[n] = '\0';
	return message;
}

static int
setup(void **state)
{
	char name[64];

	snprintf(name, sizeof(name), "@tcpdiag-test-notify-%d", (int)getpid());
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	listen_at(name);
	return 0;
}

static int
teardown(void **state)
{
	if (manager != -1)
		close(manager);
	manager = -1;
	unsetenv("NOTIFY_SOCKET");
	notify_init();
	return 0;
}

static void
test_states(void **state)
{
	notify_ready();
	assert_string_equal(heard(0), "READY=1");
	notify_stopping();
	assert_string_equal(heard(0), "STOPPING=1");
	notify_watchdog();
	assert_string_equal(heard(0), "WATCHDOG=1");
}

static void
test_reloading_says_when(void **state)
{
	uint64_t before = clock_monotonic() / MICROSECOND, when;
	const char *message;

	notify_reloading();
	message = heard(0);
	assert_non_null(message);
	assert_int_equal(strncmp(message, "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
	when = strtoull(message + 27, NULL, 10);
	assert_in_range(when, before, clock_monotonic() / MICROSECOND);
}

static void
test_status_is_one_assignment(void **state)
{
	notify_status("%d namespaces,\nREADY=%d", 7, 1);
	assert_string_equal(heard(0), "STATUS=7 namespaces, READY=1");
}

static void
test_long_status_is_cut(void **state)
{
	char text[2000];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	notify_status("%s", text);
	assert_int_equal(strlen(heard(0)), 511);
}

static void
test_path(void **state)
{
	char folder[FOLDER_MAX], path[FOLDER_MAX + 8];

	teardown(NULL);
	folder_make(folder, "test_notify");
	snprintf(path, sizeof(path), "%s/notify", folder);
	listen_at(path);
	/* Connected at the start: the name is not needed any more. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
	notify_ready();
	assert_string_equal(heard(0), "READY=1");
}

static void
test_without_a_manager_nothing_is_said(void **state)
{
	unsetenv("NOTIFY_SOCKET");
	notify_init();
	notify_ready();
	notify_watchdog();
	assert_null(heard(MSG_DONTWAIT));
	setenv("WATCHDOG_USEC", "1000000", 1);
	assert_int_equal(notify_watchdog_interval(), 0);
}

/* Everything after it works as if there were no manager, and stderr says why. */
static void
test_unreachable_manager_is_a_warning(void **state)
{
	static const char *const names[] = { "vsock:2:1234", "/nonexistent/notify", "@" };
	int saved = dup(STDERR_FILENO), ends[2];
	char line[512];
	ssize_t n;
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(pipe(ends), 0);
		dup2(ends[1], STDERR_FILENO);
		setenv("NOTIFY_SOCKET", names[i], 1);
		notify_init();
		notify_ready();
		dup2(saved, STDERR_FILENO);
		close(ends[1]);
		n = read(ends[0], line, sizeof(line) - 1);
		assert_true(n > 0);
		line[n] = '\0';
		assert_non_null(strstr(line, names[i]));
		close(ends[0]);
	}
	close(saved);
}

static void
test_manager_that_has_gone_does_no_harm(void **state)
{
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);

	close(manager);
	manager = -1;
	dup2(null, STDERR_FILENO);
	notify_ready();
	notify_watchdog();
	notify_status("still here");
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(null);
}

static void
test_watchdog_interval_is_half(void **state)
{
	assert_int_equal(notify_watchdog_interval(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(notify_watchdog_interval(), 15 * SECOND);
}

static void
test_watchdog_of_another_process(void **state)
{
	char pid[16];

	setenv("WATCHDOG_USEC", "30000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_interval(), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_interval(), 15 * SECOND);
}

static void
test_watchdog_that_is_no_number(void **state)
{
	static const char *const values[] = { "", "-1", "soon", "5s", "99999999999999999999", "18446744073709551615" };
	size_t i;

	for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		setenv("WATCHDOG_USEC", values[i], 1);
		assert_int_equal(notify_watchdog_interval(), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_states, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reloading_says_when, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status_is_one_assignment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_status_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_a_manager_nothing_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unreachable_manager_is_a_warning, setup, teardown),
		cmocka_unit_test_setup_teardown(test_manager_that_has_gone_does_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watchdog_interval_is_half, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watchdog_of_another_process, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watchdog_that_is_no_number, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
