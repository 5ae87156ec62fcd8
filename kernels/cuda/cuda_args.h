/* cuda_args.h: what the kernels are launched with: one struct a row of cuda_kernels.def, passed by value. C and C++, included by
 * the host's side (cuda_*.c), by the kernels (*.cu) and by whoever launches them. Pointers are to device memory. */
#ifndef KERNELS_CUDA_CUDA_ARGS_H
#define KERNELS_CUDA_CUDA_ARGS_H

#include <stdbool.h>
#include <stdint.h>

/* No gaps: arguments are compared as bytes (cuda_step.c), and what lies in a gap is anybody's guess. A struct that would have one ends with `int gap`. */
#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wpadded"
#endif

/* Threads of every block, and its warps. */
enum { CUDA_THREADS = 256, CUDA_WARPS = 8 };

/* Stored types that the kernels read; anything else is computed on the CPU. */
enum cuda_type { CUDA_F32, CUDA_BF16, CUDA_F16, CUDA_I4_ROWS, CUDA_I4_X16, CUDA_FP8B128, CUDA_MXFP4, CUDA_MX4_X16, CUDA_I8ROW };

/* One matrix, or a stack of them: slice i begins i * slice bytes behind data. */
struct cuda_matrix { const uint8_t *data; int64_t rows, cols, slice; enum cuda_type type; int gap; };

/* A run of rows of one sequence (struct k_seg). pages: device addresses of its pages, of floats or (where an operation says bf16) of BF16. */
struct cuda_seg { int64_t row, n, pos; void *const *pages; float *state, *conv; };

/* Rotation of dim channels at a time; table: [position][dim / 2][cos, sin]; NULL: none. */
struct cuda_rope { const float *table; int dim, interleaved; };

/* A block a row: y[i] = row ids[i] of w */
struct cuda_embed { float *y; struct cuda_matrix w; const int32_t *ids; };
/* A block a row; wide: all rows are at multiples of 16 bytes */
struct cuda_rmsnorm { float *y; const float *x, *w; int64_t dim, y_step, x_step; float eps; int wide; };
/* What gate and up become: silu(gate) up, or (cap not 0) SiTU, which struct k_op_swiglu shows: cap is its situ, cap_up situ_up. over, over_up: 1 / cap, 1 / cap_up. */
struct cuda_unit { float cap, over, cap_up, over_up; };
/* A thread an element */
struct cuda_swiglu { float *y; const float *gate, *up; int64_t n; struct cuda_unit unit; };
/* y *= sigmoid(z); a thread an element */
struct cuda_gate { float *y; const float *z; int64_t n; };
/* struct k_op_blend: a block a row; source: its blocks, and x behind them. wide: all rows are at multiples of 16 bytes */
enum { CUDA_SOURCES = 16 };
struct cuda_blend { float *y; const float *source[CUDA_SOURCES], *w, *query; int64_t dim; float eps; int n_source, wide, gap; };
/* The same, and rmsnorm of each row in its place */
struct cuda_blend_norm { struct cuda_blend blend; struct cuda_rmsnorm norm; };
/* y += x; also (NULL: nothing) += y. A thread four elements; wide: all are at multiples of 16 bytes */
struct cuda_add { float *y; const float *x; float *also; int64_t n; int wide, gap; };
/* The same for rows of norm.dim, and then rmsnorm of what was added to last, norm.x; a block a row */
struct cuda_add_norm { struct cuda_add add; struct cuda_rmsnorm norm; };
/* A block a row: x in another precision; int8: symmetric groups of 32 as kk.def has it, else bf16 */
struct cuda_round { float *y; const float *x; int64_t cols, x_step; int int8; int gap; };

/* A block a row: x as bf16, without gaps */
struct cuda_narrow { uint16_t *y; const float *x; int64_t cols, x_step; };

/* y[t][row] = w[row] . x[t] (+ bias), t < n, of up to CUDA_MANY matrices. Blocks (all of them, n / CUDA_FEW): those of matrix i begin with of[i].block, one for 16 rows;
 * exact: in f32 on the ordinary cores, for all types, one for cuda_exact_rows rows; CUDA_ROUNDED: x is rounded to bf16 first. Otherwise as struct cuda_gemm_mma, x at multiples of 16 bytes. */
