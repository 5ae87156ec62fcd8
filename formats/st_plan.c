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
#include <stdlib.h>

enum { MOST_NAME = 1024, MOST_PARTS = 1 << 24 };        /* of an entry: a number for its star, and a suffix, take less than 32 */
#define HEAD_MAX 100000000u

static int split_of(const struct k_qtype *t)
{
	for (int i = 0; i < K_ST_N_SPLITS; i++)
		if (strcmp(t->name, k_st_splits[i].type) == 0)
			return i;
	return -1;
}

/* --- parts ------------------------------------------------------------------------------------------------------------------ */

/* A tensor of one unit. */
static void describe_plain(const struct k_entry *e, const struct k_qtype *t, struct k_st_part *out)
{
	int skip = strchr(e->name, '*') != NULL;
	int64_t n = 0;

	*out = (struct k_st_part){ .dtype = t->st_dtype, .ndim = e->ndim - skip };
	memcpy(out->shape, e->shape + skip, (size_t)out->ndim * sizeof(*out->shape));
	if (k_shape_count(out->ndim, out->shape, &n) && k_mul_i64(n, t->elem_bytes, &n))
		out->bytes = (uint64_t)n;
}

/* Of weight_shape, values, scales that of number k. */
static void describe_split(const struct k_entry *e, const struct k_st_from *f, int k, struct k_st_part *out)
{
	const struct k_st_split *s = f->split;
	int64_t rows = k_entry_rows(e), cols = k_entry_cols(e);
	bool wide = (e->form && strcmp(e->form, "ct.i64") == 0) || rows > INT32_MAX || cols > INT32_MAX;

	if (k + !s->has_shape == 0)
		*out = (struct k_st_part){ .dtype = wide ? "I64" : "I32", .ndim = 1, .shape = { 2 }, .bytes = wide ? 16 : 8 };
	else if (k + !s->has_shape == 1)
		*out = (struct k_st_part){ .dtype = s->value_dtype, .ndim = 2, .shape = { rows, cols / s->cols_per_value }, .bytes = (uint64_t)s->value_bytes };
	else
		*out = (struct k_st_part){ .dtype = f->scale->st_dtype, .ndim = 2, .shape = { k_div_up(rows, s->scale_rows), k_st_scale_cols(s, cols) },
			.bytes = (uint64_t)f->scale->elem_bytes };
	if (out->ndim == 2)
		out->bytes *= (uint64_t)out->shape[0] * (uint64_t)out->shape[1];
}

static void describe(const struct k_st_plan *p, int entry, int k, struct k_st_part *out)
{
	const struct k_st_from *f = &p->from[entry];

	if (f->how == K_ST_SPLIT)
		describe_split(&p->c->entries[entry], f, k, out);
	else
		describe_plain(&p->c->entries[entry], f->to, out);
	out->entry = entry;
}

/* The last entry whose first part is not behind i: those that have none begin where the next one does. */
static int entry_of(const struct k_st_plan *p, int64_t i)
{
	int lo = 0, hi = p->c->n_entries;

	while (hi - lo > 1) {
		int mid = lo + (hi - lo) / 2;

		*(p->from[mid].part <= i ? &lo : &hi) = mid;
	}
	return lo;
}

static int64_t shard_of(const struct k_st_plan *p, int64_t i)
{
	int64_t lo = 0, hi = p->n_shards;

	while (hi - lo > 1) {
		int64_t mid = lo + (hi - lo) / 2;

		*(p->shards[mid].first <= i ? &lo : &hi) = mid;
	}
	return lo;
}

void k_st_part_get(const struct k_st_plan *p, int64_t i, struct k_st_part *out)
{
	int entry = entry_of(p, i);
	const struct k_st_from *f = &p->from[entry];
	int n = k_st_parts_of(f), k = (int)((i - f->part) % n);
	uint64_t at = f->at + (uint64_t)((i - f->part) / n) * f->unit_bytes;

	for (int before = 0; before < k; before++) {
		describe(p, entry, before, out);
		at += out->bytes;
	}
	describe(p, entry, k, out);
	out->shard = shard_of(p, i);
	out->begin = at - p->shards[out->shard].at;
}

