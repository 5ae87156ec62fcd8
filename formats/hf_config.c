/* hf_config.c: config.json of a folder that is written. It must say how the weights beside it are stored: a config that came along
 * with other types (kquant changes types and keeps the config) gets another quantization_config, or none. Where it is right
 * already, its bytes stay. */
#include "libcore/base.h"
#include "formats/st.h"
#include "libcore/rx.h"
#include <stdio.h>

#define WEIGHTS(bits, type, strategy, group, block, more) \
	"{\"actorder\":null,\"block_structure\":" block ",\"dynamic\":false,\"group_size\":" group ",\"num_bits\":" #bits ",\"observer\":\"minmax\"," \
	"\"observer_kwargs\":{},\"strategy\":\"" strategy "\",\"symmetric\":true,\"type\":\"" type "\"" more "}"

/* How each joined type is announced. */
static const struct announced { const char *format, *type; int bits, group; const char *weights; } announced[K_ST_N_SPLITS] = {
	[K_ST_I4G32] = { "pack-quantized", "int", 4, 32, WEIGHTS(4, "int", "group", "32", "null", "") },
	[K_ST_Q4_0] = { "pack-quantized", "int", 4, 32, WEIGHTS(4, "int", "group", "32", "null", "") },
	[K_ST_MXFP4] = { "mxfp4-pack-quantized", "float", 4, 32, WEIGHTS(4, "float", "group", "32", "null", ",\"scale_dtype\":\"torch.uint8\",\"zp_dtype\":null") },
	[K_ST_I8ROW] = { "int-quantized", "int", 8, 0, WEIGHTS(8, "int", "channel", "null", "null", "") },
	[K_ST_FP8ROW] = { "float-quantized", "float", 8, 0, WEIGHTS(8, "float", "channel", "null", "null", "") },
	[K_ST_MXFP8] = { "mxfp8-quantized", "float", 8, 32, WEIGHTS(8, "float", "group", "32", "null", ",\"scale_dtype\":\"torch.uint8\",\"zp_dtype\":null") },
	[K_ST_FP8B128] = { "float-quantized", "float", 8, 128, WEIGHTS(8, "float", "block", "null", "[128,128]", "") },
};
static const char deepseek[] = "{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}";
static const char empty[] = "{\"config_groups\":{},\"format\":null,\"ignore\":[],\"kv_cache_scheme\":null,\"quant_method\":\"compressed-tensors\"," \
	"\"quantization_status\":\"compressed\"}";

static bool same_text(const struct k_json *v, const char *want)
{
	return k_json_string(v) && strcmp(k_json_string(v), want) == 0;
}

static bool is_null(const struct k_json *v) { return k_json_kind(v) == K_JSON_NULL; }

/* --- is what is there right? ------------------------------------------------------------------------------------------------ */

/* Does a list of targets or ignored modules name this one? Patterns that do not compile name nothing. */
static bool listed(const struct k_json *list, const char *module, size_t len, bool is_linear)
{
	struct k_err ignored;
	size_t a, b;

	for (size_t i = 0; i < k_json_len(list); i++) {
		const char *s = k_json_string(k_json_at(list, i));
		struct k_rx *rx = NULL;
		bool hit;

		if (!s)
			continue;
		hit = (strlen(s) == len && memcmp(s, module, len) == 0) || (is_linear && strcmp(s, "Linear") == 0);
		if (strncmp(s, "re:", 3) == 0 && k_rx_new(&rx, s + 3, K_RX_ANCHORED | K_RX_NO_UTF_CHECK, &ignored) == 0)
			hit = k_rx_find(rx, module, len, 0, &a, &b, &ignored) == 1 && a == 0;
		k_rx_free(rx);
		if (hit)
			return true;
	}
	return false;
}

static const struct announced *announced_of(const struct k_st_from *f) { return &announced[f->split - k_st_splits]; }
static bool is_split(const struct k_st_from *f) { return f->units && f->how == K_ST_SPLIT; }

/* The name of an entry's first module, which stands for the others, that differ by a number; its length. */
static size_t module_of(const struct k_st_plan *p, const struct k_st_from *f, char name[K_ST_NAME])
{
	bool split = f->how == K_ST_SPLIT;
	const char *tail = split ? f->split->values : ".weight";

	return strlen(k_st_part_name(p, f->part + (split ? f->split->has_shape : 0), name)) - strlen(tail);
}

/* The group that a module belongs to: names go before classes. */
static const struct k_json *group_of(const struct k_json *groups, const char *module, size_t len)
{
	struct k_json *group;
	const char *key;
	void *it;

	for (int linear = 0; linear < 2; linear++)
		for (it = NULL; k_json_next(groups, &it, &key, &group); )
			if (listed(k_json_find(group, "targets"), module, len, linear))
				return group;
	return NULL;
}

