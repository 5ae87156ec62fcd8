/* gguf_vocab.c: a tokenizer as keys of GGUF.
 *
 *   tokens        ordinary ones in the byte alphabet, specials as they are, "[PAD<id>]" where the vocabulary has none
 *   token_type    1 ordinary, 3 special (of tokenizer.json 4 where the flag is not set), 5 none
 *   merges        of tokenizer.json those of the file; of ranks each token's last: by the ranks below its own its bytes merge into
 *                 two parts
 *   ids           of generation_config.json, else config.json (its text part first), else the tokenizer
 *   templates     chat_template.jinja, else tokenizer_config.json */
#include "libcore/base.h"
#include <stdio.h>
#include "formats/gguf_head.h"
#include "formats/gguf_write.h"
#include "libcore/map.h"
#include "libcore/tokenizer.h"
#include "libcore/unicode.h"

enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, TOKEN_MOST = 256 };

struct vocab {
	struct k_gguf_keys *keys;
	const struct k_files *files;
	const struct k_json *config, *text;     /* of the model, and of its text part */
	struct k_json *names, *generation;      /* tokenizer_config.json, generation_config.json; NULL: not there */
	struct k_tokenizer *t;
	int64_t n;
	bool ranks;
	struct k_map by_bytes;          /* of ranks: token -> rank + 1 */
	struct k_buf b;
	struct k_err *err;
};

/* --- tokens --------------------------------------------------------------------------------------------------------------- */

static void spell(struct k_buf *b, const char *p, size_t n)
{
	char symbol[4];

	for (size_t i = 0; i < n; i++)
		k_buf_put(b, symbol, (size_t)k_unicode_put(k_tokenizer_symbol((unsigned char)p[i]), symbol));
}

static const char *bytes_of(const struct vocab *v, int64_t id, size_t *len)
{
	*len = 0;
	return id < k_tokenizer_vocab(v->t) ? k_tokenizer_bytes(v->t, (int32_t)id, len) : NULL;
}

static int32_t type_of(const struct vocab *v, int64_t id)
{
	size_t len;

	if (!bytes_of(v, id, &len))
		return UNUSED;
	if (!k_tokenizer_is_special(v->t, (int32_t)id))
		return NORMAL;
	return v->ranks || k_tokenizer_is_control(v->t, (int32_t)id) ? CONTROL : USER_DEFINED;
}

static int put_tokens(struct vocab *v)
{
	char pad[32];
	size_t len;

	k_gguf_put_array(v->keys, "tokenizer.ggml.tokens", K_GGUF_STRING, (uint64_t)v->n);
	for (int64_t id = 0; id < v->n; id++) {
		const char *p = bytes_of(v, id, &len);

		k_buf_reset(&v->b);
		snprintf(pad, sizeof(pad), "[PAD%lld]", (long long)id);
		if (!p)
			k_buf_puts(&v->b, pad);
		else if (k_tokenizer_is_special(v->t, (int32_t)id))
			k_buf_put(&v->b, p, len);
		else
			spell(&v->b, p, len);
		if (k_buf_ok(&v->b, "a token", v->err) < 0)
			return v->err->code;
		k_gguf_add_string(v->keys, v->b.data, v->b.len);
	}
	k_gguf_put_array(v->keys, "tokenizer.ggml.token_type", K_GGUF_I32, (uint64_t)v->n);
	for (int64_t id = 0; id < v->n; id++)
		k_gguf_add_i32(v->keys, type_of(v, id));
	return 0;
}

/* --- merges --------------------------------------------------------------------------------------------------------------- */

static int64_t rank_of(const struct vocab *v, const char *p, size_t len)
{
	return (int64_t)(uintptr_t)k_map_find(&v->by_bytes, p, len) - 1;
}

