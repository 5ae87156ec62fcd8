/* gguf_keys.c: the keys of a GGUF file as side files in the shape of a Hugging Face checkpoint.
 *
 *   keys -> one JSON object -> k_arch_gguf_config         -> config.json
 *                           -> ids, general.sampling.*   -> generation_config.json
 *                           -> general.*               -> gguf_keys.json
 *                           -> gguf_tokens.c             -> tokenizer.json, tokenizer_config.json
 *
 * Long arrays are token lists; they do not go through JSON values, of which each would take several times its bytes. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "formats/gguf_head.h"
#include "libcore/arch.h"

enum { ELEMENTS_MOST = K_MAX_LAYERS };

/* --- keys as JSON -------------------------------------------------------------------------------------------------------- */

/* JSON has no NaN, and null would read as absent. */
static int make_float(const struct k_gguf *g, const struct k_gguf_value *v, const uint8_t *p, struct k_json **out, struct k_err *err)
{
	double d;
	float f;

	if (v->type == K_GGUF_F32) {
		memcpy(&f, p, sizeof(f));
		d = isfinite(f) ? k_json_short(f) : (double)f;
	} else {
		memcpy(&d, p, sizeof(d));
	}
	if (!isfinite(d))
		return k_err_set(err, K_EFORMAT, "'%s': key %.80s is %s, wanted a number", g->where, v->key, isnan(d) ? "NaN" : "infinite");
	*out = k_json_new_number(d);
	return 0;
}

/* One element; *p moves behind it. */
static int make_value(const struct k_gguf *g, const struct k_gguf_value *v, const uint8_t **p, struct k_json **out, struct k_err *err)
{
	const uint8_t *at = *p;
	const char *s;
	uint64_t large;
	int64_t i;
	size_t len;
	int r = 0;

	*out = NULL;
	*p += k_gguf_size(v->type);
	if (v->type == K_GGUF_STRING) {
		s = k_gguf_string(p, &len);
		*out = k_json_new_string(s, len);
	} else if (v->type == K_GGUF_BOOL) {
		*out = k_json_new_bool(*at);
	} else if (v->type == K_GGUF_F32 || v->type == K_GGUF_F64) {
		r = make_float(g, v, at, out, err);
	} else if (k_gguf_int_at(v->type, at, &i)) {
		*out = k_json_new_int(i);
	} else {
		/* Beyond int64: whoever wants an integer will refuse it. */
		memcpy(&large, at, sizeof(large));
		*out = k_json_new_number((double)large);
	}
	return r == 0 && !*out ? k_err_nomem(err, sizeof(void *), v->key) : r;
}

static int make_key(const struct k_gguf *g, const struct k_gguf_value *v, struct k_json **out, struct k_err *err)
{
	const uint8_t *p = v->p;
	struct k_json *list, *one;
	int r = 0;

	if (!v->array)
		return make_value(g, v, &p, out, err);
	list = k_json_array();
	if (!list)
		return k_err_nomem(err, sizeof(void *), v->key);
	for (uint64_t i = 0; r == 0 && i < v->n; i++) {
		r = make_value(g, v, &p, &one, err);
		if (r == 0 && k_json_push(list, one) < 0)
			r = k_err_nomem(err, sizeof(void *), v->key);
	}
	if (r < 0)
		k_json_free(list);
	else
		*out = list;
	return r;
}

static int make_keys(const struct k_gguf *g, struct k_json *keys, struct k_err *err)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < g->n_keys; i++) {
		const struct k_gguf_value *v = &g->keys[i];
		struct k_json *value;

		if (v->array && v->n > ELEMENTS_MOST)
			continue;
		r = make_key(g, v, &value, err);
		if (r == 0 && k_json_set(keys, v->key, value) < 0)
			r = k_err_nomem(err, sizeof(void *), v->key);
	}
	return r;
}

/* --- files --------------------------------------------------------------------------------------------------------------- */

