/* ledger.c: see ledger.h. While a slice passes its figures and two digests run; when its entry is complete the slices are compared with
 * each other, judged, and written.
 *
 *   rows that changed         values before and after are given
 *   an expert that is kept    its granules are put together from the bytes that pass, and unpacked here
 *   another tensor, kept      digests only */
#include "libcore/base.h"
#include <math.h>
#include "cmd/kquant/figures.h"
#include "cmd/kquant/ledger.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/log.h"
#include "libcore/policy.h"

/* Room for the entry that is passing. */
struct room {
	float *row;
	uint8_t *granule; size_t held;  /* of one that is not complete yet */
	uint8_t *packed; uint16_t *scales;
	int64_t first; int n;           /* slices that are complete */
	struct k_figures *f; uint8_t (*digest)[2][32];  /* of each */
	double (*v)[K_F_NUMBERS]; enum k_figure *out_in;
};

struct k_ledger {
	const struct k_ckpt *in;
	const struct k_entry *out;
	struct k_quant_opts quant;
	struct k_sink *sink;
	struct k_bar *bars;
	int n_bars;
	struct k_sha256 *src, *dst;
	int entry;                      /* -1: none is open */
	int64_t slice;                  /* -1: none is open */
	struct room room;
	struct k_err no;                /* the first bar that held */
	double n_quantised, n_off;      /* values, where off_grid is counted */
};

static bool is_stack(const struct k_entry *e) { return strchr(e->name, '*') != NULL; }

/* --- bars ----------------------------------------------------------------------------------------------------------------- */

/* K_F_NUMBERS: no such figure. */
static enum k_figure bar_figure(const struct k_bar *bar)
{
	const char *dot = strchr(bar->field, '.'), *name = dot ? dot + 1 : bar->field;
	int i = 0;

	while (i < K_F_NUMBERS && strcmp(name, k_figure_names[i]) != 0)
		i++;
	return (enum k_figure)i;
}

static bool bar_is_for(const struct k_bar *bar, const char *role)
{
	const char *dot = strchr(bar->field, '.');

	return !dot || (strncmp(bar->field, role, (size_t)(dot - bar->field)) == 0 && role[dot - bar->field] == 0);
}

static int parse_bar(struct k_bar *bar, const char *text, struct k_err *err)
{
	struct k_buf names;
	int r = k_bar_parse(bar, text, err);

	if (r < 0)
		return r;
	if (bar_figure(bar) == K_F_NUMBERS) {
		k_buf_init(&names, 0);
		for (int i = 0; i < K_F_NUMBERS; i++)
			k_buf_printf(&names, "%s%s", i ? ", " : "", k_figure_names[i]);
		r = k_err_set(err, K_EUSAGE, "--fail-if '%s': no such field; wanted one of %s, with a role and a dot before it or not", text, names.data ? names.data : "");
		k_buf_fini(&names);
	} else if (strchr(bar->field, '.') && !k_policy_is_role(bar->field, strcspn(bar->field, "."))) {
		r = k_err_set(err, K_EUSAGE, "--fail-if '%s': no such role; wanted experts, shared, router, attn, kda, embed, head, dense, norm or other", text);
	}
	return r;
}

static bool is_int4(const struct k_entry *e) { return strcmp(e->type->name, "i4g32") == 0; }

static bool may_have(const struct k_entry *from, const struct k_entry *to, enum k_figure k)
{
	switch (k) {
	case K_F_ROW_CORR:
	case K_F_COL_CORR:
	case K_F_OUTLIER:
		return is_stack(from) && from->type->dequant && k_entry_slices(from) >= K_SIBLINGS;
	case K_F_CODE_RMS:
	case K_F_SHORT_GROUPS:
	case K_F_NEGATIVE:
	case K_F_REPEATED:
	case K_F_SCALE_FIT:
		return is_int4(from) || is_int4(to);
	case K_F_RMS:
	case K_F_PEAK:
		return from->type->dequant != NULL;
	default:
		return true;
	}
}

/* A bar that nothing could miss is no bar: whoever wrote it believes that it is looked at. */
static int check_bar(const struct k_ledger *l, const struct k_bar *bar, struct k_err *err)
{
	enum k_figure k = bar_figure(bar);

	if (k == K_F_OFF_GRID && l->quant.scale != K_SCALE_QAT)
		return k_err_set(err, K_EUSAGE, "--fail-if '%s': values off the grid are counted with --from-qat only", bar->text);
	for (int i = 0; i < l->in->n_entries; i++)
		if (strcmp(l->in->entries[i].role, "file") != 0 && bar_is_for(bar, l->in->entries[i].role) && may_have(&l->in->entries[i], &l->out[i], k))
			return 0;
	return k_err_set(err, K_EUSAGE, "--fail-if '%s': no tensor of '%s' has that figure, so nothing could miss the bar", bar->text, l->in->path);
}

