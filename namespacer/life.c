/* A collector's life. */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "collector/collector.h"
#include "common/clock.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/record.h"
#include "common/utf8.h"
#include "namespacer/life.h"
#include "namespacer/link.h"
#include "namespacer/novelty.h"
#include "seccomp/sandbox.h"

#define LIFE_BACKOFF_FIRST	(1 * SECOND)
#define LIFE_BACKOFF_MAX	(60 * SECOND)
#define LIFE_PAUSE		(60 * SECOND)
#define LIFE_SAME_FAULT_WINDOW	(10 * SECOND)
#define LIFE_OVERDUE		(5 * SECOND)	/* beyond the deadline of a snapshot or of the set-up */
#define LIFE_RING_SHARE		4	/* a ring should hold this part of a snapshot */

enum {
	LIFE_SAME_FAULTS = 3,
	LIFE_REPORTS = 16,	/* of a collector that are read at a time */
};

static const struct channel_type life_reports[] = {
	{ PROTOCOL_IDENTITY, sizeof(struct protocol_identity), 0 },
	{ PROTOCOL_READY, 0, 0 },
	{ PROTOCOL_FAILED, sizeof(struct protocol_failed), 0 },
	{ PROTOCOL_WAITING, 0, 0 },
	{ PROTOCOL_TAKEN, sizeof(struct protocol_taken), 0 },
	{ PROTOCOL_TRAPPED, sizeof(struct protocol_trapped), 0 },
	{ 0, 0, 0 }
};
static const struct channel_type life_snapshot = { PROTOCOL_SNAPSHOT, sizeof(struct protocol_snapshot), 0 };

static struct {
	struct life_setting	setting;
	struct sock_fprog	filter;
	void			*pinned;
	pid_t			parent;		/* before the fork: a child compares */
	struct life_counts	counts;
	uint64_t		paused_until;
	struct {
		char		why[sizeof(((struct life *)0)->why)];
		uint64_t	inode, when;
	}			faults[LIFE_SAME_FAULTS];	/* the last ones */
} lives;

/* Memory that a child has too, but not in the heap. */
static void *
life_map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int
life_compile(enum sandbox_level level)
{
	const uint64_t values[SANDBOX_VALUES] = COLLECTOR_SANDBOX_VALUES(lives.pinned);
	struct sock_fprog program;
	size_t size;

	if (sandbox_compile(&sandbox_collector, level, values, &program) == -1)
		return -1;
	size = program.len * sizeof(*program.filter);
	if (size > 0 && (lives.filter.filter = life_map(size)) != NULL) {
		memcpy(lives.filter.filter, program.filter, size);
		lives.filter.len = program.len;
	}
	free(program.filter);
	return lives.filter.len == program.len ? 0 : -1;
}

/*
 * The page is at the same address in every child, so that one program serves
 * all; each child fills its own copy.
 */
int
life_init(const struct life_setting *setting)
{
	lives.setting = *setting;
	if ((lives.pinned = life_map((size_t)sysconf(_SC_PAGESIZE))) == NULL)
		return -1;
	return life_compile(setting->sandbox);
}

const struct life_counts *
life_counts(void)
{
	return &lives.counts;
}

struct life *
life_new(struct netns *ns)
{
	struct life *life = calloc(1, sizeof(*life));

	if (life == NULL)
		return NULL;
	life->netns = ns;
	life->pid = -1;
	life->pidfd = life->control = -1;
	life->ring_size = lives.setting.ring_size;
	ns->life = life;
	lives.setting.changed(life);
	return life;
}

bool
life_paused(uint64_t now)
{
	return now < lives.paused_until;
}

static const char *
life_name(const struct life *life)
{
	return life->ring != NULL ? life->ring->identity.name :
	    life->netns != NULL ? life->netns->name : "?";
}

/*
 * A report out of its turn is a broken collector: identity once and before it
 * is ready, a snapshot's end only when one was ordered.
 */
