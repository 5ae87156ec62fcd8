/* constraint_int.h: what constraint.c and the courses share. */
#ifndef K_CONSTRAINT_INT_H
#define K_CONSTRAINT_INT_H

#include "cmd/kserve/constraint.h"
#include "cmd/kserve/grammars.h"

struct k_ruled_tool { const char *name; bool allowed; struct k_grammar *grammar; };    /* name lies in the request's body */
struct k_constraint {
	struct k_ruled_tool *tools;
	int n_tools;                    /* 0: no calls */
	bool required;                  /* a call, and nothing but calls */
	bool one;                       /* not more than one call */
	struct k_grammar *format;       /* of the content; NULL: free text */
};

/* Answers are elements between <|open|>, <|close|> and <|sep|>, as Kimi-K3 writes them: the layout says so, and the tokenizer has the markers. */
bool k_writes_xtml(const struct k_server *s);

#endif
