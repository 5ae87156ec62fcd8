/* dump.c: runs the sequences of a golden.json and writes what golden data are about, as one safetensors file for any other program
 * to judge.
 *
 *   logits/NAME [n, vocab]   hidden/NAME [layers + 1, n, D]   router/NAME/layerL.experts, .weights [n, used]
 *   kda/NAME/layerL.state [heads, key, value], .conv [3, P, taps - 1]   greedy/tokens [count]
 *
 * Shapes follow from the configuration and the lengths, so the head is written first and the data stream behind it: `layout`
 * walks over all tensors, once to make the head, once to write. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/report.h"
#include "evals/trace.h"

struct dump {
	struct k_model *m;
	const struct k_hp *hp;
	const struct k_golden *g;
	struct k_sink *sink;
	struct k_buf head;
	uint64_t off;                   /* end of the tensors that the head names */
	struct k_trace_seq *now;        /* the sequence being written; NULL: the head is being made */
	const float *rows;
	float *logits;                  /* 32 rows */
};
enum { LOGIT_ROWS = 32 };

/* Names a tensor in the head. */
static void name(struct dump *d, const char *text, const char *dtype, int ndim, const int64_t *shape)
{
	uint64_t n = 4;
	k_buf_puts(&d->head, d->off ? "," : "");
	k_json_quote(&d->head, text, strlen(text));
	k_buf_printf(&d->head, ":{\"dtype\":\"%s\",\"shape\":[", dtype);
	for (int i = 0; i < ndim; i++) {
		k_buf_printf(&d->head, "%s%lld", i ? "," : "", (long long)shape[i]);
		n *= (uint64_t)shape[i];
	}
	k_buf_printf(&d->head, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)d->off, (unsigned long long)(d->off + n));
	d->off += n;
}

static int put_logits(struct dump *d, const struct k_golden_seq *g, struct k_err *err)
{
	int64_t V = d->hp->n_vocab, shape[] = { g->n, V };
	char text[512];
	int r = 0;
	if (!d->now) {
		snprintf(text, sizeof(text), "logits/%s", g->name);
		name(d, text, "F32", 2, shape);
		return 0;
	}
	for (int64_t i = 0, n; r == 0 && i < g->n; i += n) {
		n = K_MIN(g->n - i, LOGIT_ROWS);
		r = k_model_logits(d->m, d->rows + (d->now->row + i) * d->hp->n_embd, n, d->logits, err);
		if (r == 0)
			r = k_sink_write(d->sink, d->logits, (size_t)(n * V) * sizeof(float), err);
	}
	return r;
}

static int put_hidden(struct dump *d, const struct k_golden_seq *g, struct k_err *err)
{
	int64_t shape[] = { d->hp->n_layer + 1, g->n, d->hp->n_embd };
	char text[512];
	if (!k_trace_keeps_hidden(d->hp, g->n))
		return 0;
	if (d->now)
		return k_sink_write(d->sink, d->now->hidden, (size_t)(shape[0] * shape[1] * shape[2]) * sizeof(float), err);
	snprintf(text, sizeof(text), "hidden/%s", g->name);
	name(d, text, "F32", 3, shape);
	return 0;
}

static int put_router(struct dump *d, const struct k_golden_seq *g, int64_t layer, struct k_err *err)
{
	int64_t shape[] = { g->n, d->hp->n_expert_used }, n = shape[0] * shape[1];
	char text[512];
	if (!k_hp_is_moe(d->hp, layer) || !k_trace_keeps_router(d->hp, g->n))
		return 0;
	if (d->now) {
		int r = k_sink_write(d->sink, d->now->experts + layer * n, (size_t)n * sizeof(int32_t), err);
		return r < 0 ? r : k_sink_write(d->sink, d->now->weights + layer * n, (size_t)n * sizeof(float), err);
	}
	snprintf(text, sizeof(text), "router/%s/layer%lld.experts", g->name, (long long)layer);
	name(d, text, "I32", 2, shape);
	snprintf(text, sizeof(text), "router/%s/layer%lld.weights", g->name, (long long)layer);
	name(d, text, "F32", 2, shape);
	return 0;
}

static int put_kda(struct dump *d, const struct k_golden_seq *g, int64_t layer, struct k_err *err)
{
	const struct k_hp *hp = d->hp;
	int64_t state[] = { hp->kda_head, hp->kda_dim, hp->kda_dim }, conv[] = { 3, hp->kda_head * hp->kda_dim, hp->kda_conv - 1 };
	int64_t n_state = state[0] * state[1] * state[2], n_conv = conv[0] * conv[1] * conv[2];
	char text[512];
	if (!k_hp_is_kda(hp, layer))
		return 0;
	if (!d->now) {
		snprintf(text, sizeof(text), "kda/%s/layer%lld.state", g->name, (long long)layer);
		name(d, text, "F32", 3, state);
		snprintf(text, sizeof(text), "kda/%s/layer%lld.conv", g->name, (long long)layer);
		name(d, text, "F32", 3, conv);
		return 0;
	}
	float *p = k_alloc((size_t)(n_state + n_conv) * sizeof(float));
	if (!p)
		return k_err_nomem(err, (size_t)(n_state + n_conv) * sizeof(float), "a state");
	int r = k_seq_kda(d->now->seq, (int)layer, p, p + n_state, err);
	if (r == 0)
		r = k_sink_write(d->sink, p, (size_t)(n_state + n_conv) * sizeof(float), err);
	k_free(p);
	return r;
}

