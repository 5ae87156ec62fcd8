/* values.c: looking at what is stored: verify, statistics, one tensor out, two files compared. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "cmd/kls/kls.h"
#include "libcore/arch.h"
#include "libcore/chat.h"
#include "libcore/hash.h"
#include "libcore/import.h"
#include "libcore/io.h"
#include "libcore/log.h"
#include "libcore/model.h"
#include "libcore/tokenizer.h"

/* --- verify ----------------------------------------------------------------------------------------------------------------- */

static int64_t vocab_of(const struct k_ckpt *c)
{
	for (int i = 0; i < c->n_entries; i++)
		if (strcmp(c->entries[i].role, "embed") == 0)
			return k_entry_rows(&c->entries[i]);
	return 0;
}

static int verify_tokenizer(struct k_ckpt *c, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_tokenizer *t = NULL;
	const struct k_files *files;
	int r = k_ckpt_files(c, &files, err);

	if (r < 0)
		return r;
	if (!k_files_find(files, "tiktoken.model") && !k_files_find(files, "tokenizer.json")) {
		k_logf(ctx->log, K_LOG_INFO, "no tokenizer");
		return 0;
	}
	r = k_tokenizer_open(&t, files, vocab_of(c), err);
	if (r == 0 && !k_layout_match(files, err))
		k_logf(ctx->log, K_LOG_INFO, "no chat layout is known for its template");
	k_tokenizer_free(t);
	return r;
}

/* A config or a tokenizer may be there alone, weights without a config. */
static int verify_weights(struct k_ckpt *c, struct k_err *err)
{
	bool weights = false;

	for (int i = 0; i < c->n_entries; i++)
		weights = weights || strcmp(c->entries[i].role, "file") != 0;
	return weights && c->config ? k_model_check(c, err) : 0;
}

