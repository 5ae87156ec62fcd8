/* qtype_golden_test.c: types of qtype.h against packed data and values that other programs made (testdata/README.md):
 *
 *   golden/gguf/blocks.safetensors          gguf-py: blocks of random bytes and their values; values and the blocks made of them
 *   tiny/kimi-k2-tiny-int4, -fp8            compressed-tensors and torch: packed weights of tiny/kimi-k2-tiny
 *   tiny/kimi-linear-tiny-int4              the same with scales by the rule of quantisation-aware training
 *   golden/MODEL/golden.safetensors         values of some of these */
#include "libcore/base.h"
#include "libcore/buf.h"
#include "libcore/dtype.h"
#include "libcore/io.h"
#include "libcore/json.h"
#include "libcore/qtype.h"
#include "libcore/test.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the least of a reader of safetensors, which trusts its file -------------------------------------------------------------- */

enum { SHARDS = 3 };
struct st { int n; struct k_buf file[SHARDS]; struct k_json *head[SHARDS]; };
struct st_tensor { int64_t rows, cols; const char *dtype; uint8_t *data; size_t bytes; };

static uint64_t head_len(const struct k_buf *b)
{
	uint64_t n;
	memcpy(&n, b->data, 8);
	return n;
}

static void st_add(struct st *s, const char *rel)
{
	struct k_err err = { 0 };
	struct k_buf *b = &s->file[s->n];
	k_buf_init(b, 0);
	K_CHECK_OK(k_read_file(k_test_data(rel), b, 1 << 26, &err));
	K_CHECK_OK(k_json_parse(&s->head[s->n], b->data + 8, (size_t)head_len(b), K_JSON_STRICT, rel, &err));
	s->n++;
}

static void st_free(struct st *s)
{
	for (int i = 0; i < s->n; i++) {
		k_buf_fini(&s->file[i]);
		k_json_free(s->head[i]);
	}
}

/* A copy of the data, aligned; false: no such tensor. */
static bool st_find(const struct st *s, const char *name, struct st_tensor *t)
{
	for (int i = 0; i < s->n; i++) {
		const struct k_json *v = k_json_find(s->head[i], name), *shape = k_json_find(v, "shape"), *at = k_json_find(v, "data_offsets");
		if (!v)
			continue;
		size_t from = (size_t)k_json_int(k_json_at(at, 0)), to = (size_t)k_json_int(k_json_at(at, 1)), n = k_json_len(shape);
		t->dtype = k_json_string(k_json_find(v, "dtype"));
		t->rows = n == 2 ? k_json_int(k_json_at(shape, 0)) : 1;
		t->cols = k_json_int(k_json_at(shape, n - 1));
		t->bytes = to - from;
		t->data = k_aligned(t->bytes);
		K_CHECK(t->data);
		memcpy(t->data, s->file[i].data + 8 + head_len(&s->file[i]) + from, t->bytes);
		return true;
	}
	return false;
}

static struct st_tensor st_get(const struct st *s, const char *format, const char *name)
{
	struct st_tensor t;
	char full[256];
	snprintf(full, sizeof(full), format, name);
	K_CHECK_MSG(st_find(s, full, &t), "no tensor %s", full);
	return t;
}

static float *values_of(const struct st_tensor *t)
{
	const struct k_qtype *type = k_qtype_by_dtype(t->dtype);
	float *x = k_aligned((size_t)(t->rows * t->cols) * sizeof(*x));
	K_CHECK(x && type);
	for (int64_t r = 0; r < t->rows; r++)
		type->dequant(x + r * t->cols, t->data + (size_t)r * type->granule_bytes(t->cols, 1), t->cols, 1, 0);
	return x;
}

/* --- GGUF -------------------------------------------------------------------------------------------------------------------- */

static const struct k_qtype *gguf_type(const char *name)
{
	char lower[16] = { 0 };
	for (size_t i = 0; name[i] && i + 1 < sizeof(lower); i++)
		lower[i] = (char)tolower((unsigned char)name[i]);
	return k_qtype_find(lower, strcmp(name, "MXFP4") ? NULL : "gguf");
}

