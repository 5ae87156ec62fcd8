/* quiz.h: a task made of items, one a line of a JSONL file: each becomes questions, and their answers become an item of the report.
 *
 *   lines --(limit, seed, part)--> plan --window of questions--> asker --> judge --> report --> summarise */
#ifndef K_QUIZ_H
#define K_QUIZ_H

#include "evals/asker.h"

enum { K_QUIZ_ASKS = 64 };              /* questions of an item, at most */

struct k_quiz_item {
	struct k_json *json;            /* the line */
	char key[48];                   /* "item 3": its line, from 1 */
	struct k_ask *ask;
	int n;
};

struct k_quiz {
	const char *name;               /* of the task */
	const struct k_buf *lines;      /* made by the task; NULL: those of the file (-f) */
	/* Fills q->ask and q->n. K_EFORMAT: the line is none of this task's. */
	int (*plan)(void *arg, struct k_quiz_item *q, struct k_err *err);
	/* What is reported about the item; NULL without memory. All its questions were answered. */
	struct k_json *(*judge)(void *arg, const struct k_quiz_item *q);
	/* Settings of the task, for the report. 0 or -1. May be NULL. */
	int (*put_run)(void *arg, struct k_json *o);
	void *arg;
	int (*summarise)(const struct k_json *head, const struct k_json *items, struct k_json *s, struct k_err *err);   /* eval.h */
};

int k_quiz_run(const struct k_quiz *z, struct k_asker *a, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;

/* For summarise: was this item judged? Else a question of it had no answer. */
bool k_quiz_judged(const struct k_json *item);
/* name and error: the share that right of n are, and its standard error; null of none. */
int k_quiz_put_share(struct k_json *s, const char *name, const char *error, int64_t right, int64_t n) K_MUST_USE;

/* For plan. All copy what they are given. */
int k_quiz_score(struct k_quiz_item *q, const char *context, const char *continuation, struct k_err *err) K_MUST_USE;
int k_quiz_request(struct k_quiz_item *q, enum k_ask_kind kind, struct k_json *request, struct k_err *err) K_MUST_USE;     /* takes request */

#endif
