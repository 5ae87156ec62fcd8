/* grammars.c: a table of compiled schemas by their text, the least recently used of which goes when it is full; and matchers that no answer
 * has at the moment, with the tables and masks that they have made: the next answer with the same grammar need not make them again. */
#include "libcore/base.h"

#include <pthread.h>

#include "libcore/log.h"
#include "libcore/schema.h"
#include "cmd/kserve/grammars.h"
#include "cmd/kserve/openai.h"

#define MAX_GRAMMARS 256
#define MAX_SCHEMA (256u << 10)
#define MAX_IDLE 64                     /* matchers that nobody has */
#define MAX_IDLE_BYTES (32u << 20)      /* of them all */

struct entry { char *text; size_t len; int flags; struct k_grammar *grammar; uint64_t used; };
struct k_grammars {
	pthread_mutex_t lock;
	const struct k_tokenizer *tok;
	struct k_log *log;
	struct k_vocab *vocab;
	struct entry entries[MAX_GRAMMARS];
	int n;
	struct idle { struct k_matcher *m; size_t bytes; } idle[MAX_IDLE];      /* in the order in which they came back */
	int n_idle;
	size_t idle_bytes;
	uint64_t clock;
	uint64_t n_compiled, compile_ns;
};

int k_grammars_new(struct k_grammars **out, const struct k_tokenizer *t, struct k_log *log, struct k_err *err)
{
	struct k_grammars *g = k_calloc(1, sizeof(*g));
	if (!g)
		return k_err_nomem(err, sizeof(*g), "the table of grammars");
	pthread_mutex_init(&g->lock, NULL);
	g->tok = t;
	g->log = log;
	*out = g;
	return 0;
}

/* --- matchers ---------------------------------------------------------------------------------------------------------------- */

/* With the lock held. */
static struct k_matcher *take_idle(struct k_grammars *g, int i)
{
	struct k_matcher *m = g->idle[i].m;
	g->idle_bytes -= g->idle[i].bytes;
	memmove(&g->idle[i], &g->idle[i + 1], (size_t)(--g->n_idle - i) * sizeof(*g->idle));
	return m;
}

int k_grammars_lend(struct k_grammars *g, struct k_grammar *grammar, struct k_matcher **out, struct k_err *err)
{
	const struct k_vocab *v = k_grammars_vocab(g);
	struct k_matcher *m = NULL;
	if (!v)
		return k_err_nomem(err, sizeof(*v), "the tokens by their bytes");
	pthread_mutex_lock(&g->lock);
	for (int i = g->n_idle; i-- > 0 && !m; )
		m = k_matcher_grammar(g->idle[i].m) == grammar ? take_idle(g, i) : NULL;
	pthread_mutex_unlock(&g->lock);
	if (!m)
		return k_matcher_new(out, grammar, v, err);
	int rc = k_matcher_reset(m, err);
	if (rc)
		k_matcher_free(m);
	else
		*out = m;
	return rc;
}

/* Those that came back first make room. */
void k_grammars_back(struct k_grammars *g, struct k_matcher *m)
{
	size_t bytes = m ? k_matcher_bytes(m) : 0;
	bool keep = m && bytes <= MAX_IDLE_BYTES;
	while (keep) {
		struct k_matcher *old = NULL;
		pthread_mutex_lock(&g->lock);
		if (g->n_idle == MAX_IDLE || g->idle_bytes + bytes > MAX_IDLE_BYTES) {
			old = take_idle(g, 0);
		} else {
			g->idle[g->n_idle++] = (struct idle){ m, bytes };
			g->idle_bytes += bytes;
			m = NULL;
			keep = false;
		}
		pthread_mutex_unlock(&g->lock);
		k_matcher_free(old);
	}
	k_matcher_free(m);
}

static void drop(struct entry *e)
{
	k_free(e->text);
	k_grammar_free(e->grammar);
}

