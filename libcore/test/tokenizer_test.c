/* tokenizer_test.c: texts, bytes and streams of testdata/tokenizer against ids that tiktoken and tokenizers gave; what is refused;
 * hostile texts in linear time. */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/log.h"
#include "libcore/tokenizer_int.h"
#include "libcore/test/vectors.h"
#include <stdlib.h>
#include <time.h>

struct job { const struct k_tokenizer *t; int flags; int n; };

static void encodes(const struct k_tokenizer *t, const struct k_json *text, int flags, const struct k_json *want)
{
	struct k_err err = { 0 };
	struct k_ids ids;

	k_ids_init(&ids);
	K_CHECK_OK(k_tokenizer_encode(t, k_json_string(text), k_json_len(text), flags, &ids, &err));
	test_same_ids(&ids, want, k_json_string(text));
	k_ids_fini(&ids);
}

static void decode(const struct k_tokenizer *t, const struct k_json *ids, struct k_buf *out)
{
	struct k_decoder d;

	k_buf_init(out, 0);
	k_decoder_init(&d, t, true);
	for (size_t i = 0; i < k_json_len(ids); i++)
		k_decoder_put(&d, (int32_t)k_json_int(k_json_at(ids, i)), out);
	k_decoder_end(&d, out);
	K_CHECK(!out->failed);
}

