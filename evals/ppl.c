/* ppl.c: perplexity of a text.
 *
 *   text -> ids (no specials) -> windows of N ids, each after BOS where wanted -> nll of each scored id -> mean, exp
 *
 *   window 0  [ 0 .. N )           all are scored (without BOS all but the first)
 *   window i  [ iS .. iS + N )     the ids that no window before has scored: the last S
 *
 * Log-probabilities are taken in double from f32 logits, each by itself, and added in order: neither threads nor the batch
 * change a digit. What a window contributes is exact in its item, so that a resumed run ends with the same bytes. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/report.h"
#include "evals/corpus.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "libcore/seq.h"

enum { LOGIT_ROWS = 32 };

struct ppl {
	struct k_model *m;
	const struct k_eval_opts *o;
	const struct k_ctx *ctx;
	struct k_report *rep;
	struct k_ids ids;
	char text[65];                  /* digest of the text */
	int64_t window, stride, n_windows;
	int32_t bos;                    /* -1: none */
	float *logits;                  /* LOGIT_ROWS x vocabulary */
	int32_t *input;                 /* batch x (window + 1) */
	double nll, squares;            /* sums over all scored tokens */
	int64_t scored;
};

/* One window: ids [from, to) of the text, of which [score, to) are scored. */
struct window { int64_t from, score, to; };

static struct window window_at(const struct ppl *p, int64_t i)
{
	int64_t n = (int64_t)p->ids.n;
	struct window w = { .from = i * p->stride };
	w.to = K_MIN(w.from + p->window, n);
	w.score = i ? K_MIN((i - 1) * p->stride + p->window, n) : w.from + (p->bos < 0);
	if (p->stride == p->window && i)
		w.score = w.from + (p->bos < 0);
	return w;
}

/* --- scoring ------------------------------------------------------------------------------------------------------------- */

struct rows { const float *logits; const int32_t *want; int64_t vocab; double nll[LOGIT_ROWS]; };

static void score_row(void *arg, int64_t i, int worker)
{
	struct rows *r = arg;
	const float *x = r->logits + i * r->vocab;
	float top = x[0];
	double sum = 0;
	(void)worker;
	for (int64_t v = 1; v < r->vocab; v++)
		top = x[v] > top ? x[v] : top;
	for (int64_t v = 0; v < r->vocab; v++)
		sum += exp((double)x[v] - (double)top);
	r->nll[i] = log(sum) + (double)top - (double)x[r->want[i]];
}

/* The window's outputs begin at hidden; adds its item. */
static int score_window(struct ppl *p, int64_t i, const float *hidden, struct k_err *err)
{
	const struct k_hp *hp = k_model_hp(p->m);
	struct window w = window_at(p, i);
	struct rows rows = { .logits = p->logits, .vocab = hp->n_vocab };
	double nll = 0, squares = 0;
	for (int64_t at = w.score, n; at < w.to; at += n) {
		n = K_MIN(w.to - at, LOGIT_ROWS);
		int r = k_model_logits(p->m, hidden + (at - w.score) * hp->n_embd, n, p->logits, err);
		if (r < 0)
			return r;
		rows.want = p->ids.v + at;
		k_pool_each(p->ctx->pool, n, score_row, &rows);
		for (int64_t k = 0; k < n; k++) {
			nll += rows.nll[k];
			squares += rows.nll[k] * rows.nll[k];
		}
	}
	bool ok = isfinite(nll) && isfinite(squares);
	char key[48];
	struct k_json *item = k_json_object();
	int bad = !item || k_put_int(item, "from", w.from) | k_put_int(item, "tokens", w.to - w.score) |
		k_put_num(item, "nll", nll) | k_put_num(item, "squares", squares);
	if (bad) {
		k_json_free(item);
		item = NULL;
	}
	snprintf(key, sizeof(key), "window %lld", (long long)i);
	p->nll += nll;
	p->squares += squares;
	p->scored += w.to - w.score;
	return k_report_item(p->rep, key, item, ok, "the log-probability of a token is not finite", err);
}

static bool take_old(struct ppl *p, int64_t i)
{
	char key[48];
	snprintf(key, sizeof(key), "window %lld", (long long)i);
	const struct k_json *old = k_report_have(p->rep, key);
	if (!old)
		return false;
	bool ok = k_json_find(old, "why") == NULL;
	p->nll += ok ? k_json_number(k_json_find(old, "nll")) : NAN;
	p->squares += ok ? k_json_number(k_json_find(old, "squares")) : NAN;
	p->scored += k_json_int(k_json_find(old, "tokens"));
	return true;
}

/* Windows [first, first + n) in one batch; seqs are emptied and filled again. */
static int run_batch(struct ppl *p, struct k_seq **seqs, struct k_run *runs, int64_t first, int n, struct k_err *err)
{
	const float *hidden;
	int r = 0;
	for (int i = 0; i < n && r == 0; i++) {
		struct window w = window_at(p, first + i);
		int32_t *in = p->input + i * (p->window + 1);
		int64_t k = 0, len;
		r = k_seq_rewind(seqs[i], 0, &len, err);
		if (p->bos >= 0)
			in[k++] = p->bos;
		memcpy(in + k, p->ids.v + w.from, (size_t)(w.to - w.from) * sizeof(*in));
		/* The last id is only predicted. */
		runs[i] = (struct k_run){ seqs[i], in, k + w.to - w.from - 1, w.to - w.score };
	}
	if (r == 0)
		r = k_model_step(p->m, runs, n, &hidden, NULL, err);
	for (int i = 0; i < n && r == 0; i++) {
		r = score_window(p, first + i, hidden, err);
		hidden += runs[i].n_out * k_model_hp(p->m)->n_embd;
	}
	return r;
}