static bool
life_expects(const struct life *life, uint32_t type)
{
	static const struct {
		uint32_t	type, states;
	} turns[] = {
		{ PROTOCOL_IDENTITY, 1U << LIFE_SETUP },
		{ PROTOCOL_READY, 1U << LIFE_SETUP },
		{ PROTOCOL_FAILED, 1U << LIFE_SETUP },
		{ PROTOCOL_WAITING, 1U << LIFE_TAKING },
		{ PROTOCOL_TAKEN, 1U << LIFE_TAKING },
		{ PROTOCOL_TRAPPED, 1U << LIFE_SETUP | 1U << LIFE_IDLE | 1U << LIFE_TAKING },
	};

	if ((type == PROTOCOL_IDENTITY && life->cookie != 0) || (type == PROTOCOL_WAITING && life->waiting) ||
	    (type == PROTOCOL_TRAPPED && life->why[0] != '\0'))
		return false;
	for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++)
		if (turns[i].type == type)
			return (turns[i].states >> life->state & 1) != 0;
	return false;
}

static void
life_take_ready(struct life *life)
{
	life->state = LIFE_IDLE;
	life->ring->identity.cookie = life->cookie;
	life->ring->known = true;
	link_send_ring(life->ring);
}

/* A namespace that has outgrown its ring gets a collector with a larger one. */
static void
life_consider_growth(struct life *life)
{
	uint64_t wanted = life->last.bytes / LIFE_RING_SHARE;

	if (wanted <= life->ring->identity.size || life->ring->identity.size >= lives.setting.ring_limit)
		return;
	wanted = ring_size_for(wanted);
	life->ring_size = wanted < lives.setting.ring_limit ? wanted : lives.setting.ring_limit;
	lives.counts.outgrown++;
	log_debug("%s: %lu bytes a snapshot, next ring %lu bytes", life_name(life),
	    (unsigned long)life->last.bytes, (unsigned long)life->ring_size);
	life->state = LIFE_ENDING;
	life->expected = true;
	life->overdue = clock_monotonic() + LIFE_OVERDUE;
	/* It reads the end of its channel, and ends. */
	shutdown(life->control, SHUT_WR);
}

static void
life_take_taken(struct life *life, const struct protocol_taken *taken)
{
	life->state = LIFE_IDLE;
	life->waiting = false;
	life->delivered = true;
	life->last = *taken;
	if (taken->outcome == RECORD_OUTCOME_COMPLETE)
		life->failures = 0;
	novelty_note(life_name(life), taken);
	lives.setting.taken(life);
	life_consider_growth(life);
}

static void
life_take_failed(struct life *life, const struct protocol_failed *failed)
{
	char step[sizeof(failed->step)];

	snprintf(step, sizeof(step), "%.*s", (int)sizeof(step) - 1, failed->step);
	utf8_clean(step);
	snprintf(life->why, sizeof(life->why), "could not %s: %s", step, strerror(failed->error));
}

static void
life_take_trapped(struct life *life, const struct protocol_trapped *trapped)
{
	char call[64];

	snprintf(life->why, sizeof(life->why), "refused system call %s",
	    sandbox_call_name(trapped->number, trapped->architecture, call, sizeof(call)));
}

static void
life_take(struct life *life, const struct channel_message *message)
{
	union {
		struct protocol_identity	identity;
		struct protocol_failed		failed;
		struct protocol_taken		taken;
		struct protocol_trapped		trapped;
	} payload;

	if (!life_expects(life, message->type)) {
		if (life->state != LIFE_ENDING)
			life_kill(life, "it spoke out of turn");
		return;
	}
	memcpy(&payload, message->payload, sizeof(payload));
	switch (message->type) {
	case PROTOCOL_IDENTITY:
		life->cookie = payload.identity.cookie;
		if (life->netns != NULL && payload.identity.inode != life->netns->inode)
			life_kill(life, "it is in another namespace than it should be");
		break;
	case PROTOCOL_READY:
		life_take_ready(life);
		break;
	case PROTOCOL_WAITING:
		life->waiting = true;
		break;
	case PROTOCOL_TAKEN:
		if (payload.taken.sequence == life->sequence)
			life_take_taken(life, &payload.taken);
		else
			life_kill(life, "it ended a snapshot that nobody ordered");
		break;
	case PROTOCOL_FAILED:
		life_take_failed(life, &payload.failed);
		break;
	default:
		life_take_trapped(life, &payload.trapped);
		break;
	}
}

