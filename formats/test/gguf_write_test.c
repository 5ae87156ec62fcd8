/* gguf_write_test.c: checkpoints as GGUF by the plainest way there is, slice by slice in memory; read again they are what they were.
 * The values of each tensor against numpy's and gguf-py's are in cmd/test/gguf.sh. */
#include "libcore/base.h"
#include <stdio.h>
#include "formats/gguf_head.h"
#include "formats/gguf_write.h"
#include "libcore/dtype.h"
#include "libcore/explog.h"
#include "libcore/import.h"
#include "libcore/test.h"
#include "libcore/tokenizer.h"

extern const struct k_format k_format_gguf;

static struct k_ckpt *open_model(const char *path)
{
	struct k_ctx ctx = { .log = NULL };
	struct k_ckpt *c;
	struct k_err err;

	K_CHECK_OK(k_format_open(&c, path, false, &ctx, &err));
	return c;
}

static struct k_ckpt *open_written(const struct k_buf *b)
{
	struct k_ctx ctx = { .log = NULL };
	struct k_format_in in = { .path = "written.gguf", .ctx = &ctx };
	struct k_ckpt *c;
	struct k_err err;

	K_CHECK_OK(k_source_mem(&in.src, b->data, b->len, false, "written.gguf", &err));
	K_CHECK_OK(k_format_gguf.open(&c, &in, &err));
	return c;
}

/* --- writing -------------------------------------------------------------------------------------------------------------- */

struct slice { uint8_t *src; float *values, *after; };

static void read_slice(struct slice *s, struct k_ckpt *c, int i, int64_t slice)
{
	const struct k_entry *e = &c->entries[i];
	int64_t rows = k_entry_rows(e), cols = k_entry_cols(e);
	size_t bytes = (size_t)k_entry_slice_bytes(e), granule = e->type->granule_bytes(cols, e->type->granule);
	struct k_err err;

	s->src = k_aligned(bytes);
	s->values = k_alloc((size_t)(rows * cols) * sizeof(float));
	s->after = k_alloc((size_t)(rows * cols) * sizeof(float));
	K_CHECK(s->src && s->values && s->after);
	K_CHECK_OK(k_ckpt_read(c, i, (uint64_t)slice * bytes, s->src, bytes, &err));
	for (int64_t r = 0; r < rows; r++) {
		int in = (int)K_MIN((int64_t)e->type->granule, rows - r / e->type->granule * e->type->granule);

		e->type->dequant(s->values + r * cols, s->src + (size_t)(r / e->type->granule) * granule, cols, in, (int)(r % e->type->granule));
	}
}

static void free_slice(struct slice *s)
{
	k_free(s->src);
	k_free(s->values);
	k_free(s->after);
}

/* One slice of an entry into the file; exact: the values come back from there. */
static void put_slice(const struct k_gguf_plan *p, int i, int64_t slice, uint8_t *data, bool exact)
{
	const struct k_gguf_from *f = &p->from[i];
	const struct k_gguf_part *part = &p->parts[f->part];
	const struct k_entry *e = &p->c->entries[i];
	int64_t rows = k_entry_rows(e), cols = k_entry_cols(e);
	struct k_gguf_rows r = { .plan = p, .entry = i, .n_rows = rows };
	void *dst[2] = { data + part->at, f->n_parts > 1 ? data + part[1].at : NULL };
	struct k_err err;
	struct slice s;

	read_slice(&s, p->c, i, slice);
	if (f->n_parts == 1)
		dst[0] = data + part->at + (size_t)(slice * rows) * part->type->granule_bytes(cols, 1);
	r.src = s.src;
	r.values = s.values;
	K_CHECK_OK(k_gguf_make_rows(&r, dst, &err));
	k_gguf_decode_rows(&r, (const void *const *)dst, s.after);
	for (int64_t k = 0; exact && k < rows * cols; k++)
		K_CHECK_MSG(s.values[k] == s.after[k] || f->way == &k_gguf_neg_exp, "%s: value %lld of slice %lld is %.9g, was %.9g", e->name,
			(long long)k, (long long)slice, (double)s.after[k], (double)s.values[k]);
	free_slice(&s);
}

