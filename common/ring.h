/*
 * A ring of bytes with one producer (the collector) and one consumer (the
 * shipper) that do not trust each other.  It carries records: a length as a
 * canonical varint, then so many bytes, again and again, and nothing else.
 *
 * Two memory files, made by a third process that both trust (the namespacer):
 *
 *	D  one page: the producer's position, its "I wait for room" word and
 *	   its counters; then the data.  Only the producer can write it.
 *	C  one page: the consumer's position and its "I sleep" word.
 *	   Only the consumer can write it.
 *
 * Positions are 64-bit counts of bytes since the ring was made; they never
 * wrap.  The data is mapped twice in a row, so that a record is contiguous
 * wherever it starts.  Each side keeps its own position in private memory and
 * only publishes it; it reads the peer's once per call, checks the *distance*,
 * and a number that cannot be is RING_HOSTILE, for good.
 *
 * Nothing here allocates, logs or waits.  Waking the peer is the caller's, by
 * whatever channel it has; a wake-up is only a hint.
 */
#ifndef COMMON_RING_H
#define COMMON_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RING_SIZE_MIN = 64 * 1024,		/* bytes of data; a power of two */
	RING_SIZE_MAX = 64 * 1024 * 1024,
	RING_COUNTERS_SIZE = 2048,		/* bytes for the producer's counters */
	RING_COUNTERS_OFFSET = 1024,		/* where they are in D's first page */
	RING_PREFIX_MAX = 2,			/* bytes of a record's length */
};

enum ring_result {
	RING_OK,
	RING_EMPTY,	/* nothing published that was not read */
	RING_FULL,	/* not enough room now */
	RING_HOSTILE,	/* the peer published what cannot be; the ring is dead */
};

struct ring_producer_page {		/* D's first page, up to the counters */
	_Alignas(64) _Atomic uint64_t position;
	_Alignas(64) _Atomic uint32_t waiting;	/* 1: ring me when there is room */
};

struct ring_consumer_page {		/* C */
	_Alignas(64) _Atomic uint64_t position;
	_Alignas(64) _Atomic uint32_t sleeping;	/* 1: ring me when there is data */
};

/* What the creator holds.  Descriptors are -1 when closed. */
struct ring_memory {
	size_t	size;		/* bytes of data */
	int	data_fd;	/* D, read-only: for the consumer */
	int	control_fd;	/* C, read-write: for the consumer */
};

struct ring_producer {
	struct ring_producer_page	*own;
	const struct ring_consumer_page	*peer;
	uint8_t				*data;
	uint64_t			 size;
	uint64_t			 position;	/* written, private */
	uint64_t			 published;
	uint64_t			 released;	/* the consumer's, last seen */
	bool				 dead;
};

struct ring_consumer {
	const struct ring_producer_page	*peer;
	struct ring_consumer_page	*own;
	const uint8_t			*data;
	uint64_t			 size;
	uint64_t			 position;	/* read, private */
	uint64_t			 released;	/* published */
	uint64_t			 available;	/* the producer's, last seen */
	bool				 dead;
};

/* --- the creator ------------------------------------------------------- */

/*
 * Makes both memory files, maps them for the producer (to be inherited by
 * fork; the caller unmaps its own copy with ring_producer_unmap), and seals
 * them: afterwards nobody can map D writable, nor change a size.
 * Returns 0, or -1 with errno; then nothing is left behind.
 * size must be a power of two from RING_SIZE_MIN to RING_SIZE_MAX.
 */
int	ring_create(struct ring_memory *memory, struct ring_producer *producer, size_t size);
void	ring_memory_close(struct ring_memory *memory);
void	ring_producer_unmap(struct ring_producer *producer);
/* The smallest valid size that holds so many bytes, at most RING_SIZE_MAX. */
size_t	ring_size_for(uint64_t bytes);

/*
 * Maps the memory of a ring of the smallest size, or as much of a larger one, in
 * one go: which else is a page fault on each side for every page, over the first
 * snapshots.  No memory is allocated by it, all was by ring_create.  For a
 * process that keeps the ring; MADV_POPULATE_WRITE is Linux 5.14, and without
 * it nothing is lost but time.
 */
void	ring_producer_touch(const struct ring_producer *);
/* What ring_create mapped, for a process that keeps it for its life: memory and length. */
const void	*ring_producer_memory(const struct ring_producer *, size_t *length);

/* --- the producer ------------------------------------------------------ */

/*
 * RING_OK and a place for need bytes at *place, contiguous; RING_FULL when the
 * consumer must release some first; RING_HOSTILE.  need <= size / 2.
 */
enum ring_result	ring_reserve(struct ring_producer *, size_t need, uint8_t **place);
/* The bytes that were written at the reserved place; not visible yet. */
void			ring_commit(struct ring_producer *, size_t length);
/*
 * Makes all that is committed visible.  True if the consumer sleeps and wants
 * to be rung.
 */
bool			ring_publish(struct ring_producer *);
/* Forgets what is committed and not visible, and returns how many bytes it was. */
uint64_t		ring_withdraw(struct ring_producer *);
/*
 * Says that the producer waits for need bytes; false if they are there already
 * (then do not wait).  Take it back with ring_stop_waiting.
 */
bool			ring_start_waiting(struct ring_producer *, size_t need);
void			ring_stop_waiting(struct ring_producer *);
/* The producer's own counters: RING_COUNTERS_SIZE bytes, shown to the consumer. */
void			*ring_counters(struct ring_producer *);

/* --- the consumer ------------------------------------------------------ */

/*
 * Checks sizes and seals of the descriptors and maps them; keeps neither.
 * Starts at the position that stands in C, which an earlier consumer may have
 * left.  Returns 0, or -1 with errno (EPERM: not sealed as it must be).
 */
int			ring_consumer_map(struct ring_consumer *, int data_fd, int control_fd, size_t size);
void			ring_consumer_unmap(struct ring_consumer *);
/* Reads the producer's position once.  RING_OK, RING_EMPTY or RING_HOSTILE. */
enum ring_result	ring_look(struct ring_consumer *);
/*
 * The length of the next record among what ring_look saw.  RING_OK, RING_EMPTY
 * or RING_HOSTILE (no canonical length from 1 to maximum, or a record that
 * ends beyond what was published).  Does not move.
 */
enum ring_result	ring_next(struct ring_consumer *, size_t maximum, size_t *length);
/* Copies the record that ring_next just measured and moves behind it. */
void			ring_copy(struct ring_consumer *, size_t length, uint8_t *to);
/*
 * Gives all bytes before position back to the producer.  True if the producer
 * waits for room and wants to be rung.  position: what ring_consumer.position
 * was after some ring_copy; never backwards.
 */
bool			ring_release(struct ring_consumer *, uint64_t position);
/* Says that the consumer sleeps; false if there is data already. */
bool			ring_start_sleeping(struct ring_consumer *);
void			ring_stop_sleeping(struct ring_consumer *);
/* Bytes read or readable that are not released yet, as last seen. */
uint64_t		ring_held(const struct ring_consumer *);
/* True if the producer says that it waits for room. */
bool			ring_producer_waits(const struct ring_consumer *);
/* A copy of the producer's counters: its word, nothing more. */
void			ring_copy_counters(const struct ring_consumer *, void *to, size_t length);

#endif
