/* verify.c: see verify.h. Rows of both sides are read side by side, in steps that are whole granules of both; threads compare them. */
#include "libcore/base.h"
#include "formats/verify.h"
#include "formats/verify_value.h"
#include "libcore/arch.h"
#include "libcore/kmf.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "libcore/resident.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEP_BYTES = 2 << 20 };

struct verify {
	struct k_ckpt *in, *out;
	struct k_map names;             /* of in; without a config each expert is an entry */
	const struct k_quant_opts *how; /* values were quantised; NULL: none were */
	const struct k_ctx *ctx;
	/* Where in in each entry of out begins, and is it that slice alone; in is -1 for a side file. */
	struct pair { int in; int64_t slice; bool one; } *of;
	int entry; int64_t slice, row;  /* of out: next to read */
	const char *prefix;             /* of the text model's names in the source, where another model is around it; a GGUF has none */
	struct k_progress progress;
};

struct slot {
	int entry; int64_t slice, row, n;
	uint8_t *a, *b; size_t cap_a, cap_b, n_b;
	float *x, *y; size_t cap;       /* values of the rows */
};

/* --- which is which ------------------------------------------------------------------------------------------------------- */

static bool is_left_out(const struct k_target *t, int i)
{
	struct k_cut cut;

	t->cut(t, i, &cut);
	return cut.how == K_CUT_SKIP || cut.how == K_CUT_HOLD || (t->derived && t->derived(t, i));
}

/* A safetensors file has no config that would join its experts: there each is a tensor of its own. */
static struct pair find(const struct verify *v, const char *name)
{
	const struct k_ckpt *in = v->in;
	struct pair p = { .in = k_ckpt_named(in, &v->names, name) };
	char stack[1100], unit[1100];

	for (const char *s = name; p.in < 0 && *s; s++) {
		char *end;
		long long n = *s >= '0' && *s <= '9' && (s == name || s[-1] == '.') ? strtoll(s, &end, 10) : -1;

		if (n < 0 || snprintf(stack, sizeof(stack), "%.*s*%s", (int)(s - name), name, end) >= (int)sizeof(stack))
			continue;
		p = (struct pair){ k_ckpt_named(in, &v->names, stack), n, true };
		if (p.in >= 0 && (n >= k_entry_slices(&in->entries[p.in]) ||
		    strcmp(k_entry_slice_name(&in->entries[p.in], n, unit, sizeof(unit)), name) != 0))
			p.in = -1;
	}
	return p;
}

static int read_prefix(struct verify *v, struct k_err *err)
{
	const struct k_arch *arch;
	const struct k_json *text;
	struct k_json *config;
	int r;

	v->prefix = "";
	if (!v->in->arch || !v->in->config)
		return 0;
	r = k_json_parse(&config, v->in->config, v->in->config_len, K_JSON_STRICT, v->in->path, err);
	if (r < 0)
		return r;
	r = k_arch_find(config, v->in->path, &arch, &text, &v->prefix, err);
	k_json_free(config);
	return r;
}

static struct pair find_source(const struct verify *v, const char *name)
{
	struct pair p = find(v, name);
	char full[1100];

	if (p.in < 0 && *v->prefix && snprintf(full, sizeof(full), "%s%s", v->prefix, name) < (int)sizeof(full))
		p = find(v, full);
	return p;
}

/* Dimensions without those of 1. */
static int squeeze(const struct k_entry *e, int64_t *dims)
{
	int n = 0;

	for (int i = 0; i < e->ndim; i++)
		if (e->shape[i] != 1)
			dims[n++] = e->shape[i];
	return n;
}

/* Vectors and convolutions have their dimensions by the spelling of the file: dimensions of 1 come and go, and heads times their size
 * is one or two. Of plain types that are the same elements. one: a slice of a alone. */
static bool same_shape(const struct k_entry *a, bool one, const struct k_entry *b)
{
	int64_t x[K_MAX_DIMS], y[K_MAX_DIMS], n, m;
	int nx, ny;

	if ((one ? 1 : k_entry_slices(a)) == k_entry_slices(b) && k_entry_rows(a) == k_entry_rows(b) && k_entry_cols(a) == k_entry_cols(b))
		return true;
	if (one || !a->type->plain || !b->type->plain || !k_shape_count(a->ndim, a->shape, &n) || !k_shape_count(b->ndim, b->shape, &m) || n != m)
		return false;
	nx = squeeze(a, x);
	ny = squeeze(b, y);
	return nx < 2 || ny < 2 || (nx == ny && memcmp(x, y, (size_t)nx * sizeof(*x)) == 0);
}

