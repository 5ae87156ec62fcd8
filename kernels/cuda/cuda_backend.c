/* cuda_backend.c: NVIDIA GPUs as devices. Nothing of CUDA is linked: kernels and runtime are in ktools-cuda.so (make cuda), which lies
 * beside the tools, ../lib/ktools/ from their folder, and is opened when somebody asks for a device of it.
 *
 *   "cuda", "cuda:1"   that device, or a sentence
 *   "cuda:0,1"         those: a model's layers are split over them
 *   "auto"             device 0 where there is one, else the CPU */
#include "libcore/base.h"
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "kernels/cuda/cuda_impl.h"
#include "libcore/log.h"

extern const struct k_backend k_backend_cuda;

enum { SCRATCH_MIN = 1024 * 1024, SCRATCH_MOST = 64 * 1024 * 1024, TABLE_MIN = 64 * 1024, TABLE_MOST = 1024 * 1024, TABLE_STEP = 8 * 1024 * 1024, STEP_ROWS = 64,
	ALIGN = 256, DRIVERS = 256 * 1024 * 1024 };

const uint32_t k_cuda_arg_bytes[CUDA_N_KERNELS] = {
#define CUDA_KERNEL(name) sizeof(struct cuda_##name),
#include "kernels/cuda/cuda_kernels.def"
#undef CUDA_KERNEL
};

/* --- the device ---------------------------------------------------------------------------------------------------------- */

/* Of what is free a part is left to the driver. --gpu-memory is for what we ask for; what others have on the card is their affair. */
static uint64_t cuda_room(struct k_device *d)
{
	struct cuda *c = cuda_of(d);
	uint64_t left = c->rt->room(c->on), cap = d->ctx->gpu_memory, used = cuda_heap_used(c->heap);
	left -= K_MIN(left, (uint64_t)DRIVERS);
	return cap ? K_MIN(left, cap > used ? cap - used : 0) : left;
}

static void *cuda_alloc(struct k_device *d, size_t n) { return cuda_heap_take(cuda_of(d)->heap, n, d->ctx->gpu_memory); }
static void cuda_free(struct k_device *d, void *p) { cuda_heap_give(cuda_of(d)->heap, p); }

static int cuda_put(struct k_device *d, void *dst, const void *src, size_t n, struct k_err *err K_UNUSED)
{
	struct cuda *c = cuda_of(d);
	cuda_step_flush(c);
	c->rt->put(c->on, dst, src, n);
	return 0;
}

static int cuda_get(struct k_device *d, void *dst, const void *src, size_t n, struct k_err *err)
{
	struct cuda *c = cuda_of(d);
	struct cuda_why why;
	cuda_step_flush(c);
	if (c->rt->get(c->on, dst, src, n, &why))
		return 0;
	return k_err_set(err, K_EDEVICE, "%s: %s", c->level, why.msg);
}

/* Both sides' steps have ended. */
static void cuda_hand(struct k_device *d, void *dst, struct k_device *from, const void *src, size_t n)
{
	struct cuda *c = cuda_of(d);
	c->rt->hand(c->on, dst, cuda_of(from)->on, src, n);
}

static const char *cuda_level(struct k_device *d) { return cuda_of(d)->level; }

static int grow(struct cuda *c, int64_t scratch, int64_t table, struct k_err *err)
{
	if (scratch > c->n_scratch) {
		void *p = cuda_heap_take(c->heap, (size_t)scratch, 0);
		if (!p)
			return k_err_nomem(err, (size_t)scratch, "scratch of the device");
		if (c->scratch)
			cuda_heap_give(c->heap, c->scratch);
		c->scratch = p;
		c->n_scratch = scratch;
	}
	if (table > c->n_table) {
		void *host = k_realloc(c->table, (size_t)table), *there = cuda_heap_take(c->heap, (size_t)table, 0);
		if (host)
			c->table = host;
		if (c->there && there)
			cuda_heap_give(c->heap, c->there);
		if (there)
			c->there = there;
		if (!host || !there)
			return k_err_nomem(err, (size_t)table, "page lists of the device");
		c->n_table = table;
	}
	return 0;
}

