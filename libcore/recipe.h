/* recipe.h: the rows of a history, read again: what each step made of the entries of a checkpoint. The writers of these rows are kconvert and
 * kquant; what they do to an entry's bytes is k_kmf_convert. */
#ifndef K_RECIPE_H
#define K_RECIPE_H

#include "libcore/ckpt.h"

/* kconvert --dtype, --dequant: plain floating types become dtype (NULL: stay), block types are expanded to it (NULL: bf16) where dequant
 * is set. K_EUSAGE: no such type. */
int k_recipe_retype(struct k_entry *e, const char *dtype, bool dequant, struct k_err *err) K_MUST_USE;
/* One row of a history: sets type, form and bytes of out[i] for every entry of c (out: copies of c->entries), and how values are rounded.
 * made: what the row has made, or NULL where later rows changed it; types that a budget chose are known from it alone. K_EUNSUP: a step, a
 * format of it or a choice that this build cannot follow; activation statistics, which a history names but does not hold, are one. */
int k_recipe_apply(const struct k_json *row, const struct k_ckpt *c, const struct k_ckpt *made, struct k_entry *out, struct k_quant_opts *q,
	struct k_err *err) K_MUST_USE;

#endif
