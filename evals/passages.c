/* passages.c: see passages.h. */
#include "libcore/base.h"
#include "evals/corpus.h"
#include "evals/passages.h"

#define TEXT_MAX (1u << 30)

static int new_sequences(struct k_passages *p, int64_t n, struct k_golden_seq **out, struct k_err *err)
{
	p->seq = *out = k_arena_array(&p->arena, (size_t)n, sizeof(**out));
	return *out ? 0 : k_err_nomem(err, (size_t)n * sizeof(**out), "sequences");
}

/* --- ids ---------------------------------------------------------------------------------------------------------------------- */

static int add_line(struct k_passages *p, struct k_golden_seq *s, const struct k_json *v, int64_t line, int64_t vocab, const char *path,
	struct k_err *err)
{
	size_t n = k_json_len(v);
	int32_t *ids = k_arena_array(&p->arena, n + 1, sizeof(*ids));
	s->name = k_arena_printf(&p->arena, "line%lld", (long long)line);
	s->ids = ids;
	s->n = (int64_t)n;
	if (!ids || !s->name)
		return k_err_nomem(err, n * sizeof(*ids), "token ids");
	for (size_t i = 0; i < n; i++) {
		const struct k_json *id = k_json_at(v, i);
		if (k_json_kind(id) != K_JSON_INT || k_json_int(id) < 0 || k_json_int(id) >= vocab)
			return k_err_set(err, K_EFORMAT, "'%s': line %lld: element %zu is no token id of this model (0 to %lld)", path,
				(long long)line, i, (long long)vocab - 1);
		ids[i] = (int32_t)k_json_int(id);
	}
	p->n += n > 0;
	return 0;
}

/* Lines of JSON arrays, of which empty ones are passed over. *is: they are; else nothing was taken. */
static int read_lines(struct k_passages *p, const char *text, size_t len, int64_t vocab, const struct k_eval_opts *o, bool *is,
	struct k_err *err)
{
	struct k_golden_seq *seq = NULL;
	struct k_err none;
	int64_t lines = 1, line = 0;
	int r = 0;
	*is = false;
	if (!len || text[0] != '[')
		return 0;
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	r = new_sequences(p, lines, &seq, err);
	for (size_t at = 0; r == 0 && at < len && !(o->limit && p->n == o->limit); line++) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t n = end ? (size_t)(end - text) - at : len - at;
		struct k_json *v = NULL;
		bool array = k_json_parse(&v, text + at, n, K_JSON_STRICT, o->file, &none) == 0 && k_json_kind(v) == K_JSON_ARRAY;
		if (array)
			r = add_line(p, &seq[p->n], v, line + 1, vocab, o->file, err);
		else if (line)
			r = k_err_set(err, K_EFORMAT, "'%s': line %lld is no JSON array of token ids", o->file, (long long)line + 1);
		k_json_free(v);
		if (!array && !line)
			return 0;
		at += n + 1;
	}
	*is = true;
	return r;
}

/* --- a text ------------------------------------------------------------------------------------------------------------------- */

static int cut(struct k_passages *p, const struct k_ids *ids, int32_t bos, const struct k_eval_opts *o, struct k_err *err)
{
	int64_t window = o->window ? o->window : K_PASSAGE_TOKENS, head = bos >= 0, size = window - head, n = (int64_t)ids->n;
	int64_t most = K_MIN(o->limit ? o->limit : 1, k_div_up(n, size));
	struct k_golden_seq *seq;
	if (!n)
		return k_err_set(err, K_EFORMAT, "'%s' has no tokens", o->file);
	int r = new_sequences(p, most, &seq, err);
	for (; r == 0 && p->n < most; p->n++) {
		int64_t from = p->n * size, len = K_MIN(size, n - from);
		int32_t *v = k_arena_array(&p->arena, (size_t)(head + len), sizeof(*v));
		char *name = k_arena_printf(&p->arena, "window%lld", (long long)p->n);
		if (!v || !name)
			return k_err_nomem(err, (size_t)window * sizeof(*v), "token ids");
		if (head)
			v[0] = bos;
		memcpy(v + head, ids->v + from, (size_t)len * sizeof(*v));
		seq[p->n] = (struct k_golden_seq){ name, v, head + len };
	}
	return r;
}

static int read_text(struct k_passages *p, struct k_model *m, const char *text, size_t len, const struct k_eval_opts *o, struct k_err *err)
{
	struct k_ids ids;
	const char *why;
	const struct k_tokenizer *t = k_model_tokenizer(m, &why);
	int32_t bos;
	if (!t)
		return k_err_set(err, K_ENOENT, "'%s' is a text, and that needs a tokenizer: %s", o->file, why);
	k_ids_init(&ids);
	int r = k_tokenizer_encode(t, text, len, 0, &ids, err);
	if (r < 0)
		k_err_add(err, "in '%s'", o->file);
	else
		r = k_corpus_bos(m, o->bos, &bos, err);
	if (r == 0)
		r = cut(p, &ids, bos, o, err);
	k_ids_fini(&ids);
	return r;
}

static bool has_sequences(const char *text, size_t len)
{
	struct k_json *v = NULL;
	struct k_err none;
	bool yes = len && text[0] == '{' && k_json_parse(&v, text, len, K_JSON_STRICT, "", &none) == 0 && k_json_find(v, "sequences");
	k_json_free(v);
	return yes;
}

int k_passages_read(struct k_passages *p, struct k_model *m, const struct k_eval_opts *o, struct k_err *err)
{
	struct k_source *src = NULL;
	struct k_buf b;
	int64_t vocab = k_model_hp(m)->n_vocab;
	bool done = false;
	*p = (struct k_passages){ 0 };
	k_arena_init(&p->arena);
	k_buf_init(&b, TEXT_MAX);
	int r = k_path_is_dir(o->file) ? 1 : k_source_open(&src, o->file, err);
	if (r == 0)
		r = k_source_slurp(src, &b, TEXT_MAX, err);
	if (r == 1 || (r == 0 && strcmp(o->file, "-") && has_sequences(b.data, b.len))) {
		r = k_golden_open(&p->golden, o->file, vocab, false, err);
		if (r == 0) {
			p->seq = p->golden->seq;
			p->n = o->limit ? K_MIN(o->limit, p->golden->n_seq) : p->golden->n_seq;
		}
		done = true;
	}
	if (r == 0 && !done)
		r = read_lines(p, b.data, b.len, vocab, o, &done, err);
	if (r == 0 && !done)
		r = read_text(p, m, b.data ? b.data : "", b.len, o, err);
	if (r == 0 && !p->n)
		r = k_err_set(err, K_EFORMAT, "'%s' has no sequences", o->file);
	k_source_close(src);
	k_buf_fini(&b);
	return r;
}

void k_passages_fini(struct k_passages *p)
{
	k_golden_close(p->golden);
	k_arena_fini(&p->arena);
}