static bool group_fits(const struct k_json *q, const struct k_json *group, const struct announced *want)
{
	const struct k_json *w = k_json_find(group, "weights"), *format = k_json_find(group, "format"), *size = k_json_find(w, "group_size");
	const struct k_json *symmetric = k_json_find(w, "symmetric"), *type = k_json_find(w, "type"), *bits = k_json_find(w, "num_bits");
	bool by_group = want->group && want->group != 128;

	format = is_null(format) ? k_json_find(q, "format") : format;
	if (!same_text(format, want->format) && !(same_text(format, "naive-quantized") && strstr(want->format, "t-quantized")))
		return false;
	if (k_json_kind(w) != K_JSON_OBJECT || (is_null(bits) ? 8 : k_json_int(bits)) != want->bits || (!is_null(symmetric) && !k_json_bool(symmetric)))
		return false;
	if (is_null(type) ? strcmp(want->type, "int") != 0 : !same_text(type, want->type))
		return false;
	if (by_group)
		return k_json_int(size) == want->group;
	return want->group ? !is_null(k_json_find(w, "block_structure")) : same_text(k_json_find(w, "strategy"), "channel") || k_json_int(size) == -1;
}

/* A matrix that is stored as it is. */
static bool is_plain(const struct k_st_plan *p, int64_t part)
{
	char name[K_ST_NAME];
	struct k_st_part t;
	size_t len = strlen(k_st_part_name(p, part, name));

	k_st_part_get(p, part, &t);
	return t.ndim == 2 && len > 7 && strcmp(name + len - 7, ".weight") == 0;
}

static bool has_role(const struct k_entry *e, const char *const *roles)
{
	while (*roles && strcmp(*roles, e->role) != 0)
		roles++;
	return *roles != NULL;
}

/* Is s a run of whole parts of the name, as modules are named that are not converted ("lm_head", "layers.0.self_attn")? */
static bool is_within(const char *s, const char *module, size_t len)
{
	size_t n = strlen(s);

	for (size_t at = 0; n && at + n <= len; at++)
		if ((at == 0 || module[at - 1] == '.') && memcmp(module + at, s, n) == 0 && (at + n == len || module[at + n] == '.'))
			return true;
	return false;
}

static bool not_converted(const struct k_json *q, const char *module, size_t len)
{
	static const char *const keys[] = { "modules_to_not_convert", "ignored_layers" };

	for (size_t k = 0; k < K_LEN(keys); k++) {
		const struct k_json *list = k_json_find(q, keys[k]);

		for (size_t i = 0; i < k_json_len(list); i++)
			if (k_json_string(k_json_at(list, i)) && is_within(k_json_string(k_json_at(list, i)), module, len))
				return true;
		if (listed(list, module, len, false))
			return true;
	}
	return false;
}

/* Of the layers that are computed all matrices are block FP8 but for those that are named. Nobody names routers, embedding and head, and
 * the vendor's own config is silent on layers behind the last, which are not. */
static bool is_right_fp8(const struct k_st_plan *p, const struct k_json *q)
{
	static const char *const in_layers[] = { "experts", "shared", "attn", "kda", "dense", NULL };

	if (!same_text(k_json_find(q, "quant_method"), "fp8") || is_null(k_json_find(q, "weight_block_size")))
		return false;
	for (int i = 0; i < p->c->n_entries; i++) {
		const struct k_st_from *f = &p->from[i];
		char module[K_ST_NAME];

		if (!f->units || (!is_split(f) && !(has_role(&p->c->entries[i], in_layers) && is_plain(p, f->part))))
			continue;
		if (not_converted(q, module, module_of(p, f, module)) == is_split(f))
			return false;
	}
	return true;
}

static bool is_right(const struct k_st_plan *p, const struct k_json *q, int n_kinds)
{
	if (is_null(q) || n_kinds == 0)
		return is_null(q) && n_kinds == 0;
	if (!p->mixed && p->has_split[K_ST_FP8B128])
		return is_right_fp8(p, q);
	if (!same_text(k_json_find(q, "quant_method"), "compressed-tensors"))
		return false;
	for (int i = 0; i < p->c->n_entries; i++) {
		const struct k_st_from *f = &p->from[i];
		char module[K_ST_NAME];
		size_t len;

		if (!is_split(f))
			continue;
		len = module_of(p, f, module);
		if (listed(k_json_find(q, "ignore"), module, len, false) || !group_fits(q, group_of(k_json_find(q, "config_groups"), module, len), announced_of(f)))
			return false;
	}
	return true;
}

/* --- another one -------------------------------------------------------------------------------------------------------------- */

