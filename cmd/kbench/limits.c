/* limits.c: what the machine can do, timed beside a subject, a few milliseconds each: reading, scaling in place, multiply-adds.
 *
 * Reading and scaling go over memory that was touched, a window of it each time, so that it comes from beyond the
 * caches. Multiply-adds are those of the instructions of the level in use, operands in registers; the reference and models of instructions
 * have no peak. */
#include "libcore/base.h"
#include "cmd/kbench/limits.h"
#include "cmd/kbench/bench.h"
#include "kernels/amx/tile_config.h"
#include "kernels/kk.h"
#include "libcore/cpu.h"
#include "libcore/pool.h"

enum { PIECE = 1 << 20, PIECES = 64 };
#define ARENA ((size_t)256 << 20)

int k_limits_open(struct k_limits *l, const struct k_ctx *ctx, struct k_err *err)
{
	*l = (struct k_limits){ .ctx = ctx, .bytes = ARENA };
	if (ctx->max_memory && ctx->max_memory / 4 < l->bytes)
		l->bytes = (size_t)K_MAX(ctx->max_memory / 4 >> 20, (uint64_t)1) << 20;
	l->arena = k_aligned(l->bytes);
	if (!l->arena)
		return k_err_nomem(err, l->bytes, "the bandwidth buffer");
	memset(l->arena, 1, l->bytes);
	return 0;
}

void k_limits_close(struct k_limits *l) { k_free(l->arena); }

/* n lines of 64 bytes at p, n a multiple of 4: read, or multiplied by a factor. By the widest registers there are: the narrower they are, the fewer
 * lines are on their way from memory at a time (one thread of an Emerald Rapids: 8 GB/s by 64 bits, 16 by 512). */
struct stream {
	const char *needs;
	void (*read)(uint8_t *p, int64_t n, float factor), (*scale)(uint8_t *p, int64_t n, float factor);
};

static void read_plain(uint8_t *p, int64_t n, float factor K_UNUSED)
{
	const uint64_t *q = (const uint64_t *)(const void *)p;
	uint64_t a = 0, b = 0, c = 0, d = 0;
	for (int64_t k = 0; k < 8 * n; k += 4) {
		a += q[k];
		b += q[k + 1];
		c += q[k + 2];
		d += q[k + 3];
	}
	a += b + c + d;
	__asm__ volatile("" : : "r"(a));
}

static void scale_plain(uint8_t *p, int64_t n, float factor)
{
	float *x = (float *)(void *)p;
	for (int64_t k = 0; k < 16 * n; k++)
		x[k] *= factor;
}

#if defined(__x86_64__)
#define LINE_LOOP(text) \
	__asm__ volatile("vbroadcastss %2, %%ymm4\n1:\n" text "add $256, %0\nsub $4, %1\njnz 1b\nvzeroupper\n" : "+r"(p), "+r"(n) : "x"(factor) \
		: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "memory", "cc")
#define READ_YMM(at, i) "vpaddq " at "(%0), %%ymm" i ", %%ymm" i "\n"
#define READ_ZMM(at, i) "vpaddq " at "(%0), %%zmm" i ", %%zmm" i "\n"
#define SCALE_YMM(at, i) "vmulps " at "(%0), %%ymm4, %%ymm" i "\nvmovaps %%ymm" i ", " at "(%0)\n"
#define SCALE_ZMM(at, i) "vmulps " at "(%0), %%zmm4, %%zmm" i "\nvmovaps %%zmm" i ", " at "(%0)\n"
#define YMM(one) one("0", "0") one("32", "1") one("64", "2") one("96", "3") one("128", "0") one("160", "1") one("192", "2") one("224", "3")
#define ZMM(one) one("0", "0") one("64", "1") one("128", "2") one("192", "3")
static void read_ymm(uint8_t *p, int64_t n, float factor) { LINE_LOOP(YMM(READ_YMM)); }
static void scale_ymm(uint8_t *p, int64_t n, float factor) { LINE_LOOP(YMM(SCALE_YMM)); }
static void read_zmm(uint8_t *p, int64_t n, float factor) { LINE_LOOP(ZMM(READ_ZMM)); }
static void scale_zmm(uint8_t *p, int64_t n, float factor) { LINE_LOOP("vbroadcastss %%xmm4, %%zmm4\n" ZMM(SCALE_ZMM)); }
#endif