int k_gguf_put_file(struct k_files *files, const char *name, struct k_buf *b, struct k_err *err)
{
	int r = k_buf_ok(b, name, err);
	char *data;
	size_t len;

	if (r == 0) {
		data = k_buf_take(b, &len);
		r = data ? k_files_add(files, name, data, len, err) : k_err_nomem(err, 1, name);
	}
	k_buf_fini(b);
	return r;
}

static int put_json(struct k_files *files, const char *name, const struct k_json *v, struct k_err *err)
{
	struct k_buf b;

	k_buf_init(&b, 0);
	k_json_dump(&b, v, K_JSON_INDENT);
	k_buf_putc(&b, '\n');
	return k_gguf_put_file(files, name, &b, err);
}

static bool has_keys_of(const struct k_gguf *g, const char *arch)
{
	size_t n = strlen(arch);

	for (uint64_t i = 0; i < g->n_keys; i++)
		if (strncmp(g->keys[i].key, arch, n) == 0 && g->keys[i].key[n] == '.')
			return true;
	return false;
}

/* Which architecture the file is of. *out NULL: of none, and its tensors stand alone (an importance matrix, an adapter, a file of
 * test tensors). */
static int find_arch(const struct k_gguf *g, const struct k_json *keys, const struct k_arch **out, struct k_err *err)
{
	const char *name, *type;
	int r = k_json_str_or(keys, "general.type", "model", &type, g->where, err);

	*out = NULL;
	if (r == 0)
		r = k_json_str_or(keys, "general.architecture", NULL, &name, g->where, err);
	if (r < 0)
		return r;
	if (strcmp(type, "model") != 0)
		return 0;
	if (!name)
		return k_err_set(err, K_ENOENT, "'%s': key general.architecture is missing", g->where);
	*out = k_arch_gguf(name);
	if (!*out)
		return k_err_set(err, K_EUNSUP, "'%s': GGUF architecture '%.80s' is not known here", g->where, name);
	if (!has_keys_of(g, name))
		*out = NULL;
	return 0;
}

/* vocab_size is a key that old writers left out: then the list of tokens says it. */
static int find_vocab(const struct k_gguf *g, const struct k_arch *arch, struct k_json *keys, int64_t *vocab, struct k_err *err)
{
	char key[96];
	int r;

	snprintf(key, sizeof(key), "%s.vocab_size", arch->gguf_arch);
	r = k_gguf_int_or(g, key, 1, INT32_MAX, k_gguf_n_tokens(g), vocab, err);
	if (r == 0 && *vocab > 0 && k_json_set(keys, key, k_json_new_int(*vocab)) < 0)
		r = k_err_nomem(err, sizeof(void *), key);
	return r;
}

static int make_config(const struct k_gguf *g, const struct k_arch *arch, const struct k_json *keys, struct k_files *files,
	struct k_err *err)
{
	struct k_json *config;
	int r = k_arch_gguf_config(arch, keys, g->where, &config, err);

	if (r < 0)
		return r;
	r = put_json(files, "config.json", config, err);
	k_json_free(config);
	return r;
}

/* --- generation_config.json ----------------------------------------------------------------------------------------------- */

static int set(struct k_json *obj, const char *member, struct k_json *value, struct k_err *err)
{
	return k_json_set(obj, member, value) < 0 ? k_err_nomem(err, sizeof(void *), member) : 0;
}

