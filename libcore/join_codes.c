/* join_codes.c: the parts of INT4 and INT8 weights: which there are, their shapes, and the type that holds the values exactly:
 *
 *     bits  scales    symmetric, by group or row        with zero points
 *     4     BF16      i4g32 (scales repeated)           i4z32
 *     4     F16       q4_0  (scales repeated)           i4z32
 *     4     F32       i4z32                             i4z32
 *     8     any       i8row by row or tensor            i8z32
 *     8     F16       q8_0 by group                     i8z32
 *     8     other     i8z32 by group                    i8z32 */
#include "libcore/base.h"
#include "libcore/join_int.h"
#include <stdio.h>

enum { GROUP = 32 };

/* What the values need, and what is known of them. */
struct codes {
	const struct k_raw *t;          /* of the codes */
	size_t module;
	int64_t rows, cols;
	int64_t group;                  /* cols: one scale a row */
	int bits;
	bool symmetric, per_row;
};

static int misfit(const struct codes *c, const char *what, struct k_err *err)
{
	return k_err_set(err, K_EUNSUP, "'%s': %.*s.weight: %s, which no type here holds exactly", c->t->file, (int)c->module, c->t->name, what);
}

static int exact_type(const struct codes *c, const struct k_raw *scales, const struct k_qtype **out, struct k_err *err)
{
	const char *name = c->bits == 4 ? "i4z32" : "i8z32";
	char what[100];

	if (c->bits == 8 && c->symmetric && c->per_row)
		name = "i8row";
	else if (c->symmetric && k_join_is(scales, "F16"))
		name = c->bits == 4 ? "q4_0" : "q8_0";
	else if (c->symmetric && c->bits == 4 && k_join_is(scales, "BF16"))
		name = "i4g32";
	*out = k_qtype_for(name, c->rows, c->cols);
	if ((*out)->group == 1)
		return 0;
	if (c->cols % GROUP)
		return snprintf(what, sizeof(what), "%lld columns, no multiple of 32", (long long)c->cols), misfit(c, what, err);
	if (!c->per_row && c->group % GROUP)
		return snprintf(what, sizeof(what), "groups of %lld columns, no multiple of 32", (long long)c->group), misfit(c, what, err);
	return 0;
}

/* The scheme's group, where it says one; the tensors' own shape decides without a config. */
static int set_group(struct codes *c, int64_t group, struct k_err *err)
{
	c->per_row = group <= 0;
	c->group = c->per_row ? c->cols : group;
	if (c->rows <= 0 || c->cols <= 0)
		return k_err_set(err, K_ESHAPE, "'%s': %.*s.weight would have shape [%lld, %lld]", c->t->file, (int)c->module, c->t->name, (long long)c->rows,
			(long long)c->cols);
	if (!c->per_row && c->cols % c->group)
		return k_err_set(err, K_ESHAPE, "'%s': %.*s.weight has %lld columns, no multiple of the group size %lld", c->t->file, (int)c->module, c->t->name,
			(long long)c->cols, (long long)c->group);
	return 0;
}

static int want_shape(const struct k_raw *t, const char *dtype, int64_t rows, int64_t cols, struct k_err *err)
{
	if (!k_join_is(t, dtype))
		return k_join_wrong_dtype(t, dtype, err);
	return t->ndim == 2 && t->shape[0] == rows && t->shape[1] == cols ? 0 : k_join_wrong_shape(t, rows, cols, err);
}

/* --- pack-quantized -------------------------------------------------------------------------------------------------------- */

/* weight_shape: two positive integers. */
static int read_shape(const struct k_raw *t, int64_t *rows, int64_t *cols, struct k_err *err)
{
	int64_t v[2];
	int32_t v32[2];
	bool wide = k_join_is(t, "I64");

	if (!wide && !k_join_is(t, "I32"))
		return k_join_wrong_dtype(t, "I32 or I64", err);
	if (t->ndim != 1 || t->shape[0] != 2)
		return k_err_set(err, K_ESHAPE, "'%s': %s has %lld elements, wanted 2", t->file, t->name, (long long)k_shape_cols(t->ndim, t->shape));
	if (k_source_pread(t->src, wide ? (void *)v : (void *)v32, wide ? 16 : 8, t->off, err) < 0)
		return k_err_add(err, "while reading %s", t->name);
	for (int i = 0; i < 2 && !wide; i++)
		v[i] = v32[i];
	if (v[0] <= 0 || v[1] <= 0 || v[0] > INT64_MAX / 16 || v[1] > INT64_MAX / 16)
		return k_err_set(err, K_EFORMAT, "'%s': %s is [%lld, %lld], wanted positive sizes", t->file, t->name, (long long)v[0], (long long)v[1]);
	*rows = v[0];
	*cols = v[1];
	return 0;
}

