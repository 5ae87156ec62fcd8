/* verify_value.h: private to verify*.c. */
#ifndef K_VERIFY_VALUE_H
#define K_VERIFY_VALUE_H

#include "libcore/qtype.h"

/* Value (row, col) of a granule of `rows` rows and cols columns, exact or rounded once. */
typedef double k_verify_formula(const uint8_t *granule, int64_t cols, int rows, int row, int64_t col);
/* NULL: no formula of its own for this type. */
k_verify_formula *k_verify_formula_of(const struct k_qtype *t);
/* x in the plain type t ("f32", "bf16", "f16"), rounded to the nearest, ties to even; false: another type. */
bool k_verify_round(const struct k_qtype *t, float x, float *out);
/* May y stand for x in a type that quantises? top: the largest of the values that share a scale, which may be chosen for the sum of
 * errors and not for the largest; how: what the scales were chosen by, NULL: they were those of the source. */
bool k_verify_fits(const struct k_qtype *t, const struct k_quant_opts *how, float x, float y, float top);

#endif
