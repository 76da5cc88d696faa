/*
 * The network namespaces that are known.  One is identified by its inode as
 * long as our own descriptor holds it: the kernel cannot give the number to
 * another meanwhile.  (Its cookie, which is never given again, is learnt by the
 * collector inside.)
 */
#ifndef NAMESPACER_NETNS_H
#define NAMESPACER_NETNS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "common/config.h"
#include "common/protocol.h"

/* How it was found; a better one replaces a worse one. */
enum netns_how { NETNS_THREAD, NETNS_PROCESS, NETNS_MOUNT };

/* At the holders of which: a process, also a mount, also a mount that is still there. */
enum netns_look { NETNS_LOOK_PROCESSES, NETNS_LOOK_MOUNTS, NETNS_LOOK_PATHS };

struct life;

struct netns {
	TAILQ_ENTRY(netns)	 all;
	LIST_ENTRY(netns)	 bucket, place;
	TAILQ_ENTRY(netns)	 stales;	/* in netns_stale, if it is stale */
	uint64_t		 inode;
	int			 fd;		/* nsfs */
	enum netns_how		 how;
	uint64_t		 mount;		/* the holder's, or 0: see mounts.h */
	char			*holder;	/* a path that leads to it: a mount or /proc/… */
	char			 name[PROTOCOL_NAME_MAX];
	char			 container[PROTOCOL_CONTAINER_MAX];
	char			 runtime[PROTOCOL_RUNTIME_MAX];
	bool			 lost;		/* its holder leads to it no more: another is looked for */
	bool			 stale;		/* its name or its container may be another one now */
	bool			 renamed;	/* its name changed when it was last chosen */
	struct life		*life;		/* its collector; the supervisor's */
};

TAILQ_HEAD(netns_list, netns);

#ifndef TAILQ_FOREACH_SAFE	/* glibc's sys/queue.h lacks it */
#define TAILQ_FOREACH_SAFE(var, head, field, next)				\
	for ((var) = TAILQ_FIRST(head);						\
	    (var) != NULL && ((next) = TAILQ_NEXT(var, field), true);		\
	    (var) = (next))
#endif

/* All of them; netns_init must have been called. */
extern struct netns_list netns_all;
/* Those whose name has to be chosen (again). */
extern struct netns_list netns_stale;

void		 netns_init(void);
/* True of the host's, which is PID 1's. */
bool		 netns_is_default(uint64_t inode);
struct netns	*netns_find(uint64_t inode);
/*
 * Adds the one that path leads to.  NULL with errno: ESTALE if it is no
 * network namespace, or not the one with that inode any more.
 */
struct netns	*netns_add(const char *path, uint64_t inode, enum netns_how how);
void		 netns_remove(struct netns *);
/* A further path to a known one: kept if it is a better one, or the other one is lost. */
void		 netns_held_by(struct netns *, const char *path, enum netns_how how);
/*
 * Looks for those whose holder holds them no more; true if there are any.  A
 * mount that is listed still holds what it did, though another may cover it or
 * its place may have another name: only NETNS_LOOK_PATHS follows every path.
 */
bool		 netns_find_lost(enum netns_look);
/* True if this path leads to one that is known, or did when it was last looked at. */
bool		 netns_is_holder(const char *path);
/* True if it did then: it need not be looked at again. */
bool		 netns_is_held_by(const char *path);
/* The inode of a network namespace's path, or 0 (errno: ENOTTY if it is something else). */
uint64_t	 netns_inode_of(const char *path);
/* The container's id and runtime by the cgroup of a process in it, if it has none yet. */
void		 netns_learn_container(struct netns *, pid_t pid);
void		 netns_make_stale(struct netns *);
/* Its name: "default", the mount's, the container's id, or netns:[inode]. */
void		 netns_choose_name(struct netns *);
/* True if its name matches one of the patterns of glob(7), or there are none. */
bool		 netns_matches(const struct netns *, const struct config_list *patterns);
/* "mount", "process", "thread". */
const char	*netns_how_text(enum netns_how how);

#endif
