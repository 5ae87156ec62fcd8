/* kda_state_test.c: a state with pending tokens, by hand. */
#include "libcore/base.h"
#include <math.h>
#include "libcore/kda_state.h"
#include "libcore/test.h"

/* One head of 33 channels, two strips, two tokens pending: S = 3 everywhere, decays of 1/2; keys of 1/4 and 1, e of 8 and -1, of channel 32: 0. */
K_TEST(kda_state_as_of_now)
{
	enum { D = 33 };
	static float plain[D * D];
	float *state = k_calloc((size_t)k_kda_floats(1, D), sizeof(*state));
	K_CHECK(state != NULL);
	if (!state)
		return;
	float *head = k_kda_head(state, 0, D);
	int64_t step = k_kda_padded(D);
	K_CHECK(step == 48 && k_kda_strips(D) == 2);
	state[0] = 2;
	for (int i = 0; i < D; i++) {
		head[i] = 0.5f;
		head[step + i] = 0.25f;
		head[2 * step + i] = 1;
		head[3 * step + i] = 99;        /* no longer pending */
		for (int v = 0; v < D; v++)
			k_kda_strip(head, v / 32, D)[i * 32 + v % 32] = 3;
	}
	for (int v = 0; v < 32; v++) {
		k_kda_strip(head, 0, D)[D * 32 + v] = 8;
		k_kda_strip(head, 0, D)[(D + 1) * 32 + v] = -1;
		k_kda_strip(head, 0, D)[(D + 2) * 32 + v] = 77;
	}
	for (int clean = 0; clean < 2; clean++) {
		k_kda_plain(plain, state, 1, D);
		for (int i = 0; i < D; i++)
			for (int v = 0; v < D; v++)
				K_CHECK(plain[i * D + v] == (v < 32 ? 2.5f : 1.5f));
		k_kda_clean(state, 1, D);
	}
	K_CHECK(head[3 * step] == 0 && k_kda_strip(head, 0, D)[(D + 2) * 32] == 0);
	K_CHECK(k_kda_is_count(0) && k_kda_is_count(15) && !k_kda_is_count(16) && !k_kda_is_count(-1) && !k_kda_is_count(0.5f) && !k_kda_is_count(NAN));
	k_free(state);
}
