/*
 * The seccomp filters.  What each process may call stands in *.policy, one
 * file a process; libseccomp compiles a policy into a program, which can be
 * loaded after a fork without the library.
 *
 * A call is of one of these classes, and what becomes of it depends on the level:
 *				strict	robust	log
 *	allowed			goes on	goes on	goes on
 *	in no policy		ENOSYS	goes on	logged if there is a strict level
 *	absent			ENOSYS	ENOSYS	logged
 *	never			ends	ends	logged
 *	wrong argument		ends	ends	logged
 *	of another ABI		ends	ends	logged
 * ENOSYS: libraries try new calls and fall back.  Ends: SIGSYS; the process
 * says which call it was and ends with EXIT_CODE_SANDBOX (sandbox_trapped_fn).
 * Logged: by the kernel, SECCOMP_RET_LOG, and it goes on.
 */
#ifndef SECCOMP_SANDBOX_H
#define SECCOMP_SANDBOX_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Of a build with AddressSanitizer, which is for tests, a process keeps what the
 * sanitizer's run-time needs to report: a few calls more (collector.policy), its
 * signals, stderr, which may be a file, and all of its memory.
 */
#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_SANITIZER
#endif
#endif

/* How large a file a collector may write, as it is and as words of the audited policy. */
#ifdef SANDBOX_SANITIZER
#define SANDBOX_FILE_SIZE	1073741824
#define SANDBOX_FILE_WORD	"fsize:1073741824"
#define SANDBOX_FAULTS		"BUS FPE SEGV "
#define SANDBOX_STDERR		" 2:file:*(w) 2:pipe(w) 2:device:*(*) 2:unix:stream(rw)"
#else
#define SANDBOX_FILE_SIZE	0
#define SANDBOX_FILE_WORD	"fsize:0"
#define SANDBOX_FAULTS		""
#define SANDBOX_STDERR		""
#endif

struct sandbox_policy;

enum sandbox_level { SANDBOX_OFF, SANDBOX_LOG, SANDBOX_ROBUST, SANDBOX_STRICT, SANDBOX_LEVELS };

/* The first has a strict level; the others are robust at most. */
extern const struct sandbox_policy sandbox_collector;
extern const struct sandbox_policy sandbox_namespacer;
extern const struct sandbox_policy sandbox_shipper;

/* Numbers that a policy names and only the running program knows. */
enum sandbox_value {
	SANDBOX_NETLINK_FD,	/* the collector's sock_diag socket */
	SANDBOX_LAST_CHANNEL_FD,/* its control channel and doorbell, from 0 */
	SANDBOX_SEND_FLAGS,	/* of whatever a collector says on its channels */
	SANDBOX_PINNED_MESSAGE,	/* address of the first msghdr it may send */
	SANDBOX_PINNED_MESSAGES,/* how many there are, */
	SANDBOX_PINNED_STRIDE,	/* and how many bytes apart */
	SANDBOX_VALUES
};

/* False for a word that is no level, or none of this policy's. */
bool	sandbox_level(const struct sandbox_policy *, const char *word, enum sandbox_level *);
const char *sandbox_level_name(enum sandbox_level);
/*
 * Compiles a policy; values is NULL for one that names none.
 * program->filter is the caller's, freed with free(3); SANDBOX_OFF makes an
 * empty one.  Returns 0, or -1 with errno.
 */
int	sandbox_compile(const struct sandbox_policy *, enum sandbox_level, const uint64_t values[SANDBOX_VALUES],
	    struct sock_fprog *program);
/* The same for another machine, AUDIT_ARCH_*. */
int	sandbox_compile_for(const struct sandbox_policy *, enum sandbox_level, const uint64_t values[SANDBOX_VALUES],
	    uint32_t architecture, struct sock_fprog *program);
/*
 * Loads a program for this thread and all it makes; needs no_new_privs.  Of an
 * empty one only the handler is set: filters of a parent or a unit stay.
 * trapped is called (in a signal handler) with the refused call's number and
 * AUDIT_ARCH_*, before the process ends; NULL writes a line to stderr.
 * Returns 0, or -1 with errno.
 */
typedef void (*sandbox_trapped_fn)(int number, unsigned int architecture);
int	sandbox_load(const struct sock_fprog *program, sandbox_trapped_fn trapped);
/* Both, for a process that confines itself. */
int	sandbox_enter(const struct sandbox_policy *, enum sandbox_level);
/* A call's name for a log line: "openat", or "call 999" in buffer. */
const char *sandbox_call_name(int number, unsigned int architecture, char *buffer, size_t size);

#endif
