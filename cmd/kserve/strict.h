/* strict.h: what an operator may refuse beyond what is wrong. */
#ifndef K_STRICT_H
#define K_STRICT_H

#include "cmd/kserve/openai.h"

/* A request that was read whole: --strict-params, --strict-max-tokens, --vendor-strict. */
int k_strict_check(const struct k_server *s, const struct k_request *rq, struct k_fault *f) K_MUST_USE;

/* The same for the fields of another dialect's request: known are its own, NULL last, beside those that all dialects share. */
int k_strict_names(const struct k_server *s, const struct k_json *body, const char *const *known, struct k_fault *f) K_MUST_USE;

#endif
