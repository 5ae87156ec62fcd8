/* asker_model.c: a model in this process answers, many questions at once.
 *
 *   SCORE   context + continuation -> ids --one step--> rows that predict the continuation -> sum of log-probabilities
 *   CHAT    messages --layout--> ids \                     parser -> message, calls
 *   TEXT    prompt -----------> ids --> steps, sampled --> decoder -> text
 *
 * Each question has a sequence of its own that begins empty, so neither its neighbours nor what was asked before change a digit. Only a
 * session goes on with what its sequence holds. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/asker.h"
#include "evals/answer.h"
#include "evals/report.h"
#include "evals/settings.h"
#include "libcore/ctx.h"
#include "libcore/log.h"
#include "libcore/seq.h"

enum { LOGIT_ROWS = 32, DEFAULT_TOKENS = 1024 };

struct slot {
	struct k_ask *q;
	struct k_seq *seq;              /* kept from question to question */
	struct k_ids in, out;           /* tokens to compute next; tokens made */
	int64_t n_prompt, n_in, cached;
	struct k_settings set;
	struct k_answer reply;           /* its parser: CHAT; its text: TEXT too */
	struct k_decoder dec;           /* TEXT */
	const char *why;
	bool active;
};

struct local {
	struct k_asker base;
	struct k_model *m;
	const struct k_tokenizer *tok;
	const struct k_layout *layout;  /* NULL: no chat */
	const struct k_eval_opts *o;
	const struct k_ctx *ctx;
	struct k_ids stops;
	struct slot *slot;
	struct k_run *runs;
	float *logits;                  /* LOGIT_ROWS x vocabulary */
	void *scratch;
};

/* Is it the question's own fault? Everything else ends the run. */
static bool is_its_own(int code) { return code == K_EFORMAT || code == K_EUSAGE || code == K_EUNSUP; }

static int64_t vocab_of(const struct local *l) { return k_model_hp(l->m)->n_vocab; }

/* --- scores --------------------------------------------------------------------------------------------------------------------- */

/* ids of the whole; *first: where the continuation begins. */
static int encode_score(const struct local *l, const struct k_ask *q, struct k_ids *ids, int64_t *first, struct k_err *err)
{
	struct k_buf whole;
	struct k_ids context;
	size_t n = k_ask_context_len(q);
	k_buf_init(&whole, 0);
	k_ids_init(&context);
	k_buf_puts(&whole, q->context);
	k_buf_puts(&whole, q->continuation);
	int r = k_buf_ok(&whole, "a text", err);
	if (r == 0)
		r = k_tokenizer_encode(l->tok, whole.data, whole.len, K_ENC_SPECIALS, ids, err);
	if (r == 0)
		r = k_tokenizer_encode(l->tok, q->context, n, K_ENC_SPECIALS, &context, err);
	*first = (int64_t)context.n;
	if (r == 0 && (*first < 1 || *first >= (int64_t)ids->n))
		r = k_err_set(err, K_EFORMAT, "a context of %lld and a text of %zu tokens, wanted one or more of context and of what follows",
			(long long)*first, ids->n);
	k_ids_fini(&context);
	k_buf_fini(&whole);
	return r;
}

/* Adds token id of a row to the question. A model's logits need not be numbers: then the question fails, and the run goes on. */
static void score_row(struct k_ask *q, const float *row, int32_t vocab, int32_t id)
{
	struct k_top top;
	double all = k_log_sum(row, vocab), logprob = (double)row[id] - all;
	if (!isfinite(all) || !isfinite(logprob)) {
		k_err_set(&q->err, K_EFORMAT, "the log-probability of token %d of the continuation is not finite", (int)q->tokens);
		return;
	}
	q->logprob += (double)(float)logprob;
	k_logprob_top(row, vocab, &top, 1);
	q->greedy &= row[top.id] <= row[id];
	q->tokens++;
}