static void judge(struct k_ledger *l, const char *name, const char *role, const double v[K_F_NUMBERS], enum k_figure out_in)
{
	for (int i = 0; i < l->n_bars && !l->no.code; i++) {
		const struct k_bar *bar = &l->bars[i];
		enum k_figure k = bar_figure(bar);

		if (!bar_is_for(bar, role) || isnan(v[k]) || !k_bar_holds(bar, v[k]))
			continue;
		if (k == K_F_OUTLIER)
			k_err_set(&l->no, K_ENO, "%s: %s: outlier is %.6g, in %s, which is %.6g; --fail-if %s", l->in->path, name, v[k], k_figure_names[out_in], v[out_in], bar->text);
		else
			k_err_set(&l->no, K_ENO, "%s: %s: %s is %.6g, --fail-if %s", l->in->path, name, k_figure_names[k], v[k], bar->text);
	}
}

/* --- open and close ------------------------------------------------------------------------------------------------------- */

int k_ledger_open(struct k_ledger **out, const struct k_ledger_spec *spec, struct k_err *err)
{
	struct k_ledger *l = k_calloc(1, sizeof(*l));
	int r = 0;

	if (!l)
		return k_err_nomem(err, sizeof(*l), "the ledger");
	l->in = spec->in;
	l->out = spec->out;
	l->quant = spec->quant;
	l->entry = -1;
	l->slice = -1;
	l->bars = k_calloc((size_t)spec->bars->n + 1, sizeof(*l->bars));
	if (!l->bars)
		r = k_err_nomem(err, sizeof(*l->bars), "the bars");
	for (int i = 0; r == 0 && i < spec->bars->n; i++)
		r = parse_bar(&l->bars[l->n_bars++], spec->bars->v[i], err);
	for (int i = 0; r == 0 && i < l->n_bars; i++)
		r = check_bar(l, &l->bars[i], err);
	/* Digests stand in lines. */
	if (r == 0 && spec->path)
		r = k_sha256_new(&l->src, err);
	if (r == 0 && spec->path)
		r = k_sha256_new(&l->dst, err);
	if (r == 0 && spec->path)
		r = k_sink_open(&l->sink, spec->path, err);
	if (r < 0) {
		k_ledger_free(l);
		return r;
	}
	*out = l;
	return 0;
}

static void free_room(struct room *m)
{
	for (int i = 0; m->f && i <= m->n; i++)
		k_figures_fini(&m->f[i]);
	k_free(m->row);
	k_free(m->granule);
	k_free(m->packed);
	k_free(m->scales);
	k_free(m->f);
	k_free(m->digest);
	k_free(m->v);
	k_free(m->out_in);
	memset(m, 0, sizeof(*m));
}

void k_ledger_free(struct k_ledger *l)
{
	if (!l)
		return;
	free_room(&l->room);
	k_sink_close(l->sink);
	k_sha256_free(l->src);
	k_sha256_free(l->dst);
	k_free(l->bars);
	k_free(l);
}

int k_ledger_commit(struct k_ledger *l, struct k_err *err)
{
	return l->sink ? k_sink_commit(l->sink, err) : 0;
}

void k_ledger_say(const struct k_ledger *l, struct k_log *log)
{
	if (l->n_off > 0)
		k_logf(log, K_LOG_WARN, "'%s': %.0f of %.0f values that were quantised lie off the grid of their new type (%.3g %%)", l->in->path, l->n_off, l->n_quantised,
			100 * l->n_off / l->n_quantised);
	else if (l->n_quantised > 0)
		k_logf(log, K_LOG_INFO, "'%s': all of %.0f values that were quantised lie on the grid of their new type", l->in->path, l->n_quantised);
}

static int verdict(void *arg, struct k_err *err)
{
	struct k_ledger *l = arg;

	if (l->no.code)
		*err = l->no;
	return l->no.code;
}

/* --- lines ---------------------------------------------------------------------------------------------------------------- */

static void put_digest(struct k_buf *b, const char *key, const uint8_t digest[32])
{
	char hex[65];

	k_hex(hex, digest);
	k_buf_printf(b, ", \"%s\": \"%s\"", key, hex);
}

/* Counts as integers, all else so that the same double is read again; null for the error of what a type has no room for. */
static void put_number(struct k_buf *b, double v)
{
	if (isfinite(v) && v == floor(v))
		k_buf_printf(b, "%.17g", v);
	else
		k_json_put_double(b, v);
}

