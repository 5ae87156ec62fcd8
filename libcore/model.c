/* model.c: opening a model and stepping it, see model.h and the picture in model_int.h.
 *
 *   ids -> embed -> x;  each layer: x += mixer(norm(x)); x += ffn(norm(x));  wanted rows: norm(x) -> out -> head -> logits
 *
 * With attention residuals (K3, arXiv:2607.24653) what is normed is a blend of x and of the blocks before it. Every res_block layers, from the first one on, x
 * becomes a block once it is blended, and begins anew with what the mixer gives.
 *
 * Of the last layer the others get what its mixer keeps of them, and no more. A probe sees all rows in all layers.
 *
 * With several devices x is handed from one to the next behind its last layer; norm and head are the last one's.
 *
 * A step first makes room for everything (ids, pages, rope table, outputs); from then on nothing can fail. */
#include "libcore/base.h"
#include <stdio.h>
#include "libcore/hash.h"
#include "libcore/kmf.h"
#include "libcore/fault.h"
#include "libcore/model_int.h"
#include "libcore/rope.h"

#define X(name) extern const struct k_block k_block_##name;
#include "blocks.list"
#undef X

static const struct k_block *const blocks[] = {
#define X(name) &k_block_##name,
#include "blocks.list"
#undef X
};

const struct k_block *k_block_find(const char *name)
{
	for (size_t i = 0; i < K_LEN(blocks); i++)
		if (!strcmp(blocks[i]->name, name))
			return blocks[i];
	return NULL;
}

struct k_kept k_blocks_keep(const struct k_arch *arch, const struct k_hp *hp, bool deferred, int64_t layer, int64_t n)
{
	struct k_kept kept = { 0 };
	for (int64_t i = layer; i < layer + n; i++) {
		struct k_plan plan;
		arch->plan(hp, i, &plan);
		const struct k_block *b = k_block_find(plan.mixer);
		struct k_kept one = b && b->keeps ? b->keeps(hp, deferred) : (struct k_kept){ 0 };
		kept.page += one.page;
		kept.groups += k_kv_groups(one.page);
		kept.state += one.state;
		kept.conv += one.conv;
		kept.moved += one.moved;
	}
	return kept;
}

float *k_scratch_rows(struct k_scratch *s, int64_t width)
{
	float *p = s->base + s->used;
	s->used += (int64_t)k_align_up((uint64_t)(s->rows * width), 16);
	K_ASSERT(s->used <= s->size);
	return p;
}

/* --- open ----------------------------------------------------------------------------------------------------------- */

/* Where Moonshot's remote code differs from every serving engine: router weights with the selection bias (a view that is added
 * to in place; Kimi-Linear only), a fixed epsilon in MLA's inner norms, no division of the weight of a single expert. */
static void apply_profile(struct k_model *m)
{
	if (!m->opts.hf_remote)
		return;
	m->hp.eps_inner = 1e-6;
	m->hp.router_biased = !strcmp(m->arch->name, "kimi_linear");
	if (m->hp.n_expert_used == 1)
		m->hp.expert_norm = false;
}

int k_model_config(struct k_model *m, struct k_err *err)
{
	struct k_ckpt *ck = m->ck;
	const struct k_json *text;
	const char *prefix;
	char where[256];
	if (!ck->arch || !ck->config)
		return k_err_set(err, K_EUNSUP, "'%s' is not a model that can be computed: %s", ck->path,
			ck->config ? "its architecture is not known here" : "it has no config.json");
	snprintf(where, sizeof(where), "%.200s: config.json", ck->path);
	struct k_json *config = NULL;
	int r = k_json_parse(&config, ck->config, ck->config_len, K_JSON_STRICT, where, err);
	if (r == 0)
		r = k_arch_find(config, where, &m->arch, &text, &prefix, err);
	if (r == 0) {
		snprintf(m->prefix, sizeof(m->prefix), "%s", prefix);
		r = k_arch_parse(m->arch, config, text, where, &m->hp, err);
	}
	k_json_free(config);
	if (r == 0)
		apply_profile(m);
	return r;
}

static int open_tokenizer(struct k_model *m, struct k_err *err)
{
	int r = k_ckpt_files(m->ck, &m->files, err);
	if (r < 0)
		return r;
	r = k_tokenizer_open(&m->tok, m->files, m->hp.n_vocab, &m->tok_why);
	if (r == K_ENOMEM) {
		*err = m->tok_why;
		return r;
	}
	if (r < 0)
		m->tok = NULL;
	return 0;
}

/* The vectors of a blend; none where the model has ordinary residuals. */
static int open_res(struct k_model *m, const struct k_layer_weights *w, const char *norm, const char *query, struct k_res *out)
{
	if (!m->hp.res_block)
		return 0;
	out->norm = k_layer_vector(w, norm);
	out->query = out->norm ? k_layer_vector(w, query) : NULL;
	return out->query ? 0 : w->err->code;
}

/* norm, res_norm, res_query: slots. */
static int open_half(struct k_model *m, int64_t i, struct k_half *h, const char *name, const char *norm, const char *res_norm, const char *res_query, struct k_err *err)
{
	struct k_layer_weights w = { m, i, err };
	h->block = k_block_find(name);
	if (!h->block)
		return k_err_set(err, K_EBUG, "%s plans a block '%s' that is not there", m->arch->name, name);
	h->norm = k_layer_vector(&w, norm);
	if (!h->norm)
		return err->code ? err->code : k_err_set(err, K_ENOENT, "'%s': layer %ld has no %s", m->ck->path, (long)i, norm);
	int r = open_res(m, &w, res_norm, res_query, &h->res);
	return r < 0 ? r : h->block->open(&h->self, &m->hp, i, &w, &m->arena, m->part[k_part_of_layer(m, i)].dev, err);
}

static int open_layers(struct k_model *m, struct k_err *err)
{
	m->layers = k_arena_array(&m->arena, (size_t)m->hp.n_layer, sizeof(*m->layers));
	if (!m->layers)
		return k_err_nomem(err, (size_t)m->hp.n_layer * sizeof(*m->layers), "layers");
	for (int64_t i = 0; i < m->hp.n_layer; i++) {
		struct k_layer *l = &m->layers[i];
		struct k_plan plan;
		m->arch->plan(&m->hp, i, &plan);
		int r = open_half(m, i, &l->mixer, plan.mixer, "attn_norm", "res.attn_norm", "res.attn_query", err);
		if (r == 0)
			r = open_half(m, i, &l->ffn, plan.ffn, "ffn_norm", "res.ffn_norm", "res.ffn_query", err);
		if (r < 0)
			return r;
		l->part = k_part_of_layer(m, i);
		struct k_part *p = &m->part[l->part];
		struct k_kept kept = k_blocks_keep(m->arch, &m->hp, p->dev->kda_deferred, i, 1);
		l->page_width = kept.page;
		l->page_bytes = K_PAGE * k_kv_bytes(m->kv, kept.page, kept.groups);
		l->n_state = kept.state;
		l->n_conv = kept.conv;
		m->n_moved += kept.moved;
		if (i == p->layer) {
			p->page_at = m->page_bytes;
			p->kda_at = m->n_kda;
		}
		l->page_at = m->page_bytes;
		m->page_bytes += l->page_bytes;
		l->state_at = m->n_kda;
		m->n_kda += (int64_t)k_align_up((uint64_t)(l->n_state + l->n_conv), 16);
		p->page_bytes = m->page_bytes - p->page_at;
		p->n_kda = m->n_kda - p->kda_at;
	}
	return 0;
}

static int open_ends(struct k_model *m, struct k_err *err)
{
	struct k_layer_weights w = { m, -1, err };
	const struct k_tensor *embed = k_layer_weight(&w, "embed");
	const struct k_tensor *head = m->hp.tied ? embed : k_layer_weight(&w, "head");
	m->norm = embed && head ? k_layer_vector(&w, "norm") : NULL;
	if (!m->norm)
		return err->code ? err->code : k_err_set(err, K_ENOENT, "'%s' has no embedding, output norm or head", m->ck->path);
	m->embed = *embed;
	m->head = *head;
	int r = open_res(m, &w, "res.norm", "res.query", &m->res);
	if (r < 0)
		return r;
	struct k_token_part part[16];
	for (int i = k_bind_token_parts(m, part, (int)K_LEN(part)); i > 0; i--)
		m->token_bytes += part[i - 1].bytes;
	return 0;
}

/* The rotary table of a device: rows of n positions, in the place of what was there. */
static int put_rope(struct k_model *m, struct k_part *p, const float *host, size_t bytes, struct k_err *err)
{
	struct k_device *d = p->dev;
	void *dev;
	int r = k_model_take(m, d, bytes, &dev, "the rotary table", err);
	if (r == 0)
		r = d->put(d, dev, host, bytes, err);
	if (r < 0) {
		k_model_give(m, d, bytes, dev);
		return r;
	}
	k_model_give(m, d, p->rope_bytes, p->rope);
	p->rope = dev;
	p->rope_bytes = bytes;
	return 0;
}

