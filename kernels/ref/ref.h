/* ref.h: prototypes of the reference, and the scalar functions it shares. Everything is computed in double. */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H

#include <math.h>
#include "kernels/kk.h"

#define LEVEL ref
#define KK(name, ret, args, tolerance) ret KK_FN(name) args;
#include "kernels/kk.def"
#undef KK

static inline double ref_sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static inline double ref_silu(double x) { return x * ref_sigmoid(x); }
static inline double ref_softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

#endif
