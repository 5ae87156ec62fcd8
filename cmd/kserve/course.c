/* course.c: one answer on its way through its constraint: what is the same for all ways to write one. */
#include "libcore/base.h"

#include "cmd/kserve/course_int.h"

/* --- masks ---------------------------------------------------------------------------------------------------------------------- */

void k_course_set(struct k_course *x, int32_t id)
{
	if (id >= 0 && id < x->vocab->n)
		x->bits[id / 64] |= (uint64_t)1 << (id % 64);
}

void k_course_allow_stops(struct k_course *x)
{
	for (size_t i = 0; i < x->rq->n_eos; i++)
		k_course_set(x, x->rq->stop_ids.v[i]);
}

void k_course_allow_ordinary(struct k_course *x)
{
	for (size_t i = 0; i < x->words; i++)
		x->bits[i] |= x->vocab->all[i];
}

void k_course_allow_end(struct k_course *x)
{
	if (x->rq->n_eos)
		k_course_set(x, x->rq->stop_ids.v[0]);
}

bool k_course_allow_ruled(struct k_course *x)
{
	const uint64_t *mask = k_matcher_mask(x->matcher);
	for (size_t i = 0; mask && i < x->words; i++)
		x->bits[i] |= mask[i];
	return mask;
}

const uint64_t *k_course_mask(struct k_course *x, int32_t *n)
{
	memset(x->bits, 0, x->words * sizeof(*x->bits));
	*n = x->vocab->n;
	return x->kind->allow(x) ? x->bits : NULL;
}

/* --- steps ---------------------------------------------------------------------------------------------------------------------- */

int k_course_begin(struct k_course *x, struct k_grammar *grammar, struct k_err *err)
{
	k_grammars_back(x->grammars, x->matcher);
	x->matcher = NULL;
	return k_grammars_lend(x->grammars, grammar, &x->matcher, err);
}

int k_course_fit(struct k_course *x, int32_t id, struct k_err *err)
{
	return k_matcher_put(x->matcher, id) ? 0 : k_err_set(err, K_EBUG, "token %d does not fit the constraint that let it through", (int)id);
}

int k_course_put(struct k_course *x, int32_t id, struct k_err *err) { return x->kind->put(x, id, err); }

/* --- spelling ------------------------------------------------------------------------------------------------------------------- */

void k_spelling_reset(struct k_spelling *s)
{
	for (int i = 0; i < s->n; i++)
		k_ids_fini(&s->v[i].ids);
	s->n = 0;
	s->at = 0;
}

void k_spelling_fini(struct k_spelling *s)
{
	k_spelling_reset(s);
	k_free(s->v);
}

int k_spelling_add(struct k_spelling *s, int what, struct k_ids **ids, struct k_err *err)
{
	if (s->n == s->cap) {
		int cap = 2 * s->cap + 8;
		struct k_spelled *v = k_realloc(s->v, (size_t)cap * sizeof(*v));
		if (!v)
			return k_err_nomem(err, (size_t)cap * sizeof(*v), "what may be spelled");
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n].what = what;
	*ids = &s->v[s->n++].ids;
	k_ids_init(*ids);
	return 0;
}

void k_spelling_allow(const struct k_spelling *s, struct k_course *x)
{
	for (int i = 0; i < s->n; i++) {
		if (s->v[i].ids.n > s->at)
			k_course_set(x, s->v[i].ids.v[s->at]);
	}
}

void k_spelling_put(struct k_spelling *s, int32_t id)
{
	for (int i = 0; i < s->n; i++) {
		struct k_ids *ids = &s->v[i].ids;
		if (ids->n && (s->at >= ids->n || ids->v[s->at] != id))
			ids->n = 0;
	}
	s->at++;
}

int k_spelling_whole(const struct k_spelling *s)
{
	for (int i = 0; i < s->n; i++) {
		if (s->v[i].ids.n && s->v[i].ids.n == s->at)
			return s->v[i].what;
	}
	return -1;
}

/* --- life ----------------------------------------------------------------------------------------------------------------------- */

int k_course_new(struct k_course **out, const struct k_server *s, const struct k_request *rq, const struct k_parser *parser, struct k_err *err)
{
	const struct k_course_kind *kind = parser && k_writes_xtml(s) ? &k_course_k3 : &k_course_k2;
	const struct k_vocab *v = k_grammars_vocab(s->grammars);
	struct k_course *x = v ? k_calloc(1, kind->size) : NULL;
	if (!x)
		return k_err_nomem(err, kind->size, "the constraint of an answer");
	x->kind = kind;
	x->rq = rq;
	x->c = rq->constraint;
	x->grammars = s->grammars;
	x->vocab = v;
	x->parser = parser;
	x->words = (size_t)v->n / 64 + 1;
	x->bits = k_calloc(x->words, sizeof(*x->bits));
	int rc = x->bits ? kind->set_up(x, s, err) : k_err_nomem(err, x->words * sizeof(*x->bits), "the mask of an answer");
	if (!rc && x->c->format)
		rc = k_course_begin(x, x->c->format, err);
	if (rc) {
		k_course_free(x);
		return rc;
	}
	*out = x;
	return 0;
}

void k_course_free(struct k_course *x)
{
	if (!x)
		return;
	x->kind->fini(x);
	k_grammars_back(x->grammars, x->matcher);
	k_free(x->bits);
	k_free(x);
}
