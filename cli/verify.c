/* What is missing in a stream of records: see verify.h. */
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "cli/sequences.h"
#include "cli/verify.h"
#include "common/exit.h"
#include "common/log.h"

enum {
	VERIFY_NAME_MAX = RECORD_STRING_MAX + 1,
	/* Snapshots of one collector that are looked at at a time: more than a topic's partitions can be apart. */
	VERIFY_SNAPSHOTS = 32,
	VERIFY_HOLES_SHOWN = 10,	/* of one epoch */
};

struct verify_snapshot {
	uint64_t	sequence;
	uint64_t	attempt;	/* the last one; what came of those before does not count */
	uint64_t	sockets;	/* of it, that have come */
	uint64_t	published;	/* as its end says */
	bool		ended;
	bool		complete;	/* as its end says */
	bool		first;		/* of this collector: its beginning may be before what was read */
};

/* Of a collector's life, or of a spool's. */
struct verify_epoch {
	uint64_t		epoch;		/* the key: stands first */
	char			host[VERIFY_NAME_MAX], netns[VERIFY_NAME_MAX];
	struct sequence		sequence;
	bool			ends;
	bool			any;		/* a snapshot was seen */
	struct verify_snapshot	snapshots[VERIFY_SNAPSHOTS];	/* the oldest first */
	size_t			nsnapshots;
};

struct verify_sums {
	uint64_t	records, unnumbered, without_ends;
	uint64_t	complete, incomplete, cut;	/* snapshots */
	uint64_t	missing, holes;			/* records */
	uint64_t	missing_batches;
};

struct verify {
	void			*collectors, *spools;	/* trees */
	struct verify_epoch	*last;			/* most records are of the last one's collector */
	struct verify_sums	 sums;
	uint64_t		 batches, unnumbered_batches;
	bool			 whole;
	FILE			*out;
};

static int
verify_compare(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return (one > other) - (one < other);
}

