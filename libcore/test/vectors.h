/* vectors.h: what tests of text need from testdata/: files, tokenizers, and the lines of a .jsonl. */
#ifndef K_TEST_VECTORS_H
#define K_TEST_VECTORS_H

#include <stdio.h>
#include <unistd.h>
#include "libcore/json.h"
#include "libcore/test.h"
#include "libcore/tokenizer.h"

static inline char *test_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	struct k_buf b;
	char part[65536];
	size_t n;

	if (!f)
		k_test_fail(__FILE__, __LINE__, "%s cannot be opened", path);
	k_buf_init(&b, 0);
	while ((n = fread(part, 1, sizeof part, f)) > 0)
		k_buf_put(&b, part, n);
	fclose(f);
	K_CHECK(!b.failed && b.len);
	return k_buf_take(&b, len);
}

static inline void test_add_file(struct k_files *files, const char *name, const char *text, size_t len)
{
	struct k_err err = { 0 };

	K_CHECK_OK(k_files_add(files, name, k_strndup(text, len), len, &err));
}

/* The tokenizer in testdata/tokenizer/FOLDER; skips the test where there is none. */
static inline struct k_tokenizer *test_tokenizer(const char *folder)
{
	static const char *const names[] = { "tiktoken.model", "tokenizer_config.json", "tokenizer.json" };
	struct k_tokenizer *t;
	struct k_files files;
	struct k_err err = { 0 };

	k_files_init(&files, folder);
	for (size_t i = 0; i < K_LEN(names); i++) {
		char rel[128];
		size_t len;

		snprintf(rel, sizeof rel, "tokenizer/%s/%s", folder, names[i]);
		const char *path = k_test_data(rel);
		if (access(path, R_OK))
			continue;
		char *data = test_read(path, &len);
		test_add_file(&files, names[i], data, len);
		k_free(data);
	}
	if (!files.n)
		k_test_skip("testdata/tokenizer/%s is not there", folder);
	K_CHECK_OK(k_tokenizer_open(&t, &files, 0, &err));
	k_files_fini(&files);
	return t;
}

/* The vocabulary of Kimi-K3: the ranks that all Kimi models have, and its own names of added tokens. */
static inline void test_k3_files(struct k_files *files)
{
	static const struct { int id; const char *text; } added[] = {
		{ 163584, "[BOS]" }, { 163585, "[EOS]" }, { 163586, "<|end_of_msg|>" }, { 163587, "<|open|>" }, { 163588, "<|close|>" }, { 163589, "<|sep|>" },
		{ 163593, "[EOT]" }, { 163602, "<|media_begin|>" }, { 163603, "<|media_content|>" }, { 163604, "<|media_end|>" }, { 163605, "<|media_pad|>" },
		{ 163838, "[UNK]" }, { 163839, "[PAD]" },
	};
	const char *path = k_test_data("tokenizer/kimi-k2.5/tiktoken.model");
	struct k_buf config;
	size_t len;

	if (access(path, R_OK))
		k_test_skip("%s is not there", path);
	char *ranks = test_read(path, &len);
	test_add_file(files, "tiktoken.model", ranks, len);
	k_free(ranks);
	k_buf_init(&config, 0);
	for (size_t i = 0; i < sizeof added / sizeof *added; i++)
		k_buf_printf(&config, "%s\"%d\": {\"content\": \"%s\", \"special\": %s}", i ? ", " : "{\"added_tokens_decoder\": {", added[i].id, added[i].text,
			added[i].id >= 163587 && added[i].id <= 163589 ? "false" : "true");
	k_buf_puts(&config, "}}");
	test_add_file(files, "tokenizer_config.json", config.data, config.len);
	k_buf_fini(&config);
}

static inline struct k_tokenizer *test_k3_tokenizer(void)
{
	struct k_tokenizer *t;
	struct k_files files;
	struct k_err err = { 0 };

	k_files_init(&files, "k3");
	test_k3_files(&files);
	K_CHECK_OK(k_tokenizer_open(&t, &files, 0, &err));
	k_files_fini(&files);
	return t;
}

/* Calls one for each line of a file under testdata/; returns how many there are. */
static inline int test_lines(const char *rel, void (*one)(void *arg, const struct k_json *row), void *arg)
{
	struct k_err err = { 0 };
	size_t len;
	char *data = test_read(k_test_data(rel), &len);
	int n = 0;

	for (char *line = data, *end; line < data + len; line = end + 1, n++) {
		struct k_json *row;

		end = memchr(line, '\n', (size_t)(data + len - line));
		end = end ? end : data + len;
		K_CHECK_OK(k_json_parse(&row, line, (size_t)(end - line), K_JSON_LAST_WINS | K_JSON_NUL, rel, &err));
		one(arg, row);
		k_json_free(row);
	}
	k_free(data);
	return n;
}

static inline void test_same_ids(const struct k_ids *have, const struct k_json *want, const char *what)
{
	for (size_t i = 0; i < k_json_len(want) && i < have->n; i++)
		K_CHECK_MSG(have->v[i] == k_json_int(k_json_at(want, i)), "%.200s: id %zu is %d, wanted %lld", what, i, have->v[i],
			(long long)k_json_int(k_json_at(want, i)));
	K_CHECK_MSG(have->n == k_json_len(want), "%.200s: %zu ids, wanted %zu", what, have->n, k_json_len(want));
}

#endif