/* Matrices that are stored as they are: what an engine must not take for packed ones. */
static int list_plain(const struct k_st_plan *p, struct k_json *q, const char *key)
{
	struct k_json *list = k_json_array();
	char name[K_ST_NAME];
	int r = list ? 0 : -1;

	for (int i = 0; i < p->c->n_entries; i++)
		for (int64_t k = p->from[i].part; r == 0 && !is_split(&p->from[i]) && k < p->from[i].part + p->from[i].units; k++)
			if (is_plain(p, k))
				r = k_json_push(list, k_json_new_string(name, strlen(k_st_part_name(p, k, name)) - strlen(".weight")));
	if (r == 0)
		return k_json_set(q, key, list);
	k_json_free(list);
	return r;
}

/* Is there a matrix stored as it is that a config of block FP8 must name? */
static bool has_unusual(const struct k_st_plan *p)
{
	static const char *const usual[] = { "embed", "head", "router", NULL };

	for (int i = 0; i < p->c->n_entries; i++)
		if (p->from[i].units && !is_split(&p->from[i]) && is_plain(p, p->from[i].part) && !has_role(&p->c->entries[i], usual))
			return true;
	return false;
}

/* The modules of an entry, as a target: a name, or a pattern for the experts of a stack. */
static int add_target(struct k_json *list, const struct k_entry *e)
{
	size_t len = strlen(e->name) - strlen(".weight");
	bool stack = strchr(e->name, '*') != NULL;
	struct k_buf b;
	int r;

	k_buf_init(&b, 0);
	k_buf_puts(&b, stack ? "re:" : "");
	for (size_t i = 0; i < len; i++) {
		if (stack && e->name[i] == '.')
			k_buf_puts(&b, "\\.");
		else if (e->name[i] == '*')
			k_buf_puts(&b, "[0-9]+");
		else
			k_buf_putc(&b, e->name[i]);
	}
	k_buf_puts(&b, stack ? "$" : "");
	r = b.failed ? -1 : k_json_push(list, k_json_new_string(b.data, b.len));
	k_buf_fini(&b);
	return r;
}

/* A group for the types that are announced as kind is. Of several each names its modules. */
static int add_group(const struct k_st_plan *p, struct k_json *groups, int kind, bool only, struct k_err *err)
{
	struct k_json *g = k_json_object(), *weights = NULL, *targets = k_json_array();
	char name[32];
	bool ok = g && targets && k_json_parse(&weights, announced[kind].weights, strlen(announced[kind].weights), K_JSON_STRICT, "weights", err) == 0;

	if (ok && only)
		ok = k_json_push(targets, k_json_new_string("Linear", 6)) == 0;
	for (int i = 0; ok && !only && i < p->c->n_entries; i++)
		if (is_split(&p->from[i]) && announced_of(&p->from[i])->weights == announced[kind].weights)
			ok = add_target(targets, &p->c->entries[i]) == 0;
	ok = ok && k_json_set(g, "format", k_json_new_string(announced[kind].format, strlen(announced[kind].format))) == 0;
	ok = ok && k_json_set(g, "input_activations", k_json_new_null()) == 0 && k_json_set(g, "output_activations", k_json_new_null()) == 0;
	ok = ok && k_json_set(g, "targets", k_json_keep(targets)) == 0 && k_json_set(g, "weights", k_json_keep(weights)) == 0;
	snprintf(name, sizeof(name), "group_%zu", k_json_len(groups));
	ok = ok && k_json_set(groups, name, k_json_keep(g)) == 0;
	k_json_free(targets);
	k_json_free(weights);
	k_json_free(g);
	return ok ? 0 : k_err_nomem(err, 4096, "the config");
}

/* The first type that is announced as this one is. */
static int same_as(const struct k_st_plan *p, int kind)
{
	int i = 0;

	while (!p->has_split[i] || strcmp(announced[i].weights, announced[kind].weights) != 0)
		i++;
	return i;
}

static int announce(const struct k_st_plan *p, int n_kinds, struct k_json **out, struct k_err *err)
{
	const char *text = !p->mixed && p->has_split[K_ST_FP8B128] ? deepseek : empty, *format = "mixed-precision";
	struct k_json *groups = k_json_object();
	int r = k_json_parse(out, text, strlen(text), K_JSON_STRICT, "quantization_config", err);

	for (int i = 0; r == 0 && text == empty && i < K_ST_N_SPLITS; i++) {
		if (!p->has_split[i] || same_as(p, i) != i)
			continue;
		r = groups ? add_group(p, groups, i, n_kinds == 1, err) : k_err_nomem(err, 64, "the config");
		format = n_kinds == 1 ? announced[i].format : format;
	}
	if (r == 0 && text == empty && (k_json_set(*out, "config_groups", k_json_keep(groups)) < 0 ||
	    k_json_set(*out, "format", k_json_new_string(format, strlen(format))) < 0 || list_plain(p, *out, "ignore") < 0))
		r = k_err_nomem(err, 4096, "the config");
	if (r == 0 && text == deepseek && has_unusual(p) && list_plain(p, *out, "modules_to_not_convert") < 0)
		r = k_err_nomem(err, 4096, "the config");
	k_json_free(groups);
	if (r < 0) {
		k_json_free(*out);
		*out = NULL;
	}
	return r;
}

