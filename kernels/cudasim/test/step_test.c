/* step_test.c: a decode step as a graph: the same results as one launch after the other, a graph for each list of launches and no more, and a graph that
 * replays what has changed is found. The arithmetic is by hand: rows of an embedding, doubled. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cuda/cuda_impl.h"
#include "libcore/pool.h"
#include "libcore/test.h"

enum { VOCAB = 5, DIM = 3, ROWS = 4 };

struct bench { struct k_pool *pool; struct k_ctx ctx; struct k_device *d; struct k_tensor w; float *y, *x; };

static void setup(struct bench *b)
{
	struct k_err err;
	float table[VOCAB * DIM];
	static const struct k_hp hp = { .n_embd = DIM, .n_ff = DIM, .n_layer = 2 };
	memset(b, 0, sizeof(*b));
	K_CHECK_OK(k_pool_new(&b->pool, 1, &err));
	b->ctx.pool = b->pool;
	K_CHECK_OK(k_device_open(&b->d, &b->ctx, "cudasim", &err));
	K_CHECK_OK(b->d->reserve(b->d, &hp, ROWS, 64, &err));
	for (int i = 0; i < VOCAB * DIM; i++)
		table[i] = (float)i;
	b->y = b->d->alloc(b->d, ROWS * DIM * sizeof(float));
	b->x = b->d->alloc(b->d, ROWS * DIM * sizeof(float));
	float *w = b->d->alloc(b->d, sizeof(table));
	K_CHECK(b->y && b->x && w);
	K_CHECK_OK(b->d->put(b->d, w, table, sizeof(table), &err));
	b->w = (struct k_tensor){ .name = "w", .type = k_qtype_find("f32", NULL), .ndim = 2, .shape = { VOCAB, DIM }, .data = w };
}

static void teardown(struct bench *b)
{
	b->d->free(b->d, b->y);
	b->d->free(b->d, b->x);
	b->d->free(b->d, (void *)(uintptr_t)b->w.data);
	k_device_close(b->d);
	k_pool_free(b->pool);
}

/* y = 2 * rows of w. middle: somebody looks before the end. */
static void step(struct bench *b, float *y, const int32_t *ids, int64_t n, bool middle)
{
	struct k_device *d = b->d;
	struct k_err err;
	float host[ROWS * DIM];
	d->begin(d, true);
	d->ops.embed(d, &(struct k_op_embed){ y, &b->w, ids, n });
	d->ops.embed(d, &(struct k_op_embed){ b->x, &b->w, ids, n });
	if (middle)
		K_CHECK_OK(d->get(d, host, y, (size_t)(n * DIM) * sizeof(float), &err));
	d->ops.add(d, &(struct k_op_add){ y, b->x, n * DIM });
	d->end(d);
	K_CHECK_OK(d->get(d, host, y, (size_t)(n * DIM) * sizeof(float), &err));
	for (int64_t i = 0; i < n * DIM; i++)
		K_CHECK(host[i] == 2 * (float)(ids[i / DIM] * DIM + i % DIM));
}

K_TEST(step_is_one_graph_a_list)
{
	struct bench b;
	setup(&b);
	const struct cuda_step *s = &cuda_of(b.d)->step;
	step(&b, b.y, (int32_t[]){ 3, 1 }, 2, false);
	step(&b, b.y, (int32_t[]){ 0, 4 }, 2, false);
	step(&b, b.y, (int32_t[]){ 2, 2 }, 2, false);
	K_CHECK(s->made == 1 && s->launched == 3);
	/* Another number of rows, and back. */
	step(&b, b.y, (int32_t[]){ 4, 0, 1 }, 3, false);
	step(&b, b.y, (int32_t[]){ 1, 3 }, 2, false);
	K_CHECK(s->made == 2 && s->launched == 5);
	/* Memory elsewhere. */
	float *y = b.d->alloc(b.d, ROWS * DIM * sizeof(float));
	step(&b, y, (int32_t[]){ 1, 3 }, 2, false);
	K_CHECK(s->made == 3 && s->launched == 6);
	b.d->free(b.d, y);
	teardown(&b);
}

K_TEST(step_that_is_looked_into_is_no_graph)
{
	struct bench b;
	setup(&b);
	step(&b, b.y, (int32_t[]){ 3, 1 }, 2, true);
	step(&b, b.y, (int32_t[]){ 3, 0 }, 2, true);
	K_CHECK(cuda_of(b.d)->step.made == 0);
	teardown(&b);
}

