/* agent.c: drives a tool loop: one call a turn, its result, the next call, hundreds of times in one conversation.
 *
 *   user, tools --> answer: one call? name declared, arguments fit the schema (and are the script's), id in its form and new
 *        ^--------- call and result are appended; the prompt grows by them alone, so a server need not compute more than they are
 *
 * A turn is an item that holds the message of the model, so that a resumed run has the conversation. Times are in the summary only where a server
 * answers, and only those of turns that this run has asked for. */
#include "libcore/base.h"
#include <inttypes.h>
#include <stdio.h>
#include "evals/asker.h"
#include "evals/report.h"
#include "evals/stats.h"
#include "evals/validate.h"
#include "evals/world.h"
#include "libcore/ctx.h"
#include "libcore/log.h"

enum { TURN_TOKENS = 512, TIMED = 64 };

struct agent {
	struct k_asker *a;
	const struct k_eval_opts *o;
	struct k_report *rep;
	const struct k_ctx *ctx;
	struct k_world w;
	struct k_json *messages, *ids;  /* ids: those that were used, as members */
	int64_t steps, invalid, wrong, tokens, cached, refills;
	bool completed;
	double *seconds;                /* of each turn; 0: not asked by this run */
};

/* --- the conversation ------------------------------------------------------------------------------------------------------------------ */

static int say(struct agent *g, const char *role, const char *text, const char *id)
{
	struct k_json *m = k_json_object();
	if (!m)
		return -1;
	int bad = k_put_str(m, "role", role) | (id ? k_put_str(m, "tool_call_id", id) : 0) | k_put_str(m, "content", text);
	return k_json_push(g->messages, m) | bad;
}

static struct k_json *make_request(struct agent *g, int64_t step)
{
	struct k_json *o = k_json_object(), *choice = step < g->w.n_steps ? k_world_choice(&g->w, step) : NULL;
	if (o && (k_json_set(o, "messages", k_json_copy(g->messages)) | k_json_set(o, "tools", k_json_keep(g->w.tools)) |
		k_put_int(o, "temperature", 0) | k_put_int(o, "max_tokens", TURN_TOKENS) | k_put_int(o, "seed", g->o->seed)) == 0 &&
		(!choice || k_json_set(o, "tool_choice", choice) == 0))
		return o;
	if (!o)
		k_json_free(choice);
	k_json_free(o);
	return NULL;
}

/* --- a call is judged -------------------------------------------------------------------------------------------------------------------- */

/* functions.NAME:N, or what another vendor makes of it: not empty, and never the same twice. */
static int check_id(struct agent *g, const char *id, const char *name, struct k_err *err)
{
	size_t n = strlen(name);
	bool ours = id && !strncmp(id, "functions.", 10);
	if (!id || !*id)
		return k_err_set(err, K_ENO, "the call has no id");
	if (k_json_find(g->ids, id))
		return k_err_set(err, K_ENO, "the id '%.100s' was there before", id);
	if (ours && (strncmp(id + 10, name, n) || id[10 + n] != ':' || !id[11 + n] || id[11 + n + strspn(id + 11 + n, "0123456789")]))
		return k_err_set(err, K_ENO, "the id is '%.100s', wanted functions.%.60s:N", id, name);
	return k_put_bool(g->ids, id, true) < 0 ? k_err_nomem(err, 64, "ids") : 0;
}

/* 0, K_ENO with the reason (*wrong: valid, but not what the script wants), or an error. */
static int check_call(struct agent *g, int64_t step, const struct k_json *message, bool *wrong, struct k_err *err)
{
	const struct k_json *calls = k_json_find(message, "tool_calls"), *call = k_json_at(calls, 0), *f = k_json_find(call, "function");
	const char *name = k_json_string(k_json_find(f, "name")), *text = k_json_string(k_json_find(f, "arguments"));
	const struct k_json *schema = k_world_schema(g->w.tools, name), *wanted = k_world_wanted(&g->w, step);
	struct k_json *args;
	if (k_json_len(calls) != 1)
		return k_err_set(err, K_ENO, "%zu calls, wanted one", k_json_len(calls));
	if (!name || !schema)
		return k_err_set(err, K_ENO, "'%.100s' is called, which is not declared", name ? name : "");
	if (!text || k_json_parse(&args, text, strlen(text), K_JSON_LAST_WINS, "the arguments", err) < 0)
		return k_err_set(err, K_ENO, "the arguments of '%.60s' are no JSON: %.200s", name, text ? text : "(none)");
	int r = k_json_kind(args) == K_JSON_OBJECT ? k_validate(schema, args, err) : k_err_set(err, K_ENO, "the arguments are %s, wanted an object",
		k_json_kind_name(args));
	r = r == 1 ? 0 : r == 0 ? K_ENO : r;
	if (r == 0)
		r = check_id(g, k_json_string(k_json_find(call, "id")), name, err);
	if (r == 0 && wanted && !k_json_equal(args, wanted)) {
		*wrong = true;
		r = k_err_set(err, K_ENO, "the arguments are %.200s, the script has others", text);
	}
	k_json_free(args);
	return r;
}

