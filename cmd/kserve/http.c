/* http.c: life of the HTTP server: what it needs is opened, the loop runs, time passes, keys and certificates are read again, and at
 * the end running requests are finished. http_int.h is the map of the other parts. */
#include "libcore/base.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "libcore/ctx.h"
#include "libcore/io.h"
#include "libcore/log.h"
#include "cmd/kserve/http_int.h"
#include "cmd/kserve/listener.h"

#define LINGER_TICKS 10                 /* for the last bytes of replies when the server ends */
#define QUIET_NS (UINT64_C(60) * 1000000000)

/* --- the loop ----------------------------------------------------------------------------------------------------------------- */

static void on_accept(void *arg, int fd, const struct sockaddr *from) { k_conn_accept(arg, fd, from); }

/* Said once a minute at most: who is out of descriptors is asked often. */
static void on_turned_away(void *arg, const char *why)
{
	struct http *h = arg;
	uint64_t now = k_now_ns();
	k_metrics_reject(&h->metrics, "no_descriptor");
	if (h->t_turned_away && now - h->t_turned_away < QUIET_NS)
		return;
	h->t_turned_away = now;
	k_logf(h->s->log, K_LOG_ERROR, "connections are turned away: %s; --max-connections may be too many for the limit on open files", why);
}
static void on_wake(void *arg)
{
	k_works_news(arg);
	k_call_news(arg);
}

/* Who comes now is told so (503), and by what port: it stays open to the end. */
static void begin_drain(struct http *h)
{
	k_logf(h->s->log, K_LOG_INFO, "shutting down: %d requests are running", k_sched_busy(h->sched));
	h->draining = true;
	h->t_drain = k_now_ns();
	k_sched_drain(h->sched);
	k_conns_drain(h);
}

static void on_tick(void *arg)
{
	struct http *h = arg;
	k_conns_tick(h);
	k_calls_tick(h);
	k_sched_failed(h->sched, &h->failed);
	if (!h->draining && (h->failed.code || (h->ctx->stop && *h->ctx->stop)))
		begin_drain(h);
	if (!h->draining)
		return;
	if (!h->aborted && k_now_ns() - h->t_drain > (uint64_t)h->o->drain * 1000000000) {
		h->aborted = true;
		k_sched_abort(h->sched);
	}
	if (!h->calls && (!h->works.n || h->aborted) && (k_conns_quiet(h) || ++h->linger > LINGER_TICKS))
		k_loop_end(h->loop);
}

/* What cannot be read stays as it was. */
static void on_hup(void *arg)
{
	struct http *h = arg;
	struct k_err err = { 0 };
	bool any = h->o->key_file || h->tls || h->access, good = true;
	if (h->o->key_file && k_keys_load(&h->keys, h->o->key_file, h->o->keys, &err)) {
		k_logf(h->s->log, K_LOG_ERROR, "the keys stay as they are: %s", err.msg);
		good = false;
	}
	if (h->tls && k_tls_reload(h->tls, &err)) {
		k_logf(h->s->log, K_LOG_ERROR, "the certificate stays as it is: %s", err.msg);
		good = false;
	}
	if (h->access && k_access_reopen(h->access, &err)) {
		k_logf(h->s->log, K_LOG_ERROR, "the access log stays as it is: %s", err.msg);
		good = false;
	}
	if (any && good)
		k_logf(h->s->log, K_LOG_INFO, "keys, certificate and access log are read and opened again");
}

/* --- life --------------------------------------------------------------------------------------------------------------------- */

static int write_port(const char *path, int port, struct k_err *err)
{
	struct k_sink *sink;
	char line[16];
	int n = snprintf(line, sizeof(line), "%d\n", port);
	int rc = k_sink_open(&sink, path, err);
	if (rc)
		return rc;
	rc = k_sink_write(sink, line, (size_t)n, err);
	if (!rc)
		rc = k_sink_commit(sink, err);
	k_sink_close(sink);
	return rc;
}

static int set_up(struct http *h, struct k_listener *l, struct k_err *err)
{
	static const struct k_loop_ops ops = { on_accept, on_turned_away, on_wake, on_tick, on_hup };
	const struct k_http_opts *o = h->o;
	int rc = o->key_file || o->keys ? k_keys_load(&h->keys, o->key_file, o->keys, err) : 0;
	if (!rc && o->cert)
		rc = k_tls_open(&h->tls, o->cert, o->tls_key, err);
	if (!rc && o->access)
		rc = k_access_open(&h->access, o->access, h->s->log, err);
	if (!rc)
		rc = k_listener_open(l, o->listen, h->tls != NULL, err);
	if (!rc && l->open_to_others && !h->keys.n && !o->insecure)
		rc = k_err_set(err, K_EUSAGE, "--listen %s can be reached from other machines, which needs --api-key-file, or --insecure", o->listen);
	if (!rc) {
		rc = k_loop_new(&h->loop, l->fd, &ops, h, err);
		l->fd = -1;
	}
	if (!rc)
		rc = k_works_open(h, err);
	if (!rc && o->model)
		rc = k_selftest_begin(&h->selftest, o->model, h->ctx, err);
	if (!rc && o->port_file)
		rc = write_port(o->port_file, l->port, err);
	return rc;
}

static void tear_down(struct http *h)
{
	k_selftest_end(h->selftest);
	for (struct conn *c = h->conns; c; c = c->next)
		k_conn_close(c);
	k_conns_bury(h);
	k_works_end(h);
	/* The engine still speaks to calls whose clients are gone. */
	while (h->calls) {
		k_sched_abort(h->sched);
		k_loop_wait(h->loop, 10);
	}
	k_loop_free(h->loop);
	k_tls_close(h->tls);
	k_access_close(h->access);
	k_keys_fini(&h->keys);
	pthread_mutex_destroy(&h->lock);
	pthread_mutex_destroy(&h->works.lock);
	pthread_cond_destroy(&h->works.more);
}

int k_http_run(const struct k_server *s, struct k_sched *sched, const struct k_http_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct http *h = k_calloc(1, sizeof(*h));
	struct k_listener l = { .fd = -1 };
	if (!h)
		return k_err_nomem(err, sizeof(*h), "the HTTP server");
	h->s = s;
	h->sched = sched;
	h->o = o;
	h->ctx = ctx;
	h->metrics.started = (int64_t)time(NULL);
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->works.lock, NULL);
	pthread_cond_init(&h->works.more, NULL);
	h->works.last = &h->works.first;
	signal(SIGPIPE, SIG_IGN);
	int rc = set_up(h, &l, err);
	if (!rc) {
		k_logf(s->log, K_LOG_INFO, "listening on %s", l.url);
		rc = k_loop_run(h->loop, err);
	}
	tear_down(h);
	k_listener_fini(&l);
	if (l.fd >= 0)
		close(l.fd);
	if (!rc && h->failed.code) {
		*err = h->failed;
		rc = h->failed.code;
	}
	k_free(h);
	return rc;
}

const char *k_http_library(void) { return k_net_library(); }
