/*
 * tcpdiag audit: holds the running processes against the declared policy.
 *
 * No audited process is asked for anything, and nothing that it says of itself
 * is believed: what is known is what the kernel shows of it in /proc, by its
 * descriptors' copies and by its filters.  Each property of a process becomes a
 * text of words, and audit_policy.def declares what it has to be.
 */
#ifndef CLI_AUDIT_H
#define CLI_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/config.h"
#include "shipper/settings.h"

int	audit_main(int argc, char **argv);

enum audit_kind { AUDIT_NAMESPACER, AUDIT_COLLECTOR, AUDIT_SHIPPER, AUDIT_KINDS };

enum audit_property {
#define PROPERTY(id, name, from, remedy) AUDIT_##id,
#include "cli/audit_policy.def"
	AUDIT_PROPERTIES
};

enum { AUDIT_PAGES = 32, AUDIT_NAMESPACES = 3, AUDIT_RINGS = 4 };

/* A process as it was found, and what was read of it. */
struct audit_process {
	enum audit_kind	 kind;
	pid_t		 pid;
	int		 proc;		/* its folder in /proc, of this very process */
	int		 pidfd;
	bool		 gone;		/* it has ended while it was looked at */
	char		*title;		/* what it calls itself: made printable, and no more than that */
	char		*values[AUDIT_PROPERTIES];	/* NULL: could not be read */
	ino_t		 namespaces[AUDIT_NAMESPACES];	/* net, mnt, ipc */
	ino_t		 reads;		/* the network namespace of its netlink socket */
	uint64_t	 pages[AUDIT_PAGES];	/* its read-only pages that are of no file */
	bool		 sealed[AUDIT_PAGES];	/* by mseal(2) */
	size_t		 npages;
	uint64_t	 requests;	/* that of them which its filter names; 0: none */
	bool		 refuses_execve;	/* by a filter of its own or from outside */
	bool		 refused_mseal;	/* by a filter from outside */
	ino_t		 rings[AUDIT_RINGS];	/* memory files that it shares */
	size_t		 nrings;
	struct {
		uint64_t released, written, later;	/* positions; released is read once more behind written */
		uint64_t size;				/* 0: it could not be read */
	}		 ring;		/* a collector's */
	pid_t		 parent;
};

/* What all are compared with. */
struct audit {
	struct config		 config;
	struct settings		 settings;
	uid_t			 collector_uid, shipper_uid;
	gid_t			 collector_gid, shipper_gid;
	struct audit_process	*processes;
	size_t			 count;
	size_t			 ended;		/* collectors that ended while they were looked at */
	struct {
		dev_t		 dev;
		ino_t		 ino;
	}			 programs[AUDIT_KINDS], self;	/* a collector's is the namespacer's */
	ino_t			 host[AUDIT_NAMESPACES], host_user;	/* those of process 1 */
	pid_t			 chosen[AUDIT_KINDS];	/* by the command line; 0: none */
	bool			 json, verbose, sums, policy;
};

extern struct audit	audit;

const char	*audit_kind_name(enum audit_kind);
const char	*audit_property_name(enum audit_property);
/* What to do when it is not as declared. */
const char	*audit_property_remedy(enum audit_property);
/* The first process of a kind, or NULL. */
struct audit_process	*audit_the(enum audit_kind);

/* --- audit_find.c: which processes they are -------------------------------------- */

/* Fills audit.processes.  0, or an exit code; the message is written. */
int	audit_find(void);
/* The namespacer's children that are not known yet are added.  True if there are any. */
bool	audit_find_more(void);
/* Opens what stands for this very process.  False if there is none. */
bool	audit_open(struct audit_process *, enum audit_kind, pid_t);
void	audit_close(struct audit_process *);

/* --- audit_process.c, audit_descriptors.c, audit_memory.c, audit_filter.c: what it is -- */

/* Reads all properties.  False if it has ended; then gone is set. */
bool	audit_read(struct audit_process *);
/* A file of its folder, whole; NULL if it cannot be read.  The caller's, NUL at its end. */
char	*audit_file(const struct audit_process *, const char *name);
void	audit_read_descriptors(struct audit_process *);
void	audit_read_memory(struct audit_process *);
void	audit_read_filters(struct audit_process *);
/* "shrink grow seal future_write", of any descriptor of the file; "none"; "?" */
void	audit_seals(int fd, char *to, size_t size);

/* --- audit_conclude.c: what nobody can read ------------------------------------------- */

#define AUDIT_NO_MSEAL		"not-sealed:the-kernel-has-no-mseal"
#define AUDIT_MSEAL_REFUSED	"not-sealed:a-filter-from-outside-refuses-mseal"

enum { AUDIT_MSEAL = 462 };	/* the same on every machine, and newer than many headers */

/* What follows from all that was read: it comes last. */
void	audit_conclude(struct audit_process *);
/* Whether this kernel has mseal(2); which ABI of Landlock, 0 for none. */
bool	audit_kernel_seals(void);
int	audit_kernel_landlock(void);

/* --- audit_words.c: texts ------------------------------------------------------------ */

struct audit_words {
	char	**items;
	size_t	 count;
};

/* A word has no space and no control byte: others become %XX. */
void	audit_words_add(struct audit_words *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* All in one text, which is the caller's; sorted: in order, and equal ones once with "=N" behind.  Frees the words. */
char	*audit_words_join(struct audit_words *, bool sorted);
void	audit_words_split(struct audit_words *, const char *text);
void	audit_words_free(struct audit_words *);
/* Prints a string as JSON, or with what is not printable replaced. */
void	audit_print(const char *);

/* --- audit_expect.c: what it should be --------------------------------------------------- */

enum audit_test {
	AUDIT_IS,	/* exactly these words */
	AUDIT_AMONG,	/* no other word than these patterns of fnmatch(3) */
	AUDIT_HAS,	/* at least these words */
	AUDIT_AT_MOST,	/* a number */
	AUDIT_WITHIN,	/* numbers, each within its bounds */
	AUDIT_SHOWN,	/* nothing is declared */
	AUDIT_UNSEEN,	/* nobody can see it from outside */
};

enum audit_mark { AUDIT_HOLDS, AUDIT_DIFFERS, AUDIT_UNREAD, AUDIT_NOTED, AUDIT_HIDDEN };

struct audit_row {
	enum audit_kind		 kind;
	enum audit_property	 property;
	enum audit_test		 test;
	const char		*expected;	/* "$name" stands for what is known at run time */
	const char		*why;
};

extern const struct audit_row	audit_rows[];
extern const size_t		audit_rows_count;

const char	*audit_test_name(enum audit_test);
/* The row's words with what is known filled in.  The caller's. */
char		*audit_expected(const struct audit_row *, const struct audit_process *);
enum audit_mark	 audit_check(const struct audit_row *, const struct audit_process *);
/* The worst of all rows of a property; AUDIT_NOTED where there is nothing to hold, AUDIT_HIDDEN where nobody can tell. */
enum audit_mark	 audit_mark(const struct audit_process *, enum audit_property);
bool		 audit_differs(const struct audit_process *);
/* All that was read, in one text, but for the namespace that a collector reads.  The caller's. */
char		*audit_signature(const struct audit_process *);

/* --- audit_report.c, audit_sums.c, audit_signed.c: what is printed ------------------------ */

void	audit_report(void);
/* The books.  An exit code. */
int	audit_sums(void);
/* The policy as text, for --policy. */
int	audit_print_policy(void);

#endif
