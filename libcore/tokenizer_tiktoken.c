/* tokenizer_tiktoken.c: reads tiktoken.model and the special tokens of tokenizer_config.json.
 *
 *   IQ== 0\n            base64 of the token's bytes, one space, its rank; ranks are 0, 1, 2, ... line by line
 *   Ig== 1\n            every byte is a token; no token twice; at most 256 bytes
 *
 * Behind the n ranks are 256 special ids. Those that the configuration does not name are <|reserved_token_ID|>; without a
 * configuration the names of Kimi K2 stand at their places. */
#include "libcore/base.h"
#include "libcore/base64.h"
#include "libcore/tokenizer_int.h"
#include <stdio.h>
#include <stdlib.h>

enum { SPECIAL_IDS = 256, TOKEN_MOST = 256, RANKS_MOST = 1 << 24 };

static const struct { int at; const char *text; bool shown; } k2_names[] = {
	{ 0, "[BOS]", false }, { 1, "[EOS]", false }, { 2, "<|im_end|>", false }, { 3, "<|im_user|>", false },
	{ 4, "<|im_assistant|>", false }, { 6, "<|start_header_id|>", false }, { 7, "<|end_header_id|>", false },
	{ 9, "[EOT]", false }, { 10, "<|im_system|>", false }, { 11, "<|tool_calls_section_begin|>", true },
	{ 12, "<|tool_calls_section_end|>", true }, { 13, "<|tool_call_begin|>", true },
	{ 14, "<|tool_call_argument_begin|>", true }, { 15, "<|tool_call_end|>", true }, { 17, "<|im_middle|>", false },
	{ 18, "<|media_begin|>", false }, { 19, "<|media_content|>", false }, { 20, "<|media_end|>", false },
	{ 21, "<|media_pad|>", false }, { 22, "<think>", true }, { 23, "</think>", true }, { 254, "[UNK]", false },
	{ 255, "[PAD]", false },
};

bool k_tokenizer_kimi_shows(const char *text, size_t len)
{
	for (size_t i = 0; i < K_LEN(k2_names); i++)
		if (k2_names[i].shown && strlen(k2_names[i].text) == len && memcmp(k2_names[i].text, text, len) == 0)
			return true;
	return false;
}

/* Is [p, end) this number, as one writes it? */
static bool spells(const char *p, const char *end, int32_t rank)
{
	int64_t value = 0;

	if (end - p < 1 || end - p > 9 || (*p == '0' && end - p > 1))
		return false;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return false;
		value = 10 * value + (*p - '0');
	}
	return value == rank;
}

/* One line [p, end) into token `rank`. Its bytes go to *room, which moves on. */
static int read_line(struct k_tokenizer *t, const char *p, const char *end, int32_t rank, char **room, const char *where, struct k_err *err)
{
	const char *space = memchr(p, ' ', (size_t)(end - p));
	char *text = *room;
	int len;

	if (!space)
		return k_err_set(err, K_EFORMAT, "'%s': line %d has no space, wanted base64, a space and a rank", where, rank + 1);
	if (space - p > (TOKEN_MOST + 2) / 3 * 4)
		return k_err_set(err, K_EFORMAT, "'%s': the token of rank %d has more than %d bytes", where, rank, TOKEN_MOST);
	len = (int)k_base64_bytes(text, p, (size_t)(space - p));
	if (len < 1 || len > TOKEN_MOST)
		return k_err_set(err, K_EFORMAT, "'%s': the token of rank %d is not base64 of 1 to %d bytes", where, rank, TOKEN_MOST);
	if (!spells(space + 1, end, rank))
		return k_err_set(err, K_EFORMAT, "'%s': rank '%.*s' where %d is wanted: ranks go up by one from 0", where,
			(int)K_MIN(end - space - 1, 40), space + 1, rank);
	t->tokens[rank] = (struct k_token){ text, (uint32_t)len, 0 };
	t->longest = K_MAX(t->longest, (size_t)len);
	if (len == 1)
		t->byte_id[(unsigned char)text[0]] = rank;
	*room += len;
	return 0;
}

/* A vocabulary is read at each start, so this is made to be quick: one piece of memory for all texts (a line is longer than what it
 * spells). A table kept beside the file would have to be compared with it, which is no less work. */