static void write_plain(struct k_buf *b, struct k_ckpt *c, bool exact)
{
	struct k_write_opts o = { .shard_size = 0 };
	struct k_gguf_plan *p;
	struct k_err err;
	size_t head;

	k_buf_init(b, 0);
	K_CHECK_OK(k_gguf_plan_new(&p, c, &o, NULL, &err));
	K_CHECK_OK(k_gguf_put_heads(p, &err));
	K_CHECK(p->n_shards == 1);
	head = p->shards[0].head.len;
	k_buf_put(b, p->shards[0].head.data, head);
	K_CHECK(k_buf_room(b, (size_t)p->shards[0].bytes));
	memset(b->data + head, 0, (size_t)p->shards[0].bytes);
	b->len += (size_t)p->shards[0].bytes;
	for (int i = 0; i < c->n_entries; i++)
		for (int64_t k = 0; p->from[i].way && k < k_entry_slices(&c->entries[i]); k++)
			put_slice(p, i, k, (uint8_t *)b->data + head, exact);
	k_gguf_plan_free(p);
}

/* --- there and back ------------------------------------------------------------------------------------------------------- */

/* Values of an entry, all slices; the caller frees. */
static float *values_of(struct k_ckpt *c, int i, int64_t *n)
{
	const struct k_entry *e = &c->entries[i];
	int64_t slice = k_entry_rows(e) * k_entry_cols(e), slices = k_entry_slices(e);
	float *all = k_alloc((size_t)(slice * slices) * sizeof(float));

	K_CHECK(all);
	*n = slice * slices;
	for (int64_t k = 0; k < slices; k++) {
		struct slice s;

		read_slice(&s, c, i, k);
		memcpy(all + k * slice, s.values, (size_t)slice * sizeof(float));
		free_slice(&s);
	}
	return all;
}

static void same_entry(struct k_ckpt *a, int i, struct k_ckpt *b)
{
	const char *name = a->entries[i].name;
	int k = k_ckpt_find(b, name);
	float *x, *y;
	int64_t n, m;

	K_CHECK_MSG(k >= 0, "%s is missing", name);
	x = values_of(a, i, &n);
	y = values_of(b, k, &m);
	K_CHECK_MSG(n == m, "%s has %lld values, had %lld", name, (long long)m, (long long)n);
	for (int64_t v = 0; v < n; v++)
		K_CHECK_MSG(x[v] == y[v] || (strstr(name, "A_log") && k_decay_from_log(x[v]) == k_decay_from_log(y[v])),
			"%s: value %lld is %.9g, was %.9g", name, (long long)v, (double)y[v], (double)x[v]);
	k_free(x);
	k_free(y);
}

static void same_ids(struct k_ckpt *a, struct k_ckpt *b)
{
	static const char text[] = "Kimi's 12345 words, \xe4\xbd\xa0\xe5\xa5\xbd \xc3\xa9t\xc3\xa9<|im_end|>[BOS]<|endoftext|>\n\n  done";
	struct k_ckpt *c[2] = { a, b };
	struct k_ids ids[2];
	struct k_err err;

	for (int i = 0; i < 2; i++) {
		const struct k_files *files;
		struct k_tokenizer *t;

		k_ids_init(&ids[i]);
		K_CHECK_OK(k_ckpt_files(c[i], &files, &err));
		if (!k_files_find(files, "tiktoken.model") && !k_files_find(files, "tokenizer.json"))
			continue;
		K_CHECK_OK(k_tokenizer_open(&t, files, 0, &err));
		K_CHECK_OK(k_tokenizer_encode(t, text, strlen(text), K_ENC_SPECIALS, &ids[i], &err));
		k_tokenizer_free(t);
	}
	K_CHECK(ids[0].n == ids[1].n && (ids[0].n == 0 || memcmp(ids[0].v, ids[1].v, ids[0].n * sizeof(*ids[0].v)) == 0));
	k_ids_fini(&ids[0]);
	k_ids_fini(&ids[1]);
}

