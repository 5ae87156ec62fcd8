/* chat_moonlight.c: Moonlight-Instruct: the envelope of Kimi before it had names and tools. */
#include "libcore/base.h"
#include "libcore/chat_int.h"

/* The first K2 spoke so, too, but with tools of another spelling: not this one. */
static int match(const char *text, const char *sha256 K_UNUSED)
{
	return strstr(text, "<|im_middle|>") && !strstr(text, "tool") ? 20 : 0;
}

static int render(struct k_render *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, struct k_err *err)
{
	static const struct k_kimi k = { .system = "You are a helpful assistant" };

	return k_kimi_render(&k, r, messages, tools, o, err);
}

const struct k_layout k_layout_moonlight = {
	.name = "moonlight", .about = "Moonlight Instruct: no tools, no thinking",
	.match = match, .render = render, .start = K_PARSE_CONTENT,
};