/* Without a config: as many bits as the codes have, as wide groups as there are scales. */
static void guess(struct codes *c, const struct k_raw *scales, const struct k_raw *zeros, int64_t *group)
{
	int64_t groups = scales->ndim == 2 ? scales->shape[1] : 1;

	c->bits = c->t->ndim == 2 && c->t->shape[1] == k_div_up(c->cols, 4) ? 8 : 4;
	c->symmetric = !zeros;
	*group = groups > 1 && c->cols % groups == 0 ? c->cols / groups : groups > 1 ? GROUP : c->cols == GROUP ? GROUP : K_PER_ROW;
}

/* Other shapes than those of Kimi's own files go through codes one by one. */
static bool is_plain(const struct codes *c, const struct k_raw *scales, const struct k_raw *zeros)
{
	return c->bits == 4 && !zeros && c->group == GROUP && k_join_is(scales, "BF16");
}

int k_join_packed(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err)
{
	struct codes c = { .t = t, .module = module, .bits = (int)s->bits, .symmetric = s->symmetric };
	struct k_raw *scales, *shape, *zeros = k_join_part(j, t->name, module, ".weight_zero_point");
	int64_t group = s->group, per;
	const struct k_qtype *type = NULL;
	struct k_raw_parts parts;
	int r = k_join_need(j, t, module, ".weight_scale", &scales, err);

	if (r == 0)
		r = k_join_need(j, t, module, ".weight_shape", &shape, err);
	if (r == 0)
		r = read_shape(shape, &c.rows, &c.cols, err);
	if (r == 0 && !s->symmetric)
		r = k_join_need(j, t, module, ".weight_zero_point", &zeros, err);
	if (r < 0)
		return r;
	if (k_join_part(j, t->name, module, ".weight_g_idx"))
		return k_err_set(err, K_EUNSUP, "'%s': %.*s.weight_g_idx: columns in another order are not known here", t->file, (int)module, t->name);
	if (s->method == K_BY_TENSORS)
		guess(&c, scales, zeros, &group);
	else if (s->symmetric && zeros)
		return k_err_set(err, K_EFORMAT, "'%s': %s is there, but quantization_config says symmetric", t->file, zeros->name);
	per = 32 / c.bits;
	r = set_group(&c, group, err);
	if (r == 0)
		r = want_shape(t, "I32", c.rows, k_div_up(c.cols, per), err);
	if (r == 0)
		r = k_join_check_scales(scales, c.rows, c.cols / c.group, err);
	if (r == 0 && zeros)
		r = want_shape(zeros, "I32", k_div_up(c.rows, per), c.cols / c.group, err);
	if (r == 0)
		r = exact_type(&c, scales, &type, err);
	if (r < 0)
		return r;
	parts = (struct k_raw_parts){ .read = is_plain(&c, scales, zeros) ? k_raw_read_planes : k_raw_read_packed, .of[K_PART_VALUES] = t, .of[K_PART_SCALES] = scales,
		.of[K_PART_ZEROS] = zeros, .bits = c.bits, .group = c.group };
	j->gone[shape - j->set->v] = true;
	return k_join_put(j, t, module, type, c.rows, c.cols, &parts, is_plain(&c, scales, zeros) && k_join_is(shape, "I64") ? "ct.i64" : NULL, err);
}

/* --- int-quantized ----------------------------------------------------------------------------------------------------------- */

int k_join_int8(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err)
{
	struct codes c = { .t = t, .module = module, .bits = 8, .rows = k_shape_rows(t->ndim, t->shape), .cols = k_shape_cols(t->ndim, t->shape) };
	struct k_raw *scales, *zeros = k_join_part(j, t->name, module, ".weight_zero_point");
	const struct k_qtype *type = NULL;
	int64_t group = s->group;
	int r = k_join_need(j, t, module, ".weight_scale", &scales, err);

	if (r == 0 && !s->symmetric)
		r = k_join_need(j, t, module, ".weight_zero_point", &zeros, err);
	if (r < 0)
		return r;
	if (s->method == K_BY_TENSORS)
		group = scales->ndim == 2 && scales->shape[1] > 1 && c.cols % scales->shape[1] == 0 ? c.cols / scales->shape[1] : K_PER_ROW;
	c.symmetric = !zeros;
	r = set_group(&c, group, err);
	if (r == 0)
		r = want_shape(t, "I8", c.rows, c.cols, err);
	if (r == 0)
		r = k_join_check_scales(scales, c.rows, c.cols / c.group, err);
	if (r == 0 && zeros)
		r = want_shape(zeros, "I8", c.rows, c.cols / c.group, err);
	if (r == 0)
		r = exact_type(&c, scales, &type, err);
	if (r < 0)
		return r;
	return k_join_put(j, t, module, type, c.rows, c.cols, &(struct k_raw_parts){ .read = k_raw_read_int8, .of[K_PART_VALUES] = t, .of[K_PART_SCALES] = scales, .of[K_PART_ZEROS] = zeros,
		.bits = 8, .group = c.group }, strcmp(type->name, "i8row") == 0 ? k_join_scale_form(scales) : NULL, err);
}

