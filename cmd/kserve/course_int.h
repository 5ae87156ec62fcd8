/* course_int.h: what the courses of the ways in which models write answers share: course_k2.c, course_k3.c. */
#ifndef K_COURSE_INT_H
#define K_COURSE_INT_H

#include "cmd/kserve/constraint_int.h"

struct k_course;
struct k_course_kind {
	size_t size;                    /* of its struct, which begins with a k_course */
	int (*set_up)(struct k_course *x, const struct k_server *s, struct k_err *err);
	bool (*allow)(struct k_course *x);      /* sets the bits of what may come next; false: without memory */
	int (*put)(struct k_course *x, int32_t id, struct k_err *err);
	void (*fini)(struct k_course *x);
};
extern const struct k_course_kind k_course_k2, k_course_k3;

struct k_course {
	const struct k_course_kind *kind;
	const struct k_request *rq;
	const struct k_constraint *c;
	struct k_grammars *grammars;
	const struct k_vocab *vocab;
	const struct k_parser *parser;  /* which knows the ids of calls; NULL: there are none */
	struct k_matcher *matcher;      /* of the arguments, or of the format */
	uint64_t *bits;                 /* what the mask is made in */
	size_t words;
};

void k_course_set(struct k_course *x, int32_t id);
void k_course_allow_stops(struct k_course *x);
void k_course_allow_ordinary(struct k_course *x);
/* Whichever ends it, the answer is the same: where one is enough there is nothing to compute. */
void k_course_allow_end(struct k_course *x);
/* What the matcher lets through; false: without memory. */
bool k_course_allow_ruled(struct k_course *x);
/* What must come is a call or JSON: the answer cannot end, or turn to something else, in its reasoning. */
static inline bool k_course_is_bound(const struct k_course *x) { return x->c->required || x->c->format; }
/* The matcher is one of this grammar from now on. */
int k_course_begin(struct k_course *x, struct k_grammar *grammar, struct k_err *err) K_MUST_USE;
int k_course_fit(struct k_course *x, int32_t id, struct k_err *err) K_MUST_USE;

/* Texts that may come, in the tokens that the tokenizer cuts them into, which are those that a model was trained on. */
struct k_spelling {
	struct k_spelled { struct k_ids ids; int what; } *v;   /* empty ids: not this one any more */
	int n, cap;
	size_t at;                      /* tokens so far */
};
void k_spelling_reset(struct k_spelling *s);
void k_spelling_fini(struct k_spelling *s);
/* One more, which the caller fills: what it stands for is up to him. */
int k_spelling_add(struct k_spelling *s, int what, struct k_ids **ids, struct k_err *err) K_MUST_USE;
void k_spelling_allow(const struct k_spelling *s, struct k_course *x);
void k_spelling_put(struct k_spelling *s, int32_t id);
/* Which one is whole; -1: none. */
int k_spelling_whole(const struct k_spelling *s);

#endif
