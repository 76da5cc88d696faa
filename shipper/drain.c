/* Drains the rings: see drain.h. */
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/exit.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/ring.h"
#include "common/varint.h"
#include "shipper/account.h"
#include "shipper/check.h"
#include "shipper/drain.h"

enum { DRAIN_BUCKETS = 4096, DRAIN_BELL_BYTES = 256 };

/* How long the collectors of a namespacer that has gone may take to follow it. */
#define DRAIN_ORPHAN_TIME	(2 * SECOND)
/* The longest deadline that a snapshot may have. */
#define DRAIN_SNAPSHOT_MOST	(24 * HOUR)

struct drain_ring {
	TAILQ_ENTRY(drain_ring)	 next_ready;
	TAILQ_ENTRY(drain_ring)	 next_ring;
	LIST_ENTRY(drain_ring)	 next_epoch;
	struct drain		*drain;
	struct ring_consumer	 consumer;
	struct event		*bell;
	int			 bell_fd;
	uint64_t		 epoch;
	char			 name[PROTOCOL_NAME_MAX];
	uint8_t			*stamp;
	size_t			 stamp_length;
	/* Marks in batches that are not acknowledged, and the last one of them. */
	size_t			 marks;
	struct batch		*marked;
	size_t			 mark;
	uint64_t		 limit;		/* where to stop for good, or UINT64_MAX */
	uint64_t		 deadline;	/* of an orphan; 0: none */
	struct account_ring	 account;
	uint64_t		 opened;	/* ns since 1970 */
	uint64_t		 snapshot;	/* when the last complete one came; 0: none yet */
	uint64_t		 durations;	/* ns of all of them */
	unsigned int		 bells;		/* rung for nothing since the last tick */
	bool			 ready;		/* in the list */
	bool			 muted;
	bool			 gone;		/* the doorbell's other end is closed */
	bool			 mapped;
	bool			 dead;		/* hostile */
	bool			 ended;		/* its collector has */
	bool			 orphan;	/* and nobody waits to hear of it */
	bool			 empty;		/* ended, and read to its limit */
};

TAILQ_HEAD(drain_list, drain_ring);
LIST_HEAD(drain_bucket, drain_ring);

struct drain {
	struct drain_options	 options;
	struct drain_list	 ready;
	struct drain_list	 rings;
	struct drain_bucket	 epochs[DRAIN_BUCKETS];
	size_t			 count;
	struct accounts		 accounts;
	struct event		*turn;
	struct event		*tick;
	bool			 paused;	/* all batches are in use */
	bool			 finishing;
	bool			 finished;
};

/* What a turn on a ring came to. */
enum drain_outcome {
	DRAIN_EMPTY,		/* nothing left, as far as was looked */
	DRAIN_MORE,		/* its portion is used up */
	DRAIN_PAUSED,		/* no batch to fill */
	DRAIN_DEAD,
};

/* --- the list of rings with data -------------------------------------------- */

static void
drain_schedule(struct drain *d)
{
	const struct timeval now = { 0, 0 };

	/*
	 * A timer of zero and not event_active(): libevent would run it again
	 * and again without looking at anything else.
	 */
	if (!d->paused && !TAILQ_EMPTY(&d->ready) && event_add(d->turn, &now) == -1)
		fatal(EXIT_CODE_SYSTEM, "cannot set a timer");
}

static void
drain_make_ready(struct drain_ring *r)
{
	if (r->ready || r->dead)
		return;
	r->ready = true;
	ring_stop_sleeping(&r->consumer);
	TAILQ_INSERT_TAIL(&r->drain->ready, r, next_ready);
	drain_schedule(r->drain);
}

static void
drain_make_unready(struct drain_ring *r)
{
	if (r->ready)
		TAILQ_REMOVE(&r->drain->ready, r, next_ready);
	r->ready = false;
}

/* --- the end of a ring ----------------------------------------------------------- */

static void
drain_silence(struct drain_ring *r)
{
	if (r->bell != NULL)
		event_free(r->bell);
	r->bell = NULL;
	fd_close(&r->bell_fd);
}

