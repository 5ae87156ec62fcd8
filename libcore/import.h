/* import.h: raw tensors + config -> checkpoint: parts of quantised tensors joined, experts stacked, roles given, layer order,
 * every name and shape checked against the architecture. What the architecture does not know is kept as it is with role
 * "other" (extra layers, vision towers); what it wants and is not there is K_ENOENT; a name of a later model that would change the
 * result (rules of the architecture) is K_EUNSUP. */
#ifndef K_IMPORT_H
#define K_IMPORT_H

#include "libcore/arch.h"
#include "libcore/ckpt.h"
#include "libcore/raw.h"

/* Takes set, which is k_alloc'd (finished and freed with the checkpoint, also on failure). A set without config.json: entries as they are, arch NULL, no stacking
 * (parts are joined by name all the same). The result reads at random (sequential false). */
int k_import(struct k_ckpt **out, struct k_rawset *set, struct k_log *log, struct k_err *err) K_MUST_USE;
/* The tensor that a file calls so (GGUF's names, single experts), as it lies there; NULL: no such name, or c was not imported. Its
 * row_order is what the checkpoint applies; a copy without one reads the file's own order. */
const struct k_raw *k_import_find(const struct k_ckpt *c, const char *name);
/* The raw tensor that entry i, or its expert `slice`, was made of; NULL: a side file, or c was not imported. */
const struct k_raw *k_import_raw(const struct k_ckpt *c, int i, int64_t slice);
/* Joins X.weight_packed + X.weight_scale (+ X.weight_shape), X.weight (F8_E4M3) + X.weight_scale_inv, in place; checks shapes, dtypes
 * and quantization_config. libcore/join.c. */
int k_join_parts(struct k_rawset *set, const struct k_json *config, struct k_log *log, struct k_err *err) K_MUST_USE;
/* The same for GGUF: attn_k_b + attn_v_b -> attn_kv_b, ssm_a -> A_log. libcore/join_gguf.c. */
int k_join_gguf(struct k_rawset *set, struct k_err *err) K_MUST_USE;
/* GGUF's table of factors, one for each pair of channels, -> rope_scaling of the config. libcore/import_rope.c. */
#define K_ROPE_FREQS "rope_freqs.weight"
int k_import_rope(const struct k_arch *arch, struct k_json *config, const struct k_raw *t, struct k_err *err) K_MUST_USE;
/* Reads everything once, to the end: digests, and values (k_qtype.check): NaN, infinities, bad scales. For kls --verify. */
int k_ckpt_check_values(struct k_ckpt *c, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* Digests alone: of the side files, and of the leaves that are wanted (bytes [off, off + n) of entry i; NULL: all). For kls --sign. */
int k_ckpt_check_digests(struct k_ckpt *c, bool (*wanted)(void *arg, int i, uint64_t off, uint64_t n), void *arg, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;

#endif
