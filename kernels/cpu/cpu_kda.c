/* cpu_kda.c: Kimi delta attention. A task is one head of one sequence's run of rows, and walks its tokens in order:
 *
 *   raw q k v  -- conv + silu over the last `taps` tokens -->  q, k normed, v
 *   a          -- gate -->  alpha (decay a key channel)          state [dv][dk]: decay, correct by beta (v - S k), read by q
 *   o          -- norm * sigmoid(z) -->  y
 *
 * The raw projections of the last taps - 1 tokens stay behind in `conv` for the next step. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cpu/cpu_impl.h"

struct kda { const struct cpu *c; const struct k_op_kda *op; int64_t H, d, P, taps; };

/* What a task keeps in its room, for q, k and v each: weights by tap, tails by token, the convolved row. */
struct head { float *w[3], *tail[3], *now[3], *alpha, *o; };

static struct head head_in(float *room, int64_t d, int64_t taps)
{
	struct head h;
	for (int i = 0; i < 3; i++, room += 2 * taps * d) {
		h.w[i] = room;
		h.tail[i] = room + taps * d;
		h.now[i] = room + (2 * taps - 1) * d;
	}
	h.alpha = room;
	h.o = room + d;
	return h;
}

int64_t cpu_kda_room(const struct k_hp *hp) { return (6 * hp->kda_conv + 2) * hp->kda_dim; }

/* Channel-major weights and tails to rows by tap, where a row is contiguous. */
static void enter(const struct kda *a, struct head *h, const float *conv, int64_t channel)
{
	for (int i = 0; i < 3; i++)
		for (int64_t c = 0; c < a->d; c++) {
			const float *w = a->op->conv_w[i] + (channel + c) * a->taps;
			const float *tail = conv + (i * a->P + channel + c) * (a->taps - 1);
			for (int64_t j = 0; j < a->taps; j++)
				h->w[i][j * a->d + c] = w[j];
			for (int64_t j = 0; j < a->taps - 1; j++)
				h->tail[i][j * a->d + c] = tail[j];
		}
}

/* Raw projections of token t of the run (negative: of the tail), this head's channels. */
static const float *raw_at(const struct kda *a, const struct head *h, int i, const float *raw, int64_t t)
{
	return t < 0 ? h->tail[i] + (t + a->taps - 1) * a->d : raw + t * a->P;
}

static void leave(const struct kda *a, const struct head *h, const float *const raw[3], float *conv, int64_t channel, int64_t n)
{
	for (int i = 0; i < 3; i++)
		for (int64_t j = 0; j < a->taps - 1; j++) {
			const float *row = raw_at(a, h, i, raw[i], n - (a->taps - 1) + j);
			for (int64_t c = 0; c < a->d; c++)
				conv[(i * a->P + channel + c) * (a->taps - 1) + j] = row[c];
		}
}

static float sigmoid(float x) { return (float)(x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-(double)x))); }

static void step(const struct kda *a, const struct head *h, float *state, const float *const raw[3], int64_t head, int64_t row, int64_t t)
{
	const struct kk *kk = &a->c->kk;
	const struct k_op_kda *op = a->op;
	int64_t channel = head * a->d, at = row * a->P + channel;
	size_t d = (size_t)a->d;
	for (int i = 0; i < 3; i++) {
		const float *u[CPU_TAPS];
		for (int64_t j = 0; j < a->taps; j++)
			u[j] = raw_at(a, h, i, raw[i], t - (a->taps - 1) + j);
		kk->conv_silu(h->now[i], u, h->w[i], d, (int)a->taps, d);
	}
	kk->l2norm(h->now[0], h->now[0], 1 / sqrt((double)a->d), d);
	kk->l2norm(h->now[1], h->now[1], 1, d);
	kk->kda_gate(h->alpha, op->a + at, op->dt_bias + channel, exp((double)op->a_log[head]), d);
	kk->kda_step(state, h->o, h->now[0], h->now[1], h->now[2], h->alpha, sigmoid(op->beta[row * a->H + head]), d, d);
	kk->gated_norm(op->y + at, h->o, op->o_norm, op->z + at, d, op->hp->eps);
}

static void kda_task(void *arg, int64_t i, int worker)
{
	const struct kda *a = arg;
	const struct k_seg *s = a->op->seg + i / a->H;
	int64_t head = i % a->H, channel = head * a->d, at = s->row * a->P + channel;
	const float *raw[3] = { a->op->q + at, a->op->k + at, a->op->v + at };
	struct head h = head_in(room_of(a->c, worker), a->d, a->taps);
	enter(a, &h, s->state->conv, channel);
	for (int64_t t = 0; t < s->n; t++)
		step(a, &h, s->state->state + head * a->d * a->d, raw, head, s->row + t, t);
	leave(a, &h, raw, s->state->conv, channel, s->n);
}

void cpu_kda(struct k_device *dev, const struct k_op_kda *op)
{
	const struct k_hp *hp = op->hp;
	struct kda a = { cpu_of(dev), op, hp->kda_head, hp->kda_dim, hp->kda_head * hp->kda_dim, hp->kda_conv };
	K_ASSERT(cpu_kda_room(hp) <= a.c->n_room && a.taps <= CPU_TAPS);
	cpu_each(a.c, op->n_seg * a.H, 2 * (double)(op->n * a.P * a.d), kda_task, &a);
}