static int cuda_reserve(struct k_device *d, const struct k_hp *hp, int64_t n_rows, int64_t n_ctx, struct k_err *err)
{
	struct cuda *c = cuda_of(d);
	int64_t row = cuda_row_bytes(hp, n_ctx), want = K_MAX(row, (int64_t)SCRATCH_MOST), all;
	int64_t pages = (n_ctx / K_PAGE + CUDA_SPAN / K_PAGE) * (int64_t)sizeof(void *), table = n_rows * (int64_t)sizeof(struct cuda_seg), step;
	int rc = c->cpu->reserve(c->cpu, hp, n_rows, n_ctx, err);
	if (k_mul_i64(row, n_rows, &all))
		want = K_MIN(want, all);
	if (k_mul_i64(pages, n_rows, &all))
		table += K_MAX(pages, K_MIN(all, (int64_t)TABLE_MOST));
	else
		table += K_MAX(pages, (int64_t)TABLE_MOST);
	/* In a decode step all layers have theirs at once. */
	if (!k_mul_i64(pages + (int64_t)sizeof(struct cuda_seg), K_MIN(n_rows, (int64_t)STEP_ROWS) * hp->n_layer, &step))
		step = TABLE_STEP;
	table = K_MAX(table, K_MIN(step + hp->n_layer * ALIGN, (int64_t)TABLE_STEP));
	if (!rc)
		rc = grow(c, want + 64 * ALIGN, table, err);
	if (!rc)
		rc = cuda_host_reserve(c, hp, row, err);
	return rc ? rc : cuda_step_reserve(c, err);
}

static void cuda_close(struct k_device *d)
{
	struct cuda *c = cuda_of(d);
	if (d->next)
		d->next->close(d->next);
	if (c->heap)
		k_logf(d->ctx->log, K_LOG_DEBUG, "%s: at most %llu bytes of device memory", c->level, (unsigned long long)cuda_heap_peak(c->heap));
	cuda_step_close(c);
	cuda_cache_close(c);
	cuda_heap_free(c->heap);
	if (c->on)
		c->rt->close(c->on);
	k_device_close(c->cpu);
	k_free(c->table);
	k_free(c->stage);
	k_free(c);
}

static int open_one(struct k_device **out, const struct k_backend *b, const struct cuda_rt *rt, int index, const struct k_ctx *ctx,
	struct k_err *err)
{
	struct cuda *c = k_calloc(1, sizeof(*c));
	struct cuda_why why;
	int rc;
	*out = NULL;
	if (!c)
		return k_err_nomem(err, sizeof(*c), "the device");
	c->dev = (struct k_device){ .backend = b, .ctx = ctx, .far = true, .bf16_attention = true, .alloc = cuda_alloc, .free = cuda_free, .put = cuda_put, .get = cuda_get,
		.reserve = cuda_reserve, .room = cuda_room, .begin = cuda_step_begin, .end = cuda_step_end, .hand = cuda_hand, .sample = cuda_sample, .level = cuda_level, .close = cuda_close, .impl = c };
#define K_OP(name, what) c->dev.ops.name = cuda_op_##name;
#include "libcore/ops.def"
#undef K_OP
	c->rt = rt;
	snprintf(c->level, sizeof(c->level), index ? "%s:%d" : "%s", b->name, index);
	rc = k_device_open(&c->cpu, ctx, "cpu", err);
	if (!rc && !(c->on = rt->open(index, &why)))
		rc = k_err_set(err, K_EDEVICE, "--device is '%s': %s", c->level, why.msg);
	if (!rc && !(c->heap = cuda_heap_new(rt, c->on, DRIVERS)))
		rc = k_err_nomem(err, sizeof(*c), "the device");
	if (!rc)
		rc = grow(c, SCRATCH_MIN + TABLE_MIN, TABLE_MIN, err);
	if (!rc)
		c->mma = rt->mma(c->on);
	if (rc)
		cuda_close(&c->dev);
	else
		*out = &c->dev;
	return rc;
}

