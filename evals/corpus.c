/* corpus.c: see corpus.h. */
#include "libcore/base.h"
#include "evals/corpus.h"
#include "libcore/chat.h"
#include "libcore/hash.h"
#include "libcore/io.h"

#define TEXT_MAX (1u << 30)

int k_corpus_read(struct k_model *m, const char *path, struct k_ids *ids, char digest[65], struct k_err *err)
{
	struct k_source *src = NULL;
	struct k_buf text;
	const char *why;
	const struct k_tokenizer *t = k_model_tokenizer(m, &why);
	uint8_t raw[32];
	if (!t)
		return k_err_set(err, K_ENOENT, "a text needs a tokenizer: %s", why);
	k_buf_init(&text, TEXT_MAX);
	int r = k_source_open(&src, path, err);
	if (r == 0)
		r = k_source_slurp(src, &text, TEXT_MAX, err);
	if (r == 0)
		r = k_sha256_once(text.data ? text.data : "", text.len, raw, err);
	if (r == 0) {
		k_hex(digest, raw);
		r = k_tokenizer_encode(t, text.data ? text.data : "", text.len, 0, ids, err);
		if (r < 0)
			k_err_add(err, "in '%s'", path);
	}
	k_source_close(src);
	k_buf_fini(&text);
	return r;
}

/* Does a rendered chat begin with this id? */
static int chat_begins_with(struct k_model *m, int32_t bos, bool *yes, struct k_err *err)
{
	static const char one[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
	const struct k_layout *l = k_layout_match(k_model_files(m), err);
	struct k_json *request;
	struct k_prompt prompt;
	*yes = false;
	if (!l)
		return 0;
	int r = k_json_parse(&request, one, sizeof(one) - 1, K_JSON_STRICT, "a request", err);
	if (r < 0)
		return r;
	k_prompt_init(&prompt);
	r = k_chat_render(l, k_model_tokenizer(m, NULL), request, false, &prompt, err);
	*yes = r == 0 && prompt.ids.n && prompt.ids.v[0] == bos;
	k_prompt_fini(&prompt);
	k_json_free(request);
	return r == K_EUNSUP ? 0 : r;   /* the tokenizer lacks the layout's tokens: no chat, no BOS */
}

int k_corpus_bos(struct k_model *m, const char *how, int32_t *out, struct k_err *err)
{
	int32_t bos = k_tokenizer_bos(k_model_tokenizer(m, NULL));
	bool yes = false;
	if (!how)
		how = "auto";
	if (bos < 0)
		bos = k_model_hp(m)->bos;
	if (bos >= k_model_hp(m)->n_vocab)
		bos = -1;
	*out = -1;
	if (!strcmp(how, "no"))
		return 0;
	if (!strcmp(how, "yes")) {
		*out = bos;
		return bos < 0 ? k_err_set(err, K_EUSAGE, "--bos yes: this model has no BOS token") : 0;
	}
	int r = bos < 0 ? 0 : chat_begins_with(m, bos, &yes, err);
	if (yes)
		*out = bos;
	return r;
}
