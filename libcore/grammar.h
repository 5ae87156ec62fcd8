/* grammar.h: which tokens may come next so that the text becomes a JSON value of a schema.
 *
 *   struct k_grammar   what values there are: a graph of nodes made by schema.h; immutable, shared by threads, counted
 *   struct k_matcher   where one text is in it; of one thread
 *
 * Text is compact JSON with at most one space behind ':' and ','; members come in the order of the schema. The arguments of a call
 * of Kimi-K3 (K_SCHEMA_CALL) are elements between markers, which are tokens of their own and no bytes of the text. */
#ifndef K_GRAMMAR_H
#define K_GRAMMAR_H

#include "libcore/buf.h"
#include "libcore/vocab.h"

struct k_grammar;
void k_grammar_free(struct k_grammar *g);               /* drops a reference; takes NULL */
struct k_grammar *k_grammar_keep(struct k_grammar *g);

struct k_matcher;
/* Keeps the grammar; v is borrowed and may be NULL: then only bytes are taken. */
int k_matcher_new(struct k_matcher **out, struct k_grammar *g, const struct k_vocab *v, struct k_err *err) K_MUST_USE;
void k_matcher_free(struct k_matcher *m);               /* takes NULL */

/* Back to the begin. What it has found out about the grammar it keeps, for texts that go the same ways. */
int k_matcher_reset(struct k_matcher *m, struct k_err *err) K_MUST_USE;
const struct k_grammar *k_matcher_grammar(const struct k_matcher *m);
size_t k_matcher_bytes(const struct k_matcher *m);      /* memory that it holds, without the grammar */
/* false: the text cannot go on like this; the matcher is as it was. */
bool k_matcher_put_bytes(struct k_matcher *m, const char *s, size_t n);
bool k_matcher_put(struct k_matcher *m, int32_t id);
/* Markers of elements: bytes that no text has stand for them in a grammar. */
enum k_mark { K_MARK_OPEN = 0xfb, K_MARK_CLOSE, K_MARK_SEP };
bool k_matcher_put_mark(struct k_matcher *m, enum k_mark mark);
bool k_matcher_takes_mark(struct k_matcher *m, enum k_mark mark);
/* All texts that may come next up to a quote, which is the last of their bytes, or a marker; one behind the other, a NUL behind each. False: there
 * are too many to be told, as in a text that is free. */
bool k_matcher_spell(struct k_matcher *m, struct k_buf *out);
/* The text is a whole value. */
bool k_matcher_done(const struct k_matcher *m);
/* Something may follow. */
bool k_matcher_more(const struct k_matcher *m);
/* Bits of the tokens that may follow, vocabulary / 64 + 1 words, until the next call; NULL without memory. */
const uint64_t *k_matcher_mask(struct k_matcher *m);

#endif
