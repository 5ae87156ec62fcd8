/* parity_int.h: what the files of the parity task share. */
#ifndef K_PARITY_INT_H
#define K_PARITY_INT_H

#include "evals/locate.h"
#include "evals/report.h"
#include "evals/trace.h"

enum { K_PARITY_ROWS = 32, NO_LAYER = -2 };

struct parity {
	struct k_model *m;
	const struct k_hp *hp;
	const struct k_golden *g;
	struct k_report *rep;
	const char *part;               /* "logits", "logits.engine", ... */
	bool only_logits;
	double tol, std;
	float *logits;                  /* K_PARITY_ROWS rows */
	bool logits_compared;
	double max_abs;                 /* of them */
	int64_t n_compared, first_bad;  /* NO_LAYER: none */
	int greedy;                     /* 1 same, 0 other, -1 not compared */
	struct k_locate locate;         /* of a bundle */
};

/* PART/SEQUENCE, NULL: not there. */
const struct k_golden_tensor *k_parity_find(const struct parity *p, const char *part, const char *seq);
/* One item. unit: what tol is multiplied by. diff may be NaN: out of tolerance then. */
int k_parity_item(struct parity *p, const char *key, int64_t layer, double diff, double unit, struct k_err *err) K_MUST_USE;
/* A golden tensor that cannot be compared: what the model has is another shape. */
int k_parity_misfit(struct parity *p, const struct k_golden_tensor *t, struct k_err *err);
bool k_parity_is_shape(const struct k_golden_tensor *t, int ndim, int64_t a, int64_t b, int64_t c);
/* The larger of d and |a - b|; NaN wins. */
double k_parity_worse(double d, double a, double b);
/* logits, argmax, logprob of a sequence. */
int k_parity_logits(struct parity *p, const struct k_trace *t, const struct k_trace_seq *s, struct k_err *err) K_MUST_USE;

#endif
