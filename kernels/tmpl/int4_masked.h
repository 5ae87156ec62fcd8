/* int4_masked.h: products of INT4 weights straight from their records, i4g32 in layout x16 (libcore/qtype/i4g32_x16.c), for a level
 * without a cheap look-up; it has defined, beside what gemm.h wants,
 *
 *     vu                  the vector of VL words
 *     vf_int(word)        words below 2^31 as floats
 *
 * A lane is a row, and a group's scale is applied to its sum. Taking a nibble out of a word costs as much as multiplying with it; here it is not taken out, only what stands above it is masked.
 * With u_i the lowest i + 1 nibbles of half a word (16 bits, so every u is exact as a float), n_i = (u_i - u_(i-1)) / 16^i, and
 *
 *     sum n_i x_i = u_0 (x_0 - x_1/16) + u_1 (x_1/16 - x_2/256) + u_2 (x_2/256 - x_3/4096) + u_3 x_3/4096
 *
 * no term of which is larger than 16 |x_i|. So activations are made ready once for all rows: by word (8 columns) the four factors of its
 * low half (nibbles 0 to 3: columns 0 2 4 6) and those of its high half (columns 1 3 5 7); behind all words, for each group of 32
 * columns, -8 sum x, since a code is a nibble less 8. That is where a group's sum begins; its products follow in the order of the words,
 * however many tokens are computed side by side. */

#include "kernels/tmpl/x16.h"

static void KK_FN(ready_i4x16)(float *to, const float *x, size_t cols)
{
	for (size_t g = 0; g < cols / X16_GROUP; g++) {
		double sum = 0;
		for (size_t word = 0; word < X16_GROUP / 8; word++) {
			size_t at = g * X16_GROUP + 8 * word;
			float q[8], *f = to + at;
			memcpy(q, x + at, sizeof(q));
			for (size_t i = 0; i < 2; i++) {
				float b = q[2 + i] / 16, c = q[4 + i] / 256, d = q[6 + i] / 4096;
				sum += ((double)q[i] + (double)q[2 + i]) + ((double)q[4 + i] + (double)q[6 + i]);
				f[4 * i] = q[i] - b;
				f[4 * i + 1] = b - c;
				f[4 * i + 2] = c - d;
				f[4 * i + 3] = d;
			}
		}
		to[cols + g] = (float)(-8 * sum);
	}
}

/* Groups g .. g + G - 1 of the record p; k is their first column, begin stand at -8 sum x of them. */
#define I4_GROUPS(G, T) do { \
	vf a[G][X16_H][T]; \
	EACH(j, G) EACH(h, X16_H) EACH(t, T) \
		a[j][h][t] = vf_set(begin[t][j]); \
	EACH(word, 4) EACH(j, G) EACH(i, 8) { \
		vf code[X16_H]; \
		EACH(h, X16_H) { \
			vu v = x16_load(x16_words(p, g + j) + 64 * word, h); \
			v = i < 4 ? v : v >> 16; \
			code[h] = vf_int(i == 7 ? v : v & ((16u << 4 * (i % 4)) - 1)); \
		} \
		EACH(t, T) { \
			vf b = vf_set(x[t][k + (size_t)(32 * j + 8 * word + i)]); \
			EACH(h, X16_H) \
				a[j][h][t] = vf_fma(code[h], b, a[j][h][t]); \
		} \
	} \
	EACH(j, G) EACH(h, X16_H) { \
		vf scale = x16_scale_i4(p, g + j, h); \
		EACH(t, T) \
			sum[h][t] = vf_fma(a[j][h][t], scale, sum[h][t]); \
	} \
} while (0)

/* 16 rows for T tokens, G groups side by side: enough sums to hide how long a product takes. */
#define I4_FN(G, T) \
static void i4_##T(float *y, size_t y_step, const uint8_t *p, const float *const *x, size_t cols) \
{ \
	const float *begin[T]; \
	vf sum[X16_H][T]; \
	EACH(t, T) \
		begin[t] = x[t] + cols; \
	EACH(h, X16_H) EACH(t, T) \
		sum[h][t] = vf_set(0); \
	for (size_t k = 0; k < cols; p += X16_RECORD(i4)) { \
		X16_FETCH(i4, p); \
		X16_EVERY(i4, g, G, T) { \
			I4_GROUPS(G, T); \
			k += X16_GROUP * G; \
			EACH(t, T) \
				begin[t] += G; \
		} \
	} \
	EACH(h, X16_H) EACH(t, T) \
		vf_store(y + (size_t)t * y_step + h * VL, sum[h][t]); \
}
I4_FN(2, 1)
I4_FN(2, 2)
I4_FN(1, 3)
I4_FN(1, 4)

#define I4_NAME(type, T) [T] = type##_##T,
X16_GEMM(i4, gemm_i4x16, 4, I4_NAME)
