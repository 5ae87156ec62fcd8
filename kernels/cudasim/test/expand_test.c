/* expand_test.c: latent attention over a long stretch of a prompt: keys and values of every head are made from its latents where the number of rows may show, and
 * nowhere else. How many positions scratch holds at once changes no bit. */
#include "libcore/base.h"
#include "kernels/cuda/cuda_impl.h"
#include "kernels/cudasim/sim_run.h"
#include "libcore/dtype.h"
#include "libcore/pool.h"
#include "libcore/test.h"

enum { N = 70, POS = 130, H = 3, R = 64, DR = 8, DN = 24, DV = 16, PAGES = 4, WIDTH = H * (DN + DR + DV) };

/* Numbers in [-1, 1) that are the same every time. */
static float *numbers(struct k_device *d, int64_t n, uint32_t x)
{
	float *there = d->alloc(d, (size_t)n * sizeof(float)), *here = k_alloc((size_t)n * sizeof(float));
	struct k_err err;
	K_CHECK(there && here);
	for (int64_t i = 0; i < n; i++)
		here[i] = (float)(int32_t)(x = x * 1664525 + 1013904223) * 0x1p-31f;
	K_CHECK(d->put(d, there, here, (size_t)n * sizeof(float), &err) == 0);
	k_free(here);
	return there;
}

/* Were latents expanded? y: of all rows, computed in steps of so many. scratch: bytes; 0: as reserved. */
static bool attend(float *y, bool any_order, int64_t step, int64_t scratch)
{
	struct k_ctx ctx = { .act = K_ACT_BF16, .cpu = "ref", .any_order = any_order };
	struct k_hp hp = { .n_head = H, .kv_lora = R, .d_rope = DR, .d_nope = DN, .d_v = DV, .eps_inner = 1e-6, .rope = { .kind = K_ROPE_NONE } };
	struct k_tensor kv_b = { .name = "kv_b", .type = k_qtype_for("f32", H * (DN + DV), R), .ndim = 2, .shape = { H * (DN + DV), R } };
	struct k_device *d = NULL;
	struct k_err err;
	int lines[4];
	K_CHECK(k_pool_new(&ctx.pool, 1, &err) == 0 && k_device_open(&d, &ctx, "cudasim", &err) == 0);
	K_CHECK(d->reserve(d, &hp, N, POS + N, &err) == 0);
	if (scratch)
		cuda_of(d)->n_scratch = scratch;
	void *page[PAGES];
	uint16_t latents[K_PAGE * (R + DR)];
	for (int p = 0; p < PAGES; p++) {
		for (int i = 0; i < K_PAGE * (R + DR); i++)
			latents[i] = k_bf16_from_f32((float)((i * 37 + p * 11) % 101 - 50) / 50);
		page[p] = d->alloc(d, sizeof(latents));
		K_CHECK(page[p] && d->put(d, page[p], latents, sizeof(latents), &err) == 0);
	}
	struct k_seq_layer layer = { .page = page, .n_page = PAGES, .kv = K_KV_BF16 };
	float *out = numbers(d, N * H * DV, 1), *q = numbers(d, N * H * (DN + DR), 2), *kv = numbers(d, N * (R + DR), 3), *norm = numbers(d, R, 4);
	kv_b.data = (uint8_t *)numbers(d, H * (DN + DV) * R, 5);
	for (int64_t i = 0, n; i < N; i += n) {
		n = K_MIN(step, N - i);
		struct k_seg seg = { 0, n, POS + i, &layer };
		d->ops.mla(d, &(struct k_op_mla){ .y = out + i * H * DV, .q = q + i * H * (DN + DR), .kv = kv + i * (R + DR), .kv_norm = norm, .kv_b = &kv_b, .scale = 0.2,
			.seg = &seg, .n_seg = 1, .n = n, .hp = &hp });
	}
	K_CHECK_OK(d->get(d, y, out, N * H * DV * sizeof(float), &err));
	bool ran = k_sim_barriers(cuda_of(d)->on, "mla_expand", lines, (int)K_LEN(lines)) > 0;
	k_device_close(d);
	k_pool_free(ctx.pool);
	return ran;
}

static double far(const float *a, const float *b)
{
	double d = 0, all = 0;
	for (int i = 0; i < N * H * DV; i++) {
		d += (double)(a[i] - b[i]) * (a[i] - b[i]);
		all += (double)b[i] * b[i];
	}
	return d / all;
}

K_TEST(long_prompts_are_expanded)
{
	static float whole[N * H * DV], runs[N * H * DV], absorbed[N * H * DV], cut[N * H * DV];
	/* Room for a page. */
	int64_t gathered = N * H * (DV + CUDA_PART) * (int64_t)sizeof(float), little = gathered + 1024 + K_PAGE * WIDTH * (int64_t)sizeof(uint16_t);
	K_CHECK(attend(whole, true, N, 0));
	K_CHECK(attend(runs, true, N, little));
	K_CHECK(!memcmp(whole, runs, sizeof(whole)));
	/* Less than a page, few rows, and bits that count: absorbed. */
	K_CHECK(!attend(absorbed, true, N, little - 2));
	K_CHECK(far(whole, absorbed) < 1e-4);
	K_CHECK(!attend(cut, true, 35, 0) && far(cut, absorbed) < 1e-4);
	K_CHECK(!attend(whole, false, N, 0) && far(whole, absorbed) < 1e-4);
	K_CHECK(!attend(cut, false, 35, 0) && !memcmp(cut, whole, sizeof(cut)));
}
