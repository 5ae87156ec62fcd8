/* toolcall.c: the protocol of Kimi's vendor verifier: does the model call tools where the vendor's own service does, and do the arguments fit?
 *
 * A line is the body of a chat request, or {"request": body, "finish_reason": what the vendor's service answered}. Of an answer that ends with
 * tool_calls every call counts: the name is declared with parameters, and the arguments are JSON that fits them. One call that does not, or none at
 * all, makes the answer an error. trigger_f1 compares finish reasons with the vendor's (tool_calls is the positive), over the lines that have one.
 *
 *   schema_accuracy   answers with calls that all fit / answers with calls
 *   trigger_f1        of precision and recall of calling at all
 *
 * Lines may be the verifier's own results ({"data_index", "request", "response", ...}); an answer is then found by the index. Where prompts or raw
 * completions were recorded too, n_replayed counts those that the chat layout was held against, n_replay_errors those where it differs. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/quiz.h"
#include "evals/report.h"
#include "evals/validate.h"
#include "evals/world.h"

static const struct k_json *request_of(const struct k_json *line)
{
	const struct k_json *rq = k_json_find(line, "request");
	return k_json_kind(rq) == K_JSON_OBJECT ? rq : line;
}

/* A copy whose messages of the role _input, which is in the vendor's data, are the system's. */
static int plan(void *arg, struct k_quiz_item *q, struct k_err *err)
{
	struct k_json *rq = k_json_copy(request_of(q->json)), *messages = k_json_find(rq, "messages");
	(void)arg;
	if (!rq)
		return k_err_nomem(err, 4096, "a request");
	if (k_json_kind(messages) != K_JSON_ARRAY) {
		k_json_free(rq);
		return k_err_set(err, K_EFORMAT, "a request without messages");
	}
	for (size_t i = 0; i < k_json_len(messages); i++) {
		const char *role = k_json_string(k_json_find(k_json_at(messages, i), "role"));
		if (role && !strcmp(role, "_input") && k_put_str(k_json_at(messages, i), "role", "system") < 0) {
			k_json_free(rq);
			return k_err_nomem(err, 64, "a request");
		}
	}
	const struct k_json *index = k_json_find(q->json, "data_index");
	int r = k_quiz_request(q, K_ASK_CHAT, rq, err);
	if (r == 0 && k_json_kind(index) == K_JSON_INT)
		snprintf(q->ask[0].id, sizeof(q->ask[0].id), "item %lld/0", (long long)k_json_int(index));
	return r;
}

/* 0, K_ENO with the reason, or K_ENOMEM. */
static int check_call(const struct k_json *call, const struct k_json *tools, struct k_err *err)
{
	const struct k_json *f = k_json_find(call, "function"), *text = k_json_find(f, "arguments");
	const char *name = k_json_string(k_json_find(f, "name"));
	const struct k_json *schema = k_world_schema(tools, name);
	struct k_json *args;
	int r;
	if (!name || !k_json_len(schema))
		return k_err_set(err, K_ENO, "no parameters of a tool '%.100s' are declared", name ? name : "");
	if (!k_json_string(text))
		r = k_validate(schema, text, err);
	else if (k_json_parse(&args, k_json_string(text), k_json_len(text), K_JSON_LAST_WINS | K_JSON_NUL, "the arguments", err) < 0)
		return k_err_set(err, K_ENO, "'%.60s': the arguments are no JSON: %.200s", name, k_json_string(text));
	else {
		r = k_validate(schema, args, err);
		k_json_free(args);
	}
	if (r == 1)
		return 0;
	k_err_add(err, "in a call of '%.60s'", name);
	return r == K_ENOMEM ? r : K_ENO;
}

/* functions.NAME:N */
static bool good_id(const struct k_json *call)
{
	const char *id = k_json_string(k_json_find(call, "id")), *name = k_json_string(k_json_find(k_json_find(call, "function"), "name"));
	size_t n = name ? strlen(name) : 0;
	return id && n && !strncmp(id, "functions.", 10) && !strncmp(id + 10, name, n) && id[10 + n] == ':' && id[11 + n] &&
		!id[11 + n + strspn(id + 11 + n, "0123456789")];
}