static const char *name_of(const struct k_st_plan *p, int entry, int64_t unit, int k, char buf[K_ST_NAME])
{
	const struct k_st_from *f = &p->from[entry];
	size_t len = strlen(k_entry_slice_name(&p->c->entries[entry], unit, buf, K_ST_NAME));
	const char *suffix;

	if (f->how != K_ST_SPLIT)
		return buf;
	k += !f->split->has_shape;
	suffix = k == 0 ? ".weight_shape" : k == 1 ? f->split->values : p->mixed ? ".weight_scale" : f->split->scales;
	len -= strlen(".weight");
	snprintf(buf + len, K_ST_NAME - len, "%s", suffix);
	return buf;
}

const char *k_st_part_name(const struct k_st_plan *p, int64_t i, char buf[K_ST_NAME])
{
	int entry = entry_of(p, i), n = k_st_parts_of(&p->from[entry]);

	return name_of(p, entry, (i - p->from[entry].part) / n, (int)((i - p->from[entry].part) % n), buf);
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

/* Bytes of a unit, and whether they can be counted. */
static int measure(struct k_st_plan *p, int i, struct k_err *err)
{
	const struct k_entry *e = &p->c->entries[i];
	struct k_st_from *f = &p->from[i];
	int skip = strchr(e->name, '*') != NULL;
	struct k_st_part part;
	uint64_t all;
	int64_t n;

	if (f->how != K_ST_SPLIT && (!k_shape_count(e->ndim - skip, e->shape + skip, &n) || !k_mul_i64(n, f->to->elem_bytes, &n)))
		return k_err_set(err, K_ESHAPE, "%s is too large as %s", e->name, f->to->name);
	for (int k = 0; k < k_st_parts_of(f); k++) {
		describe(p, i, k, &part);
		f->unit_bytes += part.bytes;
	}
	if (__builtin_mul_overflow(f->unit_bytes, (uint64_t)f->units, &all) || __builtin_add_overflow(p->bytes, all, &p->bytes) || p->bytes > INT64_MAX)
		return k_err_set(err, K_ESHAPE, "%s: with what stands before it that is more than 2^63 bytes", e->name);
	f->at = p->bytes - all;
	return 0;
}

/* The name without its end is what a module is called. */
static int check_module(const struct k_entry *e, struct k_err *err)
{
	size_t len = strlen(e->name), tail = strlen(".weight");

	if (len > tail && strcmp(e->name + len - tail, ".weight") == 0)
		return 0;
	return k_err_set(err, K_EUNSUP, "%.300s is %s, and only a name that ends in .weight can become two, of values and of scales; --dequant expands it",
		e->name, e->type->name);
}

static int plan_entry(struct k_st_plan *p, int i, const struct k_write_opts *o, struct k_err *err)
{
	const struct k_entry *e = &p->c->entries[i];
	struct k_st_from *f = &p->from[i];
	bool stack = strchr(e->name, '*') != NULL;

	f->part = p->n_parts;
	if (strcmp(e->role, "file") == 0)
		return 0;
	if (strlen(e->name) > MOST_NAME || e->ndim < (int)stack)
		return k_err_set(err, K_EUNSUP, "%.100s... cannot be the name of a tensor with %d dimensions", e->name, e->ndim);
	if (choose(e, o, f, err) < 0)
		return err->code;
	if (f->how != K_ST_COPY && !e->type->plain && e->ndim != 2 + stack && (f->how == K_ST_SPLIT || stack))
		return k_err_set(err, K_EUNSUP, "%.300s has %d dimensions, wanted %d", e->name, e->ndim, 2 + stack);
	f->units = stack ? e->shape[0] : 1;
	if (f->how == K_ST_SPLIT && f->units && check_module(e, err) < 0)
		return err->code;
	if (f->units > MOST_PARTS - p->n_parts)
		return k_err_set(err, K_EUNSUP, "with %.300s there are more than %d tensors", e->name, MOST_PARTS);
	p->n_parts += f->units * k_st_parts_of(f);
	if (f->how == K_ST_SPLIT && f->units)
		p->has_split[f->split - k_st_splits] = true;
	return f->units ? measure(p, i, err) : 0;
}

struct hashed { uint32_t hash; int entry; int64_t unit, k; };

static int by_hash(const void *a, const void *b)
{
	const struct hashed *x = a, *y = b;

	return (x->hash > y->hash) - (x->hash < y->hash);
}

/* A container may hold X.weight in INT4 and a tensor X.weight_packed besides. Names that have one hash are made again and compared. */
static int check_hashed(const struct k_st_plan *p, struct hashed *v, int64_t n, struct k_err *err)
{
	char a[K_ST_NAME], b[K_ST_NAME];

	if (n)
		qsort(v, (size_t)n, sizeof(*v), by_hash);
	for (int64_t i = 0; i < n; i++)
		for (int64_t k = i + 1; k < n && v[k].hash == v[i].hash; k++)
			if (strcmp(name_of(p, v[i].entry, v[i].unit, (int)v[i].k, a), name_of(p, v[k].entry, v[k].unit, (int)v[k].k, b)) == 0)
				return k_err_set(err, K_EFORMAT, "'%s': two tensors would be called %.300s", p->c->path, a);
	return 0;
}

static int check_names(const struct k_st_plan *p, struct k_err *err)
{
	struct hashed *v = k_calloc((size_t)p->n_parts + 1, sizeof(*v)), *at = v;
	uint64_t secret[2];
	char name[K_ST_NAME];
	int r = v ? 0 : k_err_nomem(err, (size_t)p->n_parts * sizeof(*v), "the names of tensors");

	k_map_secret(secret);
	for (int i = 0; r == 0 && i < p->c->n_entries; i++)
		for (int64_t u = 0; r == 0 && u < p->from[i].units; u++)
			for (int k = 0; r == 0 && k < k_st_parts_of(&p->from[i]); k++) {
				name_of(p, i, u, k, name);
				*at++ = (struct hashed){ k_map_hash(secret, name, strlen(name)), i, u, k };
				if (!name[0] || strcmp(name, "__metadata__") == 0)
					r = k_err_set(err, K_EFORMAT, "'%s': '%s' is no name for a tensor", p->c->path, name);
			}
	if (r == 0)
		r = check_hashed(p, v, p->n_parts, err);
	k_free(v);
	return r;
}

/* --- shards ----------------------------------------------------------------------------------------------------------------- */

static struct k_st_shard *new_shard(struct k_st_plan *p, int64_t first, uint64_t at, struct k_err *err)
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
	p->shards[p->n_shards] = (struct k_st_shard){ .first = first, .at = at };
	return &p->shards[p->n_shards++];
}

