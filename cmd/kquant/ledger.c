/* ledger.c: see ledger.h. State is the slice that is passing: sums, worst group, two running digests; a line is written when the
 * next slice begins or the entry is done. */
#include "libcore/base.h"
#include <math.h>
#include "cmd/kquant/ledger.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/policy.h"

struct figures {
	int64_t elements, clipped, zero_groups, groups, worst_index;
	double err2, x2, y2, xy, max_abs, worst;
};

struct k_ledger {
	const struct k_ckpt *in;
	const struct k_entry *out;
	struct k_sink *sink;
	struct k_bar *bars;
	int n_bars;
	struct k_sha256 *src, *dst;
	int entry;                      /* -1: no slice is open */
	int64_t slice;
	struct figures f;
	struct k_err no;                /* the first bar that held */
};

static const char *const fields[] = { "elements", "rel_rms", "max_abs", "cos", "sqnr_db", "clipped", "zero_groups" };
enum { N_FIELDS = K_LEN(fields) };

static void values(const struct figures *f, double v[N_FIELDS])
{
	double rel = f->x2 > 0 ? sqrt(f->err2 / f->x2) : 0, norm = sqrt(f->x2) * sqrt(f->y2);

	v[0] = (double)f->elements;
	v[1] = rel;
	v[2] = f->max_abs;
	v[3] = norm > 0 ? f->xy / norm : 1;
	v[4] = f->err2 > 0 && f->x2 > 0 ? 10 * log10(f->x2 / f->err2) : NAN;
	v[5] = (double)f->clipped;
	v[6] = (double)f->zero_groups;
}

static bool bar_is_for(const struct k_bar *bar, const char *role, int *field)
{
	const char *dot = strchr(bar->field, '.'), *name = dot ? dot + 1 : bar->field;

	for (int i = 0; i < N_FIELDS; i++)
		if (strcmp(name, fields[i]) == 0) {
			*field = i;
			return !dot || !role || (strncmp(bar->field, role, (size_t)(dot - bar->field)) == 0 && role[dot - bar->field] == 0);
		}
	*field = -1;
	return false;
}

int k_ledger_open(struct k_ledger **out, const char *path, const struct k_strs *bars, const struct k_ckpt *in, const struct k_entry *entries, struct k_err *err)
{
	struct k_ledger *l = k_calloc(1, sizeof(*l));
	int r = 0, field;

	if (!l)
		return k_err_nomem(err, sizeof(*l), "the ledger");
	l->in = in;
	l->out = entries;
	l->entry = -1;
	l->bars = k_calloc((size_t)bars->n + 1, sizeof(*l->bars));
	if (!l->bars)
		r = k_err_nomem(err, sizeof(*l->bars), "the bars");
	for (int i = 0; r == 0 && i < bars->n; i++) {
		r = k_bar_parse(&l->bars[l->n_bars++], bars->v[i], err);
		if (r == 0 && (bar_is_for(&l->bars[i], NULL, &field), field < 0))
			r = k_err_set(err, K_EUSAGE, "--fail-if '%s': no such field; wanted rel_rms, max_abs, cos, sqnr_db, clipped, zero_groups or elements, with a role and a dot before it or not", bars->v[i]);
		if (r == 0 && strchr(l->bars[i].field, '.') && !k_policy_is_role(l->bars[i].field, strcspn(l->bars[i].field, ".")))
			r = k_err_set(err, K_EUSAGE, "--fail-if '%s': no such role; wanted experts, shared, router, attn, kda, embed, head, dense, norm or other", bars->v[i]);
	}
	if (r == 0)
		r = k_sha256_new(&l->src, err);
	if (r == 0)
		r = k_sha256_new(&l->dst, err);
	if (r == 0 && path)
		r = k_sink_open(&l->sink, path, err);
	if (r < 0) {
		k_ledger_free(l);
		return r;
	}
	*out = l;
	return 0;
}

void k_ledger_free(struct k_ledger *l)
{
	if (!l)
		return;
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

static int verdict(void *arg, struct k_err *err)
{
	struct k_ledger *l = arg;

	if (l->no.code)
		*err = l->no;
	return l->no.code;
}

/* --- lines ---------------------------------------------------------------------------------------------------------------- */

static void judge(struct k_ledger *l, const char *name, const char *role, const double v[N_FIELDS])
{
	int field;

	for (int i = 0; i < l->n_bars && !l->no.code; i++)
		if (bar_is_for(&l->bars[i], role, &field) && !isnan(v[field]) && k_bar_holds(&l->bars[i], v[field]))
			k_err_set(&l->no, K_ENO, "%s: %s is %.6g, --fail-if %s", name, fields[field], v[field], l->bars[i].text);
}

static void put_digest(struct k_buf *b, const char *key, const uint8_t digest[32])
{
	char hex[65];

	k_hex(hex, digest);
	k_buf_printf(b, ", \"%s\": \"%s\"", key, hex);
}

static int put_line(struct k_ledger *l, const struct k_entry *e, const char *name, int64_t expert, const struct figures *f,
	const uint8_t src[32], const uint8_t dst[32], struct k_err *err)
{
	char source[1100];
	struct k_entry as_source = *e;
	struct k_buf b;
	double v[N_FIELDS];
	int r;

	values(f, v);
	judge(l, name, e->role, v);
	if (!l->sink)
		return 0;
	if (e->source)
		as_source.name = e->source;
	k_entry_slice_name(&as_source, expert < 0 ? 0 : expert, source, sizeof(source));
	k_buf_init(&b, 0);
	k_buf_puts(&b, "{\"name\": ");
	k_json_quote(&b, e->name, strlen(e->name));
	k_buf_puts(&b, ", \"source\": ");
	if (expert < 0 && !e->source)
		k_json_quote(&b, e->name, strlen(e->name));
	else
		k_json_quote(&b, source, strlen(source));
	if (expert >= 0)
		k_buf_printf(&b, ", \"expert\": %lld", (long long)expert);
	k_buf_printf(&b, ", \"role\": \"%s\", \"type\": \"%s\", \"elements\": %lld, \"rel_rms\": %.6g, \"max_abs\": %.6g, \"cos\": %.9g, \"sqnr_db\": ",
		e->role, e->type->name, (long long)f->elements, v[1], v[2], v[3]);
	if (isnan(v[4]))
		k_buf_puts(&b, "null");
	else
		k_buf_printf(&b, "%.6g", v[4]);
	k_buf_printf(&b, ", \"worst_group\": {\"index\": %lld, \"error\": %.6g}, \"clipped\": %lld, \"zero_groups\": %lld",
		(long long)f->worst_index, f->worst, (long long)f->clipped, (long long)f->zero_groups);
	put_digest(&b, "source_sha256", src);
	put_digest(&b, "output_sha256", dst);
	k_buf_puts(&b, "}\n");
	r = k_buf_ok(&b, "a line of the ledger", err);
	if (r == 0)
		r = k_sink_write(l->sink, b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

static int close_slice(struct k_ledger *l, struct k_err *err)
{
	const struct k_entry *e;
	uint8_t src[32], dst[32];
	char name[1100];

	if (l->entry < 0)
		return 0;
	e = &l->out[l->entry];
	k_sha256_end(l->src, src);
	k_sha256_end(l->dst, dst);
	k_entry_slice_name(e, l->slice, name, sizeof(name));
	l->entry = -1;
	return put_line(l, e, name, strchr(e->name, '*') ? l->slice : -1, &l->f, src, dst, err);
}

/* --- figures -------------------------------------------------------------------------------------------------------------- */

static void add_group(struct figures *f, const float *x, const float *y, int64_t n)
{
	double e2 = 0, x2 = 0, top = 0, rel;
	bool zero = true;

	for (int64_t i = 0; i < n; i++) {
		double d = (double)x[i] - y[i], a = fabs(d);

		e2 += d * d;
		x2 += (double)x[i] * x[i];
		f->y2 += (double)y[i] * y[i];
		f->xy += (double)x[i] * y[i];
		if (a > f->max_abs)
			f->max_abs = a;
		if (fabs((double)y[i]) > top)
			top = fabs((double)y[i]);
		zero &= y[i] == 0;
	}
	/* Only clamping moves a value by more than half a step below the largest that its group can hold. */
	for (int64_t i = 0; i < n && n > 1; i++)
		f->clipped += fabs((double)x[i]) > top * (1 + 0.5 / 7);
	rel = x2 > 0 ? sqrt(e2 / x2) : 0;
	if (rel > f->worst) {
		f->worst = rel;
		f->worst_index = f->groups;
	}
	f->err2 += e2;
	f->x2 += x2;
	f->elements += n;
	f->zero_groups += zero;
	f->groups++;
}

static void begin_slice(struct k_ledger *l, int entry, int64_t slice)
{
	l->entry = entry;
	l->slice = slice;
	memset(&l->f, 0, sizeof(l->f));
	k_sha256_reset(l->src);
	k_sha256_reset(l->dst);
}

static int see(void *arg, const struct k_block *b, struct k_err *err)
{
	struct k_ledger *l = arg;
	const struct k_entry *e = &l->out[b->entry];
	int64_t cols = k_entry_cols(e), group = e->type->group > 1 ? e->type->group : cols, count;
	/* Only experts are told apart. */
	bool stack = strchr(e->name, '*') != NULL;

	if (strcmp(e->role, "file") == 0)
		return 0;
	if (l->entry < 0)
		begin_slice(l, b->entry, stack ? b->slice : 0);
	k_sha256_add(l->src, b->src, b->n_src);
	k_sha256_add(l->dst, b->dst[0].p, b->dst[0].n);
	if (!b->after)
		l->f.elements = k_shape_count(e->ndim - stack, e->shape + stack, &count) ? count : 0;
	for (int64_t r = 0; b->after && r < b->n_rows; r++)
		for (int64_t c = 0; c < cols; c += group)
			add_group(&l->f, b->before + r * cols + c, b->after + r * cols + c, K_MIN(group, cols - c));
	return (stack ? b->ends_slice : b->ends_entry) ? close_slice(l, err) : 0;
}

struct k_watch k_ledger_watch(struct k_ledger *l)
{
	return (struct k_watch){ .values = true, .block = see, .verdict = verdict, .arg = l };
}