enum { CUDA_MANY = 8, CUDA_FEW = 8, CUDA_EXACT = 1, CUDA_ROUNDED = 2 };
/* Shared memory that the launch brings: vectors of a block, sums of its warps, and steps of 16 x 64 that a warp has under way, of BF16 and of i4g32. Before there is bf16 the latter is enough. */
enum { CUDA_FEW_AHEAD = 3, CUDA_FEW_DEEP = 5, CUDA_FEW_AHEAD_I4 = 6, CUDA_FEW_STAGE = 8 * 1024, CUDA_FEW_PARTS = CUDA_WARPS * CUDA_FEW * 16 * 4 };
#define CUDA_FEW_SHARED(record, ahead) (CUDA_FEW_STAGE + CUDA_FEW_PARTS + CUDA_WARPS * (ahead) * (record))
enum { CUDA_FEW_LEAST = CUDA_FEW_SHARED(576, CUDA_FEW_AHEAD_I4), CUDA_FEW_PLAIN = CUDA_FEW_SHARED(2048, CUDA_FEW_AHEAD), CUDA_FEW_MOST = CUDA_FEW_SHARED(2048, CUDA_FEW_DEEP) };
/* deep: of BF16 the warps have CUDA_FEW_DEEP steps under way, with CUDA_FEW_MOST of shared memory: where there are not more blocks than run at once even so. */
enum { CUDA_FEW_BLOCKS = 264 };
struct cuda_product_of { struct cuda_matrix w; const float *x; float *y; const float *bias; int64_t x_step, y_step; int block, exact; };
struct cuda_gemm_many { int64_t n; int count, deep; struct cuda_product_of of[CUDA_MANY]; };
#ifdef __CUDACC__
__host__ __device__
#endif
static inline int cuda_exact_parts(int64_t cols) { return cols >= 1024 ? 4 : 1; }
/* Of rows of so many columns a warp takes four. */
enum { CUDA_EXACT_SHORT = 128, CUDA_EXACT_ROWS = 4 };
static inline int cuda_exact_rows(int64_t cols) { return CUDA_WARPS * (cols <= CUDA_EXACT_SHORT ? CUDA_EXACT_ROWS : 1) / cuda_exact_parts(cols); }

/* On the ordinary cores */
enum { CUDA_TOKENS = 4 };
/* The same for i4g32 in layout x16, in f32: a block 16 rows of w; blocks (rows / 16, n / CUDA_TOKENS) */
struct cuda_gemm_x16 { float *y; const float *x; struct cuda_matrix w; const float *bias; int64_t n, y_step, x_step; };

/* struct k_op_route; a block a token, at most CUDA_EXPERTS experts. Blocks behind the n-th are those of `also`, which has nothing to do with it. */
enum { CUDA_EXPERTS = 1024 };
struct cuda_route {
	int32_t *ids;
	float *weights;
	const float *logits, *bias;
	int n_expert, n_used, n_group, n_group_used, softmax, biased, norm;
	int n;
	double scale;
	struct cuda_swiglu also;
};
/* h[pair][row] = unit of gate . x and up . x; blocks (rows / 16, pairs), a pair is (token, slot) */
struct cuda_moe_up { float *h; const float *x; const int32_t *ids; struct cuda_matrix gate, up; struct cuda_unit unit; int n_used; int gap; };
/* y[t][row] = sum over slots of weight * (down . h[pair]); blocks (rows / 16, tokens) */
struct cuda_moe_down { float *y; const float *h; const int32_t *ids; const float *weights; struct cuda_matrix down; int n_used; int gap; };

/* The same on tensor cores: i4g32 in layout x16; bf16 with a multiple of 32 columns, at multiples of 16 bytes; mxfp4 with a multiple of 128 columns and fp8b128
 * with one of 32, at multiples of 4. For a few vectors, x is f32 at multiples of 16 bytes, and is rounded to bf16 where it is read.
 * CUDA_MMA_VECTORS rows of x a block; blocks (rows / 16, n / CUDA_MMA_VECTORS). */