static void decodes(const struct k_tokenizer *t, const struct k_json *ids, const struct k_json *want)
{
	struct k_buf b;

	decode(t, ids, &b);
	K_CHECK_MSG(b.len == k_json_len(want) && (!b.len || !memcmp(b.data, k_json_string(want), b.len)), "'%s' wanted '%s'", b.data,
		k_json_string(want));
	k_buf_fini(&b);
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

static void kimi_row(void *arg, const struct k_json *row)
{
	const struct job *j = arg;
	const struct k_json *text = k_json_find(row, "text"), *ids = k_json_find(row, "ids"), *plain = k_json_find(row, "ids_no_special");

	encodes(j->t, text, K_ENC_SPECIALS, ids);
	encodes(j->t, text, K_ENC_SPECIALS | K_ENC_ADD, ids);
	encodes(j->t, text, 0, plain ? plain : ids);
	decodes(j->t, ids, text);
	decodes(j->t, plain ? plain : ids, text);
}

static void k25_row(void *arg, const struct k_json *row)
{
	const struct job *j = arg;

	encodes(j->t, k_json_find(row, "text"), k_json_bool(k_json_find(row, "specials")) ? K_ENC_SPECIALS : 0, k_json_find(row, "ids"));
	decodes(j->t, k_json_find(row, "ids"), k_json_find(row, "text"));
}

static void hf_row(void *arg, const struct k_json *row)
{
	const struct job *j = arg;
	const struct k_json *text = k_json_find(row, "text"), *ids = k_json_find(row, "ids"), *added = k_json_find(row, "ids_add_special");

	encodes(j->t, text, K_ENC_SPECIALS, ids);
	encodes(j->t, text, K_ENC_SPECIALS | K_ENC_ADD, added ? added : ids);
	decodes(j->t, ids, k_json_find(row, "decoded"));
}

static void all_texts(const char *folder, const char *file, void (*one)(void *, const struct k_json *), int least)
{
	struct k_tokenizer *t = test_tokenizer(folder);
	struct job j = { .t = t };
	int n = test_lines(file, one, &j);

	K_CHECK_MSG(n >= least, "%s: %d lines, wanted %d", file, n, least);
	k_tokenizer_free(t);
}

K_TEST(tokenizer_texts_kimi_synth) { all_texts("kimi-synth", "tokenizer/kimi-synth/vectors.jsonl", kimi_row, 400); }
K_TEST(tokenizer_texts_kimi_real) { all_texts("kimi-k2.5", "tokenizer/kimi-real/vectors.jsonl", kimi_row, 400); }
K_TEST(tokenizer_texts_kimi_k25) { all_texts("kimi-k2.5", "tokenizer/kimi-k2.5/vectors.jsonl", k25_row, 100); }
K_TEST(tokenizer_texts_llama3) { all_texts("llama3-synth", "tokenizer/llama3-synth/vectors.jsonl", hf_row, 400); }
K_TEST(tokenizer_texts_smol) { all_texts("smol-synth", "tokenizer/smol-synth/vectors.jsonl", hf_row, 400); }

/* --- bytes -------------------------------------------------------------------------------------------------------- */

static void bytes_row(void *arg, const struct k_json *row)
{
	const struct job *j = arg;
	const char *hex = k_json_string(k_json_find(row, "hex"));
	const struct k_json *want = k_json_find(row, "utf8_replace");
	struct k_err err = { 0 };
	struct k_merger m;
	struct k_buf bytes, text;
	struct k_ids ids;

	k_buf_init(&bytes, 0);
	k_buf_init(&text, 0);
	k_ids_init(&ids);
	for (; hex[0]; hex += 2)
		k_buf_putc(&bytes, (char)strtol((char[]){ hex[0], hex[1], 0 }, NULL, 16));
	k_merger_init(&m, j->t);
	K_CHECK_OK(k_merger_put(&m, bytes.data, bytes.len, &ids, &err));
	test_same_ids(&ids, k_json_find(row, "ids"), "bytes");
	k_merger_fini(&m);
	decodes(j->t, k_json_find(row, "ids"), want);
	k_utf8_mend(&text, bytes.data, bytes.len);
	K_CHECK(text.len == k_json_len(want) && !memcmp(text.data, k_json_string(want), text.len));
	k_ids_fini(&ids);
	k_buf_fini(&bytes);
	k_buf_fini(&text);
}

K_TEST(tokenizer_bytes) { all_texts("kimi-synth", "tokenizer/kimi-synth/bytes.jsonl", bytes_row, 300); }

/* --- streams ------------------------------------------------------------------------------------------------------ */

static void is_chunk(const struct k_buf *b, const struct k_json *want, size_t i)
{
	K_CHECK_MSG(b->len == k_json_len(want) && (!b->len || !memcmp(b->data, k_json_string(want), b->len)), "chunk %zu is '%s', wanted '%s'", i,
		b->len ? b->data : "", k_json_string(want));
}

/* CPython holds back the halves of surrogates, which no further byte can make whole; the decoder does not wait for them. */
static bool has_surrogate(const struct k_tokenizer *t, const struct k_json *ids)
{
	unsigned char before = 0;

	for (size_t i = 0; i < k_json_len(ids); i++) {
		size_t len;
		const char *p = k_tokenizer_bytes(t, (int32_t)k_json_int(k_json_at(ids, i)), &len);

		for (size_t k = 0; k < len; before = (unsigned char)p[k++])
			if (before == 0xed && (unsigned char)p[k] >= 0xa0 && (unsigned char)p[k] < 0xc0)
				return true;
	}
	return false;
}

static void stream_row(void *arg, const struct k_json *row)
{
	const struct job *j = arg;
	const struct k_json *ids = k_json_find(row, "ids"), *chunks = k_json_find(row, "chunks");
	struct k_decoder d;
	struct k_buf b;

	decodes(j->t, ids, k_json_find(row, "text"));
	if (has_surrogate(j->t, ids))
		return;
	k_buf_init(&b, 0);
	k_decoder_init(&d, j->t, true);
	for (size_t i = 0; i < k_json_len(ids); i++) {
		k_buf_reset(&b);
		k_decoder_put(&d, (int32_t)k_json_int(k_json_at(ids, i)), &b);
		is_chunk(&b, k_json_at(chunks, i), i);
	}
	k_buf_reset(&b);
	k_decoder_end(&d, &b);
	is_chunk(&b, k_json_find(row, "flush"), k_json_len(ids));
	k_buf_fini(&b);
}

K_TEST(tokenizer_streams_kimi_synth) { all_texts("kimi-synth", "tokenizer/kimi-synth/stream.jsonl", stream_row, 80); }
K_TEST(tokenizer_streams_kimi_real) { all_texts("kimi-k2.5", "tokenizer/kimi-real/stream.jsonl", stream_row, 80); }

/* --- long texts --------------------------------------------------------------------------------------------------- */

static void repeat(struct k_buf *b, const char *s, size_t n, int64_t times)
{
	for (int64_t i = 0; i < times; i++)
		k_buf_put(b, s, n);
}

static void digest_of(const struct k_ids *ids, char hex[65])
{
	struct k_err err = { 0 };
	uint8_t digest[32];
	struct k_buf b;

	k_buf_init(&b, 0);
	for (size_t i = 0; i < ids->n; i++)
		k_buf_printf(&b, i ? " %d" : "%d", ids->v[i]);
	K_CHECK_OK(k_sha256_once(b.data, b.len, digest, &err));
	k_hex(hex, digest);
	k_buf_fini(&b);
}

static void long_row(void *arg, const struct k_json *row)
{
	const struct job *j = arg;
	const struct k_json *parts = k_json_find(row, "parts"), *last = k_json_find(row, "last");
	struct k_err err = { 0 };
	struct k_buf b;
	struct k_ids ids;
	char hex[65];

	k_buf_init(&b, 0);
	k_ids_init(&ids);
	for (size_t i = 0; i < k_json_len(parts); i++) {
		const struct k_json *unit = k_json_at(k_json_at(parts, i), 0);

		repeat(&b, k_json_string(unit), k_json_len(unit), k_json_int(k_json_at(k_json_at(parts, i), 1)));
	}
	K_CHECK(!b.failed);
	K_CHECK_OK(k_tokenizer_encode(j->t, b.data, b.len, K_ENC_SPECIALS, &ids, &err));
	K_CHECK_MSG((int64_t)ids.n == k_json_int(k_json_find(row, "count")), "'%.20s...': %zu ids, wanted %lld", b.data, ids.n,
		(long long)k_json_int(k_json_find(row, "count")));
	for (size_t i = 0; i < k_json_len(last); i++)
		K_CHECK(ids.v[ids.n - k_json_len(last) + i] == k_json_int(k_json_at(last, i)));
	digest_of(&ids, hex);
	K_CHECK_MSG(k_json_len(k_json_find(row, "sha256_of_ids")) == 64 && !strcmp(hex, k_json_string(k_json_find(row, "sha256_of_ids"))), "'%.20s...': ids differ", b.data);
	k_ids_fini(&ids);
	k_buf_fini(&b);
}

K_TEST(tokenizer_long_kimi_synth) { all_texts("kimi-synth", "tokenizer/kimi-synth/long.jsonl", long_row, 8); }
K_TEST(tokenizer_long_kimi_real) { all_texts("kimi-k2.5", "tokenizer/kimi-real/long.jsonl", long_row, 8); }

/* CPU time of this thread, which does not pass while others have the CPU. */
static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The work for a text in so many parts of whole units, each encoded by itself, both ways. */
static double work(const struct k_tokenizer *t, const struct k_buf *b, size_t unit, size_t parts)
{
	double start = cpu_seconds();
	size_t n = b->len / parts / unit * unit;

	for (size_t i = 0; i < 2 * parts; i++) {
		struct k_err err = { 0 };
		struct k_ids ids;

		k_ids_init(&ids);
		K_CHECK_OK(k_tokenizer_encode(t, b->data + i / 2 * n, n, i % 2 ? K_ENC_SPECIALS : 0, &ids, &err));
		K_CHECK(ids.n > 0);
		k_ids_fini(&ids);
	}
	return cpu_seconds() - start;
}

/* A mebibyte of one letter is as much work as 32 times a 32nd of it; what is quadratic would be 32 times as much. */
static void is_linear(const char *folder, const char *unit)
{
	struct k_tokenizer *t = test_tokenizer(folder);
	struct k_buf b;

	k_buf_init(&b, 0);
	repeat(&b, unit, strlen(unit), (int64_t)((1u << 20) / strlen(unit)));
	double parts = work(t, &b, strlen(unit), 32), whole = work(t, &b, strlen(unit), 1);
	K_CHECK_MSG(whole < 8 * parts + 0.1, "%s: a mebibyte of '%s' takes %.2f s, in 32 parts %.2f s", folder, unit, whole, parts);
	k_buf_fini(&b);
	k_tokenizer_free(t);
}

K_TEST(tokenizer_is_linear_on_hostile_texts)
{
	static const char *const folders[] = { "kimi-synth", "llama3-synth", "smol-synth" };
	static const char *const units[] = { "a", " ", "\xe4\xb8\xad", "<|", "ab", "'", "\n " };

	for (size_t i = 0; i < K_LEN(folders); i++)
		for (size_t k = 0; k < K_LEN(units); k++)
			if (strcmp(folders[i], "smol-synth") || strcmp(units[k], "\n "))
				is_linear(folders[i], units[k]);
}

/* --- ids ---------------------------------------------------------------------------------------------------------- */

/* Every ordinary token comes back from its bytes, and every id has bytes. */
K_TEST(tokenizer_every_token_is_its_bytes)
{
	struct k_tokenizer *t = test_tokenizer("kimi-k2.5");
	struct k_err err = { 0 };
	struct k_merger m;
	struct k_ids ids;
	int32_t n = k_tokenizer_vocab(t);

	K_CHECK_MSG(n == 163840, "%d ids", n);
	k_merger_init(&m, t);
	k_ids_init(&ids);
	for (int32_t id = 0; id < n; id++) {
		size_t len;
		const char *p = k_tokenizer_bytes(t, id, &len);

		K_CHECK_MSG(p && len, "token %d has no bytes", id);
		K_CHECK(k_tokenizer_is_special(t, id) == (id >= 163584));
		ids.n = 0;
		if (id < 163584) {
			K_CHECK_OK(k_merger_put(&m, p, len, &ids, &err));
			K_CHECK_MSG(ids.n == 1 && ids.v[0] == id, "token %d becomes %d", id, ids.v[0]);
		} else {
			char *text = k_strndup(p, len);

			K_CHECK(k_tokenizer_special(t, text) == id);
			k_free(text);
		}
	}
	K_CHECK(k_tokenizer_bos(t) == 163584 && k_tokenizer_special(t, "<|reserved_token_163589|>") == 163589);
	K_CHECK(k_tokenizer_is_control(t, 163586) && !k_tokenizer_is_control(t, 163597) && k_tokenizer_special(t, "<|x|>") == -1);
	k_ids_fini(&ids);
	k_merger_fini(&m);
	k_tokenizer_free(t);
}

K_TEST(tokenizer_refuses_ill_formed_text)
{
	static const char *const texts[] = { "ab\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe4\xb8" };
	struct k_tokenizer *t = test_tokenizer("kimi-synth");
	struct k_err err = { 0 };
	struct k_ids ids;

	k_ids_init(&ids);
	for (size_t i = 0; i < K_LEN(texts); i++)
		K_CHECK(k_tokenizer_encode(t, texts[i], strlen(texts[i]), 0, &ids, &err) == K_EFORMAT);
	K_CHECK(k_tokenizer_encode(t, texts[0], 3, 0, &ids, &err) == K_EFORMAT && strstr(err.msg, "byte 2"));
	K_CHECK(!ids.n);
	k_ids_fini(&ids);
	k_tokenizer_free(t);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static int opens(const char *name, const char *text, int64_t vocab, struct k_err *err)
{
	struct k_tokenizer *t;
	struct k_files files;

	k_files_init(&files, "x");
	test_add_file(&files, name, text, strlen(text));
	int rc = k_tokenizer_open(&t, &files, vocab, err);
	k_files_fini(&files);
	K_CHECK(rc < 0 || t);
	k_tokenizer_free(t);
	return rc;
}

K_TEST(tokenizer_refuses_damaged_files)
{
	static const char *const ranks[] = { "", "\n", "IQ==", "IQ== x\n", "!!!! 0\n", "IQ== 0\nIQ== 1\n", "IQ== 1\n", "IQ== 0 1\n", "IQ 0\n", "IQ== 99999999999999999999\n" };
	static const char *const bpe[] = { "", "{", "[]", "{}", "{\"model\": {\"type\": \"Unigram\"}}", "{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": [\"a b\"]}}",
		"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 4000000000}, \"merges\": []}}" };
	struct k_err err = { 0 };

	for (size_t i = 0; i < K_LEN(ranks); i++)
		K_CHECK_MSG(opens("tiktoken.model", ranks[i], 0, &err) < 0 && strstr(err.msg, "tiktoken.model"), "'%s': '%s'", ranks[i], err.msg);
	for (size_t i = 0; i < K_LEN(bpe); i++)
		K_CHECK_MSG(opens("tokenizer.json", bpe[i], 0, &err) < 0 && strstr(err.msg, "tokenizer.json"), "'%s': '%s'", bpe[i], err.msg);
	K_CHECK(opens("config.json", "{}", 0, &err) == K_ENOENT);
}

K_TEST(tokenizer_refuses_ids_beyond_the_model)
{
	struct k_err err = { 0 };
	size_t len;
	char *data = test_read(k_test_data("tokenizer/kimi-synth/tiktoken.model"), &len);

	K_CHECK(opens("tiktoken.model", data, 2560, &err) == 0);
	K_CHECK(opens("tiktoken.model", data, 2559, &err) == K_EFORMAT);
	k_free(data);
}
