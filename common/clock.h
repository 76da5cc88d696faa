/* Times in nanoseconds. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

#define MICROSECOND	UINT64_C(1000)
#define MILLISECOND	UINT64_C(1000000)
#define SECOND		UINT64_C(1000000000)
#define MINUTE		(60 * SECOND)
#define HOUR		(60 * MINUTE)

static inline uint64_t
clock_read(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* Since boot, never set back: for deadlines. */
static inline uint64_t
clock_monotonic(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

/* Since 1970, UTC: for records. */
static inline uint64_t
clock_real(void)
{
	return clock_read(CLOCK_REALTIME);
}

/* For libevent's timers. */
static inline struct timeval
clock_timeval(uint64_t ns)
{
	return (struct timeval){ (time_t)(ns / SECOND), (suseconds_t)(ns % SECOND / MICROSECOND) };
}

/* For ppoll(2). */
static inline struct timespec
clock_timespec(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / SECOND), (long)(ns % SECOND) };
}

#endif