/* hidden: the rows that predict in[first..). */
static int score_rows(struct local *l, struct slot *s, const float *hidden, int64_t first, struct k_err *err)
{
	const struct k_hp *hp = k_model_hp(l->m);
	s->q->greedy = true;
	for (int64_t at = first, n; at < (int64_t)s->in.n && !s->q->err.code; at += n, hidden += n * hp->n_embd) {
		n = K_MIN((int64_t)s->in.n - at, LOGIT_ROWS);
		int r = k_model_logits(l->m, hidden, n, l->logits, err);
		if (r < 0)
			return r;
		for (int64_t k = 0; k < n && !s->q->err.code; k++)
			score_row(s->q, l->logits + k * hp->n_vocab, (int32_t)hp->n_vocab, s->in.v[at + k]);
	}
	return 0;
}

static int score(struct local *l, struct k_ask *v, int64_t n, struct k_err *err)
{
	int64_t first[n], len;
	const float *hidden;
	int n_runs = 0, r = 0;
	for (int64_t i = 0; i < n && r == 0; i++) {
		struct slot *s = &l->slot[i];
		s->q = &v[i];
		s->in.n = 0;
		r = encode_score(l, s->q, &s->in, &first[i], err);
		if (is_its_own(r)) {
			s->q->err = *err;
			r = 0;
			continue;
		}
		if (r < 0)
			return r;
		r = k_seq_rewind(s->seq, 0, &len, err);
		l->runs[n_runs++] = (struct k_run){ s->seq, s->in.v, (int64_t)s->in.n - 1, (int64_t)s->in.n - first[i] };
	}
	if (r == 0 && n_runs)
		r = k_model_step(l->m, l->runs, n_runs, &hidden, NULL, err);
	for (int64_t i = 0; i < n && r == 0; i++) {
		struct slot *s = &l->slot[i];
		if (s->q->err.code)
			continue;
		r = score_rows(l, s, hidden, first[i], err);
		hidden += ((int64_t)s->in.n - first[i]) * k_model_hp(l->m)->n_embd;
	}
	return r;
}

/* --- a request is read ------------------------------------------------------------------------------------------------------------ */

/* As thinking says it, which chat layouts read. */
static int drop_thoughts(struct k_json *request, struct k_err *err)
{
	if (!k_settings_thoughtless(request))
		return 0;
	struct k_json *off = k_json_object();
	return (k_put_str(off, "type", "disabled") | k_json_set(request, "thinking", off)) < 0 ? k_err_nomem(err, 64, "a request") : 0;
}

static int begin_chat(struct local *l, struct slot *s, struct k_err *err)
{
	struct k_json *rq = s->q->request;
	struct k_prompt p;
	if (!l->layout)
		return k_err_set(err, K_EUNSUP, "the model's chat layout is not known");
	int r = drop_thoughts(rq, err);
	k_prompt_init(&p);
	if (r == 0)
		r = k_chat_render(l->layout, l->tok, rq, false, &p, err);
	if (r == 0)
		r = k_ids_add(&s->in, p.ids.v, p.ids.n, err);
	if (r == 0)
		r = k_answer_begin(&s->reply, l->layout, l->tok, rq, err);
	k_prompt_fini(&p);
	return r;
}

static int begin_text(struct local *l, struct slot *s, struct k_err *err)
{
	const struct k_json *p = k_json_find(s->q->request, "prompt");
	if (!k_json_string(p))
		return k_err_set(err, K_EFORMAT, "prompt is %s, wanted a string", k_json_kind_name(p));
	k_decoder_init(&s->dec, l->tok, false);
	return k_tokenizer_encode(l->tok, k_json_string(p), k_json_len(p), K_ENC_SPECIALS | K_ENC_ADD, &s->in, err);
}

