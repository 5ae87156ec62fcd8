/* terminal.c: kserve --chat. A line is a message or a command; the conversation so far is one request to the same engine that
 * serves everybody:
 *
 *   line -> messages -> request -> engine's thread --events--> turn.pending -> main thread: shown, and kept as the next message
 *
 * A turn is shared with the engine's thread under its lock, until finish came. What a model writes goes to the terminal without
 * control characters. Ctrl-C while an answer runs cancels it; the flag that the handler sets is the only state outside. */
#include "libcore/base.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "libcore/io.h"
#include "libcore/log.h"
#include "libcore/wait.h"
#include "cmd/cli.h"
#include "cmd/kserve/dialect.h"
#include "cmd/kserve/lines.h"
#include "cmd/kserve/terminal.h"

#define LOOK_NS 50000000
#define MAX_FILE (64u << 20)

struct chat {
	const struct k_server *s;
	struct k_sched *sched;
	const struct k_ctx *ctx;
	const struct k_lines_way *way;
	void *lines;
	struct k_json *messages, *tools;        /* without the system message; tools NULL: none */
	struct k_buf system, line;
	bool terminal, colour, quit;
};

struct called { struct k_buf args; char *id, *name; };
struct turn {
	struct k_out out;               /* first */
	struct chat *c;
	pthread_mutex_t lock;
	pthread_cond_t news;
	/* under lock */
	struct k_buf pending;           /* events, a line each */
	bool done;
	int status;
	struct k_fault fault;
	/* the main thread's */
	struct k_buf text, thought, show;
	struct called *calls;
	int n_calls;
	enum { SHOWN_NOTHING, SHOWN_THOUGHT, SHOWN_TEXT, SHOWN_CALL } shown;
	bool newline;                   /* what was shown ends with one */
};

static volatile sig_atomic_t interrupted;
static void on_interrupt(int sig K_UNUSED) { interrupted = 1; }

static void say(const struct chat *c, const char *text) { k_logf(c->ctx->log, K_LOG_ERROR, "%s", text); }

/* --- the engine's side of a turn ------------------------------------------------------------------------------------------------ */

static void turn_event(struct k_out *o, const char *name K_UNUSED, const char *json, size_t n)
{
	struct turn *t = (struct turn *)o;
	pthread_mutex_lock(&t->lock);
	k_buf_put(&t->pending, json, n);
	k_buf_putc(&t->pending, '\n');
	pthread_cond_signal(&t->news);
	pthread_mutex_unlock(&t->lock);
}

static void turn_finish(struct k_out *o, int status, const char *json K_UNUSED, size_t n K_UNUSED, const struct k_fault *f)
{
	struct turn *t = (struct turn *)o;
	pthread_mutex_lock(&t->lock);
	t->status = status;
	if (f)
		t->fault = *f;
	t->done = true;
	pthread_cond_signal(&t->news);
	pthread_mutex_unlock(&t->lock);
}

static bool turn_full(struct k_out *o K_UNUSED) { return false; }

/* --- showing ---------------------------------------------------------------------------------------------------------------------- */

/* Control characters, of both kinds that a terminal obeys, are left out. */
static void put_plain(struct k_buf *b, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i], next = i + 1 < n ? (unsigned char)s[i + 1] : 0;
		if (c == 0xc2 && next >= 0x80 && next < 0xa0)
			i++;
		else if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t')
			k_buf_putc(b, s[i]);
	}
}

/* What comes next is of this kind: the one before gets its end. */
static void turn_to(struct turn *t, int kind)
{
	const struct chat *c = t->c;
	if (t->shown == (unsigned)kind && kind != SHOWN_CALL)
		return;
	if (t->shown == SHOWN_THOUGHT && c->colour)
		k_buf_puts(&t->show, "\033[0m");
	if (t->shown != SHOWN_NOTHING && !t->newline)
		k_buf_putc(&t->show, '\n');
	if (kind == SHOWN_THOUGHT)
		k_buf_puts(&t->show, c->colour ? "\033[2m" : "(reasoning) ");
	else if (t->shown == SHOWN_THOUGHT && kind != SHOWN_NOTHING)
		k_buf_putc(&t->show, '\n');
	t->shown = kind;
	t->newline = true;
}

