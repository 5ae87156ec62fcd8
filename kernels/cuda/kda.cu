/* kda.cu: Kimi delta attention, all of a layer behind its projections. A block is one head of one segment, and walks its tokens:
 *
 *   raw q k v -- conv + silu, a thread a channel --> q, k normed, v, decay alpha          shared memory
 *   state [dv][dk]: a warp a row, a lane every 32nd column: decay, correct by beta (v - S k), read by q --> o
 *   o -- norm * sigmoid(z) --> y
 *
 * A token reads and writes the state once; between tokens of a prompt it stays in the caches. */
#include "kernels/cuda/cuda_dev.h"

/* Channel c of raw projection i, `back` tokens before token t of the segment; what lies before the segment is in the tail. */
K_DEV float raw_at(const struct cuda_kda *a, const struct cuda_seg *s, int i, int64_t channel, int64_t t)
{
	int64_t P = (int64_t)a->n_head * a->dim, keep = a->taps - 1;
	return t < 0 ? s->conv[(i * P + channel) * keep + keep + t] : a->raw[i][(s->row + t) * P + channel];
}

K_DEV float conv_silu(const struct cuda_kda *a, const struct cuda_seg *s, int i, int64_t channel, int64_t t)
{
	float sum = 0;
	for (int j = 0; j < a->taps; j++)
		sum = fmaf(a->conv_w[i][channel * a->taps + j], raw_at(a, s, i, channel, t - (a->taps - 1) + j), sum);
	return k_silu(sum);
}

K_DEV float softplus(float x) { return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x)); }

/* The rows of this warp: q, k, v, alpha of one token -> o. */
K_DEV void delta_rule(float *state, float *o, const float *q, const float *k, const float *v, const float *alpha, float beta, int d)
{
	for (int j = k_warp(); j < d; j += CUDA_WARPS) {
		float s[CUDA_KDA_DIM / K_WARP], seen = 0, out = 0, e;
		for (int m = 0; m < CUDA_KDA_DIM / K_WARP; m++) {
			int i = k_lane() + m * K_WARP;
			s[m] = i < d ? state[j * d + i] * alpha[i] : 0;
			seen = i < d ? fmaf(s[m], k[i], seen) : seen;
		}
		e = beta * (v[j] - k_warp_sum(seen));
		for (int m = 0; m < CUDA_KDA_DIM / K_WARP; m++) {
			int i = k_lane() + m * K_WARP;
			if (i < d) {
				s[m] = fmaf(e, k[i], s[m]);
				state[j * d + i] = s[m];
				out = fmaf(s[m], q[i], out);
			}
		}
		out = k_warp_sum(out);
		if (k_lane() == 0)
			o[j] = out;
	}
}

/* The last taps - 1 raw projections stay behind; ascending, so that what is read was not written yet. */
K_DEV void leave_tail(const struct cuda_kda *a, const struct cuda_seg *s, int64_t channel)
{
	int64_t P = (int64_t)a->n_head * a->dim, keep = a->taps - 1;
	for (int i = 0; i < 3; i++)
		for (int64_t j = 0; j < keep; j++)
			s->conv[(i * P + channel) * keep + j] = raw_at(a, s, i, channel, s->n - keep + j);
}

K_KERNEL(kda)
{
	K_SHARED(float, q, CUDA_KDA_DIM);
	K_SHARED(float, k, CUDA_KDA_DIM);
	K_SHARED(float, v, CUDA_KDA_DIM);
	K_SHARED(float, alpha, CUDA_KDA_DIM);
	K_SHARED(float, o, CUDA_KDA_DIM);
	K_SHARED(float, part, CUDA_WARPS);
	const struct cuda_seg *s = a.seg + blockIdx.y;
	int c = (int)threadIdx.x, d = a.dim;
	int64_t head = blockIdx.x, channel = head * d + c, P = (int64_t)a.n_head * d;
	float *state = s->state + head * d * d;
	bool mine = c < d;
	for (int64_t t = 0; t < s->n; t++) {
		int64_t at = (s->row + t) * P + channel;
		float x = mine ? conv_silu(&a, s, 0, channel, t) : 0, y = mine ? conv_silu(&a, s, 1, channel, t) : 0, norm;
		norm = sqrtf(k_block_sum(x * x, part) + 1e-6f) * sqrtf((float)d);
		x /= norm;
		norm = sqrtf(k_block_sum(y * y, part) + 1e-6f);
		y /= norm;
		if (mine) {
			q[c] = x;
			k[c] = y;
			v[c] = conv_silu(&a, s, 2, channel, t);
			alpha[c] = expf(-expf(a.a_log[head]) * softplus(a.a[at] + a.dt_bias[channel]));
		}
		__syncthreads();
		delta_rule(state, o, q, k, v, alpha, k_sigmoid(a.beta[(s->row + t) * a.n_head + head]), d);
		__syncthreads();
		x = mine ? o[c] : 0;
		norm = sqrtf(k_block_sum(x * x, part) / (float)d + a.eps);
		if (mine)
			a.y[at] = a.o_norm[c] * (x / norm) * k_sigmoid(a.z[at]);
	}
	if (mine)
		leave_tail(&a, s, channel);
}
