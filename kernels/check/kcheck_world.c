/* kcheck_world.c: see kcheck_world.h. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "kernels/check/kcheck_world.h"
#include "libcore/dtype.h"

void world_stop(struct world *w, const char *why)
{
	if (!w->stuck)
		fail(w->r, "%s", why);
	w->stuck = true;
}

/* A buffer of n bytes, zeroed; its index. */
int world_buffer(struct world *w, size_t n, bool out)
{
	struct buf *b = &w->buf[w->n_buf];
	K_ASSERT(w->n_buf < MOST_BUFS);
	*b = (struct buf){ { k_aligned(n + 1), w->dev[DEV]->alloc(w->dev[DEV], n) }, k_calloc(n + 1, 1), n, out };
	if (!b->at[CPU] || !b->at[DEV] || !b->begin)
		world_stop(w, "no memory");
	return w->n_buf++;
}

int world_data(struct world *w, size_t n, enum data kind)
{
	int i = world_buffer(w, n * sizeof(float), false);
	if (w->buf[i].begin)
		fill(w->r, w->buf[i].begin, n, kind);
	return i;
}

int world_output(struct world *w, size_t n)
{
	int i = world_buffer(w, n * sizeof(float), true);
	if (w->buf[i].begin)
		memset(w->buf[i].begin, 0xff, n * sizeof(float));
	return i;
}

/* Are a type's values rounded? One of few bits times a power of two is BF16 as it is. */
static bool rounded(const struct world *w, const struct k_qtype *t, int64_t cols)
{
	return w->rounds && ((strcmp(t->name, "i4g32") == 0 && strcmp(t->layout, "x16") == 0) || (strcmp(t->name, "fp8b128") == 0 && cols % 32 == 0));
}

/* The twin of a weight, in f. */
static void twin(struct world *w, struct weight *x, const float *f, int64_t rows, int64_t cols)
{
	uint16_t *half;
	x->twin = world_buffer(w, (size_t)(rows * cols) * sizeof(*half), false);
	half = w->buf[x->twin].begin;
	for (int64_t i = 0; half && i < rows * cols; i++)
		half[i] = k_bf16_from_f32(f[i]);
	x->as_bf16 = x->t;
	x->as_bf16.type = k_qtype_for("bf16", x->t.shape[x->t.ndim - 2], cols);
}

struct weight world_weight(struct world *w, const struct k_qtype *t, int64_t slices, int64_t rows, int64_t cols)
{
	struct weight x = { .t = { .name = t->name, .type = t, .ndim = slices > 1 ? 3 : 2, .shape = { rows, cols } }, .twin = -1 };
	struct k_quant_opts o = { .scale = K_SCALE_AMAX7 };
	struct k_err err;
	uint64_t bytes;
	float *f = k_alloc((size_t)(slices * rows * cols) * sizeof(*f));
	uint8_t *p;
	if (slices > 1)
		memcpy(x.t.shape, (int64_t[]){ slices, rows, cols }, 3 * sizeof(int64_t));
	K_ASSERT(k_qtype_slice_bytes(t, rows, cols, &bytes));
	x.buf = world_buffer(w, (size_t)(bytes * (uint64_t)slices), false);
	p = w->buf[x.buf].begin;
	if (!f || !p) {
		world_stop(w, "no memory");
		k_free(f);
		return x;
	}
	fill(w->r, f, (size_t)(slices * rows * cols), DATA_PLAIN);
	for (int64_t i = 0, n; i < slices * rows; i += n) {
		n = K_MIN((int64_t)t->granule, rows - i % rows);
		K_ASSERT(t->quant(p, f + i * cols, cols, (int)n, &o, &err) == 0);
		for (int k = 0; k < (int)n; k++)
			t->dequant(f + (i + k) * cols, p, cols, (int)n, k);
		p += t->granule_bytes(cols, (int)n);
	}
	if (rounded(w, t, cols))
		twin(w, &x, f, slices * rows, cols);
	k_free(f);
	return x;
}

const struct k_tensor *world_weight_at(const struct world *w, int side, struct weight *x)
{
	struct k_tensor *t = side == CPU && x->twin >= 0 ? &x->as_bf16 : &x->t;
	t->data = world_at(w, side, t == &x->t ? x->buf : x->twin);
	return t;
}

/* A page of n values. */
static int world_new_page(struct world *w, size_t n)
{
	int i = world_buffer(w, k_kv_bytes(w->kv, (int64_t)n, 0), false);
	uint16_t *half = w->buf[i].begin;
	float *x = k_alloc(n * sizeof(*x));
	if (!x)
		world_stop(w, "no memory");
	if (x && half) {
		fill(w->r, x, n, DATA_PLAIN);
		if (w->kv == K_KV_F32)
			memcpy(half, x, n * sizeof(*x));
		for (size_t k = 0; k < n && w->kv == K_KV_BF16; k++)
			half[k] = k_bf16_from_f32(x[k]);
	}
	k_free(x);
	return i;
}