/* Every tensor that was to be written is there once, with the shape that it had; seen counts the slices of each of the source. */
static int match(struct verify *v, const struct k_target *t, int64_t *seen, struct k_err *err)
{
	for (int i = 0; i < v->out->n_entries; i++) {
		const struct k_entry *o = &v->out->entries[i], *e;
		bool file = strcmp(o->role, "file") == 0;

		v->of[i] = file ? (struct pair){ .in = -1 } : find_source(v, o->name);
		if (file)
			continue;
		if (v->of[i].in < 0)
			return k_err_set(err, K_ECHECK, "'%s': %s is no tensor of the source", v->out->path, o->name);
		e = &v->in->entries[v->of[i].in];
		/* What is computed anew has the shape that the output's own config wants. */
		if (!is_left_out(t, v->of[i].in) && !same_shape(e, v->of[i].one, o))
			return k_err_set(err, K_ECHECK, "'%s': %s has another shape than in the source", v->out->path, o->name);
		seen[v->of[i].in] += v->of[i].one ? 1 : k_entry_slices(e);
		if (is_left_out(t, v->of[i].in))
			v->of[i].in = -1;
	}
	for (int i = 0; i < v->in->n_entries; i++)
		if (strcmp(v->in->entries[i].role, "file") != 0 && !is_left_out(t, i) && seen[i] != k_entry_slices(&v->in->entries[i]))
			return k_err_set(err, K_ECHECK, "'%s': %s is missing", v->out->path, v->in->entries[i].name);
	return 0;
}

/* --- values --------------------------------------------------------------------------------------------------------------- */

/* Types without a formula here (GGUF's that are read only) have one decoder in this program. */
static void decode(const struct k_qtype *t, const uint8_t *p, int64_t cols, int64_t n, float *dst)
{
	size_t step = t->granule_bytes(cols, t->granule);
	k_verify_formula *value = k_verify_formula_of(t);

	for (int64_t r = 0; r < n; r++, dst += cols) {
		const uint8_t *granule = p + (size_t)(r / t->granule) * step;
		int rows = (int)K_MIN((int64_t)t->granule, n - r / t->granule * t->granule), row = (int)(r % t->granule);

		if (!value)
			t->dequant(dst, granule, cols, rows, row);
		for (int64_t c = 0; value && c < cols; c++)
			dst[c] = (float)value(granule, cols, rows, row, c);
	}
}

/* The same bits, so that a sign on a zero counts; any NaN is as good as another. */
static bool same(float a, float b) { return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b)); }

static float largest(const float *x, int64_t n)
{
	float top = 0;

	for (int64_t i = 0; i < n; i++)
		top = fmaxf(top, fabsf(x[i]));
	return top;
}

static int compare(const struct verify *v, const struct slot *s, struct k_err *err)
{
	const struct k_entry *e = &v->out->entries[s->entry];
	int64_t cols = k_entry_cols(e), group = e->type->group > 1 ? e->type->group : cols, last = -1;
	bool wide = e->type->granule > 16, exact = strcmp(e->type->name, v->in->entries[v->of[s->entry].in].type->name) == 0;
	/* A scale of 128 x 128 values belongs to rows that may not be here: all that is here is taken. */
	float top = wide ? largest(s->x, s->n * cols) : 0;
	char name[1100];

	for (int64_t i = 0; i < s->n * cols; i++) {
		int64_t c = i % cols, first = i - c % group;
		float want;

		if (same(s->x[i], s->y[i]))
			continue;
		if (k_verify_round(e->type, s->x[i], &want) && same(want, s->y[i]))
			continue;
		if (!wide && first != last)
			top = largest(s->x + first, K_MIN(group, cols - c / group * group));
		last = first;
		if (exact || !k_verify_fits(e->type, v->how, s->x[i], s->y[i], top))
			return k_err_set(err, K_ECHECK, "'%s': %s: row %lld, column %lld is %.9g, the source has %.9g", v->out->path,
				k_entry_slice_name(e, s->slice, name, sizeof(name)), (long long)(s->row + i / cols), (long long)c, s->y[i], s->x[i]);
	}
	return 0;
}

/* --- the walk ------------------------------------------------------------------------------------------------------------- */

