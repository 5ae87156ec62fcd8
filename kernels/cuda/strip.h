/* strip.h: 16 rows x 64 columns of stored weights (a step) as fragments of tensor cores, one interface for all types.
 *
 *   words_run    8 columns of a lane's two rows as stored --> two a of mma16816: weights in bf16, a code times its scale rounded to nearest, ties to even
 *   strip_load   what a lane reads of a step, in registers: loads only, so that many can be under way        strip_run   a run of 32 columns of it
 *   strip_times  products of a run, added to sums: a chain over the runs of a part of the columns (strip_part)
 *
 * So INT4 and FP8 blocks have the weights that the published model has in bf16 (codes of MXFP4 times a power of two are bf16 anyway), and a part of the columns is one chain of
 * tensor cores' sums, with nothing between two products. Before compute capability 8.0 there is no bf16: codes are multiplied, and sums of 32 columns scaled.
 *
 * A lane has 8 columns that lie together, 8 (l % 4) .. + 7 of a run of 32; of rows strip_row(type, 0) and (type, 1). i4g32 in layout x16: a lane reads
 * 16 bytes, four rows of 8 columns, and gives two of them to the lane that has the same rows of the other run. */
#ifndef KERNELS_CUDA_STRIP_H
#define KERNELS_CUDA_STRIP_H

#include "kernels/cuda/mma.h"

enum { STEP = 64, RUN = 32 };

/* 8 columns of each of two rows as stored, and their scales: bf16 twice (i4g32), a byte (mxfp4), f32 (fp8b128). */
struct words { uint32_t w[2][4], scale[2]; };
struct strip { uint32_t w[16], scale[4]; };
/* a[0], a[1]: columns of pairs 0, 1 and of 2, 3. scale: of the rows, where a has codes. */
struct run { uint32_t a[2][4]; float scale[2]; };

K_DEV int strip_row(enum cuda_type type, int i)
{
	int g = k_lane() / 4;
	return type == CUDA_I4_X16 ? g % 4 * 4 + g / 4 * 2 + i : g + 8 * i;
}

/* All that is not read is 0, so that columns behind the last count for nothing. */
K_DEV void strip_load(struct strip *s, enum cuda_type type, const struct cuda_matrix *w, const uint8_t *slice, int64_t g, int64_t step)
{
	int quad = k_lane() % 4, pair = k_lane() / 16;
	K_UNROLL for (int i = 0; i < 16; i++)
		s->w[i] = 0;
	K_UNROLL for (int i = 0; i < 4; i++)
		s->scale[i] = 0;
	if (type == CUDA_I4_X16) {
		const uint8_t *record = slice + (g * (w->cols / STEP) + step) * K_RECORD;
		struct k_u4 v = k_load16_once(record + 64 + 64 * (quad + 4 * pair) + 16 * (k_lane() / 4 % 4));
		K_UNROLL for (int i = 0; i < 4; i++)
			s->w[i] = v.w[i];
		K_UNROLL for (int i = 0; i < 2; i++)
			s->scale[i] = *(const uint32_t *)(record + 4 * strip_row(type, i));
		return;
	}
	K_UNROLL for (int i = 0; i < 4; i++) {
		int64_t row = 16 * g + strip_row(type, i % 2), run = 2 * step + i / 2, at = RUN * run + 8 * quad, blocks = (w->cols + 127) / 128;
		const uint8_t *p;
		if (row >= w->rows || RUN * run >= w->cols)
			continue;
		if (type == CUDA_BF16) {
			struct k_u4 v = k_load16_once((const uint16_t *)slice + row * w->cols + at);
			K_UNROLL for (int j = 0; j < 4; j++)
				s->w[4 * i + j] = v.w[j];
		} else if (type == CUDA_MXFP4) {
			p = slice + row * (w->cols / 2 + w->cols / 32);
			s->w[i] = *(const uint32_t *)(p + w->cols / 32 + at / 2);
			s->scale[i] = p[run];
		} else if (type == CUDA_MX4_X16) {
			p = slice + (g * (w->cols / 128) + run / 4) * K_MX_RECORD + 4 * strip_row(type, i % 2);
			s->w[i] = *(const uint32_t *)(p + 64 + 64 * (4 * (run % 4) + quad));
			s->scale[i] = p[run % 4];
		} else if (type == CUDA_FP8B128) {
			p = slice + row / 128 * (blocks * 4 + 128 * w->cols);
			s->scale[i] = *(const uint32_t *)(p + run / 4 * 4);
			p += blocks * 4 + row % 128 * w->cols + at;
			s->w[2 * i] = *(const uint32_t *)p;
			s->w[2 * i + 1] = *(const uint32_t *)(p + 4);
		}
	}
}

