/* sample.c: logits to a token.
 *
 *   bias -> penalties -> argmax (temperature 0)
 *                    \-> weights -> top-k, top-p (the heap) -> min-p -> draw
 *
 * The whole vocabulary stays in play; nothing is sorted. Weights are exp((x - max) / temperature), not yet divided by their sum,
 * in double. Top-k and top-p take the heaviest from a heap, which costs in proportion to how many they keep. */
#include "libcore/base.h"
#include "libcore/sample.h"
#include <math.h>

/* 16 bytes: what the caller's scratch has room for. */
struct row {
	union {
		double weight;
		struct { uint32_t seen, made; } count;  /* in prompt or answer; times in the answer */
	};
	float x;
	int32_t id;
};
_Static_assert(sizeof(struct row) == 16, "scratch is 16 bytes a token");

void k_sampler_init(struct k_sampler *s)
{
	*s = (struct k_sampler){ .temperature = 1, .top_p = 1, .repetition = 1 };
}

/* --- ranges ------------------------------------------------------------------------------------------------------------- */

static const struct k_sample_range ranges[] = {
	{ "temperature", 0, 2, false },
	{ "top_p", 0, 1, true },
	{ "min_p", 0, 1, false },
	{ "presence_penalty", -2, 2, false },
	{ "frequency_penalty", -2, 2, false },
	{ "repeat_penalty", 0, 1e6, true },
	{ "repetition_penalty", 0, 1e6, true },
};

const struct k_sample_range *k_sample_range(const char *name)
{
	size_t i = 0;

	while (i < K_LEN(ranges) && strcmp(ranges[i].name, name))
		i++;
	K_ASSERT(i < K_LEN(ranges));
	return &ranges[i];
}

bool k_sample_allows(const struct k_sample_range *r, double x)
{
	return (r->above ? x > r->lo : x >= r->lo) && x <= r->hi;
}

/* --- logits -> rows ----------------------------------------------------------------------------------------------------- */

static int fill(struct row *rows, const float *logits, int32_t vocab, struct k_err *err)
{
	for (int32_t i = 0; i < vocab; i++) {
		if (isnan(logits[i]))
			return k_err_set(err, K_EBUG, "the logit of token %d is not a number", i);
		rows[i].x = logits[i];
		rows[i].id = i;
	}
	return 0;
}

static void apply_mask(struct row *rows, int32_t vocab, const struct k_sampler *s)
{
	for (int32_t i = 0; s->mask && i < vocab; i++)
		if (i >= s->n_mask || !(s->mask[i / 64] >> (i % 64) & 1))
			rows[i].x = -INFINITY;
}

static void add_bias(struct row *rows, int32_t vocab, const struct k_sampler *s)
{
	for (int i = 0; i < s->n_bias; i++) {
		const struct k_bias *b = &s->bias[i];

		/* A mask wins over an infinite logit; their sum would be no number. */
		if (b->id >= 0 && b->id < vocab)
			rows[b->id].x = b->bias == -INFINITY ? -INFINITY : rows[b->id].x + b->bias;
	}
}

static void penalise(struct row *r, const struct k_sampler *s)
{
	if (!r->count.seen || !isfinite(r->x))
		return;
	r->x = r->x > 0 ? r->x / s->repetition : r->x * s->repetition;
	if (r->count.made)
		r->x -= s->frequency * (float)r->count.made + s->presence;
}

static bool penalises(const struct k_sampler *s) { return s->repetition != 1 || s->presence != 0 || s->frequency != 0; }

static void add_penalties(struct row *rows, int32_t vocab, const struct k_sampler *s)
{
	bool repetition = s->repetition != 1;

	if (!penalises(s))
		return;
	for (int32_t i = 0; i < vocab; i++)
		rows[i].count.seen = rows[i].count.made = 0;
	for (size_t i = 0; i < s->n_prompt && repetition; i++)
		if (s->prompt[i] >= 0 && s->prompt[i] < vocab)
			rows[s->prompt[i]].count.seen = 1;
	for (size_t i = 0; i < s->n_out; i++) {
		if (s->out[i] < 0 || s->out[i] >= vocab)
			continue;
		rows[s->out[i]].count.seen = 1;
		rows[s->out[i]].count.made++;
	}
	for (int32_t i = 0; i < vocab; i++)
		penalise(&rows[i], s);
}

/* The lowest of the largest. */
static int32_t largest(const struct row *rows, int32_t vocab)
{
	int32_t best = 0;

	for (int32_t i = 1; i < vocab; i++)
		if (rows[i].x > rows[best].x)
			best = i;
	return best;
}

/* --- the heap ----------------------------------------------------------------------------------------------------------- */

static bool heavier(const struct row *a, const struct row *b)
{
	return a->weight > b->weight || (a->weight == b->weight && a->id < b->id);
}

static void sink(struct row *h, int32_t n, int32_t i)
{
	struct row x = h[i];

	for (int32_t k; (k = 2 * i + 1) < n; i = k) {
		k += k + 1 < n && heavier(&h[k + 1], &h[k]);
		if (!heavier(&h[k], &x))
			break;
		h[i] = h[k];
	}
	h[i] = x;
}

/* Keeps the heaviest: k of them at most, and of these as many as make up top_p of their sum. They end at rows + n, heaviest last;
 * returns how many there are. */
static int32_t keep_heaviest(struct row *rows, int32_t n, int32_t k, double top_p)
{
	double sum = 0, kept = 0;
	int32_t m = 0, end = n;

	for (int32_t i = n / 2 - 1; i >= 0; i--)
		sink(rows, n, i);
	/* Without top-k the sum is known before anything leaves the heap, and only what is kept need leave it. */
	for (int32_t i = 0; i < n && k == n; i++)
		sum += rows[i].weight;
	while (m < k && (k < n || m == 0 || kept < top_p * sum)) {
		struct row top = rows[0];

		rows[0] = rows[--end];
		rows[end] = top;
		sink(rows, end, 0);
		kept += top.weight;
		m++;
	}
	if (k == n || top_p >= 1)
		return m;
	for (sum = kept, kept = 0, k = m, m = 0; m < k && (m == 0 || kept < top_p * sum); m++)
		kept += rows[n - 1 - m].weight;
	return m;
}

/* --- the draw ----------------------------------------------------------------------------------------------------------- */

/* A number in [0, 1) that depends on nothing but its key. Each word of the key goes through a bijective mixer (shifts and odd
 * multipliers), so that keys that differ in one word never meet. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static double uniform(uint64_t seed, uint32_t choice, uint64_t position)
{
	uint64_t x = mix(seed + 0x9e3779b97f4a7c15u);

	x = mix(x ^ (choice + 0xbf58476d1ce4e5b9u));
	x = mix(x ^ (position + 0x94d049bb133111ebu));
	return (double)(x >> 11) * 0x1p-53;
}

static int32_t draw(const struct row *rows, int32_t n, double least, double u)
{
	double sum = 0, at = 0;
	int32_t last = -1;

	for (int32_t i = 0; i < n; i++)
		sum += rows[i].weight >= least ? rows[i].weight : 0;
	for (int32_t i = 0; i < n; i++) {
		if (rows[i].weight < least || rows[i].weight == 0)
			continue;
		at += rows[i].weight;
		last = rows[i].id;
		if (at > u * sum)
			break;
	}
	return last;
}

int32_t k_sample_only(const struct k_sampler *s, int32_t vocab)
{
	int32_t only = -1;

	for (int32_t i = 0; s->mask && i < s->n_mask; i += 64) {
		uint64_t bits = s->mask[i / 64];

		if (bits && (only >= 0 || bits & (bits - 1)))
			return -1;
		only = bits ? i + __builtin_ctzll(bits) : only;
	}
	return only < vocab && only < s->n_mask ? only : -1;
}

bool k_sample_draw(const struct k_sampler *s, struct k_draw *out)
{
	*out = (struct k_draw){ uniform(s->seed, s->choice, s->n_out), s->temperature, s->top_p, s->min_p, s->top_k };
	return !s->mask && !s->n_bias && !penalises(s);
}

int32_t k_sample(const struct k_sampler *s, const float *logits, int32_t vocab, void *scratch, struct k_err *err)
{
	struct row *rows = scratch;
	int32_t best, n = 0, k, m;
	double scale;
	float most;
	int rc = vocab > 0 ? fill(rows, logits, vocab, err) : k_err_set(err, K_EBUG, "there are no logits");

	if (rc < 0)
		return rc;
	apply_mask(rows, vocab, s);
	add_bias(rows, vocab, s);
	add_penalties(rows, vocab, s);
	best = largest(rows, vocab);
	most = rows[best].x;
	if (most == -INFINITY)
		return k_err_set(err, K_ENO, "every token is masked");
	if (s->temperature <= 0 || most == INFINITY)
		return best;
	scale = 1.0 / s->temperature;
	for (int32_t i = 0; i < vocab; i++) {
		double weight = exp(((double)rows[i].x - most) * scale);

		/* The largest one stays whatever the scale does to zero. */
		if (i != best && !(weight > 0))
			continue;
		rows[n] = (struct row){ .weight = i == best ? 1 : weight, .x = rows[i].x, .id = i };
		n++;
	}
	k = s->top_k > 0 && s->top_k < n ? s->top_k : n;
	m = k < n || s->top_p < 1 ? keep_heaviest(rows, n, k, s->top_p) : n;
	/* The heaviest weighs 1: min-p is a weight as it stands. */
	return draw(rows + n - m, m, s->min_p, uniform(s->seed, s->choice, s->n_out));
}

/* --- log-probabilities -------------------------------------------------------------------------------------------------- */

double k_log_sum(const float *logits, int32_t vocab)
{
	double sum = 0;
	float most = -INFINITY;

	for (int32_t i = 0; i < vocab; i++)
		most = logits[i] > most ? logits[i] : most;
	if (!isfinite(most))
		return most;
	for (int32_t i = 0; i < vocab; i++)
		sum += exp((double)logits[i] - most);
	return most + log(sum);
}

/* Never NaN: beside an infinite logit everything else is nothing, and where all are masked so is each. */
static double against(float x, double all)
{
	if (isfinite(all))
		return x - all;
	return x == INFINITY ? 0 : -INFINITY;
}

double k_logprob(const float *logits, int32_t vocab, int32_t id)
{
	return id < 0 || id >= vocab ? -INFINITY : against(logits[id], k_log_sum(logits, vocab));
}

int k_logprob_top(const float *logits, int32_t vocab, struct k_top *out, int k)
{
	double all = k_log_sum(logits, vocab);
	int n = 0;

	for (int32_t i = 0; i < vocab && k > 0; i++) {
		int at = n;

		if (n == k && !(logits[i] > out[n - 1].logprob))
			continue;
		n += n < k;
		for (at = K_MIN(at, n - 1); at > 0 && logits[i] > out[at - 1].logprob; at--)
			out[at] = out[at - 1];
		out[at] = (struct k_top){ i, logits[i] };
	}
	for (int i = 0; i < n; i++)
		out[i].logprob = (float)against(out[i].logprob, all);
	return n;
}
