/* rederive.c: one tensor again: the rows of the model's history that come after the source's own, followed for this tensor alone, and the
 * bytes compared.
 *
 *   source's bytes --step--> --step--> ... = the model's bytes?
 *
 * A few rows at a time, whole granules of every type on the way, so memory does not grow with the tensor. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"
#include "formats/format.h"
#include "libcore/hash.h"
#include "libcore/history.h"
#include "libcore/import.h"
#include "libcore/kmf_target.h"
#include "libcore/recipe.h"
#include "libcore/rename.h"
#include <stdio.h>

enum { MOST_STEPS = 16, BLOCK = 2 << 20 };

struct recipe {
	struct k_ckpt *model, *source;
	bool text_only, renamed;        /* the source is opened as --text-only and --name-map do */
	int i, j;                       /* the entry in the model, in the source */
	int64_t slice, n_slices;        /* which of them; one expert, or all */
	struct k_json *history;         /* the model's */
	int n;                          /* types[0] is the source's, types[n] the model's */
	const struct k_qtype *types[MOST_STEPS + 1];
	struct k_quant_opts quant[MOST_STEPS + 1];      /* how types[k] is made of types[k - 1] */
};

/* --- the steps ------------------------------------------------------------------------------------------------------------ */

/* One step for all entries; the one that is looked for has its next type. now: the entries as they are, and then as they become. */
static int follow(struct recipe *p, const struct k_json *row, bool last, struct k_entry *now, struct k_err *err)
{
	struct k_ckpt c = *p->source;
	size_t size = (size_t)c.n_entries * sizeof(*now);
	struct k_entry *out = k_calloc((size_t)c.n_entries + 1, sizeof(*out));
	struct k_quant_opts q;
	int r;

	if (!out)
		return k_err_nomem(err, size, "the entries");
	memcpy(out, now, size);
	c.entries = now;
	c.log = NULL;
	r = k_recipe_apply(row, &c, last ? p->model : NULL, out, &q, err);
	if (r == 0 && out[p->j].type != now[p->j].type) {
		p->types[++p->n] = out[p->j].type;
		p->quant[p->n] = q;
	}
	if (r == 0)
		memcpy(now, out, size);
	k_free(out);
	return r;
}

static int follow_all(struct recipe *p, const struct k_json *own, struct k_err *err)
{
	size_t n_own = k_json_len(own), n = k_json_len(p->history), size = (size_t)p->source->n_entries * sizeof(struct k_entry);
	struct k_entry *now = k_calloc((size_t)p->source->n_entries + 1, sizeof(*now));
	int r = 0;

	if (!now)
		return k_err_nomem(err, size, "the entries");
	memcpy(now, p->source->entries, size);
	p->types[0] = now[p->j].type;
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct k_json *row = k_json_at(p->history, i);

		if (i >= n_own)
			r = p->n < MOST_STEPS ? follow(p, row, i == n - 1, now, err) :
				k_err_set(err, K_EUNSUP, "'%s': more than %d steps", p->model->path, MOST_STEPS);
		else if (!k_json_equal(row, k_json_at(own, i)))
			r = k_err_set(err, K_EUNSUP, "'%s' was not made of '%s': their histories part at row %zu", p->model->path, p->source->path, i + 1);
	}
	if (r == 0 && n < n_own)
		r = k_err_set(err, K_EUNSUP, "'%s' was not made of '%s', whose history is longer", p->model->path, p->source->path);
	k_free(now);
	return r;
}

static int plan(struct recipe *p, struct k_err *err)
{
	const struct k_entry *to = &p->model->entries[p->i], *from;
	struct k_json *own = NULL;
	int r;

	p->j = k_ckpt_find(p->source, to->name);
	if (p->j < 0)
		return k_err_set(err, K_ENOENT, "'%s': no tensor %s, of which '%s' could be made%s", p->source->path, to->name, p->model->path,
			p->renamed ? "" : "; --name-map FILE gives tensors other names");
	if (p->renamed && (!k_import_raw(p->source, p->j, 0) || p->source->entries[p->j].source))
		return k_err_set(err, K_EUSAGE, "'%s': --name-map is for folders and safetensors files", p->source->path);
	from = &p->source->entries[p->j];
	if (from->ndim != to->ndim || memcmp(from->shape, to->shape, (size_t)to->ndim * sizeof(*to->shape)) != 0)
		return k_err_set(err, K_ESHAPE, "%s has another shape in '%s' than in '%s'", to->name, p->source->path, p->model->path);
	r = k_history_new(&own, p->source, err);
	if (r == 0)
		r = k_history_new(&p->history, p->model, err);
	if (r == 0)
		r = follow_all(p, own, err);
	k_json_free(own);
	if (r == 0 && p->types[p->n] != to->type)
		r = k_err_set(err, K_ENO, "'%s': %s is %s %s; by its history, from '%s', it should be %s %s", p->model->path, to->name,
			to->type->name, to->type->layout, p->source->path, p->types[p->n]->name, p->types[p->n]->layout);
	return r;
}

