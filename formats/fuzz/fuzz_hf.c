/* fuzz_hf.c: any config.json and any head of a shard are a checkpoint or an error; a checkpoint can be planned as a folder again.
 *
 * An input is texts with the byte 0x1e between them: config.json, the head of model.safetensors, and, if there is a third,
 * model.safetensors.index.json. Data follow from the head: each tensor gets the offsets that its shape and type ask for, first as the
 * input has them and then laid out anew, so that a change of a shape is not lost on an offset. All bytes of data are 0x3c, a small
 * number in every type; a weight_shape says what the packed tensor beside it says. */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include "formats/format_int.h"
#include "formats/fuzz/fuzz_read.h"
#include "formats/st.h"
#include "libcore/json.h"

enum { DATA_MOST = 1 << 20, SEPARATOR = 0x1e };

#define LLAMA "{\"model_type\":\"llama\",\"hidden_size\":16,\"intermediate_size\":24,\"num_hidden_layers\":1,\"num_attention_heads\":2," \
	"\"num_key_value_heads\":1,\"vocab_size\":12,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":true}"
#define T(name, shape) "\"" name ".weight\":{\"dtype\":\"BF16\",\"shape\":" shape ",\"data_offsets\":[0,0]}"
#define LAYER(n, shape) T("model.layers.0." n, shape)
#define HEAD "{" T("model.embed_tokens", "[12,16]") "," T("model.norm", "[16]") "," LAYER("input_layernorm", "[16]") "," \
	LAYER("post_attention_layernorm", "[16]") "," LAYER("self_attn.q_proj", "[16,16]") "," LAYER("self_attn.k_proj", "[8,16]") "," \
	LAYER("self_attn.v_proj", "[8,16]") "," LAYER("self_attn.o_proj", "[16,16]") "," LAYER("mlp.gate_proj", "[24,16]") "," \
	LAYER("mlp.up_proj", "[24,16]") "," LAYER("mlp.down_proj", "[16,24]") "}"

const char *const fuzz_seeds[] = { LLAMA, LLAMA "\x1e" HEAD, NULL };

static void must(int r) { if (r < 0) abort(); }

/* --- a folder in memory ------------------------------------------------------------------------------------------------- */

struct text { const char *p; size_t n; };
struct files { struct k_dir dir; char *names[3]; struct text texts[3]; };

static int open_text(struct k_dir *d, const char *name, struct k_source **out, struct k_err *err)
{
	struct files *f = d->impl;

	for (int i = 0; i < d->n; i++)
		if (strcmp(d->names[i], name) == 0)
			return k_source_mem(out, f->texts[i].p, f->texts[i].n, false, name, err);
	return k_err_set(err, K_ENOENT, "%s is missing", name);
}

static void close_nothing(struct k_dir *d K_UNUSED) { }

/* Plans both ways of writing what was read. */
static void plan(struct k_ckpt *c)
{
	static const struct k_write_opts ways[] = { { .shard_size = 4096 }, { .dequant = true, .dtype = "f16" } };
	struct k_err err = { 0 };
	struct k_st_plan *p;
	struct k_buf b;

	for (size_t i = 0; i < K_LEN(ways); i++) {
		if (k_st_plan_new(&p, c, &ways[i], ways[i].shard_size, &err) < 0)
			continue;
		k_buf_init(&b, 0);
		for (int64_t k = 0; k < p->n_shards; k++)
			(void)!k_st_head(p, k, &b, &err);
		(void)!k_hf_config(p, &ways[i], &b, &err);
		k_buf_fini(&b);
		k_st_plan_free(p);
	}
}

static int try_folder(struct text config, struct text shard, struct text index)
{
	const struct k_ctx ctx = { 0 };
	struct files f = { .names = { "config.json", "model.safetensors", "model.safetensors.index.json" }, .texts = { config, shard, index } };
	struct k_format_in in = { .path = "input", .ctx = &ctx, .dir = &f.dir };
	struct k_err err = { 0 };
	struct k_ckpt *c;

	f.dir = (struct k_dir){ .path = "input", .n = index.p ? 3 : 2, .names = f.names, .open = open_text, .close = close_nothing, .impl = &f };
	if (k_format_open_dir(&c, &in, &err) < 0)
		return -1;
	if (fuzz_read_all(c, &err) == 0)
		plan(c);
	k_ckpt_close(c);
	return 0;
}

/* --- data for a head ---------------------------------------------------------------------------------------------------- */

