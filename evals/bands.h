/* bands.h: how far a computation may lie from a bundle, by layer and part: what two precisions of one program differ by, times a factor,
 * and at least a floor. In golden.json:
 *
 *   "layers": 8, "bands": {"of": "f32, bf16", "factor": 4, "floor": 1e-05, "hidden": [embedding, layer 0, ...], "state": [...], ...}
 *
 * A list has layers + 1 numbers, null where nothing was measured: that is not judged. Of "logits" there is one number. Measures: layers.h. */
#ifndef K_BANDS_H
#define K_BANDS_H

#include "evals/layers.h"
#include "libcore/arena.h"

struct k_bands {
	const char *of;
	double factor, floor;
	int64_t n_layer;
	double *most[K_N_PART];         /* by layer + 1; logits at n_layer + 1; < 0: nothing is known */
};

/* Nothing is known. In a's memory. */
int k_bands_new(struct k_bands **out, int64_t n_layer, struct k_arena *a, struct k_err *err) K_MUST_USE;
/* Of the object "bands". */
int k_bands_read(struct k_bands **out, const struct k_json *v, int64_t n_layer, struct k_arena *a, const char *where, struct k_err *err) K_MUST_USE;
struct k_json *k_bands_json(const struct k_bands *b);   /* NULL without memory */
/* Widens the bands by what b differs from a in the sequence w->seq; w's functions are set here. Rows of tokens whose experts differ count only
 * where less than a quarter of the rows is left without them. */
int k_bands_measure(struct k_bands *b, struct k_layers *w, struct k_err *err) K_MUST_USE;
/* After the last sequence: times factor, at least floor. */
void k_bands_widen(struct k_bands *b);
/* < 0: not judged. */
double k_bands_at(const struct k_bands *b, int64_t layer, enum k_part part);

#endif
