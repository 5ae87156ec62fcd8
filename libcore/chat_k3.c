/* chat_k3.c: Kimi-K3.
 *
 *   [tools] [effort] messages [choice of tools] [format] <|open|>message role="assistant"<|sep|> <|open|>think<|sep|>
 *   message: <|open|>message role="R" ...<|sep|> body <|close|>message<|sep|> <|end_of_msg|>
 *
 * What the release has as code others have as a template; there is none to be found by. The four markers are tokens, everything else is
 * text, and each piece of it a run of its own: the name of an attribute, ="  , its value, the quote.
 *
 * Thoughts stay in the history: the model was trained with them there. Calls have no ids here: the answers of tools follow the
 * order of the calls, and say which tool they are from. */
#include "libcore/base.h"
#include "libcore/chat_int.h"
#include "libcore/map.h"
#include "libcore/unicode.h"
#include <stdio.h>
#include <stdlib.h>

static const char effort_says[] = "`thinking_effort` guides on how much to think in your thinking channel (not including the response channel), "
	"supported values include `low`, `medium`, `high`, and `max`.\nNow the system is invoked with `thinking_effort=";
static const char more_tools[] = "## New Tools Available\nThe system dynamically extends the toolset via lazy-loading.\n"
	"You have access to all existing and extended tools.\nHere are the specs for the extended tools.\n\n";

/* The last turn of the assistant, and what has been answered to it. */
struct turn {
	const struct k_json *calls;
	size_t answers;
	struct k_map ids;               /* of calls; their place, from calls on */
	bool mapped;
};

static struct k_attr attr(const char *key, const char *value) { return (struct k_attr){ key, value, strlen(value) }; }
static struct k_attr attr_of(const char *key, const struct k_json *v) { return (struct k_attr){ key, k_json_string(v), k_json_len(v) }; }

static int end_message(struct k_render *r, struct k_err *err)
{
	int rc = k_xtml_close(r, "message", err);

	return rc ? rc : k_render_special(r, "<|end_of_msg|>", err);
}

/* --- what the system says ------------------------------------------------------------------------------------------------- */

static int begin_system(struct k_render *r, const char *type, struct k_err *err)
{
	const struct k_attr attrs[] = { attr("role", "system"), attr("type", type) };

	return k_xtml_open(r, "message", attrs, K_LEN(attrs), err);
}

static void fenced(struct k_render *r, const struct k_json *v)
{
	k_render_puts(r, "```json\n");
	k_render_json(r, v, K_JSON_COMPACT | K_JSON_SORT);
	k_render_puts(r, "\n```");
}

static int declare(struct k_render *r, const char *lead, const struct k_json *tools, struct k_err *err)
{
	int rc = begin_system(r, "tool-declare", err);

	if (rc)
		return rc;
	k_render_puts(r, lead);
	fenced(r, tools);
	return end_message(r, err);
}

static int say_effort(struct k_render *r, enum k_effort effort, struct k_err *err)
{
	static const char *const words[] = { [K_EFFORT_LOW] = "low", [K_EFFORT_HIGH] = "high", [K_EFFORT_MAX] = "max" };
	int rc = begin_system(r, "thinking-effort", err);

	if (rc)
		return rc;
	k_render_puts(r, effort_says);
	k_render_puts(r, words[effort]);
	k_render_puts(r, "`.");
	return end_message(r, err);
}

static int say_choice(struct k_render *r, enum k_tool_choice choice, struct k_err *err)
{
	int rc = begin_system(r, "tool-choice", err);

	if (rc)
		return rc;
	k_render_puts(r, choice == K_TOOLS_REQUIRED ?
		"The system is invoked with `tool_choice=required`.\nYou MUST call tools in the next message." :
		"The system is invoked with `tool_choice=none`.\nYou MUST NOT call any tools in the next message.");
	return end_message(r, err);
}

static int say_format(struct k_render *r, const struct k_json *format, struct k_err *err)
{
	const struct k_json *type = k_json_find(format, "type");
	int rc = begin_system(r, "response-format", err);

	if (rc)
		return rc;
	k_render_puts(r, "The system is invoked with `response_format=");
	k_render_text(r, k_json_string(type), k_json_len(type));
	k_render_puts(r, "`.\nYour response must be raw JSON data without markdown code blocks (```json) or any additional formatting.");
	if (k_chat_is(type, "json_schema")) {
		k_render_puts(r, "\nThe JSON data must match the following schema:\n");
		fenced(r, k_json_find(k_json_find(format, "json_schema"), "schema"));
	}
	return end_message(r, err);
}

static int say_before(struct k_render *r, const struct k_json *tools, const struct k_chat_options *o, struct k_err *err)
{
	int rc = 0;

	if (k_json_len(tools))
		rc = declare(r, "# Tools\nHere are the available tools, described in JSONSchema.\n\n", tools, err);
	return rc || !o->effort ? rc : say_effort(r, o->effort, err);
}

/* What holds for the next answer alone stands right before it. */
static int say_behind(struct k_render *r, const struct k_chat_options *o, struct k_err *err)
{
	int rc = o->tool_choice ? say_choice(r, o->tool_choice, err) : 0;

	return rc || !o->format ? rc : say_format(r, o->format, err);
}

/* --- turns ---------------------------------------------------------------------------------------------------------------- */

static int begin_turn(struct k_render *r, const char *role, const struct k_json *name, struct k_err *err)
{
	const struct k_attr attrs[] = { attr("role", role), attr_of("name", name) };

	return k_xtml_open(r, "message", attrs, k_json_len(name) ? 2 : 1, err);
}

static int content(struct k_render *r, const struct k_json *msg, size_t i, struct k_err *err)
{
	int rc = k_render_content(r, msg, i, NULL, err);

	return rc ? rc : k_render_flush(r, err);
}

static bool is_blank(const struct k_json *text)
{
	const char *s = k_json_string(text);

	for (size_t i = 0, n = k_json_len(text); i < n; ) {
		int len;
		uint32_t c = k_unicode_at(s + i, &len);

		/* As Python has it, which counts four separators in. */
		if (!(k_unicode_class(c) & K_UC_SPACE) && !(c >= 0x1c && c <= 0x1f))
			return false;
		i += (size_t)len;
	}
	return true;
}

static int think(struct k_render *r, const struct k_json *msg, struct k_err *err)
{
	const struct k_json *thought = k_chat_field(msg, "reasoning_content");
	int rc = k_xtml_open(r, "think", NULL, 0, err);

	if (!thought)
		thought = k_chat_field(msg, "reasoning");
	if (!rc && k_json_string(thought) && !is_blank(thought))
		rc = k_xtml_text(r, k_json_string(thought), k_json_len(thought), err);
	return rc ? rc : k_xtml_close(r, "think", err);
}

static int answer(struct k_render *r, const struct k_json *msg, size_t i, bool thinking, bool open_end, struct k_err *err)
{
	int rc = thinking ? think(r, msg, err) : 0;

	if (!rc)
		rc = k_xtml_open(r, "response", NULL, 0, err);
	if (!rc)
		rc = content(r, msg, i, err);
	if (!rc && !open_end)
		rc = k_xtml_close(r, "response", err);
	return rc || !k_chat_has_calls(msg) ? rc : k_xtml_calls(r, k_json_find(msg, "tool_calls"), err);
}

/* What stands between the header of an answer and the answer. */
static const char *const *opens(bool thinking)
{
	static const char *const think[] = { "<|open|>", "think", "<|sep|>", NULL }, *const response[] = { "<|open|>", "response", "<|sep|>", NULL };

	return thinking ? think : response;
}