/* Bytes of a tensor by its shape and type; 0 where they are no shape and no type, or too many. */
static uint64_t size_of(const struct k_json *t)
{
	static const struct { const char *name; unsigned bits; } types[] = { { "BF16", 16 }, { "F16", 16 }, { "F32", 32 }, { "I32", 32 },
		{ "F8_E4M3", 8 }, { "U8", 8 }, { "I64", 64 }, { "F8_E8M0", 8 }, { "I8", 8 }, { "F4", 4 }, { "F64", 64 } };
	const char *type = k_json_string(k_json_find(t, "dtype"));
	const struct k_json *shape = k_json_find(t, "shape");
	uint64_t n = 0;

	for (size_t i = 0; type && i < K_LEN(types); i++)
		n = strcmp(type, types[i].name) == 0 ? types[i].bits : n;
	for (size_t i = 0; i < k_json_len(shape); i++) {
		int64_t d = k_json_int(k_json_at(shape, i));

		if (d <= 0 || d > DATA_MOST || (n *= (uint64_t)d) > 8 * (uint64_t)DATA_MOST)
			return 0;
	}
	return n / 8;
}

/* The end of the data; lay: offsets become what follows from the shapes. */
static uint64_t offsets(struct k_json *head, bool lay)
{
	struct k_json *t, *pair;
	uint64_t end = 0;
	const char *name;

	for (void *it = NULL; k_json_next(head, &it, &name, &t); ) {
		uint64_t n = size_of(t);

		if (strcmp(name, "__metadata__") == 0 || k_json_kind(t) != K_JSON_OBJECT)
			continue;
		if (lay && end <= DATA_MOST) {
			pair = k_json_array();
			must(k_json_push(pair, k_json_new_int((int64_t)end)));
			must(k_json_push(pair, k_json_new_int((int64_t)(end + n))));
			must(k_json_set(t, "data_offsets", pair));
			end += n;
		} else {
			int64_t last = k_json_int(k_json_at(k_json_find(t, "data_offsets"), 1));

			end = last > 0 && last <= DATA_MOST ? K_MAX(end, (uint64_t)last) : end;
		}
	}
	return K_MIN(end, (uint64_t)DATA_MOST);
}

/* [rows, cols] of a packed tensor, in the integers of its weight_shape. */
static void put_shapes(const struct k_json *head, char *data, uint64_t n)
{
	struct k_json *t, *packed;
	const char *name;
	char other[512];

	for (void *it = NULL; k_json_next(head, &it, &name, &t); ) {
		int64_t at = k_json_int(k_json_at(k_json_find(t, "data_offsets"), 0)), size = (int64_t)size_of(t);
		size_t len = strlen(name);

		if (len < 12 || len > 500 || strcmp(name + len - 12, "weight_shape") != 0 || at < 0 || (size != 8 && size != 16) ||
		    (uint64_t)(at + size) > n)
			continue;
		snprintf(other, sizeof(other), "%.*sweight_packed", (int)(len - 12), name);
		packed = k_json_find(k_json_find(head, other), "shape");
		for (int k = 0; k < 2; k++) {
			int64_t v = k_json_int(k_json_at(packed, (size_t)k)) * (k ? 8 : 1);

			memcpy(data + at + k * (size / 2), &v, (size_t)size / 2);
		}
	}
}

static void put_shard(struct k_buf *b, const char *text, size_t n, const struct k_json *head, uint64_t data_n)
{
	uint64_t len = n;
	struct k_err err = { 0 };
	char *data = k_alloc((size_t)data_n + 1);

	if (!data)
		abort();
	memset(data, 0x3c, (size_t)data_n);
	put_shapes(head, data, data_n);
	k_buf_put(b, &len, 8);
	k_buf_put(b, text, n);
	k_buf_put(b, data, (size_t)data_n);
	must(k_buf_ok(b, "a shard", &err));
	k_free(data);
}

static int try_head(struct text config, struct text text, struct text index)
{
	struct k_json *head;
	struct k_err err = { 0 };
	struct k_buf b, again;
	int r = 0;

	if (k_json_parse(&head, text.p, text.n, K_JSON_STRICT, "input", &err) < 0)
		return -1;
	for (int lay = 0; lay < 2 && k_json_kind(head) == K_JSON_OBJECT; lay++) {
		uint64_t n = offsets(head, lay);

		k_buf_init(&b, 0);
		k_buf_init(&again, 0);
		if (lay)
			k_json_dump(&again, head, K_JSON_COMPACT);
		put_shard(&b, lay ? again.data : text.p, lay ? again.len : text.n, head, n);
		r = try_folder(config, (struct text){ b.data, b.len }, index);
		k_buf_fini(&again);
		k_buf_fini(&b);
	}
	k_json_free(head);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text parts[3] = { { NULL, 0 }, { HEAD, sizeof(HEAD) - 1 }, { NULL, 0 } };
	const char *p = (const char *)data, *end = p + size;

	if (size == 0 || p[0] != '{')
		return -1;
	for (int i = 0; i < 3 && p; i++) {
		const char *stop = memchr(p, SEPARATOR, (size_t)(end - p));

		parts[i] = (struct text){ p, (size_t)((stop ? stop : end) - p) };
		p = stop ? stop + 1 : NULL;
	}
	return try_head(parts[0], parts[1], parts[2]);
}