static const struct stream streams[] = {
#if defined(__x86_64__)
	{ "avx512f", read_zmm, scale_zmm },
	{ "avx2", read_ymm, scale_ymm },
#endif
	{ "", read_plain, scale_plain },
};

static const struct stream *widest(void)
{
	size_t i = 0;
	while (*streams[i].needs && !k_cpu_has(streams[i].needs))
		i++;
	return &streams[i];
}

struct window { uint8_t *p; float factor; void (*fn)(uint8_t *, int64_t, float); };

static void piece(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct window *w = arg;
	w->fn(w->p + i * PIECE, PIECE / 64, w->factor);
}

/* Bytes a second of fn over the next window of the arena. */
static double pass(struct k_limits *l, void (*fn)(uint8_t *, int64_t, float))
{
	int64_t n = K_MIN((int64_t)(l->bytes / PIECE), (int64_t)PIECES);
	if (l->at + (size_t)n * PIECE > l->bytes)
		l->at = 0;
	struct window w = { l->arena + l->at, l->factor, fn };
	l->at += (size_t)n * PIECE;
	double t = k_bench_now();
	k_pool_each(l->ctx->pool, n, piece, &w);
	return (double)(n * PIECE) / (k_bench_now() - t);
}

double k_limit_read(struct k_limits *l) { return pass(l, widest()->read); }

double k_limit_read_best(struct k_limits *l, int passes)
{
	double best = 0;
	for (int i = 0; i < passes; i++) {
		double bytes_s = k_limit_read(l);
		best = K_MAX(best, bytes_s);
	}
	return best;
}

double k_limit_scale(struct k_limits *l) { return 2 * pass(l, widest()->scale); }

