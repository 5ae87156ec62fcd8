/* join.c: the parts of a quantised tensor become one tensor, and quantization_config is held against what is there.
 *
 *     X.weight_packed I32, X.weight_scale, X.weight_shape (X.weight_zero_point)       compressed-tensors pack-quantized
 *     X.weight_packed U8,  X.weight_scale (X.weight_global_scale)                     ... mxfp4-, nvfp4-pack-quantized
 *     X.weight I8 F8_E4M3, X.weight_scale                                             ... int-, float-quantized, mxfp8-quantized
 *     X.weight F8_E4M3,    X.weight_scale_inv                                         block FP8
 *     X.qweight, X.scales, X.qzeros (X.g_idx)                                         GPTQ, AWQ
 *
 * What is quantised is decided by the tensors; the config can only contradict them, and say what they do not (how GPTQ and AWQ count).
 * The joined tensor stands where its values stood; the other parts leave the list. */
#include "libcore/base.h"
#include "libcore/join_int.h"
#include "libcore/log.h"
#include <stdio.h>

/* --- joining ------------------------------------------------------------------------------------------------------------ */

struct k_raw *k_join_part(const struct k_join *j, const char *name, size_t len, const char *suffix)
{
	char buf[2048];
	int n = snprintf(buf, sizeof(buf), "%.*s%s", (int)len, name, suffix);

	return n > 0 && (size_t)n < sizeof(buf) ? k_map_find(&j->map, buf, (size_t)n) : NULL;
}

int k_join_need(const struct k_join *j, const struct k_raw *t, size_t len, const char *suffix, struct k_raw **out, struct k_err *err)
{
	*out = k_join_part(j, t->name, len, suffix);
	return *out ? 0 : k_err_set(err, K_ENOENT, "'%s': %.*s%s is missing beside %s", t->file, (int)len, t->name, suffix, t->name);
}

static bool ends_with(const char *name, const char *suffix, size_t *len)
{
	size_t n = strlen(name), k = strlen(suffix);

	if (n <= k || strcmp(name + n - k, suffix) != 0)
		return false;
	*len = n - k;
	return true;
}

bool k_join_is(const struct k_raw *t, const char *dtype)
{
	return t->type->st_dtype && strcmp(t->type->st_dtype, dtype) == 0;
}

int k_join_wrong_shape(const struct k_raw *t, int64_t rows, int64_t cols, struct k_err *err)
{
	char is[128], want[128];

	return k_err_set(err, K_ESHAPE, "'%s': %s has shape %s, wanted %s", t->file, t->name, k_shape_format(is, t->ndim, t->shape),
		k_shape_format(want, 2, (int64_t[]){ rows, cols }));
}

int k_join_wrong_dtype(const struct k_raw *t, const char *wanted, struct k_err *err)
{
	return k_err_set(err, K_EUNSUP, "'%s': %s is %s, wanted %s", t->file, t->name, t->type->st_dtype ? t->type->st_dtype : t->type->name, wanted);
}

int k_join_check_scales(const struct k_raw *scale, int64_t rows, int64_t cols, struct k_err *err)
{
	int64_t count;

	if (!k_join_is(scale, "BF16") && !k_join_is(scale, "F16") && !k_join_is(scale, "F32"))
		return k_join_wrong_dtype(scale, "BF16, F16 or F32", err);
	if (scale->ndim == 2 && scale->shape[0] == rows && scale->shape[1] == cols)
		return 0;
	if (cols == 1 && k_shape_count(scale->ndim, scale->shape, &count) && count == 1)
		return 0;
	return k_join_wrong_shape(scale, rows, cols, err);
}

const char *k_join_scale_form(const struct k_raw *scale)
{
	if (scale->ndim != 2)
		return NULL;
	return k_join_is(scale, "BF16") ? "ct.bf16" : k_join_is(scale, "F16") ? "ct.f16" : NULL;
}

static int keep_parts(struct k_join *j, const struct k_raw *at, const struct k_raw_parts *from, struct k_raw_parts **out, struct k_err *err)
{
	struct k_arena *arena = &j->set->arena;
	struct k_raw_parts *kept = k_arena_alloc(arena, sizeof(*kept));

	for (int i = 0; kept && i < K_PARTS; i++) {
		const struct k_raw *part = i == K_PART_VALUES ? at : from->of[i];
		struct k_raw *copy;

		if (!part)
			continue;
		copy = k_arena_alloc(arena, sizeof(*copy));
		if (!copy)
			return k_err_nomem(err, sizeof(*copy), "the list of tensors");
		*copy = *part;
		kept->of[i] = copy;
		j->gone[part - j->set->v] = i != K_PART_VALUES;
	}
	if (!kept)
		return k_err_nomem(err, sizeof(*kept), "the list of tensors");
	kept->read = from->read;
	kept->bits = from->bits;
	kept->group = from->group;
	kept->zero_bias = from->zero_bias;
	*out = kept;
	return 0;
}

