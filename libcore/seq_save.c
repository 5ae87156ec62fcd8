/* seq_save.c: a timeline as bytes, little-endian.
 *
 *   head    "KSEQ\r\n\x1a\n", u32 version 1, u32 profile (1: hf_remote), model digest (32), i64 tokens, u32 marks, u32 0
 *   pages   for every 64 tokens: their ids (i32), then for each attention layer their rows (f32)
 *   kda     the block of states and tails, if the model has KDA layers
 *   marks   i64 length, the block; ascending
 *   end     sha256 of all before
 *
 * Loading grows page by page as bytes arrive: a wrong length ends in K_ETRUNC, not in memory. */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/model_int.h"

#define MAGIC "KSEQ\r\n\x1a\n"

struct head { char magic[8]; uint32_t version, profile; uint8_t model[32]; int64_t len; uint32_t n_mark, zero; };

/* A sink or a source with a hash in passing, and a host buffer as large as the largest piece. */
struct pass { struct k_sink *to; struct k_source *from; struct k_sha256 *sha; struct k_device *dev; char *host; };

static int put(struct pass *p, const void *v, size_t n, struct k_err *err)
{
	k_sha256_add(p->sha, v, n);
	return k_sink_write(p->to, v, n, err);
}

static int get(struct pass *p, void *v, size_t n, struct k_err *err)
{
	int r = k_source_read(p->from, v, n, err);
	if (r == 0)
		k_sha256_add(p->sha, v, n);
	return r;
}

/* One piece of device memory, either way. */
static int pass_device(struct pass *p, float *at, size_t n, struct k_err *err)
{
	if (p->to) {
		int r = p->dev->get(p->dev, p->host, at, n, err);
		return r < 0 ? r : put(p, p->host, n, err);
	}
	int r = get(p, p->host, n, err);
	return r < 0 ? r : p->dev->put(p->dev, at, p->host, n, err);
}

static int pass_begin(struct pass *p, const struct k_model *m, struct k_err *err)
{
	size_t most = (size_t)m->n_kda * sizeof(float);
	for (int64_t i = 0; i < m->hp.n_layer; i++)
		most = K_MAX(most, (size_t)(m->layers[i].page_width * K_PAGE) * sizeof(float));
	p->dev = m->dev;
	p->host = k_alloc(most);
	return p->host ? k_sha256_new(&p->sha, err) : k_err_nomem(err, most, "a sequence on its way");
}

static void pass_end(struct pass *p)
{
	k_free(p->host);
	k_sha256_free(p->sha);
}

/* Tokens [t, t + n) of all attention layers; the pages are there. */
static int pass_page(struct pass *p, struct k_seq *s, int64_t t, int64_t n, struct k_err *err)
{
	size_t bytes = (size_t)n * sizeof(*s->ids);
	int r = p->to ? put(p, s->ids + t, bytes, err) : get(p, s->ids + t, bytes, err);
	for (int64_t i = 0; r == 0 && i < s->m->hp.n_layer; i++) {
		int64_t w = s->m->layers[i].page_width;
		if (w)
			r = pass_device(p, s->layer[i].page[t / K_PAGE], (size_t)(n * w) * sizeof(float), err);
	}
	return r;
}

int k_seq_save(const struct k_seq *s, struct k_sink *sink, struct k_err *err)
{
	struct pass p = { .to = sink };
	struct head h = { .magic = MAGIC, .version = 1, .profile = s->m->opts.hf_remote, .len = s->len,
		.n_mark = (uint32_t)s->n_mark };
	size_t kda = (size_t)s->m->n_kda * sizeof(float);
	uint8_t sha[32];
	int r = pass_begin(&p, s->m, err);
	if (r < 0)
		goto out;
	k_model_digest(s->m, h.model);
	r = put(&p, &h, sizeof(h), err);
	/* pass_page writes through the same pointers that loading fills. */
	for (int64_t t = 0; r == 0 && t < s->len; t += K_PAGE)
		r = pass_page(&p, (struct k_seq *)s, t, K_MIN(K_PAGE, s->len - t), err);
	if (r == 0 && s->kda)
		r = pass_device(&p, s->kda, kda, err);
	for (int i = 0; r == 0 && i < s->n_mark; i++) {
		r = put(&p, &s->mark[i].len, sizeof(s->mark[i].len), err);
		if (r == 0)
			r = put(&p, s->mark[i].kda, kda, err);
	}
	if (r == 0) {
		k_sha256_end(p.sha, sha);
		r = k_sink_write(sink, sha, sizeof(sha), err);
	}
out:
	pass_end(&p);
	return r;
}

