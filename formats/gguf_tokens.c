/* gguf_tokens.c: the tokenizer in the keys of a GGUF file, written down as tokenizer.json and tokenizer_config.json.
 *
 *   tokens + token_type   -> model.vocab (ordinary ones), added_tokens (control and user-defined ones)
 *   merges                -> model.merges, each checked against the vocabulary
 *   pre                   -> pre_tokenizer, by a table of the names that are known
 *   add_bos_token, ids    -> post_processor, and the names in tokenizer_config.json
 *
 * Kimi's vocabulary ("kimi-k2") is one of ranks: an ordinary token's id is its rank, and merges follow from ranks. It becomes
 * tiktoken.model, and the specials tokenizer_config.json's added_tokens_decoder.
 *
 * Only byte-level BPE ("gpt2"). The text is written straight into a buffer: a vocabulary has a hundred thousand tokens. */
#include "libcore/base.h"
#include <stdio.h>
#include "formats/gguf_head.h"
#include "libcore/tokenizer.h"
#include "libcore/unicode.h"

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED };

struct token { const char *text; size_t len; int64_t type; };

struct maker {
	const struct k_gguf *g;
	const struct k_json *keys;
	struct k_err *err;
	struct token *tokens;
	int64_t n, last;                /* last: the highest ordinary id, -1 none */
	bool gaps;                      /* an id below the highest that is used is not */
	struct k_map by_text;           /* all that are used */
	struct k_buf b, joined;
};

/* What a name in tokenizer.ggml.pre stands for. */
static const struct profile { const char *pre, *splitter /* NULL: ranks */; bool whole_first, adds_bos; } profiles[] = {
#define BYTES(regex) "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": " regex "}"
#define ROW "{\"type\": \"Sequence\", \"pretokenizers\": ["
#define LLAMA3 ROW "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(?i:'s|'t|'re|'ve|'m|'ll|'d)" \
	"|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}" \
	", \"behavior\": \"Isolated\", \"invert\": false}, " BYTES("false") "]}"
	{ "kimi-k2", NULL, false, false },
	{ "gpt-2", BYTES("true"), false, false },
	{ "smollm", ROW "{\"type\": \"Digits\", \"individual_digits\": true}, " BYTES("true") "]}", false, false },
	{ "llama-bpe", LLAMA3, true, true },
	{ "llama-v3", LLAMA3, true, true },
	{ "llama3", LLAMA3, true, true },
#undef LLAMA3
#undef ROW
#undef BYTES
};

#define wrong(m, ...) k_err_set((m)->err, K_EFORMAT, __VA_ARGS__)
#define WHERE(m) ((m)->g->where)

static const struct token *find(const struct maker *m, const char *text, size_t len) { return k_map_find(&m->by_text, text, len); }

/* --- reading ------------------------------------------------------------------------------------------------------------- */

static int find_profile(struct maker *m, const struct profile **out)
{
	const char *pre;
	int r = k_json_get_str(m->keys, "tokenizer.ggml.pre", &pre, WHERE(m), m->err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < K_LEN(profiles); i++)
		if (strcmp(profiles[i].pre, pre) == 0) {
			*out = &profiles[i];
			return 0;
		}
	return k_err_set(m->err, K_EUNSUP, "'%s': tokenizer.ggml.pre is '%.80s', wanted gpt-2, smollm, llama-bpe or kimi-k2", WHERE(m), pre);
}

/* An array of the tokenizer. n < 0: any length. */
static int find_array(struct maker *m, const char *key, bool strings, int64_t n, const struct k_gguf_value **out)
{
	const struct k_gguf_value *v = k_gguf_find(m->g, key);
	bool fits;

	*out = v;
	if (!v)
		return k_err_set(m->err, K_ENOENT, "'%s': key %s is missing", WHERE(m), key);
	fits = strings ? v->type == K_GGUF_STRING : v->type == K_GGUF_I32 || v->type == K_GGUF_U32;
	if (!v->array || !fits)
		return wrong(m, "'%s': key %s is no array of %s", WHERE(m), key, strings ? "strings" : "32-bit integers");
	if (n >= 0 && v->n != (uint64_t)n)
		return k_err_set(m->err, K_ESHAPE, "'%s': key %s has %llu elements, wanted %lld", WHERE(m), key, (unsigned long long)v->n,
			(long long)n);
	return 0;
}

