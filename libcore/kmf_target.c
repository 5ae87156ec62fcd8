/* kmf_target.c: see kmf_target.h. Where the type of an entry stays its bytes are copied; where it changes, rows go through f32. Blocks
 * are whole leaves of the output, so any thread can make their digests. */
#include "libcore/base.h"
#include "libcore/kmf.h"
#include "libcore/kmf_target.h"

struct kmf {
	struct k_target t;
	struct k_kmf_spec spec;
	struct k_kmf_plan *plan;
	struct k_out_file file;
	struct k_out_const head;
	const struct k_ctx *ctx;
};

/* --- rows --------------------------------------------------------------------------------------------------------------- */

static int pack(const struct k_qtype *t, uint8_t *dst, const float *src, int64_t cols, int64_t rows, const struct k_quant_opts *q, struct k_err *err)
{
	/* Elements of plain types lie one behind the other, whatever the rows. */
	int64_t step = t->plain ? K_MIN(rows, (int64_t)INT32_MAX) : t->granule;
	struct k_err why;
	int r = 0;

	for (int64_t row = 0; (r == 0 || r == K_ENO) && row < rows; row += step) {
		int n = (int)K_MIN(rows - row, step);
		int rc = t->quant(dst + k_qtype_rows_bytes(t, cols, row), src + row * cols, cols, n, q, &why);

		if (rc < 0 && row)
			k_err_add(&why, "counted from row %lld", (long long)row);
		r = k_qtype_told(r, rc, &why, err);
	}
	return r;
}

int k_kmf_convert(const struct k_qtype *to, void *dst, const struct k_qtype *from, const void *src, const float *before, int64_t cols, int64_t rows,
	const struct k_quant_opts *q, struct k_err *err)
{
	int64_t step = K_MAX(from->granule, to->granule);
	struct k_err why;
	float *some;
	int r = 0;

	if (before)
		return pack(to, dst, before, cols, rows, q, err);
	some = k_aligned((size_t)step * (size_t)cols * sizeof(*some));
	if (!some)
		return k_err_nomem(err, (size_t)step * (size_t)cols * sizeof(*some), "rows of weights");
	for (int64_t row = 0; (r == 0 || r == K_ENO) && row < rows; row += step) {
		int64_t n = K_MIN(step, rows - row);
		int rc;

		k_qtype_unpack(from, (const uint8_t *)src + k_qtype_rows_bytes(from, cols, row), some, cols, n);
		rc = pack(to, (uint8_t *)dst + k_qtype_rows_bytes(to, cols, row), some, cols, n, q, &why);
		if (rc < 0 && row)
			k_err_add(&why, "counted from row %lld", (long long)row);
		r = k_qtype_told(r, rc, &why, err);
	}
	k_free(some);
	return r;
}

/* --- the target --------------------------------------------------------------------------------------------------------- */

static void cut(const struct k_target *t, int entry, struct k_cut *out)
{
	const struct kmf *k = t->arg;
	const struct k_entry *from = &k->spec.in->entries[entry], *to = &k->spec.out[entry];
	struct k_leaves l;
	size_t granule;

	*out = (struct k_cut){ .how = K_CUT_BYTES };
	if (from->type == to->type)
		return;
	k_entry_leaves(to, &l);
	granule = to->type->granule_bytes(k_entry_cols(to), to->type->granule);
	out->how = K_CUT_ROWS;
	out->step = granule && l.leaf >= granule ? (int64_t)(l.leaf / granule) * to->type->granule : to->type->granule;
	out->flat = from->type->plain && to->type->plain && !strchr(from->name, '*');
	/* What is unpacked in passing should be small. */
	out->floats = K_MAX(from->type->granule, to->type->granule) > 16;
}

/* Where in the output's entry a block begins. */
static uint64_t place_of(const struct k_entry *to, const struct k_block *b)
{
	if (b->n_rows == 0)
		return b->off;
	return (uint64_t)b->slice * k_entry_slice_bytes(to) + k_qtype_rows_bytes(to->type, k_entry_cols(to), b->row);
}

static void place(const struct k_target *t, struct k_block *b)
{
	const struct kmf *k = t->arg;
	const struct k_entry *to = &k->spec.out[b->entry];

	b->dst[0].file = 0;
	b->dst[0].at = k->plan->start + to->offset + place_of(to, b);
	b->dst[0].n = b->n_rows ? k_qtype_rows_bytes(to->type, k_entry_cols(to), b->n_rows) : b->n_src;
}

