/* The ledger: see ledger.h. */
#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "shipper/crc32c.h"
#include "shipper/ledger.h"

#define LEDGER_MAGIC	UINT64_C(0x3172656764656c74)	/* "tledger1" */
/* A clock may be set by as much, and no machine is started twice within it. */
#define LEDGER_MARGIN	(10 * SECOND)

struct ledger_slot {
	uint64_t		generation;
	struct ledger_numbers	numbers;
	uint64_t		crc;	/* of both */
};

struct ledger_page {
	uint64_t		magic;
	struct ledger_slot	slots[2];
	struct ledger_sent	sent[LEDGER_SENT];
};

enum { LEDGER_BYTES = 8192 };

_Static_assert(sizeof(struct ledger_page) <= LEDGER_BYTES, "a ledger's bytes");

struct ledger {
	struct ledger_page	*page;
	uint64_t		 generation;
};

static uint64_t
ledger_crc(const struct ledger_slot *slot)
{
	return crc32c(crc32c(0, &slot->generation, sizeof(slot->generation)), &slot->numbers, sizeof(slot->numbers));
}

/* The newer slot that is whole, or NULL. */
static const struct ledger_slot *
ledger_newest(const struct ledger_page *page)
{
	const struct ledger_slot *newest = NULL;

	for (size_t i = 0; i < 2 && page->magic == LEDGER_MAGIC; i++) {
		const struct ledger_slot *slot = &page->slots[i];

		if (slot->generation > 0 && slot->crc == ledger_crc(slot) &&
		    (newest == NULL || slot->generation > newest->generation))
			newest = slot;
	}
	return newest;
}

static struct ledger_page *
ledger_map(int fd)
{
	struct stat st;
	void *page;

	if (fstat(fd, &st) == -1)
		return NULL;
	errno = EINVAL;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return NULL;
	/* Reserved now: a full disk must not turn a store into a SIGBUS. */
	if ((errno = posix_fallocate(fd, 0, LEDGER_BYTES)) != 0)
		return NULL;
	page = mmap(NULL, LEDGER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return page != MAP_FAILED ? page : NULL;
}

struct ledger *
ledger_open(const char *path)
{
	cleanup_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct ledger *ledger;
	const struct ledger_slot *newest;

	if (fd == -1 || (ledger = calloc(1, sizeof(*ledger))) == NULL)
		return NULL;
	if ((ledger->page = ledger_map(fd)) == NULL) {
		free(ledger);
		return NULL;
	}
	newest = ledger_newest(ledger->page);
	ledger->generation = newest != NULL ? newest->generation : 0;
	return ledger;
}

void
ledger_close(struct ledger *ledger)
{
	munmap(ledger->page, LEDGER_BYTES);
	free(ledger);
}

bool
ledger_read(const struct ledger *ledger, struct ledger_numbers *numbers)
{
	const struct ledger_slot *newest = ledger_newest(ledger->page);

	if (newest != NULL)
		*numbers = newest->numbers;
	return newest != NULL;
}

void
ledger_write(struct ledger *ledger, const struct ledger_numbers *numbers)
{
	struct ledger_slot *slot;

	if (ledger->generation == 0)
		memset(ledger->page, 0, LEDGER_BYTES);
	ledger->page->magic = LEDGER_MAGIC;
	slot = &ledger->page->slots[++ledger->generation % 2];
	slot->generation = ledger->generation;
	slot->numbers = *numbers;
	slot->crc = ledger_crc(slot);
	/* Whoever gives a ring's bytes back next does so after this. */
	atomic_thread_fence(memory_order_seq_cst);
}

struct ledger_sent *
ledger_sent(struct ledger *ledger)
{
	return ledger->page->sent;
}

bool
ledger_peek(const char *path, struct ledger_numbers *numbers, struct ledger_sent sent[LEDGER_SENT])
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct ledger_page page = { 0 };
	const struct ledger_slot *newest;

	if (fd == -1 || pread(fd, &page, sizeof(page), 0) != (ssize_t)sizeof(page) || (newest = ledger_newest(&page)) == NULL)
		return false;
	*numbers = newest->numbers;
	memcpy(sent, page.sent, sizeof(page.sent));
	return true;
}

uint64_t
ledger_boot(void)
{
	return clock_real() - clock_read(CLOCK_BOOTTIME);
}

bool
ledger_same_boot(uint64_t a, uint64_t b)
{
	return (a > b ? a - b : b - a) < LEDGER_MARGIN;
}
