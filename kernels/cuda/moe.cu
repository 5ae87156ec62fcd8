/* moe.cu: the router's choice, and the routed experts.
 *
 *   (token, slot) -- moe_up: gate, up, the unit of both --> h -- moe_down: all slots of a token in ascending order of expert, weighted --> y
 *
 * Ids never come to the host. */
#include "kernels/cuda/dot.h"

/* --- router: scores in double, as on the CPU ------------------------------------------------------------------------------ */

K_DEV double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

/* Whole numbers in the order of the choice: a larger value, a larger key; no number, 0. Among equals the lower index comes first. */
K_DEV uint64_t key_of(double v)
{
	uint64_t u = k_d_bits(v + 0.0);
	return v != v ? 0 : u >> 63 ? ~u : u | (uint64_t)1 << 63;
}

/* How many of n keys come before the one at i. */
K_DEV int keys_before(const uint64_t *key, int n, int i)
{
	uint64_t mine = key[i];
	int rank = 0;
	K_UNROLL_BY(8) for (int f = 0; f < n; f++)
		rank += key[f] > mine || (key[f] == mine && f < i);
	return rank;
}

/* The sum of the two largest. */
K_DEV double group_value(const double *v, int n)
{
	double first = -INFINITY, second = -INFINITY;
	for (int i = 0; i < n; i++) {
		if (v[i] > first) {
			second = first;
			first = v[i];
		} else if (v[i] > second) {
			second = v[i];
		}
	}
	return n > 1 ? first + second : first;
}

/* The largest logit. */
K_DEV float top_of(const float *logit, int n, float *part)
{
	float top = -INFINITY;
	for (int e = threadIdx.x; e < n; e += CUDA_THREADS)
		top = fmaxf(top, logit[e]);
	top = k_warp_max(top);
	if (k_lane() == 0)
		part[k_warp()] = top;
	__syncthreads();
	for (int i = 0; i < CUDA_WARPS; i++)
		top = fmaxf(top, part[i]);
	return top;
}

/* The sum of n values, by lanes of a warp and those in order. */
K_DEV double sum_of(const double *v, int n, double *part)
{
	double sum = 0;
	int each = (n + K_WARP - 1) / K_WARP;
	__syncthreads();
	if (k_warp() == 0)
		for (int i = each * k_lane(); i < n && i < each * (k_lane() + 1); i++)
			sum += v[i];
	if (k_warp() == 0)
		part[k_lane()] = sum;
	__syncthreads();
	sum = 0;
	K_UNROLL for (int i = 0; i < K_WARP; i++)
		sum += part[i];
	return sum;
}

/* Of each RUN experts those that can be among the n_used best of all, and of those the best: keys are compared some 2 x 64 times an expert and not with all
 * of them. Whoever is chosen finds its place among the chosen by their ids. */
enum { ROUTE_RUN = K_WARP };

