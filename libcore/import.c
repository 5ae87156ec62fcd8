/* import.c: raw tensors and a config become a checkpoint.
 *
 *   "model.layers.3.mlp.experts.7.up_proj.weight"  --numbers out-->  "model.layers.{i}.mlp.experts.{e}.up_proj.weight"
 *       --map of patterns-->  row of the architecture's table, layer 3, expert 7  --all rows, all layers, in order-->  entries
 *
 * Every raw tensor is looked at once, so that seventy thousand of them take no longer than reading their heads. Whatever the
 * architecture does not know stays, with role "other", unless it lies in a layer that is computed: then the result would be another
 * one, and the checkpoint is refused. */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include "libcore/arch.h"
#include "libcore/import_int.h"
#include "libcore/log.h"
#include "libcore/rx.h"

enum { NAME_MAX_BYTES = 1024, MOST_BIAS = 1 << 20 };

/* Where a raw tensor goes. */
struct place { const struct k_weight *row; int64_t layer, expert; };

struct job {
	struct k_ckpt *c;
	struct k_import *im;
	struct k_rawset *set;
	struct k_json *config;
	const struct k_arch *arch;      /* NULL: no config */
	const char *prefix;
	struct k_hp hp;
	int n_rows;
	struct k_map patterns;          /* pattern -> first row of that name */
	struct place *places;           /* one a raw tensor; row NULL: not the architecture's */
	struct k_raw ***slots;          /* n_rows x layers: raw tensors in order of experts; NULL: nothing came */
	int64_t *counts;                /* n_rows x layers */
	int32_t **orders;               /* one a row: GGUF's order of rows */
	int cap;                        /* of entries */
	struct k_err *err;
};

/* --- names ------------------------------------------------------------------------------------------------------------ */

static const char *row_name(const struct job *j, const struct k_weight *w)
{
	return j->set->gguf ? w->gguf : w->name;
}

static int map_patterns(struct job *j)
{
	const struct k_weight *w;

	for (w = j->arch->weights; w->slot; w++, j->n_rows++) {
		const char *name = row_name(j, w);

		if (name && k_map_put(&j->patterns, name, strlen(name), (void *)w) < 0)
			return k_err_nomem(j->err, strlen(name), "the names of weights");
	}
	return 0;
}

/* A number as people write it: no sign, no leading zero, below 2^31. */
static bool number_at(const char *p, int64_t *v, size_t *n)
{
	*v = 0;
	for (*n = 0; p[*n] >= '0' && p[*n] <= '9' && *n < 10; ++*n)
		*v = *v * 10 + (p[*n] - '0');
	return *n > 0 && *n < 10 && (*n == 1 || p[0] != '0');
}

/* Replaces the number behind `before` by `sign`; where there is none, *v and the name stay. */
static void take_number(char *name, const char *before, const char *sign, int64_t *v)
{
	char *at = strstr(name, before), tail[NAME_MAX_BYTES + 1];
	int64_t found;
	size_t n;

	if (!at || !number_at(at + strlen(before), &found, &n) || at[strlen(before) + n] != '.')
		return;
	*v = found;
	at += strlen(before);
	strcpy(tail, at + n);
	strcpy(at, sign);
	strcpy(at + strlen(sign), tail);
}

/* The row, layer and expert of a name; *layer stays -1 outside layers. */
static const struct k_weight *find_row(const struct job *j, const char *name, int64_t *layer, int64_t *expert)
{
	const char *stem = j->set->gguf ? "blk." : "model.layers.", *want;
	char pattern[NAME_MAX_BYTES + 32];
	const struct k_weight *w;
	size_t skip = strlen(j->prefix);

	*layer = *expert = -1;
	if (strlen(name) > NAME_MAX_BYTES || (skip && strncmp(name, j->prefix, skip) != 0))
		return NULL;
	strcpy(pattern, name + skip);
	if (strncmp(pattern, stem, strlen(stem)) == 0) {
		take_number(pattern, stem, "{i}", layer);
		take_number(pattern, ".experts.", "{e}", expert);
	}
	w = k_map_find(&j->patterns, pattern, strlen(pattern));
	/* A file may spell the signs themselves: then there is no number. Rows of one name stand for layers of different kinds. */
	for (; w && w->slot; w++) {
		want = row_name(j, w);
		if (want && strcmp(want, pattern) == 0 && w->per_layer == (*layer >= 0) && *layer < j->hp.n_layer &&
		    (strstr(want, "{e}") != NULL) == (*expert >= 0) && (!w->when || w->when(&j->hp, *layer)))
			return w;
	}
	return NULL;
}

static bool ends_with(const char *s, const char *end)
{
	size_t a = strlen(s), b = strlen(end);

	return a >= b && strcmp(s + a - b, end) == 0;
}

/* A bias of zeros, which GPTQ's writers give every module, adds nothing. */
static bool is_no_bias(const struct k_raw *t)
{
	uint8_t part[4096];
	struct k_err ignored;

	if (!ends_with(t->name, ".bias") || t->ndim != 1 || !t->type->plain || !t->type->dequant || !t->src || t->bytes > MOST_BIAS)
		return false;
	for (uint64_t at = 0; at < t->bytes; at += sizeof(part)) {
		size_t n = (size_t)K_MIN(t->bytes - at, (uint64_t)sizeof(part));

		if (k_source_pread(t->src, part, n, t->off + at, &ignored) < 0)
			return false;
		for (size_t i = 0; i < n; i++)
			if (part[i])
				return false;
	}
	return true;
}

/* Tables of rotation, which are computed here; that of a GGUF was compared (libcore/import_rope.c). */
static bool is_rotation(const struct job *j, const struct k_raw *t)
{
	return ends_with(t->name, "rotary_emb.inv_freq") || (j->set->gguf && strcmp(t->name, K_ROPE_FREQS) == 0);
}

/* May a tensor that no row knows stay? Scales of quantised activations or a quantised cache are of no use here, where they are not;
 * everything else in a layer would change the result. */
static int judge_unknown(const struct job *j, const struct k_raw *t, int64_t layer)
{
	static const char *const harmless[] = {
		"self_attn.k_scale", "self_attn.v_scale", ".input_scale", ".input_zero_point", ".input_global_scale",
	};
	const char *bare = t->name + (strncmp(t->name, j->prefix, strlen(j->prefix)) == 0 ? strlen(j->prefix) : 0);

	if (is_rotation(j, t))
		return 0;
	for (const char *const *g = j->arch->refuse; g && *g; g++)
		if (k_glob(*g, bare))
			return k_err_set(j->err, K_EUNSUP, "'%s': %s belongs to a model that is not known here", t->file, t->name);
	if (layer < 0 || layer >= j->hp.n_layer)
		return 0;
	for (size_t i = 0; i < K_LEN(harmless); i++)
		if (ends_with(t->name, harmless[i]))
			return 0;
	if (is_no_bias(t))
		return 0;
	return k_err_set(j->err, K_EUNSUP, "'%s': %s is no part of %s with this config, and ignoring it could change the result", t->file, t->name,
		j->arch->name);
}

/* --- sorting raw tensors into slots -------------------------------------------------------------------------------------- */

static int64_t slot_of(const struct job *j, const struct k_weight *w, int64_t layer)
{
	return (int64_t)(w - j->arch->weights) * j->hp.n_layer + K_MAX(layer, 0);
}

/* One tensor an expert; GGUF has them in one. */
static bool is_stack(const struct job *j, const struct k_weight *w) { return !j->set->gguf && strstr(w->name, "{e}") != NULL; }

static int place_all(struct job *j)
{
	int64_t n_slots = (int64_t)j->n_rows * j->hp.n_layer;

	j->places = k_calloc((size_t)j->set->n + 1, sizeof(*j->places));
	j->slots = k_calloc((size_t)n_slots, sizeof(*j->slots));
	j->counts = k_calloc((size_t)n_slots, sizeof(*j->counts));
	if (!j->places || !j->slots || !j->counts)
		return k_err_nomem(j->err, (size_t)n_slots * sizeof(*j->slots), "the table of weights");
	for (int64_t i = 0; i < j->set->n; i++) {
		const struct k_raw *t = &j->set->v[i];
		struct place *p = &j->places[i];

		p->row = find_row(j, t->name, &p->layer, &p->expert);
		if (!p->row && judge_unknown(j, t, p->layer) < 0)
			return j->err->code;
		if (p->row && is_stack(j, p->row) && p->expert >= j->hp.n_expert)
			return k_err_set(j->err, K_ESHAPE, "'%s': %s, but the config has %lld experts", t->file, t->name, (long long)j->hp.n_expert);
		if (p->row)
			j->counts[slot_of(j, p->row, p->layer)]++;
	}
	return 0;
}

/* Names are unique and experts in range, so a slot that has as many tensors as experts has each once. */
static int fill_slots(struct job *j)
{
	for (int64_t i = 0; i < j->set->n; i++) {
		struct place *p = &j->places[i];
		int64_t slot = p->row ? slot_of(j, p->row, p->layer) : 0, n = p->row ? j->counts[slot] : 0;
		bool stack = p->row && is_stack(j, p->row);

		if (!p->row || (stack && n != j->hp.n_expert))
			continue;
		if (!j->slots[slot])
			j->slots[slot] = k_arena_array(&j->c->arena, (size_t)n, sizeof(*j->slots[slot]));
		if (!j->slots[slot])
			return k_err_nomem(j->err, (size_t)n * sizeof(void *), "a stack of experts");
		j->slots[slot][stack ? p->expert : 0] = &j->set->v[i];
	}
	return 0;
}

/* Which expert of an incomplete stack is not there. */
static int64_t first_missing(const struct job *j, const struct k_weight *w, int64_t layer)
{
	int64_t missing = 0;
	bool *have = k_calloc((size_t)j->hp.n_expert, 1);

	for (int64_t i = 0; have && i < j->set->n; i++)
		if (j->places[i].row == w && j->places[i].layer == layer)
			have[j->places[i].expert] = true;
	while (have && missing < j->hp.n_expert - 1 && have[missing])
		missing++;
	k_free(have);
	return missing;
}

static int say_missing(struct job *j, const struct k_weight *w, int64_t layer)
{
	char name[NAME_MAX_BYTES];

	k_arch_name(name, sizeof(name), row_name(j, w) ? row_name(j, w) : w->name, j->prefix, layer, is_stack(j, w) ? first_missing(j, w, layer) : -1);
	return k_err_set(j->err, K_ENOENT, "'%s': %s is missing, %s wants it", j->c->path, name, j->arch->name);
}

/* --- one weight ------------------------------------------------------------------------------------------------------- */

/* GGUF's tensors may lack dimensions of 1, or have more of them. */
static bool same_dims(const struct job *j, const struct k_raw *t, int ndim, const int64_t *dims)
{
	int i = 0, k = 0;

	if (!j->set->gguf)
		return t->ndim == ndim && memcmp(t->shape, dims, (size_t)ndim * sizeof(*dims)) == 0;
	for (;;) {
		while (i < t->ndim && t->shape[i] == 1)
			i++;
		while (k < ndim && dims[k] == 1)
			k++;
		if (i == t->ndim || k == ndim)
			return i == t->ndim && k == ndim;
		if (t->shape[i++] != dims[k++])
			return false;
	}
}

/* Does a raw tensor have the row's shape, or one of its other spellings? stack: each expert lacks the first dimension. A tensor of a
 * GGUF gets the shape that the row has. */
static int check_shape(struct job *j, const struct k_weight *w, struct k_raw *t)
{
	int64_t dims[K_MAX_DIMS], want[K_MAX_DIMS], count;
	char part[64], has[128], wants[128];
	int skip = is_stack(j, w), ndim, want_ndim, r = k_arch_shape(j->arch, &j->hp, w->shape, &want_ndim, want, j->err);

	if (r < 0)
		return r;
	if (same_dims(j, t, want_ndim - skip, want + skip))
		return k_rawset_shape(j->set, t, want_ndim - skip, want + skip, j->err);
	/* It is kept as it is; what stands behind is looked at where the values are (k_ckpt_check_block). */
	if (w->pad_zero && k_shape_count(t->ndim, t->shape, &count) && count >= want[0])
		return 0;
	for (const char *p = w->alt; p && *p; ) {
		size_t n = strcspn(p, "|");

		K_ASSERT(n < sizeof(part));
		memcpy(part, p, n);
		part[n] = 0;
		r = k_arch_shape(j->arch, &j->hp, part, &ndim, dims, j->err);
		if (r < 0)
			return r;
		if (same_dims(j, t, ndim - skip, dims + skip))
			return 0;
		p += n + (p[n] == '|');
	}
	return k_err_set(j->err, K_ESHAPE, "'%s': %s has shape %s, the config wants %s", t->file, t->name, k_shape_format(has, t->ndim, t->shape),
		k_shape_format(wants, want_ndim - skip, want + skip));
}

static int check_raw(struct job *j, const struct k_weight *w, struct k_raw *t, const struct k_raw *first)
{
	if (!t->type->dequant || (t->type->plain && t->type->elem_bytes > 4))
		return k_err_set(j->err, K_EUNSUP, "'%s': %s has type %s, wanted one that weights can have", t->file, t->name, t->type->name);
	if (t->type != first->type)
		return k_err_set(j->err, K_EUNSUP, "'%s': %s has type %s and %s %s; the experts of a layer must have one type", t->file, t->name,
			t->type->name, first->name, first->type->name);
	return check_shape(j, w, t);
}

/* GGUF's order of rows is the same for all layers of a row. */
static int set_order(struct job *j, const struct k_weight *w, struct k_raw *t)
{
	int32_t **order = &j->orders[w - j->arch->weights];
	int64_t rows = t->ndim > 1 ? k_shape_rows(t->ndim, t->shape) : k_shape_cols(t->ndim, t->shape);

	if (!*order) {
		*order = k_arena_array(&j->c->arena, (size_t)rows, sizeof(**order));
		if (!*order)
			return k_err_nomem(j->err, (size_t)rows * sizeof(**order), "an order of rows");
		w->gguf_rows(&j->hp, *order, rows);
	}
	t->row_order = *order;
	return 0;
}

/* --- entries ---------------------------------------------------------------------------------------------------------- */

static struct k_entry *new_entry(struct job *j, const char *name, const char *role, const struct k_qtype *type)
{
	struct k_entry *e = &j->c->entries[j->c->n_entries];

	K_ASSERT(j->c->n_entries < j->cap);
	e->name = name;
	e->role = role;
	e->type = type;
	return e;
}

/* Counts the entry once it is whole. */
static int keep_entry(struct job *j, struct k_entry *e)
{
	if (k_entry_size(e, j->err) < 0) {
		struct k_err why = *j->err;

		return k_err_set(j->err, why.code, "'%s': %s", j->c->path, why.msg);
	}
	j->c->n_entries++;
	return 0;
}

static int add_tensor(struct job *j, const char *name, const char *role, struct k_raw **raw, int64_t n_raw, bool stack)
{
	struct k_entry *e = new_entry(j, name, role, raw[0]->type);
	struct k_from *f = &j->im->from[j->c->n_entries];

	if (stack && raw[0]->ndim + 1 > K_MAX_DIMS)
		return k_err_set(j->err, K_ESHAPE, "'%s': %s has too many dimensions", raw[0]->file, raw[0]->name);
	if (stack)
		e->shape[0] = n_raw;
	memcpy(e->shape + stack, raw[0]->shape, (size_t)raw[0]->ndim * sizeof(*e->shape));
	e->ndim = raw[0]->ndim + stack;
	e->form = raw[0]->form;
	e->source = j->set->gguf && (!raw[0]->parts || raw[0]->parts->of[0]) ? raw[0]->name : NULL;
	f->raw = raw;
	f->n_raw = n_raw;
	return keep_entry(j, e);
}

/* The entry was the last that was added. */
static int note_tail(struct job *j, const struct k_weight *w)
{
	int64_t want[K_MAX_DIMS];
	int ndim, r = k_arch_shape(j->arch, &j->hp, w->shape, &ndim, want, j->err);

	j->c->entries[j->c->n_entries - 1].zeros_from = r == 0 ? want[0] : 0;
	return r;
}

static int add_weight(struct job *j, const struct k_weight *w, int64_t layer)
{
	int64_t slot = slot_of(j, w, layer);
	struct k_raw **raw = j->slots[slot];
	char name[NAME_MAX_BYTES];
	const char *kept;
	int r = 0;

	if (w->when && !w->when(&j->hp, layer))
		return 0;
	if (!raw && j->set->n == 0)
		return 0;
	if (!raw)
		return w->optional && j->counts[slot] == 0 ? 0 : say_missing(j, w, layer);
	for (int64_t i = 0; r == 0 && i < j->counts[slot]; i++)
		r = check_raw(j, w, raw[i], raw[0]);
	for (int64_t i = 0; r == 0 && i < j->counts[slot] && j->set->gguf && w->gguf_rows; i++)
		r = set_order(j, w, raw[i]);
	if (r < 0)
		return r;
	k_arch_name(name, sizeof(name), w->name, j->prefix, layer, -1);
	kept = k_arena_strdup(&j->c->arena, name);
	if (!kept)
		return k_err_nomem(j->err, strlen(name), "a name");
	r = add_tensor(j, kept, w->role, raw, j->counts[slot], is_stack(j, w));
	return r == 0 && w->pad_zero ? note_tail(j, w) : r;
}

/* The rows before the layers, the layers, the rows behind them: the order in which a forward pass reads. */
static int add_weights(struct job *j)
{
	const struct k_weight *all = j->arch->weights;
	int first = 0, last, r = 0;

	while (all[first].slot && !all[first].per_layer)
		first++;
	for (last = first; all[last].slot && all[last].per_layer; )
		last++;
	for (int k = 0; r == 0 && k < first; k++)
		r = add_weight(j, &all[k], -1);
	for (int64_t layer = 0; r == 0 && layer < j->hp.n_layer; layer++)
		for (int k = first; r == 0 && k < last; k++)
			r = add_weight(j, &all[k], layer);
	for (int k = last; r == 0 && all[k].slot; k++)
		r = add_weight(j, &all[k], -1);
	return r;
}

static int by_name(const void *a, const void *b)
{
	const struct k_raw *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* What no row knows, by name; without an architecture: everything, as the file has it. */
static int add_others(struct job *j)
{
	struct k_raw **rest = k_arena_array(&j->c->arena, (size_t)j->set->n + 1, sizeof(*rest));
	int64_t n = 0;
	int r = 0;

	if (!rest)
		return k_err_nomem(j->err, (size_t)j->set->n * sizeof(*rest), "the other tensors");
	for (int64_t i = 0; i < j->set->n; i++)
		if (!j->arch || (!j->places[i].row && !is_rotation(j, &j->set->v[i])))
			rest[n++] = &j->set->v[i];
	if (j->arch)
		qsort(rest, (size_t)n, sizeof(*rest), by_name);
	for (int64_t i = 0; r == 0 && i < n; i++)
		r = add_tensor(j, rest[i]->name, "other", &rest[i], 1, false);
	if (r == 0 && j->arch && n)
		k_logf(j->c->log, K_LOG_WARN, "'%s': %lld tensors are no part of the text model and are kept as they are (%s)", j->c->path, (long long)n,
			rest[0]->name);
	return r;
}

static int by_file_name(const void *a, const void *b)
{
	const struct k_file *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int add_files(struct job *j)
{
	const struct k_files *all = &j->set->files;
	const struct k_qtype *u8 = k_qtype_by_dtype("U8");
	const struct k_file **sorted = k_arena_array(&j->c->arena, (size_t)all->n + 1, sizeof(*sorted));
	int r = 0;

	if (!sorted)
		return k_err_nomem(j->err, sizeof(*sorted), "the side files");
	for (int i = 0; i < all->n; i++)
		sorted[i] = &all->v[i];
	qsort(sorted, (size_t)all->n, sizeof(*sorted), by_file_name);
	for (int i = 0; r == 0 && i < all->n; i++) {
		struct k_entry *e;

		if (strcmp(sorted[i]->name, "config.json") == 0)
			continue;
		j->im->from[j->c->n_entries].file = sorted[i];
		e = new_entry(j, sorted[i]->name, "file", u8);
		e->ndim = 1;
		e->shape[0] = (int64_t)sorted[i]->len;
		r = keep_entry(j, e);
	}
	return r;
}

/* --- config ----------------------------------------------------------------------------------------------------------- */

static bool has_name(const struct job *j, const char *glob)
{
	for (int64_t i = 0; i < j->set->n; i++)
		if (k_glob(glob, j->set->v[i].name))
			return true;
	return false;
}

/* GGUF has no keys for these: the tensors say it. */
static int facts_of_tensors(struct job *j)
{
	static const struct { const char *tensor, *member; bool if_there; } facts[] = {
		{ "output.weight", "tie_word_embeddings", false },
		{ "blk.0.attn_q.bias", "attention_bias", true },
		{ "blk.0.ffn_gate.bias", "mlp_bias", true },
	};
	struct k_buf b;
	int r;

	for (size_t i = 0; i < K_LEN(facts); i++) {
		bool there = k_map_find(&j->im->names, facts[i].tensor, strlen(facts[i].tensor)) != NULL;

		if (!k_json_find(j->config, facts[i].member) &&
		    k_json_set(j->config, facts[i].member, k_json_new_bool(there == facts[i].if_there)) < 0)
			return k_err_nomem(j->err, sizeof(void *), "the config");
	}
	for (const struct k_arch_fact *f = j->arch->gguf_facts; f && f->glob; f++)
		if (k_json_set(j->config, f->member, k_json_new_bool(has_name(j, f->glob))) < 0)
			return k_err_nomem(j->err, sizeof(void *), "the config");
	k_buf_init(&b, 0);
	k_json_dump(&b, j->config, K_JSON_INDENT);
	k_buf_putc(&b, '\n');
	r = k_buf_ok(&b, "the config", j->err);
	if (r == 0) {
		j->c->config_len = b.len;
		j->c->config = k_arena_strndup(&j->c->arena, b.data, b.len);
		if (!j->c->config)
			r = k_err_nomem(j->err, b.len, "the config");
	}
	k_buf_fini(&b);
	return r;
}

static int read_config(struct job *j, const char *where)
{
	const struct k_file *f = k_files_find(&j->set->files, "config.json");
	const struct k_json *text, *quantised;
	int r;

	if (!f)
		return k_join_parts(j->set, NULL, j->c->log, j->err);
	j->c->config = f->data;
	j->c->config_len = f->len;
	r = k_json_parse(&j->config, f->data, f->len, K_JSON_STRICT, where, j->err);
	if (r == 0)
		r = k_arch_find(j->config, where, &j->arch, &text, &j->prefix, j->err);
	if (r < 0)
		return r;
	quantised = k_json_find(j->config, "quantization_config") ? j->config : text;
	r = k_join_parts(j->set, quantised, j->c->log, j->err);
	return r == 0 && j->set->gguf ? k_join_gguf(j->set, j->err) : r;
}

static int index_name(struct job *j, const struct k_raw *t)
{
	int put = k_map_put(&j->im->names, t->name, strlen(t->name), (void *)t);

	if (strchr(t->name, '*'))
		return k_err_set(j->err, K_EUNSUP, "'%s': the name %s has a '*', which here stands for the experts of a layer", t->file, t->name);
	if (put < 0)
		return k_err_nomem(j->err, strlen(t->name), "the names of tensors");
	if (put == 0)
		return k_err_set(j->err, K_EFORMAT, "'%s': a second tensor is called %s", t->file, t->name);
	return 0;
}

/* By the names in the file: of a made tensor those of its parts, and its own, which no other may have. */
static int index_names(struct job *j)
{
	int r = 0;

	for (int64_t i = 0; r == 0 && i < j->set->n; i++) {
		const struct k_raw *t = &j->set->v[i];

		for (int k = 0; r == 0 && t->parts && t->parts->made && k < K_PARTS; k++)
			r = t->parts->of[k] ? index_name(j, t->parts->of[k]) : 0;
		/* A part may have the name of the whole, or there may be none. */
		if (r == 0 && (!t->parts || !t->parts->made || !t->parts->of[0] || strcmp(t->name, t->parts->of[0]->name) != 0))
			r = index_name(j, t);
	}
	return r;
}

/* Config fields after joining, so that GGUF's missing keys can be filled in. */
static int read_fields(struct job *j, const char *where)
{
	const struct k_raw *freqs = j->set->gguf ? k_map_find(&j->im->names, K_ROPE_FREQS, strlen(K_ROPE_FREQS)) : NULL;
	const struct k_json *text;
	int r = freqs ? k_import_rope(j->arch, j->config, freqs, j->err) : 0;

	if (r == 0 && j->set->gguf)
		r = facts_of_tensors(j);
	if (r == 0)
		r = k_arch_find(j->config, where, &j->arch, &text, &j->prefix, j->err);
	if (r == 0)
		r = k_arch_parse(j->arch, j->config, text, where, &j->hp, j->err);
	j->c->arch = j->arch->name;
	return r;
}

static int sort_weights(struct job *j)
{
	int r = map_patterns(j);

	if (r == 0)
		r = place_all(j);
	if (r == 0)
		r = fill_slots(j);
	if (r < 0)
		return r;
	j->orders = k_calloc((size_t)j->n_rows, sizeof(*j->orders));
	return j->orders ? 0 : k_err_nomem(j->err, (size_t)j->n_rows * sizeof(*j->orders), "orders of rows");
}

/* Side files, weights, others: of half a million tensors, all but a few are experts of some stack. */
static int64_t count_entries(const struct job *j)
{
	int64_t n = j->set->files.n + (j->arch ? 0 : j->set->n), n_slots = j->arch ? (int64_t)j->n_rows * j->hp.n_layer : 0;

	for (int64_t i = 0; i < n_slots; i++)
		n += j->slots[i] != NULL;
	for (int64_t i = 0; j->arch && i < j->set->n; i++)
		n += !j->places[i].row;
	return n;
}

static int build(struct job *j, const char *where)
{
	int r = read_config(j, where);
	int64_t most;

	if (r == 0)
		r = index_names(j);
	if (r == 0 && j->arch)
		r = read_fields(j, where);
	if (r == 0 && j->arch)
		r = sort_weights(j);
	if (r < 0)
		return r;
	most = count_entries(j);
	if (most >= INT32_MAX)
		return k_err_set(j->err, K_EUNSUP, "'%s' has %lld tensors, wanted fewer than 2^31", j->c->path, (long long)most);
	j->cap = (int)most;
	j->c->entries = k_arena_array(&j->c->arena, (size_t)most, sizeof(*j->c->entries));
	j->im->from = k_calloc((size_t)most, sizeof(*j->im->from));
	if (!j->c->entries || !j->im->from)
		return k_err_nomem(j->err, (size_t)most * sizeof(*j->c->entries), "the entries");
	r = add_files(j);
	if (r == 0 && j->arch)
		r = add_weights(j);
	if (r == 0)
		r = add_others(j);
	return r;
}

static void free_job(struct job *j)
{
	k_map_fini(&j->patterns);
	k_json_free(j->config);
	k_free(j->places);
	k_free(j->slots);
	k_free(j->counts);
	k_free(j->orders);
}

static struct k_ckpt *new_ckpt(struct k_rawset *set, struct k_log *log, struct k_err *err)
{
	struct k_ckpt *c = k_calloc(1, sizeof(*c));
	struct k_import *im = k_calloc(1, sizeof(*im));

	if (!c || !im) {
		k_err_nomem(err, sizeof(*c), "a checkpoint");
		k_free(c);
		k_free(im);
		k_rawset_fini(set);
		k_free(set);
		return NULL;
	}
	k_arena_init(&c->arena);
	k_map_init(&im->names);
	im->set = set;
	c->ops = &k_import_ops;
	c->impl = im;
	c->log = log;
	c->path = k_arena_strdup(&c->arena, set->path);
	c->history = k_json_array();
	if (c->path && c->history)
		return c;
	k_err_nomem(err, strlen(set->path), "a checkpoint");
	k_ckpt_close(c);
	return NULL;
}

int k_import(struct k_ckpt **out, struct k_rawset *set, struct k_log *log, struct k_err *err)
{
	struct k_ckpt *c = new_ckpt(set, log, err);
	struct job *j;
	char *where;
	int r;

	if (!c)
		return err->code;
	j = k_calloc(1, sizeof(*j));
	where = k_arena_printf(&c->arena, set->gguf ? "%s" : "%s/config.json", c->path);
	if (!j || !where) {
		r = k_err_nomem(err, sizeof(*j), "an import");
		goto out;
	}
	*j = (struct job){ .c = c, .im = c->impl, .set = set, .prefix = "", .err = err };
	k_map_init(&j->patterns);
	r = build(j, where);
	free_job(j);
out:
	k_free(j);
	if (r < 0)
		k_ckpt_close(c);
	else
		*out = c;
	return r;
}
