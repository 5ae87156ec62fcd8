/* certificate.c: see certificate.h. State is the unit that is passing (an expert, or a tensor): counts, and digests of its two sides.
 *
 * The source's tensors are not always what a block holds: INT4 lies in a file as codes and scales apart. Where granules can be taken
 * apart again the digests run along; else the tensors are read a second time. */
#include "libcore/base.h"
#include <stdio.h>
#include <math.h>
#include "libcore/certificate.h"
#include "libcore/import.h"
#include "libcore/io.h"
#include "libcore/json.h"
#include "libcore/log.h"

/* A joined type taken apart into what a checkpoint has: values and scales. */
struct apart {
	const char *type;
	int cols_per_value, value_bytes, scale_rows, scale_cols, scale_bytes;
	void (*split)(const struct k_qtype *t, const void *granule, void *values, void *scales, int64_t cols, int rows);
};

struct k_certificate {
	struct k_certificate_opts o;
	const struct k_stream *s;
	const struct k_ctx *ctx;
	struct k_sink *sink;
	struct k_sha256 *src[K_PARTS], *held, *dst[2];
	bool has_held;                  /* the unit is made with the entry before it */
	int entry;                      /* -1: no unit is open */
	int64_t slice, lost;
	double largest;
	int64_t first_row, first_col; float first_value, first_became;
	uint8_t *planes; size_t cap_planes;
	int64_t tensors, lossy, derived, values_lost;
	struct k_err no;
};

/* --- sources ------------------------------------------------------------------------------------------------------------ */

static void split_i4g32(const struct k_qtype *t, const void *granule, void *values, void *scales, int64_t cols, int rows)
{
	k_i4g32_to_ct(t, granule, values, scales, cols, rows);
}

static void split_fp8b128(const struct k_qtype *t K_UNUSED, const void *granule, void *values, void *scales, int64_t cols, int rows)
{
	k_fp8b128_to_planes(granule, values, scales, cols, rows);
}

static void split_mxfp4(const struct k_qtype *t, const void *granule, void *values, void *scales, int64_t cols, int rows)
{
	k_mxfp4_to_planes(t, granule, values, scales, cols, rows);
}

static const struct apart aparts[] = {
	{ "i4g32", 8, 4, 1, 32, 2, split_i4g32 },
	{ "fp8b128", 1, 1, 128, 128, 4, split_fp8b128 },
	{ "mxfp4", 2, 1, 1, 32, 1, split_mxfp4 },
};

static const struct apart *apart_of(const struct k_raw *raw)
{
	for (size_t i = 0; i < K_LEN(aparts); i++)
		if (raw->parts->read == k_raw_read_planes && strcmp(raw->type->name, aparts[i].type) == 0 &&
		    raw->parts->of[K_PART_SCALES]->type->elem_bytes == aparts[i].scale_bytes)
			return &aparts[i];
	return NULL;
}

/* Do the digests of the source run along with the blocks? raw NULL: a container, whose bytes are the blocks'. */
static bool runs_along(const struct k_raw *raw)
{
	return !raw || (!raw->parts ? raw->row_order == NULL : apart_of(raw) != NULL);
}

static int add_apart(struct k_certificate *c, const struct apart *a, const struct k_block *b, struct k_err *err)
{
	const struct k_entry *e = &c->s->in->entries[b->entry];
	const struct k_qtype *t = e->type;
	int64_t cols = k_entry_cols(e), rows = k_entry_rows(e), granule = t->granule;
	size_t step = t->granule_bytes(cols, t->granule), n_values = (size_t)granule * (size_t)(cols / a->cols_per_value) * (size_t)a->value_bytes;
	size_t n_scales = (size_t)k_div_up(granule, a->scale_rows) * (size_t)k_div_up(cols, a->scale_cols) * (size_t)a->scale_bytes;
	int64_t row = (int64_t)(b->off % k_entry_slice_bytes(e) / step) * granule;

	if (n_values + n_scales + 64 > c->cap_planes) {
		k_free(c->planes);
		c->cap_planes = 0;
		c->planes = k_alloc(n_values + n_scales + 64);
		if (!c->planes)
			return k_err_nomem(err, n_values + n_scales, "a granule");
		c->cap_planes = n_values + n_scales + 64;
	}
	for (size_t off = 0; off < b->n_src; off += step, row += granule) {
		int64_t n = K_MIN(granule, rows - row);
		uint8_t *scales = c->planes + k_align_up(n_values, 64);

		a->split(t, b->src + off, c->planes, scales, cols, (int)n);
		k_sha256_add(c->src[0], c->planes, n_values / (size_t)granule * (size_t)n);
		k_sha256_add(c->src[1], scales, n_scales / (size_t)k_div_up(granule, a->scale_rows) * (size_t)k_div_up(n, a->scale_rows));
	}
	return 0;
}

