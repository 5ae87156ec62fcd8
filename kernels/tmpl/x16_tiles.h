/* x16_tiles.h: products of weights in layout x16 with activations of 8 bits or in bf16, by tiles, straight from their records (x16.h). For a level that
 * has defined, beside what x16_int8.h and x16_bf16.h want, the instructions of kernels/amx/tile.h.
 *
 *      first operand: tokens         second: a group of 16 rows         result, [token][row]
 *      up to 16 x 32 columns    x    32 columns x 16 rows          =    sums of a group
 *
 * A group has a scale of its own, so its sum leaves the tile: a product of 32 columns is what there is between two scales. Of bytes a tile takes 64,
 * so int8 has half of what the tiles can do, and both pay 16 stores, loads and multiply-adds a product. For that the level below unpacks a group
 * once for 12 tokens, and this one for 48.
 *
 *      a run of RUN groups:   pack tokens  |  for 16 rows: unpack weights  |  for 16 tokens: products, two at a time, sums in registers
 *
 * int8: the sum of a group is whole, and what is rounded is said in kk.def. bf16: the order of a tile (of even and of odd columns, then both), of every
 * token, one or many; times the scale it is added to the element, groups in growing k. */

#include "kernels/tmpl/x16.h"

enum {
	IT_SIDE = 16, IT_BLOCKS = 3, IT_BANDS = 2, IT_RUN = 16,         /* tokens or rows of a tile; tiles of tokens, of rows; groups of a run */
	IT_LINE = 64,
	IT_FEW = 4,                                                     /* so few tokens are the level's below, where the bits are the same */
};

/* Rows of tiles are lines of the cache, so all begin at one. */
struct it_tiles {
	__attribute__((aligned(IT_LINE))) uint8_t a[IT_BLOCKS][IT_RUN][IT_SIDE][IT_LINE];
	uint8_t b[IT_RUN][IT_SIDE][IT_LINE];
	float sum[IT_BANDS][IT_BLOCKS][IT_SIDE][IT_SIDE], out[2][IT_SIDE][IT_SIDE];
	float d[IT_BLOCKS][IT_RUN][IT_SIDE];            /* int8: what one code of a token's group stands for */
	struct tiles tiles;
};

/* --- bytes --------------------------------------------------------------------------------------------------------------- */

static void it_pack_i8(struct it_tiles *s, int block, const float *const *x, int n, size_t group, int groups)
{
	for (int t = 0; t < n; t++) {
		const struct kk_i8 *from = (const struct kk_i8 *)x[t] + group;
		for (int g = 0; g < groups; g++) {
			memcpy(s->a[block][g][t], from[g].code, sizeof(from->code));
			s->d[block][g][t] = from[g].d;
		}
	}
}

/* What is multiplied, less what it is more than a weight's code, as signed bytes: of such numbers and 0x80 less that no byte carries over. */
static inline vu it_signed_i4(vu u) { return (u + 0x78787878u) ^ 0x80808080u; }
static inline vu it_signed_mx(vu u) { return (vq_codes_mx(u) + 0x74747474u) ^ 0x80808080u; }

#define IT_UNPACK_I8(type) \
static void it_unpack_i8_##type(struct it_tiles *s, const uint8_t *p, int groups) \
{ \
	for (int g = 0; g < groups; g += X16_GROUPS_##type, p += X16_RECORD(type)) { \
		X16_FETCH(X16_RECORD(type) / 64, p); \
		_Pragma("GCC unroll 1") for (int word = 0; word < 4 * X16_GROUPS_##type; word++) { \
			vu w = x16_load(x16_words(p, 0) + 64 * word, 0), low = it_signed_##type(w & 0x0f0f0f0fu), high = it_signed_##type(w >> 4 & 0x0f0f0f0fu); \
			memcpy(s->b[g + word / 4][word % 4 * 2], &low, IT_LINE); \
			memcpy(s->b[g + word / 4][word % 4 * 2 + 1], &high, IT_LINE); \
		} \
	} \
}
IT_UNPACK_I8(i4)
IT_UNPACK_I8(mx)

