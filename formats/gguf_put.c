/* gguf_put.c: the head of a GGUF that is written: keys, then the table of tensors, then zeros up to the data.
 *
 *   general.*           from the source's own (gguf_keys.json, which came out of a GGUF), generation_config.json
 *   ARCH.*              k_arch_gguf_keys
 *   tokenizer.*         gguf_vocab.c
 *   general.quantization_version, split.*
 *
 * Of several files the first has all keys, the others only split.*. */
#include "libcore/base.h"
#include "formats/gguf_head.h"
#include "formats/gguf_write.h"

/* --- values --------------------------------------------------------------------------------------------------------------- */

static void put32(struct k_buf *b, uint32_t v) { k_buf_put(b, &v, sizeof(v)); }
static void put64(struct k_buf *b, uint64_t v) { k_buf_put(b, &v, sizeof(v)); }

static void put_text(struct k_buf *b, const char *s, size_t len)
{
	put64(b, len);
	k_buf_put(b, s, len);
}

static void put_key(struct k_gguf_keys *k, const char *key, uint32_t type)
{
	put_text(&k->b, key, strlen(key));
	put32(&k->b, type);
	k->n++;
}

void k_gguf_put_string(struct k_gguf_keys *k, const char *key, const char *s, size_t len)
{
	put_key(k, key, K_GGUF_STRING);
	put_text(&k->b, s, len);
}

void k_gguf_put_u32(struct k_gguf_keys *k, const char *key, uint32_t v)
{
	put_key(k, key, K_GGUF_U32);
	put32(&k->b, v);
}

static void put_i32(struct k_gguf_keys *k, const char *key, int32_t v)
{
	put_key(k, key, K_GGUF_I32);
	put32(&k->b, (uint32_t)v);
}

static void put_u16(struct k_gguf_keys *k, const char *key, uint16_t v)
{
	put_key(k, key, K_GGUF_U16);
	k_buf_put(&k->b, &v, sizeof(v));
}

static void put_f32(struct k_gguf_keys *k, const char *key, double d)
{
	float f = (float)d;

	put_key(k, key, K_GGUF_F32);
	k_buf_put(&k->b, &f, sizeof(f));
}

void k_gguf_put_bool(struct k_gguf_keys *k, const char *key, bool v)
{
	put_key(k, key, K_GGUF_BOOL);
	k_buf_putc(&k->b, v);
}

void k_gguf_put_array(struct k_gguf_keys *k, const char *key, uint32_t type, uint64_t n)
{
	put_key(k, key, K_GGUF_ARRAY);
	put32(&k->b, type);
	put64(&k->b, n);
}

void k_gguf_add_string(struct k_gguf_keys *k, const char *s, size_t len) { put_text(&k->b, s, len); }
void k_gguf_add_i32(struct k_gguf_keys *k, int32_t v) { put32(&k->b, (uint32_t)v); }

static void put_list(struct k_gguf_keys *k, const char *key, const struct k_json *list)
{
	bool strings = k_json_kind(k_json_at(list, 0)) == K_JSON_STRING;

	k_gguf_put_array(k, key, strings ? K_GGUF_STRING : K_GGUF_I32, k_json_len(list));
	for (size_t i = 0; i < k_json_len(list); i++) {
		const struct k_json *v = k_json_at(list, i);

		if (strings)
			k_gguf_add_string(k, k_json_string(v) ? k_json_string(v) : "", k_json_string(v) ? k_json_len(v) : 0);
		else
			k_gguf_add_i32(k, (int32_t)k_json_int(v));
	}
}

void k_gguf_put_json(struct k_gguf_keys *k, const char *key, const struct k_json *v)
{
	enum k_json_kind kind = k_json_kind(v);

	if (kind == K_JSON_STRING)
		k_gguf_put_string(k, key, k_json_string(v), k_json_len(v));
	else if (kind == K_JSON_BOOL)
		k_gguf_put_bool(k, key, k_json_bool(v));
	else if (kind == K_JSON_REAL)
		put_f32(k, key, k_json_number(v));
	else if (kind == K_JSON_INT)
		k_gguf_put_u32(k, key, (uint32_t)k_json_int(v));
	else if (kind == K_JSON_ARRAY && k_json_len(v))
		put_list(k, key, v);
}

/* --- general.* ------------------------------------------------------------------------------------------------------------ */

/* A label, after the type that most of the bytes have. */
static uint32_t file_type(const struct k_gguf_plan *p)
{
	static const struct { int type; uint32_t label; } labels[] = {
		{ 0, 0 }, { 1, 1 }, { 2, 2 }, { 3, 3 }, { 8, 7 }, { 6, 8 }, { 7, 9 }, { 10, 10 }, { 11, 12 }, { 12, 15 }, { 13, 17 }, { 14, 18 },
		{ 20, 25 }, { 23, 30 }, { 30, 32 }, { 39, 38 },
	};
	uint64_t bytes[K_LEN(labels)] = { 0 };
	size_t most = 0;

	for (int i = 0; i < p->n_parts; i++)
		for (size_t k = 0; k < K_LEN(labels); k++)
			if (p->parts[i].type->gguf_type == labels[k].type)
				bytes[k] += p->parts[i].bytes;
	for (size_t k = 1; k < K_LEN(labels); k++)
		if (bytes[k] > bytes[most])
			most = k;
	return labels[most].label;
}

/* A side file as JSON; NULL: not there. */
static int read_side(const struct k_files *files, const char *name, struct k_json **out, struct k_err *err)
{
	const struct k_file *f = k_files_find(files, name);

	*out = NULL;
	return f ? k_json_parse(out, f->data, f->len, K_JSON_STRICT, name, err) : 0;
}

