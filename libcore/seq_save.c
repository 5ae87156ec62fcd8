/* seq_save.c: a timeline as bytes, little-endian.
 *
 *   head    "KSEQ\r\n\x1a\n", u32 version 4, u32 marks, model digest (32), how it was computed (64: device, level, activations,
 *           kind of pages if not f32, profile; text, filled with zeros), u64 tag of the owner, i64 tokens
 *   marks   i64 length of each, ascending
 *   ids     i32 of each token
 *   sha256  of all so far: what a list of files is made from before the rest is read
 *   pages   for every 64 tokens: for each attention layer their rows (f32 or bf16), or the page (int8), with zeros for tokens that are not there
 *   kda     the block of states and tails, if the model has KDA layers: of each its states as the device keeps them (backend.h), then its
 *           tails [3][P][taps - 1]
 *   marks   the block of each
 *   sha256  of the digest above and all behind it
 *
 * Loading grows page by page as bytes arrive: a wrong length ends in K_ETRUNC, not in memory. */
#include "libcore/base.h"
#include <stdio.h>
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/kda_state.h"
#include "libcore/model_int.h"

#define MAGIC "KSEQ\r\n\x1a\n"

enum { VERSION = 4 };

struct head { char magic[8]; uint32_t version, n_mark; uint8_t model[32]; char how[64]; uint64_t tag; int64_t len; };

/* A sink or a source with a hash in passing, and a host buffer as large as the largest piece. */
struct pass { struct k_sink *to; struct k_source *from; struct k_sha256 *sha; char *host; float *tail; const char *name; };

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

/* In a page of int8, tokens from n on are whatever was there before. */
static void clear_from(char *page, int64_t width, int64_t n)
{
	for (int64_t t = n; t < K_PAGE; t++)
		for (int64_t i = 0; i < width; i++)
			page[k_kv_int8_at(width, t, i)] = 0;
	for (int64_t g = 0; g < k_kv_groups(width); g++)
		memset(page + k_kv_scales_at(width, g) + (size_t)n * sizeof(float), 0, (size_t)(K_PAGE - n) * sizeof(float));
}

/* The first n tokens of one layer's part of a page, either way. */
static int pass_rows(struct pass *p, const struct k_model *m, const struct k_layer *l, void *at, int64_t n, struct k_err *err)
{
	struct k_device *d = m->part[l->part].dev;
	size_t bytes = m->kv == K_KV_INT8 ? l->page_bytes : (size_t)n * k_kv_bytes(m->kv, l->page_width, 0);
	int r = p->to ? d->get(d, p->host, at, bytes, err) : get(p, p->host, bytes, err);
	if (r == 0 && m->kv == K_KV_INT8)
		clear_from(p->host, l->page_width, n);
	if (r < 0)
		return r;
	return p->to ? put(p, p->host, bytes, err) : d->put(d, at, p->host, bytes, err);
}

/* Tails of a block on the host, between the order of the file and that of memory (backend.h). */
static void turn_tails(const struct pass *p, const struct k_model *m, float *block)
{
	int64_t P = m->hp.kda_head * m->hp.kda_dim, keep = m->hp.kda_conv - 1, rows = p->to ? keep : P, cols = p->to ? P : keep;
	for (int64_t i = 0; i < m->hp.n_layer; i++) {
		const struct k_layer *l = &m->layers[i];
		for (int64_t at = 0; at < l->n_conv; at += P * keep) {
			float *tail = block + l->state_at + l->n_state + at;
			memcpy(p->tail, tail, (size_t)(P * keep) * sizeof(float));
			for (int64_t r = 0; r < rows; r++)
				for (int64_t c = 0; c < cols; c++)
					tail[c * rows + r] = p->tail[r * cols + c];
		}
	}
}

static void clean_states(const struct k_model *m, float *block)
{
	for (int64_t i = 0; i < m->hp.n_layer; i++) {
		const struct k_layer *l = &m->layers[i];
		if (l->n_state && m->part[l->part].dev->kda_deferred)
			k_kda_clean(block + l->state_at, m->hp.kda_head, m->hp.kda_dim);
	}
}

