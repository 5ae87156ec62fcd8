/* capture.c: see capture.h. The order of the tensors of a sequence is that of golden.safetensors: logits, rows, hidden, then by layer
 * what its router and its KDA mixer left. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/capture.h"

struct capture {
	struct k_golden *set;
	struct k_model *m;
	const struct k_hp *hp;
	const struct k_golden_seq *seq;
	const struct k_trace *t;
	const struct k_trace_seq *s;    /* NULL: names and shapes alone */
};

/* Names a tensor of the sequence; data may be NULL. what: a format of the layer, or of nothing. */
static int add(struct capture *c, const char *part, const char *what, int64_t layer, enum k_golden_type type, int ndim,
	const int64_t *shape, const void *data, struct k_err *err)
{
	struct k_golden_tensor *t = &c->set->tensor[c->set->n_tensor];
	*t = (struct k_golden_tensor){ .type = type, .ndim = ndim, .count = 1, .data = data };
	for (int i = 0; i < ndim; i++) {
		t->shape[i] = shape[i];
		t->count *= shape[i];
	}
	t->name = what ? k_arena_printf(&c->set->arena, "%s/%s/layer%lld.%s", part, c->seq->name, (long long)layer, what)
		: k_arena_printf(&c->set->arena, "%s/%s", part, c->seq->name);
	c->set->n_tensor++;
	return t->name ? 0 : k_err_nomem(err, 64, "a name");
}

static int add_logits(struct capture *c, struct k_err *err)
{
	int64_t n = c->seq->n, rows = K_MIN(n, K_CAPTURE_ROWS), V = c->hp->n_vocab, shape[] = { rows, V };
	float *logits = NULL;
	int32_t *which = NULL;
	int r = 0;
	if (c->s) {
		logits = k_arena_array(&c->set->arena, (size_t)(rows * V), sizeof(*logits));
		which = k_arena_array(&c->set->arena, (size_t)rows, sizeof(*which));
		if (!logits || !which)
			return k_err_nomem(err, (size_t)(rows * V) * sizeof(*logits), "logits");
		r = k_model_logits(c->m, c->t->rows + (c->s->row + n - rows) * c->hp->n_embd, rows, logits, err);
		for (int64_t i = 0; i < rows; i++)
			which[i] = (int32_t)(n - rows + i);
	}
	if (r == 0)
		r = add(c, "logits", NULL, 0, K_GOLDEN_F32, 2, shape, logits, err);
	return r < 0 ? r : add(c, "rows", NULL, 0, K_GOLDEN_I32, 1, shape, which, err);
}

static int add_router(struct capture *c, int64_t layer, struct k_err *err)
{
	int64_t n = c->seq->n, used = c->hp->n_expert_used, E = c->hp->n_expert, chosen[] = { n, used }, all[] = { n, E };
	const struct k_trace_seq *s = c->s;
	if (!k_trace_keeps_router(c->hp, n))
		return 0;
	int r = add(c, "router", "experts", layer, K_GOLDEN_I32, 2, chosen, s ? s->experts + layer * n * used : NULL, err);
	if (r == 0)
		r = add(c, "router", "weights", layer, K_GOLDEN_F32, 2, chosen, s ? s->weights + layer * n * used : NULL, err);
	if (r < 0 || !k_trace_keeps_scores(c->hp, n))
		return r;
	return add(c, "router", "scores", layer, K_GOLDEN_F32, 2, all, s ? s->scores + layer * n * E : NULL, err);
}

static int add_kda(struct capture *c, int64_t layer, struct k_err *err)
{
	const struct k_hp *hp = c->hp;
	int64_t state[] = { hp->kda_head, hp->kda_dim, hp->kda_dim }, conv[] = { 3, hp->kda_head * hp->kda_dim, hp->kda_conv - 1 };
	int64_t n_state = state[0] * state[1] * state[2], n_conv = conv[0] * conv[1] * conv[2];
	float *p = NULL;
	int r = 0;
	if (c->s) {
		p = k_arena_array(&c->set->arena, (size_t)(n_state + n_conv), sizeof(*p));
		r = p ? k_seq_kda(c->s->seq, (int)layer, p, p + n_state, err) : k_err_nomem(err, (size_t)(n_state + n_conv) * 4, "a state");
	}
	if (r == 0)
		r = add(c, "kda", "state", layer, K_GOLDEN_F32, 3, state, p, err);
	return r < 0 ? r : add(c, "kda", "conv", layer, K_GOLDEN_F32, 3, conv, p ? p + n_state : NULL, err);
}

static int add_sequence(struct capture *c, struct k_err *err)
{
	int64_t hidden[] = { c->hp->n_layer + 1, c->seq->n, c->hp->n_embd };
	if (!k_trace_keeps_hidden(c->hp, c->seq->n))
		return k_err_set(err, K_EUSAGE, "the residual stream of %lld tokens of this model takes more than %u MB: wanted fewer (--window)",
			(long long)c->seq->n, K_TRACE_MAX >> 20);
	int r = add_logits(c, err);
	if (r == 0)
		r = add(c, "hidden", NULL, 0, K_GOLDEN_F32, 3, hidden, c->s ? c->s->hidden : NULL, err);
	for (int64_t i = 0; r == 0 && i < c->hp->n_layer; i++) {
		if (k_hp_is_moe(c->hp, i))
			r = add_router(c, i, err);
		if (r == 0 && k_hp_is_kda(c->hp, i))
			r = add_kda(c, i, err);
	}
	return r;
}

int k_capture(struct k_golden **out, struct k_model *m, const struct k_golden_seq *seq, int64_t n, const struct k_trace *t,
	struct k_err *err)
{
	const struct k_hp *hp = k_model_hp(m);
	struct k_golden *set = *out = k_calloc(1, sizeof(*set));
	struct capture c = { .set = set, .m = m, .hp = hp, .t = t };
	int r = 0;
	if (!set)
		return k_err_nomem(err, sizeof(*set), "a capture");
	k_arena_init(&set->arena);
	set->path = "the model";
	set->n_layer = hp->n_layer;
	set->tensor = k_arena_array(&set->arena, (size_t)(n * (3 + 5 * hp->n_layer)), sizeof(*set->tensor));
	set->seq = k_arena_array(&set->arena, (size_t)n, sizeof(*set->seq));
	if (!set->tensor || !set->seq)
		r = k_err_nomem(err, (size_t)(n * hp->n_layer) * sizeof(*set->tensor), "a capture");
	for (; r == 0 && set->n_seq < n; set->n_seq++) {
		set->seq[set->n_seq] = seq[set->n_seq];
		c.seq = &seq[set->n_seq];
		c.s = t ? &t->v[set->n_seq] : NULL;
		r = add_sequence(&c, err);
	}
	if (r < 0) {
		k_golden_close(set);
		*out = NULL;
	}
	return r;
}