/* Positions below n get their row of the table, and the devices room to attend to them. */
static int room_positions(struct k_model *m, int64_t n, struct k_err *err)
{
	int r = 0;
	if (n > m->n_reserved) {
		int64_t want = K_MAX(n, 2 * m->n_reserved);
		for (int i = 0; i < m->n_part && r == 0; i++)
			r = m->part[i].dev->reserve(m->part[i].dev, &m->hp, K_ROWS, want, err);
		if (r < 0)
			return r;
		m->n_reserved = want;
	}
	if (!m->inv || n <= m->n_rope)
		return 0;
	int64_t want = K_MAX(K_MAX(n, 2 * m->n_rope), 1024);
	size_t bytes = (size_t)want * (size_t)m->hp.rope.dim * sizeof(float);
	float *host = k_alloc(bytes);
	if (!host)
		return k_err_nomem(err, bytes, "the rotary table");
	k_rope_fill(&m->hp.rope, m->inv, 0, want, host);
	for (int i = 0; i < m->n_part && r == 0; i++)
		r = put_rope(m, &m->part[i], host, bytes, err);
	k_free(host);
	if (r == 0)
		m->n_rope = want;
	return r;
}

static int open_part(struct k_model *m, struct k_part *p, int64_t widest, struct k_err *err)
{
	size_t n = (size_t)(m->hp.n_embd * K_ROWS);
	p->scratch.size = widest * K_ROWS + 64 * 16;
	p->scratch.base = k_model_alloc(m, p->dev, (size_t)p->scratch.size, "activations", err);
	p->x = p->scratch.base ? k_model_alloc(m, p->dev, n, "activations", err) : NULL;
	p->h = p->x ? k_model_alloc(m, p->dev, n, "activations", err) : NULL;
	p->y = p->h ? k_model_alloc(m, p->dev, n, "activations", err) : NULL;
	if (!p->y)
		return err->code;
	int64_t blocks = k_hp_res_blocks(&m->hp);
	p->block = k_arena_array(&m->arena, (size_t)blocks, sizeof(*p->block));
	if (!p->block)
		return k_err_nomem(err, (size_t)blocks * sizeof(*p->block), "activations");
	for (int64_t i = 0; i < blocks; i++)
		if (!(p->block[i] = k_model_alloc(m, p->dev, n, "activations", err)))
			return err->code;
	return 0;
}

static int open_scratch(struct k_model *m, struct k_err *err)
{
	int64_t D = m->hp.n_embd, widest = 0;
	int r = 0;
	for (int64_t i = 0; i < m->hp.n_layer; i++) {
		widest = K_MAX(widest, m->layers[i].mixer.block->scratch(&m->hp));
		widest = K_MAX(widest, m->layers[i].ffn.block->scratch(&m->hp));
	}
	for (int i = 0; i < m->n_part && r == 0; i++)
		r = open_part(m, &m->part[i], widest, err);
	m->logits = r == 0 ? k_model_alloc(m, k_last_part(m)->dev, (size_t)(m->hp.n_vocab * K_HEAD_ROWS), "logits", err) : NULL;
	if (!m->logits)
		return err->code;
	if (k_last_part(m)->dev->sample && !(m->chosen = k_model_alloc(m, k_last_part(m)->dev, K_HEAD_ROWS, "tokens", err)))
		return err->code;
	m->seg = k_arena_array(&m->arena, K_ROWS, sizeof(*m->seg));
	m->seg_run = k_arena_array(&m->arena, K_ROWS, sizeof(*m->seg_run));
	m->picked = k_arena_array(&m->arena, K_ROWS, sizeof(*m->picked));
	m->block = k_arena_array(&m->arena, (size_t)k_hp_res_blocks(&m->hp), sizeof(*m->block));
	m->probe_rows = k_model_alloc(m, NULL, (size_t)(K_ROWS * D), "activations", err);
	if (!m->probe_rows)
		return err->code;
	if (!m->seg || !m->seg_run || !m->picked || !m->block)
		return k_err_nomem(err, K_ROWS * sizeof(*m->seg), "activations");
	if (m->hp.rope.kind != K_ROPE_NONE) {
		m->inv = k_arena_array(&m->arena, (size_t)(m->hp.rope.dim / 2 + 1), sizeof(double));
		if (!m->inv)
			return k_err_nomem(err, (size_t)m->hp.rope.dim * 4, "the rotary table");
		k_rope_inv(&m->hp.rope, m->inv);
	}
	return room_positions(m, 1024, err);
}