static int get_block(struct pass *p, const struct k_model *m, float *block, struct k_err *err)
{
	int r = get(p, block, (size_t)m->n_kda * sizeof(float), err);
	for (int64_t i = 0; r == 0 && i < m->hp.n_layer; i++) {
		const struct k_layer *l = &m->layers[i];
		if (l->n_state && m->part[l->part].dev->kda_deferred && !k_kda_is_count(block[l->state_at]))
			r = k_err_set(err, K_EFORMAT, "'%s': layer %ld has %g pending tokens, wanted 0 to %d", p->name, (long)i,
				(double)block[l->state_at], K_KDA_CHUNK - 1);
	}
	return r;
}

/* The block of states: of the sequence (mem), or of a mark (host, mem NULL), either way. */
static int pass_block(struct pass *p, const struct k_model *m, void *const *mem, float *host, struct k_err *err)
{
	size_t n = (size_t)m->n_kda * sizeof(float);
	float *block = (float *)(void *)p->host;
	int r = 0;
	if (p->from)
		r = get_block(p, m, block, err);
	else if (!mem)
		memcpy(block, host, n);
	else
		r = k_keep_get(m, K_KEEP_KDA, block, mem, err);
	if (r < 0)
		return r;
	turn_tails(p, m, block);
	clean_states(m, block);
	if (p->to)
		return put(p, block, n, err);
	if (mem)
		return k_keep_put(m, K_KEEP_KDA, mem, block, err);
	memcpy(host, block, n);
	return 0;
}

static int pass_begin(struct pass *p, const struct k_model *m, struct k_err *err)
{
	size_t most = (size_t)m->n_kda * sizeof(float);
	for (int64_t i = 0; i < m->hp.n_layer; i++)
		most = K_MAX(most, m->layers[i].page_bytes);
	p->host = k_alloc(most);
	p->tail = k_alloc((size_t)K_MAX(m->hp.kda_head * m->hp.kda_dim * (m->hp.kda_conv - 1), (int64_t)1) * sizeof(float));
	return p->host && p->tail ? k_sha256_new(&p->sha, err) : k_err_nomem(err, most, "a sequence on its way");
}

static void pass_end(struct pass *p)
{
	k_free(p->host);
	k_free(p->tail);
	k_sha256_free(p->sha);
}

/* What the bits of a state depend on, besides the weights. */
static void computed_how(const struct k_model *m, char out[64])
{
	static const char *const acts[] = { "f32", "bf16", "int8" };
	memset(out, 0, 64);
	snprintf(out, 64, "%s %s, act %s%s%s%s", m->dev->backend->name, m->dev->level(m->dev), acts[m->ctx->act],
		m->kv == K_KV_F32 ? "" : ", kv ", m->kv == K_KV_F32 ? "" : k_kv_names[m->kv], m->opts.hf_remote ? ", hf_remote" : "");
}

/* Writes the digest of all so far, or reads one and compares. */
static int pass_digest(struct pass *p, struct k_err *err)
{
	uint8_t sha[32], have[32];
	k_sha256_end(p->sha, sha);
	int r = p->to ? k_sink_write(p->to, sha, sizeof(sha), err) : k_source_read(p->from, have, sizeof(have), err);
	if (r == 0 && p->from && memcmp(sha, have, sizeof(sha)))
		r = k_err_set(err, K_ECHECK, "'%s' is damaged: its digest is wrong", p->name);
	/* The second digest goes on from the first. */
	if (r == 0)
		k_sha256_add(p->sha, sha, sizeof(sha));
	return r;
}

/* --- save ------------------------------------------------------------------------------------------------------------- */

