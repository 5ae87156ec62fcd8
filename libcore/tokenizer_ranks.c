/* tokenizer_ranks.c: the bytes of a token -> its rank.
 *
 *   slot    hash | rank + 1, 0: free        open addressing with linear probing, at most three quarters full
 *
 * A slot has 8 bytes, and not the 24 of a map's, so that the table of 163,840 tokens is 2 MB: it is filled at each start, and asked for
 * every pair of bytes of a text, mostly in vain. What a slot says is compared with the token itself. */
#include "libcore/base.h"
#include "libcore/tokenizer_int.h"

struct k_rank_slot { uint32_t hash, next_rank; };

/* The slot that holds the bytes, or the free one where they belong. */
static inline struct k_rank_slot *slot_of(const struct k_tokenizer *t, uint32_t hash, const char *p, size_t n)
{
	for (size_t i = hash & t->ranks.mask; ; i = (i + 1) & t->ranks.mask) {
		struct k_rank_slot *s = &t->ranks.slots[i];
		const struct k_token *token;

		if (!s->next_rank)
			return s;
		token = &t->tokens[s->next_rank - 1];
		if (s->hash == hash && token->len == n && !memcmp(token->text, p, n))
			return s;
	}
}

/* Slots are in no order, so their memory is asked for some tokens ahead. */
int k_ranks_fill(struct k_tokenizer *t, int32_t n, const char *where, struct k_err *err)
{
	enum { AHEAD = 16 };
	uint32_t hash[AHEAD];
	size_t cap = 16;

	while (cap / 4 * 3 < (size_t)n)
		cap *= 2;
	k_map_secret(t->ranks.secret);
	t->ranks.mask = cap - 1;
	t->ranks.slots = k_zeros(cap * sizeof *t->ranks.slots);
	if (!t->ranks.slots)
		return k_err_nomem(err, cap * sizeof *t->ranks.slots, where);
	for (int32_t i = 0; i < n + AHEAD; i++) {
		if (i >= AHEAD) {
			const struct k_token *a = &t->tokens[i - AHEAD];
			struct k_rank_slot *s = slot_of(t, hash[i % AHEAD], a->text, a->len);

			if (s->next_rank)
				return k_err_set(err, K_EFORMAT, "'%s': the token of rank %d is there a second time", where, i - AHEAD);
			*s = (struct k_rank_slot){ hash[i % AHEAD], (uint32_t)(i - AHEAD) + 1 };
		}
		if (i < n) {
			const struct k_token *a = &t->tokens[i];

			hash[i % AHEAD] = k_map_hash(t->ranks.secret, a->text, a->len);
			__builtin_prefetch(&t->ranks.slots[hash[i % AHEAD] & t->ranks.mask], 1);
		}
	}
	return 0;
}

int32_t k_ranks_find(const struct k_tokenizer *t, const char *p, size_t n)
{
	return (int32_t)slot_of(t, k_map_hash(t->ranks.secret, p, n), p, n)->next_rank - 1;
}

void k_ranks_fini(struct k_tokenizer *t) { k_zeros_free(t->ranks.slots); }
