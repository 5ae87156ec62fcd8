/* join_gguf.c: tensors that a GGUF has in another form than the model: split, transposed, computed.
 *
 *   attn_k_b [heads, lora, nope] + attn_v_b [heads, v, lora]  ->  attn_kv_b [heads * (nope + v), lora]: of each head the
 *                                                                 transposed k_b, then v_b
 *   ssm_a = -exp(A_log)                                       ->  A_log, f32
 *   attn_res_score, ffn_res_score, output_res_score           ->  the same, and attn_res_norm, ...: of the residuals of Kimi-K3 GGUF has the
 *                                                                 product of norm and query alone; it is the query, and the norm is ones
 *
 * What is plain and of one type stays so; other types cannot be transposed and become f32, in which all of their values are exact. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "libcore/explog.h"
#include "libcore/import.h"
#include "libcore/map.h"

/* --- rows of a head ----------------------------------------------------------------------------------------------------- */

/* Rows of a stored tensor, in the type of the made one: its own, or f32. */
static int read_rows(const struct k_raw *t, const struct k_qtype *as, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	int64_t cols = k_shape_cols(t->ndim, t->shape);
	size_t stored = t->type->granule_bytes(cols, 1);
	uint8_t *buf;
	int r;

	if (as == t->type)
		return k_raw_read(t, slice, row, n, dst, err);
	buf = k_alloc((size_t)n * stored);
	if (!buf)
		return k_err_nomem(err, (size_t)n * stored, t->name);
	r = k_raw_read(t, slice, row, n, buf, err);
	for (int64_t i = 0; r == 0 && i < n; i++)
		t->type->dequant((float *)dst + i * cols, buf + (size_t)i * stored, cols, 1, 0);
	k_free(buf);
	return r;
}

/* Columns [at, at + n) of a head of k_b, as rows. */
static int read_turned(const struct k_raw *k, const struct k_qtype *as, int64_t head, int64_t at, int64_t n, uint8_t *dst, struct k_err *err)
{
	int64_t lora = k_shape_rows(k->ndim, k->shape), nope = k_shape_cols(k->ndim, k->shape);
	size_t elem = (size_t)as->elem_bytes, bytes = (size_t)lora * (size_t)nope * elem;
	uint8_t *buf = k_alloc(bytes);
	int r = buf ? read_rows(k, as, head, 0, lora, buf, err) : k_err_nomem(err, bytes, k->name);

	for (int64_t i = 0; r == 0 && i < n; i++)
		for (int64_t j = 0; j < lora; j++)
			memcpy(dst + (size_t)(i * lora + j) * elem, buf + (size_t)(j * nope + at + i) * elem, elem);
	k_free(buf);
	return r;
}

static int make_kv_b(const struct k_raw *t, int64_t slice K_UNUSED, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	const struct k_raw *k = t->parts->of[0], *v = t->parts->of[1];
	int64_t nope = k_shape_cols(k->ndim, k->shape), head = nope + k_shape_rows(v->ndim, v->shape);
	size_t row_bytes = (size_t)k_shape_cols(t->ndim, t->shape) * (size_t)t->type->elem_bytes;
	uint8_t *to = dst;
	int r = 0;

	while (r == 0 && n > 0) {
		int64_t in = row % head, count = K_MIN(n, in < nope ? nope - in : head - in);

		if (in < nope)
			r = read_turned(k, t->type, row / head, in, count, to, err);
		else
			r = read_rows(v, t->type, row / head, in - nope, count, to, err);
		to += (size_t)count * row_bytes;
		row += count;
		n -= count;
	}
	return r;
}

/* --- A_log ---------------------------------------------------------------------------------------------------------------- */

/* n values from the first-th on, in whatever rows they lie: the shape of a made tensor is the model's, that of its part the file's. */
static int read_values(const struct k_raw *t, int64_t first, int64_t n, float *dst, struct k_err *err)
{
	int64_t cols = k_shape_cols(t->ndim, t->shape), row = first / cols, rows = (first + n - 1) / cols + 1 - row;
	size_t bytes = (size_t)rows * (size_t)cols * sizeof(float);
	const int64_t shape[] = { k_shape_slices(t->ndim, t->shape) * k_shape_rows(t->ndim, t->shape), cols };
	struct k_raw all = *t;
	float *buf = k_alloc(bytes);
	int r;

	if (!buf)
		return k_err_nomem(err, bytes, t->name);
	/* GGUF's rows stand alone: those of all slices are one run. */
	all.ndim = 2;
	all.shape = shape;
	r = read_rows(&all, k_qtype_find("f32", NULL), 0, row, rows, buf, err);
	if (r == 0)
		memcpy(dst, buf + first - row * cols, (size_t)n * sizeof(float));
	k_free(buf);
	return r;
}