/* Rows that are compared at once: whole granules. */
static int64_t step_of(int64_t granule, int64_t cols)
{
	cols = K_MAX(cols, 1);
	return granule * K_MAX(STEP_BYTES / 4 / cols / granule, 1);
}

/* Of each value both sides are there, as they are stored and in f32, of up to four bytes each. */
static uint64_t slot_memory(int64_t granule, const struct k_entry *e)
{
	int64_t cols = k_entry_cols(e);

	return 16 * (uint64_t)K_MIN(step_of(granule, cols), k_entry_rows(e)) * (uint64_t)cols;
}

static int room(void *pp, size_t *cap, size_t n, struct k_err *err)
{
	void **p = pp;

	if (n <= *cap)
		return 0;
	k_free(*p);
	*cap = 0;
	*p = k_alloc(n);
	if (!*p)
		return k_err_nomem(err, n, "rows to compare");
	*cap = n;
	return 0;
}

/* Where a row of e begins; cols: those of the output, for elements of plain types lie one behind the other, whatever the rows. */
static uint64_t place_of(const struct k_entry *e, int64_t slice, int64_t rows, int64_t row, int64_t cols)
{
	if (e->type->plain)
		return k_qtype_rows_bytes(e->type, cols, slice * rows + row);
	return (uint64_t)slice * k_entry_slice_bytes(e) + k_qtype_rows_bytes(e->type, cols, row);
}

static bool next(struct verify *v)
{
	for (; v->entry < v->out->n_entries; v->entry++, v->slice = v->row = 0) {
		const struct k_entry *e = &v->out->entries[v->entry];

		if (v->of[v->entry].in < 0 || e->bytes == 0)
			continue;
		if (v->row == k_entry_rows(e)) {
			v->slice++;
			v->row = 0;
		}
		if (v->slice < k_entry_slices(e))
			return true;
	}
	return false;
}

static int64_t granule_of(const struct verify *v, int entry)
{
	return K_MAX(v->in->entries[v->of[entry].in].type->granule, v->out->entries[entry].type->granule);
}

static int read_rows(void *arg, void *item, struct k_err *err)
{
	struct verify *v = arg;
	struct slot *s = item;
	const struct k_entry *a, *b;
	struct pair at;
	size_t n_a;
	int64_t cols;
	int r = k_ctx_check(v->ctx, err);

	if (r < 0 || !next(v))
		return r;
	b = &v->out->entries[v->entry];
	at = v->of[v->entry];
	a = &v->in->entries[at.in];
	cols = k_entry_cols(b);
	*s = (struct slot){ v->entry, v->slice, v->row, K_MIN(step_of(granule_of(v, v->entry), cols), k_entry_rows(b) - v->row), s->a, s->b, s->cap_a, s->cap_b, 0, s->x, s->y, s->cap };
	n_a = k_qtype_rows_bytes(a->type, cols, s->n);
	s->n_b = k_qtype_rows_bytes(b->type, cols, s->n);
	if (room(&s->a, &s->cap_a, n_a, err) < 0 || room(&s->b, &s->cap_b, s->n_b, err) < 0)
		return err->code;
	r = k_ckpt_read(v->in, at.in, place_of(a, at.slice + s->slice, k_entry_rows(b), s->row, cols), s->a, n_a, err);
	if (r == 0)
		r = k_ckpt_take(v->out, v->entry, place_of(b, s->slice, k_entry_rows(b), s->row, cols), s->b, s->n_b, err);
	v->row += s->n;
	return r < 0 ? r : 1;
}

static int work(void *arg, void *item, struct k_err *err)
{
	struct verify *v = arg;
	struct slot *s = item;
	const struct k_qtype *a = v->in->entries[v->of[s->entry].in].type, *b = v->out->entries[s->entry].type;
	int64_t cols = k_entry_cols(&v->out->entries[s->entry]);
	size_t n = (size_t)s->n * (size_t)cols * sizeof(float);

	if (!a->dequant || !b->dequant)
		return a == b && memcmp(s->a, s->b, s->n_b) == 0 ? 0 : k_err_set(err, K_ECHECK, "'%s': %s differs from the source", v->out->path,
			v->out->entries[s->entry].name);
	if (n == 0)             /* rows without columns: scales at most */
		return 0;
	if (n > s->cap) {
		k_free(s->x);
		k_free(s->y);
		s->cap = 0;
		s->x = k_alloc(n);
		s->y = k_alloc(n);
		if (!s->x || !s->y)
			return k_err_nomem(err, 2 * n, "values to compare");
		s->cap = n;
	}
	decode(a, s->a, cols, s->n, s->x);
	decode(b, s->b, cols, s->n, s->y);
	return compare(v, s, err);
}

