/* client.c: see client.h. libcurl's multi interface; each call in flight has one easy handle, taken from a stack of idle ones so that
 * connections stay open.
 *
 * Waiting between tries: half a second, doubled each time up to 8 seconds, or what Retry-After says (up to two minutes). */
#include "libcore/base.h"
#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "evals/client.h"
#include "evals/said.h"
#include "evals/sse.h"
#include "libcore/log.h"

#define ANSWER_MAX (256u << 20)
#define EVENT_MAX (16u << 20)
#define NO_STREAM_MAX 65536         /* of an answer in which no event was found so far */
#define RETRY_MOST 120.0
#define LATE_NS 20000000u         /* by so much a call may be late without the next ones being so too */
enum { TRIES = 6, TIMEOUT = 600, CONNECT_SECONDS = 30 };

struct k_call_state {
	struct k_call *call;
	struct k_call_state *next;
	CURL *easy;                     /* NULL: not in flight */
	struct k_buf answer;
	struct k_sse sse;
	uint64_t not_before;            /* ns */
	bool stopped, full, done, any;  /* the caller has enough; too large; [DONE] was there; an event was */
};

struct k_client {
	struct k_client_opts o;
	char *url, *host;               /* without a slash at the end; host: up to the path */
	struct curl_slist *headers;
	CURLM *multi;
	CURL **idle;
	int64_t n_idle, n_flying;
	struct k_call_state *waiting, *flying, *back;
	uint64_t next_ns;               /* when the rate allows the next call */
};

/* --- lists ----------------------------------------------------------------------------------------------------------------- */

static void put_last(struct k_call_state **list, struct k_call_state *s)
{
	while (*list)
		list = &(*list)->next;
	s->next = NULL;
	*list = s;
}

static bool take(struct k_call_state **list, struct k_call_state *s)
{
	for (; *list; list = &(*list)->next)
		if (*list == s) {
			*list = s->next;
			return true;
		}
	return false;
}

/* --- what curl calls ------------------------------------------------------------------------------------------------------- */

static int on_event(void *arg, const char *data, size_t n)
{
	struct k_call_state *s = arg;
	s->any = true;
	s->done |= n == 6 && !memcmp(data, "[DONE]", 6);
	s->stopped = s->call->event(s->call, data, n) != 0;
	return s->stopped;
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
	struct k_call_state *s = arg;
	long status = 0;
	n *= size;
	curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
	if (s->call->event && status == 200) {
		int r = k_sse_put(&s->sse, p, n);
		s->full = r < 0;
		if (!s->any && s->answer.len < NO_STREAM_MAX)
			k_buf_put(&s->answer, p, n);
		return r ? CURL_WRITEFUNC_ERROR : n;
	}
	k_buf_put(&s->answer, p, n);
	s->full = s->answer.failed;
	return s->full ? CURL_WRITEFUNC_ERROR : n;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	static const char name[] = "retry-after:";
	struct k_call_state *s = arg;
	char text[32], *end;
	n *= size;
	if (n > sizeof(name) - 1 && n - sizeof(name) + 1 < sizeof(text) && !strncasecmp(p, name, sizeof(name) - 1)) {
		memcpy(text, p + sizeof(name) - 1, n - sizeof(name) + 1);
		text[n - sizeof(name) + 1] = 0;
		double x = strtod(text, &end);
		if (end != text && x >= 0)
			s->call->retry_after = K_MIN(x, RETRY_MOST);
	}
	return n;
}

/* --- one try --------------------------------------------------------------------------------------------------------------- */

/* A slow reader takes little at a time, so that the server feels it. */
static int small_window(void *arg, curl_socket_t fd, curlsocktype type)
{
	int n = 4096;
	(void)arg;
	(void)type;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n, sizeof(n));
	return CURL_SOCKOPT_OK;
}

static int make_url(const struct k_client *c, const struct k_call *call, struct k_buf *b, struct k_err *err)
{
	bool host = call->path[0] == '/' && call->path[1] == '/';
	k_buf_puts(b, host ? c->host : c->url);
	k_buf_puts(b, call->path + host);
	return k_buf_ok(b, "a URL", err);
}

