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
		int64_t cols = 256;
		float v;

		if (!t->dequant || !k_verify_value(t, granule, cols, t->granule, 0, 0, &v))
			continue;
		for (int round = 0; round < 20; round++) {
			size_t n = t->granule_bytes(cols, t->granule);

			K_CHECK(n <= sizeof(granule));
			for (size_t k = 0; k < n; k++)
				granule[k] = (uint8_t)(next_random(&seed) >> 24);
			for (int r = 0; r < t->granule; r++) {
				t->dequant(row, granule, cols, t->granule, r);
				for (int64_t c = 0; c < cols; c++) {
					K_CHECK(k_verify_value(t, granule, cols, t->granule, r, c, &v));
					/* What is no number is refused elsewhere. */
					K_CHECK_MSG(v == row[c] || !isfinite(row[c]) || !isfinite(v), "%s row %d column %d: %.9g, %.9g", t->name, r, (int)c, v, row[c]);
				}
			}
		}
	}
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
