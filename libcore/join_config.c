/* join_config.c: quantization_config becomes schemes: how the modules that its targets name are stored.
 *
 *     compressed-tensors   config_groups: {name: {targets, format, weights}}, ignore        a scheme a group
 *     fp8                  weight_block_size, or one scale a tensor
 *     gptq, awq, auto-round   bits, group_size, sym or zero_point
 *
 * A method, format or member that would change the result and is not known is refused by its name. Activations are not quantised
 * here, so what the config says about them is only noted. */
#include "libcore/base.h"
#include "libcore/join_int.h"
#include "libcore/log.h"
#include "libcore/rx.h"
#include <stdio.h>

enum { PATTERN_MAX = 256, BLOCK = 128, MOST_SCHEMES = 64 };

/* --- patterns ----------------------------------------------------------------------------------------------------------- */

/* Only what means the same in every engine, and cannot make one slow: literals . * + ? | ( ) [ ] ^ $ and \ before punctuation. */
static bool pattern_is_plain(const char *p)
{
	size_t n = strlen(p);

	if (n > PATTERN_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i], next = (unsigned char)p[i + 1];

		if (c == '{' || (c == '(' && next == '?') || ((c == '*' || c == '+' || c == '?') && (next == '+' || next == '?' || next == '*')))
			return false;
		if (c == '\\') {
			if (next == 0 || next >= 0x80 || (next >= '0' && next <= '9') || ((next | 32) >= 'a' && (next | 32) <= 'z'))
				return false;
			i++;
		}
	}
	return true;
}

/* Adds a list: each group has its targets. */
static int patterns_read(struct k_qconfig *q, struct k_patterns *p, const struct k_json *list, const char *what, struct k_err *err)
{
	size_t n = k_json_len(list);
	struct k_pattern *v;

	if (!list || k_json_kind(list) == K_JSON_NULL)
		return 0;
	if (k_json_kind(list) != K_JSON_ARRAY)
		return k_err_set(err, K_EFORMAT, "'%s': %s is %s, wanted an array", q->where, what, k_json_kind_name(list));
	v = k_realloc(p->v, (p->n + n + 1) * sizeof(*v));
	if (!v)
		return k_err_nomem(err, (p->n + n + 1) * sizeof(*v), what);
	p->v = v;
	for (size_t i = 0; i < n; i++) {
		struct k_pattern *one = &p->v[p->n];

		*one = (struct k_pattern){ .text = k_json_string(k_json_at(list, i)) };
		if (!one->text)
			return k_err_set(err, K_EFORMAT, "'%s': %s[%zu] is %s, wanted a string", q->where, what, i, k_json_kind_name(k_json_at(list, i)));
		p->n++;
		if (strncmp(one->text, "re:", 3) != 0)
			continue;
		one->unknown = !pattern_is_plain(one->text + 3);
		if (one->unknown)
			k_logf(q->log, K_LOG_WARN, "'%s': %s pattern '%.100s' is not evaluated", q->where, what, one->text + 3);
		else if (k_rx_new(&one->rx, one->text + 3, K_RX_ANCHORED | K_RX_NO_UTF_CHECK, err) < 0)
			return k_err_add(err, "in '%s': %s", q->where, what);
	}
	return 0;
}

static void patterns_free(struct k_patterns *p)
{
	for (size_t i = 0; i < p->n; i++)
		k_rx_free(p->v[i].rx);
	k_free(p->v);
}

/* The entry that matches a module's name; NULL: none. class_name: what a plain entry may also be ("Linear"). */
static const char *patterns_match(struct k_patterns *p, const char *module, size_t len, const char *class_name)
{
	struct k_err ignored;
	size_t a, b;

	for (size_t i = 0; i < p->n; i++) {
		struct k_pattern *one = &p->v[i];
		int r = 0;

		if (one->rx) {
			r = k_rx_find(one->rx, module, len, 0, &a, &b, &ignored);
			/* A pattern that runs into the match limit is no better than one that was not evaluated. */
			if (r < 0)
				one->unknown = true;
			if (r == 1 && a == 0)
				return one->text;
		} else if (!one->unknown) {
			if ((strlen(one->text) == len && memcmp(one->text, module, len) == 0) || (class_name && strcmp(one->text, class_name) == 0))
				return one->text;
		}
	}
	return NULL;
}

static bool has_unknown(const struct k_patterns *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].unknown)
			return true;
	return false;
}

/* --- members -------------------------------------------------------------------------------------------------------------- */

static bool is_set(const struct k_json *obj, const char *key)
{
	return k_json_kind(k_json_find(obj, key)) != K_JSON_NULL;
}

static int unsupported(const struct k_qconfig *q, const char *what, const char *value, struct k_err *err)
{
	return k_err_set(err, K_EUNSUP, "'%s': quantization_config: %s '%.60s' is not known here", q->where, what, value);
}

static struct k_scheme *new_scheme(struct k_qconfig *q, struct k_err *err)
{
	struct k_scheme *v;

	if (q->n_schemes == MOST_SCHEMES) {
		k_err_set(err, K_EUNSUP, "'%s': quantization_config has more than %d groups", q->where, MOST_SCHEMES);
		return NULL;
	}
	v = k_realloc(q->schemes, (size_t)(q->n_schemes + 1) * sizeof(*v));
	if (!v) {
		k_err_nomem(err, (size_t)(q->n_schemes + 1) * sizeof(*v), "quantization_config");
		return NULL;
	}
	q->schemes = v;
	v[q->n_schemes] = (struct k_scheme){ .symmetric = true };
	return &v[q->n_schemes++];
}

/* [rows, cols] of a block: both 128. */
static int read_block(const struct k_qconfig *q, const struct k_json *block, const char *what, struct k_err *err)
{
	long long v[2];

	if (k_json_kind(block) != K_JSON_ARRAY || k_json_len(block) != 2 || k_json_kind(k_json_at(block, 0)) != K_JSON_INT ||
	    k_json_kind(k_json_at(block, 1)) != K_JSON_INT)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: %s is not two integers", q->where, what);
	for (size_t i = 0; i < 2; i++)
		v[i] = (long long)k_json_int(k_json_at(block, i));
	if (v[0] <= 0 || v[1] <= 0)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: %s is not positive", q->where, what);
	if (v[0] != BLOCK || v[1] != BLOCK)
		return k_err_set(err, K_EUNSUP, "'%s': quantization_config: %s is [%lld, %lld], wanted [128, 128]", q->where, what, v[0], v[1]);
	return 0;
}

/* --- compressed-tensors ---------------------------------------------------------------------------------------------------- */

static const struct format { const char *name, *type; enum k_method method; int bits; /* 0: any */ int64_t group; /* 0: any */ } formats[] = {
	{ "pack-quantized", "int", K_PACKED, 0, 0 },
	{ "int-quantized", "int", K_INT8, 8, 0 },
	{ "float-quantized", "float", K_FP8, 8, 0 },
	{ "naive-quantized", "int", K_INT8, 8, 0 },
	{ "naive-quantized", "float", K_FP8, 8, 0 },
	{ "mxfp4-pack-quantized", "float", K_MXFP4, 4, 32 },
	{ "mxfp8-quantized", "float", K_MXFP8, 8, 32 },
	{ "nvfp4-pack-quantized", "float", K_NVFP4, 4, 16 },
};

static int find_format(const struct k_qconfig *q, const char *name, const char *type, const struct format **out, struct k_err *err)
{
	bool known = false;

	for (size_t i = 0; i < K_LEN(formats); i++) {
		known = known || strcmp(formats[i].name, name) == 0;
		*out = &formats[i];
		if (strcmp(formats[i].name, name) == 0 && strcmp(formats[i].type, type) == 0)
			return 0;
	}
	return known ? unsupported(q, "type", type, err) : unsupported(q, "format", name, err);
}

