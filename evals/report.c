/* report.c: items and a summary to standard output and files, see report.h.
 *
 * --report is an ordinary output: a temporary file, renamed when complete. --resume is a journal: each line is on disk before the
 * next item is computed, and what a killed run left (at most one torn line, cut off) is replayed by the next one. It is the one
 * file here that must grow in place, so it is written with plain system calls. */
#include "libcore/base.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>
#include "evals/report.h"
#include "evals/report_forms.h"
#include "evals/reported.h"
#include "libcore/ctx.h"
#include "libcore/hash.h"
#include "libcore/io.h"

#define RESUME_MAX (1u << 30)

struct k_report {
	struct k_report_opts o;
	struct k_bar *bars;
	struct k_sink *report;
	int journal;                    /* fd of --resume, -1 */
	struct k_json *old;             /* items that an earlier run left, in order */
	size_t good;                    /* bytes of them: what follows is cut off before the first write */
	bool cut;
	size_t at, shown;               /* how many of them the task has come past; how many went to the outputs */
	struct k_json *head, *items;    /* that were shown */
	struct k_json *summary, *aside;
	struct k_buf cases;             /* <testcase> elements */
	int64_t n_tests, n_failures, n_bad;
	char bad[320];                  /* the first item that failed, and why */
	bool headed;                    /* the table has its column heads */
};

/* --- members ------------------------------------------------------------------------------------------------------ */

int k_put_num(struct k_json *obj, const char *key, double v) { return k_json_set(obj, key, k_json_new_number(v)); }
int k_put_int(struct k_json *obj, const char *key, int64_t v) { return k_json_set(obj, key, k_json_new_int(v)); }
int k_put_bool(struct k_json *obj, const char *key, bool v) { return k_json_set(obj, key, k_json_new_bool(v)); }
int k_put_null(struct k_json *obj, const char *key) { return k_json_set(obj, key, k_json_new_null()); }

int k_put_str(struct k_json *obj, const char *key, const char *s)
{
	return k_json_set(obj, key, k_json_new_string(s, strlen(s)));
}

int k_put_f32(struct k_json *obj, const char *key, double v)
{
	char text[32];
	snprintf(text, sizeof(text), "%.9g", v);
	return k_put_num(obj, key, isfinite(v) ? strtod(text, NULL) : v);
}

double k_get_num(const struct k_json *obj, const char *key)
{
	const struct k_json *v = k_json_find(obj, key);
	return k_json_kind(v) == K_JSON_NULL ? NAN : k_json_number(v);
}

int64_t k_get_count(const struct k_json *obj, const char *key)
{
	int64_t n = k_json_int(k_json_find(obj, key));
	return n >= 0 && n <= (int64_t)1 << 32 ? n : 0;
}

int k_put_part(struct k_json *obj, const struct k_eval_opts *o)
{
	char text[32];
	snprintf(text, sizeof(text), "%d/%d", o->part, o->parts);
	return o->parts ? k_put_str(obj, "part", text) : 0;
}

int k_put_run(struct k_json *obj, struct k_model *m, const struct k_eval_opts *o, const struct k_ctx *ctx)
{
	static const char *const acts[] = { "f32", "bf16", "int8" };
	struct k_device *d = k_model_device(m);
	uint8_t digest[32];
	char hex[65];
	k_model_digest(m, digest);
	k_hex(hex, digest);
	return k_put_str(obj, "model", hex) | k_put_str(obj, "arch", k_model_arch(m)->name) |
		k_put_str(obj, "act", acts[ctx->act]) | k_put_str(obj, "kv", k_model_kv(m)) | k_put_str(obj, "level", d->level(d)) |
		k_put_str(obj, "profile", o->hf_remote ? "hf_remote" : "engine");
}

/* --- standard output ------------------------------------------------------------------------------------------------ */

static int say(struct k_report *r, const struct k_buf *b, struct k_err *err)
{
	int e = k_buf_ok(b, "a report", err);
	return e < 0 ? e : r->o.write(b->data, b->len, err);
}

