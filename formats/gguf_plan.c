/* gguf_plan.c: what a checkpoint looks like as GGUF: names, types, shapes, places, files; all known before a byte is read.
 *
 *   names   rows of the architecture's table x layers -> map -> entries
 *   types   always f32: vectors, norms, routers, convolutions, what does not end in ".weight"
 *           GGUF's own types as they are; i4g32 -> q4_0, mxfp4 -> mxfp4, i8row -> q8_0, fp8b128 -> bf16
 *   kv_b    two tensors, k_b transposed; in a type that has no groups
 *   res     norm and query of Kimi-K3's residuals, one behind the other: one tensor, their product
 *   rope    of Llama 3's scaling a table of factors, before all others
 *
 * What the architecture does not know (towers for pictures, layers behind the last) is left out with a notice. */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include "formats/gguf_write.h"
#include "libcore/import.h"
#include "libcore/log.h"
#include "libcore/map.h"
#include "libcore/rope.h"

enum { NAME_MAX_BYTES = 1024, GGUF_NAME_MOST = 63, SHARDS_MOST = 10000 };

struct spot { const struct k_weight *w; int64_t layer; int entry; };  /* where an entry belongs; entry -1: none came */

struct planner {
	struct k_gguf_plan *p;
	const struct k_write_opts *o;
	struct spot *spots; int n_spots;
	struct k_map by_name;
	const struct spot *last;        /* whose entry came last; NULL: none */
	struct k_err *err;
};

/* --- names ---------------------------------------------------------------------------------------------------------------- */

static int add_spot(struct planner *j, const struct k_weight *w, int64_t layer)
{
	struct spot *s = &j->spots[j->n_spots];
	char name[NAME_MAX_BYTES];
	const char *kept;

	if (!w->gguf || (w->when && !w->when(&j->p->hp, layer)))
		return 0;
	k_arch_name(name, sizeof(name), w->name, j->p->prefix, layer, -1);
	kept = k_arena_strdup(&j->p->arena, name);
	*s = (struct spot){ w, layer, -1 };
	if (!kept || k_map_put(&j->by_name, kept, strlen(kept), s) < 0)
		return k_err_nomem(j->err, strlen(name), "the names of weights");
	j->n_spots++;
	return 0;
}

static int map_names(struct planner *j)
{
	const struct k_weight *w = j->p->arch->weights;
	int64_t rows = 0;
	int r = 0;

	while (w[rows].slot)
		rows++;
	j->spots = k_calloc((size_t)(rows * j->p->hp.n_layer), sizeof(*j->spots));
	if (!j->spots)
		return k_err_nomem(j->err, (size_t)(rows * j->p->hp.n_layer) * sizeof(*j->spots), "the table of weights");
	for (; r == 0 && w->slot; w++) {
		if (!w->per_layer)
			r = add_spot(j, w, -1);
		for (int64_t i = 0; r == 0 && w->per_layer && i < j->p->hp.n_layer; i++)
			r = add_spot(j, w, i);
	}
	return r;
}

static int check_complete(const struct planner *j)
{
	char name[NAME_MAX_BYTES];

	for (int i = 0; i < j->n_spots; i++) {
		const struct spot *s = &j->spots[i];

		if (s->entry >= 0 || s->w->optional)
			continue;
		k_arch_name(name, sizeof(name), s->w->name, j->p->prefix, s->layer, -1);
		return k_err_set(j->err, K_ENOENT, "'%s': %s is missing, %s wants it", j->p->c->path, name, j->p->arch->name);
	}
	return 0;
}

/* --- types ---------------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && strcmp(s + n - k, end) == 0;
}

static bool always_f32(const struct k_gguf_part *t)
{
	return t->ndim < 2 || !ends_with(t->name, ".weight") || ends_with(t->name, "_norm.weight") || strstr(t->name, ".ffn_gate_inp.") ||
		strstr(t->name, ".ssm_conv1d_");
}

static const struct { const char *type, *becomes; const struct k_gguf_way *way; } types[] = {
	{ "i4g32", "q4_0", &k_gguf_int4 }, { "i8row", "q8_0", &k_gguf_int8 }, { "mxfp4", "mxfp4", &k_gguf_mxfp4 },
	{ "fp8b128", "bf16", &k_gguf_convert },
};

/* Types that transposing leaves as they are, and what the others become: the smallest in which all values are exact, but for FP8. */
static const char *plain_of(const struct k_qtype *t)
{
	return t->plain ? t->name : strcmp(t->name, "fp8b128") == 0 || strcmp(t->name, "mxfp4") == 0 ? "bf16" : "f32";
}