int cuda_spec(const char *name, const char *spec, int index[CUDA_DEVICES])
{
	size_t len = strlen(name);
	int n = 0;
	if (strcmp(spec, name) == 0) {
		index[0] = 0;
		return 1;
	}
	if (strncmp(spec, name, len) != 0 || spec[len] != ':')
		return 0;
	for (const char *p = spec + len; *p; n++) {
		int v = 0, digits = 0;
		for (p++; *p >= '0' && *p <= '9' && digits < 3; digits++)
			v = 10 * v + (*p++ - '0');
		if (!digits || (*p && *p != ',') || n == CUDA_DEVICES)
			return 0;
		for (int i = 0; i < n; i++)
			if (index[i] == v)
				return 0;
		index[n] = v;
	}
	return n;
}

int cuda_open_on(struct k_device **out, const struct k_backend *b, const struct cuda_rt *rt, const char *spec, const struct k_ctx *ctx,
	struct k_err *err)
{
	int index[CUDA_DEVICES] = { 0 }, n = K_MAX(cuda_spec(b->name, spec, index), 1), rc = 0;
	struct k_device **last = out;
	*out = NULL;
	for (int i = 0; i < n && rc == 0; i++) {
		rc = open_one(last, b, rt, index[i], ctx, err);
		if (rc == 0)
			last = &(*last)->next;
	}
	if (rc < 0 && *out) {
		cuda_close(*out);
		*out = NULL;
	}
	return rc;
}

/* --- what operations use ------------------------------------------------------------------------------------------------- */

void cuda_launch_bytes(struct cuda *c, enum cuda_kernel_id kernel, int64_t x, int64_t y, int64_t z, const void *args, size_t bytes)
{
	cuda_launch_more(c, kernel, x, y, z, 0, args, bytes);
}

void cuda_launch_more(struct cuda *c, enum cuda_kernel_id kernel, int64_t x, int64_t y, int64_t z, int64_t shared, const void *args, size_t bytes)
{
	struct cuda_grid grid = { (unsigned)x, (unsigned)y, (unsigned)z, (unsigned)shared };
	if (x > 0 && y > 0 && z > 0 && !cuda_step_add(c, kernel, grid, args, bytes))
		c->rt->launch(c->on, kernel, grid, args, bytes);
}

void *cuda_take(struct cuda *c, int64_t bytes)
{
	void *p = c->scratch + c->taken;
	K_ASSERT(bytes >= 0 && bytes <= c->n_scratch - c->taken);
	c->taken += K_MIN((int64_t)k_align_up((uint64_t)bytes, ALIGN), c->n_scratch - c->taken);
	return p;
}

int64_t cuda_fit(const struct cuda *c, int64_t n, int64_t each)
{
	int64_t m = each ? (c->n_scratch - c->taken - 16 * ALIGN) / each : n;
	return K_MIN(n, K_MAX(m, (int64_t)1));
}

bool cuda_matrix(struct cuda_matrix *m, const struct k_tensor *w)
{
	static const struct { const char *name, *layout; enum cuda_type type; } known[] = {
		{ "f32", "rows", CUDA_F32 }, { "bf16", "rows", CUDA_BF16 }, { "f16", "rows", CUDA_F16 }, { "i4g32", "rows", CUDA_I4_ROWS },
		{ "i4g32", "x16", CUDA_I4_X16 }, { "fp8b128", "rows", CUDA_FP8B128 }, { "mxfp4", "rows", CUDA_MXFP4 },
		{ "mxfp4", "x16", CUDA_MX4_X16 }, { "i8row", "rows", CUDA_I8ROW },
	};
	uint64_t slice;
	for (size_t i = 0; i < K_LEN(known); i++)
		if (strcmp(w->type->name, known[i].name) == 0 && strcmp(w->type->layout, known[i].layout) == 0) {
			*m = (struct cuda_matrix){ w->data, k_shape_rows(w->ndim, w->shape), k_shape_cols(w->ndim, w->shape), 0, known[i].type, 0 };
			if (!k_qtype_slice_bytes(w->type, m->rows, m->cols, &slice))
				return false;
			m->slice = (int64_t)slice;
			return true;
		}
	return false;
}

