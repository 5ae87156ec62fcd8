/* prefix.h: what was computed before, kept for prompts that begin alike: a radix tree over tokens.
 *
 * Attention pages are shared between the tree and sequences (seq.c copies a page before it writes to one that others hold). Models
 * with KDA layers can go on only from where a mark was set: a hit is then the longest position that has both pages and a state.
 * Used by one thread. Sequences that it hands out are the caller's, and may be freed on any thread. */
#ifndef K_PREFIX_H
#define K_PREFIX_H

#include "libcore/seq.h"

struct k_prefix;

struct k_prefix_stats { uint64_t bytes, state_bytes; int64_t tokens, states, nodes; };

int k_prefix_new(struct k_prefix **out, struct k_model *m, struct k_err *err) K_MUST_USE;
void k_prefix_free(struct k_prefix *p);                 /* takes NULL */

/* s, which is empty, becomes the longest known beginning of ids[0..n), at most n - 1 long; *found tokens. Only trees of the same salt
 * are looked at. grid > 1: only lengths that it divides. */
int k_prefix_take(struct k_prefix *p, uint64_t salt, const int32_t *ids, int64_t n, int64_t grid, struct k_seq *s, int64_t *found,
	struct k_err *err) K_MUST_USE;
/* How much take would find. */
int64_t k_prefix_look(const struct k_prefix *p, uint64_t salt, const int32_t *ids, int64_t n, int64_t grid);

/* Keeps s up to its length (with KDA layers: up to its last mark) and all its marks. id: the name of what it was loaded from, 0:
 * not on disk. firm: the last mark is where many conversations part, and outlives the others of its neighbourhood. */
int k_prefix_put(struct k_prefix *p, uint64_t salt, const struct k_seq *s, uint64_t id, bool firm, struct k_err *err) K_MUST_USE;

/* Drops what was not used for longest until at most bytes are held. lose hears of each conversation that is about to be cut and has
 * tokens that were never handed out by k_prefix_unsaved; s is its to keep. May be NULL. */
typedef void k_prefix_lose(void *arg, struct k_seq *s, uint64_t salt, uint64_t id);
void k_prefix_limit(struct k_prefix *p, uint64_t bytes, k_prefix_lose *lose, void *arg);

/* The conversation used last that has unsaved tokens since before (k_now_ns): *s is NULL when there is none. *id names it from now
 * on, and it counts as saved. */
int k_prefix_unsaved(struct k_prefix *p, uint64_t before, struct k_seq **s, uint64_t *salt, uint64_t *id, struct k_err *err) K_MUST_USE;

/* What was handed out under that name is not on disk after all: it is unsaved, since then, which may be to come. */
void k_prefix_not_saved(struct k_prefix *p, uint64_t id, uint64_t since);

/* What is kept of ids[0..n), with its most useful marks, as a sequence of the caller's; *s is NULL when that is nothing. */
int k_prefix_copy(struct k_prefix *p, uint64_t salt, const int32_t *ids, int64_t n, struct k_seq **s, struct k_err *err) K_MUST_USE;
/* Drops of a conversation that ends with ids[0..n) what no other one goes through. */
void k_prefix_forget(struct k_prefix *p, uint64_t salt, const int32_t *ids, int64_t n);

bool k_prefix_dirty(const struct k_prefix *p);          /* is there one that is not saved, however young? */

void k_prefix_stats(const struct k_prefix *p, struct k_prefix_stats *out);
/* For tests: every invariant of the tree; false with a sentence when one is broken. */
bool k_prefix_sound(const struct k_prefix *p, struct k_err *err);

#endif
