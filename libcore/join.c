/* join.c: the parts of a quantised tensor become one tensor, and quantization_config is held against what is there.
 *
 *     X.weight_packed I32, X.weight_scale BF16, X.weight_shape I32|I64     compressed-tensors pack-quantized        -> X.weight i4g32
 *     X.weight_packed U8,  X.weight_scale U8                               compressed-tensors mxfp4-pack-quantized  -> X.weight mxfp4
 *     X.weight F8_E4M3,    X.weight_scale_inv F32                          block FP8, 128 x 128                     -> X.weight fp8b128
 *
 * What is quantised is decided by the tensors; the config can only contradict them. The joined tensor stands where its values
 * stood; the other parts leave the list. */
#include "libcore/base.h"
#include "libcore/import.h"
#include "libcore/log.h"
#include "libcore/map.h"
#include "libcore/rx.h"
#include <stdio.h>

enum { PATTERN_MAX = 256, GROUP = 32, BLOCK = 128 };
enum method { NO_METHOD, PACKED, BLOCK_FP8 };

/* A name, or a pattern that begins a name ("re:..."). */
struct pattern { const char *text; struct k_rx *rx; bool unknown; };
struct patterns { struct pattern *v; size_t n; };

struct scheme {
	enum method method;
	bool mx;                        /* mxfp4-pack-quantized */
	int64_t bits, group;
	bool symmetric;
	struct patterns ignore, targets;
};

struct join {
	struct k_rawset *set;
	struct k_log *log;
	const char *where;
	struct scheme scheme;
	struct k_map map;               /* name -> struct k_raw */
	bool *gone;                     /* parts that were used up */
};

/* --- quantization_config ------------------------------------------------------------------------------------------------ */

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
static int patterns_read(struct join *j, struct patterns *p, const struct k_json *list, const char *what, struct k_err *err)
{
	size_t n = k_json_len(list);
	struct pattern *v;

	if (!list || k_json_kind(list) == K_JSON_NULL)
		return 0;
	if (k_json_kind(list) != K_JSON_ARRAY)
		return k_err_set(err, K_EFORMAT, "'%s': %s is %s, wanted an array", j->where, what, k_json_kind_name(list));
	v = k_realloc(p->v, (p->n + n + 1) * sizeof(*v));
	if (!v)
		return k_err_nomem(err, (p->n + n + 1) * sizeof(*v), what);
	p->v = v;
	for (size_t i = 0; i < n; i++) {
		struct pattern *one = &p->v[p->n];

		*one = (struct pattern){ .text = k_json_string(k_json_at(list, i)) };
		if (!one->text)
			return k_err_set(err, K_EFORMAT, "'%s': %s[%zu] is %s, wanted a string", j->where, what, i, k_json_kind_name(k_json_at(list, i)));
		p->n++;
		if (strncmp(one->text, "re:", 3) != 0)
			continue;
		one->unknown = !pattern_is_plain(one->text + 3);
		if (one->unknown)
			k_logf(j->log, K_LOG_WARN, "'%s': %s pattern '%.100s' is not evaluated", j->where, what, one->text + 3);
		else if (k_rx_new(&one->rx, one->text + 3, K_RX_ANCHORED | K_RX_NO_UTF_CHECK, err) < 0)
			return k_err_add(err, "in '%s': %s", j->where, what);
	}
	return 0;
}

static void patterns_free(struct patterns *p)
{
	for (size_t i = 0; i < p->n; i++)
		k_rx_free(p->v[i].rx);
	k_free(p->v);
}

/* The entry that matches a module's name; NULL: none. class_name: what a plain entry may also be ("Linear"). */
static const char *patterns_match(struct patterns *p, const char *module, size_t len, const char *class_name)
{
	struct k_err ignored;
	size_t a, b;

	for (size_t i = 0; i < p->n; i++) {
		struct pattern *one = &p->v[i];
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

static bool has_unknown(const struct patterns *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].unknown)
			return true;
	return false;
}

static bool is_set(const struct k_json *obj, const char *key)
{
	return k_json_kind(k_json_find(obj, key)) != K_JSON_NULL;
}

static int unsupported(struct join *j, const char *what, const char *value, struct k_err *err)
{
	return k_err_set(err, K_EUNSUP, "'%s': quantization_config: %s '%.60s' is not known here", j->where, what, value);
}