/* Codes 2 j and 2 j + 1 of a word of x16. */
K_DEV uint32_t i4_pair(uint32_t word, int j)
{
#if defined(__CUDACC__) && __CUDA_ARCH__ >= 800
	uint32_t u;
	/* 128 + code, in one; times 1 less 136, exactly. Volatile: done where it stands, while something else is waited for. */
	asm volatile("lop3.b32 %0, %1, 0x000f000f, %2, 0xea;" : "=r"(u) : "r"(word >> 4 * j), "r"(0x43004300));
	asm volatile("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(u) : "r"(0x3f803f80), "r"(0xc308c308));
	return u;
#else
	uint32_t u = (word >> 4 * j & 0x000f000f) | 0x43004300;         /* 128 + code */
	return pack(k_f_bits(k_bits_f(u << 16) - 136), k_f_bits(k_bits_f(u & 0xffff0000) - 136));
#endif
}

K_DEV uint32_t e2m1_pair(uint32_t byte) { return pack(k_f_bits(k_e2m1(byte & 15)), k_f_bits(k_e2m1(byte >> 4 & 15))); }
/* Codes 2 j and 2 j + 1 of a word of x16, from bit 4 j on: 12 bits lie between them. */
K_DEV uint32_t e2m1_apart(uint32_t word) { return e2m1_pair((word & 15) | (word >> 12 & 0xf0)); }
K_DEV uint32_t e4m3_pair(uint32_t half) { return pack(k_f_bits(k_e4m3((uint8_t)half)), k_f_bits(k_e4m3((uint8_t)(half >> 8)))); }

/* Codes 2 j and 2 j + 1 as bf16, exactly. */
K_DEV uint32_t codes_pair(enum cuda_type type, const uint32_t *w, int j)
{
	return type == CUDA_I4_X16 ? i4_pair(w[0], j) : type == CUDA_BF16 ? w[j] : type == CUDA_MXFP4 ? e2m1_pair(w[0] >> 8 * j) : type == CUDA_MX4_X16 ? e2m1_apart(w[0] >> 4 * j) :
		e4m3_pair(w[j / 2] >> j % 2 * 16);
}

K_DEV float scale_of(enum cuda_type type, uint32_t scale)
{
	return type == CUDA_BF16 ? 1 : type == CUDA_I4_X16 ? k_bits_f(scale & 0xffff0000) : type == CUDA_FP8B128 ? k_bits_f(scale) : k_e8m0((uint8_t)scale);
}

/* What the tensor cores get of two codes. */
K_DEV uint32_t weights_pair(enum cuda_type type, uint32_t codes, uint32_t scale)
{
	float s = scale_of(type, scale);
	if (type == CUDA_BF16)
		return codes;
	if (type == CUDA_I4_X16)
		return times_pair(codes, scale);
	return pack_round(k_bits_f(codes << 16) * s, k_bits_f(codes & 0xffff0000) * s);
}

K_DEV void words_run(struct run *r, enum cuda_type type, const struct words *s)
{
	K_UNROLL for (int i = 0; i < 2; i++) {
		K_UNROLL for (int j = 0; j < 4; j++) {
			uint32_t codes = codes_pair(type, s->w[i], j);
			r->a[j / 2][i + j % 2 * 2] = K_HAS_BF16 ? weights_pair(type, codes, s->scale[i]) : codes;
		}
		r->scale[i] = scale_of(type, s->scale[i]);
	}
}

/* Run 0 or 1 of a step. All lanes of a warp. */
K_DEV void strip_run(struct run *r, enum cuda_type type, const struct strip *s, int run)
{
	struct words words;
	if (type == CUDA_I4_X16) {
		/* The lane has four rows of run `pair`: two stay, two go to the lane that has the other run. */
		bool pair = k_lane() / 16, own = pair == run;
		K_UNROLL for (int i = 0; i < 2; i++) {
			uint32_t mine = pair ? s->w[2 + i] : s->w[i], other = pair ? s->w[i] : s->w[2 + i];
			uint32_t got = k_f_bits(__shfl_xor_sync(0xffffffffu, k_bits_f(other), 16));
			words.w[i][0] = own ? mine : got;
			words.scale[i] = half_twice(s->scale[i], run);
		}
	} else {
		K_UNROLL for (int i = 0; i < 2; i++) {
			int at = 2 * run + i;
			words.scale[i] = s->scale[at];
			words.w[i][0] = type == CUDA_BF16 ? s->w[4 * at] : type == CUDA_FP8B128 ? s->w[2 * at] : s->w[at];
			words.w[i][1] = type == CUDA_BF16 ? s->w[4 * at + 1] : type == CUDA_FP8B128 ? s->w[2 * at + 1] : 0;
			K_UNROLL for (int j = 2; j < 4; j++)
				words.w[i][j] = type == CUDA_BF16 ? s->w[4 * at + j] : 0;
		}
	}
	words_run(r, type, &words);
}

/* acc += run times 8 vectors; b: the lane's 8 columns of vector lane / 4, in bf16. */
K_DEV void strip_times(float *acc, const struct run *r, const uint32_t *b)
{
	float c[4] = { 0 };
	if (K_HAS_BF16) {
		mma16816(acc, r->a[0], b);
		mma16816(acc, r->a[1], b + 2);
		return;
	}
	mma16816(c, r->a[0], b);
	mma16816(c, r->a[1], b + 2);
	K_UNROLL for (int i = 0; i < 4; i++)
		acc[i] = fmaf(r->scale[i / 2], c[i], acc[i]);
}

/* Columns are summed in at most CUDA_WARPS parts, each by itself, and those in order, whoever does it: so a product has the same bits with one vector and
 * with many. Steps of a part: at least LEAST, since many vectors stop at the end of each. */
K_DEV int64_t strip_part(int64_t cols)
{
	enum { LEAST = 4 };
	int64_t part = ((cols + STEP - 1) / STEP + CUDA_WARPS - 1) / CUDA_WARPS;
	return part < LEAST ? LEAST : part;
}

#endif
