/* seen.h: what entered each weight: for each matrix of it (an expert of a stack) the sum of squares by column, and how many tokens; and the file
 * by which a killed run goes on (activations.c).
 *
 *   "KSEEN 1\n", sha256 of what the run is, u64 windows and tokens that are in it, u64 weights;
 *   for each: u64 length, name, u64 matrices, u64 columns, f64 sums, u64 counts; sha256 of all before
 *
 * It is for the machine that wrote it: numbers are as they are in memory, so that the sums go on to the same bytes. */
#ifndef K_SEEN_H
#define K_SEEN_H

#include "libcore/arena.h"
#include "libcore/err.h"
#include "libcore/map.h"

struct k_seen { const char *name; int64_t mats, cols; double *sums; int64_t *counts; struct k_seen *next; };
struct k_seen_all {
	struct k_arena arena;
	struct k_map by_name;
	struct k_seen *first, **last;   /* in the order of their first use */
	int n;
};
void k_seen_init(struct k_seen_all *all);
void k_seen_fini(struct k_seen_all *all);
/* That of a weight; begun with zeros where there is none. The name is copied. NULL: no memory, or there is one of another shape (K_ESHAPE). */
struct k_seen *k_seen_of(struct k_seen_all *all, const char *name, int64_t mats, int64_t cols, struct k_err *err);

/* run: what must be the same for sums to go on: text for a digest. */
struct k_seen_at { const char *run; int64_t windows, tokens; };
/* Under its name once all of it is on the disk. */
int k_seen_save(const struct k_seen_all *all, const char *path, const struct k_seen_at *at, struct k_err *err) K_MUST_USE;
/* Fills all, which is empty, and at's numbers; no such file: nothing, and zeros. K_EFORMAT: of another run; K_ECHECK, K_ETRUNC: damaged. */
int k_seen_load(struct k_seen_all *all, const char *path, struct k_seen_at *at, struct k_err *err) K_MUST_USE;

#endif