static int read_weights(struct join *j, const struct k_json *w, const char *where, struct k_err *err)
{
	struct scheme *s = &j->scheme;
	const char *type, *strategy;
	bool dynamic = false;
	int r;

	r = k_json_get_int(w, "num_bits", 1, 16, &s->bits, where, err);
	if (r == 0)
		r = k_json_str_or(w, "type", "int", &type, where, err);
	if (r == 0)
		r = k_json_int_or(w, "group_size", -1, INT32_MAX, -1, &s->group, where, err);
	if (r == 0)
		r = k_json_bool_or(w, "symmetric", true, &s->symmetric, where, err);
	if (r == 0)
		r = k_json_str_or(w, "strategy", s->group > 0 ? "group" : "channel", &strategy, where, err);
	if (r == 0 && is_set(w, "dynamic"))
		r = k_json_bool_or(w, "dynamic", false, &dynamic, where, err);
	if (r < 0)
		return r;
	if (s->group == 0)
		return k_err_set(err, K_EFORMAT, "'%s': group_size is 0, wanted a positive number", j->where);
	if (s->group < 0 || strcmp(strategy, "group") != 0)
		return unsupported(j, "strategy", strategy, err);
	if (dynamic)
		return unsupported(j, "dynamic", "true", err);
	if (is_set(w, "actorder") && (!k_json_string(k_json_find(w, "actorder")) || strcmp(k_json_string(k_json_find(w, "actorder")), "weight") != 0))
		return unsupported(j, "actorder", "group", err);
	if (strcmp(type, s->mx ? "float" : "int") != 0)
		return unsupported(j, "type", type, err);
	return 0;
}

