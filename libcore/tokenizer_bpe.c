/* tokenizer_bpe.c: reads tokenizer.json, byte-level BPE of the profiles that are known here.
 *
 *   SmolLM2   Sequence[Digits(individual), ByteLevel(use_regex)]
 *   Llama-3   Sequence[Split(its regex, Isolated), ByteLevel]       ignore_merges, a template that adds BOS
 *   GPT-2     ByteLevel(use_regex)
 *
 * Anything else is refused by name: another splitter would give other ids without a sign. In the file, tokens are spelled in the
 * byte alphabet (one character a byte; a space is U+0120). by_text is keyed by that spelling, tokens[] holds the bytes. A token
 * with a character outside the alphabet is an added one; its bytes are its own UTF-8. */
#include "libcore/base.h"
#include "libcore/tokenizer_int.h"
#include "libcore/unicode.h"

static const char llama3_regex[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
	"|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

struct reader { struct k_tokenizer *t; const char *where; struct k_err *err; };

#define wrong(r, ...) k_err_set((r)->err, K_EFORMAT, __VA_ARGS__)
#define unsupported(r, ...) k_err_set((r)->err, K_EUNSUP, __VA_ARGS__)

/* --- the byte alphabet ---------------------------------------------------------------------------------------------------- */

static bool is_own_symbol(int b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae; }

/* Bytes that are not printable take U+0100 and up, in order: 00-20, 7F-A0, AD. */
uint32_t k_tokenizer_symbol(int b)
{
	if (is_own_symbol(b))
		return (uint32_t)b;
	return (uint32_t)(b <= 0x20 ? 0x100 + b : b <= 0xa0 ? 0x121 + b - 0x7f : 0x143);
}

int k_tokenizer_symbol_byte(uint32_t c)
{
	if (c < 0x100)
		return is_own_symbol((int)c) ? (int)c : -1;
	if (c <= 0x120)
		return (int)c - 0x100;
	return c <= 0x142 ? (int)c - 0x121 + 0x7f : c == 0x143 ? 0xad : -1;
}

/* The bytes that a spelling stands for; the spelling itself when a character is outside the alphabet. out has n bytes. */
static size_t spelled_bytes(const char *p, size_t n, char *out)
{
	size_t k = 0;
	int len;

	for (size_t i = 0; i < n; i += (size_t)len) {
		int b = k_tokenizer_symbol_byte(k_unicode_at(p + i, &len));

		if (b < 0) {
			memcpy(out, p, n);
			return n;
		}
		out[k++] = (char)b;
	}
	return k;
}

/* --- the vocabulary ------------------------------------------------------------------------------------------------------- */

static int32_t find(const struct k_tokenizer *t, const char *p, size_t n) { return (int32_t)(uintptr_t)k_map_find(&t->by_text, p, n) - 1; }

static int put_token(struct reader *r, const char *text, size_t n, int32_t id)
{
	struct k_tokenizer *t = r->t;
	char *spelling = k_arena_strndup(&t->arena, text, n), *bytes = k_arena_alloc(&t->arena, n + 1);

	if (!spelling || !bytes || k_map_put(&t->by_text, spelling, n, (void *)(uintptr_t)(id + 1)) < 0)
		return k_err_nomem(r->err, n, r->where);
	t->tokens[id] = (struct k_token){ bytes, (uint32_t)spelled_bytes(text, n, bytes), 0 };
	t->longest = K_MAX(t->longest, n);
	t->n = K_MAX(t->n, id + 1);
	return 0;
}

/* Ids may leave holes, but not many: what is allocated stands in proportion to the file. */
static int read_vocab(struct reader *r, const struct k_json *vocab, size_t n_added)
{
	size_t most = 2 * (k_json_len(vocab) + n_added) + 1024;
	const char *key;
	struct k_json *v;
	int e;

	if (most > INT32_MAX / 2)
		return wrong(r, "'%s': model.vocab has %zu tokens, too many", r->where, k_json_len(vocab));
	r->t->tokens = k_arena_array(&r->t->arena, most + n_added, sizeof *r->t->tokens);
	if (!r->t->tokens)
		return k_err_nomem(r->err, most * sizeof *r->t->tokens, r->where);
	for (void *it = NULL; k_json_next(vocab, &it, &key, &v); ) {
		int64_t id = k_json_int(v);

		if (k_json_kind(v) != K_JSON_INT)
			return wrong(r, "'%s': the id of token '%.80s' is %s, wanted an integer", r->where, key, k_json_kind_name(v));
		if (id < 0 || id >= (int64_t)most)
			return wrong(r, "'%s': token '%.80s' has id %lld, far from the others: %zu tokens are there", r->where, key,
				(long long)id, k_json_len(vocab));
		if (r->t->tokens[id].text)
			return wrong(r, "'%s': token '%.80s' has id %lld, which another token has", r->where, key, (long long)id);
		e = put_token(r, key, strlen(key), (int32_t)id);
		if (e < 0)
			return e;
	}
	for (int b = 0; b < 256; b++) {
		char symbol[4];

		r->t->byte_id[b] = find(r->t, symbol, (size_t)k_unicode_put(k_tokenizer_symbol(b), symbol));
	}
	return 0;
}

/* The two sides of a merge: "a b", with exactly one space, or ["a", "b"]. */
static bool merge_sides(const struct k_json *v, const char *side[2], size_t len[2])
{
	if (k_json_kind(v) == K_JSON_STRING) {
		const char *s = k_json_string(v), *space = strchr(s, ' ');

		if (!space || strchr(space + 1, ' '))
			return false;
		side[0] = s;
		len[0] = (size_t)(space - s);
		side[1] = space + 1;
		len[1] = k_json_len(v) - len[0] - 1;
		return true;
	}
	for (size_t i = 0; i < 2; i++) {
		side[i] = k_json_string(k_json_at(v, i));
		len[i] = k_json_len(k_json_at(v, i));
	}
	return k_json_kind(v) == K_JSON_ARRAY && k_json_len(v) == 2 && side[0] && side[1];
}

static int read_merge(struct reader *r, const struct k_json *v, size_t index, struct k_buf *joined)
{
	struct k_merge *m = &r->t->merges[index];
	const char *side[2];
	size_t len[2];

	if (!merge_sides(v, side, len))
		return wrong(r, "'%s': merge %zu is not two tokens (\"a b\" or [\"a\", \"b\"])", r->where, index);
	k_buf_reset(joined);
	k_buf_put(joined, side[0], len[0]);
	k_buf_put(joined, side[1], len[1]);
	if (k_buf_ok(joined, "a merge", r->err) < 0)
		return r->err->code;
	m->a = find(r->t, side[0], len[0]);
	m->b = find(r->t, side[1], len[1]);
	m->id = find(r->t, joined->data, joined->len);
	if (m->a < 0 || m->b < 0 || m->id < 0)
		return wrong(r, "'%s': merge %zu joins '%.*s' and '%.*s', but %s is not in the vocabulary", r->where, index,
			(int)K_MIN(len[0], 60), side[0], (int)K_MIN(len[1], 60), side[1], m->a < 0 ? "the first" : m->b < 0 ? "the second" : "the result");
	return k_map_put(&r->t->by_ids, (const char *)m, 2 * sizeof m->a, m) < 0 ? k_err_nomem(r->err, sizeof *m, r->where) : 0;
}

static int read_merges(struct reader *r, const struct k_json *merges)
{
	size_t n = k_json_len(merges);
	struct k_buf joined;
	int e = 0;

	r->t->merges = k_arena_array(&r->t->arena, n, sizeof *r->t->merges);
	if (!r->t->merges)
		return k_err_nomem(r->err, n * sizeof *r->t->merges, r->where);
	k_buf_init(&joined, 0);
	/* From the end: of a pair that is there twice the last counts, as in the reference. */
	for (size_t i = n; i-- > 0 && !e; )
		e = read_merge(r, k_json_at(merges, i), i, &joined);
	k_buf_fini(&joined);
	return e;
}

static int read_unknown(struct reader *r, const struct k_json *model)
{
	const char *unk = NULL;
	int e = k_json_str_or(model, "unk_token", NULL, &unk, r->where, r->err);

	if (e < 0 || !unk)
		return e;
	r->t->unk = find(r->t, unk, strlen(unk));
	return k_json_bool_or(model, "fuse_unk", false, &r->t->fuse_unk, r->where, r->err);
}

static int check_model(struct reader *r, const struct k_json *model)
{
	static const char *const affixes[] = { "continuing_subword_prefix", "end_of_word_suffix" };
	const char *type, *affix;
	double dropout;
	bool fallback;
	int e = k_json_str_or(model, "type", "BPE", &type, r->where, r->err);

	if (e < 0)
		return e;
	if (strcmp(type, "BPE"))
		return unsupported(r, "'%s': the model is of type '%.80s', wanted BPE", r->where, type);
	for (size_t i = 0; i < K_LEN(affixes); i++) {
		e = k_json_str_or(model, affixes[i], "", &affix, r->where, r->err);
		if (e < 0)
			return e;
		if (*affix)
			return unsupported(r, "'%s': model.%s is '%.40s', which is not supported", r->where, affixes[i], affix);
	}
	e = k_json_bool_or(model, "byte_fallback", false, &fallback, r->where, r->err);
	if (e >= 0)
		e = k_json_num_or(model, "dropout", 0, 1, 0, &dropout, r->where, r->err);
	if (e < 0)
		return e;
	if (fallback || dropout > 0)
		return unsupported(r, "'%s': model.%s is set, which is not supported", r->where, fallback ? "byte_fallback" : "dropout");
	return k_json_bool_or(model, "ignore_merges", false, &r->t->whole_first, r->where, r->err);
}

static int read_model(struct reader *r, const struct k_json *root, size_t n_added)
{
	struct k_json *model, *vocab, *merges;
	int e = k_json_get_object(root, "model", &model, r->where, r->err);

	if (e >= 0)
		e = check_model(r, model);
	if (e >= 0)
		e = k_json_get_object(model, "vocab", &vocab, r->where, r->err);
	if (e >= 0)
		e = k_json_get_array(model, "merges", &merges, r->where, r->err);
	if (e >= 0)
		e = read_vocab(r, vocab, n_added);
	if (e >= 0)
		e = read_merges(r, merges);
	return e < 0 ? e : read_unknown(r, model);
}

/* --- the splitter --------------------------------------------------------------------------------------------------------- */

/* What was found on the way through the members of a Sequence; the profile follows from it. */
struct found { bool digits, llama3, bytes, regex; };

static int read_split(struct reader *r, const struct k_json *v, struct found *f)
{
	const char *regex = k_json_string(k_json_find(k_json_find(v, "pattern"), "Regex"));
	const char *behavior;
	bool invert;
	int e = k_json_str_or(v, "behavior", "", &behavior, r->where, r->err);

	if (e >= 0)
		e = k_json_bool_or(v, "invert", false, &invert, r->where, r->err);
	if (e < 0)
		return e;
	if (!regex || strcmp(regex, llama3_regex))
		return unsupported(r, "'%s': pre_tokenizer Split has pattern '%.160s', which is not known here", r->where, regex ? regex : "(no Regex)");
	if (strcmp(behavior, "Isolated") || invert)
		return unsupported(r, "'%s': pre_tokenizer Split has behavior '%.40s'%s, wanted Isolated", r->where, behavior, invert ? " inverted" : "");
	f->llama3 = true;
	return 0;
}

static int read_digits(struct reader *r, const struct k_json *v, struct found *f)
{
	bool single;
	int e = k_json_bool_or(v, "individual_digits", false, &single, r->where, r->err);

	if (e < 0)
		return e;
	if (!single)
		return unsupported(r, "'%s': pre_tokenizer Digits without individual_digits is not supported", r->where);
	f->digits = true;
	return 0;
}

static int read_bytes(struct reader *r, const struct k_json *v, struct found *f)
{
	bool prefix;
	int e = k_json_bool_or(v, "add_prefix_space", true, &prefix, r->where, r->err);

	if (e < 0)
		return e;
	if (prefix)
		return unsupported(r, "'%s': pre_tokenizer ByteLevel with add_prefix_space is not supported", r->where);
	f->bytes = true;
	return k_json_bool_or(v, "use_regex", true, &f->regex, r->where, r->err);
}

static int read_splitter(struct reader *r, const struct k_json *v, struct found *f)
{
	static const struct { const char *type; int (*read)(struct reader *, const struct k_json *, struct found *); } kinds[] = {
		{ "Split", read_split }, { "Digits", read_digits }, { "ByteLevel", read_bytes },
	};
	struct k_json *members;
	const char *type;
	int e = k_json_get_str(v, "type", &type, r->where, r->err);

	if (e < 0)
		return e;
	if (!strcmp(type, "Sequence")) {
		e = k_json_get_array(v, "pretokenizers", &members, r->where, r->err);
		for (size_t i = 0; e >= 0 && i < k_json_len(members); i++)
			e = read_splitter(r, k_json_at(members, i), f);
		return e;
	}
	if (f->bytes)
		return unsupported(r, "'%s': pre_tokenizer %.40s behind ByteLevel is not supported", r->where, type);
	for (size_t i = 0; i < K_LEN(kinds); i++)
		if (!strcmp(type, kinds[i].type))
			return kinds[i].read(r, v, f);
	return unsupported(r, "'%s': pre_tokenizer '%.80s' is not supported, wanted ByteLevel, Digits or Split", r->where, type);
}

static int read_profile(struct reader *r, const struct k_json *root)
{
	static const struct { struct found want; enum k_split split; } profiles[] = {
		{ { .digits = true, .bytes = true, .regex = true }, K_SPLIT_DIGITS },
		{ { .llama3 = true, .bytes = true }, K_SPLIT_LLAMA3 },
		{ { .bytes = true, .regex = true }, K_SPLIT_GPT2 },
	};
	const struct k_json *v = k_json_find(root, "pre_tokenizer");
	struct found f = { false, false, false, false };
	int e;

	if (k_json_kind(v) != K_JSON_OBJECT)
		return unsupported(r, "'%s': pre_tokenizer is %s, wanted one that ends in ByteLevel", r->where, k_json_kind_name(v));
	e = read_splitter(r, v, &f);
	if (e < 0)
		return e;
	for (size_t i = 0; i < K_LEN(profiles); i++) {
		const struct found *w = &profiles[i].want;

		if (f.digits == w->digits && f.llama3 == w->llama3 && f.bytes == w->bytes && f.regex == w->regex) {
			r->t->split = profiles[i].split;
			return 0;
		}
	}
	return unsupported(r, "'%s': this row of pre-tokenizers is not supported (Digits %d, Split %d, ByteLevel %d with use_regex %d)", r->where,
		f.digits, f.llama3, f.bytes, f.regex);
}

/* Normalizer: none, or a Sequence of none. Decoder: ByteLevel. */
static int check_ends(struct reader *r, const struct k_json *root)
{
	const struct k_json *normalizer = k_json_find(root, "normalizer"), *decoder = k_json_find(root, "decoder");
	const char *type = k_json_string(k_json_find(normalizer, "type"));
	bool empty = type && !strcmp(type, "Sequence") && !k_json_len(k_json_find(normalizer, "normalizers"));

	if (k_json_kind(normalizer) != K_JSON_NULL && !empty)
		return unsupported(r, "'%s': normalizer '%.80s' is not supported, wanted none", r->where, type ? type : "(no type)");
	type = k_json_string(k_json_find(decoder, "type"));
	if (k_json_kind(decoder) != K_JSON_NULL && (!type || strcmp(type, "ByteLevel")))
		return unsupported(r, "'%s': decoder '%.80s' is not supported, wanted ByteLevel", r->where, type ? type : "(no type)");
	return 0;
}

/* --- added tokens --------------------------------------------------------------------------------------------------------- */

static int check_id(struct reader *r, const struct k_added *a, int64_t id, int64_t limit)
{
	int32_t have = find(r->t, a->text, a->len);

	if (have >= 0 && have != id)
		return wrong(r, "'%s': added token '%.80s' has id %lld, but %d in the vocabulary", r->where, a->text, (long long)id, have);
	if (have < 0 && (id >= limit || r->t->tokens[id].text))
		return wrong(r, "'%s': added token '%.80s' has id %lld, which %s", r->where, a->text, (long long)id,
			id >= limit ? "leaves a gap" : "another token has");
	return 0;
}

static int put_added(struct reader *r, const struct k_added *a, int32_t id)
{
	char *copy = k_arena_strndup(&r->t->arena, a->text, a->len);

	if (!copy)
		return k_err_nomem(r->err, a->len, r->where);
	r->t->tokens[id] = (struct k_token){ copy, (uint32_t)a->len, K_TOKEN_ADDED | (a->special ? K_TOKEN_CONTROL : 0) };
	r->t->specials[r->t->n_specials++] = (struct k_special){ copy, a->len, id, a->normalized };
	r->t->n = K_MAX(r->t->n, id + 1);
	return 0;
}

/* An id is taken at its word only where the reference would give the same one: that of the vocabulary, or one without a gap. */
static int read_added_tokens(struct reader *r, const struct k_json *added)
{
	size_t n = k_json_len(added);
	int64_t limit = r->t->n + (int64_t)n;

	r->t->specials = k_arena_array(&r->t->arena, n, sizeof *r->t->specials);
	if (!r->t->specials)
		return k_err_nomem(r->err, n * sizeof *r->t->specials, r->where);
	for (size_t i = 0; i < n; i++) {
		const struct k_json *v = k_json_at(added, i);
		struct k_added a;
		int64_t id;
		int e = k_tokenizer_read_added(v, r->where, &a, r->err);

		if (e >= 0)
			e = k_json_get_int(v, "id", 0, INT32_MAX - 1, &id, r->where, r->err);
		if (e >= 0)
			e = check_id(r, &a, id, limit);
		if (e >= 0)
			e = put_added(r, &a, (int32_t)id);
		if (e < 0)
			return e;
	}
	return k_tokenizer_sort_specials(r->t, r->where, r->err);
}

/* --- what is added around a text -------------------------------------------------------------------------------------------- */

/* The ids of one special token of a template. */
static int put_template_ids(struct reader *r, const struct k_json *template, const char *name, bool after)
{
	const struct k_json *ids = k_json_find(k_json_find(k_json_find(template, "special_tokens"), name), "ids");
	int32_t *list = after ? r->t->add_after : r->t->add_before;
	int *n = after ? &r->t->n_after : &r->t->n_before;

	for (size_t i = 0; i < k_json_len(ids); i++) {
		int64_t id = k_json_int(k_json_at(ids, i));

		if (k_json_kind(k_json_at(ids, i)) != K_JSON_INT || id < 0 || id >= r->t->n || !r->t->tokens[id].text)
			return wrong(r, "'%s': TemplateProcessing gives '%.80s' an id that is no token", r->where, name);
		if (*n == (int)K_LEN(r->t->add_after))
			return unsupported(r, "'%s': TemplateProcessing adds more than %zu tokens", r->where, K_LEN(r->t->add_after));
		list[(*n)++] = (int32_t)id;
	}
	return k_json_len(ids) ? 0 : wrong(r, "'%s': TemplateProcessing has no ids for '%.80s'", r->where, name);
}

static int read_template(struct reader *r, const struct k_json *v)
{
	struct k_json *single;
	bool after = false;
	int e = k_json_get_array(v, "single", &single, r->where, r->err);

	for (size_t i = 0; e >= 0 && i < k_json_len(single); i++) {
		const struct k_json *part = k_json_at(single, i);
		const char *name = k_json_string(k_json_find(k_json_find(part, "SpecialToken"), "id"));

		if (name)
			e = put_template_ids(r, v, name, after);
		else if (k_json_find(part, "Sequence") && !after)
			after = true;
		else
			e = wrong(r, "'%s': part %zu of TemplateProcessing is neither a SpecialToken nor the Sequence", r->where, i);
	}
	return e;
}

static int read_post(struct reader *r, const struct k_json *v)
{
	const char *type;
	struct k_json *members;
	int e;

	if (k_json_kind(v) == K_JSON_NULL)
		return 0;
	e = k_json_get_str(v, "type", &type, r->where, r->err);
	if (e < 0)
		return e;
	if (!strcmp(type, "ByteLevel"))         /* changes offsets only */
		return 0;
	if (!strcmp(type, "TemplateProcessing"))
		return read_template(r, v);
	if (strcmp(type, "Sequence"))
		return unsupported(r, "'%s': post_processor '%.80s' is not supported, wanted ByteLevel or TemplateProcessing", r->where, type);
	e = k_json_get_array(v, "processors", &members, r->where, r->err);
	for (size_t i = 0; e >= 0 && i < k_json_len(members); i++)
		e = read_post(r, k_json_at(members, i));
	return e;
}

int k_tokenizer_read_bpe(struct k_tokenizer *t, const struct k_file *file, struct k_err *err)
{
	struct reader r = { t, file->name, err };
	struct k_json *root = NULL;
	const struct k_json *added;
	int e = k_json_parse(&root, file->data, file->len, K_JSON_STRICT, file->name, err);

	if (e < 0)
		return e;
	t->by_pair = true;
	added = k_json_find(root, "added_tokens");
	if (k_json_kind(added) != K_JSON_NULL && k_json_kind(added) != K_JSON_ARRAY)
		e = wrong(&r, "'%s': added_tokens is %s, wanted an array", r.where, k_json_kind_name(added));
	if (e >= 0)
		e = read_model(&r, root, k_json_len(added));
	if (e >= 0)
		e = read_profile(&r, root);
	if (e >= 0)
		e = check_ends(&r, root);
	if (e >= 0)
		e = read_added_tokens(&r, added);
	if (e >= 0)
		e = read_post(&r, k_json_find(root, "post_processor"));
	k_json_free(root);
	return e;
}