/* The tensors of one sequence, in the file's order. */
static int layout(struct dump *d, const struct k_golden_seq *g, struct k_err *err)
{
	int r = put_logits(d, g, err);
	if (r == 0)
		r = put_hidden(d, g, err);
	for (int64_t i = 0; r == 0 && i < d->hp->n_layer; i++)
		r = put_router(d, g, i, err);
	for (int64_t i = 0; r == 0 && i < d->hp->n_layer; i++)
		r = put_kda(d, g, i, err);
	return r;
}

static int write_head(struct dump *d, struct k_err *err)
{
	int r = 0;
	k_buf_putc(&d->head, '{');
	for (int64_t i = 0; r == 0 && i < d->g->n_seq; i++)
		r = layout(d, &d->g->seq[i], err);
	if (r == 0 && d->g->n_greedy)
		name(d, "greedy/tokens", "I32", 1, &d->g->n_greedy);
	k_buf_putc(&d->head, '}');
	while (d->head.len % 8 && !d->head.failed)
		k_buf_putc(&d->head, ' ');
	uint64_t n = d->head.len;
	if (r == 0)
		r = k_buf_ok(&d->head, "the head of the file", err);
	if (r == 0)
		r = k_sink_write(d->sink, &n, 8, err);
	return r < 0 ? r : k_sink_write(d->sink, d->head.data, d->head.len, err);
}

static int write_sequences(struct dump *d, int64_t batch, struct k_err *err)
{
	for (int64_t i = 0, n; i < d->g->n_seq; i += n) {
		struct k_trace t;
		n = K_MIN(d->g->n_seq - i, K_MAX(batch, 1));
		int r = k_trace_run(&t, d->m, d->g->seq + i, (int)n, err);
		if (r < 0)
			return r;
		d->rows = t.rows;
		for (int s = 0; r == 0 && s < n; s++) {
			d->now = &t.v[s];
			r = layout(d, t.v[s].g, err);
		}
		k_trace_fini(&t);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_greedy(struct dump *d, struct k_err *err)
{
	size_t n = (size_t)d->g->n_greedy;
	if (!n)
		return 0;
	int32_t *ids = k_calloc(n, sizeof(*ids));
	if (!ids)
		return k_err_nomem(err, n * sizeof(*ids), "greedy tokens");
	int r = k_trace_greedy(d->m, d->g->prompt, d->g->n_prompt, ids, (int64_t)n, err);
	if (r == 0)
		r = k_sink_write(d->sink, ids, n * sizeof(*ids), err);
	k_free(ids);
	return r;
}

static int dump_run(struct k_model *m, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct dump d = { .m = m, .hp = k_model_hp(m) };
	struct k_golden *g = NULL;
	(void)rep, (void)ctx;
	if (!o->file)
		return k_err_set(err, K_EUSAGE, "dump wants -f FILE, a golden.json with sequences");
	k_buf_init(&d.head, 0);
	int r = k_golden_open(&g, o->file, d.hp->n_vocab, false, err);
	d.g = g;
	if (r == 0 && !g->n_seq && !g->n_greedy)
		r = k_err_set(err, K_ENOENT, "'%s' has nothing to run: it has no sequences, and no greedy tokens", o->file);
	d.logits = k_calloc(LOGIT_ROWS, (size_t)d.hp->n_vocab * sizeof(float));
	if (r == 0 && !d.logits)
		r = k_err_nomem(err, LOGIT_ROWS * (size_t)d.hp->n_vocab * sizeof(float), "logits");
	if (r == 0)
		r = k_sink_open(&d.sink, NULL, err);
	if (r == 0 && k_sink_is_terminal(d.sink))
		r = k_err_set(err, K_EUSAGE, "tensors are not written to a terminal; give -o FILE");
	if (r == 0)
		r = write_head(&d, err);
	if (r == 0)
		r = write_sequences(&d, o->batch, err);
	if (r == 0)
		r = write_greedy(&d, err);
	if (r == 0)
		r = k_sink_commit(d.sink, err);
	k_sink_close(d.sink);
	k_golden_close(g);
	k_buf_fini(&d.head);
	k_free(d.logits);
	return r;
}

const struct k_eval k_eval_dump = {
	.name = "dump",
	.about = "run the sequences of a golden.json (-f) and write logits, hidden rows, states and routing as safetensors (-o)",
	.fields = "",
	.writes = true,
	.run = dump_run,
};
