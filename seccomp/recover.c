/*
 * Whether a program that a process has is what its policy compiles to, though
 * one number is known to that process only.  The number is taken out of the
 * program itself; that it is the right one is proved by compiling with it.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>

#include "seccomp/sandbox.h"

enum { RECOVER_PAGE = 4096, RECOVER_CANDIDATES = 8 };

/* The constants that half a 64-bit number is compared with, each once. */
struct recover_halves {
	uint32_t	at;		/* where in struct seccomp_data the half is */
	size_t		count;
	uint32_t	values[RECOVER_CANDIDATES];
};

static void
recover_add(struct recover_halves *halves, uint32_t value)
{
	for (size_t i = 0; i < halves->count; i++)
		if (halves->values[i] == value)
			return;
	if (halves->count < RECOVER_CANDIDATES)
		halves->values[halves->count++] = value;
}

/*
 * The number is the start of a page.  A load is followed by the comparisons
 * with what was loaded; a bit mask in between makes something else of it.
 */
static void
recover_collect(struct recover_halves *halves, uint32_t mask, const struct sock_filter *program, size_t length)
{
	uint32_t loaded = UINT32_MAX;

	for (size_t i = 0; i < length; i++) {
		if (BPF_CLASS(program[i].code) == BPF_LD)
			loaded = program[i].k;
		else if (BPF_CLASS(program[i].code) == BPF_ALU)
			loaded = UINT32_MAX;
		else if (BPF_CLASS(program[i].code) == BPF_JMP && loaded == halves->at && (program[i].k & mask) == 0)
			recover_add(halves, program[i].k);
	}
}

/* 0: the same; 1: not; -1 with errno. */
static int
recover_same(const struct sandbox_policy *policy, enum sandbox_level level, const uint64_t values[SANDBOX_VALUES],
    const struct sock_filter *program, size_t length)
{
	struct sock_fprog compiled;
	int result;

	if (sandbox_compile(policy, level, values, &compiled) == -1)
		return -1;
	result = compiled.len == length && memcmp(compiled.filter, program, length * sizeof(*program)) == 0 ? 0 : 1;
	free(compiled.filter);
	return result;
}

int
sandbox_recover(const struct sandbox_policy *policy, enum sandbox_level level, uint64_t values[SANDBOX_VALUES],
    const struct sock_filter *program, size_t length)
{
	const uint32_t place = offsetof(struct seccomp_data, args[1]);
	const uint32_t high_at = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? sizeof(uint32_t) : 0;
	struct recover_halves high = { .at = place + high_at }, low = { .at = place + (uint32_t)sizeof(uint32_t) - high_at };
	int result = 1;

	if (policy != &sandbox_collector)
		return recover_same(policy, level, NULL, program, length);
	recover_collect(&high, 0, program, length);
	recover_collect(&low, RECOVER_PAGE - 1, program, length);
	for (size_t h = 0; h < high.count && result == 1; h++) {
		for (size_t l = 0; l < low.count && result == 1; l++) {
			values[SANDBOX_PINNED_MESSAGE] = (uint64_t)high.values[h] << 32 | low.values[l];
			result = recover_same(policy, level, values, program, length);
		}
	}
	return result;
}
