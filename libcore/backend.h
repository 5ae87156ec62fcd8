/* backend.h: devices. A backend (kernels/<x>/<x>_backend.c, `const struct k_backend k_backend_<x>`) registers by existing; libcore
 * calls it through struct k_device only. Memory that operations see comes from dev->alloc; on the CPU it is host memory. */
#ifndef K_BACKEND_H
#define K_BACKEND_H

#include "libcore/arch.h"
#include "libcore/ctx.h"
#include "libcore/sample.h"
#include "libcore/tensor.h"

struct k_device;

/* y[i] = row ids[i] of w, in f32. ids on the host. */
struct k_op_embed { float *y; const struct k_tensor *w; const int32_t *ids; int64_t n; };
/* y[i][j] = w[j] * x[i][j] / sqrt(mean_j x[i][j]^2 + eps); rows of dim, steps in floats; y may be x. w: dim f32. */
struct k_op_rmsnorm { float *y; const float *x; const float *w; int64_t n, dim, y_step, x_step; double eps; };
/* y[i][o] = sum_k w[o][k] x[i][k] (+ bias[o]); w is one 2-D slice of any type that dequantises; x first passes through the
 * device's activation precision (ctx->act), unless exact (routers, small gates: always f32). */
struct k_op_gemm { float *y; const float *x; const struct k_tensor *w; const float *bias; int64_t n, y_step, x_step; bool exact; };
/* y[i] += x[i], n floats. */
struct k_op_add { float *y; const float *x; int64_t n; };
/* Attention residuals (arXiv:2607.24653, eq. 8-10), of each row by itself: of the vectors v_s, those of blocks [0, n_block) and at last x, all [n][dim]:
 * score_s = sum_j v_s[j] / sqrt(mean_j v_s[j]^2 + eps) w[j] query[j]; y = sum_s softmax(score)_s v_s. w, query: dim f32; y is none of the others. */
struct k_op_blend { float *y; const float *const *block; int64_t n_block; const float *x, *w, *query; int64_t n, dim; double eps; };
/* y[i] = silu(gate[i]) * up[i], n floats; y may be gate. situ (not 0), SiTU: situ tanh(gate / situ) sigmoid(gate) * up, where up is situ_up tanh(up / situ_up)
 * unless situ_up is 0. */
struct k_op_swiglu { float *y; const float *gate, *up; int64_t n; double situ, situ_up; };
/* y[i] *= sigmoid(z[i]), n floats. */
struct k_op_gate { float *y; const float *z; int64_t n; };
/* logits [n][n_expert] -> ids, weights [n][n_used], experts ascending by id. Scores: sigmoid (or softmax); selection by score + bias
 * within the best n_group_used of n_group groups (group value: sum of its two largest; dropped groups -inf), ties to the lower index;
 * weights: the unbiased scores (biased: with bias), divided by their sum + 1e-20 if norm, times scale. bias may be NULL. */
struct k_op_route { int32_t *ids; float *weights; const float *logits; const float *bias; int64_t n; const struct k_hp *hp; };
/* y[i] = sum over used experts in ascending order of weight * down_e(silu(gate_e x) * up_e x), or SiTU of them (hp). Stacks [E, F, D], [E, F, D], [E, D, F];
 * D is k_hp_expert_width. */
struct k_op_moe { float *y; const float *x; const int32_t *ids; const float *weights; const struct k_tensor *gate, *up, *down; int64_t n; const struct k_hp *hp; };

/* A run of rows of the batch that belongs to one sequence: rows [row, row + n), at positions pos, pos + 1, ... */
struct k_seg { int64_t row, n, pos; struct k_seq_layer *state; };

/* State that a layer keeps for a sequence (device memory), and what its pages hold; a position is rounded when it is appended and never again.
 * Pages hold K_PAGE tokens.
 *
 *   f32    page[p] + (t % K_PAGE) * width values
 *   bf16   the same, rounded to nearest, ties to even
 *   int8   K_KV_GROUP values of a token are whole numbers of -127 to 127, kept as 1 to 255, and a scale, as act_int8 rounds (kernels/kk.def). Values
 *          of 16 tokens, those of the next 16, ...; then the first group's scales (f32) of all 64, the second's, ... Of 16 tokens four values of
 *          each, a word, then four more (a number of values is a multiple of 4). Scores multiply the bytes of words as they lie; of four words
 *          outputs take the first bytes, the second, ..., which one shuffle gives.
 *              t0 v0 v1 v2 v3 | t1 v0 v1 v2 v3 | ... t15 v0 v1 v2 v3 | t0 v4 v5 v6 v7 | ... */
