/* chat_kimi.c: the envelope that all Kimi layouts share.
 *
 *   <|im_ROLE|> header <|im_middle|> body <|im_end|>          messages follow one another with nothing between them
 *
 * Tools are declared first, in a message of their own, with their members sorted (the released tokenizer does so before the
 * template sees them). Of the reasoning in a history only that behind the last answer is shown, the loop of tools that is still
 * open; earlier think blocks are there and empty. */
#include "libcore/base.h"
#include "libcore/chat_int.h"

struct turn { const struct k_kimi *k; const struct k_chat_options *o; bool history; };

static int header(struct k_render *r, const char *role, const struct k_json *name, struct k_err *err)
{
	const char *open = !strcmp(role, "user") ? "<|im_user|>" : !strcmp(role, "assistant") ? "<|im_assistant|>" : "<|im_system|>";
	int rc = k_render_special(r, open, err);

	if (rc < 0)
		return rc;
	k_render_puts(r, k_json_len(name) ? k_json_string(name) : role);
	return k_render_special(r, "<|im_middle|>", err);
}

static int declare(const struct k_kimi *k, struct k_render *r, const struct k_json *tools, struct k_err *err)
{
	int rc = k_render_special(r, "<|im_system|>", err), done = 0;

	if (rc < 0)
		return rc;
	k_render_puts(r, "tool_declare");
	rc = k_render_special(r, "<|im_middle|>", err);
	if (!rc && k->typescript)
		done = k_chat_typescript(&r->out->text, tools, err);
	if (rc < 0 || done < 0)
		return rc < 0 ? rc : done;
	if (!done)
		k_render_json(r, tools, K_JSON_COMPACT | K_JSON_SORT);
	return k_render_special(r, "<|im_end|>", err);
}

static int calls(struct k_render *r, const struct k_json *list, struct k_err *err)
{
	int rc = k_render_special(r, "<|tool_calls_section_begin|>", err);

	for (size_t i = 0; i < k_json_len(list) && !rc; i++) {
		const struct k_json *call = k_json_at(list, i), *id = k_json_find(call, "id");
		const struct k_json *args = k_json_find(k_json_find(call, "function"), "arguments");

		rc = k_render_special(r, "<|tool_call_begin|>", err);
		k_render_text(r, k_json_string(id), k_json_len(id));
		if (!rc)
			rc = k_render_special(r, "<|tool_call_argument_begin|>", err);
		if (k_json_kind(args) == K_JSON_STRING)
			k_render_text(r, k_json_string(args), k_json_len(args));
		else
			k_render_json(r, args, 0);
		if (!rc)
			rc = k_render_special(r, "<|tool_call_end|>", err);
	}
	return rc ? rc : k_render_special(r, "<|tool_calls_section_end|>", err);
}

static int think(struct k_render *r, const struct k_json *thought, struct k_err *err)
{
	int rc = k_render_special(r, "<think>", err);

	if (rc < 0)
		return rc;
	if (k_json_len(thought))
		k_render_text(r, k_json_string(thought), k_json_len(thought));
	return k_render_special(r, "</think>", err);
}

/* Where the generation prompt opens the block, a request without thinking closes it, in what is already said as well. */
static bool shows_thought(const struct turn *t) { return !t->history && (t->o->thinking || !t->k->opens); }

/* What stands between the header of an answer and the answer. */
static const char *const *opens(const struct k_kimi *k, const struct k_chat_options *o)
{
	static const char *const thinks[] = { "<think>", NULL }, *const not[] = { "<think>", "</think>", NULL };

	return !k->opens ? &thinks[1] : o->thinking ? thinks : not;
}

static int message(const struct turn *t, struct k_render *r, const struct k_json *msg, size_t i, bool open_end, struct k_err *err)
{
	const char *role = k_chat_role(msg);
	bool assistant = !strcmp(role, "assistant");
	int rc = header(r, role, t->k->names ? k_chat_field(msg, "name") : NULL, err);

	if (!rc && assistant && !open_end)
		rc = k_render_recall(r, msg, opens(t->k, t->o), t->k->thinks && shows_thought(t), err);
	if (rc)
		return rc < 0 ? rc : k_render_special(r, "<|im_end|>", err);
	if (assistant && t->k->thinks)
		rc = think(r, shows_thought(t) ? k_chat_field(msg, "reasoning_content") : NULL, err);
	if (!rc && !strcmp(role, "tool")) {
		const struct k_json *id = k_json_find(msg, "tool_call_id");

		k_render_puts(r, "## Return of ");
		k_render_text(r, k_json_string(id), k_json_len(id));
		k_render_puts(r, "\n");
	}
	if (!rc)
		rc = k_render_content(r, msg, i, t->k->media, err);
	if (!rc && assistant && k_chat_has_calls(msg))
		rc = calls(r, k_json_find(msg, "tool_calls"), err);
	return rc || open_end ? rc : k_render_special(r, "<|im_end|>", err);
}

/* Messages before this index are history: the last answer, and everything before it. */
static size_t end_of_history(const struct k_json *messages)
{
	for (size_t i = k_json_len(messages); i > 0; i--) {
		const struct k_json *msg = k_json_at(messages, i - 1);

		if (!strcmp(k_chat_role(msg), "assistant") && !k_chat_has_calls(msg))
			return i;
	}
	return 0;
}

static int say_system(struct k_render *r, const char *text, struct k_err *err)
{
	int rc = header(r, "system", NULL, err);

	k_render_puts(r, text);
	return rc ? rc : k_render_special(r, "<|im_end|>", err);
}

static int invite(const struct k_kimi *k, struct k_render *r, const struct k_chat_options *o, struct k_err *err)
{
	int rc = header(r, "assistant", NULL, err);

	for (const char *const *p = opens(k, o); *p && !rc; p++)
		rc = k_render_special(r, *p, err);
	return rc;
}

int k_kimi_render(const struct k_kimi *k, struct k_render *r, const struct k_json *messages, const struct k_json *tools,
	const struct k_chat_options *o, struct k_err *err)
{
	/* Keeping all thoughts came with the templates that open the block themselves. */
	size_t n = k_json_len(messages), first, history = o->preserve_thinking && k->opens ? 0 : end_of_history(messages);
	int rc = k_render_resume(r, k->thinks ? history : 0, &first, err);

	if (!rc && !first && k_json_len(tools))
		rc = declare(k, r, tools, err);
	if (!rc && !first && k->system && strcmp(k_chat_role(k_json_at(messages, 0)), "system"))
		rc = say_system(r, k->system, err);
	for (size_t i = first; i < n && !rc; i++) {
		struct turn t = { .k = k, .o = o, .history = i < history };
		bool open_end = o->continue_final && i + 1 == n;

		rc = message(&t, r, k_json_at(messages, i), i, open_end, err);
		if (!rc && !open_end)
			rc = k_render_mark(r, err);
	}
	return rc || !o->generation_prompt ? rc : invite(k, r, o, err);
}

int k_kimi_image(struct k_render *r, const char *type, struct k_err *err)
{
	int rc;

	if (strcmp(type, "image") && strcmp(type, "image_url"))
		return 1;
	/* The first marker is in no vocabulary: the template misspells <|media_begin|>. */
	k_render_puts(r, "<|media_start|>image");
	rc = k_render_special(r, "<|media_content|>", err);
	if (!rc)
		rc = k_render_special(r, "<|media_pad|>", err);
	if (!rc)
		rc = k_render_special(r, "<|media_end|>", err);
	k_render_puts(r, "\n");
	return rc;
}
