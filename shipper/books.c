/* The shipper's books: see books.h. */
#include "shipper/books.h"

static const char *const books_drop_names[BOOKS_DROPS] = {
	[BOOKS_DROP_HOSTILE] = "hostile",
	[BOOKS_DROP_REFUSED] = "refused",
	[BOOKS_DROP_CRASH] = "crash",
	[BOOKS_DROP_FULL] = "full",
	[BOOKS_DROP_AGE] = "age",
	[BOOKS_DROP_CORRUPT] = "corrupt",
	[BOOKS_DROP_LOST] = "lost",
};

const char *
books_drop_name(enum books_drop reason)
{
	return books_drop_names[reason];
}

uint64_t
books_dropped(const struct books *books)
{
	uint64_t dropped = 0;

	for (unsigned int i = 0; i < BOOKS_DROPS; i++)
		dropped += books->dropped[i];
	return dropped;
}

bool
books_balance(const struct books *books)
{
	return books->drained + books->requeued == books->delivered + books->filtered + books_dropped(books) + books->in_doubt +
	    books->spooled + books->held;
}
