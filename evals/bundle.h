/* bundle.h: keval parity --bundle: writes a bundle, a folder that is a golden set with bands and digests:
 *
 *   FOLDER/golden.safetensors   what the model computes for the sequences of -f (capture.h)
 *   FOLDER/golden.json          sequences, bands, a sha256 of each tensor, what computed it; written last: a folder without it is unfinished
 *
 * Each sequence is computed twice, with the activations that --act says and in another precision: what they differ by makes the bands. */
#ifndef K_BUNDLE_H
#define K_BUNDLE_H

#include "evals/eval.h"

int k_bundle_write(struct k_model *m, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif
