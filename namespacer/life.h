/*
 * A collector's life, from the fork to its end: one process for each network
 * namespace, supervised by its pidfd and its control channel.
 *
 *	SETUP -> IDLE <-> TAKING -> (dead)
 *
 * One that dies before it is ready is a set-up fault: its namespace waits 1 s,
 * doubling to 60 s, and the same step in three namespaces within 10 s pauses
 * all forking for 60 s.  One that has delivered a snapshot is replaced at once.
 */
#ifndef NAMESPACER_LIFE_H
#define NAMESPACER_LIFE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "common/protocol.h"
#include "common/record.h"
#include "namespacer/handover.h"
#include "namespacer/netns.h"
#include "seccomp/sandbox.h"

struct event;
struct event_base;

enum life_state {
	LIFE_NONE,		/* no process; may be started when it is time */
	LIFE_SETUP,		/* forked, not ready yet */
	LIFE_IDLE,		/* waits for an order */
	LIFE_TAKING,		/* takes a snapshot */
	LIFE_ENDING,		/* was told to end, or killed */
	LIFE_STATES
};

TAILQ_HEAD(life_list, life);

struct life {
	TAILQ_ENTRY(life)	 turn;		/* in list: the schedule's */
	struct life_list	*list;
	struct netns		*netns;		/* NULL: the namespace is gone */
	enum life_state		 state;
	pid_t			 pid;
	int			 pidfd, control;
	struct event		*ended_event, *control_event;
	struct handover		*ring;
	uint64_t		 cookie;
	bool			 waiting;	/* for room in its ring: its turn is free */
	bool			 expected;	/* its end was asked for */
	bool			 delivered;	/* a snapshot, in this process's life */
	bool			 unready;	/* it was killed while it was being set up */
	bool			 short_of;	/* this process lacked memory or descriptors for it */
	char			 why[128];	/* what it said of its end */

	/* what outlives the process */
	uint64_t		 sequence;	/* of the last snapshot */
	uint64_t		 due;		/* of the next one, monotonic ns */
	uint64_t		 overdue;	/* when it is killed for not answering */
	uint64_t		 not_before;	/* back-off: of the next start */
	uint64_t		 ring_size;	/* of the next ring */
	unsigned int		 failures;	/* in a row */
	struct protocol_taken	 last;
};

struct life_setting {
	struct event_base	*base;
	uid_t			 uid;
	gid_t			 gid;
	bool			 net_admin;
	uint32_t		 states;
	uint64_t		 attributes;
	enum record_way		 way;
	void			*heap;		/* where it begins */
	enum sandbox_level	 sandbox;	/* of the collectors' filter */
	uint64_t		 ring_size, ring_limit;
	int			 empty_net, empty_mount, empty_ipc;
	/* Called when a life is in another state and may need something, and before it is freed: see schedule.h. */
	void			(*changed)(struct life *);
	void			(*forgotten)(struct life *);
	/* A snapshot has ended; its figures are in life->last. */
	void			(*taken)(struct life *);
};

struct life_counts {
	uint64_t	started, crashed, trapped, setup_faults, hostile, outgrown;
};

/* Compiles the filter and makes the page for the pinned requests; -1 with errno. */
int		 life_init(const struct life_setting *);
struct life	*life_new(struct netns *);
/* Forks the collector.  A failure is logged and counts as a set-up fault. */
void		 life_start(struct life *);
/* True while no collector may be forked at all. */
bool		 life_paused(uint64_t now);
/* Orders a snapshot that shall be done by the deadline (monotonic ns). */
void		 life_order(struct life *, uint64_t deadline);
/* Kills it, as a fault of its own: its end counts as a crash. */
void		 life_kill(struct life *, const char *why);
/* Its namespace is gone, or has another name: it ends and is freed. */
void		 life_abandon(struct life *, const char *why);
/* True if its namespace is known to be another container's than its ring says; NULL is not. */
bool		 life_has_other_identity(const struct life *);
/* The shipper found what cannot be in that collector's ring. */
void		 life_hostile(uint64_t epoch);
const struct life_counts *life_counts(void);

#endif