#if defined(__x86_64__)
/* Registers 0 to 9 are ten independent chains, as many as hide how long one step takes; 10 to 14 are operands and what is dropped. */
#define TEN(one, r) one(r, "0") one(r, "1") one(r, "2") one(r, "3") one(r, "4") one(r, "5") one(r, "6") one(r, "7") one(r, "8") one(r, "9")
#define EIGHT(x) x x x x x x x x
#define FMA(r, i) "vfmadd231ps %%" r "12, %%" r "13, %%" r i "\n"
#define DPBF16(r, i) "vdpbf16ps %%" r "12, %%" r "13, %%" r i "\n"
#define DPBUSD(r, i) "vpdpbusd %%" r "12, %%" r "13, %%" r i "\n"
#define DPBUSD_VEX(r, i) "%{vex%} " DPBUSD(r, i)
/* Eight steps of bytes are added up in 16 bits and then widened, as INT4 times int8 allows: x16_int8.h. */
#define MADDUBS(r, i) "vpmaddubsw %%" r "12, %%" r "13, %%" r "14\nvpaddw %%" r "14, %%" r i ", %%" r i "\n"
#define MADD(r, i) "vpmaddwd %%" r i ", %%" r "12, %%" r "14\nvpaddd %%" r "14, %%" r "10, %%" r "10\n"
#define CHAIN_FN(name, text) \
static void name(int64_t n) \
{ \
	__asm__ volatile("vzeroall\n1:\n" text "dec %0\njnz 1b\nvzeroupper\n" : "+r"(n) : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", \
		"xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc"); \
}
CHAIN_FN(fma_avx2, TEN(FMA, "ymm"))
CHAIN_FN(fma_avx512, TEN(FMA, "zmm"))
CHAIN_FN(maddubs_avx2, EIGHT(TEN(MADDUBS, "ymm")) TEN(MADD, "ymm"))
CHAIN_FN(maddubs_avx512, EIGHT(TEN(MADDUBS, "zmm")) TEN(MADD, "zmm"))
CHAIN_FN(dpbusd_avx, TEN(DPBUSD_VEX, "ymm"))
CHAIN_FN(dpbusd_avx512, TEN(DPBUSD, "zmm"))
CHAIN_FN(dpbf16_avx512, TEN(DPBF16, "zmm"))
/* Tiles of 16 x 64 bytes: four results, as many as hide how long a product takes, of operands 4 and 5. */
#define TILE_FN(name, op) \
static void name(int64_t n) \
{ \
	struct tile_config shapes = { 0 }; \
	for (int i = 0; i < 6; i++) \
		tile_shape(&shapes, i, TILE_ROWS, TILE_BYTES); \
	__asm__ volatile("ldtilecfg %1\n1:\n" op " %%tmm5, %%tmm4, %%tmm0\n" op " %%tmm5, %%tmm4, %%tmm1\n" op " %%tmm5, %%tmm4, %%tmm2\n" \
		op " %%tmm5, %%tmm4, %%tmm3\ndec %0\njnz 1b\ntilerelease\n" : "+r"(n) : "m"(shapes) : "cc"); \
}
TILE_FN(tiles_i8, "tdpbssd")
TILE_FN(tiles_bf16, "tdpbf16ps")
#endif

/* Of a kind of operands that of the highest level counts that is not above the one in use. */
static const struct peak {
	const char *level;
	enum k_act operands;
	int ops, steps;                 /* multiplications and additions of a step; steps that take about a millisecond */
	void (*chain)(int64_t steps);
} peaks[] = {
#if defined(__x86_64__)
	{ "avx2", K_ACT_F32, 2 * 10 * 8, 200 * 1000, fma_avx2 },
	{ "avx2", K_ACT_INT8, 2 * 80 * 32, 20 * 1000, maddubs_avx2 },
	{ "avxvnni", K_ACT_INT8, 2 * 10 * 32, 200 * 1000, dpbusd_avx },
	{ "avx512", K_ACT_F32, 2 * 10 * 16, 200 * 1000, fma_avx512 },
	{ "avx512", K_ACT_INT8, 2 * 80 * 64, 20 * 1000, maddubs_avx512 },
	{ "avx512vnni", K_ACT_INT8, 2 * 10 * 64, 200 * 1000, dpbusd_avx512 },
	{ "avx512bf16", K_ACT_BF16, 2 * 10 * 32, 200 * 1000, dpbf16_avx512 },
	{ "amx", K_ACT_INT8, 2 * 4 * 16 * 16 * 64, 20 * 1000, tiles_i8 },
	{ "amx", K_ACT_BF16, 2 * 4 * 16 * 16 * 32, 20 * 1000, tiles_bf16 },
#endif
	{ NULL, 0, 0, 0, NULL }
};

enum { TASKS_A_THREAD = 4 };

static void chain_task(void *arg, int64_t i K_UNUSED, int worker K_UNUSED)
{
	const struct peak *p = arg;
	p->chain(p->steps);
}

/* -1: there is no such level here. */
static int rank_of(const char *level)
{
	for (int i = 0; kk_level_at(i); i++)
		if (!strcmp(kk_level_at(i)->name, level))
			return kk_level_at(i)->rank;
	return -1;
}

static double rate(struct k_limits *l, int top, enum k_act operands)
{
	const struct peak *best = NULL;
	for (const struct peak *p = peaks; p->level; p++) {
		int rank = rank_of(p->level);
		if (p->operands == operands && rank >= 0 && rank <= top && (!best || rank > rank_of(best->level)))
			best = p;
	}
	if (!best)
		return 0;
	int64_t n = TASKS_A_THREAD * k_pool_threads(l->ctx->pool);
	double t = k_bench_now();
	k_pool_each(l->ctx->pool, n, chain_task, (void *)(uintptr_t)best);
	return (double)n * best->steps * best->ops / (k_bench_now() - t);
}

double k_limit_peak(struct k_limits *l, const char *level, enum k_act operands)
{
	double own = rate(l, rank_of(level), operands), f32 = operands == K_ACT_BF16 ? rate(l, rank_of(level), K_ACT_F32) : 0;
	return K_MAX(own, f32);
}

double k_limit_bf16_unit(struct k_limits *l)
{
	int top = -1;
	for (int i = 0; kk_level_at(i); i++)
		if (kk_level_usable(i))
			top = K_MAX(top, kk_level_at(i)->rank);
	return rate(l, top, K_ACT_BF16);
}