K_KERNEL_EARLY(route, 1)
{
	K_SHARED(double, score, CUDA_EXPERTS);
	K_SHARED(double, pick, CUDA_EXPERTS);
	K_SHARED(uint64_t, key, CUDA_EXPERTS);
	K_SHARED(uint64_t, final, CUDA_EXPERTS);
	K_SHARED(int, who, CUDA_EXPERTS);
	K_SHARED(int, chosen, CUDA_EXPERTS);
	K_SHARED(double, part, K_WARP);
	K_SHARED(float, tops, CUDA_WARPS);
	const float *logit = a.logits + (int64_t)blockIdx.x * a.n_expert;
	int size = a.n_expert / a.n_group, most = a.n_used < ROUTE_RUN ? a.n_used : ROUTE_RUN, runs = (a.n_expert + ROUTE_RUN - 1) / ROUTE_RUN;
	float top = 0;
	double all = 1;
	K_WAIT_BEFORE();
	if ((int)blockIdx.x >= a.n) {
		k_swiglu(&a.also, (int)blockIdx.x - a.n);
		return;
	}
	if (a.softmax) {
		top = top_of(logit, a.n_expert, tops);
		for (int e = threadIdx.x; e < a.n_expert; e += CUDA_THREADS)
			score[e] = exp((double)logit[e] - top);
		all = sum_of(score, a.n_expert, part);
	}
	for (int e = threadIdx.x; e < a.n_expert; e += CUDA_THREADS) {
		double s = a.softmax ? score[e] / all : sigmoid(logit[e]);
		pick[e] = s + (a.bias ? (double)a.bias[e] : 0);
		score[e] = a.biased ? pick[e] : s;
	}
	if (a.n_group > 1) {
		__syncthreads();
		for (int g = threadIdx.x; g < a.n_group; g += CUDA_THREADS)
			final[g] = key_of(group_value(pick + g * size, size));
		__syncthreads();
	}
	for (int e = threadIdx.x; e < runs * ROUTE_RUN; e += CUDA_THREADS) {
		bool dropped = a.n_group > 1 && e < a.n_expert && keys_before(final, a.n_group, e / size) >= a.n_group_used;
		key[e] = e < a.n_expert ? key_of(dropped ? -INFINITY : pick[e]) : 0;
	}
	__syncthreads();
	for (int e = threadIdx.x; e < runs * ROUTE_RUN; e += CUDA_THREADS) {
		int first = e / ROUTE_RUN * ROUTE_RUN, rank = keys_before(key + first, ROUTE_RUN, e - first);
		if (rank < most) {
			final[e / ROUTE_RUN * most + rank] = key[e];
			who[e / ROUTE_RUN * most + rank] = e;
		}
	}
	__syncthreads();
	for (int i = threadIdx.x; i < runs * most; i += CUDA_THREADS) {
		int rank = keys_before(final, runs * most, i);
		if (rank < a.n_used)
			chosen[rank] = who[i];
	}
	__syncthreads();
	for (int i = threadIdx.x; i < a.n_used; i += CUDA_THREADS) {
		int e = chosen[i], slot = 0;
		for (int k = 0; k < a.n_used; k++)
			slot += chosen[k] < e;
		who[slot] = e;
		pick[slot] = score[e];
	}
	__syncthreads();
	for (int i = threadIdx.x; i < a.n_used; i += CUDA_THREADS) {
		int64_t slot = (int64_t)blockIdx.x * a.n_used + i;
		double sum = 0;
		for (int k = 0; k < a.n_used; k++)
			sum += pick[k];
		a.ids[slot] = who[i];
		a.weights[slot] = (float)((a.norm ? pick[i] / (sum + 1e-20) : pick[i]) * a.scale);
	}
}

/* --- experts -------------------------------------------------------------------------------------------------------------- */

K_KERNEL(moe_up)
{
	K_SHARED(float, part, CUDA_WARPS * CUDA_TOKENS * 16);
	K_SHARED(float, gate, 16);
	K_SHARED(float, up, 16);
	int64_t pair = blockIdx.y, expert = a.ids[pair], row = (int64_t)blockIdx.x * 16 + threadIdx.x;
	const float *x = a.x + pair / a.n_used * a.gate.cols;
	dot16(gate, part, a.gate.type, k_slice(&a.gate, expert), a.gate.rows, a.gate.cols, blockIdx.x, x);
	dot16(up, part, a.up.type, k_slice(&a.up, expert), a.up.rows, a.up.cols, blockIdx.x, x);
	if (threadIdx.x < 16 && row < a.gate.rows)
		a.h[pair * a.gate.rows + row] = k_unit(gate[threadIdx.x], up[threadIdx.x], &a.unit);
}

K_KERNEL(moe_down)
{
	K_SHARED(float, part, CUDA_WARPS * CUDA_TOKENS * 16);
	K_SHARED(float, out, 16);
	int64_t token = blockIdx.y, row = (int64_t)blockIdx.x * 16 + threadIdx.x;
	bool mine = threadIdx.x < 16 && row < a.down.rows;
	float y = 0;
	for (int64_t pair = token * a.n_used; pair < (token + 1) * a.n_used; pair++) {
		dot16(out, part, a.down.type, k_slice(&a.down, a.ids[pair]), a.down.rows, a.down.cols, blockIdx.x, a.h + pair * a.down.cols);
		if (mine)
			y = fmaf(a.weights[pair], out[threadIdx.x], y);
		__syncthreads();
	}
	if (mine)
		a.y[token * a.down.rows + row] = y;
}
