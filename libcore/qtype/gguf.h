/* gguf.h: what the block types of GGUF share: a row is cols/elems blocks of a fixed number of bytes, a granule is a row, and each
 * block has one or two f16 numbers that must be finite. */
#ifndef K_QTYPE_GGUF_H
#define K_QTYPE_GGUF_H

#include "libcore/qtype_int.h"

static inline float k_gguf_half(const uint8_t *p) { return k_f16_to_f32(k_get16(p)); }

/* K_EFORMAT when the f16 at d1 or d2 (offsets in a block; equal where there is one) of any block is not finite. */
static inline int k_gguf_check(const uint8_t *p, int64_t cols, int rows, int elems, int bytes, int d1, int d2, struct k_err *err)
{
	int64_t per_row = cols / elems;

	for (int64_t i = 0; i < per_row * rows; i++, p += bytes) {
		bool first = (k_get16(p + d1) & 0x7c00) == 0x7c00;

		if (first || (k_get16(p + d2) & 0x7c00) == 0x7c00)
			return k_qtype_bad_value(k_gguf_half(p + (first ? d1 : d2)), "block scale", i / per_row, i % per_row * elems, err);
	}
	return 0;
}

/* The granule functions of a type, from name_block(float dst[elems], const uint8_t *block). */
#define K_GGUF_DECODE(name, elems, nbytes, d1, d2) \
	static size_t name##_bytes(int64_t cols, int rows) { return (size_t)cols / (elems) * (nbytes) * (size_t)rows; } \
	static void name##_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row) \
	{ \
		const uint8_t *p = (const uint8_t *)granule + (size_t)row * name##_bytes(cols, 1); \
		for (int64_t c = 0; c < cols; c += (elems), p += (nbytes)) \
			name##_block(dst + c, p); \
	} \
	static int name##_check(const void *granule, int64_t cols, int rows, struct k_err *err) \
	{ \
		return k_gguf_check(granule, cols, rows, elems, nbytes, d1, d2, err); \
	}

/* What check says of blocks that were made of finite values. */
static inline int k_gguf_too_large(struct k_err *err)
{
	struct k_err why = *err;

	return k_err_set(err, K_ENO, "values are too large for f16 scales: %s", why.msg);
}

/* The encoder of a type, from name_make(uint8_t *block, const float x[elems]), which sees finite values only. */
#define K_GGUF_ENCODE(name, elems, nbytes) \
	static int name##_quant(void *granule, const float *src, int64_t cols, int rows, \
		const struct k_quant_opts *o K_UNUSED, struct k_err *err) \
	{ \
		uint8_t *p = granule; \
		for (int64_t i = 0; i < cols * rows; i += (elems), p += (nbytes)) { \
			if (k_amax(src + i, elems) >= K_INF_BITS) \
				return k_qtype_not_finite(src, cols, rows, err); \
			name##_make(p, src + i); \
		} \
		return name##_check(granule, cols, rows, err) < 0 ? k_gguf_too_large(err) : 0; \
	}

#define K_GGUF_ROW(id, text, what, elems, nbytes, number, ...) \
	static const struct k_qtype gguf_##id = { .name = text, .layout = "rows", .about = what, .bits = 8.0 * (nbytes) / (elems), \
		.group = elems, .col_granule = elems, .granule = 1, .gguf_type = number, .granule_bytes = id##_bytes, .dequant = id##_dequant, \
		.check = id##_check, __VA_ARGS__ }

#endif
