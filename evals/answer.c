/* answer.c: see answer.h. */
#include "libcore/base.h"
#include "evals/answer.h"
#include "evals/report.h"

/* --- tokens to a message ---------------------------------------------------------------------------------------------------------- */

void k_answer_init(struct k_answer *r)
{
	memset(r, 0, sizeof(*r));
	k_buf_init(&r->text, 0);
	k_buf_init(&r->reasoning, 0);
}

void k_answer_fini(struct k_answer *r)
{
	k_parser_free(r->parser);
	k_buf_fini(&r->text);
	k_buf_fini(&r->reasoning);
	k_json_free(r->calls);
	memset(r, 0, sizeof(*r));
}

int k_answer_reset(struct k_answer *r, struct k_err *err)
{
	k_parser_free(r->parser);
	r->parser = NULL;
	k_buf_reset(&r->text);
	k_buf_reset(&r->reasoning);
	k_json_free(r->calls);
	r->calls = k_json_array();
	r->broken = false;
	return r->calls ? 0 : k_err_nomem(err, 64, "an answer");
}

static int on_event(void *arg, const struct k_event *ev)
{
	struct k_answer *s = arg;
	struct k_json *call = NULL, *f = NULL, *list = s->calls;
	struct k_buf b;
	if (ev->kind == K_EVENT_CONTENT) {
		k_buf_put(&s->text, ev->text, ev->len);
	} else if (ev->kind == K_EVENT_REASONING) {
		k_buf_put(&s->reasoning, ev->text, ev->len);
	} else if (ev->kind == K_EVENT_CALL) {
		call = k_json_object();
		f = k_json_object();
		s->broken |= !call || !f || (k_put_str(call, "id", ev->id) | k_put_str(call, "type", "function") | k_put_str(f, "name", ev->name) |
			k_put_str(f, "arguments", "")) < 0;
		if (!s->broken)
			s->broken = (k_json_set(call, "function", f) | k_json_push(list, call)) < 0;
	} else {
		f = k_json_find(k_json_at(list, (size_t)ev->call), "function");
		k_buf_init(&b, 0);
		k_buf_puts(&b, k_json_string(k_json_find(f, "arguments")));
		k_buf_put(&b, ev->text, ev->len);
		s->broken |= b.failed || k_json_set(f, "arguments", k_json_new_string(b.data, b.len)) < 0;
		k_buf_fini(&b);
	}
	return 0;
}

static int count_calls(const struct k_json *messages)
{
	size_t n = 0;
	for (size_t i = 0; i < k_json_len(messages); i++)
		n += k_json_len(k_json_find(k_json_at(messages, i), "tool_calls"));
	return (int)K_MIN(n, 1000000u);
}

int k_answer_begin(struct k_answer *r, const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *request, struct k_err *err)
{
	const struct k_json *messages = k_json_find(request, "messages"), *tools = k_json_find(request, "tools");
	struct k_chat_options o;
	int used = count_calls(messages), e = k_chat_options(l, request, &o, err);
	if (e == 0)
		e = k_parser_new(&r->parser, l, t, k_json_len(tools) ? tools : NULL, used, &o, on_event, r, err);
	if (e == 0 && used)
		e = k_parser_history(r->parser, messages, err);
	return e;
}

int k_answer_end(struct k_answer *r, const char **why, struct k_err *err)
{
	int e = k_parser_end(r->parser, err);
	if (k_parser_calls(r->parser) && !strcmp(*why, "stop"))
		*why = "tool_calls";
	k_parser_free(r->parser);
	r->parser = NULL;
	return e;
}

static struct k_json *text_of(const struct k_buf *b) { return k_json_new_string(b->len ? b->data : "", b->len); }

struct k_json *k_answer_message(const struct k_answer *r)
{
	struct k_json *m = r->broken || r->text.failed || r->reasoning.failed ? NULL : k_json_object();
	if (!m)
		return NULL;
	int bad = k_put_str(m, "role", "assistant") | k_json_set(m, "content", text_of(&r->text));
	if (r->reasoning.len)
		bad |= k_json_set(m, "reasoning_content", text_of(&r->reasoning));
	if (k_json_len(r->calls))
		bad |= k_json_set(m, "tool_calls", k_json_keep(r->calls));
	if (bad == 0)
		return m;
	k_json_free(m);
	return NULL;
}

/* --- what was recorded -------------------------------------------------------------------------------------------------------------- */

struct k_reader {
	struct k_tokenizer *tok;
	const struct k_layout *layout;
	struct k_ids stops;
	struct k_answer reply;
};

int k_reader_open(struct k_reader **out, const struct k_files *files, struct k_err *err)
{
	struct k_reader *d = k_calloc(1, sizeof(*d));
	*out = NULL;
	if (!d)
		return k_err_nomem(err, sizeof(*d), "a reader");
	k_answer_init(&d->reply);
	k_ids_init(&d->stops);
	int r = k_tokenizer_open(&d->tok, files, 0, err);
	d->layout = r == 0 ? k_layout_match(files, err) : NULL;
	if (r == 0 && !d->layout)
		r = k_err_set(err, K_EUNSUP, "'%s': its chat layout is not known", files->where);
	if (r == 0)
		r = k_chat_stops(d->tok, files, &d->stops, err);
	if (r < 0)
		k_reader_close(d);
	else
		*out = d;
	return r;
}

