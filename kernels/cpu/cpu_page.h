/* cpu_page.h: kinds of pages of keys and values, a row each in cpu_page.c: how attention appends to one, scores it, and mixes its values. */
#ifndef KERNELS_CPU_CPU_PAGE_H
#define KERNELS_CPU_CPU_PAGE_H

#include "kernels/kk.h"
#include "libcore/backend.h"

/* The queries of a task. few: so few heads share a key head that they are taken as they are. */
struct cpu_queries { const float *const *q; float *packed; int n; bool few; };

/* A page, and those behind it of which the next ones come nearer meanwhile: values a token; where keys of dk and values of dv begin. */
struct cpu_pages { void *const *page; int64_t later, width, key, dk, value, dv; };

struct cpu_page_kind {
	int pages;                      /* whose scores become weights at once, up to KK_PAGES */
	/* One token, a[n_a] and b behind it, goes to its slot. */
	void (*append)(const struct kk *kk, void *page, int64_t width, int64_t slot, const float *a, int64_t n_a, const float *b);
	/* Before the first page: queries become `packed`, for keys that begin at value `at`. */
	void (*pack)(const struct kk *kk, const struct cpu_queries *q, int64_t at, int64_t dk);
	/* score[query][KK_SCORES] of the first `rows` keys of *page. */
	void (*scores)(const struct kk *kk, float *score, const struct cpu_pages *p, int rows, const struct cpu_queries *q);
	/* acc[query][dv] takes the values of `rows` keys of up to `pages` pages by weight[query][KK_SCORES]. */
	void (*mix)(const struct kk *kk, float *acc, const float *weight, int n, const struct cpu_pages *p, int rows);
};

extern const struct cpu_page_kind cpu_page_kinds[];     /* by enum k_kv */

#endif
