/* gguf_test.c: GGUF files against what the Python package gguf reads from them (testdata/golden/gguf), the side files that their
 * keys become against the vectors of the original tokenizer, and every damaged file of testdata/bad/gguf. */
#include "libcore/base.h"
#include <stdio.h>
#include "formats/format.h"
#include "formats/gguf_parts.h"
#include "libcore/hash.h"
#include "libcore/import.h"
#include "libcore/test.h"
#include "libcore/tokenizer.h"

extern const struct k_format k_format_gguf;

static int open_source(struct k_ckpt **c, struct k_source *src, const char *path, struct k_err *err)
{
	struct k_ctx ctx = { .log = NULL };
	struct k_format_in in = { .path = path, .src = src, .ctx = &ctx };

	*c = NULL;
	return k_format_gguf.open(c, &in, err);
}

static int open_file(struct k_ckpt **c, const char *path, struct k_err *err)
{
	struct k_source *src;
	int r = k_source_open(&src, path, err);

	return r < 0 ? r : open_source(c, src, path, err);
}

static int open_bytes(struct k_ckpt **c, const void *p, size_t n, struct k_err *err)
{
	struct k_source *src;
	int r = k_source_mem(&src, p, n, false, "bytes", err);

	return r < 0 ? r : open_source(c, src, "bytes", err);
}

static struct k_json *read_json(const char *rel)
{
	struct k_json *v;
	struct k_buf b;
	struct k_err err;

	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(k_test_data(rel), &b, K_FILE_MAX, &err));
	K_CHECK_OK(k_json_parse(&v, b.data, b.len, K_JSON_STRICT, rel, &err));
	k_buf_fini(&b);
	return v;
}

/* --- values --------------------------------------------------------------------------------------------------------------- */

/* Digest of a tensor's values as f32, in the order of the file. */
static void digest(const struct k_ckpt *c, const char *name, char hex[65])
{
	const struct k_raw *found = k_import_find(c, name);
	struct k_sha256 *h;
	struct k_raw t;
	int64_t rows, cols;
	uint8_t sum[32], *row;
	float *values;
	struct k_err err;

	K_CHECK_MSG(found, "%s: no such tensor", name);
	t = *found;
	t.row_order = NULL;
	rows = k_shape_rows(t.ndim, t.shape);
	cols = k_shape_cols(t.ndim, t.shape);
	row = k_alloc(t.type->granule_bytes(cols, 1));
	values = k_alloc((size_t)cols * sizeof(*values));
	K_CHECK(row && values);
	K_CHECK_OK(k_sha256_new(&h, &err));
	for (int64_t i = 0; i < rows; i++) {
		K_CHECK_OK(k_raw_read(&t, 0, i, 1, row, &err));
		t.type->dequant(values, row, cols, 1, 0);
		k_sha256_add(h, values, (size_t)cols * sizeof(*values));
	}
	k_sha256_end(h, sum);
	k_sha256_free(h);
	k_hex(hex, sum);
	k_free(row);
	k_free(values);
}

static void check_tensor(const struct k_ckpt *c, const char *name, const struct k_json *want)
{
	const struct k_json *ne = k_json_find(want, "ne");
	const struct k_raw *t = k_import_find(c, name);
	char hex[65];

	K_CHECK_MSG(t, "%s: %s is missing", c->path, name);
	K_CHECK(t->ndim == (int)k_json_len(ne));
	for (int i = 0; i < t->ndim; i++)
		K_CHECK(t->shape[t->ndim - 1 - i] == k_json_int(k_json_at(ne, (size_t)i)));
	digest(c, name, hex);
	K_CHECK_MSG(strcmp(hex, k_json_string(k_json_find(want, "sha256_f32"))) == 0, "%s: %s has other values", c->path, name);
}

