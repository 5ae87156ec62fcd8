/* explog_test.c: exp and log against libm, over the arguments that they are for; the decay of KDA there and back. */
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

K_TEST(explog_decay)
{
	int same = 0, n = 0;

	for (float x = -16; x < 16; x += 0.0137f, n++) {
		float a = k_decay_from_log(x), back = k_decay_to_log(a);

		K_CHECK_MSG(a == -(float)exp((double)x), "%.9g", (double)x);
		K_CHECK_MSG(k_decay_from_log(back) == a, "%.9g comes back as %.9g", (double)x, (double)back);
		same += back == x;
	}
	/* Where |x| < 1 several x have one decay. */
	K_CHECK_MSG(same > n * 9 / 10, "%d of %d", same, n);
	K_CHECK(isinf(k_decay_from_log(90)) && k_decay_from_log(-120) == 0);
}