static void put_numbers(struct k_buf *b, const struct k_figures *f, const double v[K_F_NUMBERS], enum k_figure out_in)
{
	for (int i = 0; i < K_F_NUMBERS; i++) {
		if (isnan(v[i])) {
			if (i == K_F_SQNR || i == K_F_COS)
				k_buf_printf(b, ", \"%s\": null", k_figure_names[i]);
			continue;
		}
		k_buf_printf(b, ", \"%s\": ", k_figure_names[i]);
		if (i == K_F_WORST_GROUP)
			k_buf_printf(b, "{\"index\": %lld, \"error\": ", (long long)f->worst_index);
		put_number(b, v[i]);
		if (i == K_F_WORST_GROUP)
			k_buf_putc(b, '}');
	}
	if (out_in != K_F_NUMBERS)
		k_buf_printf(b, ", \"outlier_in\": \"%s\"", k_figure_names[out_in]);
}

static int write_line(struct k_ledger *l, const struct k_entry *e, int64_t slice, const char *source, int i, struct k_err *err)
{
	const struct room *m = &l->room;
	struct k_buf b;
	int r;

	k_buf_init(&b, 0);
	k_buf_puts(&b, "{\"name\": ");
	k_json_quote(&b, e->name, strlen(e->name));
	k_buf_puts(&b, ", \"source\": ");
	k_json_quote(&b, source, strlen(source));
	if (is_stack(e))
		k_buf_printf(&b, ", \"expert\": %lld", (long long)slice);
	k_buf_printf(&b, ", \"role\": \"%s\", \"type\": \"%s\"", e->role, e->type->name);
	put_numbers(&b, &m->f[i], m->v[i], m->out_in[i]);
	put_digest(&b, "source_sha256", m->digest[i][0]);
	put_digest(&b, "output_sha256", m->digest[i][1]);
	k_buf_puts(&b, "}\n");
	r = k_buf_ok(&b, "a line of the ledger", err);
	if (r == 0)
		r = k_sink_write(l->sink, b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

/* The i-th slice of the entry. */
static int tell(struct k_ledger *l, int i, struct k_err *err)
{
	const struct k_entry *e = &l->out[l->entry];
	struct k_entry as_source = *e;
	char name[1100], source[1100];
	int64_t slice = l->room.first + i;

	judge(l, k_entry_slice_name(e, slice, name, sizeof(name)), e->role, l->room.v[i], l->room.out_in[i]);
	if (!isnan(l->room.v[i][K_F_OFF_GRID])) {
		l->n_off += l->room.v[i][K_F_OFF_GRID];
		l->n_quantised += l->room.v[i][K_F_ELEMENTS];
	}
	if (!l->sink)
		return 0;
	if (e->source)
		as_source.name = e->source;
	return write_line(l, e, slice, k_entry_slice_name(&as_source, slice, source, sizeof(source)), i, err);
}

/* --- entries and slices --------------------------------------------------------------------------------------------------- */

static int make_room(struct room *m, const struct k_entry *from, const struct k_entry *to, struct k_err *err)
{
	size_t cols = (size_t)k_entry_cols(from), n = is_stack(from) ? (size_t)k_entry_slices(from) : 1;
	size_t granule = K_MAX(from->type->granule_bytes((int64_t)cols, from->type->granule), to->type->granule_bytes((int64_t)cols, to->type->granule));

	m->row = k_alloc(cols * sizeof(*m->row));
	m->granule = k_alloc(granule);
	m->packed = k_alloc(16 * (cols / 2));
	m->scales = k_alloc(16 * (cols / 32) * sizeof(*m->scales));
	m->f = k_calloc(n + 1, sizeof(*m->f));
	m->digest = k_calloc(n, sizeof(*m->digest));
	m->v = k_calloc(n, sizeof(*m->v));
	m->out_in = k_calloc(n, sizeof(*m->out_in));
	if (m->row && m->granule && m->packed && m->scales && m->f && m->digest && m->v && m->out_in)
		return 0;
	return k_err_nomem(err, granule + n * (sizeof(*m->f) + sizeof(*m->v)), "the ledger of a tensor");
}

static int open_slice(struct k_ledger *l, int entry, int64_t slice, struct k_err *err)
{
	const struct k_entry *from = &l->in->entries[entry];
	int r = 0;

	if (l->entry < 0) {
		r = make_room(&l->room, from, &l->out[entry], err);
		l->room.first = slice;
		l->entry = entry;
	}
	if (r == 0)
		r = k_figures_begin(&l->room.f[l->room.n], from, l->out[entry].type, &l->quant, err);
	l->slice = slice;
	if (l->sink) {
		k_sha256_reset(l->src);
		k_sha256_reset(l->dst);
	}
	return r;
}

static void close_slice(struct k_ledger *l)
{
	const struct k_entry *e = &l->in->entries[l->entry];
	struct room *m = &l->room;
	struct k_figures *f = &m->f[m->n];
	int64_t count;

	if (f->groups == 0)
		f->elements = k_shape_count(e->ndim - is_stack(e), e->shape + is_stack(e), &count) ? count : 0;
	if (l->sink) {
		k_sha256_end(l->src, m->digest[m->n][0]);
		k_sha256_end(l->dst, m->digest[m->n][1]);
	}
	m->n++;
	l->slice = -1;
}

static int close_entry(struct k_ledger *l, struct k_err *err)
{
	struct room *m = &l->room;
	int r = k_figures_numbers(m->f, m->n, m->v, m->out_in, err);

	for (int i = 0; r == 0 && i < m->n; i++)
		r = tell(l, i, err);
	free_room(m);
	l->entry = -1;
	return r;
}

/* --- what passes ---------------------------------------------------------------------------------------------------------- */

/* Whole granules of INT4, n rows. */
static void see_codes(struct k_ledger *l, const struct k_qtype *t, const uint8_t *p, int64_t cols, int64_t n)
{
	struct room *m = &l->room;

	for (int64_t r = 0; r < n; r += t->granule, p += t->granule_bytes(cols, t->granule)) {
		k_i4g32_to_ct(t, p, m->packed, m->scales, cols, t->granule);
		for (int i = 0; i < t->granule; i++)
			k_figures_codes(&m->f[m->n], m->packed + i * (cols / 2), m->scales + i * (cols / 32), cols);
	}
}

static void see_granule(struct k_ledger *l, const struct k_entry *e, const uint8_t *p, int rows)
{
	struct room *m = &l->room;
	int64_t cols = k_entry_cols(e), group = e->type->group > 1 ? e->type->group : cols;

	for (int r = 0; r < rows; r++) {
		e->type->dequant(m->row, p, cols, rows, r);
		k_figures_values(&m->f[m->n], m->row, m->row, 1, cols, group);
	}
	if (is_int4(e))
		see_codes(l, e->type, p, cols, rows);
}

/* Bytes of an expert that is kept, cut anywhere. */
static void see_bytes(struct k_ledger *l, const struct k_entry *e, const uint8_t *p, size_t n)
{
	struct room *m = &l->room;
	int64_t cols = k_entry_cols(e);

	while (n > 0) {
		int rows = (int)K_MIN((int64_t)e->type->granule, k_entry_rows(e) - m->f[m->n].rows);
		size_t full = e->type->granule_bytes(cols, rows), part = K_MIN(full - m->held, n);

		K_ASSERT(rows > 0);
		if (part < full)
			memcpy(m->granule + m->held, p, part);
		m->held += part;
		if (m->held == full) {
			see_granule(l, e, part < full ? m->granule : p, rows);
			m->held = 0;
		}
		p += part;
		n -= part;
	}
}

static int see(void *arg, const struct k_block *b, struct k_err *err)
{
	struct k_ledger *l = arg;
	const struct k_entry *from = &l->in->entries[b->entry], *to = &l->out[b->entry];
	int64_t cols = k_entry_cols(from), group = to->type->group > 1 ? to->type->group : cols;
	struct k_figures *f;

	if (strcmp(from->role, "file") == 0)
		return 0;
	/* Only experts are told apart. */
	if (l->slice < 0 && open_slice(l, b->entry, is_stack(from) ? b->slice : 0, err) < 0)
		return err->code;
	f = &l->room.f[l->room.n];
	if (l->sink) {
		k_sha256_add(l->src, b->src, b->n_src);
		k_sha256_add(l->dst, b->dst[0].p, b->dst[0].n);
	}
	if (b->after) {
		k_figures_values(f, b->before, b->after, b->n_rows, cols, group);
		if (is_int4(from))
			see_codes(l, from->type, b->src, cols, b->n_rows);
		else if (is_int4(to))
			see_codes(l, to->type, b->dst[0].p, cols, b->n_rows);
	} else if (is_stack(from) && from->type->dequant) {
		see_bytes(l, from, b->src, b->n_src);
	}
	if (is_stack(from) ? b->ends_slice : b->ends_entry)
		close_slice(l);
	return b->ends_entry && l->entry >= 0 ? close_entry(l, err) : 0;
}

struct k_watch k_ledger_watch(struct k_ledger *l)
{
	return (struct k_watch){ .values = true, .block = see, .verdict = verdict, .arg = l };
}
