/* x16.h: records of i4g32 in layout x16 (libcore/qtype/i4g32_x16.c), for the products that read them: 16 rows x 64 columns, first the scales
 * of both groups, a word a row, then 8 words a row of 8 columns each. A lane is a row. For a level that has defined the vectors. */
#ifndef KERNELS_TMPL_X16_H
#define KERNELS_TMPL_X16_H

#include "kernels/tmpl/each.h"

enum {
	X16_ROWS = 16, X16_COLS = 64, X16_GROUP = 32, X16_RECORD = 576,
	X16_H = X16_ROWS / VL,                  /* vectors that hold the rows */
	X16_AHEAD = 8 * X16_RECORD,             /* memory is asked for this far ahead */
};

/* Memory is asked for, a record's worth. */
#define X16_FETCH(p) EACH(line, X16_RECORD / 64) __builtin_prefetch((p) + X16_AHEAD + 64 * line)

/* Vector h of the rows of the words at p. */
static inline __attribute__((always_inline)) vu x16_load(const uint8_t *p, int h)
{
	vu v;
	memcpy(&v, p + (size_t)h * sizeof(v), sizeof(v));
	return v;
}

/* Word `word` of each row of the record p; the scales of its group g. */
static inline __attribute__((always_inline)) vu x16_word(const uint8_t *p, int word, int h) { return x16_load(p + 64 + 64 * word, h); }

static inline __attribute__((always_inline)) vf x16_scale(const uint8_t *p, int g, int h)
{
	vu scales = x16_load(p, h);
	return (vf)(g ? scales & 0xffff0000u : scales << 16);
}

/* Of n tokens so many in the next pass, `most` at once: as few passes as there must be, and none of them thin. */
static inline int x16_tokens(int n, int most)
{
	int passes = (n + most - 1) / most;
	return (n + passes - 1) / passes;
}

#endif