static int check_head(const struct head *h, const struct k_model *m, const char *name, struct k_err *err)
{
	uint8_t digest[32];
	k_model_digest(m, digest);
	if (memcmp(h->magic, MAGIC, sizeof(h->magic)))
		return k_err_set(err, K_EFORMAT, "'%s' is not a saved sequence", name);
	if (h->version != 1)
		return k_err_set(err, K_EUNSUP, "'%s' is a saved sequence of version %u, this program knows 1", name, h->version);
	if (memcmp(h->model, digest, sizeof(digest)) || h->profile != m->opts.hf_remote)
		return k_err_set(err, K_ECHECK, "'%s' was saved from another model or profile", name);
	if (h->len < 0 || h->n_mark > K_MARKS || h->zero || (h->n_mark && !m->n_kda))
		return k_err_set(err, K_EFORMAT, "'%s' has %ld tokens and %u marks, which cannot be", name, (long)h->len, h->n_mark);
	return 0;
}

static int load_marks(struct pass *p, struct k_seq *s, uint32_t n, int64_t len, const char *name, struct k_err *err)
{
	size_t kda = (size_t)s->m->n_kda * sizeof(float);
	int64_t last = 0;
	for (uint32_t i = 0; i < n; i++) {
		int64_t at;
		int r = get(p, &at, sizeof(at), err);
		if (r < 0)
			return r;
		if (at <= last || at > len)
			return k_err_set(err, K_EFORMAT, "'%s' has a mark at %ld of %ld tokens", name, (long)at, (long)len);
		last = at;
		float *copy = k_alloc(kda);
		if (!copy)
			return k_err_nomem(err, kda, "a mark of a sequence");
		s->mark[s->n_mark++] = (struct k_mark){ at, copy };
		if ((r = get(p, copy, kda, err)) < 0)
			return r;
	}
	return 0;
}

static int load_body(struct pass *p, struct k_seq *s, const char *name, struct k_err *err)
{
	struct head h;
	uint8_t sha[32], want[32];
	int r = get(p, &h, sizeof(h), err);
	if (r == 0)
		r = check_head(&h, s->m, name, err);
	for (int64_t t = 0; r == 0 && t < h.len; t += K_PAGE) {
		int64_t n = K_MIN(K_PAGE, h.len - t);
		r = k_seq_room(s, t + n, err);
		if (r == 0)
			r = pass_page(p, s, t, n, err);
		for (int64_t i = t; r == 0 && i < t + n; i++)
			if (s->ids[i] < 0 || s->ids[i] >= s->m->hp.n_vocab)
				r = k_err_set(err, K_EFORMAT, "'%s' has token id %d, the model has %ld", name, s->ids[i],
					(long)s->m->hp.n_vocab);
	}
	if (r == 0 && s->kda)
		r = pass_device(p, s->kda, (size_t)s->m->n_kda * sizeof(float), err);
	if (r == 0)
		r = load_marks(p, s, h.n_mark, h.len, name, err);
	if (r < 0)
		return r;
	k_sha256_end(p->sha, sha);
	r = k_source_read(p->from, want, sizeof(want), err);
	if (r == 0 && memcmp(sha, want, sizeof(sha)))
		r = k_err_set(err, K_ECHECK, "'%s' is damaged: its digest is wrong", name);
	if (r == 0)
		s->len = h.len;
	return r;
}

int k_seq_load(struct k_seq **out, struct k_model *m, struct k_source *src, struct k_err *err)
{
	struct pass p = { .from = src };
	struct k_seq *s = NULL;
	int r = pass_begin(&p, m, err);
	if (r == 0)
		r = k_seq_new(&s, m, err);
	if (r == 0)
		r = load_body(&p, s, k_source_name(src), err);
	pass_end(&p);
	if (r < 0) {
		k_seq_free(s);
		s = NULL;
	}
	*out = s;
	return r;
}
