/* kk.h: the table of microkernels and the levels that fill it.
 *
 *     ref  <-  avx2  <-  avxvnni  <-  avx512  <-  avx512vnni  <-  avx512bf16  <-  amx      each usable level lays its entries over those below it
 *     avxvnnisim avx512sim avx512vnnisim avx512bf16sim amxsim                 the same text on a model of the instructions, over the reference
 *
 * A level is a folder with flags.mk (how to compile it, what it needs of the CPU, whose CPUs are the better for it) and level_<name>.c, which ends with its
 * `const struct kk_level kk_level_<name>`. Nothing here is compiled with a level's flags. */
#ifndef KERNELS_KK_H
#define KERNELS_KK_H

#include "libcore/err.h"
#include "libcore/qtype.h"

/* Floats of a row of cols activations that is ready for gemm_i4x16, gemm_mx4x16 and those of their names. */
#define KK_READY(cols) ((cols) + (cols) / 32 * 3)

/* 32 activations that are ready for gemm_i4x16_int8 or gemm_mx4x16_int8: the codes of each 8 columns in the order 0 4 1 5 2 6 3 7, as a word of
 * weights gives its low and then its high nibbles; what one code stands for, NaN where an activation is not finite (its codes are 0); what makes
 * up for weights that are multiplied as 0 and more. i4x16: a code is a nibble less 8, -8 times the sum, on top of KK_I8_ZERO. mx4x16: -12 to 12 is
 * multiplied as 0 to 24, two sums of 16 bits: of even columns times -12 in the lower half, of odd ones in the upper.
 * KK_I8_ZERO: the bits of 1.5 2^23, whose lowest count in ones: with a whole number added they are a float that is as much larger. */
#define KK_I8_ZERO 0x4b400000
struct kk_i8 { int8_t code[32]; float d; int32_t bias; };
#define KK_I8_ORDER 0, 4, 1, 5, 2, 6, 3, 7

/* Queries that share the keys of attention at once, and floats that they take when packed: those of int8 have three numbers for each group. */
#define KK_QUERIES 32
#define KK_PACKED(cols) (KK_QUERIES * ((cols) + 8))
#define KK_I8_QUERIES 4
/* The largest step of a query: 1.5 2^23 times it is finite. */
#define KK_I8_STEP 0x1p103f
/* The largest weight of mix_i8, which leaves room for the dither of token r, a multiple of 1/256 below 1: steps near the golden ratio, so that tokens of
 * any distance to each other have all kinds of it. */
#define KK_I8_WEIGHT 254
#define KK_I8_DITHER(r) ((float)(159 * (r) % 256) / 256)
/* Pages whose values mix_i8 takes at once, and floats from one query's weights to the next one's. */
#define KK_PAGES 4
#define KK_SCORES (KK_PAGES * K_PAGE)

/* Tokens of one head: token t has dk floats of q, k and alpha and dv of v and o at t * step, and beta[t]. */
struct kk_kda { const float *q, *k, *v, *alpha, *beta; float *o; size_t step; };

/* n tokens of a chunk behind `at` others, as a head's keys see them (libcore/kda_state.h): decay [d'] and keys [K_KDA_CHUNK][d'] of all of them;
 * of each of the n what it reads of a strip for its k and for its q, [k_kda_reads] each: of S, dk factors, and of each e up to its own. ahead: rows
 * of dk floats that will be wanted next, which kda_strip asks memory for. */
struct kk_kda_chunk { size_t at, n; float *decay, *keys, *reads; const float *const *ahead; size_t n_ahead; };

struct kk {
#define KK(name, ret, args, tolerance) ret (*name) args;
#include "kernels/kk.def"
#undef KK
};

struct kk_level {
	const char *name;
	int rank;               /* overlays go from low to high; below 0: only kcheck and who names it use it */
	struct kk fn;           /* NULL: what lies below */
};

/* Inside a level: LEVEL is its name. */
#define KK_PASTE_(level, name) kk_##level##_##name
#define KK_PASTE(level, name) KK_PASTE_(level, name)
#define KK_FN(name) KK_PASTE(LEVEL, name)

/* The table of the levels that this CPU can run and is the better for, up to max_level (NULL: all). *name: the highest of them; it lives forever.
 * Unknown or not for this CPU: K_EUSAGE. */
int kk_select(struct kk *out, const char **name, const char *max_level, struct k_err *err) K_MUST_USE;
/* i-th level compiled in, NULL past the end; its CPU features; can it run here? */
const struct kk_level *kk_level_at(int i);
const char *kk_level_needs(int i);
bool kk_level_usable(int i);
/* The reference with one level's own entries laid over it. */
void kk_overlay(struct kk *out, const struct kk_level *level);

#endif
