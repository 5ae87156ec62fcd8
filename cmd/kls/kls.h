/* kls.h: the actions of kls, one file each. Each prints to standard output through k_cli_write; table says whether a person reads. */
#ifndef K_KLS_H
#define K_KLS_H

#include "cmd/cli.h"
#include "libcore/backend.h"
#include "libcore/ckpt.h"

int k_kls_list(struct k_ckpt *c, bool table, struct k_err *err) K_MUST_USE;
int k_kls_head(struct k_ckpt *c, bool table, struct k_err *err) K_MUST_USE;
int k_kls_history(struct k_ckpt *c, bool table, struct k_err *err) K_MUST_USE;
/* Everything that loading would check, and every digest and value. */
int k_kls_verify(struct k_ckpt *c, bool table, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
int k_kls_stats(struct k_ckpt *c, bool table, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* Bytes read per decoded token by part, and resident memory at a context of n_ctx tokens. */
int k_kls_budget(struct k_ckpt *c, int64_t n_ctx, enum k_kv kv, bool table, struct k_err *err) K_MUST_USE;
/* One tensor as npy (raw: as stored); of a GGUF by the name and with the row order of that file; of a stack also one expert by its own name. */
int k_kls_dump(struct k_ckpt *c, const char *name, bool raw, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* K_ENO when a and b differ. */
int k_kls_diff(struct k_ckpt *a, struct k_ckpt *b, bool table, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
struct k_kls_tokens { const char *file; bool whole, specials, ids; };
int k_kls_tokens(struct k_ckpt *c, const struct k_kls_tokens *o, struct k_err *err) K_MUST_USE;
int k_kls_render(struct k_ckpt *c, const char *file, const char *layout, struct k_err *err) K_MUST_USE;

/* A signature of the model at path (formats.md 10.2) to standard output, which goes to `out` (NULL: unknown where). */
struct k_kls_sign { const char *key, *resign, *out; bool shards; };
int k_kls_sign(const struct k_kls_sign *how, const char *path, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* K_ENO when the signature or the model does not match; copy: where the model goes while it is checked, NULL for nowhere. */
struct k_kls_check { const char *key, *sig, *copy; };
int k_kls_check_sign(const struct k_kls_check *how, const char *path, struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
int k_kls_manifest(const char *path, const char *out, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

/* Makes one tensor of c (or one expert) again out of the source, whose tensors name_map (NULL: none) renames first, as c's history says: K_ENO when
 * the bytes are not those of c. */
struct k_kls_rederive { const char *name, *source, *name_map; };
int k_kls_rederive(struct k_ckpt *c, const struct k_kls_rederive *how, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

/* Index of the entry of this name, -1: none. *slice: which expert, where name is that of one of a stack, else -1. */
int k_kls_find(const struct k_ckpt *c, const char *name, int64_t *slice);
/* A name in a table: padded to the width and a space, and no control character of a file reaches the terminal. */
void k_kls_column(struct k_buf *b, const char *s, int width);

/* Reads an entry from its start in blocks of whole granules; buf holds them. For each: slice, first row, rows, bytes. */
struct k_walk { struct k_ckpt *c; int i; uint64_t off; uint8_t *buf; size_t cap; int64_t slice, row, rows; size_t n; };
int k_walk_begin(struct k_walk *w, struct k_ckpt *c, int entry, struct k_err *err) K_MUST_USE;
/* 1: a block; 0: the end; or an error. */
int k_walk_next(struct k_walk *w, struct k_err *err) K_MUST_USE;
void k_walk_end(struct k_walk *w);
/* Row r (from 0) of the present block in f32. The type must dequantise. */
void k_walk_row(const struct k_walk *w, int64_t r, float *dst);

#endif
