/* pattern_int.h: an expression as an automaton of positions. pattern_parse.c makes it, pattern.c goes on from it. */
#ifndef K_PATTERN_INT_H
#define K_PATTERN_INT_H

#include "libcore/pattern.h"

enum { K_LAST_CHAR = 0x10ffff };

struct k_range { uint32_t lo, hi; };
struct k_set { struct k_range *v; int n, cap; };

enum k_edge { K_EDGE_NONE, K_EDGE_SET, K_EDGE_EMPTY, K_EDGE_BEGIN, K_EDGE_END };
/* A node has one edge over characters or two over nothing. */
struct k_position { uint8_t kind; int32_t to, also; int32_t set; };

struct k_nfa {
	struct k_position *v; int n, cap;
	struct k_set *sets; int n_sets, cap_sets;
	bool wide;                      /* classes hold what any reader may take for a member: for negated parts */
	const char *s; size_t len, at;
	int depth, atoms;
	struct k_err *err;
};

/* Adds a part: it begins at *in, and a text fits when *accept is reached. */
int k_nfa_add(struct k_nfa *a, const struct k_pattern_part *x, int32_t *in, int32_t *accept) K_MUST_USE;
void k_nfa_fini(struct k_nfa *a);

#endif
