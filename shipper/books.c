/* The shipper's books: see books.h. */
#include "shipper/books.h"

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
	return books->drained == books->delivered + books->filtered + books_dropped(books) + books->held;
}
