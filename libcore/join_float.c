/* join_float.c: the parts of FP8 and FP4 weights: which there are, their shapes, and their types:
 *
 *     weight F8_E4M3, weight_scale_inv or weight_scale    by block of 128 x 128    fp8b128
 *     F32 BF16 F16 F8_E8M0
 *     weight F8_E4M3, weight_scale F32 BF16 F16           by row or tensor         fp8row
 *     weight F8_E4M3, weight_scale U8                     by group of 32           mxfp8
 *     weight_packed U8, weight_scale U8                   by group of 32           mxfp4
 *     weight_packed U8, weight_scale F8_E4M3, weight_global_scale F32    of 16     nvfp4 */
#include "libcore/base.h"
#include "libcore/join_int.h"

enum { BLOCK = 128, GROUP = 32, NV_GROUP = 16 };

static int want_scales(const struct k_raw *t, const char *dtype, int64_t rows, int64_t cols, struct k_err *err)
{
	if (!k_join_is(t, dtype))
		return k_join_wrong_dtype(t, dtype, err);
	return t->ndim == 2 && t->shape[0] == rows && t->shape[1] == cols ? 0 : k_join_wrong_shape(t, rows, cols, err);
}

/* Exponents: bytes by either name. */
static int want_exponents(const struct k_raw *t, int64_t rows, int64_t cols, struct k_err *err)
{
	return want_scales(t, k_join_is(t, "F8_E8M0") ? "F8_E8M0" : "U8", rows, cols, err);
}

static int want_group(const struct k_raw *t, int64_t cols, int group, struct k_err *err)
{
	return cols % group == 0 ? 0 : k_err_set(err, K_ESHAPE, "'%s': %s has %lld columns, wanted a multiple of %d", t->file, t->name, (long long)cols, group);
}

static int put(struct k_join *j, struct k_raw *t, size_t module, const char *type, int64_t rows, int64_t cols, const struct k_raw *scales,
	const struct k_raw *divisor, struct k_err *err)
{
	struct k_raw_parts parts = { .read = k_raw_read_planes, .of[K_PART_VALUES] = t, .of[K_PART_SCALES] = scales, .of[K_PART_DIVISOR] = divisor };

	return k_join_put(j, t, module, k_qtype_for(type, rows, cols), rows, cols, &parts, strcmp(type, "fp8row") == 0 ? k_join_scale_form(scales) : NULL, err);
}

/* --- FP8 -------------------------------------------------------------------------------------------------------------------- */

static int join_mxfp8(struct k_join *j, struct k_raw *t, size_t module, const struct k_raw *scales, struct k_err *err)
{
	int r = want_group(t, t->shape[1], GROUP, err);

	if (r == 0)
		r = want_exponents(scales, t->shape[0], t->shape[1] / GROUP, err);
	return r < 0 ? r : put(j, t, module, "mxfp8", t->shape[0], t->shape[1], scales, NULL, err);
}

/* Whatever the scales are, f32 holds them. */
static int join_block(struct k_join *j, struct k_raw *t, size_t module, const struct k_raw *scales, struct k_err *err)
{
	static const char *const dtypes[] = { "F32", "BF16", "F16", "F8_E8M0" };
	int64_t rows = k_div_up(t->shape[0], BLOCK), cols = k_div_up(t->shape[1], BLOCK);
	size_t i = 0;
	int r;

	while (i < K_LEN(dtypes) && !k_join_is(scales, dtypes[i]))
		i++;
	r = i < K_LEN(dtypes) ? want_scales(scales, dtypes[i], rows, cols, err) : k_join_wrong_dtype(scales, "F32, BF16, F16 or F8_E8M0", err);
	return r < 0 ? r : put(j, t, module, "fp8b128", t->shape[0], t->shape[1], scales, NULL, err);
}

/* A weight in F8_E4M3 without scales is one by itself, unless the config says that it has some. */
int k_join_fp8(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err)
{
	struct k_raw *scales = k_join_part(j, t->name, module, ".weight_scale"), *inverse = k_join_part(j, t->name, module, ".weight_scale_inv");
	int r;

	if (!scales && !inverse && s->method == K_BY_TENSORS)
		return 0;
	if (s->method != K_BY_TENSORS && s->method != K_FP8 && s->method != K_BLOCK_FP8 && s->method != K_MXFP8)
		return k_err_set(err, K_EFORMAT, "'%s': %s is FP8, but quantization_config says another format", t->file, t->name);
	r = inverse && (s->method == K_BY_TENSORS || s->method == K_BLOCK_FP8) ? 0 :
		k_join_need(j, t, module, s->method == K_BLOCK_FP8 ? ".weight_scale_inv" : ".weight_scale", s->method == K_BLOCK_FP8 ? &inverse : &scales, err);
	if (r < 0)
		return r;
	if (t->ndim != 2)
		return k_err_set(err, K_ESHAPE, "'%s': %s has %d dimensions, wanted 2", t->file, t->name, t->ndim);
	if (inverse && s->method != K_FP8 && s->method != K_MXFP8)
		return join_block(j, t, module, inverse, err);
	if (s->method == K_MXFP8 || k_join_is(scales, "U8"))
		return join_mxfp8(j, t, module, scales, err);
	if (s->block)
		return join_block(j, t, module, scales, err);
	if (s->group > 0)
		return k_err_set(err, K_EUNSUP, "'%s': %s has scales for groups of %lld columns, wanted one a row or a tensor", t->file, t->name, (long long)s->group);
	r = k_join_check_scales(scales, t->shape[0], 1, err);
	return r < 0 ? r : put(j, t, module, "fp8row", t->shape[0], t->shape[1], scales, NULL, err);
}

/* --- FP4 -------------------------------------------------------------------------------------------------------------------- */

int k_join_fp4(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err)
{
	struct k_raw *scales, *divisor = k_join_part(j, t->name, module, ".weight_global_scale");
	bool nv = s->method == K_NVFP4 || (s->method == K_BY_TENSORS && divisor);
	int64_t rows, cols, count;
	int r = k_join_need(j, t, module, ".weight_scale", &scales, err);

	if (r == 0 && nv)
		r = k_join_need(j, t, module, ".weight_global_scale", &divisor, err);
	if (r < 0)
		return r;
	if (divisor && !nv)
		return k_err_set(err, K_EUNSUP, "'%s': %s beside MXFP4 weights is not known here", t->file, divisor->name);
	rows = k_shape_rows(t->ndim, t->shape);
	if (t->ndim != 2 || !k_mul_i64(t->shape[1], 2, &cols) || cols % (nv ? NV_GROUP : GROUP))
		return k_err_set(err, K_ESHAPE, "'%s': %s has %lld columns, wanted a multiple of %d", t->file, t->name, (long long)k_shape_cols(t->ndim, t->shape),
			nv ? NV_GROUP / 2 : GROUP / 2);
	if (nv && (!k_join_is(divisor, "F32") || !k_shape_count(divisor->ndim, divisor->shape, &count) || count != 1))
		return k_err_set(err, K_ESHAPE, "'%s': %s is no single F32", t->file, divisor->name);
	r = nv ? want_scales(scales, "F8_E4M3", rows, cols / NV_GROUP, err) : want_exponents(scales, rows, cols / GROUP, err);
	return r < 0 ? r : put(j, t, module, nv ? "nvfp4" : "mxfp4", rows, cols, scales, divisor, err);
}