/* --- the bytes ------------------------------------------------------------------------------------------------------------ */

static int64_t block_rows(const struct recipe *p, int64_t cols, int64_t rows)
{
	int64_t step = 1;

	/* All granules are powers of two. */
	for (int k = 0; k <= p->n; k++)
		step = K_MAX(step, (int64_t)p->types[k]->granule);
	return K_MIN(rows, K_MAX(BLOCK / 4 / K_MAX(cols, 1) / step, 1) * step);
}

struct work { uint8_t *a, *b, *want; struct k_sha256 *in, *out; };      /* a and b in turn hold what a step makes */

static int differs(const struct recipe *p, int64_t slice, int64_t row, int64_t rows, size_t at, uint64_t off, struct k_err *err)
{
	const struct k_entry *e = &p->model->entries[p->i];
	char name[1100];

	return k_err_set(err, K_ENO, "'%s': %s is not what '%s' gives: it differs in rows %lld to %lld, from byte %llu of the entry on",
		p->model->path, k_entry_slice_name(e, slice, name, sizeof(name)), p->source->path, (long long)row, (long long)(row + rows - 1),
		(unsigned long long)(off + at));
}

static int rows_again(struct recipe *p, struct work *w, int64_t slice, int64_t row, int64_t rows, struct k_err *err)
{
	const struct k_entry *from = &p->source->entries[p->j], *to = &p->model->entries[p->i];
	int64_t cols = k_entry_cols(to);
	size_t n = k_qtype_rows_bytes(from->type, cols, rows), m = k_qtype_rows_bytes(to->type, cols, rows);
	uint64_t off = (uint64_t)slice * k_entry_slice_bytes(to) + k_qtype_rows_bytes(to->type, cols, row);
	uint8_t *have = w->a, *next = w->b, *t;
	int r = k_ckpt_take(p->source, p->j, (uint64_t)slice * k_entry_slice_bytes(from) + k_qtype_rows_bytes(from->type, cols, row), have, n, err);

	if (r == 0)
		k_sha256_add(w->in, have, n);
	for (int k = 1; r == 0 && k <= p->n; k++) {
		r = k_kmf_convert(p->types[k], next, p->types[k - 1], have, NULL, cols, rows, &p->quant[k], err);
		t = have;
		have = next;
		next = t;
	}
	if (r == 0)
		r = k_ckpt_take(p->model, p->i, off, w->want, m, err);
	if (r < 0)
		return r;
	k_sha256_add(w->out, have, m);
	for (size_t at = 0; at < m; at++)
		if (have[at] != w->want[at])
			return differs(p, slice, row, rows, at, off, err);
	return 0;
}

static int again(struct recipe *p, struct work *w, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_entry *to = &p->model->entries[p->i];
	int64_t cols = k_entry_cols(to), rows = k_entry_rows(to), step = block_rows(p, cols, rows);
	size_t most = 0;
	int r;

	for (int k = 0; k <= p->n; k++)
		most = K_MAX(most, k_qtype_rows_bytes(p->types[k], cols, step));
	w->a = k_aligned(most + 1);
	w->b = k_aligned(most + 1);
	w->want = k_aligned(most + 1);
	r = w->a && w->b && w->want ? k_sha256_new(&w->in, err) : k_err_nomem(err, 3 * most, "rows of a tensor");
	if (r == 0)
		r = k_sha256_new(&w->out, err);
	for (int64_t s = p->slice; r == 0 && to->bytes && s < p->slice + p->n_slices; s++)
		for (int64_t row = 0; r == 0 && row < rows; row += step) {
			r = k_ctx_check(ctx, err);
			if (r == 0)
				r = rows_again(p, w, s, row, K_MIN(step, rows - row), err);
		}
	return r;
}

/* --- the source ----------------------------------------------------------------------------------------------------------- */

static int is_wrapped(const struct k_ckpt *c, bool *is, struct k_err *err)
{
	struct k_json *config = NULL;
	int r = c->config ? k_json_parse(&config, c->config, c->config_len, K_JSON_STRICT, c->path, err) : 0;

	*is = k_json_kind(k_json_find(config, "text_config")) == K_JSON_OBJECT;
	k_json_free(config);
	return r;
}

/* A text model may have been taken out of a larger one, which no history tells, since it is the same as one that was published alone. Then it
 * is taken out again, also where the wrapper is not known here. */
