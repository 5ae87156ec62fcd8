/* decimal.h: numbers as texts say them, compared by their digits and not by what a float keeps of them. */
#ifndef K_DECIMAL_H
#define K_DECIMAL_H

#include "libcore/base.h"

/* The last number of a text, n bytes: 1,234.5 is one, as are -.5 and 2e-7. NULL: there is none. */
const char *k_decimal_last(const char *s, size_t *n);
/* Of what k_decimal_last found. */
bool k_decimal_equal(const char *a, size_t n_a, const char *b, size_t n_b);     /* 5 and 5.0, of any length */
bool k_decimal_whole(const char *s, size_t n);
double k_decimal_value(const char *s, size_t n);

#endif
