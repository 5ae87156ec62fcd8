/* chat_k2_thinking.c: Kimi-K2-Thinking: as K2-Instruct, and turns begin with a think block, which the model opens itself. */
#include "libcore/base.h"
#include "libcore/chat_int.h"

static int match(const char *text, const char *sha256)
{
	if (!strcmp(sha256, "3b0ed4adbd8b6693d8435a87e844c701d7c27abe0229150cca55488c8df1c7ad"))
		return 100;
	return strstr(text, "<|im_middle|>") && strstr(text, "reasoning_content") ? 40 : 0;
}

static int render(struct k_render *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, struct k_err *err)
{
	static const struct k_kimi k = {
		.system = "You are Kimi, an AI assistant created by Moonshot AI.", .names = true, .thinks = true, .media = k_kimi_image,
	};

	return k_kimi_render(&k, r, messages, tools, o, err);
}

const struct k_layout k_layout_k2_thinking = {
	.name = "k2_thinking", .about = "Kimi K2 Thinking: tools as JSON, the model opens its thoughts",
	.match = match, .render = render, .thinking = true, .start = K_PARSE_START, .tools = true,
};
