/* access.c: lines are written whole, each by one write, so that several programs may append to one file. */
#include "libcore/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "libcore/json.h"
#include "libcore/log.h"
#include "cmd/kserve/access.h"

struct k_access { int fd; char *path; struct k_log *log; bool losing; };

static int open_log(const char *path, int *fd, struct k_err *err)
{
	*fd = strcmp(path, "-") ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640) : fcntl(1, F_DUPFD_CLOEXEC, 3);
	return *fd < 0 ? k_err_io(err, "cannot write the access log '%s'", path) : 0;
}

int k_access_open(struct k_access **out, const char *path, struct k_log *log, struct k_err *err)
{
	struct k_access *a = k_calloc(1, sizeof(*a));
	if (!a || !(a->path = k_strdup(path))) {
		k_free(a);
		return k_err_nomem(err, sizeof(*a), "the access log");
	}
	int rc = open_log(path, &a->fd, err);
	if (rc) {
		k_free(a->path);
		k_free(a);
		return rc;
	}
	a->log = log;
	*out = a;
	return 0;
}

int k_access_reopen(struct k_access *a, struct k_err *err)
{
	int fd, rc = open_log(a->path, &fd, err);
	if (rc)
		return rc;
	close(a->fd);
	a->fd = fd;
	return 0;
}

void k_access_close(struct k_access *a)
{
	if (!a)
		return;
	close(a->fd);
	k_free(a->path);
	k_free(a);
}

static void put_text(struct k_buf *b, const char *name, const char *s)
{
	k_buf_printf(b, ",\"%s\":", name);
	if (s)
		k_json_quote(b, s, strlen(s));
	else
		k_buf_puts(b, "null");
}

/* Milliseconds between two times, null where the second never came. */
static void put_ms(struct k_buf *b, const char *name, uint64_t from, uint64_t to)
{
	if (from && to >= from)
		k_buf_printf(b, ",\"%s\":%.3f", name, (double)(to - from) / 1e6);
	else
		k_buf_printf(b, ",\"%s\":null", name);
}

static void put_time(struct k_buf *b)
{
	struct timespec now;
	struct tm tm;
	char text[32];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	k_buf_printf(b, "{\"time\":\"%s.%03ldZ\"", text, now.tv_nsec / 1000000);
}

/* A full disk is no reason to answer nobody; but it is said, once each time that it fills. */
static void put_line(struct k_access *a, const struct k_buf *b)
{
	bool lost = b->failed || write(a->fd, b->data, b->len) != (ssize_t)b->len;
	if (lost && !a->losing)
		k_logf(a->log, K_LOG_WARN, "cannot write the access log '%s': %s; its lines are lost until it can", a->path, b->failed ? "no memory" : strerror(errno));
	else if (!lost && a->losing)
		k_logf(a->log, K_LOG_INFO, "the access log '%s' is written again", a->path);
	a->losing = lost;
}

void k_access_put(struct k_access *a, const char *model, const struct k_exchange *x)
{
	struct k_buf b;
	const struct k_spent *s = &x->spent;
	if (!a)
		return;
	k_buf_init(&b, 0);
	put_time(&b);
	put_text(&b, "id", x->id);
	put_text(&b, "address", x->address);
	put_text(&b, "key", *x->label ? x->label : NULL);
	put_text(&b, "method", x->method);
	put_text(&b, "route", x->route);
	k_buf_printf(&b, ",\"status\":%d", x->gone ? 499 : x->status);
	put_text(&b, "model", model);
	k_buf_printf(&b, ",\"prompt_tokens\":%" PRId64 ",\"cached_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64, s->prompt, s->cached,
		s->made);
	put_ms(&b, "queue_ms", x->t_start, s->t_admitted);
	put_ms(&b, "ttft_ms", x->t_start, s->t_first);
	put_ms(&b, "total_ms", x->t_start, k_now_ns());
	put_text(&b, "finish_reason", s->finish);
	k_buf_printf(&b, ",\"bytes\":%" PRIu64 "}\n", x->bytes);
	put_line(a, &b);
	k_buf_fini(&b);
}
