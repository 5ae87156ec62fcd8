/* report.h: where the items and the summary of a task go. The tool opens a report, a task writes to it through eval.h, the tool
 * ends it: bars are judged, files completed.
 *
 *   item, item, ..., summary --> standard output (JSON lines, a table, or TAP 14)
 *                            --> --report FILE (JSON lines, complete also when the answer is no)
 *                            --> --resume FILE (the same, written as it goes; what is there already is not computed again)
 *                            --> --junit FILE
 *
 * An item is {"item": key, fields of the task, "ok": true} or {..., "ok": false, "why": sentence}. */
#ifndef K_REPORT_H
#define K_REPORT_H

#include "evals/eval.h"

enum k_report_form { K_REPORT_SILENT, K_REPORT_JSON, K_REPORT_TABLE, K_REPORT_TAP };

struct k_report_opts {
	const char *suite;              /* "keval.ppl": name of the JUnit suite */
	const char *fields;             /* of the summary: what bars may name */
	enum k_report_form form;
	int (*write)(const void *p, size_t n, struct k_err *err);       /* standard output */
	const char *report, *resume, *junit;    /* NULL: none */
	const char *const *bars;
	int n_bars;
	bool keep;                      /* somebody draws or records what was reported: k_report_draws */
};

/* K_EUSAGE: a bar that is none or names an unknown field; a resumed file that is not such a report: K_EFORMAT. */
int k_report_open(struct k_report **out, const struct k_report_opts *o, struct k_err *err) K_MUST_USE;
/* After the task. failed: what the task returned (0 or its code; *err is then its sentence). Writes what is open, then 0, or K_ENO
 * with the first bar that was missed or the number of items that failed. */
int k_report_end(struct k_report *r, int failed, struct k_err *err) K_MUST_USE;
/* What was reported: a list of items without the head ("run"), the summary, and what k_report_aside took.
 * NULL: not there. Borrowed. */
const struct k_json *k_report_items(const struct k_report *r);
const struct k_json *k_report_summary_of(const struct k_report *r);
const struct k_json *k_report_aside_of(const struct k_report *r);
/* Is there a bar on one of these fields (with spaces between)? For a task with a verdict: where a bar says how much may be lost, it decides,
 * and the verdict alone is no failure. */
bool k_report_bars(const struct k_report *r, const char *fields);
void k_report_close(struct k_report *r);                /* takes NULL */
/* The summary that k_report_sum reports. */
int k_report_make_sum(struct k_json **out, const struct k_json *head, const struct k_json *items,
	int (*summarise)(const struct k_json *head, const struct k_json *items, struct k_json *s, struct k_err *err), struct k_err *err) K_MUST_USE;

/* For tasks: members of an object under construction. 0, or -1 without memory, so that a row of them is joined with |.
 * num: the shortest text that reads back; f32: 9 significant digits; NaN and infinities become null. */
int k_put_num(struct k_json *obj, const char *key, double v) K_MUST_USE;
int k_put_f32(struct k_json *obj, const char *key, double v) K_MUST_USE;
int k_put_int(struct k_json *obj, const char *key, int64_t v) K_MUST_USE;
int k_put_str(struct k_json *obj, const char *key, const char *s) K_MUST_USE;
int k_put_bool(struct k_json *obj, const char *key, bool v) K_MUST_USE;
int k_put_null(struct k_json *obj, const char *key) K_MUST_USE;
/* What k_put_num put: NaN for the null that a value became which is not finite. */
double k_get_num(const struct k_json *obj, const char *key);
/* A count of tokens or of the like, which others wrote: 0 where it says nothing, or nothing that one can be (below 0, above 2^32), so that sums of
 * them are sums. */
int64_t k_get_count(const struct k_json *obj, const char *key);
/* "part": "2/3", where this run is one. */
int k_put_part(struct k_json *obj, const struct k_eval_opts *o) K_MUST_USE;
/* The facts that change digits: model, act, level, profile. */
int k_put_run(struct k_json *obj, struct k_model *m, const struct k_eval_opts *o, const struct k_ctx *ctx) K_MUST_USE;

#endif