enum { CUDA_MMA_VECTORS = 32 };
struct cuda_gemm_mma { float *y; const float *x; struct cuda_matrix w; const float *bias; int64_t n, y_step, x_step; };
/* moe_up and moe_down, blocks as theirs; h is bf16, at multiples of 16 bytes, as are its rows */
struct cuda_moe_up_mma { uint16_t *h; const float *x; const int32_t *ids; struct cuda_matrix gate, up; struct cuda_unit unit; int n_used; int gap; };
struct cuda_moe_down_mma { float *y; const uint16_t *h; const int32_t *ids; const float *weights; struct cuda_matrix down; int n_used; int gap; };

/* The same of i4g32 in layout x16 in whole numbers, with activations of 16 bits, where sums may be in any order; rings of weights (pairs of records of 16 x 64) and activations (of
 * steps of 64 columns) lie in the shared memory that a launch brings. All matrices have a multiple of 64 columns, x lies at multiples of 16 bytes. Blocks (rows / 16, pairs); h: CUDA_FIXED_STEP
 * bytes for 64 columns, at multiples of 16. early: the launch before does not write x. */
enum { CUDA_FIXED_STEP = 160, CUDA_UP_RING = 5, CUDA_UP_ROUND = 6, CUDA_DOWN_RING = 8, CUDA_DOWN_SMALL = 2, CUDA_DOWN_COLS = 2048 };
enum { CUDA_UP_SHARED = CUDA_WARPS * (CUDA_UP_RING * 2 * 576 + CUDA_UP_ROUND * CUDA_FIXED_STEP) };
#define CUDA_DOWN_SHARED(depth, cols) (CUDA_WARPS * ((depth) * 2 * 576 + (cols) / 64 * CUDA_FIXED_STEP + 64))
struct cuda_moe_up_dot { uint8_t *h; const float *x; const int32_t *ids; struct cuda_matrix gate, up; struct cuda_unit unit; int n_used; int early; };
/* At most CUDA_DOWN_COLS columns; depth: of the ring, CUDA_DOWN_RING or CUDA_DOWN_SMALL; shares: there may be `also`. Blocks (rows / 16 x tokens); those behind them have 16 rows each of
 * `also`, a product in BF16 with n rows of x, at most CUDA_FEW, as gemm_many has it, with CUDA_FEW_PLAIN bytes of shared memory. */
struct cuda_moe_down_dot { float *y; const uint8_t *h; const int32_t *ids; const float *weights; struct cuda_matrix down; int n_used, n, depth, shares; struct cuda_product_of also; };

/* A block a row: x as bf16, without gaps, columns in the order of tiles (tile.cu); a multiple of 32 columns. */
struct cuda_tile_order { uint16_t *y; const float *x; int64_t cols, x_step; };

/* For many vectors, x as tile_order has it, at multiples of 16 bytes; blocks (rows / CUDA_TILE_ROWS, n / CUDA_TILE), which bring CUDA_TILE_SHARED bytes of shared
 * memory: stages of two steps of 64 columns of vectors and of INT4, and the tile's pairs. wide: INT4, tiles of CUDA_WIDE vectors, CUDA_WIDE_SHARED bytes. */
enum { CUDA_TILE = 64, CUDA_WIDE = 128, CUDA_TILE_ROWS = 128 };
/* Bytes of a stage of n vectors, a multiple of 1024. */
#define CUDA_TILE_STAGE(n) (2 * ((n) * 128 + CUDA_TILE_ROWS / 16 * 576))
enum { CUDA_TILE_ROOM = 4 * CUDA_TILE_STAGE(CUDA_TILE), CUDA_WIDE_ROOM = 4 * CUDA_TILE_STAGE(CUDA_WIDE) };
/* Wide tiles of as many pairs as a launch has. */
enum { CUDA_WIDE_TILES = 65536 / CUDA_WIDE + CUDA_EXPERTS };
enum { CUDA_TILE_SHARED = CUDA_TILE_ROOM + 4 * CUDA_TILE, CUDA_WIDE_SHARED = CUDA_WIDE_ROOM + 2 * 4 * CUDA_WIDE + 16 + 12 * CUDA_WIDE_TILES };
struct cuda_gemm_tile { float *y; const uint16_t *x; struct cuda_matrix w; const float *bias; int64_t n, y_step; };
struct cuda_gemm_wide { struct cuda_gemm_tile tile; };
/* Pairs sorted by expert, and cut into tiles of one expert. Blocks: experts, and behind them rows of x, which become y (tile_order). size: pairs of a
 * tile; sparse: tile has n_pair places, else n_pair / size + n_expert; what is in none has n = 0. */
