/* cudasim_backend.c: the CUDA backend on the simulator: the same operations, the same kernels, any machine. It proves what kernels compute,
 * that they stay inside their memory, and that barriers stand where they must (sim_run.h); it is thousands of times slower than a device. */
#include "libcore/base.h"
#include <stdio.h>
#include <unistd.h>
#include "kernels/cuda/cuda_args.h"
#include "kernels/cuda/cuda_impl.h"
#include "kernels/cudasim/sim_run.h"
#include "libcore/dtype.h"

#define CUDA_KERNEL(name) void k_sim_##name(const void *args);
#include "kernels/cuda/cuda_kernels.def"
#undef CUDA_KERNEL

static const struct { const char *name; void (*kernel)(const void *args); } kernels[] = {
#define CUDA_KERNEL(name) { #name, k_sim_##name },
#include "kernels/cuda/cuda_kernels.def"
#undef CUDA_KERNEL
};

/* Each its own memory, which kernels of the others may not touch. The last is a card before compute capability 8.0. */
static bool sim_probe(int index, struct cuda_why *what)
{
	if (index < CUDA_DEVICES)
		snprintf(what->msg, sizeof(what->msg), "a model of thread blocks, for checks");
	else
		snprintf(what->msg, sizeof(what->msg), "there is no simulator %d, the last is %d", index, CUDA_DEVICES - 1);
	return index < CUDA_DEVICES;
}

static void *sim_open(int index, struct cuda_why *why)
{
	struct k_sim *s = sim_probe(index, why) ? k_sim_new(index == CUDA_DEVICES - 1) : NULL;
	if (!s && index < CUDA_DEVICES)
		snprintf(why->msg, sizeof(why->msg), "no memory for the simulator");
	return s;
}

static void sim_close(void *dev) { k_sim_free(dev); }
static enum cuda_mma sim_mma(void *dev) { return k_sim_is_old(dev) ? CUDA_MMA_F16 : CUDA_MMA_BF16; }
/* Its memory is the machine's. */
static uint64_t sim_room(void *dev)
{
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), used = k_sim_bytes(dev);
	return all > used ? all - used : 0;
}

static void *sim_alloc(void *dev, size_t n) { return k_sim_alloc(dev, n); }
static void sim_free(void *dev, void *p) { k_sim_release(dev, p); }
static void sim_put(void *dev, void *dst, const void *src, size_t n) { k_sim_copy(dev, dst, src, n, true); }

/* That of compute capability 9.0, and of 7.5. */
static unsigned sim_shared(void *dev) { return k_sim_is_old(dev) ? 64 << 10 : 227 << 10; }

static void sim_launch(void *dev, enum cuda_kernel_id kernel, struct cuda_grid grid, const void *args, size_t bytes)
{
	struct k_sim_launch l = { kernels[kernel].name, kernels[kernel].kernel, { grid.x, grid.y, grid.z }, CUDA_THREADS, args, bytes, grid.shared };
	k_sim_run(dev, &l);
}

/* A graph is the list that it was made from. */
struct graph { size_t n; struct cuda_call *call; };

static void sim_graph_free(void *dev K_UNUSED, void *graph)
{
	struct graph *g = graph;
	for (size_t i = 0; i < g->n; i++)
		k_free((void *)g->call[i].args);
	k_free(g->call);
	k_free(g);
}

static void *sim_graph_make(void *dev, const struct cuda_call *call, size_t n)
{
	struct graph *g = k_calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->call = k_calloc(n, sizeof(*g->call));
	for (; g->call && g->n < n; g->n++) {
		void *args = k_alloc(call[g->n].bytes);
		if (!args)
			break;
		memcpy(args, call[g->n].args, call[g->n].bytes);
		g->call[g->n] = call[g->n];
		g->call[g->n].args = args;
	}
	if (g->n == n)
		return g;
	sim_graph_free(dev, g);
	return NULL;
}

