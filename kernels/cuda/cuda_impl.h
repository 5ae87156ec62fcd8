/* cuda_impl.h: the CUDA device seen from the host: operations in terms of launches, over a runtime (cuda_rt.h) that may be the real one or the
 * simulator's. What the kernels cannot do runs on a CPU device in the same memory, and is said once.
 *
 *   scratch   one block of device memory, of which the running operation takes pieces:   cuda_take() after cuda_begin()
 *   table     host memory in which ids, segments and page lists are put together before they are sent; there: where they are sent to
 *   step      what a decode step launches (cuda_step.c)
 *
 * All are made by open() and grow in reserve(), never in a step. */
#ifndef KERNELS_CUDA_CUDA_IMPL_H
#define KERNELS_CUDA_CUDA_IMPL_H

#include "kernels/cuda/cuda_args.h"
#include "kernels/cuda/cuda_heap.h"
#include "kernels/cuda/cuda_rt.h"
#include "libcore/backend.h"

enum cuda_op_id {
#define K_OP(name, what) CUDA_OP_##name,
#include "libcore/ops.def"
#undef K_OP
	CUDA_N_OPS
};

/* A list of launches, and what it was made into. */
struct cuda_graph { struct cuda_call *call; uint8_t *args; size_t n; void *exec; uint64_t used; };
enum { CUDA_GRAPHS = 32 };
struct cuda_step {
	bool on;                        /* launches are listed, and not launched */
	struct cuda_call *call;
	uint8_t *args;
	size_t n, n_args;
	struct cuda_graph graph[CUDA_GRAPHS];
	uint64_t clock;
	int64_t made, launched;
};

/* Experts of the host in slots of device memory (cuda_host.c). stack: the slots as three tensors; first, more, copy: seconds. */
enum { CUDA_CACHE_PAIRS = 1024 };
struct cuda_slot { bool taken; int64_t layer, expert; uint64_t call; };
struct cuda_cached { const void *gate; uint32_t *uses, *now; int32_t *slot; };
struct cuda_cache {
	bool tried;
	struct k_tensor stack[3];
	float *io, *room;
	struct cuda_slot *slot;
	struct cuda_cached *layer;
	int64_t n_slot, n_layer, copied;
	uint64_t calls;
	double first, more, copy;
};

struct cuda {
	struct k_device dev;
	const struct cuda_rt *rt;
	void *on;                       /* rt's device */
	struct k_device *cpu;           /* what the kernels leave */
	enum cuda_mma mma;
	bool has_product;
	bool said_product;              /* whether there is a library */
	bool said[CUDA_N_OPS];          /* that an operation runs there */
	char level[48];
	uint8_t *scratch;
	int64_t n_scratch, taken;       /* bytes */
	uint8_t *table, *there;
	int64_t n_table, told;          /* told: bytes of it in use */
	struct cuda_heap *heap;
	uint8_t *stage;                 /* between the host and the device */
	int64_t n_stage;
	struct cuda_step step;
	struct cuda_cache cache;
};

extern const uint32_t k_cuda_arg_bytes[CUDA_N_KERNELS];

static inline struct cuda *cuda_of(struct k_device *d) { return d->impl; }