/* At least 1: 0 is none at all. */
static long timeout_ms(double seconds) { return (long)fmin(fmax(ceil(seconds * 1000), 1), INT32_MAX); }

/* Why libcurl does not begin a call. */
static int no_call(const struct k_client *c, size_t n, CURLcode code, struct k_err *err)
{
	if (code == CURLE_OUT_OF_MEMORY)
		return k_err_nomem(err, n, "a request");
	return k_err_set(err, K_EIO, "'%s': libcurl: %s", c->url, curl_easy_strerror(code));
}

/* Unless something went wrong before. */
#define SET(option, value) (bad = bad ? bad : curl_easy_setopt(e, option, value))

static int set_up(struct k_client *c, struct k_call_state *s, struct k_err *err)
{
	const struct k_call *call = s->call;
	struct k_buf url;
	CURL *e = s->easy;
	k_buf_init(&url, 0);
	int r = make_url(c, call, &url, err);
	CURLcode bad = r < 0 ? CURLE_OUT_OF_MEMORY : CURLE_OK;
	SET(CURLOPT_URL, url.data);
	k_buf_fini(&url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTPHEADER, c->headers);
	SET(CURLOPT_WRITEFUNCTION, on_data);
	SET(CURLOPT_WRITEDATA, s);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, s);
	SET(CURLOPT_PRIVATE, s);
	SET(CURLOPT_TIMEOUT_MS, timeout_ms(c->o.timeout));
	SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
	if (call->read_rate) {
		SET(CURLOPT_MAX_RECV_SPEED_LARGE, (curl_off_t)call->read_rate);
		SET(CURLOPT_SOCKOPTFUNCTION, small_window);
		SET(CURLOPT_FRESH_CONNECT, 1L);
	}
	if (call->body) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->n_body);
		SET(CURLOPT_POSTFIELDS, call->body);
	}
	return r < 0 ? r : bad ? no_call(c, call->n_body, bad, err) : 0;
}

static int start(struct k_client *c, struct k_call_state *s, struct k_err *err)
{
	s->easy = c->n_idle ? c->idle[--c->n_idle] : curl_easy_init();
	if (!s->easy)
		return k_err_nomem(err, 4096, "a connection");
	k_buf_reset(&s->answer);
	k_sse_reset(&s->sse);
	s->stopped = s->full = s->done = s->any = false;
	s->call->retry_after = -1;
	if (s->call->tries && s->call->again)
		s->call->again(s->call);
	s->call->tries++;
	s->call->status = 0;
	s->call->broke = false;
	s->call->err = (struct k_err){ 0 };
	s->call->sent_ns = k_now_ns();
	int r = set_up(c, s, err);
	CURLMcode m = r == 0 ? curl_multi_add_handle(c->multi, s->easy) : CURLM_OK;
	if (m != CURLM_OK)
		r = m == CURLM_OUT_OF_MEMORY ? k_err_nomem(err, 4096, "a connection") : k_err_set(err, K_EIO, "'%s': libcurl: %s", c->url, curl_multi_strerror(m));
	c->n_flying += r == 0;
	return r;
}

static void land(struct k_client *c, struct k_call_state *s)
{
	curl_multi_remove_handle(c->multi, s->easy);
	curl_easy_reset(s->easy);
	if (c->n_idle < c->o.concurrency)
		c->idle[c->n_idle++] = s->easy;
	else
		curl_easy_cleanup(s->easy);
	s->easy = NULL;
	c->n_flying--;
}

/* --- how it ended ------------------------------------------------------------------------------------------------------------ */

/* What the server says about it: its error, or the text. */
static void server_says(const struct k_call_state *s, char *out, size_t n)
{
	const char *text = k_said_error(s->call->json);
	if (!text)
		text = k_json_string(k_json_find(s->call->json, "detail"));
	if ((!text || text == k_said_nothing) && s->answer.len)
		text = s->answer.data;
	snprintf(out, n, "%.200s", text && *text ? text : k_said_nothing);
}