K_TEST(qtype_golden_gguf_blocks)
{
	static const char *const names[] = { "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
		"MXFP4" };
	struct st s = { 0 };
	st_add(&s, "golden/gguf/blocks.safetensors");
	for (size_t i = 0; i < K_LEN(names); i++) {
		struct st_tensor b = st_get(&s, "dequant/%s/bytes", names[i]), v = st_get(&s, "dequant/%s/values", names[i]);
		const struct k_qtype *t = gguf_type(names[i]);
		float *x = k_alloc((size_t)v.cols * 4), *want = (float *)v.data;
		K_CHECK(x && t && t->granule_bytes(v.cols, 1) == (size_t)b.cols);
		for (int64_t r = 0; r < b.rows; r++) {
			t->dequant(x, b.data + r * b.cols, v.cols, 1, 0);
			for (int64_t c = 0; c < v.cols; c++)
				K_CHECK_MSG(k_f32_bits(x[c]) == k_f32_bits(want[r * v.cols + c]) || (x[c] == 0 && want[r * v.cols + c] == 0),
					"%s block %lld, value %lld: %a, wanted %a", names[i], (long long)r, (long long)c, (double)x[c],
					(double)want[r * v.cols + c]);
		}
		k_free(x), k_free(b.data), k_free(v.data);
	}
	st_free(&s);
}

K_TEST(qtype_golden_gguf_encoders)
{
	static const char *const names[] = { "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0" };
	struct k_quant_opts o = { .scale = K_SCALE_AMAX7 };
	struct st s = { 0 };
	st_add(&s, "golden/gguf/blocks.safetensors");
	for (size_t i = 0; i < K_LEN(names); i++) {
		struct st_tensor x = st_get(&s, "quant/%s/input", names[i]), b = st_get(&s, "quant/%s/bytes", names[i]);
		const struct k_qtype *t = gguf_type(names[i]);
		uint8_t *p = k_alloc((size_t)b.cols);
		struct k_err err = { 0 };
		K_CHECK(p && t && t->granule_bytes(x.cols, 1) == (size_t)b.cols);
		for (int64_t r = 0; r < x.rows; r++) {
			K_CHECK_OK(t->quant(p, (float *)x.data + r * x.cols, x.cols, 1, &o, &err));
			for (int64_t c = 0; c < b.cols; c++)
				K_CHECK_MSG(p[c] == b.data[r * b.cols + c], "%s row %lld, byte %lld: %#x, wanted %#x", names[i], (long long)r, (long long)c,
					p[c], b.data[r * b.cols + c]);
		}
		k_free(p), k_free(x.data), k_free(b.data);
	}
	st_free(&s);
}

/* --- INT4 -------------------------------------------------------------------------------------------------------------------- */

static void int4_values(const struct st *model, const struct st *golden, const char *module)
{
	struct st_tensor packed = st_get(model, "%s.weight_packed", module), scale = st_get(model, "%s.weight_scale", module);
	struct st_tensor v = st_get(golden, "dequant/%s.weight", module);
	const struct k_qtype *t = k_qtype_find("i4g32", NULL);
	uint64_t bytes;
	K_CHECK(k_qtype_slice_bytes(t, v.rows, v.cols, &bytes) && packed.cols * 8 == v.cols);
	uint8_t *p = k_alloc((size_t)bytes);
	float *x = k_alloc((size_t)v.cols * 4);
	K_CHECK(p && x);
	k_i4g32_from_ct(t, p, packed.data, (const uint16_t *)(const void *)scale.data, v.cols, (int)v.rows);
	for (int64_t r = 0; r < v.rows; r++) {
		t->dequant(x, p + (size_t)r * t->granule_bytes(v.cols, 1), v.cols, 1, 0);
		K_CHECK_MSG(!memcmp(x, (float *)v.data + r * v.cols, (size_t)v.cols * 4), "%s row %lld", module, (long long)r);
	}
	k_free(p), k_free(x), k_free(packed.data), k_free(scale.data), k_free(v.data);
}

K_TEST(qtype_golden_int4_values)
{
	struct st model = { 0 }, golden = { 0 }, model2 = { 0 }, golden2 = { 0 };
	st_add(&model, "tiny/kimi-k2-tiny-int4/model-00001-of-00002.safetensors");
	st_add(&model, "tiny/kimi-k2-tiny-int4/model-00002-of-00002.safetensors");
	st_add(&golden, "golden/kimi-k2-tiny-int4/golden.safetensors");
	int4_values(&model, &golden, "model.layers.1.mlp.experts.0.down_proj");
	int4_values(&model, &golden, "model.layers.1.mlp.experts.0.gate_proj");
	st_add(&model2, "tiny/kimi-linear-tiny-int4/model.safetensors");
	st_add(&golden2, "golden/kimi-linear-tiny-int4/golden.safetensors");
	int4_values(&model2, &golden2, "model.layers.1.block_sparse_moe.experts.0.w1");
	int4_values(&model2, &golden2, "model.layers.1.block_sparse_moe.experts.0.w2");
	int4_values(&model2, &golden2, "model.layers.1.block_sparse_moe.experts.5.w3");
	st_free(&model), st_free(&golden), st_free(&model2), st_free(&golden2);
}