static int run_windows(struct ppl *p, struct k_err *err)
{
	int64_t batch = K_MIN(K_MAX(p->o->batch, 1), p->n_windows), i = 0;
	struct k_seq **seqs = k_calloc((size_t)batch, sizeof(*seqs));
	struct k_run *runs = k_calloc((size_t)batch, sizeof(*runs));
	size_t n_input;
	int r = 0;
	if (k_mul_size((size_t)batch, (size_t)p->window + 1, &n_input))
		p->input = k_calloc(n_input, sizeof(*p->input));
	if (!seqs || !runs || !p->input)
		r = k_err_nomem(err, (size_t)batch * 4 * (size_t)p->window, "windows");
	for (int64_t k = 0; r == 0 && k < batch; k++)
		r = k_seq_new(&seqs[k], p->m, err);
	struct k_progress meter;
	k_progress_begin(&meter, p->ctx->log, "ppl", (uint64_t)p->n_windows, "windows");
	while (r == 0 && i < p->n_windows && take_old(p, i))
		i++;
	k_progress_step(&meter, (uint64_t)i);
	for (int64_t n; r == 0 && i < p->n_windows; i += n) {
		n = K_MIN(batch, p->n_windows - i);
		r = run_batch(p, seqs, runs, i, (int)n, err);
		k_progress_step(&meter, (uint64_t)n);
	}
	k_progress_end(&meter);
	for (int64_t k = 0; seqs && k < batch; k++)
		k_seq_free(seqs[k]);
	k_free(seqs);
	k_free(runs);
	return r;
}

/* --- the run --------------------------------------------------------------------------------------------------------------- */

static int plan(struct ppl *p, struct k_err *err)
{
	int64_t n = (int64_t)p->ids.n;
	p->window = p->o->window ? p->o->window : 512;
	p->stride = p->o->stride ? p->o->stride : p->window;
	if (p->window < 2 || p->window > 1 << 24)
		return k_err_set(err, K_EUSAGE, "--window %lld: wanted 2 to %d", (long long)p->window, 1 << 24);
	if (p->stride < 1 || p->stride > p->window)
		return k_err_set(err, K_EUSAGE, "--stride %lld: wanted 1 to the window, %lld", (long long)p->stride,
			(long long)p->window);
	p->n_windows = n <= p->window ? 1 : 1 + k_div_up(n - p->window, p->stride);
	/* A last window with nothing to score (one id and no BOS) is none. */
	struct window last = window_at(p, p->n_windows - 1);
	if (last.score >= last.to)
		p->n_windows--;
	if (!p->n_windows)
		return k_err_set(err, K_EFORMAT, "'%s' has %lld tokens, there is nothing to score", p->o->file, (long long)n);
	if (p->o->limit && p->o->limit < p->n_windows)
		p->n_windows = p->o->limit;
	return 0;
}

static int put_settings(struct ppl *p, struct k_json *o)
{
	return k_put_str(o, "task", "ppl") | k_put_run(o, p->m, p->o, p->ctx) | k_put_int(o, "window", p->window) |
		k_put_int(o, "stride", p->stride) | (p->bos < 0 ? k_put_null(o, "bos_id") : k_put_int(o, "bos_id", p->bos)) |
		k_put_str(o, "text_sha256", p->text) | k_put_int(o, "text_tokens", (int64_t)p->ids.n);
}

static int summarise(struct ppl *p, struct k_err *err)
{
	struct k_json *s = k_json_object();
	double n = (double)p->scored, mean = p->nll / n, ppl = exp(mean);
	double var = n > 1 ? fmax((p->squares - n * mean * mean) / (n - 1), 0) : 0;
	int bad = !s || put_settings(p, s) | k_put_num(s, "ppl", ppl) | k_put_num(s, "ppl_stderr", ppl * sqrt(var / n)) |
		k_put_num(s, "nll", mean) | k_put_int(s, "tokens", p->scored) | k_put_int(s, "windows", p->n_windows);
	if (bad) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(p->rep, s, err);
}

static int ppl_run(struct k_model *m, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct ppl p = { .m = m, .o = o, .ctx = ctx, .rep = rep };
	if (!o->file)
		return k_err_set(err, K_EUSAGE, "ppl wants -f FILE, a text");
	k_ids_init(&p.ids);
	int r = k_corpus_read(m, o->file, &p.ids, p.text, err);
	if (r == 0)
		r = k_corpus_bos(m, o->bos, &p.bos, err);
	if (r == 0)
		r = plan(&p, err);
	if (r == 0) {
		p.logits = k_calloc(LOGIT_ROWS, (size_t)k_model_hp(m)->n_vocab * sizeof(float));
		struct k_json *head = k_json_object();
		if (!p.logits || !head || put_settings(&p, head) < 0) {
			k_json_free(head);
			r = k_err_nomem(err, LOGIT_ROWS * (size_t)k_model_hp(m)->n_vocab * sizeof(float), "logits");
		} else {
			r = k_report_item(rep, "run", head, true, NULL, err);
		}
	}
	if (r == 0)
		r = run_windows(&p, err);
	if (r == 0)
		r = summarise(&p, err);
	k_free(p.logits);
	k_free(p.input);
	k_ids_fini(&p.ids);
	return r;
}

const struct k_eval k_eval_ppl = {
	.name = "ppl",
	.about = "perplexity of a text file (-f), in windows",
	.fields = "ppl ppl_stderr nll tokens",
	.run = ppl_run,
};