/* What the options want of a type; NULL: nothing. */
static const char *asked(const struct planner *j, const struct k_qtype *t)
{
	if (t->plain)
		return j->o->dtype;
	return j->o->dequant ? j->o->dtype ? j->o->dtype : "bf16" : NULL;
}

/* The type of a part, and the way to it. */
static int choose(struct planner *j, const struct k_entry *e, struct k_gguf_part *t, const struct k_gguf_way **way)
{
	const char *want = always_f32(t) ? "f32" : asked(j, e->type);
	int64_t cols = k_shape_cols(t->ndim, t->shape);

	if (!want && *way)
		want = plain_of(e->type);
	t->type = want ? k_qtype_find(want, NULL) : e->type->gguf_type >= 0 ? e->type : NULL;
	if (!*way)
		*way = t->type == e->type ? &k_gguf_copy : &k_gguf_convert;
	for (size_t i = 0; !t->type && i < K_LEN(types); i++)
		if (strcmp(types[i].type, e->type->name) == 0) {
			t->type = k_qtype_find(types[i].becomes, strcmp(types[i].becomes, "mxfp4") == 0 ? "gguf" : NULL);
			*way = types[i].way;
		}
	/* Rows without whole groups. */
	if (t->type && cols % t->type->col_granule != 0) {
		t->type = k_qtype_find("f32", NULL);
		*way = &k_gguf_convert;
	}
	if (e->type->dequant && t->type && t->type->gguf_type >= 0)
		return 0;
	return k_err_set(j->err, K_EUNSUP, "'%s': %s has type %s, which a GGUF has no weights of", j->p->c->path, e->name, e->type->name);
}

/* --- entries -> parts ----------------------------------------------------------------------------------------------------- */

static int add_part(struct planner *j, const struct k_entry *e, const char *pattern, int64_t layer, const char *shape, const struct k_gguf_way **way)
{
	struct k_gguf_plan *p = j->p;
	struct k_gguf_part *t = &p->parts[p->n_parts];
	char name[NAME_MAX_BYTES];
	uint64_t slice;
	int r = k_arch_shape(p->arch, &p->hp, shape, &t->ndim, t->shape, j->err);

	if (r < 0)
		return r;
	k_arch_name(name, sizeof(name), pattern, "", layer, -1);
	t->name = k_arena_strdup(&p->arena, name);
	if (!t->name)
		return k_err_nomem(j->err, strlen(name), "the names of tensors");
	if (strlen(name) > GGUF_NAME_MOST)
		return k_err_set(j->err, K_EUNSUP, "'%s': '%s' is longer than the %d bytes of a name in GGUF", p->c->path, name, GGUF_NAME_MOST);
	r = choose(j, e, t, way);
	if (r < 0)
		return r;
	if (!k_qtype_slice_bytes(t->type, k_shape_rows(t->ndim, t->shape), k_shape_cols(t->ndim, t->shape), &slice) ||
	    __builtin_mul_overflow(slice, (uint64_t)k_shape_slices(t->ndim, t->shape), &t->bytes))
		return k_err_set(j->err, K_ESHAPE, "'%s': %s is too large", p->c->path, e->name);
	p->n_parts++;
	return 0;
}

/* Llama 3's scaling of the rotation: a tensor that follows from the config. */
static int add_rope(struct planner *j)
{
	struct k_gguf_plan *p = j->p;
	int64_t pairs = p->hp.rope.dim / 2;
	float *factors;

	if (p->hp.rope.kind != K_ROPE_LLAMA3)
		return 0;
	factors = k_arena_array(&p->arena, (size_t)pairs, sizeof(*factors));
	if (!factors)
		return k_err_nomem(j->err, (size_t)pairs * sizeof(*factors), K_ROPE_FREQS);
	k_rope_factors(&p->hp.rope, factors);
	p->rope = factors;
	p->parts[p->n_parts++] = (struct k_gguf_part){ .name = K_ROPE_FREQS, .type = k_qtype_find("f32", NULL), .ndim = 1, .shape = { pairs },
		.bytes = (uint64_t)pairs * sizeof(*factors) };
	return 0;
}

static int64_t count_of(int ndim, const int64_t *shape)
{
	int64_t n = 0;

	return k_shape_count(ndim, shape, &n) ? n : -1;
}

static int set_order(struct planner *j, const struct spot *s, struct k_gguf_from *f)
{
	const struct k_gguf_part *t = &j->p->parts[f->part];
	int64_t rows = t->ndim > 1 ? k_shape_rows(t->ndim, t->shape) : k_shape_cols(t->ndim, t->shape);
	int32_t *order;

	if (!s->w->gguf_rows)
		return 0;
	order = k_arena_array(&j->p->arena, (size_t)rows, sizeof(*order));
	if (!order)
		return k_err_nomem(j->err, (size_t)rows * sizeof(*order), "an order of rows");
	s->w->gguf_rows(&j->p->hp, order, rows);
	f->order = order;
	f->unit = j->p->hp.head_dim;
	return 0;
}

