/* schema_text.h: what tests of schemas share: whether a schema takes a text, and whether masks are what trying each token says. */
#ifndef K_SCHEMA_TEXT_H
#define K_SCHEMA_TEXT_H

#include "libcore/base.h"
#include "libcore/base64.h"
#include "libcore/matcher_int.h"
#include "libcore/schema.h"
#include "libcore/test.h"

#include <stdio.h>

static inline int compile(struct k_grammar **g, const char *text, int flags, struct k_err *err)
{
	struct k_json *j = NULL;
	*g = NULL;
	int rc = k_json_parse(&j, text, strlen(text), K_JSON_LAST_WINS, "schema", err);
	if (!rc)
		rc = k_schema_compile(g, j, "schema", flags, NULL, err);
	k_json_free(j);
	return rc;
}

/* A text in which markers stand, as a grammar has them. */
static inline bool put_said(struct k_matcher *m, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		if (!(c >= K_MARK_OPEN ? k_matcher_put_mark(m, c) : k_matcher_put_bytes(m, &s[i], 1)))
			return false;
	}
	return true;
}

static inline bool takes_as(const char *schema, int flags, const char *text, size_t n)
{
	struct k_grammar *g;
	struct k_matcher *m;
	struct k_err err = { 0 };
	K_CHECK_MSG(!compile(&g, schema, flags, &err), "%s: %s", schema, err.msg);
	K_CHECK_OK(k_matcher_new(&m, g, NULL, &err));
	bool yes = put_said(m, text, n) && k_matcher_done(m);
	k_matcher_free(m);
	k_grammar_free(g);
	return yes;
}

static inline bool takes(const char *schema, const char *text) { return takes_as(schema, 0, text, strlen(text)); }

static inline bool takes_mark(struct k_matcher *m)
{
	return k_matcher_takes_mark(m, K_MARK_OPEN) || k_matcher_takes_mark(m, K_MARK_CLOSE) || k_matcher_takes_mark(m, K_MARK_SEP);
}

enum { NANO_TOKENS = 3840 };

/* nano's vocabulary, in which these tokens stand for its last ones. */
static inline void open_nano(struct k_files *files, struct k_tokenizer **t, struct k_vocab **v, const char *const *tokens, size_t n)
{
	static const char *const names[] = { "tiktoken.model", "tokenizer_config.json" };
	struct k_err err = { 0 };
	k_files_init(files, "nano");
	for (size_t i = 0; i < K_LEN(names); i++) {
		char rel[64], line[256];
		struct k_buf b;
		k_buf_init(&b, 0);
		snprintf(rel, sizeof(rel), "nano/%s", names[i]);
		FILE *f = fopen(k_test_data(rel), "rb");
		if (!f)
			k_test_skip("there is no %s", rel);
		for (size_t k = 0; fgets(line, sizeof(line), f); k++) {
			size_t own = k + n - NANO_TOKENS;
			if (i || own >= n) {
				k_buf_puts(&b, line);
				continue;
			}
			k_base64_put(&b, tokens[own], strlen(tokens[own]));
			k_buf_printf(&b, " %zu\n", k);
		}
		fclose(f);
		size_t len;
		char *data = k_buf_take(&b, &len);
		K_CHECK(data);
		K_CHECK_OK(k_files_add(files, names[i], data, len, &err));
	}
	K_CHECK_OK(k_tokenizer_open(t, files, 0, &err));
	K_CHECK_OK(k_vocab_new(v, *t, &err));
}

/* The mask must be what trying each token says: those from `own` on, and all when asked. Returns one that may follow, of the own ones if it
 * can; -1: none. */
