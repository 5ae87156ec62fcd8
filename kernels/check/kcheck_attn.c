/* kcheck_attn.c: the products of attention: scores and mix, on values in f32 and in bf16.
 *
 * Beside the reference's values: steps wider than rows leave the gaps alone; an element computed alone has the bits that it has among
 * others; bf16 gives the bits of the same values in f32. */
#include "libcore/base.h"
#include "kernels/check/kcheck.h"
#include "libcore/dtype.h"

enum { SLOT_W, SLOT_Y, SLOT_X, SLOT_WANT, SLOT_ALONE, SLOT_B, SLOT_TERMS, SLOT_WIDE, SLOT_PACKED, SLOT_PACKED2, SLOT_PACKED3 };

static const int few[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
static const int sides[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33 };

/* Keys or values as a kernel takes them, and the same as floats. */
struct values { const float *f32; const uint16_t *bf16; };

static struct values new_values(struct run *r, bool bf16, size_t n)
{
	struct values v = { NULL, NULL };
	if (!bf16) {
		v.f32 = box_data(r, SLOT_W, n, DATA_PLAIN);
		return v;
	}
	float *wide = box_data(r, SLOT_WIDE, n, DATA_PLAIN);
	uint16_t *p = box(r, SLOT_W, n, sizeof(*p));
	for (size_t i = 0; i < n; i++) {
		p[i] = k_bf16_from_f32(wide[i]);
		wide[i] = k_bf16_to_f32(p[i]);
	}
	v.f32 = wide;
	v.bf16 = p;
	return v;
}

/* --- scores --------------------------------------------------------------------------------------------------------------- */

/* How: in which type values are; scores_few or not. */
struct how { bool bf16, few; };
static const struct how as_f32 = { false, false }, as_bf16 = { true, false }, few_f32 = { false, true }, few_bf16 = { true, true };

struct scores { struct how how; size_t n, rows, cols, y_step, w_step; float *y, *packed; const float *q[KK_QUERIES]; struct values w; };

static void new_scores(struct run *r, struct scores *s)
{
	size_t q_step = s->cols + slack(r);
	s->y_step = s->rows + slack(r);
	s->w_step = s->cols + slack(r);
	s->w = new_values(r, s->how.bf16, span(s->rows, s->w_step, s->cols));
	const float *q = box_data(r, SLOT_X, span(s->n, q_step, s->cols), rnd(r) % 4 ? DATA_PLAIN : DATA_GATE);
	for (size_t t = 0; t < s->n; t++)
		s->q[t] = q + t * q_step;
	s->y = box_f(r, SLOT_Y, span(s->n, s->y_step, s->rows));
	s->packed = box_f(r, SLOT_PACKED, KK_PACKED(s->cols));
}

/* Keys [row, row + rows) with queries [t, t + n). */
static void scores_part(const struct kk *k, const struct scores *s, float *packed, float *y, size_t y_step, size_t row, size_t rows, size_t t, size_t n)
{
	const float *f32 = s->w.f32 + row * s->w_step;
	const uint16_t *bf16 = s->how.bf16 ? s->w.bf16 + row * s->w_step : NULL;
	if (!s->how.few)
		k->pack_queries(packed, s->q + t, (int)n, s->cols);
	if (s->how.few && s->how.bf16)
		k->scores_few_bf16(y, y_step, bf16, s->w_step, (int)rows, s->q + t, (int)n, s->cols, NULL);
	else if (s->how.few)
		k->scores_few_f32(y, y_step, f32, s->w_step, (int)rows, s->q + t, (int)n, s->cols, s->w.f32);
	else if (s->how.bf16)
		k->scores_bf16(y, y_step, bf16, s->w_step, (int)rows, packed, (int)n, s->cols, NULL);
	else
		k->scores_f32(y, y_step, f32, s->w_step, (int)rows, packed, (int)n, s->cols, s->w.f32);
}

static double score_terms(const struct scores *s, size_t t, size_t row)
{
	double sum = 0;
	for (size_t k = 0; k < s->cols; k++)
		sum += square((double)s->w.f32[row * s->w_step + k] * (double)s->q[t][k]);
	return sum;
}

static void scores_case(struct run *r, struct scores *s)
{
	where(r, "n=%zu rows=%zu cols=%zu", s->n, s->rows, s->cols);
	new_scores(r, s);
	size_t size = span(s->n, s->y_step, s->rows);
	float *want = box_f(r, SLOT_WANT, size), *packed = box_f(r, SLOT_PACKED2, KK_PACKED(s->cols));
	double *terms = box(r, SLOT_TERMS, s->rows, sizeof(*terms));
	scores_part(r->ref, s, packed, want, s->y_step, 0, s->rows, 0, s->n);
	scores_part(r->got, s, s->packed, s->y, s->y_step, 0, s->rows, 0, s->n);
	for (size_t t = 0; t < s->n; t++) {
		for (size_t i = 0; i < s->rows; i++)
			terms[i] = score_terms(s, t, i);
		near_terms(r, "y", s->y + t * s->y_step, want + t * s->y_step, terms, s->rows);
	}
	gaps(r, s->y, s->n, s->y_step, s->rows);
	box_check(r);
	/* Some queries with some keys. */
	float *alone = box_f(r, SLOT_ALONE, KK_QUERIES);
	for (size_t t = 0, n; t < s->n; t += n) {
		n = piece(r, s->n - t);
		packed = box_f(r, SLOT_PACKED3, KK_PACKED(s->cols));
		for (size_t i = 0; i < s->rows; i++) {
			scores_part(r->got, s, packed, alone, 1, i, 1, t, n);
			for (size_t j = 0; j < n; j++)
				same(r, "alone: y", alone + j, s->y + (t + j) * s->y_step + i, 1);
		}
		box_check(r);
	}
	if (s->how.bf16) {
		struct scores wide = *s;
		wide.how.bf16 = false;
		float *y = box_f(r, SLOT_B, size);
		scores_part(r->got, &wide, s->packed, y, s->y_step, 0, s->rows, 0, s->n);
		same(r, "as f32: y", y, s->y, size);
	}
}

static void check_scores(struct run *r, const void *how)
{
	static const int depths[] = { 0, 1, 7, 8, 15, 16, 17, 34, 64, 127, 129, 160, 255, 256, 257, 576, 600 };
	struct scores s = { .how = *(const struct how *)how };
	for (size_t i = 0; i < K_LEN(depths); i++) {
		s.cols = (size_t)depths[i];
		s.n = PICK(r, few);
		s.rows = PICK(r, sides);
		scores_case(r, &s);
	}
	for (size_t n = 0; n <= KK_QUERIES; n++) {
		s.cols = PICK(r, depths);
		s.n = n;
		s.rows = n % 3 ? PICK(r, sides) : 60 + rnd_below(r, 10);
		scores_case(r, &s);
	}
}

static void go_scores(const struct kk *k, void *arg)
{
	const struct scores *s = arg;
	scores_part(k, s, s->packed, s->y, s->y_step, 0, s->rows, 0, s->n);
}

static void bench_scores(const void *how, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	struct run r = { .name = "bench", .level = "", .timed = true };
	struct scores s = { .how = *(const struct how *)how, .n = 32, .rows = 64, .cols = 576 };
	new_scores(&r, &s);
	time(ctx, &(struct bench){ "32 queries, 64 rows, 576 columns", go_scores, &s });
	s.n = 4;
	s.cols = 160;
	new_scores(&r, &s);
	time(ctx, &(struct bench){ "4 queries, 64 rows, 160 columns", go_scores, &s });
}

/* How a level packs is its own affair; that every query arrives is seen where it is used. */
static void check_pack(struct run *r, const void *how K_UNUSED)
{
	struct scores s = { .rows = 3 };
	for (s.n = 0; s.n <= KK_QUERIES; s.n++) {
		s.cols = PICK(r, sides);
		scores_case(r, &s);
	}
}

/* --- mix ---------------------------------------------------------------------------------------------------------------- */

struct mix { bool bf16; size_t n, rows, cols, y_step, p_step, w_step; float *y; const float *p; struct values w; };

static void new_mix(struct run *r, struct mix *m)
{
	m->y_step = m->cols + slack(r);
	m->p_step = m->rows + slack(r);
	m->w_step = m->cols + slack(r);
	m->p = box_data(r, SLOT_X, span(m->n, m->p_step, m->rows), rnd(r) % 3 ? DATA_PART : DATA_PLAIN);
	m->w = new_values(r, m->bf16, span(m->rows, m->w_step, m->cols));
	m->y = box_data(r, SLOT_Y, span(m->n, m->y_step, m->cols), DATA_PLAIN);
}

static void mix_part(const struct kk *k, const struct mix *m, float *y, size_t t, size_t n, size_t j, size_t cols)
{
	y += t * m->y_step + j;
	if (m->bf16)
		k->mix_bf16(y, m->y_step, m->p + t * m->p_step, m->p_step, (int)n, m->w.bf16 + j, m->w_step, (int)m->rows, cols);
	else
		k->mix(y, m->y_step, m->p + t * m->p_step, m->p_step, (int)n, m->w.f32 + j, m->w_step, (int)m->rows, cols);
}

static const double *mix_terms(struct run *r, const struct mix *m)
{
	double *terms = box(r, SLOT_TERMS, m->n * m->cols, sizeof(*terms)), *to = terms;
	for (size_t t = 0; t < m->n; t++)
		for (size_t j = 0; j < m->cols; j++) {
			double s = square((double)m->y[t * m->y_step + j]);
			for (size_t d = 0; d < m->rows; d++)
				s += square((double)m->p[t * m->p_step + d] * (double)m->w.f32[d * m->w_step + j]);
			*to++ = s;
		}
	return terms;
}

static void mix_case(struct run *r, struct mix *m)
{
	size_t size, cut, at;
	where(r, "n=%zu rows=%zu cols=%zu", m->n, m->rows, m->cols);
	new_mix(r, m);
	size = span(m->n, m->y_step, m->cols);
	float *want = box_copy(r, SLOT_WANT, m->y, size), *got = box_copy(r, SLOT_B, m->y, size), *alone = box_copy(r, SLOT_ALONE, m->y, size);
	mix_part(r->ref, m, want, 0, m->n, 0, m->cols);
	mix_part(r->got, m, got, 0, m->n, 0, m->cols);
	const double *terms = mix_terms(r, m);
	for (size_t t = 0; t < m->n; t++)
		near_terms(r, "y", got + t * m->y_step, want + t * m->y_step, terms + t * m->cols, m->cols);
	for (size_t t = 0; t + 1 < m->n; t++)
		same(r, "between rows: y", got + t * m->y_step + m->cols, m->y + t * m->y_step + m->cols, m->y_step - m->cols);
	box_check(r);
	/* Each token alone, its columns cut somewhere; rows in two calls, for the order is that of the rows. */
	for (size_t t = 0; t < m->n; t++)
		for (at = 0; at < m->cols; at += cut) {
			cut = piece(r, m->cols - at);
			mix_part(r->got, m, alone, t, 1, at, cut);
		}
	same(r, "alone: y", alone, got, size);
	struct mix head = *m, tail = *m;
	alone = box_copy(r, SLOT_ALONE, m->y, size);
	head.rows = rnd_below(r, m->rows + 1);
	tail.rows -= head.rows;
	tail.p += head.rows;
	tail.w.f32 += head.rows * m->w_step;
	tail.w.bf16 += m->bf16 ? head.rows * m->w_step : 0;
	mix_part(r->got, &head, alone, 0, m->n, 0, m->cols);
	mix_part(r->got, &tail, alone, 0, m->n, 0, m->cols);
	/* The reference rounds its double where a call ends. */
	if (strcmp(r->level, "ref") != 0)
		same(r, "in two calls: y", alone, got, size);
	if (m->bf16) {
		struct mix wide = *m;
		wide.bf16 = false;
		alone = box_copy(r, SLOT_ALONE, m->y, size);
		mix_part(r->got, &wide, alone, 0, m->n, 0, m->cols);
		same(r, "as f32: y", alone, got, size);
	}
	box_check(r);
}

static void check_mix(struct run *r, const void *how)
{
	static const int runs[] = { 0, 1, 2, 5, 16, 63, 64, 65, 130 };
	struct mix m = { .bf16 = how != NULL };
	for (int i = 0; i < kcheck_n_lengths; i++) {
		m.cols = kcheck_lengths[i];
		m.n = PICK(r, few);
		m.rows = PICK(r, runs);
		mix_case(r, &m);
	}
	for (int n = 0; n <= 17; n++) {
		m.cols = PICK(r, sides) + PICK(r, sides);
		m.n = (size_t)n;
		m.rows = 1 + PICK(r, runs);
		mix_case(r, &m);
	}
}

static void go_mix(const struct kk *k, void *arg)
{
	struct mix *m = arg;
	memset(m->y, 0, span(m->n, m->y_step, m->cols) * sizeof(*m->y));
	mix_part(k, m, m->y, 0, m->n, 0, m->cols);
}

static void bench_mix(const void *how, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	struct run r = { .name = "bench", .level = "", .timed = true };
	struct mix m = { .bf16 = how != NULL, .n = 32, .rows = 64, .cols = 512 };
	new_mix(&r, &m);
	time(ctx, &(struct bench){ "32 queries, 64 rows, 512 columns", go_mix, &m });
	m.n = 4;
	m.cols = 128;
	new_mix(&r, &m);
	time(ctx, &(struct bench){ "4 queries, 64 rows, 128 columns", go_mix, &m });
}

static const char bf16[] = "bf16";
const struct row kcheck_attn[] = {
	{ "pack_queries", check_pack, NULL, NULL },
	{ "scores_f32", check_scores, &as_f32, bench_scores }, { "scores_bf16", check_scores, &as_bf16, bench_scores },
	{ "scores_few_f32", check_scores, &few_f32, bench_scores }, { "scores_few_bf16", check_scores, &few_bf16, bench_scores },
	{ "mix", check_mix, NULL, bench_mix }, { "mix_bf16", check_mix, bf16, bench_mix }, { .name = NULL },
};
