/* raw.h: the tensors of somebody else's file, as that file has them: its names, its order, its types. formats/ makes these;
 * import.c turns them into a checkpoint. */
#ifndef K_RAW_H
#define K_RAW_H

#include "libcore/arena.h"
#include "libcore/ctx.h"
#include "libcore/files.h"
#include "libcore/io.h"
#include "libcore/json.h"
#include "libcore/tensor.h"

struct k_raw {
	const char *name;
	const char *file;               /* which shard, for messages */
	const struct k_qtype *type;     /* plain types by safetensors dtype; GGUF block types; composite types (i4g32, fp8b128, mxfp4) after joining */
	int ndim;
	int64_t shape[K_MAX_DIMS];      /* outermost first */
	struct k_source *src;           /* seekable; owned by the set. NULL for composites */
	uint64_t off, bytes;            /* in src */
	const struct k_raw *part[2];    /* composites: values, scales (both plain) */
	/* NULL, or: the rows are made of parts, as k_raw_read is asked for them (join_gguf.c). Plain types only. */
	int (*make)(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err);
	const char *form;               /* see struct k_entry */
	const int32_t *row_order;       /* NULL, or: row r of the tensor is row row_order[r] of the source (GGUF's permuted q and k) */
};

struct k_rawset {
	const char *path;
	struct k_raw *v;
	int64_t n, cap;                 /* cap 0: v is not owned (in the arena) */
	struct k_files files;           /* config.json among them; made from keys for GGUF */
	struct k_arena arena;           /* strings, arrays */
	struct k_source **sources; int n_sources;
	bool gguf;                      /* names are GGUF's; import maps them through the architecture */
};
void k_rawset_init(struct k_rawset *s, const char *path);
void k_rawset_fini(struct k_rawset *s);
/* Appends a copy. */
int k_rawset_add(struct k_rawset *s, const struct k_raw *t, struct k_err *err) K_MUST_USE;
/* Keeps src open until fini (also on failure it is closed). */
int k_rawset_own(struct k_rawset *s, struct k_source *src, struct k_err *err) K_MUST_USE;
const struct k_raw *k_rawset_find(const struct k_rawset *s, const char *name);         /* linear; import keeps its own map */
/* Rows [row, row + n) of slice `slice`, in the type's own bytes: n is whole granules (the last may be short). Plain, block and
 * composite types alike; row_order applied. */
int k_raw_read(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err) K_MUST_USE;

#endif
