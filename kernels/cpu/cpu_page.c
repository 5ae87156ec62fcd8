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

static void float_pack(const struct kk *kk, const struct cpu_queries *q, int64_t at K_UNUSED, int64_t dk)
{
	if (!q->few)
		kk->pack_queries(q->packed, q->q, q->n, (size_t)dk);
}

static void i8_pack(const struct kk *kk, const struct cpu_queries *q, int64_t at, int64_t dk)
{
	kk->pack_queries_i8(q->packed, q->q, q->n, (size_t)at, (size_t)dk);
}

static void f32_scores(const struct kk *kk, float *score, const struct cpu_pages *p, int rows, const struct cpu_queries *q)
{
	const float *w = (const float *)p->page[0] + p->key, *next = (const float *)p->page[p->later > 0] + p->key;
	if (q->few)
		kk->scores_few_f32(score, KK_SCORES, w, (size_t)p->width, rows, q->q, q->n, (size_t)p->dk, next);
	else
		kk->scores_f32(score, KK_SCORES, w, (size_t)p->width, rows, q->packed, q->n, (size_t)p->dk, next);
}

static void bf16_scores(const struct kk *kk, float *score, const struct cpu_pages *p, int rows, const struct cpu_queries *q)
{
	const uint16_t *w = (const uint16_t *)p->page[0] + p->key, *next = (const uint16_t *)p->page[p->later > 0] + p->key;
	if (q->few)
		kk->scores_few_bf16(score, KK_SCORES, w, (size_t)p->width, rows, q->q, q->n, (size_t)p->dk, next);
	else
		kk->scores_bf16(score, KK_SCORES, w, (size_t)p->width, rows, q->packed, q->n, (size_t)p->dk, next);
}

static void i8_scores(const struct kk *kk, float *score, const struct cpu_pages *p, int rows, const struct cpu_queries *q)
{
	const void *next = p->page[K_MIN(p->later, (int64_t)KK_PAGES)];
	int64_t fresh = p->value == p->key ? p->key + p->dv : p->key;
	kk->scores_i8(score, KK_SCORES, p->page[0], (size_t)p->width, (size_t)p->key, (size_t)p->dk, rows, q->packed, q->n, next, (size_t)fresh);
}

static void f32_mix(const struct kk *kk, float *acc, const float *weight, int n, const struct cpu_pages *p, int rows)
{
	kk->mix(acc, (size_t)p->dv, weight, KK_SCORES, n, (const float *)p->page[0] + p->value, (size_t)p->width, rows, (size_t)p->dv);
}

static void bf16_mix(const struct kk *kk, float *acc, const float *weight, int n, const struct cpu_pages *p, int rows)
{
	kk->mix_bf16(acc, (size_t)p->dv, weight, KK_SCORES, n, (const uint16_t *)p->page[0] + p->value, (size_t)p->width, rows, (size_t)p->dv);
}

static void i8_mix(const struct kk *kk, float *acc, const float *weight, int n, const struct cpu_pages *p, int rows)
{
	const void *const *page = (const void *const *)p->page, *const *next = p->later >= 2 * KK_PAGES - 1 ? page + KK_PAGES : NULL;
	kk->mix_i8(acc, (size_t)p->dv, weight, n, page, (size_t)p->width, (size_t)p->value, (size_t)p->dv, rows, next);
}

const struct cpu_page_kind cpu_page_kinds[] = {
	[K_KV_F32] = { 1, f32_append, float_pack, f32_scores, f32_mix },
	[K_KV_BF16] = { 1, bf16_append, float_pack, bf16_scores, bf16_mix },
	[K_KV_INT8] = { KK_PAGES, i8_append, i8_pack, i8_scores, i8_mix },
};
