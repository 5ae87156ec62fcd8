/* windows.c: see windows.h. Cuts and batches do not change a bit of a logit, so neither does the batch of a task. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/corpus.h"
#include "evals/report.h"
#include "evals/windows.h"
#include "libcore/log.h"
#include "libcore/seq.h"

struct k_window k_window_at(const struct k_windows *p, int64_t i)
{
	int64_t n = (int64_t)p->ids.n;
	struct k_window w = { .from = i * p->stride };
	w.to = K_MIN(w.from + p->window, n);
	w.score = i ? K_MIN((i - 1) * p->stride + p->window, n) : w.from + (p->bos < 0);
	if (p->stride == p->window && i)
		w.score = w.from + (p->bos < 0);
	return w;
}

const char *k_window_key(int64_t i, char key[48])
{
	snprintf(key, 48, "window %lld", (long long)i);
	return key;
}

static int plan(struct k_windows *p, struct k_err *err)
{
	int64_t n = (int64_t)p->ids.n;
	p->window = p->o->window ? p->o->window : 512;
	p->stride = p->o->stride ? p->o->stride : p->window;
	if (p->window < 2 || p->window > 1 << 24)
		return k_err_set(err, K_EUSAGE, "--window %lld: wanted 2 to %d", (long long)p->window, 1 << 24);
	if (p->stride < 1 || p->stride > p->window)
		return k_err_set(err, K_EUSAGE, "--stride %lld: wanted 1 to the window, %lld", (long long)p->stride,
			(long long)p->window);
	p->n = n <= p->window ? 1 : 1 + k_div_up(n - p->window, p->stride);
	/* A last window with nothing to score (one id and no BOS) is none. */
	struct k_window last = k_window_at(p, p->n - 1);
	if (last.score >= last.to)
		p->n--;
	if (!p->n)
		return k_err_set(err, K_EFORMAT, "'%s' has %lld tokens, there is nothing to score", p->o->file, (long long)n);
	if (p->o->limit && p->o->limit < p->n)
		p->n = p->o->limit;
	p->first = K_MAX(p->o->part - 1, 0);
	p->step = K_MAX(p->o->parts, 1);
	return 0;
}

int k_windows_init(struct k_windows *w, const char *task, struct k_model *m, const struct k_eval_opts *o, const struct k_ctx *ctx,
	struct k_err *err)
{
	*w = (struct k_windows){ .task = task, .m = m, .o = o, .ctx = ctx };
	k_ids_init(&w->ids);
	if (!o->file)
		return k_err_set(err, K_EUSAGE, "%s wants -f FILE, a text", task);
	int r = k_corpus_read(m, o->file, &w->ids, w->text, err);
	if (r == 0)
		r = k_corpus_bos(m, o->bos, &w->bos, err);
	return r < 0 ? r : plan(w, err);
}

void k_windows_fini(struct k_windows *w) { k_ids_fini(&w->ids); }

int k_windows_put(const struct k_windows *w, struct k_json *o)
{
	return k_put_str(o, "task", w->task) | k_put_run(o, w->m, w->o, w->ctx) | k_put_int(o, "window", w->window) |
		k_put_int(o, "stride", w->stride) | (w->bos < 0 ? k_put_null(o, "bos_id") : k_put_int(o, "bos_id", w->bos)) |
		k_put_str(o, "text_sha256", w->text) | k_put_int(o, "text_tokens", (int64_t)w->ids.n);
}

int k_windows_begin(const struct k_windows *w, const char *ref, struct k_report *rep, struct k_err *err)
{
	struct k_json *head = k_json_object();
	if (head && (k_windows_put(w, head) | (ref ? k_put_str(head, "ref_sha256", ref) : 0) | k_put_part(head, w->o)) == 0)
		return k_report_item(rep, "run", head, true, NULL, err);
	k_json_free(head);
	return k_err_nomem(err, 1024, "the report");
}

/* --- the run --------------------------------------------------------------------------------------------------------------- */

/* What a run holds: sequences that are emptied and filled again, their inputs, some logits. */
struct work { struct k_seq **seqs; struct k_run *runs; int32_t *input; float *logits; int64_t batch; };