/* The model's message and the result of its call go into the conversation. */
static int append(struct agent *g, int64_t step, const struct k_json *message, struct k_err *err)
{
	const char *id = k_json_string(k_json_find(k_json_at(k_json_find(message, "tool_calls"), 0), "id"));
	struct k_buf b;
	k_buf_init(&b, 0);
	k_world_result(&g->w, step, &b);
	int bad = b.failed || k_json_push(g->messages, k_json_copy(message)) < 0 || say(g, "tool", b.data, id ? id : "") < 0;
	k_buf_fini(&b);
	return bad ? k_err_nomem(err, 256, "the conversation") : 0;
}

/* --- a turn -------------------------------------------------------------------------------------------------------------------------------- */

/* What the tally needs of a reported turn. */
static void tally(struct agent *g, const struct k_json *item)
{
	const struct k_json *cached = k_json_find(item, "cached_tokens");
	g->steps++;
	g->invalid += k_json_bool(k_json_find(item, "invalid"));
	g->wrong += k_json_bool(k_json_find(item, "wrong"));
	g->tokens += k_get_count(item, "completion_tokens");
	if (!cached)
		return;
	g->refills += g->steps > 1 && k_json_int(cached) <= g->cached;
	g->cached = k_json_int(cached);
}

static struct k_json *make_item(struct agent *g, const struct k_json *answer, const struct k_json *message, bool invalid, bool wrong)
{
	struct k_json *o = k_json_object();
	const struct k_json *usage = k_json_find(answer, "usage"), *details = k_json_find(usage, "prompt_tokens_details");
	const struct k_json *cached = k_json_find(details, "cached_tokens");
	if (!cached)
		cached = k_json_find(usage, "cached_tokens");
	int bad = !o || k_put_bool(o, "invalid", invalid) | k_put_bool(o, "wrong", wrong) | (message ? k_json_set(o, "message", k_json_copy(message)) : 0) |
		k_put_int(o, "prompt_tokens", k_get_count(usage, "prompt_tokens")) |
		k_put_int(o, "completion_tokens", k_get_count(usage, "completion_tokens"));
	/* What a model in the process keeps depends on whether the run was resumed. */
	if (!bad && g->a->served && cached)
		bad = k_put_int(o, "cached_tokens", k_json_int(cached));
	if (!bad)
		return o;
	k_json_free(o);
	return NULL;
}

/* A turn that an earlier run left. 1: it was there. */
static int take_old(struct agent *g, int64_t step, const char *key, struct k_err *err)
{
	const struct k_json *old = k_report_have(g->rep, key), *message = k_json_find(old, "message");
	const char *id = k_json_string(k_json_find(k_json_at(k_json_find(message, "tool_calls"), 0), "id"));
	if (!old)
		return 0;
	tally(g, old);
	if (step == g->w.n_steps) {
		g->completed = !k_json_find(old, "why");
		return 1;
	}
	if (id && k_put_bool(g->ids, id, true) < 0)
		return k_err_nomem(err, 64, "ids");
	int r = append(g, step, message, err);
	return r < 0 ? r : 1;
}

static int ask(struct agent *g, int64_t step, struct k_ask *q, struct k_err *err)
{
	*q = (struct k_ask){ .kind = K_ASK_CHAT, .session = true, .request = make_request(g, step) };
	snprintf(q->id, sizeof(q->id), "turn %" PRId64, step);
	if (!q->request)
		return k_err_nomem(err, 4096, "a request");
	int r = g->a->ask(g->a, q, 1, err);
	g->seconds[step] = q->seconds;
	return r;
}

/* 1: the conversation can go on; 0: it is over. */
static int turn(struct agent *g, int64_t step, struct k_err *err)
{
	struct k_ask q;
	struct k_err why = { 0 };
	bool wrong = false, last = step == g->w.n_steps;
	char key[48];
	snprintf(key, sizeof(key), last ? "end" : "turn %" PRId64, step);
	int r = take_old(g, step, key, err);
	if (r)
		return r;
	r = ask(g, step, &q, err);
	const struct k_json *message = k_json_find(k_json_at(k_json_find(q.answer, "choices"), 0), "message");
	const char *content = k_json_string(k_json_find(message, "content"));
	if (r < 0)
		goto out;
	if (q.err.code)
		r = k_err_set(&why, K_ENO, "%s", q.err.msg);
	else if (!last)
		r = check_call(g, step, message, &wrong, &why);
	else if (!content || strcmp(content, g->w.final) || k_json_len(k_json_find(message, "tool_calls")))
		r = k_err_set(&why, K_ENO, "the end is '%.120s', wanted '%.120s'", content ? content : "", g->w.final);
	if (r < 0 && r != K_ENO) {
		*err = why;
		goto out;
	}
	bool go_on = r == 0 || (message && !last && k_json_len(k_json_find(message, "tool_calls")) == 1);
	g->completed = last && r == 0;
	struct k_json *item = make_item(g, q.answer, message, message && r < 0 && !last && !wrong, wrong);
	if (item)
		tally(g, item);
	r = k_report_item(g->rep, key, item, r == 0, why.msg, err);
	if (r == 0 && go_on && !last)
		r = append(g, step, message, err);
	r = r < 0 ? r : go_on;
out:
	k_ask_fini(&q);
	return r;
}

