/* bind.c: from the entries of a checkpoint to the slots of blocks, by the architecture's table of weights.
 *
 *   weight row "mla.kv_b", "model.layers.{i}.self_attn.kv_b_proj.weight"  + layer 3  ->  entry by name  ->  shape checked  ->  bytes
 *
 * k_bind_check looks at names and shapes only and marks what will be used; k_bind_load then brings the bytes: a mapped container is
 * used where it lies, everything else is read in the file's order (so that a pipe can be a model), and all of it for a device with a
 * memory of its own. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "libcore/model_int.h"
#include "libcore/opt.h"
#include "libcore/resident.h"

#define STAGE (4u << 20)

static bool row_applies(const struct k_model *m, const struct k_weight *w, int64_t layer)
{
	return w->per_layer == (layer >= 0) && (!w->when || w->when(&m->hp, layer));
}

static struct k_entry *row_entry(const struct k_model *m, const struct k_weight *w, int64_t layer)
{
	char name[512];
	k_arch_name(name, sizeof(name), w->name, m->prefix, layer, -1);
	return k_map_find(&m->names, name, strlen(name));
}

/* The entry of a slot, NULL when there is none; *row its line in the table. */
static struct k_entry *slot_entry(const struct k_model *m, const char *slot, int64_t layer, const struct k_weight **row)
{
	for (const struct k_weight *w = m->arch->weights; w->slot; w++) {
		if (strcmp(w->slot, slot) || !row_applies(m, w, layer))
			continue;
		struct k_entry *e = row_entry(m, w, layer);
		*row = w;
		if (e)
			return e;
	}
	return NULL;
}

static bool shape_is(const struct k_entry *e, int ndim, const int64_t *dims)
{
	return e->ndim == ndim && memcmp(e->shape, dims, (size_t)ndim * sizeof(*dims)) == 0;
}

/* alt holds further spellings, separated by '|'. */
static int check_shape(struct k_model *m, const struct k_weight *w, struct k_entry *e, struct k_err *err)
{
	int64_t dims[K_MAX_DIMS], want[K_MAX_DIMS], count;
	int ndim, want_ndim, r = k_arch_shape(m->arch, &m->hp, w->shape, &want_ndim, want, err);
	if (r < 0)
		return r;
	if (shape_is(e, want_ndim, want))
		return 0;
	if (w->pad_zero && k_shape_count(e->ndim, e->shape, &count) && count >= want[0]) {
		e->zeros_from = want[0];
		return 0;
	}
	char part[64];
	for (const char *p = w->alt; p && *p; ) {
		size_t n = strcspn(p, "|");
		if (n >= sizeof(part))
			k_bug("a long alt");
		memcpy(part, p, n);
		part[n] = 0;
		r = k_arch_shape(m->arch, &m->hp, part, &ndim, dims, err);
		if (r < 0)
			return r;
		if (shape_is(e, ndim, dims))
			return 0;
		p += n + (p[n] == '|');
	}
	char has[128], wants[128];
	return k_err_set(err, K_ESHAPE, "'%s': %s has shape %s, its config wants %s", m->ck->path, e->name,
		k_shape_format(has, e->ndim, e->shape), k_shape_format(wants, want_ndim, want));
}

static int check_row(struct k_model *m, const struct k_weight *w, int64_t layer, struct k_err *err)
{
	if (!row_applies(m, w, layer))
		return 0;
	const struct k_weight *row;
	struct k_entry *e = slot_entry(m, w->slot, layer, &row);
	if (!e) {
		char name[512];
		if (w->optional)
			return 0;
		k_arch_name(name, sizeof(name), w->name, m->prefix, layer, -1);
		return k_err_set(err, K_ENOENT, "'%s': %s is missing, %s wants it", m->ck->path, name, m->arch->name);
	}
	if (!e->type->dequant)
		return k_err_set(err, K_EUNSUP, "'%s': %s has type %s, which is not a number type that weights can have",
			m->ck->path, e->name, e->type->name);
	m->used[e - m->ck->entries] = true;
	m->layer_of[e - m->ck->entries] = layer;
	return check_shape(m, row, e, err);
}

int k_bind_check(struct k_model *m, struct k_err *err)
{
	int n = m->ck->n_entries, r;
	m->data = k_calloc((size_t)n + 1, sizeof(*m->data));
	m->used = k_calloc((size_t)n + 1, sizeof(*m->used));
	m->host = k_calloc((size_t)n + 1, sizeof(*m->host));
	m->layer_of = k_calloc((size_t)n + 1, sizeof(*m->layer_of));
	m->part_of = k_calloc((size_t)n + 1, sizeof(*m->part_of));
	if (!m->data || !m->used || !m->host || !m->layer_of || !m->part_of)
		return k_err_nomem(err, (size_t)n * 22, "the list of weights");
	if ((r = k_ckpt_names(m->ck, &m->names, err)) < 0)
		return r;
	for (const struct k_weight *w = m->arch->weights; w->slot; w++)
		for (int64_t layer = w->per_layer ? 0 : -1; layer < (w->per_layer ? m->hp.n_layer : 0); layer++)
			if ((r = check_row(m, w, layer, err)) < 0)
				return r;
	return 0;
}

int k_model_check(struct k_ckpt *ck, struct k_err *err)
{
	struct k_model *m = k_calloc(1, sizeof(*m));
	int r;
	if (!m)
		return k_err_nomem(err, sizeof(*m), "the model");
	m->ck = ck;
	k_arena_init(&m->arena);
	k_map_init(&m->names);
	r = k_model_config(m, err);
	if (r == 0)
		r = k_bind_check(m, err);
	m->ck = NULL;                   /* it stays the caller's */
	k_model_close(m);
	return r;
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

/* Reads entry i through the stage into dst (device memory; NULL: only read, as a pipe must). */
static int read_entry(struct k_model *m, int i, char *dst, char *stage, size_t stage_size, struct k_progress *p,
	struct k_err *err)
{
	const struct k_entry *e = &m->ck->entries[i];
	struct k_device *d = m->part[m->part_of[i]].dev;
	uint64_t slice = k_entry_slice_bytes(e);
	for (uint64_t off = 0; off < e->bytes; ) {
		size_t n = k_entry_block(e, stage_size);
		uint64_t left = slice ? slice - off % slice : e->bytes - off;
		if (n > left)
			n = (size_t)left;
		if (n > stage_size)
			return k_err_set(err, K_EUNSUP, "'%s': %s has rows of %zu bytes, more than can be read at once", m->ck->path,
				e->name, n);
		int r = k_ckpt_take(m->ck, i, off, stage, n, err);
		if (r < 0)
			return r;
		if (dst && m->host[i])
			memcpy(dst + off, stage, n);
		else if (dst && (r = d->put(d, dst + off, stage, n, err)) < 0)
			return r;
		off += n;
		k_progress_step(p, n);
		if ((r = k_ctx_check(m->ctx, err)) < 0)
			return r;
	}
	return 0;
}

/* The largest granule decides the size of the stage. */
static size_t stage_size(const struct k_ckpt *ck)
{
	size_t n = STAGE;
	for (int i = 0; i < ck->n_entries; i++)
		n = K_MAX(n, k_entry_block(&ck->entries[i], STAGE));
	return n;
}

/* dev NULL: of the host. */
static void *own(struct k_model *m, size_t bytes, struct k_device *dev, const char *what, struct k_err *err)
{
	if (m->n_own == m->cap_own) {
		size_t cap = m->cap_own ? 2 * m->cap_own : 64;
		struct k_own *p = k_realloc(m->own, cap * sizeof(*p));
		if (!p) {
			k_err_nomem(err, cap * sizeof(*p), what);
			return NULL;
		}
		m->own = p;
		m->cap_own = cap;
	}
	void *p;
	bytes = K_MAX(bytes, (size_t)1);
	if (k_model_take(m, dev, bytes, &p, what, err) < 0)
		return NULL;
	m->own[m->n_own++] = (struct k_own){ p, dev, bytes };
	return p;
}

void *k_model_alloc(struct k_model *m, struct k_device *dev, size_t n_floats, const char *what, struct k_err *err)
{
	size_t bytes;
	if (!k_mul_size(n_floats, sizeof(float), &bytes)) {
		k_err_nomem(err, SIZE_MAX, what);
		return NULL;
	}
	return own(m, bytes, dev, what, err);
}

/* What does not fit would end in the system's choice of a process to kill, without a word. A ceiling that was given is believed. */
static int is_there_room(const struct k_model *m, uint64_t need, struct k_err *err)
{
	char a[32], b[32];
	uint64_t room = m->ctx && m->ctx->max_memory ? UINT64_MAX : k_memory_free() + k_swap_free();
	if (need <= room)
		return k_model_fits(m, need, "weights", err);
	return k_err_set(err, K_ENOMEM, "'%s': weights of %s have to be read into memory, of which %s are available; as a KMF file (kconvert) they are used where they lie, "
		"and with --max-memory they are read all the same",
		m->ck->path, k_size_format(a, need), k_size_format(b, room));
}

int k_bind_load(struct k_model *m, struct k_err *err)
{
	struct k_ckpt *ck = m->ck;
	uint64_t total = 0, need = 0;
	bool all = ck->sequential || m->opts.verify;    /* read also what no slot wants: the trailer stands behind it */
	for (int i = 0; i < ck->n_entries; i++) {
		if (!strcmp(ck->entries[i].role, "file"))
			continue;
		const void *p = ck->sequential || (m->dev->far && !m->host[i]) || !m->used[i] ? NULL : k_ckpt_map(ck, i);
		m->data[i] = p;
		if (m->used[i] && !p && (m->host[i] || !m->part[m->part_of[i]].dev->far))
			need += ck->entries[i].bytes;
		if (all || (m->used[i] && !p))
			total += ck->entries[i].bytes;
	}
	if (!total && !all)
		return 0;
	int r = is_there_room(m, need, err);
	if (r < 0)
		return r;
	size_t n = stage_size(ck);
	char *stage = k_alloc(n);
	if (!stage)
		return k_err_nomem(err, n, "reading weights");
	struct k_progress p;
	k_progress_begin(&p, m->ctx ? m->ctx->log : NULL, "loading", total, "bytes");
	for (int i = 0; i < ck->n_entries && r == 0; i++) {
		const struct k_entry *e = &ck->entries[i];
		bool mine = m->used[i] && !m->data[i];
		if (!strcmp(e->role, "file") || (!mine && !all))
			continue;
		void *dst = mine ? own(m, e->bytes, m->host[i] ? NULL : m->part[m->part_of[i]].dev, e->name, err) : NULL;
		r = mine && !dst ? err->code : read_entry(m, i, dst, stage, n, &p, err);
		if (mine)
			m->data[i] = dst;
	}
	k_progress_end(&p);
	k_free(stage);
	return r == 0 && all ? k_ckpt_finish(ck, err) : r;
}

/* --- what blocks ask for ------------------------------------------------------------------------------------------ */

const struct k_tensor *k_layer_weight(const struct k_layer_weights *w, const char *slot)
{
	const struct k_weight *row;
	struct k_entry *e = slot_entry(w->m, slot, w->layer, &row);
	if (!e)
		return NULL;
	struct k_tensor *t = k_arena_alloc(&w->m->arena, sizeof(*t));
	if (!t) {
		k_err_nomem(w->err, sizeof(*t), e->name);
		return NULL;
	}
	*t = (struct k_tensor){ .name = e->name, .type = e->type, .ndim = e->ndim, .data = w->m->data[e - w->m->ck->entries],
		.host = w->m->host[e - w->m->ck->entries] };
	memcpy(t->shape, e->shape, sizeof(t->shape));
	return t;
}

/* All values of an entry in f32. */
static void expand(const struct k_entry *e, const void *data, float *dst)
{
	struct k_tensor t = { .name = e->name, .type = e->type, .ndim = e->ndim, .data = data };
	memcpy(t.shape, e->shape, sizeof(t.shape));
	int64_t rows = k_entry_rows(e), cols = k_entry_cols(e), slices = k_entry_slices(e);
	for (int64_t i = 0; i < slices; i++) {
		struct k_tensor s = k_tensor_slice(&t, i);
		k_tensor_rows(&s, 0, rows, dst + i * rows * cols);
	}
}

/* [rows][cols] -> [cols][rows] */
static void turn(float *to, const float *from, int64_t rows, int64_t cols)
{
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++)
			to[c * rows + r] = from[r * cols + c];
}

/* As k_ckpt_check_block, which not everybody calls. */
static int check_tail(const struct k_layer_weights *w, const struct k_entry *e, const float *v, int64_t count)
{
	for (int64_t i = e->zeros_from; i && i < count; i++)
		if (v[i] != 0)
			return k_err_set(w->err, K_EFORMAT, "'%s': %s: value %lld is %g, wanted 0 behind %lld values", w->m->ck->path, e->name, (long long)i, (double)v[i],
				(long long)e->zeros_from);
	return 0;
}

static const float *layer_f32(const struct k_layer_weights *w, const char *slot, bool turned)
{
	struct k_model *m = w->m;
	const struct k_weight *row;
	struct k_entry *e = slot_entry(m, slot, w->layer, &row);
	if (!e)
		return NULL;
	int i = (int)(e - m->ck->entries);
	struct k_device *d = m->part[m->part_of[i]].dev;
	int64_t count;
	size_t bytes;
	float *host = NULL, *other = NULL, *dev = NULL;
	char *copy = NULL;
	const void *src = m->host[i] ? m->data[i] : m->ck->sequential ? NULL : k_ckpt_map(m->ck, i);
	if (!k_shape_count(e->ndim, e->shape, &count) || !k_mul_size((size_t)count, sizeof(float), &bytes) ||
		!(host = k_alloc(bytes)) || (turned && !(other = k_alloc(bytes))) || (!src && !(copy = k_alloc(e->bytes)))) {
		k_err_nomem(w->err, (size_t)e->bytes, e->name);
		goto out;
	}
	if (!src) {
		if (d->get(d, copy, m->data[i], e->bytes, w->err) < 0)
			goto out;
		src = copy;
	}
	expand(e, src, host);
	if (check_tail(w, e, host, count) < 0)
		goto out;
	if (turned)
		turn(other, host, count / e->shape[e->ndim - 1], e->shape[e->ndim - 1]);
	dev = k_model_alloc(m, d, (size_t)count, e->name, w->err);
	if (dev && d->put(d, dev, turned ? other : host, bytes, w->err) < 0)
		dev = NULL;
out:
	k_free(host);
	k_free(other);
	k_free(copy);
	return dev;
}

const float *k_layer_vector(const struct k_layer_weights *w, const char *slot) { return layer_f32(w, slot, false); }
const float *k_layer_columns(const struct k_layer_weights *w, const char *slot) { return layer_f32(w, slot, true); }

/* Is a token of a prompt multiplied by the weights of a slot? Behind the last mixer only those go on whose logits are wanted (model.c: last_layer); what makes
 * their keys and values there is little, and left out. */
static bool of_prompts(const struct k_model *m, const struct k_weight *w, int64_t layer)
{
	struct k_plan plan;
	if (!w->per_layer)
		return false;
	if (layer < m->hp.n_layer - 1)
		return true;
	m->arch->plan(&m->hp, layer, &plan);
	return !strncmp(w->slot, plan.mixer, strlen(plan.mixer)) && !k_block_find(plan.mixer)->append;
}

static void add_part(struct k_token_part *out, int max, int *n, const char *role, uint64_t bytes, uint64_t weights, bool last)
{
	int i = 0;
	while (i < *n && strcmp(out[i].role, role))
		i++;
	if (i == max)
		i = max - 1;                    /* more roles than the caller has room for: the last one takes the rest */
	else if (i == *n)
		out[(*n)++] = (struct k_token_part){ .role = role };
	out[i].bytes += bytes;
	out[i].last += last ? bytes : 0;
	out[i].weights += weights;
}

int k_bind_token_parts(const struct k_model *m, struct k_token_part *out, int max)
{
	int n = 0;
	for (const struct k_weight *w = m->arch->weights; w->slot; w++)
		for (int64_t layer = w->per_layer ? 0 : -1; layer < (w->per_layer ? m->hp.n_layer : 0); layer++) {
			const struct k_entry *e = row_applies(m, w, layer) ? row_entry(m, w, layer) : NULL;
			if (!e)
				continue;
			uint64_t rows = (uint64_t)K_MAX(k_entry_rows(e), 1), all = of_prompts(m, w, layer) ? rows * (uint64_t)k_entry_cols(e) : 0;
			if (!strcmp(w->slot, "embed")) {
				add_part(out, max, &n, w->role, e->bytes / rows, 0, false);
				if (m->hp.tied)
					add_part(out, max, &n, "head", e->bytes, 0, false);
			} else if (strstr(w->name, "{e}")) {
				add_part(out, max, &n, w->role, e->bytes / (uint64_t)m->hp.n_expert * (uint64_t)m->hp.n_expert_used,
					all * (uint64_t)m->hp.n_expert_used, layer == m->hp.n_layer - 1);
			} else {
				add_part(out, max, &n, w->role, e->bytes, all, layer == m->hp.n_layer - 1);
			}
		}
	return n;
}