static void check_model(const char *rel, bool exact)
{
	struct k_ckpt *c = open_model(k_test_data(rel)), *back, *again;
	struct k_buf b, b2;

	write_plain(&b, c, exact);
	back = open_written(&b);
	K_CHECK(strcmp(c->arch, back->arch) == 0);
	for (int i = 0; exact && i < c->n_entries; i++)
		if (strcmp(c->entries[i].role, "file") != 0)
			same_entry(c, i, back);
	same_ids(c, back);
	/* Once it is a GGUF nothing changes any more. */
	write_plain(&b2, back, true);
	K_CHECK_MSG(b.len == b2.len && memcmp(b.data, b2.data, b.len) == 0, "%s: written again it is another file", rel);
	again = open_written(&b2);
	k_ckpt_close(again);
	k_ckpt_close(back);
	k_ckpt_close(c);
	k_buf_fini(&b);
	k_buf_fini(&b2);
}

K_TEST(gguf_write_kimi_k2) { check_model("tiny/kimi-k2-tiny", true); }
K_TEST(gguf_write_kimi_k2_int4) { check_model("tiny/kimi-k2-tiny-int4", true); }
K_TEST(gguf_write_kimi_k2_fp8) { check_model("tiny/kimi-k2-tiny-fp8", false); }
K_TEST(gguf_write_moonlight) { check_model("tiny/moonlight-tiny", true); }
K_TEST(gguf_write_kimi_linear) { check_model("tiny/kimi-linear-tiny", true); }
K_TEST(gguf_write_kimi_linear_int4) { check_model("tiny/kimi-linear-tiny-int4", true); }
K_TEST(gguf_write_kimi_linear_groups) { check_model("tiny/kimi-linear-groups-tiny", true); }
K_TEST(gguf_write_nano) { check_model("nano", true); }
K_TEST(gguf_write_llama) { check_model("tiny/llama-tiny", true); }

/* A GGUF of others: each tensor has its bytes again. */
static void check_bytes(const char *rel)
{
	struct k_ckpt *c = open_model(k_test_data(rel)), *back;
	struct k_source *src;
	struct k_gguf have, want;
	struct k_buf b;
	struct k_err err;
	const void *p;
	size_t n;

	write_plain(&b, c, true);
	back = open_written(&b);
	K_CHECK_OK(k_source_open(&src, k_test_data(rel), &err));
	K_CHECK_OK(k_source_map(src, &p, &n, &err));
	K_CHECK_OK(k_gguf_read(&want, p, n, rel, NULL, &err));
	K_CHECK_OK(k_gguf_read(&have, b.data, b.len, "written", NULL, &err));
	K_CHECK(have.n_tensors == want.n_tensors);
	for (uint64_t i = 0; i < want.n_tensors; i++) {
		const struct k_gguf_tensor *t = &want.tensors[i], *h = have.tensors;

		while (strcmp(h->name, t->name) != 0)
			K_CHECK_MSG(++h < have.tensors + have.n_tensors, "%s is missing", t->name);
		K_CHECK_MSG(h->type == t->type && h->bytes == t->bytes && h->ndim == t->ndim, "%s has another form", t->name);
		K_CHECK_MSG(memcmp(b.data + h->off, (const char *)p + t->off, t->bytes) == 0, "%s has other bytes", t->name);
	}
	k_gguf_fini(&have);
	k_gguf_fini(&want);
	k_source_close(src);
	k_ckpt_close(back);
	k_ckpt_close(c);
	k_buf_fini(&b);
}

K_TEST(gguf_write_bytes)
{
	static const char *const types[] = { "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0" };
	char rel[96];

	for (size_t i = 0; i < K_LEN(types); i++) {
		snprintf(rel, sizeof(rel), "tiny/llama-tiny-gguf/llama-tiny-%s.gguf", types[i]);
		check_bytes(rel);
	}
}

/* --- files ---------------------------------------------------------------------------------------------------------------- */

