/*
 * Accounts: what came out of rings, in all and, where that is asked for, for
 * each namespace.  A ring's figures are added when somebody wants to see them
 * and when it ends, so that the sums outlive it and never run backwards.
 *
 * Among them is what collectors count themselves.  That is their word: it is
 * added as long as it only grows, and no faster than a CPU could count.
 */
#ifndef SHIPPER_ACCOUNT_H
#define SHIPPER_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/counters.h"
#include "common/protocol.h"
#include "common/record.h"
#include "common/ring.h"

enum {
	/* Namespaces that have an account of their own; those without are counted. */
	ACCOUNT_NETNS = 4096,
};

/* How long a namespace's account is shown after its last ring. */
#define ACCOUNT_NETNS_TIME	(60 * SECOND)

/* 64-bit counters and nothing else: they are added number by number. */
struct account {
	/* bytes: published = read + abandoned + what is in rings */
	uint64_t	published;
	uint64_t	read;
	uint64_t	abandoned;	/* in rings that were closed for what was in them */
	/* records */
	uint64_t	drained;
	uint64_t	filtered;
	uint64_t	dropped;
	/* by the records that end them */
	uint64_t	ways[RECORD_WAYS];
	uint64_t	outcomes[RECORD_OUTCOMES];
	uint64_t	duration;	/* ns of all of them */
	uint64_t	disbelieved;	/* rings whose collector's word is not added any more */
	struct counters	word;
};

/* What is shown of a namespace. */
struct account_shown {
	struct account	sum;
	uint64_t	rings;		/* mapped now */
	uint64_t	unread;		/* bytes in them, when somebody looked last */
	uint64_t	snapshot;	/* when the last complete one came, ns since 1970; 0: none yet */
};

struct account_netns {
	LIST_ENTRY(account_netns) next;
	char			 name[PROTOCOL_NAME_MAX];
	uint64_t		 until;		/* without a ring it is forgotten then, monotonic ns */
	struct account_shown	 shown;
};

LIST_HEAD(account_list, account_netns);

struct accounts {
	struct account		 total;
	bool			 per_netns;
	struct account_list	 netns;		/* empty unless per_netns */
	size_t			 nnetns;
	uint64_t		 unlisted;	/* rings of namespaces that found no place in it */
};

/* A ring's part. */
struct account_ring {
	const char		*name;		/* of its namespace */
	struct account		 news;		/* not added yet */
	struct counters		 seen;		/* of its collector's word */
	uint64_t		 when;		/* it was seen, monotonic ns; 0: since the host is up */
	uint64_t		 published;	/* positions that are in the account */
	uint64_t		 read;
	bool			 disbelieved;
	struct account_netns	*netns;		/* or NULL */
};

void	 accounts_free(struct accounts *);
/*
 * A ring is taken over.  What was read of it before, by a shipper before this
 * one, is in that one's account.  The name stays valid.
 */
void	 account_open(struct accounts *, struct account_ring *, const struct ring_consumer *, const char *netns);
/* Adds what is new. */
void	 account_add(struct accounts *, struct account_ring *, const struct ring_consumer *);
/* The ring is closed: adds what is new; what was not read is abandoned. */
void	 account_close(struct accounts *, struct account_ring *, const struct ring_consumer *);
/* Forgets namespaces that had no ring for a while. */
void	 accounts_expire(struct accounts *, uint64_t now);

#endif
