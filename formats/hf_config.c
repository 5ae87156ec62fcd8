/* hf_config.c: config.json of a folder that is written. It must say how the weights beside it are stored: a config that came along
 * with other types (kquant changes types and keeps the config) gets another quantization_config, or none. Where it is right
 * already, its bytes stay. */
#include "libcore/base.h"
#include "formats/st.h"
#include "libcore/rx.h"

#define GROUP(bits, type, more) \
	"{\"input_activations\":null,\"output_activations\":null,\"targets\":[\"Linear\"],\"weights\":{\"actorder\":null," \
	"\"block_structure\":null,\"dynamic\":false,\"group_size\":32,\"num_bits\":" bits ",\"observer\":\"minmax\",\"observer_kwargs\":{}," \
	"\"strategy\":\"group\",\"symmetric\":true,\"type\":\"" type "\"" more "}}"
#define PACKED(format, group) \
	"{\"config_groups\":{\"group_0\":" group "},\"format\":\"" format "\",\"ignore\":[],\"kv_cache_scheme\":null," \
	"\"quant_method\":\"compressed-tensors\",\"quantization_status\":\"compressed\"}"

/* How each joined type is announced, in what order k_st_splits has them. */
static const struct announced { const char *method, *format, *text; } announced[K_ST_N_SPLITS] = {
	[K_ST_I4G32] = { "compressed-tensors", "pack-quantized", PACKED("pack-quantized", GROUP("4", "int", "")) },
	[K_ST_FP8B128] = { "fp8", NULL,
		"{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}" },
	[K_ST_MXFP4] = { "compressed-tensors", "mxfp4-pack-quantized",
		PACKED("mxfp4-pack-quantized", GROUP("4", "float", ",\"scale_dtype\":\"torch.uint8\",\"zp_dtype\":null")) },
};

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

/* The first unit of every packed entry stands for the others, which differ by a number. */
static bool lists_fit(const struct k_st_plan *p, const struct k_json *q, const struct k_json *group)
{
	int64_t part = 0;

	for (int i = 0; i < p->c->n_entries; i++) {
		const struct k_st_from *f = &p->from[i];
		size_t len;

		if (f->how != K_ST_SPLIT || !f->units) {
			part += f->units;
			continue;
		}
		len = strlen(p->parts[part + f->split->has_shape].name) - strlen(f->split->values);
		if (listed(k_json_find(q, "ignore"), p->parts[part].name, len, false) || !listed(k_json_find(group, "targets"), p->parts[part].name, len, true))
			return false;
		part += f->units * (2 + f->split->has_shape);
	}
	return true;
}

static bool is_right(const struct k_st_plan *p, const struct k_json *q, const struct announced *want)
{
	const struct k_json *groups = k_json_find(q, "config_groups"), *format;
	struct k_json *group;
	const char *key;
	void *it = NULL;

	if (!want || is_null(q))
		return !want && is_null(q);
	if (!same_text(k_json_find(q, "quant_method"), want->method))
		return false;
	if (!want->format)
		return true;
	if (k_json_len(groups) != 1 || !k_json_next(groups, &it, &key, &group))
		return false;
	format = k_json_find(group, "format");
	return same_text(is_null(format) ? k_json_find(q, "format") : format, want->format) && lists_fit(p, q, group);
}

/* --- another one -------------------------------------------------------------------------------------------------------------- */

/* Matrices that are stored as they are: what an engine must not take for packed ones. */
static int list_plain(const struct k_st_plan *p, struct k_json *q)
{
	struct k_json *list = k_json_array();
	int64_t part = 0;
	int r = list ? 0 : -1;

	for (int i = 0; i < p->c->n_entries; i++) {
		const struct k_st_from *f = &p->from[i];
		int64_t n = f->units * (f->how == K_ST_SPLIT ? 2 + f->split->has_shape : 1);

		for (int64_t k = part; r == 0 && f->how != K_ST_SPLIT && k < part + n; k++) {
			const char *name = p->parts[k].name;
			size_t len = strlen(name);

			if (p->parts[k].ndim == 2 && len > 7 && strcmp(name + len - 7, ".weight") == 0)
				r = k_json_push(list, k_json_new_string(name, len - 7));
		}
		part += n;
	}
	if (r == 0)
		return k_json_set(q, "ignore", list);
	k_json_free(list);
	return r;
}

static int announce(const struct k_st_plan *p, const struct announced *want, struct k_json **out, struct k_err *err)
{
	int r = k_json_parse(out, want->text, strlen(want->text), K_JSON_STRICT, "quantization_config", err);

	if (r == 0 && want->format && list_plain(p, *out) < 0) {
		k_json_free(*out);
		r = k_err_nomem(err, 4096, "the config");
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

static int one_kind(const struct k_st_plan *p, const struct announced **want, struct k_err *err)
{
	int kind = -1;

	for (int i = 0; i < K_ST_N_SPLITS; i++) {
		if (p->has_split[i] && kind >= 0)
			return k_err_set(err, K_EUNSUP, "'%s' has weights in %s and in %s, which one config.json cannot say; --dequant expands them", p->c->path,
				k_st_splits[kind].type, k_st_splits[i].type);
		kind = p->has_split[i] ? i : kind;
	}
	*want = kind < 0 ? NULL : &announced[kind];
	return 0;
}

int k_hf_config(const struct k_st_plan *p, const struct k_write_opts *o, struct k_buf *b, struct k_err *err)
{
	const char *dtype = torch_name(o->dtype);
	const struct announced *want = NULL;
	const struct k_json *q, *inner;
	struct k_json *config = NULL, *made = NULL;
	int r = one_kind(p, &want, err);

	if (r == 0)
		r = k_json_parse(&config, p->c->config, p->c->config_len, K_JSON_STRICT, "config.json", err);
	if (r < 0)
		return r;
	q = k_json_find(config, "quantization_config");
	inner = k_json_find(k_json_find(config, "text_config"), "quantization_config");
	if (is_null(q))
		q = inner;
	if (is_right(p, q, want) && !names_other_dtype(config, dtype)) {
		k_buf_put(b, p->c->config, p->c->config_len);
		r = k_buf_ok(b, "the config", err);
	} else {
		if (is_right(p, q, want))
			made = k_json_keep((struct k_json *)(uintptr_t)q);
		else if (want)
			r = announce(p, want, &made, err);
		if (r == 0)
			r = rewrite_all(config, made, dtype, b, err);
		k_json_free(made);
	}
	k_json_free(config);
	return r;
}
