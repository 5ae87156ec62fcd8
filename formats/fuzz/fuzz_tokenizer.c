/* fuzz_tokenizer.c: any files are a tokenizer or an error; a tokenizer encodes any text to ids of its own, and decoding ends.
 *
 * An input that begins with '{' is a tokenizer.json; else it is a tiktoken.model, and what stands behind its first NUL the
 * tokenizer_config.json. The text that is encoded is the input's own end, mended to UTF-8, and one with most kinds of characters. */
#include "libcore/base.h"
#include <stdlib.h>
#include "libcore/json.h"
#include "libcore/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char words[] = "Hello world's  123456 \xc3\xa9t\xc3\xa9 \xe6\xbc\xa2\xe5\xad\x97\xe3\x81\x8b\xe3\x81\xaa \xf0\x9f\x98\x80\r\n\t {\"a\": [1.5, -2e10]} "
	"<|im_end|>[BOS]<s></s> XMLHttpRequest ";
static const char config[] = "{\"added_tokens_decoder\": {\"300\": {\"content\": \"<|im_end|>\", \"special\": true}, "
	"\"301\": {\"content\": \"[BOS]\", \"special\": true}}, \"bos_token\": \"[BOS]\", \"eos_token\": \"<|im_end|>\"}";

static int add(struct k_files *files, const char *name, const void *p, size_t n, struct k_err *err)
{
	char *copy = k_strndup(p, n);

	/* k_strndup ends at a NUL, as no text of a tokenizer has one. */
	return copy ? k_files_add(files, name, copy, strlen(copy), err) : k_err_nomem(err, n, name);
}

static int add_files(struct k_files *files, const uint8_t *data, size_t size, struct k_err *err)
{
	size_t first = strnlen((const char *)data, size);
	int r;

	if (data[0] == '{')
		return add(files, "tokenizer.json", data, size, err);
	r = add(files, "tiktoken.model", data, first, err);
	if (r < 0)
		return r;
	if (first + 1 < size)
		return add(files, "tokenizer_config.json", data + first + 1, size - first - 1, err);
	return add(files, "tokenizer_config.json", config, sizeof(config) - 1, err);
}

static void encode(const struct k_tokenizer *t, const char *text, size_t len, int flags)
{
	struct k_err err = { 0 };
	struct k_decoder d;
	struct k_ids ids;
	struct k_buf out;

	k_ids_init(&ids);
	k_buf_init(&out, 0);
	k_decoder_init(&d, t, true);
	if (k_tokenizer_encode(t, text, len, flags, &ids, &err) == 0)
		for (size_t i = 0; i < ids.n; i++) {
			if (ids.v[i] < 0 || ids.v[i] >= k_tokenizer_vocab(t))
				abort();
			k_decoder_put(&d, ids.v[i], &out);
		}
	k_decoder_end(&d, &out);
	/* Decoded text is text, whatever the tokens hold. */
	if (k_buf_ok(&out, "a text", &err) < 0 || !k_utf8_ok(out.data ? out.data : "", out.len))
		abort();
	k_ids_fini(&ids);
	k_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct k_err err = { 0 };
	struct k_tokenizer *t;
	struct k_files files;
	struct k_buf tail;
	int r = -1;

	if (size == 0)
		return -1;
	k_files_init(&files, "input");
	if (add_files(&files, data, size, &err) == 0)
		r = k_tokenizer_open(&t, &files, 0, &err);
	if (r == 0) {
		k_buf_init(&tail, 0);
		k_utf8_mend(&tail, (const char *)data + size - K_MIN(size, 512u), K_MIN(size, 512u));
		for (int flags = 0; flags <= (K_ENC_SPECIALS | K_ENC_ADD); flags++) {
			encode(t, words, sizeof(words) - 1, flags);
			encode(t, tail.data ? tail.data : "", tail.len, flags);
		}
		k_buf_fini(&tail);
		k_tokenizer_free(t);
	}
	k_files_fini(&files);
	return r == 0 ? 0 : -1;
}