/* Pages and states that hold something already; what is still to come is NaN, as in memory that was somebody else's. */
void world_sequences(struct world *w, int64_t width, size_t state, size_t conv, int64_t pos)
{
	w->pos[1] = pos;
	for (int s = 0; s < SEQS; s++) {
		int64_t pages = k_div_up(w->pos[s] + w->rows, K_PAGE);
		K_ASSERT(pages <= MOST_PAGES);
		for (int64_t p = 0; width && p < pages; p++) {
			int i = world_new_page(w, (size_t)(width * K_PAGE));
			size_t row = k_kv_bytes(w->kv, width, 0);
			char *begin = w->buf[i].begin;
			for (int64_t t = 0; begin && t < K_PAGE; t++)
				if (p * K_PAGE + t >= w->pos[s])
					memset(begin + (size_t)t * row, 0xff, row);
			for (int side = 0; side < SIDES; side++)
				w->page[side][s][p] = world_at(w, side, i);
		}
		int kda = state ? world_data(w, state, DATA_PART) : -1, tail = conv ? world_data(w, conv, DATA_PLAIN) : -1;
		if (state)
			w->buf[kda].out = true;
		if (conv)
			w->buf[tail].out = true;
		for (int side = 0; side < SIDES; side++)
			w->seq[side][s] = (struct k_seq_layer){ .page = w->page[side][s], .n_page = pages, .state = state ? world_at(w, side, kda) : NULL,
				.conv = conv ? world_at(w, side, tail) : NULL, .kv = w->kv };
	}
}

/* The parts of the sequences that lie in rows [from, from + n), counted from `from`. */
int64_t world_segments(struct world *w, int side, int64_t from, int64_t n, struct k_seg out[SEQS])
{
	const int64_t first[] = { 0, w->split, w->rows };
	int64_t k = 0;
	for (int s = 0; s < SEQS; s++) {
		int64_t a = K_MAX(first[s], from), b = K_MIN(first[s + 1], from + n);
		if (a < b)
			out[k++] = (struct k_seg){ a - from, b - a, w->pos[s] + a - first[s], &w->seq[side][s] };
	}
	return k;
}

static void begin_side(struct world *w, int side)
{
	struct k_device *d = w->dev[side];
	struct k_err err;
	for (int i = 0; i < w->n_buf && !w->stuck; i++)
		if (d->put(d, w->buf[i].at[side], w->buf[i].begin, w->buf[i].bytes, &err) < 0)
			world_stop(w, err.msg);
}

/* Outputs of the device: near what the CPU has, or (first not NULL) the bits of the first run. */
static void compare(struct world *w, void **first)
{
	struct k_device *d = w->dev[DEV];
	struct k_err err;
	for (int i = 0; i < w->n_buf && !w->stuck; i++) {
		struct buf *b = &w->buf[i];
		float *got = b->out ? k_aligned(b->bytes + 1) : NULL;
		char what[32];
		if (!b->out)
			continue;
		snprintf(what, sizeof(what), "result %d", i);
		if (!got)
			world_stop(w, "no memory");
		else if (d->get(d, got, b->at[DEV], b->bytes, &err) < 0)
			world_stop(w, err.msg);
		else if (first[i] && !w->dev[DEV]->ctx->any_order)
			same(w->r, what, got, first[i], b->bytes / sizeof(float));
		else
			near(w->r, what, got, b->at[CPU], b->bytes / sizeof(float));
		if (first[i])
			k_free(got);
		else
			first[i] = got;
	}
}

/* steps: rows at once, in the first way all. */
void world_ways(struct world *w, op_fn *op, void *how, const char *what, const int64_t *steps, int n_steps)
{
	void *first[MOST_BUFS] = { 0 };
	struct k_err err;
	for (int side = 0; side < SIDES && !w->stuck; side++)
		if (w->dev[side]->reserve(w->dev[side], &w->hp, w->rows, MOST_PAGES * K_PAGE, &err) < 0)
			world_stop(w, err.msg);
	begin_side(w, CPU);
	if (!w->stuck)
		op(w, how, CPU, 0, w->rows);
	for (int i = 0; i < n_steps && !w->stuck; i++) {
		where(w->r, "%s, steps of %d rows", what, (int)steps[i]);
		begin_side(w, DEV);
		for (int64_t from = 0; from < w->rows; from += steps[i])
			op(w, how, DEV, from, K_MIN(w->rows - from, steps[i]));
		compare(w, first);
	}
	for (int i = 0; i < w->n_buf; i++)
		k_free(first[i]);
}

void world_all_ways(struct world *w, op_fn *op, void *how, const char *what)
{
	const int64_t steps[] = { w->rows, w->rows > ROWS ? 33 : 1, w->rows > ROWS ? 9 : 3 };
	world_ways(w, op, how, what, steps, K_LEN(steps));
}

void world_end(struct world *w)
{
	for (int i = 0; i < w->n_buf; i++) {
		k_free(w->buf[i].at[CPU]);
		k_free(w->buf[i].begin);
		if (w->buf[i].at[DEV])
			w->dev[DEV]->free(w->dev[DEV], w->buf[i].at[DEV]);
	}
	w->n_buf = 0;
}