static void show(struct turn *t, int kind, const struct k_json *v)
{
	const char *s = k_json_string(v);
	size_t n = s ? k_json_len(v) : 0, before;
	if (!n)
		return;
	k_buf_put(kind == SHOWN_THOUGHT ? &t->thought : &t->text, s, n);
	if (kind == SHOWN_THOUGHT && !t->c->terminal)
		return;
	turn_to(t, kind);
	before = t->show.len;
	put_plain(&t->show, s, n);
	if (t->show.len > before)
		t->newline = t->show.data[t->show.len - 1] == '\n';
}

static int add_call(struct turn *t, const struct k_json *v, const struct k_json *f)
{
	struct called *calls = k_realloc(t->calls, (size_t)(t->n_calls + 1) * sizeof(*calls));
	if (!calls)
		return -1;
	t->calls = calls;
	struct called *one = &calls[t->n_calls++];
	*one = (struct called){ .id = k_strdup(k_json_string(k_json_find(v, "id"))), .name = k_strdup(k_json_string(k_json_find(f, "name"))) };
	k_buf_init(&one->args, 0);
	if (!one->id || !one->name)
		return -1;
	turn_to(t, SHOWN_CALL);
	k_buf_puts(&t->show, "-> ");
	put_plain(&t->show, one->name, strlen(one->name));
	k_buf_putc(&t->show, ' ');
	t->newline = false;
	return 0;
}

static int take_calls(struct turn *t, const struct k_json *deltas)
{
	for (size_t i = 0; i < k_json_len(deltas); i++) {
		const struct k_json *v = k_json_at(deltas, i), *f = k_json_find(v, "function"), *args = k_json_find(f, "arguments");
		if (k_json_string(k_json_find(v, "id")) && k_json_string(k_json_find(f, "name")) && add_call(t, v, f))
			return -1;
		if (t->n_calls && k_json_string(args)) {
			k_buf_put(&t->calls[t->n_calls - 1].args, k_json_string(args), k_json_len(args));
			put_plain(&t->show, k_json_string(args), k_json_len(args));
		}
	}
	return 0;
}

static int take_event(struct turn *t, const char *json, size_t n, struct k_err *err)
{
	struct k_json *v;
	int rc = k_json_parse(&v, json, n, K_JSON_LAST_WINS | K_JSON_NUL, "an event", err);
	if (rc)
		return rc;
	const struct k_json *d = k_json_find(k_json_at(k_json_find(v, "choices"), 0), "delta");
	show(t, SHOWN_THOUGHT, k_json_find(d, "reasoning_content"));
	show(t, SHOWN_TEXT, k_json_find(d, "content"));
	if (take_calls(t, k_json_find(d, "tool_calls")))
		rc = k_err_nomem(err, n, "a tool call");
	k_json_free(v);
	return rc;
}

static int flush(struct turn *t, struct k_err *err)
{
	int rc = k_buf_ok(&t->show, "an answer", err);
	if (!rc && t->show.len)
		rc = k_cli_write(t->show.data, t->show.len, err);
	k_buf_reset(&t->show);
	return rc;
}

static int take_news(struct turn *t, const struct k_buf *news, struct k_err *err)
{
	int rc = k_buf_ok(news, "an answer", err);
	for (size_t at = 0; !rc && at < news->len; ) {
		const char *nl = memchr(news->data + at, '\n', news->len - at);
		size_t n = nl ? (size_t)(nl - news->data) - at : news->len - at;
		rc = take_event(t, news->data + at, n, err);
		at += n + 1;
	}
	return rc ? rc : flush(t, err);
}

/* --- a turn ----------------------------------------------------------------------------------------------------------------------- */

/* {"role":..,"content":..}, with whatever the caller adds; NULL without memory. */
static struct k_json *message(const char *role, const char *s, size_t n)
{
	struct k_json *m = k_json_object();
	if (!m || k_json_set(m, "role", k_json_new_string(role, strlen(role))) || k_json_set(m, "content", k_json_new_string(n ? s : "", n))) {
		k_json_free(m);
		return NULL;
	}
	return m;
}

