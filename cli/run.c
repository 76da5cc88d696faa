/*
 * tcpdiag run: starts the shipper and the namespacer, passes them one
 * configuration, opens the sink's file with the caller's rights, and ends both
 * in the order in which nothing is lost: first the one that reads, then the
 * one that delivers.
 *
 * Each daemon has a process group of its own, so that a terminal's Ctrl-C
 * comes here only; and a channel whose end tells it that this process is gone,
 * however it went.
 */
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/program.h"
#include "cli/run.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/protocol.h"
#include "namespacer/privilege.h"
#include "namespacer/settings.h"
#include "shipper/settings.h"

#define RUN_LISTEN_TIME	(10 * SECOND)	/* until the shipper listens */

enum { RUN_POLL_MS = 10, RUN_STOP_MS = 15000, RUN_ARGUMENTS = 8 };

static const struct channel_type run_file = { PROTOCOL_FILE, 0, 1 };

struct run_daemon {
	const char	*program;
	pid_t		 pid;
	int		 pidfd;		/* -1: not running */
	int		 channel;	/* its --parent-fd is the other end */
	int		 code;		/* it ended with */
};

enum { RUN_SHIPPER, RUN_NAMESPACER, RUN_DAEMONS };

static struct {
	struct config		config;
	struct settings		settings;
	bool			once;
	char			folder[PATH_MAX];	/* of a socket of our own, or "" */
	int			config_fd, signal_fd;
	struct run_daemon	daemons[RUN_DAEMONS];
} run = {
	.config_fd = -1, .signal_fd = -1,
	.daemons = {
		[RUN_SHIPPER] = { .program = "tcpdiag-shipper", .pidfd = -1, .channel = -1 },
		[RUN_NAMESPACER] = { .program = "tcpdiag-namespacer", .pidfd = -1, .channel = -1 },
	},
};

static int
run_set_once(void *context, const char *value)
{
	(void)context;
	(void)value;
	run.once = true;
	return 0;
}

static const struct config_option run_options[] = {
	{ "once", 0, NULL, "take one snapshot of every namespace, deliver it, and exit", run_set_once },
	{ NULL, 0, NULL, NULL, NULL }
};

static const char *
run_check(void *context, const struct config *config, char *error, size_t size)
{
	struct namespacer_settings settings;
	const char *key = namespacer_settings_resolve(&settings, config, error, size);

	(void)context;
	return key != NULL ? key : settings_resolve(&run.settings, config, error, size);
}

static const struct config_program run_program = {
	.name = "tcpdiag run",
	.usage = "[options]",
	.about = "streams this host's sockets: both daemons, in the foreground",
	.letter = 0,
	.options = run_options,
	.check = run_check,
};

/* --- what the daemons are given ------------------------------------------ */

/* A socket beside an installed service's, unless one was asked for. */
static void
run_choose_socket(void)
{
	char standard[CONFIG_ERROR_MAX], error[CONFIG_ERROR_MAX], path[PATH_MAX + 32];
	struct config defaults;

	config_init(&defaults);
	snprintf(standard, sizeof(standard), "%s", defaults.socket);
	config_free(&defaults);
	if (strcmp(run.config.socket, standard) != 0)
		return;
	snprintf(run.folder, sizeof(run.folder), "/run/tcpdiag-%d", (int)getpid());
	snprintf(path, sizeof(path), "%s/shipper.sock", run.folder);
	if (config_set(&run.config, "socket", path, error, sizeof(error)) == -1)
		fatal(EXIT_CODE_INTERNAL, "%s", error);
}

/*
 * At a terminal, what both daemons have to say of themselves is in the way.
 * Called before the configuration is read, which may say otherwise.
 */
static void
run_choose_log_level(void)
{
	char error[CONFIG_ERROR_MAX];

	if (isatty(STDERR_FILENO))
		config_set(&run.config, "log-level", "notice", error, sizeof(error));
}

