/* net.c: libevent's loop and buffered connections, plain or through TLS, under the names of net.h.
 *
 * Callbacks come from the loop, never from within a call of ours, but for moved(), which tells of bytes that left. Out of
 * descriptors: a spare one is closed to accept the next connection and send it away; without it the loop would spin. */
#include "libcore/base.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "libcore/log.h"
#include "cmd/kserve/net.h"
#include "cmd/kserve/tls.h"

#define TICK_US 100000
#define EVENT_DESCRIPTORS 3             /* epoll, a pair for signals */

struct k_loop {
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *tick, *wake, *hup;
	const struct k_loop_ops *ops;
	void *arg;
	int eventfd, spare;
	bool paused;
};

struct k_link {
	struct bufferevent *bev;
	struct ssl_st *tls;
	const struct k_link_ops *ops;
	void *arg;
	uint64_t t_moved;
};

/* --- the loop ----------------------------------------------------------------------------------------------------------------- */

static void on_tick(evutil_socket_t fd K_UNUSED, short what K_UNUSED, void *arg)
{
	struct k_loop *l = arg;
	if (l->spare < 0)
		l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (l->paused && !evconnlistener_enable(l->listener))
		l->paused = false;
	l->ops->tick(l->arg);
}

static void on_hup(evutil_socket_t fd K_UNUSED, short what K_UNUSED, void *arg)
{
	struct k_loop *l = arg;
	l->ops->hup(l->arg);
}

static void on_wake(evutil_socket_t fd, short what K_UNUSED, void *arg)
{
	struct k_loop *l = arg;
	uint64_t count;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	l->ops->woken(l->arg);
}

static void on_accept(struct evconnlistener *c K_UNUSED, evutil_socket_t fd, struct sockaddr *from, int len K_UNUSED, void *arg)
{
	struct k_loop *l = arg;
	l->ops->accepted(l->arg, fd, from);
}

static void on_accept_error(struct evconnlistener *c, void *arg)
{
	struct k_loop *l = arg;
	int e = errno;
	if (l->spare >= 0)
		close(l->spare);
	if (e == EMFILE && l->spare >= 0) {
		int fd = accept(evconnlistener_get_fd(c), NULL, NULL);
		if (fd >= 0) {          /* else nobody was there: the limit is looked at first */
			close(fd);
			l->ops->turned_away(l->arg, strerror(e));
		}
		l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return;
	}
	/* Nothing helps but to wait: the next tick tries again. */
	l->ops->turned_away(l->arg, strerror(e));
	l->spare = -1;
	l->paused = !evconnlistener_disable(c);
}

static int set_up(struct k_loop *l)
{
	const struct timeval tick = { .tv_usec = TICK_US };
	l->tick = event_new(l->base, -1, EV_PERSIST, on_tick, l);
	l->wake = event_new(l->base, l->eventfd, EV_READ | EV_PERSIST, on_wake, l);
	l->hup = evsignal_new(l->base, SIGHUP, on_hup, l);
	return !l->tick || !l->wake || !l->hup || event_add(l->tick, &tick) || event_add(l->wake, NULL) || event_add(l->hup, NULL);
}