/* More lists than graphs are kept. */
K_TEST(step_forgets_old_graphs)
{
	struct bench b;
	float *y[CUDA_GRAPHS + 1];
	setup(&b);
	const struct cuda_step *s = &cuda_of(b.d)->step;
	for (int i = 0; i <= CUDA_GRAPHS; i++) {
		y[i] = b.d->alloc(b.d, ROWS * DIM * sizeof(float));
		step(&b, y[i], (int32_t[]){ i % VOCAB }, 1, false);
	}
	K_CHECK(s->made == CUDA_GRAPHS + 1);
	step(&b, y[CUDA_GRAPHS], (int32_t[]){ 2 }, 1, false);
	K_CHECK(s->made == CUDA_GRAPHS + 1);
	step(&b, y[0], (int32_t[]){ 3 }, 1, false);
	K_CHECK(s->made == CUDA_GRAPHS + 2);
	for (int i = 0; i <= CUDA_GRAPHS; i++)
		b.d->free(b.d, y[i]);
	teardown(&b);
}

/* The mistake that graphs are known for. */
K_TEST(step_replays_nothing_that_has_changed)
{
	struct bench b;
	struct k_err err;
	float host;
	setup(&b);
	struct cuda *c = cuda_of(b.d);
	struct cuda_add a = { b.y, b.x, NULL, 4, true, 0 };
	struct cuda_call call = { CUDA_KERNEL_add, { 1, 1, 1, 0 }, &a, sizeof(a) };
	void *graph = c->rt->graph_make(c->on, &call, 1);
	K_CHECK(graph);
	c->rt->graph_launch(c->on, graph, &call, 1);
	K_CHECK_OK(b.d->get(b.d, &host, b.y, sizeof(host), &err));
	a.n = 5;
	c->rt->graph_launch(c->on, graph, &call, 1);
	K_CHECK(b.d->get(b.d, &host, b.y, sizeof(host), &err) == K_EDEVICE);
	K_CHECK(strstr(err.msg, "arguments that have changed"));
	c->rt->graph_free(c->on, graph);
	teardown(&b);
}

/* --- attention residuals -------------------------------------------------------------------------------------------------- */

/* Two rows, wider than what a thread keeps in registers. */
enum { WIDE = 5120, TWO = 2 * WIDE };

/* Of its column. */
static float column(int i) { return (float)(1 + i % WIDE % 7); }

/* Row r: r + 1 times even and odd in turn, times what columns have. */
static void put_rows(struct bench *b, float *to, float even, float odd)
{
	struct k_err err;
	float host[TWO];
	for (int i = 0; i < TWO; i++)
		host[i] = (float)(1 + i / WIDE) * (i % 2 ? odd : even) * column(i);
	K_CHECK_OK(b->d->put(b->d, to, host, sizeof(host), &err));
}

/* The same, and besides something that is not the row's. */
static void check_rows(struct bench *b, const float *at, float even, float odd, float more_even, float more_odd)
{
	struct k_err err;
	float host[TWO];
	K_CHECK_OK(b->d->get(b->d, host, at, sizeof(host), &err));
	for (int i = 0; i < TWO; i++)
		K_CHECK(fabsf(host[i] - column(i) * ((float)(1 + i / WIDE) * (i % 2 ? odd : even) + (i % 2 ? more_odd : more_even))) < 1e-5f);
}

/* Half a layer: y is gated by zeros, x becomes a block and y what x was; both are blended and normed. With a query of zeros a blend is the mean. Returns x. */
static float *half(struct bench *b, float *const m[5], bool decode, bool middle)
{
	struct k_device *d = b->d;
	float *block = m[0], *x = m[1], *h = m[2];
	put_rows(b, block, 1, 3);
	put_rows(b, x, 4, 2);
	put_rows(b, h, 0, 0);
	d->begin(d, decode);
	d->ops.gate(d, &(struct k_op_gate){ .y = x, .z = h, .n = TWO });
	if (middle)
		check_rows(b, x, 2, 1, 0, 0);
	d->ops.blend(d, &(struct k_op_blend){ .y = h, .block = (const float *const[]){ block }, .n_block = 1, .x = x, .w = m[3], .query = m[4], .n = 2, .dim = WIDE, .eps = 1e-5 });
	d->ops.rmsnorm(d, &(struct k_op_rmsnorm){ .y = h, .x = h, .w = m[3], .n = 2, .dim = WIDE, .y_step = WIDE, .x_step = WIDE, .eps = 0 });
	K_CHECK(!decode || middle || cuda_of(d)->step.n == 2);
	d->ops.add(d, &(struct k_op_add){ .y = x, .x = h, .n = TWO });
	d->end(d);
	return x;
}

