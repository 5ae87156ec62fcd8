/* tokenizer.c: opening, look-ups, and the encoding of a text.
 *
 *   text -> slices (Kimi) -> between special tokens -> between single digits -> pieces -> ids
 *
 * Slices: the reference cuts a text every 400,000 scalars, and within that wherever a run of white space, or of anything else,
 * grows past 25,000; each slice is encoded as if it stood alone, special tokens included. Specials are matched leftmost-longest
 * by narrowing a range of the sorted list, so that no text makes many comparisons. */
#include "libcore/base.h"
#include "libcore/arch.h"
#include "libcore/tokenizer_int.h"
#include "libcore/unicode.h"
#include <stdlib.h>

enum { SLICE_MOST = 400000, RUN_MOST = 25000 };
#define TEXT_MOST ((size_t)1 << 30)

/* --- lists of ids ------------------------------------------------------------------------------------------------------ */

void k_ids_init(struct k_ids *ids) { *ids = (struct k_ids){ NULL, 0, 0 }; }

void k_ids_fini(struct k_ids *ids)
{
	k_free(ids->v);
	k_ids_init(ids);
}

static int grow(struct k_ids *ids, size_t more, struct k_err *err)
{
	size_t cap = K_MAX(K_MAX(ids->cap + ids->cap / 2, ids->n + more), (size_t)64), bytes;
	int32_t *v = k_mul_size(cap, sizeof *v, &bytes) ? k_realloc(ids->v, bytes) : NULL;

	if (!v)
		return k_err_nomem(err, cap * sizeof *v, "a list of token ids");
	ids->v = v;
	ids->cap = cap;
	return 0;
}

int k_ids_put(struct k_ids *ids, int32_t id, struct k_err *err)
{
	int rc = ids->n == ids->cap ? grow(ids, 1, err) : 0;

	if (!rc)
		ids->v[ids->n++] = id;
	return rc;
}