static inline __attribute__((always_inline)) vu it_value_i8(const float *p)
{
	vu v;
	memcpy(&v, p, sizeof(v));
	return v + KK_I8_ZERO;
}
#define IT_ADD_i8(out, scale, d, sum) vf_fma(i8_scaled(it_value_i8(out), scale, I8_LESS(scale)), vf_set(d), sum)

/* --- bf16 ---------------------------------------------------------------------------------------------------------------- */

static void it_pack_bf16(struct it_tiles *s, int block, const float *const *x, int n, size_t group, int groups)
{
	for (int t = 0; t < n; t++)
		for (int g = 0; g < groups; g++)
			memcpy(s->a[block][g][t], (const uint16_t *)x[t] + 32 * (group + (size_t)g), IT_LINE);
}

#define IT_UNPACK_BF16(type) \
static void it_unpack_bf16_##type(struct it_tiles *s, const uint8_t *p, int groups) \
{ \
	for (int g = 0; g < groups; g += X16_GROUPS_##type, p += X16_RECORD(type)) { \
		X16_FETCH(X16_RECORD(type) / 64, p); \
		_Pragma("GCC unroll 1") for (int word = 0; word < 4 * X16_GROUPS_##type; word++) { \
			vu w = x16_load(x16_words(p, 0) + 64 * word, 0); \
			EACH(i, 4) { \
				vu codes = vh_codes_##type(w, i); \
				memcpy(s->b[g + word / 4][word % 4 * 4 + i], &codes, IT_LINE); \
			} \
		} \
	} \
}
IT_UNPACK_BF16(i4)
IT_UNPACK_BF16(mx)

#define IT_ADD_bf16(out, scale, d, sum) vf_fma(vf_load(out), scale, sum)

/* --- a run of groups for 16 rows and T of up to 16 tokens ------------------------------------------------------------------ */

#define IT_PRODUCT(kind, g, C, A, B) do { \
	tile_zero(&s->tiles, C); \
	tile_load(&s->tiles, A, s->a[block][g], IT_LINE); \
	tile_load(&s->tiles, B, s->b[g], IT_LINE); \
	tile_dot_##kind(&s->tiles, C, A, B); \
	tile_store(&s->tiles, C, s->out[C], IT_LINE); \
} while (0)

#define IT_FN(kind, type, T) \
static void it_##kind##_##type##_##T(struct it_tiles *s, int band, int block, const uint8_t *p, int groups) \
{ \
	vf sum[T]; \
	EACH(t, T) \
		sum[t] = vf_load(s->sum[band][block][t]); \
	for (int first = 0; first < groups; first += X16_GROUPS_##type, p += X16_RECORD(type)) { \
		X16_EVERY(type, two, 2, T) { \
			int g = first + two; \
			IT_PRODUCT(kind, g, 0, 2, 4); \
			IT_PRODUCT(kind, g + 1, 1, 3, 5); \
			EACH(i, 2) { \
				vf scale = x16_scale_##type(p, two + i, 0); \
				EACH(t, T) \
					sum[t] = IT_ADD_##kind(s->out[i][t], scale, s->d[block][g + i][t], sum[t]); \
			} \
		} \
	} \
	EACH(t, T) \
		vf_store(s->sum[band][block][t], sum[t]); \
}
IT_FN(i8, i4, 16) IT_FN(bf16, i4, 1) IT_FN(bf16, i4, 4) IT_FN(bf16, i4, 16)
IT_FN(i8, mx, 16) IT_FN(bf16, mx, 1) IT_FN(bf16, mx, 4) IT_FN(bf16, mx, 16)