int k_join_put(struct k_join *j, struct k_raw *at, size_t module, const struct k_qtype *type, int64_t rows, int64_t cols,
	const struct k_raw_parts *parts, const char *form, struct k_err *err)
{
	const char *why = k_qtype_refuses(type, rows, cols), *file = at->file;
	struct k_raw_parts *kept = NULL;
	char *name;
	int r;

	if (why)
		return k_err_set(err, K_ESHAPE, "'%s': %.*s.weight: %s", at->file, (int)module, at->name, why);
	r = keep_parts(j, at, parts, &kept, err);
	if (r < 0)
		return r;
	name = k_arena_printf(&j->set->arena, "%.*s.weight", (int)module, at->name);
	if (!name)
		return k_err_nomem(err, module, "the list of tensors");
	*at = (struct k_raw){ .name = name, .file = file, .type = type, .parts = kept, .form = form };
	if (k_rawset_shape(j->set, at, 2, (int64_t[]){ rows, cols }, err) < 0)
		return err->code;
	if (!k_qtype_slice_bytes(type, rows, cols, &at->bytes))
		return k_err_set(err, K_ESHAPE, "'%s': %s is too large", at->file, at->name);
	return 0;
}

/* Bytes without scales are a plain tensor, unless FP8 is what the config announces. */
static bool wants_scales(const struct k_join *j, const struct k_raw *t)
{
	enum k_method m = j->config.n_schemes ? j->config.schemes[0].method : K_BY_TENSORS;

	return k_join_is(t, "F8_E4M3") && (m == K_FP8 || m == K_BLOCK_FP8 || m == K_MXFP8);
}

/* A module whose codes are t, by the tensors' dtypes; the scheme decides between what they leave open. */
static int join_module(struct k_join *j, struct k_raw *t, size_t module, bool packed, struct k_err *err)
{
	const struct k_scheme *s;
	int r = 0;

	if (!packed && !k_join_part(j, t->name, module, ".weight_scale") && !k_join_part(j, t->name, module, ".weight_scale_inv") && !wants_scales(j, t))
		return 0;
	r = k_qconfig_scheme(&j->config, t, module, &s, err);
	if (r < 0)
		return r;
	if (packed && k_join_part(j, t->name, module, ".weight"))
		return k_err_set(err, K_EFORMAT, "'%s': %.*s.weight stands beside %s", t->file, (int)module, t->name, t->name);
	if (!packed)
		return k_join_is(t, "I8") ? k_join_int8(j, t, module, s, err) : k_join_fp8(j, t, module, s, err);
	if (s->method == K_BY_TENSORS)
		return k_join_is(t, "U8") ? k_join_fp4(j, t, module, s, err) : k_join_packed(j, t, module, s, err);
	if (s->method == K_MXFP4 || s->method == K_NVFP4)
		return k_join_is(t, "U8") ? k_join_fp4(j, t, module, s, err) : k_join_wrong_dtype(t, "U8", err);
	if (s->method != K_PACKED)
		return k_err_set(err, K_EFORMAT, "'%s': %s is packed, but quantization_config says another format", t->file, t->name);
	return k_join_packed(j, t, module, s, err);
}

static int join_any(struct k_join *j, struct k_raw *t, struct k_err *err)
{
	const struct k_scheme *s;
	size_t module;
	int r;

	if (ends_with(t->name, ".weight_packed", &module))
		return join_module(j, t, module, true, err);
	if ((k_join_is(t, "F8_E4M3") || k_join_is(t, "I8")) && ends_with(t->name, ".weight", &module))
		return join_module(j, t, module, false, err);
	if (!ends_with(t->name, ".qweight", &module))
		return 0;
	r = k_qconfig_scheme(&j->config, t, module, &s, err);
	return r < 0 ? r : k_join_qweight(j, t, module, s, err);
}

