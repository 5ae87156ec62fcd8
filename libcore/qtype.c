/* qtype.c: the registry of types. Each file of libcore/qtype/ that is there adds its array to the generated list. */
#include "libcore/base.h"
#include "libcore/qtype.h"
#include "libcore/qtype_int.h"
#include <math.h>

#define X(stem) extern const struct k_qtype *const k_qtypes_##stem[];
#include "qtypes.list"
#undef X

static const struct k_qtype *const *const families[] = {
#define X(stem) k_qtypes_##stem,
#include "qtypes.list"
#undef X
};

const struct k_qtype *k_qtype_at(int i)
{
	for (size_t f = 0; f < K_LEN(families); f++)
		for (const struct k_qtype *const *t = families[f]; *t; t++)
			if (i-- == 0)
				return *t;
	return NULL;
}

const struct k_qtype *k_qtype_find(const char *name, const char *layout)
{
	const struct k_qtype *t;

	for (int i = 0; (t = k_qtype_at(i)); i++)
		if (!strcmp(t->name, name) && !strcmp(t->layout, layout ? layout : "rows"))
			return t;
	return NULL;
}

const struct k_qtype *k_qtype_by_dtype(const char *st_dtype)
{
	const struct k_qtype *t;

	for (int i = 0; (t = k_qtype_at(i)); i++)
		if (t->st_dtype && !strcmp(t->st_dtype, st_dtype))
			return t;
	return NULL;
}

const struct k_qtype *k_qtype_by_gguf(uint32_t type)
{
	const struct k_qtype *t;

	for (int i = 0; (t = k_qtype_at(i)); i++)
		if (t->gguf_type >= 0 && (uint32_t)t->gguf_type == type)
			return t;
	return NULL;
}

#define MAX_SIDE ((int64_t)1 << 40)

static const char *no_multiple(int n, bool rows)
{
	static const struct { int n; const char *rows, *cols; } texts[] = {
#define TEXT(n) { n, "the number of rows is no multiple of " #n, "the number of columns is no multiple of " #n }
		TEXT(16), TEXT(32), TEXT(64), TEXT(128), TEXT(256),
#undef TEXT
	};

	for (size_t i = 0; i < K_LEN(texts); i++)
		if (texts[i].n == n)
			return rows ? texts[i].rows : texts[i].cols;
	return rows ? "the number of rows does not fit" : "the number of columns does not fit";
}

const char *k_qtype_refuses(const struct k_qtype *t, int64_t rows, int64_t cols)
{
	if (rows < 0 || cols < 0 || (!t->plain && (rows >= MAX_SIDE || cols >= MAX_SIDE)))
		return "it has more than 2^40 rows or columns";
	if (t->full_granules && rows % t->granule)
		return no_multiple(t->granule, true);
	if (cols % t->col_granule)
		return no_multiple(t->col_granule, false);
	return NULL;
}

const struct k_qtype *k_qtype_for(const char *name, int64_t rows, int64_t cols)
{
	const struct k_qtype *t = k_qtype_find(name, "x16");

	if (t && rows > 0 && !k_qtype_refuses(t, rows, cols))
		return t;
	return k_qtype_find(name, NULL);
}

bool k_qtype_slice_bytes(const struct k_qtype *t, int64_t rows, int64_t cols, uint64_t *out)
{
	size_t full, n = 0;
	int rest;

	if (rows < 0 || cols < 0)
		return false;
	if (t->plain)
		return !__builtin_mul_overflow((uint64_t)rows, (uint64_t)cols, out) &&
			!__builtin_mul_overflow(*out, (uint64_t)t->elem_bytes, out);
	if (cols >= MAX_SIDE)
		return false;
	full = t->granule_bytes(cols, t->granule);
	rest = (int)(rows % t->granule);
	if (!k_mul_size((size_t)(rows / t->granule), full, &n) || !k_add_size(n, rest ? t->granule_bytes(cols, rest) : 0, &n))
		return false;
	*out = n;
	return true;
}

int k_qtype_bad_value(double v, const char *what, int64_t row, int64_t col, struct k_err *err)
{
	const char *is = isnan(v) ? "NaN" : v > 0 ? "infinity" : "-infinity";

	if (isfinite(v))
		return k_err_set(err, K_EFORMAT, "%s %g at row %lld, column %lld", what, v, (long long)row, (long long)col);
	return k_err_set(err, K_EFORMAT, "%s %s at row %lld, column %lld", what, is, (long long)row, (long long)col);
}

int k_qtype_too_large(double v, const char *type, int64_t row, int64_t col, struct k_err *err)
{
	return k_err_set(err, K_ENO, "value %.9g at row %lld, column %lld is too large for %s, %s holds it", v, (long long)row, (long long)col, type,
		strcmp(type, "bf16") == 0 ? "f32" : "bf16 or f32");
}

int k_qtype_told(int so_far, int r, const struct k_err *why, struct k_err *err)
{
	if (r == 0 || (r == K_ENO && so_far))
		return so_far;
	*err = *why;
	return r;
}

int k_qtype_not_finite(const float *x, int64_t cols, int rows, struct k_err *err)
{
	for (int r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++)
			if (k_abs_bits(x[r * cols + c]) >= K_INF_BITS)
				return k_qtype_bad_value(x[r * cols + c], "value", r, c, err);
	k_bug("all values are finite");
}

size_t k_qtype_rows_bytes(const struct k_qtype *t, int64_t cols, int64_t n)
{
	int rest = (int)(n % t->granule);

	return (size_t)(n / t->granule) * t->granule_bytes(cols, t->granule) + (rest ? t->granule_bytes(cols, rest) : 0);
}

void k_qtype_unpack(const struct k_qtype *t, const void *src, float *dst, int64_t cols, int64_t n)
{
	size_t step = t->granule_bytes(cols, t->granule);

	for (int64_t r = 0; r < n; r++, dst += cols) {
		int64_t g = r / t->granule, left = n - g * t->granule;

		t->dequant(dst, (const char *)src + (size_t)g * step, cols, (int)K_MIN(left, (int64_t)t->granule), (int)(r % t->granule));
	}
}