/* One file of all keys, in memory. */
static void
run_write_config(void)
{
	FILE *file;
	int fd;

	run.config_fd = memfd_create("tcpdiag.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (run.config_fd == -1 || (fd = dup(run.config_fd)) == -1 || (file = fdopen(fd, "w")) == NULL)
		fatal_errno(EXIT_CODE_SYSTEM, "the configuration cannot be passed on");
	config_print(&run.config, file, 0);
	/* The namespacer reads it after the shipper was started: what one has open the other believes. */
	if (fclose(file) != 0 ||
	    fcntl(run.config_fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "the configuration cannot be passed on");
}

/* --- the daemons --------------------------------------------------------- */

/* In the child. */
static _Noreturn void
run_exec(const struct run_daemon *daemon, const char *path, int channel)
{
	char config[64], parent[16];
	char *arguments[RUN_ARGUMENTS] = {
		(char *)daemon->program, (char *)"--config", config, (char *)"--parent-fd", parent,
		run.once ? (char *)"--once" : NULL, NULL
	};
	sigset_t none;

	snprintf(config, sizeof(config), "/proc/self/fd/%d", run.config_fd);
	snprintf(parent, sizeof(parent), "%d", channel);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	if (fcntl(channel, F_SETFD, 0) == -1 || fcntl(run.config_fd, F_SETFD, 0) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "%s", daemon->program);
	execv(path, arguments);
	fatal_errno(EXIT_CODE_SYSTEM, "%s", path);
}

static void
run_start(struct run_daemon *daemon)
{
	char path[PATH_MAX + 64];
	int ends[2];

	program_find(daemon->program, path, sizeof(path));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "socketpair");
	if ((daemon->pid = fork()) == 0)
		run_exec(daemon, path, ends[1]);
	if (daemon->pid == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "fork");
	close(ends[1]);
	daemon->channel = ends[0];
	daemon->pidfd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
	if (daemon->pidfd == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "pidfd_open");
}

/*
 * In a folder that the shipper's user may write, a link of its own could lead to
 * any file of the caller's: only links of the caller's and of root's are followed.
 */
static bool
run_is_anothers_link(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid != 0 && st.st_uid != geteuid();
}

/* The shipper has no right to the caller's files; it gets them open.  -1: the message is written. */
static int
run_open_file(void)
{
	const int flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
	const char *target = run.settings.target;
	int fd = open(target, flags | O_NOFOLLOW, 0640);

	if (fd == -1 && errno == ELOOP) {
		if (run_is_anothers_link(target)) {
			log_error("%s is a link of another user's, which is not followed", target);
			return -1;
		}
		fd = open(target, flags, 0640);
	}
	if (fd == -1)
		log_errno(LOG_LEVEL_ERROR, "%s cannot be opened for writing", target);
	return fd;
}

static void
run_send_file(int fd)
{
	if (channel_send(run.daemons[RUN_SHIPPER].channel, &run_file, NULL, &fd) != CHANNEL_OK)
		log_error("the shipper does not take %s", run.settings.target);
}

/* SIGHUP: a sink that has a file gets it anew. */
static void
run_reopen_file(void)
{
	cleanup_fd int fd = -1;

	if (run.settings.sink->reopen != NULL && (fd = run_open_file()) != -1)
		run_send_file(fd);
}

static void
run_reap(struct run_daemon *daemon)
{
	siginfo_t status = { 0 };

	if (waitid(P_PIDFD, (id_t)daemon->pidfd, &status, WEXITED) == -1)
		log_errno(LOG_LEVEL_ERROR, "waitid");
	daemon->code = status.si_status;
	if (status.si_code != CLD_EXITED) {
		log_error("%s was killed by signal %d (%s)", daemon->program, status.si_status, strsignal(status.si_status));
		daemon->code = EXIT_CODE_SYSTEM;
	}
	fd_close(&daemon->pidfd);
	fd_close(&daemon->channel);
}

/* Waits for one daemon to end; one that hangs is killed. */
static void
run_join(struct run_daemon *daemon)
{
	struct pollfd end = { .fd = daemon->pidfd, .events = POLLIN };

	if (daemon->pidfd == -1)
		return;
	if (poll(&end, 1, RUN_STOP_MS) == 0) {
		log_error("%s does not end, and is killed", daemon->program);
		syscall(SYS_pidfd_send_signal, daemon->pidfd, SIGKILL, NULL, 0);
	}
	run_reap(daemon);
}

/* The reader first, so that what it published is still delivered. */
static void
run_stop(void)
{
	static const int order[] = { RUN_NAMESPACER, RUN_SHIPPER };

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		struct run_daemon *daemon = &run.daemons[order[i]];

		if (daemon->pidfd != -1)
			syscall(SYS_pidfd_send_signal, daemon->pidfd, SIGTERM, NULL, 0);
		run_join(daemon);
	}
}

