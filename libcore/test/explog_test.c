/* explog_test.c: exp and log against libm, over the arguments that they are for. */
#include "libcore/base.h"
#include <math.h>
#include "libcore/explog.h"
#include "libcore/test.h"

K_TEST(explog_against_libm)
{
	int unlike = 0, n = 0;

	for (double x = -100; x < 88; x += 0.00371, n++) {
		double e = k_exp(x), l = k_log(exp(x));

		K_CHECK_MSG(fabs(e - exp(x)) <= 1e-15 * exp(x), "exp(%.17g) = %.17g", x, e);
		K_CHECK_MSG(fabs(l - x) <= 1e-15 * fmax(fabs(x), 0.25), "log(exp(%.17g)) = %.17g", x, l);
		unlike += (float)e != (float)exp(x);
	}
	K_CHECK_MSG(unlike == 0, "%d of %d differ in f32", unlike, n);
	K_CHECK(k_exp(0) == 1 && k_log(1) == 0 && k_exp(-700) > 0);
}