static int open_source(struct recipe *p, const char *from, const struct k_ctx *ctx, struct k_err *err)
{
	bool model = false, source = true;
	struct k_ctx text = *ctx;
	struct k_err why;
	int r = is_wrapped(p->model, &model, err);

	if (r == 0)
		r = k_format_open(&p->source, from, false, ctx, err);
	if (r == 0)
		r = is_wrapped(p->source, &source, err);
	if ((r < 0 && r != K_EUNSUP) || model || !source || strcmp(from, "-") == 0)
		return r;
	why = *err;
	k_ckpt_close(p->source);
	text.text_only = p->text_only = true;
	if (k_format_open(&p->source, from, false, &text, err) == 0)
		return 0;
	if (r < 0)
		*err = why;
	return err->code;
}

/* The tensor's name in the source; of a stack that a --name-map made, that which it has by it: its experts may be called anything. */
static const char *source_name(const struct recipe *p, char *buf, size_t n)
{
	const struct k_raw *raw = p->text_only || p->renamed ? k_import_raw(p->source, p->j, p->slice) : NULL;
	struct k_entry from = p->source->entries[p->j];
	const char *wrap = "";
	char expert[1100];

	from.name = from.source ? from.source : from.name;
	raw = raw && raw->parts ? raw->parts->of[K_PART_VALUES] : raw;
	if (raw && raw->was && p->renamed && p->n_slices == 1)
		return raw->was;
	if (raw && raw->was && p->text_only && strncmp(raw->was, K_ARCH_WRAPPED, strlen(K_ARCH_WRAPPED)) == 0)
		wrap = K_ARCH_WRAPPED;
	snprintf(buf, n, "%s%s", wrap, p->n_slices == 1 ? k_entry_slice_name(&from, p->slice, expert, sizeof(expert)) : from.name);
	return buf;
}

/* --- the whole ------------------------------------------------------------------------------------------------------------ */

/* {"name", "type", "source", "source_type", "source_sha256", "sha256", "recipe"}, of equal tensors. */
static int print(const struct recipe *p, struct work *w, struct k_err *err)
{
	const struct k_entry *from = &p->source->entries[p->j], *to = &p->model->entries[p->i];
	uint8_t digest[32];
	char name[1100], hex[65];
	const char *called;
	struct k_buf b;
	int r;

	k_buf_init(&b, 0);
	k_entry_slice_name(to, p->slice, name, sizeof(name));
	if (p->n_slices > 1)
		snprintf(name, sizeof(name), "%s", to->name);
	k_buf_puts(&b, "{\"name\": ");
	k_json_quote(&b, name, strlen(name));
	k_buf_printf(&b, ", \"type\": \"%s\", \"source\": ", to->type->name);
	called = source_name(p, name, sizeof(name));
	k_json_quote(&b, called, strlen(called));
	k_sha256_end(w->in, digest);
	k_hex(hex, digest);
	k_buf_printf(&b, ", \"source_type\": \"%s\", \"source_sha256\": \"%s\"", from->type->name, hex);
	k_sha256_end(w->out, digest);
	k_hex(hex, digest);
	k_buf_printf(&b, ", \"sha256\": \"%s\", \"recipe\": ", hex);
	k_json_dump(&b, p->history, 0);
	k_buf_puts(&b, "}\n");
	r = k_buf_ok(&b, "the output", err);
	if (r == 0)
		r = k_cli_write(b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

/* The rules hold for the source alone. */
static int open_renamed(struct recipe *p, const struct k_kls_rederive *how, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_ctx by_map = *ctx;
	struct k_renames *renames = NULL;
	int r = how->name_map ? k_renames_read(&renames, how->name_map, err) : 0;

	by_map.renames = renames;
	p->renamed = how->name_map != NULL;
	if (r == 0)
		r = open_source(p, how->source, &by_map, err);
	k_renames_free(renames);
	return r;
}

int k_kls_rederive(struct k_ckpt *c, const struct k_kls_rederive *how, const struct k_ctx *ctx, struct k_err *err)
{
	struct recipe p = { .model = c };
	struct work w = { 0 };
	int r;

	p.i = k_kls_find(c, how->name, &p.slice);
	if (p.i < 0)
		return k_err_set(err, K_ENOENT, "'%s': no tensor '%s'", c->path, how->name);
	p.n_slices = p.slice < 0 ? k_entry_slices(&c->entries[p.i]) : 1;
	p.slice = K_MAX(p.slice, 0);
	if (c->sequential)
		return k_err_set(err, K_EUSAGE, "--rederive wants a file or a folder, not a pipe");
	r = open_renamed(&p, how, ctx, err);
	if (r == 0 && p.source->sequential)
		r = k_err_set(err, K_EUSAGE, "--from wants a file or a folder, not a pipe");
	if (r == 0)
		r = plan(&p, err);
	if (r == 0)
		r = again(&p, &w, ctx, err);
	if (r == 0)
		r = print(&p, &w, err);
	k_sha256_free(w.in);
	k_sha256_free(w.out);
	k_free(w.a);
	k_free(w.b);
	k_free(w.want);
	k_json_free(p.history);
	k_ckpt_close(p.source);
	return r;
}
