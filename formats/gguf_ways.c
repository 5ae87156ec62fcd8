/* gguf_ways.c: how a block of an entry becomes its bytes in a GGUF, and how those become the entry's values again.
 *
 *   copy      GGUF's own types, plain types that stay
 *   convert   values -> a plain type
 *   int4      i4g32 -> q4_0: codes carry over, nibble for nibble; the scale bf16 -> f16
 *   int8      i8row -> q8_0: codes carry over, the row's scale f32 -> f16 before each 32 of them
 *   mxfp4     scales and codes -> blocks: bits move
 *   kv_b      [heads * (nope + v), lora] -> of each head the first nope rows transposed | the others
 *   neg_exp   A_log -> -exp(A_log), without the zeros that may stand behind the heads
 *   product   a query of the residuals -> itself times the norm, which is held
 *
 * A scale that f16 does not hold becomes the nearest one that it does: whoever wants every value kept compares the values. */
#include "libcore/base.h"
#include <math.h>
#include "formats/gguf_write.h"
#include "libcore/dtype.h"
#include "libcore/explog.h"

enum { GROUP = 32, Q4_BYTES = 18, Q8_BYTES = 34, MX_BYTES = 17 };
#define F16_LARGEST 65504.0f

static const struct k_entry *entry_of(const struct k_gguf_rows *r) { return &r->plan->c->entries[r->entry]; }
static const struct k_gguf_from *from_of(const struct k_gguf_rows *r) { return &r->plan->from[r->entry]; }
static const struct k_gguf_part *part_of(const struct k_gguf_rows *r) { return &r->plan->parts[from_of(r)->part]; }

/* --- scales --------------------------------------------------------------------------------------------------------------- */

/* The nearest f16; what is too large stays finite. */
static void put_half(uint8_t *p, float scale)
{
	uint16_t half = k_f16_from_f32(scale > F16_LARGEST ? F16_LARGEST : scale < -F16_LARGEST ? -F16_LARGEST : scale);

	memcpy(p, &half, sizeof(half));
}

/* --- quantised types ------------------------------------------------------------------------------------------------------ */

/* 16 bytes of neighbours -> 16 bytes whose low nibbles are the first half of the group. */
static void turn_nibbles(uint8_t *restrict to, const uint8_t *restrict from)
{
	for (int k = 0; k < 8; k++) {
		to[2 * k] = (uint8_t)((from[k] & 15) | from[k + 8] << 4);
		to[2 * k + 1] = (uint8_t)(from[k] >> 4 | (from[k + 8] & 0xf0));
	}
}

static void put_q4_0(uint8_t *to, const uint8_t *packed, const void *scales, int64_t cols)
{
	for (int64_t g = 0; g < cols / GROUP; g++, to += Q4_BYTES, packed += 16) {
		put_half(to, k_bf16_to_f32(((const uint16_t *)scales)[g]));
		turn_nibbles(to + 2, packed);
	}
}

static void put_mxfp4(uint8_t *to, const uint8_t *packed, const void *scales, int64_t cols)
{
	for (int64_t g = 0; g < cols / GROUP; g++, to += MX_BYTES, packed += 16) {
		to[0] = ((const uint8_t *)scales)[g];
		turn_nibbles(to + 1, packed);
	}
}

/* What has 16 bytes of codes and a scale a group, of any layout: granule by granule into a checkpoint's planes, and these row by row into blocks. */
struct four { size_t scale_bytes, block_bytes; void (*split)(const struct k_qtype *, const void *, uint8_t *, uint8_t *, int64_t, int),
	(*put)(uint8_t *, const uint8_t *, const void *, int64_t); };