static int begin(struct local *l, struct slot *s, struct k_ask *q, struct k_err *err)
{
	int64_t kept = 0;
	s->q = q;
	s->in.n = s->out.n = 0;
	s->why = NULL;
	int r = k_answer_reset(&s->reply, err);
	if (r == 0)
		r = k_settings_read(&s->set, q->request, q->kind == K_ASK_CHAT, l->o->seed, err);
	if (r == 0)
		r = q->kind == K_ASK_CHAT ? begin_chat(l, s, err) : begin_text(l, s, err);
	if (r == 0 && !s->in.n)
		r = k_err_set(err, K_EFORMAT, "the prompt is empty");
	if (r == 0)
		r = q->session ? k_seq_sync(s->seq, s->in.v, (int64_t)s->in.n, &kept, err) : k_seq_rewind(s->seq, 0, &kept, err);
	s->n_prompt = (int64_t)s->in.n;
	s->set.limit = s->set.limit ? s->set.limit : DEFAULT_TOKENS;
	s->set.sampler.prompt = s->in.v;
	s->set.sampler.n_prompt = s->in.n;
	s->cached = kept;
	s->active = r == 0;
	return r;
}

/* --- tokens ----------------------------------------------------------------------------------------------------------------------- */

static bool is_stop(const struct local *l, int32_t id)
{
	for (size_t i = 0; i < l->stops.n; i++)
		if (l->stops.v[i] == id)
			return true;
	return false;
}

/* Cuts the text where the first stop string begins. */
static bool cut_at_stop(struct slot *s)
{
	struct k_buf *text = &s->reply.text;
	size_t at = text->len;
	for (int i = 0; i < s->set.n_stops; i++) {
		const char *stop = s->set.stops[i], *p = text->len ? memmem(text->data, text->len, stop, strlen(stop)) : NULL;
		if (p)
			at = K_MIN(at, (size_t)(p - text->data));
	}
	if (at == text->len)
		return false;
	text->len = at;
	text->data[at] = 0;
	return true;
}

static int finish(struct slot *s, const char *why, struct k_err *err)
{
	int r = 0;
	s->why = why;
	s->active = false;
	if (s->reply.parser)
		r = k_answer_end(&s->reply, &s->why, err);
	else
		k_decoder_end(&s->dec, &s->reply.text);
	return r;
}

/* A model's logits need not be numbers: what is a bug to the sampler is wrong with this answer alone. */
static int32_t sample(struct local *l, struct slot *s, const float *logits, struct k_err *err)
{
	int32_t id = k_sample(&s->set.sampler, logits, (int32_t)vocab_of(l), l->scratch, err);
	return id == K_EBUG ? err->code = K_EFORMAT : id;
}

/* id: what the device chose; -1: nothing. */
static int one_token(struct local *l, struct slot *s, int32_t id, const float *logits, struct k_err *err)
{
	if (id < 0)
		id = sample(l, s, logits, err);
	int r = id < 0 ? id : k_ids_put(&s->out, id, err);
	if (r < 0)
		return r;
	if (is_stop(l, id))
		return finish(s, "stop", err);
	if (s->reply.parser)
		r = k_parser_put(s->reply.parser, id, err);
	else
		k_decoder_put(&s->dec, id, &s->reply.text);
	if (r < 0)
		return r;
	if (cut_at_stop(s)) {
		s->active = false;
		s->why = "stop";
	} else if ((int64_t)s->out.n >= s->set.limit) {
		return finish(s, "length", err);
	}
	return 0;
}

/* Of those in active[0..k), each its token. What is wrong with one of them ends that one. */
static int put_tokens(struct local *l, struct slot *const *active, int k, const int32_t *ids, struct k_err *err)
{
	int r = 0;
	for (int j = 0; j < k && r == 0; j++) {
		struct slot *s = active[j];
		r = one_token(l, s, ids[j], l->logits + j * vocab_of(l), err);
		if (!is_its_own(r))
			continue;
		s->q->err = *err;
		s->active = false;
		r = 0;
	}
	return r;
}