static int hand_over(struct k_windows *w, const struct work *k, int64_t i, const float *hidden, const struct k_window_use *use,
	struct k_err *err)
{
	const struct k_hp *hp = k_model_hp(w->m);
	struct k_window win = k_window_at(w, i);
	int r = 0;
	for (int64_t at = win.score, n; at < win.to && r == 0; at += n) {
		n = K_MIN(win.to - at, K_WINDOW_ROWS);
		r = k_model_logits(w->m, hidden + (at - win.score) * hp->n_embd, n, k->logits, err);
		if (r == 0)
			r = use->rows(use->arg, i, at - win.score, n, w->ids.v + at, k->logits, err);
	}
	return r < 0 ? r : use->done(use->arg, i, err);
}

static int run_batch(struct k_windows *w, const struct work *k, int64_t first, int n, const struct k_window_use *use, struct k_err *err)
{
	const float *hidden;
	int r = 0;
	for (int i = 0; i < n && r == 0; i++) {
		struct k_window win = k_window_at(w, first + i * w->step);
		int32_t *in = k->input + i * (w->window + 1);
		int64_t m = 0, len;
		r = k_seq_rewind(k->seqs[i], 0, &len, err);
		if (w->bos >= 0)
			in[m++] = w->bos;
		memcpy(in + m, w->ids.v + win.from, (size_t)(win.to - win.from) * sizeof(*in));
		/* The last id is only predicted. */
		k->runs[i] = (struct k_run){ k->seqs[i], in, m + win.to - win.from - 1, win.to - win.score };
	}
	if (r == 0)
		r = k_model_step(w->m, k->runs, n, &hidden, NULL, err);
	for (int i = 0; i < n && r == 0; i++) {
		r = hand_over(w, k, first + i * w->step, hidden, use, err);
		hidden += k->runs[i].n_out * k_model_hp(w->m)->n_embd;
	}
	return r;
}

static int work_init(struct work *k, const struct k_windows *w, struct k_err *err)
{
	size_t n_input, n_logits;
	int r = 0;
	k->batch = K_MIN(K_MAX(w->o->batch, 1), w->n);
	k->seqs = k_calloc((size_t)k->batch, sizeof(*k->seqs));
	k->runs = k_calloc((size_t)k->batch, sizeof(*k->runs));
	if (k_mul_size((size_t)k->batch, (size_t)w->window + 1, &n_input))
		k->input = k_calloc(n_input, sizeof(*k->input));
	if (k_mul_size(K_WINDOW_ROWS, (size_t)k_model_hp(w->m)->n_vocab, &n_logits))
		k->logits = k_calloc(n_logits, sizeof(*k->logits));
	if (!k->seqs || !k->runs || !k->input || !k->logits)
		r = k_err_nomem(err, (size_t)k->batch * 4 * (size_t)w->window, "windows");
	for (int64_t i = 0; r == 0 && i < k->batch; i++)
		r = k_seq_new(&k->seqs[i], w->m, err);
	return r;
}

static void work_fini(struct work *k)
{
	for (int64_t i = 0; k->seqs && i < k->batch; i++)
		k_seq_free(k->seqs[i]);
	k_free(k->seqs);
	k_free(k->runs);
	k_free(k->input);
	k_free(k->logits);
}

int k_windows_run(struct k_windows *w, int64_t first, const struct k_window_use *use, struct k_err *err)
{
	struct work k = { 0 };
	struct k_progress meter;
	int r = work_init(&k, w, err);
	k_progress_begin(&meter, w->ctx->log, w->task, (uint64_t)k_div_up(K_MAX(w->n - w->first, 0), w->step), "windows");
	k_progress_step(&meter, (uint64_t)((first - w->first) / w->step));
	for (int64_t i = first, n; r == 0 && i < w->n; i += n * w->step) {
		n = K_MIN(k.batch, k_div_up(w->n - i, w->step));
		r = run_batch(w, &k, i, (int)n, use, err);
		k_progress_step(&meter, (uint64_t)n);
	}
	k_progress_end(&meter);
	work_fini(&k);
	return r;
}