static int make_four(const struct k_gguf_rows *r, const struct four *f, uint8_t *to, struct k_err *err)
{
	const struct k_qtype *t = entry_of(r)->type;
	int64_t cols = k_entry_cols(entry_of(r)), groups = cols / GROUP;
	size_t packed_bytes = (size_t)t->granule * (size_t)cols / 2, scale_row = (size_t)groups * f->scale_bytes;
	uint8_t *packed = k_aligned(packed_bytes + (size_t)t->granule * scale_row), *scales = packed + packed_bytes;
	const uint8_t *p = r->src;

	if (!packed)
		return k_err_nomem(err, packed_bytes, entry_of(r)->name);
	for (int64_t i = 0; i < r->n_rows; i += t->granule) {
		int rows = (int)K_MIN((int64_t)t->granule, r->n_rows - i);

		f->split(t, p, packed, scales, cols, rows);
		for (int k = 0; k < rows; k++, to += (size_t)groups * f->block_bytes)
			f->put(to, packed + (size_t)k * (size_t)cols / 2, scales + (size_t)k * scale_row, cols);
		p += t->granule_bytes(cols, rows);
	}
	k_free(packed);
	return 0;
}

static void split_int4(const struct k_qtype *t, const void *granule, uint8_t *packed, uint8_t *scales, int64_t cols, int rows)
{
	k_i4g32_to_ct(t, granule, packed, (uint16_t *)(void *)scales, cols, rows);
}

static int make_int4(const struct k_gguf_rows *r, void *const *dst, struct k_err *err)
{
	static const struct four f = { 2, Q4_BYTES, split_int4, put_q4_0 };

	return make_four(r, &f, dst[0], err);
}

static int make_mxfp4(const struct k_gguf_rows *r, void *const *dst, struct k_err *err)
{
	static const struct four f = { 1, MX_BYTES, k_mxfp4_to_planes, put_mxfp4 };

	return make_four(r, &f, dst[0], err);
}

static int make_int8(const struct k_gguf_rows *r, void *const *dst, struct k_err *err K_UNUSED)
{
	int64_t cols = k_entry_cols(entry_of(r));
	const uint8_t *p = r->src;
	uint8_t *to = dst[0];

	for (int64_t i = 0; i < r->n_rows; i++, p += 4 + cols)
		for (int64_t g = 0; g < cols / GROUP; g++, to += Q8_BYTES) {
			float scale;

			memcpy(&scale, p, sizeof(scale));
			put_half(to, scale);
			memcpy(to + 2, p + 4 + g * GROUP, GROUP);
		}
	return 0;
}

/* --- values --------------------------------------------------------------------------------------------------------------- */

static int make_convert(const struct k_gguf_rows *r, void *const *dst, struct k_err *err)
{
	static const struct k_quant_opts none;

	return part_of(r)->type->quant(dst[0], r->values, k_entry_cols(entry_of(r)), (int)r->n_rows, &none, err);
}

/* How many of the values belong to heads; those behind are 0. */
static int64_t heads_of(const struct k_gguf_rows *r)
{
	int64_t cols = k_entry_cols(entry_of(r)), left = (int64_t)(part_of(r)->bytes / sizeof(float)) - r->row * cols;

	return K_MAX(K_MIN(r->n_rows * cols, left), (int64_t)0);
}

static int make_neg_exp(const struct k_gguf_rows *r, void *const *dst, struct k_err *err)
{
	int64_t n = r->n_rows * k_entry_cols(entry_of(r)), heads = heads_of(r);
	float *to = dst[0];

	for (int64_t i = heads; i < n; i++)
		if (r->values[i] != 0)
			return k_err_set(err, K_EFORMAT, "value %lld is %.9g, wanted 0 behind the heads", (long long)i, (double)r->values[i]);
	for (int64_t i = 0; i < heads; i++) {
		to[i] = k_decay_from_log(r->values[i]);
		if (!(to[i] < 0) || k_f32_bits(to[i]) == 0xff800000)
			return k_err_set(err, K_EFORMAT, "exp of %.9g, for head %lld, is no f32", (double)r->values[i], (long long)i);
	}
	return 0;
}

static void decode_neg_exp(const struct k_gguf_rows *r, const void *const *dst, float *out)
{
	int64_t n = r->n_rows * k_entry_cols(entry_of(r)), heads = heads_of(r);
	const float *from = dst[0];

	for (int64_t i = 0; i < n; i++)
		out[i] = i < heads ? k_decay_to_log(from[i]) : 0;
}

