/* strip.h: 16 rows x 64 columns of stored weights (a step) as fragments of tensor cores, one interface for all types that bf16 holds exactly but
 * for a scale of 32 columns: the scale comes after, on the sums.
 *
 *   strip_load   what a lane reads, in registers: loads only, so that many can be under way
 *   strip_run    32 of its columns: two a of mma16816, and the scales of the lane's two rows
 *
 * A lane has 8 columns that lie together, 8 (l % 4) .. + 7 of a run of 32; of rows strip_row(type, 0) and (type, 1). i4g32 in layout x16: a lane reads
 * 16 bytes, four rows of 8 columns, and gives two of them to the lane that has the same rows of the other run. */
#ifndef KERNELS_CUDA_STRIP_H
#define KERNELS_CUDA_STRIP_H

#include "kernels/cuda/mma.h"

enum { STEP = 64, RUN = 32 };

struct strip { uint32_t w[16], scale[4]; };
/* a[0], a[1]: columns of pairs 0, 1 and of 2, 3. */
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

/* Run 0 or 1 of a step. All lanes of a warp. */
K_DEV void strip_run(struct run *r, enum cuda_type type, const struct strip *s, int run)
{
	uint32_t in[2][4];
	if (type == CUDA_I4_X16) {
		/* The lane has four rows of run `pair`: two stay, two go to the lane that has the other run. */
		bool pair = k_lane() / 16, own = pair == run;
		K_UNROLL for (int i = 0; i < 2; i++) {
			uint32_t mine = pair ? s->w[2 + i] : s->w[i], other = pair ? s->w[i] : s->w[2 + i];
			uint32_t got = k_f_bits(__shfl_xor_sync(0xffffffffu, k_bits_f(other), 16)), word = own ? mine : got;
			K_UNROLL for (int j = 0; j < 4; j++)
				in[i][j] = i4_pair(word, j);
			r->scale[i] = k_bits_f(run ? s->scale[i] & 0xffff0000 : s->scale[i] << 16);
		}
	} else {
		K_UNROLL for (int i = 0; i < 2; i++) {
			int at = 2 * run + i;
			K_UNROLL for (int j = 0; j < 4; j++)
				in[i][j] = type == CUDA_BF16 ? s->w[4 * at + j] : type == CUDA_MXFP4 ? e2m1_pair(s->w[at] >> 8 * j) :
					type == CUDA_MX4_X16 ? e2m1_apart(s->w[at] >> 4 * j) :
					e4m3_pair(s->w[2 * at + j / 2] >> j % 2 * 16);
			r->scale[i] = type == CUDA_BF16 ? 1 : type == CUDA_MXFP4 || type == CUDA_MX4_X16 ? k_e8m0((uint8_t)s->scale[at]) : k_bits_f(s->scale[at]);
		}
	}
	K_UNROLL for (int i = 0; i < 2; i++)
		K_UNROLL for (int j = 0; j < 4; j++)
			r->a[j / 2][i + j % 2 * 2] = in[i][j];
}

/* acc += scales * (run times 8 vectors); b: the lane's 8 columns of vector lane / 4, in bf16. */
K_DEV void strip_times(float *acc, const struct run *r, const uint32_t *b)
{
	float c[4] = { 0 };
	mma16816(c, r->a[0], b);
	mma16816(c, r->a[1], b + 2);
	K_UNROLL for (int i = 0; i < 4; i++)
		acc[i] = fmaf(r->scale[i / 2], c[i], acc[i]);
}

/* Columns are summed in CUDA_SEGMENTS parts, each by itself, and those in order, whoever does it: so a product has the same bits with one vector and
 * with many. Steps of a part. */
K_DEV int64_t strip_part(int64_t cols) { return ((cols + STEP - 1) / STEP + CUDA_WARPS - 1) / CUDA_WARPS; }

#endif
