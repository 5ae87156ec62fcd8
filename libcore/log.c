/* log.c: one write() a line, so that lines of threads and of processes in a pipe do not mix. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "libcore/opt.h"
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 1024, EVERY_NS = 500000000 };

static const char *const level_names[] = { "error", "warning", "info", "debug" };

uint64_t k_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void k_log_init(struct k_log *log, const char *tool)
{
	*log = (struct k_log){ .tool = tool, .level = K_LOG_INFO, .fd = 2 };
	pthread_mutex_init(&log->lock, NULL);
}

void k_log_fini(struct k_log *log) { pthread_mutex_destroy(&log->lock); }

/* Nobody can be told that standard error is gone. */
static void emit(struct k_log *log, const char *p, size_t n)
{
	ssize_t did;

	for (; n > 0; p += did, n -= (size_t)did) {
		did = write(log->fd, p, n);
		if (did <= 0)
			return;
	}
}

static void wipe_meter(struct k_log *log)
{
	if (log->meter_drawn)
		emit(log, "\r\033[K", 4);
	log->meter_drawn = false;
}

/* Text into a JSON string; what is not printable ASCII or valid UTF-8 is dropped to '?', so that a line is
 * always valid. */
static size_t quote(char *out, size_t room, const char *s)
{
	size_t at = 0;

	for (; *s && at + 8 < room; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			out[at++] = '\\';
		out[at++] = c < 32 || c == 127 ? '?' : (char)c;
	}
	out[at] = 0;
	return at;
}

static void json_line(struct k_log *log, enum k_log_level level, const char *msg)
{
	char line[2 * LINE + 200], text[2 * LINE], stamp[32];
	struct timespec now;
	struct tm tm;
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
	quote(text, sizeof text, msg);
	n = snprintf(line, sizeof line,
		"{\"time\": \"%s.%03ldZ\", \"level\": \"%s\", \"tool\": \"%s\", \"msg\": \"%s\"}\n", stamp,
		now.tv_nsec / 1000000, level_names[level], log->tool, text);
	emit(log, line, (size_t)K_MIN(n, (int)sizeof line - 1));
}

void k_logf(struct k_log *log, enum k_log_level level, const char *fmt, ...)
{
	char msg[LINE], line[LINE + 80];
	va_list ap;
	int n;

	if (!log || level > log->level)
		return;
	va_start(ap, fmt);
	n = vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof msg) {
		/* Cut between characters. */
		n = (int)sizeof msg - 4;
		while (n > 0 && ((unsigned char)msg[n] & 0xc0) == 0x80)
			n--;
		memcpy(msg + n, "...", 4);
	}
	for (char *c = msg; *c; c++)
		if ((unsigned char)*c < 32 || *c == 127)
			*c = '?';
	pthread_mutex_lock(&log->lock);
	wipe_meter(log);
	if (log->json) {
		json_line(log, level, msg);
	} else {
		n = snprintf(line, sizeof line, "%s: %s%s\n", log->tool,
			level == K_LOG_WARN ? "warning: " : "", msg);
		emit(log, line, (size_t)K_MIN(n, (int)sizeof line - 1));
	}
	pthread_mutex_unlock(&log->lock);
}

static void amount(char buf[32], const struct k_progress *p, double n)
{
	if (n < 0)
		n = 0;
	if (!strcmp(p->unit, "bytes"))
		k_size_format(buf, (uint64_t)n);
	else
		snprintf(buf, 32, "%.*f %s", n < 10 && n != (double)(uint64_t)n ? 1 : 0, n, p->unit);
}

/* Columns of the terminal now, for windows change; what most have where nobody says. */
static int columns(int fd)
{
	struct winsize w;

	return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

/* A job in the background leaves the terminal to who has it. */
static bool in_background(int fd)
{
	pid_t owner = tcgetpgrp(fd);

	return owner >= 0 && owner != getpgrp();
}

/* A line that is wider than the terminal goes on in the next one, from which \r does not come back: each redraw would leave a line. */
static void draw_meter(const struct k_progress *p, double s, double n_done, double n_total)
{
	struct k_log *log = p->log;
	char text[256], line[sizeof text + 8], done[32], total[32], rate[32], left[32] = "";
	int width = columns(log->fd) - 1, n;

	if (in_background(log->fd))
		return;
	amount(done, p, n_done);
	amount(total, p, n_total);
	amount(rate, p, s > 0 ? n_done / s : 0);
	if (n_done > 0 && s > 1) {
		uint64_t t = (uint64_t)((n_total - n_done) * s / n_done);

		snprintf(left, sizeof left, ", %llu:%02llu left", (unsigned long long)(t / 60), (unsigned long long)(t % 60));
	}
	n = snprintf(text, sizeof text, "%s: %s %.100s of %s, %s/s%s", log->tool, p->what, done, total, rate, left);
	if (n > width)
		snprintf(text, sizeof text, "%s of %s%s", done, total, left);
	n = snprintf(line, sizeof line, "\r%.*s\033[K", width, text);
	emit(log, line, (size_t)n);
	log->meter_drawn = true;
}

static void draw(struct k_progress *p, uint64_t now, bool last)
{
	struct k_log *log = p->log;
	char line[256];
	uint64_t n_done = p->done, n_total = K_MAX(p->total, n_done);
	int n;

	pthread_mutex_lock(&log->lock);
	if (log->progress == K_PROGRESS_JSON) {
		n = snprintf(line, sizeof line,
			"{\"event\":\"progress\",\"done\":%llu,\"total\":%llu,\"unit\":\"%s\"}\n",
			(unsigned long long)n_done, (unsigned long long)(last ? n_done : n_total), p->unit);
		emit(log, line, (size_t)K_MIN(n, (int)sizeof line - 1));
	} else if (last) {
		wipe_meter(log);
	} else {
		draw_meter(p, (double)(now - p->start_ns) * 1e-9, (double)n_done, (double)n_total);
	}
	pthread_mutex_unlock(&log->lock);
}

void k_progress_begin(
	struct k_progress *p, struct k_log *log, const char *what, uint64_t total, const char *unit)
{
	*p = (struct k_progress){ log, what, unit, 0, total, k_now_ns(), 0 };
	p->next_ns = p->start_ns + EVERY_NS;
}

/* Any thread may step; whoever moves next_ns on draws. */
void k_progress_step(struct k_progress *p, uint64_t n)
{
	uint64_t now, next = __atomic_load_n(&p->next_ns, __ATOMIC_RELAXED);

	__atomic_add_fetch(&p->done, n, __ATOMIC_RELAXED);
	if (!p->log || p->log->progress == K_PROGRESS_NONE)
		return;
	now = k_now_ns();
	if (now >= next && __atomic_compare_exchange_n(&p->next_ns, &next, now + EVERY_NS, false,
				   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		draw(p, now, false);
}

void k_progress_end(struct k_progress *p)
{
	if (p->log && p->log->progress != K_PROGRESS_NONE)
		draw(p, k_now_ns(), true);
}
