/* kda_chunk.h: a chunk of delta attention as kda_make.h hands it over to kda_walk.h: CUDA_CHUNK tokens of a head.
 *
 * Everything lies as tensor cores want it (mma.h, wgmma.h). Tile i of a chunk's tokens has token 2 n + i as its row or column n. A run of 32 channels is four eights:
 * eight q is channels 4 q to 4 q + 3 and 16 + 4 q to + 3. A block is of eight tokens and a run: row n has eight q at q ^ n / 2, 64 bytes in all. With lane = 4 g + q, a record:
 *
 *   g        [run][gk, gq][i] blocks                             bf16    keys and queries, decayed from the chunk's begin
 *   end      [run][i] blocks                                     bf16    keys, decayed to the chunk's end
 *   w, b     [lane][i] of token 2 g + i: from tokens 4 q, 4 q + 2; 4 q + 1, 4 q + 3    bf16
 *   decay    [run][q][eight] two, channels 2 q, + 1 of it        f32     of the whole chunk
 *   norms    [2][token]                                          f32     what keys and queries are multiplied by
 *   v        [run][j / 2][lane][j % 2][i] of token 2 g + i: word j is channels 16 (j / 2) + 4 q + 2 (j % 2) + 0, 1    bf16 */
#ifndef KERNELS_CUDA_KDA_CHUNK_H
#define KERNELS_CUDA_KDA_CHUNK_H

#include "kernels/cuda/kda.h"
#include "kernels/cuda/mma.h"

enum { C = CUDA_CHUNK, DIM = CUDA_CHUNK_DIM, RUN = 32, RUNS = DIM / RUN, TILE = C / 2 * RUN * 2 };

struct record { int end, w, b, decay, norms, v; };

K_DEV struct record record_of(int d)
{
	struct record r;
	r.end = 4 * C * d;
	r.w = 6 * C * d;
	r.b = r.w + 2 * C * C;
	r.decay = r.b + 2 * C * C;
	r.norms = r.decay + 4 * d;
	r.v = r.norms + 8 * C;
	return r;
}

/* Of the chunk that begins with a row. */
K_DEV uint8_t *record_at(const struct cuda_kda_prompt *p, int64_t row, int head)
{
	unsigned each = (unsigned)(p->last - p->first + C - 1) / C, at = (unsigned)(row - p->first) / C;
	return p->records + (uint64_t)((unsigned)head * each + at) * (unsigned)CUDA_CHUNK_BYTES(p->op.dim);
}

/* Eight q of row n of a block. */
K_DEV int tile_place(int n, int q) { return n * 2 * RUN + ((q ^ (n / 2 & 3)) << 4); }

#define LOG2E 1.44269504f

/* By the special units: an error of 1e-6 where bf16 rounds 4e-3 away. */
K_DEV float fast_sigmoid(float x) { return k_fast_rcp(1 + k_fast_exp2(-LOG2E * x)); }

#endif
