/* cpu_page.c: pages of f32, BF16 and int8 (libcore/backend.h says how they lie): a table of what attention does with them. */
#include "libcore/base.h"
#include "kernels/cpu/cpu_page.h"
#include "libcore/dtype.h"

static void f32_append(const struct kk *kk K_UNUSED, void *page, int64_t width, int64_t slot, const float *a, int64_t n_a, const float *b)
{
	float *to = (float *)page + slot * width;
	memcpy(to, a, (size_t)n_a * sizeof(*a));
	if (n_a < width)
		memcpy(to + n_a, b, (size_t)(width - n_a) * sizeof(*b));
}

static void bf16_append(const struct kk *kk K_UNUSED, void *page, int64_t width, int64_t slot, const float *a, int64_t n_a, const float *b)
{
	uint16_t *to = (uint16_t *)page + slot * width;
	for (int64_t i = 0; i < width; i++)
		to[i] = k_bf16_from_f32(i < n_a ? a[i] : b[i - n_a]);
}

static void i8_append(const struct kk *kk, void *page, int64_t width, int64_t slot, const float *a, int64_t n_a, const float *b)
{
	kk->append_i8(page, (size_t)width, (int)slot, a, (size_t)n_a, b);
}

static void float_pack(const struct kk *kk, const struct cpu_queries *q, int64_t dk)
{
	if (!q->few)
		kk->pack_queries(q->packed, q->q, q->n, (size_t)dk);
}

static void i8_pack(const struct kk *kk, const struct cpu_queries *q, int64_t dk) { kk->pack_queries_i8(q->packed, q->q, q->n, (size_t)dk); }

static void f32_scores(const struct kk *kk, float *score, void *const *page, int64_t later, int64_t width, int64_t at, int64_t dk, int rows,
	const struct cpu_queries *q)
{
	const float *w = (const float *)page[0] + at, *next = (const float *)page[later > 0] + at;
	if (q->few)
		kk->scores_few_f32(score, KK_SCORES, w, (size_t)width, rows, q->q, q->n, (size_t)dk, next);
	else
		kk->scores_f32(score, KK_SCORES, w, (size_t)width, rows, q->packed, q->n, (size_t)dk, next);
}

static void bf16_scores(const struct kk *kk, float *score, void *const *page, int64_t later, int64_t width, int64_t at, int64_t dk, int rows,
	const struct cpu_queries *q)
{
	const uint16_t *w = (const uint16_t *)page[0] + at, *next = (const uint16_t *)page[later > 0] + at;
	if (q->few)
		kk->scores_few_bf16(score, KK_SCORES, w, (size_t)width, rows, q->q, q->n, (size_t)dk, next);
	else
		kk->scores_bf16(score, KK_SCORES, w, (size_t)width, rows, q->packed, q->n, (size_t)dk, next);
}

static void i8_scores(const struct kk *kk, float *score, void *const *page, int64_t later, int64_t width, int64_t at, int64_t dk, int rows,
	const struct cpu_queries *q)
{
	kk->scores_i8(score, KK_SCORES, page[0], (size_t)width, (size_t)at, (size_t)dk, rows, q->packed, q->n, page[K_MIN(later, (int64_t)KK_PAGES)]);
}

static void f32_mix(const struct kk *kk, float *acc, const float *weight, int n, void *const *page, int64_t width, int64_t at, int64_t dv, int rows)
{
	kk->mix(acc, (size_t)dv, weight, KK_SCORES, n, (const float *)page[0] + at, (size_t)width, rows, (size_t)dv);
}

static void bf16_mix(const struct kk *kk, float *acc, const float *weight, int n, void *const *page, int64_t width, int64_t at, int64_t dv, int rows)
{
	kk->mix_bf16(acc, (size_t)dv, weight, KK_SCORES, n, (const uint16_t *)page[0] + at, (size_t)width, rows, (size_t)dv);
}

static void i8_mix(const struct kk *kk, float *acc, const float *weight, int n, void *const *page, int64_t width, int64_t at, int64_t dv, int rows)
{
	kk->mix_i8(acc, (size_t)dv, weight, n, (const void *const *)page, (size_t)width, (size_t)at, (size_t)dv, rows);
}

const struct cpu_page_kind cpu_page_kinds[] = {
	[K_KV_F32] = { 1, f32_append, float_pack, f32_scores, f32_mix },
	[K_KV_BF16] = { 1, bf16_append, float_pack, bf16_scores, bf16_mix },
	[K_KV_INT8] = { KK_PAGES, i8_append, i8_pack, i8_scores, i8_mix },
};