static int push(struct chat *c, struct k_json *m, struct k_err *err)
{
	return k_json_push(c->messages, m) ? k_err_nomem(err, sizeof(void *), "the conversation") : 0;
}

/* The first n messages stay. */
static int cut(struct chat *c, size_t n, struct k_err *err)
{
	struct k_json *kept = k_json_array();
	bool bad = !kept;
	for (size_t i = 0; !bad && i < n; i++)
		bad = k_json_push(kept, k_json_keep(k_json_at(c->messages, i)));
	if (bad) {
		k_json_free(kept);
		return k_err_nomem(err, n, "the conversation");
	}
	k_json_free(c->messages);
	c->messages = kept;
	return 0;
}

/* What a client would send: also what /save writes. NULL without memory. */
static struct k_json *request(const struct chat *c)
{
	struct k_json *body = k_json_object(), *messages = k_json_array();
	bool bad = !body || !messages;
	if (!bad && c->system.len)
		bad = k_json_push(messages, message("system", c->system.data, c->system.len));
	for (size_t i = 0; !bad && i < k_json_len(c->messages); i++)
		bad = k_json_push(messages, k_json_copy(k_json_at(c->messages, i)));
	if (!bad && c->tools)
		bad = k_json_set(body, "tools", k_json_copy(c->tools));
	if (!bad)
		bad = k_json_set(body, "messages", k_json_keep(messages));
	k_json_free(messages);
	if (!bad)
		return body;
	k_json_free(body);
	return NULL;
}

static struct k_json *calls_of(const struct turn *t)
{
	struct k_json *arr = k_json_array();
	for (int i = 0; arr && i < t->n_calls; i++) {
		const struct called *one = &t->calls[i];
		struct k_json *v = k_json_object(), *f = k_json_object();
		bool bad = !v || !f || k_json_set(f, "name", k_json_new_string(one->name, strlen(one->name))) ||
			k_json_set(f, "arguments", k_json_new_string(one->args.len ? one->args.data : "", one->args.len)) ||
			k_json_set(v, "id", k_json_new_string(one->id, strlen(one->id))) || k_json_set(v, "type", k_json_new_string("function", 8)) ||
			k_json_set(v, "function", k_json_keep(f)) || k_json_push(arr, k_json_keep(v));
		k_json_free(f);
		k_json_free(v);
		if (bad) {
			k_json_free(arr);
			return NULL;
		}
	}
	return arr;
}

/* The answer as a message: without calls where it was cut off; nothing where there is nothing. */
static int keep(struct turn *t, struct k_err *err)
{
	bool whole = t->status == 200;
	if (!whole && !t->text.len && !t->thought.len)
		return 0;
	struct k_json *m = message("assistant", t->text.data, t->text.len);
	bool bad = !m;
	if (!bad && t->thought.len)
		bad = k_json_set(m, "reasoning_content", k_json_new_string(t->thought.data, t->thought.len));
	if (!bad && whole && t->n_calls)
		bad = k_json_set(m, "tool_calls", calls_of(t));
	if (bad) {
		k_json_free(m);
		return k_err_nomem(err, t->text.len, "an answer");
	}
	return push(t->c, m, err);
}

static int submit(struct turn *t, uint64_t *ticket, struct k_fault *f)
{
	struct k_request *rq;
	struct k_json *body = request(t->c);
	if (!body || k_json_set(body, "stream", k_json_new_bool(true))) {
		k_json_free(body);
		return k_no_memory(f);
	}
	if (k_openai_parse(&rq, t->c->s, &k_dialect_chat, body, f))
		return -1;
	return k_sched_submit(t->c->sched, rq, &t->out, ticket, f);
}

/* Shows until finish came. Whatever fails on the way, the engine is waited for. */
static int follow(struct turn *t, uint64_t ticket, struct k_err *err)
{
	bool done = false, cancelled = false;
	int rc = 0;
	while (!done) {
		struct k_buf news;
		pthread_mutex_lock(&t->lock);
		if (!t->pending.len && !t->done)
			k_cond_wait(&t->news, &t->lock, LOOK_NS);
		news = t->pending;
		k_buf_init(&t->pending, 0);
		done = t->done;
		pthread_mutex_unlock(&t->lock);
		if (!rc)
			rc = take_news(t, &news, err);
		k_buf_fini(&news);
		if (!cancelled && (rc || interrupted || (t->c->ctx->stop && *t->c->ctx->stop))) {
			cancelled = true;
			k_sched_cancel(t->c->sched, ticket);
		}
	}
	return rc;
}

