/* diff_bundle.h: keval diff of two bundles: where does B leave A's bands first? */
#ifndef K_DIFF_BUNDLE_H
#define K_DIFF_BUNDLE_H

#include "evals/eval.h"

/* A folder with a golden.json, or that file. */
bool k_is_bundle(const char *path);
int k_diff_bundles(const char *a, const char *b, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;

#endif
