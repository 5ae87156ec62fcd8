/* kda_state.c: a state with its pending tokens applied, and without what is no longer pending. */
#include "libcore/kda_state.h"

float k_kda_now(const float *keys, const float *strip, int64_t count, int64_t d, int64_t i, int64_t v)
{
	const float *e = strip + d * K_KDA_STRIP;
	int64_t padded = k_kda_padded(d);
	double x = strip[i * K_KDA_STRIP + v];
	if (count)
		x *= (double)keys[i];
	for (int64_t j = 0; j < count; j++)
		x += (double)keys[(1 + j) * padded + i] * (double)e[j * K_KDA_STRIP + v];
	return (float)x;
}

void k_kda_plain(float *plain, const float *state, int64_t heads, int64_t d)
{
	int64_t count = k_kda_count(state);
	for (int64_t h = 0; h < heads; h++) {
		const float *keys = state + K_KDA_HEADER + h * k_kda_head_floats(d);
		for (int64_t i = 0; i < d; i++)
			for (int64_t v = 0; v < d; v++) {
				const float *strip = keys + k_kda_keys_floats(d) + v / K_KDA_STRIP * k_kda_strip_floats(d);
				*plain++ = k_kda_now(keys, strip, count, d, i, v % K_KDA_STRIP);
			}
	}
}

void k_kda_clean(float *state, int64_t heads, int64_t d)
{
	int64_t count = k_kda_count(state), padded = k_kda_padded(d), live = count ? 1 + count : 0;
	for (int64_t h = 0; h < heads; h++) {
		float *head = k_kda_head(state, h, d);
		for (int64_t j = 0; j < live; j++)
			memset(head + j * padded + d, 0, (size_t)(padded - d) * sizeof(float));
		memset(head + live * padded, 0, (size_t)(k_kda_keys_floats(d) - live * padded) * sizeof(float));
		for (int64_t s = 0; s < k_kda_strips(d); s++)
			memset(k_kda_strip(head, s, d) + (d + count) * K_KDA_STRIP, 0, (size_t)((K_KDA_CHUNK - count) * K_KDA_STRIP) * sizeof(float));
	}
}
