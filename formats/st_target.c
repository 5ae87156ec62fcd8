/* st_target.c: safetensors as what a stream makes of a checkpoint: one file, or a Hugging Face folder of shards, index, side files
 * and config.json.
 *
 *   copied      bytes of a tensor                       K_CUT_BYTES
 *   converted   rows of floats as another float         K_CUT_ROWS, one plane
 *   split       rows of a joined type                   K_CUT_ROWS, a plane of values, and one of scales, which lies behind all values
 *
 * Heads, weight_shape tensors and all small files are known before a weight is read: they are constants. */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include "formats/st.h"
#include "libcore/log.h"
#include "libcore/stream.h"

struct st {
	struct k_target t;
	struct k_st_plan *plan;
	struct k_arena arena;
	struct k_out_file *files; int n_files;
	uint64_t *head_len;             /* one a shard */
	struct k_buf *heads;            /* one a shard, then index and config */
	int64_t n_heads;
};

static const struct k_st_from *from_of(const struct st *s, int entry) { return &s->plan->from[entry]; }

/* --- blocks ----------------------------------------------------------------------------------------------------------------- */

static void cut(const struct k_target *t, int entry, struct k_cut *out)
{
	const struct st *s = t->arg;
	const struct k_st_from *f = from_of(s, entry);
	const struct k_entry *e = &s->plan->c->entries[entry];

	*out = (struct k_cut){ .how = f->units == 0 ? K_CUT_SKIP : f->how == K_ST_COPY ? K_CUT_BYTES : K_CUT_ROWS, .step = 1 };
	if (out->how != K_CUT_ROWS)
		return;
	out->step = f->how == K_ST_SPLIT ? f->split->scale_rows : 1;
	out->floats = f->how == K_ST_CONVERT;
	out->flat = f->how == K_ST_CONVERT && e->type->plain && !strchr(e->name, '*');
}

/* Bytes [at, at + n) of a part. */
static struct k_plane plane(const struct st *s, int64_t part, uint64_t at, size_t n)
{
	struct k_st_part p;

	k_st_part_get(s->plan, part, &p);
	return (struct k_plane){ .file = (int)p.shard, .at = s->head_len[p.shard] + p.begin + at, .n = n };
}

/* Bytes of an entry whose units are a part each. */
static struct k_plane run(const struct st *s, const struct k_st_from *f, uint64_t at, size_t n)
{
	if (n == 0)             /* rows without columns, whose type has scales of them all the same */
		return plane(s, f->part, 0, 0);
	return plane(s, f->part + (int64_t)(at / f->unit_bytes), at % f->unit_bytes, n);
}

static void place(const struct k_target *t, struct k_block *b)
{
	const struct st *s = t->arg;
	const struct k_st_from *f = from_of(s, b->entry);
	const struct k_entry *e = &s->plan->c->entries[b->entry];
	int64_t cols = k_entry_cols(e), row = b->slice * k_entry_rows(e) + b->row;

	if (f->how == K_ST_SPLIT) {
		size_t value_row = (size_t)(cols / f->split->cols_per_value) * (size_t)f->split->value_bytes;
		size_t scale_row = (size_t)k_st_scale_cols(f->split, cols) * (size_t)f->scale->elem_bytes;
		int64_t part = f->part + b->slice * k_st_parts_of(f) + f->split->has_shape;

		b->dst[0] = plane(s, part, (uint64_t)b->row * value_row, (size_t)b->n_rows * value_row);
		b->dst[1] = plane(s, part + 1, (uint64_t)(b->row / f->split->scale_rows) * scale_row, (size_t)k_div_up(b->n_rows, f->split->scale_rows) * scale_row);
		return;
	}
	if (f->how == K_ST_COPY)
		b->dst[0] = run(s, f, b->off, b->n_src);
	else
		b->dst[0] = run(s, f, (uint64_t)(row * cols) * (uint64_t)f->to->elem_bytes, (size_t)(b->n_rows * cols) * (size_t)f->to->elem_bytes);
}

/* Scales in the dtype that the file has had. They are exact in it, or the container is not what it says. */
static int put_scales(uint8_t *dst, const float *src, int64_t n, const struct k_qtype *as, int64_t row, struct k_err *err)
{
	int r = as->quant(dst, src, n, 1, &(struct k_quant_opts){ 0 }, err);
	float back;

	if (r < 0 && r != K_ENO)
		return r;
	for (int64_t i = 0; i < n; i++) {
		as->dequant(&back, dst + i * as->elem_bytes, 1, 1, 0);
		if (back != src[i])
			return k_err_set(err, K_EFORMAT, "scale %g at row %lld is none of %s, which the entry's form promises", (double)src[i], (long long)(row + i), as->name);
	}
	return 0;
}