/* Parts without the values they belong to. */
static int check_orphan(struct k_join *j, const struct k_raw *t, struct k_err *err)
{
	static const char *const suffixes[] = { ".weight_scale", ".weight_scale_inv", ".weight_shape", ".weight_zero_point", ".weight_g_idx", ".weight_global_scale" };
	static const char *const values[] = { ".weight", ".weight_packed" }, *const transposed[] = { ".scales", ".qzeros", ".g_idx" };
	size_t module;

	for (size_t i = 0; i < K_LEN(suffixes); i++) {
		if (!ends_with(t->name, suffixes[i], &module))
			continue;
		for (size_t k = 0; k < K_LEN(values); k++)
			if (k_join_part(j, t->name, module, values[k]))
				return k_err_set(err, K_EUNSUP, "'%s': %s beside %.*s%s: such weights are not known here", t->file, t->name, (int)module, t->name, values[k]);
		return k_err_set(err, K_ENOENT, "'%s': the values of %.*s are missing beside %s", t->file, (int)module, t->name, t->name);
	}
	for (size_t i = 0; i < K_LEN(transposed); i++)
		if (j->config.n_schemes && j->config.schemes[0].method >= K_GPTQ && ends_with(t->name, transposed[i], &module))
			return k_err_set(err, K_ENOENT, "'%s': %.*s.qweight is missing beside %s", t->file, (int)module, t->name, t->name);
	/* DeepSeek-V4: packed FP4 as I8, a power of two for 32 columns. */
	if (ends_with(t->name, ".scale", &module) && k_join_is(t, "F8_E8M0") && k_join_part(j, t->name, module, ".weight"))
		return k_err_set(err, K_EUNSUP, "'%s': %s beside %.*s.weight: the FP4 and FP8 of DeepSeek-V4 are not known here", t->file, t->name, (int)module, t->name);
	return 0;
}

/* In the released K3 these are BF16 and not on the list. */
static bool goes_unlisted(const char *name) { return strstr(name, ".routed_expert_") || strstr(name, "_res_proj."); }

/* Linear layers that are not packed should be on the ignore list; one line is enough. */
static void note_unlisted(struct k_join *j)
{
	static const char *const linear[] = { "_proj.weight", "lm_head.weight", ".w1.weight", ".w2.weight", ".w3.weight" };
	const char *first = NULL;
	int64_t n = 0;
	size_t len;

	for (int64_t i = 0; i < j->set->n; i++) {
		const struct k_raw *t = &j->set->v[i];
		bool yes = false;

		for (size_t k = 0; k < K_LEN(linear) && t->type->plain && t->ndim == 2; k++)
			yes = yes || (ends_with(t->name, linear[k], &len) || strcmp(t->name, linear[k]) == 0);
		if (!yes || goes_unlisted(t->name) || !k_qconfig_unlisted(&j->config, t->name))
			continue;
		first = first ? first : t->name;
		n++;
	}
	if (n)
		k_logf(j->config.log, K_LOG_WARN, "'%s': %lld linear layers are neither packed nor ignored by quantization_config, the first is %s", j->set->path, (long long)n, first);
}

static int join_all(struct k_join *j, struct k_err *err)
{
	struct k_rawset *s = j->set;
	int64_t kept = 0;
	bool any = false;

	for (int64_t i = 0; i < s->n; i++) {
		const char *name = s->v[i].name;
		int r = k_map_put(&j->map, name, strlen(name), &s->v[i]);

		if (r < 0)
			return k_err_nomem(err, (size_t)s->n * 32, "the list of tensors");
		if (r == 0)
			return k_err_set(err, K_EFORMAT, "'%s': %s is there twice", s->v[i].file, name);
	}
	for (int64_t i = 0; i < s->n; i++) {
		if (join_any(j, &s->v[i], err) < 0)
			return err->code;
		any = any || s->v[i].parts;
	}
	for (int64_t i = 0; i < s->n; i++) {
		if (j->gone[i])
			continue;
		if (!s->v[i].parts && check_orphan(j, &s->v[i], err) < 0)
			return err->code;
		s->v[kept++] = s->v[i];
	}
	k_rawset_cut(s, kept);
	if (any && j->config.n_schemes == 0)
		k_logf(j->config.log, K_LOG_WARN, "'%s' has quantised tensors, but its config has no quantization_config", s->path);
	note_unlisted(j);
	return 0;
}

int k_join_parts(struct k_rawset *set, const struct k_json *config, struct k_log *log, struct k_err *err)
{
	struct k_join j = { .set = set };
	char where[200];
	int r;

	snprintf(where, sizeof(where), "%.150s/config.json", set->path);
	j.config.where = where;
	j.config.log = config ? log : NULL;
	k_map_init(&j.map);
	r = k_qconfig_read(&j.config, config, err);
	j.gone = k_calloc((size_t)set->n, sizeof(*j.gone));
	if (r == 0 && !j.gone)
		r = k_err_nomem(err, (size_t)set->n, "the list of tensors");
	if (r == 0)
		r = join_all(&j, err);
	k_map_fini(&j.map);
	k_free(j.gone);
	k_qconfig_fini(&j.config);
	return r;
}
