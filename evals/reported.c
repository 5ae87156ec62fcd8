/* reported.c: see reported.h. */
#include "libcore/base.h"
#include "evals/reported.h"
#include "libcore/io.h"

enum { REPORT_MOST = 1 << 30 };

/* --- reading ----------------------------------------------------------------------------------------------------------------- */

static int take(struct k_reported *r, struct k_json *v, struct k_err *err)
{
	const char *name = k_json_string(k_json_find(v, "item"));
	size_t n = k_json_len(r->items);
	if (r->summary) {
		k_json_free(v);
		return k_err_set(err, K_EFORMAT, "'%s' is no report of keval: it goes on behind its summary", r->path);
	}
	if (k_json_bool(k_json_find(v, "summary"))) {
		r->summary = v;
		return 0;
	}
	if (!name) {
		k_json_free(v);
		return k_err_set(err, K_EFORMAT, "'%s' is no report of keval: line %zu has no item", r->path, n + (r->head != NULL) + 1);
	}
	if (strcmp(name, "run"))
		return k_json_push(r->items, v) < 0 ? k_err_nomem(err, 64, "a report") : 0;
	if (r->head || n) {
		k_json_free(v);
		return k_err_set(err, K_EFORMAT, "'%s' is no report of keval: its head is not its first line", r->path);
	}
	r->head = v;
	return 0;
}

int k_reported_read(struct k_reported *r, const char *path, struct k_err *err)
{
	struct k_buf b;
	*r = (struct k_reported){ .path = path, .items = k_json_array() };
	k_buf_init(&b, REPORT_MOST);
	int e = r->items ? k_read_file(path, &b, REPORT_MOST, err) : k_err_nomem(err, 64, "a report");
	for (size_t at = 0; e == 0 && at < b.len; ) {
		const char *line = b.data + at, *end = memchr(line, '\n', b.len - at);
		size_t n = end ? (size_t)(end - line) : b.len - at;
		struct k_json *v;
		e = k_json_parse(&v, line, n, K_JSON_STRICT, path, err);
		if (e == 0)
			e = take(r, v, err);
		at += n + 1;
	}
	k_buf_fini(&b);
	if (e == 0 && !r->summary)
		e = k_err_set(err, K_EFORMAT, "'%s' has no summary: the run did not end, or it is no report of keval", path);
	return e;
}

void k_reported_fini(struct k_reported *r)
{
	k_json_free(r->head);
	k_json_free(r->items);
	k_json_free(r->summary);
	*r = (struct k_reported){ .path = NULL };
}

/* --- comparing --------------------------------------------------------------------------------------------------------------- */

static int differ(const char *path, const char *name, const struct k_json *theirs, const char *whom, const struct k_json *ours, int code,
	struct k_err *err)
{
	struct k_buf a, b;
	k_buf_init(&a, 0);
	k_buf_init(&b, 0);
	theirs ? k_json_dump(&a, theirs, K_JSON_COMPACT) : k_buf_puts(&a, "missing");
	ours ? k_json_dump(&b, ours, K_JSON_COMPACT) : k_buf_puts(&b, "missing");
	int r = a.failed || b.failed ? k_err_nomem(err, 64, "a value")
		: k_err_set(err, code, "'%.120s' is the report of another run: its %.60s is %.80s, that of %.120s is %.80s", path, name, a.data, whom,
			b.data);
	k_buf_fini(&a);
	k_buf_fini(&b);
	return r;
}

int k_reported_same(const char *path, const struct k_json *theirs, const char *whom, const struct k_json *ours, const char *but, int code,
	struct k_err *err)
{
	const char *name;
	struct k_json *v;
	for (void *it = NULL; k_json_next(ours, &it, &name, &v); ) {
		const struct k_json *other = k_json_find(theirs, name);
		if (!(but && !strcmp(name, but)) && (!other || !k_json_equal(v, other)))
			return differ(path, name, other, whom, v, code, err);
	}
	for (void *it = NULL; k_json_next(theirs, &it, &name, &v); )
		if (!(but && !strcmp(name, but)) && !k_json_find(ours, name))
			return differ(path, name, v, whom, NULL, code, err);
	return 0;
}
