/* golden.c: reads golden.json and golden.safetensors, see golden.h. The safetensors file is read here, independently of the
 * importers: 8 bytes of head length, a JSON head {"name": {"dtype", "shape", "data_offsets"}}, data. */
#include "libcore/base.h"
#include <math.h>
#include "evals/bands.h"
#include "evals/golden.h"
#include "libcore/arch.h"
#include "libcore/hash.h"

#define JSON_MAX (256u << 20)

static int get_ids(struct k_golden *g, const struct k_json *arr, int64_t vocab, const char *what, const int32_t **out, int64_t *n,
	struct k_err *err)
{
	size_t len = k_json_len(arr);
	if (k_json_kind(arr) != K_JSON_ARRAY)
		return k_err_set(err, K_EFORMAT, "'%s': %s is %s, wanted a list of token ids", g->path, what, k_json_kind_name(arr));
	int32_t *v = k_arena_array(&g->arena, len + 1, sizeof(*v));
	if (!v)
		return k_err_nomem(err, len * sizeof(*v), what);
	for (size_t i = 0; i < len; i++) {
		const struct k_json *id = k_json_at(arr, i);
		if (k_json_kind(id) != K_JSON_INT || k_json_int(id) < 0 || k_json_int(id) >= vocab)
			return k_err_set(err, K_EFORMAT, "'%s': %s[%zu] is no token id of this model (0 to %lld)", g->path, what, i,
				(long long)vocab - 1);
		v[i] = (int32_t)k_json_int(id);
	}
	*out = v;
	*n = (int64_t)len;
	return 0;
}