int k_kls_verify(struct k_ckpt *c, bool table, const struct k_ctx *ctx, struct k_err *err)
{
	uint64_t total = 0;
	char text[32];
	struct k_buf b;
	int r = verify_tokenizer(c, ctx, err);

	if (r == 0)
		r = verify_weights(c, err);
	if (r == 0)
		r = k_ckpt_check_values(c, ctx, err);
	if (r < 0)
		return r;
	for (int i = 0; i < c->n_entries; i++)
		total += c->entries[i].bytes;
	k_buf_init(&b, 0);
	if (table) {
		k_buf_printf(&b, "ok: %d entries, %s, architecture %s\n", c->n_entries, k_size_format(text, total), c->arch ? c->arch : "unknown");
	} else {
		k_buf_printf(&b, "{\"ok\": true, \"entries\": %d, \"bytes\": %llu, \"arch\": ", c->n_entries, (unsigned long long)total);
		if (c->arch)
			k_json_quote(&b, c->arch, strlen(c->arch));
		else
			k_buf_puts(&b, "null");
		k_buf_puts(&b, ", \"summary\": true}\n");
	}
	r = k_buf_ok(&b, "the output", err);
	if (r == 0)
		r = k_cli_write(b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

/* --- stats ------------------------------------------------------------------------------------------------------------------ */

struct stats { double min, max, sum2; int64_t n, zeros, bad; };

/* Room for a row. A tensor without bytes may say that its rows are as long as it likes. */
static float *new_row(uint64_t bytes, int64_t cols, struct k_err *err)
{
	size_t n = bytes ? (size_t)cols * sizeof(float) : 1;
	float *row = k_alloc(n);

	if (!row)
		k_err_nomem(err, n, "a row");
	return row;
}

static int stats_of(struct k_ckpt *c, int i, struct stats *s, struct k_err *err)
{
	int64_t cols = k_entry_cols(&c->entries[i]);
	float *row = new_row(c->entries[i].bytes, cols, err);
	struct k_walk w;
	int r;

	*s = (struct stats){ .min = INFINITY, .max = -INFINITY };
	if (!row)
		return err->code;
	r = k_walk_begin(&w, c, i, err);
	while (r == 0 && (r = k_walk_next(&w, err)) == 1) {
		for (int64_t k = 0; k < w.rows; k++) {
			k_walk_row(&w, k, row);
			for (int64_t j = 0; j < cols; j++) {
				s->bad += !isfinite(row[j]);
				s->zeros += row[j] == 0;
				s->min = row[j] < s->min ? row[j] : s->min;
				s->max = row[j] > s->max ? row[j] : s->max;
				s->sum2 += isfinite(row[j]) ? (double)row[j] * row[j] : 0;
			}
			s->n += cols;
		}
		r = 0;
	}
	k_walk_end(&w);
	k_free(row);
	return r;
}

int k_kls_stats(struct k_ckpt *c, bool table, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_buf b;
	int r = 0;

	k_buf_init(&b, 0);
	if (table)
		k_buf_printf(&b, "%-64s %-8s %12s %12s %12s %12s\n", "name", "type", "min", "max", "rms", "zeros");
	for (int i = 0; r == 0 && i < c->n_entries; i++) {
		const struct k_entry *e = &c->entries[i];
		struct stats s = { 0 };

		if (!e->type->dequant || strcmp(e->role, "file") == 0)
			continue;
		r = k_ctx_check(ctx, err);
		if (r == 0)
			r = stats_of(c, i, &s, err);
		if (r < 0)
			break;
		if (s.n == 0)
			s.min = s.max = 0;
		if (table) {
			k_kls_column(&b, e->name, 64);
			k_buf_printf(&b, "%-8s %12.5g %12.5g %12.5g %12lld\n", e->type->name, s.min, s.max, s.n ? sqrt(s.sum2 / (double)s.n) : 0, (long long)s.zeros);
		} else {
			k_buf_puts(&b, "{\"name\": ");
			k_json_quote(&b, e->name, strlen(e->name));
			k_buf_printf(&b, ", \"type\": \"%s\", \"elements\": %lld, \"min\": ", e->type->name, (long long)s.n);
			k_json_put_float(&b, (float)s.min);
			k_buf_puts(&b, ", \"max\": ");
			k_json_put_float(&b, (float)s.max);
			k_buf_puts(&b, ", \"rms\": ");
			k_json_put_double(&b, s.n ? sqrt(s.sum2 / (double)s.n) : 0);
			k_buf_printf(&b, ", \"zeros\": %lld, \"not_finite\": %lld}\n", (long long)s.zeros, (long long)s.bad);
		}
		r = k_buf_ok(&b, "the output", err);
		if (r == 0)
			r = k_cli_write(b.data, b.len, err);
		k_buf_reset(&b);
	}
	k_buf_fini(&b);
	return r;
}

/* --- dump ------------------------------------------------------------------------------------------------------------------- */

/* The head of an npy 1.0 file of little-endian f32 in C order. */
static int put_npy_head(struct k_sink *s, int ndim, const int64_t *shape, struct k_err *err)
{
	struct k_buf b;
	size_t pad;
	int r;

	k_buf_init(&b, 0);
	k_buf_puts(&b, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
	for (int i = 0; i < ndim; i++)
		k_buf_printf(&b, i + 1 < ndim ? "%lld, " : ndim == 1 ? "%lld," : "%lld", (long long)shape[i]);
	k_buf_puts(&b, "), }");
	pad = (64 - (10 + b.len + 1) % 64) % 64;
	for (size_t i = 0; i < pad; i++)
		k_buf_putc(&b, ' ');
	k_buf_putc(&b, '\n');
	r = k_buf_ok(&b, "the head of the npy file", err);
	if (r == 0) {
		uint8_t head[10] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)b.len, (uint8_t)(b.len >> 8) };

		r = k_sink_write(s, head, sizeof(head), err);
	}
	if (r == 0)
		r = k_sink_write(s, b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

/* Rows of a raw tensor in the order of its file. */
static int dump_raw_tensor(const struct k_raw *stored, bool raw, struct k_sink *s, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_raw t = *stored;
	int64_t cols = k_shape_cols(t.ndim, t.shape), rows = k_shape_rows(t.ndim, t.shape), slices = k_shape_slices(t.ndim, t.shape);
	size_t granule = t.bytes || t.parts ? t.type->granule_bytes(cols, t.type->granule) : 1;
	uint8_t *buf = k_alloc(granule);
	float *row = buf ? new_row(granule > 1, cols, err) : NULL;
	int r = row ? 0 : buf ? err->code : k_err_nomem(err, granule, t.name);

	t.row_order = NULL;
	if (r == 0 && !raw)
		r = put_npy_head(s, t.ndim, t.shape, err);
	for (int64_t k = 0; r == 0 && cols && rows && k < slices; k++)
		for (int64_t i = 0; r == 0 && i < rows; i += t.type->granule) {
			int n = (int)K_MIN((int64_t)t.type->granule, rows - i);

			r = k_ctx_check(ctx, err);
			if (r == 0)
				r = k_raw_read(&t, k, i, n, buf, err);
			if (r == 0 && raw)
				r = k_sink_write(s, buf, t.type->granule_bytes(cols, n), err);
			for (int j = 0; r == 0 && !raw && j < n; j++) {
				t.type->dequant(row, buf, cols, n, j);
				r = k_sink_write(s, row, (size_t)cols * sizeof(*row), err);
			}
		}
	k_free(buf);
	k_free(row);
	return r;
}

/* An entry, or one slice of it (slice >= 0). */
static int dump_entry(struct k_ckpt *c, int i, int64_t slice, bool raw, struct k_sink *s, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_entry *e = &c->entries[i];
	int64_t cols = k_entry_cols(e);
	float *row = new_row(e->bytes, cols, err);
	struct k_walk w;
	int r;

	if (!row)
		return err->code;
	r = k_walk_begin(&w, c, i, err);
	if (r == 0 && slice >= 0)
		w.off = (uint64_t)slice * k_entry_slice_bytes(e);
	if (r == 0 && !raw)
		r = slice >= 0 ? put_npy_head(s, 2, e->shape + e->ndim - 2, err) : put_npy_head(s, e->ndim, e->shape, err);
	while (r == 0 && (r = k_walk_next(&w, err)) == 1) {
		r = k_ctx_check(ctx, err);
		if (r < 0)
			break;
		if (slice >= 0 && w.slice != slice)
			break;
		if (raw)
			r = k_sink_write(s, w.buf, w.n, err);
		for (int64_t k = 0; r == 0 && !raw && k < w.rows; k++) {
			k_walk_row(&w, k, row);
			r = k_sink_write(s, row, (size_t)cols * sizeof(*row), err);
		}
	}
	k_walk_end(&w);
	k_free(row);
	return r;
}

/* The entry of a name: itself, or the stack that has an expert of that name (*slice its number). */
int k_kls_find(const struct k_ckpt *c, const char *name, int64_t *slice)
{
	char one[1100];

	*slice = -1;
	for (int i = 0; i < c->n_entries; i++) {
		const struct k_entry *e = &c->entries[i];
		const char *star = strchr(e->name, '*');
		int64_t number;

		if (strcmp(e->name, name) == 0)
			return i;
		if (!star || strncmp(e->name, name, (size_t)(star - e->name)) != 0)
			continue;
		number = strtoll(name + (star - e->name), NULL, 10);
		if (number >= 0 && number < k_entry_slices(e) && strcmp(k_entry_slice_name(e, number, one, sizeof(one)), name) == 0) {
			*slice = number;
			return i;
		}
	}
	return -1;
}

int k_kls_dump(struct k_ckpt *c, const char *name, bool raw, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_raw *t = k_import_find(c, name);
	struct k_sink *s = NULL;
	int64_t slice;
	int i = t ? -1 : k_kls_find(c, name, &slice), r;

	if (!t && i < 0)
		return k_err_set(err, K_ENOENT, "'%s': no tensor '%s'", c->path, name);
	if (!raw && !(t ? t->type : c->entries[i].type)->dequant)
		return k_err_set(err, K_EUNSUP, "'%s': %s holds %s, which has no values in f32; --raw writes it as stored", c->path, name, (t ? t->type : c->entries[i].type)->name);
	r = k_sink_open(&s, NULL, err);
	if (r == 0 && k_sink_is_terminal(s))
		r = k_err_set(err, K_EUSAGE, "a tensor is not written to a terminal; use -o FILE or a pipe");
	if (r == 0)
		r = t ? dump_raw_tensor(t, raw, s, ctx, err) : dump_entry(c, i, slice, raw, s, ctx, err);
	if (r == 0)
		r = k_sink_commit(s, err);
	k_sink_close(s);
	return r;
}

/* --- diff ------------------------------------------------------------------------------------------------------------------- */

struct diff { int64_t n; int64_t differ; double max_abs, err2, x2; };

/* Values of the same bits differ by nothing, NaN among them; one that is no number and another one by infinity. */
static void add_values(struct diff *d, const float *x, const float *y, int64_t n)
{
	for (int64_t c = 0; c < n; c++) {
		double e = (double)x[c] - (double)y[c];

		d->x2 += isfinite(x[c]) ? (double)x[c] * (double)x[c] : 0;
		if (memcmp(&x[c], &y[c], sizeof(*x)) == 0)
			continue;
		d->differ++;
		e = isfinite(e) ? fabs(e) : HUGE_VAL;
		d->max_abs = e > d->max_abs ? e : d->max_abs;
		d->err2 += e * e;
	}
}

/* Of what was all zeros and is not any more: infinity. */
static double rel_rms(const struct diff *d) { return d->err2 > 0 ? sqrt(d->err2 / d->x2) : 0; }

/* Two entries of the same shape, row by row; types may differ. */
static int diff_values(struct k_ckpt *a, int i, struct k_ckpt *b, int j, struct diff *d, const struct k_ctx *ctx, struct k_err *err)
{
	int64_t cols = k_entry_cols(&a->entries[i]), rows = 0;
	float *x = new_row(a->entries[i].bytes, cols, err), *y = new_row(a->entries[i].bytes, cols, err);
	struct k_walk wa = { 0 }, wb = { 0 };
	int64_t ra = 0, rb = 0;
	int r = x && y ? 0 : err->code, more = 1;

	memset(d, 0, sizeof(*d));
	if (r == 0)
		r = k_walk_begin(&wa, a, i, err);
	if (r == 0)
		r = k_walk_begin(&wb, b, j, err);
	while (r == 0 && more == 1) {
		if (ra == wa.rows) {
			r = k_ctx_check(ctx, err);
			more = r = r < 0 ? r : k_walk_next(&wa, err);
			ra = 0;
		}
		if (r >= 0 && more == 1 && rb == wb.rows) {
			more = r = k_walk_next(&wb, err);
			rb = 0;
		}
		if (r < 0 || more != 1)
			break;
		r = 0;
		k_walk_row(&wa, ra++, x);
		k_walk_row(&wb, rb++, y);
		rows++;
		add_values(d, x, y, cols);
	}
	d->n = rows * cols;
	k_walk_end(&wa);
	k_walk_end(&wb);
	k_free(x);
	k_free(y);
	return r > 0 ? 0 : r;
}

/* Bytes of two entries of one type: 1 when they differ. */
static int diff_bytes(struct k_ckpt *a, int i, struct k_ckpt *b, int j, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_walk wa, wb = { 0 };
	int r = k_walk_begin(&wa, a, i, err), more = 1, differ = 0;

	if (r == 0)
		r = k_walk_begin(&wb, b, j, err);
	while (r >= 0 && !differ && (r = k_ctx_check(ctx, err)) == 0 && (more = r = k_walk_next(&wa, err)) == 1 && (r = k_walk_next(&wb, err)) == 1)
		differ = wa.n != wb.n || memcmp(wa.buf, wb.buf, wa.n) != 0;
	k_walk_end(&wa);
	k_walk_end(&wb);
	return r < 0 ? r : differ;
}

static bool same_shape(const struct k_entry *x, const struct k_entry *y)
{
	return x->ndim == y->ndim && memcmp(x->shape, y->shape, sizeof(x->shape[0]) * (size_t)x->ndim) == 0;
}

static void put_type(struct k_buf *out, const char *key, const struct k_entry *e)
{
	k_buf_printf(out, e ? ", \"%s\": \"%s\"" : ", \"%s\": null", key, e ? e->type->name : "");
}

/* x or y is NULL where only the other has the entry. */
static int diff_line(struct k_buf *out, const struct k_entry *x, const struct k_entry *y, const struct diff *d, const char *why, bool table, struct k_err *err)
{
	const char *name = (x ? x : y)->name;
	int r;

	if (table) {
		k_kls_column(out, name, 64);
		k_buf_puts(out, why);
	} else {
		k_buf_puts(out, "{\"name\": ");
		k_json_quote(out, name, strlen(name));
		k_buf_printf(out, ", \"differs\": \"%s\"", why);
		put_type(out, "type_a", x);
		put_type(out, "type_b", y);
	}
	if (d && table)
		k_buf_printf(out, ": %lld of %lld values, largest %.6g, rel_rms %.6g", (long long)d->differ, (long long)d->n, d->max_abs, rel_rms(d));
	else if (d) {
		k_buf_printf(out, ", \"values\": %lld, \"elements\": %lld, \"max_abs\": ", (long long)d->differ, (long long)d->n);
		k_json_put_float(out, (float)d->max_abs);
		k_buf_puts(out, ", \"rel_rms\": ");
		k_json_put_float(out, (float)rel_rms(d));
	}
	k_buf_puts(out, table ? "\n" : "}\n");
	r = k_buf_ok(out, "the output", err);
	if (r == 0)
		r = k_cli_write(out->data, out->len, err);
	k_buf_reset(out);
	return r;
}

enum { SAME, DIFFERENT, SAME_VALUES };  /* SAME_VALUES: in another type or layout */

/* Writes a line where the entries are not SAME. j: the one of b that is i's counterpart; -1: none. */
static int diff_entry(struct k_ckpt *a, int i, struct k_ckpt *b, int j, struct k_buf *out, bool table, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_entry *x = &a->entries[i], *y;
	int r;
	const char *why;
	struct diff d;

	if (j < 0)
		return diff_line(out, x, NULL, NULL, "is only in the first", table, err) < 0 ? err->code : DIFFERENT;
	y = &b->entries[j];
	if (!same_shape(x, y))
		return diff_line(out, x, y, NULL, "shapes", table, err) < 0 ? err->code : DIFFERENT;
	if (x->type == y->type) {
		r = diff_bytes(a, i, b, j, ctx, err);
		if (r <= 0)
			return r;
	}
	if (!x->type->dequant || !y->type->dequant)
		return diff_line(out, x, y, NULL, "bytes", table, err) < 0 ? err->code : DIFFERENT;
	r = diff_values(a, i, b, j, &d, ctx, err);
	if (r < 0)
		return r;
	why = d.differ ? "values" : strcmp(x->type->name, y->type->name) == 0 ? "layouts" : "types";
	return diff_line(out, x, y, &d, why, table, err) < 0 ? err->code : d.differ ? DIFFERENT : SAME_VALUES;
}

/* Without a config each expert is an entry, so names are looked up. */
struct side { struct k_ckpt *c; struct k_map names; bool wrapped; };

static int open_side(struct side *s, struct k_ckpt *c, struct k_err *err)
{
	s->c = c;
	k_map_init(&s->names);
	for (int i = 0; i < c->n_entries; i++)
		s->wrapped = s->wrapped || strncmp(c->entries[i].name, K_ARCH_WRAPPED, strlen(K_ARCH_WRAPPED)) == 0;
	return k_ckpt_names(c, &s->names, err);
}

/* A multimodal model and its text model alone (a GGUF) have other names for the same tensors. */
static int counterpart(const struct side *of, const char *name, const struct side *in)
{
	size_t n = strlen(K_ARCH_WRAPPED);
	char full[1100];
	int j = k_ckpt_named(in->c, &in->names, name);

	if (j >= 0 || of->wrapped == in->wrapped)
		return j;
	if (of->wrapped)
		return strncmp(name, K_ARCH_WRAPPED, n) == 0 ? k_ckpt_named(in->c, &in->names, name + n) : -1;
	return snprintf(full, sizeof(full), "%s%s", K_ARCH_WRAPPED, name) < (int)sizeof(full) ? k_ckpt_named(in->c, &in->names, full) : -1;
}

/* The last sentence. n: entries that differ, the first of them; same: of these those with the same values. */
static int say_diff(const struct k_ckpt *a, const struct k_ckpt *b, int n, int same, const char *first, struct k_err *err)
{
	if (n && same)
		return k_err_set(err, K_ENO, "'%s' and '%s' differ in %d entries, first %s; of these %d hold the same values in another type or layout", a->path, b->path,
			n, first, same);
	if (n)
		return k_err_set(err, K_ENO, "'%s' and '%s' differ in %d entries, first %s", a->path, b->path, n, first);
	if ((a->config == NULL) != (b->config == NULL) || (a->config && strcmp(a->config, b->config) != 0))
		return k_err_set(err, K_ENO, "'%s' and '%s' differ in config.json only", a->path, b->path);
	return 0;
}

int k_kls_diff(struct k_ckpt *a, struct k_ckpt *b, bool table, const struct k_ctx *ctx, struct k_err *err)
{
	char first[256] = "";
	struct side x = { 0 }, y = { 0 };
	struct k_buf out;
	int n = 0, same = 0, r;

	k_buf_init(&out, 0);
	r = open_side(&x, a, err);
	if (r == 0)
		r = open_side(&y, b, err);
	for (int i = 0; r >= 0 && i < a->n_entries; i++) {
		r = diff_entry(a, i, b, counterpart(&x, a->entries[i].name, &y), &out, table, ctx, err);
		same += r == SAME_VALUES;
		if (r > 0 && n++ == 0)
			strncpy(first, a->entries[i].name, sizeof(first) - 1);
	}
	for (int j = 0; r >= 0 && j < b->n_entries; j++)
		if (counterpart(&y, b->entries[j].name, &x) < 0) {
			r = diff_line(&out, NULL, &b->entries[j], NULL, "is only in the second", table, err);
			if (n++ == 0)
				strncpy(first, b->entries[j].name, sizeof(first) - 1);
		}
	k_buf_fini(&out);
	k_map_fini(&x.names);
	k_map_fini(&y.names);
	return r < 0 ? r : say_diff(a, b, n, same, first, err);
}
