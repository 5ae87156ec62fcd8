/* kda_chunk.cu: delta attention over a prompt in chunks of CUDA_CHUNK tokens, on tensor cores.
 *
 * Within a chunk, with G_t the product of the decays up to token t (a channel at a time) and S the state before it:
 *
 *   e_t = beta_t (v_t - S (G_t k_t) - sum over s < t of a_ts e_s)        a_ts = sum over channels of k_t k_s G_t / G_s
 *   o_t = S (G_t q_t) + sum over s <= t of b_ts e_s                      b_ts = sum over channels of q_t k_s G_t / G_s
 *   S  <- S G_end + sum over s of e_s (k_s G_end / G_s)^T
 *
 * The recurrence for e is a triangular system of 16 rows: E = W (V - S (G k)), W = (1 + beta a)^-1 beta.
 *
 *   kda_make.h   four warps a (chunk, head), all at once:                       --> a record (kda_chunk.h)
 *   kda_walk.h   a block a (head, segment), chunk after chunk
 *
 * Walking is one long chain on few multiprocessors and mostly waits; making is the most work. So a launch makes one round and walks the one before, and the blocks of
 * both share the multiprocessors. What a launch makes is in nobody's way (records of three rounds have room), so its blocks begin while the launch before still
 * walks; those that walk stand behind them in the grid, or they would wait where others could work.
 *
 * Quotients of decays are taken from the begin of eight tokens, and no token forgets faster than by 2^-13, so that nothing overflows however fast a channel
 * forgets (kda_make.h).
 *
 * Chunks lie on a grid of positions. Rows that do not fill one are walked token by token (kda.cu), as when they come one at a time: so a prompt that is cut
 * on the grid has the same bits, and one cut elsewhere differs by the rounding of the chunk that was cut. */
#include "kernels/cuda/kda_make.h"
#include "kernels/cuda/kda_walk.h"

/* Not so: no program. */
enum { ROOM_FOR_BOTH = 1 / ((int)WALK_BYTES <= (int)CUDA_CHUNK_SHARED && 4 * (int)MAKE_FLOATS <= (int)CUDA_CHUNK_SHARED) };

K_KERNEL_EARLY(kda_chunk, 2)
{
	K_SHARED_MORE(shared);
	float *room = (float *)shared;
	int i = (int)blockIdx.x, H = a.make.op.n_head;
	if (i < a.makers && a.ahead)
		K_GO_AHEAD();
	else if (i < a.makers)
		K_WAIT_BEFORE();
	if (i < a.makers)
		make_chunks(&a.make, i / H * a.each, (i / H + 1) * a.each, i % H, room);
	else
		walk_chunks(&a.walk, i - a.makers, room);
}