/* A stream that did not end as one. A whole JSON value in its place is what the server has to say, and another try would be told the same. */
static void judge_stream(struct k_call_state *s, const char *url)
{
	struct k_call *call = s->call;
	struct k_err ignored;
	char says[256];
	if (s->any || k_json_parse(&call->json, s->answer.len ? s->answer.data : "", s->answer.len, K_JSON_LAST_WINS | K_JSON_NUL, url, &ignored) < 0) {
		call->json = NULL;
		k_err_set(&call->err, K_EIO, "%s: the stream ends without [DONE]", url);
		return;
	}
	server_says(s, says, sizeof(says));
	k_err_set(&call->err, K_EFORMAT, "%s: %s: %s", url, k_said_error(call->json) ? "the answer is an error" : "the answer is no stream", says);
}

static void judge(struct k_client *c, struct k_call_state *s, CURLcode code)
{
	struct k_call *call = s->call;
	struct k_err ignored, *err = &call->err;
	char says[256];
	long status = 0;
	curl_off_t reached = 0;
	struct k_buf url;
	k_buf_init(&url, 0);
	const char *u = make_url(c, call, &url, &ignored) < 0 ? c->url : url.data;
	curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(s->easy, CURLINFO_PRETRANSFER_TIME_T, &reached);
	call->status = (int)status;
	call->broke = (code != CURLE_OK || (status == 200 && call->event && !s->done)) && reached > 0;
	call->done_ns = k_now_ns();
	k_json_free(call->json);
	call->json = NULL;
	if (s->stopped)
		k_err_set(err, K_ECANCEL, "%s: no more was wanted", u);
	else if (s->full)
		k_err_set(err, K_EFORMAT, "%s: the answer is too large", u);
	else if (code != CURLE_OK)
		k_err_set(err, K_EIO, "%s: %s", u, curl_easy_strerror(code));
	else if (status == 200 && call->event) {
		if (!s->done)
			judge_stream(s, u);
	} else {
		int r = k_json_parse(&call->json, s->answer.len ? s->answer.data : "", s->answer.len, K_JSON_LAST_WINS | K_JSON_NUL, u, &ignored);
		if (r < 0)
			call->json = NULL;
		server_says(s, says, sizeof(says));
		if (status != 200)
			k_err_set(err, K_EIO, "%s: status %ld: %s", u, status, says);
		else if (r < 0)
			k_err_set(err, K_EFORMAT, "%s: the answer is no JSON: %s", u, ignored.msg);
	}
	k_buf_fini(&url);
}

bool k_client_may_retry(const struct k_call *call)
{
	int s = call->status;
	return call->err.code == K_EIO && (s == 0 || s == 200 || s == 408 || s == 409 || s == 429 || s >= 500);
}

static void ended(struct k_client *c, struct k_call_state *s, CURLcode code)
{
	judge(c, s, code);
	land(c, s);
	take(&c->flying, s);
	if (s->call->once || s->call->tries >= c->o.tries || !k_client_may_retry(s->call)) {
		put_last(&c->back, s);
		return;
	}
	double wait = s->call->retry_after;
	if (wait < 0)
		wait = K_MIN(0.5 * (double)(1 << K_MIN(s->call->tries - 1, 8)), 8);
	s->not_before = k_now_ns() + (uint64_t)(wait * 1e9);
	put_last(&c->waiting, s);
}

/* --- the loop ---------------------------------------------------------------------------------------------------------------- */

/* Starts what may start; *wait: nanoseconds until the next one may. */
static int start_some(struct k_client *c, uint64_t *wait, struct k_err *err)
{
	uint64_t now = k_now_ns();
	*wait = UINT64_MAX;
	for (struct k_call_state *s = c->waiting, *next; s && c->n_flying < c->o.concurrency; s = next) {
		uint64_t at = K_MAX(s->not_before, c->next_ns);
		next = s->next;
		if (at > now) {
			*wait = K_MIN(*wait, at - now);
			continue;
		}
		int r = start(c, s, err);
		if (r < 0)
			return r;
		take(&c->waiting, s);
		put_last(&c->flying, s);
		if (c->o.rate > 0)
			c->next_ns = K_MAX(c->next_ns, now - K_MIN(now, LATE_NS)) + (uint64_t)fmin(1e9 / c->o.rate, 1e18);
	}
	return 0;
}