static int make_a_log(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	int64_t cols = k_shape_cols(t->ndim, t->shape), first = (slice * k_shape_rows(t->ndim, t->shape) + row) * cols;
	float *to = dst;
	int r = read_values(t->parts->of[0], first, n * cols, to, err);

	for (int64_t i = 0; r == 0 && i < n * cols; i++) {
		if (!(to[i] < 0) || !isfinite(to[i]))
			return k_err_set(err, K_EFORMAT, "'%s': %s has %g for head %lld, wanted a number below 0", t->file, t->name, (double)to[i],
				(long long)(first + i));
		to[i] = k_decay_to_log(to[i]);
	}
	return r;
}

/* --- norms of residuals ------------------------------------------------------------------------------------------------------- */

static int make_ones(const struct k_raw *t, int64_t slice K_UNUSED, int64_t row K_UNUSED, int64_t n, void *dst, struct k_err *err K_UNUSED)
{
	float *to = dst;

	for (int64_t i = 0; i < n * k_shape_cols(t->ndim, t->shape); i++)
		to[i] = 1;
	return 0;
}

/* --- joining ---------------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end, size_t *len)
{
	size_t n = strlen(name), k = strlen(end);

	*len = n - k;
	return n > k && strcmp(name + n - k, end) == 0;
}

typedef int read_fn(const struct k_raw *t, int64_t slice, int64_t row, int64_t n, void *dst, struct k_err *err);

/* Puts a made tensor in the place of t: its parts are copies. */
static int replace(struct k_rawset *set, struct k_raw *t, const struct k_raw *other, const char *name, read_fn *read, struct k_err *err)
{
	struct k_raw *of = k_arena_array(&set->arena, 2, sizeof(*of));
	struct k_raw_parts *parts = k_arena_alloc(&set->arena, sizeof(*parts));

	if (!of || !parts || !name)
		return k_err_nomem(err, 2 * sizeof(*of), "the list of tensors");
	of[0] = *t;
	if (other)
		of[1] = *other;
	*parts = (struct k_raw_parts){ .read = read, .of = { &of[0], other ? &of[1] : NULL }, .made = true };
	t->name = name;
	t->src = NULL;
	t->type = k_qtype_find("f32", NULL);
	t->parts = parts;
	return 0;
}

static int join_kv_b(struct k_rawset *set, struct k_raw *k, const struct k_raw *v, size_t stem, struct k_err *err)
{
	int64_t heads = k_shape_slices(k->ndim, k->shape), nope = k_shape_cols(k->ndim, k->shape), lora = k_shape_rows(k->ndim, k->shape);
	int64_t dv = k_shape_rows(v->ndim, v->shape), rows;
	bool same = k->type == v->type && k->type->plain;
	const struct k_qtype *type = k->type;
	char has[128], wants[128];
	int r;

	if (!k->type->dequant || !v->type->dequant)
		return k_err_set(err, K_EUNSUP, "'%s': %s and %s have types %s and %s, wanted types of weights", k->file, k->name, v->name,
			k->type->name, v->type->name);
	if (k_shape_slices(v->ndim, v->shape) != heads || k_shape_cols(v->ndim, v->shape) != lora)
		return k_err_set(err, K_ESHAPE, "'%s': %s has shape %s, wanted %s as %s is %lld heads of %lld rows", v->file, v->name,
			k_shape_format(has, v->ndim, v->shape), k_shape_format(wants, 3, (int64_t[]){ heads, dv, lora }), k->name, (long long)heads,
			(long long)lora);
	if (!k_mul_i64(heads, nope + dv, &rows))
		return k_err_set(err, K_ESHAPE, "'%s': %s is too large", k->file, k->name);
	r = replace(set, k, v, k_arena_printf(&set->arena, "%.*s.attn_kv_b.weight", (int)stem, k->name), make_kv_b, err);
	if (r < 0)
		return r;
	if (same)
		k->type = type;
	if (k_rawset_shape(set, k, 2, (int64_t[]){ rows, lora }, err) < 0)
		return err->code;
	if (!k_qtype_slice_bytes(k->type, rows, lora, &k->bytes))
		return k_err_set(err, K_ESHAPE, "'%s': %s is too large", k->file, k->name);
	return 0;
}

