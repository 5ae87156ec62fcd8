/* verify_test.c: the second decoders against the first on random granules, and a difference that is there is found. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "formats/verify.h"
#include "formats/verify_value.h"
#include "libcore/io.h"
#include "libcore/kmf_target.h"
#include "libcore/test.h"

static uint32_t next_random(uint32_t *seed) { return *seed = *seed * 1664525u + 1013904223u; }

K_TEST(verify_values_are_those_of_the_types)
{
	static uint8_t granule[128 * 300];
	static float row[256];
	uint32_t seed = 7;

	for (int i = 0; k_qtype_at(i); i++) {
		const struct k_qtype *t = k_qtype_at(i);
		k_verify_formula *value = k_verify_formula_of(t);
		int64_t cols = 256;

		if (!t->dequant || !value)
			continue;
		for (int round = 0; round < 20; round++) {
			size_t n = t->granule_bytes(cols, t->granule);

			K_CHECK(n <= sizeof(granule));
			for (size_t k = 0; k < n; k++)
				granule[k] = (uint8_t)(next_random(&seed) >> 24);
			for (int r = 0; r < t->granule; r++) {
				t->dequant(row, granule, cols, t->granule, r);
				for (int64_t c = 0; c < cols; c++) {
					float v = (float)value(granule, cols, t->granule, r, c);
					/* What is no number is refused elsewhere. */
					K_CHECK_MSG(v == row[c] || !isfinite(row[c]) || !isfinite(v), "%s row %d column %d: %.9g, %.9g", t->name, r, (int)c, v, row[c]);
				}
			}
		}
	}
}

enum { FIT_COLS = 128, FIT_ROWS = 128 };

/* Of each value the largest of those that share its scale. */
static void tops_of(const struct k_qtype *t, const float *x, float *top)
{
	int width = t->granule == FIT_ROWS ? FIT_ROWS * FIT_COLS : t->group > 1 ? 32 : FIT_COLS;

	for (int from = 0; from < t->granule * FIT_COLS; from += width) {
		float most = 0;

		for (int k = from; k < from + width; k++)
			most = fmaxf(most, fabsf(x[k]));
		for (int k = from; k < from + width; k++)
			top[k] = most;
	}
}

/* Values of some size: of either sign, all alike in one row, mostly zeros in another. */
static void fill(float *x, int n, int exponent, uint32_t *seed)
{
	for (int i = 0; i < n; i++) {
		double v = (double)(next_random(seed) >> 8) / (1 << 24);

		x[i] = (float)ldexp(i / FIT_COLS % 4 == 1 ? 0.75 : i / FIT_COLS % 4 == 2 && v < 0.9 ? 0 : v, exponent) * (next_random(seed) >> 31 ? -1.0f : 1.0f);
	}
}

static void check_fits(const struct k_qtype *t, const struct k_quant_opts *how, int exponent, uint32_t *seed)
{
	static float x[FIT_ROWS * FIT_COLS], y[FIT_ROWS * FIT_COLS], top[FIT_ROWS * FIT_COLS];
	static uint8_t granule[FIT_ROWS * FIT_COLS * 2];
	struct k_err err;
	int n = t->granule * FIT_COLS;

	fill(x, n, exponent, seed);
	if (t->quant(granule, x, FIT_COLS, t->granule, how, &err) < 0)
		return;
	k_qtype_unpack(t, granule, y, FIT_COLS, t->granule);
	tops_of(t, x, top);
	for (int k = 0; k < n; k++) {
		K_CHECK_MSG(k_verify_fits(t, how, x[k], y[k], top[k]), "%s, scale rule %d: %.9g is %.9g, the largest %.9g", t->name, how->scale,
			(double)x[k], (double)y[k], (double)top[k]);
		if (exponent > -12 && top[k] > 1e-4f && fabsf(x[k]) == top[k])
			K_CHECK_MSG(!k_verify_fits(t, how, x[k], 0, top[k]), "%s: %.9g may be 0", t->name, (double)x[k]);
	}
}

K_TEST(verify_takes_what_quantising_gives)
{
	const struct k_qtype *t;
	uint32_t seed = 11;

	for (int i = 0; (t = k_qtype_at(i)); i++)
		for (int e = -149; t->quant && !t->plain && e < 120; e++)
			for (enum k_scale rule = K_SCALE_AMAX7; rule <= (t->group == 32 ? K_SCALE_QAT : K_SCALE_AMAX7); rule++)
				check_fits(t, &(struct k_quant_opts){ .scale = rule, .mx = (enum k_mx_rule)((e + 149) % 3) }, e, &seed);
}

/* Codes that keep their place while their scale becomes an f16: none below, the largest above. */
K_TEST(verify_knows_the_ends_of_scales)
{
	const struct k_qtype *i4 = k_qtype_find("i4g32", NULL), *q4 = k_qtype_find("q4_0", NULL);
	struct k_quant_opts amax7 = { .scale = K_SCALE_AMAX7 }, other = { .scale = K_SCALE_AMAX75 }, mse = { .scale = K_SCALE_MSE };

	K_CHECK(k_verify_fits(i4, &amax7, 3.8e-6f, 0, 3.8e-6f) && !k_verify_fits(i4, &other, 3.8e-6f, 0, 3.8e-6f) && !k_verify_fits(i4, &mse, 3.8e-6f, 0, 3.8e-6f));
	K_CHECK(!k_verify_fits(i4, &amax7, 3.8e-6f, -1.0013580e-5f, 3.8e-6f) && !k_verify_fits(i4, &amax7, 7e-5f, 0, 7e-5f));
	K_CHECK(k_verify_fits(q4, NULL, 7 * 2e-8f, 0, 8 * 2e-8f) && !k_verify_fits(q4, NULL, 7e-6f, 0, 8e-6f));
	K_CHECK(k_verify_fits(q4, NULL, -8e9f, -8 * 65504.0f, 8e9f) && k_verify_fits(q4, NULL, 1e9f, 65504.0f, 8e9f));
	K_CHECK(!k_verify_fits(q4, NULL, -8e9f, 8 * 65504.0f, 8e9f) && !k_verify_fits(q4, NULL, 8e9f, 0, 8e9f) && !k_verify_fits(q4, NULL, 8e9f, 65000, 8e9f));
	K_CHECK(!k_verify_fits(q4, &amax7, -8e9f, -8 * 65504.0f, 8e9f));
}

static const struct k_ckpt_ops *real_ops;
static int wrong_entry;

/* One bit of one tensor is another one when it is read the second time. */
static int read_wrong(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	int r = real_ops->read(c, i, off, dst, n, err);

	if (r == 0 && i == wrong_entry && off == 0)
		((uint8_t *)dst)[n / 2] ^= 1;
	return r;
}

K_TEST(verify_finds_a_difference)
{
	struct k_kmf_spec spec = { .history = NULL };
	struct k_job job = { .folder = false };
	char path[] = "/tmp/ktools-verify-XXXXXX";
	struct k_ckpt_ops wrong;
	struct k_target *t;
	struct k_ctx ctx = { 0 };
	struct k_ckpt *c;
	struct k_err err;
	int fd = mkstemp(path), r;

	close(fd);
	K_CHECK_OK(k_format_open(&c, k_test_data("tiny/kimi-k2-tiny-int4"), false, &ctx, &err));
	spec.in = c;
	spec.out = c->entries;
	spec.history = c->history;
	K_CHECK_OK(k_kmf_target_new(&t, &spec, &ctx, &err));
	job.out = path;
	job.stream = (struct k_stream){ .in = c, .target = t, .what = "testing" };
	K_CHECK_OK(k_job_run(&job, &ctx, &err));
	K_CHECK_OK(k_verify(c, t, path, &ctx, &err));
	real_ops = c->ops;
	wrong = *real_ops;
	wrong.read = read_wrong;
	c->ops = &wrong;
	for (wrong_entry = 0; wrong_entry < c->n_entries; wrong_entry++) {
		if (strcmp(c->entries[wrong_entry].role, "file") == 0)
			continue;
		r = k_verify(c, t, path, &ctx, &err);
		K_CHECK_MSG(r == K_ECHECK, "%s: %d", c->entries[wrong_entry].name, r);
		K_CHECK(strstr(err.msg, "row"));
	}
	c->ops = real_ops;
	k_target_free(t);
	k_ckpt_close(c);
	unlink(path);
}