/* So many at a time; what is left is an event of its own. */
static void
life_read_reports(struct life *life, unsigned int most)
{
	struct channel_message message;
	enum channel_result result = CHANNEL_OK;

	while (result == CHANNEL_OK && most-- > 0) {
		result = channel_receive(life->control, life_reports, &message);
		if (result == CHANNEL_OK)
			life_take(life, &message);
	}
	if (result == CHANNEL_CLOSED || result == CHANNEL_BROKEN)
		event_del(life->control_event);
	if (result == CHANNEL_BROKEN && life->state != LIFE_ENDING)
		life_kill(life, "it does not keep to the protocol");
}

static void
life_readable(evutil_socket_t fd, short what, void *context)
{
	struct life *life = context;

	(void)fd;
	(void)what;
	life_read_reports(life, LIFE_REPORTS);
	lives.setting.changed(life);
}

/* The same fault in three namespaces is ours, not theirs. */
static void
life_note_fault(const struct life *life, uint64_t now)
{
	size_t same = 0;

	uint64_t inode = life->netns != NULL ? life->netns->inode : 0;
	size_t place = 0;

	/* One entry a namespace: the same one again is no other. */
	while (place < LIFE_SAME_FAULTS - 1 && lives.faults[place].inode != inode)
		place++;
	memmove(&lives.faults[1], &lives.faults[0], place * sizeof(lives.faults[0]));
	memcpy(lives.faults[0].why, life->why, sizeof(life->why));
	lives.faults[0].inode = inode;
	lives.faults[0].when = now;
	for (size_t i = 0; i < LIFE_SAME_FAULTS; i++)
		if (now - lives.faults[i].when < LIFE_SAME_FAULT_WINDOW && lives.faults[i].when != 0 &&
		    strcmp(lives.faults[i].why, life->why) == 0)
			same++;
	if (same < LIFE_SAME_FAULTS || life_paused(now))
		return;
	lives.paused_until = now + LIFE_PAUSE;
	log_error("collectors cannot be set up (%s, in %zu namespaces): no more are started for 60 s",
	    life->why, same);
}

static void
life_back_off(struct life *life, bool was_setup, uint64_t now)
{
	uint64_t wait = LIFE_BACKOFF_FIRST << (life->failures < 6 ? life->failures : 6);

	if (life->expected || (life->delivered && life->failures == 0))
		wait = 0;
	if (!life->expected)
		life->failures++;
	life->not_before = now + (wait < LIFE_BACKOFF_MAX ? wait : LIFE_BACKOFF_MAX);
	if (!was_setup || life->expected)
		return;
	lives.counts.setup_faults++;
	/* What this process is out of is no fault of a set-up, and passes. */
	if (!life->short_of)
		life_note_fault(life, now);
}

/* One line with the reason and the code of an end that nobody asked for. */
static void
life_log_end(struct life *life, const siginfo_t *status, bool was_setup)
{
	char code[64];

	if (status->si_code == CLD_EXITED)
		snprintf(code, sizeof(code), "exit code %d", status->si_status);
	else
		snprintf(code, sizeof(code), "killed by signal %d (%s)", status->si_status, strsignal(status->si_status));
	if (status->si_status == (status->si_code == CLD_EXITED ? (int)EXIT_CODE_SANDBOX : SIGSYS)) {
		lives.counts.trapped++;
		if (life->why[0] == '\0')
			snprintf(life->why, sizeof(life->why), "refused system call, call unknown");
	}
	lives.counts.crashed++;
	log_limited(LOG_LEVEL_WARNING, "%s: collector %d ended%s, %s%s%s", life_name(life), (int)life->pid,
	    was_setup ? " before it was ready" : "", code, life->why[0] != '\0' ? ": " : "", life->why);
}

