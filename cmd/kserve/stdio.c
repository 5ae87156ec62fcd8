/* stdio.c: JSON lines in, JSON lines out. Several lines are computed at once; what they say is written in their order:
 *
 *   lines:  first (writes as it speaks) -> second (collects) -> ... -> last
 *
 * A line that asks for a stream gets its events as lines of their own, each with the id of the request. The list is under io->lock;
 * the engine's thread writes with it held, so a reader that is slow holds the engine back, and nothing piles up. */
#include "libcore/base.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libcore/ctx.h"
#include "libcore/io.h"
#include "cmd/cli.h"
#include "cmd/kserve/dialect.h"
#include "cmd/kserve/stdio.h"

#define MAX_IN_FLIGHT 64
#define READ_BYTES (64u << 10)
#define LOOK_MS 200                     /* a signal may come before the wait for input does */

struct io;
struct line {
	struct k_out out;               /* first */
	struct io *io;
	struct k_json *id;              /* for errors; NULL: none */
	struct k_buf said;
	bool lost;                      /* what it says is incomplete: no memory */
	bool done;
	struct line *next;
};
struct io {
	const struct k_server *s;
	struct k_sched *sched;
	pthread_mutex_t lock;
	pthread_cond_t fewer;
	struct line *first, **last;
	int n;
	struct k_err failed;            /* writing failed: nothing more is written */
	int news;                       /* eventfd: it did, which who waits for input has to know */
};

static void free_line(struct line *l)
{
	k_json_free(l->id);
	k_buf_fini(&l->said);
	k_free(l);
}

/* Of an answer that memory was not enough for, one line is left: who waits for it waits for nothing else. */
static void check_lost(struct line *l, struct k_err *err)
{
	static const char lost[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}\n";
	l->lost |= l->said.failed;
	if (!l->lost)
		return;
	k_buf_fini(&l->said);
	k_buf_init(&l->said, 0);
	if (l->done && !err->code && k_cli_write(lost, sizeof(lost) - 1, err))
		k_err_add(err, "while answering");
}

/* With the lock held. */
static void tell_failed(struct io *io)
{
	static const uint64_t one = 1;
	if (io->failed.code && write(io->news, &one, sizeof(one)) < 0)
		return;         /* it is full: he knows */
}

/* With the lock held: writes what may be written now. */
static void flush(struct io *io)
{
	while (io->first) {
		struct line *l = io->first;
		check_lost(l, &io->failed);
		if (l->said.len && !io->failed.code && k_cli_write(l->said.data, l->said.len, &io->failed))
			k_err_add(&io->failed, "while answering");
		tell_failed(io);
		k_buf_reset(&l->said);
		if (!l->done)
			return;
		io->first = l->next;
		if (!io->first)
			io->last = &io->first;
		io->n--;
		free_line(l);
		pthread_cond_broadcast(&io->fewer);
	}
}

static void line_event(struct k_out *o, const char *name K_UNUSED, const char *json, size_t n)
{
	struct line *l = (struct line *)o;
	pthread_mutex_lock(&l->io->lock);
	k_buf_put(&l->said, json, n);
	k_buf_putc(&l->said, '\n');
	flush(l->io);
	pthread_mutex_unlock(&l->io->lock);
}

/* An error carries the id too: {"id":..,"error":..}. */
static void put_error(struct line *l, const char *json, size_t n)
{
	if (l->id) {
		k_buf_puts(&l->said, "{\"id\":");
		k_json_dump(&l->said, l->id, K_JSON_COMPACT);
		k_buf_putc(&l->said, ',');
		json++;
		n--;
	}
	k_buf_put(&l->said, json, n);
}

static void line_finish(struct k_out *o, int status, const char *json, size_t n, const struct k_fault *f K_UNUSED)
{
	struct line *l = (struct line *)o;
	struct io *io = l->io;
	pthread_mutex_lock(&io->lock);
	if (status != 200)
		put_error(l, json, n);
	else
		k_buf_put(&l->said, json, n);
	if (n)
		k_buf_putc(&l->said, '\n');
	l->done = true;
	flush(io);
	pthread_mutex_unlock(&io->lock);
}

static bool line_full(struct k_out *o K_UNUSED) { return false; }

static int new_line(struct io *io, struct line **out, struct k_err *err)
{
	struct line *l = *out = k_calloc(1, sizeof(*l));
	if (!l)
		return k_err_nomem(err, sizeof(*l), "a line");
	l->out = (struct k_out){ .event = line_event, .finish = line_finish, .full = line_full };
	l->io = io;
	k_buf_init(&l->said, 0);
	pthread_mutex_lock(&io->lock);
	while (io->n >= MAX_IN_FLIGHT)
		pthread_cond_wait(&io->fewer, &io->lock);
	*io->last = l;
	io->last = &l->next;
	io->n++;
	int rc = io->failed.code;
	if (rc)
		*err = io->failed;
	pthread_mutex_unlock(&io->lock);
	return rc;
}