/* Can the device keep what it is asked to, of a model of this shape? */
static int check_kv(const struct k_model *m, struct k_err *err)
{
	const struct k_hp *hp = &m->hp;
	const struct k_device *d = m->dev;
	if ((m->kv == K_KV_BF16 && !d->bf16_attention) || (m->kv == K_KV_INT8 && !d->int8_pages))
		return k_err_set(err, K_EUNSUP, "keys and values cannot be kept in %s on device '%s': wanted f32%s", k_kv_names[m->kv], d->backend->name,
			d->bf16_attention ? " or bf16" : "");
	const struct { const char *what; int64_t n; } kept[] = { { "heads", hp->head_dim }, { "latents", hp->kv_lora }, { "rotated keys", hp->d_rope } };
	for (size_t i = 0; i < K_LEN(kept) && m->kv == K_KV_INT8; i++)
		if (kept[i].n % 4)
			return k_err_set(err, K_EUNSUP, "'%s': %s of %lld values, wanted a multiple of 4 for keys and values in int8", m->ck->path, kept[i].what,
				(long long)kept[i].n);
	return 0;
}

int k_model_open(struct k_model **out, struct k_ckpt *ck, struct k_device *dev, const struct k_model_opts *o,
	const struct k_ctx *ctx, struct k_err *err)
{
	*out = NULL;
	struct k_model *m = k_calloc(1, sizeof(*m));
	if (!m) {
		k_ckpt_close(ck);
		return k_err_nomem(err, sizeof(*m), "the model");
	}
	m->ck = ck;
	m->dev = dev;
	for (; dev && m->n_part < K_PARTS; dev = dev->next)
		m->part[m->n_part++].dev = dev;
	m->ctx = ctx;
	m->kv = k_kv_of(ctx, m->dev->bf16_attention);
	if (o)
		m->opts = *o;
	err->code = 0;
	k_arena_init(&m->arena);
	k_map_init(&m->names);
	int r = k_model_config(m, err);
	if (r == 0)
		r = check_kv(m, err);
	if (r == 0)
		r = open_tokenizer(m, err);
	if (r == 0)
		r = k_bind_check(m, err);
	if (r == 0)
		r = k_place(m, err);
	if (r == 0)
		r = k_bind_load(m, err);
	if (r == 0)
		r = open_ends(m, err);
	if (r == 0)
		r = open_layers(m, err);
	if (r == 0)
		r = open_scratch(m, err);
	if (r < 0) {
		k_model_close(m);
		return r;
	}
	*out = m;
	return 0;
}

static size_t out_bytes(const struct k_model *m) { return (size_t)(m->cap_out * m->hp.n_embd) * sizeof(float); }

void k_model_close(struct k_model *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n_own; i++)
		k_model_give(m, m->own[i].dev, m->own[i].n, m->own[i].p);
	for (int i = 0; i < m->n_part; i++)
		k_model_give(m, m->part[i].dev, m->part[i].rope_bytes, m->part[i].rope);
	if (m->out)
		k_model_give(m, k_last_part(m)->dev, out_bytes(m), m->out);
	k_free(m->own);
	k_free(m->data);
	k_free(m->used);
	k_free(m->host);
	k_free(m->layer_of);
	k_free(m->part_of);
	k_map_fini(&m->names);
	k_arena_fini(&m->arena);
	k_tokenizer_free(m->tok);
	k_ckpt_close(m->ck);
	k_free(m);
}

/* --- what it is --------------------------------------------------------------------------------------------------- */

const struct k_hp *k_model_hp(const struct k_model *m) { return &m->hp; }
const struct k_arch *k_model_arch(const struct k_model *m) { return m->arch; }
const struct k_files *k_model_files(const struct k_model *m) { return m->files; }
struct k_device *k_model_device(const struct k_model *m) { return m->dev; }
const char *k_model_kv(const struct k_model *m) { return k_kv_names[m->kv]; }
uint64_t k_model_bytes_per_token(const struct k_model *m) { return m->token_bytes; }
int k_model_token_parts(const struct k_model *m, struct k_token_part *out, int max) { return k_bind_token_parts(m, out, max); }