static int end_turn(struct turn *t, struct k_err *err)
{
	const struct k_spent *sp = &t->out.spent;
	const struct chat *c = t->c;
	turn_to(t, SHOWN_NOTHING);
	if (interrupted && c->terminal)
		k_buf_puts(&t->show, "(stopped)\n");
	if (c->terminal && t->status == 200) {
		double s = sp->t_first ? (double)(k_now_ns() - sp->t_first) / 1e9 : 0;
		k_buf_printf(&t->show, "%s%" PRId64 " tokens, %.0f tokens/s, prompt %" PRId64 ", %" PRId64 " cached%s\n", c->colour ? "\033[2m" : "(",
			sp->made, s > 0 ? (double)sp->made / s : 0.0, sp->prompt, sp->cached, c->colour ? "\033[0m" : ")");
	}
	return flush(t, err);
}

static void free_turn(struct turn *t)
{
	for (int i = 0; i < t->n_calls; i++) {
		k_free(t->calls[i].id);
		k_free(t->calls[i].name);
		k_buf_fini(&t->calls[i].args);
	}
	k_free(t->calls);
	k_buf_fini(&t->pending);
	k_buf_fini(&t->text);
	k_buf_fini(&t->thought);
	k_buf_fini(&t->show);
	pthread_cond_destroy(&t->news);
	pthread_mutex_destroy(&t->lock);
}

/* A line a call. *told: all of them were. */
static int ask_results(struct chat *c, const struct turn *t, bool *told, struct k_err *err)
{
	*told = false;
	for (int i = 0; i < t->n_calls; i++) {
		enum k_line what;
		struct k_buf prompt;
		k_buf_init(&prompt, 0);
		k_buf_puts(&prompt, "result of ");
		put_plain(&prompt, t->calls[i].name, strlen(t->calls[i].name));
		k_buf_puts(&prompt, "> ");
		int rc = k_buf_ok(&prompt, "a prompt", err);
		if (!rc)
			rc = c->way->get(c->lines, prompt.data, &c->line, &what, err);
		k_buf_fini(&prompt);
		if (rc)
			return rc;
		c->quit = what == K_LINE_END;
		if (what != K_LINE_TEXT)
			return 0;
		struct k_json *m = message("tool", c->line.data, c->line.len);
		if (!m || k_json_set(m, "tool_call_id", k_json_new_string(t->calls[i].id, strlen(t->calls[i].id)))) {
			k_json_free(m);
			return k_err_nomem(err, c->line.len, "a result");
		}
		if ((rc = push(c, m, err)))
			return rc;
	}
	*told = t->n_calls > 0;
	return 0;
}

/* One answer, and the results that it asks for. *again: they were told, and it is the model's turn again. */
static int turn(struct chat *c, bool *again, struct k_err *err)
{
	struct turn t = { .out = { .event = turn_event, .finish = turn_finish, .full = turn_full }, .c = c, .newline = true };
	struct sigaction act = { .sa_handler = on_interrupt }, old;
	struct k_fault f = { 0 };
	uint64_t ticket;
	size_t before = k_json_len(c->messages);
	pthread_mutex_init(&t.lock, NULL);
	k_cond_init(&t.news);
	interrupted = 0;
	sigaction(SIGINT, &act, &old);
	*again = false;
	int rc = 0;
	if (submit(&t, &ticket, &f)) {
		t.fault = f;
		t.status = f.status;
	} else {
		rc = follow(&t, ticket, err);
	}
	sigaction(SIGINT, &old, NULL);
	if (!rc)
		rc = end_turn(&t, err);
	if (!rc && t.status != 200 && !interrupted)
		say(c, t.fault.msg[0] ? t.fault.msg : "the answer failed");
	if (!rc)
		rc = keep(&t, err);
	/* A question without an answer is taken back. */
	if (!rc && k_json_len(c->messages) == before)
		rc = cut(c, before - 1, err);
	if (!rc && t.status == 200 && t.n_calls) {
		rc = ask_results(c, &t, again, err);
		if (!rc && !*again)
			rc = cut(c, before, err);
	}
	free_turn(&t);
	return rc;
}