void k_reader_close(struct k_reader *d)
{
	if (!d)
		return;
	k_answer_fini(&d->reply);
	k_ids_fini(&d->stops);
	k_tokenizer_free(d->tok);
	k_free(d);
}

const char *k_reader_layout(const struct k_reader *d) { return d->layout->name; }

int k_reader_prompt(struct k_reader *d, const struct k_json *request, const char *text, size_t n, struct k_err *err)
{
	struct k_prompt p;
	k_prompt_init(&p);
	int r = k_chat_render(d->layout, d->tok, request, false, &p, err);
	const char *made = p.text.len ? p.text.data : "";
	size_t same = 0;
	while (r == 0 && same < n && same < p.text.len && made[same] == text[same])
		same++;
	if (r == 0 && (same < n || same < p.text.len)) {
		while (same && (text[same] & 0xc0) == 0x80)     /* to the beginning of a character */
			same--;
		r = k_err_set(err, K_ENO, "the prompt is another one from byte %zu on: recorded '%.60s', rendered '%.60s'", same, text + same, made + same);
	}
	k_prompt_fini(&p);
	return r;
}

static bool is_stop(const struct k_reader *d, int32_t id)
{
	for (size_t i = 0; i < d->stops.n; i++)
		if (d->stops.v[i] == id)
			return true;
	return false;
}

int k_reader_choice(struct k_reader *d, const struct k_json *request, const char *text, size_t n, const char *why, struct k_json **out, struct k_err *err)
{
	struct k_ids ids;
	k_ids_init(&ids);
	*out = NULL;
	int r = k_answer_reset(&d->reply, err);
	if (r == 0)
		r = k_tokenizer_encode(d->tok, text, n, K_ENC_SPECIALS, &ids, err);
	if (r == 0)
		r = k_answer_begin(&d->reply, d->layout, d->tok, request, err);
	for (size_t i = 0; r == 0 && i < ids.n && !is_stop(d, ids.v[i]); i++)
		r = k_parser_put(d->reply.parser, ids.v[i], err);
	if (r == 0)
		r = k_answer_end(&d->reply, &why, err);
	k_ids_fini(&ids);
	if (r < 0)
		return r;
	struct k_json *o = k_json_object(), *m = k_answer_message(&d->reply);
	if ((k_json_set(o, "message", m) | k_put_str(o, "finish_reason", why)) < 0) {
		k_json_free(o);
		return k_err_nomem(err, n, "an answer");
	}
	*out = o;
	return 0;
}

/* The same JSON; what is none on either side: the same text. */
static bool same_arguments(const struct k_json *a, const struct k_json *b)
{
	struct k_err none = { 0 };
	struct k_json *x = NULL, *y = NULL;
	if (!k_json_string(a) || !k_json_string(b))
		return k_json_equal(a, b);
	if (k_json_len(a) == k_json_len(b) && !memcmp(k_json_string(a), k_json_string(b), k_json_len(a)))
		return true;
	bool same = k_json_parse(&x, k_json_string(a), k_json_len(a), K_JSON_LAST_WINS | K_JSON_NUL, "arguments", &none) == 0 &&
		k_json_parse(&y, k_json_string(b), k_json_len(b), K_JSON_LAST_WINS | K_JSON_NUL, "arguments", &none) == 0 && k_json_equal(x, y);
	k_json_free(x);
	k_json_free(y);
	return same;
}

int k_answer_same_calls(const struct k_json *made, const struct k_json *recorded, struct k_err *err)
{
	const struct k_json *a = k_json_find(made, "tool_calls"), *b = k_json_find(recorded, "tool_calls");
	if (k_json_len(a) != k_json_len(b))
		return k_err_set(err, K_ENO, "calls in the completion: %zu, in the answer that was recorded: %zu", k_json_len(a), k_json_len(b));
	for (size_t i = 0; i < k_json_len(a); i++) {
		const struct k_json *f = k_json_find(k_json_at(a, i), "function"), *g = k_json_find(k_json_at(b, i), "function");
		const char *name = k_json_string(k_json_find(f, "name")), *other = k_json_string(k_json_find(g, "name"));
		const struct k_json *args = k_json_find(f, "arguments"), *others = k_json_find(g, "arguments");
		if (!name || !other || strcmp(name, other))
			return k_err_set(err, K_ENO, "call %zu of the completion is of '%.60s', the answer recorded '%.60s'", i, name ? name : "", other ? other : "");
		if (!same_arguments(args, others))
			return k_err_set(err, K_ENO, "call %zu of '%.60s' has the arguments %.120s, the answer recorded %.120s", i, name,
				k_json_string(args) ? k_json_string(args) : "(none)", k_json_string(others) ? k_json_string(others) : "(none)");
	}
	return 0;
}