struct cuda_tile { int32_t expert, first, n; };
struct cuda_moe_sort {
	int32_t *order;
	struct cuda_tile *tile;
	const int32_t *ids;
	uint16_t *y;
	const float *x;
	int64_t cols;
	int n_pair, n_expert, sparse, size;
};
/* A tile a block; blocks (rows / (CUDA_TILE_ROWS / 2), places), (rows / CUDA_TILE_ROWS, places). out[pair][row], without weights. */
struct cuda_moe_up_tile {
	uint16_t *h;
	const uint16_t *x;
	const int32_t *order;
	const struct cuda_tile *tile;
	struct cuda_matrix gate, up;
	struct cuda_unit unit;
	int n_used;
	int gap;
};
struct cuda_moe_down_tile { float *out; const uint16_t *h; const int32_t *order; const struct cuda_tile *tile; struct cuda_matrix down; };
/* The same; places of tiles, not sparse; `blocks` blocks, which go on from tile to tile. */
struct cuda_moe_up_wide { struct cuda_moe_up_tile tile; int places, blocks; };
struct cuda_moe_down_wide { struct cuda_moe_down_tile tile; int places, blocks; };
/* y[t] = sum over slots of weight * out[pair]; blocks (dim / 4 / CUDA_THREADS, tokens); wide: dim is a multiple of 4 */
struct cuda_moe_sum { float *y; const float *out, *weights; int64_t dim; int n_used, wide; };

/* struct k_op_kda for one token a segment; blocks (heads, segments); at most CUDA_KDA_DIM channels a head */
enum { CUDA_KDA_DIM = 256 };
struct cuda_kda {
	float *y;
	const float *raw[3], *a, *z, *beta, *conv_w[3], *a_log, *dt_bias, *o_norm;
	const struct cuda_seg *seg;
	int dim, n_head, taps;
	float eps, bound;               /* bound: gate_bound of struct k_hp */
	int early;                      /* the launch before is none that writes states */
};

/* The same for rows [first, last) of segments of any length, a round. With `chunks` whole chunks of CUDA_CHUNK tokens, at positions that are multiples of it, go by
 * kda_chunk: at most CUDA_CHUNK_DIM channels a head, a multiple of 32. All other rows go one by one: prepare, walk, finish; blocks (rows, heads),
 * (heads, dim / CUDA_WARPS, segments), (rows, heads); walk before the chunks, and behind them.
 * ready: 5 dim floats a (such row, head), at a multiple of 16 bytes; records: of chunks (kda_chunk.h), CUDA_CHUNK_BYTES(dim) a (CUDA_CHUNK rows, head). */
enum { CUDA_CHUNK = 16, CUDA_CHUNK_DIM = 128, CUDA_CHUNK_TAPS = 4, CUDA_BLOCK_CHUNKS = 2 };
#define CUDA_CHUNK_BYTES(dim) (132 * (dim) + 1152)
/* Shared memory of who walks, which is more than making wants: records and z of so many chunks, o of two. */
enum { CUDA_CHUNK_STAGES = 3, CUDA_CHUNK_STAGE = (CUDA_CHUNK_BYTES(CUDA_CHUNK_DIM) + 511) / 512 * 512 + 4 * CUDA_CHUNK * CUDA_CHUNK_DIM };
enum { CUDA_CHUNK_SHARED = CUDA_CHUNK_STAGES * CUDA_CHUNK_STAGE + 8 * CUDA_CHUNK * (CUDA_CHUNK_DIM + 4) + 4 * CUDA_CHUNK_DIM };
struct cuda_kda_prompt { struct cuda_kda op; float *ready; uint8_t *records; int64_t first, last; int n_seg, chunks, behind, gap; };
struct cuda_kda_prepare { struct cuda_kda_prompt prompt; };
struct cuda_kda_walk { struct cuda_kda_prompt prompt; };
struct cuda_kda_finish { struct cuda_kda_prompt prompt; };
/* Makes the chunks of one round (makers blocks: chunks / each x heads; each is a multiple of 2 CUDA_BLOCK_CHUNKS) and walks those of the one before (heads x segments
 * blocks, or none). ahead: what is made is in nobody's way, and somebody walks. */
