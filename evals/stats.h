/* stats.h: how sure a figure is. */
#ifndef K_STATS_H
#define K_STATS_H

#include "libcore/base.h"

/* Standard error of a mean of n values, from their sum and the sum of their squares (sample variance); 0 for fewer than two. */
double k_stats_stderr(double sum, double squares, int64_t n);

#endif