K_TEST(gguf_values)
{
	struct k_json *golden = read_json("golden/gguf/golden.json"), *files = k_json_find(golden, "files"), *facts, *want;
	const char *file, *name;
	struct k_err err;
	char rel[128];
	int n = 0;

	for (void *it = NULL; k_json_next(files, &it, &file, &facts); n++) {
		struct k_ckpt *c;

		snprintf(rel, sizeof(rel), "tiny/llama-tiny-gguf/%s", file);
		K_CHECK_OK(open_file(&c, k_test_data(rel), &err));
		K_CHECK(strcmp(c->arch, "llama") == 0);
		for (void *jt = NULL; k_json_next(k_json_find(facts, "tensors"), &jt, &name, &want); )
			check_tensor(c, name, want);
		K_CHECK_OK(k_ckpt_check_values(c, &(struct k_ctx){ .log = NULL }, &err));
		k_ckpt_close(c);
	}
	K_CHECK(n == 7);
	k_json_free(golden);
}

/* The rows of q and k are put back in the order of the original checkpoint. */
K_TEST(gguf_rows_in_order)
{
	struct k_source *st;
	struct k_json *head;
	struct k_ckpt *c;
	struct k_err err;
	uint64_t n;
	char *text;
	int seen = 0;

	K_CHECK_OK(k_source_open(&st, k_test_data("tiny/llama-tiny/model.safetensors"), &err));
	K_CHECK_OK(k_source_pread(st, &n, sizeof(n), 0, &err));
	text = k_alloc(n);
	K_CHECK(text && k_source_pread(st, text, n, 8, &err) == 0);
	K_CHECK_OK(k_json_parse(&head, text, n, K_JSON_STRICT, "head", &err));
	K_CHECK_OK(open_file(&c, k_test_data("tiny/llama-tiny-gguf/llama-tiny-BF16.gguf"), &err));
	for (int i = 0; i < c->n_entries; i++) {
		const struct k_entry *e = &c->entries[i];
		const struct k_json *there = k_json_find(head, e->name), *offsets = k_json_find(there, "data_offsets");
		uint64_t at = (uint64_t)k_json_int(k_json_at(offsets, 0));
		void *ours, *theirs;

		if (strcmp(e->type->name, "bf16") != 0)
			continue;
		K_CHECK_MSG(there && strcmp(k_json_string(k_json_find(there, "dtype")), "BF16") == 0, "%s", e->name);
		ours = k_alloc(e->bytes);
		theirs = k_alloc(e->bytes);
		K_CHECK_OK(k_ckpt_read(c, i, 0, ours, e->bytes, &err));
		K_CHECK_OK(k_source_pread(st, theirs, e->bytes, 8 + n + at, &err));
		K_CHECK_MSG(memcmp(ours, theirs, e->bytes) == 0, "%s differs", e->name);
		k_free(ours);
		k_free(theirs);
		seen++;
	}
	K_CHECK(seen > 20);
	k_ckpt_close(c);
	k_json_free(head);
	k_free(text);
	k_source_close(st);
}

/* --- side files ----------------------------------------------------------------------------------------------------------- */

static struct k_json *side_json(struct k_ckpt *c, const char *name)
{
	const struct k_files *files;
	const struct k_file *f;
	struct k_json *v;
	struct k_err err;

	K_CHECK_OK(k_ckpt_files(c, &files, &err));
	f = k_files_find(files, name);
	K_CHECK_MSG(f, "%s: no %s", c->path, name);
	K_CHECK_OK(k_json_parse(&v, f->data, f->len, K_JSON_STRICT, name, &err));
	return v;
}

static void same_members(const struct k_json *have, const struct k_json *want, const char *const *members)
{
	for (; *members; members++)
		K_CHECK_MSG(k_json_equal(k_json_find(have, *members), k_json_find(want, *members)), "%s differs", *members);
}