/* --- GPTQ, AWQ ---------------------------------------------------------------------------------------------------------------- */

/* The group of each column: -1, or the one it lies in. Others are columns that were sorted, for which there is no type. */
static int check_order(const struct codes *c, const struct k_raw *t, struct k_err *err)
{
	int64_t groups = k_div_up(c->cols, c->group);
	int32_t part[1024];
	int r = 0;

	if (!k_join_is(t, "I32"))
		return k_join_wrong_dtype(t, "I32", err);
	if (t->ndim != 1 || t->shape[0] != c->cols)
		return k_err_set(err, K_ESHAPE, "'%s': %s has %lld elements, wanted %lld", t->file, t->name, (long long)k_shape_cols(t->ndim, t->shape), (long long)c->cols);
	for (int64_t i = 0; r == 0 && i < c->cols; i += (int64_t)K_LEN(part)) {
		int64_t n = K_MIN(c->cols - i, (int64_t)K_LEN(part));

		r = k_source_pread(t->src, part, (size_t)n * 4, t->off + (uint64_t)i * 4, err);
		for (int64_t k = 0; r == 0 && k < n; k++) {
			if (part[k] < -1 || part[k] >= groups)
				return k_err_set(err, K_EFORMAT, "'%s': %s puts column %lld in group %d of %lld", t->file, t->name, (long long)(i + k), part[k], (long long)groups);
			if (part[k] != -1 && part[k] != (i + k) / c->group)
				return k_err_set(err, K_EUNSUP, "'%s': %s puts column %lld in group %d: columns in another order (desc_act) are not known here", t->file,
					t->name, (long long)(i + k), part[k]);
		}
	}
	return r;
}

/* rows and cols from the codes. GPTQ [cols / per, rows], AWQ [cols, rows / 8]. */
static int transposed(struct codes *c, bool awq, struct k_err *err)
{
	int64_t per = 32 / c->bits;
	const struct k_raw *t = c->t;

	if (!k_join_is(t, "I32"))
		return k_join_wrong_dtype(t, "I32", err);
	if (t->ndim != 2 || !k_mul_i64(t->shape[awq], per, awq ? &c->rows : &c->cols))
		return k_err_set(err, K_ESHAPE, "'%s': %s has %d dimensions, wanted 2", t->file, t->name, t->ndim);
	*(awq ? &c->cols : &c->rows) = t->shape[!awq];
	return 0;
}

int k_join_qweight(struct k_join *j, struct k_raw *t, size_t module, const struct k_scheme *s, struct k_err *err)
{
	struct codes c = { .t = t, .module = module, .bits = (int)s->bits, .symmetric = s->symmetric };
	bool awq = s->method == K_AWQ;
	struct k_raw *scales, *zeros, *order = k_join_part(j, t->name, module, ".g_idx");
	const struct k_qtype *type = NULL;
	int64_t groups;
	int r = k_join_need(j, t, module, ".scales", &scales, err);

	if (s->method != K_GPTQ && !awq)
		return k_err_set(err, K_EUNSUP, "'%s': %s is packed as GPTQ or AWQ, which only quantization_config can say", t->file, t->name);
	if (r == 0)
		r = k_join_need(j, t, module, ".qzeros", &zeros, err);
	if (r == 0)
		r = transposed(&c, awq, err);
	if (r == 0)
		r = set_group(&c, s->group, err);
	if (r < 0)
		return r;
	groups = c.cols / c.group;
	if (scales->ndim != 2 || scales->shape[0] != groups || scales->shape[1] != c.rows)
		return k_join_wrong_shape(scales, groups, c.rows, err);
	if (!k_join_is(scales, "F16") && !k_join_is(scales, "BF16") && !k_join_is(scales, "F32"))
		return k_join_wrong_dtype(scales, "F16, BF16 or F32", err);
	r = want_shape(zeros, "I32", groups, k_div_up(c.rows, 32 / c.bits), err);
	if (r == 0 && order)
		r = check_order(&c, order, err);
	if (r == 0)
		r = exact_type(&c, scales, &type, err);
	if (r < 0)
		return r;
	if (order)
		j->gone[order - j->set->v] = true;
	return k_join_put(j, t, module, type, c.rows, c.cols, &(struct k_raw_parts){ .read = awq ? k_raw_read_awq : k_raw_read_gptq, .of[K_PART_VALUES] = t, .of[K_PART_SCALES] = scales,
		.of[K_PART_ZEROS] = zeros, .bits = c.bits, .group = c.group, .zero_bias = s->zero_bias }, NULL, err);
}
