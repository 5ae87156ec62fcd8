/* chat_smollm2.c: SmolLM2-Instruct: ChatML with a default system text. */
#include "libcore/base.h"
#include "libcore/chat_int.h"

static int match(const char *text, const char *sha256)
{
	if (!strcmp(sha256, "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"))
		return 100;
	return strstr(text, "<|im_start|>") && strstr(text, "SmolLM") ? 15 : 0;
}

static int render(struct k_render *r, const struct k_json *messages, const struct k_json *tools K_UNUSED, const struct k_chat_options *o, struct k_err *err)
{
	return k_chatml_render("You are a helpful AI assistant named SmolLM, trained by Hugging Face", r, messages, o, err);
}

const struct k_layout k_layout_smollm2 = {
	.name = "smollm2", .about = "SmolLM2 Instruct: ChatML with its own system text",
	.match = match, .render = render, .start = K_PARSE_CONTENT,
};
