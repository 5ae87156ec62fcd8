/* vocab.h: the tokens of a vocabulary by their bytes, as tries that are walked together with an automaton.
 *
 * Two tries: `plain` holds the tokens that are whole characters of a JSON string (no quote, no backslash, no control), which are
 * nearly all; `other` the rest, those that hold part of a character among them. Specials are in neither. */
#ifndef K_VOCAB_H
#define K_VOCAB_H

#include "libcore/tokenizer.h"

/* In preorder; the children of node i begin at i + 1, what follows its subtree is at end. */
struct k_trie_node { uint32_t end; uint32_t first; uint16_t n; uint8_t byte; uint8_t depth; };
struct k_trie {
	struct k_trie_node *nodes; uint32_t n_nodes;
	int32_t *ids; uint32_t n_ids;   /* in the order of the nodes: of node i first .. first + n, of its subtree one run */
};
struct k_vocab {
	int32_t n;                      /* ids are below */
	struct k_trie plain, other;
	uint64_t *all_plain, *all;      /* bits; all: of both tries */
	int32_t *by_chars; uint32_t *up_to;     /* plain tokens by their number of characters; up_to[k]: how many have at most k */
	int64_t longest;                /* in characters */
	const struct k_tokenizer *t;
};

int k_vocab_new(struct k_vocab **out, const struct k_tokenizer *t, struct k_err *err) K_MUST_USE;
void k_vocab_free(struct k_vocab *v);                   /* takes NULL */

#endif
