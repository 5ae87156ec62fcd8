/* synthetic_int.h: what synthetic.c, which knows the shapes, and synthetic_fill.c, which makes the bits, share. */
#ifndef K_SYNTHETIC_INT_H
#define K_SYNTHETIC_INT_H

#include "cmd/kbench/synthetic.h"
#include "libcore/arch.h"
#include "libcore/ckpt.h"

/* A model to be: what a container's head says. */
struct k_outline {
	const struct k_arch *arch;
	struct k_hp hp;
	struct k_arena arena;           /* owns what follows */
	const char *config;
	struct k_entry *entries;
	const struct k_filler **filler; /* of each entry */
	int n;
	uint64_t bytes;
};

/* How a kind of weight is stored, and made. */
struct k_filler {
	const char *slot, *role;        /* whose; NULL: any */
	const char *type;
	void (*fill)(void *p, size_t n, const struct k_entry *e, const struct k_filler *f, uint64_t seed);
	float lo, hi;
};
/* experts_as: the type of routed experts, i4g32, bf16 or mxfp4. */
const struct k_filler *k_filler_of(const struct k_weight *w, const char *experts_as);

/* The container into memory that fd and path of s are of. */
int k_synthetic_make(struct k_synthetic *s, struct k_outline *o, int64_t seed, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif
