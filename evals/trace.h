/* trace.h: runs sequences through a model and keeps what golden data are about: the residual stream after each layer, the routing
 * of each MoE layer. For keval dump and parity. */
#ifndef K_TRACE_H
#define K_TRACE_H

#include "evals/golden.h"
#include "libcore/model.h"
#include "libcore/seq.h"

/* Sequences whose residual stream or routing would take more than this keep none of it (logits and states they have). */
#define K_TRACE_MAX (64u << 20)

struct k_trace_seq {
	const struct k_golden_seq *g;
	struct k_seq *seq;
	int64_t row;                    /* its first row among the trace's output rows */
	float *hidden;                  /* [n_layer + 1][n][n_embd]: the embedding, then after each layer; NULL: too long */
	int32_t *experts;               /* [n_layer][n][n_expert_used], only MoE layers are filled in; NULL: too long or no MoE */
	float *weights;
	float *scores;                  /* what the experts are chosen by, [n_layer][n][n_expert]; NULL: too long or no MoE */
};

struct k_trace {
	struct k_model *m;
	struct k_trace_seq *v;
	int n;
	const float *rows;              /* normed rows of all tokens, for k_model_logits; until the next step */
	int64_t *seen_hidden, *seen_router;     /* rows of the batch that the probe has shown, by layer (+ 1) */
};

bool k_trace_keeps_hidden(const struct k_hp *hp, int64_t n);
bool k_trace_keeps_router(const struct k_hp *hp, int64_t n);
bool k_trace_keeps_scores(const struct k_hp *hp, int64_t n);
int k_trace_run(struct k_trace *t, struct k_model *m, const struct k_golden_seq *seq, int n, struct k_err *err) K_MUST_USE;
void k_trace_fini(struct k_trace *t);

/* Greedy continuation: the largest logit, ties to the lower id, stop tokens ignored. */
int k_trace_greedy(struct k_model *m, const int32_t *prompt, int64_t n_prompt, int32_t *out, int64_t n, struct k_err *err) K_MUST_USE;

#endif