/* --- the run --------------------------------------------------------------------------------------------------------------------------------- */

/* Median of n turns; 0: they were not asked by this run. */
static double median_of(const struct agent *g, int64_t from, int64_t n)
{
	double v[TIMED];
	for (int64_t i = 0; i < n; i++) {
		v[i] = from + i < 0 || from + i >= g->w.n_steps ? 0 : g->seconds[from + i];
		if (v[i] <= 0)
			return 0;
	}
	k_stats_sort(v, (size_t)n);
	return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

/* The turns around turn 30, of short loops the first ones, and the last ones: as many as there are tools, so that each of a made-up world is called once
 * in both, as calls of some tools are twice as long as those of others. */
static int put_times(const struct agent *g, struct k_json *s)
{
	int64_t n = K_MAX(K_MIN((int64_t)k_json_len(g->w.tools), (int64_t)TIMED), (int64_t)1);
	double first = median_of(g, g->w.n_steps > 30 + 2 * n ? 30 - K_MIN(n / 2, (int64_t)29) : 1, n), last = median_of(g, g->w.n_steps - n, n);
	if (!g->a->served || first <= 0 || last <= 0)
		return 0;
	return k_put_f32(s, "turn_ms_first", first * 1e3) | k_put_f32(s, "turn_ms_last", last * 1e3) | k_put_f32(s, "turn_ratio", last / first);
}

static int summarise(struct agent *g, struct k_err *err)
{
	struct k_json *s = k_json_object();
	if (s && (k_put_str(s, "task", "agent") | g->a->put_run(g->a, s) | k_put_int(s, "steps", K_MIN(g->steps, g->w.n_steps)) |
		k_put_bool(s, "completed", g->completed) | k_put_int(s, "invalid_calls", g->invalid) | k_put_int(s, "wrong_calls", g->wrong) |
		k_put_int(s, "tokens", g->tokens) | (g->a->served ? k_put_int(s, "refills", g->refills) : k_put_null(s, "refills")) | put_times(g, s)) < 0) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(g->rep, s, err);
}

static int put_head(struct agent *g, struct k_err *err)
{
	struct k_json *o = k_json_object();
	if (o && (k_put_str(o, "task", "agent") | g->a->put_run(g->a, o) | k_put_int(o, "steps", g->w.n_steps) | k_put_int(o, "seed", g->o->seed) |
		k_put_int(o, "tools", (int64_t)k_json_len(g->w.tools)) | k_put_bool(o, "forced", !g->w.file)) < 0) {
		k_json_free(o);
		o = NULL;
	}
	return k_report_item(g->rep, "run", o, true, NULL, err);
}

static int loop(struct agent *g, struct k_err *err)
{
	struct k_progress meter;
	int64_t turns = g->w.n_steps + (g->w.final != NULL), i = 0;
	int r = put_head(g, err);
	k_progress_begin(&meter, g->ctx->log, "agent", (uint64_t)turns, "turns");
	for (int go_on = 1; r == 0 && i < turns && go_on; i++) {
		r = k_ctx_check(g->ctx, err);
		if (r == 0)
			go_on = r = turn(g, i, err);
		r = K_MIN(r, 0);
		k_progress_step(&meter, 1);
	}
	k_progress_end(&meter);
	if (r == 0 && !g->w.final)
		g->completed = g->steps == g->w.n_steps;
	return r < 0 ? r : summarise(g, err);
}

static int agent_run(struct k_asker *a, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct agent g = { .a = a, .o = o, .rep = rep, .ctx = ctx };
	if (!a->talks)
		return k_err_set(err, K_EUSAGE, "agent asks what depends on the answer before: it needs a model (-m) or a server (-u)");
	if (!o->file && !a->served)
		return k_err_set(err, K_EUSAGE, "agent without -f FILE makes tools up and names the one that each answer must call, which only a server (-u) can be held to");
	int r = k_world_open(&g.w, o->file, o->steps, o->tools, o->seed, err);
	if (r == 0) {
		g.messages = k_json_array();
		g.ids = k_json_object();
		g.seconds = k_calloc((size_t)g.w.n_steps + 1, sizeof(*g.seconds));
		r = g.messages && g.ids && g.seconds && say(&g, "user", g.w.user, NULL) == 0 ? loop(&g, err) : k_err_nomem(err, 256, "the conversation");
	}
	k_json_free(g.messages);
	k_json_free(g.ids);
	k_free(g.seconds);
	k_world_close(&g.w);
	return r;
}

const struct k_eval k_eval_agent = {
	.name = "agent",
	.about = "a loop of hundreds of tool calls (-f, or made up: --steps, --tools)",
	.fields = "steps completed invalid_calls wrong_calls tokens refills turn_ms_first turn_ms_last turn_ratio",
	.ask = agent_run,
};
