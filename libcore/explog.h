/* explog.h: exp and log with the same bits on every machine: single IEEE operations in double, nothing of libm. For values that are
 * written into files. Errors stay below 4 units in the last place of a double, so that a result rounded to f32 is the nearest one but
 * for about one argument in 2^26. */
#ifndef K_EXPLOG_H
#define K_EXPLOG_H

#include "libcore/base.h"

double k_exp(double x);                 /* |x| <= 700 */
double k_log(double x);                 /* x > 0, normal */

/* GGUF's form of KDA's decay, a = -exp(A_log), and back: of the f32 values near log(-a) the one that gives a again, where one does. */
float k_decay_from_log(float a_log);    /* -infinity or 0 where f32 ends */
float k_decay_to_log(float a);          /* a < 0 */

#endif
