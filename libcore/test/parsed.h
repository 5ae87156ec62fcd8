/* parsed.h: what came out of the output parser, written down as R[reasoning] C[content] T[index id name] A[index arguments], deltas of one
 * kind joined. */
#ifndef K_TEST_PARSED_H
#define K_TEST_PARSED_H

#include "libcore/chat.h"
#include "libcore/test.h"

struct record { struct k_buf b; int kind, call; long events; bool whole; };

static inline int test_write_down(void *arg, const struct k_event *ev)
{
	static const char letters[] = "RCTA";
	struct record *r = arg;

	r->events++;
	if (ev->kind == K_EVENT_CALL) {
		k_buf_printf(&r->b, "%sT[%d %s %s]", r->kind >= 0 ? "]" : "", ev->call, ev->id, ev->name);
		r->kind = -1;
		return 0;
	}
	K_CHECK(ev->len);
	r->whole &= k_utf8_ok(ev->text, ev->len);
	if ((int)ev->kind != r->kind || (ev->kind == K_EVENT_ARGS && ev->call != r->call)) {
		k_buf_printf(&r->b, "%s%c[", r->kind >= 0 ? "]" : "", letters[ev->kind]);
		if (ev->kind == K_EVENT_ARGS)
			k_buf_printf(&r->b, "%d ", ev->call);
	}
	k_buf_put(&r->b, ev->text, ev->len);
	r->kind = (int)ev->kind;
	r->call = ev->call;
	return 0;
}

struct setting {
	const struct k_layout *layout;
	const struct k_tokenizer *t;
	struct k_json *tools, *history;
	int n_used;
	struct k_chat_options o;
};

/* The transcript; the caller frees it. */
static inline char *parse_ids(const struct setting *s, const int32_t *ids, size_t n)
{
	struct record r = { .kind = -1, .whole = true };
	struct k_parser *p;
	struct k_err err = { 0 };

	k_buf_init(&r.b, 0);
	k_buf_puts(&r.b, "");
	K_CHECK_OK(k_parser_new(&p, s->layout, s->t, s->tools, s->n_used, &s->o, test_write_down, &r, &err));
	K_CHECK_OK(k_parser_history(p, s->history, &err));
	for (size_t i = 0; i < n; i++)
		K_CHECK_OK(k_parser_put(p, ids[i], &err));
	K_CHECK_OK(k_parser_end(p, &err));
	K_CHECK(r.whole);
	k_parser_free(p);
	k_buf_puts(&r.b, r.kind >= 0 ? "]" : "");
	return k_buf_take(&r.b, NULL);
}

#endif