K_TEST(gguf_side_files)
{
	static const char *const config[] = { "architectures", "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads",
		"num_key_value_heads", "intermediate_size", "vocab_size", "max_position_embeddings", "tie_word_embeddings", "bos_token_id",
		"eos_token_id", "hidden_act", "attention_bias", "mlp_bias", NULL };
	static const char *const generation[] = { "bos_token_id", "eos_token_id", "pad_token_id", NULL };
	static const char *const tokenizer[] = { "bos_token", "eos_token", "unk_token", "pad_token", "chat_template", NULL };
	static const char *const whole[] = { "added_tokens", "pre_tokenizer", "decoder", "model", "normalizer", "post_processor", NULL };
	static const struct { const char *name; const char *const *members; } files[] = {
		{ "config.json", config }, { "generation_config.json", generation }, { "tokenizer_config.json", tokenizer },
		{ "tokenizer.json", whole },
	};
	struct k_ckpt *c;
	struct k_err err;
	char rel[64];

	K_CHECK_OK(open_file(&c, k_test_data("tiny/llama-tiny-gguf/llama-tiny-Q8_0.gguf"), &err));
	for (size_t i = 0; i < K_LEN(files); i++) {
		struct k_json *have = side_json(c, files[i].name), *want;

		snprintf(rel, sizeof(rel), "tiny/llama-tiny/%s", files[i].name);
		want = read_json(rel);
		same_members(have, want, files[i].members);
		k_json_free(have);
		k_json_free(want);
	}
	k_ckpt_close(c);
}

/* One line of the vectors: {"text", "ids"}. */
static void check_vector(const struct k_tokenizer *t, const char *line, size_t len)
{
	const struct k_json *want, *text;
	struct k_json *v;
	struct k_ids ids;
	struct k_err err;

	K_CHECK_OK(k_json_parse(&v, line, len, K_JSON_STRICT, "a vector", &err));
	text = k_json_find(v, "text");
	want = k_json_find(v, "ids");
	k_ids_init(&ids);
	K_CHECK_OK(k_tokenizer_encode(t, k_json_string(text), k_json_len(text), K_ENC_SPECIALS, &ids, &err));
	K_CHECK_MSG(ids.n == k_json_len(want), "%.*s", (int)len, line);
	for (size_t i = 0; i < ids.n; i++)
		K_CHECK_MSG(ids.v[i] == k_json_int(k_json_at(want, i)), "%.*s", (int)len, line);
	k_ids_fini(&ids);
	k_json_free(v);
}

K_TEST(gguf_tokenizer)
{
	const struct k_files *files;
	struct k_tokenizer *t;
	struct k_ckpt *c;
	struct k_buf b;
	struct k_err err;

	K_CHECK_OK(open_file(&c, k_test_data("tiny/llama-tiny-gguf/llama-tiny-F16.gguf"), &err));
	K_CHECK_OK(k_ckpt_files(c, &files, &err));
	K_CHECK_OK(k_tokenizer_open(&t, files, 512, &err));
	K_CHECK(k_tokenizer_vocab(t) == 512 && k_tokenizer_bos(t) == 1 && k_tokenizer_eos(t) == 2);
	K_CHECK(k_tokenizer_is_control(t, 0) && k_tokenizer_is_control(t, 2) && !k_tokenizer_is_special(t, 3));
	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(k_test_data("tiny/llama-tiny/tokenizer-vectors.jsonl"), &b, K_FILE_MAX, &err));
	for (char *p = b.data, *end; (end = strchr(p, '\n')); p = end + 1)
		check_vector(t, p, (size_t)(end - p));
	k_buf_fini(&b);
	k_tokenizer_free(t);
	k_ckpt_close(c);
}

/* --- made here ------------------------------------------------------------------------------------------------------------- */

static void put32(struct k_buf *b, uint32_t v) { k_buf_put(b, &v, sizeof(v)); }
static void put64(struct k_buf *b, uint64_t v) { k_buf_put(b, &v, sizeof(v)); }

static void put_text(struct k_buf *b, const char *s)
{
	put64(b, strlen(s));
	k_buf_puts(b, s);
}

