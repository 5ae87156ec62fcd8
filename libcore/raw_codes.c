/* raw_codes.c: composites of packed integers, whatever their order, groups and zero points, into the type that holds them exactly.
 *
 *     pack-quantized  [rows, cols/8] words along a row        zero points [rows/8, groups] words along a column
 *     int-quantized   [rows, cols] bytes                      zero points [rows, groups] bytes
 *     GPTQ            [cols/8, rows] words along a column     zero points [groups, rows/8], scales [groups, rows]
 *     AWQ             [cols, rows/8] words along a row of the transpose, in an order of its own; the same of zero points
 *
 *     read_* --> a band of rows: a code a byte, a scale and a zero point a group --> put_*: granules
 *
 * The last two are stored transposed: a band of rows is a band of columns there, and is read for all rows of the band at once. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "libcore/raw.h"

enum { RUN_BYTES = 256 << 10, NEAR_BYTES = 4096, TILE = 64 };

struct band {
	const struct k_raw *t;
	int64_t row, n, cols, groups;
	uint8_t *code;                  /* n x cols, unsigned */
	float *scale;                   /* n x groups */
	int16_t *zero;                  /* n x groups */
	struct k_err *err;
};

static size_t row_bytes(const struct k_raw *t) { return t->type->granule_bytes(k_shape_cols(t->ndim, t->shape), 1); }

/* --- columns of a stored matrix ------------------------------------------------------------------------------------------ */

/* Bytes [at, at + n) of each of its rows. Runs of whole rows are read where what lies between is short. */
static int read_columns(const struct k_raw *m, size_t at, size_t n, uint8_t *dst, struct k_err *err)
{
	int64_t rows = k_shape_rows(m->ndim, m->shape), step = 1;
	size_t stride = row_bytes(m);
	uint8_t *run = NULL;
	int r = 0;

	if (stride <= NEAR_BYTES || stride / n < 4) {
		step = K_MAX((int64_t)(RUN_BYTES / stride), (int64_t)1);
		run = k_alloc((size_t)step * stride);
		if (!run)
			return k_err_nomem(err, (size_t)step * stride, m->name);
	}
	for (int64_t i = 0; r == 0 && i < rows; i += step) {
		int64_t some = K_MIN(step, rows - i);

		if (!run) {
			r = k_source_pread(m->src, dst + (size_t)i * n, n, m->off + (uint64_t)i * stride + at, err);
			continue;
		}
		r = k_source_pread(m->src, run, (size_t)some * stride, m->off + (uint64_t)i * stride, err);
		for (int64_t k = 0; r == 0 && k < some; k++)
			memcpy(dst + (size_t)(i + k) * n, run + (size_t)k * stride + at, n);
	}
	k_free(run);
	return r < 0 ? k_err_add(err, "while reading %s", m->name) : 0;
}

static void *room(struct band *b, size_t n, const struct k_raw *m)
{
	void *p = k_alloc(n);

	if (!p)
		k_err_nomem(b->err, n, m->name);
	return p;
}

/* --- scales and zero points ------------------------------------------------------------------------------------------------ */

/* Row major, as the tensor; one scale serves all. */
static int read_scales(struct band *b)
{
	const struct k_raw *m = b->t->parts->of[K_PART_SCALES];
	int64_t count;
	bool one = k_shape_count(m->ndim, m->shape, &count) && count == 1;
	int64_t n = one ? 1 : b->n;
	uint8_t *raw = room(b, (size_t)n * row_bytes(m), m);
	int r = raw ? k_raw_read(m, 0, one ? 0 : b->row, n, raw, b->err) : K_ENOMEM;

	if (r == 0)
		m->type->dequant(b->scale, raw, one ? 1 : n * b->groups, 1, 0);
	for (int64_t i = 1; r == 0 && one && i < b->n * b->groups; i++)
		b->scale[i] = b->scale[0];
	k_free(raw);
	return r;
}

