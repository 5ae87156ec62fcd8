/* http_route.c: from a request to its route's answer. What can be refused by the head alone is refused before the body is read. */
#include "libcore/base.h"

#include <stdio.h>
#include <strings.h>

#include "cmd/kserve/cors.h"
#include "cmd/kserve/http_int.h"
#include "cmd/kserve/page.h"

#define SMALL_BODY (64u << 10)          /* of a request that needs none */
#define MAX_BODIES 4                    /* times --max-body: of all requests that are being read */

/* --- the head ----------------------------------------------------------------------------------------------------------------- */

static int check_key(struct conn *c, struct k_fault *f)
{
	const char *bearer = k_head_get(&c->head, "Authorization"), *key = k_head_get(&c->head, "X-Api-Key");
	if (!c->h->keys.n)
		return 0;
	bearer = bearer && !strncasecmp(bearer, "Bearer ", 7) ? bearer + 7 + strspn(bearer + 7, " ") : NULL;
	/* Clients that send both have one of them from elsewhere. */
	const char *label = bearer ? k_keys_find(&c->h->keys, bearer) : NULL;
	if (!label && key)
		label = k_keys_find(&c->h->keys, key);
	if (!label)
		return k_fault_set(f, 401, "invalid_api_key", NULL, key || bearer ? "the API key is wrong" : "no API key was given");
	snprintf(c->x.label, sizeof(c->x.label), "%s", label);
	return 0;
}

static int check_method(struct conn *c, struct k_fault *f)
{
	static const char *const names[] = { [K_GET] = "GET, HEAD", [K_POST] = "POST", [K_GET | K_POST] = "GET, HEAD, POST" };
	const char *m = c->head.method, *all = names[c->route->methods];
	unsigned bit = !strcmp(m, "POST") ? K_POST : !strcmp(m, "GET") || !strcmp(m, "HEAD") ? K_GET : 0;
	if (c->route->methods & bit)
		return 0;
	k_buf_printf(&c->extra, "Allow: %s\r\n", all);
	return k_fault_set(f, 405, "method_not_allowed", NULL, "this route takes %s", all);
}

static int check_type(struct conn *c, struct k_fault *f)
{
	const char *type = k_head_get(&c->head, "Content-Type");
	if (k_head_get(&c->head, "Content-Encoding"))
		return k_fault_set(f, 415, "unsupported_media_type", NULL, "compressed requests are not supported");
	size_t n = type ? strcspn(type, "; \t") : 0;
	if (type && c->route->need != K_NEED_NONE && (n != 16 || strncasecmp(type, "application/json", n)))
		return k_fault_set(f, 415, "unsupported_media_type", NULL, "Content-Type must be application/json (curl --json BODY says so)");
	return 0;
}

static int check_room(struct conn *c, struct k_fault *f)
{
	struct http *h = c->h;
	uint64_t max = c->route->need == K_NEED_JSON ? h->o->max_body : SMALL_BODY;
	if (c->route->need == K_NEED_JSON && c->head.length < 0 && !c->head.chunked)
		return k_fault_set(f, 411, "length_required", NULL, "the request wants a body, with Content-Length or in chunks");
	if (c->head.length > 0 && (uint64_t)c->head.length > max)
		return k_fault_set(f, 413, "request_too_large", NULL, "the body of the request has more than %llu bytes", (unsigned long long)max);
	if (h->draining && c->route->need == K_NEED_JSON)
		k_fault_set(f, 503, "shutting_down", NULL, "the server is shutting down");
	else if (h->n_body > MAX_BODIES * h->o->max_body)
		k_fault_set(f, 503, "overloaded", NULL, "too many large requests are being read");
	else
		return c->route->what == K_ROUTE_GENERATE && (c->head.chunked || c->head.length > (int64_t)SMALL_BODY) ? k_sched_room(h->sched, f) : 0;
	f->retry_after = 5;
	return -1;
}

/* A browser asks what it may ask. */
static bool preflight(struct conn *c)
{
	if (strcmp(c->head.method, "OPTIONS") || !k_head_get(&c->head, "Access-Control-Request-Method") || !c->h->o->cors)
		return false;
	k_cors_put_preflight(&c->extra, k_head_get(&c->head, "Access-Control-Request-Headers"));
	c->keep &= c->head.length <= 0 && !c->head.chunked;
	c->x.route = "preflight";
	k_send_whole(c, 204, NULL, "", 0);
	k_conn_answered(c);
	return true;
}

int k_route_head(struct conn *c, struct k_fault *f)
{
	const char *path = !strncmp(c->head.path, "/v1/", 4) ? c->head.path + 3 : c->head.path;
	k_cors_put(&c->extra, c->h->o->cors, k_head_get(&c->head, "Origin"));
	if (preflight(c))
		return 0;
	c->route = k_route_find(path, &c->rest);
	if (!c->route && c->h->o->web)
		c->route = k_page_find(path);
	if ((!c->route || c->route->auth == K_AUTH_KEY) && check_key(c, f))
		return -1;
	if (!c->route)
		return k_fault_set(f, 404, "unsupported_endpoint", NULL, "%.200s is not supported by this server", path);
	c->x.route = c->route->path;
	if (check_method(c, f) || check_type(c, f) || check_room(c, f))
		return -1;
	k_frame_begin(&c->frame, &c->head, c->route->need == K_NEED_JSON ? c->h->o->max_body : SMALL_BODY);
	return 0;
}

