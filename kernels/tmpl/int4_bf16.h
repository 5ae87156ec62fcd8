/* int4_bf16.h: products of INT4 weights with activations in bf16, straight from the records of i4g32 in layout x16
 * (libcore/qtype/i4g32_x16.c). For a level of 16 lanes that has defined, beside the vector,
 *
 *     vh_codes(word, i)    nibble i of the low and of the high half of each word, less 8, as a pair of bf16
 *     vh_dot(a, u, p)      a plus, in each lane, both products of the pair u and the pair at p
 *
 * A lane is a row. Nibbles i are columns 2 i and 2 i + 1 of the word's eight, so activations are a plain row of bf16. A group has one sum,
 * pairs in growing k; times the scale it is added to the element, groups in growing k. */

enum { B16_ROWS = 16, B16_COLS = 64, B16_RECORD = 576, B16_AHEAD = 8 * B16_RECORD, B16_TOKENS = 12 };

static inline __attribute__((always_inline)) vu b16_load(const uint8_t *p)
{
	vu v;
	memcpy(&v, p, sizeof(v));
	return v;
}

#define B16_GROUP(T, g) do { \
	vf a[T]; \
	EACH(t, T) \
		a[t] = vf_set(0); \
	EACH(word, 4) { \
		vu w = b16_load(p + 64 + 64 * (4 * (g) + word)); \
		EACH(i, 4) { \
			vu codes = vh_codes(w, i); \
			EACH(t, T) \
				a[t] = vh_dot(a[t], codes, x[t] + 32 * (g) + 8 * word + 2 * i); \
		} \
	} \
	vu scales = b16_load(p); \
	vf scale = (vf)((g) ? scales & 0xffff0000u : scales << 16); \
	EACH(t, T) \
		sum[t] = vf_fma(a[t], scale, sum[t]); \
} while (0)

#define B16_FN(T) \
static void b16_##T(float *y, size_t y_step, const uint8_t *p, const uint16_t *const *from, size_t cols) \
{ \
	const uint16_t *x[T]; \
	vf sum[T]; \
	EACH(t, T) { \
		x[t] = from[t]; \
		sum[t] = vf_set(0); \
	} \
	for (size_t k = 0; k < cols; k += B16_COLS, p += B16_RECORD) { \
		EACH(i, B16_RECORD / 64) \
			__builtin_prefetch(p + B16_AHEAD + 64 * i); \
		B16_GROUP(T, 0); \
		B16_GROUP(T, 1); \
		EACH(t, T) \
			x[t] += B16_COLS; \
	} \
	EACH(t, T) \
		vf_store(y + (size_t)t * y_step, sum[t]); \
}
B16_FN(1) B16_FN(2) B16_FN(3) B16_FN(4) B16_FN(5) B16_FN(6) B16_FN(7) B16_FN(8) B16_FN(9) B16_FN(10) B16_FN(11) B16_FN(12)

static void KK_FN(gemm_i4x16_bf16)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	static void (*const tile[])(float *, size_t, const uint8_t *, const uint16_t *const *, size_t) =
		{ b16_1, b16_2, b16_3, b16_4, b16_5, b16_6, b16_7, b16_8, b16_9, b16_10, b16_11, b16_12 };
	const uint8_t *p = w;
	for (int r = 0; r < rows; r += B16_ROWS, p += cols / B16_COLS * B16_RECORD)
		for (int t = 0, m; t < n; t += m) {
			int left = n - t, passes = (left + B16_TOKENS - 1) / B16_TOKENS;
			m = (left + passes - 1) / passes;
			tile[m - 1](y + (size_t)t * y_step + r, y_step, p, (const uint16_t *const *)(x + t), cols);
		}
}

/* Rounded to nearest even; a NaN keeps its sign and is quiet. y may be x: 16 are read before they are written. */
static void KK_FN(ready_i4x16_bf16)(float *y, const float *x, size_t cols)
{
	for (size_t k = 0; k < cols; k += 16) {
		uint32_t v[16];
		uint16_t to[16];
		memcpy(v, x + k, sizeof(v));
		for (int i = 0; i < 16; i++) {
			uint32_t even = (v[i] + 0x7fff + (v[i] >> 16 & 1)) >> 16;
			to[i] = (uint16_t)((v[i] & 0x7fffffff) > 0x7f800000 ? v[i] >> 16 | 0x40 : even);
		}
		memcpy((uint16_t *)y + k, to, sizeof(to));
	}
}
