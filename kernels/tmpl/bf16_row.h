/* bf16_row.h: activations in bf16 as a plain row of them, any number of columns: what vdpbf16ps and tdpbf16ps take. */
#include "libcore/dtype.h"

/* y may be x: 16 are read before they are written. */
static void KK_FN(ready_bf16)(float *y, const float *x, size_t cols)
{
	for (size_t k = 0; k < cols; k += 16) {
		size_t n = K_MIN(cols - k, (size_t)16);
		float v[16] = { 0 };
		uint16_t to[16];
		memcpy(v, x + k, n * sizeof(*v));
		for (int i = 0; i < 16; i++)
			to[i] = k_bf16_from_f32(v[i]);
		memcpy((uint16_t *)y + k, to, n * sizeof(*to));
	}
}
