/*
 * The seccomp filters: policies as data (*.policy), compiled by libseccomp
 * into a program that can be loaded after a fork without the library.
 */
#ifndef SECCOMP_SANDBOX_H
#define SECCOMP_SANDBOX_H

#include <linux/filter.h>

struct sandbox_policy;

extern const struct sandbox_policy sandbox_collector;
extern const struct sandbox_policy sandbox_namespacer;
extern const struct sandbox_policy sandbox_shipper;

/*
 * Compiles a policy.  program->filter is the caller's, freed with free(3).
 * Returns 0, or -1 with errno.
 */
int	sandbox_compile(const struct sandbox_policy *, struct sock_fprog *program);
/* Loads a program for this thread and all it makes; needs no_new_privs. */
int	sandbox_load(const struct sock_fprog *program);
/* Both, for a process that confines itself. */
int	sandbox_enter(const struct sandbox_policy *);

#endif