static int split(const struct st *s, struct k_block *b, struct k_err *err)
{
	const struct k_st_from *f = from_of(s, b->entry);
	const struct k_st_split *k = f->split;
	const struct k_qtype *type = s->plan->c->entries[b->entry].type;
	int64_t cols = k_entry_cols(&s->plan->c->entries[b->entry]);
	size_t value_row = (size_t)(cols / k->cols_per_value) * (size_t)k->value_bytes, step = type->granule_bytes(cols, type->granule);
	size_t scale_row = (size_t)k_st_scale_cols(k, cols) * (size_t)f->scale->elem_bytes;
	bool narrow = strcmp(f->scale->st_dtype, k->scale_dtype) != 0;
	int r = 0;

	for (int64_t row = 0; r == 0 && row < b->n_rows; row += type->granule) {
		uint8_t *scales = b->dst[1].p + (size_t)(row / k->scale_rows) * scale_row;
		int n = (int)K_MIN((int64_t)type->granule, b->n_rows - row);
		float one;

		k->split(type, b->src + (size_t)(row / type->granule) * step, b->dst[0].p + (size_t)row * value_row, narrow ? (uint8_t *)&one : scales, cols, n);
		if (narrow)
			r = put_scales(scales, &one, 1, f->scale, b->row + row, err);
	}
	return r;
}

static int make(const struct k_target *t, struct k_block *b, struct k_err *err)
{
	const struct st *s = t->arg;
	const struct k_st_from *f = from_of(s, b->entry);
	int64_t cols = k_entry_cols(&s->plan->c->entries[b->entry]);
	struct k_err why;

	if (f->how == K_ST_SPLIT)
		return split(s, b, err);
	if (f->to->quant(b->dst[0].p, b->before, cols, (int)b->n_rows, &(struct k_quant_opts){ 0 }, err) == 0)
		return 0;
	why = *err;
	return k_err_set(err, why.code, "as %s: %s", f->to->name, why.msg);
}

static void decode(const struct k_target *t, struct k_block *b)
{
	const struct st *s = t->arg;
	const struct k_st_from *f = from_of(s, b->entry);
	const struct k_st_split *k = f->split;
	int64_t cols = k_entry_cols(&s->plan->c->entries[b->entry]);
	size_t value_row, scale_row;
	float one;

	if (f->how != K_ST_SPLIT) {
		f->to->dequant(b->after, b->dst[0].p, b->n_values, 1, 0);
		return;
	}
	value_row = (size_t)(cols / k->cols_per_value) * (size_t)k->value_bytes;
	scale_row = (size_t)k_st_scale_cols(k, cols) * (size_t)f->scale->elem_bytes;
	for (int64_t row = 0; row < b->n_rows; row++) {
		const uint8_t *scales = b->dst[1].p + (size_t)(row / k->scale_rows) * scale_row;

		if (strcmp(f->scale->st_dtype, k->scale_dtype) != 0) {
			f->scale->dequant(&one, scales, 1, 1, 0);
			scales = (const uint8_t *)&one;
		}
		k->join(b->after + row * cols, b->dst[0].p + (size_t)row * value_row, scales, cols);
	}
}

/* A tensor of a unit, for the certificate. */
static void name(const struct k_target *t, int entry, int64_t slice, int plane_index, char *buf, size_t n)
{
	const struct st *s = t->arg;
	const struct k_st_from *f = from_of(s, entry);
	const struct k_entry *e = &s->plan->c->entries[entry];
	int64_t per = strchr(e->name, '*') ? k_entry_slices(e) / K_MAX(f->units, (int64_t)1) : 1, unit = f->units > 1 ? slice / K_MAX(per, (int64_t)1) : 0;
	bool split = f->how == K_ST_SPLIT;
	char text[K_ST_NAME];

	snprintf(buf, n, "%s", k_st_part_name(s->plan, f->part + unit * k_st_parts_of(f) + (split ? f->split->has_shape + plane_index : 0), text));
}

