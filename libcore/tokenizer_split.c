/* tokenizer_split.c: the pre-tokenizers, as procedures that say where the piece at a position ends.
 *
 * Each is equal to the regular expression that its model was trained with (leftmost, alternatives in order), but needs no
 * engine and no step limit, and takes time in proportion to the text. Text is valid UTF-8. L, N, S are letters, numbers,
 * White_Space; O is what is none of them. Each text behind `=` is one alternative:
 *
 *   Kimi     Han+ = prefix? U* W+ contraction? = prefix? U+ W* contraction? = N{1,3} = SP? O+ [CR LF]* = spaces
 *            (U: upper, title, modifier, other letters and marks; W: lower instead of upper and title; neither has Han)
 *   Llama-3  contraction = prefix? L+ = N{1,3} = SP? O+ [CR LF]* = spaces
 *   GPT-2    contraction = SP? L+ = SP? N+ = SP? O+ = spaces, without the rule for line ends
 *   digits   every N alone, GPT-2 on what is between
 *
 *   prefix: not CR, LF, L, N          spaces: S* [CR LF]+ = S+ that no non-space follows = S+ */
#include "libcore/base.h"
#include "libcore/tokenizer_int.h"
#include "libcore/unicode.h"

enum { L = K_UC_LETTER, N = K_UC_NUMBER, S = K_UC_SPACE, U = K_UC_UPPER, W = K_UC_LOWER, H = K_UC_HAN };

struct text { const char *p; size_t n; };

static inline int class_at(const struct text *s, size_t i, int *len) { return k_unicode_class(k_unicode_at(s->p + i, len)); }

/* End of the run of scalars that have a class of the mask. */
static size_t run(const struct text *s, size_t i, int mask)
{
	int len;

	for (; i < s->n && class_at(s, i, &len) & mask; i += (size_t)len)
		;
	return i;
}

static size_t run_other(const struct text *s, size_t i)
{
	int len;

	for (; i < s->n && !(class_at(s, i, &len) & (L | N | S)); i += (size_t)len)
		;
	return i;
}

static inline bool is_line_end(char c) { return c == '\r' || c == '\n'; }

static size_t run_line_ends(const struct text *s, size_t i)
{
	while (i < s->n && is_line_end(s->p[i]))
		i++;
	return i;
}

static size_t run_numbers(const struct text *s, size_t i, int most)
{
	int len;

	for (; most > 0 && i < s->n && class_at(s, i, &len) & N; most--)
		i += (size_t)len;
	return i;
}

/* Behind 's 't 're 've 'm 'll 'd, or i itself. Folding: U+017F is an s. */
static size_t contraction(const struct text *s, size_t i, bool fold)
{
	static const char *const endings[] = { "s", "t", "re", "ve", "m", "ll", "d" };
	size_t left = s->n - i;

	if (left < 2 || s->p[i] != '\'')
		return i;
	if (fold && left >= 3 && !memcmp(s->p + i + 1, "\xc5\xbf", 2))
		return i + 3;
	for (size_t e = 0; e < K_LEN(endings); e++) {
		size_t len = strlen(endings[e]), k = 0;

		if (len >= left)
			continue;
		while (k < len && (s->p[i + 1 + k] | (fold ? 0x20 : 0)) == endings[e][k])
			k++;
		if (k == len)
			return i + 1 + len;
	}
	return i;
}

/* White space from pos on; there is some. */
static size_t spaces_end(const struct text *s, size_t pos, bool line_ends)
{
	size_t i = pos, last = pos, line = 0;
	int len;

	while (i < s->n && class_at(s, i, &len) & S) {
		if (is_line_end(s->p[i]))
			line = i + 1;
		last = i;
		i += (size_t)len;
	}
	if (line_ends && line)
		return line;
	/* The last one is left to what follows, unless it is the only one. */
	return i < s->n && last > pos ? last : i;
}

/* U* W+ from q, 0 when there is none. W+ may have to take back from U* what is both. */
static size_t upper_lower(const struct text *s, size_t q)
{
	size_t i = q, both = 0;
	int len = 0, c = 0;

	for (; i < s->n && (c = class_at(s, i, &len)) & U; i += (size_t)len)
		if (c & W)
			both = i + (size_t)len;
	if (i < s->n && c & W)
		return run(s, i, W);
	return both;
}

static size_t upper(const struct text *s, size_t q)
{
	size_t i = run(s, q, U);

	return i == q ? 0 : run(s, i, W);
}

/* The two alternatives for words, 0 when neither matches. */
static size_t kimi_word(const struct text *s, size_t pos, size_t after_prefix)
{
	static size_t (*const ways[])(const struct text *, size_t) = { upper_lower, upper };

	for (size_t w = 0; w < K_LEN(ways); w++) {
		size_t e = after_prefix ? ways[w](s, after_prefix) : 0;

		if (!e)
			e = ways[w](s, pos);
		if (e)
			return contraction(s, e, true);
	}
	return 0;
}

/* SP? O+ [CR LF]*, 0 when it does not match. */
static size_t symbols_end(const struct text *s, size_t pos, bool line_ends)
{
	size_t q = pos + (s->p[pos] == ' '), i = run_other(s, q);

	if (i == q)
		return 0;
	return line_ends ? run_line_ends(s, i) : i;
}

static size_t kimi_end(const struct text *s, size_t pos)
{
	int len, c = class_at(s, pos, &len);
	bool prefix = !(c & (L | N)) && !is_line_end(s->p[pos]);
	size_t e;

	if (c & H)
		return run(s, pos, H);
	e = kimi_word(s, pos, prefix ? pos + (size_t)len : 0);
	if (e)
		return e;
	if (c & N)
		return run_numbers(s, pos, 3);
	e = symbols_end(s, pos, true);
	return e ? e : spaces_end(s, pos, true);
}

static size_t llama3_end(const struct text *s, size_t pos)
{
	int len, c = class_at(s, pos, &len);
	size_t e = contraction(s, pos, true), q;

	if (e > pos)
		return e;
	q = c & (L | N) || is_line_end(s->p[pos]) ? pos : pos + (size_t)len;
	e = run(s, q, L);
	if (e > q)
		return e;
	if (c & N)
		return run_numbers(s, pos, 3);
	e = symbols_end(s, pos, true);
	return e ? e : spaces_end(s, pos, true);
}

static size_t gpt2_end(const struct text *s, size_t pos)
{
	size_t e = contraction(s, pos, false), q = pos + (s->p[pos] == ' ');

	if (e > pos)
		return e;
	e = run(s, q, L);
	if (e == q)
		e = run(s, q, N);
	if (e > q)
		return e;
	e = symbols_end(s, pos, false);
	return e ? e : spaces_end(s, pos, false);
}

size_t k_tokenizer_piece_end(enum k_split split, const char *p, size_t n, size_t pos)
{
	static size_t (*const ends[])(const struct text *, size_t) = {
		[K_SPLIT_KIMI] = kimi_end, [K_SPLIT_LLAMA3] = llama3_end, [K_SPLIT_GPT2] = gpt2_end, [K_SPLIT_DIGITS] = gpt2_end,
	};
	const struct text s = { p, n };

	return ends[split](&s, pos);
}
