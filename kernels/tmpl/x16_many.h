/* x16_many.h: x16_int8.h for many tokens, for a level of 32 registers that has defined, beside what that wants,
 *
 *     vq_four(p)          the four bytes at p in each word
 *     vq_dots(a, u, v)    vq_dot of those
 *
 * 32 rows of two vectors share what is loaded of a token, and all tokens share what is unpacked of the weights, which a run of groups keeps in the
 * nearest cache:
 *
 *       tokens     t t+1 ... t+5         12 dot products for 2 loads of weights and 6 of activations, where straight from the records each
 *     16 rows      #  #  ...  #          takes one; sums of a group and of the elements are in registers, the latter between runs in memory
 *     16 rows      #  #  ...  #
 *
 * Fewer than two passes of tokens go straight from the records, and so do those that are left. */

enum {
	I8_ROWS = 2,                            /* vectors of rows */
	I8_RUN = 16,                            /* groups */
	I8_PASS = 6,                            /* tokens */
	I8_PASSES = 8, I8_MOST = I8_PASSES * I8_PASS,
};

struct i8_group { vu code[8][I8_ROWS]; vf scale[I8_ROWS], less[I8_ROWS]; };

/* A run: its groups, from `group` on, whose records begin at p for the first 16 rows and `panel` behind for the others. Memory of the next run is asked for
 * bit by bit, with each group so many lines at `ahead`, or `panel` behind, by turns. */
struct i8_run { size_t group; int groups, lines; size_t panel; const uint8_t *p, *ahead; };
typedef void i8_pass(const struct i8_run *run, struct i8_group *kept, vf *all, const float *const *from);
struct i8_of { int cols, record; i8_pass *first, *pass; x16_tile *few[I8_TOKENS + 1]; };

