/* quant_ref.c: conversions between types by the types' own functions: the definition. */
#include "libcore/base.h"
#include "kernels/ref/ref.h"

/* Whole granules of t, and the bytes of one. */
struct side { const struct k_qtype *t; uint8_t *at; size_t full; };

static uint8_t *granule_at(const struct side *s, int64_t row) { return s->at + (size_t)(row / s->t->granule) * s->full; }

/* Rows [row, row + n) of both are whole granules, n the larger of the two or what is left. */
static bool convert_rows(const struct side *to, const struct side *from, float *x, int64_t cols, int64_t row, int n, const struct k_quant_opts *o)
{
	struct k_err err;
	for (int r = 0, in; r < n; r += in) {
		in = K_MIN(from->t->granule, n - r);
		if (from->t->check && from->t->check(granule_at(from, row + r), cols, in, &err))
			return false;
		for (int i = 0; i < in; i++)
			from->t->dequant(x + (r + i) * cols, granule_at(from, row + r), cols, in, i);
	}
	for (int r = 0, in; r < n; r += in) {
		in = K_MIN(to->t->granule, n - r);
		if (to->t->quant(granule_at(to, row + r), x + r * cols, cols, in, o, &err))
			return false;
	}
	return true;
}

bool kk_ref_convert(const struct k_qtype *to, void *dst, const struct k_qtype *from, const void *src, int64_t cols, int64_t rows,
	const struct k_quant_opts *o)
{
	struct side a = { to, dst, to->granule_bytes(cols, to->granule) };
	struct side b = { from, (uint8_t *)(uintptr_t)src, from->granule_bytes(cols, from->granule) };
	int step = K_MAX(to->granule, from->granule);
	float *x;
	bool ok = to->quant && from->dequant;
	if (!ok)
		return false;
	x = k_alloc((size_t)step * (size_t)cols * sizeof(*x));
	for (int64_t r = 0; x && ok && r < rows; r += step)
		ok = convert_rows(&a, &b, x, cols, r, (int)K_MIN((int64_t)step, rows - r), o);
	ok = ok && x;
	k_free(x);
	return ok;
}
