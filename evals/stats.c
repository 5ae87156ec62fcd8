/* stats.c: see stats.h. */
#include "libcore/base.h"
#include <math.h>
#include "evals/stats.h"

double k_stats_stderr(double sum, double squares, int64_t n)
{
	if (n < 2)
		return 0;
	double mean = sum / (double)n;
	return sqrt(fmax(squares - (double)n * mean * mean, 0) / (double)(n - 1) / (double)n);
}
