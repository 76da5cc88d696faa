/* Which batches were given up: see losses.h. */
#include <inttypes.h>

#include "common/log.h"
#include "shipper/losses.h"

static const char *const losses_why[BOOKS_DROPS] = {
	[BOOKS_DROP_CRASH] = "three shippers in a row died while they sent it; it is kept in rejects/",
	[BOOKS_DROP_FULL] = "there was no room for newer ones",
	[BOOKS_DROP_AGE] = "older than spool-age",
	[BOOKS_DROP_CORRUPT] = "not what was put into the spool",
	[BOOKS_DROP_LOST] = "the sink had not answered for it when it had to end, and there is no spool",
};

void
losses_tell(struct losses *losses)
{
	const char *why = losses_why[losses->reason] != NULL ? losses_why[losses->reason] : books_drop_name(losses->reason);

	if (losses->batches == 1)
		log_error("batch %016" PRIx64 "/%" PRIu64 " is dropped, %" PRIu64 " records: %s", losses->epoch, losses->first,
		    losses->rows, why);
	else if (losses->batches > 1)
		log_error("batches %016" PRIx64 "/%" PRIu64 " to %" PRIu64 " are dropped, %" PRIu64 " batches of %" PRIu64
		    " records: %s", losses->epoch, losses->first, losses->last, losses->batches, losses->rows, why);
	losses->batches = losses->rows = 0;
}

void
losses_add(struct losses *losses, enum books_drop reason, uint64_t epoch, uint64_t sequence, uint64_t rows)
{
	if (losses->batches > 0 && (losses->reason != reason || losses->epoch != epoch || losses->last + 1 != sequence))
		losses_tell(losses);
	if (losses->batches == 0)
		*losses = (struct losses){ .reason = reason, .epoch = epoch, .first = sequence };
	losses->last = sequence;
	losses->batches++;
	losses->rows += rows;
}
