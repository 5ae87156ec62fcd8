/* ready_int8.h: activations of 8 bits as x16_int8.h takes them (struct kk_i8). One form for all levels, so those above the first with vectors have none
 * of their own. */

#include "kernels/tmpl/ready_group.h"

/* The bytes of 32 words that are small, each 8 in the order of KK_I8_ORDER. */
static inline __attribute__((always_inline)) void i8_store(int8_t *to, const i8_words c[4])
{
	__m256i b = _mm256_packs_epi16(_mm256_packs_epi32((__m256i)c[0], (__m256i)c[1]), _mm256_packs_epi32((__m256i)c[2], (__m256i)c[3]));
	__m128i first = _mm256_castsi256_si128(b), second = _mm256_extracti128_si256(b, 1);
	_mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi8(first, second));
	_mm_storeu_si128((__m128i *)(void *)(to + 16), _mm_unpackhi_epi8(first, second));
}

/* mx: codes of weights are twice their values and 12 more, those of even and of odd columns are summed apart. */
static inline __attribute__((always_inline)) void i8_ready(bool mx, float *y, const float *x, size_t cols)
{
	struct kk_i8 *to = (struct kk_i8 *)y;
	for (size_t g = 0; g < cols / 32; g++, to++) {
		i8_floats v[4];
		i8_words c[4], sum;
		i8_load(v, x + 32 * g);                 /* all of them before the first is written: y may be x */
		int32_t top = i8_top(v);
		float d = ((i8_floats)(i8_words){ top })[0] / 127, inv = d > __FLT_MIN__ ? 1 / d : 0;
		if (top >= 0x7f800000) {
			d = __builtin_nanf("");
			inv = 0;
			EACH(i, 4)
				v[i] = (i8_floats){ 0 };
		}
		EACH(i, 4)
			c[i] = (i8_words)_mm256_cvtps_epi32((__m256)(v[i] * inv));
		i8_store(to->code, c);
		to->d = mx ? 0.5f * d : d;
		sum = i8_totals((c[0] + c[1]) + (c[2] + c[3]));
		to->bias = mx ? (int32_t)((uint32_t)(-12 * sum[0]) % 65536 | (uint32_t)(-12 * sum[1]) << 16) : KK_I8_ZERO - 8 * (sum[0] + sum[1]);
	}
}

static void KK_FN(ready_i4x16_int8)(float *y, const float *x, size_t cols) { i8_ready(false, y, x, cols); }
static void KK_FN(ready_mx4x16_int8)(float *y, const float *x, size_t cols) { i8_ready(true, y, x, cols); }