static int read_group(struct join *j, const char *name, const struct k_json *g, const char *format, bool first, struct k_err *err)
{
	struct scheme *s = &j->scheme, before = *s;
	const struct k_json *w;
	char where[300];
	int r;

	snprintf(where, sizeof(where), "%s: quantization_config.%.60s.weights", j->where, name);
	if (k_json_kind(g) == K_JSON_ARRAY)
		return unsupported(j, "preset", name, err);
	if (k_json_kind(g) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: group '%.60s' is %s, wanted an object", j->where, name, k_json_kind_name(g));
	r = k_json_str_or(g, "format", format, &format, where, err);
	if (r < 0)
		return r;
	s->mx = strcmp(format, "mxfp4-pack-quantized") == 0;
	if (!s->mx && strcmp(format, "pack-quantized") != 0)
		return unsupported(j, "format", format, err);
	if (is_set(g, "input_activations"))
		return unsupported(j, name, "input_activations", err);
	if (is_set(g, "output_activations"))
		return unsupported(j, name, "output_activations", err);
	w = k_json_find(g, "weights");
	if (k_json_kind(w) != K_JSON_OBJECT)
		return k_err_set(err, w ? K_EFORMAT : K_ENOENT, "'%s': quantization_config: weights of group '%.60s' is %s, wanted an object", j->where, name, k_json_kind_name(w));
	r = read_weights(j, w, where, err);
	if (r == 0)
		r = patterns_read(j, &s->targets, k_json_find(g, "targets"), "targets", err);
	if (r == 0 && !first && (before.mx != s->mx || before.bits != s->bits || before.group != s->group || before.symmetric != s->symmetric))
		r = k_err_set(err, K_EUNSUP, "'%s': quantization_config has groups of different types, wanted one type", j->where);
	return r;
}

static int read_packed(struct join *j, const struct k_json *q, struct k_err *err)
{
	const struct k_json *groups = k_json_find(q, "config_groups");
	const struct k_json *cache = k_json_find(q, "kv_cache_scheme");
	static const char *const refused[] = { "sparsity_config", "transform_config" };
	const char *format, *key;
	struct k_json *g;
	bool first = true;
	char where[260];
	void *it;
	int r;

	j->scheme.method = PACKED;
	snprintf(where, sizeof(where), "%s: quantization_config", j->where);
	r = k_json_get_str(q, "format", &format, where, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < K_LEN(refused); i++)
		if (k_json_len(k_json_find(q, refused[i])))
			return unsupported(j, "member", refused[i], err);
	if (cache && k_json_kind(cache) != K_JSON_NULL && k_json_kind(cache) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: kv_cache_scheme is %s, wanted an object or null", j->where, k_json_kind_name(cache));
	if (k_json_kind(groups) != K_JSON_OBJECT)
		return k_err_set(err, groups ? K_EFORMAT : K_ENOENT, "'%s': quantization_config: config_groups is %s, wanted an object", j->where, k_json_kind_name(groups));
	for (it = NULL; r == 0 && k_json_next(groups, &it, &key, &g); first = false)
		r = read_group(j, key, g, format, first, err);
	if (r == 0 && first)
		r = k_err_set(err, K_EFORMAT, "'%s': quantization_config: config_groups is empty, wanted a group", j->where);
	if (r == 0)
		r = patterns_read(j, &j->scheme.ignore, k_json_find(q, "ignore"), "ignore", err);
	return r;
}

static int read_fp8(struct join *j, const struct k_json *q, struct k_err *err)
{
	const struct k_json *block = k_json_find(q, "weight_block_size");
	const char *fmt, *activation;
	char where[260];
	int r;

	j->scheme.method = BLOCK_FP8;
	snprintf(where, sizeof(where), "%s: quantization_config", j->where);
	r = k_json_str_or(q, "fmt", "e4m3", &fmt, where, err);
	if (r == 0)
		r = k_json_str_or(q, "activation_scheme", "dynamic", &activation, where, err);
	if (r < 0)
		return r;
	if (strcmp(fmt, "e4m3") != 0)
		return unsupported(j, "fmt", fmt, err);
	if (strcmp(activation, "dynamic") != 0)
		return unsupported(j, "activation_scheme", activation, err);
	if (!block || k_json_kind(block) == K_JSON_NULL)
		return unsupported(j, "weight_block_size", "null", err);
	if (k_json_kind(block) != K_JSON_ARRAY || k_json_len(block) != 2 || k_json_kind(k_json_at(block, 0)) != K_JSON_INT || k_json_kind(k_json_at(block, 1)) != K_JSON_INT)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: weight_block_size is not two integers", j->where);
	if (k_json_int(k_json_at(block, 0)) <= 0 || k_json_int(k_json_at(block, 1)) <= 0)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config: weight_block_size is not positive", j->where);
	if (k_json_int(k_json_at(block, 0)) != BLOCK || k_json_int(k_json_at(block, 1)) != BLOCK)
		return k_err_set(err, K_EUNSUP, "'%s': quantization_config: weight_block_size is [%lld, %lld], wanted [128, 128]", j->where,
			(long long)k_json_int(k_json_at(block, 0)), (long long)k_json_int(k_json_at(block, 1)));
	return 0;
}

static int read_config(struct join *j, const struct k_json *config, struct k_err *err)
{
	const struct k_json *q = k_json_find(config, "quantization_config");
	const struct k_json *inner = k_json_find(k_json_find(config, "text_config"), "quantization_config");
	const char *method;
	char where[260];
	int r;

	if (k_json_kind(q) != K_JSON_NULL && k_json_kind(inner) != K_JSON_NULL && !k_json_equal(q, inner))
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config and text_config.quantization_config differ", j->where);
	if (k_json_kind(q) == K_JSON_NULL)
		q = inner;
	if (k_json_kind(q) == K_JSON_NULL)
		return 0;
	if (k_json_kind(q) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': quantization_config is %s, wanted an object", j->where, k_json_kind_name(q));
	snprintf(where, sizeof(where), "%s: quantization_config", j->where);
	r = k_json_get_str(q, "quant_method", &method, where, err);
	if (r < 0)
		return r;
	if (strcmp(method, "compressed-tensors") == 0)
		return read_packed(j, q, err);
	if (strcmp(method, "fp8") == 0)
		return read_fp8(j, q, err);
	return unsupported(j, "quant_method", method, err);
}

/* --- joining ------------------------------------------------------------------------------------------------------------ */

/* The part of module (the first len bytes of name) with a suffix; NULL: not there. */
static struct k_raw *part(const struct join *j, const char *name, size_t len, const char *suffix)
{
	char buf[2048];
	int n = snprintf(buf, sizeof(buf), "%.*s%s", (int)len, name, suffix);

	return n > 0 && (size_t)n < sizeof(buf) ? k_map_find(&j->map, buf, (size_t)n) : NULL;
}

static bool ends_with(const char *name, const char *suffix, size_t *len)
{
	size_t n = strlen(name), k = strlen(suffix);

	if (n <= k || strcmp(name + n - k, suffix) != 0)
		return false;
	*len = n - k;
	return true;
}

static bool is_dtype(const struct k_raw *t, const char *dtype)
{
	return t->type->st_dtype && strcmp(t->type->st_dtype, dtype) == 0;
}

static int wrong_shape(const struct k_raw *t, int64_t rows, int64_t cols, struct k_err *err)
{
	char is[128], want[128];

	return k_err_set(err, K_ESHAPE, "'%s': %s has shape %s, wanted %s", t->file, t->name, k_shape_format(is, t->ndim, t->shape),
		k_shape_format(want, 2, (int64_t[]){ rows, cols }));
}

static int wrong_dtype(const struct k_raw *t, const char *wanted, struct k_err *err)
{
	return k_err_set(err, K_EUNSUP, "'%s': %s is %s, wanted %s", t->file, t->name, t->type->st_dtype ? t->type->st_dtype : t->type->name, wanted);
}

/* weight_shape: two positive integers. */
static int read_shape(const struct k_raw *t, int64_t *rows, int64_t *cols, struct k_err *err)
{
	int64_t v[2];
	int32_t v32[2];
	bool wide = is_dtype(t, "I64");

	if (!wide && !is_dtype(t, "I32"))
		return wrong_dtype(t, "I32 or I64", err);
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

/* The new tensor, in the place of `at`; `parts` besides it leave. */
static int put_joined(struct join *j, struct k_raw *at, size_t module, const struct k_qtype *type, int64_t rows, int64_t cols,
	const struct k_raw *scale, const struct k_raw *shape, const char *form, struct k_err *err)
{
	struct k_rawset *s = j->set;
	struct k_raw *parts = k_arena_array(&s->arena, 2, sizeof(*parts));
	const char *why = k_qtype_refuses(type, rows, cols);

	if (why)
		return k_err_set(err, K_ESHAPE, "'%s': %.*s.weight: %s", at->file, (int)module, at->name, why);
	if (!parts)
		return k_err_nomem(err, 2 * sizeof(*parts), "the list of tensors");
	parts[0] = *at;
	parts[1] = *scale;
	j->gone[scale - s->v] = true;
	if (shape)
		j->gone[shape - s->v] = true;
	memset(at, 0, sizeof(*at));
	at->file = parts[0].file;
	at->name = k_arena_printf(&s->arena, "%.*s.weight", (int)module, parts[0].name);
	if (!at->name)
		return k_err_nomem(err, module, "the list of tensors");
	at->type = type;
	at->ndim = 2;
	at->shape[0] = rows;
	at->shape[1] = cols;
	at->part[0] = &parts[0];
	at->part[1] = &parts[1];
	at->form = form;
	if (!k_qtype_slice_bytes(type, rows, cols, &at->bytes))
		return k_err_set(err, K_ESHAPE, "'%s': %s is too large", at->file, at->name);
	return 0;
}

/* A packed module against the config's lists. */
static int check_lists(struct join *j, const struct k_raw *t, size_t module, struct k_err *err)
{
	const char *hit;

	if (j->scheme.method != PACKED)
		return 0;
	hit = patterns_match(&j->scheme.ignore, t->name, module, NULL);
	if (hit)
		return k_err_set(err, K_EFORMAT, "'%s': %s is packed, but quantization_config ignores it ('%.100s')", t->file, t->name, hit);
	if (j->scheme.targets.n && !has_unknown(&j->scheme.targets) && !patterns_match(&j->scheme.targets, t->name, module, "Linear"))
		return k_err_set(err, K_EFORMAT, "'%s': %s is packed, but no target of quantization_config names it", t->file, t->name);
	return 0;
}

static int join_int4(struct join *j, struct k_raw *t, size_t module, const struct k_raw *scale, struct k_err *err)
{
	const struct k_raw *shape = part(j, t->name, module, ".weight_shape");
	int64_t rows = 0, cols = 0, bits = 4, group = GROUP;
	const struct k_qtype *type;
	int r;

	if (j->scheme.method == PACKED) {
		bits = j->scheme.bits;
		group = j->scheme.group;
	}
	if (!shape)
		return k_err_set(err, K_ENOENT, "'%s': %.*s.weight_shape is missing beside %s", t->file, (int)module, t->name, t->name);
	r = read_shape(shape, &rows, &cols, err);
	if (r < 0)
		return r;
	if (cols > INT64_MAX / 16 || t->ndim != 2 || t->shape[0] != rows || t->shape[1] != k_div_up(cols * bits, 32))
		return wrong_shape(t, rows, k_div_up(cols * bits, 32), err);
	if (cols % group)
		return k_err_set(err, K_ESHAPE, "'%s': %.*s.weight has %lld columns, no multiple of the group size %lld", t->file, (int)module, t->name,
			(long long)cols, (long long)group);
	if (scale->ndim != 2 || scale->shape[0] != rows || scale->shape[1] != cols / group)
		return wrong_shape(scale, rows, cols / group, err);
	if (!is_dtype(scale, "BF16"))
		return wrong_dtype(scale, "BF16", err);
	if (bits != 4 || group != GROUP)
		return k_err_set(err, K_EUNSUP, "'%s': %s has %lld bits in groups of %lld, wanted 4 in groups of 32", t->file, t->name, (long long)bits, (long long)group);
	type = k_qtype_for("i4g32", rows, cols);
	return put_joined(j, t, module, type, rows, cols, scale, shape, is_dtype(shape, "I64") ? "ct.i64" : NULL, err);
}

static int join_mxfp4(struct join *j, struct k_raw *t, size_t module, const struct k_raw *scale, struct k_err *err)
{
	int64_t rows = k_shape_rows(t->ndim, t->shape), cols;

	if (!is_dtype(scale, "U8"))
		return wrong_dtype(scale, "U8", err);
	if (t->ndim != 2 || !k_mul_i64(t->shape[1], 2, &cols) || cols % GROUP)
		return k_err_set(err, K_ESHAPE, "'%s': %s has %lld columns, wanted a multiple of 16", t->file, t->name, (long long)k_shape_cols(t->ndim, t->shape));
	if (scale->ndim != 2 || scale->shape[0] != rows || scale->shape[1] != cols / GROUP)
		return wrong_shape(scale, rows, cols / GROUP, err);
	return put_joined(j, t, module, k_qtype_for("mxfp4", rows, cols), rows, cols, scale, NULL, NULL, err);
}

static int join_packed(struct join *j, struct k_raw *t, size_t module, struct k_err *err)
{
	static const char *const refused[] = { ".weight_zero_point", ".weight_g_idx", ".weight_global_scale" };
	const struct k_raw *scale = part(j, t->name, module, ".weight_scale");
	bool mx = is_dtype(t, "U8");

	if (j->scheme.method == BLOCK_FP8)
		return k_err_set(err, K_EFORMAT, "'%s': %s is packed, but quantization_config says fp8", t->file, t->name);
	if (!mx && !is_dtype(t, "I32"))
		return wrong_dtype(t, "I32", err);
	if (j->scheme.method == PACKED && mx != j->scheme.mx)
		return wrong_dtype(t, j->scheme.mx ? "U8" : "I32", err);
	if (!scale)
		return k_err_set(err, K_ENOENT, "'%s': %.*s.weight_scale is missing beside %s", t->file, (int)module, t->name, t->name);
	if (part(j, t->name, module, ".weight"))
		return k_err_set(err, K_EFORMAT, "'%s': %.*s.weight stands beside %s", t->file, (int)module, t->name, t->name);
	if (j->scheme.method == PACKED && !j->scheme.symmetric && !part(j, t->name, module, refused[0]))
		return k_err_set(err, K_ENOENT, "'%s': %.*s%s is missing, and quantization_config is not symmetric", t->file, (int)module, t->name, refused[0]);
	for (size_t i = 0; i < K_LEN(refused); i++)
		if (part(j, t->name, module, refused[i]))
			return k_err_set(err, K_EUNSUP, "'%s': %.*s%s: such weights are not known here", t->file, (int)module, t->name, refused[i]);
	if (check_lists(j, t, module, err) < 0)
		return err->code;
	return mx ? join_mxfp4(j, t, module, scale, err) : join_int4(j, t, module, scale, err);
}

static int join_fp8(struct join *j, struct k_raw *t, size_t module, struct k_err *err)
{
	const struct k_raw *scale = part(j, t->name, module, ".weight_scale_inv");
	int64_t rows, cols;

	if (!scale) {
		if (j->scheme.method != BLOCK_FP8)
			return 0;
		return k_err_set(err, K_ENOENT, "'%s': %s_scale_inv is missing beside %s", t->file, t->name, t->name);
	}
	if (j->scheme.method == PACKED)
		return k_err_set(err, K_EFORMAT, "'%s': %s is block FP8, but quantization_config says compressed-tensors", t->file, t->name);
	if (t->ndim != 2)
		return k_err_set(err, K_ESHAPE, "'%s': %s has %d dimensions, wanted 2", t->file, t->name, t->ndim);
	rows = t->shape[0];
	cols = t->shape[1];
	if (scale->ndim != 2 || scale->shape[0] != k_div_up(rows, BLOCK) || scale->shape[1] != k_div_up(cols, BLOCK))
		return wrong_shape(scale, k_div_up(rows, BLOCK), k_div_up(cols, BLOCK), err);
	if (!is_dtype(scale, "F32"))
		return wrong_dtype(scale, "F32", err);
	return put_joined(j, t, module, k_qtype_for("fp8b128", rows, cols), rows, cols, scale, NULL, NULL, err);
}

/* Parts without the values they belong to. */
static int check_orphan(struct join *j, const struct k_raw *t, struct k_err *err)
{
	static const char *const suffixes[] = { ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx" };
	size_t module;

	if (ends_with(t->name, ".weight_scale_inv", &module))
		return k_err_set(err, K_ENOENT, "'%s': %.*s.weight in F8_E4M3 is missing beside %s", t->file, (int)module, t->name, t->name);
	for (size_t i = 0; i < K_LEN(suffixes); i++) {
		if (!ends_with(t->name, suffixes[i], &module))
			continue;
		if (part(j, t->name, module, ".weight"))
			return k_err_set(err, K_EUNSUP, "'%s': %s beside %.*s.weight: such weights are not known here", t->file, t->name, (int)module, t->name);
		return k_err_set(err, K_ENOENT, "'%s': %.*s.weight_packed is missing beside %s", t->file, (int)module, t->name, t->name);
	}
	return 0;
}

/* Linear layers that are not packed should be on the ignore list; one line is enough. */
static void note_unlisted(struct join *j)
{
	static const char *const linear[] = { "_proj.weight", "lm_head.weight", ".w1.weight", ".w2.weight", ".w3.weight" };
	const char *first = NULL;
	int64_t n = 0;
	size_t len;

	if (j->scheme.method != PACKED || has_unknown(&j->scheme.ignore))
		return;
	for (int64_t i = 0; i < j->set->n; i++) {
		const struct k_raw *t = &j->set->v[i];
		bool yes = false;

		for (size_t k = 0; k < K_LEN(linear) && t->type->plain && t->ndim == 2; k++)
			yes = yes || (ends_with(t->name, linear[k], &len) || strcmp(t->name, linear[k]) == 0);
		if (!yes || patterns_match(&j->scheme.ignore, t->name, strlen(t->name) - strlen(".weight"), NULL))
			continue;
		first = first ? first : t->name;
		n++;
	}
	if (n)
		k_logf(j->log, K_LOG_WARN, "'%s': %lld linear layers are neither packed nor ignored by quantization_config, the first is %s", j->set->path, (long long)n, first);
}

static int join_all(struct join *j, struct k_err *err)
{
	struct k_rawset *s = j->set;
	int64_t kept = 0;
	size_t module;
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
		struct k_raw *t = &s->v[i];
		int r = 0;

		if (ends_with(t->name, ".weight_packed", &module)) {
			r = join_packed(j, t, module, err);
			any = true;
		} else if (is_dtype(t, "F8_E4M3") && ends_with(t->name, ".weight", &module)) {
			r = join_fp8(j, t, module, err);
			any = any || t->part[0];
		}
		if (r < 0)
			return r;
	}
	for (int64_t i = 0; i < s->n; i++) {
		if (j->gone[i])
			continue;
		if (!s->v[i].part[0] && check_orphan(j, &s->v[i], err) < 0)
			return err->code;
		s->v[kept++] = s->v[i];
	}
	s->n = kept;
	if (any && j->scheme.method == NO_METHOD)
		k_logf(j->log, K_LOG_WARN, "'%s' has quantised tensors, but its config has no quantization_config", s->path);
	note_unlisted(j);
	return 0;
}

int k_join_parts(struct k_rawset *set, const struct k_json *config, struct k_log *log, struct k_err *err)
{
	struct join j = { .set = set, .log = config ? log : NULL, .where = "config.json" };
	char where[200];
	int r;

	snprintf(where, sizeof(where), "%.150s/config.json", set->path);
	j.where = where;
	k_map_init(&j.map);
	r = read_config(&j, config, err);
	j.gone = k_calloc((size_t)set->n, sizeof(*j.gone));
	if (r == 0 && !j.gone)
		r = k_err_nomem(err, (size_t)set->n, "the list of tensors");
	if (r == 0)
		r = join_all(&j, err);
	k_map_fini(&j.map);
	k_free(j.gone);
	patterns_free(&j.scheme.ignore);
	patterns_free(&j.scheme.targets);
	return r;
}
