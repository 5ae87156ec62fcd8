/* grammar_int.h: the nodes of a grammar. schema*.c make them, grammar.c walks them. */
#ifndef K_GRAMMAR_INT_H
#define K_GRAMMAR_INT_H

#include <stdatomic.h>

#include "libcore/arena.h"
#include "libcore/grammar.h"
#include "libcore/pattern.h"
#include "libcore/xtml.h"

enum k_node_kind {
	K_NODE_NEVER,           /* no value */
	K_NODE_UNION,           /* kids */
	K_NODE_WORDS,           /* one of some texts */
	K_NODE_STRING,          /* a pattern, within quotes */
	K_NODE_INTEGER,         /* low .. high, multiples of step; at most 18 digits */
	K_NODE_NUMBER,          /* low .. high in units of 1e-15, at most 15 digits; free: with an exponent, no bounds */
	K_NODE_ARRAY,           /* kids: the items by position; rest: the others */
	K_NODE_OBJECT,          /* props, then extras */
	K_NODE_CALL,            /* an OBJECT as the arguments of a call: its members are elements, their values by type */
};

/* How strings are written. */
enum k_form {
	K_FORM_JSON,
	K_FORM_RAW,             /* as they are, up to the marker that closes the element */
	K_FORM_ATTRIBUTE,       /* within quotes, with &amp; and &quot; */
};

#define K_NODE_NONE UINT32_MAX
#define K_HEIGHT_NONE UINT32_MAX        /* no value exists */
#define K_MANY INT64_MAX

struct k_word { const char *s; uint32_t len, index; };  /* sorted by bytes; index: of the property */
struct k_prop { uint32_t value; bool required; };
struct k_extra { uint32_t key, value, names; }; /* key: a STRING node; names: how many there are, at least */

struct k_node {
	uint8_t kind;
	uint8_t form;                   /* STRING; but for JSON's the pattern is that of another node */
	bool free;                      /* NUMBER */
	bool unique;                    /* ARRAY of kids[0..n) each at most once, in any order, WORDS nodes */
	uint32_t height;                /* containers within each other that the smallest value needs */
	uint32_t *kids, n_kids;
	uint32_t rest;                  /* ARRAY: node of the other items, K_NODE_NONE for none */
	struct k_word *words; uint32_t n_words;         /* WORDS; OBJECT: keys with their closing quote */
	struct k_pattern *pattern;
	__int128 low, high;
	int64_t step;
	int64_t min, max;               /* ARRAY, OBJECT: how many */
	struct k_prop *props; uint32_t n_props;
	uint32_t *next_required;        /* OBJECT: [n_props + 1] the first required one from here on; n_props: none */
	uint32_t *required_from;        /* OBJECT: [n_props + 1] how many are required from here on */
	struct k_extra *extras; uint32_t n_extras;
	const uint32_t **typed;         /* CALL: [n_props + n_extras][type] the values of that type, K_NODE_NONE for none */
};

struct k_grammar {
	atomic_int refs;
	struct k_arena arena;
	struct k_node *nodes; uint32_t n_nodes, cap_nodes;
	uint32_t root;
	uint32_t limit;                 /* containers within each other */
	bool names;                     /* there are objects that must have more than one member, of names that are not declared */
};

/* Heights of all nodes, and what follows from them. */
void k_grammar_settle(struct k_grammar *g);

#endif