static void put_key(struct k_buf *b, const char *key, uint32_t type)
{
	put_text(b, key);
	put32(b, type);
}

static void put_text_key(struct k_buf *b, const char *key, const char *value)
{
	put_key(b, key, 8);
	put_text(b, value);
}

static void put_int_key(struct k_buf *b, const char *key, uint32_t value)
{
	put_key(b, key, 4);
	put32(b, value);
}

static void begin(struct k_buf *b, uint64_t tensors, uint64_t keys)
{
	k_buf_init(b, 0);
	k_buf_puts(b, "GGUF");
	put32(b, 3);
	put64(b, tensors);
	put64(b, keys);
}

/* A vocabulary in the manner of Llama-3: specials behind the ordinary tokens, BOS before each text, a hole. */
static void put_vocabulary(struct k_buf *b, const char *pre)
{
	static const struct { const char *text; int type; } tokens[] = {
		{ "a", 1 }, { "b", 1 }, { "\xc4\xa0", 1 }, { "ab", 1 }, { "1", 1 }, { "2", 1 }, { "12", 1 }, { "<bos>", 3 }, { "<end>", 3 },
		{ "<user>", 4 }, { "[PAD10]", 5 }, { "<turn>", 3 },
	};

	put_text_key(b, "tokenizer.ggml.model", "gpt2");
	put_text_key(b, "tokenizer.ggml.pre", pre);
	put_key(b, "tokenizer.ggml.tokens", 9);
	put32(b, 8);
	put64(b, K_LEN(tokens));
	for (size_t i = 0; i < K_LEN(tokens); i++)
		put_text(b, tokens[i].text);
	put_key(b, "tokenizer.ggml.token_type", 9);
	put32(b, 5);
	put64(b, K_LEN(tokens));
	for (size_t i = 0; i < K_LEN(tokens); i++)
		put32(b, (uint32_t)tokens[i].type);
	put_key(b, "tokenizer.ggml.merges", 9);
	put32(b, 8);
	put64(b, 1);
	put_text(b, "a b");
	put_int_key(b, "tokenizer.ggml.bos_token_id", 7);
	put_int_key(b, "tokenizer.ggml.eos_token_id", 8);
	put_int_key(b, "tokenizer.ggml.eot_token_id", 11);
}
enum { VOCABULARY_KEYS = 8 };

static void expect_ids(const struct k_tokenizer *t, const char *text, int flags, int n, const int32_t *want)
{
	struct k_ids ids;
	struct k_err err;

	k_ids_init(&ids);
	K_CHECK_OK(k_tokenizer_encode(t, text, strlen(text), flags, &ids, &err));
	K_CHECK_MSG(ids.n == (size_t)n && memcmp(ids.v, want, ids.n * sizeof(*want)) == 0, "'%s' gives other ids", text);
	k_ids_fini(&ids);
}

K_TEST(gguf_llama_bpe)
{
	const struct k_files *files;
	struct k_tokenizer *t;
	struct k_json *config;
	struct k_ckpt *c;
	struct k_buf b;
	struct k_err err;
	size_t len;

	begin(&b, 0, 1 + VOCABULARY_KEYS);
	put_text_key(&b, "general.architecture", "llama");
	put_vocabulary(&b, "llama-bpe");
	K_CHECK_OK(open_bytes(&c, b.data, b.len, &err));
	K_CHECK_OK(k_ckpt_files(c, &files, &err));
	K_CHECK_OK(k_tokenizer_open(&t, files, 12, &err));
	/* "12" is one piece and one token, though no merge makes it. */
	expect_ids(t, "ab 12", K_ENC_ADD, 4, (const int32_t[]){ 7, 3, 2, 6 });
	expect_ids(t, "a<user><turn>", K_ENC_SPECIALS, 3, (const int32_t[]){ 0, 9, 11 });
	K_CHECK(k_tokenizer_is_control(t, 11) && k_tokenizer_is_special(t, 9) && !k_tokenizer_is_control(t, 9));
	K_CHECK(!k_tokenizer_bytes(t, 10, &len));
	k_tokenizer_free(t);
	config = side_json(c, "generation_config.json");
	K_CHECK(k_json_int(k_json_at(k_json_find(config, "eos_token_id"), 1)) == 11);
	k_json_free(config);
	k_ckpt_close(c);
	k_buf_fini(&b);
}