static inline int32_t check_mask(struct k_matcher *m, struct k_matcher *probe, const struct k_buf *said, int32_t own, bool all, uint64_t *x)
{
	const struct k_vocab *v = m->v;
	const uint64_t *mask = k_matcher_mask(m), *again;
	struct k_err err = { 0 };
	int32_t n = 0, owned = 0, pick = -1;
	K_CHECK(mask);
	/* One that was rewound, which knows other texts already, says the same. */
	K_CHECK_OK(k_matcher_reset(probe, &err));
	K_CHECK(put_said(probe, said->data, said->len));
	K_CHECK((again = k_matcher_mask(probe)) && !memcmp(again, mask, ((size_t)v->n / 64 + 1) * 8));
	for (int32_t id = 0; id < v->n; id++) {
		bool yes = mask[id / 64] >> (id % 64) & 1;
		if (yes && id >= own && !owned++)
			n = 0;
		n += yes;
		*x = *x * 6364136223846793005u + 1442695040888963407u;
		if (yes && (*x >> 33) % (uint64_t)n == 0)
			pick = id;
		if (!all && id < own)
			continue;
		K_CHECK_OK(k_matcher_reset(probe, &err));
		K_CHECK(put_said(probe, said->data, said->len));
		K_CHECK_MSG(k_matcher_put(probe, id) == yes, "token %d behind %s", (int)id, said->len ? said->data : "nothing");
	}
	K_CHECK_MSG(n || k_matcher_done(m) || takes_mark(m), "a dead end behind %s", said->data);
	return pick;
}

static inline bool put_picked(struct k_matcher *m, const struct k_tokenizer *t, int32_t id, struct k_buf *said)
{
	size_t len;
	const char *s = k_tokenizer_bytes(t, id, &len);
	k_buf_put(said, s, len);
	return k_matcher_put(m, id);
}

/* The marker that may follow, where one may; K_MARK_SEP + 1: none. */
static inline int mark_of(struct k_matcher *m)
{
	int mark = K_MARK_OPEN;
	while (mark <= K_MARK_SEP && !k_matcher_takes_mark(m, (enum k_mark)mark))
		mark++;
	return mark;
}

/* Through tokens, and markers where the grammar has them, until nothing more may come, which only the end is. */
static inline void walk_masks(struct k_matcher *m, struct k_matcher *probe, const struct k_tokenizer *t, int32_t own, int steps, uint64_t *x)
{
	struct k_buf said;
	k_buf_init(&said, 0);
	for (int step = 0; step < steps; step++) {
		int32_t pick = check_mask(m, probe, &said, own, step % (steps / 4) == 0, x);
		int mark = mark_of(m);
		if (mark <= K_MARK_SEP && (pick < 0 || *x >> 40 & 1)) {
			K_CHECK(k_matcher_put_mark(m, (enum k_mark)mark));
			k_buf_putc(&said, (char)mark);
		} else if (pick >= 0) {
			K_CHECK(put_picked(m, t, pick, &said));
		} else {
			K_CHECK(k_matcher_done(m));
			break;
		}
	}
	k_buf_fini(&said);
}

/* Walks at random, of so many steps each, through each schema; on the way masks must be exact, and nothing may end in a dead end. */
static inline void check_masks(const char *const *schemas, size_t n, int flags, const char *const *tokens, size_t n_tokens, int walks, int steps)
{
	struct k_files files;
	struct k_tokenizer *t;
	struct k_vocab *v;
	struct k_err err = { 0 };
	uint64_t x = 7;
	open_nano(&files, &t, &v, tokens, n_tokens);
	for (size_t i = 0; i < n * (size_t)walks; i++) {
		struct k_grammar *g;
		struct k_matcher *m, *probe;
		K_CHECK_OK(compile(&g, schemas[i / (size_t)walks], flags, &err));
		K_CHECK_OK(k_matcher_new(&m, g, v, &err));
		K_CHECK_OK(k_matcher_new(&probe, g, v, &err));
		walk_masks(m, probe, t, NANO_TOKENS - (int32_t)n_tokens, steps, &x);
		k_matcher_free(m);
		k_matcher_free(probe);
		k_grammar_free(g);
	}
	k_vocab_free(v);
	k_tokenizer_free(t);
	k_files_fini(&files);
}

#endif