static int turn(struct k_client *c, uint64_t most, struct k_err *err)
{
	CURLMsg *msg;
	int running, left;
	uint64_t wait;
	int r = start_some(c, &wait, err);
	if (r < 0)
		return r;
	CURLMcode m = curl_multi_perform(c->multi, &running);
	while (m == CURLM_OK && (msg = curl_multi_info_read(c->multi, &left))) {
		void *s = NULL;
		CURLcode code = msg->data.result;
		if (msg->msg == CURLMSG_DONE && curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &s) == CURLE_OK && s)
			ended(c, s, code);
	}
	if (m == CURLM_OK && !c->back && most) {
		wait = K_MIN(K_MIN(wait, most), 100000000u);
		m = curl_multi_poll(c->multi, NULL, 0, (int)(wait / 1000000) + 1, NULL);
	}
	return m == CURLM_OK ? 0 : k_err_set(err, K_EIO, "'%s': %s", c->url, curl_multi_strerror(m));
}

int k_client_next(struct k_client *c, int timeout_ms, struct k_call **done, struct k_err *err)
{
	uint64_t end = timeout_ms < 0 ? UINT64_MAX : k_now_ns() + (uint64_t)timeout_ms * 1000000u;
	*done = NULL;
	while (!c->back) {
		uint64_t now = k_now_ns();
		if (c->o.stop && *c->o.stop)
			return k_err_set(err, K_ECANCEL, "stopped by a signal");
		if (timeout_ms < 0 && !c->waiting && !c->flying)
			return 0;
		int r = turn(c, end > now ? end - now : 0, err);
		if (r < 0)
			return r;
		if (!c->back && k_now_ns() >= end)
			return 0;
	}
	struct k_call_state *s = c->back;
	c->back = s->next;
	*done = s->call;
	k_client_drop(c, s->call);
	return 0;
}

int k_client_send(struct k_client *c, struct k_call *call, struct k_err *err)
{
	struct k_call_state *s = k_calloc(1, sizeof(*s));
	if (!s)
		return k_err_nomem(err, sizeof(*s), "a call");
	k_buf_init(&s->answer, ANSWER_MAX);
	k_sse_init(&s->sse, EVENT_MAX, on_event, s);
	s->call = call;
	call->state = s;
	s->not_before = call->after > 0 ? k_now_ns() + (uint64_t)(call->after * 1e9) : 0;
	call->tries = 0;
	call->json = NULL;
	put_last(&c->waiting, s);
	return 0;
}

void k_client_drop(struct k_client *c, struct k_call *call)
{
	struct k_call_state *s = call->state;
	if (!s)
		return;
	if (s->easy)
		land(c, s);
	take(&c->waiting, s);
	take(&c->flying, s);
	take(&c->back, s);
	k_buf_fini(&s->answer);
	k_sse_fini(&s->sse);
	k_free(s);
	call->state = NULL;
}

int k_client_ask(struct k_client *c, struct k_call *call, struct k_err *err)
{
	struct k_call *done;
	int r = k_client_send(c, call, err);
	if (r == 0)
		r = k_client_next(c, -1, &done, err);
	if (r < 0) {
		k_client_drop(c, call);
		return r;
	}
	if (call->err.code)
		*err = call->err;
	else if (k_said_error(call->json))
		return k_err_set(err, K_EIO, "%s%s: the answer is an error: %.200s", call->path[1] == '/' ? c->host : c->url, call->path + (call->path[1] == '/'),
			k_said_error(call->json));
	return call->err.code;
}

/* --- life -------------------------------------------------------------------------------------------------------------------- */

static int put_headers(struct k_client *c, struct k_err *err)
{
	static const char *const fixed[] = { "Content-Type: application/json", "Accept: application/json, text/event-stream", "Expect:" };
	const char *key = getenv("OPENAI_API_KEY");
	struct curl_slist *list;
	for (size_t i = 0; i < K_LEN(fixed); i++) {
		if (!(list = curl_slist_append(c->headers, fixed[i])))
			return k_err_nomem(err, 64, "headers");
		c->headers = list;
	}
	if (!key || !*key)
		return 0;
	struct k_buf b;
	k_buf_init(&b, 0);
	k_buf_printf(&b, "Authorization: Bearer %s", key);
	list = b.failed ? NULL : curl_slist_append(c->headers, b.data);
	k_buf_fini(&b);
	if (!list)
		return k_err_nomem(err, 64, "headers");
	c->headers = list;
	return 0;
}

/* What libcurl would refuse with each call: a port that is none, a space, ... */
static int check_url(const char *url, struct k_err *err)
{
	CURLU *u = curl_url();
	CURLUcode code = u ? curl_url_set(u, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
	curl_url_cleanup(u);
	if (code == CURLUE_OUT_OF_MEMORY)
		return k_err_nomem(err, strlen(url), "a URL");
	return code == CURLUE_OK ? 0 : k_err_set(err, K_EUSAGE, "-u '%s' is no URL, wanted one such as http://127.0.0.1:8080/v1: %s", url, curl_url_strerror(code));
}

static int split_url(struct k_client *c, const char *url, struct k_err *err)
{
	const char *host = strstr(url, "://");
	if (!host || (strncmp(url, "http://", 7) && strncmp(url, "https://", 8)) || !host[3] || host[3] == '/')
		return k_err_set(err, K_EUSAGE, "-u '%s' is no URL, wanted one such as http://127.0.0.1:8080/v1", url);
	if (check_url(url, err) < 0)
		return err->code;
	size_t n = strlen(url), h = strcspn(host + 3, "/") + (size_t)(host + 3 - url);
	while (n && url[n - 1] == '/')
		n--;
	c->url = k_strndup(url, n);
	c->host = k_strndup(url, h);
	return c->url && c->host ? 0 : k_err_nomem(err, n, "a URL");
}

int k_client_new(struct k_client **out, const struct k_client_opts *o, struct k_err *err)
{
	struct k_client *c = k_calloc(1, sizeof(*c));
	*out = NULL;
	if (!c)
		return k_err_nomem(err, sizeof(*c), "a client");
	c->o = *o;
	c->o.concurrency = K_MAX(o->concurrency, 1);
	c->o.tries = o->tries ? o->tries : TRIES;
	c->o.timeout = o->timeout > 0 ? o->timeout : TIMEOUT;
	int r = split_url(c, o->url, err);
	if (r == 0 && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		r = k_err_set(err, K_EIO, "libcurl does not start");
	if (r == 0)
		r = put_headers(c, err);
	c->multi = r == 0 ? curl_multi_init() : NULL;
	c->idle = k_calloc((size_t)c->o.concurrency, sizeof(*c->idle));
	if (r == 0 && (!c->multi || !c->idle || curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)c->o.concurrency + 4) != CURLM_OK))
		r = k_err_nomem(err, 4096, "a client");
	if (r < 0) {
		k_client_free(c);
		return r;
	}
	*out = c;
	return 0;
}

void k_client_free(struct k_client *c)
{
	if (!c)
		return;
	while (c->waiting)
		k_client_drop(c, c->waiting->call);
	while (c->flying)
		k_client_drop(c, c->flying->call);
	while (c->back)
		k_client_drop(c, c->back->call);
	while (c->n_idle)
		curl_easy_cleanup(c->idle[--c->n_idle]);
	curl_multi_cleanup(c->multi);
	curl_slist_free_all(c->headers);
	k_free(c->idle);
	k_free(c->url);
	k_free(c->host);
	k_free(c);
}

const char *k_client_url(const struct k_client *c) { return c->url; }
const char *k_client_host(const struct k_client *c) { return c->host; }
const char *k_client_library(void) { return curl_version(); }
