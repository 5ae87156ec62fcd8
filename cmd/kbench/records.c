/* records.c: --history FILE: each run appends a line for each thing it measured.
 *
 *   {"date": "2026-01-31T12:00:00Z", "what", "model": digest, "machine", "level", "threads", "placement", "waited", "commit", "act", "kv", "tokens", "item", ...};
 *   of a server its "url" and the model's "name" there
 *
 * Lines are appended whole, in one write, so that runs may share a file. A run that was killed within may leave a part of a line: it is
 * passed over by whoever reads, and the next run begins a line of its own. */
#include "libcore/base.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "cmd/kbench/records.h"
#include "libcore/io.h"

#define HISTORY_MOST (1u << 30)
static const char begins[] = "{\"date\": \"";

static const struct k_metric metrics[] = {
	{ "machine", "read_gbs", true },
	{ "decode", "tok_s", true },
	{ "prefill", "tok_s", true },
	{ "load", "ms", false },
	{ "kernels", "ns", false },
	{ "convert", "gbs", true },
	{ "serve", "tok_s", true },
	{ "serve", "ttft_ms_p50", false },
	{ "serve", "tpot_ms_p50", false },
};

const struct k_metric *k_metric_at(size_t i) { return i < K_LEN(metrics) ? &metrics[i] : NULL; }

static bool is_number(const struct k_json *v) { return k_json_kind(v) == K_JSON_INT || k_json_kind(v) == K_JSON_REAL; }

static bool measured(const char *what, const struct k_json *item)
{
	for (size_t i = 0; i < K_LEN(metrics); i++)
		if (!strcmp(metrics[i].what, what) && is_number(k_json_find(item, metrics[i].field)))
			return true;
	return false;
}

/* --- a line -------------------------------------------------------------------------------------------------------------------- */

static int put_if(struct k_json *o, const char *key, const char *s) { return s && *s ? k_put_str(o, key, s) : 0; }
static int put_count(struct k_json *o, const char *key, int64_t v) { return v ? k_put_int(o, key, v) : 0; }

/* Which server, by its address without what lets one in, and which of its models. */
static int put_server(struct k_json *o, const struct k_bench *b)
{
	const char *url = b->url ? b->url : "", *host = strstr(url, "://"), *at;
	char *bare = k_strdup(url);
	size_t n = host ? (size_t)(host + 3 - url) : 0;
	if (bare && host && (at = memchr(host + 3, '@', strcspn(host + 3, "/"))))
		memmove(bare + n, at + 1, strlen(at + 1) + 1);
	int bad = !bare || put_if(o, "url", bare) | put_if(o, "name", b->served);
	k_free(bare);
	return bad;
}

/* Date and what was run; the machine's facts stand in the summary. */
static int put_head(struct k_json *o, const struct k_bench *b, const char *what, const char *date)
{
	static const char *const facts[] = { "machine", "level", "threads", "placement", "waited", "commit", "act", "kv" };
	const struct k_json *s = k_report_summary_of(b->rep);
	int bad = k_put_str(o, "date", date) | k_put_str(o, "what", what) | put_if(o, "model", b->model_digest) |
		(strcmp(what, "serve") ? 0 : put_server(o, b)) |
		put_if(o, "file", b->file) | put_count(o, "tokens", b->tokens) | put_count(o, "slow", b->slow) |
		(b->abandon > 0 ? k_put_num(o, "abandon", b->abandon) : 0);
	for (size_t i = 0; i < K_LEN(facts) && !bad; i++)
		if (k_json_find(s, facts[i]))
			bad = k_json_set(o, facts[i], k_json_keep(k_json_find(s, facts[i])));
	return bad;
}

static int put_line(struct k_buf *out, const struct k_bench *b, const char *what, const char *date, const struct k_json *record)
{
	struct k_json *o = k_json_object(), *v;
	const char *key;
	int bad = !o || put_head(o, b, what, date);
	for (void *it = NULL; !bad && k_json_next(record, &it, &key, &v); )
		if (strcmp(key, "summary") && strcmp(key, "ok") && !k_json_find(o, key))
			bad = k_json_set(o, key, k_json_keep(v));
	if (!bad) {
		k_json_dump(out, o, 0);
		k_buf_putc(out, '\n');
	}
	k_json_free(o);
	out->failed |= bad != 0;
	return bad ? -1 : 0;
}