static int read_ranks(struct k_tokenizer *t, const struct k_file *f, int32_t *n_ranks, struct k_err *err)
{
	const char *p = f->data, *end = f->data + f->len, *eol;
	char *room;
	size_t lines = 1;
	int r = 0;

	for (const char *q = p; (q = memchr(q, '\n', (size_t)(end - q))); q++)
		lines++;
	if (lines > RANKS_MOST)
		return k_err_set(err, K_EFORMAT, "'%s' has %zu lines, wanted at most %d", f->name, lines, RANKS_MOST);
	t->tokens = k_arena_array(&t->arena, lines + SPECIAL_IDS, sizeof *t->tokens);
	room = k_arena_aligned(&t->arena, f->len);
	if (!t->tokens || !room)
		return k_err_nomem(err, lines * sizeof *t->tokens + f->len, f->name);
	for (int b = 0; b < 256; b++)
		t->byte_id[b] = -1;
	for (; p < end && !r; p = eol + 1) {
		eol = memchr(p, '\n', (size_t)(end - p));
		if (!eol)
			eol = end;
		if (eol > p)
			r = read_line(t, p, eol, (*n_ranks)++, &room, f->name, err);
	}
	if (!r)
		r = k_ranks_fill(t, *n_ranks, f->name, err);
	for (int b = 0; b < 256 && !r; b++)
		if (t->byte_id[b] < 0)
			r = k_err_set(err, K_EFORMAT, "'%s' has no token for byte 0x%02x, wanted all 256", f->name, b);
	return r;
}

/* --- special tokens ----------------------------------------------------------------------------------------------------- */

static int set_special(struct k_tokenizer *t, int32_t id, const char *text, size_t len, bool control, const char *where,
	struct k_err *err)
{
	char *copy;

	if (t->tokens[id].text)
		return k_err_set(err, K_EFORMAT, "'%s': special token id %d is there twice", where, id);
	copy = k_arena_strndup(&t->arena, text, len);
	if (!copy)
		return k_err_nomem(err, len, where);
	t->tokens[id] = (struct k_token){ copy, (uint32_t)len, K_TOKEN_ADDED | (control ? K_TOKEN_CONTROL : 0) };
	t->specials[t->n_specials++] = (struct k_special){ copy, len, id, false };
	return 0;
}

static int read_config(struct k_tokenizer *t, int32_t base, const struct k_json *added, struct k_err *err)
{
	static const char where[] = "tokenizer_config.json";
	const char *key;
	struct k_json *v;

	if (k_json_kind(added) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': added_tokens_decoder is %s, wanted an object", where, k_json_kind_name(added));
	for (void *it = NULL; k_json_next(added, &it, &key, &v); ) {
		struct k_added a;
		char *end;
		long id = strtol(key, &end, 10);
		int r;

		if (*key < '0' || *key > '9' || *end || id < base || id >= base + SPECIAL_IDS)
			return k_err_set(err, K_EFORMAT, "'%s': added_tokens_decoder has id '%.40s', wanted %d to %d", where, key, base, base + SPECIAL_IDS - 1);
		r = k_tokenizer_read_added(v, where, &a, err);
		if (r < 0)
			return r;
		r = set_special(t, (int32_t)id, a.text, a.len, a.special, where, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_specials(struct k_tokenizer *t, int32_t base, const struct k_json *config, const char *where, struct k_err *err)
{
	const struct k_json *added = k_json_find(config, "added_tokens_decoder");
	char text[48];
	int r = 0;

	t->specials = k_arena_array(&t->arena, SPECIAL_IDS, sizeof *t->specials);
	if (!t->specials)
		return k_err_nomem(err, SPECIAL_IDS * sizeof *t->specials, where);
	if (k_json_kind(added) != K_JSON_NULL)
		r = read_config(t, base, added, err);
	else
		for (size_t i = 0; i < K_LEN(k2_names) && !r; i++)
			r = set_special(t, base + k2_names[i].at, k2_names[i].text, strlen(k2_names[i].text), !k2_names[i].shown, where, err);
	for (int32_t id = base; id < base + SPECIAL_IDS && !r; id++) {
		if (t->tokens[id].text)
			continue;
		snprintf(text, sizeof text, "<|reserved_token_%d|>", id);
		r = set_special(t, id, text, strlen(text), true, where, err);
	}
	return r ? r : k_tokenizer_sort_specials(t, where, err);
}

int k_tokenizer_read_tiktoken(struct k_tokenizer *t, const struct k_file *model, const struct k_json *config, struct k_err *err)
{
	int32_t n_ranks = 0;
	int r = read_ranks(t, model, &n_ranks, err);

	if (!r)
		r = read_specials(t, n_ranks, config, config ? "tokenizer_config.json" : model->name, err);
	if (r < 0)
		return r;
	t->n = n_ranks + SPECIAL_IDS;
	t->split = K_SPLIT_KIMI;
	t->bos = k_tokenizer_special(t, "[BOS]");
	t->eos = k_tokenizer_special(t, "[EOS]");
	return 0;
}
