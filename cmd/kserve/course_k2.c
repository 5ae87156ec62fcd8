/* course_k2.c: an answer of K2 and its relatives on its way through its constraint, see the picture in constraint.h.
 *
 * The table `allows` says what each state lets through, `led_to` where a marker leads. Text is free (ordinary tokens), spelled (the
 * header of a call, in the tokens that the tokenizer cuts it into, which are those that a model was trained on) or ruled (a matcher's mask). */
#include "libcore/base.h"

#include "cmd/kserve/course_int.h"

enum state { BEGIN, THINK, FREE, MUST, FORMAT, SECTION, HEADER, ARGS, CALLED, END };

struct k2 {
	struct k_course x;
	int32_t mark[K_N_MARKERS];
	enum state state;
	bool said;                      /* FORMAT: the JSON has begun */
	struct k_spelling header;       /* HEADER: what may be spelled, by tool */
};

static struct k2 *k2(struct k_course *x) { return (struct k2 *)x; }

/* --- the header of a call --------------------------------------------------------------------------------------------------------------- */

static int cut_header(struct k2 *k, int i, struct k_err *err)
{
	const char *name = k->x.c->tools[i].name;
	struct k_ids *ids;
	struct k_buf id;
	k_buf_init(&id, 0);
	k_parser_next_id(k->x.parser, name, strlen(name), &id);
	int rc = k_buf_ok(&id, "the id of a call", err);
	if (!rc)
		rc = k_spelling_add(&k->header, i, &ids, err);
	if (!rc)
		rc = k_tokenizer_encode(k->x.vocab->t, id.data, id.len, 0, ids, err);
	k_buf_fini(&id);
	return rc;
}

static int open_header(struct k2 *k, struct k_err *err)
{
	int rc = 0;
	k_spelling_reset(&k->header);
	for (int i = 0; i < k->x.c->n_tools && !rc; i++)
		rc = k->x.c->tools[i].allowed ? cut_header(k, i, err) : 0;
	return rc;
}

/* The mask let no other header through, so it is that of a tool. */
static int open_args(struct k2 *k, struct k_err *err)
{
	int tool = k_spelling_whole(&k->header);
	return k_course_begin(&k->x, k->x.c->tools[K_MAX(tool, 0)].grammar, err);
}

/* --- the mask --------------------------------------------------------------------------------------------------------------------------- */

static void allow_section(struct k2 *x)
{
	if (x->x.c->n_tools)
		k_course_set(&x->x, x->mark[K_MARKER_SECTION_BEGIN]);
}

static bool in_free(struct k2 *x)
{
	k_course_allow_ordinary(&x->x);
	k_course_allow_stops(&x->x);
	allow_section(x);
	return true;
}

static bool in_think(struct k2 *x)
{
	k_course_set(&x->x, x->mark[K_MARKER_UNTHINK]);
	if (!k_course_is_bound(&x->x))
		return in_free(x);
	k_course_allow_ordinary(&x->x);
	return true;
}

static bool in_must(struct k2 *x)
{
	allow_section(x);
	return true;
}

static bool in_format(struct k2 *x)
{
	if (!x->said)
		allow_section(x);
	if (k_matcher_done(x->x.matcher))
		k_course_allow_stops(&x->x);
	return k_course_allow_ruled(&x->x);
}

static bool in_section(struct k2 *x)
{
	k_course_set(&x->x, x->mark[K_MARKER_CALL_BEGIN]);
	return true;
}

static bool in_header(struct k2 *x)
{
	k_spelling_allow(&x->header, &x->x);
	if (k_spelling_whole(&x->header) >= 0)
		k_course_set(&x->x, x->mark[K_MARKER_ARGS_BEGIN]);
	return true;
}

static bool in_args(struct k2 *x)
{
	if (k_matcher_done(x->x.matcher))
		k_course_set(&x->x, x->mark[K_MARKER_CALL_END]);
	return k_course_allow_ruled(&x->x);
}

static bool in_called(struct k2 *x)
{
	k_course_set(&x->x, x->mark[K_MARKER_SECTION_END]);
	return x->x.c->one || in_section(x);
}

static bool at_end(struct k2 *x)
{
	k_course_allow_end(&x->x);
	return true;
}

static enum state behind_thoughts(const struct k2 *x) { return x->x.c->required ? MUST : x->x.c->format ? FORMAT : FREE; }
static bool at_begin(struct k2 *x);
/* What each state lets through; false: without memory. */
static bool (*const allows[])(struct k2 *x) = {
	[BEGIN] = at_begin, [THINK] = in_think, [FREE] = in_free, [MUST] = in_must, [FORMAT] = in_format, [SECTION] = in_section,
	[HEADER] = in_header, [ARGS] = in_args, [CALLED] = in_called, [END] = at_end,
};

static bool at_begin(struct k2 *x)
{
	k_course_set(&x->x, x->mark[K_MARKER_THINK]);
	return allows[behind_thoughts(x)](x);
}

static bool allow(struct k_course *x) { return allows[k2(x)->state](k2(x)); }

/* --- steps ------------------------------------------------------------------------------------------------------------------------------ */

static int enter(struct k2 *x, enum state state, struct k_err *err)
{
	x->state = state;
	return state == HEADER ? open_header(x, err) : state == ARGS ? open_args(x, err) : 0;
}

/* Where a marker leads; -1: it is text. */
static int led_to(const struct k2 *x, int32_t id)
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

static int put(struct k_course *course, int32_t id, struct k_err *err)
{
	struct k2 *x = k2(course);
	int to = id >= 0 ? led_to(x, id) : -1;
	if (to >= 0)
		return enter(x, (enum state)to, err);
	if (x->state == BEGIN)
		x->state = behind_thoughts(x);
	if (x->state == HEADER)
		k_spelling_put(&x->header, id);
	if (x->state != ARGS && x->state != FORMAT)
		return 0;
	x->said = true;
	return k_course_fit(course, id, err);
}

/* --- life ------------------------------------------------------------------------------------------------------------------------------- */

static int set_up(struct k_course *x, const struct k_server *s, struct k_err *err K_UNUSED)
{
	int state = x->parser ? k_parser_state(x->parser) : K_PARSE_CONTENT;
	for (int i = 0; i < K_N_MARKERS; i++)
		k2(x)->mark[i] = k_tokenizer_special(s->tok, k_marker_texts[i]);
	k2(x)->state = state == K_PARSE_REASON ? THINK : state == K_PARSE_START ? BEGIN : behind_thoughts(k2(x));
	return 0;
}

static void fini(struct k_course *x) { k_spelling_fini(&k2(x)->header); }

const struct k_course_kind k_course_k2 = { .size = sizeof(struct k2), .set_up = set_up, .allow = allow, .put = put, .fini = fini };
