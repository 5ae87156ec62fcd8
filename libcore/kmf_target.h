/* kmf_target.h: a checkpoint as a container: what a stream makes of its entries. */
#ifndef K_KMF_TARGET_H
#define K_KMF_TARGET_H

#include "libcore/stream.h"

struct k_kmf_spec {
	struct k_ckpt *in;
	struct k_entry *out;            /* one for each of the input's, same order, name and shape; the type may be another */
	const struct k_json *history;   /* the input's rows and the new one */
	struct k_quant_opts quant;      /* without weights */
	/* Worker: fills w (one a column) with the weights of a slice; 1: done, 0: it has none. NULL: nothing has any. */
	int (*weights)(void *arg, int entry, int64_t slice, float *w, struct k_err *err);
	void *weights_arg;
};
/* The spec's pointers are borrowed until free. One file without a name. */
int k_kmf_target_new(struct k_target **out, const struct k_kmf_spec *spec, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
struct k_kmf_plan *k_kmf_target_plan(const struct k_target *t);
/* n rows of an entry of type `from` become those of an entry of type `to`: the conversion of a block, without a stream. src and dst are
 * whole granules; before: the values of src where they are known, else NULL. K_ENO: as k_qtype.quant. */
int k_kmf_convert(const struct k_qtype *to, void *dst, const struct k_qtype *from, const void *src, const float *before, int64_t cols, int64_t rows,
	const struct k_quant_opts *q, struct k_err *err) K_MUST_USE;
#endif
