/* sample_test.c: what each step of the sampler does to a distribution, the draw against expected frequencies, log-probabilities. */
#include "libcore/base.h"
#include "libcore/sample.h"
#include "libcore/test.h"
#include <math.h>
#include <stdlib.h>

enum { MANY = 200000, LARGE = 163840 };

static int32_t sample(const struct k_sampler *s, const float *logits, int32_t vocab, int line)
{
	struct k_err err = { 0 };
	void *scratch = k_alloc((size_t)vocab * 16);
	int32_t id = k_sample(s, logits, vocab, scratch, &err);

	if (id < 0 && id != K_ENO)
		k_test_fail(__FILE__, line, "%s", err.msg);
	k_free(scratch);
	return id;
}
#define SAMPLE(s, logits) sample(s, logits, (int32_t)K_LEN(logits), __LINE__)

static struct k_sampler greedy(void)
{
	struct k_sampler s;

	k_sampler_init(&s);
	s.temperature = 0;
	return s;
}

/* How often each token comes in MANY draws. */
static void count(struct k_sampler *s, const float *logits, int32_t vocab, int *n)
{
	memset(n, 0, sizeof(*n) * (size_t)vocab);
	for (s->seed = 0; s->seed < MANY; s->seed++) {
		int32_t id = sample(s, logits, vocab, __LINE__);

		K_CHECK(id >= 0 && id < vocab);
		n[id]++;
	}
}

/* want: probabilities; five standard deviations. */
static void is_near(int line, const int *n, const double *want, int vocab)
{
	for (int i = 0; i < vocab; i++) {
		double mean = want[i] * MANY, room = 5 * sqrt(mean * (1 - want[i]));

		if (fabs(n[i] - mean) > room)
			k_test_fail(__FILE__, line, "token %d came %d times, wanted %.0f +- %.0f", i, n[i], mean, room);
	}
}

/* Of 130 ids. */
static int32_t only(int32_t a, int32_t b)
{
	uint64_t mask[3] = { 0 };
	const struct k_bias bias = { a, -INFINITY };
	struct k_sampler s = greedy();

	if (a >= 0)
		mask[a / 64] |= (uint64_t)1 << (a % 64);
	if (b >= 0)
		mask[b / 64] |= (uint64_t)1 << (b % 64);
	s.mask = mask;
	s.n_mask = 130;
	s.bias = &bias;
	s.n_bias = 1;
	return k_sample_only(&s, 128);
}

K_TEST(sample_knows_a_token_that_leaves_no_choice)
{
	struct k_sampler s = greedy();

	K_CHECK(k_sample_only(&s, 128) == -1 && only(-1, -1) == -1);
	for (int32_t i = 0; i < 128; i += 21)
		K_CHECK(only(i, -1) == i && only(i, i ^ 1) == -1 && only(i, i ^ 64) == -1);
	/* Behind the vocabulary. */
	K_CHECK(only(129, -1) == -1);
}

K_TEST(sample_greedy_takes_the_lowest_of_the_largest)
{
	static const float a[] = { 1, 5, 5, -3 }, b[] = { -INFINITY, -1, INFINITY, INFINITY };
	struct k_sampler s = greedy();

	K_CHECK(SAMPLE(&s, a) == 1 && SAMPLE(&s, b) == 2);
	s.top_k = 1;
	s.top_p = 0;
	s.min_p = 1;
	K_CHECK(SAMPLE(&s, a) == 1);
	k_sampler_init(&s);
	K_CHECK(SAMPLE(&s, b) == 2);
}

K_TEST(sample_refuses_what_is_no_number)
{
	static const float bad[] = { 0, NAN };
	struct k_sampler s = greedy();
	struct k_err err = { 0 };
	char scratch[32];

	K_CHECK(k_sample(&s, bad, 2, scratch, &err) == K_EBUG && strstr(err.msg, "token 1"));
	K_CHECK(k_sample(&s, bad, 0, scratch, &err) == K_EBUG);
}

K_TEST(sample_bias_and_masks)
{
	static const float a[] = { 1, 5, 4, INFINITY };
	static const struct k_bias bias[] = { { 3, -INFINITY }, { 1, -2 }, { 99, 100 }, { -1, 100 }, { 0, 0.5f }, { 0, 0.5f } };
	static const struct k_bias all[] = { { 0, -INFINITY }, { 1, -INFINITY }, { 2, -INFINITY }, { 3, -INFINITY } };
	struct k_sampler s = greedy();

	s.bias = bias;
	s.n_bias = K_LEN(bias);
	K_CHECK(SAMPLE(&s, a) == 2);
	s.n_bias = 1;
	K_CHECK(SAMPLE(&s, a) == 1);
	s.bias = all;
	s.n_bias = K_LEN(all);
	K_CHECK(SAMPLE(&s, a) == K_ENO);
	s.temperature = 1;
	K_CHECK(SAMPLE(&s, a) == K_ENO);
	s.n_bias = 0;
}

K_TEST(sample_penalties)
{
	static const float a[] = { 4, 3.5f, -1, -1.5f };
	static const int32_t prompt[] = { 0, 0, -5, 1000 }, out[] = { 1, 1, 0 };
	struct k_sampler s = greedy();

	/* Repetition counts the prompt: 4 / 2 < 3.5; below zero it multiplies. */
	s.prompt = prompt;
	s.n_prompt = K_LEN(prompt);
	s.repetition = 2;
	K_CHECK(SAMPLE(&s, a) == 1);
	s.repetition = 1;
	s.presence = 2;
	s.frequency = 2;
	K_CHECK(SAMPLE(&s, a) == 0);
	/* 0: 4 - 1, 1: 3.5 - 2 */
	s.out = out;
	s.n_out = K_LEN(out);
	s.presence = 0;
	s.frequency = 1;
	K_CHECK(SAMPLE(&s, a) == 0);
	s.presence = 5.5f;
	s.frequency = 0;
	K_CHECK(SAMPLE(&s, a) == 2);
	/* 0: -1, 1: -1.5; then the sign of repetition: both had been positive: 4 / 8 = 0.5, 3.5 / 8 */
	s.presence = 0;
	s.repetition = 8;
	K_CHECK(SAMPLE(&s, a) == 0);
	s.presence = 1;
	K_CHECK(SAMPLE(&s, a) == 0);
	s.presence = 1.6f;
	K_CHECK(SAMPLE(&s, a) == 2);
}

K_TEST(sample_draws_the_distribution)
{
	static const double p[] = { 0.5, 0.25, 0.125, 0.125 };
	struct k_sampler s;
	float a[4];
	int n[4];

	for (int i = 0; i < 4; i++)
		a[i] = (float)log(p[i]) + 3;
	k_sampler_init(&s);
	count(&s, a, 4, n);
	is_near(__LINE__, n, p, 4);
	/* Temperature 1/2 squares, 2 takes roots. */
	s.temperature = 0.5f;
	count(&s, a, 4, n);
	is_near(__LINE__, n, (double[]){ 32.0 / 44, 8.0 / 44, 2.0 / 44, 2.0 / 44 }, 4);
	s.temperature = 2;
	double r = 1 / sqrt(2), sum = r + 0.5 + 2 * sqrt(0.125);
	count(&s, a, 4, n);
	is_near(__LINE__, n, (double[]){ r / sum, 0.5 / sum, sqrt(0.125) / sum, sqrt(0.125) / sum }, 4);
	/* So small that every other weight is nothing. */
	s.temperature = 1e-30f;
	K_CHECK(SAMPLE(&s, a) == 0);
}

K_TEST(sample_filters)
{
	static const double p[] = { 0.125, 0.5, 0.125, 0.25 };
	struct k_sampler s;
	float a[4];
	int n[4];

	for (int i = 0; i < 4; i++)
		a[i] = (float)log(p[i]);
	k_sampler_init(&s);
	s.top_k = 2;
	count(&s, a, 4, n);
	is_near(__LINE__, n, (double[]){ 0, 2.0 / 3, 0, 1.0 / 3 }, 4);
	/* Of two that weigh the same the lower id stays. */
	s.top_k = 3;
	count(&s, a, 4, n);
	is_near(__LINE__, n, (double[]){ 1.0 / 7, 4.0 / 7, 0, 2.0 / 7 }, 4);
	/* top-p after top-k: of what is left. 4/7 < 0.6 <= 6/7 */
	s.top_p = 0.6f;
	count(&s, a, 4, n);
	is_near(__LINE__, n, (double[]){ 0, 2.0 / 3, 0, 1.0 / 3 }, 4);
	s.top_k = 0;
	s.top_p = 0.8f;
	count(&s, a, 4, n);
	is_near(__LINE__, n, (double[]){ 1.0 / 7, 4.0 / 7, 0, 2.0 / 7 }, 4);
	s.top_p = 0;
	K_CHECK(SAMPLE(&s, a) == 1);
	/* min-p is a part of the largest. */
	s.top_p = 1;
	s.min_p = 0.3f;
	count(&s, a, 4, n);
	is_near(__LINE__, n, (double[]){ 0, 2.0 / 3, 0, 1.0 / 3 }, 4);
	s.min_p = 1;
	K_CHECK(SAMPLE(&s, a) == 1);
}

/* A choice depends on seed, choice and position, on each of them, and on nothing else. */
K_TEST(sample_keys)
{
	static const int32_t out[8] = { 0 };
	float a[1000];
	struct k_sampler s;
	int differ[3] = { 0 };

	for (int i = 0; i < 1000; i++)
		a[i] = 0;
	k_sampler_init(&s);
	s.out = out;
	for (s.seed = 0; s.seed < 200; s.seed++) {
		int32_t id = SAMPLE(&s, a);

		K_CHECK(SAMPLE(&s, a) == id);
		s.choice = 1;
		differ[0] += SAMPLE(&s, a) != id;
		s.choice = 0;
		s.n_out = 1;
		differ[1] += SAMPLE(&s, a) != id;
		s.n_out = 0;
		s.seed++;
		differ[2] += SAMPLE(&s, a) != id;
		s.seed--;
	}
	for (int i = 0; i < 3; i++)
		K_CHECK_MSG(differ[i] > 190, "key %d: %d of 200 differ", i, differ[i]);
}