uint8_t *cuda_tell(struct cuda *c, int64_t n, uint8_t **host)
{
	/* What a step has told so far goes on its way, and the table is free again. */
	if (c->step.on && n > c->n_table - c->told)
		cuda_step_flush(c);
	if (n > c->n_table - c->told)
		return NULL;
	*host = c->table + c->told;
	c->told += K_MIN((int64_t)k_align_up((uint64_t)n, ALIGN), c->n_table - c->told);
	return c->there + (*host - c->table);
}

void cuda_told(struct cuda *c, const uint8_t *host, int64_t n)
{
	if (!c->step.on)
		c->rt->put(c->on, c->there + (host - c->table), host, (size_t)n);
}

/* Pages in the list of a segment. In a step that may be kept, lists have room for all that the longest has of whole spans: what comes after them
 * stays in its place while sequences grow. */
static int64_t listed(const struct cuda *c, const struct k_seg *seg, int64_t n_seg, int64_t i)
{
	int64_t longest = seg[i].pos + seg[i].n;
	for (int64_t k = 0; c->step.on && k < n_seg; k++)
		longest = K_MAX(longest, seg[k].pos + seg[k].n);
	return c->step.on ? k_div_up(longest, CUDA_SPAN) * (CUDA_SPAN / K_PAGE) : k_div_up(longest, K_PAGE);
}

static int64_t segs_bytes(const struct cuda *c, const struct k_seg *seg, int64_t n_seg, int64_t width)
{
	int64_t bytes = n_seg * (int64_t)sizeof(struct cuda_seg);
	if (width && c->step.on)
		return bytes + n_seg * listed(c, seg, n_seg, 0) * (int64_t)sizeof(void *);
	for (int64_t i = 0; width && i < n_seg; i++)
		bytes += listed(c, seg, n_seg, i) * (int64_t)sizeof(void *);
	return bytes;
}

bool cuda_segs(struct cuda *c, const struct k_seg *seg, int64_t n_seg, int64_t width, const struct cuda_seg **out)
{
	int64_t bytes = segs_bytes(c, seg, n_seg, width), at = n_seg * (int64_t)sizeof(struct cuda_seg);
	uint8_t *host, *there;
	if (c->step.on && bytes > c->n_table - c->told) {
		cuda_step_flush(c);
		bytes = segs_bytes(c, seg, n_seg, width);
	}
	there = cuda_tell(c, bytes, &host);
	if (!there)
		return false;
	for (int64_t i = 0; i < n_seg; i++) {
		((struct cuda_seg *)host)[i] = (struct cuda_seg){ seg[i].row, seg[i].n, seg[i].pos, (void *const *)(there + at), seg[i].state->state,
			seg[i].state->conv };
		if (!width)
			continue;
		memcpy(host + at, seg[i].state->page, (size_t)k_div_up(seg[i].pos + seg[i].n, K_PAGE) * sizeof(void *));
		at += listed(c, seg, n_seg, i) * (int64_t)sizeof(void *);
	}
	cuda_told(c, host, bytes);
	*out = (const struct cuda_seg *)there;
	return true;
}

