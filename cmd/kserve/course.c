/* course.c: one answer on its way through its constraint, see the picture in constraint.h.
 *
 * The table `allows` says what each state lets through, `led_to` where a marker leads. Text is free (ordinary tokens), spelled (the
 * header of a call, in the tokens that the tokenizer cuts it into, which are those that a model was trained on) or ruled (a matcher's mask). */
#include "libcore/base.h"

#include "cmd/kserve/constraint_int.h"

enum state { BEGIN, THINK, FREE, MUST, FORMAT, SECTION, HEADER, ARGS, CALLED, END };

struct k_course {
	const struct k_request *rq;
	const struct k_constraint *c;
	struct k_grammars *grammars;
	const struct k_vocab *vocab;
	const struct k_parser *parser;  /* which knows the ids of calls; NULL: there are none */
	int32_t mark[K_N_MARKERS];
	enum state state;
	bool said;                      /* FORMAT: the JSON has begun */
	struct k_ids *headers;          /* HEADER: what may be spelled, by tool; empty: not this one */
	size_t spelled;                 /* tokens of it so far */
	struct k_matcher *matcher;      /* of the arguments, or of the format */
	uint64_t *bits;                 /* what the mask was made in */
	size_t words;
};

static void set(struct k_course *x, int32_t id)
{
	if (id >= 0 && id < x->vocab->n)
		x->bits[id / 64] |= (uint64_t)1 << (id % 64);
}

/* --- the header of a call --------------------------------------------------------------------------------------------------------------- */

static int cut_header(struct k_course *x, int i, struct k_err *err)
{
	const char *name = x->c->tools[i].name;
	struct k_buf id;
	k_buf_init(&id, 0);
	k_parser_next_id(x->parser, name, strlen(name), &id);
	int rc = k_buf_ok(&id, "the id of a call", err);
	if (!rc)
		rc = k_tokenizer_encode(x->vocab->t, id.data, id.len, 0, &x->headers[i], err);
	k_buf_fini(&id);
	return rc;
}

static int open_header(struct k_course *x, struct k_err *err)
{
	int rc = 0;
	x->spelled = 0;
	for (int i = 0; i < x->c->n_tools && !rc; i++) {
		x->headers[i].n = 0;
		if (x->c->tools[i].allowed)
			rc = cut_header(x, i, err);
	}
	return rc;
}

static void spell(struct k_course *x, int32_t id)
{
	for (int i = 0; i < x->c->n_tools; i++) {
		struct k_ids *h = &x->headers[i];
		if (h->n && (x->spelled >= h->n || h->v[x->spelled] != id))
			h->n = 0;
	}
	x->spelled++;
}

/* The mask let no other header through, so it is that of a tool. */
static int open_args(struct k_course *x, struct k_err *err)
{
	const struct k_ruled_tool *tool = x->c->tools;
	for (int i = 0; i < x->c->n_tools; i++) {
		if (x->headers[i].n && x->headers[i].n == x->spelled)
			tool = &x->c->tools[i];
	}
	k_grammars_back(x->grammars, x->matcher);
	x->matcher = NULL;
	return k_grammars_lend(x->grammars, tool->grammar, &x->matcher, err);
}

/* --- the mask --------------------------------------------------------------------------------------------------------------------------- */

/* What must come is a call or JSON: the answer cannot end, or turn to something else, in its reasoning. */
static bool is_bound(const struct k_course *x) { return x->c->required || x->c->format; }

static void allow_stops(struct k_course *x)
{
	for (size_t i = 0; i < x->rq->n_eos; i++)
		set(x, x->rq->stop_ids.v[i]);
}

static bool allow_ruled(struct k_course *x)
{
	const uint64_t *mask = k_matcher_mask(x->matcher);
	for (size_t i = 0; mask && i < x->words; i++)
		x->bits[i] |= mask[i];
	return mask;
}

static void allow_ordinary(struct k_course *x)
{
	for (size_t i = 0; i < x->words; i++)
		x->bits[i] |= x->vocab->all[i];
}

static void allow_section(struct k_course *x)
{
	if (x->c->n_tools)
		set(x, x->mark[K_MARKER_SECTION_BEGIN]);
}

static bool in_free(struct k_course *x)
{
	allow_ordinary(x);
	allow_stops(x);
	allow_section(x);
	return true;
}

static bool in_think(struct k_course *x)
{
	set(x, x->mark[K_MARKER_UNTHINK]);
	if (!is_bound(x))
		return in_free(x);
	allow_ordinary(x);
	return true;
}

static bool in_must(struct k_course *x)
{
	allow_section(x);
	return true;
}

static bool in_format(struct k_course *x)
{
	if (!x->said)
		allow_section(x);
	if (k_matcher_done(x->matcher))
		allow_stops(x);
	return allow_ruled(x);
}

static bool in_section(struct k_course *x)
{
	set(x, x->mark[K_MARKER_CALL_BEGIN]);
	return true;
}

static bool in_header(struct k_course *x)
{
	for (int i = 0; i < x->c->n_tools; i++) {
		const struct k_ids *h = &x->headers[i];
		if (h->n)
			set(x, x->spelled < h->n ? h->v[x->spelled] : x->mark[K_MARKER_ARGS_BEGIN]);
	}
	return true;
}