/* One step of all that are not done: the prompt at first, then a token each. */
static int step(struct local *l, int64_t n, struct k_err *err)
{
	const struct k_hp *hp = k_model_hp(l->m);
	struct slot *active[n];
	const float *hidden;
	int n_runs = 0;
	for (int64_t i = 0; i < n; i++) {
		struct slot *s = &l->slot[i];
		if (!s->active)
			continue;
		int64_t have = k_seq_len(s->seq);
		const int32_t *ids = s->out.n ? &s->out.v[s->out.n - 1] : s->in.v + have;
		active[n_runs] = s;
		l->runs[n_runs++] = (struct k_run){ s->seq, ids, s->out.n ? 1 : s->n_prompt - have, 1 };
	}
	int r = k_model_step(l->m, l->runs, n_runs, &hidden, NULL, err);
	for (int i = 0; i < n_runs && r == 0; i++)
		if (active[i]->q->session && !active[i]->out.n)
			r = k_seq_mark(active[i]->seq, err);
	for (int i = 0, k; i < n_runs && r == 0; i += k) {
		const struct k_draw *use[LOGIT_ROWS];
		struct k_draw draw[LOGIT_ROWS];
		int32_t ids[LOGIT_ROWS];
		k = K_MIN(n_runs - i, LOGIT_ROWS);
		for (int j = 0; j < k; j++) {
			struct slot *s = active[i + j];
			s->set.sampler.out = s->out.v;
			s->set.sampler.n_out = s->out.n;
			use[j] = k_sample_draw(&s->set.sampler, &draw[j]) ? &draw[j] : NULL;
		}
		r = k_model_choose(l->m, hidden + i * hp->n_embd, k, use, ids, l->logits, err);
		if (r == 0)
			r = put_tokens(l, active + i, k, ids, err);
	}
	return r;
}

/* --- answers ---------------------------------------------------------------------------------------------------------------------- */

/* {"choices":[{"index","message" or "text","finish_reason"}],"usage"} */
static int answer(struct slot *s, struct k_err *err)
{
	struct k_json *o = k_json_object(), *list = k_json_array(), *choice = k_json_object(), *usage = k_json_object(), *details = k_json_object();
	const struct k_buf *text = &s->reply.text;
	bool chat = s->q->kind == K_ASK_CHAT;
	int bad = text->failed || !o || !list || !choice || !usage || !details;
	if (!bad) {
		bad = k_put_int(choice, "index", 0) | (chat ? k_json_set(choice, "message", k_answer_message(&s->reply))
			: k_json_set(choice, "text", k_json_new_string(text->len ? text->data : "", text->len))) |
			k_put_str(choice, "finish_reason", s->why) | k_json_push(list, choice) | k_json_set(o, "choices", list) |
			k_put_int(usage, "prompt_tokens", s->n_prompt) | k_put_int(usage, "completion_tokens", (int64_t)s->out.n) |
			k_put_int(usage, "total_tokens", s->n_prompt + (int64_t)s->out.n) | k_put_int(details, "cached_tokens", s->cached) |
			k_json_set(usage, "prompt_tokens_details", details) | k_json_set(o, "usage", usage);
	} else {
		k_json_free(list);
		k_json_free(choice);
		k_json_free(usage);
		k_json_free(details);
	}
	if (bad) {
		k_json_free(o);
		return k_err_nomem(err, text->len, "an answer");
	}
	s->q->answer = o;
	return 0;
}

static int generate(struct local *l, struct k_ask *v, int64_t n, struct k_err *err)
{
	uint64_t start = k_now_ns();
	bool any = false;
	int r = 0;
	for (int64_t i = 0; i < n && r == 0; i++) {
		r = begin(l, &l->slot[i], &v[i], err);
		any |= r == 0;
		if (is_its_own(r)) {
			v[i].err = *err;
			r = 0;
		}
	}
	while (any && r == 0) {
		r = k_ctx_check(l->ctx, err);
		if (r == 0)
			r = step(l, n, err);
		any = false;
		for (int64_t i = 0; i < n && r == 0; i++) {
			struct slot *s = &l->slot[i];
			any |= s->active;
			if (s->active || s->q->answer || s->q->err.code)
				continue;
			r = answer(s, err);
			s->q->seconds = (double)(k_now_ns() - start) * 1e-9;
		}
	}
	return r;
}