/* Transposed. */
static int read_scales_t(struct band *b)
{
	const struct k_raw *m = b->t->parts->of[K_PART_SCALES];
	size_t size = (size_t)m->type->elem_bytes, n = (size_t)b->n * size;
	uint8_t *raw = room(b, (size_t)b->groups * n, m);
	int r = raw ? read_columns(m, (size_t)b->row * size, n, raw, b->err) : K_ENOMEM;

	for (int64_t g = 0; r == 0 && g < b->groups; g++)
		for (int64_t i = 0; i < b->n; i++)
			m->type->dequant(&b->scale[i * b->groups + g], raw + (size_t)g * n + (size_t)i * size, 1, 1, 0);
	k_free(raw);
	return r;
}

/* Which of the 8 rows that share a word its nibbles are for: in AWQ another order. */
static const uint8_t straight[] = { 0, 1, 2, 3, 4, 5, 6, 7 }, awq_order[] = { 0, 2, 4, 6, 1, 3, 5, 7 };

/* Words [groups, rows / per]. */
static int read_zeros_t(struct band *b, const uint8_t *order)
{
	const struct k_raw *m = b->t->parts->of[K_PART_ZEROS];
	int bits = b->t->parts->bits, per = 32 / bits, bias = b->t->parts->zero_bias;
	int64_t first = b->row / per, words = k_div_up(b->row + b->n, per) - first;
	uint8_t *raw = room(b, (size_t)(b->groups * words) * 4, m);
	int r = raw ? read_columns(m, (size_t)first * 4, (size_t)words * 4, raw, b->err) : K_ENOMEM;

	for (int64_t g = 0; r == 0 && g < b->groups; g++)
		for (int64_t k = 0; k < words * per; k++) {
			int64_t i = (first + k / per) * per + order[k % per] - b->row;
			uint32_t w;

			memcpy(&w, raw + (size_t)(g * words + k / per) * 4, 4);
			if (i >= 0 && i < b->n)
				b->zero[i * b->groups + g] = (int16_t)((int)(w >> bits * (k % per) & ((1u << bits) - 1)) + bias);
		}
	k_free(raw);
	return r;
}

/* Words [rows / per, groups]. */
static int read_zeros_packed(struct band *b)
{
	const struct k_raw *m = b->t->parts->of[K_PART_ZEROS];
	int bits = b->t->parts->bits, per = 32 / bits;
	int64_t first = b->row / per, words = k_div_up(b->row + b->n, per) - first;
	uint8_t *raw = room(b, (size_t)(b->groups * words) * 4, m);
	int r = raw ? k_raw_read(m, 0, first, words, raw, b->err) : K_ENOMEM;

	for (int64_t i = 0; r == 0 && i < b->n; i++)
		for (int64_t g = 0; g < b->groups; g++) {
			uint32_t w;

			memcpy(&w, raw + (size_t)(((b->row + i) / per - first) * b->groups + g) * 4, 4);
			b->zero[i * b->groups + g] = (int16_t)(w >> bits * ((b->row + i) % per) & ((1u << bits) - 1));
		}
	k_free(raw);
	return r;
}

static int read_zeros_bytes(struct band *b)
{
	const struct k_raw *m = b->t->parts->of[K_PART_ZEROS];
	int8_t *raw = room(b, (size_t)(b->n * b->groups), m);
	int r = raw ? k_raw_read(m, 0, b->row, b->n, raw, b->err) : K_ENOMEM;

	for (int64_t i = 0; r == 0 && i < b->n * b->groups; i++)
		b->zero[i] = (int16_t)(raw[i] + 128);
	k_free(raw);
	return r;
}

static void middle_zeros(struct band *b)
{
	for (int64_t i = 0; i < b->n * b->groups; i++)
		b->zero[i] = (int16_t)(1 << (b->t->parts->bits - 1));
}

/* --- codes ------------------------------------------------------------------------------------------------------------------- */