void k_grammars_free(struct k_grammars *g)
{
	if (!g)
		return;
	for (int i = 0; i < g->n; i++)
		drop(&g->entries[i]);
	while (g->n_idle)
		k_matcher_free(take_idle(g, g->n_idle - 1));
	k_vocab_free(g->vocab);
	pthread_mutex_destroy(&g->lock);
	k_free(g);
}

const struct k_vocab *k_grammars_vocab(struct k_grammars *g)
{
	struct k_err err = { 0 };
	pthread_mutex_lock(&g->lock);
	if (!g->vocab && k_vocab_new(&g->vocab, g->tok, &err))
		k_logf(g->log, K_LOG_ERROR, "%s", err.msg);
	const struct k_vocab *v = g->vocab;
	pthread_mutex_unlock(&g->lock);
	return v;
}

/* With the lock held. */
static struct entry *find(struct k_grammars *g, const struct k_buf *text, int flags)
{
	for (int i = 0; i < g->n; i++) {
		struct entry *e = &g->entries[i];
		if (e->len == text->len && e->flags == flags && !memcmp(e->text, text->data, text->len)) {
			e->used = ++g->clock;
			return e;
		}
	}
	return NULL;
}

/* With the lock held. Without memory the grammar is not kept, which only costs time. */
static void keep(struct k_grammars *g, const struct k_buf *text, int flags, struct k_grammar *grammar)
{
	struct entry *e = g->entries;
	char *copy = k_strndup(text->data, text->len);
	if (!copy)
		return;
	if (g->n < MAX_GRAMMARS) {
		e = &g->entries[g->n++];
	} else {
		for (int i = 1; i < g->n; i++)
			e = g->entries[i].used < e->used ? &g->entries[i] : e;
		drop(e);
	}
	*e = (struct entry){ copy, text->len, flags, k_grammar_keep(grammar), ++g->clock };
}

static int compile(struct k_grammars *g, const struct k_json *schema, int flags, const char *where, struct k_grammar **out, struct k_fault *f)
{
	struct k_err err = { 0 };
	struct k_buf ignored;
	k_buf_init(&ignored, 1 << 16);
	int rc = k_json_kind(schema) == K_JSON_ARRAY ? k_schema_choice(out, schema, where, &err)
		: k_schema_compile(out, schema, where, flags, &ignored, &err);
	if (!rc && ignored.len)
		k_logf(g->log, K_LOG_WARN, "not enforced: %s", ignored.data);
	k_buf_fini(&ignored);
	if (!rc)
		return 0;
	if (err.code == K_ENOMEM)
		return k_no_memory(f);
	return k_fault_set(f, 400, "invalid_schema", where, "%s", err.msg);
}

int k_grammars_get(struct k_grammars *g, const struct k_json *schema, int flags, const char *where, struct k_grammar **out, struct k_fault *f)
{
	struct k_buf text;
	int rc = 0;
	k_buf_init(&text, MAX_SCHEMA);
	if (schema)
		k_json_dump(&text, schema, K_JSON_COMPACT);
	else
		k_buf_putc(&text, ' ');
	if (text.failed) {
		k_buf_fini(&text);
		return k_fault_set(f, 400, "invalid_schema", where, "%s is larger than %u bytes", where, MAX_SCHEMA);
	}
	pthread_mutex_lock(&g->lock);
	struct entry *e = find(g, &text, flags);
	if (e)
		*out = k_grammar_keep(e->grammar);
	pthread_mutex_unlock(&g->lock);
	if (!e) {
		uint64_t began = k_now_ns();
		rc = compile(g, schema, flags, where, out, f);
		pthread_mutex_lock(&g->lock);
		g->n_compiled++;
		g->compile_ns += k_now_ns() - began;
		if (!rc && !find(g, &text, flags))
			keep(g, &text, flags, *out);
		pthread_mutex_unlock(&g->lock);
	}
	k_buf_fini(&text);
	return rc;
}

void k_grammars_compiled(struct k_grammars *g, uint64_t *n, uint64_t *ns)
{
	pthread_mutex_lock(&g->lock);
	*n = g->n_compiled;
	*ns = g->compile_ns;
	pthread_mutex_unlock(&g->lock);
}
