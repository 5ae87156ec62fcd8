/* chat_kimi_linear.c: Kimi-Linear-Instruct: the turns of K2-Instruct. Its template has the markers of K2-Instruct and is found as
 * that; this name is for --chat-layout. */
#include "libcore/base.h"
#include "libcore/chat_int.h"

static int match(const char *text K_UNUSED, const char *sha256 K_UNUSED) { return 0; }

static int render(struct k_render *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, struct k_err *err)
{
	static const struct k_kimi k = { .system = "You are Kimi, an AI assistant created by Moonshot AI.", .names = true };

	return k_kimi_render(&k, r, messages, tools, o, err);
}

const struct k_layout k_layout_kimi_linear = {
	.name = "kimi_linear", .about = "Kimi Linear Instruct: tools as JSON, no thinking",
	.match = match, .render = render, .start = K_PARSE_CONTENT, .tools = true,
};
