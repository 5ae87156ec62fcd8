/* imatrix.h: activation statistics, which say how much an error in a column of a weight counts: the mean square of what that column is
 * multiplied with, as llama.cpp and keval write them. */
#ifndef K_IMATRIX_H
#define K_IMATRIX_H

#include "libcore/ckpt.h"
#include "libcore/io.h"

struct k_imatrix;

/* GGUF with general.type imatrix (NAME.in_sum2 [matrices, columns], NAME.counts [matrices]), or the older .dat; found by the first bytes.
 * Lengths, and every number, are checked: finite, not negative. */
int k_imatrix_open(struct k_imatrix **out, const char *path, struct k_log *log, struct k_err *err) K_MUST_USE;
void k_imatrix_close(struct k_imatrix *m);              /* takes NULL */

/* sha256 of the file. */
const uint8_t *k_imatrix_digest(const struct k_imatrix *m);

/* What keval writes: sums of squares [matrices][columns] and tokens [matrices] of a weight with our name. */
struct k_imatrix_row { const char *name; int64_t mats, cols; const double *sums; const int64_t *counts; };
/* As GGUF, to sink, with GGUF's names where the architecture has them. dataset: what the text is called; chunks of chunk tokens. */
int k_imatrix_write(struct k_sink *sink, const char *arch, const struct k_imatrix_row *rows, int n, const char *dataset, int64_t chunks, int64_t chunk,
	struct k_err *err) K_MUST_USE;

/* Adds the sums and the count of slice `slice` of e (one sum a column). Names that are
 * tried: the source's, GGUF's by the architecture (NULL: none), ours, ours with the expert's number. Nothing there: adds nothing.
 * Another number of columns or of experts: K_ESHAPE. Any number of threads at once. */
int k_imatrix_add(const struct k_imatrix *m, const char *arch, const struct k_entry *e, int64_t slice, double *sums, double *count, struct k_err *err) K_MUST_USE;

#endif