/* A tensor of the source as it lies in its file. */
static int read_again(const struct k_raw *raw, struct k_sha256 *h, struct k_err *err)
{
	enum { PART = 1 << 20 };
	char *part = k_alloc(PART);
	int r = part ? 0 : k_err_nomem(err, PART, "a tensor of the source");

	for (uint64_t off = 0; r == 0 && off < raw->bytes; off += PART) {
		size_t n = (size_t)K_MIN(raw->bytes - off, (uint64_t)PART);

		r = k_source_pread(raw->src, part, n, raw->off + off, err);
		if (r == 0)
			k_sha256_add(h, part, n);
	}
	k_free(part);
	return r;
}

/* --- lines -------------------------------------------------------------------------------------------------------------- */

static void put_tensor(struct k_buf *b, const char *name, struct k_sha256 *h, bool first)
{
	uint8_t digest[32];
	char hex[65];

	k_sha256_end(h, digest);
	k_hex(hex, digest);
	k_buf_puts(b, first ? "{\"name\": " : ", {\"name\": ");
	k_json_quote(b, name, strlen(name));
	k_buf_printf(b, ", \"sha256\": \"%s\"}", hex);
}

static int put_sources(struct k_certificate *c, struct k_buf *b, const struct k_raw *raw, const char *name, struct k_err *err)
{
	bool along = runs_along(raw);

	k_buf_puts(b, ", \"source\": [");
	for (int i = 0; i < K_PARTS; i++) {
		const struct k_raw *part = raw && raw->parts ? raw->parts->of[i] : i ? NULL : raw;

		if (!part && (i || raw))
			continue;
		if (!along && read_again(part, c->src[i], err) < 0)
			return err->code;
		put_tensor(b, part ? k_raw_in_file(part) : name, c->src[i], i == 0);
	}
	if (c->has_held) {
		const struct k_raw *before = k_import_raw(c->s->in, c->entry - 1, 0);

		put_tensor(b, before ? k_raw_in_file(before) : c->s->in->entries[c->entry - 1].name, c->held, false);
	}
	k_buf_putc(b, ']');
	return 0;
}

static void put_outputs(struct k_certificate *c, struct k_buf *b, bool two)
{
	const struct k_target *t = c->s->target;
	char name[1100], hex[65];
	uint8_t digest[32];

	k_buf_puts(b, ", \"output\": [");
	for (int i = 0; i < 1 + two; i++) {
		if (t->name)
			t->name(t, c->entry, c->slice, i, name, sizeof(name));
		else
			k_entry_slice_name(&c->s->in->entries[c->entry], c->slice, name, sizeof(name));
		k_sha256_end(c->dst[i], digest);
		k_hex(hex, digest);
		k_buf_puts(b, i ? ", {\"name\": " : "{\"name\": ");
		k_json_quote(b, name, strlen(name));
		k_buf_printf(b, ", \"sha256\": \"%s\"}", hex);
	}
	k_buf_putc(b, ']');
	if (!two)
		k_buf_printf(b, ", \"output_sha256\": \"%s\"", hex);
}

static void put_lost(const struct k_certificate *c, struct k_buf *b)
{
	k_buf_printf(b, ", \"lost\": {\"values\": %lld, \"largest_error\": ", (long long)c->lost);
	if (isfinite(c->largest))
		k_json_put_double(b, c->largest);
	else
		k_buf_puts(b, "null");
	k_buf_printf(b, ", \"first\": {\"row\": %lld, \"column\": %lld, \"value\": ", (long long)c->first_row, (long long)c->first_col);
	k_json_put_float(b, c->first_value);
	k_buf_puts(b, ", \"became\": ");
	if (isfinite(c->first_became))
		k_json_put_float(b, c->first_became);
	else
		k_buf_puts(b, "null");
	k_buf_puts(b, "}}");
}

static int put_line(struct k_certificate *c, const char *name, const char *derived, bool two, struct k_err *err)
{
	const struct k_entry *e = &c->s->in->entries[c->entry];
	bool stack = strchr(e->name, '*') != NULL;
	const struct k_raw *raw = k_import_raw(c->s->in, c->entry, stack ? c->slice : 0);
	struct k_buf b;
	int r;

	k_buf_init(&b, 0);
	k_buf_puts(&b, "{\"name\": ");
	k_json_quote(&b, name, strlen(name));
	if (stack)
		k_buf_printf(&b, ", \"expert\": %lld", (long long)c->slice);
	r = put_sources(c, &b, raw, name, err);
	put_outputs(c, &b, two);
	k_buf_printf(&b, ", \"from\": \"%s\"", e->type->name);
	if (derived) {
		k_buf_puts(&b, ", \"derived\": ");
		k_json_quote(&b, derived, strlen(derived));
	} else {
		k_buf_printf(&b, ", \"lossless\": %s", c->lost ? "false" : "true");
	}
	if (c->lost && !derived)
		put_lost(c, &b);
	k_buf_puts(&b, "}\n");
	if (r == 0)
		r = k_buf_ok(&b, "a line of the certificate", err);
	if (r == 0)
		r = k_sink_write(c->sink, b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

/* --- judging ------------------------------------------------------------------------------------------------------------ */

enum { MOST_NAMED = 100 };      /* of a large model seventy thousand tensors may be lossy */

static void judge(struct k_certificate *c, const char *name)
{
	const struct k_target *t = c->s->target;
	const struct k_qtype *type = c->s->in->entries[c->entry].type;
	bool must = t->must_hold && t->must_hold(t, c->entry) && !c->o.lossy;
	char group[40] = "";

	k_logf(c->ctx->log, must && c->lossy < MOST_NAMED ? K_LOG_WARN : K_LOG_DEBUG, "%s: %lld values are not exact in the new type", name, (long long)c->lost);
	c->lossy++;
	c->values_lost += c->lost;
	if (type->group > 1)
		snprintf(group, sizeof(group), " (group %lld)", (long long)(c->first_col / type->group));
	if (!c->no.code && (must || c->o.require))
		k_err_set(&c->no, K_ENO, "'%s': %s: the value %.9g at row %lld, column %lld%s becomes %.9g%s", c->s->in->path, name, c->first_value,
			(long long)c->first_row, (long long)c->first_col, group, c->first_became, c->o.require ? "" : "; --lossy allows it");
}

static int close_unit(struct k_certificate *c, bool two, struct k_err *err)
{
	const struct k_target *t = c->s->target;
	const char *derived = t->derived ? t->derived(t, c->entry) : NULL;
	char name[1100];
	int r;

	k_entry_slice_name(&c->s->in->entries[c->entry], c->slice, name, sizeof(name));
	c->tensors++;
	c->derived += derived != NULL;
	if (c->lost && !derived)
		judge(c, name);
	r = c->sink ? put_line(c, name, derived, two, err) : 0;
	c->entry = -1;
	return r;
}

static void open_unit(struct k_certificate *c, const struct k_block *b)
{
	c->entry = b->entry;
	c->slice = b->slice;
	c->lost = 0;
	c->largest = 0;
	for (int i = 0; c->sink && i < K_PARTS; i++)
		k_sha256_reset(c->src[i]);
	for (int i = 0; c->sink && i < 2; i++)
		k_sha256_reset(c->dst[i]);
	c->has_held = b->held != NULL;
	if (c->sink)
		k_sha256_reset(c->held);
}

static void compare(struct k_certificate *c, const struct k_block *b)
{
	int64_t cols = b->n_values / K_MAX(b->n_rows, 1);

	if (memcmp(b->before, b->after, (size_t)b->n_values * sizeof(float)) == 0)
		return;
	for (int64_t i = 0; i < b->n_values; i++) {
		double error = fabs((double)b->before[i] - b->after[i]);

		if (memcmp(&b->before[i], &b->after[i], 4) == 0)
			continue;
		if (c->lost++ == 0) {
			c->first_row = b->row + i / cols;
			c->first_col = i % cols;
			c->first_value = b->before[i];
			c->first_became = b->after[i];
		}
		if (!(error <= c->largest))
			c->largest = error;
	}
}

static int see(void *arg, const struct k_block *b, struct k_err *err)
{
	struct k_certificate *c = arg;
	const struct k_entry *e = &c->s->in->entries[b->entry];
	bool stack = strchr(e->name, '*') != NULL;
	const struct k_raw *raw;

	if (strcmp(e->role, "file") == 0)
		return 0;
	if (c->entry < 0)
		open_unit(c, b);
	if (b->after)
		compare(c, b);
	if (c->sink) {
		raw = k_import_raw(c->s->in, b->entry, stack ? b->slice : 0);
		if (raw && raw->parts && apart_of(raw)) {
			if (add_apart(c, apart_of(raw), b, err) < 0)
				return err->code;
		} else if (runs_along(raw)) {
			k_sha256_add(c->src[0], b->src, b->n_src);
		}
		if (b->held)
			k_sha256_add(c->held, b->held, b->n_held);
		for (int i = 0; i < 2; i++)
			k_sha256_add(c->dst[i], b->dst[i].p, b->dst[i].n);
	}
	return (stack ? b->ends_slice : b->ends_entry) ? close_unit(c, b->dst[1].n != 0, err) : 0;
}

static int verdict(void *arg, struct k_err *err)
{
	struct k_certificate *c = arg;

	if (c->no.code)
		*err = c->no;
	return c->no.code;
}

/* --- beginning and end -------------------------------------------------------------------------------------------------- */

int k_certificate_open(struct k_certificate **out, const struct k_certificate_opts *o, const struct k_stream *s, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_certificate *c = k_calloc(1, sizeof(*c));
	int r = 0;

	*out = NULL;
	if (!c)
		return k_err_nomem(err, sizeof(*c), "a certificate");
	c->o = *o;
	c->s = s;
	c->ctx = ctx;
	c->entry = -1;
	for (int i = 0; r == 0 && o->path && i < K_PARTS; i++)
		r = k_sha256_new(&c->src[i], err);
	for (int i = 0; r == 0 && o->path && i < 2; i++)
		r = k_sha256_new(&c->dst[i], err);
	if (r == 0 && o->path)
		r = k_sha256_new(&c->held, err);
	if (r == 0 && o->path)
		r = k_sink_open(&c->sink, o->path, err);
	if (r < 0) {
		k_certificate_free(c);
		return r;
	}
	*out = c;
	return 0;
}

struct k_watch k_certificate_watch(struct k_certificate *c)
{
	return (struct k_watch){ .values = true, .block = see, .verdict = verdict, .arg = c };
}

int k_certificate_commit(struct k_certificate *c, struct k_err *err)
{
	struct k_buf b;
	int r;

	if (c->lossy)
		k_logf(c->ctx->log, K_LOG_WARN, "%lld values in %lld tensors are not exact in the new type%s", (long long)c->values_lost, (long long)c->lossy,
			c->lossy > MOST_NAMED && !c->sink ? "; --certificate FILE names them all" : "");
	if (!c->sink)
		return 0;
	k_buf_init(&b, 0);
	k_buf_printf(&b, "{\"summary\": true, \"lossless\": %s, \"tensors\": %lld, \"lossy\": %lld, \"derived\": %lld, \"values_lost\": %lld}\n",
		c->lossy ? "false" : "true", (long long)c->tensors, (long long)c->lossy, (long long)c->derived, (long long)c->values_lost);
	r = k_buf_ok(&b, "the certificate", err);
	if (r == 0)
		r = k_sink_write(c->sink, b.data, b.len, err);
	if (r == 0)
		r = k_sink_commit(c->sink, err);
	k_buf_fini(&b);
	return r;
}

void k_certificate_free(struct k_certificate *c)
{
	if (!c)
		return;
	for (int i = 0; i < K_PARTS; i++)
		k_sha256_free(c->src[i]);
	k_sha256_free(c->held);
	for (int i = 0; i < 2; i++)
		k_sha256_free(c->dst[i]);
	k_sink_close(c->sink);
	k_free(c->planes);
	k_free(c);
}