static struct verify_epoch *
verify_find(void **tree, uint64_t epoch, bool *fresh)
{
	struct verify_epoch **found = tfind(&epoch, tree, verify_compare), *made;

	*fresh = found == NULL;
	if (found != NULL)
		return *found;
	made = calloc(1, sizeof(*made));
	if (made == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	made->epoch = epoch;
	if (tsearch(made, tree, verify_compare) == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	return made;
}

struct verify *
verify_new(void)
{
	struct verify *verify = calloc(1, sizeof(*verify));

	if (verify == NULL)
		fatal(EXIT_CODE_SYSTEM, "out of memory");
	return verify;
}

/* --- batches ------------------------------------------------------------------- */

void
verify_batch(struct verify *verify, const struct verify_batch *batch)
{
	struct verify_epoch *spool;
	uint64_t repeats;
	bool fresh;

	verify->batches++;
	if (batch->sequence == 0) {
		verify->unnumbered_batches++;
		return;
	}
	spool = verify_find(&verify->spools, batch->spool_epoch, &fresh);
	if (fresh)
		snprintf(spool->host, sizeof(spool->host), "%s", batch->host);
	repeats = spool->sequence.repeats;
	sequence_arrive(&spool->sequence, batch->sequence);
	/* Another part of a batch is no repeat; a record that comes again shows by its own number. */
	if (batch->part != 0)
		spool->sequence.repeats = repeats;
}

/* --- snapshots ------------------------------------------------------------------ */

/* Nothing more is expected of the oldest one. */
static void
verify_settle(struct verify *verify, struct verify_epoch *epoch)
{
	const struct verify_snapshot *snapshot = &epoch->snapshots[0];

	if (snapshot->ended && snapshot->complete && snapshot->sockets == snapshot->published)
		verify->sums.complete++;
	else if (!snapshot->ended || (snapshot->first && snapshot->complete && !verify->whole))
		verify->sums.cut++;
	else
		verify->sums.incomplete++;
	epoch->nsnapshots--;
	memmove(&epoch->snapshots[0], &epoch->snapshots[1], epoch->nsnapshots * sizeof(*snapshot));
}

static struct verify_snapshot *
verify_snapshot(struct verify *verify, struct verify_epoch *epoch, uint64_t sequence)
{
	struct verify_snapshot *made;

	for (size_t i = epoch->nsnapshots; i-- > 0;)
		if (epoch->snapshots[i].sequence == sequence)
			return &epoch->snapshots[i];
	if (epoch->nsnapshots == VERIFY_SNAPSHOTS)
		verify_settle(verify, epoch);
	made = &epoch->snapshots[epoch->nsnapshots++];
	*made = (struct verify_snapshot){ .sequence = sequence, .first = !epoch->any };
	epoch->any = true;
	return made;
}

static void
verify_in_snapshot(struct verify *verify, struct verify_epoch *epoch, const struct record *record)
{
	uint64_t kind = record->values[RECORD_F_record_kind].number, attempt = record->values[RECORD_F_snapshot_attempt].number;
	struct verify_snapshot *snapshot;

	if (kind == RECORD_KIND_CLOSED)
		return;
	snapshot = verify_snapshot(verify, epoch, record->values[RECORD_F_snapshot_sequence].number);
	if (attempt < snapshot->attempt)
		return;
	if (attempt > snapshot->attempt) {
		snapshot->attempt = attempt;
		snapshot->sockets = 0;
		snapshot->ended = false;
	}
	if (kind == RECORD_KIND_SNAPSHOT_END) {
		snapshot->ended = true;
		snapshot->complete = record->values[RECORD_F_snapshot_outcome].number == RECORD_OUTCOME_COMPLETE;
		snapshot->published = record->values[RECORD_F_snapshot_published].number;
	} else
		snapshot->sockets++;
}

/* --- records ----------------------------------------------------------------------- */

static void
verify_name(char to[VERIFY_NAME_MAX], const struct record_value *value)
{
	snprintf(to, VERIFY_NAME_MAX, "%.*s", (int)(value->number < VERIFY_NAME_MAX ? value->number : VERIFY_NAME_MAX - 1),
	    value->bytes != NULL ? (const char *)value->bytes : "");
}

static struct verify_epoch *
verify_collector(struct verify *verify, const struct record *record)
{
	uint64_t epoch = record->values[RECORD_F_collector_epoch].number;
	bool fresh;

	if (verify->last != NULL && verify->last->epoch == epoch)
		return verify->last;
	verify->last = verify_find(&verify->collectors, epoch, &fresh);
	if (fresh) {
		verify_name(verify->last->host, &record->values[RECORD_F_hostname]);
		verify_name(verify->last->netns, &record->values[RECORD_F_netns]);
	}
	return verify->last;
}

void
verify_record(struct verify *verify, const struct record *record, bool ends)
{
	uint64_t number = record->values[RECORD_F_record_sequence].number;
	struct verify_epoch *epoch;

	verify->sums.records++;
	if (number == 0 || record->values[RECORD_F_collector_epoch].number == 0) {
		verify->sums.unnumbered++;
		return;
	}
	epoch = verify_collector(verify, record);
	epoch->ends |= ends;
	verify->sums.without_ends += !ends;
	if (sequence_arrive(&epoch->sequence, number) != SEQUENCE_REPEAT && ends)
		verify_in_snapshot(verify, epoch, record);
}

/* --- the report ---------------------------------------------------------------------- */

/* What came before the first that was read was not lost. */
static size_t
verify_first_hole(const struct verify *verify, const struct sequence *sequence)
{
	return !verify->whole && sequence->nholes > 0 && sequence->holes[0].first == 1 ? 1 : 0;
}

/* Returns how many numbers are missing. */
static uint64_t
verify_holes(const struct verify *verify, const struct verify_epoch *epoch, const char *what)
{
	const struct sequence *sequence = &epoch->sequence;
	size_t first = verify_first_hole(verify, sequence);
	uint64_t missing = 0;

	for (size_t i = first; i < sequence->nholes; i++) {
		const struct sequence_hole *hole = &sequence->holes[i];

		missing += hole->last - hole->first + 1;
		if (i - first < VERIFY_HOLES_SHOWN)
			fprintf(verify->out, "missing: %s %" PRIu64 " to %" PRIu64 " of %s%s%s, epoch %016" PRIx64 "\n", what, hole->first,
			    hole->last, epoch->host, epoch->netns[0] != '\0' ? ", " : "", epoch->netns, epoch->epoch);
	}
	if (sequence->nholes - first > VERIFY_HOLES_SHOWN)
		fprintf(verify->out, "missing: %zu more gaps of epoch %016" PRIx64 "\n", sequence->nholes - first - VERIFY_HOLES_SHOWN,
		    epoch->epoch);
	return missing;
}

/* What a walk over a tree adds up. */
struct verify_walk {
	struct verify	*verify;
	uint64_t	 late, repeats;
};

static void
verify_walk_collector(const void *node, VISIT which, void *context)
{
	struct verify_epoch *epoch = *(struct verify_epoch *const *)node;
	struct verify_walk *walk = context;

	if (which != postorder && which != leaf)
		return;
	while (epoch->nsnapshots > 0)
		verify_settle(walk->verify, epoch);
	if (epoch->ends) {
		walk->verify->sums.missing += verify_holes(walk->verify, epoch, "records");
		walk->verify->sums.holes += epoch->sequence.nholes - verify_first_hole(walk->verify, &epoch->sequence);
	}
	walk->late += epoch->sequence.late;
	walk->repeats += epoch->sequence.repeats;
}

static void
verify_walk_spool(const void *node, VISIT which, void *context)
{
	const struct verify_epoch *epoch = *(struct verify_epoch *const *)node;
	struct verify_walk *walk = context;

	if (which != postorder && which != leaf)
		return;
	walk->verify->sums.missing_batches += verify_holes(walk->verify, epoch, "batches");
	walk->late += epoch->sequence.late;
	walk->repeats += epoch->sequence.repeats;
}

bool
verify_report(struct verify *verify, bool whole, FILE *out)
{
	struct verify_walk records = { .verify = verify }, batches = { .verify = verify };
	const struct verify_sums *sums = &verify->sums;

	verify->whole = whole;
	verify->out = out;
	twalk_r(verify->spools, verify_walk_spool, &batches);
	twalk_r(verify->collectors, verify_walk_collector, &records);
	fprintf(out, "batches: %" PRIu64 ", %" PRIu64 " missing, %" PRIu64 " repeated, %" PRIu64 " late", verify->batches,
	    sums->missing_batches, batches.repeats, batches.late);
	if (verify->unnumbered_batches > 0)
		fprintf(out, ", %" PRIu64 " without a number", verify->unnumbered_batches);
	fprintf(out, "\nrecords: %" PRIu64 ", %" PRIu64 " missing in %" PRIu64 " gaps, %" PRIu64 " repeated, %" PRIu64 " late",
	    sums->records, sums->missing, sums->holes, records.repeats, records.late);
	if (sums->unnumbered > 0)
		fprintf(out, ", %" PRIu64 " without a number", sums->unnumbered);
	if (sums->without_ends > 0)
		fprintf(out, ", %" PRIu64 " in a format that does not tell gaps", sums->without_ends);
	fprintf(out, "\nsnapshots: %" PRIu64 " complete, %" PRIu64 " incomplete, %" PRIu64 " cut by the first or the last message\n",
	    sums->complete, sums->incomplete, sums->cut);
	return sums->missing > 0 || sums->missing_batches > 0;
}

static void
verify_free_epoch(void *epoch)
{
	sequence_free(&((struct verify_epoch *)epoch)->sequence);
	free(epoch);
}

void
verify_free(struct verify *verify)
{
	tdestroy(verify->collectors, verify_free_epoch);
	tdestroy(verify->spools, verify_free_epoch);
	free(verify);
}