/* Where the token of a rank falls into two: its bytes, merged by the ranks below. 0: it does not. */
static size_t halve(const struct vocab *v, const char *p, size_t len, int64_t rank)
{
	size_t end[TOKEN_MOST];         /* of the parts */
	size_t n = len;

	for (size_t i = 0; i < len; i++)
		end[i] = i + 1;
	while (n > 2) {
		int64_t best = rank, one;
		size_t at = 0;

		for (size_t i = 0; i + 1 < n; i++) {
			size_t begin = i ? end[i - 1] : 0;

			one = rank_of(v, p + begin, end[i + 1] - begin);
			if (one >= 0 && one < best) {
				best = one;
				at = i;
			}
		}
		if (best == rank)
			return 0;
		memmove(end + at, end + at + 1, (n - at - 1) * sizeof(*end));
		n--;
	}
	return n == 2 ? end[0] : 0;
}

static int index_ranks(struct vocab *v, int64_t *n, uint64_t *merges)
{
	size_t len;

	*merges = 0;
	for (*n = 0; *n < k_tokenizer_vocab(v->t) && !k_tokenizer_is_special(v->t, (int32_t)*n); ++*n) {
		const char *p = k_tokenizer_bytes(v->t, (int32_t)*n, &len);

		if (k_map_put(&v->by_bytes, p, len, (void *)(uintptr_t)(*n + 1)) < 0)
			return k_err_nomem(v->err, len, "the tokens");
		*merges += len > 1;
	}
	return 0;
}

static int put_derived(struct vocab *v)
{
	uint64_t merges;
	int64_t n;
	size_t len, at;
	int r = index_ranks(v, &n, &merges);

	if (r < 0)
		return r;
	k_gguf_put_array(v->keys, "tokenizer.ggml.merges", K_GGUF_STRING, merges);
	for (int64_t id = 0; id < n; id++) {
		const char *p = k_tokenizer_bytes(v->t, (int32_t)id, &len);

		if (len < 2)
			continue;
		at = len <= TOKEN_MOST ? halve(v, p, len, id) : 0;
		if (!at)
			return k_err_set(v->err, K_EUNSUP, "'%s': the token of rank %lld does not merge out of two others, as GGUF wants it", v->files->where,
				(long long)id);
		k_buf_reset(&v->b);
		spell(&v->b, p, at);
		k_buf_putc(&v->b, ' ');
		spell(&v->b, p + at, len - at);
		r = k_buf_ok(&v->b, "a merge", v->err);
		if (r < 0)
			return r;
		k_gguf_add_string(v->keys, v->b.data, v->b.len);
	}
	return 0;
}

/* A merge of tokenizer.json: "a b" or ["a", "b"]; a space in a part becomes the alphabet's. */
static void put_side(struct k_buf *b, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] == ' ')
			k_buf_puts(b, "\xc4\xa0");
		else
			k_buf_putc(b, s[i]);
}

static int put_merges_of_file(struct vocab *v)
{
	const struct k_file *f = k_files_find(v->files, "tokenizer.json");
	const struct k_json *merges;
	struct k_json *all;
	int r = k_json_parse(&all, f->data, f->len, K_JSON_STRICT, f->name, v->err);

	if (r < 0)
		return r;
	merges = k_json_find(k_json_find(all, "model"), "merges");
	k_gguf_put_array(v->keys, "tokenizer.ggml.merges", K_GGUF_STRING, k_json_len(merges));
	for (size_t i = 0; r == 0 && i < k_json_len(merges); i++) {
		const struct k_json *m = k_json_at(merges, i), *a = k_json_at(m, 0), *b = k_json_at(m, 1);

		k_buf_reset(&v->b);
		if (k_json_kind(m) == K_JSON_STRING) {
			k_buf_put(&v->b, k_json_string(m), k_json_len(m));
		} else {
			put_side(&v->b, k_json_string(a), k_json_len(a));
			k_buf_putc(&v->b, ' ');
			put_side(&v->b, k_json_string(b), k_json_len(b));
		}
		r = k_buf_ok(&v->b, "a merge", v->err);
		if (r == 0)
			k_gguf_add_string(v->keys, v->b.data, v->b.len);
	}
	k_json_free(all);
	return r;
}