/* Seeds, choices and positions that lie side by side give numbers that do not: equal parts of a flat distribution. */
K_TEST(sample_positions_are_independent)
{
	static const int32_t out[64] = { 0 };
	static const float a[16] = { 0 };
	struct k_sampler s;
	int pairs[16][16] = { { 0 } };

	k_sampler_init(&s);
	s.out = out;
	for (s.seed = 0; s.seed < 1000; s.seed++) {
		int32_t before = -1;

		for (s.n_out = 0; s.n_out < K_LEN(out); s.n_out++) {
			int32_t id = SAMPLE(&s, a);

			if (before >= 0)
				pairs[before][id]++;
			before = id;
		}
	}
	double chi = 0, mean = 1000.0 * 63 / 256;
	for (int i = 0; i < 256; i++)
		chi += pow(pairs[i / 16][i % 16] - mean, 2) / mean;
	/* 255 degrees of freedom: 255 +- 22.6; five deviations. */
	K_CHECK_MSG(chi > 142 && chi < 368, "chi squared is %.1f", chi);
}

/* Filters on a whole vocabulary against sorting. */
static int by_weight(const void *a, const void *b)
{
	const struct k_top *x = a, *y = b;

	return x->logprob != y->logprob ? (x->logprob < y->logprob) - (x->logprob > y->logprob) : (x->id > y->id) - (x->id < y->id);
}

K_TEST(sample_large_vocabulary)
{
	float *a = k_alloc(LARGE * sizeof *a);
	struct k_top *order = k_alloc(LARGE * sizeof *order), top[20];
	void *scratch = k_alloc(LARGE * 16);
	struct k_err err = { 0 };
	struct k_sampler s;
	uint64_t x = 1;

	K_CHECK(a && order && scratch);
	for (int i = 0; i < LARGE; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		/* Steps of 1/8, so that there are ties. */
		a[i] = (float)(x >> 56) / 8 - 16;
		order[i] = (struct k_top){ i, a[i] };
	}
	qsort(order, LARGE, sizeof *order, by_weight);
	k_sampler_init(&s);
	for (int k = 1; k < 300; k += 37) {
		s.top_k = k;
		for (s.seed = 0; s.seed < 20; s.seed++) {
			int32_t id = k_sample(&s, a, LARGE, scratch, &err), at = 0;

			while (at < k && order[at].id != id)
				at++;
			K_CHECK_MSG(at < k, "top-k %d gave token %d", k, id);
		}
	}
	K_CHECK(k_logprob_top(a, LARGE, top, 20) == 20);
	for (int i = 0; i < 20; i++)
		K_CHECK(top[i].id == order[i].id && top[i].logprob == (float)k_logprob(a, LARGE, top[i].id));
	k_free(a);
	k_free(order);
	k_free(scratch);
}

K_TEST(sample_logprobs)
{
	static const float a[] = { 1, 3, 3, -INFINITY, 2 }, masked[] = { -INFINITY, -INFINITY }, hot[] = { 1, INFINITY }, big[] = { 1e30f, 1e30f };
	const double all = log(exp(1) + 2 * exp(3) + exp(2));
	struct k_top top[8];
	static const int32_t order[] = { 1, 2, 4, 0, 3 };

	K_CHECK(fabs(k_logprob(a, 5, 0) - (1 - all)) < 1e-12 && fabs(k_logprob(a, 5, 1) - (3 - all)) < 1e-12);
	K_CHECK(k_logprob(a, 5, 3) == -INFINITY && k_logprob(a, 5, 9) == -INFINITY && k_logprob(a, 5, -1) == -INFINITY);
	K_CHECK(k_logprob(masked, 2, 0) == -INFINITY && k_logprob(hot, 2, 1) == 0 && k_logprob(hot, 2, 0) == -INFINITY);
	K_CHECK(fabs(k_logprob(big, 2, 0) + log(2)) < 1e23);
	K_CHECK(k_logprob_top(a, 5, top, 8) == 5 && k_logprob_top(a, 5, top, 0) == 0 && k_logprob_top(a, 5, top, 5) == 5);
	for (int i = 0; i < 5; i++)
		K_CHECK_MSG(top[i].id == order[i], "%d is %d", i, top[i].id);
	K_CHECK(fabs(top[0].logprob - (3 - all)) < 1e-6 && top[4].logprob == -INFINITY);
	K_CHECK(k_logprob_top(a, 5, top, 1) == 1 && top[0].id == 1);
}