/* Weights of the block's slice, where there are any; the caller frees them. */
static int weigh(const struct kmf *k, const struct k_block *b, float **w, struct k_err *err)
{
	size_t cols = (size_t)k_entry_cols(&k->spec.out[b->entry]);
	int r;

	*w = NULL;
	if (!k->spec.weights)
		return 0;
	*w = k_alloc(cols * sizeof(**w));
	if (!*w)
		return k_err_nomem(err, cols * sizeof(**w), "the weights of a tensor's columns");
	r = k->spec.weights(k->spec.weights_arg, b->entry, b->slice, *w, err);
	if (r == 1)
		return 0;
	k_free(*w);
	*w = NULL;
	return r;
}

static int make(const struct k_target *t, struct k_block *b, struct k_err *err)
{
	const struct kmf *k = t->arg;
	const struct k_qtype *from = k->spec.in->entries[b->entry].type, *to = k->spec.out[b->entry].type;
	const struct k_codec *codec = k->ctx->codec;
	int64_t cols = k_entry_cols(&k->spec.out[b->entry]);
	struct k_quant_opts quant = k->spec.quant;
	struct k_err why;
	float *w;
	int r = weigh(k, b, &w, err);

	if (r < 0)
		return r;
	quant.weight = w;
	if (!codec || !codec->convert(to, b->dst[0].p, from, b->src, cols, b->n_rows, &quant))
		r = k_kmf_convert(to, b->dst[0].p, from, b->src, b->before, cols, b->n_rows, &quant, err);
	k_free(w);
	if (r == 0)
		return 0;
	why = *err;
	return k_err_set(err, why.code, "as %s: %s", to->name, why.msg);
}

static void decode(const struct k_target *t, struct k_block *b)
{
	const struct kmf *k = t->arg;
	const struct k_entry *to = &k->spec.out[b->entry];

	k_qtype_unpack(to->type, b->dst[0].p, b->after, k_entry_cols(to), b->n_rows);
}

static int note(const struct k_target *t, const struct k_block *b, struct k_err *err)
{
	const struct kmf *k = t->arg;

	if (b->leaf) {
		k_kmf_plan_note_leaf(k->plan, b->entry, b->off, b->leaf);
		return 0;
	}
	return k_kmf_plan_note(k->plan, b->entry, place_of(&k->spec.out[b->entry], b), b->dst[0].p, b->dst[0].n, err);
}

static int end(const struct k_target *t, struct k_out *out, struct k_err *err)
{
	const struct kmf *k = t->arg;
	struct k_buf b;
	int r;

	k_buf_init(&b, 0);
	r = k_kmf_plan_trailer(k->plan, &b, err);
	if (r == 0)
		r = k_out_put(out, 0, k->plan->trailer_at, b.data, b.len, false, err);
	k_buf_fini(&b);
	return r;
}

static void free_target(struct k_target *t)
{
	struct kmf *k = t->arg;

	k_kmf_plan_free(k->plan);
	k_free(k);
}

struct k_kmf_plan *k_kmf_target_plan(const struct k_target *t)
{
	const struct kmf *k = t->arg;

	return k->plan;
}

int k_kmf_target_new(struct k_target **out, const struct k_kmf_spec *spec, const struct k_ctx *ctx, struct k_err *err)
{
	struct kmf *k = k_calloc(1, sizeof(*k));
	const struct k_ckpt *in = spec->in;
	struct k_kmf_head head = { .arch = in->arch, .config = in->config, .config_len = in->config_len, .n_entries = in->n_entries,
		.entries = spec->out, .history = spec->history };
	int r;

	*out = NULL;
	if (!k)
		return k_err_nomem(err, sizeof(*k), "a container");
	k->spec = *spec;
	k->ctx = ctx;
	r = k_kmf_plan_new(&k->plan, &head, err);
	if (r < 0) {
		k_free(k);
		return r;
	}
	k->head = (struct k_out_const){ 0, k->plan->head.data, k->plan->head.len };
	k->file = (struct k_out_file){ .bytes = k->plan->total, .consts = &k->head, .n_consts = 1 };
	k->t = (struct k_target){ .n_files = 1, .files = &k->file, .cut = cut, .place = place, .make = make, .decode = decode, .note = note, .end = end,
		.quant = &k->spec.quant, .free = free_target, .arg = k };
	*out = &k->t;
	return 0;
}