static void put_sampling(struct k_gguf_keys *k, const struct k_json *generation)
{
	static const struct { const char *member, *key; bool whole; } all[] = {
		{ "top_k", "general.sampling.top_k", true }, { "top_p", "general.sampling.top_p", false },
		{ "min_p", "general.sampling.min_p", false }, { "temperature", "general.sampling.temp", false },
	};

	for (size_t i = 0; i < K_LEN(all); i++) {
		const struct k_json *v = k_json_find(generation, all[i].member);
		enum k_json_kind kind = k_json_kind(v);

		if (kind == K_JSON_INT && all[i].whole && k_json_int(v) >= 0 && k_json_int(v) <= INT32_MAX)
			put_i32(k, all[i].key, (int32_t)k_json_int(v));
		else if (!all[i].whole && (kind == K_JSON_INT || kind == K_JSON_REAL))
			put_f32(k, all[i].key, k_json_number(v));
	}
}

static int put_general(struct k_gguf_keys *k, const struct k_gguf_plan *p, const struct k_files *files, struct k_err *err)
{
	struct k_json *own = NULL, *generation = NULL, *v;
	const char *key;
	int r = read_side(files, K_GGUF_KEYS_FILE, &own, err);

	if (r == 0)
		r = read_side(files, "generation_config.json", &generation, err);
	k_gguf_put_string(k, "general.architecture", p->arch->gguf_arch, strlen(p->arch->gguf_arch));
	k_gguf_put_string(k, "general.type", "model", 5);
	for (void *it = NULL; r == 0 && k_json_next(own, &it, &key, &v); )
		if (k_gguf_is_kept(key))
			k_gguf_put_json(k, key, v);
	k_gguf_put_u32(k, "general.file_type", file_type(p));
	if (r == 0)
		put_sampling(k, generation);
	k_json_free(own);
	k_json_free(generation);
	return r;
}

/* --- ARCH.* --------------------------------------------------------------------------------------------------------------- */

static int put_arch(struct k_gguf_keys *k, const struct k_gguf_plan *p, struct k_err *err)
{
	struct k_json *keys = k_json_object(), *v;
	const char *key;
	int r = keys ? k_arch_gguf_keys(p->arch, &p->hp, p->text, p->c->path, keys, err) : k_err_nomem(err, sizeof(void *), "the keys");

	for (void *it = NULL; r == 0 && k_json_next(keys, &it, &key, &v); )
		k_gguf_put_json(k, key, v);
	k_json_free(keys);
	return r;
}

/* --- heads ---------------------------------------------------------------------------------------------------------------- */

static void put_split(struct k_gguf_keys *k, const struct k_gguf_plan *p, int no)
{
	put_u16(k, "split.no", (uint16_t)no);
	put_u16(k, "split.count", (uint16_t)p->n_shards);
	put_i32(k, "split.tensors.count", p->n_parts);
}

static bool is_quantised(const struct k_gguf_plan *p)
{
	for (int i = 0; i < p->n_parts; i++)
		if (!p->parts[i].type->plain)
			return true;
	return false;
}

static void put_tensor(struct k_buf *b, const struct k_gguf_part *t)
{
	put_text(b, t->name, strlen(t->name));
	put32(b, (uint32_t)t->ndim);
	for (int i = t->ndim; i-- > 0; )
		put64(b, (uint64_t)t->shape[i]);
	put32(b, (uint32_t)t->type->gguf_type);
	put64(b, t->at);
}

static int put_head(struct k_gguf_plan *p, int no, const struct k_gguf_keys *keys, struct k_err *err)
{
	struct k_gguf_shard *s = &p->shards[no];
	struct k_buf *b = &s->head;

	k_buf_puts(b, "GGUF");
	put32(b, 3);
	put64(b, (uint64_t)s->n);
	put64(b, keys->n);
	k_buf_put(b, keys->b.data, keys->b.len);
	for (int i = s->first; i < s->first + s->n; i++)
		put_tensor(b, &p->parts[i]);
	while (!b->failed && b->len % K_GGUF_ALIGN)
		k_buf_putc(b, 0);
	return k_buf_ok(b, "the head of a GGUF", err);
}

static int put_keys(struct k_gguf_keys *k, const struct k_gguf_plan *p, struct k_err *err)
{
	const struct k_files *files;
	int r = k_ckpt_files(p->c, &files, err);

	if (r == 0)
		r = put_general(k, p, files, err);
	if (r == 0)
		r = put_arch(k, p, err);
	if (r == 0)
		r = k_gguf_put_vocab(k, files, p->config, p->text, p->hp.n_vocab, err);
	if (r == 0 && is_quantised(p))
		k_gguf_put_u32(k, "general.quantization_version", 2);
	return r;
}

int k_gguf_put_heads(struct k_gguf_plan *p, struct k_err *err)
{
	struct k_gguf_keys keys = { .n = 0 };
	int r;

	k_buf_init(&keys.b, 0);
	r = put_keys(&keys, p, err);
	for (int i = 0; r == 0 && i < p->n_shards; i++) {
		if (i > 0) {
			k_buf_reset(&keys.b);
			keys.n = 0;
		}
		if (p->n_shards > 1)
			put_split(&keys, p, i);
		r = k_buf_ok(&keys.b, "the keys of a GGUF", err);
		if (r == 0)
			r = put_head(p, i, &keys, err);
	}
	k_buf_fini(&keys.b);
	return r;
}