static void free_target(struct k_target *t)
{
	struct st *s = t->arg;

	for (int64_t i = 0; s->heads && i < s->n_heads; i++)
		k_buf_fini(&s->heads[i]);
	k_arena_fini(&s->arena);
	k_st_plan_free(s->plan);
	k_free(s);
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

/* weight_shape of all units of an entry is one text. */
static const void *shape_of(struct st *s, const struct k_entry *e, uint64_t bytes, struct k_err *err)
{
	int64_t wide[2] = { k_entry_rows(e), k_entry_cols(e) };
	int32_t narrow[2] = { (int32_t)wide[0], (int32_t)wide[1] };
	void *p = k_arena_alloc(&s->arena, 16);

	if (p)
		memcpy(p, bytes == 16 ? (void *)wide : (void *)narrow, (size_t)bytes);
	else
		k_err_nomem(err, 16, "the shapes of tensors");
	return p;
}

static int add_file(struct st *s, const char *name, uint64_t bytes, struct k_out_const *consts, int64_t n_consts, struct k_err *err)
{
	if (!consts)
		return k_err_nomem(err, sizeof(*consts), "the list of files");
	s->files[s->n_files++] = (struct k_out_file){ .name = name, .bytes = bytes, .consts = consts, .n_consts = n_consts };
	return 0;
}

/* A file whose bytes are known. */
static int add_text(struct st *s, const char *name, const void *p, size_t n, struct k_err *err)
{
	struct k_out_const *c = k_arena_alloc(&s->arena, sizeof(*c));

	if (c)
		*c = (struct k_out_const){ 0, p, n };
	return add_file(s, name, n, c, n > 0, err);
}

static const char *shard_name(struct st *s, int64_t shard)
{
	long long n = (long long)s->plan->n_shards;

	if (n == 1)
		return "model.safetensors";
	return k_arena_printf(&s->arena, "model-%05lld-of-%05lld.safetensors", (long long)shard + 1, n);
}

/* The tensors weight_shape of a shard, behind its head. */
static int add_shapes(struct st *s, int64_t k, struct k_out_const **consts, struct k_err *err)
{
	const struct k_st_shard *shard = &s->plan->shards[k];
	const void *shape = NULL;
	int last = -1;

	for (int64_t i = shard->first; i < shard->first + shard->n; i++) {
		const struct k_st_from *f;
		struct k_st_part t;

		k_st_part_get(s->plan, i, &t);
		f = from_of(s, t.entry);
		if (f->how != K_ST_SPLIT || !f->split->has_shape || (i - f->part) % k_st_parts_of(f) != 0)
			continue;
		if (t.entry != last)
			shape = shape_of(s, &s->plan->c->entries[t.entry], t.bytes, err);
		if (!shape)
			return err->code;
		last = t.entry;
		*(*consts)++ = (struct k_out_const){ s->head_len[k] + t.begin, shape, (size_t)t.bytes };
	}
	return 0;
}

/* Heads and shapes. */
static int add_shards(struct st *s, bool folder, struct k_err *err)
{
	const struct k_st_plan *p = s->plan;
	int64_t n = p->n_shards;
	struct k_out_const *consts;

	for (int i = 0; i < p->c->n_entries; i++)
		n += p->from[i].how == K_ST_SPLIT && p->from[i].split->has_shape ? p->from[i].units : 0;
	consts = k_arena_array(&s->arena, (size_t)n, sizeof(*consts));
	if (!consts)
		return k_err_nomem(err, (size_t)n * sizeof(*consts), "the list of tensors");
	for (int64_t k = 0; k < p->n_shards; k++) {
		struct k_out_const *c = consts;
		const char *name = folder ? shard_name(s, k) : NULL;

		if (folder && !name)
			return k_err_nomem(err, 32, "a file name");
		if (k_st_head(p, k, &s->heads[k], err) < 0)
			return err->code;
		s->head_len[k] = s->heads[k].len;
		*consts++ = (struct k_out_const){ 0, s->heads[k].data, s->heads[k].len };
		if (add_shapes(s, k, &consts, err) < 0)
			return err->code;
		if (add_file(s, name, s->head_len[k] + p->shards[k].bytes, c, consts - c, err) < 0)
			return err->code;
	}
	return 0;
}

struct named { const char *name; int64_t shard; };

static int by_name(const void *a, const void *b) { return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name); }

/* The names of all tensors, sorted; they live as long as the arena. NULL: no memory. */
static struct named *name_all(const struct k_st_plan *p, struct k_arena *arena)
{
	struct named *v = k_arena_array(arena, (size_t)p->n_parts + 1, sizeof(*v));
	char name[K_ST_NAME];

	for (int64_t k = 0; v && k < p->n_shards; k++)
		for (int64_t i = p->shards[k].first; i < p->shards[k].first + p->shards[k].n; i++) {
			v[i] = (struct named){ k_arena_strdup(arena, k_st_part_name(p, i, name)), k };
			if (!v[i].name)
				return NULL;
		}
	if (v)
		qsort(v, (size_t)p->n_parts, sizeof(*v), by_name);
	return v;
}

