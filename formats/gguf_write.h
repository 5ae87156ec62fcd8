/* gguf_write.h: a checkpoint as GGUF. Only formats/gguf_*.c and their tests include it.
 *
 *   gguf_plan.c     entries -> tensors: names, types, shapes, places, files; how each entry's bytes become those
 *   gguf_ways.c     the ways: a block of an entry -> its bytes in the file, and back to values
 *   gguf_put.c      config, side files -> keys -> the bytes of a head
 *   gguf_vocab.c    tokenizer -> its keys
 *   gguf_target.c   plan + heads -> struct k_target
 *
 * Everything is known before a weight is read. Tensors lie in the order of the checkpoint, one behind the other, so that a pipe is
 * written in one pass. */
#ifndef K_GGUF_WRITE_H
#define K_GGUF_WRITE_H

#include "formats/format.h"
#include "libcore/arch.h"

enum { K_GGUF_ALIGN = 32 };

struct k_gguf_plan;

struct k_gguf_part {                    /* a tensor of the output */
	const char *name;
	const struct k_qtype *type;
	int ndim; int64_t shape[K_MAX_DIMS];
	uint64_t bytes, at;             /* at: in the data of its file */
	int file;
};

struct k_gguf_from {                    /* an entry of the checkpoint */
	const struct k_gguf_way *way;   /* NULL: not in the output */
	int part, n_parts;              /* which tensors it becomes */
	const int32_t *order;           /* row r of the entry is row order[r] of the tensor; NULL: the same order */
	int64_t unit;                   /* rows within which order moves them */
};

struct k_gguf_shard { int first, n; uint64_t bytes; struct k_buf head; };      /* parts, and the length of their data */

struct k_gguf_plan {
	struct k_ckpt *c;
	struct k_arena arena;
	struct k_json *config;          /* all of it; text: the part that describes the text model, in it */
	const struct k_json *text;
	const char *prefix;             /* of the entries' names */
	const struct k_arch *arch;
	struct k_hp hp;
	struct k_gguf_from *from;       /* one an entry */
	struct k_gguf_part *parts; int n_parts;
	const float *rope;              /* the first part's values, where no entry has them: Llama 3's factors; NULL: there are none */
	struct k_gguf_shard *shards; int n_shards;
};

/* shard_size 0: one file. A config or entry that GGUF has no form for: K_EUNSUP; a weight that is missing: K_ENOENT. */
int k_gguf_plan_new(struct k_gguf_plan **out, struct k_ckpt *c, const struct k_write_opts *o, struct k_log *log, struct k_err *err) K_MUST_USE;
void k_gguf_plan_free(struct k_gguf_plan *p);           /* takes NULL */
/* Fills the heads of all shards, padding included. The side files of c are read. */
int k_gguf_put_heads(struct k_gguf_plan *p, struct k_err *err) K_MUST_USE;

/* k_format.target. */
int k_gguf_target(struct k_target **out, struct k_ckpt *c, const char *path, const struct k_write_opts *o, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;

/* --- the bytes of keys -------------------------------------------------------------------------------------------------- */

/* A row of keys; a failed append is seen at the end. */
struct k_gguf_keys { struct k_buf b; uint64_t n; };
void k_gguf_put_string(struct k_gguf_keys *k, const char *key, const char *s, size_t len);
void k_gguf_put_u32(struct k_gguf_keys *k, const char *key, uint32_t v);
void k_gguf_put_bool(struct k_gguf_keys *k, const char *key, bool v);
/* The start of an array of n elements of a GGUF type, which follow by k_gguf_add_string or k_gguf_add_i32. */
void k_gguf_put_array(struct k_gguf_keys *k, const char *key, uint32_t type, uint64_t n);
void k_gguf_add_string(struct k_gguf_keys *k, const char *s, size_t len);
void k_gguf_add_i32(struct k_gguf_keys *k, int32_t v);
/* A value by its JSON kind: integer u32, real f32, bool, string; arrays of strings, else of i32. */
void k_gguf_put_json(struct k_gguf_keys *k, const char *key, const struct k_json *v);

/* The tokenizer's keys, from the side files. vocab: rows of the embedding; text: config's text part, or config. */
int k_gguf_put_vocab(struct k_gguf_keys *k, const struct k_files *files, const struct k_json *config, const struct k_json *text, int64_t vocab,
	struct k_err *err) K_MUST_USE;

/* --- ways --------------------------------------------------------------------------------------------------------------- */

enum k_gguf_cut { K_GGUF_BYTES, K_GGUF_ROWS, K_GGUF_SLICE, K_GGUF_HOLD };

/* n_rows rows of a slice from `row` on, as the entry has them: src its bytes, values the same in f32 (where the way wants them);
 * held: the bytes of the entry before, where that is K_GGUF_HOLD. */
struct k_gguf_rows { const struct k_gguf_plan *plan; int entry; int64_t row, n_rows; const void *src; const float *values; const void *held; };

struct k_gguf_way {
	const char *name;
	enum k_gguf_cut cut;
	bool values;                    /* make wants values */
	bool as_it_is;                  /* but not where the type stays */
	bool held;                      /* and the entry before, which is K_GGUF_HOLD */
	/* dst: one place a part. NULL: the bytes of src, rows by k_gguf_from.order. A refusal names row and column. */
	int (*make)(const struct k_gguf_rows *r, void *const *dst, struct k_err *err);
	/* The values of dst in the order of the entry. NULL: by the part's type. */
	void (*decode)(const struct k_gguf_rows *r, const void *const *dst, float *out);
};
extern const struct k_gguf_way k_gguf_copy, k_gguf_convert, k_gguf_int4, k_gguf_int8, k_gguf_mxfp4, k_gguf_kv_b, k_gguf_neg_exp, k_gguf_hold, k_gguf_product;

/* Makes rows (by the way or by copying) and brings them into order; and back. */
int k_gguf_make_rows(const struct k_gguf_rows *r, void *const *dst, struct k_err *err) K_MUST_USE;
void k_gguf_decode_rows(const struct k_gguf_rows *r, const void *const *dst, float *out);

#endif