/* A copy of an object without quantization_config (q NULL) or with q there, and with dtype where one is named. NULL: no memory. */
static struct k_json *rewrite(const struct k_json *obj, const struct k_json *q, const char *dtype)
{
	struct k_json *copy = k_json_object(), *v;
	const char *key;
	void *it = NULL;
	int r = copy ? 0 : -1;

	while (r == 0 && k_json_next(obj, &it, &key, &v)) {
		if (strcmp(key, "quantization_config") == 0)
			continue;
		if (dtype && k_json_string(v) && (strcmp(key, "dtype") == 0 || strcmp(key, "torch_dtype") == 0))
			r = k_json_set(copy, key, k_json_new_string(dtype, strlen(dtype)));
		else
			r = k_json_set(copy, key, k_json_keep(v));
	}
	if (r == 0 && q)
		r = k_json_set(copy, "quantization_config", k_json_copy(q));
	if (r == 0)
		return copy;
	k_json_free(copy);
	return NULL;
}

/* Both places where a config may say it; a new one goes where the old one was. */
static int rewrite_all(const struct k_json *config, const struct k_json *q, const char *dtype, struct k_buf *b, struct k_err *err)
{
	const struct k_json *text = k_json_find(config, "text_config");
	bool inner = is_null(k_json_find(config, "quantization_config")) && !is_null(k_json_find(text, "quantization_config"));
	struct k_json *new_config = rewrite(config, inner ? NULL : q, dtype);
	bool ok = new_config != NULL;

	if (ok && k_json_kind(text) == K_JSON_OBJECT)
		ok = k_json_set(new_config, "text_config", rewrite(text, inner ? q : NULL, dtype)) == 0;
	if (ok) {
		k_json_dump(b, new_config, K_JSON_INDENT);
		k_buf_putc(b, '\n');
	}
	k_json_free(new_config);
	return ok ? k_buf_ok(b, "the config", err) : k_err_nomem(err, 4096, "the config");
}

/* --- the whole ---------------------------------------------------------------------------------------------------------------- */

static bool names_other_dtype(const struct k_json *config, const char *dtype)
{
	const struct k_json *places[] = { config, k_json_find(config, "text_config") };
	static const char *const members[] = { "dtype", "torch_dtype" };

	for (size_t i = 0; dtype && i < K_LEN(places) * K_LEN(members); i++) {
		const struct k_json *v = k_json_find(places[i / 2], members[i % 2]);

		if (k_json_string(v) && !same_text(v, dtype))
			return true;
	}
	return false;
}

static const char *torch_name(const char *dtype)
{
	static const char *const names[][2] = { { "bf16", "bfloat16" }, { "f16", "float16" }, { "f32", "float32" } };

	for (size_t i = 0; dtype && i < K_LEN(names); i++)
		if (strcmp(dtype, names[i][0]) == 0)
			return names[i][1];
	return NULL;
}

/* Types that are announced differently. */
static int count_kinds(const struct k_st_plan *p)
{
	int n = 0;

	for (int i = 0; i < K_ST_N_SPLITS; i++)
		n += p->has_split[i] && same_as(p, i) == i;
	return n;
}

int k_hf_config(const struct k_st_plan *p, const struct k_write_opts *o, struct k_buf *b, struct k_err *err)
{
	const char *dtype = torch_name(o->dtype);
	int n_kinds = count_kinds(p);
	const struct k_json *q, *inner;
	struct k_json *config = NULL, *made = NULL;
	int r = k_json_parse(&config, p->c->config, p->c->config_len, K_JSON_STRICT, "config.json", err);
	if (r < 0)
		return r;
	q = k_json_find(config, "quantization_config");
	inner = k_json_find(k_json_find(config, "text_config"), "quantization_config");
	if (is_null(q))
		q = inner;
	if (is_right(p, q, n_kinds) && !names_other_dtype(config, dtype)) {
		k_buf_put(b, p->c->config, p->c->config_len);
		r = k_buf_ok(b, "the config", err);
	} else {
		if (is_right(p, q, n_kinds))
			made = k_json_keep((struct k_json *)(uintptr_t)q);
		else if (n_kinds)
			r = announce(p, n_kinds, &made, err);
		if (r == 0)
			r = rewrite_all(config, made, dtype, b, err);
		k_json_free(made);
	}
	k_json_free(config);
	return r;
}
