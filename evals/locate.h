/* locate.h: where a computation leaves the bands of a bundle first: the layer, what of it, the token; an item of the report for each
 * layer of each sequence. For keval parity and keval diff. */
#ifndef K_LOCATE_H
#define K_LOCATE_H

#include "evals/bands.h"
#include "evals/report.h"

struct k_locate {
	const struct k_golden *bundle;
	double tol;                     /* instead of the bands; NaN: the bands */
	struct k_report *rep;
	/* What was found. */
	bool found;
	int64_t layer, token, expert;   /* layer: the bundle's number of layers for logits; -1: no one token; not known */
	enum k_part part;
	const char *seq;
	int64_t ties, compared, missing;        /* ties before the first bad layer */
	double max_abs, max_rel;        /* of logits */
};

/* set: the same sequence, computed by another. A tensor that set lacks is counted in `missing`. */
int k_locate_sequence(struct k_locate *l, const struct k_golden *set, const struct k_golden_seq *seq, struct k_err *err) K_MUST_USE;
/* first_bad_layer, _kind, _token, _expert, _sequence, ties, tensors, missing; -1 without memory. */
int k_locate_put(const struct k_locate *l, struct k_json *summary) K_MUST_USE;

#endif