static int submit(struct io *io, struct line *l, struct k_json *body, struct k_fault *f)
{
	struct k_request *rq;
	uint64_t ticket;
	const struct k_json *id = k_json_given(body, "id");
	if (id && (k_json_kind(id) == K_JSON_STRING || k_json_kind(id) == K_JSON_INT))
		l->id = k_json_keep((struct k_json *)id);
	bool chat = k_json_given(body, "messages") != NULL;
	if (!chat && !k_json_given(body, "prompt")) {
		k_json_free(body);
		return k_fault_set(f, 400, NULL, "messages", "the request has neither messages nor a prompt");
	}
	if (k_openai_parse(&rq, io->s, chat ? &k_dialect_chat : &k_dialect_text, body, f))
		return -1;
	rq->id = l->id;
	return k_sched_submit(io->sched, rq, &l->out, &ticket, f);
}

static int one_line(struct io *io, const char *text, size_t n, struct k_err *err)
{
	struct line *l = NULL;
	struct k_json *body;
	struct k_fault f = { 0 };
	struct k_buf b;
	while (n && memchr(" \t\r", text[n - 1], 3))
		n--;
	if (!n)
		return 0;
	int rc = new_line(io, &l, err);
	if (!l || (!k_openai_body(&body, io->s, text, n, &f) && !submit(io, l, body, &f)))
		return rc;
	k_buf_init(&b, 0);
	k_fault_json(&b, &f);
	line_finish(&l->out, f.status, b.failed ? "{\"error\":{}}" : b.data, b.failed ? 12 : b.len, &f);
	k_buf_fini(&b);
	return rc;
}

/* Cuts what was read into lines; the rest stays for the next time. */
static int take_lines(struct io *io, struct k_buf *in, bool end, struct k_err *err)
{
	size_t at = 0;
	while (at < in->len) {
		char *nl = memchr(in->data + at, '\n', in->len - at);
		if (!nl && !end)
			break;
		size_t n = nl ? (size_t)(nl - in->data) - at : in->len - at;
		int rc = one_line(io, in->data + at, n, err);
		if (rc)
			return rc;
		at += n + (nl != NULL);
	}
	if (at) {
		memmove(in->data, in->data + at, in->len - at);
		in->len -= at;
	}
	return 0;
}

/* Until there is input or its end. Writing that has failed ends it too: a client may wait for that answer before it asks again. */
static int wait_input(struct io *io, const struct k_ctx *ctx, struct k_err *err)
{
	struct pollfd p[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = io->news, .events = POLLIN } };
	int rc = k_ctx_check(ctx, err), n = 0;
	while (!rc && (n = poll(p, K_LEN(p), LOOK_MS)) <= 0)
		rc = n < 0 && errno != EINTR ? k_err_io(err, "waiting for standard input") : k_ctx_check(ctx, err);
	if (!rc && p[1].revents) {
		pthread_mutex_lock(&io->lock);
		*err = io->failed;
		rc = err->code;
		pthread_mutex_unlock(&io->lock);
	}
	return rc;
}

static int read_all(struct io *io, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_source *src;
	struct k_buf in;
	size_t got = 1;
	int rc = k_source_open(&src, "-", err);
	if (rc)
		return rc;
	k_buf_init(&in, K_MAX_BODY);
	while (!rc && got) {
		void *p = k_buf_room(&in, READ_BYTES);
		if (!p) {
			rc = in.len + READ_BYTES <= K_MAX_BODY ? k_err_nomem(err, in.len + READ_BYTES, "a line")
				: k_err_set(err, K_EFORMAT, "'standard input': a line has more than %u bytes", K_MAX_BODY);
			break;
		}
		rc = wait_input(io, ctx, err);
		if (!rc)
			rc = k_source_some(src, p, READ_BYTES, &got, err);
		if (!rc) {
			in.len += got;
			rc = take_lines(io, &in, got == 0, err);
		}
	}
	k_buf_fini(&in);
	k_source_close(src);
	return rc;
}

int k_stdio_run(const struct k_server *s, struct k_sched *sched, const struct k_ctx *ctx, struct k_err *err)
{
	struct io io = { .s = s, .sched = sched, .news = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
	if (io.news < 0)
		return k_err_io(err, "an eventfd");
	io.last = &io.first;
	pthread_mutex_init(&io.lock, NULL);
	pthread_cond_init(&io.fewer, NULL);
	int rc = read_all(&io, ctx, err);
	if (rc)
		k_sched_abort(sched);
	pthread_mutex_lock(&io.lock);
	while (io.n)
		pthread_cond_wait(&io.fewer, &io.lock);
	pthread_mutex_unlock(&io.lock);
	if (!rc && io.failed.code) {
		*err = io.failed;
		rc = io.failed.code;
	}
	pthread_cond_destroy(&io.fewer);
	pthread_mutex_destroy(&io.lock);
	close(io.news);
	return rc ? rc : k_sched_failed(sched, err);
}