/* By single launches, as a graph that is made and one that is launched again, and where somebody looks. */
K_TEST(step_of_blends_is_one_graph)
{
	struct bench b;
	struct k_err err;
	float *m[5], mean[2] = { 1.5f, 2 }, ones[WIDE];
	double squares = 0;
	setup(&b);
	for (int i = 0; i < WIDE; i++) {
		squares += pow(mean[i % 2] * column(i), 2);
		ones[i] = 1;
	}
	for (int i = 0; i < 2; i++)
		mean[i] = (float)(mean[i] / sqrt(squares / WIDE));
	for (int i = 0; i < 5; i++)
		K_CHECK(m[i] = b.d->alloc(b.d, TWO * sizeof(float)));
	K_CHECK_OK(b.d->put(b.d, m[3], ones, sizeof(ones), &err));
	put_rows(&b, m[4], 0, 0);
	for (int round = 0; round < 4; round++) {
		const float *x = half(&b, m, round > 0, round == 3);
		check_rows(&b, m[2], 0, 0, mean[0], mean[1]);
		check_rows(&b, x, 2, 1, mean[0], mean[1]);
	}
	K_CHECK(cuda_of(b.d)->step.made == 1 && cuda_of(b.d)->step.launched == 2);
	for (int i = 0; i < 5; i++)
		b.d->free(b.d, m[i]);
	teardown(&b);
}

/* --- neighbours ----------------------------------------------------------------------------------------------------------- */

/* Two additions and the norms of four rows: by themselves, and as one launch. What lies where is checked with each row's own norm. */
K_TEST(step_merges_additions_and_norms)
{
	enum { D = 8, N = ROWS * D };
	struct bench b;
	struct k_err err;
	float x[N], y[N], z[N], w[D], got[3][2][N];
	setup(&b);
	struct k_device *d = b.d;
	float *m[5];
	for (int i = 0; i < 5; i++)
		K_CHECK(m[i] = d->alloc(d, N * sizeof(float)));
	for (int i = 0; i < N; i++) {
		x[i] = (float)(i % 7) - 3;
		y[i] = (float)i;
		z[i] = (float)(i % 5) * 0.5f;
		w[i % D] = (float)(1 + i % D);
	}
	for (int listed = 0; listed < 2; listed++) {
		K_CHECK_OK(d->put(d, m[0], x, sizeof(x), &err));
		K_CHECK_OK(d->put(d, m[1], y, sizeof(y), &err));
		K_CHECK_OK(d->put(d, m[2], z, sizeof(z), &err));
		K_CHECK_OK(d->put(d, m[3], w, sizeof(w), &err));
		d->begin(d, listed);
		d->ops.add(d, &(struct k_op_add){ m[1], m[0], N });
		d->ops.add(d, &(struct k_op_add){ m[2], m[1], N });
		d->ops.rmsnorm(d, &(struct k_op_rmsnorm){ .y = m[4], .x = m[2], .w = m[3], .n = ROWS, .dim = D, .y_step = D, .x_step = D, .eps = 1e-5 });
		K_CHECK(!listed || cuda_of(d)->step.n == 1);
		d->end(d);
		for (int i = 0; i < 3; i++)
			K_CHECK_OK(d->get(d, got[i][listed], m[i < 2 ? i + 1 : 4], sizeof(got[i][listed]), &err));
	}
	for (int i = 0; i < 3; i++)
		K_CHECK(memcmp(got[i][0], got[i][1], sizeof(got[i][0])) == 0);
	K_CHECK(got[0][0][9] == 9 + x[9] && got[1][0][9] == z[9] + (9 + x[9]));
	for (int i = 0; i < 5; i++)
		d->free(d, m[i]);
	teardown(&b);
}