typedef void it_run(struct it_tiles *s, int band, int block, const uint8_t *p, int groups);
struct it_of {
	int a_bytes, b_rows, cols;
	size_t record;
	void (*pack)(struct it_tiles *s, int block, const float *const *x, int n, size_t group, int groups);
	void (*unpack)(struct it_tiles *s, const uint8_t *p, int groups);
	it_run *one, *four, *all;
};
#define IT_I8(type) { 32, 8, X16_COLS(type), X16_RECORD(type), it_pack_i8, it_unpack_i8_##type, it_i8_##type##_16, it_i8_##type##_16, it_i8_##type##_16 }
#define IT_BF16(type) { 64, 16, X16_COLS(type), X16_RECORD(type), it_pack_bf16, it_unpack_bf16_##type, it_bf16_##type##_1, it_bf16_##type##_4, it_bf16_##type##_16 }

/* Tokens in tiles of one height m: where they do not come out even the last two tiles share some, which get the same bits twice. */
static void it_block(const struct it_of *how, float *y, size_t y_step, const uint8_t *w, int bands, const float *const *x, int n, size_t cols)
{
	struct it_tiles s;
	struct tile_config config = { 0 };
	int blocks = (n + IT_SIDE - 1) / IT_SIDE, m = (n + blocks - 1) / blocks;
	for (int i = 0; i < 2; i++) {
		tile_shape(&config, i, m, IT_LINE);
		tile_shape(&config, 2 + i, m, how->a_bytes);
		tile_shape(&config, 4 + i, how->b_rows, IT_LINE);
	}
	tile_begin(&s.tiles, &config);
	memset(s.d, 0, sizeof(s.d));
	memset(s.sum, 0, sizeof(s.sum));
	memset(s.out, 0, sizeof(s.out));
	for (size_t group = 0, all = cols / X16_GROUP; group < all; group += IT_RUN) {
		int groups = (int)K_MIN(all - group, (size_t)IT_RUN);
		for (int i = 0; i < blocks; i++)
			how->pack(&s, i, x + K_MIN(i * m, n - m), m, group, groups);
		for (int band = 0; band < bands; band++) {
			const uint8_t *p = w + ((size_t)band * cols + group * X16_GROUP) / (size_t)how->cols * how->record;
			how->unpack(&s, p, groups);
			for (int i = 0; i < blocks; i++)
				(m == 1 ? how->one : m <= 4 ? how->four : how->all)(&s, band, i, p, groups);
		}
	}
	tile_end(&s.tiles);
	for (int band = 0; band < bands; band++)
		for (int i = 0; i < blocks; i++)
			for (int t = 0; t < m; t++)
				memcpy(y + (size_t)(K_MIN(i * m, n - m) + t) * y_step + band * IT_SIDE, s.sum[band][i][t], IT_LINE);
}

static void it_product(const struct it_of *how, float *y, size_t y_step, const uint8_t *w, int rows, const float *const *x, int n, size_t cols)
{
	for (int r = 0; r < rows; r += IT_BANDS * IT_SIDE, w += IT_BANDS * (cols / (size_t)how->cols) * how->record)
		for (int t = 0; t < n; t += IT_BLOCKS * IT_SIDE)
			it_block(how, y + (size_t)t * y_step + r, y_step, w, K_MIN((rows - r) / IT_SIDE, (int)IT_BANDS), x + t,
				K_MIN(n - t, IT_BLOCKS * IT_SIDE), cols);
}

#define IT_TYPE(type, name) \
static void KK_FN(tiles_##name##_int8)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols) \
{ \
	static const struct it_of how = IT_I8(type); \
	if (n <= IT_FEW) \
		KK_FN(gemm_##name##_int8)(y, y_step, w, rows, x, n, cols); \
	else \
		it_product(&how, y, y_step, w, rows, x, n, cols); \
} \
static void KK_FN(tiles_##name##_bf16)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols) \
{ \
	static const struct it_of how = IT_BF16(type); \
	it_product(&how, y, y_step, w, rows, x, n, cols); \
}
IT_TYPE(i4, i4x16)
IT_TYPE(mx, mx4x16)