struct cuda_kda_chunk { struct cuda_kda_prompt walk, make; int makers, each, ahead, gap; };

/* Latent normed, key part rotated, both to the page; a block a row */
struct cuda_mla_append { const float *kv, *kv_norm; struct cuda_rope rope; const struct cuda_seg *seg; int n_seg, r; float eps; int bf16; };
/* query[row][head] = [K_h^T q_nope | rotated q_rope]; blocks (rows, heads). first: the row that q begins with; bf16: kv_b is, else f32 */
struct cuda_mla_query {
	float *query;
	const float *q;
	const void *kv_b;
	struct cuda_rope rope;
	const struct cuda_seg *seg;
	int64_t first;
	int n_seg, n_head, r, dn, dv, dr, bf16, gap;
};
/* Rotates q and k in place, k and v to the page; a block a row */
/* Without queries n_head is 0. */
struct cuda_gqa_append { float *q, *k; const float *v; struct cuda_rope rope; const struct cuda_seg *seg; int n_seg, n_head, n_kv, d, bf16, gap; };

/* Attention over pages, cut into spans of CUDA_SPAN positions that are computed alone and merged in order. Key of head h of a position at h dk, its
 * value at value + h dv. Query head h reads key head h / group. Blocks (tiles, key heads, spans): a tile is up to CUDA_QUERIES queries
 * (row, head) of one segment.
 *   parts[(row * n_head + head) * n_span + span] = { top, sum, weighted values [dv] } */
enum { CUDA_PAGE = 64, CUDA_SPAN = 4 * CUDA_PAGE, CUDA_QUERIES = 8, CUDA_DK = 640, CUDA_DV = 512 };
struct cuda_attend {
	float *parts;
	const float *query;
	const struct cuda_seg *seg;
	int64_t first, last;            /* rows of this round; parts and query begin with row first */
	int n_seg, n_head, n_kv, dk, dv, width, value, n_span;
	float scale;
	int bf16;
};
/* y[row][head] = what the spans give together, taken through V_h [dv][r] where v is given (bf16: it is, else f32); blocks (rows, heads). v_step: values from
 * one head to the next; span: positions */
struct cuda_merge {
	float *y;
	const float *parts;
	const void *v;
	const struct cuda_seg *seg;
	int64_t first, v_step, span;
	int n_seg, n_head, n_span, r, dv, bf16;
};

/* The same on tensor cores, for latent attention: blocks (n / CUDA_MMA_QUERIES, heads + rows of such a tile to append, r / CUDA_MMA_CHANNELS), (tiles, 1, spans) of so many queries, (n / rows, heads,
 * cut). At most CUDA_MMA_DN channels of a key that are not rotated, CUDA_MMA_DK of key and latent; r and dk multiples of 8, kv_b at a multiple of 16 bytes, pages of
 * BF16. n: rows of the round. Queries are BF16 between the two. A span is `span` positions, a multiple of CUDA_MMA_STEP; CUDA_PART floats before the values of a
 * part, at multiples of 16 bytes, scores in units of log 2: scale2. stages x CUDA_MMA_STEP rows of shared memory. Blocks of a merge take `rows` rows, at most 16,
 * and of CUDA_MERGE_OUT rows of V_h each every cut-th. */
enum { CUDA_MMA_QUERIES = 32, CUDA_MMA_DN = 256, CUDA_MMA_DK = 576, CUDA_MMA_CHANNELS = 128, CUDA_MMA_STEP = 32, CUDA_MMA_STAGES = 4, CUDA_PART = 4, CUDA_MERGE_OUT = 32 };
/* Bytes of a row of dk values in shared memory: an odd number of 16 bytes. */
#define CUDA_MMA_STRIDE(dk) (((dk) + 15) / 16 * 32 + 16)
struct cuda_mla_query_mma { struct cuda_mla_query query; struct cuda_mla_append append; uint16_t *to; int64_t n; };
struct cuda_attend_mma { struct cuda_attend attend; const uint16_t *query; int64_t span; float scale2; int stages; };
struct cuda_merge_mma { struct cuda_merge merge; int64_t n; int rows, cut; };