K_TEST(gguf_unknown_pre)
{
	struct k_ckpt *c;
	struct k_buf b;
	struct k_err err;

	begin(&b, 0, 1 + VOCABULARY_KEYS);
	put_text_key(&b, "general.architecture", "llama");
	put_vocabulary(&b, "jina-v2");
	K_CHECK(open_bytes(&c, b.data, b.len, &err) == K_EUNSUP && strstr(err.msg, "jina-v2"));
	k_buf_fini(&b);
}

K_TEST(gguf_pipe_refused)
{
	struct k_source *src;
	struct k_ckpt *c;
	struct k_err err;

	K_CHECK_OK(k_source_open(&src, "/dev/zero", &err));
	K_CHECK(open_source(&c, src, "-", &err) == K_EUNSUP && strstr(err.msg, "a GGUF needs a file"));
}

/* --- parts ----------------------------------------------------------------------------------------------------------------- */

static void put_part(const char *dir, int no, int count, int total, const char *tensor)
{
	struct k_sink *s;
	struct k_err err;
	char path[512];
	struct k_buf b;

	begin(&b, 1, 4);
	put_text_key(&b, "general.architecture", "llama");
	put_int_key(&b, "split.no", (uint32_t)no);
	put_int_key(&b, "split.count", (uint32_t)count);
	put_int_key(&b, "split.tensors.count", (uint32_t)total);
	put_text(&b, tensor);
	put32(&b, 1);
	put64(&b, 2);
	put32(&b, 0);
	put64(&b, 0);
	while (b.len % 32)
		k_buf_putc(&b, 0);
	put64(&b, (uint64_t)no + 1);
	snprintf(path, sizeof(path), "%s/m-%05d-of-%05d.gguf", dir, no + 1, count);
	K_CHECK_OK(k_sink_open(&s, path, &err));
	K_CHECK_OK(k_sink_write(s, b.data, b.len, &err));
	K_CHECK_OK(k_sink_commit(s, &err));
	k_sink_close(s);
	k_buf_fini(&b);
}

K_TEST(gguf_parts)
{
	const char *dir = k_test_dir();
	struct k_ckpt *c;
	struct k_err err;
	char path[512];
	uint64_t v;

	snprintf(path, sizeof(path), "%s/m-00001-of-00002.gguf", dir);
	put_part(dir, 0, 2, 2, "x");
	K_CHECK(open_file(&c, path, &err) == K_ENOENT);
	put_part(dir, 1, 2, 2, "y");
	K_CHECK_OK(open_file(&c, path, &err));
	K_CHECK(c->n_entries == 2 && k_ckpt_find(c, "y") == 1);
	K_CHECK_OK(k_ckpt_read(c, 1, 0, &v, sizeof(v), &err));
	K_CHECK(v == 2);
	k_ckpt_close(c);
	put_part(dir, 1, 2, 3, "x");
	K_CHECK(open_file(&c, path, &err) == K_EFORMAT);
	put_part(dir, 0, 2, 3, "x");
	K_CHECK(open_file(&c, path, &err) == K_EFORMAT && strstr(err.msg, "split.tensors.count"));
	snprintf(path, sizeof(path), "%s/m-00002-of-00002.gguf", dir);
	K_CHECK(open_file(&c, path, &err) == K_EUNSUP);
}

/* --- types ----------------------------------------------------------------------------------------------------------------- */

struct shelf { struct k_buf b; struct k_json *head; const char *data; };        /* a safetensors file */

