/* kcheck_world.h: what operations of a device are checked on: the same buffers, weights, pages and states in its memory and in the CPU's, and ways of running an operation on
 * a batch as a whole and in steps. Whatever fails is said once (`stuck`), and the rest of the check does nothing. */
#ifndef KERNELS_CHECK_KCHECK_WORLD_H
#define KERNELS_CHECK_KCHECK_WORLD_H

#include "kernels/check/kcheck.h"
#include "libcore/backend.h"

enum { ROWS = 7, SPLIT = 4, DOT_ROWS = 4, MANY_ROWS = 41, TILE_ROWS = 67, PROMPT_ROWS = 130, EXPAND_ROWS = 150, ROUND_ROWS = 180, ROUND_HEADS = 512, MOST_BUFS = 64, SEQS = 2, MOST_PAGES = 12, CPU = 0, DEV = 1, SIDES = 2 };

/* The same bytes in both memories. Outputs are compared; both begin anew from `begin` for each way of running. */
struct buf { void *at[SIDES], *begin; size_t bytes; bool out; };

struct world {
	struct run *r;
	struct k_device *dev[SIDES];
	struct k_hp hp;
	struct buf buf[MOST_BUFS];
	int n_buf;
	struct k_seq_layer seq[SIDES][SEQS];
	void *page[SIDES][SEQS][MOST_PAGES];
	int64_t pos[SEQS], rows, split; /* rows: of the batch; split: where its second sequence begins */
	double scale;
	enum k_kv kv;                   /* what pages hold */
	bool rounds;                    /* the device's tensor cores get weights in BF16 */
	bool stuck;                     /* out of memory, or the device failed: it was said */
};

/* twin: what the CPU gets in place of it, BF16, where the device's tensor cores get its values rounded to that; -1: the same. */
struct weight { struct k_tensor t, as_bf16; int buf, twin; };

/* An operation on rows [from, from + n) of the batch. */
typedef void op_fn(struct world *w, void *how, int side, int64_t from, int64_t n);

void world_stop(struct world *w, const char *why);
/* Buffers by their index: n bytes, zeroed; n floats of a kind; n floats of a result, which nobody has written. */
int world_buffer(struct world *w, size_t n, bool out);
int world_data(struct world *w, size_t n, enum data kind);
int world_output(struct world *w, size_t n);
static inline void *world_at(const struct world *w, int side, int i) { return w->buf[i].at[side]; }
/* Row `row` of a buffer of rows of this many floats. */
static inline float *world_row_at(const struct world *w, int side, int i, int64_t row, int64_t width) { return (float *)world_at(w, side, i) + row * width; }

/* Weights of a type, quantised from random values; on one side. */
struct weight world_weight(struct world *w, const struct k_qtype *t, int64_t slices, int64_t rows, int64_t cols);
const struct k_tensor *world_weight_at(const struct world *w, int side, struct weight *x);
/* Both sequences, the second of which begins at pos: pages of this width, a state and a convolution's tail of so many floats; what is still to come is NaN. */
void world_sequences(struct world *w, int64_t width, size_t state, size_t conv, int64_t pos);
/* The parts of the sequences that lie in rows [from, from + n), counted from `from`; how many. */
int64_t world_segments(struct world *w, int side, int64_t from, int64_t n, struct k_seg out[SEQS]);
/* The operation on the CPU, and on the device by steps of so many rows each: first all, whose results are to be near the CPU's, and the others' the same. */
void world_ways(struct world *w, op_fn *op, void *how, const char *what, const int64_t *steps, int n_steps);
void world_all_ways(struct world *w, op_fn *op, void *how, const char *what);
/* Frees the buffers. */
void world_end(struct world *w);

#endif
