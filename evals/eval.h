/* eval.h: what to ask a model and how to score it. Each task is a file of this folder with `const struct k_eval k_eval_<stem>`
 * and registers by existing. A task writes items (JSON objects) and one summary through struct k_report; the tool decides what
 * becomes of them: JSON lines, a table, --report, --junit, --tap, bars. */
#ifndef K_EVAL_H
#define K_EVAL_H

#include "libcore/model.h"
#include "libcore/opt.h"

struct k_eval_opts {
	const char *file;               /* -f */
	int64_t window, stride, batch, limit, seed;     /* window, stride 0: default */
	const char *lengths, *depths;   /* needle: numbers with commas */
	int64_t steps, tools;           /* agent; steps 0: default */
	const char *bos;                /* auto yes no */
	double tol;                     /* parity; NaN: default */
	const char *bundle;             /* parity: a folder to be written */
	const char *save_ref, *ref;     /* kld */
	bool hf_remote;
	const char *resume;             /* report of an earlier run, continued; handled by struct k_report */
	int part, parts;                /* items part - 1, part - 1 + parts, ... of all; parts 0: all of them */
};

struct k_asker;
struct k_report;
struct k_plot;
struct k_picture;
/* Takes item; it is written at once. key tells the item's name for JUnit and resume ("window 3"); ok false: failed, why says so. */
int k_report_item(struct k_report *r, const char *key, struct k_json *item, bool ok, const char *why, struct k_err *err) K_MUST_USE;
/* The next item that an earlier run left (--resume) if it is this one: it counts as reported then and is not given again; else NULL. Borrowed. */
const struct k_json *k_report_have(struct k_report *r, const char *key);
/* Takes what only a picture shows (eval.h, draw) and no report has. Once, and only where somebody asked for one. */
bool k_report_draws(const struct k_report *r);
int k_report_aside(struct k_report *r, struct k_json *aside, struct k_err *err) K_MUST_USE;
/* Takes summary; adds "summary":true. Once, last. */
int k_report_summary(struct k_report *r, struct k_json *summary, struct k_err *err) K_MUST_USE;
/* The same, of what was reported: what the head (the item "run") says and what a summarise makes of the items. */
int k_report_sum(struct k_report *r, int (*summarise)(const struct k_json *head, const struct k_json *items, struct k_json *s, struct k_err *err),
	struct k_err *err) K_MUST_USE;

struct k_eval {
	const char *name, *about;
	const char *fields;             /* of the summary, space-separated: what --bar may name */
	bool writes;                    /* standard output is the task's own, items and summary go to --report */
	void (*draw)(struct k_plot *p, const struct k_picture *f);       /* what was reported as a figure (pictures.h); NULL: there is none */
	/* One of the three. run: on a model in the process. ask: asks questions (asker.h), wherever the answers come from. files: on n
	 * files, without a model. */
	int (*ask)(struct k_asker *a, const struct k_eval_opts *o, struct k_report *r, const struct k_ctx *ctx, struct k_err *err);
	int (*run)(struct k_model *m, const struct k_eval_opts *o, struct k_report *r, const struct k_ctx *ctx, struct k_err *err);
	int (*files)(const char *const *paths, int n, const struct k_eval_opts *o, struct k_report *r, const struct k_ctx *ctx,
		struct k_err *err);
	/* Adds to s the figures of items[], as reported, in their order. They follow from nothing else, so that a run that was resumed, and parts
	 * of a run that are joined (merge.h), end with the same bytes. NULL: this task has no parts. */
	int (*summarise)(const struct k_json *head, const struct k_json *items, struct k_json *s, struct k_err *err);
};
const struct k_eval *k_eval_find(const char *name);
const struct k_eval *k_eval_at(int i);

#endif