/* attend on tensor cores for keys of up to CUDA_FLASH_DK channels and values of up to CUDA_FLASH_DV, multiples of 8; a tile is CUDA_FLASH_QUERIES queries. Spans are
 * of `span` positions, a multiple of CUDA_FLASH_STEP, from `from` on, below `to`. flat: they lie in a row there, position `from` first, and not in pages; carry: parts
 * go on from what is in them. Parts and scale2 as for attend_mma. CUDA_FLASH_STAGES x CUDA_FLASH_STEP keys and values in shared memory. */
enum { CUDA_FLASH_QUERIES = 128, CUDA_FLASH_DK = 192, CUDA_FLASH_DV = 128, CUDA_FLASH_STEP = 64, CUDA_FLASH_STAGES = 2 };
/* Bytes of a key there, an odd number of 64: a lane reads 16 bytes of position lane / 4; and of a value, an odd number of 16. */
#define CUDA_FLASH_KEY(dk) ((((dk) + 31) / 32 | 1) * 64)
#define CUDA_FLASH_VALUE(dv) (((dv) + 15) / 16 * 32 + 16)
struct cuda_attend_flash { struct cuda_attend attend; const uint16_t *flat; int64_t from, to, span; int carry; float scale2; };
/* The same for segments of at most CUDA_FLASH_FEW queries a key head, which are a tile; the first `warps` warps of a block have a span each: blocks (tiles, key heads,
 * spans / warps) */
enum { CUDA_FLASH_FEW = 16 };
struct cuda_attend_few { struct cuda_attend attend; int64_t span; float scale2; int warps; };
/* y[row][head] of n (row, head) from parts of either, a warp each: r is a multiple of 4, at most 128; y and parts at multiples of 16 bytes */
struct cuda_merge_parts { struct cuda_merge merge; int64_t n; };

/* Keys and values of every head, made from the latents of positions [from, to) of a segment: out[position] = { keys [n_head][dn + dr], values [n_head][dv] }. Blocks
 * (positions / CUDA_EXPAND, tiles): tiles of CUDA_EXPAND_OUTS rows of kv_b, n_head (dn + dv). dn, dr and dv are multiples of 8. Twice CUDA_EXPAND + CUDA_EXPAND_OUTS
 * rows in shared memory. */
enum { CUDA_EXPAND = 128, CUDA_EXPAND_OUTS = 128, CUDA_EXPAND_DEEP = 64, CUDA_EXPAND_ROW = 2 * CUDA_EXPAND_DEEP + 16 };
struct cuda_mla_expand { uint16_t *out; const void *kv_b; const struct cuda_seg *seg; int64_t from, to; int n_head, r, dn, dv, dr, bf16, tiles, gap; };
/* The last dr of each head's channels of q are turned, in place; a block a row, from row `first` on */
struct cuda_mla_turn { float *q; struct cuda_rope rope; const struct cuda_seg *seg; int64_t first; int n_seg, n_head, dn, dr; };

/* Rows of logits to tokens (sample.cu); blocks (chunks, rows), (chunks, rows), (chunks, rows), (rows). ids: -1: the CPU is to decide. chunk: n_chunk a row; list:
 * CUDA_CANDIDATES a row. draw: struct k_draw. */
enum { CUDA_CHUNK_LOGITS = 4096, CUDA_CUTS = 32, CUDA_CANDIDATES = 1024 };
struct cuda_draw { double u; float temperature, top_p, min_p; int32_t top_k; };
/* top, top_id, nan: of sample_top; sums of all weights, and of those from min-p on; weights that are not 0; logits from each cut on */
struct cuda_sample_chunk { double sum, sum_least; float top; int32_t top_id, nan, nonzero, count[CUDA_CUTS]; };
struct cuda_candidate { double weight; int32_t id, gap; };
struct cuda_sample {
	int32_t *ids;
	const float *logits;
	const struct cuda_draw *draw;
	struct cuda_sample_chunk *chunk;
	struct cuda_candidate *list;
	int64_t vocab;
	int n_chunk, gap;
};
struct cuda_sample_top { struct cuda_sample sample; };
struct cuda_sample_weigh { struct cuda_sample sample; };
struct cuda_sample_gather { struct cuda_sample sample; };
struct cuda_sample_pick { struct cuda_sample sample; };

#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif

#endif