static int save_head(struct pass *p, const struct k_seq *s, uint64_t tag, struct k_err *err)
{
	struct head h = { .magic = MAGIC, .version = VERSION, .n_mark = (uint32_t)s->n_mark, .tag = tag, .len = s->len };
	k_model_digest(s->m, h.model);
	computed_how(s->m, h.how);
	int r = put(p, &h, sizeof(h), err);
	for (int i = 0; r == 0 && i < s->n_mark; i++)
		r = put(p, &s->mark[i].len, sizeof(s->mark[i].len), err);
	if (r == 0 && s->len)
		r = put(p, s->ids, (size_t)s->len * sizeof(*s->ids), err);
	return r < 0 ? r : pass_digest(p, err);
}

/* Tokens [t, t + n) of all attention layers; the page is there. */
static int pass_page(struct pass *p, const struct k_seq *s, int64_t t, int64_t n, struct k_err *err)
{
	int r = 0;
	for (int64_t i = 0; r == 0 && i < s->m->hp.n_layer; i++) {
		const struct k_layer *l = &s->m->layers[i];
		if (l->page_width)
			r = pass_rows(p, s->m, l, s->layer[i].page[t / K_PAGE], n, err);
	}
	return r;
}

int k_seq_save(const struct k_seq *s, uint64_t tag, struct k_sink *sink, struct k_err *err)
{
	struct pass p = { .to = sink, .name = k_sink_name(sink) };
	int r = pass_begin(&p, s->m, err);
	if (r == 0)
		r = save_head(&p, s, tag, err);
	for (int64_t t = 0; r == 0 && t < s->len; t += K_PAGE)
		r = pass_page(&p, s, t, K_MIN(K_PAGE, s->len - t), err);
	if (r == 0 && s->m->n_kda)
		r = pass_block(&p, s->m, s->kda, NULL, err);
	for (int i = 0; r == 0 && i < s->n_mark; i++)
		r = pass_block(&p, s->m, NULL, s->mark[i].state->kda, err);
	if (r == 0)
		r = pass_digest(&p, err);
	pass_end(&p);
	return r;
}

/* --- load ------------------------------------------------------------------------------------------------------------- */

static int check_head(const struct head *h, const struct k_model *m, const char *name, struct k_err *err)
{
	uint8_t digest[32];
	char how[64];
	k_model_digest(m, digest);
	computed_how(m, how);
	if (memcmp(h->magic, MAGIC, sizeof(h->magic)))
		return k_err_set(err, K_EFORMAT, "'%s' is not a saved sequence", name);
	if (h->version != VERSION)
		return k_err_set(err, K_EUNSUP, "'%s' is a saved sequence of version %u, this program knows %d", name, h->version, VERSION);
	if (memcmp(h->model, digest, sizeof(digest)))
		return k_err_set(err, K_EUNSUP, "'%s' was saved from another model", name);
	if (memcmp(h->how, how, sizeof(how)))
		return k_err_set(err, K_EUNSUP, "'%s' was computed in another way: '%.63s', this is '%s'", name, h->how, how);
	if (h->len < 0 || h->n_mark > K_MARKS || (h->n_mark && !m->n_kda))
		return k_err_set(err, K_EFORMAT, "'%s' has %ld tokens and %u marks, which cannot be", name, (long)h->len, h->n_mark);
	return 0;
}

static int load_marks(struct pass *p, const struct head *h, int64_t *marks, struct k_err *err)
{
	int64_t last = 0;
	for (uint32_t i = 0; i < h->n_mark; i++) {
		int r = get(p, &marks[i], sizeof(marks[i]), err);
		if (r < 0)
			return r;
		if (marks[i] <= last || marks[i] > h->len)
			return k_err_set(err, K_EFORMAT, "'%s' has a mark at %ld of %ld tokens", p->name, (long)marks[i], (long)h->len);
		last = marks[i];
	}
	return 0;
}

