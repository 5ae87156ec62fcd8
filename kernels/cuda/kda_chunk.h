/* kda_chunk.h: a chunk of delta attention as kda_make.h hands it over to kda_walk.h: CUDA_CHUNK tokens of a head.
 *
 * Everything lies as the lanes of tensor cores want it (mma.h). With lane = 4 g + q: tile i of a chunk's tokens has token 2 n + i as its row or column n. A run of 32
 * channels is four tiles of eight; word j of a lane in them is channels 16 (j / 2) + 4 q + 2 (j % 2) + 0, 1. A record:
 *
 *   gk, gq   [run][i][lane] 4 words, of token 2 g + i            bf16    keys and queries, decayed from the chunk's begin
 *   end      [run][j][i][lane] a word, of token 2 g + i          bf16    keys, decayed to the chunk's end
 *   w, b     [lane][i] of token 2 g + i: from tokens 4 q, 4 q + 2; 4 q + 1, 4 q + 3    bf16
 *   decay    [channel]                                           f32     of the whole chunk
 *   v        [run][j / 2][lane][j % 2][i], as end                bf16 */
#ifndef KERNELS_CUDA_KDA_CHUNK_H
#define KERNELS_CUDA_KDA_CHUNK_H

#include "kernels/cuda/kda.h"
#include "kernels/cuda/mma.h"

enum { C = CUDA_CHUNK, DIM = CUDA_CHUNK_DIM, RUN = 32, RUNS = DIM / RUN };

struct record { int gq, end, w, b, decay, v; };

K_DEV struct record record_of(int d)
{
	struct record r;
	r.gq = 2 * C * d;
	r.end = 2 * r.gq;
	r.w = 3 * r.gq;
	r.b = r.w + 2 * C * C;
	r.decay = r.b + 2 * C * C;
	r.v = r.decay + 4 * d;
	return r;
}

/* Of the chunk that begins with a row. */
K_DEV uint8_t *record_at(const struct cuda_kda_prompt *p, int64_t row, int64_t head)
{
	int64_t each = (p->last - p->first + C - 1) / C;
	return p->records + (head * each + (row - p->first) / C) * CUDA_CHUNK_BYTES(p->op.dim);
}

/* By the special units: an error of 1e-6 where bf16 rounds 4e-3 away. */
K_DEV float fast_sigmoid(float x) { return k_fast_rcp(1 + k_fast_exp2(-1.44269504f * x)); }

#endif
