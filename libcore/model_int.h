/* model_int.h: what model.c, bind.c, seq*.c and block_*.c share. Nobody else includes it.
 *
 *   struct k_model -- layers[n_layer] -- mixer, ffn: block + its own resolved weights
 *                  -- part[n_part]: a device and its run of layers; x[rows][D] (residual), h (normed), y (block output), with attention residuals their
 *                     blocks; all but h may change places in a step (struct rows of model.c); then what a block asks for
 *   struct k_seq   -- layer[n_layer] (struct k_seq_layer: pages, or a slice of the one KDA block)
 *                  -- page[]: 64 tokens of all attention layers each, shared with other sequences and the prefix cache
 *                     (page and KDA block: a piece of memory a device, one block on the host)
 *                  -- marks: copies of the KDA block at a length, shared too
 *
 * Rows: a step is cut into chunks of at most K_ROWS rows. Operations work on rows independently and on a sequence's tokens in
 * order, so the cuts do not change a bit. */
#ifndef K_MODEL_INT_H
#define K_MODEL_INT_H

#include "libcore/block.h"
#include "libcore/map.h"
#include "libcore/seq.h"

#define K_ROWS 512
/* Rows of the head that are computed at once; bounds the memory of logits. */
#define K_HEAD_ROWS 32

struct k_res { const float *norm, *query; };    /* of attention residuals; NULL: there are none */
struct k_layer {
	struct k_half { const struct k_block *block; void *self; const float *norm; struct k_res res; } mixer, ffn;     /* what stands in front of a block, and its weights */
	int part;
	int64_t page_width;             /* values a token in pages; 0: none */
	size_t page_bytes, page_at;     /* its part of a page, and where that begins */
	int64_t n_state, n_conv;        /* floats in the sequence's KDA block */
	int64_t state_at;               /* where they begin there: state, then conv */
};

struct k_scratch {
	float *base;
	int64_t size, used, rows;       /* floats; rows of the chunk at work */
};

/* A device, its layers [layer, layer + n_layer), what these have of a page (bytes) and of a KDA block (floats), and its rows of a step. */
enum { K_PARTS = 8 };
struct k_part {
	struct k_device *dev;
	int64_t layer, n_layer;
	size_t page_at, page_bytes;
	int64_t kda_at, n_kda;
	float *x, *h, *y, *rope;        /* rope NULL: none */
	float **block;                  /* memory for blocks of attention residuals, as many as x each (k_hp_res_blocks) */
	size_t rope_bytes;
	struct k_scratch scratch;
};

struct k_model {
	struct k_ckpt *ck;
	struct k_device *dev;           /* the first */
	struct k_part part[K_PARTS];
	int n_part;
	const struct k_ctx *ctx;
	const struct k_arch *arch;
	const struct k_files *files;
	struct k_tokenizer *tok;
	struct k_err tok_why;
	struct k_hp hp;
	struct k_model_opts opts;
	char prefix[64];                /* of tensor names, for wrapped models */
	struct k_arena arena;
	struct k_own { void *p; struct k_device *dev; size_t n; } *own; /* memory of the model; dev NULL: the host's */
	size_t n_own, cap_own;
	uint64_t held;                  /* held.c: bytes of the host's memory */
	const void **data;              /* of each entry of ck; NULL: not loaded */
	bool *used, *host;              /* entries that some slot was bound to; of them, those that stay in the host's memory */
	int64_t *layer_of;              /* of each used entry; -1: none */
	int *part_of;                   /* of each entry */
	struct k_map names;             /* entry name -> struct k_entry * */

	struct k_tensor embed, head;
	const float *norm;
	struct k_res res;               /* in front of it */
	struct k_layer *layers;
	int64_t n_kda, n_moved;         /* floats of a sequence's KDA block; that a token reads and writes of it */
	size_t page_bytes;              /* of a page: K_PAGE tokens of all attention layers */
	enum k_kv kv;                   /* what it holds */
	uint64_t token_bytes;

	double *inv;                    /* rope; NULL: none */
	int64_t n_rope, n_reserved;     /* positions in the table; positions that the device has scratch for */

	float **block;                  /* those of the part at work, in the places that they have now */
	struct k_seg *seg, *picked;     /* K_ROWS of them each: of all rows of a chunk, and of some */
	struct k_seg_run { const struct k_run *run; int64_t n_out; } *seg_run;  /* of seg: whose it is, and how many of its last rows are wanted */
	float *out;                     /* normed rows of a step's outputs; as the head, on the last device */
	int64_t cap_out;
	float *logits;                  /* K_HEAD_ROWS x n_vocab */
	int32_t *chosen;                /* K_HEAD_ROWS tokens; NULL: the device does not sample */
	float *probe_rows;              /* host copy for k_probe.hidden */
};

/* Counted; whoever lets go last frees. A page that is held more than once is not written to: seq.c copies it first. The counts may
 * be changed by several threads; kept is the prefix cache's own: how many of its nodes hold it. */
struct k_page { struct k_model *m; void *mem[K_PARTS]; int refs, kept; };
struct k_state { struct k_model *m; float *kda; int refs, kept; };      /* a KDA block at some length, on the host; never changes */
struct k_page *k_page_hold(struct k_page *p);
void k_page_drop(struct k_page *p);                     /* takes NULL */
int k_state_new(struct k_state **out, struct k_model *m, struct k_err *err) K_MUST_USE;     /* held once; the block is not filled */
struct k_state *k_state_hold(struct k_state *s);
void k_state_drop(struct k_state *s);                   /* takes NULL */

