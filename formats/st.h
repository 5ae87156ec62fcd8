/* st.h: safetensors files: the head of one, and writing a checkpoint as one or as shards. Shared by safetensors.c, hf.c, hf_config.c
 * and st_*.c. */
#ifndef K_ST_H
#define K_ST_H

#include "formats/format.h"

/* Says which shard of a folder holds which tensor. */
#define K_ST_INDEX "model.safetensors.index.json"

/* Does a file begin like safetensors? */
bool k_st_taste(const void *head, size_t n);
/* Reads the head of src, checks it whole, and adds its tensors to set in the order of their data. The set owns src (also on failure). */
int k_st_read_head(struct k_rawset *set, struct k_source *src, struct k_err *err) K_MUST_USE;

/* --- writing: st_plan.c says what lies where before a byte is read, st_target.c is what a stream makes of it -------------- */

enum k_st_how { K_ST_COPY, K_ST_CONVERT, K_ST_SPLIT };

struct k_st_split;

struct k_st_part {                      /* a tensor of the output */
	const char *dtype;
	int ndim; int64_t shape[K_MAX_DIMS];
	uint64_t bytes, begin;          /* begin: in the data of its shard */
	int64_t shard;
	int entry;                      /* of the checkpoint */
};
struct k_st_from {                      /* an entry of the checkpoint */
	enum k_st_how how;
	const struct k_qtype *to;       /* COPY, CONVERT */
	const struct k_st_split *split; /* SPLIT */
	const struct k_qtype *scale;    /* SPLIT: how scales are spelt */
	int64_t units;                  /* experts of a stack, else 1; each is a run of parts, and all are alike */
	int64_t part;                   /* the first */
	uint64_t at, unit_bytes;        /* at: in the data of all shards, one behind the other */
};
struct k_st_shard { int64_t first, n; uint64_t at, bytes; };   /* parts, and their bytes */

enum { K_ST_I4G32, K_ST_Q4_0, K_ST_MXFP4, K_ST_I8ROW, K_ST_FP8ROW, K_ST_MXFP8, K_ST_FP8B128, K_ST_N_SPLITS };

struct k_st_plan {
	struct k_ckpt *c;
	int64_t n_parts;                /* no list of them is kept: there may be half a million, and each follows from its entry */
	struct k_st_from *from;         /* one an entry; of side files: units 0 */
	struct k_st_shard *shards; int64_t n_shards, cap_shards;
	uint64_t bytes;                 /* of all data */
	bool has_split[K_ST_N_SPLITS];  /* which are in the output */
	bool mixed;                     /* formats of compressed-tensors by module: block FP8 is one of them, not DeepSeek's */
};

/* How a joined type is spelt in tensors: values and scales of rows [row, row + rows) of a granule's worth. */
struct k_st_split {
	const char *type;
	const char *values, *value_dtype; int cols_per_value, value_bytes;      /* suffix behind the module's name, ... */
	const char *scales, *scale_dtype; int scale_rows, scale_cols;   /* rows x cols that one scale is for; cols 0: the row */
	bool has_shape;                 /* module.weight_shape too */
	void (*split)(const struct k_qtype *t, const void *granule, uint8_t *values, uint8_t *scales, int64_t cols, int rows);
	/* A row of values and its scales (in scale_dtype), as any reader of the file would take them. */
	void (*join)(float *dst, const uint8_t *values, const uint8_t *scales, int64_t cols);
};
extern const struct k_st_split k_st_splits[K_ST_N_SPLITS];
static inline int k_st_parts_of(const struct k_st_from *f) { return f->how == K_ST_SPLIT ? 2 + f->split->has_shape : 1; }
/* Columns of the tensor of scales. */
static inline int64_t k_st_scale_cols(const struct k_st_split *s, int64_t cols) { return s->scale_cols ? k_div_up(cols, s->scale_cols) : 1; }

/* shard_size 0: one file. Types that safetensors has no dtypes for, and that are not to be expanded: K_EUNSUP. */
int k_st_plan_new(struct k_st_plan **out, struct k_ckpt *c, const struct k_write_opts *o, uint64_t shard_size, struct k_err *err) K_MUST_USE;
void k_st_plan_free(struct k_st_plan *p);               /* takes NULL */
/* Part i of all, in the order of their data; and its name, which may have K_ST_NAME bytes. */
enum { K_ST_NAME = 1024 + 32 };
void k_st_part_get(const struct k_st_plan *p, int64_t i, struct k_st_part *out);
const char *k_st_part_name(const struct k_st_plan *p, int64_t i, char buf[K_ST_NAME]);
/* The head of a shard, length field included. */
int k_st_head(const struct k_st_plan *p, int64_t shard, struct k_buf *b, struct k_err *err) K_MUST_USE;

/* Takes plan, also on failure. folder: shards, index, side files, config.json; else the one file. */
int k_st_target_new(struct k_target **out, struct k_st_plan *plan, bool folder, const struct k_write_opts *o, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;

/* config.json as the output needs it: quantization_config says what is in the plan, dtype what was asked for. The checkpoint's own
 * bytes where nothing in them is wrong. hf_config.c. */
int k_hf_config(const struct k_st_plan *p, const struct k_write_opts *o, struct k_buf *b, struct k_err *err) K_MUST_USE;

#endif