/* Two tokens of one text could not be told apart; those that nothing uses need none. */
static int read_token(struct maker *m, const struct k_gguf_value *types, int64_t id)
{
	struct token *t = &m->tokens[id];
	int put;

	if (!k_gguf_int_at(types->type, types->p + 4 * id, &t->type) || t->type < NORMAL || t->type > UNUSED)
		return k_err_set(m->err, K_EUNSUP, "'%s': token %lld has type %lld, wanted 1 to 5", WHERE(m), (long long)id, (long long)t->type);
	if (t->type == UNUSED)
		return 0;
	if (t->len == 0)
		return wrong(m, "'%s': token %lld is empty", WHERE(m), (long long)id);
	put = k_map_put(&m->by_text, t->text, t->len, t);
	if (put < 0)
		return k_err_nomem(m->err, t->len, "the tokens");
	if (put == 0)
		return wrong(m, "'%s': token %lld is '%.*s', which token %lld is too", WHERE(m), (long long)id, (int)K_MIN(t->len, 60), t->text,
			(long long)(find(m, t->text, t->len) - m->tokens));
	if (t->type == NORMAL)
		m->last = id;
	return 0;
}

static int read_tokens(struct maker *m, int64_t vocab)
{
	const struct k_gguf_value *texts, *types;
	const uint8_t *p;
	int r = find_array(m, "tokenizer.ggml.tokens", true, vocab > 0 ? vocab : -1, &texts);

	if (r == 0)
		r = find_array(m, "tokenizer.ggml.token_type", false, (int64_t)texts->n, &types);
	if (r < 0)
		return r;
	m->tokens = k_calloc((size_t)texts->n, sizeof(*m->tokens));
	if (!m->tokens)
		return k_err_nomem(m->err, (size_t)texts->n * sizeof(*m->tokens), "the tokens");
	p = texts->p;
	for (m->n = 0; r == 0 && m->n < (int64_t)texts->n; m->n++) {
		struct token *t = &m->tokens[m->n];

		t->text = k_gguf_string(&p, &t->len);
		r = read_token(m, types, m->n);
		m->gaps |= m->n > 0 && t[-1].type == UNUSED && t->type != UNUSED;
	}
	return r;
}

/* A key that is the id of a token; NULL when it is absent. */
static int find_id(struct maker *m, const char *key, const struct token **out)
{
	int64_t id;
	int r = k_gguf_int_or(m->g, key, 0, m->n - 1, -1, &id, m->err);

	*out = r == 0 && id >= 0 ? &m->tokens[id] : NULL;
	return r;
}

/* --- tokenizer.json -------------------------------------------------------------------------------------------------------- */

/* An added token that is not in the vocabulary has the next free id: so it is with those behind the last ordinary one, as in
 * Llama-3. Others need a place in the vocabulary to have theirs, as in SmolLM2. */
static bool in_vocab(const struct maker *m, const struct token *t)
{
	return t->type == NORMAL || (t->type != UNUSED && (m->gaps || t - m->tokens < m->last));
}

static void put_added(struct maker *m)
{
	const char *comma = "\n";

	k_buf_puts(&m->b, "  \"added_tokens\": [");
	for (int64_t id = 0; id < m->n; id++) {
		const struct token *t = &m->tokens[id];

		if (t->type == NORMAL || t->type == UNUSED)
			continue;
		k_buf_printf(&m->b, "%s    {\"id\": %lld, \"content\": ", comma, (long long)id);
		k_json_quote(&m->b, t->text, t->len);
		k_buf_printf(&m->b, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": %s}",
			t->type == USER_DEFINED ? "false" : "true");
		comma = ",\n";
	}
	k_buf_puts(&m->b, "\n  ],\n");
}

static void put_vocab(struct maker *m)
{
	const char *comma = "\n";

	k_buf_puts(&m->b, "    \"vocab\": {");
	for (int64_t id = 0; id < m->n; id++) {
		const struct token *t = &m->tokens[id];

		if (!in_vocab(m, t))
			continue;
		k_buf_printf(&m->b, "%s      ", comma);
		k_json_quote(&m->b, t->text, t->len);
		k_buf_printf(&m->b, ": %lld", (long long)id);
		comma = ",\n";
	}
	k_buf_puts(&m->b, "\n    },\n");
}

struct part { const char *text; size_t len; };

/* A merge's two sides, and what they make. */
static int check_merge(struct maker *m, uint64_t index, const struct part *side)
{
	struct part part[3] = { side[0], side[1], { NULL, 0 } };
	int r;

	k_buf_reset(&m->joined);
	k_buf_put(&m->joined, side[0].text, side[0].len);
	k_buf_put(&m->joined, side[1].text, side[1].len);
	r = k_buf_ok(&m->joined, "a merge", m->err);
	part[2] = (struct part){ m->joined.data, m->joined.len };
	for (size_t i = 0; r == 0 && i < K_LEN(part); i++) {
		const struct token *t = find(m, part[i].text, part[i].len);

		if (!t || !in_vocab(m, t))
			r = wrong(m, "'%s': merge %llu joins '%.*s' and '%.*s', but '%.*s' is not in the vocabulary", WHERE(m),
				(unsigned long long)index, (int)K_MIN(side[0].len, 60), side[0].text, (int)K_MIN(side[1].len, 60), side[1].text,
				(int)K_MIN(part[i].len, 60), part[i].text);
	}
	return r;
}

/* "LEFT RIGHT": the space is looked for behind the first byte, which may be one. */
static int put_merge(struct maker *m, uint64_t index, const char *s, size_t len)
{
	const char *space = len > 1 ? memchr(s + 1, ' ', len - 1) : NULL;
	struct part side[2];
	int r;

	if (!space)
		return wrong(m, "'%s': merge %llu is '%.*s', wanted two tokens", WHERE(m), (unsigned long long)index, (int)K_MIN(len, 60), s);
	side[0] = (struct part){ s, (size_t)(space - s) };
	side[1] = (struct part){ space + 1, len - side[0].len - 1 };
	r = check_merge(m, index, side);
	k_buf_puts(&m->b, index ? ",\n      [" : "\n      [");
	k_json_quote(&m->b, side[0].text, side[0].len);
	k_buf_puts(&m->b, ", ");
	k_json_quote(&m->b, side[1].text, side[1].len);
	k_buf_putc(&m->b, ']');
	return r;
}

static int put_merges(struct maker *m)
{
	const struct k_gguf_value *merges;
	const uint8_t *p;
	int r = find_array(m, "tokenizer.ggml.merges", true, -1, &merges);

	if (r < 0)
		return r;
	k_buf_puts(&m->b, "    \"merges\": [");
	p = merges->p;
	for (uint64_t i = 0; r == 0 && i < merges->n; i++) {
		size_t len;
		const char *s = k_gguf_string(&p, &len);

		r = put_merge(m, i, s, len);
	}
	k_buf_puts(&m->b, "\n    ]\n");
	return r;
}

/* Whether the tokenizer puts a token before or behind a text, and which. */
static int find_end(struct maker *m, const char *flag, bool by_default, const char *key, const struct token **out)
{
	bool on;
	int r = k_json_bool_or(m->keys, flag, by_default, &on, WHERE(m), m->err);

	*out = NULL;
	if (r == 0 && on)
		r = find_id(m, key, out);
	if (r == 0 && on && !*out)
		r = k_err_set(m->err, K_ENOENT, "'%s': key %s is missing, %s wants it", WHERE(m), key, flag);
	return r;
}

static void put_special(struct maker *m, const struct token *t, int sequence)
{
	k_buf_puts(&m->b, "{\"SpecialToken\": {\"id\": ");
	k_json_quote(&m->b, t->text, t->len);
	k_buf_printf(&m->b, ", \"type_id\": %d}}", sequence);
}

/* One text of a template, with what comes before and behind it. */
static void put_sequence(struct maker *m, const struct token *bos, const struct token *eos, int sequence)
{
	if (bos) {
		put_special(m, bos, sequence);
		k_buf_puts(&m->b, ", ");
	}
	k_buf_printf(&m->b, "{\"Sequence\": {\"id\": \"%c\", \"type_id\": %d}}", 'A' + sequence, sequence);
	if (eos) {
		k_buf_puts(&m->b, ", ");
		put_special(m, eos, sequence);
	}
}