static int make_product(const struct k_gguf_rows *r, void *const *dst, struct k_err *err)
{
	const struct k_entry *norm = entry_of(r) - 1;
	int64_t n = r->n_rows * k_entry_cols(entry_of(r));
	float *to = dst[0];

	k_qtype_unpack(norm->type, r->held, to, k_entry_cols(norm), k_entry_rows(norm));
	for (int64_t i = 0; i < n; i++) {
		to[i] *= r->values[i];
		if (!isfinite(to[i]))
			return k_err_set(err, K_EFORMAT, "times the norm, value %lld is no f32", (long long)i);
	}
	return 0;
}

/* What was made of two cannot be taken apart. */
static void decode_product(const struct k_gguf_rows *r, const void *const *dst, float *out)
{
	memcpy(out, dst[0], (size_t)(r->n_rows * k_entry_cols(entry_of(r))) * sizeof(*out));
}

/* --- kv_b ----------------------------------------------------------------------------------------------------------------- */

/* Moves rows of the entry, in the parts' type, to their places or back. */
static void move_row(const struct k_gguf_part *part, int64_t row, uint8_t *values, void *const *dst, bool back)
{
	int64_t lora = part[0].shape[1], nope = part[0].shape[2], dv = part[1].shape[1];
	int64_t head = row / (nope + dv), in = row % (nope + dv);
	size_t e = (size_t)part[0].type->elem_bytes, step = in < nope ? (size_t)nope * e : e;
	uint8_t *at = in < nope ? (uint8_t *)dst[0] + (size_t)(head * lora * nope + in) * e
		: (uint8_t *)dst[1] + (size_t)((head * dv + in - nope) * lora) * e;

	for (int64_t j = 0; j < lora; j++, at += step, values += e)
		if (back)
			memcpy(values, at, e);
		else
			memcpy(at, values, e);
}

static int make_kv_b(const struct k_gguf_rows *r, void *const *dst, struct k_err *err)
{
	static const struct k_quant_opts none;
	const struct k_gguf_part *part = part_of(r);
	int64_t cols = k_entry_cols(entry_of(r));
	size_t row_bytes = (size_t)cols * (size_t)part->type->elem_bytes;
	uint8_t *one = k_aligned(row_bytes);
	int e = one ? 0 : k_err_nomem(err, row_bytes, entry_of(r)->name);
	struct k_err why;

	for (int64_t i = 0; (e == 0 || e == K_ENO) && i < r->n_rows; i++) {
		int rc = 0;

		if (part->type == entry_of(r)->type)
			memcpy(one, (const uint8_t *)r->src + (size_t)i * row_bytes, row_bytes);
		else
			rc = part->type->quant(one, r->values + i * cols, cols, 1, &none, &why);
		if (rc < 0 && i)
			k_err_add(&why, "counted from row %lld", (long long)i);
		e = k_qtype_told(e, rc, &why, err);
		if (e == 0 || e == K_ENO)
			move_row(part, r->row + i, one, dst, false);
	}
	k_free(one);
	return e;
}

static void decode_kv_b(const struct k_gguf_rows *r, const void *const *dst, float *out)
{
	const struct k_gguf_part *part = part_of(r);
	int64_t cols = k_entry_cols(entry_of(r));
	void *const places[2] = { (void *)(uintptr_t)dst[0], (void *)(uintptr_t)dst[1] };

	/* The row's bytes stand at the end of its floats, which are made from the first on. */
	for (int64_t i = 0; i < r->n_rows; i++, out += cols) {
		uint8_t *bytes = (uint8_t *)(out + cols) - (size_t)cols * (size_t)part->type->elem_bytes;

		move_row(part, r->row + i, bytes, places, true);
		for (int64_t j = 0; j < cols; j++) {
			uint8_t elem[4];

			memcpy(elem, bytes + (size_t)j * (size_t)part->type->elem_bytes, (size_t)part->type->elem_bytes);
			part->type->dequant(out + j, elem, 1, 1, 0);
		}
	}
}

