/* host_test.c: experts whose weights are the host's: computed on the CPU, copied into slots, found there again, thrown out for others: always what the CPU
 * has for the whole, within rounding. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cuda/cuda_impl.h"
#include "libcore/pool.h"
#include "libcore/test.h"

enum { E = 6, USED = 2, F = 16, D = 32, ROWS = 5, N = E * F * D };

struct bench { struct k_pool *pool; struct k_ctx ctx; struct k_device *d, *cpu; struct k_hp hp; float w[3][N]; struct k_tensor t[3]; };

static void setup(struct bench *b)
{
	static const int64_t shape[3][3] = { { E, F, D }, { E, F, D }, { E, D, F } };
	struct k_err err;
	memset(b, 0, sizeof(*b));
	K_CHECK_OK(k_pool_new(&b->pool, 1, &err));
	b->ctx = (struct k_ctx){ .pool = b->pool, .any_order = true };
	b->hp = (struct k_hp){ .n_embd = D, .n_ff = F, .n_ff_expert = F, .n_expert = E, .n_expert_used = USED, .n_layer = 1 };
	K_CHECK_OK(k_device_open(&b->d, &b->ctx, "cudasim", &err));
	K_CHECK_OK(k_device_open(&b->cpu, &b->ctx, "cpu", &err));
	K_CHECK_OK(b->d->reserve(b->d, &b->hp, ROWS, 64, &err));
	K_CHECK_OK(b->cpu->reserve(b->cpu, &b->hp, ROWS, 64, &err));
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < N; k++)
			b->w[i][k] = (float)((k * 37 + i * 11) % 41 - 20) / 64;
		b->t[i] = (struct k_tensor){ .name = "w", .type = k_qtype_find("f32", NULL), .ndim = 3, .data = b->w[i], .host = true };
		memcpy(b->t[i].shape, shape[i], sizeof(shape[i]));
	}
}

static void teardown(struct bench *b)
{
	k_device_close(b->d);
	k_device_close(b->cpu);
	k_pool_free(b->pool);
}

/* Tokens that ask for experts first, first + 1, first + 2, ... two each. */
static void compute(struct bench *b, int first)
{
	struct k_err err;
	float x[ROWS * D], weights[ROWS * USED], want[ROWS * D], got[ROWS * D];
	int32_t ids[ROWS * USED];
	for (int i = 0; i < ROWS * D; i++)
		x[i] = (float)((i * 29 + first) % 23 - 11) / 8;
	for (int t = 0; t < ROWS; t++) {
		int a = (first + t) % E, c = (first + t + 1) % E;
		ids[2 * t] = K_MIN(a, c);
		ids[2 * t + 1] = K_MAX(a, c);
		weights[2 * t] = 0.75f;
		weights[2 * t + 1] = 0.5f;
	}
	b->cpu->ops.moe(b->cpu, &(struct k_op_moe){ want, x, ids, weights, &b->t[0], &b->t[1], &b->t[2], ROWS, &b->hp });
	float *dx = b->d->alloc(b->d, sizeof(x)), *dw = b->d->alloc(b->d, sizeof(weights)), *dy = b->d->alloc(b->d, sizeof(got));
	int32_t *di = b->d->alloc(b->d, sizeof(ids));
	K_CHECK(dx && dw && dy && di);
	K_CHECK_OK(b->d->put(b->d, dx, x, sizeof(x), &err));
	K_CHECK_OK(b->d->put(b->d, dw, weights, sizeof(weights), &err));
	K_CHECK_OK(b->d->put(b->d, di, ids, sizeof(ids), &err));
	b->d->ops.moe(b->d, &(struct k_op_moe){ dy, dx, di, dw, &b->t[0], &b->t[1], &b->t[2], ROWS, &b->hp });
	K_CHECK_OK(b->d->get(b->d, got, dy, sizeof(got), &err));
	for (int i = 0; i < ROWS * D; i++)
		K_CHECK(fabsf(got[i] - want[i]) <= 1e-4f * (1 + fabsf(want[i])));
	b->d->free(b->d, dx);
	b->d->free(b->d, dw);
	b->d->free(b->d, dy);
	b->d->free(b->d, di);
}

K_TEST(host_experts_are_copied_and_kept)
{
	struct bench b;
	setup(&b);
	struct cuda_cache *k = &cuda_of(b.d)->cache;
	compute(&b, 0);
	K_CHECK(k->n_slot >= 2 && k->first > 0 && k->copy > 0);
	/* A copy costs nothing: each expert comes once, and stays. */
	k->copy = 0;
	k->first = 1;
	compute(&b, 1);
	int64_t copied = k->copied;
	compute(&b, 1);
	compute(&b, 1);
	K_CHECK(k->copied == copied && copied <= E);
	teardown(&b);
}

K_TEST(host_experts_take_turns_in_few_slots)
{
	struct bench b;
	setup(&b);
	struct cuda_cache *k = &cuda_of(b.d)->cache;
	compute(&b, 0);
	for (int64_t i = 0; i < k->n_slot; i++)
		if (k->slot[i].taken)
			k->layer[0].slot[k->slot[i].expert] = -1;
	memset(k->slot, 0, (size_t)k->n_slot * sizeof(*k->slot));
	k->n_slot = 2;
	k->copy = 0;
	k->first = 1;
	for (int i = 0; i < E; i++)
		compute(&b, i);
	/* Copies cost more than anything: one a call at most, the one that is asked for most. */
	k->copy = 1e9;
	int64_t copied = k->copied;
	for (int i = 0; i < 4; i++)
		compute(&b, 2 * i);
	K_CHECK(k->copied <= copied + 4);
	teardown(&b);
}

/* Where bits must not depend on the batch the CPU has them all. */
K_TEST(host_experts_are_the_cpus_where_bits_count)
{
	struct bench b;
	setup(&b);
	b.ctx.any_order = false;
	compute(&b, 0);
	K_CHECK(!cuda_of(b.d)->cache.n_slot && !cuda_of(b.d)->cache.tried);
	teardown(&b);
}

/* Experts of K3: SiTU, and less wide than the model. */
K_TEST(host_experts_of_k3_are_copied_and_kept)
{
	struct bench b;
	struct k_err err;
	setup(&b);
	b.hp.n_embd = 3 * D;
	b.hp.n_latent = D;
	b.hp.situ = 0.5;
	b.hp.situ_up = 0.25;
	K_CHECK_OK(b.d->reserve(b.d, &b.hp, ROWS, 64, &err));
	K_CHECK_OK(b.cpu->reserve(b.cpu, &b.hp, ROWS, 64, &err));
	struct cuda_cache *k = &cuda_of(b.d)->cache;
	compute(&b, 0);
	k->copy = 0;
	k->first = 1;
	for (int i = 0; i < 3; i++)
		compute(&b, i);
	K_CHECK(k->n_slot >= 2 && k->copied >= 2);
	teardown(&b);
}
