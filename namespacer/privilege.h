/* What the namespacer needs to start, and what it gives up then. */
#ifndef NAMESPACER_PRIVILEGE_H
#define NAMESPACER_PRIVILEGE_H

/*
 * Checks kernel, uid, capabilities and sock_diag.  What is missing is named,
 * with what it is for and what to do; then the process ends with
 * EXIT_CODE_PRIVILEGE (EXIT_CODE_SYSTEM for the kernel's part).
 */
void	privilege_check(void);
/* Keeps the capabilities of the table and nothing else; ends it on failure. */
void	privilege_drop(void);

#endif