/* A pass over a run. all: sums of the elements. The first pass of a run unpacks the weights and keeps them for the others. */
#define I8_KEEP(type) do { \
	const uint8_t *record = run->p + g / X16_GROUPS_##type * X16_RECORD(type); \
	words = x16_words(record, g % X16_GROUPS_##type); \
	EACH(h, I8_ROWS) { \
		kept->scale[h] = x16_scale_##type(record + (size_t)h * panel, g % X16_GROUPS_##type, 0); \
		kept->less[h] = I8_LESS(kept->scale[h]); \
	} \
} while (0)
#define I8_FRESH(type) \
	(kept->code[at / 4 + half][h] = vq_codes_##type(x16_load(words + (size_t)h * panel + 8 * at, 0) >> 4 * half & 0x0f0f0f0fu))
#define I8_NOTHING(type) do { } while (0)
#define I8_KEPT(type) kept->code[at / 4 + half][h]

/* at: in a register of its own, or each token had one. */
#define I8_PASS_FN(name, type, BEGIN, CODES) \
static void i8_##name##_##type(const struct i8_run *run, struct i8_group *kept, vf *all, const float *const *from) \
{ \
	enum { T = I8_PASS }; \
	size_t panel = run->panel; \
	const uint8_t *ahead = run->ahead, *later = ahead + panel; \
	const struct kk_i8 *x[T]; \
	vf sum[I8_ROWS][T]; \
	EACH(t, T) \
		x[t] = (const struct kk_i8 *)from[t] + run->group; \
	EACH(h, I8_ROWS) EACH(t, T) \
		sum[h][t] = all[h * T + t]; \
	for (unsigned g = 0; g < (unsigned)run->groups; g++, kept++) { \
		const uint8_t *words K_UNUSED; \
		vu a[I8_ROWS][T]; \
		_Pragma("GCC unroll 1") for (int line = run->lines; line > 0; line--, ahead += 64) \
			__builtin_prefetch(ahead); \
		const uint8_t *turn = ahead; \
		ahead = later; \
		later = turn; \
		BEGIN(type); \
		EACH(t, T) EACH(h, I8_ROWS) \
			a[h][t] = vq_begin_##type(&x[t]->bias); \
		_Pragma("GCC unroll 1") for (size_t at = 0; at < X16_GROUP; at += 8) { \
			__asm__("" : "+r"(at)); \
			EACH(half, 2) { \
				vu u[I8_ROWS]; \
				EACH(h, I8_ROWS) \
					u[h] = CODES(type); \
				EACH(t, T) { \
					vu four = vq_four(x[t]->code + at + 4 * half); \
					EACH(h, I8_ROWS) \
						a[h][t] = vq_dots(a[h][t], u[h], four); \
				} \
			} \
		} \
		EACH(t, T) { \
			EACH(h, I8_ROWS) \
				sum[h][t] = vf_fma(i8_scaled(vq_end_##type(a[h][t], &x[t]->bias), kept->scale[h], kept->less[h]), vf_set(x[t]->d), sum[h][t]); \
			x[t]++; \
		} \
	} \
	EACH(h, I8_ROWS) EACH(t, T) \
		all[h * T + t] = sum[h][t]; \
}

/* 32 rows and n tokens, two passes of them at least, I8_MOST at most. */
static void i8_block(const struct i8_of *how, float *y, size_t y_step, const uint8_t *w, const float *const *x, int n, size_t cols)
{
	struct i8_group kept[I8_RUN];
	vf sum[I8_PASSES][I8_ROWS * I8_PASS];
	int passes = (n + I8_PASS - 1) / I8_PASS;
	int lines = I8_RUN * X16_GROUP / how->cols * how->record / 64;
	struct i8_run run = { .panel = cols / (size_t)how->cols * (size_t)how->record, .p = w };
	memset(sum, 0, sizeof(sum));
	for (size_t all = cols / X16_GROUP; run.group < all; run.group += I8_RUN, run.p += 64 * lines) {
		run.groups = (int)K_MIN(all - run.group, (size_t)I8_RUN);
		run.lines = (I8_ROWS * lines - 1) / (passes * run.groups) + 1;
		run.ahead = all - run.group > I8_RUN ? run.p + 64 * lines : w + I8_ROWS * run.panel;
		for (int i = 0; i < passes; i++, run.ahead += run.groups / 2 * run.lines * 64)
			(i ? how->pass : how->first)(&run, kept, sum[i], x + K_MIN(i * I8_PASS, n - I8_PASS));
	}
	for (int i = 0; i < passes; i++)
		_Pragma("GCC unroll 1") for (int j = 0; j < I8_ROWS * I8_PASS; j++)
			vf_store(y + (size_t)(K_MIN(i * I8_PASS, n - I8_PASS) + j % I8_PASS) * y_step + j / I8_PASS * VL, sum[i][j]);
}

static void i8_gemm(const struct i8_of *how, float *y, size_t y_step, const uint8_t *w, int rows, const float *const *x, int n, size_t cols)
{
	size_t panel = cols / (size_t)how->cols * (size_t)how->record;
	for (int r = 0, in; r < rows; r += in, w += (size_t)in / X16_ROWS * panel, y += in) {
		in = K_MIN(rows - r, I8_ROWS * VL);
		int t = 0;
		/* Five that are left have a pass of their own, with one of those before; fewer are done as few. */
		for (int m; n - t >= 2 * I8_PASS - 1 && in == I8_ROWS * VL; t += m) {
			m = K_MIN(n - t, (int)I8_MOST);
			m -= m % I8_PASS == I8_PASS - 1 ? 0 : m % I8_PASS;
			i8_block(how, y + (size_t)t * y_step, y_step, w, x + t, m, cols);
		}
		/* 9 and 10, too, in two turns. */
		x16_rows(how->few, n - t < 2 * I8_PASS - 1 ? 2 * I8_PASS : I8_TOKENS, panel, y + (size_t)t * y_step, y_step, w, in, x + t, n - t, cols);
	}
}

#define I8_MANY_GEMM(type, name) \
I8_PASS_FN(first, type, I8_KEEP, I8_FRESH) I8_PASS_FN(pass, type, I8_NOTHING, I8_KEPT) \
static void KK_FN(name)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols) \
{ \
	static const struct i8_of of = { X16_COLS(type), X16_RECORD(type), i8_first_##type, i8_pass_##type, { X16_PASTE(X16_TOKENS_, I8_TOKENS)(type, I8_NAME) } }; \
	const struct i8_of *how = &of; \
	__asm__("" : "+r"(how));        /* one text for all types */ \
	i8_gemm(how, y, y_step, w, rows, x, n, cols); \
}