K_TEST(gguf_write_split)
{
	struct k_ckpt *c = open_model(k_test_data("tiny/kimi-k2-tiny"));
	struct k_write_opts o = { .shard_size = 300000 };
	struct k_gguf_plan *p;
	struct k_err err;
	int next = 0;

	K_CHECK_OK(k_gguf_plan_new(&p, c, &o, NULL, &err));
	K_CHECK_OK(k_gguf_put_heads(p, &err));
	K_CHECK(p->n_shards > 3);
	for (int i = 0; i < p->n_shards; i++) {
		struct k_gguf_shard *s = &p->shards[i];
		struct k_gguf g;
		int64_t v;

		K_CHECK(s->first == next && s->n > 0 && (s->bytes <= o.shard_size || s->n == 1) && s->head.len % 32 == 0);
		next += s->n;
		/* The head alone, with room for the data behind it. */
		K_CHECK(k_buf_room(&s->head, (size_t)s->bytes));
		memset(s->head.data + s->head.len, 0, (size_t)s->bytes);
		K_CHECK_OK(k_gguf_read(&g, s->head.data, s->head.len + (size_t)s->bytes, "shard", NULL, &err));
		K_CHECK(g.n_tensors == (uint64_t)s->n && (i == 0 || g.n_keys == 3));
		K_CHECK_OK(k_gguf_int_or(&g, "split.no", 0, 100, -1, &v, &err));
		K_CHECK(v == i);
		K_CHECK_OK(k_gguf_int_or(&g, "split.tensors.count", 0, 1000, -1, &v, &err));
		K_CHECK(v == p->n_parts);
		k_gguf_fini(&g);
	}
	K_CHECK(next == p->n_parts);
	k_gguf_plan_free(p);
	k_ckpt_close(c);
}

/* --- scales --------------------------------------------------------------------------------------------------------------- */

/* Which bf16 scales go into f16: the rule of the exponent (formats 0.3) against the conversion, for all of them. */
static bool fits_f16(uint16_t s)
{
	int e = (s >> 7 & 255) - 127, lost = -17 - e;

	if ((s & 0x7fff) == 0 || (e >= -17 && e <= 15))
		return true;
	return e >= -24 && e <= -18 && (s & 127 & ((1 << lost) - 1)) == 0;
}

K_TEST(gguf_write_scales)
{
	struct k_entry e = { .name = "x.*.weight", .type = k_qtype_find("i4g32", "rows"), .ndim = 3, .shape = { 2, 3, 64 } };
	struct k_gguf_part part = { .name = "x", .type = k_qtype_find("q4_0", NULL), .ndim = 3, .shape = { 2, 3, 64 } };
	struct k_gguf_from from = { .way = &k_gguf_int4, .n_parts = 1 };
	struct k_ckpt c = { .path = "m", .n_entries = 1, .entries = &e };
	struct k_gguf_plan p = { .c = &c, .from = &from, .parts = &part, .n_parts = 1 };
	uint8_t src[3 * 36], out[3 * 36];
	struct k_gguf_rows r = { .plan = &p, .n_rows = 3, .src = src };
	void *dst[2] = { out, NULL };
	struct k_err err;

	for (uint32_t s = 0; s < 0x10000; s++) {
		uint16_t scale = (uint16_t)s;
		float values[3 * 64], want[64];

		if ((s & 0x7f80) == 0x7f80)
			continue;
		for (size_t i = 0; i < sizeof(src); i++)
			src[i] = (uint8_t)(37 * i + s);
		for (int row = 0; row < 3; row++)
			memset(src + 36 * row, 0, 4);
		memcpy(src + 36 * 2 + 2, &scale, 2);            /* row 2, group 1 */
		K_CHECK_OK(k_gguf_make_rows(&r, dst, &err));
		k_gguf_decode_rows(&r, (const void *const *)dst, values);
		e.type->dequant(want, src + 36 * 2, 64, 1, 0);
		K_CHECK_MSG((memcmp(want, values + 128, sizeof(want)) == 0) == fits_f16(scale), "scale %04x", s);
	}
}