/* What a scale is for. */
static int read_strategy(const struct k_qconfig *q, const struct k_json *w, struct k_scheme *s, const char *where, struct k_err *err)
{
	const char *strategy;
	int r = k_json_int_or(w, "group_size", -1, INT32_MAX, 0, &s->group, where, err);

	if (r == 0)
		r = k_json_str_or(w, "strategy", s->group > 0 ? "group" : s->group < 0 ? "channel" : "tensor", &strategy, where, err);
	if (r < 0)
		return r;
	if (is_set(w, "group_size") && s->group == 0)
		return k_err_set(err, K_EFORMAT, "'%s': group_size is 0, wanted a positive number", q->where);
	if (strcmp(strategy, "group") == 0 || strcmp(strategy, "tensor_group") == 0)
		return s->group > 0 ? 0 : k_err_set(err, K_EFORMAT, "'%s': strategy '%s' without a group_size", q->where, strategy);
	if (strcmp(strategy, "block") == 0 && s->method == K_FP8) {
		s->block = BLOCK;
		return read_block(q, k_json_find(w, "block_structure"), "block_structure", err);
	}
	s->group = strcmp(strategy, "channel") == 0 ? K_PER_ROW : K_PER_TENSOR;
	return strcmp(strategy, "channel") == 0 || strcmp(strategy, "tensor") == 0 ? 0 : unsupported(q, "strategy", strategy, err);
}

static int read_weights(const struct k_qconfig *q, const struct k_json *w, const char *format, struct k_scheme *s, const char *where, struct k_err *err)
{
	const struct format *f = NULL;
	const char *type;
	bool dynamic = false;
	int r = k_json_int_or(w, "num_bits", 1, 16, 8, &s->bits, where, err);

	if (r == 0)
		r = k_json_str_or(w, "type", "int", &type, where, err);
	if (r == 0)
		r = find_format(q, format, type, &f, err);
	if (r == 0)
		r = k_json_bool_or(w, "symmetric", true, &s->symmetric, where, err);
	if (r == 0 && is_set(w, "dynamic"))
		r = k_json_bool_or(w, "dynamic", false, &dynamic, where, err);
	if (r < 0)
		return r;
	s->method = f->method;
	if (dynamic)
		return unsupported(q, "dynamic", "true", err);
	if (is_set(w, "actorder") && (!k_json_string(k_json_find(w, "actorder")) || (strcmp(k_json_string(k_json_find(w, "actorder")), "weight") != 0 &&
	    strcmp(k_json_string(k_json_find(w, "actorder")), "static") != 0)))
		return unsupported(q, "actorder", "group", err);
	if ((f->bits && s->bits != f->bits) || (s->bits != 4 && s->bits != 8))
		return k_err_set(err, K_EUNSUP, "'%s': quantization_config: num_bits %lld in format '%s' is not known here", q->where, (long long)s->bits, format);
	r = read_strategy(q, w, s, where, err);
	if (r == 0 && f->group && s->group != f->group)
		r = k_err_set(err, K_EUNSUP, "'%s': quantization_config: group_size %lld in format '%s', wanted %lld", q->where, (long long)s->group, format,
			(long long)f->group);
	if (r == 0 && !s->symmetric && s->method != K_PACKED && s->method != K_INT8)
		r = unsupported(q, "symmetric", "false", err);
	return r;
}

