/* What the administrator reads.  stderr is a socket that keeps messages apart, so that each write(2) is seen. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

static int reader = -1, saved = -1;
static char text[16384];

static int
setup(void **state)
{
	int ends[2];

	unsetenv("JOURNAL_STREAM");
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	reader = ends[0];
	saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	log_init("prog", LOG_LEVEL_INFO);
	return 0;
}

static int
teardown(void **state)
{
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(reader);
	return 0;
}

/* The next write, or "" if there was none. */
static const char *
written(void)
{
	ssize_t n = recv(reader, text, sizeof(text) - 1, MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void
test_line_has_the_program(void **state)
{
	log_info("%d namespaces", 3);
	assert_string_equal(written(), "prog: 3 namespaces\n");
	log_error("%s", "");
	assert_string_equal(written(), "prog: \n");
	assert_string_equal(written(), "");
}

static void
test_levels_above_the_highest_are_off(void **state)
{
	log_debug("no");
	assert_string_equal(written(), "");
	log_init("prog", LOG_LEVEL_DEBUG);
	log_debug("yes");
	assert_string_equal(written(), "prog: yes\n");
	log_init("prog", LOG_LEVEL_ERROR);
	log_warning("no");
	log_error("yes");
	assert_string_equal(written(), "prog: yes\n");
}

static void
test_level_names(void **state)
{
	assert_int_equal(log_level_by_name("error"), LOG_LEVEL_ERROR);
	assert_int_equal(log_level_by_name("warning"), LOG_LEVEL_WARNING);
	assert_int_equal(log_level_by_name("notice"), LOG_LEVEL_NOTICE);
	assert_int_equal(log_level_by_name("info"), LOG_LEVEL_INFO);
	assert_int_equal(log_level_by_name("debug"), LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_by_name("Info"), -1);
	assert_int_equal(log_level_by_name(""), -1);
}

static void
test_errno_is_said_and_kept(void **state)
{
	errno = ENOSPC;
	log_errno(LOG_LEVEL_ERROR, "cannot write %s", "x");
	assert_int_equal(errno, ENOSPC);
	assert_string_equal(written(), "prog: cannot write x: No space left on device\n");
	errno = EPERM;
	log_info("x");
	assert_int_equal(errno, EPERM);
}

static void
test_journal_gets_levels(void **state)
{
	char stream[64];
	struct stat st;

	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("prog", LOG_LEVEL_INFO);
	log_error("bad");
	assert_string_equal(written(), "<3>bad\n");
	log_info("good");
	assert_string_equal(written(), "<6>good\n");
	/* Inherited, but stderr has gone elsewhere since. */
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("prog", LOG_LEVEL_INFO);
	log_error("bad");
	assert_string_equal(written(), "prog: bad\n");
}

static void
test_foreign_bytes_are_shown(void **state)
{
	log_info("%s", "a\nb\t\033[31mc\x7f");
	assert_string_equal(written(), "prog: a\\x0ab\\x09\\x1b[31mc\\x7f\n");
	log_info("%s", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7");
	assert_string_equal(written(), "prog: caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7\n");
	/* C1's CSI, a lone byte, a cut character, a surrogate. */
	log_info("%s", "\xc2\x9b \xff \xe2\x82 \xed\xa0\x80");
	assert_string_equal(written(), "prog: \\xc2\\x9b \\xff \\xe2\\x82 \\xed\\xa0\\x80\n");
}

static void
test_long_message_is_cut_visibly(void **state)
{
	char longer[9000];

	memset(longer, 1, sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	errno = EIO;
	log_errno(LOG_LEVEL_ERROR, "%s", longer);
	written();
	assert_non_null(strstr(text, "\\x01...: Input/output error\n"));
	assert_int_equal(text[strlen(text) - 1], '\n');
	assert_string_equal(written(), "");
}

static void
test_limit_counts_what_it_suppresses(void **state)
{
	struct log_limit limit = { 0 };
	int i;

	for (i = 0; i < LOG_LIMIT_BURST; i++)
		assert_true(log_allowed(&limit));
	for (i = 0; i < 5; i++)
		assert_false(log_allowed(&limit));
	assert_string_equal(written(), "");
	limit.window -= MINUTE;
	assert_true(log_allowed(&limit));
	assert_string_equal(written(), "prog: 5 more messages like the next one were not written\n");
	limit.window -= MINUTE;
	assert_true(log_allowed(&limit));
	assert_string_equal(written(), "");
}

static void
test_limited_lines_are_limited_each(void **state)
{
	int i, lines = 0;

	for (i = 0; i < 2 * LOG_LIMIT_BURST; i++) {
		log_limited(LOG_LEVEL_WARNING, "first %d", i);
		log_limited(LOG_LEVEL_WARNING, "second %d", i);
	}
	while (written()[0] != '\0')
		lines++;
	assert_int_equal(lines, 2 * LOG_LIMIT_BURST);
}

static int
status_of(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
die(void)
{
	fatal(77, "cannot go on without %s", "rights");
}

static void
die_of_errno(void)
{
	errno = EACCES;
	fatal_errno(78, "cannot read %s", "x");
}

static void
test_fatal(void **state)
{
	assert_int_equal(status_of(die), 77);
	assert_string_equal(written(), "prog: cannot go on without rights\n");
	assert_int_equal(status_of(die_of_errno), 78);
	assert_string_equal(written(), "prog: cannot read x: Permission denied\n");
}

/* What fails here is the exit status; there is nowhere to say it. */
static void
close_all_and_log(void)
{
	char byte = 0;
	int fd;

	for (fd = 0; fd < 3; fd++)
		close(fd);
	log_init("prog", LOG_LEVEL_INFO);
	log_error("nobody hears this");
	fd = open("/dev/null", O_RDWR);
	if (fd < 3)
		_exit(1);
	if (write(STDOUT_FILENO, &byte, 1) != -1 || errno != EBADF)
		_exit(2);
	if (read(STDIN_FILENO, &byte, 1) != -1 || errno != EBADF)
		_exit(3);
}

static void
test_closed_descriptors_are_not_taken_by_files(void **state)
{
	assert_int_equal(status_of(close_all_and_log), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_line_has_the_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_levels_above_the_highest_are_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_level_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errno_is_said_and_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_journal_gets_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_bytes_are_shown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_message_is_cut_visibly, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limit_counts_what_it_suppresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limited_lines_are_limited_each, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fatal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_descriptors_are_not_taken_by_files, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
