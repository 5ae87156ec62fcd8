/* merge.h: the reports of the parts of a run (--part K/N) joined to the one that the whole run would have written, byte for byte.
 *
 *   part 1: items 1, 4, 7    part 2: items 2, 5, 8    part 3: items 3, 6  -->  head without "part", items 1 2 3 ... 8, summary of them */
#ifndef K_MERGE_H
#define K_MERGE_H

#include "evals/eval.h"

struct k_merge;

/* K_EUSAGE, with the file and what is wrong: one that is no part, is there twice, is missing, or is one of another run; K_EFORMAT: no report, or one
 * that lacks items. */
int k_merge_open(struct k_merge **out, const char *const *paths, int n, struct k_err *err) K_MUST_USE;
void k_merge_close(struct k_merge *m);                  /* takes NULL */
const struct k_eval *k_merge_task(const struct k_merge *m);
int k_merge_report(const struct k_merge *m, struct k_report *rep, struct k_err *err) K_MUST_USE;

#endif