/* {"name": {"ids": [...]}} or {"name": [...]} */
static int get_sequences(struct k_golden *g, const struct k_json *json, int64_t vocab, struct k_err *err)
{
	const struct k_json *obj = k_json_find(json, "sequences");
	const char *name;
	struct k_json *v;
	if (obj && k_json_kind(obj) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': sequences is %s, wanted an object", g->path, k_json_kind_name(obj));
	g->seq = k_arena_array(&g->arena, k_json_len(obj) + 1, sizeof(*g->seq));
	if (!g->seq)
		return k_err_nomem(err, 64, "sequences");
	for (void *it = NULL; obj && k_json_next(obj, &it, &name, &v); g->n_seq++) {
		struct k_golden_seq *s = &g->seq[g->n_seq];
		s->name = k_arena_strdup(&g->arena, name);
		if (!s->name)
			return k_err_nomem(err, strlen(name), "sequences");
		int r = get_ids(g, k_json_kind(v) == K_JSON_OBJECT ? k_json_find(v, "ids") : v, vocab, name, &s->ids, &s->n, err);
		if (r < 0)
			return r;
		if (!s->n)
			return k_err_set(err, K_EFORMAT, "'%s': sequence '%s' is empty", g->path, name);
	}
	return 0;
}

static int get_greedy(struct k_golden *g, const struct k_json *json, int64_t vocab, struct k_err *err)
{
	const struct k_json *obj = k_json_find(json, "greedy"), *tokens = k_json_find(obj, "tokens");
	if (k_json_kind(obj) == K_JSON_NULL)
		return 0;
	int r = get_ids(g, k_json_find(obj, "prompt"), vocab, "greedy.prompt", &g->prompt, &g->n_prompt, err);
	if (r == 0 && tokens)
		return get_ids(g, tokens, vocab, "greedy.tokens", &g->greedy, &g->n_greedy, err);
	return r < 0 ? r : k_json_get_int(obj, "count", 1, 1 << 24, &g->n_greedy, g->path, err);
}

/* What makes it a bundle. */
static int get_bundle(struct k_golden *g, const struct k_json *json, const char *path, struct k_err *err)
{
	const struct k_json *bands = k_json_find(json, "bands");
	int r = k_json_int_or(json, "layers", 1, K_MAX_LAYERS, 0, &g->n_layer, path, err);
	if (r == 0)
		r = k_json_int_or(json, "groups", 1, 1 << 20, 0, &g->groups, path, err);
	if (r == 0)
		r = k_json_int_or(json, "groups_kept", 1, 1 << 20, 0, &g->groups_kept, path, err);
	if (r < 0 || k_json_kind(bands) == K_JSON_NULL)
		return r;
	if (!g->n_layer)
		return k_err_set(err, K_EFORMAT, "'%s' has bands and does not say how many layers", path);
	return k_bands_read(&g->bands, bands, g->n_layer, &g->arena, path, err);
}

static int get_digests(struct k_golden *g, const struct k_json *json, const char *path, struct k_err *err)
{
	const struct k_json *all = k_json_find(json, "sha256");
	if (!g->bands && k_json_kind(all) == K_JSON_NULL)
		return 0;
	for (int64_t i = 0; i < g->n_tensor; i++) {
		const struct k_golden_tensor *t = &g->tensor[i];
		const char *hex = k_json_string(k_json_find(all, t->name));
		uint8_t want[32], have[32];
		if (!hex || !k_unhex(want, hex, strlen(hex)))
			return k_err_set(err, K_ENOENT, "'%s' has no sha256 of %s", path, t->name);
		int r = k_sha256_once(t->data, (size_t)t->count * 4, have, err);
		if (r < 0)
			return r;
		if (memcmp(want, have, sizeof(want)))
			return k_err_set(err, K_ECHECK, "'%s': %s is not what its sha256 says", path, t->name);
	}
	return 0;
}

/* *out: the whole, for what is read later. */
static int read_json(struct k_golden *g, const char *path, int64_t vocab, struct k_json **out, struct k_err *err)
{
	struct k_buf b;
	struct k_json *json = NULL;
	k_buf_init(&b, JSON_MAX);
	int r = k_read_file(path, &b, JSON_MAX, err);
	if (r == 0)
		r = k_json_parse(&json, b.data ? b.data : "", b.len, K_JSON_STRICT, path, err);
	if (r == 0)
		r = get_sequences(g, json, vocab, err);
	if (r == 0)
		r = get_greedy(g, json, vocab, err);
	if (r == 0)
		r = k_json_num_or(json, "tolerance", 0, 1e9, -1, &g->tolerance, path, err);
	if (r == 0 && g->n_greedy && !g->n_prompt)
		r = k_err_set(err, K_EFORMAT, "'%s': greedy has no prompt", path);
	if (r == 0)
		r = get_bundle(g, json, path, err);
	*out = json;
	k_buf_fini(&b);
	return r;
}

/* --- tensors ---------------------------------------------------------------------------------------------------------- */

static int get_tensor(struct k_golden *g, const char *name, const struct k_json *v, const char *data, size_t size,
	const char *path, struct k_err *err)
{
	struct k_golden_tensor *t = &g->tensor[g->n_tensor];
	const struct k_json *shape = k_json_find(v, "shape"), *off = k_json_find(v, "data_offsets");
	const char *dtype = k_json_string(k_json_find(v, "dtype"));
	int64_t from = k_json_int(k_json_at(off, 0)), to = k_json_int(k_json_at(off, 1)), bytes;
	bool f32 = dtype && !strcmp(dtype, "F32");
	if (!f32 && (!dtype || strcmp(dtype, "I32")))
		return k_err_set(err, K_EUNSUP, "'%s': %s has dtype %s, golden values are F32 or I32", path, name, dtype ? dtype : "none");
	t->type = f32 ? K_GOLDEN_F32 : K_GOLDEN_I32;
	t->ndim = (int)K_MIN(k_json_len(shape), K_LEN(t->shape) + 1);
	t->count = 1;
	if (k_json_kind(shape) != K_JSON_ARRAY || t->ndim > (int)K_LEN(t->shape))
		return k_err_set(err, K_EFORMAT, "'%s': %s has no usable shape", path, name);
	for (int i = 0; i < t->ndim; i++) {
		t->shape[i] = k_json_int(k_json_at(shape, (size_t)i));
		if (t->shape[i] < 0 || !k_mul_i64(t->count, t->shape[i], &t->count))
			return k_err_set(err, K_EFORMAT, "'%s': %s has no usable shape", path, name);
	}
	if (!k_mul_i64(t->count, 4, &bytes) || from < 0 || to < from || to - from != bytes || (uint64_t)to > size)
		return k_err_set(err, K_EFORMAT, "'%s': %s lies at [%lld, %lld), its shape and the file disagree", path, name,
			(long long)from, (long long)to);
	t->name = k_arena_strdup(&g->arena, name);
	/* A head of odd length leaves the data unaligned: copied, then. */
	char *copy = (uintptr_t)(data + from) % 4 ? k_arena_aligned(&g->arena, (size_t)bytes + 1) : NULL;
	if (!t->name || ((uintptr_t)(data + from) % 4 && !copy))
		return k_err_nomem(err, (size_t)bytes, name);
	t->data = copy ? memcpy(copy, data + from, (size_t)bytes) : data + from;
	g->n_tensor++;
	return 0;
}

static int read_tensors(struct k_golden *g, const char *path, struct k_err *err)
{
	const void *p;
	size_t n;
	uint64_t head;
	struct k_json *json = NULL, *v;
	const char *name;
	int r = k_source_open(&g->src, path, err);
	if (r == 0)
		r = k_source_map(g->src, &p, &n, err);
	if (r < 0)
		return r;
	if (n < 8)
		return k_err_set(err, K_ETRUNC, "'%s' ends early", path);
	memcpy(&head, p, 8);
	if (head > n - 8 || head > JSON_MAX)
		return k_err_set(err, K_ETRUNC, "'%s' ends within its head", path);
	r = k_json_parse(&json, (const char *)p + 8, head, K_JSON_STRICT, path, err);
	if (r < 0)
		return r;
	g->tensor = k_arena_array(&g->arena, k_json_len(json) + 1, sizeof(*g->tensor));
	r = g->tensor ? 0 : k_err_nomem(err, k_json_len(json) * sizeof(*g->tensor), path);
	for (void *it = NULL; r == 0 && k_json_next(json, &it, &name, &v); )
		if (strcmp(name, "__metadata__"))
			r = get_tensor(g, name, v, (const char *)p + 8 + head, n - 8 - head, path, err);
	k_json_free(json);
	return r;
}

int k_golden_open(struct k_golden **out, const char *path, int64_t vocab, bool tensors, struct k_err *err)
{
	*out = NULL;
	struct k_golden *g = k_calloc(1, sizeof(*g));
	if (!g)
		return k_err_nomem(err, sizeof(*g), "golden values");
	k_arena_init(&g->arena);
	bool dir = k_path_is_dir(path);
	const char *slash = strrchr(path, '/');
	int n = dir ? (int)strlen(path) : slash ? (int)(slash - path) : 1;
	const char *folder = dir || slash ? path : ".";
	const char *json = dir ? k_arena_printf(&g->arena, "%s/golden.json", path) : k_arena_strdup(&g->arena, path);
	const char *data = k_arena_printf(&g->arena, "%.*s/golden.safetensors", n, folder);
	g->path = json;
	struct k_json *all = NULL;
	int r = json && data ? read_json(g, json, vocab, &all, err) : k_err_nomem(err, 256, "golden values");
	if (r == 0 && tensors)
		r = read_tensors(g, data, err);
	if (r == 0 && tensors)
		r = get_digests(g, all, json, err);
	k_json_free(all);
	if (r < 0) {
		k_golden_close(g);
		return r;
	}
	*out = g;
	return 0;
}

void k_golden_close(struct k_golden *g)
{
	if (!g)
		return;
	k_source_close(g->src);
	k_arena_fini(&g->arena);
	k_free(g);
}

const struct k_golden_tensor *k_golden_find(const struct k_golden *g, const char *name)
{
	for (int64_t i = 0; i < g->n_tensor; i++)
		if (!strcmp(g->tensor[i].name, name))
			return &g->tensor[i];
	return NULL;
}

int k_golden_finite(const struct k_golden *g, int code, struct k_err *err)
{
	for (int64_t i = 0; i < g->n_tensor; i++) {
		const struct k_golden_tensor *t = &g->tensor[i];
		const float *v = t->data;
		for (int64_t k = 0; t->type == K_GOLDEN_F32 && k < t->count; k++)
			if (!isfinite(v[k]))
				return k_err_set(err, code, "'%s': %s has %g as value %lld, wanted a number", g->path, t->name, (double)v[k], (long long)k);
	}
	return 0;
}