static struct k_json *judge(void *arg, const struct k_quiz_item *q)
{
	const struct k_json *choice = k_json_at(k_json_find(q->ask[0].answer, "choices"), 0), *calls = k_json_find(k_json_find(choice, "message"), "tool_calls");
	const char *finish = k_json_string(k_json_find(choice, "finish_reason")), *there = k_json_string(k_json_find(q->json, "finish_reason"));
	const struct k_json *tools = k_json_find(request_of(q->json), "tools");
	struct k_err why = { 0 };
	int bad_ids = 0;
	bool called = finish && !strcmp(finish, "tool_calls"), fits = called && k_json_len(calls);
	(void)arg;
	if (called && !fits)
		k_err_set(&why, K_ENO, "the answer ends with tool_calls and has no call");
	for (size_t i = 0; i < k_json_len(calls) && called; i++) {
		bad_ids += !good_id(k_json_at(calls, i));
		if (fits)
			fits = check_call(k_json_at(calls, i), tools, &why) == 0;
		if (why.code == K_ENOMEM)
			return NULL;
	}
	struct k_json *o = k_json_object();
	int bad = !o || k_put_str(o, "finish_reason", finish ? finish : "") | (called ? k_put_bool(o, "valid", fits) : k_put_null(o, "valid")) |
		k_put_int(o, "calls", called ? (int64_t)k_json_len(calls) : 0) | k_put_int(o, "bad_ids", bad_ids) |
		(there ? k_put_str(o, "reference", there) : 0) | (why.code ? k_put_str(o, "error", why.msg) : 0) |
		(calls && called ? k_json_set(o, "tool_calls", k_json_copy(calls)) : 0) |
		(q->ask[0].replayed ? k_put_bool(o, "replay", !q->ask[0].differs.code) : 0) |
		(q->ask[0].differs.code ? k_put_str(o, "replay_error", q->ask[0].differs.msg) : 0);
	if (!bad)
		return o;
	k_json_free(o);
	return NULL;
}

struct counts { int64_t n, called, errors, stopped, others, bad_ids, both, only_here, only_there, replayed, differ; };

static void tally(struct counts *t, const struct k_json *item)
{
	const char *finish = k_json_string(k_json_find(item, "finish_reason")), *there = k_json_string(k_json_find(item, "reference"));
	bool here = finish && !strcmp(finish, "tool_calls");
	t->n++;
	t->called += here;
	t->errors += here && !k_json_bool(k_json_find(item, "valid"));
	t->stopped += finish && !strcmp(finish, "stop");
	t->others += !here && finish && *finish && strcmp(finish, "stop");
	t->bad_ids += k_get_count(item, "bad_ids");
	t->replayed += k_json_find(item, "replay") != NULL;
	t->differ += k_json_find(item, "replay_error") != NULL;
	if (!there)
		return;
	bool vendor = !strcmp(there, "tool_calls");
	t->both += here && vendor;
	t->only_here += here && !vendor;
	t->only_there += !here && vendor;
}

static int put_ratio(struct k_json *s, const char *name, double part, double whole)
{
	return whole > 0 ? k_put_num(s, name, part / whole) : k_put_null(s, name);
}

static int summarise(const struct k_json *head K_UNUSED, const struct k_json *items, struct k_json *s, struct k_err *err)
{
	struct counts t = { 0 };
	for (size_t i = 0; i < k_json_len(items); i++)
		if (k_quiz_judged(k_json_at(items, i)))
			tally(&t, k_json_at(items, i));
	double both = (double)t.both, here = both + (double)t.only_here, there = both + (double)t.only_there;
	int bad = put_ratio(s, "trigger_f1", 2 * both, here + there) | put_ratio(s, "trigger_precision", both, here) |
		put_ratio(s, "trigger_recall", both, there) | put_ratio(s, "schema_accuracy", (double)(t.called - t.errors), (double)t.called) |
		k_put_int(s, "n_calls", t.called) | k_put_int(s, "n_schema_errors", t.errors) | k_put_int(s, "n_bad_ids", t.bad_ids) |
		k_put_int(s, "n_stop", t.stopped) | k_put_int(s, "n_other", t.others) |
		k_put_int(s, "n_replayed", t.replayed) | k_put_int(s, "n_replay_errors", t.differ) | k_put_int(s, "n", t.n) |
		k_put_int(s, "failed", (int64_t)k_json_len(items) - t.n);
	return bad ? k_err_nomem(err, 256, "the summary") : 0;
}

static int toolcall_run(struct k_asker *a, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_quiz z = { .name = "toolcall", .plan = plan, .judge = judge, .summarise = summarise };
	return k_quiz_run(&z, a, o, rep, ctx, err);
}

const struct k_eval k_eval_toolcall = {
	.name = "toolcall",
	.about = "tool calls as Kimi's vendor verifier judges them (-f, JSON lines)",
	.fields = "trigger_f1 trigger_precision trigger_recall schema_accuracy n_calls n_schema_errors n_bad_ids n_stop n_other n_replayed n_replay_errors n failed",
	.ask = toolcall_run,
	.summarise = summarise,
};
