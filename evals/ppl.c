/* ppl.c: perplexity of a text: windows (windows.h) -> nll of each scored id -> mean, exp.
 *
 * Log-probabilities are taken in double from f32 logits, each by itself, and added in order: neither threads nor the batch
 * change a digit. What a window contributes is exact in its item, so that a resumed run ends with the same bytes. */
#include "libcore/base.h"
#include <math.h>
#include "evals/report.h"
#include "evals/stats.h"
#include "evals/windows.h"
#include "libcore/pool.h"
#include "libcore/sample.h"

struct ppl {
	struct k_windows w;
	struct k_report *rep;
	double nll, squares;            /* of the window at work */
};

struct rows { const float *logits; const int32_t *want; int64_t vocab; double nll[K_WINDOW_ROWS]; };

static void score_row(void *arg, int64_t i, int worker K_UNUSED)
{
	struct rows *r = arg;
	const float *x = r->logits + i * r->vocab;
	r->nll[i] = k_log_sum(x, (int32_t)r->vocab) - (double)x[r->want[i]];
}

static int add_rows(void *arg, int64_t i K_UNUSED, int64_t row K_UNUSED, int64_t n, const int32_t *want, const float *logits,
	struct k_err *err K_UNUSED)
{
	struct ppl *p = arg;
	struct rows rows = { .logits = logits, .want = want, .vocab = k_model_hp(p->w.m)->n_vocab };
	k_pool_each(p->w.ctx->pool, n, score_row, &rows);
	for (int64_t k = 0; k < n; k++) {
		p->nll += rows.nll[k];
		p->squares += rows.nll[k] * rows.nll[k];
	}
	return 0;
}

static int end_window(void *arg, int64_t i, struct k_err *err)
{
	struct ppl *p = arg;
	struct k_window w = k_window_at(&p->w, i);
	double nll = p->nll, squares = p->squares;
	char key[48];
	struct k_json *item = k_json_object();
	int bad = !item || k_put_int(item, "from", w.from) | k_put_int(item, "tokens", w.to - w.score) |
		k_put_num(item, "nll", nll) | k_put_num(item, "squares", squares);
	if (bad) {
		k_json_free(item);
		item = NULL;
	}
	p->nll = p->squares = 0;
	return k_report_item(p->rep, k_window_key(i, key), item, isfinite(nll) && isfinite(squares),
		"the log-probability of a token is not finite", err);
}

static bool take_old(struct ppl *p, int64_t i)
{
	char key[48];
	return k_report_have(p->rep, k_window_key(i, key));
}

static int summarise(const struct k_json *head K_UNUSED, const struct k_json *items, struct k_json *s, struct k_err *err)
{
	double nll = 0, squares = 0;
	int64_t tokens = 0;
	for (size_t i = 0; i < k_json_len(items); i++) {
		const struct k_json *item = k_json_at(items, i);
		nll += k_get_num(item, "nll");
		squares += k_get_num(item, "squares");
		tokens += k_get_count(item, "tokens");
	}
	double n = (double)tokens, mean = nll / n, ppl = exp(mean);
	int bad = k_put_num(s, "ppl", ppl) | k_put_num(s, "ppl_stderr", ppl * k_stats_stderr(nll, squares, tokens)) | k_put_num(s, "nll", mean) |
		k_put_int(s, "tokens", tokens) | k_put_int(s, "windows", (int64_t)k_json_len(items));
	return bad ? k_err_nomem(err, 256, "the summary") : 0;
}

static int ppl_run(struct k_model *m, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct ppl p = { .rep = rep };
	const struct k_window_use use = { add_rows, end_window, &p };
	int r = k_windows_init(&p.w, "ppl", m, o, ctx, err);
	int64_t next = p.w.first;
	if (r == 0)
		r = k_windows_begin(&p.w, NULL, rep, err);
	while (r == 0 && next < p.w.n && take_old(&p, next))
		next += p.w.step;
	if (r == 0)
		r = k_windows_run(&p.w, next, &use, err);
	if (r == 0)
		r = k_report_sum(rep, summarise, err);
	k_windows_fini(&p.w);
	return r;
}

const struct k_eval k_eval_ppl = {
	.name = "ppl",
	.about = "perplexity of a text file (-f), in windows",
	.fields = "ppl ppl_stderr nll tokens",
	.run = ppl_run,
	.summarise = summarise,
};