struct k_device *cuda_on_cpu(struct cuda *c, enum cuda_op_id op, const char *why)
{
	static const char *const names[] = {
#define K_OP(name, what) #name,
#include "libcore/ops.def"
#undef K_OP
	};
	struct cuda_why failed;
	if (!c->said[op])
		k_logf(c->dev.ctx->log, K_LOG_WARN, "%s: %s runs on the CPU: %s", c->level, names[op], why);
	c->said[op] = true;
	cuda_step_flush(c);
	/* What failed before is told by the next get. */
	if (!c->rt->sync(c->on, &failed))
		k_logf(c->dev.ctx->log, K_LOG_DEBUG, "%s: %s", c->level, failed.msg);
	return c->cpu;
}

/* --- the library ---------------------------------------------------------------------------------------------------------- */

/* Beside the tools, or below kcheck, which is not in their folder. */
static bool library_path(char path[PATH_MAX], struct cuda_why *why)
{
	static const char *const where[] = { "/../lib/ktools/ktools-cuda.so", "/lib/ktools/ktools-cuda.so" };
	char exe[PATH_MAX - 64];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;
	if (n <= 0 || n >= (ssize_t)sizeof(exe) - 1) {
		snprintf(why->msg, sizeof(why->msg), "the folder of the program is not to be found");
		return false;
	}
	exe[n] = 0;
	slash = strrchr(exe, '/');
	if (slash)
		*slash = 0;
	for (size_t i = 0; i < K_LEN(where); i++) {
		snprintf(path, PATH_MAX, "%s%s", exe, where[i]);
		if (access(path, R_OK) == 0)
			return true;
	}
	snprintf(why->msg, sizeof(why->msg), "this build has no CUDA backend ('make cuda' builds it, where nvcc is)");
	return false;
}

static bool same_build(const struct cuda_rt *rt)
{
	return rt->n_kernels == CUDA_N_KERNELS && memcmp(rt->arg_bytes, k_cuda_arg_bytes, sizeof(k_cuda_arg_bytes)) == 0;
}

/* Once opened the library stays: CUDA does not survive being unloaded. */
static const struct cuda_rt *load(struct cuda_why *why)
{
	char path[PATH_MAX];
	void *lib, *symbol;
	cuda_rt_fn *fn;
	if (!library_path(path, why))
		return NULL;
	lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	symbol = lib ? dlsym(lib, CUDA_RT_SYMBOL) : NULL;
	if (!symbol) {
		snprintf(why->msg, sizeof(why->msg), "the CUDA backend cannot be loaded: %.240s", dlerror());
		return NULL;
	}
	memcpy(&fn, &symbol, sizeof(fn));
	if (same_build(fn()))
		return fn();
	snprintf(why->msg, sizeof(why->msg), "ktools-cuda.so is of another version than this program");
	return NULL;
}

static bool cuda_probe(char *what, size_t n)
{
	struct cuda_why why;
	const struct cuda_rt *rt = load(&why);
	bool can = rt && rt->probe(0, &why);
	snprintf(what, n, "%s", why.msg);
	return can;
}

/* Asked for automatically it is better than the CPU where there is a card, and not there otherwise. */
static int cuda_score(const char *spec)
{
	struct cuda_why why;
	const struct cuda_rt *rt;
	int index[CUDA_DEVICES];
	if (strcmp(spec, "auto") != 0)
		return cuda_spec("cuda", spec, index) > 0;
	rt = load(&why);
	return rt && rt->probe(0, &why) ? 2 : 0;
}

static int cuda_open(struct k_device **out, const struct k_ctx *ctx, const char *spec, struct k_err *err)
{
	struct cuda_why why;
	const struct cuda_rt *rt = load(&why);
	*out = NULL;
	if (!rt)
		return k_err_set(err, K_EDEVICE, "--device is '%s': %s", spec, why.msg);
	return cuda_open_on(out, &k_backend_cuda, rt, spec, ctx, err);
}

const struct k_backend k_backend_cuda = { "cuda", "NVIDIA GPUs", cuda_score, cuda_open, cuda_probe };