/* --- ids ------------------------------------------------------------------------------------------------------------------ */

/* A member that is an id within the vocabulary, or the at-th of a list of them; -1. */
static int64_t id_in(const struct vocab *v, const struct k_json *obj, const char *member, size_t at)
{
	const struct k_json *id = k_json_find(obj, member);

	if (k_json_kind(id) == K_JSON_ARRAY)
		id = k_json_at(id, at);
	else if (at > 0)
		return -1;
	return k_json_kind(id) == K_JSON_INT && k_json_int(id) >= 0 && k_json_int(id) < v->n ? k_json_int(id) : -1;
}

/* The object that says which ids end a turn. */
static const struct k_json *teller(const struct vocab *v, const char *member)
{
	const struct k_json *const objects[] = { v->generation, v->text, v->config };

	for (size_t i = 0; i < K_LEN(objects); i++)
		if (id_in(v, objects[i], member, 0) >= 0)
			return objects[i];
	return NULL;
}

static int64_t named(const struct vocab *v, const char *name)
{
	const struct k_json *t = k_json_find(v->names, name);
	const char *text = k_json_string(k_json_kind(t) == K_JSON_OBJECT ? k_json_find(t, "content") : t);

	return v->t && text ? k_tokenizer_special(v->t, text) : -1;
}

static void put_stops(struct vocab *v)
{
	const struct k_json *from = teller(v, "eos_token_id");
	int64_t eos = id_in(v, from, "eos_token_id", 0), eot = id_in(v, from, "eos_token_id", 1);
	uint64_t n = 0;

	if (eos < 0 && v->t)
		eos = k_tokenizer_eos(v->t);
	if (eos >= 0)
		k_gguf_put_u32(v->keys, "tokenizer.ggml.eos_token_id", (uint32_t)eos);
	if (eot < 0)
		return;
	k_gguf_put_u32(v->keys, "tokenizer.ggml.eot_token_id", (uint32_t)eot);
	while (id_in(v, from, "eos_token_id", n) >= 0)
		n++;
	k_gguf_put_array(v->keys, K_GGUF_STOPS_KEY, K_GGUF_I32, n);
	for (size_t i = 0; i < n; i++)
		k_gguf_add_i32(v->keys, (int32_t)id_in(v, from, "eos_token_id", i));
}

