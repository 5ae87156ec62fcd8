/* qtype.h: how a weight is stored. Plain scalars are types too, so that nobody asks "is it quantised".
 *
 * A tensor of shape [.., rows, cols] is slices of rows x cols (an expert stack has a slice an expert). A slice is a row of
 * GRANULES: the fewest rows whose bytes stand alone (1 for most types; 16 for the x16 layouts; 128 for fp8b128). The bytes of a
 * granule hold values and scales together, so that any run of granules can be read, made, hashed and written in one forward
 * pass: this is what bounds the memory of the converters, and what lets every type be one plane.
 *
 *   slice_bytes = sum of granule_bytes(cols, rows in the granule);  the last granule may have fewer rows.
 *
 * One file in libcore/qtype/ defines one (or a few close) types: `const struct k_qtype k_qtype_<stem>`, or a NULL-terminated
 * family `const struct k_qtype *const k_qtypes_<stem>[]` - always the latter: the generated list names the file's array.
 * Everything here is exact on every machine: no level's flags, nothing of libm but sqrt. */
#ifndef K_QTYPE_H
#define K_QTYPE_H

#include "libcore/err.h"

/* How quant chooses the scale of a group (i4g32; mxfp4 knows MSE and, for all others, its rule):
 * AMAX7, AMAX75   largest magnitude / 7 or / 7.5 (formats.md 2.5)
 * MSE             the least sum of weight * error^2 over a grid of scales (i4g32_scale.c)
 * QAT             the scale that training used where all values lie on its grid, else as AMAX7 */
enum k_scale { K_SCALE_AMAX7, K_SCALE_AMAX75, K_SCALE_MSE, K_SCALE_QAT };
enum k_mx_rule { K_MX_CT, K_MX_OCP, K_MX_GGML };        /* exponent and rounding of an MXFP4 group (formats.md 4) */
struct k_quant_opts {
	enum k_scale scale;
	enum k_mx_rule mx;
	const float *weight;            /* MSE: one a column, finite, >= 0; NULL: all alike */
};

struct k_qtype {
	const char *name;               /* "i4g32"; several layouts share a name */
	const char *layout;             /* "rows", or "x16"; what the container records beside the name */
	const char *about;
	double bits;                    /* per weight, scales included (large tensors) */
	int group;                      /* columns that share a scale, or a block of them (1: no groups within a row) */
	int col_granule;                /* columns must be a multiple (1: any); a layout may put several groups into one record */
	int granule;                    /* rows stored together */
	bool full_granules;             /* rows must be a multiple of granule (x16) */
	bool plain;                     /* scalars: granules are contiguous elements of elem_bytes */
	int elem_bytes;                 /* plain: bytes of an element, else 0 */
	const char *st_dtype;           /* plain: the safetensors dtype ("BF16"), else NULL */
	int gguf_type;                  /* number of the same type in GGUF, -1 */
	/* Bytes of one granule that holds `rows` (1..granule) rows of cols columns. No overflow for cols < 2^40. */
	size_t (*granule_bytes)(int64_t cols, int rows);
	/* Row `row` (< rows) of a granule -> cols floats. The exact value, in f32. NULL: opaque (integers, bytes). */
	void (*dequant)(float *dst, const void *granule, int64_t cols, int rows, int row);
	/* rows x cols floats -> one granule. src rows are contiguous. NULL: cannot be made. Not finite input: K_EFORMAT ("value NaN at row r, column c").
	 * Input too large for the type: K_ENO that names the first; the granule is complete all the same, with infinities that check refuses. */
	int (*quant)(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o, struct k_err *err);
	/* Are all values usable as weights? NaN, infinities in values or scales, NaN codes, negative FP8 block scales: K_EFORMAT. NULL: nothing to check. */
	int (*check)(const void *granule, int64_t cols, int rows, struct k_err *err);
	double bound;                   /* largest |x - x'| / amax of its group after a round trip; the test holds it */
};

/* Fast forms of unpack and quant in one, from kernels/ through struct k_ctx. rows x cols values, whole granules of both types (the last
 * may have fewer rows). The bits are those of from->dequant, to->quant. false: no fast form, or a value that check or quant would
 * refuse: dst is undefined, the plain functions do it again and say what is wrong. true: all values passed, as from->check sees them. */
struct k_codec {
	bool (*convert)(const struct k_qtype *to, void *dst, const struct k_qtype *from, const void *src, int64_t cols, int64_t rows,
		const struct k_quant_opts *o);
};

/* By name and layout (layout NULL: "rows"); NULL when unknown. i-th, NULL past the end: for `-t ?`. */
const struct k_qtype *k_qtype_find(const char *name, const char *layout);
const struct k_qtype *k_qtype_at(int i);
const struct k_qtype *k_qtype_by_dtype(const char *st_dtype);   /* safetensors dtype string; NULL */
const struct k_qtype *k_qtype_by_gguf(uint32_t type);           /* NULL: unknown here */
/* Of quant, piece by piece: what is too large (K_ENO) ends nothing, the first is told and the other pieces are made. so_far: what came of those before; r, why: of
 * this one. The answer now, err with it. */
int k_qtype_told(int so_far, int r, const struct k_err *why, struct k_err *err);
/* Can a slice of rows x cols be stored as t? If not, why (a sentence part: "1000 columns are no multiple of 32"), else NULL. */
const char *k_qtype_refuses(const struct k_qtype *t, int64_t rows, int64_t cols);
/* The type that a tensor of this shape gets in a container: layout x16 of INT4 and MXFP4 where it fits (rows % 16 == 0, cols % 64 or % 128),
 * else rows. Other names: their only layout. */
const struct k_qtype *k_qtype_for(const char *name, int64_t rows, int64_t cols);
/* Bytes of a slice; false on overflow. */
bool k_qtype_slice_bytes(const struct k_qtype *t, int64_t rows, int64_t cols, uint64_t *out);

/* Bytes of n rows that begin at a granule and end at one, or at the end of the slice. */
size_t k_qtype_rows_bytes(const struct k_qtype *t, int64_t cols, int64_t n);
/* The values of such rows: n x cols floats. */
void k_qtype_unpack(const struct k_qtype *t, const void *src, float *dst, int64_t cols, int64_t n);

/* Bit movement between INT4 g32 layouts; exact. Checkpoint order ("ct"): packed = rows x cols/8 little-endian words, lowest
 * nibble = lowest column, offset binary; scales = rows x cols/32 bf16. rows here: those of one granule. */
void k_i4g32_from_ct(const struct k_qtype *dst, void *granule, const uint8_t *packed, const uint16_t *scales, int64_t cols, int rows);
void k_i4g32_to_ct(const struct k_qtype *src, const void *granule, uint8_t *packed, uint16_t *scales, int64_t cols, int rows);
/* fp8b128 granule <-> codes (rows x cols) and one row of f32 block scales (ceil(cols/128)). */
void k_fp8b128_from_planes(void *granule, const uint8_t *codes, const float *scales, int64_t cols, int rows);
void k_fp8b128_to_planes(const void *granule, uint8_t *codes, float *scales, int64_t cols, int rows);
/* mxfp4 granule (rows, or x16; to planes GGUF's too) <-> packed (rows x cols/2 bytes, low nibble first) and rows x cols/32 e8m0 bytes. */
void k_mxfp4_from_planes(const struct k_qtype *dst, void *granule, const uint8_t *packed, const uint8_t *scales, int64_t cols, int rows);
void k_mxfp4_to_planes(const struct k_qtype *src, const void *granule, uint8_t *packed, uint8_t *scales, int64_t cols, int rows);

#endif