static int put_post(struct maker *m, const struct profile *profile)
{
	const struct token *ends[2];
	const char *comma = "";
	int r = find_end(m, "tokenizer.ggml.add_bos_token", profile->adds_bos, "tokenizer.ggml.bos_token_id", &ends[0]);

	if (r == 0)
		r = find_end(m, "tokenizer.ggml.add_eos_token", false, "tokenizer.ggml.eos_token_id", &ends[1]);
	if (r < 0)
		return r;
	k_buf_puts(&m->b, "  \"post_processor\": ");
	if (!ends[0] && !ends[1]) {
		k_buf_puts(&m->b, "null,\n");
		return 0;
	}
	k_buf_puts(&m->b, "{\"type\": \"TemplateProcessing\", \"single\": [");
	put_sequence(m, ends[0], ends[1], 0);
	k_buf_puts(&m->b, "], \"pair\": [");
	put_sequence(m, ends[0], ends[1], 0);
	k_buf_puts(&m->b, ", ");
	put_sequence(m, ends[0], ends[1], 1);
	k_buf_puts(&m->b, "], \"special_tokens\": {");
	for (int i = 0; i < 2; i++) {
		const struct token *t = ends[i];

		if (!t || (i && t == ends[0]))
			continue;
		k_buf_puts(&m->b, comma);
		k_json_quote(&m->b, t->text, t->len);
		k_buf_puts(&m->b, ": {\"id\": ");
		k_json_quote(&m->b, t->text, t->len);
		k_buf_printf(&m->b, ", \"ids\": [%lld], \"tokens\": [", (long long)(t - m->tokens));
		k_json_quote(&m->b, t->text, t->len);
		k_buf_puts(&m->b, "]}");
		comma = ", ";
	}
	k_buf_puts(&m->b, "}},\n");
	return 0;
}

static int put_tokenizer(struct maker *m, const struct profile *profile)
{
	int r;

	k_buf_puts(&m->b, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
	put_added(m);
	k_buf_printf(&m->b, "  \"normalizer\": null,\n  \"pre_tokenizer\": %s,\n", profile->splitter);
	r = put_post(m, profile);
	if (r < 0)
		return r;
	k_buf_puts(&m->b, "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n"
		"  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
		"    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n");
	k_buf_printf(&m->b, "    \"ignore_merges\": %s,\n", profile->whole_first ? "true" : "false");
	put_vocab(m);
	r = put_merges(m);
	k_buf_puts(&m->b, "  }\n}\n");
	return r;
}

/* --- tiktoken.model -------------------------------------------------------------------------------------------------------- */

static void put_base64(struct k_buf *b, const uint8_t *p, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);

		for (size_t k = 0; k < 4; k++)
			k_buf_putc(b, k && i + k > n ? '=' : digits[v >> (18 - 6 * k) & 63]);
	}
}

/* The bytes that a token spells in the byte alphabet. */
static int spell(struct maker *m, const struct token *t)
{
	int len, byte;

	k_buf_reset(&m->joined);
	for (size_t i = 0; i < t->len; i += (size_t)len) {
		byte = k_tokenizer_symbol_byte(k_unicode_at(t->text + i, &len));
		if (byte < 0)
			return wrong(m, "'%s': token %lld is '%.*s', wanted letters of the byte alphabet", WHERE(m), (long long)(t - m->tokens),
				(int)K_MIN(t->len, 60), t->text);
		k_buf_putc(&m->joined, (char)byte);
	}
	return k_buf_ok(&m->joined, "a token", m->err);
}

static int put_ranks(struct maker *m)
{
	int r = 0;

	for (int64_t id = 0; r == 0 && id <= m->last; id++) {
		const struct token *t = &m->tokens[id];

		if (t->type != NORMAL)
			return wrong(m, "'%s': token %lld has type %lld, and token %lld is an ordinary one; of kimi-k2 those are wanted first", WHERE(m),
				(long long)id, (long long)t->type, (long long)m->last);
		r = spell(m, t);
		put_base64(&m->b, (const uint8_t *)m->joined.data, m->joined.len);
		k_buf_printf(&m->b, " %lld\n", (long long)id);
	}
	return r;
}