/* What ways want of an entry: one slice where they take all of it; to hold it, as many values as the next one has; for a product, the norm right before. */
static int check_way(struct planner *j, int i, const struct spot *s)
{
	const struct k_entry *e = &j->p->c->entries[i];
	const struct k_gguf_way *way = j->p->from[i].way;
	char name[NAME_MAX_BYTES];

	if ((way == &k_gguf_product || (way == &k_gguf_neg_exp && !e->type->plain)) && k_entry_slices(e) != 1)
		return k_err_set(j->err, K_EUNSUP, "'%s': %s has %d dimensions, a GGUF takes 2 of it", j->p->c->path, e->name, e->ndim);
	if (way == &k_gguf_hold && (k_entry_slices(e) != 1 || count_of(e->ndim, e->shape) != j->p->hp.n_embd || !e->type->dequant))
		return k_err_set(j->err, K_ESHAPE, "'%s': %s has %lld values, the config wants %lld", j->p->c->path, e->name,
			(long long)count_of(e->ndim, e->shape), (long long)j->p->hp.n_embd);
	if (way != &k_gguf_product || (j->last && j->last->w == s->w - 1 && j->last->layer == s->layer && j->last->entry == i - 1))
		return 0;
	k_arch_name(name, sizeof(name), s->w[-1].name, j->p->prefix, s->layer, -1);
	return k_err_set(j->err, K_EUNSUP, "'%s': %s is not directly behind %s, with which it is one tensor of a GGUF", j->p->c->path, e->name, name);
}

static int add_entry(struct planner *j, int i, struct spot *s)
{
	static const struct { const char *slot; const struct k_gguf_way *way; const char *parts[2], *shapes[2]; } special[] = {
		{ "mla.kv_b", &k_gguf_kv_b, { "blk.{i}.attn_k_b.weight", "blk.{i}.attn_v_b.weight" }, { "H,r,n", "H,v,r" } },
		{ .slot = "kda.a_log", .way = &k_gguf_neg_exp },
		{ .slot = "res.attn_norm", .way = &k_gguf_hold }, { .slot = "res.attn_query", .way = &k_gguf_product },
		{ .slot = "res.ffn_norm", .way = &k_gguf_hold }, { .slot = "res.ffn_query", .way = &k_gguf_product },
		{ .slot = "res.norm", .way = &k_gguf_hold }, { .slot = "res.query", .way = &k_gguf_product },
	};
	const struct k_entry *e = &j->p->c->entries[i];
	struct k_gguf_from *f = &j->p->from[i];
	const char *one[2] = { s->w->gguf, NULL }, *shape[2] = { s->w->gguf_shape ? s->w->gguf_shape : s->w->shape, NULL };
	const char *const *names = one, *const *shapes = shape;
	int64_t have = count_of(e->ndim, e->shape), wanted = 0;
	int r = 0;

	s->entry = i;
	f->part = j->p->n_parts;
	for (size_t k = 0; k < K_LEN(special); k++)
		if (strcmp(special[k].slot, s->w->slot) == 0) {
			f->way = special[k].way;
			if (special[k].parts[0]) {
				names = special[k].parts;
				shapes = special[k].shapes;
			}
		}
	r = check_way(j, i, s);
	j->last = s;
	if (r < 0 || f->way == &k_gguf_hold)
		return r;
	for (int k = 0; r == 0 && k < 2 && names[k]; k++, f->n_parts++) {
		r = add_part(j, e, names[k], s->layer, shapes[k], &f->way);
		if (r == 0)
			wanted += count_of(j->p->parts[f->part + k].ndim, j->p->parts[f->part + k].shape);
	}
	if (r == 0 && have != wanted && !(s->w->pad_zero && have > wanted))
		r = k_err_set(j->err, K_ESHAPE, "'%s': %s has %lld values, the config wants %lld", j->p->c->path, e->name, (long long)have,
			(long long)wanted);
	return r < 0 ? r : set_order(j, s, f);
}