/* The devices of a spec, "NAME", "NAME:1" or "NAME:0,1": how many; 0: it is not one of this name's. */
enum { CUDA_DEVICES = 8 };
int cuda_spec(const char *name, const char *spec, int index[CUDA_DEVICES]);
/* Devices of backend b on those of rt. */
int cuda_open_on(struct k_device **out, const struct k_backend *b, const struct cuda_rt *rt, const char *spec, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;

/* cuda_launch(c, rmsnorm, x, y, z, .dim = ..., ...): the kernel with its arguments by name; nothing where a block count is 0. */
#define cuda_launch(c, name, gx, gy, gz, ...) \
	cuda_launch_bytes(c, CUDA_KERNEL_##name, gx, gy, gz, &(struct cuda_##name){ __VA_ARGS__ }, sizeof(struct cuda_##name))
void cuda_launch_bytes(struct cuda *c, enum cuda_kernel_id kernel, int64_t x, int64_t y, int64_t z, const void *args, size_t bytes);
/* With so many bytes for K_SHARED_MORE. */
void cuda_launch_more(struct cuda *c, enum cuda_kernel_id kernel, int64_t x, int64_t y, int64_t z, int64_t shared, const void *args, size_t bytes);
#define cuda_launch_shared(c, name, gx, gy, gz, shared, ...) \
	cuda_launch_more(c, CUDA_KERNEL_##name, gx, gy, gz, shared, &(struct cuda_##name){ __VA_ARGS__ }, sizeof(struct cuda_##name))

static inline void cuda_begin(struct cuda *c)
{
	c->taken = 0;
	if (!c->step.on)
		c->told = 0;
}
void *cuda_take(struct cuda *c, int64_t bytes);
/* n bytes of the table for the running operation, where they will be on the device; NULL: no room. */
uint8_t *cuda_tell(struct cuda *c, int64_t n, uint8_t **host);
/* They are written. */
void cuda_told(struct cuda *c, const uint8_t *host, int64_t n);
/* How many rows of `each` bytes fit into what is left, at least 1, at most n. */
int64_t cuda_fit(const struct cuda *c, int64_t n, int64_t each);

/* The matrix or stack as kernels see it; false: a type that they do not read. */
bool cuda_matrix(struct cuda_matrix *m, const struct k_tensor *w);
/* Segments in device memory, with their pages where width is not 0; false: there is no room for the list of pages. */
bool cuda_segs(struct cuda *c, const struct k_seg *seg, int64_t n_seg, int64_t width, const struct cuda_seg **out);
/* Rows of activations in the precision of ctx->act, in scratch of n * cols floats; x itself where that is f32. */
const float *cuda_round(struct cuda *c, float *room, const float *x, int64_t n, int64_t cols, int64_t x_step);
/* Do n floats at p lie apart from m at q? */
static inline bool cuda_apart(const float *p, int64_t n, const float *q, int64_t m) { return p + n <= q || q + m <= p; }
/* The last launch in the list of a step; NULL: there is none, or it is not known. */
static inline const struct cuda_call *cuda_last(const struct cuda *c) { return c->step.on && c->step.n ? &c->step.call[c->step.n - 1] : NULL; }

static inline bool cuda_rounds(const struct cuda *c) { return c->dev.ctx->act != K_ACT_F32; }

/* Do tensor cores multiply with it? Activations are bf16 then, and rounded into scratch. */
bool cuda_takes_mma(const struct cuda *c, const struct cuda_matrix *w);

/* The first rows of a product, as many as a library computed (cuda_blas.c); 0: it takes none of them. */
int64_t cuda_by_library(struct cuda *c, const struct k_op_gemm *op, const struct cuda_matrix *w);

/* On the CPU, why: a part of a sentence. */
struct k_device *cuda_on_cpu(struct cuda *c, enum cuda_op_id op, const char *why);

/* cuda_host.c: with weights in the host's memory. row: bytes of cuda_row_bytes */
int cuda_host_reserve(struct cuda *c, const struct k_hp *hp, int64_t row, struct k_err *err) K_MUST_USE;
void cuda_host_embed(struct cuda *c, const struct k_op_embed *op);
void cuda_host_gemm(struct cuda *c, const struct k_op_gemm *op);
void cuda_host_moe(struct cuda *c, const struct k_op_moe *op);
void cuda_cache_close(struct cuda *c);

/* cuda_step.c */
int cuda_step_reserve(struct cuda *c, struct k_err *err) K_MUST_USE;
void cuda_step_close(struct cuda *c);
void cuda_step_begin(struct k_device *d, bool decode);
void cuda_step_end(struct k_device *d);
bool cuda_step_add(struct cuda *c, enum cuda_kernel_id kernel, struct cuda_grid grid, const void *args, size_t bytes);
void cuda_step_flush(struct cuda *c);

/* cuda_merge.c: can a launch that comes behind `last` be done by it? Then last is changed, and its arguments, which have room for CUDA_MOST_ARGS bytes. */
enum { CUDA_MOST_ARGS = 2048 };
bool cuda_merge(struct cuda_call *last, void *last_args, enum cuda_kernel_id kernel, struct cuda_grid grid, const void *args);

/* cuda_sample.c */
void cuda_sample(struct k_device *dev, const struct k_op_sample *op);

/* Bytes of scratch that an operation takes for n rows (it may get fewer rows at once), and for anything else. */
int64_t cuda_row_bytes(const struct k_hp *hp, int64_t n_ctx);

#define K_OP(name, what) void cuda_op_##name(struct k_device *dev, const struct k_op_##name *op);
#include "libcore/ops.def"
#undef K_OP

#endif
