/* vocab.c: sorts the tokens by their bytes and lays the tries out. */
#include "libcore/base.h"

#include <stdlib.h>

#include "libcore/unicode.h"
#include "libcore/vocab.h"

enum { LONGEST = 255 };         /* bytes; longer tokens are never chosen within a grammar */

struct text { const unsigned char *s; uint32_t len; int32_t id; };

static int by_bytes(const void *a, const void *b)
{
	const struct text *x = a, *y = b;
	int c = memcmp(x->s, y->s, K_MIN(x->len, y->len));
	if (c || x->len != y->len)
		return c ? c : x->len < y->len ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static bool is_plain(const struct text *t)
{
	for (uint32_t i = 0; i < t->len; i++) {
		if (t->s[i] < 0x20 || t->s[i] == '"' || t->s[i] == '\\')
			return false;
	}
	return k_unicode_check((const char *)t->s, t->len) == t->len;
}

static uint32_t common(const struct text *a, const struct text *b)
{
	uint32_t n = 0;
	while (n < a->len && n < b->len && a->s[n] == b->s[n])
		n++;
	return n;
}

/* Takes n sorted texts. */
static int lay_out(struct k_trie *t, const struct text *v, size_t n, struct k_err *err)
{
	size_t room = 1, open[LONGEST + 1];
	uint32_t depth = 0;
	for (size_t i = 0; i < n; i++)
		room += v[i].len - (i ? common(&v[i - 1], &v[i]) : 0);
	t->nodes = k_calloc(room, sizeof(*t->nodes));
	t->ids = k_calloc(n + 1, sizeof(*t->ids));
	if (!t->nodes || !t->ids)
		return k_err_nomem(err, room * sizeof(*t->nodes), "the bytes of tokens");
	for (size_t i = 0; i < n; i++) {
		uint32_t same = i ? common(&v[i - 1], &v[i]) : 0;
		for (; depth > same; depth--)
			t->nodes[open[depth]].end = t->n_nodes;
		for (; depth < v[i].len; ) {
			t->nodes[t->n_nodes] = (struct k_trie_node){ .byte = v[i].s[depth], .depth = (uint8_t)depth, .first = t->n_ids };
			open[++depth] = t->n_nodes++;
		}
		t->nodes[open[depth]].n++;
		t->ids[t->n_ids++] = v[i].id;
	}
	for (; depth; depth--)
		t->nodes[open[depth]].end = t->n_nodes;
	return 0;
}

static int count_chars(struct k_vocab *v, const struct text *plain, size_t n, struct k_err *err)
{
	v->all_plain = k_calloc((size_t)v->n / 64 + 1, 8);
	v->by_chars = k_calloc(n + 1, sizeof(*v->by_chars));
	v->up_to = k_calloc(LONGEST + 2, sizeof(*v->up_to));
	uint8_t *chars = k_calloc(n + 1, 1);
	if (!v->all_plain || !v->by_chars || !v->up_to || !chars) {
		k_free(chars);
		return k_err_nomem(err, n * 4, "the lengths of tokens");
	}
	for (size_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < plain[i].len; k++)
			chars[i] = (uint8_t)(chars[i] + ((plain[i].s[k] & 0xc0) != 0x80));
		v->all_plain[plain[i].id / 64] |= (uint64_t)1 << (plain[i].id % 64);
		v->longest = K_MAX(v->longest, chars[i]);
	}
	uint32_t at = 0;
	for (int k = 0; k <= LONGEST; k++) {
		for (size_t i = 0; i < n && k <= v->longest; i++) {
			if (chars[i] == k)
				v->by_chars[at++] = plain[i].id;
		}
		v->up_to[k] = at;
	}
	k_free(chars);
	return 0;
}

static int collect(struct k_vocab *v, struct k_err *err)
{
	size_t words = (size_t)v->n / 64 + 1;
	v->all = k_calloc(words, sizeof(*v->all));
	if (!v->all)
		return k_err_nomem(err, words * sizeof(*v->all), "the bytes of tokens");
	memcpy(v->all, v->all_plain, words * sizeof(*v->all));
	for (uint32_t i = 0; i < v->other.n_ids; i++)
		v->all[v->other.ids[i] / 64] |= (uint64_t)1 << (v->other.ids[i] % 64);
	return 0;
}

int k_vocab_new(struct k_vocab **out, const struct k_tokenizer *t, struct k_err *err)
{
	struct k_vocab *v = k_calloc(1, sizeof(*v));
	int32_t n = k_tokenizer_vocab(t);
	struct text *all = k_calloc((size_t)n + 1, sizeof(*all)), *plain = k_calloc((size_t)n + 1, sizeof(*plain));
	size_t n_plain = 0, n_other = 0;
	int rc = !v || !all || !plain ? k_err_nomem(err, (size_t)n * sizeof(*all), "the bytes of tokens") : 0;
	for (int32_t id = 0; id < n && !rc; id++) {
		size_t len;
		const char *s = k_tokenizer_bytes(t, id, &len);
		if (!s || !len || len > LONGEST || k_tokenizer_is_special(t, id))
			continue;
		struct text x = { (const unsigned char *)s, (uint32_t)len, id };
		if (is_plain(&x))
			plain[n_plain++] = x;
		else
			all[n_other++] = x;
	}
	if (!rc) {
		v->n = n;
		v->t = t;
		qsort(plain, n_plain, sizeof(*plain), by_bytes);
		qsort(all, n_other, sizeof(*all), by_bytes);
		rc = lay_out(&v->plain, plain, n_plain, err);
	}
	if (!rc)
		rc = lay_out(&v->other, all, n_other, err);
	if (!rc)
		rc = count_chars(v, plain, n_plain, err);
	if (!rc)
		rc = collect(v, err);
	k_free(all);
	k_free(plain);
	if (rc)
		k_vocab_free(v);
	else
		*out = v;
	return rc;
}

void k_vocab_free(struct k_vocab *v)
{
	if (!v)
		return;
	k_free(v->plain.nodes);
	k_free(v->plain.ids);
	k_free(v->other.nodes);
	k_free(v->other.ids);
	k_free(v->all_plain);
	k_free(v->all);
	k_free(v->by_chars);
	k_free(v->up_to);
	k_free(v);
}