struct tally { int64_t tensors, codes, other; };

/* Quantises a weight of `base` and counts the codes that are not those of `made`. Scales must agree. */
static void int4_made(const struct st *base, const struct st *made, const char *module, enum k_scale rule, struct tally *n)
{
	const struct k_qtype *t = k_qtype_find("i4g32", NULL);
	struct k_quant_opts o = { .scale = rule };
	struct k_err err = { 0 };
	struct st_tensor w, packed, scale;
	char name[256];
	snprintf(name, sizeof(name), "%s.weight_packed", module);
	if (!st_find(made, name, &packed))
		return;
	w = st_get(base, "%s.weight", module);
	scale = st_get(made, "%s.weight_scale", module);
	float *x = values_of(&w);
	uint8_t p[1024], codes[512];
	uint16_t s[32];
	K_CHECK(w.cols <= 1024 && t->granule_bytes(w.cols, 1) <= sizeof(p));
	for (int64_t r = 0; r < w.rows; r++) {
		K_CHECK_OK(t->quant(p, x + r * w.cols, w.cols, 1, &o, &err));
		k_i4g32_to_ct(t, p, codes, s, w.cols, 1);
		K_CHECK_MSG(!memcmp(s, scale.data + r * scale.cols * 2, (size_t)scale.cols * 2), "scales of %s, row %lld", module, (long long)r);
		for (int64_t c = 0; c < w.cols; c++) {
			int a = codes[c / 2] >> 4 * (c & 1) & 15, b = packed.data[r * (w.cols / 2) + c / 2] >> 4 * (c & 1) & 15;
			K_CHECK_MSG(abs(a - b) <= 1, "%s row %lld, column %lld: code %d, wanted %d", module, (long long)r, (long long)c, a, b);
			n->other += a != b;
		}
		n->codes += w.cols;
	}
	n->tensors++;
	k_free(x), k_free(w.data), k_free(packed.data), k_free(scale.data);
}

/* Every code and scale that the compressed-tensors package makes of bf16 weights. */
K_TEST(qtype_golden_int4_codes_of_the_package)
{
	static const char *const parts[] = { "gate_proj", "up_proj", "down_proj" };
	struct st base = { 0 }, made = { 0 };
	struct tally n = { 0 };
	char module[128];
	st_add(&base, "tiny/kimi-k2-tiny/model-00001-of-00002.safetensors");
	st_add(&base, "tiny/kimi-k2-tiny/model-00002-of-00002.safetensors");
	st_add(&made, "tiny/kimi-k2-tiny-int4/model-00001-of-00002.safetensors");
	st_add(&made, "tiny/kimi-k2-tiny-int4/model-00002-of-00002.safetensors");
	for (int i = 0; i < 8; i++)
		for (int e = 0; e < 16; e++)
			for (size_t k = 0; k < K_LEN(parts); k++) {
				snprintf(module, sizeof(module), "model.layers.%d.mlp.experts.%d.%s", i, e, parts[k]);
				int4_made(&base, &made, module, K_SCALE_AMAX75, &n);
			}
	K_CHECK_MSG(n.tensors == 48 && n.other == 0, "%lld tensors, %lld of %lld codes differ", (long long)n.tensors, (long long)n.other,
		(long long)n.codes);
	st_free(&base), st_free(&made);
}