static int join_a_log(struct k_rawset *set, struct k_raw *t, struct k_err *err)
{
	int64_t count;
	int r;

	if (!t->type->dequant || !k_shape_count(t->ndim, t->shape, &count) || count > INT64_MAX / 4)
		return k_err_set(err, K_EUNSUP, "'%s': %s has type %s, wanted f32", t->file, t->name, t->type->name);
	r = replace(set, t, NULL, t->name, make_a_log, err);
	t->bytes = 4 * (uint64_t)count;
	return r;
}

/* A norm beside the product that it is part of. */
static int add_norm(struct k_rawset *set, const struct k_raw *score, size_t stem, struct k_err *err)
{
	static const struct k_raw_parts none = { .read = make_ones, .made = true };
	struct k_raw t = *score;
	int64_t count;

	if (!t.type->dequant || !k_shape_count(t.ndim, t.shape, &count) || count > INT64_MAX / 4)
		return k_err_set(err, K_EUNSUP, "'%s': %s has type %s, wanted f32", t.file, t.name, t.type->name);
	t.name = k_arena_printf(&set->arena, "%.*s_norm.weight", (int)stem, score->name);
	if (!t.name)
		return k_err_nomem(err, stem, "a name");
	t.was = NULL;
	t.src = NULL;
	t.off = 0;
	t.type = k_qtype_find("f32", NULL);
	t.bytes = 4 * (uint64_t)count;
	t.parts = &none;
	return k_rawset_add(set, &t, err);
}

static int index_all(const struct k_rawset *set, struct k_map *map, struct k_err *err)
{
	for (int64_t i = 0; i < set->n; i++)
		if (k_map_put(map, set->v[i].name, strlen(set->v[i].name), &set->v[i]) < 0)
			return k_err_nomem(err, strlen(set->v[i].name), "the names of tensors");
	return 0;
}

/* The other half of a pair. */
static struct k_raw *half(const struct k_map *map, const struct k_raw *t, size_t stem, const char *end)
{
	char name[128];
	int n = snprintf(name, sizeof(name), "%.*s%s", (int)stem, t->name, end);

	return n < (int)sizeof(name) ? k_map_find(map, name, (size_t)n) : NULL;
}

int k_join_gguf(struct k_rawset *set, struct k_err *err)
{
	static const char k_end[] = ".attn_k_b.weight", v_end[] = ".attn_v_b.weight";
	struct k_map map;
	int64_t kept = 0;
	size_t stem;
	int r;

	k_map_init(&map);
	r = index_all(set, &map, err);
	for (int64_t i = 0; r == 0 && i < set->n; i++) {
		struct k_raw *t = &set->v[i];
		bool is_k = ends_with(t->name, k_end, &stem), is_v = !is_k && ends_with(t->name, v_end, &stem);
		const struct k_raw *other = is_k || is_v ? half(&map, t, stem, is_k ? v_end : k_end) : NULL;

		if ((is_k || is_v) && !other)
			r = k_err_set(err, K_ENOENT, "'%s': %.*s%s is missing beside %s", t->file, (int)stem, t->name, is_k ? v_end : k_end, t->name);
		else if (is_k)
			r = join_kv_b(set, t, other, stem, err);
		else if (ends_with(t->name, ".ssm_a", &stem))
			r = join_a_log(set, t, err);
	}
	for (int64_t i = 0; r == 0 && i < set->n; i++)
		if (!ends_with(set->v[i].name, v_end, &stem))
			set->v[kept++] = set->v[i];
	if (r == 0)
		set->n = kept;
	for (int64_t i = 0; r == 0 && i < kept; i++)
		if (ends_with(set->v[i].name, "_res_score.weight", &stem))
			r = add_norm(set, &set->v[i], stem + strlen("_res"), err);
	k_map_fini(&map);
	return r;
}