/* n bytes of packed codes, lowest first. */
static void unpack(uint8_t *restrict dst, const uint8_t *restrict src, size_t n, int bits)
{
	if (bits == 8)
		memcpy(dst, src, n);
	for (size_t i = 0; bits == 4 && i < n; i++) {
		dst[2 * i] = src[i] & 15;
		dst[2 * i + 1] = src[i] >> 4;
	}
}

static int read_packed(struct band *b)
{
	const struct k_raw *m = b->t->parts->of[K_PART_VALUES];
	int bits = b->t->parts->bits;
	size_t step = row_bytes(m), n = (size_t)b->cols * (size_t)bits / 8;
	uint8_t *raw = room(b, (size_t)b->n * step, m);
	int r = raw ? k_raw_read(m, 0, b->row, b->n, raw, b->err) : K_ENOMEM;

	for (int64_t i = 0; r == 0 && i < b->n; i++)
		unpack(b->code + i * b->cols, raw + (size_t)i * step, n, bits);
	k_free(raw);
	return r;
}

static int read_int8(struct band *b)
{
	int r = k_raw_read(b->t->parts->of[K_PART_VALUES], 0, b->row, b->n, b->code, b->err);

	for (int64_t i = 0; r == 0 && i < b->n * b->cols; i++)
		b->code[i] ^= 0x80;
	return r;
}

/* Words [cols / per, rows]: word k of a row of words is columns per * k .. of one row of ours. */
static int read_gptq(struct band *b)
{
	const struct k_raw *m = b->t->parts->of[K_PART_VALUES];
	int bits = b->t->parts->bits, per = 32 / bits;
	int64_t words = b->cols / per;
	uint8_t *raw = room(b, (size_t)(words * b->n) * 4, m);
	int r = raw ? read_columns(m, (size_t)b->row * 4, (size_t)b->n * 4, raw, b->err) : K_ENOMEM;

	for (int64_t k0 = 0; r == 0 && k0 < words; k0 += TILE)
		for (int64_t i = 0; i < b->n; i++)
			for (int64_t k = k0; k < K_MIN(k0 + TILE, words); k++)
				unpack(b->code + i * b->cols + k * per, raw + (size_t)(k * b->n + i) * 4, 4, bits);
	k_free(raw);
	return r;
}

/* Words [cols, rows / 8]. */
static int read_awq(struct band *b)
{
	const struct k_raw *m = b->t->parts->of[K_PART_VALUES];
	int64_t first = b->row / 8, words = k_div_up(b->row + b->n, 8) - first;
	uint8_t *raw = room(b, (size_t)(b->cols * words) * 4, m);
	int r = raw ? read_columns(m, (size_t)first * 4, (size_t)words * 4, raw, b->err) : K_ENOMEM;

	for (int64_t c0 = 0; r == 0 && c0 < b->cols; c0 += TILE)
		for (int64_t k = 0; k < words * 8; k++) {
			int64_t i = (first + k / 8) * 8 + awq_order[k % 8] - b->row;

			if (i < 0 || i >= b->n)
				continue;
			for (int64_t c = c0; c < K_MIN(c0 + TILE, b->cols); c++) {
				uint8_t byte = raw[(size_t)(c * words + k / 8) * 4 + (size_t)(k % 8) / 2];

				b->code[i * b->cols + c] = k % 2 ? byte >> 4 : byte & 15;
			}
		}
	k_free(raw);
	return r;
}

/* --- granules --------------------------------------------------------------------------------------------------------------- */

/* Types without zero points were chosen because the config promises that there are none. */
static int want_middle(const struct band *b)
{
	int16_t want = (int16_t)(1 << (b->t->parts->bits - 1));

	for (int64_t i = 0; i < b->n * b->groups; i++)
		if (b->zero[i] != want)
			return k_err_set(b->err, K_EFORMAT, "'%s': %s: the zero point of row %lld, group %lld is %d, but quantization_config says symmetric, which is %d",
				b->t->file, b->t->name, (long long)(b->row + i / b->groups), (long long)(i % b->groups), b->zero[i], want);
	return 0;
}

static float scale_at(const struct band *b, int64_t i, int64_t col) { return b->scale[i * b->groups + col / b->t->parts->group]; }

static void pack(uint8_t *restrict dst, const uint8_t *restrict code, int64_t n)
{
	for (int64_t i = 0; i < n / 2; i++)
		dst[i] = (uint8_t)(code[2 * i] | code[2 * i + 1] << 4);
}

static int put_q4_0(const struct band *b, int64_t i, int rows K_UNUSED, uint8_t *p)
{
	const uint8_t *code = b->code + i * b->cols;

	for (int64_t c = 0; c < b->cols; c += 32, p += 18, code += 32) {
		uint16_t d = k_f16_from_f32(scale_at(b, i, c));

		memcpy(p, &d, 2);
		for (int k = 0; k < 16; k++)
			p[2 + k] = (uint8_t)(code[k] | code[k + 16] << 4);
	}
	return 0;
}

static int put_q8_0(const struct band *b, int64_t i, int rows K_UNUSED, uint8_t *p)
{
	const uint8_t *code = b->code + i * b->cols;

	for (int64_t c = 0; c < b->cols; c += 32, p += 34, code += 32) {
		uint16_t d = k_f16_from_f32(scale_at(b, i, c));

		memcpy(p, &d, 2);
		for (int k = 0; k < 32; k++)
			p[2 + k] = code[k] ^ 0x80;
	}
	return 0;
}

/* Both layouts, through the order of a checkpoint. */
static int put_i4g32(const struct band *b, int64_t i, int rows, uint8_t *p)
{
	size_t n = (size_t)(rows * b->cols);
	uint8_t *packed = room((struct band *)(uintptr_t)b, n / 2 + n / 16, b->t);
	uint16_t *scales;

	if (!packed)
		return K_ENOMEM;
	scales = (uint16_t *)(void *)(packed + n / 2);
	pack(packed, b->code + i * b->cols, (int64_t)n);
	for (size_t g = 0; g < n / 32; g++) {
		uint16_t s = k_bf16_from_f32(scale_at(b, i + (int64_t)(g * 32) / b->cols, (int64_t)(g * 32) % b->cols));

		memcpy(&scales[g], &s, 2);
	}
	k_i4g32_from_ct(b->t->type, p, packed, scales, b->cols, rows);
	k_free(packed);
	return 0;
}

static int put_i8row(const struct band *b, int64_t i, int rows K_UNUSED, uint8_t *p)
{
	memcpy(p, &b->scale[i * b->groups], 4);
	for (int64_t c = 0; c < b->cols; c++)
		p[4 + c] = b->code[i * b->cols + c] ^ 0x80;
	return 0;
}

/* The scales of a row's groups of 32, then their zero points; gives what follows. */
static uint8_t *put_groups(const struct band *b, int64_t i, size_t zero_bytes, uint8_t *p)
{
	uint8_t *zeros = p + b->cols / 8;

	for (int64_t g = 0; g < b->cols / 32; g++) {
		float s = scale_at(b, i, 32 * g);
		uint16_t z = (uint16_t)b->zero[i * b->groups + 32 * g / b->t->parts->group];

		memcpy(p + 4 * g, &s, 4);
		memcpy(zeros + (size_t)g * zero_bytes, &z, zero_bytes);
	}
	return zeros + (size_t)(b->cols / 32) * zero_bytes;
}

static int put_i4z32(const struct band *b, int64_t i, int rows K_UNUSED, uint8_t *p)
{
	pack(put_groups(b, i, 1, p), b->code + i * b->cols, b->cols);
	return 0;
}

static int put_i8z32(const struct band *b, int64_t i, int rows K_UNUSED, uint8_t *p)
{
	memcpy(put_groups(b, i, 2, p), b->code + i * b->cols, (size_t)b->cols);
	return 0;
}