static int ask(struct chat *c, const char *text, size_t n, struct k_err *err)
{
	struct k_json *m = message("user", text, n);
	bool again = true;
	int rc = m ? push(c, m, err) : k_err_nomem(err, n, "a message");
	while (!rc && again)
		rc = turn(c, &again, err);
	return rc;
}

/* --- commands: a failure of theirs is said and is none of the program ------------------------------------------------------------- */

static int do_reset(struct chat *c, const char *rest K_UNUSED, struct k_err *err) { return cut(c, 0, err); }

static int do_system(struct chat *c, const char *rest, struct k_err *err)
{
	k_buf_reset(&c->system);
	k_buf_puts(&c->system, rest);
	return k_buf_ok(&c->system, "the system message", err);
}

static int read_json(struct k_json **out, const char *path, struct k_err *err)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	int rc = k_read_file(path, &b, MAX_FILE, err);
	if (!rc)
		rc = k_json_parse(out, b.len ? b.data : "", b.len, K_JSON_LAST_WINS | K_JSON_NUL, path, err);
	k_buf_fini(&b);
	return rc;
}

static int do_tools(struct chat *c, const char *rest, struct k_err *err)
{
	struct k_json *v = NULL;
	int rc = *rest ? read_json(&v, rest, err) : 0;
	if (!rc && v && k_json_kind(v) != K_JSON_ARRAY) {
		rc = k_err_set(err, K_EFORMAT, "'%s' is %s, wanted an array of tools", rest, k_json_kind_name(v));
		k_json_free(v);
	}
	if (rc)
		return rc;
	k_json_free(c->tools);
	c->tools = v;
	return 0;
}

static int do_save(struct chat *c, const char *rest, struct k_err *err)
{
	struct k_sink *sink;
	struct k_buf b;
	struct k_json *body = request(c);
	if (!body)
		return k_err_nomem(err, 1, "the conversation");
	k_buf_init(&b, 0);
	k_json_dump(&b, body, K_JSON_INDENT);
	k_buf_putc(&b, '\n');
	k_json_free(body);
	int rc = k_buf_ok(&b, "the conversation", err);
	if (!rc && !(rc = k_sink_open(&sink, rest, err))) {
		rc = k_sink_write(sink, b.data, b.len, err);
		if (!rc)
			rc = k_sink_commit(sink, err);
		k_sink_close(sink);
	}
	k_buf_fini(&b);
	return rc;
}

/* What /save wrote, or any request. */
static int do_load(struct chat *c, const char *rest, struct k_err *err)
{
	struct k_json *v = NULL, *messages;
	int rc = read_json(&v, rest, err);
	if (!rc)
		rc = k_json_get_array(v, "messages", &messages, rest, err);
	if (!rc)
		rc = cut(c, 0, err);
	k_buf_reset(&c->system);
	for (size_t i = 0; !rc && i < k_json_len(messages); i++) {
		struct k_json *m = k_json_at(messages, i);
		const char *role = k_json_string(k_json_find(m, "role")), *text = k_json_string(k_json_find(m, "content"));
		if (!i && role && !strcmp(role, "system") && text)
			k_buf_put(&c->system, text, k_json_len(k_json_find(m, "content")));
		else
			rc = push(c, k_json_keep(m), err);
	}
	if (!rc && k_json_kind(k_json_find(v, "tools")) == K_JSON_ARRAY) {
		k_json_free(c->tools);
		c->tools = k_json_keep(k_json_find(v, "tools"));
	}
	k_json_free(v);
	return rc;
}

static int do_quit(struct chat *c, const char *rest K_UNUSED, struct k_err *err K_UNUSED)
{
	c->quit = true;
	return 0;
}

static int do_help(struct chat *c, const char *rest, struct k_err *err);