static int read_group(struct k_qconfig *q, const char *name, const struct k_json *g, const char *format, struct k_err *err)
{
	const struct k_json *w = k_json_find(g, "weights");
	struct k_scheme *s;
	char where[300];
	int r;

	snprintf(where, sizeof(where), "%s: quantization_config.%.60s.weights", q->where, name);
	if (k_json_kind(g) == K_JSON_ARRAY)
		return unsupported(q, "preset", name, err);
	if (k_json_kind(g) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: group '%.60s' is %s, wanted an object", q->where, name, k_json_kind_name(g));
	r = k_json_str_or(g, "format", format, &format, where, err);
	if (r < 0)
		return r;
	if (k_json_kind(w) != K_JSON_OBJECT)
		return k_err_set(err, w ? K_EFORMAT : K_ENOENT, "'%s': quantization_config: weights of group '%.60s' is %s, wanted an object", q->where, name, k_json_kind_name(w));
	if (is_set(g, "output_activations"))
		return unsupported(q, name, "output_activations", err);
	if (is_set(g, "input_activations"))
		k_logf(q->log, K_LOG_INFO, "'%s': the activations that quantization_config.%.60s wants quantised are not, here", q->where, name);
	s = new_scheme(q, err);
	if (!s)
		return err->code;
	r = read_weights(q, w, format, s, where, err);
	return r < 0 ? r : patterns_read(q, &s->targets, k_json_find(g, "targets"), "targets", err);
}

static int read_compressed(struct k_qconfig *q, const struct k_json *c, struct k_err *err)
{
	const struct k_json *groups = k_json_find(c, "config_groups");
	const struct k_json *cache = k_json_find(c, "kv_cache_scheme");
	static const char *const refused[] = { "sparsity_config", "transform_config" };
	const char *format, *key;
	struct k_json *g;
	char where[260];
	void *it = NULL;
	int r;

	snprintf(where, sizeof(where), "%s: quantization_config", q->where);
	r = k_json_get_str(c, "format", &format, where, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < K_LEN(refused); i++)
		if (k_json_len(k_json_find(c, refused[i])))
			return unsupported(q, "member", refused[i], err);
	if (cache && k_json_kind(cache) != K_JSON_NULL && k_json_kind(cache) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: kv_cache_scheme is %s, wanted an object or null", q->where, k_json_kind_name(cache));
	if (k_json_kind(groups) != K_JSON_OBJECT)
		return k_err_set(err, groups ? K_EFORMAT : K_ENOENT, "'%s': quantization_config: config_groups is %s, wanted an object", q->where, k_json_kind_name(groups));
	while (r == 0 && k_json_next(groups, &it, &key, &g))
		r = read_group(q, key, g, format, err);
	if (r == 0 && q->n_schemes == 0)
		r = k_err_set(err, K_EFORMAT, "'%s': quantization_config: config_groups is empty, wanted a group", q->where);
	if (r == 0)
		r = patterns_read(q, &q->ignore, k_json_find(c, "ignore"), "ignore", err);
	q->lists = true;
	return r;
}

/* --- other methods ------------------------------------------------------------------------------------------------------------ */

static int read_fp8(struct k_qconfig *q, const struct k_json *c, struct k_err *err)
{
	const char *fmt, *activation;
	struct k_scheme *s = new_scheme(q, err);
	char where[260];
	int r = s ? 0 : err->code;

	snprintf(where, sizeof(where), "%s: quantization_config", q->where);
	if (r == 0)
		r = k_json_str_or(c, "fmt", "e4m3", &fmt, where, err);
	if (r == 0)
		r = k_json_str_or(c, "activation_scheme", "dynamic", &activation, where, err);
	if (r < 0)
		return r;
	if (strcmp(fmt, "e4m3") != 0)
		return unsupported(q, "fmt", fmt, err);
	if (strcmp(activation, "dynamic") != 0 && strcmp(activation, "static") != 0)
		return unsupported(q, "activation_scheme", activation, err);
	s->bits = 8;
	s->method = is_set(c, "weight_block_size") ? K_BLOCK_FP8 : K_FP8;
	s->block = is_set(c, "weight_block_size") ? BLOCK : 0;
	s->group = K_PER_TENSOR;
	return s->block ? read_block(q, k_json_find(c, "weight_block_size"), "weight_block_size", err) : 0;
}

/* bits and group_size. */
static int read_flat(struct k_qconfig *q, const struct k_json *c, enum k_method method, const char *const *bits_names, struct k_scheme **out, struct k_err *err)
{
	struct k_scheme *s = new_scheme(q, err);
	const char *bits = k_json_find(c, bits_names[0]) || !bits_names[1] ? bits_names[0] : bits_names[1];
	const char *group = k_json_find(c, "group_size") || !bits_names[1] ? "group_size" : bits_names[2];
	char where[260];
	int r = s ? 0 : err->code;

	snprintf(where, sizeof(where), "%s: quantization_config", q->where);
	if (r == 0)
		r = k_json_get_int(c, bits, 1, 16, &s->bits, where, err);
	if (r == 0)
		r = k_json_int_or(c, group, -1, INT32_MAX, 128, &s->group, where, err);
	if (r < 0)
		return r;
	s->method = method;
	if (s->group == 0)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: group_size is 0, wanted a positive number, or -1", q->where);
	if (s->bits != 4 && (s->bits != 8 || method == K_AWQ))
		return k_err_set(err, K_EUNSUP, "'%s': quantization_config: %lld bits are not known here, wanted %s", q->where, (long long)s->bits,
			method == K_AWQ ? "4" : "4 or 8");
	*out = s;
	return 0;
}

/* Rules for single modules: only that some are not quantised at all, which their tensors say too. */
static int read_exceptions(const struct k_qconfig *q, const struct k_json *rules, const char *what, struct k_err *err)
{
	const char *key;
	struct k_json *v;
	void *it = NULL;

	while (k_json_next(rules, &it, &key, &v)) {
		const struct k_json *bits = k_json_find(v, "bits");

		if (strncmp(key, "-:", 2) != 0 && !(k_json_kind(bits) == K_JSON_INT && k_json_int(bits) >= 16))
			return k_err_set(err, K_EUNSUP, "'%s': quantization_config: %s '%.100s' is a rule of its own, which is not known here", q->where, what, key);
	}
	return 0;
}

static int read_gptq(struct k_qconfig *q, const struct k_json *c, struct k_err *err)
{
	static const char *const bits[] = { "bits", NULL };
	const char *format, *where = q->where;
	struct k_scheme *s = NULL;
	int r = read_flat(q, c, K_GPTQ, bits, &s, err);

	if (r == 0)
		r = k_json_bool_or(c, "sym", true, &s->symmetric, where, err);
	if (r == 0)
		r = k_json_str_or(c, k_json_find(c, "checkpoint_format") ? "checkpoint_format" : "format", "gptq", &format, where, err);
	if (r < 0)
		return r;
	if (strcmp(format, "gptq") != 0 && strcmp(format, "gptq_v2") != 0)
		return unsupported(q, "checkpoint_format", format, err);
	s->zero_bias = strcmp(format, "gptq") == 0;
	return read_exceptions(q, k_json_find(c, "dynamic"), "dynamic", err);
}

static int read_awq(struct k_qconfig *q, const struct k_json *c, struct k_err *err)
{
	static const char *const bits[] = { "bits", "w_bit", "q_group_size" };
	struct k_scheme *s = NULL;
	const char *version;
	bool zeros;
	int r = read_flat(q, c, K_AWQ, bits, &s, err);

	if (r == 0)
		r = k_json_bool_or(c, "zero_point", true, &zeros, q->where, err);
	if (r == 0)
		r = k_json_str_or(c, "version", "gemm", &version, q->where, err);
	if (r < 0)
		return r;
	s->symmetric = !zeros;
	return strcmp(version, "gemm") == 0 || strcmp(version, "GEMM") == 0 ? 0 : unsupported(q, "version", version, err);
}

/* AutoRound names the packing that it uses. */
static int read_auto_round(struct k_qconfig *q, const struct k_json *c, struct k_err *err)
{
	static const struct { const char *name; enum k_method method; int bias; } packings[] = {
		{ "auto_round:auto_gptq", K_GPTQ, 1 }, { "auto_round:gptq", K_GPTQ, 1 }, { "auto_round:gptqmodel", K_GPTQ, 0 }, { "auto_round", K_GPTQ, 0 },
		{ "auto_round:auto_awq", K_AWQ, 0 }, { "auto_round:awq", K_AWQ, 0 }, { "auto_round:llm_compressor", K_PACKED, 0 },
	};
	static const char *const bits[] = { "bits", NULL };
	const char *packing, *type;
	struct k_scheme *s = NULL;
	size_t i = 0;
	int r = k_json_str_or(c, "packing_format", "auto_round:auto_gptq", &packing, q->where, err);

	if (r == 0)
		r = k_json_str_or(c, "data_type", "int", &type, q->where, err);
	while (r == 0 && i < K_LEN(packings) && strcmp(packings[i].name, packing) != 0)
		i++;
	if (r == 0 && i == K_LEN(packings))
		return unsupported(q, "packing_format", packing, err);
	if (r == 0 && strcmp(type, "int") != 0)
		return unsupported(q, "data_type", type, err);
	if (r == 0)
		r = read_flat(q, c, packings[i].method, bits, &s, err);
	if (r == 0)
		r = k_json_bool_or(c, "sym", true, &s->symmetric, q->where, err);
	if (r < 0)
		return r;
	s->zero_bias = packings[i].bias;
	return read_exceptions(q, k_json_find(c, "extra_config"), "extra_config", err);
}

/* --- the whole ---------------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; int (*read)(struct k_qconfig *, const struct k_json *, struct k_err *); } methods[] = {
	{ "compressed-tensors", read_compressed }, { "fp8", read_fp8 }, { "gptq", read_gptq }, { "awq", read_awq },
	{ "auto-round", read_auto_round }, { "intel/auto-round", read_auto_round },
};

/* Who reads it wants to know which variant of the model to get. */
static int unknown_method(const struct k_qconfig *q, const char *method, struct k_err *err)
{
	char known[160] = "";
	size_t at = 0;

	for (size_t i = 0; i < K_LEN(methods) && at < sizeof(known); i++)
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "", methods[i].name);
	return k_err_set(err, K_EUNSUP, "'%s': quantization_config: quant_method '%.60s' is not known here; known are %s", q->where, method, known);
}

int k_qconfig_read(struct k_qconfig *q, const struct k_json *config, struct k_err *err)
{
	const struct k_json *c = k_json_find(config, "quantization_config");
	const struct k_json *inner = k_json_find(k_json_find(config, "text_config"), "quantization_config");
	const char *method;
	char where[260];
	int r;

	if (k_json_kind(c) != K_JSON_NULL && k_json_kind(inner) != K_JSON_NULL && !k_json_equal(c, inner))
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config and text_config.quantization_config differ", q->where);
	if (k_json_kind(c) == K_JSON_NULL)
		c = inner;
	if (k_json_kind(c) == K_JSON_NULL)
		return 0;
	if (k_json_kind(c) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config is %s, wanted an object", q->where, k_json_kind_name(c));
	snprintf(where, sizeof(where), "%s: quantization_config", q->where);
	r = k_json_get_str(c, "quant_method", &method, where, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < K_LEN(methods); i++)
		if (strcmp(method, methods[i].name) == 0)
			return methods[i].read(q, c, err);
	return unknown_method(q, method, err);
}

void k_qconfig_fini(struct k_qconfig *q)
{
	for (int i = 0; i < q->n_schemes; i++)
		patterns_free(&q->schemes[i].targets);
	k_free(q->schemes);
	patterns_free(&q->ignore);
}

int k_qconfig_scheme(struct k_qconfig *q, const struct k_raw *t, size_t module, const struct k_scheme **out, struct k_err *err)
{
	static const struct k_scheme by_tensors = { .method = K_BY_TENSORS, .symmetric = true };
	const char *hit = patterns_match(&q->ignore, t->name, module, NULL);
	bool unknown = false;

	*out = &by_tensors;
	if (q->n_schemes == 0)
		return 0;
	if (hit)
		return k_err_set(err, K_EFORMAT, "'%s': %s is packed, but quantization_config ignores it ('%.100s')", t->file, t->name, hit);
	/* Names go before classes. */
	for (int i = 0; i < 2 * q->n_schemes; i++) {
		struct k_patterns *p = &q->schemes[i % q->n_schemes].targets;

		*out = &q->schemes[i % q->n_schemes];
		if (p->n == 0 || patterns_match(p, t->name, module, i < q->n_schemes ? NULL : "Linear"))
			return 0;
		unknown = unknown || has_unknown(p);
	}
	/* A pattern that was not evaluated may name it; with one scheme there is nothing to choose. */
	if (unknown && q->n_schemes == 1)
		return 0;
	return k_err_set(err, K_EFORMAT, "'%s': %s is packed, but no target of quantization_config names it", t->file, t->name);
}

bool k_qconfig_unlisted(struct k_qconfig *q, const char *name)
{
	return q->lists && !has_unknown(&q->ignore) && !patterns_match(&q->ignore, name, strlen(name) - strlen(".weight"), NULL);
}