#define K_PAGE 64
#define K_KV_GROUP 32
static inline size_t k_kv_int8_at(int64_t width, int64_t token, int64_t value)
{
	return (size_t)(token / 16 * 16 * width + value / 4 * 64 + token % 16 * 4 + value % 4);
}
/* The first token's scale of a group, in bytes; those of the others follow. */
static inline size_t k_kv_scales_at(int64_t width, int64_t group) { return (size_t)(width * K_PAGE + group * K_PAGE * (int64_t)sizeof(float)); }
enum k_kv { K_KV_F32, K_KV_BF16, K_KV_INT8 };
extern const char *const k_kv_names[];
/* Bytes of a token with so many values in so many groups. */
static inline size_t k_kv_bytes(enum k_kv kv, int64_t values, int64_t groups)
{
	return kv == K_KV_INT8 ? (size_t)values + (size_t)groups * sizeof(float) : (size_t)values * (kv == K_KV_BF16 ? sizeof(uint16_t) : sizeof(float));
}
static inline int64_t k_kv_groups(int64_t values) { return k_div_up(values, K_KV_GROUP); }

struct k_seq_layer {
	void **page;                    /* MLA: width r + dr: [normed latent | rotated key]; GQA: width 2 * Hkv * d: [keys | values] */
	int64_t n_page;
	float *state;                   /* KDA: [head][value channel][key channel] f32, or as in kda_state.h */
	bool deferred;                  /* the latter: the device says that it does so */
	float *conv;                    /* KDA: [3 (q, k, v)][taps - 1][P] raw projections, oldest first */
	enum k_kv kv;                   /* BF16 and int8 only where the device says that it takes them */
};

/* One KDA layer after its projections. q k v a z: [n][P] raw (a: forget gate logits before dt_bias, z: output gate logits), beta: [n][H] logits.
 * Per token and head: conv + silu, q = L2(q) d^-1/2, k = L2(k), g = -exp(A_log) softplus(a + dt_bias), or, where hp has a gate_bound, gate_bound
 * sigmoid(exp(A_log) (a + dt_bias)), S = diag(e^g) S,
 * e = v - S^T k, S += k (sigmoid(beta) e)^T, o = S^T q, y = rmsnorm(o; o_norm, eps) * sigmoid(z). L2: x / sqrt(sum x^2 + 1e-6).
 * conv_w: 3 x [taps][P] f32, last tap is the current token. Token by token in order, so cuts of a prompt do not change a bit. */
struct k_op_kda { float *y; const float *q, *k, *v, *a, *z, *beta; const float *conv_w[3], *a_log, *dt_bias, *o_norm; const struct k_seg *seg; int64_t n_seg, n; const struct k_hp *hp; };
/* q: [n][H*(dn+dr)], kv: [n][r+dr] raw output of kv_a. Norms the latent with kv_norm (eps_inner), rotates q's and kv's last dr (hp->rope, unless
 * NONE), appends to the pages, then per head in absorbed form over all positions <= its own:
 * q~ = K_h^T q_nope, score = scale (q~ . c + q_rope . kr), softmax, o~ = sum p c, y_h = V_h o~.
 * kv_b: [H][dn + dv][r] (k rows first), f32, or BF16 where the device says that it takes it. scale: (dn+dr)^-1/2 times the yarn factor squared. cos/sin: tables of the sequence's
 * positions: rope[pos][dr/2][2] (cos, sin), f32 from double angles. y and q NULL: it only appends. */