static int add_entries(struct planner *j, struct k_log *log)
{
	const struct k_ckpt *c = j->p->c;
	const char *first = NULL;
	int left = 0, r = 0;

	for (int i = 0; r == 0 && i < c->n_entries; i++) {
		struct spot *s = k_map_find(&j->by_name, c->entries[i].name, strlen(c->entries[i].name));

		if (strcmp(c->entries[i].role, "file") == 0)
			continue;
		if (s) {
			r = add_entry(j, i, s);
			continue;
		}
		first = first ? first : c->entries[i].name;
		left++;
	}
	if (r == 0 && left)
		k_logf(log, K_LOG_WARN, "'%s': %d tensors are no part of the text model and are left out, the first is %s", c->path, left, first);
	return r == 0 ? check_complete(j) : r;
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

/* Tensors stay whole: a file ends before the one that would make it longer than shard_size. */
static int place_parts(struct planner *j)
{
	struct k_gguf_plan *p = j->p;
	struct k_gguf_shard *s;

	p->shards = k_arena_array(&p->arena, (size_t)p->n_parts + 1, sizeof(*p->shards));
	if (!p->shards)
		return k_err_nomem(j->err, (size_t)p->n_parts * sizeof(*p->shards), "the list of files");
	p->n_shards = 1;
	for (int i = 0; i < p->n_parts; i++) {
		struct k_gguf_part *t = &p->parts[i];

		s = &p->shards[p->n_shards - 1];
		if (j->o->shard_size && s->n && t->bytes > j->o->shard_size - K_MIN(s->bytes, j->o->shard_size)) {
			s = &p->shards[p->n_shards++];
			s->first = i;
		}
		if (t->bytes > INT64_MAX - s->bytes - K_GGUF_ALIGN)
			return k_err_set(j->err, K_ESHAPE, "'%s' is too large", p->c->path);
		t->file = p->n_shards - 1;
		t->at = s->bytes;
		s->bytes = k_align_up(s->bytes + t->bytes, K_GGUF_ALIGN);
		s->n++;
	}
	if (p->n_shards > SHARDS_MOST)
		return k_err_set(j->err, K_EUSAGE, "--shard-size makes %d files, wanted at most %d", p->n_shards, SHARDS_MOST);
	return 0;
}

/* --- all -------------------------------------------------------------------------------------------------------------------- */

static int read_config(struct planner *j)
{
	struct k_gguf_plan *p = j->p;
	const char *where;
	int r;

	if (!p->c->config)
		return k_err_set(j->err, K_EUNSUP, "'%s' has no config.json: a GGUF is a model of a known architecture", p->c->path);
	where = k_arena_printf(&p->arena, "%s: config.json", p->c->path);
	if (!where)
		return k_err_nomem(j->err, strlen(p->c->path), "a path");
	r = k_json_parse(&p->config, p->c->config, p->c->config_len, K_JSON_STRICT, where, j->err);
	if (r == 0)
		r = k_arch_find(p->config, where, &p->arch, &p->text, &p->prefix, j->err);
	if (r == 0)
		r = k_arch_parse(p->arch, p->config, p->text, where, &p->hp, j->err);
	if (r == 0 && !p->arch->gguf_arch)
		r = k_err_set(j->err, K_EUNSUP, "'%s': GGUF has no form of the architecture %s that is known here", p->c->path, p->arch->name);
	return r;
}

static int make_plan(struct planner *j, struct k_log *log)
{
	struct k_gguf_plan *p = j->p;
	size_t n = (size_t)p->c->n_entries + 1;
	int r = read_config(j);

	if (r == 0)
		r = map_names(j);
	if (r < 0)
		return r;
	p->from = k_arena_array(&p->arena, n, sizeof(*p->from));
	p->parts = k_arena_array(&p->arena, 2 * n, sizeof(*p->parts));
	if (!p->from || !p->parts)
		return k_err_nomem(j->err, 2 * n * sizeof(*p->parts), "the list of tensors");
	r = add_rope(j);
	if (r == 0)
		r = add_entries(j, log);
	return r == 0 ? place_parts(j) : r;
}

int k_gguf_plan_new(struct k_gguf_plan **out, struct k_ckpt *c, const struct k_write_opts *o, struct k_log *log, struct k_err *err)
{
	struct planner j = { .p = k_calloc(1, sizeof(*j.p)), .o = o, .err = err };
	int r;

	*out = NULL;
	if (!j.p)
		return k_err_nomem(err, sizeof(*j.p), "a plan");
	j.p->c = c;
	k_arena_init(&j.p->arena);
	k_map_init(&j.by_name);
	r = make_plan(&j, log);
	k_map_fini(&j.by_name);
	k_free(j.spots);
	if (r < 0)
		k_gguf_plan_free(j.p);
	else
		*out = j.p;
	return r;
}

void k_gguf_plan_free(struct k_gguf_plan *p)
{
	if (!p)
		return;
	for (int i = 0; i < p->n_shards; i++)
		k_buf_fini(&p->shards[i].head);
	k_json_free(p->config);
	k_arena_fini(&p->arena);
	k_free(p);
}