static int count(void *arg, void *item, struct k_err *err K_UNUSED)
{
	struct verify *v = arg;
	const struct slot *s = item;

	k_progress_step(&v->progress, s->n_b);
	return 0;
}

static void drop(void *arg K_UNUSED, void *item)
{
	struct slot *s = item;

	k_free(s->a);
	k_free(s->b);
	k_free(s->x);
	k_free(s->y);
}

/* Compares everything, once it is known which is which. */
static int walk(struct verify *v, struct k_err *err)
{
	struct k_pipe pipe = { .item_bytes = sizeof(struct slot), .read = read_rows, .work = work, .write = count, .drop = drop, .arg = v };
	uint64_t total = 0, one = 0;
	int r;

	for (int i = 0; i < v->out->n_entries; i++) {
		if (v->of[i].in < 0)
			continue;
		total += v->out->entries[i].bytes;
		one = K_MAX(one, slot_memory(granule_of(v, i), &v->out->entries[i]));
	}
	pipe.depth = k_pool_depth(v->ctx, k_resident().now, one);
	k_progress_begin(&v->progress, v->ctx->log, "verifying", total, "bytes");
	r = k_pool_pipe(v->ctx->pool, &pipe, err);
	k_progress_end(&v->progress);
	return r;
}

int k_verify(struct k_ckpt *in, const struct k_target *target, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	struct verify v = { .in = in, .how = target->quant, .ctx = ctx };
	int64_t *seen;
	int r = k_format_open(&v.out, path, false, ctx, err);

	if (r < 0)
		return r;
	k_map_init(&v.names);
	v.of = k_calloc((size_t)v.out->n_entries + 1, sizeof(*v.of));
	seen = k_calloc((size_t)in->n_entries + 1, sizeof(*seen));
	r = target->base ? k_kmf_set_base(v.out, target->base, err) : 0;
	if (r == 0)
		r = v.of && seen ? read_prefix(&v, err) : k_err_nomem(err, (size_t)v.out->n_entries * sizeof(*v.of), "the tensors");
	if (r == 0)
		r = k_ckpt_names(in, &v.names, err);
	if (r == 0)
		r = match(&v, target, seen, err);
	k_free(seen);
	if (r == 0)
		r = walk(&v, err);
	if (r == 0)
		r = k_ckpt_finish(v.out, err);
	k_free(v.of);
	k_map_fini(&v.names);
	k_ckpt_close(v.out);
	return r;
}

static int verify_job(const struct k_job *job, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	return k_verify(job->stream.in, job->stream.target, path, ctx, err);
}

/* The output's tables: what its heads become when they are read (two and a half times their bytes, as measured), and its entries, of which there are
 * as many as the source has. */
static uint64_t tables_memory(const struct k_stream *s)
{
	uint64_t n = 0;

	for (int i = 0; i < s->target->n_files; i++)
		for (int64_t k = 0; k < s->target->files[i].n_consts; k++)
			n += 5 * s->target->files[i].consts[k].n / 2;
	for (int i = 0; i < s->in->n_entries; i++) {
		struct k_leaves l;

		k_entry_leaves(&s->in->entries[i], &l);
		n += sizeof(struct k_entry) + strlen(s->in->entries[i].name) + 200 + 32 * l.n;
	}
	return n;
}

static uint64_t job_memory(const struct k_job *job, const struct k_ctx *ctx)
{
	const struct k_stream *s = &job->stream;
	uint64_t rest = k_stream_rest(s) + tables_memory(s), one = 0;

	for (int i = 0; i < s->in->n_entries; i++) {
		const struct k_entry *e = &s->in->entries[i];
		struct k_cut cut = { .step = 1 };

		if (strcmp(e->role, "file") == 0)
			continue;
		s->target->cut(s->target, i, &cut);
		one = K_MAX(one, slot_memory(K_MAX(e->type->granule, cut.how == K_CUT_ROWS ? cut.step : 1), e));
	}
	return rest + (uint64_t)k_pool_depth(ctx, rest, one) * one;
}

const struct k_job_verify k_verify_job = { verify_job, job_memory };