static bool in_args(struct k_course *x)
{
	if (k_matcher_done(x->matcher))
		set(x, x->mark[K_MARKER_CALL_END]);
	return allow_ruled(x);
}

static bool in_called(struct k_course *x)
{
	set(x, x->mark[K_MARKER_SECTION_END]);
	return x->c->one || in_section(x);
}

/* Whichever ends it, the answer is the same: where one is enough there is nothing to compute. */
static bool at_end(struct k_course *x)
{
	if (x->rq->n_eos)
		set(x, x->rq->stop_ids.v[0]);
	return true;
}

static enum state behind_thoughts(const struct k_course *x) { return x->c->required ? MUST : x->c->format ? FORMAT : FREE; }
static bool at_begin(struct k_course *x);
/* What each state lets through; false: without memory. */
static bool (*const allows[])(struct k_course *x) = {
	[BEGIN] = at_begin, [THINK] = in_think, [FREE] = in_free, [MUST] = in_must, [FORMAT] = in_format, [SECTION] = in_section,
	[HEADER] = in_header, [ARGS] = in_args, [CALLED] = in_called, [END] = at_end,
};

static bool at_begin(struct k_course *x)
{
	set(x, x->mark[K_MARKER_THINK]);
	return allows[behind_thoughts(x)](x);
}

const uint64_t *k_course_mask(struct k_course *x, int32_t *n)
{
	memset(x->bits, 0, x->words * sizeof(*x->bits));
	*n = x->vocab->n;
	return allows[x->state](x) ? x->bits : NULL;
}

/* --- steps ------------------------------------------------------------------------------------------------------------------------------ */

static int enter(struct k_course *x, enum state state, struct k_err *err)
{
	x->state = state;
	return state == HEADER ? open_header(x, err) : state == ARGS ? open_args(x, err) : 0;
}

/* Where a marker leads; -1: it is text. */
static int led_to(const struct k_course *x, int32_t id)
{
	const struct { enum k_marker mark; enum state to; } leads[] = {
		{ K_MARKER_SECTION_BEGIN, SECTION }, { K_MARKER_SECTION_END, END }, { K_MARKER_CALL_BEGIN, HEADER }, { K_MARKER_ARGS_BEGIN, ARGS }, { K_MARKER_CALL_END, CALLED },
		{ K_MARKER_THINK, THINK }, { K_MARKER_UNTHINK, behind_thoughts(x) },
	};
	for (size_t i = 0; i < K_LEN(leads); i++) {
		if (x->mark[leads[i].mark] == id)
			return (int)leads[i].to;
	}
	return -1;
}

int k_course_put(struct k_course *x, int32_t id, struct k_err *err)
{
	int to = id >= 0 ? led_to(x, id) : -1;
	if (to >= 0)
		return enter(x, (enum state)to, err);
	if (x->state == BEGIN)
		x->state = behind_thoughts(x);
	if (x->state == HEADER)
		spell(x, id);
	if (x->state != ARGS && x->state != FORMAT)
		return 0;
	x->said = true;
	return k_matcher_put(x->matcher, id) ? 0 : k_err_set(err, K_EBUG, "token %d does not fit the constraint that let it through", (int)id);
}

/* --- life ------------------------------------------------------------------------------------------------------------------------------- */

static int set_up(struct k_course *x, const struct k_server *s, struct k_err *err)
{
	int state = x->parser ? k_parser_state(x->parser) : K_PARSE_CONTENT;
	for (int i = 0; i < K_N_MARKERS; i++)
		x->mark[i] = k_tokenizer_special(s->tok, k_marker_texts[i]);
	x->words = (size_t)x->vocab->n / 64 + 1;
	x->bits = k_calloc(x->words, sizeof(*x->bits));
	x->headers = k_calloc((size_t)x->c->n_tools + 1, sizeof(*x->headers));
	if (!x->bits || !x->headers)
		return k_err_nomem(err, x->words * 8, "the mask of an answer");
	x->state = state == K_PARSE_REASON ? THINK : state == K_PARSE_START ? BEGIN : behind_thoughts(x);
	return x->c->format ? k_grammars_lend(x->grammars, x->c->format, &x->matcher, err) : 0;
}

int k_course_new(struct k_course **out, const struct k_server *s, const struct k_request *rq, const struct k_parser *parser, struct k_err *err)
{
	const struct k_vocab *v = k_grammars_vocab(s->grammars);
	struct k_course *x = v ? k_calloc(1, sizeof(*x)) : NULL;
	if (!x)
		return k_err_nomem(err, sizeof(*x), "the constraint of an answer");
	x->rq = rq;
	x->c = rq->constraint;
	x->grammars = s->grammars;
	x->vocab = v;
	x->parser = parser;
	int rc = set_up(x, s, err);
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
	for (int i = 0; x->headers && i < x->c->n_tools; i++)
		k_ids_fini(&x->headers[i]);
	k_free(x->headers);
	k_grammars_back(x->grammars, x->matcher);
	k_free(x->bits);
	k_free(x);
}