/* The package rounds quotients to bf16 here too, ours are f32: the same scales, nearly all codes. */
K_TEST(qtype_golden_int4_scales_of_training)
{
	static const char *const parts[] = { "w1", "w2", "w3" };
	struct st base = { 0 }, made = { 0 };
	struct tally n = { 0 };
	char module[128];
	for (int i = 1; i <= 3; i++) {
		snprintf(module, sizeof(module), "tiny/kimi-linear-tiny/model-0000%d-of-00003.safetensors", i);
		st_add(&base, module);
	}
	st_add(&made, "tiny/kimi-linear-tiny-int4/model.safetensors");
	for (int i = 0; i < 8; i++)
		for (int e = 0; e < 16; e++)
			for (size_t k = 0; k < K_LEN(parts); k++) {
				snprintf(module, sizeof(module), "model.layers.%d.block_sparse_moe.experts.%d.%s", i, e, parts[k]);
				int4_made(&base, &made, module, K_SCALE_AMAX7, &n);
			}
	K_CHECK_MSG(n.tensors == 96 && n.other * 100 < n.codes, "%lld tensors, %lld of %lld codes differ", (long long)n.tensors,
		(long long)n.other, (long long)n.codes);
	st_free(&base), st_free(&made);
}

/* --- FP8 --------------------------------------------------------------------------------------------------------------------- */

/* Packs w, codes and scales as they lie in the file, into granules; compares values, and what we make of the base weight. */
static void fp8_module(const struct st *base, const struct st *model, const struct st *golden, const char *module, bool has_values)
{
	const struct k_qtype *t = k_qtype_find("fp8b128", NULL);
	struct st_tensor codes = st_get(model, "%s.weight", module), scale = st_get(model, "%s.weight_scale_inv", module);
	struct st_tensor w = st_get(base, "%s.weight", module), v = { 0 };
	struct k_quant_opts o = { .scale = K_SCALE_AMAX7 };
	struct k_err err = { 0 };
	float *x = values_of(&w), *back = k_alloc((size_t)w.cols * 4);
	size_t full = t->granule_bytes(w.cols, 128);
	uint8_t *p = k_alloc(full), *made = k_alloc(full);
	K_CHECK(back && p && made && scale.rows == k_div_up(w.rows, 128) && scale.cols == k_div_up(w.cols, 128));
	if (has_values)
		v = st_get(golden, "dequant/%s.weight", module);
	for (int64_t g = 0; g * 128 < w.rows; g++) {
		int n = (int)K_MIN(w.rows - g * 128, (int64_t)128);
		k_fp8b128_from_planes(p, codes.data + g * 128 * w.cols, (float *)scale.data + g * scale.cols, w.cols, n);
		K_CHECK_OK(t->check(p, w.cols, n, &err));
		K_CHECK_OK(t->quant(made, x + g * 128 * w.cols, w.cols, n, &o, &err));
		K_CHECK_MSG(!memcmp(p, made, t->granule_bytes(w.cols, n)), "%s: granule %lld is made otherwise", module, (long long)g);
		for (int r = 0; r < n && has_values; r++) {
			t->dequant(back, p, w.cols, n, r);
			K_CHECK_MSG(!memcmp(back, (float *)v.data + (g * 128 + r) * w.cols, (size_t)w.cols * 4), "%s row %lld", module,
				(long long)(g * 128 + r));
		}
	}
	k_free(x), k_free(back), k_free(p), k_free(made), k_free(codes.data), k_free(scale.data), k_free(w.data), k_free(v.data);
}

K_TEST(qtype_golden_fp8)
{
	static const char *const with_values[] = { "mlp.down_proj", "mlp.gate_proj", "self_attn.kv_a_proj_with_mqa", "self_attn.kv_b_proj",
		"self_attn.q_a_proj" };
	static const char *const others[] = { "mlp.experts.0.down_proj", "mlp.experts.7.up_proj", "mlp.shared_experts.gate_proj", "self_attn.o_proj",
		"self_attn.q_b_proj" };
	struct st base = { 0 }, model = { 0 }, golden = { 0 };
	char module[128];
	st_add(&base, "tiny/kimi-k2-tiny/model-00001-of-00002.safetensors");
	st_add(&base, "tiny/kimi-k2-tiny/model-00002-of-00002.safetensors");
	st_add(&model, "tiny/kimi-k2-tiny-fp8/model.safetensors");
	st_add(&golden, "golden/kimi-k2-tiny-fp8/golden.safetensors");
	for (size_t i = 0; i < K_LEN(with_values); i++) {
		snprintf(module, sizeof(module), "model.layers.0.%s", with_values[i]);
		fp8_module(&base, &model, &golden, module, true);
	}
	for (size_t i = 0; i < K_LEN(others); i++) {
		snprintf(module, sizeof(module), "model.layers.1.%s", others[i]);
		fp8_module(&base, &model, &golden, module, false);
	}
	st_free(&base), st_free(&model), st_free(&golden);
}