/* Everything up to the first digest. */
static int load_head(struct pass *p, struct k_seq *s, struct head *h, int64_t *marks, struct k_err *err)
{
	int r = get(p, h, sizeof(*h), err);
	if (r == 0)
		r = check_head(h, s->m, p->name, err);
	if (r == 0)
		r = load_marks(p, h, marks, err);
	for (int64_t t = 0; r == 0 && t < h->len; t += K_PAGE) {
		int64_t n = K_MIN(K_PAGE, h->len - t);
		r = k_seq_lists(s, t + n, err);
		if (r == 0)
			r = get(p, s->ids + t, (size_t)n * sizeof(*s->ids), err);
		for (int64_t i = t; r == 0 && i < t + n; i++)
			if (s->ids[i] < 0 || s->ids[i] >= s->m->hp.n_vocab)
				r = k_err_set(err, K_EFORMAT, "'%s' has token id %d, the model has %ld", p->name, s->ids[i],
					(long)s->m->hp.n_vocab);
	}
	return r < 0 ? r : pass_digest(p, err);
}

static int load_mark(struct pass *p, struct k_seq *s, int64_t len, struct k_err *err)
{
	struct k_state *state;
	int r = k_state_new(&state, s->m, err);
	if (r == 0)
		r = pass_block(p, s->m, NULL, state->kda, err);
	if (r == 0)
		k_seq_add_mark(s, len, state);
	k_state_drop(state);
	return r;
}

static int load_body(struct pass *p, struct k_seq *s, const struct head *h, const int64_t *marks, struct k_err *err)
{
	int r = 0;
	for (int64_t t = 0; r == 0 && t < h->len; t += K_PAGE) {
		int64_t n = K_MIN(K_PAGE, h->len - t);
		r = k_seq_room(s, t + n, err);
		if (r == 0)
			r = pass_page(p, s, t, n, err);
		s->len = t + n;
	}
	if (r == 0 && s->m->n_kda)
		r = pass_block(p, s->m, s->kda, NULL, err);
	for (uint32_t i = 0; r == 0 && i < h->n_mark; i++)
		r = load_mark(p, s, marks[i], err);
	return r < 0 ? r : pass_digest(p, err);
}

static int load(struct k_seq **out, struct k_model *m, struct k_source *src, uint64_t *tag, bool all, int64_t *marks, int *n_marks,
	struct k_err *err)
{
	struct pass p = { .from = src, .name = k_source_name(src) };
	struct k_seq *s = NULL;
	struct head h = { .tag = 0 };
	int r = pass_begin(&p, m, err);
	if (r == 0)
		r = k_seq_new(&s, m, err);
	if (r == 0)
		r = load_head(&p, s, &h, marks, err);
	if (r == 0 && all)
		r = load_body(&p, s, &h, marks, err);
	pass_end(&p);
	if (r < 0) {
		k_seq_free(s);
		s = NULL;
	} else {
		s->len = h.len;
		*tag = h.tag;
		*n_marks = (int)h.n_mark;
	}
	*out = s;
	return r;
}

/* Nothing may stand behind the last digest, for nobody has checked it. */
static int at_end(struct k_source *src, struct k_err *err)
{
	const void *p;
	size_t have;
	int r = k_source_peek(src, &p, 1, &have, err);
	return r < 0 || !have ? r : k_err_set(err, K_EFORMAT, "'%s' goes on behind its end", k_source_name(src));
}

int k_seq_load(struct k_seq **out, struct k_model *m, struct k_source *src, uint64_t *tag, struct k_err *err)
{
	int64_t marks[K_MARKS];
	int n, r = load(out, m, src, tag, true, marks, &n, err);
	if (r == 0)
		r = at_end(src, err);
	if (r < 0) {
		k_seq_free(*out);
		*out = NULL;
	}
	return r;
}

int k_seq_peek(struct k_seq_head *out, struct k_model *m, struct k_source *src, struct k_err *err)
{
	struct k_seq *s;
	int r = load(&s, m, src, &out->tag, false, out->mark, &out->n_mark, err);
	if (r < 0)
		return r;
	out->n = s->len;
	out->ids = s->ids;
	s->ids = NULL;
	s->len = 0;
	k_seq_free(s);
	return 0;
}
