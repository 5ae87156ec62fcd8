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
 * Walking is one long chain on few multiprocessors and mostly waits; making is many short blocks. So a launch walks one round and makes the next, and
 * the blocks of both share the multiprocessors.
 *
 * Every quotient of decays is a product of decays between two tokens, at most 1, never the quotient itself, so that nothing overflows however fast a channel
 * forgets.
 *
 * Chunks lie on a grid of positions. Rows that do not fill one are walked token by token (kda.cu), as when they come one at a time: so a prompt that is cut
 * on the grid has the same bits, and one cut elsewhere differs by the rounding of the chunk that was cut. */
#include "kernels/cuda/kda_make.h"
#include "kernels/cuda/kda_walk.h"

enum { ROOM = (int)WALK_FLOATS > (int)MAKE_FLOATS ? (int)WALK_FLOATS : (int)MAKE_FLOATS };

K_KERNEL_MANY(kda_chunk, 2)
{
	K_SHARED(float, room, ROOM);
	int i = (int)blockIdx.x, H = a.make.op.n_head;
	if (i < a.walkers)
		walk_chunks(&a.walk, a.walk.op.seg + i / H, i % H, room);
	else
		make_chunks(&a.make, (int64_t)((i - a.walkers) / H) * BLOCK, (int)(i - a.walkers) % H, room);
}
