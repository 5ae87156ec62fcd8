/* raw.h: the tensors of somebody else's file, as that file has them: its names, its order, its types. formats/ makes these;
 * import.c turns them into a checkpoint. */
#ifndef K_RAW_H
#define K_RAW_H

#include "libcore/arena.h"
#include "libcore/ctx.h"
#include "libcore/files.h"
#include "libcore/io.h"
#include "libcore/json.h"
#include "libcore/map.h"
#include "libcore/tensor.h"

struct k_raw;

enum { K_PART_VALUES, K_PART_SCALES, K_PART_ZEROS, K_PART_DIVISOR, K_PARTS };

/* What a tensor that has no bytes of its own is put together from, by join*.c: a quantised weight (2-D) from plain matrices of codes,
 * scales, zero points; GGUF's split and computed tensors (made) from one or two that are stored. */
struct k_raw_parts {
	/* Rows [row, row + n) of a slice, whole granules, in the type's bytes. */
	int (*read)(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err);
	const struct k_raw *of[K_PARTS];        /* NULL where there is none */
	bool made;                      /* plain; the file knows the parts, not the whole */
	int bits;                       /* of a code */
	int64_t group;                  /* columns to a scale and a zero point */
	int zero_bias;                  /* added to the zero points that are stored */
};

struct k_raw {
	const char *name;
	const char *was;                /* in the file, where k_rename gave it another name; NULL: as name */
	const char *file;               /* which shard, for messages */
	const struct k_qtype *type;     /* plain types by safetensors dtype; GGUF block types; composite types (i4g32, fp8b128, ...) after joining */
	int ndim;
	const int64_t *shape;           /* outermost first; of the set, which has each shape once (k_rawset_shape) */
	struct k_source *src;           /* seekable; owned by the set. NULL where there are parts */
	uint64_t off, bytes;            /* in src */
	const struct k_raw_parts *parts;        /* NULL: the bytes are at off */
	const char *form;               /* see struct k_entry */
	const int32_t *row_order;       /* NULL, or: row r of the tensor is row row_order[r] of the source (GGUF's permuted q and k) */
};

static inline const char *k_raw_in_file(const struct k_raw *t) { return t->was ? t->was : t->name; }

struct k_rawset {
	const char *path;
	struct k_raw *v;
	int64_t n, cap;                 /* cap 0: v is not owned (in the arena) */
	struct k_files files;           /* config.json among them; made from keys for GGUF */
	struct k_arena arena;           /* strings, arrays */
	struct k_map shapes;            /* bytes of a shape -> the same */
	struct k_source **sources; int n_sources;
	bool gguf;                      /* names are GGUF's; import maps them through the architecture */
};
void k_rawset_init(struct k_rawset *s, const char *path);
void k_rawset_fini(struct k_rawset *s);
/* Gives t a shape, which may be the caller's own. Of half a million tensors' shapes there are some twenty. */
int k_rawset_shape(struct k_rawset *s, struct k_raw *t, int ndim, const int64_t *shape, struct k_err *err) K_MUST_USE;
/* Appends a copy. */
int k_rawset_add(struct k_rawset *s, const struct k_raw *t, struct k_err *err) K_MUST_USE;
/* The first n stay; nobody may point to one any more. */
void k_rawset_cut(struct k_rawset *s, int64_t n);
/* Keeps src open until fini (also on failure it is closed). */
int k_rawset_own(struct k_rawset *s, struct k_source *src, struct k_err *err) K_MUST_USE;
const struct k_raw *k_rawset_find(const struct k_rawset *s, const char *name);         /* linear; import keeps its own map */
/* Rows [row, row + n) of slice `slice`, in the type's own bytes: n is whole granules (the last may be short). Plain, block and
 * composite types alike; row_order applied. */
int k_raw_read(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err) K_MUST_USE;
/* The readers of composites. raw_planes.c: values and scales in the same order as the type's own; raw_codes.c: integers that are
 * packed in another order, along columns or along rows, with groups of any size. */
int k_raw_read_planes(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err) K_MUST_USE;
int k_raw_read_packed(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err) K_MUST_USE;
int k_raw_read_int8(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err) K_MUST_USE;
int k_raw_read_gptq(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err) K_MUST_USE;
int k_raw_read_awq(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err) K_MUST_USE;

#endif