static int make_lines(struct k_buf *out, const struct k_bench *b, const char *what, struct k_err *err)
{
	const struct k_json *items = k_report_items(b->rep), *summary = k_report_summary_of(b->rep);
	time_t now = time(NULL);
	struct tm utc;
	char date[32] = "";
	int lines = 0, bad = 0;
	if (gmtime_r(&now, &utc))
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
	for (size_t i = 0; i < k_json_len(items) && !bad; i++)
		if (measured(what, k_json_at(items, i)) && ++lines)
			bad = put_line(out, b, what, date, k_json_at(items, i));
	if (!lines && summary)
		bad = put_line(out, b, what, date, summary);
	return bad ? k_err_nomem(err, out->len, "the records of a run") : k_buf_ok(out, "the records of a run", err);
}

/* What failed is no measurement: who computes something else is soon done, and so is who answers nothing. */
bool k_history_takes(const struct k_report *rep)
{
	const struct k_json *items = k_report_items(rep);
	for (size_t i = 0; i < k_json_len(items); i++)
		if (k_json_find(k_json_at(items, i), "why"))
			return false;
	return true;
}

/* --- the file -------------------------------------------------------------------------------------------------------------------- */

/* Does the file end within a line? K_EFORMAT: it is something else than a history. */
static int look(int fd, const char *path, bool *torn, struct k_err *err)
{
	char first[sizeof(begins)] = "", last = '\n';
	struct stat st;
	if (fstat(fd, &st) < 0)
		return k_err_io(err, "cannot read '%s'", path);
	if (!S_ISREG(st.st_mode))
		return k_err_set(err, K_EUSAGE, "--history '%s' is no file", path);
	ssize_t n = pread(fd, first, sizeof(begins) - 1, 0);
	if (n < 0 || (st.st_size && pread(fd, &last, 1, st.st_size - 1) < 0))
		return k_err_io(err, "cannot read '%s'", path);
	*torn = last != '\n';
	return memcmp(first, begins, (size_t)n) ? k_err_set(err, K_EFORMAT, "'%s' is no history of kbench: it does not begin with a record", path) : 0;
}

int k_history_append(const char *path, const struct k_bench *b, const char *what, struct k_err *err)
{
	struct k_buf lines;
	bool torn = false;
	int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return k_err_io(err, "cannot open '%s'", path);
	k_buf_init(&lines, 0);
	int r = look(fd, path, &torn, err);
	if (r == 0 && torn)
		k_buf_putc(&lines, '\n');
	if (r == 0 && b->rep)
		r = make_lines(&lines, b, what, err);
	if (r == 0 && b->rep) {
		ssize_t n;
		do
			n = write(fd, lines.data, lines.len);
		while (n < 0 && errno == EINTR);
		if (n >= 0 && (size_t)n < lines.len)
			errno = ENOSPC;
		if (n < 0 || (size_t)n < lines.len || fsync(fd) < 0)
			r = k_err_io(err, "cannot write '%s'", path);
	}
	if (close(fd) < 0 && r == 0)
		r = k_err_io(err, "cannot write '%s'", path);
	k_buf_fini(&lines);
	return r;
}

int k_history_read(const char *path, struct k_json **out, int64_t *torn, struct k_err *err)
{
	struct k_buf b;
	struct k_json *v;
	*out = k_json_array();
	*torn = 0;
	k_buf_init(&b, HISTORY_MOST);
	int r = *out ? k_read_file(path, &b, HISTORY_MOST, err) : k_err_nomem(err, 64, "a history");
	for (size_t at = 0; r == 0 && at < b.len; ) {
		const char *line = b.data + at, *end = memchr(line, '\n', b.len - at);
		size_t n = end ? (size_t)(end - line) : b.len - at;
		struct k_err why;
		at += n + 1;
		if (!n)
			continue;
		if (memcmp(line, begins, K_MIN(n, sizeof(begins) - 1)))
			r = k_err_set(err, K_EFORMAT, "'%s' is no history of kbench: its line %zu is no record", path, k_json_len(*out) + (size_t)*torn + 1);
		else if (k_json_parse(&v, line, n, K_JSON_STRICT, path, &why) == 0)
			r = k_json_push(*out, v) < 0 ? k_err_nomem(err, n, "a history") : 0;
		else if (why.code == K_ENOMEM)
			r = k_err_nomem(err, n, "a history");
		else
			++*torn;
	}
	k_buf_fini(&b);
	if (r < 0) {
		k_json_free(*out);
		*out = NULL;
	}
	return r;
}