/* The specials behind the ranks. GGUF has one type for all of them; which ones show in a text is known by name. */
static void put_specials(struct maker *m)
{
	const char *comma = "\n";
	char reserved[48];

	k_buf_puts(&m->b, "  \"added_tokens_decoder\": {");
	for (int64_t id = m->last + 1; id < m->n; id++) {
		const struct token *t = &m->tokens[id];
		bool shown = t->type == USER_DEFINED || k_tokenizer_kimi_shows(t->text, t->len);
		int n = snprintf(reserved, sizeof(reserved), "<|reserved_token_%lld|>", (long long)id);

		if (t->type == UNUSED || ((size_t)n == t->len && memcmp(reserved, t->text, t->len) == 0))
			continue;
		k_buf_printf(&m->b, "%s    \"%lld\": {\"content\": ", comma, (long long)id);
		k_json_quote(&m->b, t->text, t->len);
		k_buf_printf(&m->b, ", \"lstrip\": false, \"normalized\": false, \"rstrip\": false, \"single_word\": false, \"special\": %s}",
			shown ? "false" : "true");
		comma = ",\n";
	}
	k_buf_puts(&m->b, "\n  },\n");
}

/* --- tokenizer_config.json ------------------------------------------------------------------------------------------------- */

static int put_names(struct maker *m, const struct profile *profile)
{
	static const struct { const char *key, *member; } names[] = {
		{ "tokenizer.ggml.bos_token_id", "bos_token" }, { "tokenizer.ggml.eos_token_id", "eos_token" },
		{ "tokenizer.ggml.unknown_token_id", "unk_token" }, { "tokenizer.ggml.padding_token_id", "pad_token" },
	};
	const char *template;
	const struct token *t;
	int r = k_json_str_or(m->keys, "tokenizer.chat_template", NULL, &template, WHERE(m), m->err);

	k_buf_puts(&m->b, "{\n");
	if (!profile->splitter)
		put_specials(m);
	for (size_t i = 0; r == 0 && i < K_LEN(names); i++) {
		r = find_id(m, names[i].key, &t);
		if (r < 0 || !t)
			continue;
		k_buf_printf(&m->b, "  \"%s\": ", names[i].member);
		k_json_quote(&m->b, t->text, t->len);
		k_buf_puts(&m->b, ",\n");
	}
	if (r == 0 && template) {
		k_buf_puts(&m->b, "  \"chat_template\": ");
		k_json_quote(&m->b, template, strlen(template));
		k_buf_puts(&m->b, ",\n");
	}
	k_buf_printf(&m->b, "  \"clean_up_tokenization_spaces\": false,\n  \"tokenizer_class\": \"%s\"\n}\n",
		profile->splitter ? "PreTrainedTokenizerFast" : "TikTokenTokenizer");
	return r;
}

/* --- all ------------------------------------------------------------------------------------------------------------------- */

static int make_files(struct maker *m, int64_t vocab, struct k_files *files)
{
	const struct profile *profile = NULL;
	int r = find_profile(m, &profile);

	if (r == 0)
		r = read_tokens(m, vocab);
	if (r == 0)
		r = profile->splitter ? put_tokenizer(m, profile) : put_ranks(m);
	if (r == 0)
		r = k_gguf_put_file(files, profile->splitter ? "tokenizer.json" : "tiktoken.model", &m->b, m->err);
	if (r == 0)
		r = put_names(m, profile);
	if (r == 0)
		r = k_gguf_put_file(files, "tokenizer_config.json", &m->b, m->err);
	return r;
}

int k_gguf_tokenizer(const struct k_gguf *g, const struct k_json *keys, int64_t vocab, struct k_files *files, struct k_err *err)
{
	struct maker m = { .g = g, .keys = keys, .err = err, .last = -1 };
	const char *model;
	int r = k_json_str_or(keys, "tokenizer.ggml.model", "none", &model, g->where, err);

	/* These are the names for a file without a vocabulary. */
	if (r < 0 || strcmp(model, "none") == 0 || strcmp(model, "no_vocab") == 0)
		return r;
	if (strcmp(model, "gpt2") != 0)
		return k_err_set(err, K_EUNSUP, "'%s': tokenizer.ggml.model is '%.80s', wanted gpt2", g->where, model);
	k_map_init(&m.by_text);
	k_buf_init(&m.b, 0);
	k_buf_init(&m.joined, 0);
	r = make_files(&m, vocab, files);
	k_buf_fini(&m.b);
	k_buf_fini(&m.joined);
	k_map_fini(&m.by_text);
	k_free(m.tokens);
	return r;
}
