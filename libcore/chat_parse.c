/* chat_parse.c: generated token ids -> reasoning, content and tool calls, as they come. Those of Kimi-K3 go to chat_parse_k3.c.
 *
 *   id --marker?--> next state (the table `follows`); what is left is finished (`leave`)
 *      \--text----> whole characters --> what the state does with text (`take`)
 *
 *   START ------> REASON --</think>--> CONTENT --section begin--> SECTION --call begin--> HEADER --argument begin--> ARGS
 *                                         ^-----section end---------/ ^----------------call end---------------------/
 *
 * Markers are found by id and never shown; text that looks like one is text. Models leave markers out, put calls into their
 * reasoning and write headers of their own, so every marker has a meaning in every state, a header is read in several ways
 * (`resolve`), and what cannot be a call comes out as content: nothing that was generated is lost but an id that was cut off. */
#include "libcore/base.h"
#include "libcore/chat_parse_int.h"

const char *const k_marker_texts[K_N_MARKERS] = {
	[K_MARKER_SECTION_BEGIN] = "<|tool_calls_section_begin|>", [K_MARKER_SECTION_END] = "<|tool_calls_section_end|>",
	[K_MARKER_CALL_BEGIN] = "<|tool_call_begin|>", [K_MARKER_ARGS_BEGIN] = "<|tool_call_argument_begin|>",
	[K_MARKER_CALL_END] = "<|tool_call_end|>", [K_MARKER_THINK] = "<think>", [K_MARKER_UNTHINK] = "</think>",
};

enum { N_STATES = K_PARSE_ARGS + 1, HEADER_MAX = 512 };

/* --- events ------------------------------------------------------------------------------------------------------- */

static void send(struct k_parser *p, const struct k_event *ev)
{
	if (!p->stopped && p->emit(p->arg, ev) != 0)
		p->stopped = true;
}

void k_parse_send(struct k_parser *p, enum k_event_kind kind, const char *s, size_t n)
{
	if (n)
		send(p, &(struct k_event){ .kind = kind, .text = s, .len = n, .call = p->calls - 1 });
}

void k_parse_hold(struct k_parser *p, struct k_buf *b, const char *s, size_t n)
{
	k_buf_put(b, s, n);
	p->nomem |= b->failed;
}

bool k_parse_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
static bool is_in(char c, const char *set) { return c && strchr(set, c); }

/* Bytes up to the last one that is not white space. */
static size_t trimmed(const char *s, size_t n)
{
	while (n && k_parse_is_space(s[n - 1]))
		n--;
	return n;
}

/* --- the name of a call ------------------------------------------------------------------------------------------- */

/* A name that a tool may have. */
static bool is_name(struct span x)
{
	if (!x.n || x.n > 256 || !(is_letter(x.s[0]) || x.s[0] == '_'))
		return false;
	for (size_t i = 1; i < x.n; i++)
		if (!is_letter(x.s[i]) && !is_digit(x.s[i]) && !is_in(x.s[i], "_.-"))
			return false;
	return true;
}

static bool same_char(char a, char b, bool fold) { return a == b || (fold && (a == '-' || a == '_') && (b == '-' || b == '_')); }

static bool begins(struct span x, const char *name, bool fold)
{
	size_t i = 0;

	for (; name[i]; i++)
		if (i == x.n || !same_char(x.s[i], name[i], fold))
			return false;
	return true;
}

/* A way of reading a header: does it mean this tool? */
static bool is_tool(struct span x, const struct tool *d, bool fold) { return x.n == strlen(d->name) && begins(x, d->name, fold); }

/* `functions`, one of . _ ( and the name, then nothing but numbering: functions.bash30, functions_search_0, functions(read):2.0 */
static bool is_tool_and_number(struct span x, const struct tool *d, bool fold)
{
	if (!begins(x, d->name, fold))
		return false;
	for (size_t i = strlen(d->name); i < x.n; i++)
		if (!is_digit(x.s[i]) && !is_in(x.s[i], "):_."))
			return false;
	return true;
}

typedef bool reading(struct span x, const struct tool *d, bool fold);

