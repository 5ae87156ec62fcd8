/* chat_k2_instruct.c: Kimi-K2-Instruct, the revisions that take call ids as they come. */
#include "libcore/base.h"
#include "libcore/chat_int.h"

static int match(const char *text, const char *sha256 K_UNUSED)
{
	return strstr(text, "<|im_middle|>") && strstr(text, "render_content") ? 30 : 0;
}

static int render(struct k_render *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, struct k_err *err)
{
	static const struct k_kimi k = {
		.system = "You are Kimi, an AI assistant created by Moonshot AI.", .names = true, .media = k_kimi_image,
	};

	return k_kimi_render(&k, r, messages, tools, o, err);
}

const struct k_layout k_layout_k2_instruct = {
	.name = "k2_instruct", .about = "Kimi K2 Instruct: tools as JSON, no thinking",
	.match = match, .render = render, .start = K_PARSE_CONTENT, .tools = true,
};
