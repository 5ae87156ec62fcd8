/* chat_past.c: a prompt that goes on with an earlier one is rendered from its first new message on.
 *
 *   messages   m0 m1 m2 | m3 m4       the same as those of the earlier prompt up to m2, and so are tools and options
 *   ids        ......e2 | ...          taken over up to the end of m2; a layout renders m3 and m4
 *
 * A message is the same if it would be written the same. Whether the layout renders it the same depends on one more thing, what is
 * history by now: where the earlier prompt had drawn that line elsewhere, messages between both lines are rendered again, and all behind them. */
#include "libcore/base.h"
#include "libcore/chat_int.h"

void k_chat_past_init(struct k_chat_past *p)
{
	*p = (struct k_chat_past){ 0 };
	k_ids_init(&p->ids);
}

void k_chat_past_fini(struct k_chat_past *p)
{
	k_json_free(p->messages);
	k_json_free(p->tools);
	k_free(p->end);
	k_ids_fini(&p->ids);
	k_chat_past_init(p);
}

static bool same_options(const struct k_chat_options *a, const struct k_chat_options *b)
{
	/* tool_choice and format are told behind the messages. */
	return a->thinking == b->thinking && a->preserve_thinking == b->preserve_thinking && a->effort == b->effort;
}

size_t k_chat_past_same(const struct k_chat_past *p, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, size_t most)
{
	size_t n = K_MIN(p->n, k_json_len(messages)), i = 0;

	if (n <= most || !same_options(&p->options, o))
		return 0;
	while (i < n && k_json_same(k_json_at(p->messages, i), k_json_at(messages, i)))
		i++;
	/* Tools come last: all conversations of a fleet have the same ones. */
	return i > most && k_json_same(p->tools, tools) ? i : 0;
}

static size_t ids_of(const struct k_chat_past *p) { return p->n ? p->end[p->n - 1] : 0; }

static int room_for(struct k_chat_past *p, size_t n, struct k_err *err)
{
	size_t *end = k_realloc(p->end, K_MAX(n, (size_t)1) * sizeof *end);

	if (!end)
		return k_err_nomem(err, n * sizeof *end, "the messages of a prompt");
	p->end = end;
	return 0;
}

int k_chat_past_copy(struct k_chat_past *to, const struct k_chat_past *from, size_t n, struct k_err *err)
{
	k_chat_past_fini(to);
	if (!n)
		return 0;
	int rc = room_for(to, n, err);
	if (!rc)
		rc = k_ids_add(&to->ids, from->ids.v, from->end[n - 1], err);
	if (rc)
		return rc;
	memcpy(to->end, from->end, n * sizeof *to->end);
	to->n = n;
	to->messages = k_json_keep(from->messages);
	to->tools = k_json_keep(from->tools);
	to->options = from->options;
	to->history = from->history;
	return 0;
}

/* --- for a rendering ------------------------------------------------------------------------------------------------------ */

int k_render_resume(struct k_render *r, size_t history, size_t *first, struct k_err *err)
{
	struct k_chat_past *p = r->past;

	*first = 0;
	if (!p)
		return 0;
	if (K_MIN(p->n, p->history) != K_MIN(p->n, history))
		p->n = K_MIN(p->history, history);
	p->history = history;
	p->ids.n = ids_of(p);
	*first = p->n;
	return k_ids_add(&r->out->ids, p->ids.v, p->ids.n, err);
}

int k_render_mark(struct k_render *r, struct k_err *err)
{
	struct k_chat_past *p = r->past;
	int rc = p ? k_render_flush(r, err) : 0;

	if (!rc && p)
		p->end[p->n++] = r->out->ids.n;
	return rc;
}

int k_past_begin(struct k_chat_past *p, struct k_json *messages, struct k_json *tools, const struct k_chat_options *o, struct k_err *err)
{
	struct k_json *was = p->messages, *had = p->tools;

	p->n = k_chat_past_same(p, messages, tools, o, 0);
	p->messages = k_json_keep(messages);
	p->tools = k_json_keep(tools);
	p->options = *o;
	p->options.format = NULL;       /* the request may go first */
	k_json_free(was);
	k_json_free(had);
	return room_for(p, k_json_kind(messages) == K_JSON_ARRAY ? k_json_len(messages) : 0, err);
}

int k_past_end(struct k_chat_past *p, const struct k_ids *ids, struct k_err *err)
{
	return k_ids_add(&p->ids, ids->v + p->ids.n, ids_of(p) - p->ids.n, err);
}