/* The declared tool that x means; of several the one with the longest name, with fold only if it is the only one. */
static const struct tool *find_tool(const struct k_parser *p, struct span x, reading *means, bool fold)
{
	const struct tool *found = NULL;
	size_t n = 0;

	for (size_t i = 0; i < p->n_declared && x.n; i++) {
		const struct tool *d = &p->declared[i];

		if (!means(x, d, fold))
			continue;
		if (!found || strlen(d->name) > strlen(found->name))
			found = d;
		n++;
	}
	return fold && n > 1 ? NULL : found;
}

/* What a header can be cut into; n 0 where it has no such part. */
struct parts {
	struct span all;
	struct span canonical;          /* X of functions.X:N */
	struct span numbered;           /* X of X:N */
	struct span called;             /* X of functions.X, functions_X, functions(X */
};

static struct parts cut(struct span h)
{
	static const char prefix[] = "functions";
	size_t skip = sizeof(prefix) - 1, end = h.n;
	struct parts x = { .all = h };

	while (end && is_digit(h.s[end - 1]))
		end--;
	bool number = end < h.n && end > 1 && h.s[end - 1] == ':';
	if (number)
		x.numbered = (struct span){ h.s, end - 1 };
	if (h.n > skip + 1 && !memcmp(h.s, prefix, skip) && is_in(h.s[skip], "._("))
		x.called = (struct span){ h.s + skip + 1, h.n - skip - 1 };
	if (number && x.called.n && h.s[skip] == '.' && end - 1 > skip + 1)
		x.canonical = (struct span){ h.s + skip + 1, end - skip - 2 };
	return x;
}

static const struct tool *find_declared(const struct k_parser *p, const struct parts *x, bool fold)
{
	const struct tool *d = find_tool(p, x->canonical, is_tool, fold);

	if (!d)
		d = find_tool(p, x->numbered, is_tool, fold);
	if (!d)
		d = find_tool(p, x->all, is_tool, fold);
	/* functions.bash2:0 is a call of bash2, declared or not. */
	if (!d && !is_name(x->canonical))
		d = find_tool(p, x->called, is_tool_and_number, fold);
	return d;
}

/* 7, call7, call_4f1c...: says that a call is meant, and not which. */
static bool is_counter(struct span h)
{
	size_t i = h.n >= 4 && !memcmp(h.s, "call", 4) ? 4 : 0, digits = 0;
	bool id = i && h.n >= 13 && h.s[i] == '_';

	for (i += id; i < h.n; i++) {
		digits += is_digit(h.s[i]);
		if (!is_digit(h.s[i]) && !(id && (is_letter(h.s[i]) || h.s[i] == '-' || h.s[i] == '_')))
			return false;
	}
	return digits > 0;
}

/* A name for a call of a tool that was not declared: the agent then answers that there is none. */
static struct span guess(const struct parts *x)
{
	const struct span none = { NULL, 0 }, *tries[] = { &x->canonical, &x->called, &x->numbered, &x->all };

	for (size_t i = 0; i < K_LEN(tries); i++)
		if (is_name(*tries[i]))
			return *tries[i];
	return none;
}

/* The name that the header gives; n 0: it does not say. */
static struct span resolve(const struct k_parser *p, struct span h)
{
	const struct parts x = cut(h);
	const struct tool *d = find_declared(p, &x, false);

	if (!d)
		d = find_declared(p, &x, true);
	if (!d && p->n_declared && is_counter(h)) {
		if (p->n_declared > 1)
			return (struct span){ NULL, 0 };
		d = p->declared;
	}
	return d ? (struct span){ d->name, strlen(d->name) } : guess(&x);
}

/* Every required member is there, and every member is declared. */
static bool fits(const struct tool *d, const struct k_json *args)
{
	const struct k_json *required = k_json_find(d->schema, "required"), *known = k_json_find(d->schema, "properties");
	struct k_json *value;
	const char *key;
	void *it = NULL;

	for (size_t i = 0; required && k_json_kind(required) == K_JSON_ARRAY && i < k_json_len(required); i++) {
		key = k_json_string(k_json_at(required, i));
		if (key && !k_json_find(args, key))
			return false;
	}
	while (k_json_next(args, &it, &key, &value))
		if (!k_json_find(known, key))
			return false;
	return true;
}