/* False if it ended instead. */
static bool
run_await_listener(void)
{
	struct pollfd end = { .fd = run.daemons[RUN_SHIPPER].pidfd, .events = POLLIN };
	uint64_t deadline = clock_monotonic() + RUN_LISTEN_TIME;
	struct stat st;

	while (stat(run.config.socket, &st) == -1 || !S_ISSOCK(st.st_mode)) {
		if (poll(&end, 1, RUN_POLL_MS) == 1)
			return false;
		if (clock_monotonic() > deadline)
			fatal(EXIT_CODE_SYSTEM, "the shipper does not listen on %s", run.config.socket);
	}
	return true;
}

/* --- the loop ------------------------------------------------------------ */

static void
run_take_signal(void)
{
	struct signalfd_siginfo info;

	if (read(run.signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
		run_reopen_file();
	else
		run_stop();
}

static bool
run_running(void)
{
	return run.daemons[RUN_SHIPPER].pidfd != -1 || run.daemons[RUN_NAMESPACER].pidfd != -1;
}

/* A daemon that ends by itself ends the run; once, both are meant to. */
static void
run_take_end(struct run_daemon *daemon)
{
	run_reap(daemon);
	if (!run.once || daemon->code != EXIT_CODE_OK)
		run_stop();
}

static void
run_loop(void)
{
	while (run_running()) {
		struct pollfd fds[] = {
			{ .fd = run.signal_fd, .events = POLLIN },
			{ .fd = run.daemons[RUN_SHIPPER].pidfd, .events = POLLIN },
			{ .fd = run.daemons[RUN_NAMESPACER].pidfd, .events = POLLIN },
		};

		if (poll(fds, 3, -1) <= 0)
			continue;
		if (fds[0].revents != 0)
			run_take_signal();
		for (size_t i = 0; i < RUN_DAEMONS; i++)
			if (fds[i + 1].revents != 0 && run.daemons[i].pidfd != -1)
				run_take_end(&run.daemons[i]);
	}
}

static void
run_take_signals_by_descriptor(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);	/* whoever started us may have ignored it */
	if ((run.signal_fd = signalfd(-1, &set, SFD_CLOEXEC)) == -1)
		fatal_errno(EXIT_CODE_SYSTEM, "signalfd");
}

static void
run_clean_up(void)
{
	char error[CONFIG_ERROR_MAX];
	struct http_address metrics;

	if (run.folder[0] == '\0')
		return;
	unlink(run.config.socket);
	if (settings_metrics(&metrics, &run.config, error, sizeof(error)) == 0 && strncmp(metrics.path, run.folder, strlen(run.folder)) == 0)
		unlink(metrics.path);
	rmdir(run.folder);
}

/* The shipper's end says more than the namespacer's: what was not delivered. */
static int
run_code(void)
{
	int shipper = run.daemons[RUN_SHIPPER].code;

	return shipper != EXIT_CODE_OK ? shipper : run.daemons[RUN_NAMESPACER].code;
}

int
run_main(int argc, char **argv)
{
	cleanup_fd int file = -1;
	int code;

	config_init(&run.config);
	run_choose_log_level();
	if ((code = config_parse(&run.config, &run_program, argc, argv, NULL)) != -1)
		return code;
	privilege_check();
	/* Before anything is started: a shipper without its file would only wait for it. */
	if (run.settings.sink->reopen != NULL && (file = run_open_file()) == -1)
		return EXIT_CODE_SINK;
	run_choose_socket();
	run_write_config();
	run_take_signals_by_descriptor();
	run_start(&run.daemons[RUN_SHIPPER]);
	if (file != -1)
		run_send_file(file);
	fd_close(&file);
	if (run_await_listener())
		run_start(&run.daemons[RUN_NAMESPACER]);
	run_loop();
	run_clean_up();
	config_free(&run.config);
	return run_code();
}
