/* windows.h: a text cut into windows that are computed one by one, for the tasks that score every token of it.
 *
 *   text -> ids (no specials) -> windows of N ids, each after BOS where wanted -> logits of each scored id
 *
 *   window 0  [ 0 .. N )           all are scored (without BOS all but the first)
 *   window i  [ iS .. iS + N )     the ids that no window before has scored: the last S */
#ifndef K_WINDOWS_H
#define K_WINDOWS_H

#include "evals/eval.h"

enum { K_WINDOW_ROWS = 32 };            /* rows of logits that are handed over at once, at most */

struct k_windows {
	const char *task;
	struct k_model *m;
	const struct k_eval_opts *o;
	const struct k_ctx *ctx;
	struct k_ids ids;
	char text[65];                  /* digest of the text */
	int64_t window, stride, n;      /* n windows, of which this run computes: */
	int64_t first, step;            /* first, first + step, ... */
	int32_t bos;                    /* -1: none */
};
/* Ids [from, to) of the text, of which [score, to) are scored. */
struct k_window { int64_t from, score, to; };

/* Reads o->file. K_EUSAGE: no file, a window or stride that cannot be; K_EFORMAT: nothing to score. On failure fini is still right. */
int k_windows_init(struct k_windows *w, const char *task, struct k_model *m, const struct k_eval_opts *o, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;
void k_windows_fini(struct k_windows *w);
struct k_window k_window_at(const struct k_windows *w, int64_t i);
/* "window 7" */
const char *k_window_key(int64_t i, char key[48]);
/* Members of an item or summary that say what was computed; -1 without memory. */
int k_windows_put(const struct k_windows *w, struct k_json *o) K_MUST_USE;

/* The first item of a report: what is computed, and what it is compared with: ref (NULL: with nothing). */
int k_windows_begin(const struct k_windows *w, const char *ref, struct k_report *rep, struct k_err *err) K_MUST_USE;

/* What a task does with logits; windows come in order, and of each its scored ids in order. */
struct k_window_use {
	/* logits[n][vocabulary] of the ids want[0..n), the first of which is number `row` of the window's scored ones */
	int (*rows)(void *arg, int64_t i, int64_t row, int64_t n, const int32_t *want, const float *logits, struct k_err *err);
	int (*done)(void *arg, int64_t i, struct k_err *err);
	void *arg;
};
/* Windows from `first` on, as many at once as o->batch says, which changes nothing. */
int k_windows_run(struct k_windows *w, int64_t first, const struct k_window_use *use, struct k_err *err) K_MUST_USE;

#endif
