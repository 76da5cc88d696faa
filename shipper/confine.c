/* The shipper's confinement: see confine.h. */
#include "common/confine.h"

#include <sys/stat.h>
#include <unistd.h>

#include "common/exit.h"
#include "common/log.h"
#include "seccomp/sandbox.h"
#include "shipper/confine.h"
#include "shipper/landlock.h"

static int
shipper_confine_failed(const char *step, const char *remedy)
{
	log_errno(LOG_LEVEL_ERROR, "cannot %s%s", step, remedy);
	return EXIT_CODE_PRIVILEGE;
}

/* The bounding set first: it takes CAP_SETPCAP, which goes with the uid. */
static int
shipper_confine_root(uid_t uid, gid_t gid)
{
	if (confine_bounding(NULL, 0) == -1)
		return shipper_confine_failed("give up the capability bounding set",
		    " (started as root it needs CAP_SETPCAP, CAP_SETUID and CAP_SETGID; or start it as its own user)");
	if (confine_user(uid, gid, false) == -1)
		return shipper_confine_failed("become the shipper's user",
		    " (started as root it needs CAP_SETUID and CAP_SETGID; or start it as its own user)");
	return 0;
}

/* What was started before would keep what this thread gives up. */
static bool
shipper_confine_alone(void)
{
	struct stat st;

	/* A folder each, and the two that every folder has. */
	return stat("/proc/self/task", &st) == -1 || st.st_nlink == 3;
}

static int
shipper_confine_files(struct landlock *landlock)
{
	if (landlock_enter(landlock) == -1)
		return shipper_confine_failed("restrict itself by Landlock", " (sandbox = off does without)");
	if (landlock->abi == 0)
		log_info("Landlock: this kernel has none that can be used (Linux 5.19 and later, in its list of lsm=)");
	else
		log_info("Landlock: ABI %d", landlock->abi);
	return 0;
}

static int
shipper_confine_calls(enum sandbox_level level)
{
	if (sandbox_enter(&sandbox_shipper, level) == -1)
		return shipper_confine_failed("load the seccomp filter", " (the kernel needs CONFIG_SECCOMP_FILTER)");
	log_info("seccomp: shipper %s", sandbox_level_name(level));
	if (level == SANDBOX_LOG)
		log_warning("sandbox = log: the shipper may make any system call");
	else if (level == SANDBOX_OFF)
		log_warning("sandbox = off: the shipper may make any system call, and open any file that its user may");
	return 0;
}

int
shipper_confine(uid_t uid, gid_t gid, const struct settings *settings, const struct config *config, bool passed)
{
	struct landlock landlock;
	int code = 0;

	if (!shipper_confine_alone()) {
		log_error("a thread was started too early: it would not be confined");
		return EXIT_CODE_INTERNAL;
	}
	if (settings->sandbox != SANDBOX_OFF && landlock_prepare(&landlock, settings, config, passed) == -1)
		return shipper_confine_failed("make Landlock's rules", " (sandbox = off does without)");
	if (geteuid() == 0 && (code = shipper_confine_root(uid, gid)) != 0)
		return code;
	/* What a unit gave in ambient or inheritable sets goes here. */
	if (confine_capabilities(NULL, 0) == -1)
		return shipper_confine_failed("give up all capabilities", "");
	if (confine_holds_any() || geteuid() == 0 || getuid() == 0) {
		log_error("still privileged after giving up everything: refusing to run");
		return EXIT_CODE_PRIVILEGE;
	}
	if (confine_no_new_privileges() == -1)
		return shipper_confine_failed("set no_new_privs", "");
	if (confine_undumpable() == -1)
		return shipper_confine_failed("become undumpable", "");
	if (settings->sandbox != SANDBOX_OFF && (code = shipper_confine_files(&landlock)) != 0)
		return code;
	return shipper_confine_calls(settings->sandbox);
}