/* Without the descriptors that it wants libevent ends the process, with a line and a status of its own. */
static int check_descriptors(struct k_err *err)
{
	int fds[EVENT_DESCRIPTORS], n = 0;
	while (n < EVENT_DESCRIPTORS && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	int rc = n < EVENT_DESCRIPTORS ? k_err_io(err, "cannot begin to wait for connections") : 0;
	while (n)
		close(fds[--n]);
	return rc;
}

int k_loop_new(struct k_loop **out, int fd, const struct k_loop_ops *ops, void *arg, struct k_err *err)
{
	struct k_loop *l = k_calloc(1, sizeof(*l));
	if (!l) {
		close(fd);
		return k_err_nomem(err, sizeof(*l), "the event loop");
	}
	l->ops = ops;
	l->arg = arg;
	l->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int rc = check_descriptors(err);
	l->base = rc ? NULL : event_base_new();
	if (l->base)
		l->listener = evconnlistener_new(l->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!l->listener)
		close(fd);
	if (!l->listener || l->eventfd < 0 || set_up(l)) {
		k_loop_free(l);
		return rc ? rc : k_err_set(err, K_ENOMEM, "no memory for the event loop");
	}
	evconnlistener_set_error_cb(l->listener, on_accept_error);
	*out = l;
	return 0;
}

void k_loop_free(struct k_loop *l)
{
	if (!l)
		return;
	struct event *const events[] = { l->tick, l->wake, l->hup };
	for (size_t i = 0; i < K_LEN(events); i++) {
		if (events[i])
			event_free(events[i]);
	}
	if (l->listener)
		evconnlistener_free(l->listener);
	if (l->base)
		event_base_free(l->base);
	if (l->eventfd >= 0)
		close(l->eventfd);
	if (l->spare >= 0)
		close(l->spare);
	k_free(l);
}

int k_loop_run(struct k_loop *l, struct k_err *err)
{
	return event_base_dispatch(l->base) < 0 ? k_err_set(err, K_EIO, "the event loop failed") : 0;
}

void k_loop_end(struct k_loop *l) { event_base_loopbreak(l->base); }

void k_loop_wake(struct k_loop *l)
{
	const uint64_t one = 1;
	if (write(l->eventfd, &one, sizeof(one)) < 0)
		return;                 /* the counter is full: the loop will wake anyway */
}

void k_loop_wait(struct k_loop *l, int ms)
{
	struct pollfd p = { .fd = l->eventfd, .events = POLLIN };
	poll(&p, 1, ms);
	on_wake(l->eventfd, 0, l);
}

/* --- connections -------------------------------------------------------------------------------------------------------------- */

static void on_read(struct bufferevent *b K_UNUSED, void *arg)
{
	struct k_link *k = arg;
	k->ops->input(k->arg);
}

static void on_written(struct bufferevent *b K_UNUSED, void *arg)
{
	struct k_link *k = arg;
	k->ops->sent(k->arg);
}

static void on_event(struct bufferevent *b K_UNUSED, short what, void *arg)
{
	struct k_link *k = arg;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		k->ops->gone(k->arg, (what & BEV_EVENT_ERROR) != 0);
}

static void on_output(struct evbuffer *b K_UNUSED, const struct evbuffer_cb_info *info, void *arg)
{
	struct k_link *k = arg;
	if (info->n_deleted || !info->orig_size)
		k->t_moved = k_now_ns();
	if (info->n_deleted)
		k->ops->moved(k->arg);
}

struct k_link *k_link_new(struct k_loop *l, int fd, struct ssl_st *tls, const struct k_link_ops *ops, void *arg)
{
	struct k_link *k = k_calloc(1, sizeof(*k));
	if (!k) {
		k_tls_end(tls);
		close(fd);
		return NULL;
	}
	k->bev = tls ? bufferevent_openssl_socket_new(l->base, fd, tls, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE)
		: bufferevent_socket_new(l->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!k->bev || !evbuffer_add_cb(bufferevent_get_output(k->bev), on_output, k)) {
		if (k->bev)
			bufferevent_free(k->bev);
		else
			close(fd);
		k_free(k);
		return NULL;
	}
	k->tls = tls;
	k->ops = ops;
	k->arg = arg;
	k->t_moved = k_now_ns();
	if (tls)
		bufferevent_openssl_set_allow_dirty_shutdown(k->bev, 1);
	bufferevent_setwatermark(k->bev, EV_READ, 0, K_LINK_INPUT);
	bufferevent_setcb(k->bev, on_read, on_written, on_event, k);
	bufferevent_enable(k->bev, EV_READ | EV_WRITE);
	return k;
}

void k_link_free(struct k_link *k)
{
	bufferevent_setcb(k->bev, NULL, NULL, NULL, NULL);
	evbuffer_remove_cb(bufferevent_get_output(k->bev), on_output, k);
	bufferevent_free(k->bev);
	k_free(k);
}

const char *k_link_input(struct k_link *k, size_t *n)
{
	struct evbuffer *b = bufferevent_get_input(k->bev);
	*n = evbuffer_get_length(b);
	const char *p = *n ? (const char *)evbuffer_pullup(b, -1) : NULL;
	*n = p ? *n : 0;
	return p;
}

void k_link_took(struct k_link *k, size_t n) { evbuffer_drain(bufferevent_get_input(k->bev), n); }
int k_link_write(struct k_link *k, const void *p, size_t n) { return bufferevent_write(k->bev, p, n); }
size_t k_link_unsent(const struct k_link *k) { return evbuffer_get_length(bufferevent_get_output(k->bev)); }
uint64_t k_link_moved(const struct k_link *k) { return k->t_moved; }

void k_link_finish(struct k_link *k)
{
	if (k->tls)
		k_tls_bye(k->tls);
	shutdown(bufferevent_getfd(k->bev), SHUT_WR);
}

bool k_link_left(const struct k_link *k)
{
	struct pollfd p = { .fd = bufferevent_getfd(k->bev), .events = POLLRDHUP };
	return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL);
}

const char *k_net_library(void) { return "libevent " LIBEVENT_VERSION; }
