/* chat_k25.c: Kimi-K2.5 and later: no default system text, tools as TypeScript, the prompt opens the thoughts or closes them. */
#include "libcore/base.h"
#include "libcore/chat_int.h"

/* K2.5, and K2.5 with preserve_thinking. */
static const char *const known[] = {
	"27f0a184f44c84b6a9b6ded8f16c876896153bd9a7e878c066cf2bdaaa64ee9c",
	"52c3031506cc6033bf88d4db5ac8539b15ecd93682581d829a23100b47dc8279",
};

static int match(const char *text, const char *sha256)
{
	for (size_t i = 0; i < K_LEN(known); i++)
		if (!strcmp(sha256, known[i]))
			return 100;
	return strstr(text, "kimi_k25_video_placeholder") ? 50 : 0;
}

static int media(struct k_render *r, const char *type, struct k_err *err)
{
	static const char *const rest[] = { "<|media_content|>", "<|media_pad|>", "<|media_end|>" };
	bool image = !strcmp(type, "image") || !strcmp(type, "image_url");
	int rc;

	if (!image && strcmp(type, "video") && strcmp(type, "video_url"))
		return 1;
	if (!image) {
		k_render_puts(r, "<|kimi_k25_video_placeholder|>\n");
		return 0;
	}
	rc = k_render_special(r, "<|media_begin|>", err);
	k_render_puts(r, "image");
	for (size_t i = 0; i < K_LEN(rest) && !rc; i++)
		rc = k_render_special(r, rest[i], err);
	k_render_puts(r, "\n");
	return rc;
}

static int render(struct k_render *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, struct k_err *err)
{
	static const struct k_kimi k = { .names = true, .thinks = true, .opens = true, .typescript = true, .media = media };

	return k_kimi_render(&k, r, messages, tools, o, err);
}

const struct k_layout k_layout_k25 = {
	.name = "k25", .about = "Kimi K2.5 and K2.6: tools as TypeScript, thinking or not",
	.match = match, .render = render, .thinking = true, .start = K_PARSE_REASON, .tools = true,
};
