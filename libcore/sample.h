/* sample.h: logits -> token. Order: mask, bias, repetition, frequency and presence penalties, temperature, top-k, top-p,
 * min-p, draw. Temperature 0: argmax, lowest id on ties. The random numbers are counter-based, keyed by (seed, choice, position),
 * so that results do not depend on batch mates. Log-probabilities are of the raw logits (log-softmax, summed in double). */
#ifndef K_SAMPLE_H
#define K_SAMPLE_H

#include "libcore/err.h"

struct k_bias { int32_t id; float bias; };
struct k_sampler {
	float temperature, top_p, min_p, presence, frequency, repetition;       /* neutral: 1, 1, 0, 0, 0, 1 */
	int top_k;                      /* <= 0: off */
	uint64_t seed;
	uint32_t choice;
	const uint64_t *mask; int32_t n_mask;           /* bits of the ids that may come, the rest of the vocabulary may not; NULL: all may */
	const struct k_bias *bias; int n_bias;          /* additive; -INFINITY masks */
	const int32_t *prompt; size_t n_prompt;         /* for repetition only */
	const int32_t *out; size_t n_out;               /* generated so far: all penalties */
};
struct k_top { int32_t id; float logprob; };

/* What a request may ask, by the name that clients have for it. above: lo itself is out. */
struct k_sample_range { const char *name; double lo, hi; bool above; };

/* What a row is sampled by where nothing but its logits counts. u: the random number. */
struct k_draw { double u; float temperature, top_p, min_p; int32_t top_k; };

void k_sampler_init(struct k_sampler *s);
/* name: temperature, top_p, min_p, presence_penalty, frequency_penalty, repeat_penalty or repetition_penalty. */
const struct k_sample_range *k_sample_range(const char *name);
bool k_sample_allows(const struct k_sample_range *r, double x);
/* logits: vocab values, not changed. scratch: vocab * 16 bytes. Position is s->n_out. Returns the id, or K_ENO when every token
 * is masked (dead end). NaN in logits: K_EBUG. */
int32_t k_sample(const struct k_sampler *s, const float *logits, int32_t vocab, void *scratch, struct k_err *err) K_MUST_USE;
/* The id that comes whatever the logits are, as the mask lets no other through; -1: they decide. A bias does not count: what a constraint insists on cannot be
 * banned. */
int32_t k_sample_only(const struct k_sampler *s, int32_t vocab);
/* false: there is a mask, bias or penalty as well. */
bool k_sample_draw(const struct k_sampler *s, struct k_draw *out);
/* log of the sum of exp(x), in double. -INFINITY when every logit is. */
double k_log_sum(const float *logits, int32_t vocab);
/* log p(id) of raw logits. */
double k_logprob(const float *logits, int32_t vocab, int32_t id);
/* The k largest log-probabilities, descending, lower id first on ties; returns how many (min(k, vocab)). */
int k_logprob_top(const float *logits, int32_t vocab, struct k_top *out, int k);

#endif