static int assistant(struct k_render *r, const struct k_json *msg, size_t i, const struct k_chat_options *o, bool open_end, struct k_err *err)
{
	int rc = begin_turn(r, "assistant", k_chat_field(msg, "name"), err);

	if (!rc && !open_end)
		rc = k_render_recall(r, msg, opens(o->thinking), o->thinking, err);
	if (rc)
		return rc < 0 ? rc : k_render_special(r, "<|end_of_msg|>", err);
	rc = answer(r, msg, i, o->thinking, open_end, err);
	return rc || open_end ? rc : end_message(r, err);
}

static int other(struct k_render *r, const struct k_json *msg, size_t i, struct k_err *err)
{
	const struct k_json *tools = k_chat_field(msg, "tools");
	int rc;

	if (k_json_len(tools))
		return declare(r, more_tools, tools, err);
	rc = begin_turn(r, k_chat_role(msg), k_chat_field(msg, "name"), err);
	if (!rc)
		rc = content(r, msg, i, err);
	return rc ? rc : end_message(r, err);
}

/* --- answers of tools ------------------------------------------------------------------------------------------------------ */

struct result { size_t call, message; };

static int by_call(const void *a, const void *b)
{
	const struct result *x = a, *y = b;

	return x->call != y->call ? (x->call > y->call) - (x->call < y->call) : (x->message > y->message) - (x->message < y->message);
}

static int map_calls(struct turn *t, struct k_err *err)
{
	for (size_t i = 0; !t->mapped && i < k_json_len(t->calls); i++) {
		const struct k_json *id = k_json_find(k_json_at(t->calls, i), "id");

		if (k_map_put(&t->ids, k_json_string(id), k_json_len(id), (void *)(uintptr_t)(i + 1)) < 0)
			return k_err_nomem(err, k_json_len(t->calls), "the ids of calls");
	}
	t->mapped = true;
	return 0;
}

/* 1: each answer has the id of a call, and they are in the order of these; 0: they stay as they came. */
static int sort_results(struct turn *t, const struct k_json *messages, struct result *list, size_t n, struct k_err *err)
{
	int rc = map_calls(t, err);

	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++) {
		const struct k_json *id = k_json_find(k_json_at(messages, list[i].message), "tool_call_id");

		list[i].call = (size_t)(uintptr_t)k_map_find(&t->ids, k_json_string(id), k_json_len(id));
		if (!list[i].call)
			return 0;
	}
	qsort(list, n, sizeof *list, by_call);
	return 1;
}

static const struct k_json *name_of_call(const struct turn *t, size_t i)
{
	return k_json_find(k_json_find(k_json_at(t->calls, i), "function"), "name");
}

/* call: whose result it is, from 1 on; 0: not known. */
static int result(struct k_render *r, struct turn *t, const struct k_json *messages, struct result x, struct k_err *err)
{
	const struct k_json *msg = k_json_at(messages, x.message), *name = x.call ? name_of_call(t, x.call - 1) : k_chat_field(msg, "tool");
	char index[24];
	int rc;

	if (!k_json_len(name))
		name = k_chat_field(msg, "name");
	if (!k_json_len(name))
		name = name_of_call(t, t->answers);
	if (!k_json_string(name))
		return k_err_set(err, K_EUSAGE, "messages[%zu] does not say which tool it is from: wanted a name, or a call of the assistant before it", x.message);
	snprintf(index, sizeof index, "%zu", ++t->answers);
	const struct k_attr attrs[] = { attr("role", "tool"), attr_of("tool", name), attr("index", index) };
	rc = k_xtml_open(r, "message", attrs, K_LEN(attrs), err);
	if (!rc)
		rc = content(r, msg, x.message, err);
	if (!rc)
		rc = end_message(r, err);
	return rc ? rc : k_render_mark(r, err);
}

/* The n answers from message i on. Their marks are where their number in the row ends, whichever of them stands there: nobody goes on
 * from within a row (see resume). */