/* --- the asker -------------------------------------------------------------------------------------------------------------------- */

static int local_ask(struct k_asker *a, struct k_ask *v, int64_t n, struct k_err *err)
{
	struct local *l = (struct local *)a;
	int r = 0;
	for (int64_t i = 0, k; i < n && r == 0; i += k) {
		bool scores = v[i].kind == K_ASK_SCORE;
		for (k = 1; i + k < n && k < a->width && (v[i + k].kind == K_ASK_SCORE) == scores; )
			k++;
		r = k_ctx_check(l->ctx, err);
		if (r == 0)
			r = scores ? score(l, v + i, k, err) : generate(l, v + i, k, err);
	}
	return r;
}

static int local_count(struct k_asker *a, const char *text, size_t n, int64_t *tokens, struct k_err *err)
{
	struct k_ids ids;
	k_ids_init(&ids);
	int r = k_tokenizer_encode(((struct local *)a)->tok, text, n, 0, &ids, err);
	*tokens = (int64_t)ids.n;
	k_ids_fini(&ids);
	return r;
}

static int local_put_run(struct k_asker *a, struct k_json *o)
{
	struct local *l = (struct local *)a;
	return k_put_run(o, l->m, l->o, l->ctx);
}

static void local_close(struct k_asker *a)
{
	struct local *l = (struct local *)a;
	for (int64_t i = 0; l->slot && i < a->width; i++) {
		struct slot *s = &l->slot[i];
		k_seq_free(s->seq);
		k_ids_fini(&s->in);
		k_ids_fini(&s->out);
		k_answer_fini(&s->reply);
	}
	k_ids_fini(&l->stops);
	k_free(l->slot);
	k_free(l->runs);
	k_free(l->logits);
	k_free(l->scratch);
	k_free(l);
}

static int set_up(struct local *l, struct k_err *err)
{
	const char *why;
	size_t vocab = (size_t)vocab_of(l), width = (size_t)l->base.width;
	l->tok = k_model_tokenizer(l->m, &why);
	if (!l->tok)
		return k_err_set(err, K_ENOENT, "questions need a tokenizer: %s", why);
	l->layout = k_layout_match(k_model_files(l->m), err);
	l->slot = k_calloc(width, sizeof(*l->slot));
	l->runs = k_calloc(width, sizeof(*l->runs));
	l->logits = k_calloc(LOGIT_ROWS * vocab, sizeof(*l->logits));
	l->scratch = k_calloc(vocab, 16);
	if (!l->slot || !l->runs || !l->logits || !l->scratch)
		return k_err_nomem(err, LOGIT_ROWS * vocab * sizeof(float), "logits");
	for (size_t i = 0; i < width; i++) {
		k_answer_init(&l->slot[i].reply);
		int r = k_seq_new(&l->slot[i].seq, l->m, err);
		if (r < 0)
			return r;
	}
	return k_chat_stops(l->tok, k_model_files(l->m), &l->stops, err);
}

int k_asker_model(struct k_asker **out, struct k_model *m, const struct k_eval_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct local *l = k_calloc(1, sizeof(*l));
	*out = NULL;
	if (!l)
		return k_err_nomem(err, sizeof(*l), "an asker");
	l->base = (struct k_asker){ .width = K_MAX(o->batch, 1), .talks = true, .ask = local_ask, .count = local_count, .put_run = local_put_run, .close = local_close };
	l->m = m;
	l->o = o;
	l->ctx = ctx;
	int r = set_up(l, err);
	if (r < 0) {
		local_close(&l->base);
		return r;
	}
	*out = &l->base;
	return 0;
}