const struct k_tokenizer *k_model_tokenizer(const struct k_model *m, const char **why)
{
	if (why)
		*why = m->tok ? NULL : m->tok_why.msg;
	return m->tok;
}

void k_model_size(const struct k_model *m, uint64_t *weights, uint64_t *bytes)
{
	*weights = *bytes = 0;
	for (int i = 0; i < m->ck->n_entries; i++) {
		const struct k_entry *e = &m->ck->entries[i];
		int64_t n;
		if (!strcmp(e->role, "file") || !k_shape_count(e->ndim, e->shape, &n))
			continue;
		*weights += (uint64_t)n;
		*bytes += e->bytes;
	}
}

/* Where the source has no digests of its own: names, types, shapes, and a few values from the middle of each entry, which another
 * training of the same shape does not share. */
static void digest_table(const struct k_model *m, struct k_sha256 *h)
{
	const struct k_ckpt *ck = m->ck;
	char some[256];
	k_sha256_add(h, ck->config, ck->config_len);
	for (int i = 0; i < ck->n_entries; i++) {
		const struct k_entry *e = &ck->entries[i];
		k_sha256_add(h, e->name, strlen(e->name) + 1);
		k_sha256_add(h, e->type->name, strlen(e->type->name) + 1);
		k_sha256_add(h, e->shape, (size_t)e->ndim * sizeof(e->shape[0]));
		uint64_t n = K_MIN(e->bytes, sizeof(some));
		struct k_err err;
		const char *at = m->data[i] ? (const char *)m->data[i] + (e->bytes - n) / 2 : NULL;
		if (at && m->host[i])
			memcpy(some, at, (size_t)n);
		struct k_device *d = m->part[m->part_of[i]].dev;
		if (at && (m->host[i] || d->get(d, some, at, (size_t)n, &err) == 0))
			k_sha256_add(h, some, (size_t)n);
	}
}

void k_model_digest(const struct k_model *m, uint8_t out[32])
{
	struct k_err err = { 0 };
	struct k_sha256 *h;
	memset(out, 0, 32);
	if (k_kmf_digests(m->ck) && k_kmf_identity(m->ck, out, &err) == 0)
		return;
	if (k_sha256_new(&h, &err) < 0)
		return;
	digest_table(m, h);
	k_sha256_end(h, out);
	k_sha256_free(h);
}

/* --- step ----------------------------------------------------------------------------------------------------------- */

static int room_out(struct k_model *m, int64_t rows, struct k_err *err)
{
	struct k_device *d = k_last_part(m)->dev;
	size_t bytes;
	void *p;
	if (rows <= m->cap_out)
		return 0;
	int64_t cap = K_MAX(rows, K_MIN(2 * m->cap_out, m->cap_out + K_ROWS));
	if (!k_mul_size((size_t)cap, (size_t)m->hp.n_embd * sizeof(float), &bytes))
		return k_err_nomem(err, SIZE_MAX, "output rows");
	int r = k_model_take(m, d, bytes, &p, "output rows", err);
	if (r < 0)
		return r;
	k_model_give(m, d, out_bytes(m), m->out);
	m->out = p;
	m->cap_out = cap;
	return 0;
}

static int check_runs(struct k_model *m, const struct k_run *runs, int n_runs, struct k_err *err)
{
	int64_t outs = 0, longest = 0;
	for (int i = 0; i < n_runs; i++) {
		const struct k_run *r = &runs[i];
		if (r->n < 1 || r->n_out < 0 || r->n_out > r->n || r->seq->m != m)
			return k_err_set(err, K_EBUG, "a run of %ld tokens with %ld outputs", (long)r->n, (long)r->n_out);
		for (int64_t t = 0; t < r->n; t++)
			if (r->ids[t] < 0 || r->ids[t] >= m->hp.n_vocab)
				return k_err_set(err, K_EUSAGE, "token id %d is out of range, '%s' has %ld", r->ids[t], m->ck->path,
					(long)m->hp.n_vocab);
		outs += r->n_out;
		longest = K_MAX(longest, r->seq->len + r->n);
	}
	for (int i = 0; i < n_runs; i++) {
		int e = k_seq_room(runs[i].seq, runs[i].seq->len + runs[i].n, err);
		if (e < 0)
			return e;
	}
	int e = room_out(m, outs, err);
	return e < 0 ? e : room_positions(m, longest, err);
}