/* The only tool that takes these arguments, NULL when there is none or more than one. */
static const struct tool *find_by_args(struct k_parser *p)
{
	const struct tool *found = NULL;
	const struct span text = p->args.len ? (struct span){ p->args.data, p->args.len } : (struct span){ "{}", 2 };
	struct k_json *args = NULL;
	struct k_err why;
	size_t n = 0;

	if (k_json_parse(&args, text.s, text.n, K_JSON_LAST_WINS, "arguments", &why) < 0) {
		p->nomem |= why.code == K_ENOMEM;
		return NULL;
	}
	for (size_t i = 0; i < p->n_declared && k_json_kind(args) == K_JSON_OBJECT; i++)
		if (fits(&p->declared[i], args)) {
			found = &p->declared[i];
			n++;
		}
	k_json_free(args);
	return n == 1 ? found : NULL;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static bool is_declared(const struct k_parser *p, struct span name)
{
	return !p->n_declared || find_tool(p, name, is_tool, false);
}

void k_parser_next_id(const struct k_parser *p, const char *name, size_t n, struct k_buf *id)
{
	int64_t at = (int64_t)p->n_used + p->calls;

	do {
		k_buf_reset(id);
		k_buf_printf(id, "functions.%.*s:%lld", (int)n, name, (long long)at++);
	} while (!id->failed && k_map_find(&p->used, id->data, id->len));
}

static const char *new_id(struct k_parser *p, struct span name)
{
	const char *id;
	struct k_buf b;

	k_buf_init(&b, 0);
	k_parser_next_id(p, name.s, name.n, &b);
	id = b.failed ? NULL : k_arena_strndup(&p->ids, b.data, b.len);
	k_buf_fini(&b);
	return id;
}

/* The model's own id where it can be told apart from the others, because the next prompt then repeats what was sampled. */
static const char *make_id(struct k_parser *p, struct span name)
{
	const struct span h = { p->header.len ? p->header.data : "", p->header.len };
	const struct span own = cut(h).canonical;

	if (own.n == name.n && !memcmp(own.s, name.s, name.n) && is_declared(p, name) && !k_map_find(&p->used, h.s, h.n))
		return k_arena_strndup(&p->ids, h.s, h.n);
	p->repairs[K_REPAIR_ID]++;
	return new_id(p, name);
}

static void tell_call(struct k_parser *p, const char *id, struct span name)
{
	const char *text = id ? k_arena_strndup(&p->ids, name.s, name.n) : NULL;

	if (!text || k_map_put(&p->used, id, strlen(id), p) < 0) {
		p->nomem = true;
		return;
	}
	p->calls++;
	send(p, &(struct k_event){ .kind = K_EVENT_CALL, .call = p->calls - 1, .id = id, .name = text });
}

static void begin_call(struct k_parser *p, struct span name) { tell_call(p, make_id(p, name), name); }
void k_parse_call(struct k_parser *p, struct span name) { tell_call(p, new_id(p, name), name); }
bool k_parse_names_tool(const struct k_parser *p, struct span name) { return is_name(name) || find_tool(p, name, is_tool, false); }

/* What was taken for a header and is none. */
static void spill_header(struct k_parser *p)
{
	if (trimmed(p->header.data, p->header.len)) {
		p->repairs[K_REPAIR_TEXT]++;
		k_parse_send(p, K_EVENT_CONTENT, p->header.data, p->header.len);
	}
	k_buf_reset(&p->header);
}

/* The whole header is there. */
static void open_call(struct k_parser *p)
{
	size_t n = 0;

	/* No name and no id has white space in it; a line break between the two has been seen. */
	for (size_t i = 0; i < p->header.len; i++)
		if (!k_parse_is_space(p->header.data[i]))
			p->header.data[n++] = p->header.data[i];
	p->header.len = n;
	const struct span name = resolve(p, (struct span){ n ? p->header.data : "", n });
	p->unnamed = !name.n;
	if (name.n)
		begin_call(p, name);
}

/* The whole call is there, and only now is it known which tool it means - or that it means none. */
static void name_call(struct k_parser *p)
{
	const struct span h = { p->header.len ? p->header.data : "", p->header.len };
	const struct parts x = cut(h);
	const struct tool *d = is_counter(h) ? find_by_args(p) : NULL;
	const struct span name = d ? (struct span){ d->name, strlen(d->name) } : guess(&x);

	p->unnamed = false;
	p->repairs[K_REPAIR_NAME] += name.n > 0;
	if (!name.n)
		spill_header(p);
	else
		begin_call(p, name);
	if (!p->nomem)
		k_parse_send(p, name.n ? K_EVENT_ARGS : K_EVENT_CONTENT, p->args.data, p->args.len);
	/* Arguments that are missing are made up below; content is not. */
	p->said |= !name.n;
	k_buf_reset(&p->args);
}

/* --- leaving a state ---------------------------------------------------------------------------------------------- */

static void leave_nothing(struct k_parser *p, int next) { (void)p; (void)next; }
static void leave_content(struct k_parser *p, int next) { (void)next; k_buf_reset(&p->held); }

static void leave_header(struct k_parser *p, int next)
{
	if (next == K_PARSE_ARGS)
		open_call(p);
	else
		spill_header(p);
}

static void leave_args(struct k_parser *p, int next)
{
	(void)next;
	if (p->unnamed)
		name_call(p);
	if (!p->said) {
		p->repairs[K_REPAIR_ARGS]++;
		k_parse_send(p, K_EVENT_ARGS, "{}", 2);
	}
	k_buf_reset(&p->held);
	k_buf_reset(&p->header);
}

static void go(struct k_parser *p, int next)
{
	static void (*const leave[N_STATES])(struct k_parser *p, int next) = {
		[K_PARSE_START] = leave_content, [K_PARSE_REASON] = leave_nothing, [K_PARSE_CONTENT] = leave_content,
		[K_PARSE_SECTION] = leave_header, [K_PARSE_HEADER] = leave_header, [K_PARSE_ARGS] = leave_args,
	};

	leave[p->state](p, next);
	p->state = next;
	p->said = false;
}

/* --- text in a state ---------------------------------------------------------------------------------------------- */

static void take_reason(struct k_parser *p, const char *s, size_t n) { k_parse_send(p, K_EVENT_REASONING, s, n); }

void k_parse_content(struct k_parser *p, const char *s, size_t n)
{
	if (p->said) {
		k_parse_send(p, K_EVENT_CONTENT, s, n);
		return;
	}
	k_parse_hold(p, &p->held, s, n);
	if (!trimmed(s, n))
		return;
	p->said = true;
	p->state = K_PARSE_CONTENT;
	k_parse_send(p, K_EVENT_CONTENT, p->held.data, p->held.len);
	k_buf_reset(&p->held);
}

/* White space at both ends is not part of the arguments. */
static void take_args(struct k_parser *p, const char *s, size_t n)
{
	size_t solid = trimmed(s, n), skip = 0;

	while (!p->said && skip < solid && k_parse_is_space(s[skip]))
		skip++;
	if (solid) {
		k_parse_hold(p, &p->held, s + skip, solid - skip);
		if (p->unnamed)
			k_parse_hold(p, &p->args, p->held.data, p->held.len);
		else
			k_parse_send(p, K_EVENT_ARGS, p->held.data, p->held.len);
		k_buf_reset(&p->held);
		p->said = true;
	}
	if (p->said)
		k_parse_hold(p, &p->held, s + solid, n - solid);
}

/* In a section too: what stands before "argument begin" is a header even if "call begin" was left out. */
static void take_header(struct k_parser *p, const char *s, size_t n)
{
	const char *brace = p->state == K_PARSE_HEADER ? memchr(s, '{', n) : NULL;
	size_t len = brace ? (size_t)(brace - s) : n;

	if (p->header.len + len > HEADER_MAX) {
		go(p, K_PARSE_CONTENT);
		p->said = true;
		k_parse_content(p, s, n);
		return;
	}
	k_parse_hold(p, &p->header, s, len);
	if (!brace)
		return;
	go(p, K_PARSE_ARGS);
	take_args(p, brace, n - len);
}

static void take(struct k_parser *p)
{
	static void (*const taker[N_STATES])(struct k_parser *p, const char *s, size_t n) = {
		[K_PARSE_START] = k_parse_content, [K_PARSE_REASON] = take_reason, [K_PARSE_CONTENT] = k_parse_content,
		[K_PARSE_SECTION] = take_header, [K_PARSE_HEADER] = take_header, [K_PARSE_ARGS] = take_args,
	};

	if (p->text.len && !p->text.failed)
		taker[p->state](p, p->text.data, p->text.len);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

/* STAY: the marker says nothing here. TEXT: inside arguments a tag of reasoning is what the model writes about. */
enum { STAY = -1, TEXT = -2 };
#define S(x) K_PARSE_##x
static const signed char follows[N_STATES][K_N_MARKERS] = {
	/*             section begin  section end  call begin  args begin  call end    <think>    </think> */
	[S(START)] =   { S(SECTION),  STAY,        S(HEADER),  STAY,       STAY,       S(REASON), S(CONTENT) },
	[S(REASON)] =  { S(SECTION),  STAY,        S(HEADER),  STAY,       STAY,       STAY,      S(CONTENT) },
	[S(CONTENT)] = { S(SECTION),  STAY,        S(HEADER),  STAY,       STAY,       S(REASON), STAY },
	[S(SECTION)] = { STAY,        S(CONTENT),  S(HEADER),  S(ARGS),    STAY,       STAY,      STAY },
	[S(HEADER)] =  { S(SECTION),  S(CONTENT),  S(HEADER),  S(ARGS),    S(SECTION), STAY,      STAY },
	[S(ARGS)] =    { S(SECTION),  S(CONTENT),  S(HEADER),  STAY,       S(SECTION), TEXT,      TEXT },
};
#undef S

static int status(const struct k_parser *p, struct k_err *err)
{
	size_t n = p->header.len + p->args.len + p->text.len;

	if (p->nomem || p->text.failed)
		return k_err_nomem(err, n, "an answer");
	return p->stopped ? k_err_set(err, K_ECANCEL, "the receiver of the answer stopped") : 0;
}

static int follow(const struct k_parser *p, int32_t id)
{
	for (int i = 0; i < K_N_MARKERS; i++)
		if (p->marks[i] == id)
			return follows[p->state][i];
	return TEXT;
}

int k_parser_put(struct k_parser *p, int32_t id, struct k_err *err)
{
	if (p->xtml) {
		k_xtml_put(p, id);
		return status(p, err);
	}
	const int next = id < 0 ? STAY : follow(p, id);

	k_buf_reset(&p->text);
	if (next == TEXT)
		k_decoder_put(&p->dec, id, &p->text);
	else
		k_decoder_end(&p->dec, &p->text);       /* a character does not go on behind a marker */
	take(p);
	if (next >= 0)
		go(p, next);
	return status(p, err);
}

/* The beginning of an id, cut off by the limit of tokens: nothing that was meant to be read. */
static bool is_cut_id(const struct k_parser *p)
{
	static const char prefix[] = "functions.";
	return p->state == K_PARSE_HEADER && p->header.len && !memcmp(p->header.data, prefix, K_MIN(p->header.len, sizeof(prefix) - 1));
}

int k_parser_end(struct k_parser *p, struct k_err *err)
{
	if (p->xtml) {
		k_xtml_end(p);
		return status(p, err);
	}
	k_buf_reset(&p->text);
	k_decoder_end(&p->dec, &p->text);
	take(p);
	if ((p->state == K_PARSE_SECTION || p->state == K_PARSE_HEADER) && !is_cut_id(p))
		spill_header(p);
	/* A call that was cut off keeps the arguments it has. */
	if (p->state == K_PARSE_ARGS && p->unnamed)
		name_call(p);
	else if (p->state != K_PARSE_ARGS && !p->calls)
		k_parse_send(p, K_EVENT_CONTENT, p->held.data, p->held.len);
	k_buf_reset(&p->held);
	return status(p, err);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static int read_tools(struct k_parser *p, const struct k_json *tools, struct k_err *err)
{
	size_t n = k_json_kind(tools) == K_JSON_ARRAY ? k_json_len(tools) : 0;

	if (!n)
		return 0;
	p->tools = k_json_keep((struct k_json *)tools);
	p->declared = k_calloc(n, sizeof *p->declared);
	if (!p->declared)
		return k_err_nomem(err, n * sizeof *p->declared, "the names of tools");
	for (size_t i = 0; i < n; i++) {
		const struct k_json *f = k_json_find(k_json_at(tools, i), "function");
		const char *name = k_json_string(k_json_find(f, "name"));

		if (name && name[0])
			p->declared[p->n_declared++] = (struct tool){ name, k_json_find(f, "parameters") };
	}
	return 0;
}

static void find_marks(struct k_parser *p, const struct k_layout *l)
{
	const bool thinks = l->thinking || l->start == K_PARSE_START || l->start == K_PARSE_REASON;

	for (int i = 0; i < K_N_MARKERS; i++)
		p->marks[i] = (i < K_N_CALL_MARKERS ? l->tools : thinks) ? k_tokenizer_special(p->t, k_marker_texts[i]) : -1;
}

int k_parser_new(struct k_parser **out, const struct k_layout *l, const struct k_tokenizer *t, const struct k_json *tools, int n_used, const struct k_chat_options *o,
	int (*emit)(void *arg, const struct k_event *ev), void *arg, struct k_err *err)
{
	struct k_parser *p = k_calloc(1, sizeof *p);
	int rc;

	*out = NULL;
	if (!p)
		return k_err_nomem(err, sizeof *p, "a parser");
	p->t = t;
	p->n_used = n_used;
	p->emit = emit;
	p->arg = arg;
	/* A message that is continued has its reasoning behind it. */
	p->state = o->thinking && !o->continue_final ? l->start : K_PARSE_CONTENT;
	k_decoder_init(&p->dec, t, false);
	k_buf_init(&p->text, 0);
	k_buf_init(&p->held, 0);
	k_buf_init(&p->header, 0);
	k_buf_init(&p->args, 0);
	k_arena_init(&p->ids);
	k_map_init(&p->used);
	find_marks(p, l);
	p->xtml = l->xtml;
	if (l->xtml)
		k_xtml_begin(p, p->state == K_PARSE_REASON);
	rc = read_tools(p, tools, err);
	if (rc < 0) {
		k_parser_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

int k_parser_history(struct k_parser *p, const struct k_json *messages, struct k_err *err)
{
	for (size_t i = 0; k_json_kind(messages) == K_JSON_ARRAY && i < k_json_len(messages); i++) {
		const struct k_json *calls = k_json_find(k_json_at(messages, i), "tool_calls");

		for (size_t k = 0; k_json_kind(calls) == K_JSON_ARRAY && k < k_json_len(calls); k++) {
			const struct k_json *v = k_json_find(k_json_at(calls, k), "id");
			size_t n = k_json_len(v);
			const char *id = k_json_string(v) ? k_arena_strndup(&p->ids, k_json_string(v), n) : NULL;

			if (k_json_string(v) && (!id || k_map_put(&p->used, id, n, p) < 0))
				return k_err_nomem(err, n, "the ids of calls");
		}
	}
	return 0;
}

int k_parser_calls(const struct k_parser *p) { return p->calls; }
const uint64_t *k_parser_repairs(const struct k_parser *p) { return p->repairs; }
int k_parser_state(const struct k_parser *p) { return p->state; }
const struct k_buf *k_parser_lead(const struct k_parser *p)
{
	return !p->said && p->held.len && (p->state == K_PARSE_START || p->state == K_PARSE_CONTENT) ? &p->held : NULL;
}

void k_parser_free(struct k_parser *p)
{
	if (!p)
		return;
	k_json_free(p->tools);
	k_free(p->declared);
	k_buf_fini(&p->text);
	k_buf_fini(&p->held);
	k_buf_fini(&p->header);
	k_buf_fini(&p->args);
	k_arena_fini(&p->ids);
	k_map_fini(&p->used);
	k_free(p);
}