static void
life_free(struct life *life)
{
	lives.setting.forgotten(life);
	if (life->netns != NULL)
		life->netns->life = NULL;
	free(life);
}

/* Closes what belongs to the process; its ring waits for the shipper. */
static void
life_close(struct life *life, bool was_setup)
{
	event_free(life->ended_event);
	event_free(life->control_event);
	fd_close(&life->pidfd);
	fd_close(&life->control);
	if (was_setup) {
		handover_free(life->ring);	/* it never got as far as writing */
	} else {
		handover_end(life->ring);
		link_send_ended(life->ring);
		handover_limit();
	}
	life->ring = NULL;
	life->pid = -1;
	life->cookie = 0;
}

static void
life_ended(evutil_socket_t fd, short what, void *context)
{
	struct life *life = context;
	bool was_setup;
	siginfo_t status = { 0 };

	(void)what;
	life_read_reports(life, UINT_MAX);	/* its last words: the dead add none */
	was_setup = life->state == LIFE_SETUP || life->unready;
	if (waitid(P_PIDFD, (id_t)fd, &status, WEXITED) == -1)
		log_errno(LOG_LEVEL_WARNING, "waitid");
	if (!life->expected)
		life_log_end(life, &status, was_setup);
	life_close(life, was_setup);
	/* A snapshot that was cut short is taken again as soon as it may. */
	if (life->state == LIFE_TAKING && !life->expected)
		life->due = 0;
	life_back_off(life, was_setup, clock_monotonic());
	life->state = LIFE_NONE;
	lives.setting.changed(life);
	if (life->netns == NULL)
		life_free(life);
}

void
life_kill(struct life *life, const char *why)
{
	if (life->pidfd == -1)
		return;
	snprintf(life->why, sizeof(life->why), "%s", why);
	life->unready |= life->state == LIFE_SETUP;
	life->state = LIFE_ENDING;
	life->overdue = UINT64_MAX;
	if (syscall(SYS_pidfd_send_signal, life->pidfd, SIGKILL, NULL, 0) == -1 && errno != ESRCH)
		log_errno(LOG_LEVEL_ERROR, "%s: collector %d cannot be killed", life_name(life), (int)life->pid);
	lives.setting.changed(life);
}

void
life_abandon(struct life *life, const char *why)
{
	life->expected = true;
	life->netns->life = NULL;
	life->netns = NULL;
	if (life->pidfd == -1)
		life_free(life);
	else
		life_kill(life, why);
}

bool
life_has_other_identity(const struct life *life)
{
	return life != NULL && life->ring != NULL &&
	    strcmp(life->ring->identity.container, life->netns->container) != 0;
}

void
life_hostile(uint64_t epoch)
{
	struct netns *ns;

	lives.counts.hostile++;
	TAILQ_FOREACH(ns, &netns_all, all)
		if (ns->life != NULL && ns->life->ring != NULL && ns->life->ring->identity.epoch == epoch) {
			life_kill(ns->life, "the shipper found what cannot be in its ring");
			return;
		}
}

void
life_order(struct life *life, uint64_t deadline)
{
	const struct protocol_snapshot order = { ++life->sequence, deadline };

	if (channel_send(life->control, &life_snapshot, &order, NULL) != CHANNEL_OK) {
		life_kill(life, "it does not take orders");
		return;
	}
	life->state = LIFE_TAKING;
	life->overdue = deadline + LIFE_OVERDUE;
}