static void
drain_unmap(struct drain_ring *r)
{
	if (!r->mapped)
		return;
	account_close(&r->drain->accounts, &r->account, &r->consumer);
	ring_consumer_unmap(&r->consumer);
	r->mapped = false;
}

static void
drain_close(struct drain_ring *r)
{
	drain_silence(r);
	drain_unmap(r);
	free(r->stamp);
	free(r);
}

static void
drain_forget(struct drain_ring *r)
{
	drain_make_unready(r);
	TAILQ_REMOVE(&r->drain->rings, r, next_ring);
	LIST_REMOVE(r, next_epoch);
	r->drain->count--;
	drain_close(r);
}

/* What a hostile ring still holds is not worth reading, and never given back. */
static void
drain_condemn(struct drain_ring *r, const char *why)
{
	struct drain *d = r->drain;

	drain_make_unready(r);
	r->dead = true;
	d->options.books->hostile++;
	log_limited(LOG_LEVEL_ERROR, "namespace %s: its collector (epoch %" PRIu64 ") wrote what cannot be, and its ring is closed: %s",
	    r->name, r->epoch, why);
	drain_silence(r);
	drain_unmap(r);
	d->options.events.hostile(d->options.events.context, r->epoch);
}

/* Gives back what is acknowledged, and wakes a collector that waits for it. */
static void
drain_release(struct drain_ring *r, uint64_t position)
{
	/* A full doorbell has a wake-up in it already; a closed one has nobody to wake. */
	if (!r->dead && ring_release(&r->consumer, position) && r->bell_fd != -1)
		(void)send(r->bell_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Says that a ring is done with, when it is. */
static void
drain_settle(struct drain_ring *r)
{
	struct drain *d = r->drain;
	uint64_t epoch = r->epoch;
	bool tell = !r->orphan;

	if (r->marks > 0 || !(r->empty || (r->dead && r->ended)))
		return;
	drain_forget(r);
	if (tell)
		d->options.events.drained(d->options.events.context, epoch);
}

/* An ended ring is read as far as its collector had published, and no further. */
static void
drain_bound(struct drain_ring *r)
{
	if (r->limit != UINT64_MAX || r->dead)
		return;
	if (ring_look(&r->consumer) == RING_HOSTILE)
		drain_condemn(r, "a position that is not in the ring");
	else
		r->limit = r->consumer.available;
}

/* --- one ring's turn ----------------------------------------------------------------- */

/*
 * A number in a record that was checked: fields ascend, zeros are left out,
 * and every varint ends.
 */
static uint64_t
drain_number(const uint8_t *bytes, size_t length, enum record_number field)
{
	uint64_t tag = 0, value = 0;
	size_t at = 0;

	while (at < length) {
		at += varint_read(bytes + at, length - at, &tag);
		if (tag >> 3 >= field) {
			(void)varint_read(bytes + at, length - at, &value);
			return tag >> 3 == field ? value : 0;
		}
		if ((tag & 7) != 0) {
			at += varint_read(bytes + at, length - at, &value);
			at += value;
		} else
			while (bytes[at++] >= 0x80)
				continue;
	}
	return 0;
}

/* A collector takes one at a time; what would be longer than it was here is not added up. */
static void
drain_note_duration(struct drain_ring *r, uint64_t duration, uint64_t now)
{
	if (duration > DRAIN_SNAPSHOT_MOST || r->durations + duration > now - r->opened + DRAIN_SNAPSHOT_MOST)
		return;
	r->durations += duration;
	r->account.news.duration += duration;
}

static void
drain_note_end(struct drain_ring *r, const uint8_t *bytes, size_t length)
{
	uint64_t outcome = drain_number(bytes, length, RECORD_N_snapshot_outcome), now = clock_real();

	/* Both are known ones: they were checked. */
	r->account.news.ways[drain_number(bytes, length, RECORD_N_snapshot_way)]++;
	r->account.news.outcomes[outcome]++;
	drain_note_duration(r, drain_number(bytes, length, RECORD_N_snapshot_duration_ns), now);
	if (outcome == RECORD_OUTCOME_COMPLETE)
		r->snapshot = now;
}

static void
drain_mark(struct drain_ring *r, struct batch *batch)
{
	if (r->marks > 0 && r->marked == batch) {
		batch->marks[r->mark].position = r->consumer.position;
		return;
	}
	r->mark = batch_mark(batch, r, r->consumer.position);
	r->marked = batch;
	r->marks++;
}

/*
 * A record that goes into no batch is given back with what stands before it,
 * or at once when all of that is acknowledged.
 */
static void
drain_mark_filtered(struct drain_ring *r)
{
	if (r->marks > 0)
		r->marked->marks[r->mark].position = r->consumer.position;
	else {
		delivery_sync(r->drain->options.delivery);
		drain_release(r, r->consumer.position);
	}
}

/* Takes the record that ring_next measured.  False: the ring is dead now. */
static bool
drain_record(struct drain_ring *r, struct batch *batch, size_t length)
{
	struct drain *d = r->drain;
	uint8_t *bytes = batch_place(batch, r->stamp, r->stamp_length, length);
	const char *why;

	ring_copy(&r->consumer, length, bytes);
	d->options.books->drained++;
	r->account.news.drained++;
	/* The private copy is judged: the ring's own bytes may change at any time. */
	if ((why = check_record(bytes, length)) != NULL) {
		d->options.books->dropped[BOOKS_DROP_HOSTILE]++;
		r->account.news.dropped++;
		drain_condemn(r, why);
		return false;
	}
	if (drain_number(bytes, length, RECORD_N_record_kind) == RECORD_KIND_SNAPSHOT_END) {
		drain_note_end(r, bytes, length);
		if (!d->options.snapshot_ends) {
			d->options.books->filtered++;
			r->account.news.filtered++;
			drain_mark_filtered(r);
			return true;
		}
	}
	batch_commit(batch, r->stamp_length, length);
	drain_mark(r, batch);
	delivery_committed(d->options.delivery);
	return true;
}

static enum drain_outcome
drain_step(struct drain_ring *r, size_t *length)
{
	struct batch *batch;
	enum ring_result result;

	*length = 0;
	if (r->consumer.position >= r->limit)
		return DRAIN_EMPTY;
	result = ring_next(&r->consumer, RECORD_MAX, length);
	if (result == RING_EMPTY)
		return DRAIN_EMPTY;
	if (result == RING_HOSTILE) {
		drain_condemn(r, "a record length that cannot be");
		return DRAIN_DEAD;
	}
	batch = delivery_batch(r->drain->options.delivery, batch_need(r->stamp_length, *length), r, r->name);
	if (batch == NULL)
		return DRAIN_PAUSED;
	return drain_record(r, batch, *length) ? DRAIN_MORE : DRAIN_DEAD;
}

static enum drain_outcome
drain_portion(struct drain_ring *r)
{
	enum drain_outcome outcome = DRAIN_MORE;
	size_t records, bytes = 0, length;

	if (ring_look(&r->consumer) == RING_HOSTILE) {
		drain_condemn(r, "a position that is not in the ring");
		return DRAIN_DEAD;
	}
	for (records = 0; outcome == DRAIN_MORE && records < DRAIN_TURN_RECORDS && bytes < DRAIN_TURN_BYTES; records++) {
		outcome = drain_step(r, &length);
		bytes += length;
	}
	return outcome;
}

/* Puts a ring that was read to its end to sleep, or finds that it is none yet. */
static void
drain_rest(struct drain_ring *r)
{
	drain_make_unready(r);
	if (r->limit != UINT64_MAX) {
		r->empty = r->ended && r->consumer.position >= r->limit;
		drain_settle(r);
	} else if (!ring_start_sleeping(&r->consumer)) {
		/* What came meanwhile, or is impossible, is seen at its next turn. */
		drain_make_ready(r);
	}
}

/*
 * A collector asks for half of its ring at most, so it never waits for room
 * while less than the other half is held.  This is when it may, or will soon.
 */
static void
drain_hasten(struct drain_ring *r)
{
	if (r->consumer.position - r->consumer.released > r->consumer.size / 2)
		delivery_flush(r->drain->options.delivery);
}

static void
drain_take(struct drain_ring *r)
{
	struct drain *d = r->drain;

	switch (drain_portion(r)) {
	case DRAIN_DEAD:
		drain_settle(r);
		break;
	case DRAIN_PAUSED:
		d->paused = true;
		break;
	case DRAIN_MORE:
		TAILQ_REMOVE(&d->ready, r, next_ready);
		TAILQ_INSERT_TAIL(&d->ready, r, next_ready);
		drain_hasten(r);
		break;
	case DRAIN_EMPTY:
		drain_hasten(r);
		drain_rest(r);
		break;
	}
}

static void
drain_check_finished(struct drain *d)
{
	if (!d->finishing || d->finished || !TAILQ_EMPTY(&d->ready))
		return;
	delivery_finish(d->options.delivery);
	if (!delivery_is_settled(d->options.delivery))
		return;
	d->finished = true;
	d->options.events.finished(d->options.events.context);
}

static void
drain_turn(evutil_socket_t fd, short what, void *context)
{
	struct drain *d = context;

	(void)fd;
	(void)what;
	for (int i = 0; i < DRAIN_TURNS && !d->paused && !TAILQ_EMPTY(&d->ready); i++)
		drain_take(TAILQ_FIRST(&d->ready));
	drain_schedule(d);
	drain_check_finished(d);
}

/* --- what the delivery says ------------------------------------------------------ */

static void
drain_released(void *context, const struct batch *batch)
{
	struct drain *d = context;

	for (size_t i = 0; i < batch->nmarks; i++) {
		struct drain_ring *r = batch->marks[i].owner;

		r->marks--;
		drain_release(r, batch->marks[i].position);
		drain_settle(r);
	}
	drain_check_finished(d);
}

static void
drain_settled(void *context)
{
	drain_check_finished(context);
}

static void
drain_failed(void *context)
{
	struct drain *d = context;

	d->options.events.failed(d->options.events.context);
}

static void
drain_room(void *context)
{
	struct drain *d = context;

	d->paused = false;
	drain_schedule(d);
}

/* --- doorbells ------------------------------------------------------------------------- */

/* Finds out whether a ring that nobody is reading has data. */
static bool
drain_look(struct drain_ring *r)
{
	enum ring_result result = ring_look(&r->consumer);

	if (result == RING_EMPTY || r->consumer.position >= r->limit)
		return false;
	/* Also when it is hostile: its turn says so. */
	drain_make_ready(r);
	return true;
}

static void
drain_rung(evutil_socket_t fd, short what, void *context)
{
	struct drain_ring *r = context;
	char bytes[DRAIN_BELL_BYTES];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	(void)what;
	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
		r->gone = true;
		event_del(r->bell);
	}
	if ((!r->ready && drain_look(r)) || ++r->bells < DRAIN_BELLS || r->gone)
		return;
	/* The tick looks at the ring all the same. */
	r->muted = true;
	r->drain->options.books->muted++;
	event_del(r->bell);
}

static void
drain_unmute(struct drain_ring *r)
{
	r->bells = 0;
	if (r->muted && event_add(r->bell, NULL) == -1)
		fatal(EXIT_CODE_SYSTEM, "cannot listen to a doorbell");
	r->muted = false;
}

/* An orphan's collector follows its namespacer, but may publish before it does. */
static void
drain_expire(struct drain_ring *r, uint64_t now)
{
	if (r->deadline == 0 || (!r->gone && now < r->deadline))
		return;
	r->deadline = 0;
	r->ended = true;
	drain_bound(r);
	drain_make_ready(r);
	drain_settle(r);
}

/* Wake-ups are hints: once a second every ring is looked at without one. */
static void
drain_ticked(evutil_socket_t fd, short what, void *context)
{
	struct drain *d = context;
	struct drain_ring *r, *next;
	uint64_t now = clock_monotonic();

	(void)fd;
	(void)what;
	for (r = TAILQ_FIRST(&d->rings); r != NULL; r = next) {
		next = TAILQ_NEXT(r, next_ring);
		if (!r->dead && !r->ready) {
			drain_unmute(r);
			(void)drain_look(r);
		}
		drain_expire(r, now);
	}
	accounts_expire(&d->accounts, now);
	drain_check_finished(d);
}

/* --- registration ------------------------------------------------------------------ */

static struct drain_bucket *
drain_bucket(struct drain *d, uint64_t epoch)
{
	return &d->epochs[epoch % DRAIN_BUCKETS];
}

static struct drain_ring *
drain_find(struct drain *d, uint64_t epoch)
{
	struct drain_ring *r;

	LIST_FOREACH(r, drain_bucket(d, epoch), next_epoch)
		if (r->epoch == epoch)
			return r;
	return NULL;
}

static const char *
drain_string_fault(const char *string, size_t size)
{
	const char *end = memchr(string, '\0', size);

	return end == NULL ? "has no end" : stamp_string_fault(string, (size_t)(end - string));
}

static const char *
drain_message_fault(const struct protocol_ring *message)
{
	if (message->epoch == 0)
		return "a ring with epoch 0";
	if (message->ended > 1)
		return "a ring that is neither running nor ended";
	return NULL;
}

/* Who a ring is of: text that goes into every record. */
static const char *
drain_identity_fault(const struct protocol_ring *message)
{
	if (message->name[0] == '\0' || drain_string_fault(message->name, sizeof(message->name)) != NULL)
		return "a namespace's name that is empty, too long, or no clean UTF-8";
	if (drain_string_fault(message->container, sizeof(message->container)) != NULL)
		return "a container's id that is no clean UTF-8 or has no end";
	if (drain_string_fault(message->runtime, sizeof(message->runtime)) != NULL)
		return "a container's runtime that is no clean UTF-8 or has no end";
	return NULL;
}

static bool
drain_stamp(struct drain_ring *r, const struct protocol_ring *message)
{
	struct stamp_identity identity = r->drain->options.identity;
	uint8_t stamp[RECORD_STAMP_MAX];

	identity.netns = message->name;
	identity.inode = message->inode;
	identity.cookie = message->cookie;
	identity.epoch = message->epoch;
	identity.container = message->container;
	identity.runtime = message->runtime;
	r->stamp_length = stamp_write(stamp, &identity);
	if (r->stamp_length == 0 || (r->stamp = malloc(r->stamp_length)) == NULL)
		return false;
	memcpy(r->stamp, stamp, r->stamp_length);
	return true;
}

static bool
drain_is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int
drain_listen(struct drain_ring *r, int fd)
{
	r->bell_fd = fd;
	r->bell = event_new(r->drain->options.base, fd, EV_READ | EV_PERSIST, drain_rung, r);
	if (r->bell == NULL)
		return -1;
	return event_add(r->bell, NULL);
}

static void
drain_insert(struct drain *d, struct drain_ring *r)
{
	TAILQ_INSERT_TAIL(&d->rings, r, next_ring);
	LIST_INSERT_HEAD(drain_bucket(d, r->epoch), r, next_epoch);
	d->count++;
}

static void
drain_start(struct drain_ring *r, bool ended)
{
	r->ended = ended;
	if (ended || r->drain->finishing)
		drain_bound(r);
	/* Its first turn finds what there is, and puts it to sleep. */
	drain_make_ready(r);
	drain_settle(r);
}

/*
 * EPERM: not sealed; EINVAL: not of that size.  Everything else is what this
 * process cannot do, and no fault of the namespacer's.
 */
static const char *
drain_decline(struct drain *d, const struct protocol_ring *message, int error)
{
	if (error == EPERM || error == EINVAL || error == EBADF)
		return "a ring that is not sealed as it must be, or not of its size";
	d->options.books->refused++;
	log_limited(LOG_LEVEL_ERROR, "namespace %s: cannot take its ring over: %s", message->name, strerror(error));
	d->options.events.hostile(d->options.events.context, message->epoch);
	return NULL;
}

/*
 * The link broke and came back, with the same namespacer at its other end: the
 * ring is the one that is mapped already, unless it has been freed meanwhile.
 */
static void
drain_adopt(struct drain_ring *r, bool ended)
{
	struct drain *d = r->drain;

	r->orphan = false;
	r->deadline = 0;
	r->ended = r->empty = false;
	if (!d->finishing)
		r->limit = UINT64_MAX;
	if (r->dead)
		d->options.events.hostile(d->options.events.context, r->epoch);
	drain_start(r, ended);
}

/* 0, or errno. */
static int
drain_map(struct drain_ring *r, const struct protocol_ring *message, int *fds)
{
	if (!drain_stamp(r, message))
		return ENOMEM;
	if (ring_consumer_map(&r->consumer, fds[0], fds[1], message->size) == -1)
		return errno;
	r->mapped = true;
	account_open(&r->drain->accounts, &r->account, &r->consumer, r->name);
	r->opened = clock_real();
	return drain_listen(r, fd_steal(&fds[2])) == 0 ? 0 : ENOMEM;
}

/* A new ring, or NULL with *error. */
static struct drain_ring *
drain_open(struct drain *d, const struct protocol_ring *message, int *fds, int *error)
{
	struct drain_ring *r = calloc(1, sizeof(*r));

	*error = ENOMEM;
	if (r == NULL)
		return NULL;
	r->drain = d;
	r->bell_fd = -1;
	r->epoch = message->epoch;
	r->limit = UINT64_MAX;
	memcpy(r->name, message->name, sizeof(r->name));
	if ((*error = drain_map(r, message, fds)) == 0)
		return r;
	drain_close(r);
	return NULL;
}

static const char *
drain_register(struct drain *d, const struct protocol_ring *message, int *fds)
{
	const char *fault = drain_message_fault(message);
	struct drain_ring *r;
	int error;

	if (fault != NULL)
		return fault;
	if (!drain_is_socket(fds[2]))
		return "a doorbell that is no socket";
	/* Names are other people's: one that is no text costs its own ring only. */
	if ((fault = drain_identity_fault(message)) != NULL) {
		d->options.books->refused++;
		log_limited(LOG_LEVEL_ERROR, "the ring of epoch %" PRIu64 " (namespace inode %" PRIu64 ") is not read: %s", message->epoch,
		    message->inode, fault);
		d->options.events.hostile(d->options.events.context, message->epoch);
		return NULL;
	}
	if ((r = drain_find(d, message->epoch)) != NULL) {
		if (!r->orphan)
			return "a ring that is here already";
		drain_adopt(r, message->ended);
		return NULL;
	}
	if ((r = drain_open(d, message, fds, &error)) == NULL)
		return drain_decline(d, message, error);
	d->options.books->rings++;
	drain_insert(d, r);
	drain_start(r, message->ended);
	return NULL;
}

const char *
drain_add(struct drain *d, const struct protocol_ring *message, const int fds[DRAIN_RING_FDS])
{
	int own[DRAIN_RING_FDS] = { fds[0], fds[1], fds[2] };
	const char *fault = drain_register(d, message, own);

	/* The mappings stay; the doorbell was taken out if it is in use. */
	for (int i = 0; i < DRAIN_RING_FDS; i++)
		fd_close(&own[i]);
	if (fault != NULL)
		d->options.books->refused++;
	return fault;
}

bool
drain_ended(struct drain *d, uint64_t epoch)
{
	struct drain_ring *r = drain_find(d, epoch);

	if (r == NULL || r->orphan)
		return false;
	drain_start(r, true);
	return true;
}

void
drain_orphan(struct drain *d)
{
	struct drain_ring *r, *next;
	uint64_t deadline = clock_monotonic() + DRAIN_ORPHAN_TIME;

	for (r = TAILQ_FIRST(&d->rings); r != NULL; r = next) {
		next = TAILQ_NEXT(r, next_ring);
		r->orphan = true;
		if (r->ended)
			continue;
		r->deadline = deadline;
		/* The dead have nothing more to say. */
		r->ended = r->dead;
		drain_settle(r);
	}
}

void
drain_finish(struct drain *d)
{
	struct drain_ring *r, *next;

	d->finishing = true;
	for (r = TAILQ_FIRST(&d->rings); r != NULL; r = next) {
		next = TAILQ_NEXT(r, next_ring);
		drain_bound(r);
		drain_make_ready(r);
		drain_settle(r);
	}
	drain_schedule(d);
	/* Not from within this function: the caller may not be ready for it. */
	if (TAILQ_EMPTY(&d->ready))
		event_active(d->turn, 0, 0);
}

/* --- the whole ------------------------------------------------------------------------- */

uint64_t
drain_left(const struct drain *d)
{
	const struct drain_ring *r;
	uint64_t left = 0;

	TAILQ_FOREACH(r, &d->rings, next_ring)
		if (!r->dead)
			left += r->consumer.available - r->consumer.position;
	return left;
}

size_t
drain_rings(const struct drain *d)
{
	return d->count;
}

/* Everything that is known of a ring now, besides what is in the accounts. */
static void
drain_figure(struct drain_ring *r, struct drain_figures *figures)
{
	uint64_t unread = r->consumer.available - r->consumer.position, held = ring_held(&r->consumer);
	uint64_t fill = held * SECOND / r->consumer.size;
	uint64_t since = r->snapshot != 0 ? r->snapshot : r->opened;
	struct account_netns *netns = r->account.netns;

	account_add(&r->drain->accounts, &r->account, &r->consumer);
	figures->rings++;
	figures->bytes += r->consumer.size;
	figures->unread += unread;
	figures->held += held;
	figures->waiting += ring_producer_waits(&r->consumer);
	if (fill > figures->fullest)
		figures->fullest = fill;
	if (!r->ended && (figures->oldest_snapshot == 0 || since < figures->oldest_snapshot))
		figures->oldest_snapshot = since;
	if (netns == NULL)
		return;
	netns->shown.unread += unread;
	if (r->snapshot > netns->shown.snapshot)
		netns->shown.snapshot = r->snapshot;
}

const struct accounts *
drain_accounts(struct drain *d, struct drain_figures *figures)
{
	struct account_netns *netns;
	struct drain_ring *r;

	*figures = (struct drain_figures){ 0 };
	LIST_FOREACH(netns, &d->accounts.netns, next)
		netns->shown.unread = 0;
	TAILQ_FOREACH(r, &d->rings, next_ring)
		if (r->mapped)
			drain_figure(r, figures);
	return &d->accounts;
}

struct drain *
drain_new(const struct drain_options *options)
{
	struct drain *d = calloc(1, sizeof(*d));
	const struct timeval second = { 1, 0 };

	if (d == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory: the drain");
	d->options = *options;
	d->accounts.per_netns = options->per_netns;
	TAILQ_INIT(&d->ready);
	TAILQ_INIT(&d->rings);
	d->turn = event_new(options->base, -1, 0, drain_turn, d);
	d->tick = event_new(options->base, -1, EV_PERSIST, drain_ticked, d);
	if (d->turn == NULL || d->tick == NULL || event_add(d->tick, &second) == -1)
		fatal(EXIT_CODE_SYSTEM, "out of memory: the drain's timers");
	delivery_listen(options->delivery, &(struct delivery_events){
		.released = drain_released,
		.room = drain_room,
		.settled = drain_settled,
		.failed = drain_failed,
		.context = d,
	});
	return d;
}

void
drain_free(struct drain *d)
{
	while (!TAILQ_EMPTY(&d->rings))
		drain_forget(TAILQ_FIRST(&d->rings));
	accounts_free(&d->accounts);
	event_free(d->turn);
	event_free(d->tick);
	free(d);
}