static void read_shelf(struct shelf *s, const char *rel)
{
	struct k_err err;
	uint64_t n;

	k_buf_init(&s->b, 0);
	K_CHECK_OK(k_read_file(k_test_data(rel), &s->b, K_FILE_MAX, &err));
	memcpy(&n, s->b.data, sizeof(n));
	K_CHECK_OK(k_json_parse(&s->head, s->b.data + 8, n, K_JSON_STRICT, rel, &err));
	s->data = s->b.data + 8 + n;
}

static const char *shelf_at(const struct shelf *s, const char *type, const char *what, size_t *len)
{
	const struct k_json *at;
	char name[64];

	snprintf(name, sizeof(name), "dequant/%s/%s", type, what);
	at = k_json_find(k_json_find(s->head, name), "data_offsets");
	K_CHECK_MSG(at, "%s is missing", name);
	*len = (size_t)(k_json_int(k_json_at(at, 1)) - k_json_int(k_json_at(at, 0)));
	return s->data + k_json_int(k_json_at(at, 0));
}

/* 16 blocks of a type, as the rows of a tensor, with a dimension in front. */
static void make_blocks(struct k_buf *b, uint32_t type, uint64_t elems, const char *bytes, size_t len)
{
	begin(b, 1, 1);
	put_text_key(b, "general.architecture", "llama");
	put_text(b, "t");
	put32(b, 3);
	put64(b, elems);
	put64(b, 8);
	put64(b, 2);
	put32(b, type);
	put64(b, 0);
	while (b->len % 32)
		k_buf_putc(b, 0);
	k_buf_put(b, bytes, len);
}

K_TEST(gguf_types)
{
	static const struct { const char *name; uint32_t number; int elems; } types[] = {
		{ "Q4_0", 2, 32 }, { "Q4_1", 3, 32 }, { "Q5_0", 6, 32 }, { "Q5_1", 7, 32 }, { "Q8_0", 8, 32 }, { "Q2_K", 10, 256 },
		{ "Q3_K", 11, 256 }, { "Q4_K", 12, 256 }, { "Q5_K", 13, 256 }, { "Q6_K", 14, 256 }, { "IQ4_NL", 20, 32 },
		{ "IQ4_XS", 23, 256 }, { "MXFP4", 39, 32 },
	};
	struct shelf shelf;
	struct k_ckpt *c;
	struct k_buf b;
	struct k_err err;
	float have[256], want[256];
	uint8_t block[256];
	size_t len, n;

	read_shelf(&shelf, "golden/gguf/blocks.safetensors");
	for (size_t i = 0; i < K_LEN(types); i++) {
		const char *bytes = shelf_at(&shelf, types[i].name, "bytes", &len), *values = shelf_at(&shelf, types[i].name, "values", &n);

		make_blocks(&b, types[i].number, (uint64_t)types[i].elems, bytes, len);
		K_CHECK_OK(open_bytes(&c, b.data, b.len, &err));
		K_CHECK(c->n_entries == 1 && c->entries[0].ndim == 3 && c->entries[0].shape[0] == 2 && c->entries[0].bytes == len);
		for (int row = 0; row < 16; row++) {
			K_CHECK_OK(k_ckpt_read(c, 0, (uint64_t)row * len / 16, block, len / 16, &err));
			c->entries[0].type->dequant(have, block, types[i].elems, 1, 0);
			memcpy(want, values + (size_t)row * n / 16, n / 16);
			/* Of MXFP4 the sign of a zero is free. */
			for (int k = 0; k < types[i].elems; k++)
				K_CHECK_MSG(have[k] == want[k], "%s: row %d, column %d: %.9g, wanted %.9g", types[i].name, row, k, (double)have[k],
					(double)want[k]);
		}
		k_ckpt_close(c);
		k_buf_fini(&b);
	}
	make_blocks(&b, 40, 64, shelf_at(&shelf, "NVFP4", "bytes", &len), len);
	K_CHECK(open_bytes(&c, b.data, b.len, &err) == K_EUNSUP && strstr(err.msg, "NVFP4"));
	k_buf_fini(&b);
	k_buf_fini(&shelf.b);
	k_json_free(shelf.head);
}