/* {"metadata": {"total_size"}, "weight_map": {tensor: shard}} as k_json_dump writes it, indented and sorted. Half a million names are written as they
 * are: as an object they would take as much memory as all that was known of them before. */
static void put_index(struct k_buf *b, const struct k_st_plan *p, const struct named *sorted, const char *const *shards)
{
	k_buf_printf(b, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {", (unsigned long long)p->bytes);
	for (int64_t i = 0; i < p->n_parts; i++) {
		k_buf_puts(b, i ? ",\n    " : "\n    ");
		k_json_quote(b, sorted[i].name, strlen(sorted[i].name));
		k_buf_printf(b, ": \"%s\"", shards[sorted[i].shard]);
	}
	k_buf_puts(b, p->n_parts ? "\n  }\n}\n" : "}\n}\n");
}

static int add_index(struct st *s, struct k_err *err)
{
	const struct k_st_plan *p = s->plan;
	struct k_buf *b = &s->heads[p->n_shards];
	const char **shards = k_arena_array(&s->arena, (size_t)p->n_shards + 1, sizeof(*shards));
	struct k_arena names;
	struct named *sorted;
	bool ok = shards;

	for (int64_t i = 0; ok && i < p->n_shards; i++) {
		shards[i] = shard_name(s, i);
		ok = shards[i] != NULL;
	}
	k_arena_init(&names);
	sorted = ok ? name_all(p, &names) : NULL;
	if (sorted)
		put_index(b, p, sorted, shards);
	k_arena_fini(&names);
	if (!sorted)
		return k_err_nomem(err, (size_t)p->n_parts * sizeof(*sorted), "the index");
	if (k_buf_ok(b, "the index", err) < 0)
		return err->code;
	return add_text(s, K_ST_INDEX, b->data, b->len, err);
}

/* Names of side files come from the checkpoint, and only known ones become names of files. */
static int add_side_files(struct st *s, const struct k_files *files, const struct k_ctx *ctx, struct k_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < files->n; i++) {
		const struct k_file *one = &files->v[i];

		if (strcmp(one->name, "config.json") == 0)
			continue;
		if (k_files_known(one->name))
			r = add_text(s, one->name, one->data, one->len, err);
		else
			k_logf(ctx->log, K_LOG_WARN, "'%s': the side file '%.100s' is left out", s->plan->c->path, one->name);
	}
	return r;
}

static int add_files(struct st *s, bool folder, const struct k_write_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_ckpt *c = s->plan->c;
	struct k_buf *config = &s->heads[s->plan->n_shards + 1];
	const struct k_files *files;
	int r = k_ckpt_files(c, &files, err);

	if (r == 0) {
		s->files = k_arena_array(&s->arena, (size_t)s->plan->n_shards + (size_t)files->n + 2, sizeof(*s->files));
		r = s->files ? 0 : k_err_nomem(err, sizeof(*s->files), "the list of files");
	}
	if (r == 0 && (s->plan->n_parts || !folder))
		r = add_shards(s, folder, err);
	if (r < 0 || !folder)
		return r;
	if (s->plan->n_shards > 1)
		r = add_index(s, err);
	if (r == 0)
		r = add_side_files(s, files, ctx, err);
	if (r == 0 && c->config)
		r = k_hf_config(s->plan, o, config, err);
	return r == 0 && c->config ? add_text(s, "config.json", config->data, config->len, err) : r;
}

int k_st_target_new(struct k_target **out, struct k_st_plan *plan, bool folder, const struct k_write_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct st *s = k_calloc(1, sizeof(*s));
	int r = 0;

	*out = NULL;
	if (!s) {
		k_st_plan_free(plan);
		return k_err_nomem(err, sizeof(*s), "a plan");
	}
	s->plan = plan;
	k_arena_init(&s->arena);
	s->n_heads = plan->n_shards + 2;
	s->heads = k_arena_array(&s->arena, (size_t)s->n_heads, sizeof(*s->heads));
	s->head_len = k_arena_array(&s->arena, (size_t)plan->n_shards, sizeof(*s->head_len));
	for (int64_t i = 0; s->heads && i < s->n_heads; i++)
		k_buf_init(&s->heads[i], 0);
	if (!s->heads || !s->head_len)
		r = k_err_nomem(err, (size_t)s->n_heads * sizeof(*s->heads), "a plan");
	if (r == 0)
		r = add_files(s, folder, o, ctx, err);
	s->t = (struct k_target){ .n_files = s->n_files, .files = s->files, .cut = cut, .place = place, .make = make, .decode = decode, .name = name, .free = free_target, .arg = s };
	if (r < 0) {
		free_target(&s->t);
		return r;
	}
	*out = &s->t;
	return 0;
}
