/*
 * What a filter answers to a call, by its program: an interpreter of classic BPF
 * as seccomp has it (kernel/seccomp.c, seccomp_check_filter()), about one page.
 * libseccomp writes such programs and runs none, and libpcap's interpreter reads
 * packets, whose words are in the network's order.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cli/audit_bpf.h"

struct bpf {
	uint32_t	a, x, memory[BPF_MEMWORDS];
};

static uint32_t
bpf_load(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t word = 0;

	if (offset <= sizeof(*data) - sizeof(word))
		memcpy(&word, (const uint8_t *)data + offset, sizeof(word));
	return word;
}

static uint32_t
bpf_alu(uint16_t code, uint32_t a, uint32_t b)
{
	switch (BPF_OP(code)) {
	case BPF_ADD: return a + b;
	case BPF_SUB: return a - b;
	case BPF_MUL: return a * b;
	case BPF_DIV: return b != 0 ? a / b : 0;
	case BPF_AND: return a & b;
	case BPF_OR: return a | b;
	case BPF_XOR: return a ^ b;
	case BPF_LSH: return b < 32 ? a << b : 0;
	case BPF_RSH: return b < 32 ? a >> b : 0;
	default: return 0U - a;		/* BPF_NEG */
	}
}

static bool
bpf_jumps(uint16_t code, uint32_t a, uint32_t b)
{
	switch (BPF_OP(code)) {
	case BPF_JEQ: return a == b;
	case BPF_JGT: return a > b;
	case BPF_JGE: return a >= b;
	default: return (a & b) != 0;	/* BPF_JSET */
	}
}

/* Loads, stores and sums; the kernel has checked each instruction. */
static void
bpf_step(struct bpf *bpf, const struct sock_filter *code, const struct seccomp_data *data)
{
	uint32_t *to = BPF_CLASS(code->code) == BPF_LD || BPF_CLASS(code->code) == BPF_ST ? &bpf->a : &bpf->x;
	uint32_t *word = &bpf->memory[code->k % BPF_MEMWORDS];

	switch (BPF_CLASS(code->code)) {
	case BPF_LD:
	case BPF_LDX:
		*to = BPF_MODE(code->code) == BPF_ABS ? bpf_load(data, code->k) : BPF_MODE(code->code) == BPF_MEM ? *word :
		    BPF_MODE(code->code) == BPF_LEN ? (uint32_t)sizeof(*data) : code->k;
		break;
	case BPF_ST:
	case BPF_STX:
		*word = *to;
		break;
	case BPF_ALU:
		bpf->a = bpf_alu(code->code, bpf->a, BPF_SRC(code->code) == BPF_X ? bpf->x : code->k);
		break;
	default:	/* BPF_MISC */
		if (BPF_MISCOP(code->code) == BPF_TAX)
			bpf->x = bpf->a;
		else
			bpf->a = bpf->x;
		break;
	}
}

static uint32_t
bpf_run(const struct sock_fprog *program, const struct seccomp_data *data)
{
	struct bpf bpf = { 0 };

	for (size_t at = 0; at < program->len; at++) {
		const struct sock_filter *code = &program->filter[at];

		if (BPF_CLASS(code->code) == BPF_RET)
			return BPF_RVAL(code->code) == BPF_A ? bpf.a : code->k;
		if (BPF_CLASS(code->code) != BPF_JMP)
			bpf_step(&bpf, code, data);
		else if (BPF_OP(code->code) == BPF_JA)
			at += code->k;
		else
			at += bpf_jumps(code->code, bpf.a, BPF_SRC(code->code) == BPF_X ? bpf.x : code->k) ? code->jt : code->jf;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

bool
audit_filter_refuses(const struct sock_fprog *program, int number)
{
	const struct seccomp_data data = { .nr = number, .arch = seccomp_arch_native() };
	uint32_t action = bpf_run(program, &data) & SECCOMP_RET_ACTION_FULL;

	return action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG;
}
