/* What a filter answers.  linux/audit.h has names of its own that begin with AUDIT_, so this header is apart from cli/audit.h. */
#ifndef CLI_AUDIT_BPF_H
#define CLI_AUDIT_BPF_H

#include <stdbool.h>

struct sock_fprog;

/* Whether it refuses a call whose arguments are zero. */
bool	audit_filter_refuses(const struct sock_fprog *, int number);

#endif