/* --- damage ---------------------------------------------------------------------------------------------------------------- */

static bool wanted(const char *classes, int code)
{
	static const struct { const char *name; int exit; } all[] = {
		{ "ok", 0 }, { "format", 3 }, { "shape", 3 }, { "missing", 3 }, { "unsupported", 4 },
	};

	for (size_t i = 0; i < K_LEN(all); i++) {
		const char *at = strstr(classes, all[i].name);

		if (at && k_err_exit(code) == all[i].exit)
			return true;
	}
	return false;
}

static void check_bad(const char *rel, const char *classes)
{
	struct k_ctx ctx = { .log = NULL };
	struct k_ckpt *c;
	struct k_err err = { 0 };
	int r;

	r = open_file(&c, k_test_data(rel), &err);
	if (r == 0) {
		r = k_ckpt_check_values(c, &ctx, &err);
		k_ckpt_close(c);
	}
	K_CHECK_MSG(wanted(classes, r), "%s: %s (%s), wanted %s", rel, k_err_name(r), r < 0 ? err.msg : "opened", classes);
	K_CHECK(r == 0 || err.msg[0]);
}

K_TEST(gguf_bad)
{
	struct k_buf b;
	struct k_err err;
	char rel[256];
	int n = 0;

	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(k_test_data("bad/EXPECT.tsv"), &b, K_FILE_MAX, &err));
	for (char *p = b.data, *end; (end = strchr(p, '\n')); p = end + 1) {
		char *classes;

		*end = 0;
		if (strncmp(p, "gguf/", 5) != 0)
			continue;
		classes = strrchr(p, '\t') + 1;
		snprintf(rel, sizeof(rel), "bad/%.*s", (int)strcspn(p, "\t"), p);
		check_bad(rel, classes);
		n++;
	}
	K_CHECK(n > 80);
	k_buf_fini(&b);
}

/* Each beginning of a good file is refused, and no bit of its head makes anything worse than an error. */
K_TEST(gguf_cut_and_flipped)
{
	enum { HEAD = 1700 };
	struct k_ckpt *c;
	struct k_buf b;
	struct k_err err;

	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(k_test_data("bad/gguf/ok_llama.gguf"), &b, K_FILE_MAX, &err));
	K_CHECK(b.len > HEAD);
	for (size_t n = 0; n < HEAD; n++) {
		char *part = k_alloc(n);

		K_CHECK(part);
		memcpy(part, b.data, n);
		K_CHECK_MSG(open_bytes(&c, part, n, &err) < 0, "the first %zu bytes are taken", n);
		k_free(part);
	}
	for (size_t bit = 0; bit < 8 * HEAD; bit++) {
		b.data[bit / 8] ^= (char)(1 << bit % 8);
		if (open_bytes(&c, b.data, b.len, &err) == 0)
			k_ckpt_close(c);
		b.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	k_buf_fini(&b);
}

K_TEST(gguf_part_named)
{
	static const struct { const char *name; bool is; } rows[] = {
		{ "m-00001-of-00004.gguf", true }, { "d.d/-00001-of-10000.gguf", true }, { "-00001-of-00002.gguf", true },
		{ "m-00002-of-00004.gguf", false }, { "m-00001-of-00001.gguf", false }, { "m-00001-of-00000.gguf", false },
		{ "m-00001-of-0000x.gguf", false }, { "m-00001-of-00004.GGUF", false }, { "00001-of-00004.gguf", false }, { "m.gguf", false }, { "", false },
	};
	size_t stem = 0;

	for (size_t i = 0; i < K_LEN(rows); i++)
		K_CHECK(k_gguf_part_named(rows[i].name, &stem) == rows[i].is);
	K_CHECK(k_gguf_part_named("a/m-00001-of-00004.gguf", &stem) && stem == 3);
}
