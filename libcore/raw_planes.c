/* raw_planes.c: composites whose parts lie in the order of the type: rows of values, rows of scales. Granules are put together from
 * both; scales become f32 where the type has them so, which is exact for every dtype they come in. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "libcore/raw.h"

/* One granule. scales: of its rows, in the file's dtype, or in f32. */
static void join_i4g32(const struct k_raw *t, void *granule, const void *values, const void *scales, int64_t cols, int rows)
{
	k_i4g32_from_ct(t->type, granule, values, scales, cols, rows);
}

static void join_fp8b128(const struct k_raw *t K_UNUSED, void *granule, const void *values, const void *scales, int64_t cols, int rows)
{
	k_fp8b128_from_planes(granule, values, scales, cols, rows);
}

static void join_mxfp4(const struct k_raw *t, void *granule, const void *values, const void *scales, int64_t cols, int rows)
{
	k_mxfp4_from_planes(t->type, granule, values, scales, cols, rows);
}

/* Types with a row's scales before its codes. */
static void join_row(void *granule, const void *scales, size_t n_scales, const void *values, size_t n_values)
{
	memcpy(granule, scales, n_scales);
	memcpy((uint8_t *)granule + n_scales, values, n_values);
}

static void join_fp8row(const struct k_raw *t K_UNUSED, void *granule, const void *values, const void *scales, int64_t cols, int rows K_UNUSED)
{
	join_row(granule, scales, 4, values, (size_t)cols);
}

static void join_mxfp8(const struct k_raw *t K_UNUSED, void *granule, const void *values, const void *scales, int64_t cols, int rows K_UNUSED)
{
	join_row(granule, scales, (size_t)cols / 32, values, (size_t)cols);
}

static void join_nvfp4(const struct k_raw *t K_UNUSED, void *granule, const void *values, const void *scales, int64_t cols, int rows K_UNUSED)
{
	join_row((uint8_t *)granule + 4, scales, (size_t)cols / 16, values, (size_t)cols / 2);
}

/* by: rows of the tensor to one row of the scales. */
static const struct kind {
	const char *name;
	int by;
	bool floats;                    /* scales in f32 */
	void (*join)(const struct k_raw *, void *granule, const void *values, const void *scales, int64_t cols, int rows);
} kinds[] = {
	{ "i4g32", 1, false, join_i4g32 },
	{ "fp8b128", 128, true, join_fp8b128 },
	{ "mxfp4", 1, false, join_mxfp4 },
	{ "fp8row", 1, true, join_fp8row },
	{ "mxfp8", 1, false, join_mxfp8 },
	{ "nvfp4", 1, false, join_nvfp4 },
};

static size_t row_bytes(const struct k_raw *t) { return t->type->granule_bytes(k_shape_cols(t->ndim, t->shape), 1); }

/* Rows of scales, as they are or as floats; a single scale serves all rows. */
static int read_scales(const struct k_raw *s, bool floats, int64_t row, int64_t n, uint8_t *dst, struct k_err *err)
{
	int64_t count, cols = k_shape_cols(s->ndim, s->shape);
	bool one = k_shape_count(s->ndim, s->shape, &count) && count == 1;
	uint8_t *raw = dst;
	int r;

	if (floats && !(raw = k_alloc((size_t)n * row_bytes(s))))
		return k_err_nomem(err, (size_t)n * row_bytes(s), s->name);
	r = k_raw_read(s, 0, one ? 0 : row, one ? 1 : n, raw, err);
	if (r == 0 && floats)
		s->type->dequant((float *)(void *)dst, raw, one ? 1 : n * cols, 1, 0);
	for (int64_t i = 1; r == 0 && one && i < n; i++)
		memcpy(dst + 4 * i, dst, 4);
	if (floats)
		k_free(raw);
	return r;
}

/* The divisor stands in every row. */
static int put_divisor(const struct k_raw *t, int64_t n, uint8_t *dst, size_t step, struct k_err *err)
{
	uint8_t one[4];
	int r = k_raw_read(t->parts->of[K_PART_DIVISOR], 0, 0, 1, one, err);

	for (int64_t i = 0; r == 0 && i < n; i++)
		memcpy(dst + (size_t)i * step, one, 4);
	return r;
}

int k_raw_read_planes(const struct k_raw *t, int64_t slice K_UNUSED, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	const struct k_raw_parts *p = t->parts;
	int64_t cols = k_shape_cols(t->ndim, t->shape), n_scales, scale_cols = k_shape_cols(p->of[K_PART_SCALES]->ndim, p->of[K_PART_SCALES]->shape);
	size_t step = t->type->granule_bytes(cols, t->type->granule), value_row = row_bytes(p->of[K_PART_VALUES]), scale_row;
	const struct kind *k = kinds;
	uint8_t *v, *s;
	int r = 0;

	while (strcmp(k->name, t->type->name) != 0)
		K_ASSERT(++k < kinds + K_LEN(kinds));
	scale_row = k->floats ? 4 * (size_t)scale_cols : row_bytes(p->of[K_PART_SCALES]);
	n_scales = k_div_up(n, k->by);
	v = k_aligned((size_t)n * value_row);
	s = k_aligned((size_t)n_scales * scale_row);
	if (!v || !s)
		r = k_err_nomem(err, (size_t)n * value_row + (size_t)n_scales * scale_row, t->name);
	if (r == 0)
		r = k_raw_read(p->of[K_PART_VALUES], 0, row, n, v, err);
	if (r == 0)
		r = read_scales(p->of[K_PART_SCALES], k->floats, row / k->by, n_scales, s, err);
	if (r == 0 && p->of[K_PART_DIVISOR])
		r = put_divisor(t, n, dst, step, err);
	for (int64_t i = 0; i < n && r == 0; i += t->type->granule)
		k->join(t, (uint8_t *)dst + (size_t)(i / t->type->granule) * step, v + (size_t)i * value_row, s + (size_t)(i / k->by) * scale_row, cols,
			(int)K_MIN((int64_t)t->type->granule, n - i));
	k_free(v);
	k_free(s);
	return r;
}
