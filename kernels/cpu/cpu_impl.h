/* cpu_impl.h: the CPU device: operations in terms of the table of microkernels, spread over the pool of the context.
 *
 *   shared scratch   one block, of which the running operation takes pieces:   cpu_take() after cpu_begin()
 *   rooms            one block a worker, private to the task it runs:          room_of()
 *
 * Both are made by open() and grow in reserve(), never in a step. An operation that would need more shared scratch than there is
 * works on fewer rows at a time, which changes no bit of the result. */
#ifndef KERNELS_CPU_CPU_IMPL_H
#define KERNELS_CPU_CPU_IMPL_H

#include "kernels/kk.h"
#include "libcore/backend.h"
#include "libcore/pool.h"

enum { CPU_TOKENS = 48, CPU_QUERIES = KK_QUERIES, CPU_TAPS = 64 };

struct cpu {
	struct k_device dev;
	struct kk kk;
	const char *level;
	float *shared;
	int64_t n_shared, taken;        /* floats */
	float **room;                   /* by worker */
	int64_t n_room;                 /* floats of each */
	int n_worker;
};

static inline struct cpu *cpu_of(struct k_device *d) { return d->impl; }
static inline float *room_of(const struct cpu *c, int worker) { return c->room[worker]; }

/* Begins an operation's use of the shared scratch; takes n floats of it, aligned to 64 bytes. How many rows of `each` floats fit,
 * at least 1, at most n. */
static inline void cpu_begin(struct cpu *c) { c->taken = 0; }
float *cpu_take(struct cpu *c, int64_t n);
int64_t cpu_fit(const struct cpu *c, int64_t n, int64_t each);
/* fn for i < n over the pool; in this thread when `work` (about one multiply-add a unit) does not pay for waking others. */
void cpu_each(const struct cpu *c, int64_t n, double work, void (*fn)(void *arg, int64_t i, int worker), void *arg);

/* Rows of activations: row i is base + (index ? index[i] : i) * step. act: what cpu_round made them for. */
struct cpu_rows { const float *base; int64_t step; const int32_t *index; enum k_act act; };
static inline struct cpu_rows cpu_rows_at(struct cpu_rows r, int64_t i)
{
	if (r.index)
		r.index += i;
	else
		r.base += i * r.step;
	return r;
}
/* y[t * y_step + i] = w[row + i] . x[t], i < rows, t < n, for one slice of any type that dequantises; row is a multiple of 16. */
void cpu_mul(const struct cpu *c, int worker, const struct k_tensor *w, int64_t row, int rows, struct cpu_rows x, float *y, int64_t y_step,
	int64_t n);
/* Rows that a task should take of a matrix: a multiple of 16. */
int cpu_task_rows(const struct k_tensor *w);
/* The precision of activations. */
static inline enum k_act cpu_act(const struct cpu *c, bool exact) { return exact ? K_ACT_F32 : c->dev.ctx->act; }
/* Do activations go into products as they are? Else cpu_round makes a row of cols of them what the product with w takes: rounded, or in
 * the kernel's own form where it has one. y: KK_READY(cols) floats, may be x. */
bool cpu_plain(const struct k_tensor *w, enum k_act act);
void cpu_round(const struct cpu *c, const struct k_tensor *w, enum k_act act, float *y, const float *x, int64_t cols);

/* Floats that an operation wants: of shared scratch a row (it may get fewer rows at once), and of a worker's room. */
int64_t cpu_gemm_row(const struct k_hp *hp);
int64_t cpu_moe_row(const struct k_hp *hp);
int64_t cpu_moe_fixed(const struct k_hp *hp);
int64_t cpu_attn_row(const struct k_hp *hp);
int64_t cpu_kda_row(const struct k_hp *hp);
int64_t cpu_kda_fixed(const struct k_hp *hp);
int64_t cpu_gemm_room(const struct k_hp *hp);
int64_t cpu_attn_room(const struct k_hp *hp);
int64_t cpu_kda_room(const struct k_hp *hp);
int64_t cpu_moe_room(const struct k_hp *hp);
int64_t cpu_blend_room(const struct k_hp *hp);
/* y[i] = SwiGLU of gate and up, or SiTU (struct k_op_swiglu), i < n, in this thread. */
void cpu_unit(const struct cpu *c, float *y, const float *gate, const float *up, double situ, double situ_up, int64_t n);

#define K_OP(name, what) void cpu_##name(struct k_device *dev, const struct k_op_##name *op);
#include "libcore/ops.def"
#undef K_OP

#endif