/* --- the answer --------------------------------------------------------------------------------------------------------------- */

/* Each answers (0) or says what is wrong (-1); body is theirs. */
typedef int handler(struct conn *c, struct k_json *body, struct k_fault *f);

/* Ready for requests? Asked often, so it costs nothing. */
static int health(struct conn *c, struct k_json *body, struct k_fault *f)
{
	struct http *h = c->h;
	struct k_err err = { 0 };
	if (h->draining) {
		k_json_free(body);
		k_fault_set(f, 503, "shutting_down", NULL, "the server is shutting down");
		f->retry_after = 5;
		return -1;
	}
	struct k_buf b;
	bool broken = k_sched_failed(h->sched, &err) != 0;
	k_json_free(body);
	if (!broken && k_selftest_state(h->selftest) != K_SELFTEST_BAD) {
		k_buf_init(&b, 0);
		if (!c->route->answer(h->s, NULL, c->rest, &b, f))
			return k_send_text(c, "application/json", &b, f);
		k_buf_fini(&b);
		return -1;
	}
	return k_fault_set(f, 503, "internal_error", NULL, broken ? "the engine has failed" : "the model is damaged");
}

static int page(struct conn *c, struct k_json *body, struct k_fault *f)
{
	const struct k_page *p = c->route->page;
	bool packed = k_page_packed(k_head_get(&c->head, "Accept-Encoding"));
	struct k_err err;
	struct k_buf b;
	char etag[24];
	k_json_free(body);
	k_page_etag(p, packed, etag);
	k_buf_printf(&c->extra, "%sETag: %s\r\n", p->headers, etag);
	if (k_page_unchanged(k_head_get(&c->head, "If-None-Match"), etag)) {
		k_send_whole(c, 304, NULL, "", 0);
		return 0;
	}
	if (packed) {
		k_buf_puts(&c->extra, "Content-Encoding: gzip\r\n");
		k_send_whole(c, 200, p->type, p->data, p->n);
		return 0;
	}
	k_buf_init(&b, 0);
	if (!k_page_unpack(p, &b, &err))
		return k_send_text(c, p->type, &b, f);
	k_buf_fini(&b);
	return k_fault_set(f, 503, "internal_error", NULL, "%s", err.msg);
}

static int metrics(struct conn *c, struct k_json *body, struct k_fault *f)
{
	struct http *h = c->h;
	struct k_sched_stats st;
	struct k_buf b;
	k_json_free(body);
	k_buf_init(&b, 0);
	k_sched_stats(h->sched, &st);
	k_metrics_put(&b, &h->metrics, h->s, &st, k_selftest_state(h->selftest));
	return k_send_text(c, "text/plain; version=0.0.4; charset=utf-8", &b, f);
}

static int slots(struct conn *c, struct k_json *body, struct k_fault *f)
{
	struct http *h = c->h;
	struct k_buf b;
	size_t n = 0;
	k_json_free(body);
	if (!h->o->slots_route)
		return k_fault_set(f, 501, "unsupported_endpoint", NULL, "this route is not open: the server was started without --slots-route");
	k_buf_init(&b, 0);
	const char *want = k_head_query(&c->head, "fail_on_no_slot", &n);
	int n_free = k_metrics_slots(&b, h->s, h->sched);
	if (n_free < 0 || (want && n == 1 && *want == '1' && !n_free)) {
		k_buf_fini(&b);
		return k_fault_set(f, 503, "overloaded", NULL, n_free < 0 ? "out of memory" : "no slot is free");
	}
	return k_send_text(c, "application/json", &b, f);
}

static int slot(struct conn *c, struct k_json *body, struct k_fault *f)
{
	size_t n = 0;
	const char *action = k_head_query(&c->head, "action", &n);
	struct k_order *o = k_calloc(1, sizeof(*o));
	int rc = o ? k_order_parse(o, c->h->s, c->rest, action, n, body, f) : k_no_memory(f);
	k_json_free(body);
	if (!rc)
		return k_call_order(c, o, f);
	k_order_free(o);
	return rc;
}

int k_route_json(const struct k_server *s, const struct k_route *r, struct k_buf *body, struct k_json **out, struct k_fault *f)
{
	bool none = r->need == K_NEED_NONE || (r->need == K_NEED_MAYBE && !body->len);
	int rc = none ? 0 : k_openai_body(out, s, body->data ? body->data : "", body->len, f);
	k_buf_fini(body);
	k_buf_init(body, 0);
	return rc;
}

void k_route_whole(struct conn *c)
{
	static handler *const handlers[] = {
		[K_ROUTE_HEALTH] = health, [K_ROUTE_PAGE] = page,
		[K_ROUTE_METRICS] = metrics, [K_ROUTE_SLOTS] = slots, [K_ROUTE_SLOT] = slot,
	};
	struct k_fault f = { 0 };
	struct k_json *body = NULL;
	if (!handlers[c->route->what]) {
		k_work_begin(c);
		return;
	}
	c->h->n_body -= c->body.cap;
	if (k_route_json(c->h->s, c->route, &c->body, &body, &f) || handlers[c->route->what](c, body, &f))
		k_send_fault(c, &f);
	if (!c->call)
		k_conn_answered(c);
}
