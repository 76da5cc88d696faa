/* The choice of the way. */
#include "collector/choice.h"
#include "collector/known.h"
#include "common/clock.h"

enum {
	CHOICE_SURE = 256,	/* odds of a success by targeted reads: that they are certain */
	CHOICE_LEARN = 4,	/* the last snapshot counts for a part of so many */
	CHOICE_HOPE = 1,	/* what the odds gain by a snapshot that was not tried */
	CHOICE_AGAIN = 64,	/* snapshots one way, at least, before the other is measured again */
	CHOICE_LAST = 512,	/* targeted reads in a row, at most: a walk finds what no count tells of */
	CHOICE_DEAR = 32,	/* a walk between them takes a part of so many of their time, else */
	CHOICE_SAMPLE = 8,	/* one of so many reads in a row is measured */
	CHOICE_NEAR = 4,	/* so many times as dear is not worth a new measurement */
	CHOICE_FIRST = 4000,	/* ns a socket, before one was read */
};

static struct {
	enum record_way	forced;
	bool		provable;
	uint64_t	walk;		/* ns, of a walk; 0: not known */
	uint64_t	each;		/* ns, of a socket's targeted read; 0: not known */
	unsigned int	odds;
	unsigned int	walks, reads;	/* in a row, since the other way was taken */
	unsigned int	phase;		/* what the first row of reads begins with */
} choice;

void
choice_init(enum record_way forced, bool provable, uint64_t phase)
{
	choice.forced = forced;
	choice.provable = provable;
	choice.walk = choice.each = 0;
	choice.odds = CHOICE_SURE;
	choice.walks = choice.reads = 0;
	choice.phase = (unsigned int)(phase % CHOICE_AGAIN);
}

static uint64_t
choice_reads_cost(void)
{
	return (choice.each != 0 ? choice.each : CHOICE_FIRST) * known_total();
}

/*
 * Reads that fail have to be followed by a walk, so they are worth it if what
 * they cost is less than what they save times how often they succeed.
 */
static bool
choice_walk_is_cheaper(void)
{
	uint64_t reads = choice_reads_cost();

	if (choice.walks >= CHOICE_AGAIN && reads / CHOICE_NEAR < choice.walk)
		return false;
	return reads * CHOICE_SURE > choice.walk * choice.odds;
}

static bool
choice_walk_is_due(void)
{
	if (choice.reads < CHOICE_AGAIN)
		return false;
	return choice.reads >= CHOICE_LAST || choice.reads * choice_reads_cost() >= choice.walk * CHOICE_DEAR;
}

static enum counters_walk
choice_why_not(uint64_t counted)
{
	if (choice.forced == RECORD_WAY_WALK)
		return COUNTERS_WALK_FORCED;
	if (!choice.provable)
		return COUNTERS_WALK_STATES;
	if (known.half_open)
		return COUNTERS_WALK_HALF_OPEN;
	if (!known.whole)
		return COUNTERS_WALK_UNKNOWN;
	if (known_total() < counted)
		return COUNTERS_WALK_NEW;
	if (choice.forced == RECORD_WAY_TARGETED)
		return COUNTERS_WALKS;
	if (choice_walk_is_due())
		return COUNTERS_WALK_MEASURED;
	return choice_walk_is_cheaper() ? COUNTERS_WALK_CHEAPER : COUNTERS_WALKS;
}

enum record_way
choice_make(uint64_t counted, enum counters_walk *why)
{
	*why = choice_why_not(counted);
	if (*why == COUNTERS_WALK_CHEAPER && choice.odds <= CHOICE_SURE - CHOICE_HOPE)
		choice.odds += CHOICE_HOPE;
	return *why == COUNTERS_WALKS ? RECORD_WAY_TARGETED : RECORD_WAY_WALK;
}

static uint64_t
choice_average(uint64_t old, uint64_t new)
{
	return old == 0 ? new : (3 * old + new) / 4;
}

void
choice_walked(uint64_t cost)
{
	choice.walk = choice_average(choice.walk, cost);
	choice.walks++;
	choice.reads = choice.phase;
	choice.phase = 0;
}

bool
choice_measures_reads(void)
{
	return choice.each == 0 || choice.reads % CHOICE_SAMPLE == 0;
}

void
choice_read(uint64_t cost, uint64_t sockets, bool complete)
{
	if (sockets > 0 && cost > 0)
		choice.each = choice_average(choice.each, cost / sockets);
	choice.walks = 0;
	choice.reads++;
	choice.odds -= choice.odds / CHOICE_LEARN;
	if (complete)
		choice.odds += CHOICE_SURE / CHOICE_LEARN;
}
