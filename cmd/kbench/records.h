/* records.h: records of many runs in one file, a line each. */
#ifndef KBENCH_RECORDS_H
#define KBENCH_RECORDS_H

#include "cmd/kbench/bench.h"

/* What of a record is followed over time. */
struct k_metric { const char *what, *field; bool more_is_better; };
const struct k_metric *k_metric_at(size_t i);           /* NULL behind the last */

/* Is it a run that may be held against others? Not where an item failed. */
bool k_history_takes(const struct k_report *rep);
/* Appends what a run measured: a line for each item, with the date, what was run and on what. In one write, on disk when it returns. */
int k_history_append(const char *path, const struct k_bench *b, const char *what, struct k_err *err) K_MUST_USE;
/* All lines as a list. What killed runs left torn is passed over and counted. */
int k_history_read(const char *path, struct k_json **out, int64_t *torn, struct k_err *err) K_MUST_USE;

#endif