/* What is replayed is what would be launched: an argument that changed since is the classic mistake. */
static void sim_graph_launch(void *dev, void *graph, const struct cuda_call *now, size_t n)
{
	const struct graph *g = graph;
	if (g->n != n)
		k_sim_blame(dev, "a graph of %zu launches stands for %zu", g->n, n);
	for (size_t i = 0; i < n && !k_sim_fault(dev); i++) {
		const struct cuda_call *a = &g->call[i], *b = &now[i];
		if (a->kernel != b->kernel || a->bytes != b->bytes || memcmp(&a->grid, &b->grid, sizeof(a->grid)) != 0)
			k_sim_blame(dev, "launch %zu of a graph is %s, and would now be %s, or one of another size", i, kernels[a->kernel].name, kernels[b->kernel].name);
		else if (memcmp(a->args, b->args, a->bytes) != 0)
			k_sim_blame(dev, "launch %zu of a graph, %s, has arguments that have changed since", i, kernels[a->kernel].name);
		sim_launch(dev, a->kernel, a->grid, a->args, a->bytes);
	}
}

static bool sim_has_product(void *dev K_UNUSED, struct cuda_why *what)
{
	snprintf(what->msg, sizeof(what->msg), "a plain loop");
	return true;
}

static double value(const void *p, int64_t i, bool bf16)
{
	return bf16 ? k_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

static void sim_product(void *dev, const struct cuda_product *p)
{
	size_t each = p->bf16 ? sizeof(uint16_t) : sizeof(float);
	if (k_sim_fault(dev) || !k_sim_holds(dev, p->w, (size_t)(p->rows * p->cols) * each, "weights of a product") ||
		!k_sim_holds(dev, p->x, (size_t)((p->n - 1) * p->x_step + p->cols) * each, "rows of a product") ||
		!k_sim_holds(dev, p->y, (size_t)((p->n - 1) * p->y_step + p->rows) * sizeof(float), "results of a product"))
		return;
	for (int64_t i = 0; i < p->n; i++)
		for (int64_t o = 0; o < p->rows; o++) {
			double sum = 0;
			for (int64_t k = 0; k < p->cols; k++)
				sum += value(p->w, o * p->cols + k, p->bf16) * value(p->x, i * p->x_step + k, p->bf16);
			p->y[i * p->y_step + o] = (float)sum;
		}
}

static bool sim_sync(void *dev, struct cuda_why *why)
{
	const char *fault = k_sim_fault(dev);
	if (fault)
		snprintf(why->msg, sizeof(why->msg), "%s", fault);
	return !fault;
}

static bool sim_get(void *dev, void *dst, const void *src, size_t n, struct cuda_why *why)
{
	k_sim_copy(dev, dst, src, n, false);
	return sim_sync(dev, why);
}

static void sim_hand(void *dev, void *dst, void *from, const void *src, size_t n)
{
	if (k_sim_fault(from) || !k_sim_holds(from, src, n, "what is handed over"))
		k_sim_blame(dev, "the device before it: %s", k_sim_fault(from));
	else
		k_sim_copy(dev, dst, src, n, true);
}

static const struct cuda_rt rt = {
	.n_kernels = CUDA_N_KERNELS, .arg_bytes = k_cuda_arg_bytes, .probe = sim_probe, .open = sim_open, .close = sim_close, .mma = sim_mma, .shared = sim_shared, .room = sim_room, .alloc = sim_alloc,
	.free = sim_free, .put = sim_put, .launch = sim_launch, .graph_make = sim_graph_make,
	.graph_launch = sim_graph_launch, .graph_free = sim_graph_free, .has_product = sim_has_product,
	.product = sim_product, .sync = sim_sync, .get = sim_get, .hand = sim_hand,
};

static int cudasim_score(const char *spec)
{
	int index[CUDA_DEVICES];
	return cuda_spec("cudasim", spec, index) > 0;
}

static bool cudasim_probe(char *what, size_t n)
{
	snprintf(what, n, "the CUDA kernels on a model of thread blocks, for checks: very slow");
	return true;
}

extern const struct k_backend k_backend_cudasim;

static int cudasim_open(struct k_device **out, const struct k_ctx *ctx, const char *spec, struct k_err *err)
{
	return cuda_open_on(out, &k_backend_cudasim, &rt, spec, ctx, err);
}

const struct k_backend k_backend_cudasim = { "cudasim", "the CUDA kernels on a model of thread blocks", cudasim_score, cudasim_open, cudasim_probe };
