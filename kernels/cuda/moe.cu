/* moe.cu: the router's choice, and the routed experts.
 *
 *   (token, slot) -- moe_up: gate, up, silu * up --> h -- moe_down: all slots of a token in ascending order of expert, weighted --> y
 *
 * Ids never come to the host. */
#include "kernels/cuda/dot.h"

/* --- router: scores in double, as on the CPU ------------------------------------------------------------------------------ */

K_DEV double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

/* Does f come before e? The lower index among equals and among NaNs, which come last. */
K_DEV bool before(const double *v, int f, int e)
{
	bool nan_f = v[f] != v[f], nan_e = v[e] != v[e];
	if (nan_f || nan_e)
		return nan_f == nan_e ? f < e : nan_e;
	return v[f] > v[e] || (v[f] == v[e] && f < e);
}

K_DEV int rank_of(const double *v, int n, int e)
{
	int rank = 0;
	for (int f = 0; f < n; f++)
		rank += before(v, f, e);
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

/* softmax of all logits: the top, and the sum in order. */
K_DEV void softmax_parts(const float *logit, int n, double *top, double *sum)
{
	double m = -INFINITY, s = 0;
	for (int e = 0; e < n; e++)
		m = logit[e] > m ? logit[e] : m;
	for (int e = 0; e < n; e++)
		s += exp(logit[e] - m);
	*top = m;
	*sum = s;
}

K_KERNEL(route)
{
	K_SHARED(double, score, CUDA_EXPERTS);
	K_SHARED(double, pick, CUDA_EXPERTS);
	K_SHARED(double, group, CUDA_EXPERTS);
	K_SHARED(uint8_t, used, CUDA_EXPERTS);
	const float *logit = a.logits + (int64_t)blockIdx.x * a.n_expert;
	int size = a.n_expert / a.n_group;
	double top = 0, all = 1, sum = 0;
	if (a.softmax)
		softmax_parts(logit, a.n_expert, &top, &all);
	for (int e = threadIdx.x; e < a.n_expert; e += CUDA_THREADS) {
		double s = a.softmax ? exp(logit[e] - top) / all : sigmoid(logit[e]);
		pick[e] = s + (a.bias ? (double)a.bias[e] : 0);
		score[e] = a.biased ? pick[e] : s;
	}
	__syncthreads();
	if (a.n_group > 1) {
		for (int g = threadIdx.x; g < a.n_group; g += CUDA_THREADS)
			group[g] = group_value(pick + g * size, size);
		__syncthreads();
		for (int e = threadIdx.x; e < a.n_expert; e += CUDA_THREADS)
			if (rank_of(group, a.n_group, e / size) >= a.n_group_used)
				pick[e] = -INFINITY;
		__syncthreads();
	}
	for (int e = threadIdx.x; e < a.n_expert; e += CUDA_THREADS)
		used[e] = rank_of(pick, a.n_expert, e) < a.n_used;
	__syncthreads();
	for (int e = 0; e < a.n_expert; e++)
		sum += used[e] ? score[e] : 0;
	for (int e = threadIdx.x; e < a.n_expert; e += CUDA_THREADS) {
		int64_t slot = (int64_t)blockIdx.x * a.n_used;
		if (!used[e])
			continue;
		for (int f = 0; f < e; f++)
			slot += used[f];
		a.ids[slot] = e;
		a.weights[slot] = (float)((a.norm ? score[e] / (sum + 1e-20) : score[e]) * a.scale);
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
		a.h[pair * a.gate.rows + row] = k_silu(gate[threadIdx.x]) * up[threadIdx.x];
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