struct k_mark { int64_t len; struct k_state *state; };

struct k_seq {
	struct k_model *m;
	int64_t len;
	int32_t *ids;
	int64_t cap_ids;
	struct k_seq_layer *layer;
	struct k_page **page;
	int64_t n_page, cap_page;       /* cap_page: room in page and in each layer's list of pages */
	void *kda[K_PARTS];             /* states and tails of all KDA layers */
	struct k_mark mark[K_MARKS];    /* ascending lengths */
	int n_mark;
};

/* Memory of a device (NULL: the host's) that lives as long as the model. */
void *k_model_alloc(struct k_model *m, struct k_device *dev, size_t n_floats, const char *what, struct k_err *err) K_MUST_USE;

/* parts.c */
static inline struct k_part *k_last_part(struct k_model *m) { return &m->part[m->n_part - 1]; }
int k_part_of_layer(const struct k_model *m, int64_t layer);
/* What sequences keep on the devices, a piece each. */
enum k_keep { K_KEEP_PAGE, K_KEEP_KDA };
size_t k_keep_bytes(const struct k_model *m, enum k_keep what);
uint64_t k_keep_held(const struct k_model *m, enum k_keep what);        /* of it, what lies in the host's memory */
int k_keep_alloc(struct k_model *m, enum k_keep what, void *mem[K_PARTS], struct k_err *err) K_MUST_USE;
void k_keep_free(struct k_model *m, enum k_keep what, void *mem[K_PARTS]);
/* Between all pieces and one block on the host. */
int k_keep_get(const struct k_model *m, enum k_keep what, void *host, void *const mem[K_PARTS], struct k_err *err) K_MUST_USE;
int k_keep_put(const struct k_model *m, enum k_keep what, void *const mem[K_PARTS], const void *host, struct k_err *err) K_MUST_USE;

/* held.c: memory of a device (NULL: the host's, as k_aligned gives it), called what; counted where it is the host's, and K_ENOMEM beyond the ceiling. */
int k_model_take(struct k_model *m, struct k_device *dev, size_t n, void **out, const char *what, struct k_err *err) K_MUST_USE;
void k_model_give(struct k_model *m, struct k_device *dev, size_t n, void *p);      /* n as it was taken; p NULL: nothing */
/* Would n more bytes of the host's be within the ceiling? K_ENOMEM: no. */
int k_model_fits(const struct k_model *m, uint64_t n, const char *what, struct k_err *err) K_MUST_USE;

/* model.c: arch, hp and prefix from the checkpoint's config. */
int k_model_config(struct k_model *m, struct k_err *err) K_MUST_USE;
/* bind.c: reads or maps the entries (k_bind_load), finds slots. */
struct k_layer_weights { struct k_model *m; int64_t layer; struct k_err *err; };
int k_bind_load(struct k_model *m, struct k_err *err) K_MUST_USE;
/* Every slot that the architecture wants is there and has its shape. */
int k_bind_check(struct k_model *m, struct k_err *err) K_MUST_USE;
/* place.c: the devices' layers, m->part_of and m->host, from what the devices have left. */
int k_place(struct k_model *m, struct k_err *err) K_MUST_USE;
/* What one token reads, from the slots that were bound: k_model_token_parts. */
int k_bind_token_parts(const struct k_model *m, struct k_token_part *out, int max);

/* y[n][rows of w] = w x, rows packed without gaps; exact: f32 whatever the device's activation precision. */
static inline void k_gemm(struct k_device *d, float *y, const float *x, const struct k_tensor *w, const float *bias, int64_t n)
{
	d->ops.gemm(d, &(struct k_op_gemm){ .y = y, .x = x, .w = w, .bias = bias, .n = n, .y_step = w->shape[0],
		.x_step = w->shape[1] });
}
static inline void k_gemm_exact(struct k_device *d, float *y, const float *x, const struct k_tensor *w, int64_t n)
{
	d->ops.gemm(d, &(struct k_op_gemm){ .y = y, .x = x, .w = w, .n = n, .y_step = w->shape[0], .x_step = w->shape[1],
		.exact = true });
}

/* seq.c: room for the sequence to become n tokens long: pages that are its own from its end on. */
int k_seq_room(struct k_seq *s, int64_t n, struct k_err *err) K_MUST_USE;
/* Room for n tokens in the lists, without pages. */
int k_seq_lists(struct k_seq *s, int64_t n, struct k_err *err) K_MUST_USE;
/* Page i (at most one behind the last) becomes p, which is held; the lists have room. */
void k_seq_set_page(struct k_seq *s, int64_t i, struct k_page *p);
/* The KDA block becomes state's. */
int k_seq_set_state(struct k_seq *s, const struct k_state *state, struct k_err *err) K_MUST_USE;
/* A mark behind the others; state is held. */
void k_seq_add_mark(struct k_seq *s, int64_t len, struct k_state *state);

/* Blocks. A missing weight was refused by k_bind_check; a vector can still run out of memory, then w->err says so. */
#define K_WANT(x) do { if (!(x)) return w->err->code ? w->err->code : k_err_set(w->err, K_ENOENT, "layer %ld has no %s", \
	(long)layer, #x); } while (0)

#endif