/* In the child.  It has nothing of the parent but what is in start. */
static _Noreturn void
life_child(struct life *life, struct ring_producer *producer, int control, int doorbell)
{
	const struct collector_start start = {
		.name = life->netns->name,
		.netns = life->netns->fd,
		.inode = life->netns->inode,
		.empty_net = lives.setting.empty_net,
		.empty_mount = lives.setting.empty_mount,
		.empty_ipc = lives.setting.empty_ipc,
		.control = control,
		.doorbell = doorbell,
		.ring = producer,
		.pinned = lives.pinned,
		.filter = &lives.filter,
		.heap = lives.setting.heap,
		.parent = lives.parent,
		.uid = lives.setting.uid,
		.gid = lives.setting.gid,
		.net_admin = lives.setting.net_admin,
		.states = lives.setting.states,
		.attributes = lives.setting.attributes,
		.way = lives.setting.way,
	};

	collector_main(&start);
}

static void
life_fill_identity(struct life *life)
{
	struct protocol_ring *identity = &life->ring->identity;

	identity->inode = life->netns->inode;
	memcpy(identity->name, life->netns->name, sizeof(identity->name));
	memcpy(identity->container, life->netns->container, sizeof(identity->container));
	memcpy(identity->runtime, life->netns->runtime, sizeof(identity->runtime));
}

/* A fork whose child is known by a descriptor from the start. */
static int
life_fork(struct life *life, struct ring_producer *producer, const int control[2], int doorbell)
{
	lives.parent = getpid();
	life->pid = fork();
	if (life->pid == 0)
		life_child(life, producer, control[1], doorbell);
	if (life->pid == -1)
		return -1;
	life->pidfd = (int)syscall(SYS_pidfd_open, life->pid, 0);
	return life->pidfd == -1 ? -1 : 0;
}

static int
life_supervise(struct life *life)
{
	life->ended_event = event_new(lives.setting.base, life->pidfd, EV_READ, life_ended, life);
	life->control_event = event_new(lives.setting.base, life->control, EV_READ | EV_PERSIST, life_readable, life);
	if (life->ended_event == NULL || life->control_event == NULL)
		return -1;
	event_add(life->ended_event, NULL);
	return event_add(life->control_event, NULL);
}

static int
life_try(struct life *life)
{
	struct ring_producer producer;
	int doorbell, result = -1, error;
	int control[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == -1)
		return -1;
	if ((life->ring = handover_new(life->ring_size, &producer, &doorbell)) != NULL) {
		life_fill_identity(life);
		result = life_fork(life, &producer, control, doorbell);
		error = errno;
		ring_producer_unmap(&producer);
		close(doorbell);
		errno = error;
	}
	error = errno;
	close(control[1]);
	life->control = control[0];
	errno = error;
	return result;
}

/* A child that cannot be supervised is none. */
static void
life_undo(struct life *life)
{
	if (life->pid > 0) {
		kill(life->pid, SIGKILL);
		waitpid(life->pid, NULL, 0);
	}
	life->pid = -1;
	fd_close(&life->pidfd);
	fd_close(&life->control);
	if (life->ring != NULL)
		handover_free(life->ring);
	life->ring = NULL;
}

void
life_start(struct life *life)
{
	uint64_t now = clock_monotonic();

	life->why[0] = '\0';
	life->expected = life->delivered = life->waiting = life->unready = life->short_of = false;
	if (life_try(life) == 0 && life_supervise(life) == 0) {
		life->state = LIFE_SETUP;
		life->overdue = now + 2 * LIFE_OVERDUE;
		lives.counts.started++;
		return;
	}
	life->short_of = errno == EMFILE || errno == ENFILE || errno == EAGAIN || errno == ENOMEM;
	snprintf(life->why, sizeof(life->why), "could not fork: %s", strerror(errno));
	log_limited(LOG_LEVEL_ERROR, "%s: no collector: %s", life->netns->name, life->why);
	life_undo(life);
	life_back_off(life, true, now);
}