static void put_ids(struct vocab *v)
{
	int64_t bos = id_in(v, teller(v, "bos_token_id"), "bos_token_id", 0), pad = id_in(v, teller(v, "pad_token_id"), "pad_token_id", 0);
	int64_t unk = named(v, "unk_token");

	if (bos < 0 && v->t)
		bos = k_tokenizer_bos(v->t);
	if (pad < 0)
		pad = named(v, "pad_token");
	if (bos >= 0)
		k_gguf_put_u32(v->keys, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
	put_stops(v);
	if (unk >= 0)
		k_gguf_put_u32(v->keys, "tokenizer.ggml.unknown_token_id", (uint32_t)unk);
	if (pad >= 0)
		k_gguf_put_u32(v->keys, "tokenizer.ggml.padding_token_id", (uint32_t)pad);
}

/* Does the tokenizer put something before a text, behind it? */
static int put_flags(struct vocab *v)
{
	struct k_ids none, one;
	int r;

	k_ids_init(&none);
	k_ids_init(&one);
	r = k_tokenizer_encode(v->t, "a", 1, 0, &none, v->err);
	if (r == 0)
		r = k_tokenizer_encode(v->t, "a", 1, K_ENC_ADD, &one, v->err);
	if (r == 0) {
		bool before = one.n > none.n && one.v[0] == k_tokenizer_bos(v->t), after = one.n > none.n + before;

		k_gguf_put_bool(v->keys, "tokenizer.ggml.add_bos_token", before);
		if (after)
			k_gguf_put_bool(v->keys, "tokenizer.ggml.add_eos_token", true);
		if (!v->ranks)
			k_gguf_put_bool(v->keys, "tokenizer.ggml.add_space_prefix", false);
	}
	k_ids_fini(&none);
	k_ids_fini(&one);
	return r;
}

/* --- templates ------------------------------------------------------------------------------------------------------------- */

static void put_templates(struct vocab *v)
{
	const struct k_file *f = k_files_find(v->files, "chat_template.jinja");
	const struct k_json *t = k_json_find(v->names, "chat_template");
	char key[160];

	if (f)
		k_gguf_put_string(v->keys, "tokenizer.chat_template", f->data, f->len);
	else if (k_json_kind(t) == K_JSON_STRING)
		k_gguf_put_json(v->keys, "tokenizer.chat_template", t);
	for (size_t i = 0; k_json_kind(t) == K_JSON_ARRAY && i < k_json_len(t); i++) {
		const char *name = k_json_string(k_json_find(k_json_at(t, i), "name"));
		const struct k_json *text = k_json_find(k_json_at(t, i), "template");
		bool first = name && strcmp(name, "default") == 0;

		snprintf(key, sizeof(key), first ? "tokenizer.chat_template" : "tokenizer.chat_template.%s", name ? name : "");
		if (k_json_kind(text) == K_JSON_STRING && name && !(first && f))
			k_gguf_put_json(v->keys, key, text);
	}
}

/* --- all -------------------------------------------------------------------------------------------------------------------- */

static int put_vocabulary(struct vocab *v)
{
	static const struct { const char *pattern, *pre; } names[] = {
		{ "kimi", "kimi-k2" }, { "llama3", "llama-bpe" }, { "gpt2", "gpt-2" }, { "digits", "smollm" },
	};
	const char *pattern = k_tokenizer_pattern(v->t);
	int r;

	k_gguf_put_string(v->keys, "tokenizer.ggml.model", "gpt2", 4);
	for (size_t i = 0; i < K_LEN(names); i++)
		if (strcmp(pattern, names[i].pattern) == 0)
			k_gguf_put_string(v->keys, "tokenizer.ggml.pre", names[i].pre, strlen(names[i].pre));
	r = put_tokens(v);
	if (r == 0)
		r = v->ranks ? put_derived(v) : put_merges_of_file(v);
	if (r < 0)
		return r;
	put_ids(v);
	r = put_flags(v);
	put_templates(v);
	return r;
}

static int read_side(struct vocab *v, const char *name, struct k_json **out)
{
	const struct k_file *f = k_files_find(v->files, name);

	return f ? k_json_parse(out, f->data, f->len, K_JSON_STRICT, name, v->err) : 0;
}

int k_gguf_put_vocab(struct k_gguf_keys *k, const struct k_files *files, const struct k_json *config, const struct k_json *text, int64_t vocab,
	struct k_err *err)
{
	struct vocab v = { .keys = k, .files = files, .config = config, .text = text, .n = vocab, .ranks = k_files_find(files, "tiktoken.model"),
		.err = err };
	bool has = v.ranks || k_files_find(files, "tokenizer.json");
	int r = read_side(&v, "generation_config.json", &v.generation);

	k_map_init(&v.by_bytes);
	k_buf_init(&v.b, 0);
	if (r == 0)
		r = read_side(&v, "tokenizer_config.json", &v.names);
	if (r == 0 && has)
		r = k_tokenizer_open(&v.t, files, vocab, err);
	if (r == 0 && has) {
		r = put_vocabulary(&v);
	} else if (r == 0) {
		k_gguf_put_string(k, "tokenizer.ggml.model", "no_vocab", 8);
		put_ids(&v);
	}
	k_tokenizer_free(v.t);
	k_json_free(v.names);
	k_json_free(v.generation);
	k_map_fini(&v.by_bytes);
	k_buf_fini(&v.b);
	return r;
}