struct k_op_mla { float *y; float *q, *kv; const float *kv_norm; const struct k_tensor *kv_b; const float *rope; double scale; const struct k_seg *seg; int64_t n_seg, n; const struct k_hp *hp; };
/* q [n][H*d], k v [n][Hkv*d] raw; rotates q and k, appends, attends with scale d^-1/2; query head h reads kv head h / (H/Hkv). y and q NULL: it only appends. */
struct k_op_gqa { float *y; float *q, *k; const float *v; const float *rope; const struct k_seg *seg; int64_t n_seg, n; const struct k_hp *hp; };

/* ids[i] (device memory): the token that k_sample has for row i of logits by draw[i] (host memory) and nothing else; or -1: it is to be asked, because the
 * device does not know, or the row has no token. */
struct k_op_sample { int32_t *ids; const float *logits; const struct k_draw *draw; int64_t n, vocab; };

struct k_ops {
#define K_OP(name, what) void (*name)(struct k_device *dev, const struct k_op_##name *op);
#include "libcore/ops.def"
#undef K_OP
};

struct k_device {
	const struct k_backend *backend;
	struct k_ops ops;
	const struct k_ctx *ctx;
	bool bf16_attention;            /* attention takes pages, and kv_b, of BF16 too */
	bool int8_pages;
	bool kda_deferred;              /* the delta rule keeps tokens of a chunk beside the state (kda_state.h) */
	bool far;                       /* operations do not read the host's memory: weights are put into the device's */
	void *tap;                      /* of whoever laid functions of his own over ops; else NULL */
	/* Device memory, 64-byte aligned, zeroed; NULL without memory. */
	void *(*alloc)(struct k_device *, size_t n);
	void (*free)(struct k_device *, void *p);
	int (*put)(struct k_device *, void *dst, const void *host, size_t n, struct k_err *);
	int (*get)(struct k_device *, void *host, const void *src, size_t n, struct k_err *);
	/* Scratch for operations on up to n rows of a model of this shape and contexts up to n_ctx; called when a model opens and when limits grow; steps then allocate nothing. */
	int (*reserve)(struct k_device *, const struct k_hp *, int64_t n_rows, int64_t n_ctx, struct k_err *);
	/* NULL: whoever wants tokens gets the logits. */
	void (*sample)(struct k_device *, const struct k_op_sample *);
	/* Bytes that are left for weights and sequences in a memory of its own; NULL: it is the host's. Weights that are not in it have tensor.host. */
	uint64_t (*room)(struct k_device *);
	/* Around the operations of a step; decode: its rows are of as many sequences. In between they may be kept back: they are on their way when end
	 * returns, or when somebody gets. NULL: each goes at once. */
	void (*begin)(struct k_device *, bool decode);
	void (*end)(struct k_device *);
	const char *(*level)(struct k_device *);        /* "avx2" */
	/* Devices that share a model's layers: the one after this one; NULL: none. Closing the first closes all. */
	struct k_device *next;
	/* n bytes from another of them: behind all that was asked of `from`, before all that will be asked of this one. What fails is told by the next get.
	 * May be NULL where there is no other. */
	void (*hand)(struct k_device *, void *dst, struct k_device *from, const void *src, size_t n);
	void (*close)(struct k_device *);
	void *impl;
};

struct k_backend {
	const char *name, *about;
	int (*score)(const char *spec);                 /* 0: not here */
	int (*open)(struct k_device **out, const struct k_ctx *ctx, const char *spec, struct k_err *err);
	/* Is there a device of it? what: its name, or why not. NULL: always. */
	bool (*probe)(char *what, size_t n);
};
/* What pages hold where nobody says: whoever rounds activations need not keep more of keys and values. */
static inline enum k_kv k_kv_of(const struct k_ctx *ctx, bool bf16_attention)
{
	return ctx->kv ? (enum k_kv)(ctx->kv - 1) : ctx->act != K_ACT_F32 && bf16_attention ? K_KV_BF16 : K_KV_F32;
}
/* spec NULL: "cpu". "auto": the best that is here. Unknown or absent: K_EDEVICE. */
int k_device_open(struct k_device **out, const struct k_ctx *ctx, const char *spec, struct k_err *err) K_MUST_USE;
void k_device_close(struct k_device *d);
/* Is spec "auto" or one that some backend takes for its own, whether or not there is such a device? */
bool k_device_known(const char *spec);
const struct k_backend *k_backend_at(int i);

#endif