/* A step's rows on a device at work: their residuals, and room for what is normed and for what a block gives. Of attention residuals the blocks that are
 * there, behind which memory follows for those to come. */
struct rows { float *x, *h, *y, **block; int64_t n_block; const struct k_seg *seg; int64_t n_seg, n; };

static struct rows rows_of(const struct k_model *m, const struct k_part *p, int64_t n_seg, int64_t n)
{
	memcpy(m->block, p->block, (size_t)k_hp_res_blocks(&m->hp) * sizeof(*m->block));
	return (struct rows){ .x = p->x, .h = p->h, .y = p->y, .block = m->block, .seg = m->seg, .n_seg = n_seg, .n = n };
}

static void probe_hidden(struct k_model *m, const struct k_part *p, const struct k_probe *probe, int layer, const struct rows *r)
{
	struct k_err err;
	if (!probe || !probe->hidden)
		return;
	if (p->dev->get(p->dev, m->probe_rows, r->x, (size_t)(r->n * m->hp.n_embd) * sizeof(float), &err) == 0)
		probe->hidden(probe->arg, layer, m->probe_rows, r->n);
}

static void norm(const struct k_model *m, struct k_device *d, float *y, const float *x, const float *w, int64_t n)
{
	int64_t D = m->hp.n_embd;
	d->ops.rmsnorm(d, &(struct k_op_rmsnorm){ .y = y, .x = x, .w = w, .n = n, .dim = D, .y_step = D, .x_step = D, .eps = m->hp.eps });
}

/* y = norm of rows, or of what they and their blocks are blended to in h. */
static void norm_rows(const struct k_model *m, struct k_device *d, float *y, const struct rows *r, const struct k_res *res, const float *w)
{
	const float *x = r->x;
	if (r->n_block) {
		d->ops.blend(d, &(struct k_op_blend){ .y = r->h, .block = (const float *const *)r->block, .n_block = r->n_block, .x = x, .w = res->norm, .query = res->query,
			.n = r->n, .dim = m->hp.n_embd, .eps = m->hp.eps });
		x = r->h;
	}
	norm(m, d, y, x, w, r->n);
}

/* In front of a block: its rows normed, its scratch empty. */
static void ready(struct k_model *m, struct k_part *p, const struct rows *r, const struct k_half *h)
{
	norm_rows(m, p->dev, r->h, r, &h->res, h->norm);
	p->scratch.used = 0;
	p->scratch.rows = r->n;
}

/* x becomes a block, what the mixer gave becomes x. */
static void push(struct rows *r)
{
	float *room = r->block[r->n_block];
	r->block[r->n_block++] = r->x;
	r->x = r->y;
	r->y = room;
}

static void run_half(struct k_model *m, struct k_part *p, struct rows *r, const struct k_half *h, int64_t layer, const struct k_probe *probe)
{
	struct k_device *d = p->dev;
	bool opens = m->hp.res_block && layer % m->hp.res_block == 0 && h == &m->layers[layer].mixer;
	ready(m, p, r, h);
	h->block->step(h->self, d, &m->hp, r->y, r->h, r->seg, r->n_seg, r->n, p->rope, &p->scratch, probe, (int)layer);
	if (opens)
		push(r);
	else
		d->ops.add(d, &(struct k_op_add){ .y = r->x, .x = r->y, .n = r->n * m->hp.n_embd });
}

/* Rows ids of *v go to *room, and both change places. */
static void gather(const struct k_model *m, const struct k_part *p, float **v, float **room, const int32_t *ids, int64_t n)
{
	struct k_tensor t = { .name = "rows", .type = k_qtype_find("f32", NULL), .ndim = 2, .shape = { K_ROWS, m->hp.n_embd }, .data = *v };
	float *from = *v;
	p->dev->ops.embed(p->dev, &(struct k_op_embed){ .y = *room, .w = &t, .ids = ids, .n = n });
	*v = *room;
	*room = from;
}

/* The rows that are wanted of all. */
static struct rows pick(struct k_model *m, struct k_part *p, const struct rows *all)
{
	struct rows r = *all;
	int32_t ids[K_ROWS];
	r.seg = m->picked;
	r.n = r.n_seg = 0;
	for (int64_t i = 0; i < all->n_seg; i++) {
		const struct k_seg *s = &m->seg[i];
		int64_t n = m->seg_run[i].n_out, first = s->n - n;
		if (n)
			m->picked[r.n_seg++] = (struct k_seg){ .row = r.n, .n = n, .pos = s->pos + first, .state = s->state };
		for (int64_t k = 0; k < n; k++)
			ids[r.n++] = (int32_t)(s->row + first + k);
	}
	if (r.n)
		gather(m, p, &r.x, &r.y, ids, r.n);
	for (int64_t b = 0; r.n && b < r.n_block; b++)
		gather(m, p, &r.block[b], &r.y, ids, r.n);
	return r;
}

/* The last layer, of whose rows not all are wanted; returns those that are. They are appended twice, to the same bits. */
static struct rows last_layer(struct k_model *m, struct k_part *p, struct rows *all)
{
	int64_t i = m->hp.n_layer - 1;
	const struct k_half *mixer = &m->layers[i].mixer;
	if (mixer->block->append) {
		ready(m, p, all, mixer);
		mixer->block->append(mixer->self, p->dev, &m->hp, all->h, all->seg, all->n_seg, all->n, p->rope, &p->scratch);
	} else {
		run_half(m, p, all, mixer, i, NULL);
	}
	struct rows r = pick(m, p, all);
	if (r.n && mixer->block->append)
		run_half(m, p, &r, mixer, i, NULL);
	if (r.n)
		run_half(m, p, &r, &m->layers[i].ffn, i, NULL);
	return r;
}

static void begin(const struct k_part *p, bool decode)
{
	if (p->dev->begin)
		p->dev->begin(p->dev, decode);
}

static void end(const struct k_part *p)
{
	if (p->dev->end)
		p->dev->end(p->dev);
}

/* The work of `from` is under way, and `to` goes on with its rows. */
static struct rows hand_over(const struct k_model *m, const struct k_part *from, const struct k_part *to, const struct rows *r, bool decode)
{
	size_t bytes = (size_t)(r->n * m->hp.n_embd) * sizeof(float);
	end(from);
	to->dev->hand(to->dev, to->x, from->dev, r->x, bytes);
	for (int64_t b = 0; b < r->n_block; b++)
		to->dev->hand(to->dev, to->block[b], from->dev, r->block[b], bytes);
	begin(to, decode);
	struct rows next = rows_of(m, to, r->n_seg, r->n);
	next.n_block = r->n_block;
	return next;
}

/* Runs n rows (the segments are filled in) through all layers, on device after device, and norms those n_out that are wanted to out; the last device's work is
 * not ended yet. */
static void run_chunk(struct k_model *m, const int32_t *ids, int64_t n, int64_t n_seg, float *out, int64_t n_out, const struct k_probe *probe)
{
	/* An embedding that is the head too lies where the head does. */
	struct k_part *p = m->hp.tied ? k_last_part(m) : &m->part[0];
	bool decode = n == n_seg;
	struct rows r = rows_of(m, p, n_seg, n);
	begin(p, decode);
	p->dev->ops.embed(p->dev, &(struct k_op_embed){ .y = r.x, .w = &m->embed, .ids = ids, .n = n });
	probe_hidden(m, p, probe, -1, &r);
	for (int64_t i = 0; i < m->hp.n_layer; i++) {
		struct k_layer *l = &m->layers[i];
		if (p != &m->part[l->part])
			r = hand_over(m, p, &m->part[l->part], &r, decode);
		p = &m->part[l->part];
		for (int64_t s = 0; s < n_seg; s++)
			m->seg[s].state = &m->seg_run[s].run->seq->layer[i];
		if (i == m->hp.n_layer - 1 && n_out < n && !probe) {
			r = last_layer(m, p, &r);
			break;
		}
		run_half(m, p, &r, &l->mixer, i, probe);
		run_half(m, p, &r, &l->ffn, i, probe);
		probe_hidden(m, p, probe, (int)i, &r);
	}
	if (n_out < r.n)
		r = pick(m, p, &r);
	if (n_out)
		norm_rows(m, p->dev, out, &r, &m->res, m->norm);
}

int k_model_step(struct k_model *m, const struct k_run *runs, int n_runs, const float **hidden, const struct k_probe *probe,
	struct k_err *err)
{
	int r = check_runs(m, runs, n_runs, err);
	if (r == 0 && k_fault_device())
		r = k_err_set(err, K_EDEVICE, "the device failed");
	if (r < 0)
		return r;
	int64_t done = 0, outs = 0;             /* tokens of runs[i] that are computed; outputs that are */
	int32_t ids[K_ROWS];
	for (int i = 0; i < n_runs; ) {
		int64_t n = 0, n_seg = 0, n_out = 0;
		while (i < n_runs && n < K_ROWS) {
			const struct k_run *run = &runs[i];
			int64_t take = K_MIN(run->n - done, K_ROWS - n), first = K_MAX(run->n - run->n_out - done, 0);
			m->seg[n_seg] = (struct k_seg){ .row = n, .n = take, .pos = run->seq->len };
			m->seg_run[n_seg] = (struct k_seg_run){ run, K_MAX(take - first, 0) };
			n_out += m->seg_run[n_seg++].n_out;
			memcpy(ids + n, run->ids + done, (size_t)take * sizeof(*ids));
			n += take;
			done += take;
			if (done == run->n) {
				done = 0;
				i++;
			}
		}
		r = k_ctx_check(m->ctx, err);
		if (r < 0)
			return r;
		run_chunk(m, ids, n, n_seg, n_out ? m->out + outs * m->hp.n_embd : NULL, n_out, probe);
		outs += n_out;
		for (int64_t s = 0; s < n_seg; s++) {
			struct k_seq *seq = m->seg_run[s].run->seq;
			memcpy(seq->ids + seq->len, ids + m->seg[s].row, (size_t)m->seg[s].n * sizeof(*ids));
			seq->len += m->seg[s].n;
		}
		end(k_last_part(m));
	}
	if (hidden)
		*hidden = m->out;
	return 0;
}

/* Tokens of n rows of m->logits; -1 where there is no draw, or the device does not know. */
static int choose_rows(struct k_model *m, int64_t n, const struct k_draw *const *draw, int32_t *ids, struct k_err *err)
{
	struct k_device *d = k_last_part(m)->dev;
	struct k_draw all[K_HEAD_ROWS];
	for (int64_t i = 0; i < n; i++)
		all[i] = draw[i] ? *draw[i] : (struct k_draw){ .temperature = 0 };
	d->sample(d, &(struct k_op_sample){ .ids = m->chosen, .logits = m->logits, .draw = all, .n = n, .vocab = m->hp.n_vocab });
	end(k_last_part(m));
	int r = d->get(d, ids, m->chosen, (size_t)n * sizeof(*ids), err);
	for (int64_t i = 0; i < n; i++)
		if (!draw[i])
			ids[i] = -1;
	return r;
}

/* Rows of m->logits to the host, but for those that have a token. */
static int get_logits(struct k_model *m, int64_t n, const int32_t *ids, float *logits, struct k_err *err)
{
	struct k_device *d = k_last_part(m)->dev;
	int64_t V = m->hp.n_vocab;
	int r = 0;
	for (int64_t i = 0, to; i < n && r == 0; i = to) {
		for (; i < n && ids && ids[i] >= 0; )
			i++;
		for (to = i; to < n && !(ids && ids[to] >= 0); )
			to++;
		if (i < to)
			r = d->get(d, logits + i * V, m->logits + i * V, (size_t)((to - i) * V) * sizeof(float), err);
	}
	return r;
}

int k_model_choose(struct k_model *m, const float *hidden, int64_t n, const struct k_draw *const *draw, int32_t *ids, float *logits,
	struct k_err *err)
{
	struct k_device *d = k_last_part(m)->dev;
	int64_t D = m->hp.n_embd, V = m->hp.n_vocab;
	for (int64_t i = 0; i < n; i += K_HEAD_ROWS) {
		int64_t rows = K_MIN(n - i, K_HEAD_ROWS), drawn = 0;
		int r = 0;
		for (int64_t k = 0; draw && m->chosen && k < rows; k++)
			drawn += draw[i + k] != NULL;
		for (int64_t k = 0; ids && k < rows; k++)
			ids[i + k] = -1;
		if (drawn)
			begin(k_last_part(m), true);
		d->ops.gemm(d, &(struct k_op_gemm){ .y = m->logits, .x = hidden + i * D, .w = &m->head, .n = rows, .y_step = V,
			.x_step = D });
		if (drawn)
			r = choose_rows(m, rows, draw + i, ids + i, err);
		if (r == 0)
			r = get_logits(m, rows, ids ? ids + i : NULL, logits + i * V, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int k_model_logits(struct k_model *m, const float *hidden, int64_t n, float *logits, struct k_err *err)
{
	return k_model_choose(m, hidden, n, NULL, NULL, logits, err);
}
