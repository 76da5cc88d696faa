/* The shipper's confinement: see confine.h. */
#include "common/confine.h"

#include <unistd.h>

#include "common/exit.h"
#include "common/log.h"
#include "shipper/confine.h"

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

int
shipper_confine(uid_t uid, gid_t gid, enum sandbox_level level)
{
	int code = 0;

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
	if (sandbox_enter(&sandbox_shipper, level) == -1)
		return shipper_confine_failed("load the seccomp filter", " (the kernel needs CONFIG_SECCOMP_FILTER)");
	log_info("seccomp: shipper %s", sandbox_level_name(level));
	if (level < SANDBOX_ROBUST)
		log_warning("sandbox = %s: the shipper may make any system call", sandbox_level_name(level));
	return 0;
}
