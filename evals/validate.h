/* validate.h: does a JSON value fit a JSON schema? The checking vocabulary of draft 2020-12 with references inside the document (#, #/path); format and
 * other annotations say nothing. It shares nothing with the code that makes a model write such values. */
#ifndef K_VALIDATE_H
#define K_VALIDATE_H

#include "libcore/json.h"

/* 1: it fits. 0: it does not, err says where and why. K_EFORMAT: the schema cannot be judged by: a reference to nothing, a pattern that is none, a
 * loop of references. */
int k_validate(const struct k_json *schema, const struct k_json *value, struct k_err *err) K_MUST_USE;

#endif
