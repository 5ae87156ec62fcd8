/* budget.h: types for a model that is to fit in a size: of all choices that the policy allows, one with little predicted error.
 *
 * Predicted error: the sum over tensors of (error / size)^2 of what the type makes of a sample. A matrix adds noise to what flows through
 * it in that proportion, whatever its size; so large tensors get few bits and small ones keep theirs. */
#ifndef K_BUDGET_H
#define K_BUDGET_H

#include "libcore/policy.h"

struct k_budget {
	const struct k_policy *policy;
	struct k_ckpt *in;              /* not sequential */
	uint64_t bytes;                 /* the most that the whole output may have */
	const struct k_quant_opts *quant;
	/* Bytes of the output with these entries. */
	int (*total)(void *arg, struct k_entry *entries, uint64_t *bytes, struct k_err *err);
	void *arg;
};
/* Sets type and bytes of every entry of out (parallel to in's); *n_changed: those that get another type. Reads a sample of every tensor
 * that has a choice. Where nothing fits: K_ENOMEM that says how small the output can get. The result follows from input and budget
 * alone. */
int k_budget_choose(const struct k_budget *b, struct k_entry *out, int *n_changed, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif
