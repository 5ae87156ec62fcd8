/* st_plan.c: what a checkpoint looks like as safetensors: names, dtypes, shapes, places, shards; all known before a byte is read.
 *
 *   entry, units (experts of a stack), parts      ".*.up_proj.weight" i4g32 [E, r, c]
 *       -> unit 0: up_proj.weight_shape | .weight_packed | .weight_scale, unit 1: ...
 *
 * The order is the checkpoint's, so that a pipe can be written in one pass; the parts of a unit lie side by side in one shard. The
 * part with the smaller numbers comes last: it is held back while the codes stream. */
#include "libcore/base.h"
#include "formats/st.h"
#include "libcore/map.h"
#include <stdio.h>

enum { MOST_NAME = 1024 };
#define HEAD_MAX 100000000u

static int split_of(const struct k_qtype *t)
{
	for (int i = 0; i < K_ST_N_SPLITS; i++)
		if (strcmp(t->name, k_st_splits[i].type) == 0)
			return i;
	return -1;
}

/* --- parts ------------------------------------------------------------------------------------------------------------------ */

static int add_part(struct k_st_plan *p, const struct k_st_part *part, struct k_err *err)
{
	if (p->n_parts == p->cap_parts) {
		int64_t cap = p->cap_parts ? 2 * p->cap_parts : 256;
		struct k_st_part *v = k_realloc(p->parts, (size_t)cap * sizeof(*v));

		if (!v)
			return k_err_nomem(err, (size_t)cap * sizeof(*v), "the list of tensors");
		p->parts = v;
		p->cap_parts = cap;
	}
	p->parts[p->n_parts++] = *part;
	return 0;
}

static int add_plain(struct k_st_plan *p, const struct k_entry *e, int64_t unit, const struct k_qtype *t, struct k_err *err)
{
	struct k_st_part part = { .dtype = t->st_dtype };
	char name[MOST_NAME + 32];
	int skip = strchr(e->name, '*') != NULL;
	int64_t n;

	part.name = k_arena_strdup(&p->arena, k_entry_slice_name(e, unit, name, sizeof(name)));
	if (!part.name)
		return k_err_nomem(err, sizeof(name), "the names of tensors");
	part.ndim = e->ndim - skip;
	memcpy(part.shape, e->shape + skip, (size_t)part.ndim * sizeof(*part.shape));
	if (!k_shape_count(part.ndim, part.shape, &n) || !k_mul_i64(n, t->elem_bytes, &n))
		return k_err_set(err, K_ESHAPE, "%s is too large as %s", e->name, t->name);
	part.bytes = (uint64_t)n;
	return add_part(p, &part, err);
}

/* The name without ".weight": what a module is called. */
static int module_of(const struct k_entry *e, int64_t unit, char *name, size_t n, struct k_err *err)
{
	size_t len = strlen(k_entry_slice_name(e, unit, name, n)), tail = strlen(".weight");

	if (len <= tail || strcmp(name + len - tail, ".weight") != 0)
		return k_err_set(err, K_EUNSUP, "%.300s is %s, and only a name that ends in .weight can become two, of values and of scales; --dequant expands it",
			e->name, e->type->name);
	name[len - tail] = 0;
	return 0;
}

/* weight_shape, values, scales. */
static int add_split(struct k_st_plan *p, const struct k_entry *e, int64_t unit, const struct k_st_from *f, struct k_err *err)
{
	const struct k_st_split *s = f->split;
	int64_t rows = k_entry_rows(e), cols = k_entry_cols(e);
	bool wide = (e->form && strcmp(e->form, "ct.i64") == 0) || rows > INT32_MAX || cols > INT32_MAX;
	struct k_st_part shape = { .dtype = wide ? "I64" : "I32", .ndim = 1, .shape = { 2 }, .bytes = wide ? 16 : 8 };
	struct k_st_part values = { .dtype = s->value_dtype, .ndim = 2, .shape = { rows, cols / s->cols_per_value } };
	struct k_st_part scales = { .dtype = f->scale->st_dtype, .ndim = 2, .shape = { k_div_up(rows, s->scale_rows), k_st_scale_cols(s, cols) } };
	char module[MOST_NAME + 32];

	if (module_of(e, unit, module, sizeof(module), err) < 0)
		return err->code;
	values.bytes = (uint64_t)values.shape[0] * (uint64_t)values.shape[1] * (uint64_t)s->value_bytes;
	scales.bytes = (uint64_t)scales.shape[0] * (uint64_t)scales.shape[1] * (uint64_t)f->scale->elem_bytes;
	shape.name = s->has_shape ? k_arena_printf(&p->arena, "%s.weight_shape", module) : "";
	values.name = k_arena_printf(&p->arena, "%s%s", module, s->values);
	scales.name = k_arena_printf(&p->arena, "%s%s", module, p->mixed ? ".weight_scale" : s->scales);
	if (!shape.name || !values.name || !scales.name)
		return k_err_nomem(err, sizeof(module), "the names of tensors");
	if (s->has_shape && add_part(p, &shape, err) < 0)
		return err->code;
	if (add_part(p, &values, err) < 0)
		return err->code;
	return add_part(p, &scales, err);
}

/* --- entries ---------------------------------------------------------------------------------------------------------------- */

/* As kconvert retypes for a container: floats become dtype, everything else stays or is expanded. */
static int choose(const struct k_entry *e, const struct k_write_opts *o, struct k_st_from *f, struct k_err *err)
{
	const struct k_qtype *t = e->type;
	bool is_float = t->plain && t->dequant && t->quant;
	const char *want = is_float ? o->dtype : o->dequant && t->dequant ? (o->dtype ? o->dtype : "bf16") : NULL;
	int split = split_of(t);

	f->to = want ? k_qtype_find(want, NULL) : t;
	if (!f->to)
		return k_err_set(err, K_EUSAGE, "unknown type '%.40s'", want);
	if (f->to->plain) {
		f->how = f->to == t ? K_ST_COPY : K_ST_CONVERT;
		return 0;
	}
	if (split < 0)
		return k_err_set(err, K_EUNSUP, "%.300s is %s, for which safetensors has no type; --dequant expands it", e->name, t->name);
	f->how = K_ST_SPLIT;
	f->split = &k_st_splits[split];
	f->scale = k_qtype_by_dtype(f->split->scale_dtype);
	if (strcmp(f->split->scale_dtype, "F32") == 0 && e->form && strncmp(e->form, "ct.", 3) == 0)
		f->scale = k_qtype_find(e->form + 3, NULL);
	return 0;
}

/* Several types: a folder's config says of each module which it has. */
static bool is_mixed(const struct k_ckpt *c, const struct k_write_opts *o)
{
	bool has[K_ST_N_SPLITS] = { false };
	int kinds = 0;

	for (int i = 0; i < c->n_entries && !o->dequant; i++) {
		int k = c->entries[i].type->plain ? -1 : split_of(c->entries[i].type);

		if (k >= 0 && !has[k] && strcmp(c->entries[i].role, "file") != 0) {
			has[k] = true;
			kinds++;
		}
	}
	return kinds > 1;
}

static int plan_entry(struct k_st_plan *p, int i, const struct k_write_opts *o, struct k_err *err)
{
	const struct k_entry *e = &p->c->entries[i];
	struct k_st_from *f = &p->from[i];
	bool stack = strchr(e->name, '*') != NULL;
	int r;

	if (strcmp(e->role, "file") == 0)
		return 0;
	if (strlen(e->name) > MOST_NAME || e->ndim < (int)stack)
		return k_err_set(err, K_EUNSUP, "%.100s... cannot be the name of a tensor with %d dimensions", e->name, e->ndim);
	if (choose(e, o, f, err) < 0)
		return err->code;
	if (f->how != K_ST_COPY && !e->type->plain && e->ndim != 2 + stack && (f->how == K_ST_SPLIT || stack))
		return k_err_set(err, K_EUNSUP, "%.300s has %d dimensions, wanted %d", e->name, e->ndim, 2 + stack);
	f->units = stack ? e->shape[0] : 1;
	f->part = p->n_parts;
	for (int64_t u = 0; u < f->units; u++) {
		r = f->how == K_ST_SPLIT ? add_split(p, e, u, f, err) : add_plain(p, e, u, f->to, err);
		if (r < 0)
			return r;
	}
	if (f->how == K_ST_SPLIT && f->units)
		p->has_split[f->split - k_st_splits] = true;
	return 0;
}

/* A container may hold X.weight in INT4 and a tensor X.weight_packed besides. */
static int check_names(const struct k_st_plan *p, struct k_err *err)
{
	struct k_map map;
	int r = 0;

	k_map_init(&map);
	for (int64_t i = 0; r == 0 && i < p->n_parts; i++) {
		const char *name = p->parts[i].name;
		int put = k_map_put(&map, name, strlen(name), (void *)(uintptr_t)name);

		if (put < 0)
			r = k_err_nomem(err, (size_t)p->n_parts * 32, "the names of tensors");
		else if (put == 0 || !name[0] || strcmp(name, "__metadata__") == 0)
			r = k_err_set(err, K_EFORMAT, "'%s': two tensors would be called %.300s, or it is no name for a tensor", p->c->path, name);
	}
	k_map_fini(&map);
	return r;
}

/* --- shards ----------------------------------------------------------------------------------------------------------------- */

static struct k_st_shard *new_shard(struct k_st_plan *p, int64_t first, struct k_err *err)
{
	if (p->n_shards == p->cap_shards) {
		int64_t cap = p->cap_shards ? 2 * p->cap_shards : 16;
		struct k_st_shard *v = k_realloc(p->shards, (size_t)cap * sizeof(*v));

		if (!v) {
			k_err_nomem(err, (size_t)cap * sizeof(*v), "the list of shards");
			return NULL;
		}
		p->shards = v;
		p->cap_shards = cap;
	}
	p->shards[p->n_shards] = (struct k_st_shard){ .first = first };
	return &p->shards[p->n_shards++];
}

/* A unit goes into the shard that is open while it fits; one that is larger than a shard has one for itself. */
static int cut(struct k_st_plan *p, uint64_t shard_size, struct k_err *err)
{
	struct k_st_shard *s = new_shard(p, 0, err);
	int64_t at = 0;

	for (int i = 0; s && i < p->c->n_entries; i++)
		for (int64_t u = 0; s && u < p->from[i].units; u++) {
			int n = k_st_parts_of(&p->from[i]);
			uint64_t bytes = 0;

			for (int k = 0; k < n; k++)
				bytes += p->parts[at + k].bytes;
			if (shard_size && s->n && bytes > shard_size - K_MIN(s->bytes, shard_size))
				s = new_shard(p, at, err);
			for (int k = 0; s && k < n; k++, at++) {
				p->parts[at].begin = s->bytes;
				p->parts[at].shard = (int)p->n_shards - 1;
				s->bytes += p->parts[at].bytes;
				s->n++;
			}
		}
	return s ? 0 : err->code;
}

int k_st_plan_new(struct k_st_plan **out, struct k_ckpt *c, const struct k_write_opts *o, uint64_t shard_size, struct k_err *err)
{
	struct k_st_plan *p = k_calloc(1, sizeof(*p));
	int r = 0;

	*out = NULL;
	if (!p)
		return k_err_nomem(err, sizeof(*p), "a plan");
	p->c = c;
	p->mixed = shard_size && is_mixed(c, o);
	k_arena_init(&p->arena);
	p->from = k_calloc((size_t)c->n_entries + 1, sizeof(*p->from));
	if (!p->from)
		r = k_err_nomem(err, (size_t)c->n_entries * sizeof(*p->from), "a plan");
	for (int i = 0; r == 0 && i < c->n_entries; i++)
		r = plan_entry(p, i, o, err);
	if (r < 0 && r != K_ENOMEM) {
		struct k_err why = *err;

		k_err_set(err, r, "'%s': %s", c->path, why.msg);
	}
	if (r == 0)
		r = check_names(p, err);
	if (r == 0)
		r = cut(p, shard_size, err);
	if (r < 0) {
		k_st_plan_free(p);
		return r;
	}
	*out = p;
	return 0;
}

void k_st_plan_free(struct k_st_plan *p)
{
	if (!p)
		return;
	k_free(p->parts);
	k_free(p->from);
	k_free(p->shards);
	k_arena_fini(&p->arena);
	k_free(p);
}

/* --- heads ------------------------------------------------------------------------------------------------------------------ */

int k_st_head(const struct k_st_plan *p, int64_t shard, struct k_buf *b, struct k_err *err)
{
	const struct k_st_shard *s = &p->shards[shard];
	uint64_t n = 0;

	k_buf_put(b, &n, 8);
	k_buf_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}");
	for (int64_t i = s->first; i < s->first + s->n; i++) {
		const struct k_st_part *t = &p->parts[i];

		k_buf_putc(b, ',');
		k_json_quote(b, t->name, strlen(t->name));
		k_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", t->dtype);
		for (int d = 0; d < t->ndim; d++)
			k_buf_printf(b, d ? ",%lld" : "%lld", (long long)t->shape[d]);
		k_buf_printf(b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->begin, (unsigned long long)(t->begin + t->bytes));
	}
	k_buf_putc(b, '}');
	while (!b->failed && b->len % 8)
		k_buf_putc(b, ' ');
	if (k_buf_ok(b, "the head of a safetensors file", err) < 0)
		return err->code;
	n = b->len - 8;
	if (n > HEAD_MAX)
		return k_err_set(err, K_EUNSUP, "'%s' has %lld tensors, too many for one safetensors file; --to hf splits them", p->c->path, (long long)s->n);
	memcpy(b->data, &n, 8);
	return 0;
}
