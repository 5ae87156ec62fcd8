/* cpu_backend.c: the CPU as a device: its memory is the host's, its scratch is described in cpu_impl.h. */
#include "libcore/base.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#include "kernels/cpu/cpu_impl.h"

enum {
	ROOM_MIN = 256 * 1024,                  /* floats: a panel that stays in the second cache, with room to spare */
	SHARED_MIN = 256 * 1024,
	PADDING = 128,                          /* what the alignment of the pieces taken may cost in all */
	SHARED_MOST = 16 * 1024 * 1024,         /* rows beyond this wait for the next round */
};

extern const struct k_backend k_backend_cpu;

static void *cpu_alloc(struct k_device *d K_UNUSED, size_t n) { return k_zeros(n); }

static void cpu_free(struct k_device *d K_UNUSED, void *p) { k_zeros_free(p); }

static int cpu_copy(struct k_device *d K_UNUSED, void *dst, const void *src, size_t n, struct k_err *err K_UNUSED)
{
	memcpy(dst, src, n);
	return 0;
}

static const char *cpu_level(struct k_device *d) { return cpu_of(d)->level; }

static int grow(float **p, int64_t n, struct k_err *err)
{
	size_t bytes;
	float *q = NULL;
	if (n > 0 && k_mul_size((size_t)n, sizeof(float), &bytes))
		q = k_aligned(bytes);
	else
		bytes = SIZE_MAX;
	if (!q)
		return k_err_nomem(err, bytes, "scratch of the CPU");
	k_free(*p);
	*p = q;
	return 0;
}

static int grow_shared(struct cpu *c, int64_t n, struct k_err *err)
{
	if (n <= c->n_shared)
		return 0;
	int rc = grow(&c->shared, n, err);
	if (!rc)
		c->n_shared = n;
	return rc;
}

static int grow_rooms(struct cpu *c, int64_t n, struct k_err *err)
{
	int rc = 0;
	for (int i = 0; i < c->n_worker && n > c->n_room && !rc; i++)
		rc = grow(&c->room[i], n, err);
	if (!rc && n > c->n_room)
		c->n_room = n;
	return rc;
}

static int cpu_reserve(struct k_device *d, const struct k_hp *hp, int64_t n_rows, int64_t n_ctx K_UNUSED, struct k_err *err)
{
	struct cpu *c = cpu_of(d);
	int64_t row = K_MAX(cpu_gemm_row(hp), K_MAX(cpu_moe_row(hp), K_MAX(cpu_attn_row(hp), cpu_kda_row(hp))));
	int64_t want = K_MAX(row, (int64_t)SHARED_MOST), all;
	int64_t room = K_MAX(K_MAX(cpu_gemm_room(hp), cpu_moe_room(hp)), K_MAX(cpu_attn_room(hp), cpu_kda_room(hp)));
	room = K_MAX(room, cpu_blend_room(hp));
	if (k_mul_i64(row, n_rows, &all))
		want = K_MIN(want, all);
	int rc = grow_shared(c, want + K_MAX(cpu_moe_fixed(hp), cpu_kda_fixed(hp)) + PADDING, err);
	return rc ? rc : grow_rooms(c, room, err);
}

static void cpu_close(struct k_device *d)
{
	struct cpu *c = cpu_of(d);
	for (int i = 0; c->room && i < c->n_worker; i++)
		k_free(c->room[i]);
	k_free(c->room);
	k_free(c->shared);
	k_free(c);
}

static int cpu_open(struct k_device **out, const struct k_ctx *ctx, const char *spec K_UNUSED, struct k_err *err)
{
	struct cpu *c = k_calloc(1, sizeof(*c));
	int rc;
	*out = NULL;
	if (!c)
		return k_err_nomem(err, sizeof(*c), "the CPU device");
	c->dev = (struct k_device){ .backend = &k_backend_cpu, .ctx = ctx, .alloc = cpu_alloc, .free = cpu_free, .put = cpu_copy,
		.get = cpu_copy, .reserve = cpu_reserve, .level = cpu_level, .bf16_attention = true, .int8_pages = true, .close = cpu_close, .impl = c };
#define K_OP(name, what) c->dev.ops.name = cpu_##name;
#include "libcore/ops.def"
#undef K_OP
	c->n_worker = k_pool_threads(ctx->pool);
	c->room = k_calloc((size_t)c->n_worker, sizeof(*c->room));
	rc = c->room ? 0 : k_err_nomem(err, (size_t)c->n_worker * sizeof(*c->room), "the CPU device");
	if (!rc)
		rc = kk_select(&c->kk, &c->level, ctx->cpu, err);
	c->dev.kda_deferred = !rc && strcmp(c->level, "ref") != 0;
	if (!rc)
		rc = grow_shared(c, SHARED_MIN, err);
	if (!rc)
		rc = grow_rooms(c, ROOM_MIN, err);
	if (rc)
		cpu_close(&c->dev);
	else
		*out = &c->dev;
	return rc;
}

static int cpu_score(const char *spec) { return strcmp(spec, "cpu") == 0; }

const struct k_backend k_backend_cpu = { "cpu", "this machine's processors", cpu_score, cpu_open, NULL };

float *cpu_take(struct cpu *c, int64_t n)
{
	float *p = c->shared + c->taken;
	K_ASSERT(n <= c->n_shared - c->taken);
	c->taken += K_MIN((int64_t)k_align_up((uint64_t)n, 16), c->n_shared - c->taken);
	return p;
}

int64_t cpu_fit(const struct cpu *c, int64_t n, int64_t each)
{
	int64_t m = each ? (c->n_shared - c->taken - PADDING) / each : n;
	return K_MIN(n, K_MAX(m, (int64_t)1));
}

struct task { void (*fn)(void *arg, int64_t i, int worker); void *arg; };

/* What is too small for a normal float becomes zero. To make or take a subnormal one costs some CPUs a hundred cycles and more, and keys of the delta
 * rule pass through them as they decay: 10 to 30 times the time of all the rest. Operands are as they are: some types are decoded by way of
 * subnormal floats. */
static void flushed(void *arg, int64_t i, int worker)
{
	const struct task *t = arg;
#if defined(__x86_64__)
	unsigned was = _mm_getcsr();
	_mm_setcsr(was | _MM_FLUSH_ZERO_ON);
#endif
	t->fn(t->arg, i, worker);
#if defined(__x86_64__)
	_mm_setcsr(was);
#endif
}

void cpu_each(const struct cpu *c, int64_t n, double work, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
	/* Products below which threads are not asked: to hand out a job takes some hundred nanoseconds, and with each thread that wants the same line of
	 * memory a hundred more, in which one alone makes thousands. */
	enum { WORTH_EACH = 10 * 1000, WORTH_ALL = 200 * 1000 };
	struct task t = { fn, arg };
	double worth = K_MIN((double)c->n_worker * WORTH_EACH, (double)WORTH_ALL);
	k_pool_each(work < worth ? NULL : c->dev.ctx->pool, n, flushed, &t);
}
