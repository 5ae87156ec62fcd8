/* kldref.h: the file of a reference distribution, one row a scored token: what a divergence from it needs, in about a hundredth of the
 * space of its logits.
 *
 *   fixed    "KLDREF\r\n", u32 version 1, u32 bytes of the head
 *   head     JSON: what was computed, the digest of the ids, vocabulary, top, windows; blanks to a multiple of 8
 *   windows  for each: u64 rows, the rows, sha256 of both behind the digest before it (the head's before the first)
 *   end      "KLDEND\r\n", u64 windows
 *
 *   row      f64 nll of the id that came; f64 mass and f64 sum of p log p of all ids that are not below; u32 id[top], f32 log p[top],
 *            by descending p, lower id first on ties
 *
 * Little-endian. It is written as FILE.partial, where each window is safe once its digest is there; a run that was killed goes on behind
 * the last of them, to the same bytes. */
#ifndef K_KLDREF_H
#define K_KLDREF_H

#include "evals/windows.h"

enum { K_KLDREF_TOP = 512 };            /* ids of a row, fewer where the vocabulary is smaller */

struct k_kldref;
/* A row, as it lies in the file. */
struct k_kldrow { double nll, mass, plogp; const uint32_t *id; const float *logp; };

/* To be written: w's windows. *done: windows that an earlier run left, each readable. Another run's file is begun anew. */
int k_kldref_create(struct k_kldref **out, const char *path, const struct k_windows *w, int64_t *done, struct k_err *err) K_MUST_USE;
/* To be compared with: K_EUSAGE with both values when it was made of another text, cut in another way or with another vocabulary;
 * K_ETRUNC when it is unfinished. */
int k_kldref_open(struct k_kldref **out, const char *path, const struct k_windows *w, struct k_err *err) K_MUST_USE;
void k_kldref_close(struct k_kldref *f);                /* takes NULL */

int k_kldref_top(const struct k_kldref *f);
/* Which reference: the digest of its last window, which is one of all of it. */
void k_kldref_digest(const struct k_kldref *f, char hex[65]);
/* Window i, which is not before the one at hand; those between are read as well. Each is checked against its digest. */
int k_kldref_read(struct k_kldref *f, int64_t i, struct k_err *err) K_MUST_USE;
/* Row r of the window that was read, or that is written: for writing, id and logp point to where they go. */
struct k_kldrow k_kldref_row(const struct k_kldref *f, int64_t r);
/* Sets row r's numbers; its ids and logs were written in place. */
void k_kldref_set(struct k_kldref *f, int64_t r, double nll, double mass, double plogp);
/* The window's rows are there. */
int k_kldref_put(struct k_kldref *f, int64_t i, struct k_err *err) K_MUST_USE;
/* All windows are: end mark, name. *bytes: of the file. */
int k_kldref_commit(struct k_kldref *f, uint64_t *bytes, struct k_err *err) K_MUST_USE;
/* Instead: it is not to be, and nobody goes on with it. */
int k_kldref_drop(struct k_kldref *f, struct k_err *err) K_MUST_USE;

#endif