/* The ids that end a turn: one, or a list without doubles. Our own key lists all of them. */
static int make_ends(const struct k_gguf *g, struct k_json *keys, struct k_json *config, struct k_err *err)
{
	static const char *const names[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id" };
	int64_t top = k_gguf_n_tokens(g) - 1, ids[K_LEN(names)], id;
	struct k_json *list = k_json_find(keys, K_GGUF_STOPS_KEY);
	size_t n = 0;
	int r = 0;

	if (k_json_kind(list) == K_JSON_ARRAY)
		return set(config, "eos_token_id", k_json_keep(list), err);
	for (size_t i = 0; r == 0 && i < K_LEN(names); i++) {
		bool twice = false;

		r = k_gguf_int_or(g, names[i], 0, top < 0 ? INT32_MAX : top, -1, &id, err);
		for (size_t k = 0; k < n; k++)
			twice |= ids[k] == id;
		if (id >= 0 && !twice)
			ids[n++] = id;
	}
	if (r < 0 || n == 0)
		return r;
	if (n == 1)
		return set(config, "eos_token_id", k_json_new_int(ids[0]), err);
	list = k_json_array();
	for (size_t i = 0; list && r == 0 && i < n; i++)
		if (k_json_push(list, k_json_new_int(ids[i])) < 0)
			r = k_err_nomem(err, sizeof(void *), "eos_token_id");
	if (r == 0)
		return set(config, "eos_token_id", list, err);
	k_json_free(list);
	return r;
}

static int make_generation(const struct k_gguf *g, struct k_json *keys, struct k_files *files, struct k_err *err)
{
	static const struct { const char *key, *member; } members[] = {
		{ "tokenizer.ggml.bos_token_id", "bos_token_id" }, { "tokenizer.ggml.padding_token_id", "pad_token_id" },
		{ "general.sampling.temp", "temperature" }, { "general.sampling.top_k", "top_k" }, { "general.sampling.top_p", "top_p" },
		{ "general.sampling.min_p", "min_p" },
	};
	struct k_json *config = k_json_object();
	int r = config ? make_ends(g, keys, config, err) : k_err_nomem(err, sizeof(void *), "generation_config.json");

	for (size_t i = 0; r == 0 && i < K_LEN(members); i++) {
		struct k_json *v = k_json_find(keys, members[i].key);

		if (v)
			r = set(config, members[i].member, k_json_keep(v), err);
	}
	if (r == 0 && k_json_len(config))
		r = put_json(files, "generation_config.json", config, err);
	k_json_free(config);
	return r;
}

/* --- gguf_keys.json --------------------------------------------------------------------------------------------------------- */

bool k_gguf_is_kept(const char *key)
{
	static const char *const made[] = { "general.architecture", "general.type", "general.file_type", "general.quantization_version",
		"general.alignment" };

	for (size_t i = 0; i < K_LEN(made); i++)
		if (strcmp(key, made[i]) == 0)
			return false;
	return strncmp(key, "general.", 8) == 0 && strncmp(key, "general.sampling.", 17) != 0;
}

static int make_kept(const struct k_json *keys, struct k_files *files, struct k_err *err)
{
	struct k_json *kept = k_json_object(), *v;
	const char *key;
	int r = kept ? 0 : k_err_nomem(err, sizeof(void *), K_GGUF_KEYS_FILE);

	for (void *it = NULL; r == 0 && k_json_next(keys, &it, &key, &v); )
		if (k_gguf_is_kept(key))
			r = set(kept, key, k_json_keep(v), err);
	if (r == 0 && k_json_len(kept))
		r = put_json(files, K_GGUF_KEYS_FILE, kept, err);
	k_json_free(kept);
	return r;
}

int k_gguf_files(const struct k_gguf *g, struct k_files *files, struct k_err *err)
{
	struct k_json *keys = k_json_object();
	const struct k_arch *arch = NULL;
	int64_t vocab = 0;
	int r = keys ? make_keys(g, keys, err) : k_err_nomem(err, sizeof(void *), "the keys");

	if (r == 0)
		r = find_arch(g, keys, &arch, err);
	if (r == 0 && arch)
		r = find_vocab(g, arch, keys, &vocab, err);
	if (r == 0 && arch)
		r = make_config(g, arch, keys, files, err);
	if (r == 0 && arch)
		r = make_kept(keys, files, err);
	if (r == 0)
		r = make_generation(g, keys, files, err);
	if (r == 0)
		r = k_gguf_tokenizer(g, keys, vocab, files, err);
	k_json_free(keys);
	return r;
}