static void table_row(struct k_report *r, struct k_buf *b, const struct k_json *item)
{
	if (!strcmp(k_json_string(k_json_find(item, "item")), "run"))
		return;
	if (!r->headed)
		k_form_heads(b, item);
	r->headed = true;
	k_form_row(b, item);
}

static void junit_case(struct k_report *r, const char *name, const char *element, const char *why)
{
	k_form_case(&r->cases, r->o.suite, name, element, why);
}

static int junit_write(struct k_report *r, int64_t errors, struct k_err *err)
{
	struct k_buf b;
	struct k_sink *s = NULL;
	k_buf_init(&b, 0);
	k_form_suite(&b, r->o.suite, r->n_tests + errors, r->n_failures, errors, &r->cases);
	int e = k_buf_ok(&b, "the JUnit file", err);
	if (e == 0)
		e = k_sink_open(&s, r->o.junit, err);
	if (e == 0)
		e = k_sink_write(s, b.data, b.len, err);
	if (e == 0)
		e = k_sink_commit(s, err);
	k_sink_close(s);
	k_buf_fini(&b);
	return e;
}

/* --- the journal ------------------------------------------------------------------------------------------------------ */

/* A file that belongs to another run is refused as it is: nothing is cut before this run has something to add. */
static int journal_write(struct k_report *r, const char *p, size_t n, struct k_err *err)
{
	if (!r->cut && (ftruncate(r->journal, (off_t)r->good) < 0 || lseek(r->journal, (off_t)r->good, SEEK_SET) < 0))
		return k_err_io(err, "cannot cut '%s'", r->o.resume);
	r->cut = true;
	while (n) {
		ssize_t w = write(r->journal, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return k_err_io(err, "cannot write '%s'", r->o.resume);
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/* What may be cut off: a line that begins as ours do. Anything else is somebody's file. */
static int check_torn(const struct k_report *r, const char *line, size_t n, struct k_err *err)
{
	static const char begins[] = "{\"item\": \"run\"";
	size_t most = k_json_len(r->old) ? 1 : sizeof(begins) - 1;
	if (!memcmp(line, begins, K_MIN(n, most)))
		return 0;
	return k_err_set(err, K_EFORMAT, "'%s' is no report to resume: what follows its %zu whole lines is no item", r->o.resume,
		k_json_len(r->old));
}

/* Takes the whole lines of an earlier run. */
static int journal_parse(struct k_report *r, const struct k_buf *b, struct k_err *err)
{
	for (size_t at = 0; at < b->len; ) {
		const char *line = b->data + at, *end = memchr(line, '\n', b->len - at);
		struct k_json *v;
		if (!end)
			return check_torn(r, line, b->len - at, err);
		int e = k_json_parse(&v, line, (size_t)(end - line), K_JSON_STRICT, r->o.resume, err);
		if (e < 0)
			return e;
		if (k_json_bool(k_json_find(v, "summary"))) {
			k_json_free(v);
			return 0;
		}
		if (!k_json_string(k_json_find(v, "item"))) {
			k_json_free(v);
			return k_err_set(err, K_EFORMAT, "'%s' is no report to resume: line %zu has no item", r->o.resume,
				k_json_len(r->old) + 1);
		}
		if (k_json_push(r->old, v) < 0)
			return k_err_nomem(err, b->len, "the report to resume");
		at = (size_t)(end - b->data) + 1;
		r->good = at;
	}
	return 0;
}

static int journal_open(struct k_report *r, struct k_err *err)
{
	struct k_buf b;
	int e = 0;
	if (k_path_is_other(r->o.resume))
		return k_err_set(err, K_EUSAGE, "--resume '%s' is there and is no file, wanted the name of one", r->o.resume);
	r->old = k_json_array();
	if (!r->old)
		return k_err_nomem(err, 64, "the report to resume");
	r->journal = open(r->o.resume, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (r->journal < 0)
		return k_err_io(err, "cannot open '%s'", r->o.resume);
	/* A run that goes on still would have its lines cut by this one. */
	if (flock(r->journal, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return k_err_set(err, K_EIO, "'%s' is being written by another process", r->o.resume);
	k_buf_init(&b, RESUME_MAX);
	e = k_read_file(r->o.resume, &b, RESUME_MAX, err);
	if (e == 0)
		e = journal_parse(r, &b, err);
	k_buf_fini(&b);
	return e;
}

/* --- open, item, summary, end ------------------------------------------------------------------------------------------- */

static int parse_bars(struct k_report *r, struct k_err *err)
{
	r->bars = k_calloc((size_t)r->o.n_bars + 1, sizeof(*r->bars));
	if (!r->bars)
		return k_err_nomem(err, (size_t)r->o.n_bars * sizeof(*r->bars), "bars");
	for (int i = 0; i < r->o.n_bars; i++) {
		int e = k_bar_parse(&r->bars[i], r->o.bars[i], err);
		if (e < 0)
			return e;
		if (!k_is_word_of(r->bars[i].field, r->o.fields))
			return k_err_set(err, K_EUSAGE, "--bar %s: there is no field '%s'%s%s", r->o.bars[i], r->bars[i].field,
				*r->o.fields ? "; there are " : "", r->o.fields);
	}
	return 0;
}

/* What a summary is made of. */
static int keep(struct k_report *r, struct k_json *item, bool head, struct k_err *err)
{
	if (head) {
		k_json_free(r->head);
		r->head = k_json_keep(item);
	} else if (k_json_push(r->items, k_json_keep(item)) < 0)
		return k_err_nomem(err, 64, "the items of a report");
	return 0;
}

/* One item to everything but the journal. */
static int show(struct k_report *r, struct k_json *item, struct k_err *err)
{
	struct k_buf line, text;
	const char *key = k_json_string(k_json_find(item, "item")), *why = k_json_string(k_json_find(item, "why"));
	bool run = !strcmp(key, "run"), ok = why == NULL;
	int e = 0;
	k_buf_init(&line, 0);
	k_buf_init(&text, 0);
	k_json_dump(&line, item, 0);
	k_buf_putc(&line, '\n');
	if (!run) {
		r->n_tests++;
		r->n_failures += !ok;
		junit_case(r, key, ok ? NULL : "failure", why);
	}
	if (!ok && !r->n_bad++)
		snprintf(r->bad, sizeof(r->bad), "%.100s: %.200s", key, why);
	if (r->o.form == K_REPORT_JSON)
		k_json_dump(&text, item, 0), k_buf_putc(&text, '\n');
	else if (r->o.form == K_REPORT_TABLE)
		table_row(r, &text, item);
	else if (r->o.form == K_REPORT_TAP && !run)
		k_form_tap(&text, r->n_tests, key, ok, why);
	e = k_buf_ok(&line, "a report", err);
	if (e == 0)
		e = keep(r, item, run, err);
	if (e == 0 && text.len)
		e = say(r, &text, err);
	if (e == 0 && r->report)
		e = k_sink_write(r->report, line.data, line.len, err);
	k_buf_fini(&line);
	k_buf_fini(&text);
	return e;
}

static int open_outputs(struct k_report *r, struct k_err *err)
{
	int e = parse_bars(r, err);
	if (e == 0 && r->o.resume)
		e = journal_open(r, err);
	if (e == 0 && r->o.report)
		e = k_sink_open(&r->report, r->o.report, err);
	if (e == 0 && r->o.form == K_REPORT_TAP)
		e = r->o.write("TAP version 14\n", 15, err);
	return e;
}

/* Each output is written once, and standard output has the results already. */
static int check_names(const struct k_report_opts *o, struct k_err *err)
{
	const struct { const char *option, *name; } files[] = { { "--report", o->report }, { "--resume", o->resume }, { "--junit", o->junit } };
	for (size_t i = 0; i < K_LEN(files); i++) {
		if (!files[i].name)
			continue;
		if (!strcmp(files[i].name, "-"))
			return k_err_set(err, K_EUSAGE, "%s is '-', wanted a file: standard output has the results already", files[i].option);
		for (size_t k = 0; k < i; k++)
			if (files[k].name && !strcmp(files[k].name, files[i].name))
				return k_err_set(err, K_EUSAGE, "%s and %s are both '%s', wanted two files", files[k].option, files[i].option,
					files[i].name);
	}
	return 0;
}

int k_report_open(struct k_report **out, const struct k_report_opts *o, struct k_err *err)
{
	*out = NULL;
	struct k_report *r = k_calloc(1, sizeof(*r));
	if (!r)
		return k_err_nomem(err, sizeof(*r), "a report");
	r->o = *o;
	r->journal = -1;
	k_buf_init(&r->cases, 0);
	r->items = k_json_array();
	int e = r->items ? check_names(o, err) : k_err_nomem(err, 64, "a report");
	if (e == 0)
		e = open_outputs(r, err);
	if (e < 0) {
		k_report_close(r);
		return e;
	}
	*out = r;
	return 0;
}

const struct k_json *k_report_have(struct k_report *r, const char *key)
{
	const struct k_json *item = k_json_at(r->old, r->at);
	if (!item || strcmp(k_json_string(k_json_find(item, "item")), key))
		return NULL;
	r->at++;
	return item;
}

/* Items of the earlier run that this one has come past go where new ones do. */
static int catch_up(struct k_report *r, struct k_err *err)
{
	int e = 0;
	while (e == 0 && r->shown < r->at)
		e = show(r, k_json_at(r->old, r->shown++), err);
	return e;
}

/* {"item": key, members, "ok", "why"} */
static struct k_json *wrap(const char *key, const struct k_json *item, bool ok, const char *why)
{
	struct k_json *o = k_json_object(), *v;
	const char *name;
	int bad = !o || !item || k_put_str(o, "item", key) < 0;
	for (void *it = NULL; !bad && k_json_next(item, &it, &name, &v); )
		bad = k_json_set(o, name, k_json_keep(v)) < 0;
	if (!bad)
		bad = k_put_bool(o, "ok", ok) < 0 || (!ok && k_put_str(o, "why", why ? why : "failed") < 0);
	if (bad) {
		k_json_free(o);
		o = NULL;
	}
	return o;
}

int k_report_item(struct k_report *r, const char *key, struct k_json *item, bool ok, const char *why, struct k_err *err)
{
	struct k_json *o = wrap(key, item, ok, why);
	struct k_buf line;
	int e = 0;
	k_json_free(item);
	if (!o)
		return k_err_nomem(err, 256, "an item of the report");
	const struct k_json *old = k_json_at(r->old, r->at);
	k_buf_init(&line, 0);
	if (old) {
		if (!strcmp(key, "run"))
			e = k_reported_same(r->o.resume, old, "this run", o, NULL, K_EFORMAT, err);
		else if (!k_json_equal(old, o))
			e = k_err_set(err, K_EFORMAT, "'%s' is the report of another run: its item %zu is '%.60s', or other than this run's",
				r->o.resume, r->at + 1, k_json_string(k_json_find(old, "item")));
		r->at += e == 0;
		goto out;
	}
	k_json_dump(&line, o, 0);
	k_buf_putc(&line, '\n');
	e = k_buf_ok(&line, "an item of the report", err);
	if (e == 0)
		e = catch_up(r, err);
	if (e == 0 && r->journal >= 0)
		e = journal_write(r, line.data, line.len, err);
	if (e == 0)
		e = show(r, o, err);
out:
	k_buf_fini(&line);
	k_json_free(o);
	return e;
}

int k_report_summary(struct k_report *r, struct k_json *summary, struct k_err *err)
{
	struct k_buf line, text;
	if (!summary || k_put_bool(summary, "summary", true) < 0) {
		k_json_free(summary);
		return k_err_nomem(err, 256, "the summary");
	}
	k_json_free(r->summary);
	r->summary = summary;
	if (r->at < k_json_len(r->old))
		return k_err_set(err, K_EFORMAT, "'%s' is the report of another run: it has %zu items, this run has %zu", r->o.resume,
			k_json_len(r->old), r->at);
	k_buf_init(&line, 0);
	k_buf_init(&text, 0);
	k_json_dump(&line, summary, 0);
	k_buf_putc(&line, '\n');
	if (r->o.form == K_REPORT_TABLE)
		k_form_summary(&text, summary);
	int e = k_buf_ok(&line, "the summary", err);
	if (e == 0)
		e = catch_up(r, err);
	if (e == 0 && r->journal >= 0)
		e = journal_write(r, line.data, line.len, err);
	if (e == 0 && r->report)
		e = k_sink_write(r->report, line.data, line.len, err);
	if (e == 0 && r->o.form == K_REPORT_JSON)
		e = r->o.write(line.data, line.len, err);
	if (e == 0 && r->o.form == K_REPORT_TABLE)
		e = say(r, &text, err);
	k_buf_fini(&line);
	k_buf_fini(&text);
	return e;
}

int k_report_make_sum(struct k_json **out, const struct k_json *head, const struct k_json *items,
	int (*summarise)(const struct k_json *head, const struct k_json *items, struct k_json *s, struct k_err *err), struct k_err *err)
{
	struct k_json *s = k_json_object(), *v;
	const char *name;
	int bad = !s;
	for (void *it = NULL; !bad && k_json_next(head, &it, &name, &v); )
		if (strcmp(name, "item") && strcmp(name, "ok"))
			bad = k_json_set(s, name, k_json_keep(v)) < 0;
	int e = bad ? k_err_nomem(err, 256, "the summary") : summarise(head, items, s, err);
	if (e == 0 && k_put_bool(s, "summary", true) < 0)
		e = k_err_nomem(err, 256, "the summary");
	if (e < 0) {
		k_json_free(s);
		s = NULL;
	}
	*out = s;
	return e;
}

int k_report_sum(struct k_report *r, int (*summarise)(const struct k_json *head, const struct k_json *items, struct k_json *s, struct k_err *err),
	struct k_err *err)
{
	struct k_json *s = NULL;
	int e = catch_up(r, err);
	if (e == 0)
		e = k_report_make_sum(&s, r->head, r->items, summarise, err);
	return e < 0 ? e : k_report_summary(r, s, err);
}

/* Does the bar hold? why: a sentence when not. A field without a number (null) misses every bar. */
static bool bar_holds(const struct k_report *r, const struct k_bar *bar, char *why, size_t n)
{
	const struct k_json *v = k_json_find(r->summary, bar->field);
	enum k_json_kind kind = k_json_kind(v);
	if (kind == K_JSON_BOOL || kind == K_JSON_INT || kind == K_JSON_REAL) {
		double x = kind == K_JSON_BOOL ? k_json_bool(v) : k_json_number(v);
		if (k_bar_holds(bar, x))
			return true;
		snprintf(why, n, "%s is %.9g, the bar is %s", bar->field, x, bar->text);
		return false;
	}
	snprintf(why, n, "%s has no value, the bar is %s", bar->field, bar->text);
	return false;
}

static int judge_bars(struct k_report *r, struct k_buf *text, char *first, size_t n)
{
	int missed = 0;
	for (int i = 0; i < r->o.n_bars; i++) {
		char why[256] = "", name[160];
		bool ok = bar_holds(r, &r->bars[i], why, sizeof(why));
		snprintf(name, sizeof(name), "bar %.150s", r->bars[i].text);
		r->n_tests++;
		r->n_failures += !ok;
		junit_case(r, name, ok ? NULL : "failure", why);
		if (r->o.form == K_REPORT_TAP)
			k_form_tap(text, r->n_tests, name, ok, why);
		if (!ok && !missed++)
			snprintf(first, n, "%s", why);
	}
	return missed;
}

/* The task's own answer: a test where nothing else is one, and where it is no although every item is as it should be. */
static void judge_task(struct k_report *r, struct k_buf *text, bool ok, const char *why)
{
	if (ok ? r->n_tests > 0 : r->n_bad > 0)
		return;
	r->n_tests++;
	r->n_failures += !ok;
	junit_case(r, "verdict", ok ? NULL : "failure", why);
	if (r->o.form == K_REPORT_TAP)
		k_form_tap(text, r->n_tests, "verdict", ok, why);
}

/* The task broke off: --report stays away, the machine-read forms say so. */
static int end_failed(struct k_report *r, int failed, struct k_err *err)
{
	struct k_err other;
	struct k_buf b;
	if (catch_up(r, &other) < 0)
		return failed;
	if (r->o.junit) {
		junit_case(r, "run", "error", err->msg);
		if (junit_write(r, 1, &other) < 0)
			return failed;
	}
	if (r->o.form == K_REPORT_TAP) {
		k_buf_init(&b, 0);
		k_form_bail(&b, err->msg);
		if (say(r, &b, &other) < 0)
			failed = err->code;
		k_buf_fini(&b);
	}
	return failed;
}

int k_report_end(struct k_report *r, int failed, struct k_err *err)
{
	struct k_buf text;
	char missed[256] = "";
	if (failed < 0 && failed != K_ENO)
		return end_failed(r, failed, err);
	k_buf_init(&text, 0);
	int n = judge_bars(r, &text, missed, sizeof(missed));
	judge_task(r, &text, failed == 0, failed ? err->msg : NULL);
	if (r->o.form == K_REPORT_TAP)
		k_buf_printf(&text, "1..%lld\n", (long long)r->n_tests);
	int e = text.len ? say(r, &text, err) : k_buf_ok(&text, "a report", err);
	k_buf_fini(&text);
	if (e == 0 && r->report)
		e = k_sink_commit(r->report, err);
	if (e == 0 && r->o.junit)
		e = junit_write(r, 0, err);
	if (e == 0 && r->journal >= 0 && fsync(r->journal) < 0 && errno != EINVAL && errno != EROFS)
		e = k_err_io(err, "cannot finish '%s'", r->o.resume);
	if (e < 0 || failed < 0)
		return e < 0 ? e : failed;
	if (n)
		return k_err_set(err, K_ENO, "%s", missed);
	if (r->n_bad)
		return k_err_set(err, K_ENO, "%lld of %lld items failed; the first: %s", (long long)r->n_bad, (long long)r->n_tests,
			r->bad);
	return 0;
}

bool k_report_bars(const struct k_report *r, const char *fields)
{
	bool any = false;
	for (int i = 0; i < r->o.n_bars; i++)
		any |= k_is_word_of(r->bars[i].field, fields);
	return any;
}

bool k_report_draws(const struct k_report *r) { return r->o.keep; }
const struct k_json *k_report_items(const struct k_report *r) { return r->items; }
const struct k_json *k_report_summary_of(const struct k_report *r) { return r->summary; }
const struct k_json *k_report_aside_of(const struct k_report *r) { return r->aside; }

int k_report_aside(struct k_report *r, struct k_json *aside, struct k_err *err)
{
	k_json_free(r->aside);
	r->aside = aside;
	return aside ? 0 : k_err_nomem(err, 64, "what is drawn");
}

void k_report_close(struct k_report *r)
{
	if (!r)
		return;
	if (r->journal >= 0)
		close(r->journal);
	k_sink_close(r->report);
	k_json_free(r->old);
	k_json_free(r->head);
	k_json_free(r->items);
	k_json_free(r->summary);
	k_json_free(r->aside);
	k_buf_fini(&r->cases);
	k_free(r->bars);
	k_free(r);
}
