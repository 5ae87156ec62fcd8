/* each.h: a loop of a constant number of rounds that is written out, so that what it indexes can be registers. */
#ifndef UNROLL
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define EACH(i, n) UNROLL for (int i = 0; i < n; i++)