static int results(struct k_render *r, struct turn *t, const struct k_json *messages, size_t i, size_t n, struct k_err *err)
{
	struct result *list = k_calloc(n, sizeof *list);
	int rc;

	if (!list)
		return k_err_nomem(err, n * sizeof *list, "the answers of tools");
	for (size_t k = 0; k < n; k++)
		list[k].message = i + k;
	rc = sort_results(t, messages, list, n, err);
	for (size_t k = 0; k < n && rc >= 0; k++) {
		if (!rc)
			list[k].call = 0;
		int failed = result(r, t, messages, list[k], err);
		if (failed)
			rc = failed;
	}
	k_free(list);
	return K_MIN(rc, 0);
}

/* --- a prompt -------------------------------------------------------------------------------------------------------------- */

static bool is_tool(const struct k_json *messages, size_t i) { return !strcmp(k_chat_role(k_json_at(messages, i)), "tool"); }

static void new_turn(struct turn *t, const struct k_json *calls)
{
	k_map_fini(&t->ids);
	*t = (struct turn){ .calls = calls };
	k_map_init(&t->ids);
}

/* An earlier prompt is gone on with from before a row of answers: one more may change their order. */
static int resume(struct k_render *r, struct turn *t, const struct k_json *messages, size_t *first, struct k_err *err)
{
	int rc;

	while (r->past && r->past->n && is_tool(messages, r->past->n - 1))
		r->past->n--;
	rc = k_render_resume(r, 0, first, err);
	for (size_t i = 0; i < *first && !rc; i++) {
		const struct k_json *msg = k_json_at(messages, i);

		if (!strcmp(k_chat_role(msg), "assistant"))
			new_turn(t, k_chat_field(msg, "tool_calls"));
		t->answers += is_tool(messages, i);
	}
	return rc;
}

/* The message, or the row of answers, that i is; *next is behind it. */
static int message(struct k_render *r, struct turn *t, const struct k_json *messages, size_t i, size_t *next, const struct k_chat_options *o, struct k_err *err)
{
	const struct k_json *msg = k_json_at(messages, i);
	const size_t n = k_json_len(messages);
	const bool open_end = o->continue_final && i + 1 == n;
	int rc = 0;

	for (*next = i; *next < n && is_tool(messages, *next); )
		++*next;
	if (*next > i)
		return results(r, t, messages, i, *next - i, err);
	++*next;
	if (strcmp(k_chat_role(msg), "assistant"))
		rc = other(r, msg, i, err);
	else {
		new_turn(t, k_chat_field(msg, "tool_calls"));
		if (open_end)
			rc = say_behind(r, o, err);
		if (!rc)
			rc = assistant(r, msg, i, o, open_end, err);
	}
	return rc || open_end ? rc : k_render_mark(r, err);
}

static int invite(struct k_render *r, const struct k_chat_options *o, struct k_err *err)
{
	int rc = begin_turn(r, "assistant", NULL, err);

	return rc ? rc : k_xtml_open(r, o->thinking ? "think" : "response", NULL, 0, err);
}

static int render(struct k_render *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, struct k_err *err)
{
	struct turn t = { 0 };
	size_t first = 0;
	int rc;

	k_map_init(&t.ids);
	r->parts_apart = true;
	rc = resume(r, &t, messages, &first, err);
	if (!rc && !first)
		rc = say_before(r, tools, o, err);
	for (size_t i = first; i < k_json_len(messages) && !rc; )
		rc = message(r, &t, messages, i, &i, o, err);
	k_map_fini(&t.ids);
	if (!rc && !o->continue_final)
		rc = say_behind(r, o, err);
	return rc || !o->generation_prompt ? rc : invite(r, o, err);
}

static int match(const char *text, const char *sha256 K_UNUSED) { return strstr(text, "<|open|>") ? 60 : 0; }

static const char *const tokens[] = { "<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>", NULL };

const struct k_layout k_layout_k3 = {
	.name = "k3", .about = "Kimi K3: XTML, tools as JSON, thinking or not, levels of effort",
	.match = match, .render = render, .thinking = true, .start = K_PARSE_REASON, .tools = true, .xtml = true, .tokens = tokens,
};
