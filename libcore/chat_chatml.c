/* chat_chatml.c: plain ChatML; SmolLM2 is this with words of its own for system.
 *
 *   <|im_start|> role LF content <|im_end|> LF            role to content is one run, and so is the LF between two messages */
#include "libcore/base.h"
#include "libcore/chat_int.h"

static int begin(struct k_render *r, const char *role, struct k_err *err)
{
	int rc = k_render_special(r, "<|im_start|>", err);

	k_render_puts(r, role);
	k_render_puts(r, "\n");
	return rc;
}

static int end(struct k_render *r, struct k_err *err)
{
	int rc = k_render_special(r, "<|im_end|>", err);

	k_render_puts(r, "\n");
	return rc;
}

int k_chatml_render(const char *system, struct k_render *r, const struct k_json *messages, const struct k_chat_options *o, struct k_err *err)
{
	size_t n = k_json_len(messages), first;
	int rc = k_render_resume(r, 0, &first, err);

	if (!rc && !first && system && strcmp(k_chat_role(k_json_at(messages, 0)), "system")) {
		rc = begin(r, "system", err);
		k_render_puts(r, system);
		if (!rc)
			rc = end(r, err);
	}
	for (size_t i = first; i < n && !rc; i++) {
		const struct k_json *msg = k_json_at(messages, i);
		bool open_end = o->continue_final && i + 1 == n;

		rc = begin(r, k_chat_role(msg), err);
		if (!rc)
			rc = k_render_content(r, msg, i, NULL, err);
		if (!rc && !open_end)
			rc = end(r, err);
		if (!rc && !open_end)
			rc = k_render_mark(r, err);
	}
	return rc || !o->generation_prompt ? rc : begin(r, "assistant", err);
}

static int match(const char *text, const char *sha256 K_UNUSED) { return strstr(text, "<|im_start|>") ? 10 : 0; }

static int render(struct k_render *r, const struct k_json *messages, const struct k_json *tools K_UNUSED, const struct k_chat_options *o, struct k_err *err)
{
	return k_chatml_render(NULL, r, messages, o, err);
}

const struct k_layout k_layout_chatml = {
	.name = "chatml", .about = "plain ChatML: no tools, no thinking",
	.match = match, .render = render, .start = K_PARSE_CONTENT,
};