const struct k_gguf_way k_gguf_copy = { .name = "copy", .cut = K_GGUF_BYTES };
const struct k_gguf_way k_gguf_convert = { .name = "convert", .cut = K_GGUF_ROWS, .values = true, .make = make_convert };
const struct k_gguf_way k_gguf_int4 = { .name = "int4", .cut = K_GGUF_ROWS, .make = make_int4 };
const struct k_gguf_way k_gguf_int8 = { .name = "int8", .cut = K_GGUF_ROWS, .make = make_int8 };
const struct k_gguf_way k_gguf_mxfp4 = { .name = "mxfp4", .cut = K_GGUF_ROWS, .make = make_mxfp4 };
const struct k_gguf_way k_gguf_kv_b = { .name = "kv_b", .cut = K_GGUF_SLICE, .values = true, .as_it_is = true, .make = make_kv_b, .decode = decode_kv_b };
const struct k_gguf_way k_gguf_neg_exp = { .name = "neg_exp", .cut = K_GGUF_ROWS, .values = true, .make = make_neg_exp, .decode = decode_neg_exp };
const struct k_gguf_way k_gguf_hold = { .name = "hold", .cut = K_GGUF_HOLD };
const struct k_gguf_way k_gguf_product = { .name = "product", .cut = K_GGUF_SLICE, .values = true, .held = true, .make = make_product,
	.decode = decode_product };

/* --- order of rows -------------------------------------------------------------------------------------------------------- */

/* Of a vector each element is a row. *n rows of *bytes each, from *first on. */
static void moved_rows(const struct k_gguf_rows *r, int64_t *first, int64_t *n, size_t *bytes, int64_t *cols)
{
	const struct k_gguf_part *t = part_of(r);
	bool vector = t->ndim < 2;

	*cols = vector ? 1 : k_shape_cols(t->ndim, t->shape);
	*bytes = t->type->granule_bytes(*cols, 1);
	*first = vector ? 0 : r->row;
	*n = vector ? k_shape_cols(t->ndim, t->shape) : r->n_rows;
}

static int order_rows(const struct k_gguf_rows *r, uint8_t *dst, struct k_err *err)
{
	const int32_t *order = from_of(r)->order;
	int64_t first, n, cols;
	uint8_t *copy;
	size_t bytes;

	moved_rows(r, &first, &n, &bytes, &cols);
	copy = k_alloc((size_t)n * bytes);
	if (!copy)
		return k_err_nomem(err, (size_t)n * bytes, entry_of(r)->name);
	memcpy(copy, dst, (size_t)n * bytes);
	for (int64_t i = 0; i < n; i++)
		memcpy(dst + (size_t)(order[first + i] - first) * bytes, copy + (size_t)i * bytes, bytes);
	k_free(copy);
	return 0;
}

int k_gguf_make_rows(const struct k_gguf_rows *r, void *const *dst, struct k_err *err)
{
	const struct k_gguf_from *f = from_of(r);
	const struct k_gguf_part *t = part_of(r);
	struct k_err late;
	int e = 0;

	if (f->way->make)
		e = f->way->make(r, dst, err);
	else
		memcpy(dst[0], r->src, t->type->granule_bytes(k_shape_cols(t->ndim, t->shape), 1) * (size_t)r->n_rows);
	return (e == 0 || e == K_ENO) && f->order ? k_qtype_told(e, order_rows(r, dst[0], &late), &late, err) : e;
}

void k_gguf_decode_rows(const struct k_gguf_rows *r, const void *const *dst, float *out)
{
	const struct k_gguf_from *f = from_of(r);
	int64_t first, n, cols;
	size_t bytes;

	if (f->way->decode) {
		f->way->decode(r, dst, out);
		return;
	}
	moved_rows(r, &first, &n, &bytes, &cols);
	for (int64_t i = 0; i < n; i++) {
		int64_t at = f->order ? f->order[first + i] - first : i;

		part_of(r)->type->dequant(out + i * cols, (const uint8_t *)dst[0] + (size_t)at * bytes, cols, 1, 0);
	}
}
