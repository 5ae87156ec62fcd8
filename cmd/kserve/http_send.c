/* http_send.c: heads of answers, and what stands behind them: a body with its length, or a stream in chunks (until the end of the
 * connection, for HTTP/1.0). */
#include "libcore/base.h"

#include <stdio.h>
#include <time.h>

#include "libcore/log.h"
#include "cmd/kserve/http_int.h"

static const char *reason(int status)
{
	static const struct { int status; const char *text; } reasons[] = {
		{ 200, "OK" }, { 204, "No Content" }, { 304, "Not Modified" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" },
		{ 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 411, "Length Required" },
		{ 413, "Content Too Large" }, { 414, "URI Too Long" }, { 415, "Unsupported Media Type" }, { 417, "Expectation Failed" },
		{ 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
		{ 501, "Not Implemented" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 529, "Overloaded" },
	};
	for (size_t i = 0; i < K_LEN(reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	return "Error";
}

/* What an answer without memory is; the connection then ends. */
static void put_out(struct conn *c, const struct k_buf *b)
{
	if (b->failed || k_link_write(c->link, b->data, b->len))
		c->keep = false;
}

static void put_head(struct conn *c, struct k_buf *b, int status, const char *type)
{
	const char *version = c->head.old ? "HTTP/1.0" : "HTTP/1.1";
	char date[64];
	time_t now = time(NULL);
	struct tm tm;
	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	c->x.status = status;
	c->started = true;
	if (c->h->draining)
		c->keep = false;
	k_buf_printf(b, "%s %d %s\r\nDate: %s\r\nX-Request-Id: %s\r\nx-trace-id: %s\r\n", version, status, reason(status), date, c->x.id, c->x.id);
	if (c->route && c->route->dialect == &k_dialect_anthropic)
		k_buf_printf(b, "request-id: %s\r\n", c->x.id);       /* where its clients look */
	if (type)
		k_buf_printf(b, "Content-Type: %s\r\n", type);
	k_buf_put(b, c->extra.data ? c->extra.data : "", c->extra.len);
	if (!c->keep)
		k_buf_puts(b, "Connection: close\r\n");
	else if (c->head.old)
		k_buf_puts(b, "Connection: keep-alive\r\n");
}

void k_send_whole(struct conn *c, int status, const char *type, const void *p, size_t n)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	put_head(c, &b, status, type);
	if (type)
		k_buf_printf(&b, "Content-Length: %zu\r\n", n);
	k_buf_puts(&b, "\r\n");
	if (strcmp(c->head.method, "HEAD")) {
		k_buf_put(&b, p, n);
		c->x.bytes += n;
	}
	put_out(c, &b);
	k_buf_fini(&b);
}

void k_send_problem(struct conn *c, int status, int retry_after, const char *json, size_t n)
{
	if (retry_after)
		k_buf_printf(&c->extra, "Retry-After: %d\r\n", retry_after);
	if (status == 401)
		k_buf_puts(&c->extra, "WWW-Authenticate: Bearer\r\n");
	if (status == 500 || status == 501)
		k_buf_puts(&c->extra, "x-should-retry: false\r\n");
	k_send_whole(c, status, "application/json", json, n);
}

void k_send_fault(struct conn *c, const struct k_fault *f)
{
	const struct k_dialect *d = c->route && c->route->dialect ? c->route->dialect : &k_dialect_chat;
	struct k_buf b;
	k_buf_init(&b, 0);
	d->fault(&b, f, c->x.id);
	k_metrics_reject(&c->h->metrics, f->code);
	k_send_problem(c, f->status, f->retry_after, b.failed ? "{\"error\":{}}" : b.data, b.failed ? 12 : b.len);
	k_logf(c->h->s->log, K_LOG_DEBUG, "%s %d: %s, %s", c->head.path ? c->head.path : "", f->status, f->msg, c->x.id);
	k_buf_fini(&b);
}

/* --- streams ------------------------------------------------------------------------------------------------------------------ */

void k_send_stream(struct conn *c)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	c->chunks = !c->head.old;
	if (c->head.old)
		c->keep = false;
	put_head(c, &b, 200, "text/event-stream; charset=utf-8");
	k_buf_puts(&b, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
	if (c->chunks)
		k_buf_puts(&b, "Transfer-Encoding: chunked\r\n");
	k_buf_puts(&b, "\r\n");
	put_out(c, &b);
	k_buf_fini(&b);
}

void k_send_bytes(struct conn *c, const void *p, size_t n)
{
	struct k_buf b;
	if (!n)
		return;
	k_buf_init(&b, 0);
	if (c->chunks)
		k_buf_printf(&b, "%zx\r\n", n);
	k_buf_put(&b, p, n);
	if (c->chunks)
		k_buf_puts(&b, "\r\n");
	c->x.bytes += n;
	put_out(c, &b);
	k_buf_fini(&b);
}

void k_send_end(struct conn *c)
{
	if (c->chunks && k_link_write(c->link, "0\r\n\r\n", 5))
		c->keep = false;
}

int k_send_text(struct conn *c, const char *type, struct k_buf *b, struct k_fault *f)
{
	int rc = b->failed ? k_no_memory(f) : 0;
	if (!rc)
		k_send_whole(c, 200, type, b->data ? b->data : "", b->len);
	k_buf_fini(b);
	return rc;
}
