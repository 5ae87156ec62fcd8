/* layers.h: two computations of one sequence, layer by layer in the order in which they were computed. The first place where they
 * part is where one of them is wrong: all behind it only follows.
 *
 *   embedding -> layer 0 -> layer 1 -> ... -> logits
 *                  conv -> state -> (rest of the mixer) -> scores -> experts -> weights -> (experts) -> hidden
 *
 * What is measured, of b against a:
 *   conv      |b - a| / |a| of the inputs of one token           (lengths are root sums of squares)
 *   state     |b - a| / |a| of a head, after the last token
 *   scores    the largest difference of a router's score
 *   experts   other experts: the margin of a's choice (routing.h), infinite where it has no scores
 *   weights   |b - a| / |a| of a token's weights, where the experts are the same
 *   hidden    |b - a| / |a| of what the layer added to a token's row, or of 1/16 of that row where it is more: what is added to a row that
 *             is a thousand times as long (an attention sink's) is lost in its rounding; layer -1: of the embedding itself
 *   logits    |b - a| / deviation of a's row
 *
 * A token whose experts differ within what its scores may differ by (a tie) goes its own way from there on: what follows of it says nothing
 * about the layers, and comes with `tied`. */
#ifndef K_LAYERS_H
#define K_LAYERS_H

#include "evals/golden.h"

enum k_part { K_PART_CONV, K_PART_STATE, K_PART_SCORES, K_PART_EXPERTS, K_PART_WEIGHTS, K_PART_HIDDEN, K_PART_LOGITS, K_N_PART };
extern const char *const k_part_names[K_N_PART];

struct k_spot {
	int64_t layer;                  /* -1: the embedding; the number of layers: logits */
	enum k_part part;
	int64_t token;                  /* -1: no one token */
	double diff, max_abs;           /* NaN nowhere: infinite then */
	bool tied;
};

struct k_layers {
	const struct k_golden *a, *b;
	const char *seq;                /* its name in both */
	int64_t n;                      /* tokens */
	/* Each place in order. Of other experts: is it a tie? */
	bool (*spot)(void *arg, const struct k_spot *s);
	/* After each layer, -1 to the number of layers. May be NULL. */
	int (*done)(void *arg, int64_t layer, struct k_err *err);
	void *arg;
	int64_t compared, missing;      /* tensors; a has it and b has not */
};

/* K_ESHAPE: a tensor has another shape in a than in b, or than its sequence. */
int k_layers_walk(struct k_layers *w, struct k_err *err) K_MUST_USE;

#endif