static const struct { const char *name, *arg, *about; bool needs; int (*act)(struct chat *c, const char *rest, struct k_err *err); } commands[] = {
	{ "/reset", "", "begin again; system message and tools stay", false, do_reset },
	{ "/system", "TEXT", "the system message; nothing: none", false, do_system },
	{ "/tools", "FILE", "tools, a JSON array; nothing: none", false, do_tools },
	{ "/save", "FILE", "the conversation as a request in JSON", true, do_save },
	{ "/load", "FILE", "what /save wrote", true, do_load },
	{ "/help", "", "this list", false, do_help },
	{ "/quit", "", "end, as Ctrl-D does", false, do_quit },
};

static int do_help(struct chat *c K_UNUSED, const char *rest K_UNUSED, struct k_err *err)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	for (size_t i = 0; i < K_LEN(commands); i++)
		k_buf_printf(&b, "%-8s %-5s %s\n", commands[i].name, commands[i].arg, commands[i].about);
	k_buf_puts(&b, "//...          a message that begins with a slash\nCtrl-C         stop the answer\n");
	int rc = k_buf_ok(&b, "the list", err);
	if (!rc)
		rc = k_cli_write(b.data, b.len, err);
	k_buf_fini(&b);
	return rc;
}

static void command(struct chat *c, char *line)
{
	struct k_err err = { 0 };
	size_t n = strcspn(line, " \t");
	char *rest = line + n + strspn(line + n, " \t");
	for (size_t i = 0; i < K_LEN(commands); i++) {
		if (strlen(commands[i].name) != n || memcmp(commands[i].name, line, n))
			continue;
		if (commands[i].needs && !*rest)
			k_err_set(&err, K_EUSAGE, "%s wants %s", commands[i].name, commands[i].arg);
		else if (!commands[i].act(c, rest, &err))
			return;
		say(c, err.msg);
		return;
	}
	k_err_set(&err, K_EUSAGE, "there is no command '%.*s': /help lists them", (int)K_MIN(n, (size_t)100), line);
	say(c, err.msg);
}

/* --- life --------------------------------------------------------------------------------------------------------------------------- */

static int one_line(struct chat *c, struct k_err *err)
{
	enum k_line what;
	int rc = c->way->get(c->lines, "> ", &c->line, &what, err);
	if (rc)
		return rc;
	c->quit = what == K_LINE_END;
	size_t blank = c->line.len ? strspn(c->line.data, " \t\r\n") : 0;
	if (what != K_LINE_TEXT || blank == c->line.len)
		return 0;
	if (!k_utf8_ok(c->line.data, c->line.len) || strlen(c->line.data) != c->line.len) {
		say(c, "the line is no UTF-8 text");
		return 0;
	}
	if (c->line.data[0] == '/' && c->line.data[1] != '/') {
		command(c, c->line.data);
		return 0;
	}
	bool slash = c->line.data[0] == '/';
	return ask(c, c->line.data + slash, c->line.len - slash, err);
}

int k_terminal_run(const struct k_server *s, struct k_sched *sched, const struct k_ctx *ctx, struct k_err *err)
{
	struct chat c = { .s = s, .sched = sched, .ctx = ctx, .terminal = isatty(0) && isatty(1) };
	struct sigaction act = { .sa_handler = on_interrupt };
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	if (!s->layout || !s->tok)
		return k_err_set(err, K_EUSAGE, "--chat wants a model with a tokenizer and a chat layout (--chat-layout)");
	c.colour = c.terminal && !(no_colour && *no_colour) && !(term && !strcmp(term, "dumb"));
	c.way = k_lines_way(c.terminal);
	k_buf_init(&c.system, 0);
	k_buf_init(&c.line, 0);
	c.messages = k_json_array();
	int rc = c.messages ? c.way->open(&c.lines, ctx, err) : k_err_nomem(err, 1, "a conversation");
	/* Between an answer and the prompt Ctrl-C is a signal still. */
	if (c.terminal)
		sigaction(SIGINT, &act, NULL);
	if (!rc && c.terminal)
		rc = k_cli_write("/help lists the commands\n", 25, err);
	while (!rc && !c.quit) {
		rc = one_line(&c, err);
		if (!rc)
			rc = k_sched_failed(sched, err);
	}
	if (c.lines)
		c.way->close(c.lines);
	k_json_free(c.messages);
	k_json_free(c.tools);
	k_buf_fini(&c.system);
	k_buf_fini(&c.line);
	return rc;
}