/* A unit goes into the shard that is open while it fits; one that is larger than a shard has one for itself. */
static int cut(struct k_st_plan *p, uint64_t shard_size, struct k_err *err)
{
	struct k_st_shard *s = new_shard(p, 0, 0, err);

	for (int i = 0; s && i < p->c->n_entries; i++) {
		const struct k_st_from *f = &p->from[i];
		int n = k_st_parts_of(f);

		for (int64_t u = 0; s && u < f->units; u++) {
			if (shard_size && s->n && f->unit_bytes > shard_size - K_MIN(s->bytes, shard_size))
				s = new_shard(p, f->part + u * n, f->at + (uint64_t)u * f->unit_bytes, err);
			if (!s)
				break;
			s->bytes += f->unit_bytes;
			s->n += n;
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
	k_free(p->from);
	k_free(p->shards);
	k_free(p);
}

/* --- heads ------------------------------------------------------------------------------------------------------------------ */

int k_st_head(const struct k_st_plan *p, int64_t shard, struct k_buf *b, struct k_err *err)
{
	const struct k_st_shard *s = &p->shards[shard];
	uint64_t n = 0;

	k_buf_put(b, &n, 8);
	k_buf_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}");
	for (int64_t i = s->first; !b->failed && i < s->first + s->n; i++) {
		struct k_st_part t;
		char name[K_ST_NAME];

		k_st_part_get(p, i, &t);
		k_st_part_name(p, i, name);
		k_buf_putc(b, ',');
		k_json_quote(b, name, strlen(name));
		k_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", t.dtype);
		for (int d = 0; d < t.ndim; d++)
			k_buf_printf(b, d ? ",%lld" : "%lld", (long long)t.shape[d]);
		k_buf_printf(b, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t.begin, (unsigned long long)(t.begin + t.bytes));
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