static const struct kind {
	const char *name;
	bool zeros;
	int (*put)(const struct band *b, int64_t i, int rows, uint8_t *granule);
} kinds[] = {
	{ "q4_0", false, put_q4_0 }, { "q8_0", false, put_q8_0 }, { "i4g32", false, put_i4g32 }, { "i8row", false, put_i8row },
	{ "i4z32", true, put_i4z32 }, { "i8z32", true, put_i8z32 },
};

/* --- a band ------------------------------------------------------------------------------------------------------------------- */

static int put_all(const struct band *b, uint8_t *dst)
{
	const struct k_qtype *type = b->t->type;
	size_t step = type->granule_bytes(b->cols, type->granule);
	const struct kind *k = kinds;
	int r;

	while (strcmp(k->name, type->name) != 0)
		K_ASSERT(++k < kinds + K_LEN(kinds));
	r = k->zeros ? 0 : want_middle(b);
	for (int64_t i = 0; r == 0 && i < b->n; i += type->granule, dst += step)
		r = k->put(b, i, (int)K_MIN((int64_t)type->granule, b->n - i), dst);
	return r;
}

static int band_new(struct band *b, const struct k_raw *t, int64_t row, int64_t n, struct k_err *err)
{
	int64_t cols = k_shape_cols(t->ndim, t->shape), groups = k_div_up(cols, t->parts->group);

	*b = (struct band){ .t = t, .row = row, .n = n, .cols = cols, .groups = groups, .err = err };
	b->code = k_aligned((size_t)(n * cols));
	b->scale = k_aligned((size_t)(n * groups) * sizeof(*b->scale));
	b->zero = k_aligned((size_t)(n * groups) * sizeof(*b->zero));
	return b->code && b->scale && b->zero ? 0 : k_err_nomem(err, (size_t)(n * cols), t->name);
}

static int finish(struct band *b, int r, void *dst)
{
	if (r == 0)
		r = put_all(b, dst);
	k_free(b->code);
	k_free(b->scale);
	k_free(b->zero);
	return r;
}

int k_raw_read_packed(const struct k_raw *t, int64_t slice K_UNUSED, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	struct band b;
	int r = band_new(&b, t, row, n, err);

	if (r == 0)
		r = read_packed(&b);
	if (r == 0)
		r = read_scales(&b);
	if (r == 0 && t->parts->of[K_PART_ZEROS])
		r = read_zeros_packed(&b);
	else if (r == 0)
		middle_zeros(&b);
	return finish(&b, r, dst);
}

int k_raw_read_int8(const struct k_raw *t, int64_t slice K_UNUSED, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	struct band b;
	int r = band_new(&b, t, row, n, err);

	if (r == 0)
		r = read_int8(&b);
	if (r == 0)
		r = read_scales(&b);
	if (r == 0 && t->parts->of[K_PART_ZEROS])
		r = read_zeros_bytes(&b);
	else if (r == 0)
		middle_zeros(&b);
	return finish(&b, r, dst);
}

int k_raw_read_gptq(const struct k_raw *t, int64_t slice K_UNUSED, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	struct band b;
	int r = band_new(&b, t, row, n, err);

	if (r == 0)
		r = read_gptq(&b);
	if (r == 0)
		r = read_scales_t(&b);
	if (r == 0)
		r = read_zeros_t(&b, straight);
	return finish(&b, r, dst);
}

int k_raw_read_awq(const struct k_raw *t, int64_t slice K_UNUSED, int64_t row, int64_t n, void *dst, struct k_err *err)
{
	struct band b;
	int r = band_new(&b, t, row, n, err);

	if (r == 0)
		r = read_awq(&b);
	if (r == 0)
		r = read_scales_t(&b);
	if (r == 0)
		r = read_zeros_t(&b, awq_order);
	return finish(&b, r, dst);
}
