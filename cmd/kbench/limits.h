/* limits.h: what the machine can do at this moment, for ratios. All threads of the context work. */
#ifndef K_BENCH_LIMITS_H
#define K_BENCH_LIMITS_H

#include "libcore/ctx.h"
#include "libcore/err.h"

struct k_limits {
	const struct k_ctx *ctx;
	uint8_t *arena;                 /* of k_limits_open, or the caller's: aligned to 64 bytes, at least a MiB, touched */
	size_t bytes, at;
	float factor;                   /* 1: what is scaled stays as it is, but no compiler knows */
};
/* An arena of its own beyond the caches, of a quarter of ctx->max_memory at most; its end takes what was never opened. */
int k_limits_open(struct k_limits *l, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
void k_limits_close(struct k_limits *l);
double k_limit_read(struct k_limits *l);                /* bytes a second read */
double k_limit_read_best(struct k_limits *l, int passes);
double k_limit_scale(struct k_limits *l);               /* bytes a second read and written by x *= factor in place */
/* Multiplications and additions a second in the best that the level has for operands of a kind: f32, bf16 (the better of those of pairs of bf16, where
 * it has them, and those of f32, which on Intel's cores are twice as many), bytes into whole numbers. 0: not known for the level. What takes
 * bf16 in pieces of 8 bits (kernels/tmpl/x16_fixed.h) could do a third more than f32, less what it does between products. */
double k_limit_peak(struct k_limits *l, const char *level, enum k_act operands);
/* The same of pairs of bf16 by the CPU's instruction for them, whatever the level; 0: it has none. */
double k_limit_bf16_unit(struct k_limits *l);

#endif