int k_ids_add(struct k_ids *ids, const int32_t *v, size_t n, struct k_err *err)
{
	int rc = n > ids->cap - ids->n ? grow(ids, n, err) : 0;

	if (!rc && n)
		memcpy(ids->v + ids->n, v, n * sizeof *v);
	ids->n += rc ? 0 : n;
	return rc;
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */

static int by_text(const void *a, const void *b)
{
	const struct k_special *x = a, *y = b;
	int c = memcmp(x->text, y->text, K_MIN(x->len, y->len));

	return c ? c : (x->len > y->len) - (x->len < y->len);
}

int k_tokenizer_sort_specials(struct k_tokenizer *t, const char *where, struct k_err *err)
{
	if (t->n_specials)
		qsort(t->specials, (size_t)t->n_specials, sizeof *t->specials, by_text);
	for (int i = 0; i < t->n_specials; i++) {
		const struct k_special *a = &t->specials[i];

		t->late_specials |= a->late;
		if (i && !by_text(a - 1, a))
			return k_err_set(err, K_EFORMAT, "'%s': the special token '%.80s' has two ids, %d and %d", where, a->text, a[-1].id, a->id);
	}
	return 0;
}

int k_tokenizer_read_added(const struct k_json *v, const char *where, struct k_added *out, struct k_err *err)
{
	static const char *const refused[] = { "lstrip", "rstrip", "single_word" };
	bool on;
	int r;

	if (k_json_kind(v) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s': an added token is %s, wanted an object", where, k_json_kind_name(v));
	r = k_json_get_str(v, "content", &out->text, where, err);
	if (r < 0)
		return r;
	out->len = k_json_len(k_json_find(v, "content"));
	if (!out->len)
		return k_err_set(err, K_EFORMAT, "'%s': an added token has no text, wanted at least one character", where);
	for (size_t i = 0; i < K_LEN(refused); i++) {
		r = k_json_bool_or(v, refused[i], false, &on, where, err);
		if (r < 0)
			return r;
		if (on)
			return k_err_set(err, K_EUNSUP, "'%s': added token '%.80s' has %s, which is not supported", where, out->text, refused[i]);
	}
	r = k_json_bool_or(v, "special", false, &out->special, where, err);
	return r < 0 ? r : k_json_bool_or(v, "normalized", false, &out->normalized, where, err);
}

/* "bos_token": "[BOS]" or {"content": "[BOS]"}; -1 when there is none, or none that is known. */
static int32_t named_token(const struct k_tokenizer *t, const struct k_json *config, const char *key)
{
	const struct k_json *v = k_json_find(config, key);
	const char *text = k_json_string(k_json_kind(v) == K_JSON_OBJECT ? k_json_find(v, "content") : v);

	return text ? k_tokenizer_special(t, text) : -1;
}

/* Where the tokenizer files name no BOS or EOS, config.json may (checkpoints made from GGUF). */
static int ends_of_model(struct k_tokenizer *t, const struct k_files *files, struct k_err *err)
{
	const struct k_file *file = t->bos < 0 || t->eos < 0 ? k_files_find(files, "config.json") : NULL;
	const struct { const char *key; int32_t *id; } ends[] = { { "bos_token_id", &t->bos }, { "eos_token_id", &t->eos } };
	struct k_json *config;
	int r = file ? k_json_parse(&config, file->data, file->len, K_JSON_STRICT, file->name, err) : 0;

	if (r < 0 || !file)
		return r;
	for (size_t i = 0; i < K_LEN(ends); i++) {
		const struct k_json *v = k_arch_id(config, k_json_find(config, "text_config"), ends[i].key);
		int64_t id = k_json_int(v);

		if (*ends[i].id < 0 && k_json_kind(v) == K_JSON_INT && id >= 0 && id < t->n && t->tokens[id].text)
			*ends[i].id = (int32_t)id;
	}
	k_json_free(config);
	return 0;
}

static int read_files(struct k_tokenizer *t, const struct k_files *files, struct k_json *config, struct k_err *err)
{
	const struct k_file *ranks = k_files_find(files, "tiktoken.model"), *bpe = k_files_find(files, "tokenizer.json");
	int32_t id;
	int r;

	if (ranks)
		r = k_tokenizer_read_tiktoken(t, ranks, config, err);
	else if (bpe)
		r = k_tokenizer_read_bpe(t, bpe, err);
	else
		return k_err_set(err, K_ENOENT, "'%s' has no tokenizer, wanted tiktoken.model or tokenizer.json", files->where ? files->where : "the model");
	if (r < 0)
		return r;
	id = named_token(t, config, "bos_token");
	t->bos = id >= 0 ? id : t->bos;
	id = named_token(t, config, "eos_token");
	t->eos = id >= 0 ? id : t->eos;
	r = ends_of_model(t, files, err);
	if (r < 0)
		return r;
	if (t->vocab && t->n > t->vocab)
		return k_err_set(err, K_EFORMAT, "'%s' has token ids up to %d, but the model has %d rows", ranks ? ranks->name : bpe->name, t->n - 1, t->vocab);
	return 0;
}

int k_tokenizer_open(struct k_tokenizer **out, const struct k_files *files, int64_t vocab, struct k_err *err)
{
	const struct k_file *file = k_files_find(files, "tokenizer_config.json");
	struct k_json *config = NULL;
	struct k_tokenizer *t;
	int r = 0;

	*out = NULL;
	t = k_calloc(1, sizeof *t);
	if (!t)
		return k_err_nomem(err, sizeof *t, "a tokenizer");
	k_arena_init(&t->arena);
	k_map_init(&t->by_text);
	k_map_init(&t->by_ids);
	t->unk = t->bos = t->eos = -1;
	t->vocab = (int32_t)K_MIN(vocab, INT32_MAX);
	if (file)
		r = k_json_parse(&config, file->data, file->len, K_JSON_STRICT, file->name, err);
	if (!r && config && k_json_kind(config) != K_JSON_OBJECT)
		r = k_err_set(err, K_EFORMAT, "'%s' is %s, wanted an object", file->name, k_json_kind_name(config));
	if (!r)
		r = read_files(t, files, config, err);
	k_json_free(config);
	if (r < 0) {
		k_tokenizer_free(t);
		return r;
	}
	*out = t;
	return 0;
}

void k_tokenizer_free(struct k_tokenizer *t)
{
	if (!t)
		return;
	k_ranks_fini(t);
	k_map_fini(&t->by_text);
	k_map_fini(&t->by_ids);
	k_arena_fini(&t->arena);
	k_free(t);
}

/* --- look-ups ----------------------------------------------------------------------------------------------------------- */

const char *k_tokenizer_pattern(const struct k_tokenizer *t)
{
	static const char *const names[] = {
		[K_SPLIT_KIMI] = "kimi", [K_SPLIT_LLAMA3] = "llama3", [K_SPLIT_GPT2] = "gpt2", [K_SPLIT_DIGITS] = "digits",
	};

	return names[t->split];
}

int32_t k_tokenizer_vocab(const struct k_tokenizer *t) { return t->n; }
int32_t k_tokenizer_bos(const struct k_tokenizer *t) { return t->bos; }
int32_t k_tokenizer_eos(const struct k_tokenizer *t) { return t->eos; }

const char *k_tokenizer_bytes(const struct k_tokenizer *t, int32_t id, size_t *len)
{
	*len = 0;
	if (id < 0 || id >= t->n || !t->tokens[id].text)
		return NULL;
	*len = t->tokens[id].len;
	return t->tokens[id].text;
}

static bool has_flag(const struct k_tokenizer *t, int32_t id, uint32_t flag)
{
	return id >= 0 && id < t->n && t->tokens[id].flags & flag;
}

bool k_tokenizer_is_special(const struct k_tokenizer *t, int32_t id) { return has_flag(t, id, K_TOKEN_ADDED); }
bool k_tokenizer_is_control(const struct k_tokenizer *t, int32_t id) { return has_flag(t, id, K_TOKEN_CONTROL); }

int32_t k_tokenizer_special(const struct k_tokenizer *t, const char *text)
{
	struct k_special key = { .text = text, .len = strlen(text) };
	const struct k_special *s = NULL;

	if (t->n_specials)
		s = bsearch(&key, t->specials, (size_t)t->n_specials, sizeof *s, by_text);
	return s ? s->id : -1;
}

/* The first of [lo, hi) whose byte d is c or more; all of them are longer than d. */
static int bound(const struct k_tokenizer *t, int lo, int hi, size_t d, int c)
{
	while (lo < hi) {
		int mid = lo + (hi - lo) / 2;

		if ((unsigned char)t->specials[mid].text[d] < c)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The longest special of this pass that p begins with. */
static const struct k_special *match_special(const struct k_tokenizer *t, const char *p, size_t n, bool late)
{
	int lo = 0, hi = t->n_specials;
	const struct k_special *best = NULL;

	for (size_t d = 0; lo < hi; d++) {
		/* All of [lo, hi) agree with p in d bytes; one that ends here is the first. */
		if (t->specials[lo].len == d) {
			if (t->specials[lo].late == late)
				best = &t->specials[lo];
			lo++;
		}
		if (d == n)
			break;
		lo = bound(t, lo, hi, d, (unsigned char)p[d]);
		hi = bound(t, lo, hi, d, (unsigned char)p[d] + 1);
	}
	return best;
}

/* --- encoding ----------------------------------------------------------------------------------------------------------- */

struct encoding { const struct k_tokenizer *t; struct k_merger merger; struct k_ids *out; bool specials; };

static int encode_pieces(struct encoding *e, const char *p, size_t n, struct k_err *err)
{
	int r = 0;

	for (size_t i = 0, end; i < n && !r; i = end) {
		end = k_tokenizer_piece_end(e->t->split, p, n, i);
		r = k_merger_put(&e->merger, p + i, end - i, e->out, err);
	}
	return r;
}

static int encode_plain(struct encoding *e, const char *p, size_t n, struct k_err *err)
{
	size_t from = 0;
	int r = 0, len;

	if (e->t->split != K_SPLIT_DIGITS)
		return encode_pieces(e, p, n, err);
	for (size_t i = 0; i < n && !r; i += (size_t)len) {
		if (!(k_unicode_class(k_unicode_at(p + i, &len)) & K_UC_NUMBER))
			continue;
		r = encode_pieces(e, p + from, i - from, err);
		if (!r)
			r = k_merger_put(&e->merger, p + i, (size_t)len, e->out, err);
		from = i + (size_t)len;
	}
	return r ? r : encode_pieces(e, p + from, n - from, err);
}

/* Splits at the specials of one pass; what is between goes to the next pass, then is plain. */
static int encode_marked(struct encoding *e, const char *p, size_t n, bool late, struct k_err *err)
{
	bool last = late || !e->t->late_specials;
	size_t from = 0;
	int r = 0;

	for (size_t i = 0; i <= n && !r; i++) {
		const struct k_special *s = i < n ? match_special(e->t, p + i, n - i, late) : NULL;

		if (!s && i < n)
			continue;
		if (i > from)
			r = last ? encode_plain(e, p + from, i - from, err) : encode_marked(e, p + from, i - from, true, err);
		if (!s || r)
			continue;
		r = k_ids_put(e->out, s->id, err);
		from = i + s->len;
		i = from - 1;
	}
	return r;
}

static int encode_slice(struct encoding *e, const char *p, size_t n, struct k_err *err)
{
	return e->specials ? encode_marked(e, p, n, false, err) : encode_plain(e, p, n, err);
}

static int encode_slices(struct encoding *e, const char *p, size_t n, struct k_err *err)
{
	size_t from = 0, in_cut = 0, in_run = 0;
	bool was_space = false, space;
	int r = 0, len;

	for (size_t i = 0; i < n && !r; i += (size_t)len) {
		uint32_t c = k_unicode_at(p + i, &len);

		/* The reference asks Python's str.isspace, which has the four separators as well. */
		space = k_unicode_class(c) & K_UC_SPACE || (c >= 0x1c && c <= 0x1f);
		if (in_cut++ == SLICE_MOST) {
			in_cut = 1;
			in_run = RUN_MOST;
			was_space = space;
		}
		in_run = space == was_space ? in_run + 1 : 1;
		was_space = space;
		if (in_run > RUN_MOST) {
			r = encode_slice(e, p + from, i - from, err);
			from = i;
			in_run = 1;
		}
	}
	return r ? r : encode_slice(e, p + from, n - from, err);
}

int k_tokenizer_encode(const struct k_tokenizer *t, const char *text, size_t len, int flags, struct k_ids *out, struct k_err *err)
{
	struct encoding e = { .t = t, .out = out, .specials = flags & K_ENC_SPECIALS };
	size_t bad = k_unicode_check(text, len);
	int r = 0;

	if (bad < len)
		return k_err_set(err, K_EFORMAT, "the text is not UTF-8 at byte %zu", bad);
	if (len > TEXT_MOST)
		return k_err_set(err, K_ENOMEM, "the text has %zu bytes, wanted at most %zu", len, TEXT_MOST);
	k_merger_init(&e.merger, t);
	if (flags & K_ENC_ADD)
		r = k_ids_add(out, t->add_before, (size_t)t->n_before, err);
	if (!r)
		r = t->split == K_SPLIT_KIMI ? encode_slices(&e, text, len, err) : encode_slice(&e, text, len, err);
	if (!r && flags & K_ENC_ADD)
		r = k_ids_add(out, t->add_after, (size_t)t->n_after, err);
	k_merger_fini(&e.merger);
	return r;
}
